/* test_theory.c: the properties of a product of experts pi = (1/Z) prod p_k^alpha_k, checked in
 * the integers that are coded: CE(pi) = sum alpha_k CE_k + E[log2 Z]; Z <= 1 where the alphas
 * are >= 0 and sum to 1; CE is convex in the alphas, and the best of them beat the best expert;
 * an expert twice is that expert once. p_k and Z are formed beside them in real numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "detmath.h"
#include "test_kernels.h"

#define ONE     65536
#define TOTAL   (1u << OPS_CDF_BITS)
#define EXPERTS 4
#define ROWS    64

/* Rows whose symbols come from a distribution of which each expert has an idea of its own; the
 * last expert may be counts. */
typedef struct {
    ops_mix mix;
    float *logits[EXPERTS]; /* [ROWS][vocab] */
    int32_t *counts;        /* [vocab] */
    int32_t symbol[ROWS];
} sample;

/* One that is not rare, for those of one expert may have no frequency to speak of. */
static int32_t draw_symbol(test_random *random, const float *truth, int vocab)
{
    double sum = 0;
    int32_t i;
    for (i = 0; i < vocab; i++)
        sum += exp(truth[i]);
    do {
        double at = random_bits(random) * 0x1p-32 * sum;
        for (i = 0; i < vocab - 1 && at >= exp(truth[i]); i++)
            at -= exp(truth[i]);
    } while (exp(truth[i]) < sum / 4096);
    return i;
}

/* noise[k]: how far expert k's logits are from the truth, or 0 for counts of earlier
 * rows. */
static void sample_open(sample *s, int vocab, int experts, const float *noise, uint64_t seed)
{
    test_random random = {seed};
    float *truth = test_array((size_t)vocab, sizeof *truth);
    *s = (sample){.mix = {.experts = experts, .vocab = vocab}};
    s->counts = test_array((size_t)vocab, sizeof *s->counts);
    for (int i = 0; i < vocab; i++)
        s->counts[i] = det_log2_q16(1 + 5000 / (1 + (uint32_t)i) + random_below(&random, 3));
    for (int k = 0; k < experts; k++) {
        s->logits[k] = test_array((size_t)ROWS * (size_t)vocab, sizeof(float));
        s->mix.expert[k] = (ops_expert){.logits = s->logits[k], .stride = (size_t)vocab};
        if (noise[k] == 0)
            s->mix.expert[k] = (ops_expert){.counts = s->counts};
    }
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < vocab; i++)
            truth[i] = -1.2f * logf(1 + (float)i) + 2 * random_normal(&random);
        for (int k = 0; k < experts; k++)
            for (int i = 0; i < vocab; i++)
                s->logits[k][r * vocab + i] = truth[i] + noise[k] * random_normal(&random);
        s->symbol[r] = draw_symbol(&random, truth, vocab);
    }
    free(truth);
}

static void sample_close(sample *s)
{
    for (int k = 0; k < EXPERTS; k++)
        free(s->logits[k]);
    free(s->counts);
}

/* The experts with these alphas, Q16. */
static ops_mix mix_of(const sample *s, const uint32_t *alpha)
{
    ops_mix mix = s->mix;
    for (int k = 0; k < mix.experts; k++)
        mix.expert[k].alpha = alpha[k];
    return mix;
}

/* Expert k alone. */
static ops_mix alone(const sample *s, int k, uint32_t alpha)
{
    ops_mix mix = {.experts = 1, .vocab = s->mix.vocab};
    mix.expert[0] = s->mix.expert[k];
    mix.expert[0].alpha = alpha;
    return mix;
}

static uint32_t *cdf_of(ops_context *ctx, const ops_mix *mix)
{
    uint32_t *start = test_array((size_t)ROWS * ((size_t)mix->vocab + 1), sizeof *start);
    assert_int_equal(ops_cpu.mix_cdf(ctx, mix, ROWS, start), GPUZIP_OK);
    return start;
}

static double freq_of(const uint32_t *start, int vocab, int r, int i)
{
    const uint32_t *row = start + (size_t)r * ((size_t)vocab + 1);
    return row[i + 1] - row[i];
}

