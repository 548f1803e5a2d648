/* test_tokenizer.c: ids against the references' (data/tokenizer_golden.txt, made
 * by golden_tokenizer.py), and the law. Tests on other projects' tokenizers need
 * $GPUZIP_DATA and skip without it. */
#include "test_tokenizer_support.h"

#include <jansson.h>
#include <time.h>

/* Reads a file of other projects, through xz if its name says so; skips the
 * test if it is absent. */
static test_bytes shared_data(const char *name)
{
    const char *folder = getenv("GPUZIP_DATA");
    char path[4096], command[8192];
    snprintf(path, sizeof(path), "%s/%s",
             folder ? folder : GPUZIP_TEST_DATA "/../../../shared/data", name);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        skip();
    size_t length = strlen(path);
    if (strcmp(path + length - 3, ".xz") != 0) {
        test_bytes file = test_read_stream(stream);
        fclose(stream);
        return file;
    }
    fclose(stream);
    snprintf(command, sizeof(command), "xz -dc '%s'", path);
    stream = popen(command, "r");
    assert_non_null(stream);
    test_bytes file = test_read_stream(stream);
    assert_int_equal(pclose(stream), 0);
    return file;
}

/* Goes through the lines of the golden file: each call finds the next whose
 * first field is `sort` and ends it, and points fields[0 .. 1] at the next two
 * and fields[2] at all the rest. */
static bool next_line(char **at, const char *sort, char *fields[3])
{
    while (**at) {
        char *line = *at;
        *at = strchr(line, '\n') + 1;
        if (strncmp(line, sort, strlen(sort)) != 0)
            continue;
        (*at)[-1] = '\0';
        char *next = line + strlen(sort) + 1;
        for (int i = 0; i < 3; i++) {
            fields[i] = next;
            char *tab = i < 2 ? strchr(next, '\t') : NULL;
            next = tab ? tab + 1 : next + strlen(next);
            if (tab)
                *tab = '\0';
        }
        return true;
    }
    return false;
}

static char *load_golden(void)
{
    test_bytes file = test_data("tokenizer_golden.txt");
    char *golden = realloc(file.bytes, file.size + 1);
    assert_non_null(golden);
    golden[file.size] = '\0';
    return golden;
}

static test_bytes find_text(const char *name)
{
    char *golden = load_golden(), *at = golden, *fields[3];
    test_bytes text = {NULL, 0};
    while (next_line(&at, "text", fields) && !text.bytes) {
        if (strcmp(fields[0], name) != 0)
            continue;
        text = (test_bytes){malloc(strlen(fields[1]) + 1), strlen(fields[1]) / 2};
        for (size_t i = 0; i < text.size; i++) {
            unsigned byte;
            assert_int_equal(sscanf(fields[1] + 2 * i, "%2x", &byte), 1);
            text.bytes[i] = (uint8_t)byte;
        }
    }
    free(golden);
    assert_non_null(text.bytes);
    return text;
}

/* Checks all golden ids of a tokenizer; at least `least` texts have some. */
static void check_golden(const tokenizer *t, const char *name, int least)
{
    char *golden = load_golden(), *at = golden, *fields[3];
    int checked = 0;
    while (next_line(&at, "ids", fields)) {
        if (strcmp(fields[0], name) != 0)
            continue;
        test_bytes text = find_text(fields[1]);
        uint32_t *ids;
        size_t count;
        assert_int_equal(tokenizer_encode(t, text.bytes, text.size, &ids, &count), GPUZIP_OK);
        char *next = fields[2];
        for (size_t i = 0; i < count; i++) {
            char *end;
            unsigned long id = strtoul(next, &end, 10);
            if (end == next || id != ids[i])
                fail_msg("%s: id %zu of text \"%s\" is %u, not %lu", name, i, fields[1], ids[i],
                         id);
            next = end;
        }
        assert_int_equal(*next, '\0');
        test_round_trip(t, tokenizer_vocab(t), text.bytes, text.size);
        free(ids);
        free(text.bytes);
        checked++;
    }
    assert_true(checked >= least);
    free(golden);
}

