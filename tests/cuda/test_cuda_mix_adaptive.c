/* test_cuda_mix_adaptive.c: mixing that learns, ops_cuda against ops_cpu, bit for bit: the
 * coded intervals, both ways, and the learnt state after each round. Built twice, as
 * test_cuda_ops.c is.
 */
#include "test_cuda_support.h"

#include <math.h>

#define ROWS   9
#define MODELS 3 /* at most, and counts */

enum { ENCODING, DECODING }; /* states that learn the same */

typedef struct {
    const char *name;
    int vocab, escapes, models, counted, rows, rounds;
    bool bias, alpha, hostile;
    int states; /* 0: one, which rows need not name */
} shape;

/* A mix of both backends, and its memory. */
typedef struct {
    shape s;
    pair logits[MODELS], counts, source, state, symbol, candidate, candidates, interval, target;
    pair found;
    int states;
    ops_adaptive *adaptive[2][2]; /* [ENCODING, DECODING][backend] */
    ops_mix mix[2];
    int32_t coded[ROWS];
} job;

static int draw_below(int n)
{
    return (int)(draw() % (uint32_t)n);
}

/* -- data ------------------------------------------------------------------------- */

static void pair_upload(const pair *p, const void *data)
{
    BOTH(upload(context[b], p->at[b], data, p->bytes));
}

/* The numbers that a row of index r has: none, or an odd one for each row. */
static int candidate_count(const shape *s, int r)
{
    static const int count[] = {16, 0, 1, 16, -1, 5};
    int n = count[r % 6];
    return n < s->vocab ? n : s->vocab;
}

static void draw_candidate(const shape *s, ops_candidate *c, int32_t symbol)
{
    memset(c, 0, sizeof *c);
    c->symbol = symbol;
    c->order = (uint8_t)draw_below(OPS_FEATURES);
    c->hits = (uint8_t)(1 + draw_below(3));
    c->selector = (uint8_t)(draw_below(2) ? OPS_SELECTOR_SETS - 1 : draw_below(OPS_SELECTOR_SETS));
    for (int k = 0; k < OPS_FEATURES; k++)
        c->feature[k] = (int16_t)(s->hostile ? (draw() % 2 ? OPS_FEATURE_MAX : -OPS_FEATURE_MAX)
                                             : draw_integer(2000));
}

/* Candidates in several tiles, in no order; some at the ends of the vocabulary and of tiles. */
static void draw_candidates(job *j)
{
    static ops_candidate candidate[ROWS][OPS_CANDIDATES];
    int32_t candidates[ROWS];
    for (int r = 0; r < j->s.rows; r++) {
        int n = candidates[r] = candidate_count(&j->s, r + draw_below(2) * 3);
        int step = n > 0 ? j->s.vocab / n : 1, first = draw_below(step);
        for (int c = 0; c < n; c++) {
            int32_t symbol = first + (c * 7 + r) % n * step;
            if (n == OPS_CANDIDATES && step > 1 && (c * 7 + r) % n == n - 1)
                symbol = j->s.vocab - 1;
            draw_candidate(&j->s, &candidate[r][c], symbol);
        }
        j->coded[r] = draw_below(j->s.vocab + j->s.escapes);
        if (n > 0 && draw() % 2)
            j->coded[r] = candidate[r][draw_below(n)].symbol;
        if (!j->s.alpha && j->s.bias) /* as often as it takes a bias to its bound */
            j->coded[r] = 7;
    }
    pair_upload(&j->candidate, candidate);
    pair_upload(&j->candidates, candidates);
    pair_upload(&j->symbol, j->coded);
}

static void draw_logits(job *j)
{
    size_t n = (size_t)j->s.rows * (size_t)j->s.vocab;
    float *x = malloc(n * sizeof *x);
    for (int k = 0; k < j->s.models; k++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = draw_float() * 6 - logf(1 + (float)draw_below(j->s.vocab));
            if (j->s.hostile && draw() % 8 == 0)
                x[i] = draw() % 2 ? 1e30f : -1e30f;
        }
        pair_upload(&j->logits[k], x);
    }
    free(x);
}

static void draw_counts(job *j)
{
    int32_t *x = malloc(j->counts.bytes);
    for (int i = 0; i < j->states * j->s.vocab; i++)
        x[i] = j->s.hostile ? (32 << 16) - 1 : draw_below(12 << 16);
    pair_upload(&j->counts, x);
    free(x);
}

