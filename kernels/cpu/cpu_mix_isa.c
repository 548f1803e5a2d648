/* cpu_mix_isa.c: the experts' product over the vocabulary; compiled once a level of
 * instruction set. Plain C that the compiler vectorises. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "cpu_mix.h"
#include "detmath.h"

#define LOG2E_Q16      94548.4609375f    /* log2(e) * 2^16 */
#define LOG_MIN        -16777216.0f      /* -2^24: -256 bits */
#define WEIGHT_MIN_LOG (-40 * (1 << 16)) /* 2^-40 rounds to weight 0 */

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Returns the greatest of x[0, n). */
static float max_float(const float *x, int n)
{
    float max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

/* l = rint(max((x - max) log2(e) 2^16, -2^24)). */
static inline int32_t log_q16(float x, float max)
{
    float log = (x - max) * LOG2E_Q16;
    return det_rint_s32(log > LOG_MIN ? log : LOG_MIN);
}

/* w = rint(2^(d / 2^16) 2^30). Requires d in [WEIGHT_MIN_LOG, 0]. */
static inline uint32_t weight_of(int32_t d)
{
    return (uint32_t)det_rint_s32(det_exp2f((float)d * 0x1p-16f) * 0x1p30f);
}

/* t[i] = sum_k alpha_k l_k[first + i] for i in [0, n). |t| < 2^47, so that doubles hold
 * these integers exactly; they vectorise where products of 64 bits do not. */
static void tile_product(const cpu_mix_row *row, int first, int n, double *t)
{
    memset(t, 0, (size_t)n * sizeof *t);
    for (int k = 0; k < row->mix->experts; k++) {
        double alpha = row->mix->expert[k].alpha;
        if (row->logits[k]) {
            const float *x = row->logits[k] + first;
            float max = row->max[k];
#pragma omp simd
            for (int i = 0; i < n; i++)
                t[i] += alpha * (double)log_q16(x[i], max);
        } else {
            const int32_t *counts = row->mix->expert[k].counts + first;
#pragma omp simd
            for (int i = 0; i < n; i++)
                t[i] += alpha * (double)counts[i];
        }
    }
}

/* One language model: its greatest l is 0, and so is its greatest t. (Rows of infinities
 * or NaN do not arise; were one to, no logit might equal the maximum, and Z be 0.) */
static bool is_single(const cpu_mix_row *row)
{
    return row->mix->experts == 1 && row->logits[0] && fabsf(row->max[0]) < FLT_MAX;
}

static void mix_weights(const cpu_mix_row *row, int first, int n, uint32_t *w)
{
    if (is_single(row) && row->mix->expert[0].alpha == 65536) {
        /* d = (65536 l) >> 16 = l. */
        const float *x = row->logits[0] + first;
        float max = row->max[0];
#pragma omp simd
        for (int i = 0; i < n; i++) {
            int32_t d = log_q16(x[i], max);
            w[i] = weight_of(d > WEIGHT_MIN_LOG ? d : WEIGHT_MIN_LOG);
        }
        return;
    }
    double t[MIX_TILE], max_t = row->max_t;
    tile_product(row, first, n, t);
    /* Clamping before the floor is the same, for the bound is an integer; made positive, the
     * floor is a conversion. All of it is exact. */
#pragma omp simd
    for (int i = 0; i < n; i++) {
        double above = (t[i] - max_t) * 0x1p-16 - WEIGHT_MIN_LOG;
        w[i] = weight_of((int32_t)(above > 0 ? above : 0) + WEIGHT_MIN_LOG);
    }
}

static double max_product(const cpu_mix_row *row)
{
    int vocab = row->mix->vocab;
    double t[MIX_TILE], max = -INFINITY;
    for (int first = 0; first < vocab; first += MIX_TILE) {
        int n = min_int(MIX_TILE, vocab - first);
        tile_product(row, first, n, t);
#pragma omp simd reduction(max : max)
        for (int i = 0; i < n; i++)
            max = t[i] > max ? t[i] : max;
    }
    return max;
}

static void mix_prepare(cpu_mix_row *row)
{
    int vocab = row->mix->vocab;
    for (int k = 0; k < row->mix->experts; k++)
        if (row->logits[k])
            row->max[k] = max_float(row->logits[k], vocab);
    row->max_t = is_single(row) ? 0 : max_product(row);

    row->tiles = 0;
    for (int first = 0; first < vocab; first += MIX_TILE) {
        int n = min_int(MIX_TILE, vocab - first);
        uint32_t w[MIX_TILE];
        uint64_t sum = 0;
        mix_weights(row, first, n, w);
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < n; i++)
            sum += w[i];
        row->sum[row->tiles++] = sum;
    }
}

const cpu_mix_table CPU_ISA(cpu_mix) = {mix_prepare, mix_weights};
