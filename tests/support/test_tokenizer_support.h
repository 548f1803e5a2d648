/* test_tokenizer_support.h: what the tests of the tokenizers share. */
#ifndef GPUZIP_TEST_TOKENIZER_SUPPORT_H
#define GPUZIP_TEST_TOKENIZER_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "tokenizer_import.h"

#define TINY_JSON  "tokenizer_tiny.json"
#define TINY_MODEL "tokenizer_tiny.model"
#define TINY_LLAMA "tokenizer_tiny_llama.json"

typedef struct {
    uint8_t *bytes; /* [size], allocated to exactly this size */
    size_t size;
} test_bytes;

/* Returns a copy in an allocation of exactly size bytes, so that ASan sees one
 * byte too far. */
static inline test_bytes test_copy(const void *bytes, size_t size)
{
    test_bytes copy = {malloc(size ? size : 1), size};
    assert_non_null(copy.bytes);
    if (size)
        memcpy(copy.bytes, bytes, size);
    return copy;
}

/* Reads all of a stream; bytes is NULL if there is none. */
static inline test_bytes test_read_stream(FILE *stream)
{
    test_bytes file = {NULL, 0};
    size_t capacity = 0, got;
    do {
        if (file.size == capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            file.bytes = realloc(file.bytes, capacity);
            assert_non_null(file.bytes);
        }
        got = fread(file.bytes + file.size, 1, capacity - file.size, stream);
        file.size += got;
    } while (got > 0);
    return file;
}

/* Reads a file of tests/data. */
static inline test_bytes test_data(const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", GPUZIP_TEST_DATA, name);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    test_bytes file = test_read_stream(stream);
    fclose(stream);
    return file;
}

/* An imported blob and its tokenizer. */
typedef struct {
    void *blob;
    size_t size;
    tokenizer *t;
} opened;

static inline void open_blob(opened *o, gpuzip_status imported, const char *error)
{
    if (imported != GPUZIP_OK)
        fail_msg("%s", error);
    assert_int_equal(tokenizer_open(&o->t, o->blob, o->size, 0), GPUZIP_OK);
}

static inline void close_opened(opened *o)
{
    tokenizer_close(o->t);
    free(o->blob);
}

static inline void open_json(opened *o, test_bytes json)
{
    char error[TOKENIZER_ERROR_BYTES] = "";
    gpuzip_status status =
        tokenizer_import_json(json.bytes, json.size, TOKENIZER_BOS_AUTO, &o->blob, &o->size, error);
    open_blob(o, status, error);
    free(json.bytes);
}

static inline void open_model(opened *o, test_bytes model)
{
    char error[TOKENIZER_ERROR_BYTES] = "";
    gpuzip_status status = tokenizer_import_sentencepiece(
        model.bytes, model.size, TOKENIZER_BOS_AUTO, &o->blob, &o->size, error);
    open_blob(o, status, error);
    free(model.bytes);
}

static inline void open_llama2c(opened *o, test_bytes bin, uint32_t vocab)
{
    char error[TOKENIZER_ERROR_BYTES] = "";
    gpuzip_status status = tokenizer_import_llama2c(bin.bytes, bin.size, vocab, TOKENIZER_BOS_AUTO,
                                                    &o->blob, &o->size, error);
    open_blob(o, status, error);
    free(bin.bytes);
}

static inline void open_bytes(opened *o)
{
    char error[TOKENIZER_ERROR_BYTES] = "";
    open_blob(o, tokenizer_import_bytes(TOKENIZER_BOS_AUTO, &o->blob, &o->size, error), error);
}

/* xorshift64*; the same numbers on every machine. state is not 0. */
static inline uint32_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545F4914F6CDD1Du >> 32);
}

/* Checks the law on one text, and that the ids are in range. */
static inline void test_round_trip(const tokenizer *t, uint32_t vocab, const void *text,
                                   size_t size)
{
    test_bytes exact = test_copy(text, size);
    uint32_t *ids;
    size_t count, decoded_size;
    uint8_t *decoded;
    assert_int_equal(tokenizer_encode(t, exact.bytes, size, &ids, &count), GPUZIP_OK);
    assert_true(count <= size + 1);
    for (size_t i = 0; i < count; i++)
        assert_true(ids[i] < tokenizer_vocab(t) ||
                    (ids[i] >= vocab && ids[i] - vocab < tokenizer_escapes(t)));
    assert_int_equal(tokenizer_decode(t, ids, count, &decoded, &decoded_size), GPUZIP_OK);
    assert_int_equal(decoded_size, size);
    assert_memory_equal(decoded, exact.bytes, size);
    free(decoded);
    free(ids);
    free(exact.bytes);
}

/* Fills text[0, size) with a mixture of bytes, characters, spaces and words. */
static inline void test_mixture(uint64_t *state, uint8_t *text, size_t size)
{
    static const char *const parts[] = {
        " ",
        "  ",
        "\n",
        "\r\n",
        "the",
        "er",
        "'s",
        "12",
        "\xC3",
        "\xA9",
        "é",
        "▁",
        "日本",
        "😀",
        "\xED\xA0\x80",
        "\xC0\xAF",
        "<s>",
        "<|bos|>",
        "<0x41>",
        "\xF4\x90\x80\x80",
        "e\xCC\x81",
        "\xE1\xA0\x8E",
        "\xF0\x9F",
        "",
    };
    for (size_t used = 0; used < size;) {
        uint32_t random = test_random(state);
        if (random % 4 == 0) {
            text[used++] = (uint8_t)(random >> 8);
            continue;
        }
        const char *part = parts[(random >> 8) % (sizeof(parts) / sizeof(*parts))];
        for (; *part && used < size; part++)
            text[used++] = (uint8_t)*part;
    }
}

#endif
