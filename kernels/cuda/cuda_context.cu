/* cuda_context.cu: the device, its memory, and the table of operations. */
#include <stdlib.h>

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

static void cuda_close(ops_context *ctx)
{
    if (ctx == NULL)
        return;
    (void)cudaSetDevice(ctx->device);
    linear_blas_close(ctx);
    (void)cudaFree(ctx->scratch);
    for (int i = 0; i < OPS_MARKS; i++)
        if (ctx->mark[i] != NULL)
            (void)cudaEventDestroy(ctx->mark[i]);
    if (ctx->stream != NULL)
        (void)cudaStreamDestroy(ctx->stream);
    free(ctx);
}

/* Reads the device's properties. */
static gpuzip_status device_read(ops_context *ctx)
{
    int major = 0, minor = 0;
    TRY(cuda_status(
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ctx->device)));
    TRY(cuda_status(
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ctx->device)));
    TRY(cuda_status(
        cudaDeviceGetAttribute(&ctx->processors, cudaDevAttrMultiProcessorCount, ctx->device)));
    TRY(cuda_status(cudaDeviceGetAttribute(&ctx->shared_max,
                                           cudaDevAttrMaxSharedMemoryPerBlockOptin, ctx->device)));
    ctx->capability = 10 * major + minor;
    return ctx->capability >= CUDA_CAPABILITY_MIN ? GPUZIP_OK : FAIL(GPUZIP_ERR_DEVICE);
}

static gpuzip_status cuda_open(ops_context **ctx, int device, int threads, const char *isa)
{
    gpuzip_status status = GPUZIP_OK;
    int devices = 0;
    (void)threads;
    (void)isa;
    ops_context *opened = (ops_context *)calloc(1, sizeof *opened);
    if (opened == NULL)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY_OUT(cuda_status(cudaGetDeviceCount(&devices)));
    TRY_OUT(device >= 0 && device < devices ? GPUZIP_OK : GPUZIP_ERR_DEVICE);
    opened->device = device;
    TRY_OUT(cuda_status(cudaSetDevice(device)));
    TRY_OUT(device_read(opened));
    TRY_OUT(cuda_status(cudaStreamCreateWithFlags(&opened->stream, cudaStreamNonBlocking)));
    /* A thread that waits sleeps: the engine queues work ahead, so that waking up costs the
     * device nothing, and the processor is free for others. */
    for (int i = 0; i < OPS_MARKS; i++)
        TRY_OUT(cuda_status(cudaEventCreateWithFlags(&opened->mark[i], cudaEventDisableTiming |
                                                                           cudaEventBlockingSync)));
    *ctx = opened;
    opened = NULL;

out:
    cuda_close(opened);
    return status;
}

static gpuzip_status cuda_sync(ops_context *ctx)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaStreamSynchronize(ctx->stream));
}

static gpuzip_status cuda_alloc(ops_context *ctx, void **ptr, size_t bytes)
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
static void cuda_release(ops_context *ctx, void *ptr)
{
    (void)cudaSetDevice(ctx->device);
    (void)cudaFree(ptr);
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

/* Operations take the scratch memory one after another. */
static size_t cuda_scratch_bytes(int rows, int columns)
{
    (void)columns;
    return cuda_attention_scratch(rows);
}

static gpuzip_status cuda_reserve(ops_context *ctx, int rows, int columns)
{
    return cuda_scratch(ctx, cuda_scratch_bytes(rows, columns));
}

static gpuzip_status cuda_memory(ops_context *ctx, uint64_t *available, uint64_t *total)
{
    size_t free_bytes, all_bytes;
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemGetInfo(&free_bytes, &all_bytes)));
    *available = free_bytes;
    *total = all_bytes;
    return GPUZIP_OK;
}

/* CUDA stages pageable memory before the call returns, and reads page-locked memory later. */
static gpuzip_status cuda_upload(ops_context *ctx, void *dst, const void *host_src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, ctx->stream));
}

static gpuzip_status cuda_download(ops_context *ctx, void *host_dst, const void *src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, ctx->stream)));
    return cuda_sync(ctx);
}

const ops ops_cuda = {
    .name = "cuda",
    .pass_rows = 16384, /* enough tiles for some rounds over all processors */
    .logits_bytes = (size_t)512 << 20,
    .devices = cuda_devices,
    .describe = cuda_describe,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .memory = cuda_memory,
    .scratch_bytes = cuda_scratch_bytes,
    .reserve = cuda_reserve,
    .host_alloc = cuda_host_alloc,
    .host_release = cuda_host_release,
    .fetch = cuda_fetch,
    .mark = cuda_mark,
    .wait = cuda_wait,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .replay = cuda_replay,
    .recording_destroy = cuda_recording_destroy,
    .matrix_create = cuda_matrix_create,
    .matrix_destroy = cuda_matrix_destroy,
    .kv_create = cuda_kv_create,
    .kv_destroy = cuda_kv_destroy,
    .kv_bytes = cuda_kv_bytes,
    .embed = cuda_embed,
    .norm = cuda_norm,
    .quantize = cuda_quantize,
    .linear = cuda_linear,
    .qkv = cuda_qkv,
    .attention = cuda_attention,
    .mix_encode = cuda_mix_encode,
    .mix_decode = cuda_mix_decode,
    .mix_cdf = cuda_mix_cdf,
    .adaptive_create = cuda_adaptive_create,
    .adaptive_destroy = cuda_adaptive_destroy,
    .adaptive_bytes = cuda_adaptive_bytes,
    .adaptive_reset = cuda_adaptive_reset,
    .adaptive_read = cuda_adaptive_read,
    .mix_learn = cuda_mix_learn,
    .next_tokens = cuda_next_tokens,
    .count_add = cuda_count_add,
    .measure_peak = cuda_measure_peak,
    .measure_product = cuda_measure_product,
    .measure_copy = cuda_measure_copy,
    .range_push = cuda_range_push,
    .range_pop = cuda_range_pop,
};
