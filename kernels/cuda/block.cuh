/* block.cuh: reductions and scans over a warp and a block. Sums are of integers
 * and maxima have no order, so the shape of a reduction cannot show in a result.
 *
 * Every function here is called by all threads of a block (warp) together.
 * blockDim.x is a multiple of 32, at most 1024; the other dimensions are 1.
 * `scratch` is shared memory of 32 elements that nothing else uses meanwhile; it
 * may be used again after the call, which ends with a barrier.
 */
#ifndef GPUZIP_BLOCK_CUH
#define GPUZIP_BLOCK_CUH

#include "ptx.cuh"

#define WARP_ALL 0xffffffffu

static __device__ __forceinline__ float warp_max(float value)
{
    for (int lanes = 16; lanes > 0; lanes >>= 1)
        value = fmaxf(value, __shfl_xor_sync(WARP_ALL, value, lanes));
    return value;
}

static __device__ __forceinline__ long long warp_max_s64(long long value)
{
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        long long other = __shfl_xor_sync(WARP_ALL, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

static __device__ __forceinline__ long long warp_sum(long long value)
{
    for (int lanes = 16; lanes > 0; lanes >>= 1)
        value += __shfl_xor_sync(WARP_ALL, value, lanes);
    return value;
}

/* Returns the sum of the values of this lane and the lanes before it. */
static __device__ __forceinline__ unsigned long long warp_scan(unsigned long long value)
{
    int lane = threadIdx.x & 31;
    for (int lanes = 1; lanes < 32; lanes <<= 1) {
        unsigned long long before = __shfl_up_sync(WARP_ALL, value, lanes);
        value += lane >= lanes ? before : 0;
    }
    return value;
}

static __device__ __forceinline__ float block_max(float value, float *scratch)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    value = warp_max(value);
    if (lane == 0)
        scratch[warp] = value;
    __syncthreads();
    value = warp_max(scratch[lane < warps ? lane : 0]);
    __syncthreads();
    return value;
}

static __device__ __forceinline__ long long block_max_s64(long long value, long long *scratch)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    value = warp_max_s64(value);
    if (lane == 0)
        scratch[warp] = value;
    __syncthreads();
    value = warp_max_s64(scratch[lane < warps ? lane : 0]);
    __syncthreads();
    return value;
}

static __device__ __forceinline__ long long block_sum(long long value, long long *scratch)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    value = warp_sum(value);
    if (lane == 0)
        scratch[warp] = value;
    __syncthreads();
    value = warp_sum(lane < warps ? scratch[lane] : 0);
    __syncthreads();
    return value;
}

/* Returns the sum of the values of this thread and the threads before it. */
static __device__ __forceinline__ unsigned long long block_scan(unsigned long long value,
                                                                long long *scratch)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    value = warp_scan(value);
    if (lane == 31)
        scratch[warp] = (long long)value;
    __syncthreads();
    unsigned long long total = lane < warps ? (unsigned long long)scratch[lane] : 0;
    unsigned long long before = __shfl_sync(WARP_ALL, warp_scan(total) - total, warp);
    __syncthreads();
    return value + before;
}

#endif
