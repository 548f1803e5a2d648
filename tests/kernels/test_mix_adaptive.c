/* test_mix_adaptive.c: candidates, biases and learnt alphas: against ops.h's formulas in
 * integers of 128 bits, those against real numbers, every instruction set and number of
 * threads against plain C, and against the mix without them. test_mix_states.c has several
 * adaptive states in one call. */
#include "mix_adaptive_reference.h"

/* -- against them ------------------------------------------------------------------------ */

static void check_learnt(ops_context *ctx, const ops_adaptive *a, const naive *n)
{
    learnt l = learnt_of(ctx, a, n->config.vocab);
    if (n->config.bias)
        assert_memory_equal(l.bias, n->bias, (size_t)n->config.vocab * sizeof *l.bias);
    for (int k = 0; n->config.alpha && k < n->config.experts; k++)
        assert_int_equal(l.alpha[k], n->alpha[k]);
    assert_memory_equal(l.weights, n->weights, sizeof l.weights);
    free(l.bias);
}

/* Codes all rows both ways, each with a state of its own, and adds them to n. */
static void check_rows(ops_context *ctx, const ops_mix *mix, ops_adaptive *decoding, naive *n,
                       const int32_t *symbol)
{
    size_t entries = (size_t)(mix->vocab + mix->escapes) + 1;
    uint32_t *start = test_array(ROWS * entries, sizeof *start), target[ROWS];
    uint32_t *want = test_array(entries, sizeof *want);
    ops_interval interval[ROWS];
    ops_symbol found[ROWS];
    assert_int_equal(ops_cpu.mix_cdf(ctx, mix, ROWS, start), GPUZIP_OK);
    assert_int_equal(ops_cpu.mix_encode(ctx, mix, ROWS, symbol, interval), GPUZIP_OK);
    for (int r = 0; r < ROWS; r++) {
        int y = symbol[r];
        naive_row row = naive_open(n, mix, r);
        naive_cdf(&row, mix, want);
        assert_memory_equal(start + (size_t)r * entries, want, entries * sizeof *want);
        assert_int_equal(want[entries - 1], TOTAL);
        for (size_t i = 0; i + 1 < entries; i++)
            assert_true(want[i] < want[i + 1]);
        assert_int_equal(interval[r].start, want[y]);
        assert_int_equal(interval[r].freq, want[y + 1] - want[y]);
        target[r] = r % 2 ? want[y] : want[y + 1] - 1;
        naive_close(&row);
    }
    for (int r = 0; r < ROWS; r++) { /* all rows were coded with the same state */
        naive_row row = naive_open(n, mix, r);
        if (mix->candidates[r] >= 0)
            naive_add(n, &row, mix, r, symbol[r]);
        naive_close(&row);
    }
    ops_mix other = *mix;
    other.adaptive = decoding;
    assert_int_equal(ops_cpu.mix_decode(ctx, &other, ROWS, target, found), GPUZIP_OK);
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(found[r].symbol, symbol[r]);
        assert_int_equal(found[r].start, interval[r].start);
        assert_int_equal(found[r].freq, interval[r].freq);
    }
    free(want);
    free(start);
}

