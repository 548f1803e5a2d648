/* cuda_linear.cu: linear layers, s8 products on tensor cores (operands: linear.cuh).
 *
 * linear_kernel has tiles of 128 columns by 64 or 128 rows and a pipeline of
 * asynchronous copies; linear_small_kernel, for at most 16 rows, reads the
 * weights once, straight into registers, and spreads K over the warps of a block.
 * On Turing the same code runs with synchronous copies and smaller products.
 */
#include "linear.cuh"

#define THREADS   256
#define WARPS     8
#define TILE_K    64  /* bytes of K a step; the pitch is a multiple */
#define TILE_N    128 /* columns a block */
#define CHUNKS    (TILE_K / 16)
#define N_FRAGS   4  /* 8-column fragments a warp: 4 warps side by side */
#define WARP_N    32 /* columns of a warp; STORE_COLUMNS */
#define SMALL_MAX 16 /* rows of linear_small_kernel; also its columns a block */

/* Where chunk c (16 bytes) of a tile's row lies: swizzled, so that the eight rows
 * of an ldmatrix phase fall on distinct banks. */
static __device__ __forceinline__ int chunk_offset(int row, int c)
{
    return row * TILE_K + ((c ^ (row >> 1)) & (CHUNKS - 1)) * 16;
}

/* Begins to copy a tile of `rows` rows from `first` on; those from `limit` on are zero. */
static __device__ __forceinline__ void load_tile(int8_t *tile, const int8_t *plane, int rows,
                                                 int first, int limit, int pitch, int k)
{
    for (int i = threadIdx.x; i < rows * CHUNKS; i += THREADS) {
        int row = i / CHUNKS, c = i % CHUNKS;
        bool present = first + row < limit;
        const int8_t *from = plane + (present ? (size_t)(first + row) * pitch + k + c * 16 : 0);
        cp_async_16(tile + chunk_offset(row, c), from, present);
    }
}

/* Begins to copy step `step` of K to its stage: the planes of A, then those of W. */
template <int A_PLANES, int W_PLANES, int M_FRAGS>
static __device__ __forceinline__ void load_stage(const linear_args *p, unsigned char *shared,
                                                  int step, int first_row, int first_column)
{
    const int a_bytes = M_FRAGS * 32 * TILE_K, w_bytes = TILE_N * TILE_K;
    int8_t *tile = (int8_t *)shared + step % p->stages * (A_PLANES * a_bytes + W_PLANES * w_bytes);
    for (int pa = 0; pa < A_PLANES; pa++, tile += a_bytes)
        load_tile(tile, p->a[pa], M_FRAGS * 32, first_row, p->rows, p->pitch, step * TILE_K);
    for (int pw = 0; pw < W_PLANES; pw++, tile += w_bytes)
        load_tile(tile, p->w[pw], TILE_N, first_column, first_column + TILE_N, p->pitch,
                  step * TILE_K);
}

/* Adds the products of one stage: for each k32 half, all fragments of W stay in
 * registers while those of A pass by. */
template <int A_PLANES, int W_PLANES, int M_FRAGS>
static __device__ __forceinline__ void multiply_stage(
    int acc[A_PLANES + W_PLANES - 1][M_FRAGS][N_FRAGS][4], const int8_t *a_tile, int warp_row,
    int warp_column)
{
    const int8_t *w_tile = a_tile + A_PLANES * M_FRAGS * 32 * TILE_K;
    int lane = threadIdx.x & 31, matrix = lane >> 3, i = lane & 7;
#pragma unroll 1
    for (int half = 0; half < 2; half++) {
        unsigned w[W_PLANES][N_FRAGS][2], a[4];
#pragma unroll
        for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
            for (int nf = 0; nf < N_FRAGS; nf += 2) {
                unsigned r[4];
                int row = warp_column + nf * 8 + (matrix >> 1) * 8 + i;
                ldmatrix_x4(r, w_tile + pw * TILE_N * TILE_K +
                                   chunk_offset(row, half * 2 + (matrix & 1)));
                w[pw][nf][0] = r[0], w[pw][nf][1] = r[1];
                w[pw][nf + 1][0] = r[2], w[pw][nf + 1][1] = r[3];
            }
#pragma unroll
        for (int pa = 0; pa < A_PLANES; pa++)
#pragma unroll
            for (int mf = 0; mf < M_FRAGS; mf++) {
                int row = warp_row + mf * 16 + (matrix & 1) * 8 + i;
                ldmatrix_x4(a, a_tile + pa * M_FRAGS * 32 * TILE_K +
                                   chunk_offset(row, half * 2 + (matrix >> 1)));
#pragma unroll
                for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
                    for (int nf = 0; nf < N_FRAGS; nf++)
                        mma_s8(acc[pa + pw][mf][nf], a, w[pw][nf][0], w[pw][nf][1]);
            }
    }
}

