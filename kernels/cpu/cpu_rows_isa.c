/* cpu_rows_isa.c: one row of embed, norm and quantize; compiled once a level of
 * instruction set.
 *
 * Plain C that the compiler vectorises. `omp simd` tells it that rows overlap only
 * where they are the same (y may be x). */
#include "cpu_row_math.h"
#include "cpu_rows.h"

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

static void rms_row(float *y, const float *x, const float *gain, float eps, int dim)
{
    float r = rms_norm_of(x, eps, dim).r;
#pragma omp simd
    for (int i = 0; i < dim; i++)
        y[i] = (x[i] * r) * gain[i];
}

static void layer_row(float *y, const float *x, const float *gain, const float *bias, float eps,
                      int dim)
{
    row_norm n = layer_norm_of(x, eps, dim);
#pragma omp simd
    for (int i = 0; i < dim; i++)
        y[i] = ((x[i] - n.mean) * n.r) * gain[i] + bias[i];
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
