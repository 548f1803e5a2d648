/* cuda_linear_hopper.cu: linear layers on compute capability 9.0, with wgmma.
 *
 * A block stays on its multiprocessor and takes tiles of 128 rows by N columns in turn. One
 * thread, the producer, copies steps of 128 bytes of K into a ring of stages, all planes of
 * a step together; two warpgroups, the consumers, multiply 64 rows each straight from
 * shared memory, so that a plane of weights is loaded once for both planes of activations.
 * Stage s is handed back and forth by two barriers: full[s], when its copies are there, and
 * empty[s], when all warps of the consumers are done with it. The producer runs ahead into
 * the next tile while the consumers write the last one, and the consumers may be as far apart
 * as the ring is long, so that one multiplies while the other writes.
 *
 * Blackwell has other instructions; there, and on everything older, linear_mma() runs.
 */
#include "linear.cuh"

#define WARPGROUP    128 /* threads */
#define CONSUMERS    2   /* warpgroups, 64 rows each */
#define TILE_ROWS    (CONSUMERS * 64)
#define THREADS      ((1 + CONSUMERS) * WARPGROUP)
#define TILE_ALIGN   1024
#define STAGES_MAX   6
#define STAGED_BYTES (16 * STORE_COLUMNS * (int)sizeof(float)) /* of a warp, in the epilogue */
#define SHARED_MAX   (227 << 10)                               /* of a block, on 9.0 */

/* 64 K registers for 384 threads are 168 each; producers give their surplus to consumers:
 * 24 + 2 * 240 = 3 * 168. */
#define PRODUCER_REGISTERS 24
#define CONSUMER_REGISTERS 240

#define ROWS_MIN 65 /* with fewer, most of a tile would be empty */

typedef struct {
    tensor_map a[2], w[2];
    linear_args linear;
    int row_tiles, tiles;
} hopper_args;

/* The measures of a tile. */
template <int A_PLANES, int W_PLANES, int N> struct shape {
    static const int sets = A_PLANES + W_PLANES - 1;
    static const int a_bytes = TILE_ROWS * TILE_ROW; /* a plane, a step */
    static const int w_bytes = N * TILE_ROW;
    static const int stage_bytes = A_PLANES * a_bytes + W_PLANES * w_bytes;
    static const int fit =
        (SHARED_MAX - 2 * TILE_ALIGN - CONSUMERS * 4 * STAGED_BYTES) / stage_bytes;
    static const int stages = fit < STAGES_MAX ? fit : STAGES_MAX;
    static const int shared_bytes =
        TILE_ALIGN + stages * stage_bytes + CONSUMERS * 4 * STAGED_BYTES;
};

#if HAVE_HOPPER

/* A place in the ring. The parity is that of its current round: 0, 1, 0 ... */
typedef struct {
    int stage;
    unsigned parity;
} ring_place;

static __device__ __forceinline__ ring_place ring_next(ring_place at, int stages)
{
    bool wraps = at.stage + 1 == stages;
    ring_place next = {wraps ? 0 : at.stage + 1, at.parity ^ (wraps ? 1u : 0u)};
    return next;
}

/* Fills the ring with every step of every tile of this block; one thread. ring: shared
 * address of the stages. */
template <int A_PLANES, int W_PLANES, int N>
static __device__ __forceinline__ void produce(const hopper_args *p, unsigned ring, uint64_t *full,
                                               uint64_t *empty)
{
    typedef shape<A_PLANES, W_PLANES, N> shape;
    ring_place at = {0, 0};
    for (int tile = blockIdx.x; tile < p->tiles; tile += gridDim.x) {
        int row = tile % p->row_tiles * TILE_ROWS, column = tile / p->row_tiles * N;
        for (int k = 0; k < p->linear.pitch; k += TILE_ROW) {
            uint64_t *barrier = &full[at.stage];
            unsigned to = ring + at.stage * shape::stage_bytes;
            /* In the first round there is nothing to wait for: "phase -1" is over. */
            mbarrier_wait(&empty[at.stage], at.parity ^ 1);
            mbarrier_arrive_expect(barrier, shape::stage_bytes);
#pragma unroll
            for (int pa = 0; pa < A_PLANES; pa++)
#pragma unroll
                for (int r = 0; r < TILE_ROWS; r += BOX_ROWS, to += BOX_BYTES)
                    tile_load(to, &p->a[pa], k, row + r, barrier);
#pragma unroll
            for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
                for (int r = 0; r < N; r += BOX_ROWS, to += BOX_BYTES)
                    tile_load(to, &p->w[pw], k, column + r, barrier);
            at = ring_next(at, shape::stages);
        }
    }
}

