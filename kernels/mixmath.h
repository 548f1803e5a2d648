/* mixmath.h: the arithmetic of mixing on one element, one text for host and device. ops.h has the
 * formulas; here they are functions, with the reason of each constant, and with the proof that no
 * step of learning overshoots. Sums over symbols and rows belong to the backends.
 */
#ifndef GPUZIP_MIXMATH_H
#define GPUZIP_MIXMATH_H

#include "detmath.h"
#include "ops.h"

#define MIX_ONE 65536 /* a bit; an alpha or a probability of 1: Q16 */

DET_FN int64_t mix_clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* floor(a / b), b > 0. */
DET_FN int64_t mix_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* ---- weights ------------------------------------------------------------- */

/* log2(e), Q16, rounded to binary32: the unit of logits is a nat, that of l a bit. */
#define MIX_LOG2E_Q16 94548.4609375f

/* l of a logit is at least -2^24, -256 bits. |t| < 2^48 follows, for 8 experts have alphas below
 * 2^20 and a bias is small: t is exact in a double. A logit at the bound has weight 0 down to an
 * alpha of 1/8. */
#define MIX_LOG_MIN (-0x1p24f)

/* d is at least -40 bits. Weights are 0 below -31 bits; the rest is for candidates, whose delta
 * of up to 24 bits starts at d. |d| < 2^24 is exact in binary32. */
#define MIX_DEPTH_MIN (-40 * MIX_ONE)

/* The greatest weight is 2^30: a weight is an s32, from which conversions to floats are fast. */
#define MIX_WEIGHT_BITS 30
#define MIX_WEIGHT_ONE  0x1p30f

/* l of the logit x, max the greatest of its row. */
DET_FN int32_t mix_log_of_logit(float x, float max)
{
    float log = (x - max) * MIX_LOG2E_Q16;
    return det_rint_s32(log > MIX_LOG_MIN ? log : MIX_LOG_MIN);
}

/* l of a symbol that Naive Bayes has counted so often. */
DET_FN int32_t mix_log_of_count(uint32_t count)
{
    return det_log2_q16(count + 1);
}

/* d of t. */
DET_FN int32_t mix_depth_of(int64_t t, int64_t max_t)
{
    int64_t d = (t - max_t) >> 16;
    return (int32_t)(d > MIX_DEPTH_MIN ? d : MIX_DEPTH_MIN);
}

/* 2^d * 2^30, d in Q16. */
DET_FN float mix_weight_before_rounding(int32_t d)
{
    return det_exp2f((float)d * 0x1p-16f) * MIX_WEIGHT_ONE;
}

/* w of d <= 0. */
DET_FN uint32_t mix_weight_of(int32_t d)
{
    return (uint32_t)det_rint_s32(mix_weight_before_rounding(d));
}

/* ---- intervals ------------------------------------------------------------ */

/* An escape weighs Z >> 20: all 256 of them together cost other symbols 2^-12 of their
 * probability, and an escape 20 bits. */
#define MIX_ESCAPE_SHIFT 20

/* (C >> h) * M < 2^64, for Z' >> h < 2^34 and M < 2^30. */
#define MIX_DIVISOR_BITS 34

/* A row's distribution: start() of any C. */
typedef struct {
    uint64_t z, total; /* Z and Z' */
    uint64_t escape;   /* the weight of an escape */
    uint64_t divisor;  /* Z' >> h, [1, 2^34) */
    uint64_t spread;   /* M */
    int shift;         /* h */
} mix_total;

DET_FN mix_total mix_total_of(uint64_t z, int vocab, int escapes)
{
    mix_total m;
    m.z = z;
    m.escape = z >> MIX_ESCAPE_SHIFT;
    m.total = z + m.escape * (uint64_t)escapes;
    int bits = det_bits_u64(m.total);
    m.shift = bits > MIX_DIVISOR_BITS ? bits - MIX_DIVISOR_BITS : 0;
    m.divisor = m.total >> m.shift;
    m.spread = (1u << OPS_CDF_BITS) - (uint32_t)(vocab + escapes);
    return m;
}

/* start[i], with c = C[i] <= Z'. */
DET_FN uint32_t mix_start_of(const mix_total *m, uint64_t c, int i)
{
    return (uint32_t)((c >> m->shift) * m->spread / m->divisor) + (uint32_t)i;
}

/* C of escape number i. */
DET_FN uint64_t mix_escape_before(const mix_total *m, int i)
{
    return m->z + m->escape * (uint64_t)i;
}