static void draw_round(job *j)
{
    int32_t source[ROWS], state[ROWS];
    for (int r = 0; r < j->s.rows; r++) {
        source[r] = draw_below(j->s.rows);
        state[r] = draw_below(j->states);
    }
    pair_upload(&j->source, source);
    pair_upload(&j->state, state);
    draw_logits(j);
    draw_counts(j);
    draw_candidates(j);
}

static void create_adaptive(job *j, int parts)
{
    static int32_t weights[OPS_SETS * OPS_WEIGHTS];
    for (int i = 0; i < OPS_SETS * OPS_WEIGHTS; i++)
        weights[i] =
            j->s.hostile ? (draw() % 2 ? OPS_WEIGHT_MAX : -OPS_WEIGHT_MAX) : draw_integer(20000);
    ops_adaptive_config config = {.vocab = j->s.vocab,
                                  .experts = j->s.models + j->s.counted,
                                  .bias = j->s.bias,
                                  .alpha = j->s.alpha,
                                  .weights = weights,
                                  .parts = parts,
                                  .states = j->states};
    for (int k = 0; k < config.experts; k++)
        config.start[k] = k == 0 ? 65536 : 20000;
    for (int way = 0; way < 2; way++)
        BOTH(adaptive_create(context[b], &j->adaptive[way][b], &config));
    assert_true(ops_cuda.adaptive_bytes(&config) >= (size_t)(j->states * j->s.vocab) * 8);
}

static job job_new(const shape *s, int parts)
{
    job j = {.s = *s, .states = s->states ? s->states : 1};
    size_t rows = (size_t)s->rows, vocab = (size_t)s->vocab;
    for (int k = 0; k < s->models; k++)
        j.logits[k] = pair_zero(rows * vocab * sizeof(float));
    j.counts = pair_zero((size_t)j.states * vocab * sizeof(int32_t));
    j.source = pair_zero(rows * sizeof(int32_t));
    j.state = pair_zero(rows * sizeof(int32_t));
    j.symbol = pair_zero(rows * sizeof(int32_t));
    j.candidate = pair_zero(rows * OPS_CANDIDATES * sizeof(ops_candidate));
    j.candidates = pair_zero(rows * sizeof(int32_t));
    j.interval = pair_zero(rows * sizeof(ops_interval));
    j.target = pair_zero(rows * sizeof(uint32_t));
    j.found = pair_zero(rows * sizeof(ops_symbol));
    create_adaptive(&j, parts);
    for (int b = 0; b < 2; b++) {
        ops_mix *mix = &j.mix[b];
        *mix =
            (ops_mix){.experts = s->models + s->counted, .vocab = s->vocab, .escapes = s->escapes};
        mix->row = j.source.at[b];
        mix->state = s->states ? j.state.at[b] : NULL;
        mix->candidate = j.candidate.at[b];
        mix->candidates = j.candidates.at[b];
        for (int k = 0; k < mix->experts; k++) {
            mix->expert[k] = (ops_expert){.stride = vocab, .alpha = k == 0 ? 70000 : 9000};
            if (k < s->models)
                mix->expert[k].logits = j.logits[k].at[b];
            else
                mix->expert[k].counts = j.counts.at[b];
        }
    }
    return j;
}

static void job_free(job *j)
{
    for (int way = 0; way < 2; way++)
        for (int b = 0; b < 2; b++)
            backend[b]->adaptive_destroy(context[b], j->adaptive[way][b]);
    pair *all[] = {&j->counts,     &j->source,   &j->state,  &j->symbol, &j->candidate,
                   &j->candidates, &j->interval, &j->target, &j->found};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pair_free(all[i]);
    for (int k = 0; k < j->s.models; k++)
        pair_free(&j->logits[k]);
}

/* -- checks ----------------------------------------------------------------------- */

typedef struct {
    int32_t *bias;
    uint32_t alpha[OPS_MAX_EXPERTS];
    int32_t weights[OPS_SETS * OPS_WEIGHTS];
} learnt;

static learnt learnt_read(const job *j, int way, int b, int state)
{
    learnt l = {.bias = malloc((size_t)j->s.vocab * sizeof *l.bias)};
    assert_int_equal(backend[b]->adaptive_read(context[b], j->adaptive[way][b], state, l.bias,
                                               l.alpha, l.weights),
                     GPUZIP_OK);
    return l;
}

