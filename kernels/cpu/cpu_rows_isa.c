/* cpu_rows_isa.c: one row of embed, norm and quantize; compiled once a level of
 * instruction set.
 *
 * Plain C that the compiler vectorises. `omp simd` tells it that rows overlap only
 * where they are the same (y may be x). */
#include <math.h>
#include <string.h>

#include "cpu_rows.h"
#include "detmath.h"

/* Below this a row counts as zero: 1 / max could overflow. */
#define TINY 0x1p-100f

/* Returns max |x[0, n)|. The magnitudes of floats order like their bits. */
static float max_abs(const float *x, int n)
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
static void quant_row(const float *x, const ops_qrows *q, int row)
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

static void embed_row(const void *opaque, int row, int thread)
{
    (void)thread;
    const cpu_embed_job *job = opaque;
    int dim = job->dim;
    int32_t token = job->batch->token[row];
    const int16_t *w = job->w + (size_t)token * (size_t)dim;
    float scale = job->scale[token];
    float *x = job->x + (size_t)row * (size_t)dim;

    if (job->position) {
        const float *position = job->position + (size_t)job->batch->pos[row] * (size_t)dim;
#pragma omp simd
        for (int i = 0; i < dim; i++)
            x[i] = (float)w[i] * scale + position[i];
    } else {
#pragma omp simd
        for (int i = 0; i < dim; i++)
            x[i] = (float)w[i] * scale;
    }
}

/* A row as integers u[i] = rint(x[i] * 2^(20-p)), and their sums. */
typedef struct {
    int p;
    int64_t sum, squares; /* |sum| <= 2^37, squares <= 2^58 for 2^16 elements */
} row_sums;

static row_sums sum_row(const float *x, int dim)
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

static void rms_row(float *y, const float *x, const float *gain, float eps, int dim)
{
    row_sums s = sum_row(x, dim);
    float ms = (float)s.squares / (float)dim;
    float r = 1.0f / sqrtf(det_scale2(ms, 2 * s.p - 40) + eps);
#pragma omp simd
    for (int i = 0; i < dim; i++)
        y[i] = (x[i] * r) * gain[i];
}

/* Returns floor(a / b); b > 0. */
static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

static void layer_row(float *y, const float *x, const float *gain, const float *bias, float eps,
                      int dim)
{
    row_sums s = sum_row(x, dim);
    int64_t m = floor_div(2 * s.sum + dim, 2 * (int64_t)dim);
    /* sum (u - m)^2, multiplied out; every term is below 2^60. */
    int64_t v = s.squares - 2 * m * s.sum + m * m * dim;
    float mean = ((float)s.sum / (float)dim) * det_pow2(s.p - 20);
    float c = (float)(s.sum - m * dim) / (float)dim;
    float u_var = (float)v / (float)dim - c * c;
    float var = det_scale2(u_var > 0.25f ? u_var : 0.25f, 2 * s.p - 40);
    float r = 1.0f / sqrtf(var + eps);
#pragma omp simd
    for (int i = 0; i < dim; i++)
        y[i] = ((x[i] - mean) * r) * gain[i] + bias[i];
}

static void norm_row(const void *opaque, int row, int thread)
{
    const cpu_norm_job *job = opaque;
    int dim = job->q->dim;
    const float *x = job->x + (size_t)row * (size_t)dim;
    float *y =
        job->y ? job->y + (size_t)row * (size_t)dim : job->scratch + (size_t)thread * OPS_MAX_DIM;

    if (job->kind == OPS_NORM_RMS)
        rms_row(y, x, job->gain, job->eps, dim);
    else
        layer_row(y, x, job->gain, job->bias, job->eps, dim);
    quant_row(y, job->q, row);
}

static void quantize_row(const void *opaque, int row, int thread)
{
    const cpu_quantize_job *job = opaque;
    int dim = job->q->dim;
    size_t inputs = job->act == OPS_ACT_SWIGLU ? 2 * (size_t)dim : (size_t)dim;
    const float *x = job->x + (size_t)row * inputs;
    float *y = job->scratch + (size_t)thread * OPS_MAX_DIM;

    switch (job->act) {
    case OPS_ACT_NONE:
        quant_row(x, job->q, row);
        return;
    case OPS_ACT_GELU_TANH:
#pragma omp simd
        for (int i = 0; i < dim; i++)
            y[i] = det_gelu_tanh(x[i]);
        break;
    case OPS_ACT_GELU_ERF:
#pragma omp simd
        for (int i = 0; i < dim; i++)
            y[i] = det_gelu_erf(x[i]);
        break;
    case OPS_ACT_SWIGLU:
#pragma omp simd
        for (int i = 0; i < dim; i++)
            y[i] = det_siluf(x[i]) * x[dim + i];
        break;
    }
    quant_row(y, job->q, row);
}

const cpu_rows_table CPU_ISA(cpu_rows) = {embed_row, norm_row, quantize_row};