/* Bits a symbol that the coded ones take. */
static double entropy_of(ops_context *ctx, const ops_mix *mix, const int32_t *symbol)
{
    ops_interval interval[ROWS];
    double bits = 0;
    assert_int_equal(ops_cpu.mix_encode(ctx, mix, ROWS, symbol, interval), GPUZIP_OK);
    for (int r = 0; r < ROWS; r++)
        bits += OPS_CDF_BITS - log2(interval[r].freq);
    return bits / ROWS;
}

/* ---- in real numbers ----------------------------------------------------------------------- */

/* log2 p_k of every symbol of row r. */
static void log_p(const ops_mix *mix, int k, int r, double *out)
{
    const ops_expert *x = &mix->expert[k];
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < mix->vocab; i++) {
        out[i] = x->logits ? x->logits[(size_t)r * x->stride + (size_t)i] / log(2)
                           : x->counts[i] * 0x1p-16;
        max = fmax(max, out[i]);
    }
    for (int i = 0; i < mix->vocab; i++)
        sum += exp2(out[i] - max);
    for (int i = 0; i < mix->vocab; i++)
        out[i] -= max + log2(sum);
}

/* log2 Z of row r. */
static double log_z(const ops_mix *mix, int r)
{
    double *t = test_array((size_t)mix->vocab, sizeof *t);
    double *p = test_array((size_t)mix->vocab, sizeof *p), z = 0;
    for (int k = 0; k < mix->experts; k++) {
        log_p(mix, k, r, p);
        for (int i = 0; i < mix->vocab; i++)
            t[i] += mix->expert[k].alpha / 65536.0 * p[i];
    }
    for (int i = 0; i < mix->vocab; i++)
        z += exp2(t[i]);
    free(t);
    free(p);
    return log2(z);
}

/* ---- the identity -------------------------------------------------------------------------- */

/* Alphas that sum to `sum`; 0: to less than 2, lest likely symbols become rare. */
static void draw_alphas(test_random *random, int experts, uint32_t sum, uint32_t *alpha)
{
    uint32_t left = sum;
    for (int k = 0; k < experts; k++) {
        alpha[k] = sum ? random_below(random, left + 1)
                       : random_below(random, 2 * ONE / (uint32_t)experts);
        if (sum && k == experts - 1)
            alpha[k] = left;
        left -= sum ? alpha[k] : 0;
    }
}

/* log2 of pi and of p_k, as coded, of every symbol of every row: their difference is log2 Z.
 * Frequencies are whole numbers: rounding is the only allowed difference. */
static void check_identity(ops_context *ctx, const sample *s, const uint32_t *alpha)
{
    ops_mix mix = mix_of(s, alpha);
    int vocab = mix.vocab;
    uint32_t *product = cdf_of(ctx, &mix), *single[EXPERTS];
    double sum = 0, mean_log_z = 0, mean_error = 0;
    for (int k = 0; k < mix.experts; k++) {
        ops_mix one = alone(s, k, ONE);
        single[k] = cdf_of(ctx, &one);
        sum += alpha[k] / 65536.0 * entropy_of(ctx, &one, s->symbol);
    }
    for (int r = 0; r < ROWS; r++) {
        double z = log_z(&mix, r);
        mean_log_z += z / ROWS;
        for (int i = 0; i < vocab; i++) {
            double freq = freq_of(product, vocab, r, i), want = log2(freq / TOTAL);
            double error = 4 / freq, got = -z;
            for (int k = 0; k < mix.experts; k++) {
                double f = freq_of(single[k], vocab, r, i);
                got += alpha[k] / 65536.0 * log2(f / TOTAL);
                error += alpha[k] / 65536.0 * 4 / f;
            }
            mean_error += i == s->symbol[r] ? error / ROWS : 0;
            if (error < 0.02 && fabs(got - want) > 0.0002 + error)
                fail_msg("row %d symbol %d: %.6f, not %.6f", r, i, got, want);
        }
    }
    double entropy = entropy_of(ctx, &mix, s->symbol);
    assert_true(mean_error < 0.02);
    if (fabs(entropy - (sum + mean_log_z)) > 0.0002 + mean_error)
        fail_msg("CE(pi) = %.6f, not %.6f %+.6f", entropy, sum, mean_log_z);
    for (int k = 0; k < mix.experts; k++)
        free(single[k]);
    free(product);
}