static void adaptive_formulas(void **state)
{
    ops_context *ctx = *state;
    for (int c = 0; c < CASES; c++) {
        test_random random = {100 + (uint64_t)c};
        int32_t weights[OPS_SETS * OPS_WEIGHTS];
        draw_weights(&random, cases[c].hostile, weights);
        ops_adaptive_config config = config_of(c, weights, 1);
        ops_adaptive *encoding, *decoding;
        assert_int_equal(ops_cpu.adaptive_create(ctx, &encoding, &config), GPUZIP_OK);
        assert_int_equal(ops_cpu.adaptive_create(ctx, &decoding, &config), GPUZIP_OK);
        naive n = naive_new(&config);
        sample s = sample_new(c, cases[c].hostile);
        for (int update = 0; update < 6; update++) {
            draw(&s, &random);
            ops_mix mix = mix_of(&s, encoding);
            check_rows(ctx, &mix, decoding, &n, s.symbol);
            assert_int_equal(ops_cpu.mix_learn(ctx, encoding, 1), GPUZIP_OK);
            assert_int_equal(ops_cpu.mix_learn(ctx, decoding, 1), GPUZIP_OK);
            naive_learn(&n);
            check_learnt(ctx, encoding, &n);
            check_learnt(ctx, decoding, &n);
        }
        /* A reset clears the state and the pending sums; learning starts again. */
        ops_mix mix = mix_of(&s, encoding);
        ops_interval interval[ROWS];
        assert_int_equal(ops_cpu.mix_encode(ctx, &mix, ROWS, s.symbol, interval), GPUZIP_OK);
        assert_int_equal(ops_cpu.adaptive_reset(ctx, encoding, 0, 1), GPUZIP_OK);
        assert_int_equal(ops_cpu.adaptive_reset(ctx, decoding, 0, 1), GPUZIP_OK);
        naive fresh = naive_new(&config);
        assert_int_equal(ops_cpu.mix_learn(ctx, encoding, 1), GPUZIP_OK);
        check_learnt(ctx, encoding, &fresh);
        check_rows(ctx, &mix, decoding, &fresh, s.symbol);
        assert_int_equal(ops_cpu.mix_learn(ctx, encoding, 1), GPUZIP_OK);
        naive_learn(&fresh);
        check_learnt(ctx, encoding, &fresh);
        naive_free(&fresh);
        naive_free(&n);
        sample_free(&s);
        ops_cpu.adaptive_destroy(ctx, encoding);
        ops_cpu.adaptive_destroy(ctx, decoding);
    }
}

/* Of logarithms that are far from 0 and close together the rounded variance can be negative,
 * and counts as 0. */
static void adaptive_variance(void **state)
{
    enum { VOCAB = 40, FAR = 3, NEAR = 4 };
    ops_context *ctx = *state;
    float logits[2][ROWS * VOCAB];
    int32_t symbol[ROWS], weights[OPS_SETS * OPS_WEIGHTS] = {0};
    ops_interval interval[ROWS];
    ops_adaptive_config config = {VOCAB, 2, false, true, {ONE, ONE / 20}, weights, 1, 1};
    ops_adaptive *a;
    for (int i = 0; i < ROWS * VOCAB; i++) {
        int x = i % VOCAB; /* the second expects none of the two that the first does */
        logits[0][i] = x == FAR ? 0 : x == NEAR ? -6 : -150;
        logits[1][i] = x == FAR ? -120 : x == NEAR ? -120.1f : x == 0 ? 0 : -1;
    }
    assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
    ops_mix mix = {.experts = 2, .vocab = VOCAB, .adaptive = a};
    for (int k = 0; k < 2; k++)
        mix.expert[k] = (ops_expert){.logits = logits[k], .stride = VOCAB, .alpha = ONE};
    naive n = naive_new(&config);
    for (int update = 0; update < 3; update++) {
        for (int r = 0; r < ROWS; r++) {
            naive_row row = naive_open(&n, &mix, r);
            symbol[r] = update == 2 ? NEAR : FAR;
            naive_add(&n, &row, &mix, r, symbol[r]);
            naive_close(&row);
        }
        assert_int_equal(ops_cpu.mix_encode(ctx, &mix, ROWS, symbol, interval), GPUZIP_OK);
        assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
        naive_learn(&n);
        check_learnt(ctx, a, &n);
    }
    naive_free(&n);
    ops_cpu.adaptive_destroy(ctx, a);
}

/* -- against real numbers ---------------------------------------------------------------- */

/* log2 of pi(y) with the deltas as they are, exact but for long double; `change` is added to
 * alpha of expert 0, the bias of symbol `which` and the weight j of `set`, by kind. */
static long double log_pi(const naive *n, const naive_row *row, const ops_mix *mix, int r, int y,
                          int kind, int which, int j, long double change)
{
    long double z = 0, log_y = 0, max = -INFINITY;
    long double *t = test_array((size_t)mix->vocab, sizeof *t);
    for (int i = 0; i < mix->vocab; i++) {
        for (int k = 0; k < mix->experts; k++)
            t[i] += ((long double)n->alpha[k] / ONE + (kind == 0 && k == 0 ? change : 0)) *
                    (long double)row->l[k][i] / ONE;
        t[i] += (long double)n->bias[i] / ONE + (kind == 1 && i == which ? change : 0);
    }
    for (int c = 0; c < candidates_of(mix, r); c++) {
        int x = mix->candidate[(size_t)r * OPS_CANDIDATES + (size_t)c].symbol;
        t[x] += (long double)row->delta[c] / ONE;
        if (kind == 2 && (row->set[c] == which || row->other[c] == which))
            t[x] += change * (long double)row->feature[c][j] / 256;
    }
    for (int i = 0; i < mix->vocab; i++)
        max = fmaxl(max, t[i]);
    for (int i = 0; i < mix->vocab; i++)
        z += exp2l(t[i] - max);
    log_y = t[y] - max - log2l(z);
    free(t);
    return log_y;
}

