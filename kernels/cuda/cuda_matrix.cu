/* cuda_matrix.cu: weight matrices in device memory: plain rows, padded so that no path of
 * linear() needs a tail; one copy serves them all. */
#include <stdlib.h>

#include "linear.cuh"

/* Splits src's integers into padded planes, planes[0] and (15 bits) planes[1]. */
static void matrix_split(int8_t *const planes[2], size_t pitch, const ops_weights *src)
{
    for (int n = 0; n < src->n; n++)
        for (int k = 0; k < src->k; k++) {
            size_t from = (size_t)n * src->k + k, to = (size_t)n * pitch + k;
            if (src->bits == 8) {
                planes[0][to] = ((const int8_t *)src->w)[from];
            } else {
                int value = ((const int16_t *)src->w)[from];
                planes[0][to] = (int8_t)(value >> 7);
                planes[1][to] = (int8_t)(value & 127);
            }
        }
}

gpuzip_status cuda_matrix_create(ops_context *ctx, ops_matrix **m, const ops_weights *src)
{
    gpuzip_status status = GPUZIP_OK;
    int planes = src->bits == 8 ? 1 : 2;
    size_t pitch = OPS_PITCH(src->k);
    size_t bytes = (size_t)ceil_div(src->n, WEIGHT_ROWS) * WEIGHT_ROWS * pitch;
    int8_t *host[2] = {NULL, NULL};
    ops_matrix *made = (ops_matrix *)aligned_alloc(alignof(ops_matrix), sizeof *made);
    if (made == NULL) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    *made = {};
    made->n = src->n, made->k = src->k, made->bits = src->bits, made->pitch = pitch;
    for (int i = 0; i < planes; i++) {
        host[i] = (int8_t *)calloc(1, bytes > 0 ? bytes : 1);
        if (host[i] == NULL) {
            status = FAIL(GPUZIP_ERR_MEMORY);
            goto out;
        }
        TRY_OUT(cuda_alloc(ctx, (void **)&made->plane[i], bytes));
    }
    TRY_OUT(cuda_alloc(ctx, (void **)&made->scale, (size_t)src->n * sizeof(float)));
    matrix_split(host, pitch, src);
    for (int i = 0; i < planes; i++)
        TRY_OUT(cuda_upload(ctx, made->plane[i], host[i], bytes));
    TRY_OUT(cuda_upload(ctx, made->scale, src->scale, (size_t)src->n * sizeof(float)));
    linear_hopper_prepare(ctx, made);
    *m = made;
    made = NULL;

out:
    free(host[1]);
    free(host[0]);
    cuda_matrix_destroy(ctx, made);
    return status;
}

void cuda_matrix_destroy(ops_context *ctx, ops_matrix *m)
{
    if (m == NULL)
        return;
    cuda_release(ctx, m->scale);
    cuda_release(ctx, m->plane[1]);
    cuda_release(ctx, m->plane[0]);
    free(m);
}