template <int SETS, int M_FRAGS, bool VECTORS>
static __device__ __forceinline__ void store_tile(const linear_args *p,
                                                  const int acc[SETS][M_FRAGS][N_FRAGS][4],
                                                  float *staged, int row, int column)
{
#pragma unroll
    for (int mf = 0; mf < M_FRAGS; mf++) {
        int sums[SETS][WARP_N / 2];
#pragma unroll
        for (int s = 0; s < SETS; s++)
#pragma unroll
            for (int i = 0; i < WARP_N / 2; i++)
                sums[s][i] = acc[s][mf][i / 4][i % 4];
        store_rows<SETS, WARP_N, VECTORS, linear_sum_split>(p, sums, staged, row + mf * 16, column);
    }
}

/* A block: M_FRAGS * 32 rows by TILE_N columns; a warp: M_FRAGS * 16 by 32. */
template <int A_PLANES, int W_PLANES, int M_FRAGS>
static __global__ void __launch_bounds__(THREADS) linear_kernel(linear_args p)
{
    const int sets = A_PLANES + W_PLANES - 1;
    const int stage_bytes = (A_PLANES * M_FRAGS * 32 + W_PLANES * TILE_N) * TILE_K;
    DYNAMIC_SHARED(shared);
    int first_row = blockIdx.y * M_FRAGS * 32, first_column = blockIdx.x * TILE_N;
    int warp = threadIdx.x >> 5;
    int warp_row = (warp & 1) * M_FRAGS * 16, warp_column = (warp >> 1) * WARP_N;
    int steps = p.pitch / TILE_K;
    int acc[sets][M_FRAGS][N_FRAGS][4];
#pragma unroll
    for (int s = 0; s < sets; s++)
#pragma unroll
        for (int i = 0; i < M_FRAGS * N_FRAGS * 4; i++)
            acc[s][i / (N_FRAGS * 4)][i / 4 % N_FRAGS][i % 4] = 0;

    /* Step s goes to stage s % stages, stages - 1 steps ahead of its use. Groups are
     * committed even when empty, for the waits count them. */
    for (int step = 0; step < p.stages - 1; step++) {
        if (step < steps)
            load_stage<A_PLANES, W_PLANES, M_FRAGS>(&p, shared, step, first_row, first_column);
        cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        if (p.stages == 2)
            cp_async_wait<0>();
        else
            cp_async_wait<1>();
        /* This step's copies are there, and all are done with the step before. */
        __syncthreads();
        int next = step + p.stages - 1;
        if (next < steps)
            load_stage<A_PLANES, W_PLANES, M_FRAGS>(&p, shared, next, first_row, first_column);
        cp_async_commit();
        multiply_stage<A_PLANES, W_PLANES, M_FRAGS>(
            acc, (int8_t *)shared + step % p.stages * stage_bytes, warp_row, warp_column);
    }

    __syncthreads(); /* the stages are free: each warp takes a part of them */
    float *staged = (float *)shared + warp * 16 * STORE_COLUMNS;
    if (p.vectors)
        store_tile<sets, M_FRAGS, true>(&p, acc, staged, first_row + warp_row,
                                        first_column + warp_column);
    else
        store_tile<sets, M_FRAGS, false>(&p, acc, staged, first_row + warp_row,
                                         first_column + warp_column);
}

/* 16 bytes of a row, or zeroes for a row that is not there. */
static __device__ __forceinline__ uint4 load_row(const int8_t *plane, int row, int rows, int pitch,
                                                 int k)
{
    uint4 zero = {0, 0, 0, 0};
    return row < rows ? *(const uint4 *)(plane + (size_t)row * pitch + k) : zero;
}

/* A block: at most 16 rows by 16 columns; each warp takes every eighth step of K.
 * The order of K within a step does not matter so long as A and W agree: lane
 * 4 g + t takes bytes 16 t .. + 15 of its rows, one coalesced load. */