static const float noises[][EXPERTS] = {
    {1, 1, 1, 1}, {0.3f, 2, 0.7f, 0}, {1, 0, 1.5f, 0.5f}, {1.2f, 1.2f, 0.1f, 0}};

static void theory_identity(void **state)
{
    ops_context *ctx = *state;
    test_random random = {1};
    for (int n = 0; n < 12; n++) {
        sample s;
        uint32_t alpha[EXPERTS];
        int experts = 1 + n % EXPERTS, vocab = (int[]){40, 300, 1100}[n % 3];
        sample_open(&s, vocab, experts, noises[n % 4], 10 + (uint64_t)n);
        for (int draw = 0; draw < 4; draw++) {
            draw_alphas(&random, experts, draw % 2 ? ONE : 0, alpha);
            check_identity(ctx, &s, alpha);
        }
        sample_close(&s);
    }
}

/* ---- on the simplex ------------------------------------------------------------------------ */

/* Hoelder: Z <= 1, so that CE(pi) is no more than the mean of the experts', and less where they
 * differ. */
static void theory_simplex(void **state)
{
    ops_context *ctx = *state;
    test_random random = {2};
    for (int n = 0; n < 12; n++) {
        sample s;
        int experts = 2 + n % 3;
        sample_open(&s, 300, experts, noises[n % 4], 40 + (uint64_t)n);
        for (int draw = 0; draw < 5; draw++) {
            uint32_t alpha[EXPERTS];
            double mean = 0;
            draw_alphas(&random, experts, ONE, alpha);
            ops_mix mix = mix_of(&s, alpha);
            for (int r = 0; r < ROWS; r++)
                assert_true(log_z(&mix, r) < 1e-9);
            for (int k = 0; k < experts; k++) {
                ops_mix one = alone(&s, k, ONE);
                mean += alpha[k] / 65536.0 * entropy_of(ctx, &one, s.symbol);
            }
            double gain = mean - entropy_of(ctx, &mix, s.symbol);
            assert_true(gain > -0.0005);
        }
        uint32_t equal[EXPERTS];
        double mean_log_z = 0;
        for (int k = 0; k < experts; k++)
            equal[k] = ONE / (uint32_t)experts;
        ops_mix mix = mix_of(&s, equal);
        for (int r = 0; r < ROWS; r++)
            mean_log_z += log_z(&mix, r) / ROWS;
        assert_true(mean_log_z < -0.05);
        sample_close(&s);
    }
}

static double at_alphas(ops_context *ctx, const sample *s, uint32_t a, uint32_t b)
{
    uint32_t alpha[EXPERTS] = {a, b};
    ops_mix mix = mix_of(s, alpha);
    return entropy_of(ctx, &mix, s->symbol);
}

/* CE(pi) is convex in the alphas; its least value on the simplex is no more than the best
 * expert's, and far less where experts are about as good and differ. */