static void near(double got, double want, double error)
{
    if (fabs(got - want) > error)
        print_error("%.9g instead of %.9g\n", got, want);
    assert_true(fabs(got - want) <= error);
}

/* One row's gradient against differences of the logarithm of the coded symbol's
 * probability; and the probability itself. */
static void check_gradients(const naive *n, const ops_mix *mix, int r, int y)
{
    const long double step = 1e-4L;
    naive_row row = naive_open(n, mix, r);
    naive sums = *n;
    size_t vocab = (size_t)mix->vocab;
    sums.expected = test_array(vocab, sizeof *sums.expected);
    sums.seen = test_array(vocab, sizeof *sums.seen);
    memset(sums.gradient, 0, sizeof sums.gradient);
    memset(sums.g, 0, sizeof sums.g);
    naive_add(&sums, &row, mix, r, y);
    double log_y = (double)log_pi(n, &row, mix, r, y, 0, 0, 0, 0);
    near(log2((double)row.w[y] / (double)row.total), log_y, 0.0005 + 1 / (double)row.w[y]);

#define SLOPE(kind, which, j)                                                                      \
    (double)((log_pi(n, &row, mix, r, y, kind, which, j, step) -                                   \
              log_pi(n, &row, mix, r, y, kind, which, j, -step)) /                                 \
             (2 * step))
    near((double)sums.g[0] / 4096, SLOPE(0, 0, 0), 0.1); /* v has steps of 1/16 */
    for (int i = 0; i < mix->vocab; i += 1 + mix->vocab / 40)
        near((double)(sums.seen[i] * (1 << 20) - sums.expected[i]) / (1 << 20), SLOPE(1, i, 0),
             0.0001);
    for (int c = 0; c < candidates_of(mix, r); c++)
        for (int j = 0; j < OPS_WEIGHTS; j++)
            for (int i = 0; i < 2; i++) {
                int set = i ? row.other[c] : row.set[c];
                near((double)sums.gradient[set][j] / (1 << 24), SLOPE(2, set, j), 0.003);
            }
#undef SLOPE
    free(sums.expected);
    free(sums.seen);
    naive_close(&row);
}

static void gradients_oracle(void **state)
{
    ops_context *ctx = *state;
    (void)ctx;
    test_random random = {200};
    int32_t weights[OPS_SETS * OPS_WEIGHTS];
    draw_weights(&random, false, weights);
    for (int i = 0; i < OPS_SETS * OPS_WEIGHTS; i++)
        weights[i] /= 4; /* probabilities that are not all 0 or 1 */
    ops_adaptive_config config = config_of(1, weights, 1);
    naive n = naive_new(&config);
    sample s = sample_new(1, false);
    for (int round = 0; round < 2; round++) {
        draw(&s, &random);
        ops_mix mix = mix_of(&s, NULL);
        for (int r = 0; r < 6; r++) {
            check_gradients(&n, &mix, r, s.symbol[r]);
            naive_row row = naive_open(&n, &mix, r);
            naive_add(&n, &row, &mix, r, s.symbol[r]);
            naive_close(&row);
        }
        naive_learn(&n);
    }
    naive_free(&n);
    sample_free(&s);
}

/* -- the same bits ----------------------------------------------------------------------- */

/* Some updates of a case; the intervals of the last and all that was learnt. Rows are spread
 * over `parts`, the last first. */
static void run(ops_context *ctx, int c, int parts, ops_interval *interval, learnt *l)
{
    test_random random = {300 + (uint64_t)c};
    int32_t weights[OPS_SETS * OPS_WEIGHTS];
    draw_weights(&random, cases[c].hostile, weights);
    ops_adaptive_config config = config_of(c, weights, parts);
    ops_adaptive *a;
    assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
    sample s = sample_new(c, cases[c].hostile);
    for (int update = 0; update < 4; update++) {
        draw(&s, &random);
        for (int part = parts - 1; part >= 0; part--) {
            int first = ROWS * part / parts, rows = ROWS * (part + 1) / parts - first;
            int32_t row[ROWS];
            ops_mix mix = mix_of(&s, a);
            mix.part = part;
            mix.row = row;
            mix.candidate += first * OPS_CANDIDATES;
            mix.candidates += first;
            for (int r = 0; r < rows; r++)
                row[r] = first + r;
            assert_int_equal(
                ops_cpu.mix_encode(ctx, &mix, rows, s.symbol + first, interval + first), GPUZIP_OK);
        }
        assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
    }
    *l = learnt_of(ctx, a, config.vocab);
    sample_free(&s);
    ops_cpu.adaptive_destroy(ctx, a);
}

