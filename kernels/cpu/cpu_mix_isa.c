/* cpu_mix_isa.c: the experts' product over the vocabulary; compiled once a level of
 * instruction set. Plain C that the compiler vectorises. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "cpu_mix.h"
#include "mixmath.h"

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

/* t[i] += alpha l_k[first + i] for the logits of expert k. */
static void add_logits(const cpu_mix_row *row, int k, int first, int n, double *t)
{
    const float *x = row->logits[k] + first;
    float max = row->max[k];
    double alpha = row->alpha[k];
#pragma omp simd
    for (int i = 0; i < n; i++)
        t[i] += alpha * (double)mix_log_of_logit(x[i], max);
}

/* The same, and keeps l. */
static void add_kept_logits(const cpu_mix_row *row, int k, int first, int n, double *t)
{
    const float *x = row->logits[k] + first;
    int32_t *log = row->scratch->log[k] + first;
    float max = row->max[k];
    double alpha = row->alpha[k];
#pragma omp simd
    for (int i = 0; i < n; i++) {
        log[i] = mix_log_of_logit(x[i], max);
        t[i] += alpha * (double)log[i];
    }
}

static void add_integers(double factor, const int32_t *x, int n, double *t)
{
#pragma omp simd
    for (int i = 0; i < n; i++)
        t[i] += factor * (double)x[i];
}

/* t[first + i] for i in [0, n). |t| < 2^48, so that doubles hold these integers exactly;
 * they vectorise where products of 64 bits do not. */
static void tile_product(const cpu_mix_row *row, int first, int n, double *t)
{
    memset(t, 0, (size_t)n * sizeof *t);
    for (int k = 0; k < row->mix->experts; k++) {
        if (!row->logits[k])
            add_integers(row->alpha[k], row->counts[k] + first, n, t);
        else if (row->learns_alpha)
            add_kept_logits(row, k, first, n, t);
        else
            add_logits(row, k, first, n, t);
    }
    if (row->bias)
        add_integers(MIX_ONE, row->bias + first, n, t);
}

/* w of t: mix_depth_of() in doubles, which vectorise. Clamping before the floor is the same, for
 * the bound is an integer; made positive, the floor is a conversion. All of it is exact. */
static inline uint32_t weight_of_product(double t, double max_t)
{
    double above = (t - max_t) * 0x1p-16 - MIX_DEPTH_MIN;
    return mix_weight_of((int32_t)(above > 0 ? above : 0) + MIX_DEPTH_MIN);
}

/* One language model: its greatest l is 0, and so is its greatest t. (Rows of infinities
 * or NaN do not arise; were one to, no logit might equal the maximum, and Z be 0.) */
static bool is_single(const cpu_mix_row *row)
{
    return row->mix->experts == 1 && row->logits[0] && !row->sums && fabsf(row->max[0]) < FLT_MAX;
}

static void mix_weights(const cpu_mix_row *row, int first, int n, uint32_t *w)
{
    if (is_single(row) && row->alpha[0] == MIX_ONE) {
        /* d = (65536 l) >> 16 = l. */
        const float *x = row->logits[0] + first;
        float max = row->max[0];
#pragma omp simd
        for (int i = 0; i < n; i++) {
            int32_t d = mix_log_of_logit(x[i], max);
            w[i] = mix_weight_of(d > MIX_DEPTH_MIN ? d : MIX_DEPTH_MIN);
        }
        return;
    }
    double t[MIX_TILE], max_t = row->max_t;
    tile_product(row, first, n, t);
#pragma omp simd
    for (int i = 0; i < n; i++)
        w[i] = weight_of_product(t[i], max_t);
}

static double max_double(const double *t, int n)
{
    double max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int i = 0; i < n; i++)
        max = t[i] > max ? t[i] : max;
    return max;
}

/* The greatest t; with sums, t is kept. */
static double max_product(const cpu_mix_row *row)
{
    int vocab = row->mix->vocab;
    double scratch[MIX_TILE], max = -INFINITY;
    for (int first = 0; first < vocab; first += MIX_TILE) {
        int n = min_int(MIX_TILE, vocab - first);
        double *t = row->sums ? row->scratch->t + first : scratch;
        tile_product(row, first, n, t);
        double tile_max = max_double(t, n);
        max = tile_max > max ? tile_max : max;
    }
    return max;
}

static uint64_t sum_weights(const uint32_t *w, int n)
{
    uint64_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++)
        sum += w[i];
    return sum;
}

/* Adds a tile to S1 and S2 of expert k. Its sums, <= 2^53, are integers that doubles hold, in
 * any order. */
static void add_moments(cpu_mix_row *row, int k, const uint32_t *w, int first, int n)
{
    const int32_t *log = row->logits[k] ? row->scratch->log[k] : row->counts[k];
    double s1 = 0, s2 = 0;
    log += first;
#pragma omp simd reduction(+ : s1, s2)
    for (int i = 0; i < n; i++) {
        double v = mix_coarse_log_of(log[i]), product = (double)mix_coarse_weight_of(w[i]) * v;
        s1 += product;
        s2 += product * v;
    }
    row->s1[k] += (int64_t)s1;
    row->s2[k] += (int64_t)s2;
}

static void add_tile_moments(cpu_mix_row *row, const uint32_t *w, int first, int n)
{
    int64_t s0 = 0;
#pragma omp simd reduction(+ : s0)
    for (int i = 0; i < n; i++)
        s0 += mix_coarse_weight_of(w[i]);
    row->s0 += s0;
    for (int k = 0; k < row->mix->experts; k++)
        add_moments(row, k, w, first, n);
}

/* The weights of a tile whose t was kept, kept as well. */
static uint64_t keep_weights(cpu_mix_row *row, int first, int n)
{
    const double *t = row->scratch->t + first;
    uint32_t *w = row->scratch->w + first;
    double max_t = row->max_t;
#pragma omp simd
    for (int i = 0; i < n; i++)
        w[i] = weight_of_product(t[i], max_t);
    if (row->learns_alpha)
        add_tile_moments(row, w, first, n);
    return sum_weights(w, n);
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
        if (row->sums) {
            row->sum[row->tiles++] = keep_weights(row, first, n);
            continue;
        }
        uint32_t w[MIX_TILE];
        mix_weights(row, first, n, w);
        row->sum[row->tiles++] = sum_weights(w, n);
    }
}

const cpu_mix_table CPU_ISA(cpu_mix) = {mix_prepare, mix_weights};
