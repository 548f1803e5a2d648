/* test_mix.c: the product of experts as integer distributions: against ops.h's formulas
 * written down once more, against the real numbers, the three functions against each
 * other, n rows against n times one, every instruction set against plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "detmath.h"
#include "test_kernels.h"

#define TOTAL (1u << OPS_CDF_BITS)

/* A mix with its own data. */
typedef struct {
    ops_mix mix;
    float *logits[OPS_MAX_EXPERTS];   /* [rows][stride] */
    int32_t *counts[OPS_MAX_EXPERTS]; /* [vocab] */
    int rows;
} fixture;

/* Logits like a language model's: a few likely symbols, a long tail, noise. */
static void fill_logits(test_random *random, float *x, int vocab, float sharpness)
{
    for (int i = 0; i < vocab; i++) {
        float rank = 1 + (float)random_below(random, (uint32_t)vocab);
        x[i] = -sharpness * logf(rank) + random_normal(random) - 7;
    }
}

/* experts of which number k has counts if bit k of `counted` is set. */
static fixture fixture_new(int rows, int vocab, int escapes, int experts, unsigned counted,
                           const uint32_t *alpha, uint64_t seed)
{
    test_random random = {seed};
    fixture f = {.rows = rows};
    f.mix = (ops_mix){.experts = experts, .vocab = vocab, .escapes = escapes};
    for (int k = 0; k < experts; k++) {
        ops_expert *expert = &f.mix.expert[k];
        expert->alpha = alpha[k];
        if (counted >> k & 1) {
            f.counts[k] = test_array((size_t)vocab, sizeof *f.counts[k]);
            for (int i = 0; i < vocab; i++)
                f.counts[k][i] = det_log2_q16(1 + random_bits(&random) % (1u << i % 20));
            expert->counts = f.counts[k];
        } else {
            expert->stride = (size_t)vocab + (size_t)(k * 3); /* a pitch of the backend's choice */
            f.logits[k] = test_array((size_t)rows * expert->stride, sizeof *f.logits[k]);
            for (int r = 0; r < rows; r++)
                fill_logits(&random, f.logits[k] + (size_t)r * expert->stride, vocab,
                            0.5f + 0.5f * (float)(r % 5));
            expert->logits = f.logits[k];
        }
    }
    return f;
}

static void fixture_free(fixture *f)
{
    for (int k = 0; k < f->mix.experts; k++) {
        free(f->logits[k]);
        free(f->counts[k]);
    }
}

static size_t symbols_of(const ops_mix *mix)
{
    return (size_t)mix->vocab + (size_t)mix->escapes;
}

/* start[rows][symbols + 1]; the caller frees it. */
static uint32_t *cdf_of(ops_context *ctx, const ops_mix *mix, int rows)
{
    uint32_t *start = test_array((size_t)rows * (symbols_of(mix) + 1), sizeof *start);
    assert_int_equal(ops_cpu.mix_cdf(ctx, mix, rows, start), GPUZIP_OK);
    return start;
}

/* Every frequency is at least 1 and the total is exact. */
static void check_distribution(const uint32_t *start, size_t symbols)
{
    assert_int_equal(start[0], 0);
    assert_int_equal(start[symbols], TOTAL);
    for (size_t i = 0; i < symbols; i++)
        assert_true(start[i] < start[i + 1]);
}

