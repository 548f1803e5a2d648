/* cpu_row_math.h: a row's maximum, quantisation and norm, for the files that are compiled once a
 * level of instruction set.
 *
 * Plain C that the compiler vectorises. `omp simd` tells it that rows overlap only
 * where they are the same (y may be x). */
#ifndef GPUZIP_CPU_ROW_MATH_H
#define GPUZIP_CPU_ROW_MATH_H

#include <math.h>
#include <string.h>

#include "cpu_simd.h"
#include "detmath.h"
#include "ops.h"

/* Below this a row counts as zero: 1 / max could overflow. */
#define TINY 0x1p-100f

/* Returns max |x[0, n)|. The magnitudes of floats order like their bits. */
CPU_INLINE float max_abs(const float *x, int n)
{
    int32_t max = 0;
#pragma omp simd reduction(max : max)
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)(det_float_bits(x[i]) & 0x7fffffff);
        max = bits > max ? bits : max;
    }
    return det_bits_float((uint32_t)max);
}

/* Writes QUANT_ROW(x) and the pad to row `row` of q. x: [q->dim]. */
CPU_INLINE void quant_row(const float *x, const ops_qrows *q, int row)
{
    int dim = q->dim;
    size_t pitch = OPS_PITCH(dim);
    int8_t *hi = q->hi + (size_t)row * pitch;
    int8_t *lo = q->bits == 15 ? q->lo + (size_t)row * pitch : NULL;
    float qmax = q->bits == 15 ? OPS_Q15_MAX : OPS_Q8_MAX;

    float amax = max_abs(x, dim);
    if (amax < TINY) {
        q->scale[row] = 0;
        memset(hi, 0, pitch);
        if (lo)
            memset(lo, 0, pitch);
        return;
    }
    q->scale[row] = amax / qmax;
    float inv = qmax / amax;
    if (lo) {
#pragma omp simd
        for (int i = 0; i < dim; i++) {
            int32_t v = det_rint_s32(x[i] * inv);
            hi[i] = (int8_t)(v >> 7);
            lo[i] = (int8_t)(v & 127);
        }
        memset(lo + dim, 0, pitch - (size_t)dim);
    } else {
#pragma omp simd
        for (int i = 0; i < dim; i++)
            hi[i] = (int8_t)det_rint_s32(x[i] * inv);
    }
    memset(hi + dim, 0, pitch - (size_t)dim);
}

/* A row as integers u[i] = rint(x[i] * 2^(20-p)), and their sums. */
typedef struct {
    int p;
    int64_t sum, squares; /* |sum| <= 2^37, squares <= 2^58 for 2^16 elements */
} row_sums;

CPU_INLINE row_sums sum_row(const float *x, int dim)
{
    float amax = max_abs(x, dim);
    if (amax < TINY)
        return (row_sums){0};
    int p = det_exponent(amax);
    float unit = det_pow2(20 - p);
    int64_t sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum, squares)
    for (int i = 0; i < dim; i++) {
        int32_t u = det_rint_s32(x[i] * unit);
        sum += u;
        squares += (int64_t)u * u;
    }
    return (row_sums){p, sum, squares};
}

/* A norm of a row: x becomes (x - mean) * r, before gain and bias. */
typedef struct {
    float mean, r;
} row_norm;

CPU_INLINE row_norm rms_norm_of(const float *x, float eps, int dim)
{
    row_sums s = sum_row(x, dim);
    float ms = (float)s.squares / (float)dim;
    return (row_norm){0, 1.0f / sqrtf(det_scale2(ms, 2 * s.p - 40) + eps)};
}

/* Returns floor(a / b); b > 0. */
CPU_INLINE int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

CPU_INLINE row_norm layer_norm_of(const float *x, float eps, int dim)
{
    row_sums s = sum_row(x, dim);
    int64_t m = floor_div(2 * s.sum + dim, 2 * (int64_t)dim);
    /* sum (u - m)^2, multiplied out; every term is below 2^60. */
    int64_t v = s.squares - 2 * m * s.sum + m * m * dim;
    float mean = ((float)s.sum / (float)dim) * det_pow2(s.p - 20);
    float c = (float)(s.sum - m * dim) / (float)dim;
    float u_var = (float)v / (float)dim - c * c;
    float var = det_scale2(u_var > 0.25f ? u_var : 0.25f, 2 * s.p - 40);
    return (row_norm){mean, 1.0f / sqrtf(var + eps)};
}

#endif
