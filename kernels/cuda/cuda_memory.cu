/* cuda_memory.cu: a device's memory, copies to and from it, and the status of CUDA's errors.
 * Every operation calls these functions. */
#include "context.cuh"

gpuzip_status cuda_status(cudaError_t error)
{
    if (error == cudaSuccess)
        return GPUZIP_OK;
    return FAIL(error == cudaErrorMemoryAllocation ? GPUZIP_ERR_MEMORY : GPUZIP_ERR_DEVICE);
}

gpuzip_status cuda_enter(const ops_context *ctx)
{
    return cuda_status(cudaSetDevice(ctx->device));
}

gpuzip_status cuda_launched(void)
{
    return cuda_status(cudaGetLastError());
}

/* -- memory ------------------------------------------------------------------------ */

gpuzip_status cuda_alloc(ops_context *ctx, void **ptr, size_t bytes)
{
    void *memory = NULL;
    TRY(cuda_enter(ctx));
    cudaError_t error = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
    if (error != cudaSuccess) {
        (void)cudaGetLastError(); /* a full device is not a broken one */
        return cuda_status(error);
    }
    gpuzip_status status = cuda_status(cudaMemsetAsync(memory, 0, bytes, ctx->stream));
    if (status != GPUZIP_OK) {
        (void)cudaFree(memory);
        return status;
    }
    *ptr = memory;
    return GPUZIP_OK;
}

/* cudaFree() waits for the device, so kernels queued before are done with it. */
void cuda_release(ops_context *ctx, void *ptr)
{
    (void)cudaSetDevice(ctx->device);
    (void)cudaFree(ptr);
}

gpuzip_status cuda_memory(ops_context *ctx, uint64_t *available, uint64_t *total)
{
    size_t free_bytes, all_bytes;
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemGetInfo(&free_bytes, &all_bytes)));
    *available = free_bytes;
    *total = all_bytes;
    return GPUZIP_OK;
}

gpuzip_status cuda_scratch(ops_context *ctx, size_t bytes)
{
    if (bytes <= ctx->scratch_bytes)
        return GPUZIP_OK;
    void *memory = NULL;
    cuda_release(ctx, ctx->scratch);
    ctx->scratch = NULL;
    ctx->scratch_bytes = 0;
    TRY(cuda_alloc(ctx, &memory, bytes));
    ctx->scratch = memory;
    ctx->scratch_bytes = bytes;
    return GPUZIP_OK;
}

/* -- copies ------------------------------------------------------------------------ */

gpuzip_status cuda_sync(ops_context *ctx)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaStreamSynchronize(ctx->stream));
}

/* CUDA stages pageable memory before the call returns, and reads page-locked memory later. */
gpuzip_status cuda_upload(ops_context *ctx, void *dst, const void *host_src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, ctx->stream));
}

gpuzip_status cuda_download(ops_context *ctx, void *host_dst, const void *src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, ctx->stream)));
    return cuda_sync(ctx);
}
