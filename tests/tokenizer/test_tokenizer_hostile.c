/* test_tokenizer_hostile.c: damaged and malicious blobs and files give an error,
 * or else a tokenizer that obeys the law. */
#include "test_tokenizer_support.h"

static const char *const samples[] = {
    "",
    "a",
    "the miller's daughter counted 1234 boats:  one\r\n\ttwo  ",
    "Größe ▁ 日本語 👩‍👩‍👧 e\xCC\x81 \xFF\xC3\x28 \xED\xA0\x80 <s> <|bos|>",
};

/* Opens a blob in an allocation of exactly its size. Returns whether it opens;
 * then it was checked, too. */
static bool try_blob(const uint8_t *blob, size_t size)
{
    test_bytes exact = test_copy(blob, size);
    tokenizer *t = NULL;
    gpuzip_status status = tokenizer_open(&t, exact.bytes, size, 0);
    free(exact.bytes);
    if (status != GPUZIP_OK) {
        assert_null(t);
        assert_true(status == GPUZIP_ERR_FORMAT || status == GPUZIP_ERR_CORRUPT ||
                    status == GPUZIP_ERR_UNSUPPORTED);
        return false;
    }
    for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++)
        test_round_trip(t, tokenizer_vocab(t), samples[i], strlen(samples[i]));
    tokenizer_close(t);
    return true;
}

typedef gpuzip_status (*import_function)(const void *file, size_t size, void **blob,
                                         size_t *blob_size, char *error);

static gpuzip_status import_json(const void *file, size_t size, void **blob, size_t *blob_size,
                                 char *error)
{
    return tokenizer_import_json(file, size, TOKENIZER_BOS_AUTO, blob, blob_size, error);
}

static gpuzip_status import_model(const void *file, size_t size, void **blob, size_t *blob_size,
                                  char *error)
{
    return tokenizer_import_sentencepiece(file, size, TOKENIZER_BOS_AUTO, blob, blob_size, error);
}

