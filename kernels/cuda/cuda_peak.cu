/* cuda_peak.cu: measures the device's peaks: s8 multiply-adds a second of the tensor cores
 * with the instruction that linear() uses for many rows, operands in registers or, for wgmma, in
 * shared memory; bytes a second of a copy. */
#include "linear.cuh"

#define THREADS     256
#define WARPS       8
#define CHAINS      8     /* independent products a warp keeps under way */
#define TIME_MIN_MS 50.0f /* of a measurement; the clock has to rise, too */
#define MMA_OPS     (2.0 * 16 * 8 * 32)
#define COPY_MIN_MS 1.0f /* of one copy: its buffers are then much larger than any L2 */
#define COPY_ROUNDS 8

/* sink is never written: it keeps the products from being optimised away. */
static __global__ void __launch_bounds__(THREADS) peak_kernel(int *sink, int rounds)
{
    int acc[CHAINS][4];
    unsigned a[4];
#pragma unroll
    for (int i = 0; i < CHAINS * 4; i++)
        acc[i / 4][i % 4] = 0;
    for (int i = 0; i < 4; i++)
        a[i] = threadIdx.x & 1;
    for (int round = 0; round < rounds; round++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++)
            mma_s8(acc[c], a, c, round & 1);
    int any = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
        any |= acc[c][0] | acc[c][1] | acc[c][2] | acc[c][3];
    if (any == -1)
        *sink = any;
}

#define HOPPER_N      256 /* columns of a product; rows are 64, K 32 */
#define HOPPER_BYTES  (1024 + (64 + HOPPER_N) * TILE_ROW)
#define HOPPER_OPS    (2.0 * 64 * HOPPER_N * 32 * (TILE_ROW / 32))
#define HOPPER_GROUPS 2 /* warpgroups of a block */

/* The same with wgmma; both warpgroups read the same tiles, of any numbers. */
static __global__ void __launch_bounds__(HOPPER_GROUPS * 128, 1)
    peak_hopper_kernel(int *sink, int rounds)
{
#if HAVE_HOPPER
    DYNAMIC_SHARED(shared);
    unsigned address = shared_address(shared), tile = (address + 1023) / 1024 * 1024;
    unsigned *word = (unsigned *)(shared + (tile - address));
    for (int i = threadIdx.x; i < (64 + HOPPER_N) * TILE_ROW / 4; i += HOPPER_GROUPS * 128)
        word[i] = (unsigned)i * 2654435761u;
    proxy_fence();
    __syncthreads();
    int acc[HOPPER_N / 2];
    for (int round = 0; round < rounds; round++) {
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < TILE_ROW; k += 32)
            wgmma_s8<HOPPER_N>(acc, wgmma_operand(tile, k), wgmma_operand(tile + 64 * TILE_ROW, k),
                               round > 0 || k > 0);
        wgmma_commit();
        wgmma_wait<1>();
    }
    wgmma_wait<0>();
    wgmma_result<HOPPER_N>(acc);
    int any = 0;
#pragma unroll
    for (int i = 0; i < HOPPER_N / 2; i++)
        any |= acc[i];
    if (any == -1)
        *sink = any;
#else
    (void)sink;
    (void)rounds;
#endif
}

/* Queues so many rounds; *work: their operations. */
static gpuzip_status peak_launch(const ops_context *ctx, int *sink, int rounds, double *work)
{
    if (linear_hopper_built(ctx)) {
        unsigned blocks = (unsigned)ctx->processors;
        TRY(cuda_status(cudaFuncSetAttribute(
            peak_hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, HOPPER_BYTES)));
        LAUNCH(peak_hopper_kernel, blocks, HOPPER_GROUPS * 128, HOPPER_BYTES, ctx->stream, sink,
               rounds);
        *work = HOPPER_OPS * HOPPER_GROUPS * blocks * rounds;
    } else {
        unsigned blocks = 4 * (unsigned)ctx->processors;
        LAUNCH(peak_kernel, blocks, THREADS, 0, ctx->stream, sink, rounds);
        *work = MMA_OPS * CHAINS * WARPS * blocks * rounds;
    }
    return cuda_launched();
}

