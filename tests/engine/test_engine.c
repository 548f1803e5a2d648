/* test_engine.c: the forward pass and the engine give the same bits however the work is cut:
 * rows, passes, threads, instruction sets; and encoded text decodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "engine_fixture.h"

static const char *const isa_names[] = {"c", "avx2", "avx512", "avx512vnni"};
#define ISAS (sizeof isa_names / sizeof *isa_names)

static void check_decodes(const fixture *f, const engine_config *c, const text_block *coded,
                          int threads)
{
    engine_mt *mt;
    text_block block = *coded;
    block.token = malloc(coded->tokens * sizeof *block.token); /* exact, for ASan */
    memset(block.token, 0xff, coded->tokens * sizeof *block.token);
    assert_int_equal(engine_mt_open(&mt, &ops_cpu, f->ctx, c, threads, 0), GPUZIP_OK);
    assert_int_equal(engine_mt_decode_blocks(mt, &block, 1, &(engine_costs){0}, NULL), GPUZIP_OK);
    assert_memory_equal(block.token, text, coded->tokens * sizeof *block.token);
    engine_mt_close(mt);
    free(block.token);
}

static void free_code(text_block *block, uint8_t *bytes)
{
    free(block->stream);
    free(bytes);
}

/* ---- the forward pass ---------------------------------------------------- */

/* Logits of TINY_CONTEXT positions in each of 3 slots, `chunk` rows of a slot a pass. */
static void slots_logits(const fixture *f, int chunk, float *out)
{
    enum { SLOTS = 3 };
    model_state *s;
    int32_t token[SLOTS * TINY_CONTEXT], slot[SLOTS * TINY_CONTEXT], pos[SLOTS * TINY_CONTEXT];
    const float *logits;
    model_sizes sizes = {.slots = SLOTS,
                         .window = TINY_CONTEXT,
                         .max_rows = SLOTS * chunk,
                         .max_logits = SLOTS * chunk};
    assert_int_equal(model_state_open(&s, f->m, f->ctx, &sizes), GPUZIP_OK);
    assert_int_equal(model_set_positions(s, 0, TINY_CONTEXT), GPUZIP_OK);
    for (int first = 0; first < TINY_CONTEXT; first += chunk) {
        int rows = 0, n = TINY_CONTEXT - first < chunk ? TINY_CONTEXT - first : chunk;
        for (int i = 0; i < SLOTS * n; i++, rows++) {
            slot[rows] = SLOTS - 1 - i / n; /* not in the order of the slots */
            pos[rows] = first + i % n;
            token[rows] = (int32_t)(text[slot[rows] * TINY_CONTEXT + pos[rows]] % TINY_VOCAB);
        }
        ops_batch batch = {token, slot, pos, rows, 0};
        assert_int_equal(model_forward(s, &batch), GPUZIP_OK);
        assert_int_equal(model_logits(s, 0, rows, &logits), GPUZIP_OK);
        for (int r = 0; r < rows; r++)
            memcpy(out + (size_t)(slot[r] * TINY_CONTEXT + pos[r]) * TINY_VOCAB,
                   logits + (size_t)r * TINY_VOCAB, TINY_VOCAB * sizeof *out);
    }
    model_state_close(s);
}

#define SLOTS_BYTES ((size_t)3 * TINY_CONTEXT * TINY_VOCAB * sizeof(float))

static void prefill_is_step_by_step(void **state)
{
    fixture f;
    float *whole = malloc(SLOTS_BYTES), *cut = malloc(SLOTS_BYTES);
    (void)state;
    assert_true(fixture_open(&f, NULL, 2));
    slots_logits(&f, TINY_CONTEXT, whole);
    for (int chunk = 1; chunk < TINY_CONTEXT; chunk = chunk * 2 + 1) {
        memset(cut, 0, SLOTS_BYTES);
        slots_logits(&f, chunk, cut);
        assert_memory_equal(cut, whole, SLOTS_BYTES);
    }
    fixture_close(&f);
    free(whole);
    free(cut);
}

