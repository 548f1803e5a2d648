/* test_mix_steps.c: a step of learning does not lengthen the code of the rows that it was learnt
 * from, whatever the rows and however many (kernels/mixmath.h says why). Each case codes one
 * batch, learns it, and codes it again, several times over. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "test_kernels.h"

enum { VOCAB = 48, EXPERTS = 2, ONE = 65536 };

/* Bits that a repeated batch may grow by: a share of every row, for rounding, and a constant for
 * batches of one to seven rows, whose biases, weights and alphas all take long first steps. The
 * most that was measured is 0.0012 bits a row (of 4,096) and 1.85 bits (of one row). */
#define RISE_PER_ROW 0.002
#define RISE         2.0

/* Rows of one update, all with candidates of the same symbols. */
typedef struct {
    int rows;
    float *logits[EXPERTS]; /* [rows][VOCAB] */
    int32_t *symbol;
    ops_candidate *candidate;
    int32_t *candidates;
} batch;

/* One adversary: the coded symbol of a row, its logits and its candidates' features. */
typedef struct {
    const char *name;
    int (*symbol)(test_random *random, int row);
    float spread;  /* of the logits */
    int confident; /* added to every feature, Q8 */
    int noise;     /* a feature is anything within +-noise, Q8 */
    int candidates;
    float sharp; /* not 0: the experts agree, and symbols come with probabilities exp(sharp x) */
} adversary;

static int same_symbol(test_random *random, int row)
{
    (void)random;
    (void)row;
    return 3;
}

static int alternating_symbols(test_random *random, int row)
{
    (void)random;
    return row % 2 ? 3 : 40;
}

static int constant_stream(test_random *random, int row)
{
    return row % 64 == 0 ? 7 : (int)random_below(random, VOCAB);
}

/* The first 16 are candidates. */
static int never_candidate(test_random *random, int row)
{
    (void)row;
    return 16 + (int)random_below(random, VOCAB - 16);
}

static int rarely_candidate(test_random *random, int row)
{
    return random_below(random, 50) ? never_candidate(random, row) : 2;
}

static int first_half_only(test_random *random, int row)
{
    return row % 1024 < 512 ? 1 : 16 + (int)random_below(random, 4);
}

static int any_symbol(test_random *random, int row)
{
    (void)row;
    return (int)random_below(random, VOCAB);
}

static const adversary adversaries[] = {
    {"all rows the same symbol", same_symbol, 2, 0, 1500, 4},
    {"the same symbol, which the model excludes", same_symbol, 12, -3000, 0, 16},
    {"alternating symbols", alternating_symbols, 2, 0, 3000, 8},
    {"alternating, sure features", alternating_symbols, 4, 3000, 100, 16},
    {"one stream constant, others noise", constant_stream, 3, 0, 3000, 16},
    {"sure candidates that always fail", never_candidate, 2, 3100, 0, 16},
    {"sure candidates, one feature's sign at random", never_candidate, 2, 0, 3100, 16},
    {"candidates ruled out, of which some come", rarely_candidate, 3, -3100, 50, 16},
    {"half the streams one symbol", first_half_only, 1, 2000, 1000, 12},
    {"noise, features out of range", any_symbol, 6, 0, OPS_FEATURE_MAX, 16},
    {"noise without candidates", any_symbol, 6, 0, 0, 0},
    {"experts that agree and should weigh more", any_symbol, 3, 0, 0, 0, 1.4f},
    {"experts that agree and should weigh less", any_symbol, 3, 0, 0, 0, 0.6f},
    {"experts that agree, with candidates", any_symbol, 3, 0, 1500, 8, 1.4f},
};

/* A symbol with a probability proportional to exp(sharp x), by Gumbel's maximum. */
static int draw_symbol(test_random *random, const float *x, float sharp)
{
    int drawn = 0;
    double most = -INFINITY;
    for (int i = 0; i < VOCAB; i++) {
        double gumbel = -log(-log((random_bits(random) + 0.5) * 0x1p-32));
        if (sharp * x[i] + gumbel > most) {
            most = sharp * x[i] + gumbel;
            drawn = i;
        }
    }
    return drawn;
}

