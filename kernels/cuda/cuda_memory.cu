/* cuda_memory.cu: a device's memory, copies to and from it, and the status of CUDA's errors.
 * Every operation calls these functions. */
#include "context.cuh"

gpuzip_status cuda_status(cudaError_t error)
{
    if (error == cudaSuccess)
        return GPUZIP_OK;
    /* A call that was refused broke nothing: without this, the next launch would report its error
     * again. The errors of a broken device cannot be cleared. */
    (void)cudaGetLastError();
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
    TRY(cuda_status(cudaMalloc(&memory, bytes > 0 ? bytes : 1)));
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
    ctx->divided.rows = 0;
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

/* Whether the device reads host_src after an asynchronous copy's call, although it is not
 * page-locked. */
static bool copies_late(const ops_context *ctx, const void *host_src)
{
    cudaPointerAttributes about;
    if (!ctx->pageable)
        return false;
    if (cudaPointerGetAttributes(&about, host_src) == cudaSuccess)
        return about.type == cudaMemoryTypeUnregistered;
    (void)cudaGetLastError();
    return true;
}

/* CUDA stages pageable memory before the call returns, and reads page-locked memory later. Devices
 * that access pageable memory themselves need no stage: those are waited for. */
gpuzip_status cuda_upload(ops_context *ctx, void *dst, const void *host_src, size_t bytes)
{
    ctx->divided.rows = 0;
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, ctx->stream)));
    return copies_late(ctx, host_src) ? cuda_sync(ctx) : GPUZIP_OK;
}

gpuzip_status cuda_download(ops_context *ctx, void *host_dst, const void *src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, ctx->stream)));
    return cuda_sync(ctx);
}
