/* test_engine_cuda.c: the engine over the CUDA backend writes the CPU's bytes, and
 * decodes the CPU's archives, for one block and for several; errors release all resources.
 *
 * Built twice: for a real GPU (skipped where there is none), and over the emulator, whose
 * streams run late and whose devices can be made too small, or to break.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "cuda/cuda.h"
#include "engine_blocks.h"
#include "tiny_checkpoint.h"

#ifdef GPUZIP_EMULATED
#include "emulator.h"
#endif

#define SKIPPED    77
#define TOKENS_MAX 600
#define BLOCKS_MAX 3

static uint32_t suffix[TINY_VOCAB + 256]; /* of tokens, for context models */
static void *model_bytes;                 /* a .gpzm of the tiny checkpoint */
static size_t model_size;
static weights_model *weights;
static uint32_t text[TOKENS_MAX];

/* A backend with the tiny model. */
typedef struct {
    const ops *ops;
    ops_context *ctx;
    model *m;
} side;

static side cpu, cuda;

static gpuzip_status side_open(side *s, const ops *ops, int device)
{
    *s = (side){.ops = ops};
    TRY(ops->open(&s->ctx, device, 1, NULL));
    return model_open(&s->m, ops, s->ctx, weights);
}

static void side_close(side *s)
{
    model_close(s->m);
    s->ops->close(s->ctx);
}

/* ---- cases --------------------------------------------------------------- */

typedef struct {
    const char *name;
    struct {
        size_t tokens;
        uint32_t streams;
    } block[BLOCKS_MAX]; /* tokens 0: no more */
    int window, hop, update;
    bool scope, bayes;
    int models;
    int pass_rows; /* on the device */
    int adapts;    /* MIXING, CONTEXTS or both */
} job;

enum { MIXING = 1, CONTEXTS = 2, ALL = 3 };

/* Few tokens, for the emulator takes milliseconds for each. */
static const job jobs[] = {
    {"one block", {{31, 5}}, 64, 64, 1, false, false, 1, 20},
    {"one stream", {{20, 1}}, 8, 4, 1, false, false, 1, 7},
    {"one step", {{6, 6}}, 16, 8, 1, false, false, 1, 4},
    {"several blocks, windows slide", {{30, 5}, {13, 3}, {18, 4}}, 5, 3, 1, false, false, 1, 16},
    {"streams end one by one", {{40, 8}, {6, 2}, {4, 4}}, 64, 32, 1, false, false, 1, 64},
    {"more streams than rows", {{36, 12}, {15, 5}}, 2, 1, 1, false, false, 1, 8},
    {"two models", {{14, 3}, {6, 2}}, 4, 4, 1, false, false, 2, 12},
    {"learning", {{36, 4}}, 6, 3, 2, false, true, 1, 20},
    {"learning, steps of several passes", {{24, 10}}, 4, 2, 2, false, true, 2, 8},
    {"learning by windows", {{24, 3}}, 4, 4, 3, true, true, 1, 20},
    {"adapting, a stream ends early", {{27, 5}}, 16, 16, 2, false, false, 1, 20, ALL},
    {"biases and alphas, a stream ends early", {{33, 6}}, 4, 4, 2, false, false, 1, 20, MIXING},
    {"adapting by windows, two experts", {{60, 3}}, 8, 8, 3, true, true, 1, 8, ALL},
    {"adapting", {{120, 5}}, 16, 8, 2, false, false, 1, 20, ALL},
    {"adapting, one stream", {{40, 1}}, 16, 8, 4, false, false, 1, 20, ALL},
    {"adapting, seven streams", {{70, 7}}, 16, 8, 3, false, false, 1, 20, ALL},
    {"blocks that adapt", {{60, 3}, {37, 5}, {24, 1}}, 16, 8, 2, false, false, 1, 20, ALL},
    {"blocks that adapt by windows", {{40, 4}, {9, 2}, {30, 2}}, 4, 4, 3, true, true, 1, 16, ALL},
    {"blocks that count", {{30, 3}, {12, 4}, {20, 2}}, 8, 4, 2, false, true, 1, 8},
    {"blocks of biases and alphas", {{21, 7}, {36, 6}, {5, 5}}, 4, 2, 2, false, true, 2, 6, MIXING},
    {"adapting, 300 streams", {{600, 300}}, 16, 8, 2, false, false, 1, 64, ALL},
    {"sliding, one stream", {{60, 1}}, 16, 0, 1, false, false, 1, 7},
    {"sliding, window of two", {{30, 2}}, 2, 0, 1, false, false, 1, 9},
    {"sliding, adapting blocks", {{60, 3}, {37, 5}, {24, 1}}, 8, 0, 2, false, true, 1, 20, ALL},
};
#define JOBS (sizeof jobs / sizeof *jobs)

