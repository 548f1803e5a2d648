/* test_weights.c: the model file: round trip, every cut, every bit, every bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import.h"

/* Offsets of header fields, from FORMAT.md. */
enum {
    AT_VERSION = 8,
    AT_FLAGS = 12,
    AT_FILE_SIZE = 16,
    AT_LAYERS = 36,
    AT_DIM = 40,
    AT_HEADS = 44,
    AT_KV_HEADS = 48,
    AT_HEAD_DIM = 52,
    AT_VOCAB = 60,
    AT_CONTEXT = 64,
    AT_WEIGHT_BITS = 68,
    AT_BOS = 80,
    AT_EPS = 84,
    AT_ATTENTION_FACTOR = 88,
    AT_EMBEDDING_FACTOR = 92,
    AT_TESTS = 96,
    AT_TEST_HASH = 104,
    AT_TOKENIZER_SIZE = 112,
    AT_NAME = 120,
    AT_CHECK = 184,
    HEADER = 192
};

enum { DIM = 4, FFN = 5, VOCAB = 6, CONTEXT = 3 };

/* A llama2.c checkpoint: one layer, two heads of two, one KV head, a head of its own. */
static size_t make_llama2c(uint8_t *out)
{
    static const int32_t header[7] = {DIM, FFN, 1, 2, 1, -VOCAB, CONTEXT};
    size_t count =
        2 * VOCAB * DIM + 3 * DIM + DIM * (2 * DIM + 2 * 2) + 3 * FFN * DIM + 2 * CONTEXT;
    uint32_t state = 1;
    memcpy(out, header, sizeof header);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        float v = (float)(int32_t)state * 0x1p-31f;
        memcpy(out + sizeof header + 4 * i, &v, sizeof v);
    }
    return sizeof header + 4 * count;
}

/* The bytes of a small model; the caller frees them. */
static uint8_t *make_model(size_t *size, int bits)
{
    uint8_t source[4096];
    size_t source_size = make_llama2c(source);
    weights_import_options options = {.weight_bits = bits, .name = "tiny"};
    import_checkpoint c = {0};
    weights_error error;
    void *data;
    assert_int_equal(import_read_llama2c(&c, source, source_size, &error), GPUZIP_OK);
    assert_int_equal(import_build(&data, size, &c, &options, "blob", 4, 1, &error), GPUZIP_OK);
    free(c.layer);
    return data;
}

/* Opens exactly size bytes: a read behind them is a fault. Closes the model. */
static gpuzip_status try_open(const uint8_t *data, size_t size, uint8_t id[32])
{
    void *copy = NULL;
    weights_model *model = NULL;
    assert_int_equal(posix_memalign(&copy, 64, size ? size : 1), 0);
    memcpy(copy, data, size);
    gpuzip_status status = weights_open_memory(&model, copy, size);
    assert_true((status == GPUZIP_OK) == (model != NULL));
    if (model && id)
        memcpy(id, model->id, 32);
    weights_close(model);
    free(copy);
    return status;
}

static void round_trip(void **state)
{
    (void)state;
    char folder[] = "/tmp/gpuzip-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.gpzm", folder);
    for (int bits = 8; bits <= 15; bits += 7) {
        size_t size;
        uint8_t id[32], *data = make_model(&size, bits);
        weights_model *m;
        assert_int_equal(try_open(data, size, id), GPUZIP_OK);
        assert_int_equal(weights_write(path, data, size), GPUZIP_OK); /* replaces the other */
        assert_int_equal(weights_open(&m, path), GPUZIP_OK);
        assert_memory_equal(m->id, id, 32);
        const weights_config *c = &m->config;
        assert_string_equal(m->name, "tiny");
        assert_memory_equal(m->tokenizer, "blob", 4);
        assert_int_equal(m->file_size, size);
        assert_int_equal(c->arch, WEIGHTS_LLAMA);
        assert_true(c->rope && !c->post_norm);
        assert_int_equal(c->weight_bits, bits);
        assert_int_equal(c->activation_bits, 15);
        assert_int_equal(c->kv_bits, 12);
        assert_int_equal(c->bos, 1);
        assert_int_equal(c->layers, 1);
        assert_int_equal(m->layer[0].qkv.n, (2 + 2) * 2);
        assert_int_equal(m->layer[0].up.n, 2 * FFN);
        assert_int_equal(m->layer[0].down.k, FFN);
        assert_null(m->layer[0].qkv_bias);
        assert_null(m->position);
        assert_true(m->turns[0] == 0x28be60db9391054b); /* 2^64 / (2 pi), rounded */
        assert_ptr_not_equal(m->head.w, m->embedding.w);
        assert_int_equal(m->tests, 0);
        weights_close(m);
        free(data);
    }
    weights_close(NULL);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
}