/* Positions that are only read into the cache serve as well as those that gave logits. */
static void extend_fills_the_cache(void **state)
{
    enum { KNOWN = TINY_CONTEXT / 2 };
    fixture f;
    model_state *s;
    int32_t token[TINY_CONTEXT], slot[TINY_CONTEXT] = {0}, pos[TINY_CONTEXT];
    const float *logits;
    float *whole = malloc(SLOTS_BYTES);
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    slots_logits(&f, TINY_CONTEXT, whole);
    for (int i = 0; i < TINY_CONTEXT; i++) {
        token[i] = (int32_t)(text[i] % TINY_VOCAB);
        pos[i] = i;
    }
    ops_batch known = {token, slot, pos, KNOWN, 0};
    ops_batch rest = {token + KNOWN, slot, pos + KNOWN, TINY_CONTEXT - KNOWN, 0};
    model_sizes sizes = {
        .slots = 1, .window = TINY_CONTEXT, .max_rows = TINY_CONTEXT, .max_logits = TINY_CONTEXT};
    assert_int_equal(model_state_open(&s, f.m, f.ctx, &sizes), GPUZIP_OK);
    assert_int_equal(model_set_positions(s, 0, TINY_CONTEXT), GPUZIP_OK);
    assert_int_equal(model_extend(s, &known), GPUZIP_OK);
    assert_int_equal(model_forward(s, &rest), GPUZIP_OK);
    assert_int_equal(model_logits(s, 0, rest.rows, &logits), GPUZIP_OK);
    assert_memory_equal(logits, whole + (size_t)KNOWN * TINY_VOCAB,
                        (size_t)rest.rows * TINY_VOCAB * sizeof *logits);
    model_state_close(s);
    fixture_close(&f);
    free(whole);
}

static void forward_is_the_same_everywhere(void **state)
{
    fixture f;
    float *plain = malloc(SLOTS_BYTES), *other = malloc(SLOTS_BYTES);
    (void)state;
    assert_true(fixture_open(&f, "c", 1));
    slots_logits(&f, 16, plain);
    fixture_close(&f);
    for (size_t i = 0; i < ISAS; i++)
        for (int threads = 1; threads <= 5; threads += threads) {
            if (!fixture_open(&f, isa_names[i], threads == 4 ? 5 : threads))
                continue;
            slots_logits(&f, 16, other);
            assert_memory_equal(other, plain, SLOTS_BYTES);
            fixture_close(&f);
        }
    free(plain);
    free(other);
}

/* ---- blocks -------------------------------------------------------------- */

/* Encodes text[0, n) and measures it; the caller frees the result. */
static float *measure(const fixture *f, const ops *ops, const engine_config *c, size_t n)
{
    engine *e;
    uint8_t *buffer;
    engine_costs costs = {0};
    text_block block = block_of(n, 3);
    block.experts = c->experts;
    block.measure = calloc(n, ENGINE_MEASURES(c->experts) * sizeof *block.measure);
    assert_int_equal(engine_make_room(&block.stream, &buffer, block.tokens, block.streams),
                     GPUZIP_OK);
    assert_int_equal(engine_open(&e, ops, f->ctx, c), GPUZIP_OK);
    assert_int_equal(engine_encode_blocks(e, &block, 1, &costs, NULL), GPUZIP_OK);
    engine_close(e);
    free(block.stream);
    free(buffer);
    return block.measure;
}

