/* tokenizer_import.c: the importers' common functions, and the two simplest importers:
 * llama2.c's tokenizer.bin and plain bytes. */
#include "tokenizer_import.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tokenizer.h"
#include "tokenizer_source.h"
#include "utf8.h"

gpuzip_status tokenizer_import_fail(importer *im, gpuzip_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(im->error, TOKENIZER_ERROR_BYTES, format, arguments);
    va_end(arguments);
    for (char *c = im->error; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return FAIL(status);
}

gpuzip_status import_begin(importer *im, size_t capacity, char *error)
{
    *im = (importer){.error = error, .capacity = capacity};
    im->arena = malloc(capacity ? capacity : 1);
    return im->arena ? GPUZIP_OK : tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
}

void import_end(importer *im)
{
    free(im->arena);
    free(im->tokens);
    free(im->source.merge);
}

gpuzip_status import_vocab(importer *im, size_t vocab)
{
    if (vocab == 0 || vocab > TOKEN_VOCAB_MAX)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                     "the tokenizer has %zu ids; 1 to %u are possible", vocab,
                                     TOKEN_VOCAB_MAX);
    im->tokens = calloc(vocab, sizeof(*im->tokens));
    if (!im->tokens)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    im->source.tokens = im->tokens;
    im->source.vocab = (uint32_t)vocab;
    return GPUZIP_OK;
}

/* Checks that a token can be set to size bytes. */
static gpuzip_status check_token(importer *im, size_t id, size_t size)
{
    if (id >= im->source.vocab || im->tokens[id].size > 0)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                     "two tokens have the id %zu, or it is too large", id);
    if (size > TOKENIZER_TOKEN_BYTES_MAX)
        return tokenizer_import_fail(im, GPUZIP_ERR_UNSUPPORTED,
                                     "token %zu has %zu bytes; at most %u are possible", id, size,
                                     TOKENIZER_TOKEN_BYTES_MAX);
    if (size == 0 || size > im->capacity - im->used)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "token %zu is empty, or the file lies",
                                     id);
    return GPUZIP_OK;
}

gpuzip_status import_text(importer *im, size_t id, const uint8_t *bytes, size_t size, float score)
{
    static const uint8_t space[3] = {0xE2, 0x96, 0x81}; /* U+2581 */
    TRY(check_token(im, id, size));
    uint8_t *text = im->arena + im->used;
    size_t used = 0;
    bool sentencepiece = im->source.kind == BLOB_KIND_SENTENCEPIECE;
    if (sentencepiece && utf8_run(bytes, size) != size)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "token %zu is not UTF-8", id);
    if (!isfinite(score))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "the score of token %zu is no number",
                                     id);
    for (size_t i = 0; i < size;) {
        if (sentencepiece && size - i >= 3 && memcmp(bytes + i, space, 3) == 0) {
            text[used++] = ' ';
            i += 3;
        } else {
            text[used++] = bytes[i++];
        }
    }
    im->used += used;
    im->tokens[id] = (source_token){
        .bytes = text, .size = (uint16_t)used, .byte = !sentencepiece && used == 1, .score = score};
    return GPUZIP_OK;
}

gpuzip_status import_byte(importer *im, size_t id, uint8_t byte)
{
    TRY(check_token(im, id, 1));
    uint8_t *bytes = im->arena + im->used++;
    *bytes = byte;
    im->tokens[id] = (source_token){.bytes = bytes, .size = 1, .byte = true};
    return GPUZIP_OK;
}

int import_byte_name(const uint8_t *text, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || !text[3] || !text[4])
        return -1;
    const char *high = strchr(digits, text[3]), *low = strchr(digits, text[4]);
    return high && low ? (int)((high - digits) << 4 | (low - digits)) : -1;
}

gpuzip_status import_merge(importer *im, uint32_t left, uint32_t right)
{
    blob_source *s = &im->source;
    if (s->merges == TOKEN_MERGES_MAX)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "more than %u merges",
                                     TOKEN_MERGES_MAX);
    if (s->merges == im->merge_capacity) {
        size_t capacity = im->merge_capacity ? 2 * im->merge_capacity : 1024;
        void *merges = realloc(s->merge, capacity * sizeof(*s->merge));
        if (!merges)
            return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
        s->merge = merges;
        im->merge_capacity = capacity;
    }
    s->merge[s->merges][0] = left;
    s->merge[s->merges][1] = right;
    s->merges++;
    return GPUZIP_OK;
}

