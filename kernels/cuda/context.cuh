/* context.cuh: a device, as the launchers of the CUDA backend see it. */
#ifndef GPUZIP_CONTEXT_CUH
#define GPUZIP_CONTEXT_CUH

#include <cuda_runtime.h>

#include "cuda.h"

/* The least compute capability that the kernels run on, 10 * major + minor. */
#define CUDA_CAPABILITY_MIN 75

/* The rows that attention() divided last, and how: while nothing writes slots and positions, and
 * nothing else the scratch memory, a later layer takes the same division. rows 0: none. */
typedef struct {
    const int32_t *slot, *pos; /* device, [rows] */
    int rows, piece_rows, tile_rows;
} attention_division;

struct ops_context {
    int device;
    int capability; /* 10 * major + minor, CUDA_CAPABILITY_MIN or more */
    int processors; /* streaming multiprocessors */
    int shared_max; /* bytes of shared memory a block may ask for */
    int pageable;   /* whether it copies from any host memory by itself (HMM, ATS) */
    cudaStream_t stream;
    cudaEvent_t event[OPS_EVENTS];
    void *scratch; /* device memory of an operation while it runs */
    size_t scratch_bytes;
    attention_division divided;
    struct linear_blas *blas; /* cuda_blas.cu's; NULL until it is used */
};

/* -- cuda_memory.cu ----------------------------------------------------------------- */

/* The status of a CUDA error: MEMORY or DEVICE. */
gpuzip_status cuda_status(cudaError_t error);

/* Makes the context's device the calling thread's; every operation begins so. */
gpuzip_status cuda_enter(const ops_context *ctx);

/* Whether the launches since the last call could be queued. */
gpuzip_status cuda_launched(void);

/* Makes ctx->scratch at least so large. Its contents are lost. Whatever an operation asks for
 * here is part of cuda_scratch_bytes(), or it could not be recorded. Errors: MEMORY, DEVICE. */
gpuzip_status cuda_scratch(ops_context *ctx, size_t bytes);

/* -- cuda_blas.cu ------------------------------------------------------------------- */

/* Releases ctx->blas. */
void linear_blas_close(ops_context *ctx);

/* -- all files ---------------------------------------------------------------------- */

/* ceil(a / b) for a >= 0, b > 0. */
static inline unsigned ceil_div(size_t a, size_t b)
{
    return (unsigned)((a + b - 1) / b);
}

#endif