/* Small files, so that every byte can be damaged in turn. */
static const char small_json[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\" ?\\\\p{L}+|\\\\s+\"},\"behavior\":\"Isolated\","
    "\"invert\":false},{\"type\":\"ByteLevel\",\"use_regex\":false}]},"
    "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"<s>\":0,\"a\":1,\"t\":2,"
    "\"h\":3,\"e\":4,\"th\":6,\"the\":5,\"\\u0120the\":8,\"\\u0120\":7,\"boats\":9},"
    "\"merges\":[[\"t\",\"h\"],\"th e\",\"\\u0120 the\"]}}";

static test_bytes import_all(import_function import, const void *file, size_t size)
{
    char error[TOKENIZER_ERROR_BYTES];
    void *blob;
    size_t blob_size;
    assert_int_equal(import(file, size, &blob, &blob_size, error), GPUZIP_OK);
    return (test_bytes){blob, blob_size};
}

/* The blobs to damage: [0, 3). */
static test_bytes blob_number(int number)
{
    if (number == 0)
        return import_all(import_json, small_json, strlen(small_json));
    test_bytes file = test_data(number == 1 ? TINY_MODEL : TINY_LLAMA);
    test_bytes blob = import_all(number == 1 ? import_model : import_json, file.bytes, file.size);
    free(file.bytes);
    return blob;
}

static void blob_prefixes(void **state)
{
    (void)state;
    for (int number = 0; number < 3; number++) {
        test_bytes blob = blob_number(number);
        assert_true(try_blob(blob.bytes, blob.size));
        for (size_t size = 0; size < blob.size; size++)
            assert_false(try_blob(blob.bytes, size));
        test_bytes longer = test_copy(blob.bytes, blob.size);
        longer.bytes = realloc(longer.bytes, blob.size + 1);
        longer.bytes[blob.size] = 0;
        assert_false(try_blob(longer.bytes, blob.size + 1));
        free(longer.bytes);
        free(blob.bytes);
    }
}

static void blob_mutations(void **state)
{
    (void)state;
    uint64_t random = 11;
    for (int number = 0; number < 3; number++) {
        test_bytes blob = blob_number(number);
        for (size_t round = 0; round < 3000; round++) {
            test_bytes damaged = test_copy(blob.bytes, blob.size);
            for (uint32_t hits = 1 + test_random(&random) % 3; hits > 0; hits--) {
                size_t at = test_random(&random) % (round % 2 ? blob.size : 200) % blob.size;
                damaged.bytes[at] ^= (uint8_t)(1u << test_random(&random) % 8);
            }
            (void)try_blob(damaged.bytes, damaged.size);
            free(damaged.bytes);
        }
        free(blob.bytes);
    }
}

/* Tries an import; what it makes must open and obey the law. */
static void try_import(import_function import, const uint8_t *file, size_t size)
{
    test_bytes exact = test_copy(file, size);
    char error[TOKENIZER_ERROR_BYTES] = "";
    void *blob = NULL;
    size_t blob_size = 0;
    gpuzip_status status = import(exact.bytes, size, &blob, &blob_size, error);
    free(exact.bytes);
    if (status == GPUZIP_OK) {
        assert_true(try_blob(blob, blob_size));
        free(blob);
        return;
    }
    assert_null(blob);
    assert_true(status == GPUZIP_ERR_FORMAT || status == GPUZIP_ERR_UNSUPPORTED);
    assert_true(error[0] != '\0');
    for (const char *c = error; *c; c++)
        assert_true(*c >= ' ' && *c <= '~');
}

static void damage_file(import_function import, const uint8_t *file, size_t size)
{
    uint64_t random = 13;
    for (size_t prefix = 0; prefix <= size; prefix += size > 1000 ? 37 : 1)
        try_import(import, file, prefix);
    for (size_t round = 0; round < 1500; round++) {
        test_bytes damaged = test_copy(file, size);
        for (uint32_t hits = 1 + test_random(&random) % 3; hits > 0; hits--)
            damaged.bytes[test_random(&random) % size] = (uint8_t)test_random(&random);
        try_import(import, damaged.bytes, size);
        free(damaged.bytes);
    }
}

static void json_damage(void **state)
{
    (void)state;
    damage_file(import_json, (const uint8_t *)small_json, strlen(small_json));
}

static void model_damage(void **state)
{
    (void)state;
    test_bytes model = test_data(TINY_MODEL);
    damage_file(import_model, model.bytes, model.size);
    free(model.bytes);
}

/* A model of one piece, which ends with the file: each byte less is too few. */
static void model_prefixes(void **state)
{
    (void)state;
    static const uint8_t model[] = {0x12, 2, 0x18, 2, 0x0A, 3, 0x0A, 1, 'a'};
    free(import_all(import_model, model, sizeof(model)).bytes);
    for (size_t prefix = 0; prefix < sizeof(model); prefix++) {
        test_bytes exact = test_copy(model, prefix);
        char error[TOKENIZER_ERROR_BYTES];
        void *blob;
        size_t size;
        assert_int_not_equal(import_model(exact.bytes, prefix, &blob, &size, error), GPUZIP_OK);
        free(exact.bytes);
    }
}

/* Four tokens of llama2.c's form, the last with the given size field. */
static size_t make_bin(uint8_t bin[64], uint32_t last_size)
{
    static const char *const texts[] = {"<unk>", "\n<s>\n", "a", "aa"};
    size_t used = 0;
    memset(bin, 0, 64);
    bin[used] = 5;
    used += 4;
    for (int i = 0; i < 4; i++) {
        uint32_t length = (uint32_t)strlen(texts[i]);
        uint32_t size = i == 3 ? last_size : length;
        for (int k = 0; k < 4; k++)
            bin[used + 4 + (size_t)k] = (uint8_t)(size >> 8 * k);
        memcpy(bin + used + 8, texts[i], length);
        used += 8 + length;
    }
    return used;
}

static void llama2c_damage(void **state)
{
    (void)state;
    uint8_t bin[64];
    char error[TOKENIZER_ERROR_BYTES];
    void *blob;
    size_t blob_size, size = make_bin(bin, 2);
    assert_int_equal(tokenizer_import_llama2c(bin, size, 4, 1, &blob, &blob_size, error),
                     GPUZIP_OK);
    assert_true(try_blob(blob, blob_size));
    free(blob);
    for (size_t prefix = 0; prefix < size; prefix++) {
        test_bytes exact = test_copy(bin, prefix);
        assert_int_equal(
            tokenizer_import_llama2c(exact.bytes, prefix, 4, 1, &blob, &blob_size, error),
            GPUZIP_ERR_FORMAT);
        free(exact.bytes);
    }
    const uint32_t vocabs[] = {0, 3, 5, UINT32_MAX};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(
            tokenizer_import_llama2c(bin, size, vocabs[i], 1, &blob, &blob_size, error),
            GPUZIP_ERR_FORMAT);
    const uint32_t sizes[] = {1, 3, 0x7FFFFFFF, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        make_bin(bin, sizes[i]);
        assert_int_equal(tokenizer_import_llama2c(bin, size, 4, 1, &blob, &blob_size, error),
                         GPUZIP_ERR_FORMAT);
    }
}

/* A blob of kind 1: the bytes a and b, and the products "ab" and "aba". */
static const uint8_t little_blob[] = {
    'G', 'T', 'O', 'K', 1, 1, 0, 0, /* version, kind, flags, stages */
    4,   0,   0,   0,               /* 8: vocab */
    1,   0,   0,   0,               /* 12: bos */
    2,   0,   0,   0,               /* 16: runs */
    11,  0,   0,   0,               /* 20: two of class 3 */
    10,  0,   0,   0,               /* 24: two of class 2 */
    'a', 'b',                       /* 28 */
    2,   0,   0,   0,               /* 30: merges */
    0,   0,   1,   0,               /* 34: a b */
    2,   0,   0,   0,               /* 38: ab a */
};
#define LITTLE_BYTES sizeof(little_blob)

static void blob_lies(void **state)
{
    (void)state;
    static const struct {
        uint8_t offset, value;
        gpuzip_status status;
    } lies[] = {
        {0, 'g', GPUZIP_ERR_FORMAT},  {4, 2, GPUZIP_ERR_UNSUPPORTED},
        {5, 2, GPUZIP_ERR_FORMAT},    /* SentencePiece merges no byte tokens */
        {5, 3, GPUZIP_ERR_FORMAT},    /* no such kind */
        {5, 0, GPUZIP_ERR_FORMAT},    /* bytes: vocab < 256, and something follows */
        {6, 4, GPUZIP_ERR_FORMAT},    /* ranked is for SentencePiece */
        {6, 8, GPUZIP_ERR_FORMAT},    /* ranks without ranked */
        {6, 16, GPUZIP_ERR_FORMAT},   /* no such flag */
        {7, 17, GPUZIP_ERR_FORMAT},   /* too many stages */
        {7, 1, GPUZIP_ERR_FORMAT},    /* the stage's pattern is empty */
        {8, 0, GPUZIP_ERR_FORMAT},    /* no ids */
        {8, 3, GPUZIP_ERR_FORMAT},    /* fewer ids than in the runs */
        {8, 5, GPUZIP_ERR_FORMAT},    /* more */
        {11, 1, GPUZIP_ERR_FORMAT},   /* vocab > 2^21 */
        {12, 4, GPUZIP_ERR_FORMAT},   /* bos is no id */
        {16, 1, GPUZIP_ERR_FORMAT},   /* the runs do not sum to vocab */
        {19, 1, GPUZIP_ERR_FORMAT},   /* too many runs */
        {20, 3, GPUZIP_ERR_FORMAT},   /* an empty run */
        {23, 1, GPUZIP_ERR_FORMAT},   /* a huge one */
        {24, 11, GPUZIP_ERR_FORMAT},  /* two runs of one class */
        {24, 8, GPUZIP_ERR_FORMAT},   /* no products for the merges */
        {28, 'b', GPUZIP_ERR_FORMAT}, /* the same byte twice */
        {30, 1, GPUZIP_ERR_FORMAT},   /* something follows the merges */
        {30, 3, GPUZIP_ERR_CORRUPT},  /* merges beyond the end */
        {33, 1, GPUZIP_ERR_FORMAT},   /* too many merges */
        {34, 2, GPUZIP_ERR_FORMAT},   /* a merge of its own result */
        {36, 3, GPUZIP_ERR_FORMAT},   /* of a later product */
        {36, 4, GPUZIP_ERR_FORMAT},   /* of no id */
        {38, 3, GPUZIP_ERR_FORMAT},   /* of its own result */
    };
    uint8_t blob[LITTLE_BYTES];
    tokenizer *t;
    assert_true(try_blob(little_blob, LITTLE_BYTES));
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        memcpy(blob, little_blob, LITTLE_BYTES);
        blob[lies[i].offset] = lies[i].value;
        if (tokenizer_open(&t, blob, LITTLE_BYTES, 0) != lies[i].status)
            fail_msg("%u at %u is not refused as it should be", lies[i].value, lies[i].offset);
    }
    memcpy(blob, little_blob, LITTLE_BYTES);
    memcpy(blob + 38, blob + 34, 4); /* the same merge twice */
    assert_int_equal(tokenizer_open(&t, blob, LITTLE_BYTES, 0), GPUZIP_ERR_FORMAT);
    memcpy(blob, little_blob, LITTLE_BYTES);
    blob[8] = 5; /* a product more than the merges make */
    blob[24] = 14;
    assert_int_equal(tokenizer_open(&t, blob, LITTLE_BYTES, 0), GPUZIP_ERR_FORMAT);
}