/* However many rows a pass has, and are mixed at a time. */
static void measures_know_no_passes(void **state)
{
    enum { TOKENS = 300 };
    fixture f;
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    for (int learns = NOTHING; learns <= MIXING; learns++) {
        engine_config c = config_of(&f, 32, 24, 5, false, learns);
        size_t size = TOKENS * ENGINE_MEASURES(c.experts) * sizeof(float);
        float *whole = measure(&f, &ops_cpu, &c, TOKENS);
        for (int rows = 1; rows <= 50; rows += 7) {
            ops narrow = ops_cpu;
            narrow.logits_bytes = (size_t)(rows / 3 + 1) * TINY_VOCAB * sizeof(float);
            c.pass_rows = rows;
            float *cut = measure(&f, &narrow, &c, TOKENS);
            assert_memory_equal(cut, whole, size);
            free(cut);
        }
        free(whole);
    }
    fixture_close(&f);
}

static void code_is_the_same_everywhere(void **state)
{
    fixture f;
    (void)state;
    static const struct {
        int learns;
        uint32_t streams;
    } cases[] = {
        {NOTHING, 7},
        {BAYES, 7},
        {MIXING, 7},
        {MIXING | CONTEXTS, 1},
        {MIXING | CONTEXTS, 7},
        {MIXING | CONTEXTS, 300},
        {EVERYTHING, 7},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) { /* without counts, workers */
        int learns = cases[n].learns;
        uint8_t *plain_bytes;
        assert_true(fixture_open(&f, "c", 1));
        engine_config c = config_of(&f, 48, 20, 3, false, learns);
        text_block plain = encode(&f, &c, 1000, cases[n].streams, 1, &plain_bytes);
        fixture_close(&f);
        for (size_t i = 0; i < ISAS; i++)
            for (int threads = 1; threads <= 5; threads += threads == 1 ? 1 : 3) {
                uint8_t *bytes;
                if (!fixture_open(&f, isa_names[i], threads))
                    continue;
                c = config_of(&f, 48, 20, 3, false, learns);
                text_block other = encode(&f, &c, 1000, cases[n].streams, threads, &bytes);
                check_same_code(&plain, &other);
                check_decodes(&f, &c, &plain, threads);
                free_code(&other, bytes);
                fixture_close(&f);
            }
        free(plain.stream);
        free(plain_bytes);
    }
}

/* Window, hop, streams and lengths in odd relations, with and without learning. */
static void blocks_decode(void **state)
{
    static const struct {
        size_t n;
        uint32_t streams;
        int window, hop, update;
        bool scope;
        int learns;
    } cases[] = {
        {1, 1, 64, 64, 1, false, NOTHING},        {2, 2, 2, 1, 1, false, BAYES},
        {63, 1, 64, 32, 1, false, BAYES},         {64, 1, 64, 64, 1, false, NOTHING},
        {65, 1, 64, 64, 1, true, BAYES},          {300, 1, 16, 1, 1, false, BAYES},
        {300, 3, 16, 15, 4, false, BAYES},        {301, 3, 16, 16, 5, true, BAYES},
        {1000, 999, 64, 32, 1, false, BAYES},     {1000, 13, 33, 7, 1000, false, BAYES},
        {1500, 700, 4, 2, 1, false, BAYES}, /* more streams than rows a pass */
        {2999, 1000, 2, 2, 2, false, BAYES},      {3000, 64, 64, 32, 1, false, NOTHING},
        {1, 1, 64, 64, 16, false, EVERYTHING},    {65, 1, 64, 64, 1, true, EVERYTHING},
        {700, 3, 64, 64, 16, true, CONTEXTS},     {900, 7, 33, 7, 20, false, EVERYTHING},
        {1500, 700, 4, 2, 16, false, EVERYTHING}, {1000, 999, 64, 32, 1, false, CONTEXTS},
        {2999, 2, 64, 50, 5, false, MIXING},      {3000, 4, 64, 64, 48, true, MIXING},
        {1, 1, 64, 0, 1, false, NOTHING},         {2, 2, 2, 0, 1, false, BAYES},
        {300, 1, 2, 0, 1, false, BAYES},          {700, 3, 64, 0, 16, false, CONTEXTS},
        {1000, 13, 33, 0, 1000, false, BAYES},    {1500, 700, 4, 0, 16, false, EVERYTHING},
        {2999, 2, 64, 0, 5, false, MIXING},       {3000, 1, 17, 0, 3, false, NOTHING},
    };
    fixture f;
    (void)state;
    assert_true(fixture_open(&f, NULL, 2));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *bytes;
        engine_config c = config_of(&f, cases[i].window, cases[i].hop, cases[i].update,
                                    cases[i].scope, cases[i].learns);
        text_block block = encode(&f, &c, cases[i].n, cases[i].streams, 3, &bytes);
        check_decodes(&f, &c, &block, 2);
        free_code(&block, bytes);
    }
    fixture_close(&f);
}