/* Both ways and both backends have the same parameters in a state. */
static void check_state(const job *j, int state)
{
    learnt want = learnt_read(j, ENCODING, CPU, state);
    for (int way = 0; way < 2; way++) {
        learnt got = learnt_read(j, way, CUDA, state);
        for (int i = 0; i < j->s.vocab; i++)
            if (got.bias[i] != want.bias[i])
                fail_msg("%s: bias %d is %d, not %d", j->s.name, i, got.bias[i], want.bias[i]);
        for (int i = 0; i < OPS_SETS * OPS_WEIGHTS; i++)
            if (got.weights[i] != want.weights[i])
                fail_msg("%s: weight %d of set %d is %d, not %d", j->s.name, i % OPS_WEIGHTS,
                         i / OPS_WEIGHTS, got.weights[i], want.weights[i]);
        assert_memory_equal(got.alpha, want.alpha, sizeof got.alpha);
        free(got.bias);
    }
    free(want.bias);
}

static void check_learnt(const job *j)
{
    for (int state = 0; state < j->states; state++)
        check_state(j, state);
}

static void encode(job *j)
{
    for (int b = 0; b < 2; b++)
        j->mix[b].adaptive = j->adaptive[ENCODING][b];
    BOTH(mix_encode(context[b], &j->mix[b], j->s.rows, j->symbol.at[b], j->interval.at[b]));
    pair_check(&j->interval, "mix_encode", j->s.rows, j->s.vocab);
}

/* Either end of each interval. */
static void set_targets(job *j)
{
    uint32_t target[ROWS];
    ops_interval *at = (ops_interval *)pair_download(&j->interval, CPU);
    for (int r = 0; r < j->s.rows; r++)
        target[r] = draw() % 2 ? at[r].start : at[r].start + at[r].freq - 1;
    free(at);
    pair_upload(&j->target, target);
}

static void check_found(const job *j)
{
    pair_check(&j->found, "mix_decode", j->s.rows, j->s.vocab);
    ops_symbol *found = (ops_symbol *)pair_download(&j->found, CUDA);
    for (int r = 0; r < j->s.rows; r++)
        assert_int_equal(found[r].symbol, j->coded[r]);
    free(found);
}

static void decode(job *j)
{
    for (int b = 0; b < 2; b++)
        j->mix[b].adaptive = j->adaptive[DECODING][b];
    set_targets(j);
    BOTH(mix_decode(context[b], &j->mix[b], j->s.rows, j->target.at[b], j->found.at[b]));
    check_found(j);
}

static void check_cdf(const job *j)
{
    size_t entries = (size_t)(j->s.vocab + j->s.escapes) + 1;
    pair start = pair_zero((size_t)j->s.rows * entries * sizeof(uint32_t));
    BOTH(mix_cdf(context[b], &j->mix[b], j->s.rows, start.at[b]));
    pair_check(&start, "mix_cdf", j->s.rows, j->s.vocab);
    pair_free(&start);
}

static void mix_learn_states(const job *j, int states)
{
    for (int way = 0; way < 2; way++)
        BOTH(mix_learn(context[b], j->adaptive[way][b], states));
    check_learnt(j);
}

static void mix_learn(const job *j)
{
    mix_learn_states(j, j->states);
}

static void mix_reset(const job *j, int first, int n)
{
    for (int way = 0; way < 2; way++)
        BOTH(adaptive_reset(context[b], j->adaptive[way][b], first, n));
    check_learnt(j);
}

/* -- tests ------------------------------------------------------------------------ */

static void run_shape(const shape *s)
{
    job j = job_new(s, 1);
    for (int round = 0; round < s->rounds; round++) {
        draw_round(&j);
        encode(&j);
        decode(&j);
        if (round == s->rounds - 1)
            check_cdf(&j);
        if (round != 1) /* learnt together with round 2 */
            mix_learn(&j);
    }
    mix_reset(&j, 0, j.states);
    for (int b = 0; b < 2; b++) /* as when there are no contexts */
        j.mix[b].candidate = NULL, j.mix[b].candidates = NULL;
    encode(&j);
    decode(&j);
    mix_learn(&j);
    job_free(&j);
}

