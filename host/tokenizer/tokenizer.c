/* tokenizer.c: opening, asking, decoding. Encoding is in tokenizer_encode.c. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

static uint32_t load_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static gpuzip_status check_header(const uint8_t *blob, size_t size)
{
    if (size < BLOB_HEADER_BYTES)
        return FAIL(GPUZIP_ERR_CORRUPT);
    if (memcmp(blob, BLOB_MAGIC, 4) != 0)
        return FAIL(GPUZIP_ERR_FORMAT);
    if (blob[4] != BLOB_VERSION)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    uint8_t kind = blob[5], flags = blob[6], stages = blob[7];
    uint32_t vocab = load_le32(blob + 8), bos = load_le32(blob + 12);
    if (kind > BLOB_KIND_SENTENCEPIECE || stages > BLOB_STAGES_MAX || vocab == 0 ||
        vocab > TOKEN_VOCAB_MAX || bos >= vocab)
        return FAIL(GPUZIP_ERR_FORMAT);
    if (flags > (BLOB_WHOLE | BLOB_PREFIX | BLOB_RANKED | BLOB_RANKS) ||
        ((flags & BLOB_RANKED) && kind != BLOB_KIND_SENTENCEPIECE) ||
        ((flags & BLOB_RANKS) && !(flags & BLOB_RANKED)))
        return FAIL(GPUZIP_ERR_FORMAT);
    if (kind == BLOB_KIND_BYTES &&
        (flags != 0 || stages != 0 || vocab < 256 || size != BLOB_HEADER_BYTES))
        return FAIL(GPUZIP_ERR_FORMAT);
    return GPUZIP_OK;
}

/* Gives the bytes without a token their escapes. */
static void find_escapes(tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        t->byte[b] = (uint8_t)b;
        if (t->byte_id[b] == TOKEN_NONE) {
            t->byte_id[b] = t->model_vocab + (uint32_t)b;
            t->escapes = 256;
        }
    }
    for (int c = 0; c < 128; c++) {
        uint32_t id = token_table_find(&t->table, &t->byte[c], 1);
        t->ascii_id[c] = id == TOKEN_NONE ? t->byte_id[c] : id;
    }
}

/* Fills t->joined from the tokens. */
static void find_joined(tokenizer *t)
{
    for (uint32_t id = 0; id < t->table.vocab; id++) {
        const uint8_t *bytes = t->table.bytes + t->table.start[id];
        for (size_t i = 1; i < t->table.size[id]; i++)
            if (tokenizer_symbol_begins(t, bytes[i]))
                t->joined[bytes[i - 1]][bytes[i] >> 5] |= 1u << (bytes[i] & 31);
    }
}

gpuzip_status tokenizer_open(tokenizer **t, const void *blob, size_t size, uint32_t vocab)
{
    const uint8_t *bytes = blob;
    TRY(check_header(bytes, size));
    gpuzip_status status = GPUZIP_OK;
    uint32_t own_vocab = load_le32(bytes + 8);
    tokenizer *opened = calloc(1, sizeof(*opened));
    if (!opened)
        return FAIL(GPUZIP_ERR_MEMORY);
    opened->kind = bytes[5];
    opened->flags = bytes[6];
    opened->bos = load_le32(bytes + 12);
    opened->model_vocab = vocab ? vocab : own_vocab;
    memset(opened->byte_id, 0xFF, sizeof(opened->byte_id)); /* TOKEN_NONE */
    /* Escapes must stay below 2^32. */
    if (opened->model_vocab < own_vocab || opened->model_vocab > UINT32_MAX - 256) {
        status = FAIL(GPUZIP_ERR_FORMAT);
        goto out;
    }
    TRY_OUT(token_table_open(&opened->table, own_vocab));
    if (opened->kind == BLOB_KIND_BYTES) {
        for (uint32_t b = 0; b < 256; b++) {
            uint8_t byte = (uint8_t)b;
            TRY_OUT(token_table_set(&opened->table, b, &byte, 1, false));
            opened->byte_id[b] = b;
        }
    } else {
        TRY_OUT(blob_read_tables(opened, bytes[7], bytes + BLOB_HEADER_BYTES,
                                 size - BLOB_HEADER_BYTES));
    }
    find_escapes(opened);
    find_joined(opened);
    *t = opened;
    opened = NULL;

out:
    tokenizer_close(opened);
    return status;
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->stages; i++)
        pcre2_code_free(t->stage[i].code);
    merge_table_close(&t->merges);
    token_table_close(&t->table);
    free(t);
}

const char *tokenizer_name(const tokenizer *t)
{
    switch (t->kind) {
    case BLOB_KIND_BYTES:
        return "bytes";
    case BLOB_KIND_BPE:
        return "byte-level BPE";
    default:
        return "SentencePiece BPE";
    }
}

uint32_t tokenizer_vocab(const tokenizer *t)
{
    return t->table.vocab;
}

uint32_t tokenizer_escapes(const tokenizer *t)
{
    return t->escapes;
}

uint32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

size_t tokenizer_prefix_bytes(const tokenizer *t)
{
    return t->flags & BLOB_PREFIX ? 1 : 0;
}

gpuzip_status tokenizer_token_bytes(const tokenizer *t, uint32_t id, const uint8_t **bytes,
                                    size_t *size)
{
    if (id < t->table.vocab && t->table.size[id] != 0) {
        *bytes = t->table.bytes + t->table.start[id];
        *size = t->table.size[id];
        return GPUZIP_OK;
    }
    if (id >= t->model_vocab && id - t->model_vocab < t->escapes) {
        *bytes = &t->byte[id - t->model_vocab];
        *size = 1;
        return GPUZIP_OK;
    }
    return FAIL(GPUZIP_ERR_CORRUPT);
}

gpuzip_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, size_t count,
                               uint8_t **text, size_t *size)
{
    const uint8_t *bytes;
    size_t token_size, total = 0;
    for (size_t i = 0; i < count; i++) {
        TRY(tokenizer_token_bytes(t, ids[i], &bytes, &token_size));
        total += token_size; /* cannot wrap: < 2^9 a token of 4 bytes in memory, 64-bit sizes */
    }
    size_t skip = count > 0 ? tokenizer_prefix_bytes(t) : 0; /* tokens are never empty */
    uint8_t *decoded = malloc(total - skip ? total - skip : 1);
    if (!decoded)
        return FAIL(GPUZIP_ERR_MEMORY);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        TRY(tokenizer_token_bytes(t, ids[i], &bytes, &token_size));
        size_t drop = i == 0 ? skip : 0;
        memcpy(decoded + used, bytes + drop, token_size - drop);
        used += token_size - drop;
    }
    *text = decoded;
    *size = used;
    return GPUZIP_OK;
}