static void theory_best_alphas(void **state)
{
    ops_context *ctx = *state;
    enum { STEPS = 16 };
    for (int n = 0; n < 8; n++) {
        sample s;
        double entropy[STEPS + 1], least = INFINITY;
        sample_open(&s, 500, 2, noises[n % 4], 70 + (uint64_t)n);
        for (uint32_t i = 0; i <= STEPS; i++) {
            entropy[i] = at_alphas(ctx, &s, i * ONE / STEPS, (STEPS - i) * ONE / STEPS);
            least = fmin(least, entropy[i]);
        }
        for (int i = 1; i < STEPS; i++)
            assert_true(entropy[i] <= (entropy[i - 1] + entropy[i + 1]) / 2 + 0.0002);
        double best = fmin(entropy[0], entropy[STEPS]);
        assert_true(least <= best);
        if (noises[n % 4][0] == noises[n % 4][1])
            assert_true(least < best - 0.05);
        test_random random = {100 + (uint64_t)n}; /* off the simplex as well */
        for (int i = 0; i < 8; i++) {
            uint32_t a[2] = {random_below(&random, ONE), random_below(&random, ONE)};
            uint32_t b[2] = {random_below(&random, ONE), random_below(&random, ONE)};
            double middle = at_alphas(ctx, &s, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
            double ends = at_alphas(ctx, &s, a[0], a[1]) + at_alphas(ctx, &s, b[0], b[1]);
            assert_true(middle <= ends / 2 + 0.0005);
        }
        sample_close(&s);
    }
}

/* Alphas that are learnt come as far as the best that are given, of those that they may become:
 * a fifth of where they began at least, even of an expert that is noise. */
static void theory_learnt_alphas(void **state)
{
    ops_context *ctx = *state;
    static const float noise[][EXPERTS] = {{1, 1}, {0.5f, 1.5f}, {0.3f, 6}};
    enum { SAMPLES = 40, STEPS = 20 };
    for (int n = 0; n < 3; n++) {
        ops_adaptive_config config = {.vocab = 400,
                                      .experts = 2,
                                      .alpha = true,
                                      .start = {ONE / 2, ONE / 2},
                                      .parts = 1,
                                      .states = 1};
        ops_adaptive *a;
        double learnt = 0, given[STEPS + 1] = {0}, best = INFINITY;
        assert_int_equal(ops_cpu.adaptive_create(ctx, &a, &config), GPUZIP_OK);
        for (int i = 0; i < SAMPLES; i++) {
            sample s;
            uint32_t half[EXPERTS] = {ONE / 2, ONE / 2};
            sample_open(&s, 400, 2, noise[n], 200 + (uint64_t)(n * SAMPLES + i));
            for (uint32_t j = 0; j <= STEPS; j++)
                given[j] += at_alphas(ctx, &s, j * ONE / STEPS, (STEPS - j) * ONE / STEPS);
            ops_mix mix = mix_of(&s, half);
            mix.adaptive = a;
            learnt += entropy_of(ctx, &mix, s.symbol);
            assert_int_equal(ops_cpu.mix_learn(ctx, a, 1), GPUZIP_OK);
            sample_close(&s);
        }
        for (int j = 0; j <= STEPS; j++) {
            bool may_be = j * 10 >= STEPS && (STEPS - j) * 10 >= STEPS;
            best = may_be ? fmin(best, given[j]) : best;
        }
        uint32_t alpha[2];
        assert_int_equal(ops_cpu.adaptive_read(ctx, a, 0, NULL, alpha, NULL), GPUZIP_OK);
        assert_true(learnt / SAMPLES < best / SAMPLES * 1.03);
        assert_true(alpha[0] + ONE / 20 > alpha[1] && alpha[1] >= config.start[1] / 5);
        ops_cpu.adaptive_destroy(ctx, a);
    }
}

/* ---- the same expert ----------------------------------------------------------------------- */

static void check_same_cdf(ops_context *ctx, const ops_mix *a, const ops_mix *b)
{
    uint32_t *x = cdf_of(ctx, a), *y = cdf_of(ctx, b);
    assert_memory_equal(x, y, (size_t)ROWS * ((size_t)a->vocab + 1) * sizeof *x);
    free(x);
    free(y);
}

/* Sums of alpha_k l_k are exact, so an expert in several parts is that expert to the last bit;
 * one of alpha 0 is none; and experts may change places. */
static void theory_same_expert(void **state)
{
    ops_context *ctx = *state;
    test_random random = {3};
    for (int n = 0; n < 12; n++) {
        sample s;
        sample_open(&s, (int[]){1, 256, 5000}[n % 3], 3, noises[n % 4], 90 + (uint64_t)n);
        for (int copies = 2; copies <= OPS_MAX_EXPERTS; copies += 3) {
            uint32_t sum = n % 2 ? ONE : 1 + random_below(&random, 2 * ONE), left = sum;
            ops_mix one = alone(&s, n % 3, sum), many = one;
            many.experts = copies;
            for (int k = 0; k < copies; k++) {
                many.expert[k] = one.expert[0];
                many.expert[k].alpha = k < copies - 1 ? random_below(&random, left + 1) : left;
                left -= many.expert[k].alpha;
            }
            check_same_cdf(ctx, &many, &one);
        }
        uint32_t alpha[EXPERTS] = {20000, 0, 70000};
        ops_mix with = mix_of(&s, alpha), without = with;
        without.experts = 2;
        without.expert[1] = with.expert[2];
        check_same_cdf(ctx, &with, &without);
        without.expert[1] = with.expert[0];
        without.expert[0] = with.expert[2];
        check_same_cdf(ctx, &with, &without);
        sample_close(&s);
    }
}

/* A third is no fraction of 65536: three of 21845 are one of 65535. */
static void theory_thirds(void **state)
{
    ops_context *ctx = *state;
    sample s;
    sample_open(&s, 1000, 1, noises[0], 5);
    ops_mix one = alone(&s, 0, ONE), thirds = alone(&s, 0, ONE / 3);
    thirds.experts = 3;
    thirds.expert[1] = thirds.expert[2] = thirds.expert[0];
    ops_mix less = alone(&s, 0, ONE - 1);
    check_same_cdf(ctx, &thirds, &less);
    double difference = entropy_of(ctx, &thirds, s.symbol) - entropy_of(ctx, &one, s.symbol);
    assert_true(fabs(difference) < 0.0005);
    sample_close(&s);
}

/* Nor does it change the learnt values other than the alphas. */
static void theory_same_expert_learns(void **state)
{
    ops_context *ctx = *state;
    enum { VOCAB = 300 };
    int32_t bias[2][VOCAB], weights[2][OPS_SETS * OPS_WEIGHTS];
    ops_interval interval[2][ROWS];
    ops_candidate candidate[ROWS][OPS_CANDIDATES];
    int32_t candidates[ROWS];
    ops_adaptive *a[2];
    memset(candidate, 0, sizeof candidate);
    for (int copy = 0; copy < 2; copy++) {
        ops_adaptive_config config = {
            .vocab = VOCAB, .experts = copy ? 3 : 1, .bias = true, .parts = 1, .states = 1};
        assert_int_equal(ops_cpu.adaptive_create(ctx, &a[copy], &config), GPUZIP_OK);
    }
    for (int update = 0; update < 5; update++) {
        sample s;
        sample_open(&s, VOCAB, 1, noises[0], 300 + (uint64_t)update);
        for (int r = 0; r < ROWS; r++) {
            candidates[r] = r % 4;
            for (int c = 0; c < candidates[r]; c++)
                candidate[r][c] = (ops_candidate){.symbol = (s.symbol[r] + c) % VOCAB,
                                                  .feature = {100, -300, 50, (int16_t)r},
                                                  .order = (uint8_t)(r % OPS_FEATURES),
                                                  .hits = (uint8_t)(1 + c % 3)};
        }
        for (int copy = 0; copy < 2; copy++) {
            ops_mix mix = alone(&s, 0, ONE);
            mix.adaptive = a[copy];
            mix.candidate = candidate[0];
            mix.candidates = candidates;
            for (int k = 0; copy && k < 3; k++) {
                mix.expert[k] = mix.expert[0];
                mix.expert[k].alpha = (uint32_t[]){ONE / 2, ONE / 8, ONE * 3 / 8}[k];
            }
            mix.experts = copy ? 3 : 1;
            assert_int_equal(ops_cpu.mix_encode(ctx, &mix, ROWS, s.symbol, interval[copy]),
                             GPUZIP_OK);
            assert_int_equal(ops_cpu.mix_learn(ctx, a[copy], 1), GPUZIP_OK);
            assert_int_equal(
                ops_cpu.adaptive_read(ctx, a[copy], 0, bias[copy], NULL, weights[copy]), GPUZIP_OK);
        }
        assert_memory_equal(interval[0], interval[1], sizeof *interval);
        assert_memory_equal(bias[0], bias[1], sizeof *bias);
        assert_memory_equal(weights[0], weights[1], sizeof *weights);
        sample_close(&s);
    }
    for (int copy = 0; copy < 2; copy++)
        ops_cpu.adaptive_destroy(ctx, a[copy]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(theory_identity),           cmocka_unit_test(theory_simplex),
        cmocka_unit_test(theory_best_alphas),        cmocka_unit_test(theory_learnt_alphas),
        cmocka_unit_test(theory_same_expert),        cmocka_unit_test(theory_thirds),
        cmocka_unit_test(theory_same_expert_learns),
    };
    return cmocka_run_group_tests(tests, open_default, close_default);
}
