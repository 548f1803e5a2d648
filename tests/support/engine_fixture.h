/* engine_fixture.h: a tiny model, a text of its tokens, and blocks encoded with both, for tests
 * of the engine. Each test program has its own. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "cpu/cpu.h"
#include "engine_blocks.h"
#include "ngrams_build.h"
#include "tiny_checkpoint.h"

#ifndef TOKENS_MAX
#define TOKENS_MAX 3000
#endif

static void *model_bytes; /* a .gpzm of the tiny checkpoint */
static size_t model_size;
static uint32_t text[TOKENS_MAX];
static uint32_t suffix[TINY_VOCAB + 256]; /* of tokens, for context models */

#define NGRAM_BUCKETS 200
static uint32_t ngrams[NGRAM_BUCKETS * NGRAMS_BUCKET];

/* A model on a context of its own. */
typedef struct {
    ops_context *ctx;
    weights_model *weights;
    model *m;
} fixture;

static bool fixture_open(fixture *f, const char *isa, int threads)
{
    *f = (fixture){0};
    if (ops_cpu.open(&f->ctx, 0, threads, isa) != GPUZIP_OK)
        return false; /* this machine lacks the instructions */
    f->ctx->shares_all = true;
    assert_int_equal(weights_open_memory(&f->weights, model_bytes, model_size), GPUZIP_OK);
    assert_int_equal(model_open(&f->m, &ops_cpu, f->ctx, f->weights), GPUZIP_OK);
    return true;
}

static void fixture_close(fixture *f)
{
    model_close(f->m);
    weights_close(f->weights);
    ops_cpu.close(f->ctx);
}

/* The adaptive parts. */
enum { NOTHING = 0, BAYES = 1, MIXING = 2, CONTEXTS = 4, EVERYTHING = 7 };

static engine_config config_of(const fixture *f, int window, int hop, int update, bool scope,
                               int learns)
{
    bool bayes = learns & BAYES;
    engine_config c = {.schedule = {.window = window,
                                    .hop = hop,
                                    .update_interval = update,
                                    .window_scope = scope},
                       .escapes = 256,
                       .vocab = TINY_VOCAB,
                       .bias = learns & MIXING,
                       .learn_alpha = learns & MIXING,
                       .prior = learns & CONTEXTS ? &context_prior_builtin : NULL,
                       .ngrams = {ngrams, NGRAM_BUCKETS, TINY_VOCAB},
                       .token_suffix = suffix,
                       .experts = bayes ? 2 : 1};
    c.expert[0] = (engine_expert){GPUZIP_EXPERT_MODEL, f->m, bayes ? 40000 : 65536};
    c.expert[1] = (engine_expert){GPUZIP_EXPERT_NAIVE_BAYES, NULL, 30000};
    return c;
}

static text_block block_of(size_t n, uint32_t wanted)
{
    return (text_block){
        .token = text, .tokens = n, .streams = container_fit_streams((uint32_t)n, wanted)};
}

/* Encodes text[0, n) with so many threads; block.stream and *buffer are the caller's to free. */
static text_block encode(const fixture *f, const engine_config *c, size_t n, uint32_t streams,
                         int threads, uint8_t **buffer)
{
    engine_mt *mt;
    engine_costs costs = {0};
    text_block block = block_of(n, streams);
    assert_int_equal(engine_make_room(&block.stream, buffer, block.tokens, block.streams),
                     GPUZIP_OK);
    assert_int_equal(engine_mt_open(&mt, &ops_cpu, f->ctx, c, threads, 0), GPUZIP_OK);
    assert_int_equal(engine_mt_encode_blocks(mt, &block, 1, &costs, NULL), GPUZIP_OK);
    engine_mt_close(mt);
    return block;
}

static void check_same_code(const text_block *a, const text_block *b)
{
    assert_int_equal(a->streams, b->streams);
    for (uint32_t s = 0; s < a->streams; s++) {
        assert_int_equal(a->stream[s].size, b->stream[s].size);
        assert_memory_equal(a->stream[s].data, b->stream[s].data, a->stream[s].size);
    }
}

/* ---- set-up -------------------------------------------------------------- */

/* Tokens as text has them: few of many, with repeats; now and then an escape. */
static void make_text(void)
{
    uint64_t random = 3;
    for (size_t i = 0; i < TOKENS_MAX; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(random >> 33);
        text[i] = r % 50 == 0 ? TINY_VOCAB + r % 256 : i > 40 && r % 3 ? text[i - 40] : 3 + r % 200;
    }
}

/* Of the text itself, that every block has contexts which are found. */
static void make_ngrams(void)
{
    static uint32_t twice[2 * TOKENS_MAX];
    size_t n = TOKENS_MAX / 2;
    memcpy(twice, text, n * sizeof *text);
    twice[n] = NGRAMS_BREAK;
    memcpy(twice + n + 1, text, n * sizeof *text);
    assert_int_equal(ngrams_build(ngrams, NGRAM_BUCKETS, TINY_VOCAB, twice, 2 * n + 1), GPUZIP_OK);
}

static int set_up(void **state)
{
    tiny_checkpoint tiny;
    weights_error error;
    weights_import_options options = {.weight_bits = 8, .name = "tiny"};
    (void)state;
    tiny_open(&tiny);
    gpuzip_status status =
        weights_import(&model_bytes, &model_size, tiny.model, &options, "blob", 4, 1, &error);
    tiny_close(&tiny);
    make_text();
    make_ngrams();
    for (uint32_t i = 0; i < TINY_VOCAB + 256; i++)
        suffix[i] = token_suffix((const uint8_t[]){(uint8_t)(i & 127)}, 1);
    return status == GPUZIP_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(model_bytes);
    return 0;
}

#endif
