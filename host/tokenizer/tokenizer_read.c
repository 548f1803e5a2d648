/* tokenizer_read.c: the reader of blobs, whose layout is in tokenizer_blob.h.
 * Everything is checked here, so that the rest may trust an open tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

typedef struct {
    const uint8_t *next, *end;
} reader;

/* Points *bytes at the next size bytes and goes past them. Errors: CORRUPT. */
static gpuzip_status take(reader *r, size_t size, const uint8_t **bytes)
{
    if ((size_t)(r->end - r->next) < size)
        return FAIL(GPUZIP_ERR_CORRUPT);
    *bytes = r->next;
    r->next += size;
    return GPUZIP_OK;
}

/* Reads an integer of 1 .. 4 bytes. Errors: CORRUPT. */
static gpuzip_status take_integer(reader *r, int bytes, uint32_t *value)
{
    const uint8_t *p = NULL;
    TRY(take(r, (size_t)bytes, &p));
    uint32_t sum = 0;
    for (int i = 0; i < bytes; i++)
        sum |= (uint32_t)p[i] << 8 * i;
    *value = sum;
    return GPUZIP_OK;
}

static gpuzip_status read_stage(tokenizer *t, reader *r)
{
    uint32_t behaviour, size;
    const uint8_t *pattern = NULL;
    TRY(take_integer(r, 1, &behaviour));
    TRY(take_integer(r, 2, &size));
    if ((behaviour & ~(uint32_t)BLOB_INVERT) > BLOB_NEXT || size == 0 ||
        size > BLOB_PATTERN_BYTES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    TRY(take(r, size, &pattern));
    int error;
    PCRE2_SIZE error_offset;
    pcre2_code *code =
        pcre2_compile(pattern, size, BLOB_PATTERN_OPTIONS, &error, &error_offset, NULL);
    if (!code)
        return FAIL(error == PCRE2_ERROR_HEAP_FAILED ? GPUZIP_ERR_MEMORY : GPUZIP_ERR_FORMAT);
    /* Without a JIT, pcre2_match() interprets; there is nothing to report. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    t->stage[t->stages++] = (tokenizer_stage){.code = code, .behaviour = (uint8_t)behaviour};
    return GPUZIP_OK;
}

/* Reads the runs into classes[vocab]; *products: the number of class 2. */
static gpuzip_status read_classes(const tokenizer *t, reader *r, uint8_t *classes,
                                  uint32_t *products)
{
    uint32_t runs, id = 0, before = UINT32_MAX;
    TRY(take_integer(r, 4, &runs));
    *products = 0;
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t run;
        TRY(take_integer(r, 4, &run));
        uint32_t class = run & 3, count = run >> 2;
        if (class == before || count == 0 || count > t->table.vocab - id)
            return FAIL(GPUZIP_ERR_FORMAT);
        memset(classes + id, (int)class, count);
        if (class == BLOB_PRODUCT)
            *products += count;
        id += count;
        before = class;
    }
    if (id != t->table.vocab || (*products > 0 && (t->flags & BLOB_RANKED)))
        return FAIL(GPUZIP_ERR_FORMAT);
    return GPUZIP_OK;
}

static gpuzip_status read_tokens(tokenizer *t, reader *r, const uint8_t *classes)
{
    for (uint32_t id = 0; id < t->table.vocab; id++) {
        const uint8_t *bytes = NULL;
        uint32_t size;
        if (classes[id] == BLOB_TEXT) {
            TRY(take_integer(r, 2, &size));
            if (size < 2 && t->kind == BLOB_KIND_BPE)
                return FAIL(GPUZIP_ERR_FORMAT);
            TRY(take(r, size, &bytes));
            TRY(token_table_set(&t->table, id, bytes, size, true));
        } else if (classes[id] == BLOB_BYTE) {
            TRY(take(r, 1, &bytes));
            if (t->byte_id[bytes[0]] != TOKEN_NONE)
                return FAIL(GPUZIP_ERR_FORMAT);
            t->byte_id[bytes[0]] = id;
            TRY(token_table_set(&t->table, id, bytes, 1, false));
        }
    }
    return GPUZIP_OK;
}

/* Returns whether a token can be part of a merge: it has bytes by now, and is
 * not one of the byte tokens that SentencePiece falls back to. */
static bool mergeable(const tokenizer *t, const uint8_t *classes, uint32_t id)
{
    return id < t->table.vocab && t->table.size[id] != 0 &&
           (classes[id] != BLOB_BYTE || t->kind == BLOB_KIND_BPE);
}

/* Reads stored merges, and gives the products their bytes. */
static gpuzip_status read_merges(tokenizer *t, reader *r, const uint8_t *classes, uint32_t products)
{
    uint32_t merges, product = 0;
    int width = t->table.vocab > 65536 ? 3 : 2;
    TRY(take_integer(r, 4, &merges));
    if (merges > TOKEN_MERGES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    if (merges > (size_t)(r->end - r->next) / (size_t)(2 * width))
        return FAIL(GPUZIP_ERR_CORRUPT);
    TRY(merge_table_open(&t->merges, merges));
    for (uint32_t rank = 0; rank < merges; rank++) {
        merge m = {.rank = rank};
        TRY(take_integer(r, width, &m.left));
        TRY(take_integer(r, width, &m.right));
        if (!mergeable(t, classes, m.left) || !mergeable(t, classes, m.right))
            return FAIL(GPUZIP_ERR_FORMAT);
        m.result = token_table_find_joined(&t->table, m.left, m.right);
        if (m.result == TOKEN_NONE) {
            while (product < t->table.vocab && classes[product] != BLOB_PRODUCT)
                product++;
            if (product == t->table.vocab)
                return FAIL(GPUZIP_ERR_FORMAT);
            m.result = product++;
            TRY(token_table_join(&t->table, m.result, m.left, m.right));
            products--;
        }
        TRY(merge_table_add(&t->merges, m));
    }
    return products == 0 ? GPUZIP_OK : FAIL(GPUZIP_ERR_FORMAT);
}

/* Calls for every way to cut the text `id` in two texts: counts them, and adds
 * them as merges of this rank unless it is TOKEN_NONE. */
static gpuzip_status cut_text(tokenizer *t, uint32_t id, uint32_t rank, size_t *cuts)
{
    const uint8_t *bytes = t->table.bytes + t->table.start[id];
    size_t size = t->table.size[id];
    for (size_t i = 1; i < size; i++) {
        if (!tokenizer_symbol_begins(t, bytes[i]))
            continue;
        merge m = {.rank = rank, .result = id};
        m.left = token_table_find(&t->table, bytes, i);
        if (m.left == TOKEN_NONE)
            continue;
        m.right = token_table_find(&t->table, bytes + i, size - i);
        if (m.right == TOKEN_NONE)
            continue;
        ++*cuts;
        if (rank != TOKEN_NONE)
            TRY(merge_table_add(&t->merges, m));
    }
    return GPUZIP_OK;
}

static bool has_several_characters(const tokenizer *t, uint32_t id)
{
    const uint8_t *bytes = t->table.bytes + t->table.start[id];
    for (size_t i = 1; i < t->table.size[id]; i++)
        if (tokenizer_symbol_begins(t, bytes[i]))
            return true;
    return false;
}

/* Makes the merges that follow from the texts. */
static gpuzip_status derive_merges(tokenizer *t, reader *r, const uint8_t *classes)
{
    size_t cuts = 0, added = 0;
    for (uint32_t id = 0; id < t->table.vocab; id++)
        if (classes[id] == BLOB_TEXT)
            TRY(cut_text(t, id, TOKEN_NONE, &cuts));
    if (cuts > TOKEN_MERGES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    TRY(merge_table_open(&t->merges, cuts));
    for (uint32_t id = 0; id < t->table.vocab; id++) {
        if (classes[id] != BLOB_TEXT || !has_several_characters(t, id))
            continue;
        uint32_t rank = id;
        if (t->flags & BLOB_RANKS)
            TRY(take_integer(r, 4, &rank));
        if (rank >= TOKEN_VOCAB_MAX)
            return FAIL(GPUZIP_ERR_FORMAT);
        TRY(cut_text(t, id, rank, &added));
    }
    return GPUZIP_OK;
}

gpuzip_status blob_read_tables(tokenizer *t, int stages, const uint8_t *blob, size_t size)
{
    reader r = {.next = blob, .end = blob + size};
    gpuzip_status status = GPUZIP_OK;
    uint32_t products;
    uint8_t *classes = calloc(t->table.vocab, 1);
    if (!classes) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int i = 0; i < stages; i++)
        TRY_OUT(read_stage(t, &r));
    TRY_OUT(read_classes(t, &r, classes, &products));
    TRY_OUT(read_tokens(t, &r, classes));
    if (t->flags & BLOB_RANKED)
        TRY_OUT(derive_merges(t, &r, classes));
    else
        TRY_OUT(read_merges(t, &r, classes, products));
    if (r.next != r.end)
        status = FAIL(GPUZIP_ERR_FORMAT);

out:
    free(classes);
    return status;
}
