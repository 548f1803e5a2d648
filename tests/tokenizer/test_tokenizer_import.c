/* test_tokenizer_import.c: small files that try the importers' rules one by one. */
#include "test_tokenizer_support.h"

static void check_ids(const tokenizer *t, const char *text, const uint32_t *expected, size_t count)
{
    uint32_t *ids;
    size_t ids_count;
    assert_int_equal(tokenizer_encode(t, (const uint8_t *)text, strlen(text), &ids, &ids_count),
                     GPUZIP_OK);
    assert_int_equal(ids_count, count);
    assert_memory_equal(ids, expected, count * sizeof(*ids));
    free(ids);
}

/* A byte-level vocabulary without tokens for some bytes, and a model that is padded. */
static void byte_level_escapes(void **state)
{
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":false},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":3,\"b\":1,\"ab\":0,\"aba\":5,\"ba\":2},"
        "\"merges\":[[\"a\",\"b\"],\"ab a\",\"b a\"]}}";
    opened o;
    open_json(&o, test_copy(json, strlen(json)));
    assert_int_equal(tokenizer_vocab(o.t), 6);
    assert_int_equal(tokenizer_bos(o.t), 4);
    assert_int_equal(tokenizer_escapes(o.t), 256);
    tokenizer *padded;
    uint32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_open(&padded, o.blob, o.size, 8), GPUZIP_OK);
    const uint8_t text[] = "bacabaa\xFF";
    const uint32_t expected[] = {2, 8 + 'c', 5, 3, 8 + 0xFF};
    assert_int_equal(tokenizer_encode(padded, text, sizeof(text) - 1, &ids, &count), GPUZIP_OK);
    assert_int_equal(count, 5);
    assert_memory_equal(ids, expected, sizeof(expected));
    test_round_trip(padded, 8, text, sizeof(text) - 1);
    free(ids);
    tokenizer_close(padded);
    close_opened(&o);
}

/* With ignore_merges, a piece that is a token is taken as it is, even if no
 * merges lead to it; part of a piece is not, however long the piece. */
static void whole_pieces(void **state)
{
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"String\":\" \"},\"behavior\":\"Isolated\"},"
        "{\"type\":\"ByteLevel\",\"use_regex\":false}]},"
        "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"merges\":[],"
        "\"vocab\":{\"a\":0,\"b\":1,\"x\":2,\"ab\":3,\"\\u0120\":4}}}";
    static const char text[] = "ab xab xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxab ab";
    opened o;
    uint32_t expected[44] = {3, 4, 2, 0, 1, 4};
    for (int i = 6; i < 38; i++)
        expected[i] = 2;
    memcpy(expected + 38, (const uint32_t[]){0, 1, 4, 3}, 4 * sizeof(*expected));
    open_json(&o, test_copy(json, strlen(json)));
    check_ids(o.t, text, expected, 42);
    close_opened(&o);
}

/* Of merges of the same score, the leftmost is done first. */
static void equal_scores(void **state)
{
    (void)state;
    static const char bin[] = "\2\0\0\0"
                              "\0\0\0\0\1\0\0\0a"
                              "\0\0\0\0\1\0\0\0b"
                              "\0\0\0\0\1\0\0\0c"
                              "\0\0\x80\xBF\2\0\0\0bc"
                              "\0\0\x80\xBF\2\0\0\0ab";
    opened o;
    open_llama2c(&o, test_copy(bin, sizeof(bin) - 1), 5);
    check_ids(o.t, "abc", (const uint32_t[]){5 + ' ', 4, 2}, 3);
    close_opened(&o);
}

/* Of equal merges the last counts; special tokens are none although they are
 * in the vocabulary and pieces are taken whole. */
static void odd_vocabulary(void **state)
{
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":false},"
        "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,"
        "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"<s>\":5},"
        "\"merges\":[\"a b\",\"b c\",\"a b\"]}}";
    opened o;
    open_json(&o, test_copy(json, strlen(json)));
    check_ids(o.t, "abc", (const uint32_t[]){0, 4}, 2);
    check_ids(o.t, "<s>", (const uint32_t[]){6 + '<', 6 + 's', 6 + '>'}, 3);
    close_opened(&o);
}