/* The interval of symbol i, from C[i] to C[i + 1]. */
DET_FN ops_interval mix_interval_of(const mix_total *m, uint64_t before, uint64_t after, int i)
{
    ops_interval x;
    x.start = mix_start_of(m, before, i);
    x.freq = mix_start_of(m, after, i + 1) - x.start;
    return x;
}

/* ---- candidates ------------------------------------------------------------ */

/* o, Q8, is within 30 bits: a weight has no more. */
#define MIX_LOGIT_MAX (MIX_WEIGHT_BITS * 256)

/* A candidate's weight changes by 24 bits at most, hence w' <= 2^54 and Z' < 2^59. */
#define MIX_DELTA_MAX (24 * MIX_ONE)

/* F[9], Q8: its weight is a constant in delta. */
#define MIX_CONSTANT 256

/* Values of level, and of hits. */
#define MIX_LEVELS 5
#define MIX_HITS   3
#if OPS_FEATURES * MIX_LEVELS * MIX_HITS != OPS_ORDER_SETS
#error "mix_set_of() has another number of sets than ops.h"
#endif

/* o of a symbol of weight w = w(d), of weights that sum to z. */
DET_FN int32_t mix_logit_of(int32_t d, uint32_t w, uint64_t z)
{
    int32_t others = det_log2_u64_q16(z > w ? z - w : 1);
    int32_t logit = (d + MIX_WEIGHT_BITS * MIX_ONE - others) >> 8;
    return (int32_t)mix_clamp(logit, -MIX_LOGIT_MAX, MIX_LOGIT_MAX);
}

/* The level of a logit: bounds at -8, -4, -1 and 2 bits. */
DET_FN int mix_level_of(int32_t logit)
{
    return (logit >= -2048) + (logit >= -1024) + (logit >= -256) + (logit >= 512);
}

/* The first set of a candidate whose logit is o. */
DET_FN int mix_set_of(int order, int hits, int32_t logit)
{
    return (order * MIX_LEVELS + mix_level_of(logit)) * MIX_HITS + hits - 1;
}

/* The second. */
DET_FN int mix_other_set_of(int selector)
{
    return OPS_ORDER_SETS + selector;
}

/* w' of a symbol of depth d; sum is that of (weights[set][j] + weights[other][j]) * F[j]. */
DET_FN uint64_t mix_changed_weight_of(int32_t d, int64_t sum)
{
    int32_t delta = (int32_t)mix_clamp(sum >> 8, -MIX_DELTA_MAX, MIX_DELTA_MAX);
    return (uint64_t)rintf(mix_weight_before_rounding(d + delta));
}

/* ---- contributions of a row to the sums of an update ------------------------ */

#define MIX_P_BITS 20 /* of a probability: u32 holds the sum of 4095 rows */
#define MIX_P_ONE  (1 << MIX_P_BITS)

/* inv; total is Z'. */
DET_FN float mix_inverse_of(uint64_t total)
{
    return (float)MIX_P_ONE / (float)total;
}

/* p(i), Q20. weight: (float) of w[i]; callers convert from the narrowest type that holds it. */
DET_FN int32_t mix_probability_of(float weight, float inv)
{
    return det_rint_s32(weight * inv);
}

/* A candidate's error: e (Q16), q (1 - q) (Q16) and |e| (Q12). */
typedef struct {
    int64_t error, variance, size;
} mix_error;

/* p: p(x), Q20; coded: the candidate is the symbol. */
DET_FN mix_error mix_error_of(int32_t p, bool coded)
{
    int64_t q = (p + 8) >> 4, error = (coded ? MIX_ONE : 0) - q;
    mix_error e;
    e.error = error;
    e.variance = (q * (MIX_ONE - q)) >> 16;
    e.size = ((error < 0 ? -error : error) + 8) >> 4;
    return e;
}

/* Terms of G, A and R. */
typedef struct {
    int64_t gradient, curvature, majorant;
} mix_slope;

/* Of one weight; f is its F[j], norm the sum of |F[i]|. */
DET_FN mix_slope mix_slope_of(mix_error e, int64_t f, int64_t norm)
{
    mix_slope x;
    x.gradient = e.error * f;
    x.curvature = e.variance * (f * f >> 8);
    x.majorant = e.size * ((f < 0 ? -f : f) * norm >> 8);
    return x;
}