/* The shapes that most tests walk through. */
static const struct {
    int vocab, escapes, experts;
    unsigned counted;
    uint32_t alpha[4];
} cases[] = {
    {1, 0, 1, 0, {65536}},
    {1, 256, 1, 1, {65536}},
    {105, 0, 1, 0, {65536}},
    {257, 256, 1, 0, {(1 << 20) - 1}},
    {257, 0, 2, 2, {65536, 20000}},
    {511, 0, 1, 1, {65536}},
    {512, 256, 3, 4, {40000, 30000, 1}},
    {513, 0, 1, 0, {1}},
    {4096, 0, 1, 0, {0}},
    {4096, 256, 4, 8, {(1 << 20) - 1, (1 << 20) - 1, (1 << 20) - 1, (1 << 20) - 1}},
    {4097, 0, 2, 0, {58000, 9000}},
    {50257, 256, 1, 0, {65536}},
    {50257, 0, 3, 2, {33000, 5000, 61000}},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static fixture fixture_of(int c, int rows, uint64_t seed)
{
    return fixture_new(rows, cases[c].vocab, cases[c].escapes, cases[c].experts, cases[c].counted,
                       cases[c].alpha, seed);
}

/* -- ops.h's formulas, written down plainly ---------------------------------------------- */

static void reference_cdf(const ops_mix *mix, int row, uint32_t *start)
{
    int vocab = mix->vocab;
    size_t symbols = symbols_of(mix);
    int64_t *t = test_array((size_t)vocab, sizeof *t), max_t = INT64_MIN;
    uint64_t *c = test_array(symbols + 1, sizeof *c);
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *expert = &mix->expert[k];
        const float *x = expert->logits ? expert->logits + (size_t)row * expert->stride : NULL;
        float max = -INFINITY;
        for (int i = 0; x && i < vocab; i++)
            max = fmaxf(max, x[i]);
        for (int i = 0; i < vocab; i++) {
            int64_t l = x ? (int64_t)rintf(fmaxf((x[i] - max) * 94548.4609375f, -0x1p24f))
                          : expert->counts[i];
            t[i] += (int64_t)expert->alpha * l;
        }
    }
    for (int i = 0; i < vocab; i++)
        max_t = t[i] > max_t ? t[i] : max_t;
    for (int i = 0; i < vocab; i++) {
        int64_t d = (t[i] - max_t) >> 16;
        d = d > -40 * 65536 ? d : -40 * 65536;
        c[i + 1] = c[i] + (uint64_t)rintf(det_exp2f((float)d * 0x1p-16f) * 0x1p30f);
    }
    for (size_t i = (size_t)vocab; i < symbols; i++)
        c[i + 1] = c[i] + (c[vocab] >> 20);
    int h = 0;
    while (c[symbols] >> h >= (uint64_t)1 << 34)
        h++;
    for (size_t i = 0; i <= symbols; i++) {
        unsigned __int128 product = (unsigned __int128)(c[i] >> h) * (TOTAL - symbols);
        start[i] = (uint32_t)(product / (c[symbols] >> h)) + (uint32_t)i;
    }
    free(c);
    free(t);
}

static void cdf_formulas(void **state)
{
    ops_context *ctx = *state;
    for (int n = 0; n < CASES; n++) {
        fixture f = fixture_of(n, 3, 10 + (uint64_t)n);
        size_t entries = symbols_of(&f.mix) + 1;
        uint32_t *start = cdf_of(ctx, &f.mix, f.rows);
        uint32_t *want = test_array(entries, sizeof *want);
        for (int r = 0; r < f.rows; r++) {
            reference_cdf(&f.mix, r, want);
            check_distribution(start + (size_t)r * entries, entries - 1);
            assert_memory_equal(start + (size_t)r * entries, want, entries * sizeof *want);
        }
        free(want);
        free(start);
        fixture_free(&f);
    }
}

/* -- the three functions agree ----------------------------------------------------------- */

/* All of a small vocabulary is tried, every so many of a large one. */
static int symbol_step(size_t symbols)
{
    return symbols < 5000 ? 1 : 131;
}

static void check_encode(ops_context *ctx, const ops_mix *mix, const uint32_t *start,
                         int32_t symbol)
{
    ops_interval got;
    assert_int_equal(ops_cpu.mix_encode(ctx, mix, 1, &symbol, &got), GPUZIP_OK);
    assert_int_equal(got.start, start[symbol]);
    assert_int_equal(got.freq, start[symbol + 1] - start[symbol]);
}