/* Checks the law on mixtures and on what tokenizers like to lose. */
static void check_law(const tokenizer *t)
{
    static const struct {
        const char *text;
        size_t size;
    } texts[] = {
        {"", 0},
        {"\0", 1},
        {"\0\0a\0", 4},
        {" ", 1},
        {"  ", 2},
        {"  a  b  ", 8},
        {"▁", 3},
        {" ▁▁ a▁b", 13},
        {"\xE2\x96", 2},
        {"<|endoftext|>", 13},
        {"<s></s><unk>", 12},
        {"\n<s>\n", 5},
        {"<0x0A><0xFF>", 12},
        {"<|bos|>", 7},
        {"\xED\xA0\x80", 3},
        {"\xC0\x80", 2},
        {"\xFF\xFE", 2},
        {"a\xFF z", 4},
        {"\xF4\x90\x80\x80", 4},
        {"e\xCC\x81", 3},
        {"<|begin_of_text|>", 17},
        {"[INST]", 6},
        {"\r\n \r\n", 5},
        {"\xEF\xBB\xBFx", 4},
    };
    uint32_t vocab = tokenizer_vocab(t);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        uint32_t *ids;
        size_t count;
        test_round_trip(t, vocab, texts[i].text, texts[i].size);
        assert_int_equal(
            tokenizer_encode(t, (const uint8_t *)texts[i].text, texts[i].size, &ids, &count),
            GPUZIP_OK);
        for (size_t k = 0; k < count && tokenizer_bos(t) > 0; k++)
            assert_int_not_equal(ids[k], tokenizer_bos(t));
        free(ids);
    }
    uint64_t state = 7;
    uint8_t text[3000];
    for (size_t round = 0; round < 300; round++) {
        size_t size = test_random(&state) % (round < 250 ? 40 : sizeof(text));
        test_mixture(&state, text, size);
        test_round_trip(t, vocab, text, size);
    }
}

/* Checks the tokenizers that the golden file describes in lines of this sort, as
 * data/`name` with another pre_tokenizer and no normalizer. Returns how many. */
static int check_variants(const char *sort, const char *name, int least)
{
    char *golden = load_golden(), *at = golden, *fields[3];
    int variants = 0;
    for (; next_line(&at, sort, fields); variants++) {
        test_bytes tiny = test_data(name);
        json_t *root = json_loadb((const char *)tiny.bytes, tiny.size, 0, NULL);
        json_object_set_new(root, "pre_tokenizer", json_loads(fields[1], 0, NULL));
        json_object_set_new(root, "normalizer", json_null());
        free(tiny.bytes);
        char *text = json_dumps(root, 0);
        opened o;
        open_json(&o, test_copy(text, strlen(text)));
        check_golden(o.t, fields[0], least);
        check_law(o.t);
        close_opened(&o);
        free(text);
        json_decref(root);
    }
    free(golden);
    return variants;
}

static void tiny_variants(void **state)
{
    (void)state;
    assert_int_equal(check_variants("variant", TINY_JSON, 28), 16);
    assert_int_equal(check_variants("metaspace", TINY_LLAMA, 25), 4);
}

static void tiny_model(void **state)
{
    (void)state;
    opened o;
    open_model(&o, test_data(TINY_MODEL));
    assert_string_equal(tokenizer_name(o.t), "SentencePiece BPE");
    assert_int_equal(tokenizer_vocab(o.t), 560);
    assert_int_equal(tokenizer_bos(o.t), 1);
    assert_int_equal(tokenizer_escapes(o.t), 0);
    assert_int_equal(tokenizer_prefix_bytes(o.t), 1);
    check_golden(o.t, "tiny_model", 28);
    check_law(o.t);
    close_opened(&o);
}

static void tiny_llama(void **state)
{
    (void)state;
    opened o;
    open_json(&o, test_data(TINY_LLAMA));
    assert_string_equal(tokenizer_name(o.t), "SentencePiece BPE");
    assert_int_equal(tokenizer_bos(o.t), 1);
    check_golden(o.t, "tiny_llama", 28);
    check_law(o.t);
    close_opened(&o);
}