/* v of l, Q4: |v| <= 2^12. */
DET_FN int32_t mix_coarse_log_of(int32_t log)
{
    return log >> 12;
}

/* a of w, <= 2^20: the sum of a v^2 over OPS_MAX_VOCAB = 2^18 symbols is at most 2^62. */
DET_FN int32_t mix_coarse_weight_of(uint32_t w)
{
    return (int32_t)(w >> 10);
}

/* Sums for one expert. */
typedef struct {
    int64_t s0, s1, s2; /* of a, a v, a v^2 over the symbols that are no candidates */
    int64_t p0, p1, p2; /* of p, p v, p v^2 over the candidates */
} mix_moments;

/* Terms of g and H. */
typedef struct {
    int64_t g, h;
} mix_alpha_slope;

/* Of one expert; log is l of the row's symbol. */
DET_FN mix_alpha_slope mix_alpha_slope_of(mix_moments m, int32_t log)
{
    int64_t mean1 = m.s0 ? mix_floor_div(m.s1 * 256, m.s0) : 0; /* Q12 */
    int64_t mean2 = m.s0 ? mix_floor_div(m.s2, m.s0) : 0;       /* Q8 */
    int64_t rest = MIX_P_ONE - m.p0;
    int64_t m1 = (rest * mean1 + m.p1 * 256) >> MIX_P_BITS;
    int64_t m2 = (rest * mean2 + m.p2) >> MIX_P_BITS;
    int64_t variance = m2 - (m1 * m1 >> 16);
    mix_alpha_slope x;
    x.g = (int64_t)mix_coarse_log_of(log) * 256 - m1;
    x.h = variance > 0 ? variance : 0;
    return x;
}

/* ---- steps ----------------------------------------------------------------- */

/* A step sees the rows of one update, 1 to 65,536 and more of them, all coded with the same
 * parameters. Its loss is their code length L in bits as a function of the parameters. Each step
 * minimises, or goes less far than the minimum of, a function that is separable over the
 * parameters and lies above L, so that L of the same rows falls however many rows there are and
 * although all parameters move at once.
 *
 * Biases. Exactly one bias acts on each symbol, so generalised iterative scaling (Darroch and
 * Ratcliff, Annals of Mathematical Statistics 43, 1972) holds with constant 1: moving every bias
 * by any fraction of log2(N / E) cannot lengthen the code. The step 2 log2(e) (N - E) / (N + E)
 * is the first term of the series of log2(N / E) in (N - E) / (N + E), hence such a fraction, and
 * costs one division. K in the denominator only shortens it. Two terms of K are pseudo-counts:
 * 2 + T occurrences, where T counts those expected so far, up to 60: a rate that falls as 1 / n
 * and then stays constant, so that old text is forgotten. The third, E of these rows, halves the
 * step of a large update, because weights and alphas move at the same time. |step| < 2.9 bits.
 * Flat: 1.5 or 3 for 2 change seven files of 4 to 240 KB by -0.1 to 0.5 % (the small ones most),
 * 25 or 200 for 60 by at most 0.1 %.
 *
 * Weights. A candidate x of a row moves by a_x = sum_j step_j F_j over its two sets. The second
 * derivative of the row's loss along the step is ln 2 times the variance of a_x, and
 *     Var(a) <= 2 sum_x p_x (1 - p_x) a_x^2 <= 2 sum_x |e_x| a_x^2,    e_x = [x = y] - p_x,
 *     a_x^2 <= 2 |F|_1 sum_j |F_j| step_j^2    for each of 2 sets,    |F|_1 = sum_j |F_j|,
 * the first from Var(a) = 1/2 sum_xy p_x p_y (a_x - a_y)^2, the last from Cauchy and Schwarz. With
 * R_j = sum |e_x| |F_j| |F|_1, L changes by at most sum_j (-G_j step_j + c R_j step_j^2 / 2),
 * c = 4 ln 2 = 2.77, which is negative for 0 < step_j < 2 G_j / (c R_j). The step is 2 G / D with
 * D >= 3 R. |G_j| <= sum |e_x| |F_j|, so a step moves a candidate of typical |F|_1 by at most 4/3
 * bits: the curvature, which may double for each bit, has no room to grow on the way. (p (1 - p)
 * alone would not do: where improbable candidates come again and again it is almost 0.)
 * In updates of few rows 3 R is small and D is 600 and the curvature A* of all rows since the
 * reset, a Newton step at a rate that falls as 1 / n, and no more than 4,000, so that old text is
 * forgotten; 16 A is the curvature of these rows for the 20 weights of a candidate.
 * Measured on nine texts with 1 to 7,900 rows an update, change of the size: 200 or 800 for 600 at
 * most 0.1 %, 2,000 or 16,000 for 4,000 at most 0.05 %, 8 or 32 for 16 at most 0.1 %; 2 for 3 at
 * most 0.1 % less, and too little for the bound.
 *
 * Alphas. The second derivative for expert k alone is ln 2 times the variance H of its
 * log-probabilities; for K experts at once, Cauchy and Schwarz give K times that. The step is
 * g / (200 + 0.48 (H* + (K - 1) H)), 123 / 256 = 0.48 = (ln 2)^2: 1 / ln 2 Newton steps at most
 * with one expert in the first update, and always less than the 2 / K that lengthen the code. 200
 * is the prior's worth in rows at a variance of 1 bit^2; the limit of 2^14 (1/4) an update keeps
 * H from growing much on the way.
 *
 * tests/kernels/test_mix_steps.c drives all three with adversarial rows and measures how far a
 * repeated batch may grow: the arguments above are for one kind of parameter at a time, in real
 * numbers.
 */