static engine_config config_of(const job *j, const side *s)
{
    engine_config c = {.schedule = {.window = j->window,
                                    .hop = j->hop,
                                    .update_interval = j->update,
                                    .window_scope = j->scope},
                       .escapes = 256,
                       .vocab = TINY_VOCAB,
                       .bias = j->adapts & MIXING,
                       .learn_alpha = j->adapts & MIXING,
                       .prior = j->adapts & CONTEXTS ? &context_prior_builtin : NULL,
                       .token_suffix = suffix,
                       .pass_rows = s->ops == &ops_cuda ? j->pass_rows : 0};
    for (int k = 0; k < j->models; k++)
        c.expert[c.experts++] = (engine_expert){GPUZIP_EXPERT_MODEL, s->m, k ? 20000 : 50000};
    if (j->bayes)
        c.expert[c.experts++] = (engine_expert){GPUZIP_EXPERT_NAIVE_BAYES, NULL, 30000};
    return c;
}

/* The blocks of a job, with memory for tokens and streams. */
typedef struct {
    text_block block[BLOCKS_MAX];
    uint8_t *bytes[BLOCKS_MAX];
    int blocks;
    uint32_t streams; /* of all */
} work;

static work work_of(const job *j)
{
    work w = {.blocks = 0};
    size_t first = 0;
    while (w.blocks < BLOCKS_MAX && j->block[w.blocks].tokens > 0) {
        size_t n = j->block[w.blocks].tokens;
        text_block *b = &w.block[w.blocks];
        b->tokens = n;
        b->streams = container_fit_streams((uint32_t)n, j->block[w.blocks].streams);
        b->token = malloc(n * sizeof *b->token); /* exact, for AddressSanitizer */
        memcpy(b->token, text + first, n * sizeof *b->token);
        size_t room = ENGINE_STREAM_BOUND(container_stream_length((uint32_t)n, b->streams));
        b->stream = calloc(b->streams, sizeof *b->stream);
        w.bytes[w.blocks] = malloc(b->streams * room);
        for (size_t s = 0; s < b->streams; s++)
            b->stream[s].data = w.bytes[w.blocks] + s * room;
        first += n / 2; /* blocks overlap */
        w.streams += b->streams;
        w.blocks++;
    }
    return w;
}

static void work_free(work *w)
{
    for (int b = 0; b < w->blocks; b++) {
        free(w->block[b].token);
        free(w->block[b].stream);
        free(w->bytes[b]);
    }
}

static gpuzip_status encode(const side *s, const job *j, work *w)
{
    engine *e;
    engine_costs costs = {0};
    engine_config c = config_of(j, s);
    TRY(engine_open(&e, s->ops, s->ctx, &c));
    gpuzip_status status = engine_encode_blocks(e, w->block, w->blocks, &costs, NULL);
    engine_close(e);
    return status;
}

/* Decodes into memory that holds other tokens. */
static gpuzip_status decode(const side *s, const job *j, work *w)
{
    engine *e;
    engine_costs costs = {0};
    engine_config c = config_of(j, s);
    for (int b = 0; b < w->blocks; b++) {
        memset(w->block[b].token, 0xff, w->block[b].tokens * sizeof *w->block[b].token);
        w->block[b].status = GPUZIP_ERR_ARGUMENT;
    }
    TRY(engine_open(&e, s->ops, s->ctx, &c));
    gpuzip_status status = engine_decode_blocks(e, w->block, w->blocks, &costs, NULL);
    engine_close(e);
    return status;
}

static void check_tokens(const work *w, int b)
{
    size_t first = 0;
    for (int i = 0; i < b; i++)
        first += w->block[i].tokens / 2;
    assert_int_equal(w->block[b].status, GPUZIP_OK);
    assert_memory_equal(w->block[b].token, text + first, w->block[b].tokens * sizeof *text);
}