/* Begins the products of one stage. a, w: shared addresses of the warpgroup's rows of the
 * first plane, and of the first plane of weights. first: they begin a tile. */
template <int A_PLANES, int W_PLANES, int N>
static __device__ __forceinline__ void multiply_stage(int acc[A_PLANES + W_PLANES - 1][N / 2],
                                                      unsigned a, unsigned w, bool first)
{
    typedef shape<A_PLANES, W_PLANES, N> shape;
#pragma unroll
    for (int k = 0; k < TILE_ROW; k += 32)
#pragma unroll
        for (int pw = 0; pw < W_PLANES; pw++)
#pragma unroll
            for (int pa = 0; pa < A_PLANES; pa++) {
                /* hi * lo comes after lo * hi to the same set. */
                bool second = pw == 1 && pa + 1 < A_PLANES;
                wgmma_s8<N>(acc[pa + pw], wgmma_operand(a + pa * shape::a_bytes, k),
                            wgmma_operand(w + pw * shape::w_bytes, k), !first || k > 0 || second);
            }
}

/* Has the residual of a warp's 16 rows of a tile in L2 by the time the tile is multiplied. */
template <int N>
static __device__ __forceinline__ void prefetch_residual(const linear_args *p, int first_row,
                                                         int first_column)
{
    const int lines = N / 32; /* of a row */
    if (p->residual == NULL)
        return;
    for (int i = threadIdx.x & 31; i < 16 * lines; i += 32) {
        int row = first_row + i / lines, column = first_column + i % lines * 32;
        if (row < p->rows && column < p->n)
            prefetch_l2(p->residual + (size_t)row * p->n + column);
    }
}

/* Multiplies and writes every tile of this block, 64 rows of each; a warpgroup. staged: this
 * warp's. */
template <int A_PLANES, int W_PLANES, int N>
static __device__ __forceinline__ void consume(const hopper_args *p, unsigned ring, uint64_t *full,
                                               uint64_t *empty, int group, float *staged)
{
    typedef shape<A_PLANES, W_PLANES, N> shape;
    int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
    ring_place at = {0, 0};
    for (int tile = blockIdx.x; tile < p->tiles; tile += gridDim.x) {
        int acc[shape::sets][N / 2], before = 0;
        int row = tile % p->row_tiles * TILE_ROWS + group * 64 + warp * 16;
        int column = tile / p->row_tiles * N;
        prefetch_residual<N>(&p->linear, row, column);
        for (int k = 0; k < p->linear.pitch; k += TILE_ROW) {
            unsigned stage = ring + at.stage * shape::stage_bytes;
            mbarrier_wait(&full[at.stage], at.parity);
            __syncwarp(); /* wgmma needs a converged warp */
            wgmma_fence();
            multiply_stage<A_PLANES, W_PLANES, N>(acc, stage + group * 64 * TILE_ROW,
                                                  stage + A_PLANES * shape::a_bytes, k == 0);
            wgmma_commit();
            if (k > 0) {
                wgmma_wait<1>(); /* those of the stage before are done */
                if (lane == 0)
                    mbarrier_arrive(&empty[before]);
            }
            before = at.stage;
            at = ring_next(at, shape::stages);
        }
        wgmma_wait<0>();
        if (lane == 0)
            mbarrier_arrive(&empty[before]);
#pragma unroll
        for (int s = 0; s < shape::sets; s++)
            wgmma_result<N>(acc[s]);
        if (p->linear.vectors)
            store_rows<shape::sets, N, true, linear_sum>(&p->linear, acc, staged, row, column);
        else
            store_rows<shape::sets, N, false, linear_sum>(&p->linear, acc, staged, row, column);
    }
}

#endif

/* A block: a producer warpgroup, of which one thread works, and the consumers. Compiled for
 * anything but sm_90a it is empty, and linear_hopper_built() sees that by its barriers. */