static void adaptive_isa(void **state)
{
    (void)state;
    test_levels levels = levels_open();
    for (int c = 0; c < CASES; c++) {
        ops_interval want[ROWS], got[ROWS];
        learnt first, l;
        run(levels.context[0], c, 1, want, &first);
        for (int level = 0; level < levels.count; level++)
            for (int parts = 1; parts <= 3; parts += 2) {
                run(levels.context[level], c, parts, got, &l);
                assert_memory_equal(got, want, sizeof got);
                assert_memory_equal(l.bias, first.bias, (size_t)cases[c].vocab * sizeof *l.bias);
                assert_memory_equal(l.alpha, first.alpha, sizeof l.alpha);
                assert_memory_equal(l.weights, first.weights, sizeof l.weights);
                free(l.bias);
            }
        free(first.bias);
    }
    levels_close(&levels);
}

/* More rows at once than `recent` of cpu_mix.h holds, for a single thread, and more than the
 * curvature of weights counts. */
static void adaptive_many_rows(void **state)
{
    enum { FIRST = 6000, MANY = 9000, VOCAB = 40 };
    float *logits = test_array(2 * VOCAB, sizeof *logits);
    int32_t *row = test_array(MANY, sizeof *row), *symbol = test_array(MANY, sizeof *symbol);
    ops_candidate *candidate = test_array(MANY * OPS_CANDIDATES, sizeof *candidate);
    int32_t *candidates = test_array(MANY, sizeof *candidates);
    ops_interval *interval = test_array(MANY, sizeof *interval);
    int32_t weights[OPS_SETS * OPS_WEIGHTS] = {0};
    ops_adaptive_config config = {VOCAB, 1, true, true, {ONE}, weights, 1, 1};
    ops_context *ctx;
    ops_adaptive *a;
    (void)state;
    logits[3] = 30; /* of the first rows: p = 1 */
    logits[VOCAB + 5] = logits[VOCAB + 6] = 30;
    for (int i = 0; i < MANY; i++) {
        row[i] = i >= FIRST;
        symbol[i] = row[i] ? 5 : 3;
        candidates[i] = row[i]; /* p = 1/2 */
        candidate[i * OPS_CANDIDATES] = (ops_candidate){.symbol = 5, .hits = 1, .selector = 7};
        for (int k = 0; k < OPS_FEATURES; k++)
            candidate[i * OPS_CANDIDATES].feature[k] = OPS_FEATURE_MAX;
    }
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, NULL), GPUZIP_OK);
    assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
    ops_mix mix = {.experts = 1, .vocab = VOCAB, .row = row, .adaptive = a};
    mix.expert[0] = (ops_expert){.logits = logits, .stride = VOCAB, .alpha = ONE};
    mix.candidate = candidate;
    mix.candidates = candidates;
    ops_mix two = mix; /* one row of each kind */
    two.candidate += (FIRST - 1) * OPS_CANDIDATES;
    two.candidates += FIRST - 1;
    naive n = naive_new(&config);
    for (int update = 0; update < 2; update++) {
        assert_int_equal(ops_cpu.mix_encode(ctx, &mix, MANY, symbol, interval), GPUZIP_OK);
        assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
        for (int i = 0; i < 2; i++) {
            naive_row one = naive_open(&n, &two, i);
            for (int j = 0; j < (i ? MANY - FIRST : FIRST); j++)
                naive_add(&n, &one, &two, i, i ? 5 : 3);
            naive_close(&one);
        }
        naive_learn(&n);
        check_learnt(ctx, a, &n);
    }
    /* One row more, of weak features: only the sum of all curvature bounds its step. */
    for (int k = 0; k < OPS_FEATURES; k++)
        candidate[FIRST * OPS_CANDIDATES].feature[k] = 256;
    two.row = row + FIRST - 1;
    assert_int_equal(ops_cpu.mix_encode(ctx, &two, 2, symbol + FIRST - 1, interval), GPUZIP_OK);
    assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
    for (int i = 0; i < 2; i++) {
        naive_row one = naive_open(&n, &two, i);
        naive_add(&n, &one, &two, i, i ? 5 : 3);
        naive_close(&one);
    }
    naive_learn(&n);
    check_learnt(ctx, a, &n);
    naive_free(&n);
    ops_cpu.adaptive_destroy(ctx, a);
    ops_cpu.close(ctx);
    free(interval);
    free(candidates);
    free(candidate);
    free(symbol);
    free(row);
    free(logits);
}

