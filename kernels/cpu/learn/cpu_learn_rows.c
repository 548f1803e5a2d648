/* cpu_learn_rows.c: errors that stay within a row: of logits, of norms and of activations. */
#include "cpu_learn_rows.h"

#include <assert.h>
#include <stdlib.h>

#include "cpu/cpu_linear.h"
#include "cpu_learn.h"

/* Runs fn over the rows, with room for `floats` floats in each thread. */
static gpuzip_status for_rows(ops_context *ctx, int rows, size_t cost, cpu_row_fn fn,
                              cpu_learn_rows_job *job, size_t floats)
{
    job->scratch_dim = OPS_PITCH(floats);
    job->scratch = aligned_alloc(64, (size_t)ctx->threads * job->scratch_dim * sizeof(float));
    if (!job->scratch)
        return FAIL(GPUZIP_ERR_MEMORY);
    cpu_for_rows(ctx, rows, cost, fn, job);
    free(job->scratch);
    return GPUZIP_OK;
}

gpuzip_status cpu_softmax_back(ops_context *ctx, const float *x, const int32_t *symbol,
                               const ops_matrix *w, ops_qrows *err)
{
    assert(err->dim >= 1 && err->dim <= OPS_MAX_VOCAB && (err->bits == 8 || err->bits == 15));
    cpu_learn_rows_job job = {.x = x, .symbol = symbol, .scale = w->scale, .err = err};
    return for_rows(ctx, err->rows, 6 * (size_t)err->dim,
                    CPU_ISA_PICK(ctx, cpu_learn_rows)->softmax, &job, (size_t)err->dim);
}

gpuzip_status cpu_linear_back(ops_context *ctx, const float *dy, const ops_matrix *w,
                              ops_qrows *err)
{
    assert(err->dim >= 1 && (err->bits == 8 || err->bits == 15));
    cpu_learn_rows_job job = {.dy = dy, .scale = w->scale, .err = err};
    return for_rows(ctx, err->rows, 3 * (size_t)err->dim, CPU_ISA_PICK(ctx, cpu_learn_rows)->linear,
                    &job, (size_t)err->dim);
}

gpuzip_status cpu_norm_back(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                            float eps, const float *dy, const float *residual, float *dx, int rows,
                            int dim)
{
    cpu_learn_rows_job job = {.x = x, .scale = gain, .dy = dy, .residual = residual, .dx = dx};
    job.kind = kind;
    job.eps = eps;
    job.dim = dim;
    return for_rows(ctx, rows, 8 * (size_t)dim, CPU_ISA_PICK(ctx, cpu_learn_rows)->norm, &job,
                    2 * (size_t)dim);
}

gpuzip_status cpu_act_back(ops_context *ctx, ops_act act, const float *x, const float *dy,
                           float *dx, int rows, int dim)
{
    assert(act != OPS_ACT_NONE);
    cpu_learn_rows_job job = {.x = x, .dy = dy, .dx = dx, .act = act, .dim = dim};
    return for_rows(ctx, rows, 12 * (size_t)dim, CPU_ISA_PICK(ctx, cpu_learn_rows)->act, &job, 1);
}