template <int A_PLANES, int W_PLANES, int N>
static __global__ void __launch_bounds__(THREADS, 1)
    linear_hopper_kernel(const __grid_constant__ hopper_args p)
{
#if HAVE_HOPPER
    typedef shape<A_PLANES, W_PLANES, N> shape;
    __shared__ uint64_t full[shape::stages], empty[shape::stages];
    SHARED_BEGINS(full);
    SHARED_BEGINS(empty);
    DYNAMIC_SHARED(shared);
    unsigned address = shared_address(shared);
    unsigned ring = (address + TILE_ALIGN - 1) / TILE_ALIGN * TILE_ALIGN;
    unsigned char *staged = shared + (ring - address) + shape::stages * shape::stage_bytes;
    /* From lane 0, so that the compiler knows it to be one for all of a warp. */
    int warp = __shfl_sync(0xffffffff, (int)threadIdx.x >> 5, 0), group = warp / 4;
    if (threadIdx.x == 0) {
        for (int s = 0; s < shape::stages; s++) {
            mbarrier_init(&full[s], 1);
            mbarrier_init(&empty[s], CONSUMERS * 4);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
    if (group == 0) {
        registers_reduce<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0)
            produce<A_PLANES, W_PLANES, N>(&p, ring, full, empty);
    } else {
        registers_raise<CONSUMER_REGISTERS>();
        consume<A_PLANES, W_PLANES, N>(&p, ring, full, empty, group - 1,
                                       (float *)(staged + (warp - 4) * STAGED_BYTES));
    }
#else
    (void)p;
#endif
}

/* -- launching ------------------------------------------------------------------ */

bool linear_hopper_built(const ops_context *ctx)
{
    cudaFuncAttributes attributes;
    void (*kernel)(hopper_args) = linear_hopper_kernel<2, 1, 128>;
    if (ctx->capability != 90)
        return false;
    if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    /* Without barriers it is the empty one. */
    return attributes.sharedSizeBytes > 0;
}

void linear_hopper_prepare(ops_context *ctx, ops_matrix *m)
{
    if (!linear_hopper_built(ctx) || m->n == 0)
        return;
    tensor_map_encoder encoder = tensor_map_find_encoder();
    bool mapped = encoder != NULL;
    for (int i = 0; i < (m->bits == 8 ? 1 : 2); i++)
        mapped = mapped && tensor_map_make(&m->map[i], encoder, m->plane[i], m->n, m->pitch);
    m->encode = mapped ? encoder : NULL;
}

bool linear_hopper_takes(const ops_matrix *m, int rows)
{
    return m->encode != NULL && rows >= ROWS_MIN;
}

template <int A_PLANES, int W_PLANES, int N>
static gpuzip_status launch_shape(const ops_context *ctx, hopper_args *p)
{
    typedef shape<A_PLANES, W_PLANES, N> shape;
    static_assert(shape::stages >= 3, "copies run ahead");
    static_assert(PRODUCER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS <= 3 * 168,
                  "no more than the block has");
    void (*kernel)(hopper_args) = linear_hopper_kernel<A_PLANES, W_PLANES, N>;
    p->row_tiles = (int)ceil_div(p->linear.rows, TILE_ROWS);
    p->tiles = p->row_tiles * (int)ceil_div(p->linear.n, N);
    TRY(cuda_status(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         shape::shared_bytes)));
    LAUNCH(kernel, (unsigned)min(p->tiles, ctx->processors), THREADS, shape::shared_bytes,
           ctx->stream, *p);
    return cuda_launched();
}

/* Estimates the time of the busiest multiprocessor with tiles of n columns: its tiles, times their
 * columns and a fixed cost of 32 columns. */
static long tile_cost(const ops_context *ctx, const linear_args *p, int n)
{
    long tiles = (long)ceil_div(p->rows, TILE_ROWS) * ceil_div(p->n, n);
    return (tiles + ctx->processors - 1) / ctx->processors * (n + 32);
}

/* Wide tiles read shared memory least; narrow ones occupy all multiprocessors with few rows. WIDE:
 * the widest tile whose accumulators fit in registers. */
template <int A_PLANES, int W_PLANES, int WIDE>
static gpuzip_status launch(const ops_context *ctx, hopper_args *p)
{
    long wide = tile_cost(ctx, &p->linear, WIDE), middle = tile_cost(ctx, &p->linear, 128);
    long narrow = tile_cost(ctx, &p->linear, 64);
    if (wide <= middle && wide <= narrow)
        return launch_shape<A_PLANES, W_PLANES, WIDE>(ctx, p);
    if (middle <= narrow)
        return launch_shape < A_PLANES, W_PLANES, WIDE < 128 ? WIDE : 128 > (ctx, p);
    return launch_shape<A_PLANES, W_PLANES, 64>(ctx, p);
}

gpuzip_status linear_hopper(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                            int a_planes, int w_planes)
{
    hopper_args args = {};
    for (int i = 0; i < w_planes; i++)
        args.w[i] = m->map[i];
    for (int i = 0; i < a_planes; i++)
        if (!tensor_map_make(&args.a[i], m->encode, p->a[i], p->rows, p->pitch))
            return FAIL(GPUZIP_ERR_DEVICE);
    args.linear = *p;
    if (a_planes == 1)
        return w_planes == 1 ? launch<1, 1, 256>(ctx, &args) : launch<1, 2, 128>(ctx, &args);
    return w_planes == 1 ? launch<2, 1, 192>(ctx, &args) : launch<2, 2, 64>(ctx, &args);
}
