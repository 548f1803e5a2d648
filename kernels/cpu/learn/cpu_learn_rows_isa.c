/* cpu_learn_rows_isa.c: one row of softmax_back, linear_back, norm_back and act_back; compiled once
 * a level of instruction set. Plain C that the compiler vectorises. */
#include "cpu/cpu_row_math.h"
#include "cpu_learn_rows.h"

CPU_INLINE float clamp(float x)
{
    x = x < OPS_ERROR_MAX ? x : OPS_ERROR_MAX;
    return x > -OPS_ERROR_MAX ? x : -OPS_ERROR_MAX;
}

/* max x[0, n). As integers of the same order, for maxima of integers vectorise. */
static float largest(const float *x, int n)
{
    int32_t max = INT32_MIN;
#pragma omp simd reduction(max : max)
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)det_float_bits(x[i]);
        int32_t key = bits ^ (bits >> 31 & 0x7fffffff);
        max = key > max ? key : max;
    }
    return det_bits_float((uint32_t)(max ^ (max >> 31 & 0x7fffffff)));
}

static void softmax_row(const void *opaque, int row, int thread)
{
    const cpu_learn_rows_job *job = opaque;
    int n = job->err->dim, symbol = job->symbol[row];
    const float *x = job->x + (size_t)row * (size_t)n;
    float *g = job->scratch + (size_t)thread * job->scratch_dim;
    if (symbol < 0 || symbol >= n) {
        memset(g, 0, (size_t)n * sizeof *g);
        quant_row(g, job->err, row);
        return;
    }
    float max = largest(x, n);
    int64_t total = 0;
#pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) {
        g[i] = det_exp2f((x[i] - max) * 0x1.715476p+0f);
        total += det_rint_s32(g[i] * 0x1p24f);
    }
    float inv = 0x1p24f / (float)total, followed = g[symbol] * inv - 1.0f;
#pragma omp simd
    for (int i = 0; i < n; i++)
        g[i] = (g[i] * inv) * job->scale[i];
    g[symbol] = followed * job->scale[symbol];
    quant_row(g, job->err, row);
}

static void linear_row(const void *opaque, int row, int thread)
{
    const cpu_learn_rows_job *job = opaque;
    int n = job->err->dim;
    const float *dy = job->dy + (size_t)row * (size_t)n;
    float *g = job->scratch + (size_t)thread * job->scratch_dim;
#pragma omp simd
    for (int i = 0; i < n; i++)
        g[i] = clamp(dy[i]) * job->scale[i];
    quant_row(g, job->err, row);
}

/* A row's QUANT_ROW(x, 16256): factor 16256 / max, 0 for a zero row. */
typedef struct {
    float inv, scale;
} row_unit;

static row_unit find_unit(const float *x, int n)
{
    float most = max_abs(x, n);
    if (most < TINY)
        return (row_unit){0, 0};
    return (row_unit){OPS_Q15_MAX / most, most / OPS_Q15_MAX};
}

static void norm_row(const void *opaque, int row, int thread)
{
    const cpu_learn_rows_job *job = opaque;
    int n = job->dim;
    size_t at = (size_t)row * (size_t)n;
    const float *x = job->x + at, *dy = job->dy + at;
    float *h = job->scratch + (size_t)thread * job->scratch_dim, *y = h + n;
    row_norm norm =
        job->kind == OPS_NORM_RMS ? rms_norm_of(x, job->eps, n) : layer_norm_of(x, job->eps, n);
#pragma omp simd
    for (int i = 0; i < n; i++) {
        h[i] = clamp(dy[i]) * job->scale[i];
        y[i] = (x[i] - norm.mean) * norm.r;
    }
    row_unit a = find_unit(h, n), b = find_unit(y, n);
    int64_t products = 0, sum = 0;
#pragma omp simd reduction(+ : products, sum)
    for (int i = 0; i < n; i++) {
        int32_t u = det_rint_s32(h[i] * a.inv);
        products += u * det_rint_s32(y[i] * b.inv);
        sum += u;
    }
    float c = ((float)products * (a.scale * b.scale)) / (float)n;
    float m = job->kind == OPS_NORM_RMS ? 0 : ((float)sum * a.scale) / (float)n;
    float *dx = job->dx + at;
    const float *residual = job->residual ? job->residual + at : NULL;
    if (residual) {
#pragma omp simd
        for (int i = 0; i < n; i++)
            dx[i] = clamp(clamp(residual[i]) + clamp(norm.r * ((h[i] - m) - y[i] * c)));
    } else {
#pragma omp simd
        for (int i = 0; i < n; i++)
            dx[i] = clamp(norm.r * ((h[i] - m) - y[i] * c));
    }
}

static void act_row(const void *opaque, int row, int thread)
{
    const cpu_learn_rows_job *job = opaque;
    int n = job->dim;
    size_t width = (size_t)n * (job->act == OPS_ACT_SWIGLU ? 2 : 1);
    const float *x = job->x + (size_t)row * width, *dy = job->dy + (size_t)row * (size_t)n;
    float *dx = job->dx + (size_t)row * width;
    (void)thread;

    switch (job->act) {
    case OPS_ACT_NONE:
        break;
    case OPS_ACT_GELU_TANH:
#pragma omp simd
        for (int i = 0; i < n; i++)
            dx[i] = clamp(clamp(dy[i]) * det_gelu_tanh_slope(x[i]));
        break;
    case OPS_ACT_GELU_ERF:
#pragma omp simd
        for (int i = 0; i < n; i++)
            dx[i] = clamp(clamp(dy[i]) * det_gelu_erf_slope(x[i]));
        break;
    case OPS_ACT_SWIGLU:
#pragma omp simd
        for (int i = 0; i < n; i++) {
            float d = clamp(dy[i]), gate = x[i], up = x[n + i];
            float s = det_sigmoid_times(1.0f, gate);
            dx[n + i] = clamp(d * (gate * s));
            dx[i] = clamp((d * up) * (s * fmaf(gate, 1.0f - s, 1.0f)));
        }
        break;
    }
}

const cpu_learn_rows_table CPU_ISA(cpu_learn_rows) = {softmax_row, linear_row, norm_row, act_row};