/* A written file is refused with any bit changed. Without its check it is the same model. */
static void written_files_are_checked(void **state)
{
    (void)state;
    char folder[] = "/tmp/gpuzip-test-XXXXXX", path[64];
    size_t size;
    uint8_t id[32], other[32], *data = make_model(&size, 8);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.gpzm", folder);
    assert_int_equal(try_open(data, size, id), GPUZIP_OK);
    assert_int_equal(weights_write(path, data, size), GPUZIP_OK);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(data, 1, size, f), size);
    fclose(f);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(try_open(data, size, NULL), GPUZIP_OK);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(try_open(data, size, other), GPUZIP_OK);
    assert_memory_equal(other, id, 32);
    memset(data + AT_CHECK, 0, 8);
    data[AT_NAME] = 'X';
    assert_int_equal(try_open(data, size, other), GPUZIP_OK);
    assert_memory_equal(other, id, 32);
    data[AT_FLAGS + 1] ^= 1; /* a model whose name counts */
    assert_int_equal(try_open(data, size, other), GPUZIP_OK);
    assert_memory_not_equal(other, id, 32);
    free(data);
    unlink(path);
    rmdir(folder);
}

static void write_failures(void **state)
{
    (void)state;
    char folder[] = "/tmp/gpuzip-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/taken", folder);
    assert_int_equal(weights_write("/nonexistent/a.gpzm", "x", 1), GPUZIP_ERR_IO);
    assert_int_equal(mkdir(path, 0777), 0); /* a folder bears the name */
    assert_int_equal(weights_write(path, "x", 1), GPUZIP_ERR_IO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0); /* the temporary file is gone */
    weights_model *m;
    assert_int_equal(weights_open(&m, "/nonexistent/a.gpzm"), GPUZIP_ERR_IO);
    assert_int_equal(weights_open(&m, "/tmp"), GPUZIP_ERR_FORMAT);
    char empty[] = "/tmp/gpuzip-test-XXXXXX";
    close(mkstemp(empty));
    assert_int_equal(weights_open(&m, empty), GPUZIP_ERR_FORMAT);
    unlink(empty);
}

static void every_cut(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = make_model(&size, 8);
    for (size_t n = 0; n < size; n++)
        assert_int_equal(try_open(data, n, NULL), n == 0 ? GPUZIP_ERR_FORMAT : GPUZIP_ERR_CORRUPT);
    uint8_t *longer = malloc(size + 64);
    memcpy(longer, data, size);
    memset(longer + size, 0, 64);
    for (size_t n = 1; n <= 64; n++)
        assert_int_equal(try_open(longer, size + n, NULL), GPUZIP_ERR_CORRUPT);
    weights_model *m;
    assert_int_equal(weights_open_memory(&m, longer + 1, 1), GPUZIP_ERR_ARGUMENT);
    free(longer);
    free(data);
}