static void encode_equals_cdf(void **state)
{
    ops_context *ctx = *state;
    for (int n = 0; n < CASES; n++) {
        fixture f = fixture_of(n, 1, 20 + (uint64_t)n);
        int symbols = (int)symbols_of(&f.mix), step = symbol_step((size_t)symbols);
        uint32_t *start = cdf_of(ctx, &f.mix, 1);
        for (int i = 0; i < symbols; i += step)
            check_encode(ctx, &f.mix, start, i);
        check_encode(ctx, &f.mix, start, symbols - 1);
        free(start);
        fixture_free(&f);
    }
}

static void check_decode(ops_context *ctx, const ops_mix *mix, const uint32_t *start, int symbol,
                         uint32_t target)
{
    ops_symbol got;
    assert_int_equal(ops_cpu.mix_decode(ctx, mix, 1, &target, &got), GPUZIP_OK);
    assert_int_equal(got.symbol, symbol);
    assert_int_equal(got.start, start[symbol]);
    assert_int_equal(got.freq, start[symbol + 1] - start[symbol]);
}

static void decode_equals_cdf(void **state)
{
    ops_context *ctx = *state;
    for (int n = 0; n < CASES; n++) {
        fixture f = fixture_of(n, 1, 30 + (uint64_t)n);
        int symbols = (int)symbols_of(&f.mix), step = symbol_step((size_t)symbols);
        uint32_t *start = cdf_of(ctx, &f.mix, 1);
        for (int i = 0; i < symbols; i += step) {
            check_decode(ctx, &f.mix, start, i, start[i]);
            check_decode(ctx, &f.mix, start, i, start[i + 1] - 1);
        }
        check_decode(ctx, &f.mix, start, symbols - 1, TOTAL - 1);
        free(start);
        fixture_free(&f);
    }
}

/* -- against real numbers ---------------------------------------------------------------- */

/* Bits a token that coding with start costs over coding with pi itself, when symbols
 * come from pi; mix without escapes. */
static double loss_of(const ops_mix *mix, int row, const uint32_t *start)
{
    int vocab = mix->vocab;
    long double *t = test_array((size_t)vocab, sizeof *t), max = -INFINITY, z = 0, loss = 0;
    for (int i = 0; i < vocab; i++) {
        for (int k = 0; k < mix->experts; k++) {
            const ops_expert *expert = &mix->expert[k];
            long double log2p =
                expert->logits
                    ? (long double)expert->logits[(size_t)row * expert->stride + (size_t)i] *
                          1.442695040888963407359925L
                    : (long double)expert->counts[i] / 65536;
            t[i] += expert->alpha / 65536.0L * log2p;
        }
        max = fmaxl(max, t[i]);
    }
    for (int i = 0; i < vocab; i++)
        z += exp2l(t[i] - max);
    for (int i = 0; i < vocab; i++) {
        long double log2pi = t[i] - max - log2l(z);
        long double log2q = log2l((long double)(start[i + 1] - start[i]) / TOTAL);
        loss += exp2l(log2pi) * (log2pi - log2q);
    }
    free(t);
    return (double)loss;
}

static void mean_loss(ops_context *ctx, int vocab, int experts, unsigned counted,
                      const uint32_t *alpha, double limit)
{
    fixture f = fixture_new(10, vocab, 0, experts, counted, alpha, 40);
    uint32_t *start = cdf_of(ctx, &f.mix, f.rows);
    double loss = 0;
    for (int r = 0; r < f.rows; r++)
        loss += loss_of(&f.mix, r, start + (size_t)r * ((size_t)vocab + 1)) / f.rows;
    assert_true(loss > -1e-12 && loss < limit);
    free(start);
    fixture_free(&f);
}