/* However few rows a pass has, also fewer than streams. */
static void passes_do_not_matter(void **state)
{
    static const int rows[] = {1, 3, 5, 16, 40, 100, 700};
    static const int windows[][2] = {{48, 20}, {48, 0}, {2, 0}, {64, 0}};
    fixture f;
    uint8_t *want_bytes, *bytes;
    (void)state;
    assert_true(fixture_open(&f, NULL, 2));
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
        engine_config c = config_of(&f, windows[w][0], windows[w][1], 16, false, EVERYTHING);
        text_block want = encode(&f, &c, 1000, 7, 1, &want_bytes);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            c.pass_rows = rows[i];
            text_block block = encode(&f, &c, 1000, 7, 1, &bytes);
            check_same_code(&want, &block);
            check_decodes(&f, &c, &want, 2);
            free_code(&block, bytes);
        }
        free(want.stream);
        free(want_bytes);
    }
    fixture_close(&f);
}

/* Any number of workers that share a block learn as one would: all streams, at the same
 * steps, each part once. The last worker's streams end first, and it no longer has a say. */
static void workers_learn_as_one(void **state)
{
    static const struct {
        size_t n;
        uint32_t streams;
        int window, hop, update;
        bool scope;
        int learns;
    } cases[] = {
        {640, 7, 48, 20, 3, false, MIXING | CONTEXTS},
        {247, 5, 16, 16, 16, true, MIXING | CONTEXTS},
        {300, 6, 64, 32, 5, false, CONTEXTS},
        {500, 9, 20, 10, 1, false, MIXING},
        {640, 7, 40, 0, 3, false, MIXING | CONTEXTS},
    };
    fixture f;
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *want_bytes, *bytes;
        engine_config c = config_of(&f, cases[i].window, cases[i].hop, cases[i].update,
                                    cases[i].scope, cases[i].learns);
        text_block want = encode(&f, &c, cases[i].n, cases[i].streams, 1, &want_bytes);
        check_decodes(&f, &c, &want, 1);
        for (int threads = 2; threads <= 5; threads += 1 + threads % 2) {
            text_block block = encode(&f, &c, cases[i].n, cases[i].streams, threads, &bytes);
            check_same_code(&want, &block);
            check_decodes(&f, &c, &want, threads);
            free_code(&block, bytes);
        }
        free(want.stream);
        free(want_bytes);
    }
    fixture_close(&f);
}

/* Enough rows that context models take several threads, beside an engine that no worker shares. */
static void host_threads_learn_the_same(void **state)
{
    fixture f;
    uint8_t *want_bytes, *bytes;
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    engine_config c = config_of(&f, 16, 8, 3, false, EVERYTHING);
    text_block want = encode(&f, &c, TOKENS_MAX, 300, 1, &want_bytes);
    text_block block = encode(&f, &c, TOKENS_MAX, 300, 3, &bytes);
    check_same_code(&want, &block);
    check_decodes(&f, &c, &want, 3);
    free_code(&block, bytes);
    free(want.stream);
    free(want_bytes);
    fixture_close(&f);
}

typedef struct {
    engine *e;
    engine_stream *stream;
    gpuzip_status status;
} member;

static void *encode_first_stream(void *of)
{
    member *m = of;
    m->status = engine_encode(m->e, m->stream, 1, &(engine_costs){0}, NULL);
    return NULL;
}