gpuzip_status cuda_measure_peak(ops_context *ctx, double *ops_per_second)
{
    gpuzip_status status = GPUZIP_OK;
    cudaEvent_t start = NULL, end = NULL;
    int *sink = NULL;
    float ms = 0.0f;
    double work = 0;
    int rounds = 8;
    TRY_OUT(cuda_alloc(ctx, (void **)&sink, sizeof *sink));
    TRY_OUT(cuda_status(cudaEventCreate(&start)));
    TRY_OUT(cuda_status(cudaEventCreate(&end)));
    /* Twice as long until the time is long enough: the last measurement counts. */
    while (ms < TIME_MIN_MS) {
        rounds *= 2;
        TRY_OUT(cuda_status(cudaEventRecord(start, ctx->stream)));
        TRY_OUT(peak_launch(ctx, sink, rounds, &work));
        TRY_OUT(cuda_status(cudaEventRecord(end, ctx->stream)));
        TRY_OUT(cuda_status(cudaEventSynchronize(end)));
        TRY_OUT(cuda_status(cudaEventElapsedTime(&ms, start, end)));
    }
    *ops_per_second = work / (ms * 1e-3);

out:
    if (end != NULL)
        (void)cudaEventDestroy(end);
    if (start != NULL)
        (void)cudaEventDestroy(start);
    cuda_release(ctx, sink);
    return status;
}

/* Milliseconds of one copy of `bytes` bytes. */
static gpuzip_status copy_time(ops_context *ctx, float *ms, void *dst, const void *src,
                               size_t bytes, const cudaEvent_t event[2])
{
    TRY(cuda_status(cudaEventRecord(event[0], ctx->stream)));
    TRY(cuda_status(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, ctx->stream)));
    TRY(cuda_status(cudaEventRecord(event[1], ctx->stream)));
    TRY(cuda_status(cudaEventSynchronize(event[1])));
    return cuda_status(cudaEventElapsedTime(ms, event[0], event[1]));
}

gpuzip_status cuda_measure_copy(ops_context *ctx, double *bytes_per_second)
{
    gpuzip_status status = GPUZIP_OK;
    cudaEvent_t event[2] = {NULL, NULL};
    void *src = NULL, *dst = NULL;
    size_t bytes = (size_t)1 << 20;
    float ms = 0.0f, best;
    TRY_OUT(cuda_enter(ctx));
    TRY_OUT(cuda_status(cudaEventCreate(&event[0])));
    TRY_OUT(cuda_status(cudaEventCreate(&event[1])));
    /* Twice the size until a copy takes long enough; the first touches new memory. */
    for (;;) {
        TRY_OUT(cuda_alloc(ctx, &src, bytes));
        TRY_OUT(cuda_alloc(ctx, &dst, bytes));
        TRY_OUT(copy_time(ctx, &ms, dst, src, bytes, event));
        TRY_OUT(copy_time(ctx, &ms, dst, src, bytes, event));
        if (ms >= COPY_MIN_MS)
            break;
        cuda_release(ctx, dst);
        cuda_release(ctx, src);
        dst = src = NULL;
        bytes *= 2;
    }
    best = ms;
    for (int i = 0; i < COPY_ROUNDS; i++) {
        TRY_OUT(copy_time(ctx, &ms, dst, src, bytes, event));
        best = ms < best ? ms : best;
    }
    *bytes_per_second = 2.0 * (double)bytes / (best * 1e-3);

out:
    cuda_release(ctx, dst);
    cuda_release(ctx, src);
    for (int i = 0; i < 2; i++)
        if (event[i] != NULL)
            (void)cudaEventDestroy(event[i]);
    return status;
}
