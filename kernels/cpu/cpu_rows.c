/* cpu_rows.c: embedding, norms and quantisation, row by row; the rows' next
 * tokens. */
#include <assert.h>

#include "cpu_rows.h"

gpuzip_status cpu_embed(ops_context *ctx, float *x, const ops_batch *batch, const int16_t *w,
                        const float *scale, const float *position, int dim)
{
    assert(dim >= 1 && dim <= OPS_MAX_DIM);
    cpu_embed_job job = {batch, w, scale, position, x, dim};
    cpu_for_rows(ctx, batch->rows, (size_t)dim, CPU_ISA_PICK(ctx, cpu_rows)->embed, &job);
    return GPUZIP_OK;
}

gpuzip_status cpu_norm(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                       const float *bias, float eps, float *y, ops_qrows *q)
{
    assert(q->dim >= 1 && q->dim <= OPS_MAX_DIM && (q->bits == 8 || q->bits == 15));
    assert(kind == OPS_NORM_RMS || bias);
    cpu_norm_job job = {kind, x, gain, bias, eps, y, q, ctx->scratch};
    /* Three passes over the row. */
    cpu_for_rows(ctx, q->rows, 3 * (size_t)q->dim, CPU_ISA_PICK(ctx, cpu_rows)->norm, &job);
    return GPUZIP_OK;
}

gpuzip_status cpu_quantize(ops_context *ctx, ops_act act, const float *x, ops_qrows *q)
{
    assert(q->dim >= 1 && q->dim <= OPS_MAX_DIM && (q->bits == 8 || q->bits == 15));
    cpu_quantize_job job = {act, x, q, ctx->scratch};
    /* An activation costs as much as several passes. */
    size_t passes = act == OPS_ACT_NONE ? 2 : 6;
    cpu_for_rows(ctx, q->rows, passes * (size_t)q->dim, CPU_ISA_PICK(ctx, cpu_rows)->quantize,
                 &job);
    return GPUZIP_OK;
}

gpuzip_status cpu_next_tokens(ops_context *ctx, const ops_symbol *found, int rows, int vocab,
                              int32_t bos, int32_t *token, int32_t *pos)
{
    (void)ctx;
    for (int r = 0; r < rows; r++) {
        token[r] = found[r].symbol < vocab ? found[r].symbol : bos;
        if (pos)
            pos[r]++;
    }
    return GPUZIP_OK;
}