static batch batch_new(const adversary *from, int rows, uint64_t seed)
{
    test_random random = {seed};
    batch b = {.rows = rows};
    size_t n = (size_t)rows;
    for (int k = 0; k < EXPERTS; k++)
        b.logits[k] = test_array(n * VOCAB, sizeof **b.logits);
    b.symbol = test_array(n, sizeof *b.symbol);
    b.candidate = test_array(n * OPS_CANDIDATES, sizeof *b.candidate);
    b.candidates = test_array(n, sizeof *b.candidates);
    for (int r = 0; r < rows; r++) {
        b.symbol[r] = from->symbol(&random, r);
        b.candidates[r] = from->candidates;
        for (int k = 0; k < EXPERTS; k++)
            for (int i = 0; i < VOCAB; i++)
                b.logits[k][(size_t)r * VOCAB + (size_t)i] =
                    (float)random_normal(&random) * from->spread;
        const float *first = b.logits[0] + (size_t)r * VOCAB;
        for (int k = 1; from->sharp != 0 && k < EXPERTS; k++)
            memcpy(b.logits[k] + (size_t)r * VOCAB, first, VOCAB * sizeof *first);
        if (from->sharp != 0)
            b.symbol[r] = draw_symbol(&random, first, from->sharp);
        for (int c = 0; c < from->candidates; c++) {
            ops_candidate *x = &b.candidate[(size_t)r * OPS_CANDIDATES + (size_t)c];
            *x = (ops_candidate){c, .order = (uint8_t)(c % 3), .hits = 2, .selector = 9};
            for (int j = 0; j < OPS_FEATURES; j++) {
                int f = from->confident;
                if (from->noise)
                    f += (int)random_below(&random, 2 * (uint32_t)from->noise + 1) - from->noise;
                x->feature[j] = (int16_t)(f < -OPS_FEATURE_MAX  ? -OPS_FEATURE_MAX
                                          : f > OPS_FEATURE_MAX ? OPS_FEATURE_MAX
                                                                : f);
            }
        }
    }
    return b;
}

static void batch_free(batch *b)
{
    for (int k = 0; k < EXPERTS; k++)
        free(b->logits[k]);
    free(b->symbol);
    free(b->candidate);
    free(b->candidates);
}

/* Codes the batch with the current state and adds it to the next update's sums. Returns bits. */
static double code(ops_context *ctx, const batch *b, ops_adaptive *a)
{
    ops_interval *interval = test_array((size_t)b->rows, sizeof *interval);
    ops_mix mix = {.experts = EXPERTS, .vocab = VOCAB, .adaptive = a};
    double bits = 0;
    for (int k = 0; k < EXPERTS; k++)
        mix.expert[k] = (ops_expert){.logits = b->logits[k], .stride = VOCAB, .alpha = ONE / 2};
    if (b->candidates) {
        mix.candidate = b->candidate;
        mix.candidates = b->candidates;
    }
    assert_int_equal(ops_cpu.mix_encode(ctx, &mix, b->rows, b->symbol, interval), GPUZIP_OK);
    for (int r = 0; r < b->rows; r++)
        bits += OPS_CDF_BITS - log2(interval[r].freq);
    free(interval);
    return bits;
}

/* Of biases, weights and alphas those learn that `learns` names; without weights there are no
 * candidates. */
static void check_batch(ops_context *ctx, const char *name, batch b, const bool learns[3])
{
    int repeats = b.rows > 10000 ? 3 : 12;
    int32_t weights[OPS_SETS * OPS_WEIGHTS];
    for (int i = 0; i < OPS_SETS * OPS_WEIGHTS; i++)
        weights[i] = learns[0] ? 20000 : 0; /* 0.3, as where nothing is known */
    ops_adaptive_config config = {.vocab = VOCAB, .experts = EXPERTS, .parts = 1, .states = 1};
    config.bias = learns[1];
    config.alpha = learns[2];
    config.weights = weights;
    config.start[0] = config.start[1] = ONE / 2;
    ops_adaptive *a;
    if (!learns[0])
        b.candidates = NULL;
    assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
    double before = code(ctx, &b, a), first = before;
    for (int repeat = 0; repeat < repeats; repeat++) {
        assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
        double after = code(ctx, &b, a);
        if (after > before + RISE_PER_ROW * b.rows + RISE)
            fail_msg("%s, %d rows, repeat %d: %.3f bits became %.3f", name, b.rows, repeat, before,
                     after);
        before = after;
    }
    assert_true(before <= first + RISE);
    ops_cpu.adaptive_destroy(ctx, a);
}

static void repeated_batches_shrink(void **state)
{
    static const int rows[] = {1, 7, 300, 4096, 65536};
    static const bool learns[][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 1}};
    for (size_t i = 0; i < sizeof adversaries / sizeof *adversaries; i++)
        for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
            batch b = batch_new(&adversaries[i], rows[n], (uint64_t)rows[n]);
            for (size_t l = 0; l < sizeof learns / sizeof *learns; l++)
                check_batch(*state, adversaries[i].name, b, learns[l]);
            batch_free(&b);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(repeated_batches_shrink)};
    return cmocka_run_group_tests(tests, open_default, close_default);
}
