/* test_engine_learn.c: the models' weights learn while a block is coded; the code is the same for
 * any threads, instruction sets and sizes of passes, and decodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TOKENS_MAX 5000
#include "engine_fixture.h"

#define TOKENS (SCHEDULE_WEIGHT_TOKENS + 100)

typedef struct {
    uint32_t streams;
    int window, hop, update;
    bool scope;
    int learns;
} setting;

static const setting settings[] = {
    {1, 32, 0, 16, false, MIXING | CONTEXTS},
    {7, 20, 0, 3, false, MIXING | CONTEXTS},
    {300, 48, 0, 16, false, MIXING | CONTEXTS},
    {5, 64, 24, 5, false, CONTEXTS},
    {9, 48, 48, 16, true, MIXING},
    {4, 33, 0, 1, false, EVERYTHING},
    {130, 17, 0, 7, false, NOTHING},
};
#define SETTINGS (sizeof settings / sizeof *settings)

static engine_config learning(const fixture *f, const setting *s)
{
    engine_config c = config_of(f, s->window, s->hop, s->update, s->scope, s->learns);
    c.learn_weights = true;
    return c;
}

static text_block code(const setting *s, size_t n, const char *isa, int threads, int pass_rows,
                       uint8_t **bytes)
{
    fixture f;
    assert_true(fixture_open(&f, isa, threads));
    engine_config c = learning(&f, s);
    c.pass_rows = pass_rows;
    text_block block = encode(&f, &c, n, s->streams, threads, bytes);
    fixture_close(&f);
    return block;
}

static void check_decodes(const setting *s, const text_block *coded, const char *isa, int threads)
{
    fixture f;
    engine_mt *mt;
    engine_costs costs = {0};
    text_block block = *coded;
    assert_true(fixture_open(&f, isa, threads));
    engine_config c = learning(&f, s);
    block.token = malloc(coded->tokens * sizeof *block.token);
    memset(block.token, 0xff, coded->tokens * sizeof *block.token);
    assert_int_equal(engine_mt_open(&mt, &ops_cpu, f.ctx, &c, threads, 0), GPUZIP_OK);
    assert_int_equal(engine_mt_decode_blocks(mt, &block, 1, &costs, NULL), GPUZIP_OK);
    assert_memory_equal(block.token, text, coded->tokens * sizeof *block.token);
    engine_mt_close(mt);
    free(block.token);
    fixture_close(&f);
}

static void free_code(text_block *block, uint8_t *bytes)
{
    free(block->stream);
    free(bytes);
}

static size_t code_size(const text_block *b)
{
    size_t size = 0;
    for (uint32_t s = 0; s < b->streams; s++)
        size += b->stream[s].size;
    return size;
}

static bool has_isa(const char *isa)
{
    fixture f;
    bool has = fixture_open(&f, isa, 1);
    if (has)
        fixture_close(&f);
    return has;
}

static void blocks_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS; i++) {
        uint8_t *bytes;
        text_block block = code(&settings[i], TOKENS, NULL, 1, 0, &bytes);
        check_decodes(&settings[i], &block, NULL, 1);
        check_decodes(&settings[i], &block, NULL, 2);
        free_code(&block, bytes);
    }
}

static void the_code_is_the_same_everywhere(void **state)
{
    static const char *const isa[] = {"c", "avx2", "avx512", "avx512vnni"};
    static const int threads[] = {2, 5, 1, 1}, pass_rows[] = {0, 0, 64, 1};
    (void)state;
    for (size_t i = 0; i < SETTINGS; i++) {
        uint8_t *want_bytes, *bytes;
        text_block want = code(&settings[i], TOKENS, NULL, 1, 0, &want_bytes), block;
        for (int k = 0; k < 4; k++) {
            block = code(&settings[i], TOKENS, NULL, threads[k], pass_rows[k], &bytes);
            check_same_code(&want, &block);
            free_code(&block, bytes);
        }
        for (int k = i == 1 ? 0 : 4; k < 4; k++) {
            if (!has_isa(isa[k]))
                continue;
            block = code(&settings[i], TOKENS, isa[k], 1, 0, &bytes);
            check_same_code(&want, &block);
            check_decodes(&settings[i], &want, isa[k], 1);
            free_code(&block, bytes);
        }
        free_code(&want, want_bytes);
    }
}

/* The text has 40 of its tokens again and again: a model that learns predicts them. */
static void learning_makes_the_code_smaller(void **state)
{
    fixture f;
    uint8_t *bytes[2];
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    engine_config c = learning(&f, &settings[6]);
    text_block learnt = encode(&f, &c, TOKENS, 8, 1, &bytes[0]);
    c.learn_weights = false;
    text_block fixed = encode(&f, &c, TOKENS, 8, 1, &bytes[1]);
    assert_true(code_size(&learnt) < code_size(&fixed) * 99 / 100);
    free_code(&learnt, bytes[0]);
    free_code(&fixed, bytes[1]);
    fixture_close(&f);
}

/* In short blocks, and in several blocks of a batch, no weights learn. An engine that has coded a
 * block in which they did codes the next as if it were new. */
static void each_block_begins_with_the_trained_weights(void **state)
{
    enum { SHORT = SCHEDULE_WEIGHT_TOKENS - 1 };
    static const size_t tokens[] = {TOKENS, SHORT, TOKENS + 200};
    fixture f;
    engine_mt *mt;
    engine_costs costs = {0};
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    engine_config c = learning(&f, &settings[1]), fixed = c;
    fixed.learn_weights = false;
    assert_int_equal(engine_mt_open(&mt, &ops_cpu, f.ctx, &c, 1, 0), GPUZIP_OK);
    for (int i = 0; i < 3; i++) {
        uint8_t *bytes, *alone_bytes;
        text_block block = block_of(tokens[i], 7);
        assert_int_equal(engine_make_room(&block.stream, &bytes, block.tokens, block.streams),
                         GPUZIP_OK);
        assert_int_equal(engine_mt_encode_blocks(mt, &block, 1, &costs, NULL), GPUZIP_OK);
        text_block alone =
            encode(&f, tokens[i] == SHORT ? &fixed : &c, tokens[i], 7, 1, &alone_bytes);
        check_same_code(&block, &alone);
        free_code(&block, bytes);
        free_code(&alone, alone_bytes);
    }
    engine_mt_close(mt);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_decode),
        cmocka_unit_test(the_code_is_the_same_everywhere),
        cmocka_unit_test(learning_makes_the_code_smaller),
        cmocka_unit_test(each_block_begins_with_the_trained_weights),
    };
    cmocka_set_test_filter(getenv("GPUZIP_TEST_FILTER"));
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