static void adaptive_shapes(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {"one model", 257, 256, 1, 0, ROWS, 4, true, true, false},
        {"biases", 513, 0, 1, 0, ROWS, 5, true, false, false},
        {"alphas", 700, 256, 2, 1, ROWS, 3, false, true, false},
        {"weights", 512, 0, 1, 0, ROWS, 3, false, false, false},
        {"four experts", 1100, 256, 3, 1, ROWS, 3, true, true, false},
        {"counts alone", 300, 0, 0, 1, ROWS, 3, true, true, false},
        {"hostile", 600, 256, 1, 0, ROWS, 4, true, true, true},
        {"hostile counts", 40, 0, 1, 1, ROWS, 4, true, true, true},
        {"one symbol", 1, 256, 1, 0, ROWS, 14, true, true, false},
        {"states", 700, 256, 1, 1, ROWS, 4, true, true, false, 5},
        {"states, counts", 300, 0, 0, 1, ROWS, 4, true, true, false, 3},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

static void adaptive_vocab(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {"4096", 4096, 256, 1, 0, 7, 3, true, true, false},
        {"50257", 50257, 256, 1, 0, 2, 2, true, true, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

/* A prefix of the states takes a step, the others' sums wait; some are reset. Most updates
 * have states without rows. */
static void adaptive_states(void **state)
{
    (void)state;
    static const shape s = {"some states", 520, 256, 1, 1, ROWS, 0, true, true, false, 6};
    job j = job_new(&s, 1);
    for (int round = 0; round < 6; round++) {
        draw_round(&j);
        encode(&j);
        decode(&j);
        mix_learn_states(&j, round % 2 ? 6 - round : 6);
        if (round == 3)
            mix_reset(&j, 1, 3);
    }
    mix_learn(&j);
    job_free(&j);
}

/* A replayed decoding step reads the current candidates, targets and learnt state. */
static void adaptive_recorded(void **state)
{
    (void)state;
    static const shape s = {"recorded", 300, 256, 1, 0, ROWS, 0, true, true, false};
    ops_graph *graph = NULL;
    job j = job_new(&s, 1);
    draw_round(&j);
    encode(&j);
    decode(&j);
    mix_learn(&j);
    ops_mix *mix = &j.mix[CUDA];
    assert_int_equal(ops_cuda.graph_begin(context[CUDA]), GPUZIP_OK);
    assert_int_equal(
        ops_cuda.mix_decode(context[CUDA], mix, s.rows, j.target.at[CUDA], j.found.at[CUDA]),
        GPUZIP_OK);
    assert_int_equal(ops_cuda.graph_end(context[CUDA], &graph), GPUZIP_OK);
    for (int round = 0; round < 3; round++) {
        draw_round(&j);
        encode(&j);
        set_targets(&j);
        j.mix[CPU].adaptive = j.adaptive[DECODING][CPU];
        assert_int_equal(ops_cpu.mix_decode(context[CPU], &j.mix[CPU], s.rows, j.target.at[CPU],
                                            j.found.at[CPU]),
                         GPUZIP_OK);
        assert_int_equal(ops_cuda.graph_replay(context[CUDA], graph), GPUZIP_OK);
        check_found(&j);
        mix_learn(&j);
    }
    ops_cuda.graph_destroy(context[CUDA], graph);
    job_free(&j);
}

/* Two contexts of a device mix parts, one of them learns. */
static void adaptive_parts(void **state)
{
    (void)state;
    static const shape s = {"parts", 400, 256, 1, 0, ROWS, 0, true, true, false};
    ops_context *other = NULL;
    assert_int_equal(ops_cuda.open(&other, 0, 0, NULL), GPUZIP_OK);
    job j = job_new(&s, 2);
    for (int round = 0; round < 3; round++) {
        draw_round(&j);
        assert_int_equal(ops_cuda.sync(context[CUDA]), GPUZIP_OK); /* uploads */
        for (int part = 0; part < 2; part++) {
            for (int b = 0; b < 2; b++) {
                j.mix[b].part = part;
                j.mix[b].adaptive = j.adaptive[ENCODING][b];
                ops_context *ctx = b == CUDA && part == 1 ? other : context[b];
                assert_int_equal(backend[b]->mix_encode(ctx, &j.mix[b], s.rows, j.symbol.at[b],
                                                        j.interval.at[b]),
                                 GPUZIP_OK);
            }
        }
        BOTH(mix_learn(context[b], j.adaptive[ENCODING][b], 1));
        pair_check(&j.interval, "mix_encode", s.rows, s.vocab);
        learnt want = learnt_read(&j, ENCODING, CPU, 0), got = learnt_read(&j, ENCODING, CUDA, 0);
        assert_memory_equal(got.bias, want.bias, (size_t)s.vocab * sizeof *got.bias);
        assert_memory_equal(got.weights, want.weights, sizeof got.weights);
        assert_memory_equal(got.alpha, want.alpha, sizeof got.alpha);
        free(got.bias);
        free(want.bias);
    }
    job_free(&j);
    ops_cuda.close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adaptive_shapes), cmocka_unit_test(adaptive_vocab),
        cmocka_unit_test(adaptive_states), cmocka_unit_test(adaptive_recorded),
        cmocka_unit_test(adaptive_parts),
    };
    if (!open_both())
        return NO_GPU;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_both();
    return failed;
}