/* A changed file without a check is refused, or is another model, unless its name alone changed. */
static void every_bit(void **state)
{
    (void)state;
    size_t size, accepted = 0;
    uint8_t id[32], other[32], *data = make_model(&size, 8);
    assert_int_equal(try_open(data, size, id), GPUZIP_OK);
    for (size_t i = 0; i < 8 * size; i++) {
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        gpuzip_status status = try_open(data, size, other);
        if (i / 8 < AT_VERSION)
            assert_int_equal(status, GPUZIP_ERR_FORMAT);
        else if (i / 8 < AT_FLAGS)
            assert_int_equal(status, GPUZIP_ERR_UNSUPPORTED);
        else if (status == GPUZIP_OK)
            assert_true((memcmp(id, other, 32) == 0) == (i / 8 >= AT_NAME && i / 8 < AT_CHECK));
        else
            assert_int_equal(status, GPUZIP_ERR_CORRUPT);
        accepted += status == GPUZIP_OK;
        data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    /* Most of a file this small is pad. */
    assert_true(accepted > size / 2 && accepted < 4 * size);
    free(data);
}

/* Changes `width` bytes at an offset. */
typedef struct {
    size_t at;
    uint64_t value;
    int width;
    gpuzip_status expected;
} patch;

static void header_bounds(void **state)
{
    (void)state;
    static const patch patches[] = {
        {AT_FLAGS, 2 | 512, 4, GPUZIP_ERR_CORRUPT},
        {AT_FLAGS, 2 | 4, 4, GPUZIP_ERR_CORRUPT}, /* tied: another size */
        {24, 3, 4, GPUZIP_ERR_CORRUPT},
        {24, 2, 4, GPUZIP_OK},
        {24, 0xffffffff, 4, GPUZIP_ERR_CORRUPT},
        {28, 2, 4, GPUZIP_ERR_CORRUPT},
        {32, 0, 4, GPUZIP_ERR_CORRUPT},
        {32, 4, 4, GPUZIP_ERR_CORRUPT},
        {AT_LAYERS, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_LAYERS, 257, 4, GPUZIP_ERR_CORRUPT},
        {AT_LAYERS, 256, 4, GPUZIP_ERR_CORRUPT},
        {AT_LAYERS, 0x80000001, 4, GPUZIP_ERR_CORRUPT},
        {AT_DIM, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_DIM, 65536, 4, GPUZIP_ERR_CORRUPT},
        {AT_HEADS, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_HEADS, 0x7fffffff, 4, GPUZIP_ERR_CORRUPT},
        {AT_KV_HEADS, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_KV_HEADS, 3, 4, GPUZIP_ERR_CORRUPT},
        {AT_HEAD_DIM, 3, 4, GPUZIP_ERR_CORRUPT},
        {AT_HEAD_DIM, 258, 4, GPUZIP_ERR_CORRUPT},
        {AT_VOCAB, 1, 4, GPUZIP_ERR_CORRUPT},
        {AT_VOCAB, 261889, 4, GPUZIP_ERR_CORRUPT},
        {AT_CONTEXT, 1, 4, GPUZIP_ERR_CORRUPT},
        {AT_CONTEXT, 131073, 4, GPUZIP_ERR_CORRUPT},
        {AT_WEIGHT_BITS, 16, 4, GPUZIP_ERR_CORRUPT},
        {AT_WEIGHT_BITS, 15, 4, GPUZIP_ERR_CORRUPT}, /* another size */
        {72, 8, 4, GPUZIP_OK},
        {72, 12, 4, GPUZIP_ERR_CORRUPT},
        {76, 8, 4, GPUZIP_OK},
        {76, 15, 4, GPUZIP_ERR_CORRUPT},
        {AT_BOS, VOCAB - 1, 4, GPUZIP_OK},
        {AT_BOS, VOCAB, 4, GPUZIP_ERR_CORRUPT},
        {AT_EPS, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_EPS, 0x7fc00000, 4, GPUZIP_ERR_CORRUPT},
        {AT_EPS, 0x3c23d70a, 4, GPUZIP_OK}, /* 0.01f */
        {AT_EPS, 0x3c23d70b, 4, GPUZIP_ERR_CORRUPT},
        {AT_ATTENTION_FACTOR, 0, 4, GPUZIP_ERR_CORRUPT},
        {AT_ATTENTION_FACTOR, 0x41800000, 4, GPUZIP_OK}, /* 16.0f */
        {AT_ATTENTION_FACTOR, 0x41800001, 4, GPUZIP_ERR_CORRUPT},
        {AT_EMBEDDING_FACTOR, 0x80000000, 4, GPUZIP_ERR_CORRUPT},
        {AT_EMBEDDING_FACTOR, 0x7f800000, 4, GPUZIP_ERR_CORRUPT},
        {AT_TESTS, 1, 4, GPUZIP_ERR_CORRUPT}, /* another size */
        {AT_TESTS, 0xffffffff, 4, GPUZIP_ERR_CORRUPT},
        {100, 1, 4, GPUZIP_ERR_CORRUPT},
        {AT_TEST_HASH, 1, 8, GPUZIP_ERR_CORRUPT}, /* without tests */
        {AT_TOKENIZER_SIZE, 5, 8, GPUZIP_OK},     /* a zero of the pad */
        {AT_TOKENIZER_SIZE, 3, 8, GPUZIP_ERR_CORRUPT},
        {AT_TOKENIZER_SIZE, UINT64_MAX, 8, GPUZIP_ERR_CORRUPT},
        {AT_FILE_SIZE, UINT64_MAX, 8, GPUZIP_ERR_CORRUPT},
        {AT_NAME + 5, 'x', 1, GPUZIP_ERR_CORRUPT}, /* behind the end */
        {AT_NAME, 0x1b, 1, GPUZIP_ERR_CORRUPT},
        {AT_NAME, 0xc3, 1, GPUZIP_ERR_CORRUPT},
        {HEADER - 1, 1, 1, GPUZIP_ERR_CORRUPT},
    };
    size_t size;
    uint8_t *data = make_model(&size, 8), saved[8];
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++) {
        const patch *p = &patches[i];
        memcpy(saved, data + p->at, (size_t)p->width);
        memcpy(data + p->at, &p->value, (size_t)p->width);
        gpuzip_status status = try_open(data, size, NULL);
        if (status != p->expected)
            fail_msg("offset %zu, value %#llx: status %d", p->at, (unsigned long long)p->value,
                     (int)status);
        memcpy(data + p->at, saved, (size_t)p->width);
    }
    free(data);
}

