/* cuda_queue.cu: lets the host run in parallel with the device: page-locked memory, marks in
 * the queue, recordings (CUDA graphs); and the ranges that profilers show. */
#include <stdlib.h>
#include <string.h>

#include "context.cuh"

#ifdef __CUDACC__
#include <nvtx3/nvToolsExt.h>
#endif

struct ops_recording {
    cudaGraphExec_t exec;
};

gpuzip_status cuda_host_alloc(ops_context *ctx, void **ptr, size_t bytes)
{
    void *memory = NULL;
    TRY(cuda_enter(ctx));
    cudaError_t error = cudaHostAlloc(&memory, bytes > 0 ? bytes : 1, cudaHostAllocDefault);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return cuda_status(error);
    }
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

gpuzip_status cuda_mark(ops_context *ctx, int mark)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaEventRecord(ctx->mark[mark], ctx->stream));
}

gpuzip_status cuda_wait(ops_context *ctx, int mark)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaEventSynchronize(ctx->mark[mark]));
}

/* -- recordings ------------------------------------------------------------------ */

gpuzip_status cuda_record_begin(ops_context *ctx)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaStreamBeginCapture(ctx->stream, cudaStreamCaptureModeThreadLocal));
}

gpuzip_status cuda_record_end(ops_context *ctx, ops_recording **recording)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t error = cudaStreamEndCapture(ctx->stream, &graph);
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&exec, graph, 0);
    if (graph != NULL)
        (void)cudaGraphDestroy(graph);
    if (error != cudaSuccess) {
        (void)cudaGetLastError(); /* nothing ran, so nothing is broken */
        return cuda_status(error);
    }
    ops_recording *made = (ops_recording *)malloc(sizeof *made);
    if (made == NULL) {
        (void)cudaGraphExecDestroy(exec);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    made->exec = exec;
    *recording = made;
    return GPUZIP_OK;
}

gpuzip_status cuda_replay(ops_context *ctx, const ops_recording *recording)
{
    TRY(cuda_enter(ctx));
    return cuda_status(cudaGraphLaunch(recording->exec, ctx->stream));
}

void cuda_recording_destroy(ops_context *ctx, ops_recording *recording)
{
    if (recording == NULL)
        return;
    (void)cudaSetDevice(ctx->device);
    (void)cudaGraphExecDestroy(recording->exec);
    free(recording);
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
