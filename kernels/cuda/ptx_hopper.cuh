/* ptx_hopper.cuh: additions of compute capability 9.0 to ptx.cuh: barriers in shared memory that
 * count bytes, copies of whole tiles, and products of a warpgroup (128 threads, four warps
 * beginning at a multiple of four) that run beside it.
 * tests/cuda/emulator/ptx_hopper_emulated.h holds the twin of each.
 *
 * Tiles. A tile in shared memory is [rows][128 bytes], 1024-byte aligned, swizzled: the
 * 16-byte chunk c of row r lies at chunk c ^ (r % 8). Copies write tiles so and products
 * read them so; nothing else needs to know.
 *
 * Proxies. Copies and products access memory through the async proxy, loads and stores through
 * the generic one; data that crosses from one to the other needs a fence. In linear layers only
 * copies write a tile and only products read it, so barriers alone order them.
 */
#ifndef GPUZIP_PTX_HOPPER_CUH
#define GPUZIP_PTX_HOPPER_CUH

#include <cuda.h>

#include "ptx.cuh"

#define TILE_ROW  128 /* bytes of a row of a tile */
#define BOX_ROWS  64  /* rows that one copy brings */
#define BOX_BYTES (BOX_ROWS * TILE_ROW)

/* -- planes ---------------------------------------------------------------------- */

/* A plane of bytes, [rows][pitch], as the copies see it; 64-byte aligned. */
typedef CUtensorMap tensor_map;

/* Encodes a tensor_map: a driver function, looked up at run time, since the driver is not
 * linked. */
typedef CUresult (*tensor_map_encoder)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                       const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                       const cuuint32_t *, CUtensorMapInterleave,
                                       CUtensorMapSwizzle, CUtensorMapL2promotion,
                                       CUtensorMapFloatOOBfill);

/* Returns NULL where the driver has none. */
static inline tensor_map_encoder tensor_map_find_encoder(void)
{
    void *found = NULL;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                         cudaEnableDefault, &result);
#else
    cudaError_t error =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return NULL;
    }
    return result == cudaDriverEntryPointSuccess ? (tensor_map_encoder)found : NULL;
}

/* Describes plane [rows][pitch] in device memory, 16-byte aligned as is pitch: boxes of
 * BOX_ROWS x TILE_ROW bytes, swizzled, zero beyond the plane. False if the driver refuses. */
static inline bool tensor_map_make(tensor_map *map, tensor_map_encoder encode, const void *plane,
                                   size_t rows, size_t pitch)
{
    const cuuint64_t size[2] = {pitch, rows}, stride[1] = {pitch};
    const cuuint32_t box[2] = {TILE_ROW, BOX_ROWS}, step[2] = {1, 1};
    return encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)plane, size, stride, box, step,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#ifndef __CUDACC__
#include "ptx_hopper_emulated.h"
#else

/* Whether this code is compiled for 9.0 with the instructions that no other capability
 * has (sm_90a). */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HAVE_HOPPER 1
#else
#define HAVE_HOPPER 0
#endif

#if HAVE_HOPPER

/* -- barriers ------------------------------------------------------------------ */

/* A barrier is in phase 0, 1, 2 ...; a phase is complete when `count` threads have arrived
 * and all the bytes expected in it have come. */