static void gpt2_json(void **state)
{
    (void)state;
    opened o;
    open_json(&o, shared_data("tokenizers/gpt2/tokenizer.json"));
    assert_int_equal(tokenizer_vocab(o.t), 50257);
    assert_int_equal(tokenizer_bos(o.t), 50256);
    check_golden(o.t, "gpt2", 28);
    check_law(o.t);
    close_opened(&o);
}

/* Both forms of GPT-2's tokenizer make the same blob. */
static void gpt2_pair(void **state)
{
    (void)state;
    opened o, json;
    char error[TOKENIZER_ERROR_BYTES] = "";
    test_bytes vocab = shared_data("tokenizers/gpt2/vocab.json");
    test_bytes merges = shared_data("tokenizers/gpt2/merges.txt");
    gpuzip_status status = tokenizer_import_gpt2(vocab.bytes, vocab.size, merges.bytes, merges.size,
                                                 TOKENIZER_BOS_AUTO, &o.blob, &o.size, error);
    open_blob(&o, status, error);
    check_golden(o.t, "gpt2", 28);
    open_json(&json, shared_data("tokenizers/gpt2/tokenizer.json"));
    assert_int_equal(o.size, json.size);
    assert_memory_equal(o.blob, json.blob, o.size);
    close_opened(&json);
    close_opened(&o);
    free(vocab.bytes);
    free(merges.bytes);
}

static void llama3(void **state)
{
    (void)state;
    opened o;
    open_json(&o, shared_data("tokenizers/llama3/tokenizer.json.xz"));
    assert_int_equal(tokenizer_bos(o.t), 128000);
    check_golden(o.t, "llama3", 28);
    check_law(o.t);
    close_opened(&o);
}

static void llama2(void **state)
{
    (void)state;
    opened o;
    open_model(&o, shared_data("tokenizers/llama2/tokenizer.model"));
    assert_int_equal(tokenizer_vocab(o.t), 32000);
    check_golden(o.t, "llama2", 28);
    check_law(o.t);
    close_opened(&o);
    open_llama2c(&o, shared_data("tokenizers/llama2/tokenizer.bin"), 32000);
    check_golden(o.t, "llama2", 28);
    close_opened(&o);
}

static void tok512(void **state)
{
    (void)state;
    opened o;
    open_llama2c(&o, shared_data("models/stories260K/tok512.bin"), 512);
    assert_int_equal(tokenizer_vocab(o.t), 512);
    assert_int_equal(tokenizer_bos(o.t), 1);
    check_golden(o.t, "tok512", 28);
    check_law(o.t);
    close_opened(&o);
}

/* A vocabulary without byte tokens: what it lacks is escaped. */
static void tok105(void **state)
{
    (void)state;
    opened o;
    open_model(&o, shared_data("models/babyllama/tok105.model"));
    assert_int_equal(tokenizer_vocab(o.t), 105);
    assert_int_equal(tokenizer_escapes(o.t), 256);
    check_golden(o.t, "tok105", 5);
    check_law(o.t);
    uint32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(o.t, (const uint8_t *)"e\n", 2, &ids, &count), GPUZIP_OK);
    assert_int_equal(count, 3);
    assert_int_equal(ids[0], 3); /* the space before every text */
    assert_int_equal(ids[1], 4);
    assert_int_equal(ids[2], 105 + '\n');
    free(ids);
    close_opened(&o);
}

static void plain_bytes(void **state)
{
    (void)state;
    opened o;
    open_bytes(&o);
    assert_string_equal(tokenizer_name(o.t), "bytes");
    assert_int_equal(tokenizer_vocab(o.t), 256);
    assert_int_equal(tokenizer_bos(o.t), 0);
    assert_int_equal(tokenizer_escapes(o.t), 0);
    uint8_t text[256];
    uint32_t *ids;
    size_t count;
    for (int b = 0; b < 256; b++)
        text[b] = (uint8_t)b;
    assert_int_equal(tokenizer_encode(o.t, text, 256, &ids, &count), GPUZIP_OK);
    assert_int_equal(count, 256);
    for (uint32_t b = 0; b < 256; b++)
        assert_int_equal(ids[b], b);
    free(ids);
    check_law(o.t);
    close_opened(&o);
}