/* A vocabulary that has ids but not one token: everything is escaped. */
static void blob_without_tokens(void **state)
{
    (void)state;
    for (uint8_t kind = 1; kind <= 2; kind++) {
        const uint8_t blob[] = {'G', 'T', 'O', 'K', 1, kind, 0, 0, 1, 0, 0, 0, 0, 0,
                                0,   0,   1,   0,   0, 0,    4, 0, 0, 0, 0, 0, 0, 0};
        assert_true(try_blob(blob, sizeof(blob)));
    }
}

/* Each product is twice the one before: 512 bytes are the most. */
static void blob_doubling(void **state)
{
    (void)state;
    for (uint8_t products = 8; products <= 10; products++) {
        uint8_t blob[128] = {'G', 'T', 'O', 'K', 1, 1, 0, 0, products + 1};
        size_t used = 16;
        const uint8_t runs[] = {2, 0, 0, 0,   1 << 2 | 3, 0, 0, 0, (uint8_t)(products << 2 | 2),
                                0, 0, 0, 'x', products,   0, 0, 0};
        memcpy(blob + used, runs, sizeof(runs));
        used += sizeof(runs);
        for (uint8_t i = 0; i < products; i++, used += 4)
            blob[used] = blob[used + 2] = i;
        assert_int_equal(try_blob(blob, used), products <= 9);
    }
}