/* The status of a member that waits at a barrier while the other one goes. */
static gpuzip_status status_when_other(void go(engine_group *group))
{
    fixture f;
    engine_group *group;
    uint8_t *bytes;
    pthread_t thread;
    text_block block = block_of(100, 2);
    member m;
    assert_true(fixture_open(&f, NULL, 1));
    engine_config c = config_of(&f, 16, 16, 4, false, MIXING | CONTEXTS);
    assert_int_equal(engine_make_room(&block.stream, &bytes, block.tokens, 2), GPUZIP_OK);
    assert_int_equal(engine_open(&m.e, &ops_cpu, f.ctx, &c), GPUZIP_OK);
    assert_int_equal(engine_group_open(&group, &ops_cpu, f.ctx, &c, 2), GPUZIP_OK);
    m.stream = blocks_cut(&block, 1, &(int){0});
    assert_int_equal(engine_group_begin(group, m.stream, 2, 2, 1), GPUZIP_OK);
    engine_join(m.e, group, 0);
    assert_int_equal(pthread_create(&thread, NULL, encode_first_stream, &m), 0);
    usleep(100000); /* it has come to the first barrier */
    go(group);
    assert_int_equal(pthread_join(thread, NULL), 0);
    engine_group_end(group);
    engine_close(m.e);
    engine_group_close(group);
    free(m.stream);
    free_code(&block, bytes);
    fixture_close(&f);
    return m.status;
}

static void nobody_waits_for_those_who_leave(void **state)
{
    (void)state;
    assert_int_equal(status_when_other(engine_group_leave), GPUZIP_OK);
    assert_int_equal(status_when_other(engine_group_abandon), GPUZIP_ERR_CANCELLED);
}

/* An engine that coded other blocks before codes the next no differently. */
static void blocks_are_independent(void **state)
{
    (void)state;
    for (int hop = 0; hop <= 16; hop += 16) {
        fixture f;
        engine_mt *mt;
        engine_costs costs = {0};
        text_block block[3] = {block_of(900, 9), block_of(400, 9), block_of(900, 9)};
        uint8_t *bytes[3];
        block[1].token += 77;
        assert_true(fixture_open(&f, NULL, 1));
        engine_config c = config_of(&f, 32, hop, 2, false, EVERYTHING);
        assert_int_equal(engine_mt_open(&mt, &ops_cpu, f.ctx, &c, 1, 0), GPUZIP_OK);
        for (int i = 0; i < 3; i++) {
            text_block *b = &block[i];
            assert_int_equal(engine_make_room(&b->stream, &bytes[i], b->tokens, b->streams),
                             GPUZIP_OK);
            assert_int_equal(engine_mt_encode_blocks(mt, b, 1, &costs, NULL), GPUZIP_OK);
        }
        check_same_code(&block[0], &block[2]);
        for (int i = 0; i < 3; i++) {
            free_code(&block[i], bytes[i]);
        }
        engine_mt_close(mt);
        fixture_close(&f);
    }
}

/* Blocks of a batch, of different lengths, are coded as each alone: with everything that adapts,
 * by one thread and by several, which take whole blocks or share the streams of all. The thread
 * that is alone has room for the logits of three rows, and so takes a step in groups. */