template <int A_PLANES, int W_PLANES>
static __global__ void __launch_bounds__(THREADS, 2) linear_small_kernel(linear_args p)
{
    const int sets = A_PLANES + W_PLANES - 1;
    __shared__ int partial[WARPS][sets][2][4][32];
    SHARED_BEGINS(partial);
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    int first_column = blockIdx.x * SMALL_MAX;
    int acc[sets][2][4];
#pragma unroll
    for (int i = 0; i < sets * 8; i++)
        acc[i / 8][i / 4 % 2][i % 4] = 0;

    for (int k = warp * TILE_K + t * 16; k < p.pitch; k += WARPS * TILE_K) {
        uint4 w[W_PLANES][2];
#pragma unroll
        for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
            for (int nf = 0; nf < 2; nf++)
                w[pw][nf] =
                    *(const uint4 *)(p.w[pw] + (size_t)(first_column + nf * 8 + g) * p.pitch + k);
#pragma unroll
        for (int pa = 0; pa < A_PLANES; pa++) {
            uint4 low = load_row(p.a[pa], g, p.rows, p.pitch, k);
            uint4 high = load_row(p.a[pa], g + 8, p.rows, p.pitch, k);
            const unsigned first[4] = {low.x, high.x, low.y, high.y};
            const unsigned second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
            for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
                for (int nf = 0; nf < 2; nf++) {
                    mma_s8(acc[pa + pw][nf], first, w[pw][nf].x, w[pw][nf].y);
                    mma_s8(acc[pa + pw][nf], second, w[pw][nf].z, w[pw][nf].w);
                }
        }
    }
#pragma unroll
    for (int i = 0; i < sets * 8; i++)
        partial[warp][i / 8][i / 4 % 2][i % 4][lane] = acc[i / 8][i / 4 % 2][i % 4];
    __syncthreads();

    /* One element a thread. */
    int row = threadIdx.x / SMALL_MAX, column = threadIdx.x % SMALL_MAX;
    int fragment = column >> 3, i = (row >> 3) * 2 + (column & 1);
    int owner = (row & 7) * 4 + ((column & 7) >> 1);
    int sums[sets];
#pragma unroll
    for (int s = 0; s < sets; s++) {
        sums[s] = 0;
        for (int from = 0; from < WARPS; from++)
            sums[s] += partial[from][s][fragment][i][owner];
    }
    column += first_column;
    if (row < p.rows && column < p.n)
        linear_store(&p, row, column, linear_sum_split(sums, sets), p.w_scale[column],
                     p.bias != NULL ? p.bias[column] : 0.0f);
}

/* -- launching ---------------------------------------------------------------- */

template <int A_PLANES, int W_PLANES, int M_FRAGS>
static gpuzip_status launch_tiles(const ops_context *ctx, linear_args p)
{
    size_t stage = (size_t)TILE_K * (A_PLANES * M_FRAGS * 32 + W_PLANES * TILE_N);
    static_assert(WARP_N == STORE_COLUMNS && WEIGHT_ROWS % TILE_N == 0, "one layout");
    static_assert(WARPS * 16 * STORE_COLUMNS * sizeof(float) <=
                      2 * TILE_K * (A_PLANES * M_FRAGS * 32 + W_PLANES * TILE_N),
                  "store_rows() has the stages' memory");
    p.stages = 3 * stage <= (size_t)ctx->shared_max ? 3 : 2;
    size_t shared = p.stages * stage;
    dim3 grid(ceil_div(p.n, TILE_N), ceil_div(p.rows, M_FRAGS * 32));
    void (*kernel)(linear_args) = linear_kernel<A_PLANES, W_PLANES, M_FRAGS>;
    TRY(cuda_status(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    LAUNCH(kernel, grid, THREADS, shared, ctx->stream, p);
    return cuda_launched();
}

/* Three sets of 128-row tiles would not fit the registers; and when 128-row tiles
 * would leave half of the device idle, smaller ones fill it better. */
template <int A_PLANES, int W_PLANES>
static gpuzip_status launch(const ops_context *ctx, const linear_args *p)
{
    if (p->rows <= SMALL_MAX) {
        void (*kernel)(linear_args) = linear_small_kernel<A_PLANES, W_PLANES>;
        LAUNCH(kernel, ceil_div(p->n, SMALL_MAX), THREADS, 0, ctx->stream, *p);
        return cuda_launched();
    }
    size_t tiles = (size_t)ceil_div(p->n, TILE_N) * ceil_div(p->rows, 128);
    if (A_PLANES + W_PLANES == 4 || 2 * tiles <= (size_t)ctx->processors)
        return launch_tiles<A_PLANES, W_PLANES, 2>(ctx, *p);
    return launch_tiles < A_PLANES, W_PLANES, A_PLANES + W_PLANES == 4 ? 2 : 4 > (ctx, *p);
}

gpuzip_status linear_mma(const ops_context *ctx, const linear_args *p, int a_planes, int w_planes)
{
    if (a_planes == 1)
        return w_planes == 1 ? launch<1, 1>(ctx, p) : launch<1, 2>(ctx, p);
    return w_planes == 1 ? launch<2, 1>(ctx, p) : launch<2, 2>(ctx, p);
}

gpuzip_status linear_own(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                         int a_planes, int w_planes)
{
    if (linear_hopper_takes(m, p->rows))
        return linear_hopper(ctx, m, p, a_planes, w_planes);
    return linear_mma(ctx, p, a_planes, w_planes);
}