/* A model may have more ids than its tokenizer: escapes come after all of them. */
static void padded_vocabulary(void **state)
{
    (void)state;
    opened o;
    const uint8_t *bytes;
    size_t size;
    open_json(&o, test_data(TINY_JSON));
    assert_int_equal(tokenizer_vocab(o.t), 640);
    tokenizer *padded;
    assert_int_equal(tokenizer_open(&padded, o.blob, o.size, 639), GPUZIP_ERR_FORMAT);
    assert_int_equal(tokenizer_open(&padded, o.blob, o.size, 1024), GPUZIP_OK);
    assert_int_equal(tokenizer_vocab(padded), 640);
    check_law(padded);
    assert_int_equal(tokenizer_token_bytes(padded, 639, &bytes, &size), GPUZIP_OK);
    /* The special token, padding, and escapes that this tokenizer has not. */
    const uint32_t wrong[] = {0, 640, 1023, 1024, 1024 + 'a', UINT32_MAX};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_int_equal(tokenizer_token_bytes(padded, wrong[i], &bytes, &size),
                         GPUZIP_ERR_CORRUPT);
    uint8_t *text;
    assert_int_equal(tokenizer_decode(padded, wrong, 1, &text, &size), GPUZIP_ERR_CORRUPT);
    tokenizer_close(padded);
    close_opened(&o);
}

static uint64_t fnv1a(const void *data, size_t size)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001B3u;
    return hash;
}

/* The bytes of blobs are part of models' identity: they must not drift. */
static void blobs_are_canonical(void **state)
{
    (void)state;
    opened o;
    open_json(&o, test_data(TINY_JSON));
    assert_int_equal(o.size, 1824);
    assert_int_equal(fnv1a(o.blob, o.size), 0xCCE3E87AC75F7458u);
    close_opened(&o);
    open_model(&o, test_data(TINY_MODEL));
    assert_int_equal(o.size, 1605);
    assert_int_equal(fnv1a(o.blob, o.size), 0x6696685DB16A7166u);
    close_opened(&o);
    open_json(&o, test_data(TINY_LLAMA));
    assert_int_equal(o.size, 1516);
    assert_int_equal(fnv1a(o.blob, o.size), 0xAD6E81B7E30FAD4Cu);
    close_opened(&o);
}

/* Long pieces take n log n steps: a quadratic loop would take minutes. */
static void long_pieces(void **state)
{
    (void)state;
    size_t size = 1 << 20;
    uint8_t *text = malloc(size);
    opened o[3];
    open_json(&o[0], test_data(TINY_JSON));
    open_model(&o[1], test_data(TINY_MODEL));
    open_json(&o[2], test_data(TINY_LLAMA));
    for (size_t i = 0; i < 3; i++) {
        for (const char *c = "e t\n"; *c; c++) {
            memset(text, *c, size);
            clock_t begin = clock();
            test_round_trip(o[i].t, tokenizer_vocab(o[i].t), text, size);
            assert_true((clock() - begin) / CLOCKS_PER_SEC < 20);
        }
        close_opened(&o[i]);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_variants),
        cmocka_unit_test(tiny_model),
        cmocka_unit_test(tiny_llama),
        cmocka_unit_test(gpt2_json),
        cmocka_unit_test(gpt2_pair),
        cmocka_unit_test(llama3),
        cmocka_unit_test(llama2),
        cmocka_unit_test(tok512),
        cmocka_unit_test(tok105),
        cmocka_unit_test(plain_bytes),
        cmocka_unit_test(padded_vocabulary),
        cmocka_unit_test(blobs_are_canonical),
        cmocka_unit_test(long_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