static void check_same_code(const work *a, const work *b)
{
    for (int i = 0; i < a->blocks; i++)
        for (uint32_t s = 0; s < a->block[i].streams; s++) {
            const container_stream *x = &a->block[i].stream[s], *y = &b->block[i].stream[s];
            assert_int_equal(x->size, y->size);
            assert_memory_equal(x->data, y->data, x->size);
        }
}

/* ---- the same code ------------------------------------------------------- */

static void check_job(const job *j)
{
    work by_cpu = work_of(j), by_cuda = work_of(j);
    assert_int_equal(encode(&cpu, j, &by_cpu), GPUZIP_OK);
    assert_int_equal(encode(&cuda, j, &by_cuda), GPUZIP_OK);
    check_same_code(&by_cpu, &by_cuda);
    assert_int_equal(decode(&cuda, j, &by_cpu), GPUZIP_OK);
    assert_int_equal(decode(&cpu, j, &by_cuda), GPUZIP_OK);
    for (int b = 0; b < by_cpu.blocks; b++) {
        check_tokens(&by_cpu, b);
        check_tokens(&by_cuda, b);
    }
    work_free(&by_cpu);
    work_free(&by_cuda);
}

static void code_is_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < JOBS; i++)
        if (!jobs[i].adapts)
            check_job(&jobs[i]);
}

static void what_adapts_is_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < JOBS; i++)
        if (jobs[i].adapts)
            check_job(&jobs[i]);
}

/* A block codes to the same bytes alone and beside others. */
static void blocks_do_not_mix(void **state)
{
    (void)state;
    for (size_t i = 0; i < JOBS; i++) {
        engine *e;
        engine_costs costs = {0};
        work together = work_of(&jobs[i]), alone = work_of(&jobs[i]);
        engine_config c = config_of(&jobs[i], &cpu);
        assert_int_equal(encode(&cpu, &jobs[i], &together), GPUZIP_OK);
        assert_int_equal(engine_open(&e, &ops_cpu, cpu.ctx, &c), GPUZIP_OK);
        for (int b = 0; b < alone.blocks; b++) { /* and some of its streams alone */
            int streams;
            engine_stream *stream = blocks_cut(&alone.block[b], 1, &streams);
            for (int s = 0, end; s < streams; s = end) {
                end = jobs[i].bayes || jobs[i].adapts ? streams : s + 2;
                end = end < streams ? end : streams;
                assert_int_equal(engine_encode(e, stream + s, end - s, &costs, NULL), GPUZIP_OK);
            }
            free(stream);
        }
        check_same_code(&together, &alone);
        engine_close(e);
        work_free(&together);
        work_free(&alone);
    }
}

/* An engine takes one job after another, larger and smaller ones. */
static void engines_are_used_again(void **state)
{
    static const job order[] = {
        {"small", {{9, 3}}, 16, 8, 1, false, false, 1, 20},
        {"large", {{16, 8}, {10, 5}}, 16, 8, 1, false, false, 1, 20},
        {"small", {{6, 2}}, 16, 8, 1, false, false, 1, 20},
    };
    engine *e;
    engine_costs costs = {0};
    engine_config c = config_of(&order[0], &cuda);
    (void)state;
    assert_int_equal(engine_open(&e, &ops_cuda, cuda.ctx, &c), GPUZIP_OK);
    for (int i = 0; i < 3; i++) {
        work by_cpu = work_of(&order[i]);
        assert_int_equal(encode(&cpu, &order[i], &by_cpu), GPUZIP_OK);
        for (int b = 0; b < by_cpu.blocks; b++)
            memset(by_cpu.block[b].token, 0xff, by_cpu.block[b].tokens * sizeof *text);
        assert_int_equal(engine_decode_blocks(e, by_cpu.block, by_cpu.blocks, &costs, NULL),
                         GPUZIP_OK);
        for (int b = 0; b < by_cpu.blocks; b++)
            check_tokens(&by_cpu, b);
        work_free(&by_cpu);
    }
    engine_close(e);
}

/* ---- failures ------------------------------------------------------------ */