static void loss_oracle(void **state)
{
    ops_context *ctx = *state;
    const uint32_t one[] = {65536}, sharp[] = {131072}, three[] = {40000, 30000, 8000};
    mean_loss(ctx, 256, 1, 0, one, 0.0005);
    mean_loss(ctx, 4096, 1, 0, one, 0.0005);
    mean_loss(ctx, 4096, 3, 4, three, 0.0005);
    mean_loss(ctx, 131072, 1, 0, one, 0.001);
    mean_loss(ctx, 131072, 1, 0, sharp, 0.001);
    mean_loss(ctx, 131072, 3, 4, three, 0.001);
}

/* -- the same bits ----------------------------------------------------------------------- */

typedef struct {
    ops_interval *interval;
    ops_symbol *symbol;
} coded;

/* Encodes a symbol and decodes a target of each row of the mix. */
static coded code_rows(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                       const uint32_t *target)
{
    coded c = {test_array((size_t)rows, sizeof *c.interval),
               test_array((size_t)rows, sizeof *c.symbol)};
    assert_int_equal(ops_cpu.mix_encode(ctx, mix, rows, symbol, c.interval), GPUZIP_OK);
    assert_int_equal(ops_cpu.mix_decode(ctx, mix, rows, target, c.symbol), GPUZIP_OK);
    return c;
}

static void coded_free(coded *c)
{
    free(c->interval);
    free(c->symbol);
}

#define ROWS 33

static void draw_codes(const ops_mix *mix, int32_t *symbol, uint32_t *target)
{
    test_random random = {50};
    for (int r = 0; r < ROWS; r++) {
        symbol[r] = (int32_t)random_below(&random, (uint32_t)symbols_of(mix));
        target[r] = random_below(&random, TOTAL);
    }
}

static void mix_rows(void **state)
{
    ops_context *ctx = *state;
    for (int n = 0; n < CASES; n++) {
        fixture f = fixture_of(n, ROWS, 60 + (uint64_t)n);
        int32_t symbol[ROWS];
        uint32_t target[ROWS];
        draw_codes(&f.mix, symbol, target);
        coded all = code_rows(ctx, &f.mix, ROWS, symbol, target);
        for (int32_t r = 0; r < ROWS; r++) { /* one at a time, last row first, by the row map */
            int32_t row = ROWS - 1 - r;
            ops_mix one = f.mix;
            one.row = &row;
            coded single = code_rows(ctx, &one, 1, symbol + row, target + row);
            assert_memory_equal(single.interval, all.interval + row, sizeof *all.interval);
            assert_memory_equal(single.symbol, all.symbol + row, sizeof *all.symbol);
            coded_free(&single);
        }
        coded_free(&all);
        fixture_free(&f);
    }
}

static void mix_isa(void **state)
{
    (void)state;
    static const int row_counts[] = {1, 2, 7, ROWS};
    test_levels levels = levels_open();
    for (int n = 0; n < CASES; n++) {
        fixture f = fixture_of(n, ROWS, 70 + (uint64_t)n);
        int32_t symbol[ROWS];
        uint32_t target[ROWS];
        draw_codes(&f.mix, symbol, target);
        for (int c = 0; c < 4; c++) {
            int rows = row_counts[c];
            if (cases[n].vocab > 5000 && rows > 7)
                rows = 9; /* plain C is slow */
            coded want = code_rows(levels.context[0], &f.mix, rows, symbol, target);
            for (int level = 1; level < levels.count; level++) {
                coded got = code_rows(levels.context[level], &f.mix, rows, symbol, target);
                assert_memory_equal(got.interval, want.interval,
                                    (size_t)rows * sizeof *got.interval);
                assert_memory_equal(got.symbol, want.symbol, (size_t)rows * sizeof *got.symbol);
                coded_free(&got);
            }
            coded_free(&want);
        }
        uint32_t *want = cdf_of(levels.context[0], &f.mix, 1);
        for (int level = 1; level < levels.count; level++) {
            uint32_t *got = cdf_of(levels.context[level], &f.mix, 1);
            assert_memory_equal(got, want, (symbols_of(&f.mix) + 1) * sizeof *got);
            free(got);
        }
        free(want);
        fixture_free(&f);
    }
    levels_close(&levels);
}

