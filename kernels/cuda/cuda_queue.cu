/* cuda_queue.cu: lets the host run in parallel with the device: page-locked memory, events in
 * the queue, CUDA graphs; and the ranges that profilers show. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.cuh"

#ifdef __CUDACC__
#include <nvtx3/nvToolsExt.h>
#endif

struct ops_graph {
    cudaGraphExec_t exec;
};

gpuzip_status cuda_host_alloc(ops_context *ctx, void **ptr, size_t bytes)
{
    void *memory = NULL;
    TRY(cuda_enter(ctx));
    TRY(cuda_status(cudaHostAlloc(&memory, bytes > 0 ? bytes : 1, cudaHostAllocDefault)));
    memset(memory, 0, bytes);
    *ptr = memory;
    return GPUZIP_OK;
}

void cuda_host_release(ops_context *ctx, void *ptr)
{
    (void)cudaSetDevice(ctx->device);
    if (ptr != NULL)
        (void)cudaFreeHost(ptr);
}

gpuzip_status cuda_fetch(ops_context *ctx, void *host_dst, const void *src, size_t bytes)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, ctx->stream));
}

gpuzip_status cuda_event(ops_context *ctx, int event)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaEventRecord(ctx->event[event], ctx->stream));
}

/* A wait asks again and again for so long, before it sleeps: waking up by an interrupt takes 30 to
 * 100 us, once in every decoding step of some 300 us. A longer wait is for a prefill pass, of which
 * a wake-up is a small part, and the processor is then free for others. */
#define SPIN_NANOSECONDS 200000

static long long now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

gpuzip_status cuda_wait_event(ops_context *ctx, int event)
{
    TRY(cuda_enter(ctx));
    for (long long end = now() + SPIN_NANOSECONDS; now() < end;) {
        cudaError_t error = cudaEventQuery(ctx->event[event]);
        if (error != cudaErrorNotReady)
            return cuda_status(error);
        (void)cudaGetLastError(); /* "not ready" counts as an error */
    }
    return cuda_status(cudaEventSynchronize(ctx->event[event]));
}

/* -- graphs ------------------------------------------------------------------ */

gpuzip_status cuda_graph_begin(ops_context *ctx)
{
    ctx->divided.rows = 0;
    TRY(cuda_enter(ctx));
    return cuda_status(cudaStreamBeginCapture(ctx->stream, cudaStreamCaptureModeThreadLocal));
}

gpuzip_status cuda_graph_end(ops_context *ctx, ops_graph **graph)
{
    cudaGraph_t captured = NULL;
    cudaGraphExec_t exec = NULL;
    ctx->divided.rows = 0; /* by work that was recorded, not done */
    cudaError_t error = cudaStreamEndCapture(ctx->stream, &captured);
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&exec, captured, 0);
    if (captured != NULL)
        (void)cudaGraphDestroy(captured);
    TRY(cuda_status(error));
    ops_graph *made = (ops_graph *)malloc(sizeof *made);
    if (made == NULL) {
        (void)cudaGraphExecDestroy(exec);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    made->exec = exec;
    *graph = made;
    return GPUZIP_OK;
}

gpuzip_status cuda_graph_replay(ops_context *ctx, const ops_graph *graph)
{
    ctx->divided.rows = 0;
    TRY(cuda_enter(ctx));
    return cuda_status(cudaGraphLaunch(graph->exec, ctx->stream));
}

void cuda_graph_destroy(ops_context *ctx, ops_graph *graph)
{
    if (graph == NULL)
        return;
    (void)cudaSetDevice(ctx->device);
    (void)cudaGraphExecDestroy(graph->exec);
    free(graph);
}

/* -- ranges ----------------------------------------------------------------------- */

#ifdef __CUDACC__
void cuda_range_push(const char *name)
{
    (void)nvtxRangePushA(name);
}

void cuda_range_pop(void)
{
    (void)nvtxRangePop();
}
#else
void cuda_range_push(const char *name)
{
    (void)name;
}

void cuda_range_pop(void)
{
}
#endif