static __device__ __forceinline__ void mbarrier_init(uint64_t *barrier, unsigned count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

/* Shows the thread's new barriers to the copies; other threads see them after
 * __syncthreads(). */
static __device__ __forceinline__ void mbarrier_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Makes this thread's stores to shared memory visible to products that start after the next
 * barrier. */
static __device__ __forceinline__ void proxy_fence(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ void mbarrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/* Arrives, and lets the phase expect so many bytes more. */
static __device__ __forceinline__ void mbarrier_arrive_expect(uint64_t *barrier, unsigned bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}

/* Waits for the end of the phase of that parity: returns at once if the barrier is in a
 * phase of the other. (A barrier in phase 0 is thus past a phase of parity 1.) */
static __device__ __forceinline__ void mbarrier_wait(uint64_t *barrier, unsigned parity)
{
    unsigned done;
    do {
        asm volatile("{\n\t"
                     ".reg .pred done;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, done;\n\t"
                     "}"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    } while (!done);
}

/* -- copies -------------------------------------------------------------------- */

/* Begins to copy the box at byte `k` of row `row` to a tile, 1024-byte aligned, given by its
 * shared address. BOX_BYTES arrive at the barrier, beyond the plane or not. */
static __device__ __forceinline__ void tile_load(unsigned tile, const tensor_map *map, int k,
                                                 int row, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(tile),
                 "l"(map), "r"(k), "r"(row), "r"(shared_address(barrier))
                 : "memory");
}

/* -- products ------------------------------------------------------------------ */

/* Lends registers to other warpgroups, or takes them: REGISTERS a thread from here on. */
template <int REGISTERS> static __device__ __forceinline__ void registers_reduce(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> static __device__ __forceinline__ void registers_raise(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Due before the first product after accumulators were touched otherwise. */
static __device__ __forceinline__ void wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* Makes a group of the products begun since the last commit. */
static __device__ __forceinline__ void wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until at most GROUPS groups are under way; till then, accumulators of those and
 * the tiles they read are not to be touched. */
template <int GROUPS> static __device__ __forceinline__ void wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

#define WGMMA_8(c, i)                                                                              \
    "+r"(c[i]), "+r"(c[i + 1]), "+r"(c[i + 2]), "+r"(c[i + 3]), "+r"(c[i + 4]), "+r"(c[i + 5]),    \
        "+r"(c[i + 6]), "+r"(c[i + 7])
#define WGMMA_32(c, i) WGMMA_8(c, i), WGMMA_8(c, i + 8), WGMMA_8(c, i + 16), WGMMA_8(c, i + 24)

#define WGMMA_NAMES_0                                                                              \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_NAMES_32                                                                             \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, "      \
    "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_NAMES_64                                                                             \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, "      \
    "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA_NAMES_96                                                                             \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "     \
    "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "   \
    "%126, %127"

/* a, b, accumulate: the numbers of the operands after the accumulators. */
#define WGMMA_TEXT(n, names, a, b, accumulate)                                                     \
    "{\n\t"                                                                                        \
    ".reg .pred add;\n\t"                                                                          \
    "setp.ne.b32 add, %" accumulate ", 0;\n\t"                                                     \
    "wgmma.mma_async.sync.aligned.m64n" n "k32.s32.s8.s8 {" names "}, %" a ", %" b ", add;\n\t"    \
    "}"

/* Begins c = A B^T or, if accumulate, c += A B^T for s8 A (64 x 32) and B (N x 32), both in
 * tiles and given by wgmma_operand(), and s32 C (64 x N) spread over a warpgroup: of warp w,
 * lane 4 g + t, c[4 j + i] is C[16 w + g + 8 (i / 2)][8 j + 2 t + i % 2]. */
template <int N>
static __device__ __forceinline__ void wgmma_s8(int *c, uint64_t a, uint64_t b, int accumulate)
{
    static_assert(N == 64 || N == 128 || N == 192 || N == 256, "shapes in use");
    if constexpr (N == 64)
        asm volatile(WGMMA_TEXT("64", WGMMA_NAMES_0, "32", "33", "34")
                     : WGMMA_32(c, 0)
                     : "l"(a), "l"(b), "r"(accumulate));
    else if constexpr (N == 128)
        asm volatile(WGMMA_TEXT("128", WGMMA_NAMES_0 WGMMA_NAMES_32, "64", "65", "66")
                     : WGMMA_32(c, 0), WGMMA_32(c, 32)
                     : "l"(a), "l"(b), "r"(accumulate));
    else if constexpr (N == 192)
        asm volatile(
            WGMMA_TEXT("192", WGMMA_NAMES_0 WGMMA_NAMES_32 WGMMA_NAMES_64, "96", "97", "98")
            : WGMMA_32(c, 0), WGMMA_32(c, 32), WGMMA_32(c, 64)
            : "l"(a), "l"(b), "r"(accumulate));
    else
        asm volatile(WGMMA_TEXT("256", WGMMA_NAMES_0 WGMMA_NAMES_32 WGMMA_NAMES_64 WGMMA_NAMES_96,
                                "128", "129", "130")
                     : WGMMA_32(c, 0), WGMMA_32(c, 32), WGMMA_32(c, 64), WGMMA_32(c, 96)
                     : "l"(a), "l"(b), "r"(accumulate));
}

/* Required between the wait and the use of N / 2 accumulators: the compiler, which does not know
 * that the wait completes them, must not read them earlier. */
template <int N> static __device__ __forceinline__ void wgmma_result(int *c)
{
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        asm volatile("" : "+r"(c[i])::"memory");
}

#endif /* HAVE_HOPPER */
#endif /* __CUDACC__ */

/* The 64-bit descriptor of an operand of wgmma_s8(): its rows from the shared address `tile`
 * (1024-byte aligned) on, bytes k .. k + 31 of each; k is a multiple of 32, below TILE_ROW.
 *
 *   bits 0-13   address / 16. Adding k moves along the row: the hardware swizzles by
 *               bits 7-9 of the address it arrives at, which k does not change.
 *   bits 16-29  distance in K between 8-row groups, / 16: not used with this swizzle, 1
 *   bits 32-45  distance between groups of 8 rows, / 16
 *   bits 49-51  0, since tiles are 1024-byte aligned
 *   bits 62-63  1: the 128-byte swizzle */
static __device__ __forceinline__ uint64_t wgmma_operand(unsigned tile, int k)
{
    return (uint64_t)((tile + (unsigned)k) >> 4 & 0x3fff) | (uint64_t)1 << 16 |
           (uint64_t)(8 * TILE_ROW >> 4) << 32 | (uint64_t)1 << 62;
}

#endif
