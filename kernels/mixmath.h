/* mixmath.h: the steps of learnt mixing parameters, one text for host and device. ops.h says
 * which sums they take; here is why a step cannot overshoot and where its constants come from.
 *
 * A step sees the rows of one update, 1 to 65,536 and more of them, all coded with the same
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
 * tests/kernels/test_mix_steps.c drives all three with adversarial rows and measures how far a repeated
 * batch may grow: the arguments above are for one kind of parameter at a time, in real numbers.
 */
#ifndef GPUZIP_MIXMATH_H
#define GPUZIP_MIXMATH_H

#include "detmath.h"
#include "ops.h"

#define MIX_P_ONE       (1 << 20)            /* a probability of 1, Q20 */
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

DET_FN int64_t mix_clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* floor(a / b), b > 0. */
DET_FN int64_t mix_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

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