static void batches_are_blocks_alone(void **state)
{
    enum { BLOCKS = 5 };
    static const struct {
        size_t tokens[BLOCKS];
        uint32_t streams[BLOCKS];
        int window, hop, update;
        bool scope;
        int learns;
    } cases[] = {
        {{300, 41, 200, 17, 90}, {7, 3, 1, 17, 9}, 48, 20, 3, false, EVERYTHING},
        {{120, 120, 120, 120, 119}, {5, 5, 5, 5, 5}, 16, 16, 5, true, EVERYTHING},
        {{200, 200, 200, 200, 200}, {4, 4, 4, 4, 4}, 32, 16, 16, false, MIXING | CONTEXTS},
        {{400, 12, 31, 60, 5}, {2, 6, 1, 9, 5}, 16, 8, 2, false, MIXING | CONTEXTS},
        {{90, 33, 150, 64, 20}, {3, 3, 3, 3, 3}, 20, 10, 4, false, BAYES},
        {{90, 33, 150, 64, 20}, {3, 3, 3, 3, 3}, 20, 20, 7, true, CONTEXTS},
        {{90, 33, 150, 64, 20}, {3, 3, 3, 3, 3}, 20, 10, 1, false, MIXING},
        {{90, 33, 150, 64, 20}, {3, 3, 3, 3, 3}, 20, 10, 1, false, NOTHING},
        /* sliding: the last stream has room for no more steps a pass than the first had */
        {{400, 12, 31, 60, 5}, {2, 6, 1, 9, 5}, 16, 0, 2, false, MIXING | CONTEXTS},
        {{900, 12, 300, 60, 5}, {1, 6, 2, 9, 5}, 2, 0, 1, false, NOTHING},
    };
    fixture f;
    ops narrow = ops_cpu;
    (void)state;
    narrow.logits_bytes = 3 * TINY_VOCAB * sizeof(float);
    assert_true(fixture_open(&f, NULL, 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_block alone[BLOCKS], batch[BLOCKS];
        uint8_t *bytes[2 * BLOCKS];
        engine_costs costs = {0};
        engine_config c = config_of(&f, cases[i].window, cases[i].hop, cases[i].update,
                                    cases[i].scope, cases[i].learns);
        for (int threads = 1; threads <= 3; threads++) {
            engine_mt *mt;
            assert_int_equal(
                engine_mt_open(&mt, threads == 1 ? &narrow : &ops_cpu, f.ctx, &c, threads, 0),
                GPUZIP_OK);
            for (int b = 0; b < BLOCKS; b++) {
                alone[b] = block_of(cases[i].tokens[b], cases[i].streams[b]);
                alone[b].token += 100 * b;
                batch[b] = alone[b];
                assert_int_equal(engine_make_room(&alone[b].stream, &bytes[b], alone[b].tokens,
                                                  alone[b].streams),
                                 GPUZIP_OK);
                assert_int_equal(engine_make_room(&batch[b].stream, &bytes[BLOCKS + b],
                                                  batch[b].tokens, batch[b].streams),
                                 GPUZIP_OK);
                assert_int_equal(engine_mt_encode_blocks(mt, &alone[b], 1, &costs, NULL),
                                 GPUZIP_OK);
            }
            assert_int_equal(engine_mt_encode_blocks(mt, batch, BLOCKS, &costs, NULL), GPUZIP_OK);
            for (int b = 0; b < BLOCKS; b++)
                check_same_code(&alone[b], &batch[b]);

            /* a corrupt stream spoils its block alone */
            uint8_t *corrupt = (uint8_t *)batch[2].stream[0].data;
            for (int spoilt = 0; spoilt < 2; spoilt++) {
                uint32_t *token[BLOCKS];
                corrupt[spoilt ? 1 : 0] ^= spoilt ? 0x15 : 0;
                for (int b = 0; b < BLOCKS; b++) {
                    token[b] = batch[b].token;
                    batch[b].token = malloc(batch[b].tokens * sizeof *batch[b].token);
                    memset(batch[b].token, 0xff, batch[b].tokens * sizeof *batch[b].token);
                }
                gpuzip_status status = engine_mt_decode_blocks(mt, batch, BLOCKS, &costs, NULL);
                assert_true(status == GPUZIP_OK || (spoilt && status == GPUZIP_ERR_CORRUPT));
                for (int b = 0; b < BLOCKS; b++) {
                    size_t size = batch[b].tokens * sizeof *batch[b].token;
                    if (spoilt && b == 2) {
                        assert_memory_not_equal(batch[b].token, token[b], size);
                    } else {
                        assert_int_equal(batch[b].status, GPUZIP_OK);
                        assert_memory_equal(batch[b].token, token[b], size);
                    }
                    free(batch[b].token);
                    batch[b].token = token[b];
                }
            }
            engine_mt_close(mt);
            for (int b = 0; b < BLOCKS; b++) {
                free(alone[b].stream);
                free_code(&batch[b], bytes[b]);
                free(bytes[BLOCKS + b]);
            }
        }
    }
    fixture_close(&f);
}

/* Bytes that no encoder wrote end in an error or in other tokens, never worse. */
static void noise_decodes_to_something(void **state)
{
    fixture f;
    engine *e;
    engine_costs costs = {0};
    uint8_t noise[64];
    uint32_t out[100];
    uint64_t random = 7;
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    engine_config c = config_of(&f, 32, 16, 2, false, EVERYTHING);
    assert_int_equal(engine_open(&e, &ops_cpu, f.ctx, &c), GPUZIP_OK);
    for (int trial = 0; trial < 50; trial++) {
        container_stream stream[2] = {{noise, (size_t)trial}, {noise + 3, (size_t)trial / 2}};
        text_block block = {.token = out, .tokens = 100, .stream = stream, .streams = 2};
        for (size_t i = 0; i < sizeof noise; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            noise[i] = (uint8_t)(random >> 56);
        }
        gpuzip_status status = engine_decode_blocks(e, &block, 1, &costs, NULL);
        assert_true(status == GPUZIP_OK || status == GPUZIP_ERR_CORRUPT);
    }
    engine_close(e);
    fixture_close(&f);
}

static int cancel_at_once(void *context, size_t done, size_t steps)
{
    assert_true(done >= 1 && done <= steps);
    *(int *)context += 1;
    return 1;
}

static void progress_cancels(void **state)
{
    fixture f;
    (void)state;
    for (int n = 0; n < 4; n++) {
        int threads = 1 + n % 2, learns = n < 2 ? NOTHING : MIXING | CONTEXTS;
        engine_mt *mt;
        int calls = 0;
        engine_costs costs = {0};
        text_block block = block_of(1000, 4);
        uint8_t *bytes;
        engine_progress progress = {cancel_at_once, &calls};
        assert_true(fixture_open(&f, NULL, 1));
        assert_int_equal(engine_make_room(&block.stream, &bytes, block.tokens, block.streams),
                         GPUZIP_OK);
        engine_config c = config_of(&f, 16, 16, 1, false, learns);
        assert_int_equal(engine_mt_open(&mt, &ops_cpu, f.ctx, &c, threads, 0), GPUZIP_OK);
        assert_int_equal(engine_mt_encode_blocks(mt, &block, 1, &costs, &progress),
                         GPUZIP_ERR_CANCELLED);
        assert_int_equal(calls, 1);
        calls = 0; /* and again */
        assert_int_equal(engine_mt_encode_blocks(mt, &block, 1, &costs, &progress),
                         GPUZIP_ERR_CANCELLED);
        assert_int_equal(calls, 1);
        engine_mt_close(mt);
        free_code(&block, bytes);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefill_is_step_by_step),
        cmocka_unit_test(extend_fills_the_cache),
        cmocka_unit_test(forward_is_the_same_everywhere),
        cmocka_unit_test(code_is_the_same_everywhere),
        cmocka_unit_test(measures_know_no_passes),
        cmocka_unit_test(blocks_decode),
        cmocka_unit_test(passes_do_not_matter),
        cmocka_unit_test(workers_learn_as_one),
        cmocka_unit_test(host_threads_learn_the_same),
        cmocka_unit_test(nobody_waits_for_those_who_leave),
        cmocka_unit_test(blocks_are_independent),
        cmocka_unit_test(batches_are_blocks_alone),
        cmocka_unit_test(noise_decodes_to_something),
        cmocka_unit_test(progress_cancels),
    };
    cmocka_set_test_filter(getenv("GPUZIP_TEST_FILTER"));
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