/* A damaged stream spoils its block, and no other. */
static void damage_stays_in_its_block(void **state)
{
    static const job j = {"damaged", {{20, 4}, {12, 3}, {30, 3}}, 8, 6, 1, false, false, 1, 32};
    (void)state;
    for (int b = 0; b < 2; b++) {
        const side *s = b ? &cuda : &cpu;
        work w = work_of(&j);
        assert_int_equal(encode(&cpu, &j, &w), GPUZIP_OK);
        ((uint8_t *)w.block[1].stream[1].data)[1] ^= 0x10;
        assert_int_equal(decode(s, &j, &w), GPUZIP_ERR_CORRUPT);
        assert_int_equal(w.block[1].status, GPUZIP_ERR_CORRUPT);
        check_tokens(&w, 0);
        check_tokens(&w, 2);
        work_free(&w);
    }
}

static int cancel_at(void *context, size_t done, size_t steps)
{
    assert_true(done <= steps);
    return done >= *(size_t *)context;
}

static void cancelled_engines_go_on(void **state)
{
    const job *j = &jobs[3];
    engine *e;
    engine_costs costs = {0};
    engine_config c = config_of(j, &cuda);
    work w = work_of(j), again = work_of(j);
    (void)state;
    assert_int_equal(encode(&cpu, j, &w), GPUZIP_OK);
    assert_int_equal(engine_open(&e, &ops_cuda, cuda.ctx, &c), GPUZIP_OK);
    for (size_t at = 1; at < 6; at += 3) {
        engine_progress progress = {cancel_at, &at};
        assert_int_equal(engine_encode_blocks(e, again.block, again.blocks, &costs, &progress),
                         GPUZIP_ERR_CANCELLED);
        assert_int_equal(engine_decode_blocks(e, w.block, w.blocks, &costs, &progress),
                         GPUZIP_ERR_CANCELLED);
    }
    assert_int_equal(engine_decode_blocks(e, w.block, w.blocks, &costs, NULL), GPUZIP_OK);
    for (int b = 0; b < w.blocks; b++)
        check_tokens(&w, b);
    engine_close(e);
    work_free(&w);
    work_free(&again);
}

#ifdef GPUZIP_EMULATED

/* Encodes and decodes on a device of its own. */
static gpuzip_status run_both(const job *j, work *w, int device)
{
    side s;
    gpuzip_status status = side_open(&s, &ops_cuda, device);
    if (status == GPUZIP_OK)
        status = encode(&s, j, w);
    if (status == GPUZIP_OK)
        status = decode(&s, j, w);
    side_close(&s);
    return status;
}

/* An engine allocates the memory that it announced; with less it fails and releases all. */
static void memory_is_known_beforehand(void **state)
{
    (void)state;
    for (size_t i = 3; i < JOBS; i += 5) {
        const job *j = &jobs[i];
        engine *e;
        engine_costs costs = {0};
        engine_config c = config_of(j, &cuda);
        work w = work_of(j), by_cpu = work_of(j);
        size_t device = emulator_device_bytes(), host = emulator_host_bytes();
        assert_int_equal(encode(&cpu, j, &by_cpu), GPUZIP_OK);
        assert_int_equal(engine_open(&e, &ops_cuda, cuda.ctx, &c), GPUZIP_OK);
        size_t bytes = engine_bytes(e, (int)w.streams, w.blocks);
        engine_close(e);
        for (int part = 0; part <= 12; part++) {
            /* The scratch memory stays with the context; it may be there from before. */
            side s;
            assert_int_equal(side_open(&s, &ops_cuda, 0), GPUZIP_OK);
            size_t before = emulator_device_bytes();
            emulator_set_memory(before + bytes * (size_t)part / 12);
            c = config_of(j, &s);
            gpuzip_status status = engine_open(&e, s.ops, s.ctx, &c);
            if (status == GPUZIP_OK) {
                status = engine_encode_blocks(e, w.block, w.blocks, &costs, NULL);
                if (status == GPUZIP_OK)
                    assert_int_equal(emulator_device_bytes() - before, bytes);
                engine_close(e);
            }
            assert_int_equal(status, part < 12 ? GPUZIP_ERR_MEMORY : GPUZIP_OK);
            emulator_set_memory(0);
            side_close(&s);
            assert_int_equal(emulator_device_bytes(), device);
            assert_int_equal(emulator_host_bytes(), host);
        }
        check_same_code(&w, &by_cpu);
        work_free(&w);
        work_free(&by_cpu);
    }
}

