/* cuda_context.cu: a context, and the table of operations. It is above all other files of the
 * backend: none of them calls it. */
#include <stdlib.h>

#include "context.cuh"

static void cuda_close(ops_context *ctx)
{
    if (ctx == NULL)
        return;
    (void)cudaSetDevice(ctx->device);
    linear_blas_close(ctx);
    (void)cudaFree(ctx->scratch);
    for (int i = 0; i < OPS_EVENTS; i++)
        if (ctx->event[i] != NULL)
            (void)cudaEventDestroy(ctx->event[i]);
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
    TRY(cuda_status(
        cudaDeviceGetAttribute(&ctx->pageable, cudaDevAttrPageableMemoryAccess, ctx->device)));
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
    /* A thread that waits long sleeps, and the processor is free for others. */
    for (int i = 0; i < OPS_EVENTS; i++)
        TRY_OUT(cuda_status(cudaEventCreateWithFlags(
            &opened->event[i], cudaEventDisableTiming | cudaEventBlockingSync)));
    *ctx = opened;
    opened = NULL;

out:
    cuda_close(opened);
    return status;
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
    .event = cuda_event,
    .wait_event = cuda_wait_event,
    .graph_begin = cuda_graph_begin,
    .graph_end = cuda_graph_end,
    .graph_replay = cuda_graph_replay,
    .graph_destroy = cuda_graph_destroy,
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
    .learn = NULL, /* weights do not learn on GPUs yet */
    .measure_peak = cuda_measure_peak,
    .measure_product = cuda_measure_product,
    .measure_copy = cuda_measure_copy,
    .range_push = cuda_range_push,
    .range_pop = cuda_range_pop,
};