/* -- extremes ---------------------------------------------------------------------------- */

typedef enum {
    ALL_EQUAL,
    ONE_HUGE,
    SUBNORMAL,
    GREAT_RANGE,
    INFINITE,
    ALL_INFINITE,
    NOT_NUMBERS,
    EXTREMES
} extreme;

static void fill_extreme(float *x, int vocab, extreme kind)
{
    for (int i = 0; i < vocab; i++) {
        switch (kind) {
        case ALL_EQUAL:
            x[i] = -3.5f;
            break;
        case ONE_HUGE:
            x[i] = i == vocab / 2 ? 0x1p100f : -0x1p100f;
            break;
        case SUBNORMAL:
            x[i] = (float)i * 0x1p-149f;
            break;
        case GREAT_RANGE: /* differences overflow */
            x[i] = i % 2 ? 0x1.fp127f : -0x1.fp127f;
            break;
        case INFINITE:
            x[i] = i == 7 ? INFINITY : (float)i;
            break;
        case ALL_INFINITE:
            x[i] = -INFINITY;
            break;
        default:
            x[i] = NAN;
        }
    }
}

/* Whatever the logits, a distribution comes out, the same everywhere. */
static void mix_extremes(void **state)
{
    (void)state;
    /* A small alpha shows the clamp of l; otherwise that of d hides it. */
    const uint32_t alpha[][2] = {{65536, 0}, {1000, 0}, {65536, 70000}};
    test_levels levels = levels_open();
    for (int kind = 0; kind < EXTREMES; kind++)
        for (int a = 0; a < 3; a++) {
            fixture f = fixture_new(1, 4097, a == 1 ? 256 : 0, a == 2 ? 2 : 1, 2, alpha[a], 80);
            fill_extreme(f.logits[0], 4097, (extreme)kind);
            uint32_t *want = cdf_of(levels.context[0], &f.mix, 1);
            check_distribution(want, symbols_of(&f.mix));
            uint32_t *formula = test_array(symbols_of(&f.mix) + 1, sizeof *formula);
            reference_cdf(&f.mix, 0, formula);
            assert_memory_equal(want, formula, (symbols_of(&f.mix) + 1) * sizeof *want);
            free(formula);
            for (int level = 1; level < levels.count; level++) {
                uint32_t *got = cdf_of(levels.context[level], &f.mix, 1);
                assert_memory_equal(got, want, (symbols_of(&f.mix) + 1) * sizeof *got);
                free(got);
            }
            if (kind == ALL_EQUAL && a == 0)
                for (int i = 0; i < 4097; i++)
                    assert_in_range(want[i + 1] - want[i], TOTAL / 4097, TOTAL / 4097 + 1);
            if (kind == ONE_HUGE && a == 0)
                for (int i = 0; i < 4097; i++)
                    assert_int_equal(want[i + 1] - want[i], i == 2048 ? TOTAL - 4096 : 1);
            free(want);
            fixture_free(&f);
        }
    levels_close(&levels);
}

/* The largest vocabulary, all equal: Z reaches 2^48 and the shift its greatest. */
static void mix_largest(void **state)
{
    ops_context *ctx = *state;
    const uint32_t alpha[] = {65536};
    fixture f = fixture_new(1, OPS_MAX_VOCAB - 256, 256, 1, 0, alpha, 90);
    fill_extreme(f.logits[0], f.mix.vocab, ALL_EQUAL);
    uint32_t *start = cdf_of(ctx, &f.mix, 1);
    uint32_t *want = test_array(OPS_MAX_VOCAB + 1, sizeof *want);
    reference_cdf(&f.mix, 0, want);
    check_distribution(start, OPS_MAX_VOCAB);
    assert_memory_equal(start, want, (OPS_MAX_VOCAB + 1) * sizeof *want);
    for (int i = 0; i < OPS_MAX_VOCAB; i += 9973)
        check_decode(ctx, &f.mix, start, i, start[i + 1] - 1);
    for (int i = f.mix.vocab - 2; i < OPS_MAX_VOCAB; i += 16)
        check_decode(ctx, &f.mix, start, i, start[i]);
    free(want);
    free(start);
    fixture_free(&f);
}