/* Puts a stage with this pattern into the little blob. */
static size_t put_pattern(uint8_t *blob, const char *pattern)
{
    size_t size = strlen(pattern);
    memcpy(blob, little_blob, 16);
    blob[7] = 1;
    blob[16] = 0;
    blob[17] = (uint8_t)size;
    blob[18] = (uint8_t)(size >> 8);
    memcpy(blob + 19, pattern, size);
    memcpy(blob + 19 + size, little_blob + 16, LITTLE_BYTES - 16);
    return LITTLE_BYTES + 3 + size;
}

static void patterns(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "(", "a\\C", "\xFF", "[z-a]", "(?<=a*)b", "\\p{Nonsense}", "(a{65535}){65535}"};
    static const char *const slow[] = {"(a+a+)+y",     "(a|a)*$.",          "(?:a?){99}a{99}y",
                                       "(?R)?a(?R)?y", "(*NO_JIT)(a+a+)+y", "(*LIMIT_MATCH=1)a+b"};
    static const char *const odd[] = {"(?=a)",        "a*",        "\\b", "(?:)",
                                      "a\\Kb",        "(*ACCEPT)", "^|$", "(*CRLF)\\R",
                                      "(?(DEFINE)a)", "(?C1)a",    "\\G"};
    uint8_t blob[256];
    tokenizer *t;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(tokenizer_open(&t, blob, put_pattern(blob, bad[i]), 0), GPUZIP_ERR_FORMAT);
    uint8_t text[1000];
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(slow) / sizeof(*slow); i++) {
        assert_int_equal(tokenizer_open(&t, blob, put_pattern(blob, slow[i]), 0), GPUZIP_OK);
        test_round_trip(t, 4, text, sizeof(text));
        tokenizer_close(t);
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        assert_true(try_blob(blob, put_pattern(blob, odd[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blob_prefixes),  cmocka_unit_test(blob_mutations),
        cmocka_unit_test(json_damage),    cmocka_unit_test(model_damage),
        cmocka_unit_test(model_prefixes), cmocka_unit_test(llama2c_damage),
        cmocka_unit_test(blob_lies),      cmocka_unit_test(blob_without_tokens),
        cmocka_unit_test(blob_doubling),  cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