/* How fields must agree, whatever size the file has. */
static void header_agreement(void **state)
{
    (void)state;
    size_t size;
    uint32_t flags;
    uint8_t *data = make_model(&size, 8);
    weights_model m = {0};
    assert_int_equal(format_read_header(&m, &flags, data, size), GPUZIP_OK);
    static const struct {
        int heads, kv_heads, head_dim;
        bool valid;
    } shapes[] = {
        {6, 3, 2, true},      {6, 6, 2, true},     {6, 4, 2, false},     {2, 4, 2, false},
        {2, 1, 256, true},    {2, 1, 258, false},  {2, 1, 3, false},     {256, 1, 256, true},
        {257, 1, 256, false}, {32768, 1, 2, true}, {32769, 1, 2, false}, {65536, 1, 2, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        m.config.heads = shapes[i].heads;
        m.config.kv_heads = shapes[i].kv_heads;
        m.config.head_dim = shapes[i].head_dim;
        assert_int_equal(format_config_valid(&m, flags), shapes[i].valid);
    }
    free(data);
}

/* Puts a value where a pointer of the opened model points, and opens again. */
static gpuzip_status open_with(uint8_t *data, size_t size, const void *where, const void *value,
                               size_t width)
{
    uint8_t saved[8], *at = data + ((const uint8_t *)where - data);
    memcpy(saved, at, width);
    memcpy(at, value, width);
    gpuzip_status status = try_open(data, size, NULL);
    memcpy(at, saved, width);
    return status;
}

static gpuzip_status open_with_float(uint8_t *data, size_t size, const float *where, float value)
{
    return open_with(data, size, where, &value, sizeof value);
}

static void tensor_bounds(void **state)
{
    (void)state;
    for (int bits = 8; bits <= 15; bits += 7) {
        size_t size;
        uint8_t *data = make_model(&size, bits);
        weights_model *m;
        assert_int_equal(weights_open_memory(&m, data, size), GPUZIP_OK);
        const weights_layer *l = &m->layer[0];
        const weights_matrix *matrix[] = {&m->embedding, &l->qkv,  &l->out,
                                          &l->up,        &l->down, &m->head};
        for (int i = 0; i < 6; i++) {
            const float *last = &matrix[i]->scale[matrix[i]->n - 1];
            size_t width = bits == 8 ? 1 : 2;
            const char *w = matrix[i]->w;
            w += width * (size_t)(matrix[i]->n * matrix[i]->k - 1);
            int16_t most = bits == 8 ? 127 : 16256, least = (int16_t)-most;
            int16_t more = most + 1, less = (int16_t)(least - 1);
            assert_int_equal(open_with_float(data, size, last, 8.0f), GPUZIP_OK);
            assert_int_equal(open_with_float(data, size, last, 8.000001f), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with_float(data, size, last, -0.0f), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with_float(data, size, last, NAN), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with(data, size, w, &most, width), GPUZIP_OK);
            assert_int_equal(open_with(data, size, w, &least, width), GPUZIP_OK);
            if (bits == 15)
                assert_int_equal(open_with(data, size, w, &more, width), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with(data, size, w, &less, width), GPUZIP_ERR_CORRUPT);
        }
        const float *gain[] = {l->norm1.gain, l->norm2.gain + DIM - 1, m->final_norm.gain};
        for (int i = 0; i < 3; i++) {
            assert_int_equal(open_with_float(data, size, gain[i], -1024.0f), GPUZIP_OK);
            assert_int_equal(open_with_float(data, size, gain[i], 1024.001f), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with_float(data, size, gain[i], INFINITY), GPUZIP_ERR_CORRUPT);
            assert_int_equal(open_with_float(data, size, gain[i], NAN), GPUZIP_ERR_CORRUPT);
        }
        uint64_t any = UINT64_MAX;
        assert_int_equal(open_with(data, size, m->turns, &any, sizeof any), GPUZIP_OK);
        weights_close(m);
        free(data);
    }
}

/* Every number within its own bound, but together they could overflow. */
static void overflow_bound(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = make_model(&size, 8);
    weights_model *m;
    assert_int_equal(weights_open_memory(&m, data, size), GPUZIP_OK);
    const weights_layer *l = &m->layer[0];
    float *gain = (float *)l->norm2.gain, *up = (float *)l->up.scale,
          *down = (float *)l->down.scale;
    memset((void *)l->up.w, 127, 2 * FFN * DIM);
    memset((void *)l->down.w, 127, DIM * FFN);
    for (int i = 0; i < DIM; i++) {
        gain[i] = 1024;
        down[i] = 8;
    }
    /* up is at most 2 sqrt(4) 1024 * 4 * 127 s, down 5 * 127 * 8 times its square; that is
     * 2^60.27 for s = 8 and 2^59.88 for s = 7. */
    for (int i = 0; i < 2 * FFN; i++)
        up[i] = 8;
    assert_int_equal(try_open(data, size, NULL), GPUZIP_ERR_CORRUPT);
    for (int i = 0; i < 2 * FFN; i++)
        up[i] = 7;
    assert_int_equal(try_open(data, size, NULL), GPUZIP_OK);
    weights_close(m);
    free(data);
}

static void test_vectors(void **state)
{
    (void)state;
    static const uint32_t token[CONTEXT + 1] = {1, VOCAB - 1, 0, 0}, outside = VOCAB;
    size_t size, plain_size;
    uint8_t plain_id[32], id[32], *plain = make_model(&plain_size, 8);
    void *data = make_model(&size, 8);
    assert_int_equal(try_open(data, size, plain_id), GPUZIP_OK);
    assert_int_equal(weights_set_test(&data, &size, token, 0, 7), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(weights_set_test(&data, &size, token, -1, 7), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(weights_set_test(&data, &size, token, CONTEXT + 1, 7), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(weights_set_test(&data, &size, &outside, 1, 7), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(size, plain_size);
    assert_memory_equal(data, plain, size);
    assert_int_equal(weights_set_test(&data, &size, token, CONTEXT, 0x0123456789abcdef), GPUZIP_OK);
    assert_int_equal(size, plain_size + 64);
    assert_int_equal(try_open(data, size, id), GPUZIP_OK);
    assert_memory_not_equal(id, plain_id, 32);
    assert_int_equal(weights_set_test(&data, &size, token, 1, 7), GPUZIP_ERR_ARGUMENT);
    weights_model *m;
    assert_int_equal(weights_open_memory(&m, data, size), GPUZIP_OK);
    assert_int_equal(m->tests, CONTEXT);
    assert_true(m->test_hash == 0x0123456789abcdef);
    assert_memory_equal(m->test_token, token, sizeof token - sizeof *token);
    assert_int_equal(open_with(data, size, &m->test_token[2], &outside, 4), GPUZIP_ERR_CORRUPT);
    assert_memory_equal(m->tokenizer, "blob", 4);
    weights_close(m);
    free(data);
    free(plain);
}

static void ngrams(void **state)
{
    (void)state;
    static const uint32_t token[2] = {1, 2};
    uint32_t first[WEIGHTS_NGRAM_BUCKET], second[2 * WEIGHTS_NGRAM_BUCKET];
    size_t size, plain_size;
    uint8_t plain_id[32], id[32];
    for (uint32_t i = 0; i < 2 * WEIGHTS_NGRAM_BUCKET; i++) {
        first[i % WEIGHTS_NGRAM_BUCKET] = 0xffffffff - i;
        second[i] = i;
    }
    void *data = make_model(&size, 8);
    assert_int_equal(weights_set_test(&data, &size, token, 2, 7), GPUZIP_OK);
    plain_size = size;
    assert_int_equal(try_open(data, size, plain_id), GPUZIP_OK);
    assert_int_equal(weights_set_ngrams(&data, &size, first, 0), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(weights_set_ngrams(&data, &size, first, WEIGHTS_MAX_NGRAMS + 1),
                     GPUZIP_ERR_ARGUMENT);
    assert_int_equal(weights_set_ngrams(&data, &size, first, 1), GPUZIP_OK);
    assert_int_equal(size, plain_size + sizeof first);
    assert_int_equal(weights_set_ngrams(&data, &size, second, 2), GPUZIP_OK); /* in their place */
    assert_int_equal(size, plain_size + sizeof second);
    assert_int_equal(weights_set_test(&data, &size, token, 2, 7), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(try_open(data, size, id), GPUZIP_OK);
    assert_memory_not_equal(id, plain_id, 32);
    weights_model *m;
    assert_int_equal(weights_open_memory(&m, data, size), GPUZIP_OK);
    assert_int_equal(m->ngram_buckets, 2);
    assert_memory_equal(m->ngrams, second, sizeof second);
    assert_int_equal(m->tests, 2);
    assert_memory_equal(m->test_token, token, sizeof token);
    static const uint32_t none = 0, more = 3;
    assert_int_equal(open_with(data, size, (uint8_t *)data + 100, &none, 4), GPUZIP_ERR_CORRUPT);
    assert_int_equal(open_with(data, size, (uint8_t *)data + 100, &more, 4), GPUZIP_ERR_CORRUPT);
    weights_close(m);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),       cmocka_unit_test(written_files_are_checked),
        cmocka_unit_test(write_failures),   cmocka_unit_test(every_cut),
        cmocka_unit_test(every_bit),        cmocka_unit_test(header_bounds),
        cmocka_unit_test(header_agreement), cmocka_unit_test(tensor_bounds),
        cmocka_unit_test(overflow_bound),   cmocka_unit_test(test_vectors),
        cmocka_unit_test(ngrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