/* -- counts ------------------------------------------------------------------------------ */

static void count_add_counts(void **state)
{
    ops_context *ctx = *state;
    enum { VOCAB = 300, N = 5000 };
    test_random random = {100};
    uint32_t count[VOCAB] = {0}, seen[VOCAB] = {0};
    int32_t counts[VOCAB] = {0}, *symbol = test_array(N, sizeof *symbol);
    for (int call = 0; call < 5; call++) {
        for (int i = 0; i < N; i++) {
            /* Small symbols often; some escapes, which are skipped. */
            symbol[i] = (int32_t)random_below(&random, 1 + random_below(&random, VOCAB + 50));
            if (symbol[i] < VOCAB)
                seen[symbol[i]]++;
        }
        assert_int_equal(ops_cpu.count_add(ctx, count, counts, VOCAB, NULL, symbol, N), GPUZIP_OK);
        assert_memory_equal(count, seen, sizeof count);
        for (int i = 0; i < VOCAB; i++)
            assert_int_equal(counts[i], (int32_t)floor(log2(seen[i] + 1.0) * 65536));
    }
    assert_int_equal(ops_cpu.count_add(ctx, count, counts, VOCAB, NULL, symbol, 0), GPUZIP_OK);
    assert_memory_equal(count, seen, sizeof count);
    free(symbol);
}

/* Counts of several states in one call are those of a call a state. */
static void count_add_states(void **state)
{
    ops_context *ctx = *state;
    enum { VOCAB = 300, STATES = 3, N = 4000 };
    test_random random = {101};
    uint32_t *count = test_array(STATES * VOCAB, sizeof *count), one[VOCAB] = {0};
    int32_t *counts = test_array(STATES * VOCAB, sizeof *counts), logs[VOCAB] = {0};
    int32_t *symbol = test_array(N, sizeof *symbol), *of = test_array(N, sizeof *of);
    for (int i = 0; i < N; i++) {
        of[i] = (int32_t)random_below(&random, STATES);
        symbol[i] = (int32_t)random_below(&random, 1 + random_below(&random, VOCAB + 50));
    }
    assert_int_equal(ops_cpu.count_add(ctx, count, counts, VOCAB, of, symbol, N), GPUZIP_OK);
    for (int s = 0; s < STATES; s++) {
        memset(one, 0, sizeof one);
        memset(logs, 0, sizeof logs);
        for (int i = 0; i < N; i++)
            if (of[i] == s)
                assert_int_equal(ops_cpu.count_add(ctx, one, logs, VOCAB, NULL, &symbol[i], 1),
                                 GPUZIP_OK);
        assert_memory_equal(count + s * VOCAB, one, sizeof one);
        assert_memory_equal(counts + s * VOCAB, logs, sizeof logs);
    }
    free(of);
    free(symbol);
    free(counts);
    free(count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cdf_formulas),      cmocka_unit_test(encode_equals_cdf),
        cmocka_unit_test(decode_equals_cdf), cmocka_unit_test(loss_oracle),
        cmocka_unit_test(mix_rows),          cmocka_unit_test(mix_isa),
        cmocka_unit_test(mix_extremes),      cmocka_unit_test(mix_largest),
        cmocka_unit_test(count_add_counts),  cmocka_unit_test(count_add_states),
    };
    return cmocka_run_group_tests(tests, open_default, close_default);
}