#define MIX_LOG2E2_Q16  189096.921875f       /* 2 log2(e), Q16 */
#define MIX_BIAS_START  ((int64_t)2 << 20)   /* occurrences, Q20 */
#define MIX_BIAS_TRUST  ((int64_t)60 << 20)  /* the most that T counts, Q20 */
#define MIX_STEP_START  ((int64_t)600 << 8)  /* of D, Q8 */
#define MIX_STEP_MOST   ((int64_t)4000 << 8) /* of D but for the rows of this update, Q8 */
#define MIX_STEP_BATCH  16                   /* times A of this update */
#define MIX_STEP_BOUND  3                    /* times R */
#define MIX_ALPHA_START ((int64_t)200 << 8)  /* of D, Q8 */
#define MIX_ALPHA_BEND  123                  /* (ln 2)^2, Q8 */
#define MIX_ALPHA_STEP  ((int64_t)1 << 14)   /* Q16 */

/* The bias that follows `bias`; seen is N, expected E, *trust T. */
DET_FN int32_t mix_step_bias(int32_t bias, uint32_t *trust, uint32_t seen, int64_t expected)
{
    int64_t came = (int64_t)seen * MIX_P_ONE, sum = *trust + expected;
    float error = (float)(came - expected);
    float step = error * MIX_LOG2E2_Q16 / (float)(came + expected + 2 * (sum + MIX_BIAS_START));
    int32_t moved = bias + det_rint_s32(step);
    *trust = (uint32_t)(sum < MIX_BIAS_TRUST ? sum : MIX_BIAS_TRUST);
    moved = moved < -OPS_BIAS_MAX ? -OPS_BIAS_MAX : moved;
    return moved > OPS_BIAS_MAX ? OPS_BIAS_MAX : moved;
}

/* The weight that follows `weight`; gradient is G, curvature A, all_curvature A* with A, majorant
 * R. */
DET_FN int32_t mix_step_weight(int32_t weight, int64_t gradient, int64_t curvature,
                               int64_t all_curvature, int64_t majorant)
{
    int64_t d = MIX_STEP_START + (all_curvature >> 16), least = MIX_STEP_BOUND * (majorant >> 12);
    d = (d < MIX_STEP_MOST ? d : MIX_STEP_MOST) + MIX_STEP_BATCH * (curvature >> 16);
    d = d > least ? d : least;
    int64_t step = mix_floor_div(4 * gradient + d, 2 * d);
    return (int32_t)mix_clamp(weight + step, -OPS_WEIGHT_MAX, OPS_WEIGHT_MAX);
}

/* The alpha that follows `alpha` of one of so many experts, which began with `start`; all_h is H*
 * with H. */
DET_FN uint32_t mix_step_alpha(uint32_t alpha, uint32_t start, int experts, int64_t g, int64_t h,
                               int64_t all_h)
{
    int64_t d = MIX_ALPHA_START + ((MIX_ALPHA_BEND * (all_h + (experts - 1) * h)) >> 8);
    int64_t step = mix_floor_div(2 * (g * 4096) + d, 2 * d);
    step = mix_clamp(step, -MIX_ALPHA_STEP, MIX_ALPHA_STEP);
    return (uint32_t)mix_clamp((int64_t)alpha + step, start / 5, OPS_LEARNT_MAX);
}

#endif