/* A device that breaks at any kernel is reported, and nothing is left behind. */
static void broken_devices_are_reported(void **state)
{
    const job *j = &jobs[3];
    size_t device = emulator_device_bytes(), host = emulator_host_bytes();
    work w = work_of(j);
    unsigned long first = emulator_kernels();
    (void)state;
    assert_int_equal(run_both(j, &w, 1), GPUZIP_OK);
    unsigned long kernels = emulator_kernels() - first;
    for (unsigned long at = 1; at <= kernels; at += 1 + kernels / 6) {
        emulator_set_failure(at);
        assert_int_equal(run_both(j, &w, 1), GPUZIP_ERR_DEVICE);
        emulator_set_failure(0);
        assert_int_equal(emulator_device_bytes(), device);
        assert_int_equal(emulator_host_bytes(), host);
    }
    work_free(&w);
}

/* Steps are replayed, not queued one by one; and where nothing can be recorded, they are. */
static void steps_are_replayed(void **state)
{
    const job *j = &jobs[4];
    work w = work_of(j);
    (void)state;
    for (int possible = 1; possible >= 0; possible--) {
        emulator_set_graphs(possible);
        unsigned long graphs = emulator_graphs();
        assert_int_equal(encode(&cpu, j, &w), GPUZIP_OK);
        assert_int_equal(decode(&cuda, j, &w), GPUZIP_OK);
        for (int b = 0; b < w.blocks; b++)
            check_tokens(&w, b);
        /* 14, 10, 10, 8 and 8 rows: of two halves a step, those of the last three */
        assert_int_equal(emulator_graphs() - graphs, possible ? 6 : 0);
        emulator_set_graphs(1);
    }
    work_free(&w);
}

static void *run_device(void *context)
{
    int device = *(int *)context;
    work w = work_of(&jobs[3]);
    *(int *)context = run_both(&jobs[3], &w, device) == GPUZIP_OK ? 0 : -1;
    work_free(&w);
    return NULL;
}

/* Each device has a thread of its own. */
static void devices_work_at_once(void **state)
{
    pthread_t thread[2];
    int device[2] = {0, 1};
    (void)state;
    assert_int_equal(ops_cuda.devices(), 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run_device, &device[i]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(device[i], 0);
    }
}

#endif

/* ---- set-up -------------------------------------------------------------- */

/* Tokens as text has them: few of many, with repeats; many escapes. */
static void make_text(void)
{
    for (int i = 0; i < TINY_VOCAB; i++)
        suffix[i] = token_suffix((const uint8_t[]){(uint8_t)(i & 127)}, 1);
    uint64_t random = 3;
    for (size_t i = 0; i < TOKENS_MAX; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(random >> 33);
        text[i] = r % 7 == 0 ? TINY_VOCAB + r % 256 : i > 40 && r % 3 ? text[i - 40] : 3 + r % 200;
    }
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
    if (status != GPUZIP_OK || weights_open_memory(&weights, model_bytes, model_size) != GPUZIP_OK)
        return -1;
    return side_open(&cpu, &ops_cpu, 0) || side_open(&cuda, &ops_cuda, 0) ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    side_close(&cuda);
    side_close(&cpu);
    weights_close(weights);
    free(model_bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_is_the_same),           cmocka_unit_test(what_adapts_is_the_same),
        cmocka_unit_test(blocks_do_not_mix),          cmocka_unit_test(engines_are_used_again),
        cmocka_unit_test(damage_stays_in_its_block),  cmocka_unit_test(cancelled_engines_go_on),
#ifdef GPUZIP_EMULATED
        cmocka_unit_test(memory_is_known_beforehand), cmocka_unit_test(broken_devices_are_reported),
        cmocka_unit_test(steps_are_replayed),         cmocka_unit_test(devices_work_at_once),
#endif
    };
#ifdef GPUZIP_EMULATED
    setenv("GPUZIP_EMULATOR_DEVICES", "2", 1);
#endif
    ops_context *any = NULL;
    if (ops_cuda.open(&any, 0, 0, NULL) != GPUZIP_OK) {
#ifdef GPUZIP_REQUIRE_GPU
        return 1;
#else
        return SKIPPED;
#endif
    }
    ops_cuda.close(any);
    cmocka_set_test_filter(getenv("GPUZIP_TEST_FILTER"));
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