gpuzip_status import_stage(importer *im, uint8_t behaviour, const char *pattern, size_t size)
{
    blob_source *s = &im->source;
    if (s->stages == BLOB_STAGES_MAX || size == 0 || size > BLOB_PATTERN_BYTES_MAX)
        return tokenizer_import_fail(
            im, GPUZIP_ERR_UNSUPPORTED,
            "the pre-tokenizer has more than %d steps, or a pattern of %zu bytes", BLOB_STAGES_MAX,
            size);
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, size, BLOB_PATTERN_OPTIONS, &number, &offset, NULL);
    if (!code) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(number, message, sizeof(message));
        return tokenizer_import_fail(
            im, GPUZIP_ERR_UNSUPPORTED,
            "PCRE2 cannot compile the pre-tokenizer's pattern: %s (at byte %zu)",
            (const char *)message, offset);
    }
    pcre2_code_free(code);
    s->stage[s->stages++] = (source_stage){
        .behaviour = behaviour, .size = (uint16_t)size, .pattern = (const uint8_t *)pattern};
    return GPUZIP_OK;
}

gpuzip_status import_write(importer *im, uint32_t bos, void **blob, size_t *blob_size)
{
    im->source.bos = bos;
    gpuzip_status status = blob_write(&im->source, blob, blob_size);
    if (status == GPUZIP_ERR_MEMORY)
        return tokenizer_import_fail(im, status, "out of memory");
    if (status != GPUZIP_OK)
        return tokenizer_import_fail(
            im, status,
            "tokens mean the same, or are too many, or the id before a text is "
            "beyond %u",
            TOKEN_VOCAB_MAX - 1);
    return GPUZIP_OK;
}

gpuzip_status tokenizer_import_bytes(uint32_t bos, void **blob, size_t *blob_size,
                                     char error[TOKENIZER_ERROR_BYTES])
{
    importer im;
    gpuzip_status status = import_begin(&im, 0, error);
    im.source.kind = BLOB_KIND_BYTES;
    if (status == GPUZIP_OK)
        status = import_write(&im, bos == TOKENIZER_BOS_AUTO ? 0 : bos, blob, blob_size);
    import_end(&im);
    return status;
}

/* The names of special tokens in llama2.c's export. */
static bool is_llama2c_control(const uint8_t *text, size_t size)
{
    static const char *const names[] = {"<unk>", "\n<s>\n", "\n</s>\n", "<s>", "</s>"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (size == strlen(names[i]) && memcmp(text, names[i], size) == 0)
            return true;
    return false;
}

/* tokenizer.bin: u32 longest token; then for each token f32 score, i32 size,
 * bytes, all little-endian. */
static gpuzip_status import_llama2c(importer *im, const uint8_t *bin, size_t size, uint32_t vocab)
{
    im->source.kind = BLOB_KIND_SENTENCEPIECE;
    im->source.flags = BLOB_PREFIX | BLOB_RANKED;
    TRY(import_vocab(im, vocab));
    size_t pos = 4;
    for (uint32_t id = 0; id < vocab; id++) {
        uint32_t word[2] = {0, 0};
        float score;
        if (size < pos || size - pos < 8)
            return tokenizer_import_fail(
                im, GPUZIP_ERR_FORMAT,
                "tokenizer.bin ends at token %u of %u: it is not this model's", id, vocab);
        for (size_t i = 0; i < 8; i++)
            word[i / 4] |= (uint32_t)bin[pos + i] << 8 * (i % 4);
        memcpy(&score, &word[0], sizeof(score));
        pos += 8;
        if (word[1] > size - pos)
            return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                         "tokenizer.bin ends within token %u", id);
        const uint8_t *text = bin + pos;
        size_t length = word[1];
        pos += length;
        int byte = import_byte_name(text, length);
        if (byte >= 0)
            TRY(import_byte(im, id, (uint8_t)byte));
        else if (length > 0 && !(id < 3 && is_llama2c_control(text, length)))
            TRY(import_text(im, id, text, length, score));
    }
    if (pos != size)
        return tokenizer_import_fail(
            im, GPUZIP_ERR_FORMAT, "tokenizer.bin has more than %u tokens: it is not this model's",
            vocab);
    return GPUZIP_OK;
}

gpuzip_status tokenizer_import_llama2c(const void *bin, size_t size, uint32_t vocab, uint32_t bos,
                                       void **blob, size_t *blob_size,
                                       char error[TOKENIZER_ERROR_BYTES])
{
    importer im;
    gpuzip_status status = import_begin(&im, size, error);
    if (status == GPUZIP_OK)
        status = import_llama2c(&im, bin, size, vocab);
    if (bos == TOKENIZER_BOS_AUTO)
        bos = vocab > 1 ? 1 : 0; /* <s> in every file that llama2.c exports */
    if (status == GPUZIP_OK)
        status = import_write(&im, bos, blob, blob_size);
    import_end(&im);
    return status;
}
