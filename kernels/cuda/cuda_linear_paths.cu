/* cuda_linear_paths.cu: linear(): cuBLAS takes as many rows of a call as cuda_blas.cu decides,
 * the own kernels the rest. */
#include "linear.cuh"

gpuzip_status cuda_linear(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                          const float *bias, const float *residual, float *out)
{
    if (q->dim != w->k)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    if (q->rows == 0 || w->n == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    linear_args p = {{q->hi, q->lo},
                     {w->plane[0], w->plane[1]},
                     q->scale,
                     w->scale,
                     bias,
                     residual,
                     out,
                     q->rows,
                     w->n,
                     (int)w->pitch,
                     0,
                     false};
    uintptr_t starts = (uintptr_t)w->scale | (uintptr_t)bias | (uintptr_t)residual | (uintptr_t)out;
    p.vectors = w->n % 4 == 0 && starts % sizeof(float4) == 0;
    int a_planes = q->bits == 8 ? 1 : 2, w_planes = w->bits == 8 ? 1 : 2, done = 0;
    TRY(linear_blas_run(ctx, w, &p, a_planes, w_planes, &done));
    if (done == p.rows)
        return GPUZIP_OK;
    p = linear_rows(&p, done, p.rows - done);
    return linear_own(ctx, w, &p, a_planes, w_planes);
}