/* A symbol that the model excludes, again and again, takes its bias to one bound and that of the
 * symbol expected instead to the other. */
static void adaptive_bias_bounds(void **state)
{
    enum { VOCAB = 40, WRONG = 4, RIGHT = 5, UPDATES = 60 };
    ops_context *ctx = *state;
    float logits[ROWS * VOCAB] = {0};
    int32_t symbol[ROWS], weights[OPS_SETS * OPS_WEIGHTS] = {0};
    ops_interval interval[ROWS];
    ops_adaptive_config config = {VOCAB, 1, true, false, {ONE}, weights, 1, 1};
    ops_adaptive *a;
    for (int r = 0; r < ROWS; r++) {
        logits[r * VOCAB + WRONG] = 40;
        symbol[r] = RIGHT;
    }
    assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
    ops_mix mix = {.experts = 1, .vocab = VOCAB, .adaptive = a};
    mix.expert[0] = (ops_expert){.logits = logits, .stride = VOCAB, .alpha = ONE};
    naive n = naive_new(&config);
    for (int update = 0; update < UPDATES; update++) {
        assert_int_equal(ops_cpu.mix_encode(ctx, &mix, ROWS, symbol, interval), GPUZIP_OK);
        assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
        for (int r = 0; r < ROWS; r++) {
            naive_row row = naive_open(&n, &mix, r);
            naive_add(&n, &row, &mix, r, symbol[r]);
            naive_close(&row);
        }
        naive_learn(&n);
        check_learnt(ctx, a, &n);
    }
    assert_int_equal(n.bias[RIGHT], OPS_BIAS_MAX);
    assert_int_equal(n.bias[WRONG], -OPS_BIAS_MAX);
    naive_free(&n);
    ops_cpu.adaptive_destroy(ctx, a);
}

/* -- where nothing has been learnt ------------------------------------------------------- */

static void adaptive_neutral(void **state)
{
    ops_context *ctx = *state;
    for (int c = 0; c < CASES; c++) {
        test_random random = {400 + (uint64_t)c};
        int32_t weights[OPS_SETS * OPS_WEIGHTS] = {0};
        ops_adaptive_config config = config_of(c, weights, 1);
        ops_adaptive *a;
        assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
        sample s = sample_new(c, cases[c].hostile);
        draw(&s, &random);
        size_t size = ROWS * ((size_t)(s.vocab + s.escapes) + 1);
        uint32_t *want = test_array(size, sizeof *want), *got = test_array(size, sizeof *got);
        ops_mix mix = mix_of(&s, a), plain = mix_of(&s, NULL);
        plain.candidate = NULL;
        plain.candidates = NULL;
        assert_int_equal(ops_cpu.mix_cdf(ctx, &plain, ROWS, want), GPUZIP_OK);
        assert_int_equal(ops_cpu.mix_cdf(ctx, &mix, ROWS, got), GPUZIP_OK); /* weights of 0 */
        assert_memory_equal(got, want, size * sizeof *want);
        mix.candidate = NULL;
        mix.candidates = NULL;
        assert_int_equal(ops_cpu.mix_cdf(ctx, &mix, ROWS, got), GPUZIP_OK);
        assert_memory_equal(got, want, size * sizeof *want);
        free(got);
        free(want);
        sample_free(&s);
        ops_cpu.adaptive_destroy(ctx, a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adaptive_formulas),    cmocka_unit_test(gradients_oracle),
        cmocka_unit_test(adaptive_isa),         cmocka_unit_test(adaptive_many_rows),
        cmocka_unit_test(adaptive_neutral),     cmocka_unit_test(adaptive_variance),
        cmocka_unit_test(adaptive_bias_bounds),
    };
    return cmocka_run_group_tests(tests, open_default, close_default);
}
