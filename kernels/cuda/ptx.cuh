/* ptx.cuh: the few things the kernels need that CUDA C does not say: a launch,
 * dynamic shared memory, tensor-core products, tile loads and asynchronous
 * copies. tests/cuda/emulator/ptx_emulated.h holds the twin of each.
 *
 * Integer products only: their sums are exact, so nothing here can round.
 */
#ifndef GPUZIP_PTX_CUH
#define GPUZIP_PTX_CUH

#ifndef __CUDACC__
#include "ptx_emulated.h"
#else

#include <cuda_runtime.h>
#include <stdint.h>

/* Queues kernel(...) on a stream. cudaGetLastError() tells whether it could be. */
#define LAUNCH(kernel, grid, block, shared, stream, ...)                                           \
    (kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)

/* Declares name, the block's dynamic shared memory, 128-byte aligned. */
#define DYNAMIC_SHARED(name)                                                                       \
    extern __shared__ __align__(128) unsigned char dynamic_shared_[];                              \
    unsigned char *name = dynamic_shared_

/* Follows the static shared variables of a kernel template, for the emulator's sake: says that
 * this one holds nothing yet. */
#define SHARED_BEGINS(name) ((void)0)

/* Whether this code is compiled for, and so runs on, tensor cores with K = 32 and
 * asynchronous copies. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define HAVE_AMPERE 1
#else
#define HAVE_AMPERE 0
#endif

static __device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* Returns x, but hides its origin from the compiler: later arithmetic on x cannot change how it was
 * computed. */
static __device__ __forceinline__ int opaque(int x)
{
    asm("" : "+r"(x));
    return x;
}

/* Copies 16 bytes from global to shared memory, both 16-byte aligned, or writes
 * zeroes when !present (src must be a valid address all the same). The copy is
 * done for this thread after the cp_async_wait() that covers its group, for the
 * block after a barrier beyond that. */
static __device__ __forceinline__ void cp_async_16(void *dst, const void *src, bool present)
{
#if HAVE_AMPERE
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst)),
                 "l"(src), "r"(present ? 16 : 0)
                 : "memory");
#else
    *(uint4 *)dst = present ? *(const uint4 *)src : make_uint4(0, 0, 0, 0);
#endif
}

/* Begins to bring the 128 bytes around an address of global memory into the L2 cache. */
static __device__ __forceinline__ void prefetch_l2(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* Makes a group of the copies begun since the last commit. */
static __device__ __forceinline__ void cp_async_commit(void)
{
#if HAVE_AMPERE
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most GROUPS of this thread's groups are under way. */
template <int GROUPS> static __device__ __forceinline__ void cp_async_wait(void)
{
#if HAVE_AMPERE
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

/* Loads four 8 x 16-byte matrices. Lane 8 m + i gives the address (16-byte
 * aligned, shared) of row i of matrix m; r[m] becomes bytes 4 (lane % 4) .. + 3 of
 * row lane / 4 of matrix m. */
static __device__ __forceinline__ void ldmatrix_x4(unsigned r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* c += A B for s8 A (16 x 32), B (32 x 8) and s32 C (16 x 8) spread over a warp:
 * with lane = 4 g + t, a[0]: A[g][4t ..+3], a[1]: A[g+8][4t ..], a[2], a[3]: the same
 * rows from column 16 + 4t; b0: B[4t ..][g], b1: B[16 + 4t ..][g]; c[0], c[1]:
 * C[g][2t], C[g][2t+1], c[2], c[3]: row g + 8. */
static __device__ __forceinline__ void mma_s8_k32(int c[4], const unsigned a[4], unsigned b0,
                                                  unsigned b1)
{
#if HAVE_AMPERE
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* The same for 8 x 16 by 16 x 8, Turing's only shape: a: A[g][4t ..+3], b: B[4t ..][g],
 * c[0], c[1]: C[g][2t], C[g][2t+1]. */
static __device__ __forceinline__ void mma_s8_k16(int c[2], unsigned a, unsigned b)
{
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 "
                 "{%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(c[0]), "+r"(c[1])
                 : "r"(a), "r"(b));
}

#endif

/* mma_s8_k32() wherever it runs: the large product's fragments are those of four
 * small ones. */
static __device__ __forceinline__ void mma_s8(int c[4], const unsigned a[4], unsigned b0,
                                              unsigned b1)
{
    if (HAVE_AMPERE) {
        mma_s8_k32(c, a, b0, b1);
    } else {
        mma_s8_k16(c, a[0], b0);
        mma_s8_k16(c, a[2], b1);
        mma_s8_k16(c + 2, a[1], b0);
        mma_s8_k16(c + 2, a[3], b1);
    }
}

#endif