/* Patterns with the same meaning in both engines, and steps that ByteLevel does not disturb. */
static void accepted_patterns(void **state)
{
    (void)state;
    static const char *const pattern[] = {"[[:alpha:]]+[^a]", "[a&b]|&&", "\\\\p{N}{1,3}", "[^]a]",
                                          "a++|[\\\\[&]&|\\\\p{L}+"};
    for (size_t i = 0; i < sizeof(pattern) / sizeof(*pattern); i++) {
        char json[512];
        opened o;
        snprintf(
            json, sizeof(json),
            "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
            "\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"%s\"}},{\"type\":\"ByteLevel\","
            "\"use_regex\":false},{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":"
            "{\"Regex\":\"[0-9][0-9]\"}}]},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
            pattern[i]);
        open_json(&o, test_copy(json, strlen(json)));
        close_opened(&o);
    }
}

/* A vocabulary may have the character NUL as a token. */
static void nul_is_a_token(void **state)
{
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\","
        "\"prepend_scheme\":\"never\"},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,"
        "\"vocab\":{\"a\":0,\"\\u0000\":1,\"a\\u0000\":2,\"\\\\u0000\":3,\"b\":4},"
        "\"merges\":[[\"a\",\"\\u0000\"]]}}";
    static const uint8_t text[] = {'a', 0, 0, 'b'};
    static const uint32_t expected[] = {2, 1, 4};
    opened o;
    uint32_t *ids;
    size_t count;
    open_json(&o, test_copy(json, strlen(json)));
    assert_int_equal(tokenizer_encode(o.t, text, sizeof(text), &ids, &count), GPUZIP_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(ids, expected, sizeof(expected));
    free(ids);
    close_opened(&o);
}

/* A byte-level tokenizer with a pattern, and one with a step behind ByteLevel. */
#define SPLIT(pattern, part)                                                                       \
    {                                                                                              \
        "{\"model\":{},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern    \
        "\"},\"behavior\":\"Isolated\"}}",                                                         \
            part, GPUZIP_ERR_UNSUPPORTED                                                           \
    }
#define BEHIND_BYTES(step)                                                                         \
    {                                                                                              \
        "{\"model\":{},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"     \
        "\"ByteLevel\"}," step "]}}",                                                              \
            "stands behind ByteLevel", GPUZIP_ERR_UNSUPPORTED                                      \
    }

/* Each refused tokenizer gives a reason. */
static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part; /* of the message */
        gpuzip_status status;
    } refused[] = {
        {"[", "no JSON", GPUZIP_ERR_FORMAT},
        {"[]", "no \"model\"", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\"}}", "Unigram", GPUZIP_ERR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"}}", "suffix",
         GPUZIP_ERR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\"}}", "neither", GPUZIP_ERR_UNSUPPORTED},
        {"{\"model\":{},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}}", "BertPreTokenizer",
         GPUZIP_ERR_UNSUPPORTED},
        {"{\"model\":{},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", "vocabulary",
         GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":-1}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", "no id",
         GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":99999999}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "no id", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "two tokens", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "\"merges\"", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]},"
         "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "\"aa\"", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]},"
         "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "not two tokens", GPUZIP_ERR_FORMAT},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[7]},"
         "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "no merge", GPUZIP_ERR_FORMAT},
        {"{\"model\":{},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
         "\"behavior\":\"Isolated\"}}",
         "PCRE2 cannot compile", GPUZIP_ERR_UNSUPPORTED},
        {"{\"model\":{},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
         "\"behavior\":\"Sideways\"}}",
         "behavior", GPUZIP_ERR_UNSUPPORTED},
        SPLIT("[a-z&&[^\\\\p{Han}]]", "intersection"),
        SPLIT("[a[bc]]", "a class within a class"),
        SPLIT("\\\\p{N}{1,3}+", "a repeated count"),
        BEHIND_BYTES("{\"type\":\"Digits\",\"individual_digits\":true}"),
        BEHIND_BYTES("{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
                     "\"\\\\p{L}\"}}"),
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        void *blob;
        size_t size;
        char error[TOKENIZER_ERROR_BYTES] = "";
        assert_int_equal(tokenizer_import_json(refused[i].json, strlen(refused[i].json),
                                               TOKENIZER_BOS_AUTO, &blob, &size, error),
                         refused[i].status);
        if (!strstr(error, refused[i].part))
            fail_msg("\"%s\" does not say %s", error, refused[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_escapes), cmocka_unit_test(whole_pieces),
        cmocka_unit_test(equal_scores),       cmocka_unit_test(odd_vocabulary),
        cmocka_unit_test(refusals),           cmocka_unit_test(accepted_patterns),
        cmocka_unit_test(nul_is_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
