/* cuda_attention.cu: causal attention over the KV cache, in integers: the division of
 * the work (attention.cuh), and single rows.
 *
 * A block takes one row and up to QUERIES query heads that share a KV head, so
 * that keys and values are read once for all of them. It goes over the positions
 * in chunks: scores and their maximum first, then, the maximum being known,
 * weights and the weighted sum of values. Scores of a row that fits one chunk are
 * kept; for longer ones the second pass computes them again. The attention sink joins
 * the maximum at the start, the sums at the end.
 */
#include "attention.cuh"
#include "block.cuh"
#include "quant.cuh"

#define THREADS   256
#define WARPS     8
#define KEY_LANES 4 /* lanes that share a key, each 16 bytes of it at a time */
/* Positions whose scores fit shared memory: a window of 1024, and those of its first 16. */
#define CHUNK 1040
/* Blocks a multiprocessor, of which it holds one or two, for single rows that are divided on the
 * device: enough for the last ones to begin at different times. */
#define BLOCKS_ENOUGH 8

/* A block's shared memory. A query's planes are s8x4 words. */
template <int QUERIES> struct attention_shared {
    int4 q_hi[QUERIES][OPS_MAX_HEAD_DIM / 16], q_lo[QUERIES][OPS_MAX_HEAD_DIM / 16];
    unsigned long long sum[QUERIES][OPS_MAX_HEAD_DIM]; /* of w v, modulo 2^64 */
    long long scratch[32];
    float q_scale[QUERIES], max[QUERIES];
    float sink_score[QUERIES]; /* of a row with a sink */
    float vmax;                /* here, not in a register, of which there are none to spare */
    float score[QUERIES][CHUNK];
    int4 w_hi[QUERIES][CHUNK / 16], w_lo[QUERIES][CHUNK / 16]; /* in the order of kv_slot() */
};

/* The positions of a row's window in the cache, in whole blocks of 16 but for the last. */
typedef struct {
    size_t head0; /* kv_at() of the head */
    int begin;    /* where the first stands in the ring, a multiple of 16 */
    int skip;     /* those before the window, < 16 */
    int count;    /* those, and the window's */
} row_window;

/* The index of position j of a window, in scales. */
static __device__ __forceinline__ size_t window_at(const struct ops_kv *kv, const row_window *w,
                                                   int j)
{
    return w->head0 + kv_wrap(kv, w->begin + j);
}

/* The products of 16 elements: hi * hi, the two mixed ones, lo * lo. */
static __device__ __forceinline__ void dot16(int acc[3], int4 q_hi, int4 q_lo, int4 k_hi, int4 k_lo,
                                             bool planes)
{
    acc[0] = __dp4a(q_hi.x, k_hi.x, acc[0]), acc[0] = __dp4a(q_hi.y, k_hi.y, acc[0]);
    acc[0] = __dp4a(q_hi.z, k_hi.z, acc[0]), acc[0] = __dp4a(q_hi.w, k_hi.w, acc[0]);
    acc[1] = __dp4a(q_lo.x, k_hi.x, acc[1]), acc[1] = __dp4a(q_lo.y, k_hi.y, acc[1]);
    acc[1] = __dp4a(q_lo.z, k_hi.z, acc[1]), acc[1] = __dp4a(q_lo.w, k_hi.w, acc[1]);
    if (!planes)
        return;
    acc[1] = __dp4a(q_hi.x, k_lo.x, acc[1]), acc[1] = __dp4a(q_hi.y, k_lo.y, acc[1]);
    acc[1] = __dp4a(q_hi.z, k_lo.z, acc[1]), acc[1] = __dp4a(q_hi.w, k_lo.w, acc[1]);
    acc[2] = __dp4a(q_lo.x, k_lo.x, acc[2]), acc[2] = __dp4a(q_lo.y, k_lo.y, acc[2]);
    acc[2] = __dp4a(q_lo.z, k_lo.z, acc[2]), acc[2] = __dp4a(q_lo.w, k_lo.w, acc[2]);
}

/* The product of 15-bit numbers with others, of two planes or of one. */
static __device__ __forceinline__ long long dot_of(const int acc[3], bool planes)
{
    long long dot = (long long)acc[0] * 128 + acc[1];
    return planes ? dot * 128 + acc[2] : dot;
}

/* 16 elements of a key. */
typedef struct {
    int4 hi, lo; /* lo: hi again for 8 bits */
} key_part;

static __device__ __forceinline__ key_part load_key(const struct ops_kv *kv, const row_window *w,
                                                    int j, int c)
{
    size_t at = window_at(kv, w, j) * kv->pitch;
    key_part k;
    k.hi = ((const int4 *)(kv->k_hi + at))[c];
    k.lo = kv->k_lo != NULL ? ((const int4 *)(kv->k_lo + at))[c] : k.hi;
    return k;
}

/* Scores of a window's positions first .. first + count - 1 into s->score. Returns, to the lanes
 * that saw them, maxima in max[]. With one query, which leaves registers for it, a lane reads a
 * part of a key while it multiplies the one before. */
template <int QUERIES>
static __device__ __forceinline__ void score_chunk(attention_shared<QUERIES> *s,
                                                   const attention_args *p, const row_window *w,
                                                   int first, int count, float max[QUERIES])
{
    const struct ops_kv *kv = &p->kv;
    int part = threadIdx.x % KEY_LANES, j = threadIdx.x / KEY_LANES, chunks = kv->pitch / 16;
    bool planes = kv->k_lo != NULL;
    key_part k, next;
    if (QUERIES == 1 && part < chunks)
        next = load_key(kv, w, first + (j < count ? j : 0), part);
    for (int base = 0; base < count; base += THREADS / KEY_LANES, j += THREADS / KEY_LANES) {
        int acc[QUERIES][3];
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            acc[i][0] = acc[i][1] = acc[i][2] = 0;
        for (int c = part; c < chunks; c += KEY_LANES) {
            if (QUERIES == 1) {
                bool last = c + KEY_LANES >= chunks; /* of this key */
                int then = last ? j + THREADS / KEY_LANES : j;
                k = next;
                next =
                    load_key(kv, w, first + (then < count ? then : 0), last ? part : c + KEY_LANES);
            } else {
                k = load_key(kv, w, first + (j < count ? j : 0), c);
            }
#pragma unroll
            for (int i = 0; i < QUERIES; i++)
                dot16(acc[i], s->q_hi[i][c], s->q_lo[i][c], k.hi, k.lo, planes);
        }
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            long long dot = dot_of(acc[i], planes);
            dot += __shfl_xor_sync(WARP_ALL, dot, 1);
            dot += __shfl_xor_sync(WARP_ALL, dot, 2);
            if (j < count && first + j >= w->skip && part == 0) {
                float k_scale = kv->k_scale[window_at(kv, w, first + j)];
                float score = ((float)dot * k_scale) * s->q_scale[i];
                s->score[i][j] = score;
                max[i] = fmaxf(max[i], score);
            }
        }
    }
}

/* Turns the scores of a chunk into weights, up to a multiple of 16 of them; adds to
 * denominator[]. */
template <int QUERIES>
static __device__ __forceinline__ void weigh_chunk(attention_shared<QUERIES> *s,
                                                   const attention_args *p,
                                                   const row_window *window, int first, int count,
                                                   float inv, long long denominator[QUERIES])
{
    for (int j = threadIdx.x; j < ((count + 15) & ~15); j += THREADS) {
        float v_scale = p->kv.v_scale[window_at(&p->kv, window, first + j)];
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            int w = 0;
            if (j < count && first + j >= window->skip) {
                float e = det_exp2f(s->score[i][j] - s->max[i]);
                denominator[i] += det_rint_s32(e * 0x1p24f);
                w = det_rint_s32((e * v_scale) * inv);
            }
            int at = (j & ~15) + kv_slot(j);
            ((int8_t *)s->w_hi[i])[at] = (int8_t)(w >> 7);
            ((int8_t *)s->w_lo[i])[at] = (int8_t)(w & 127);
        }
    }
}

/* Adds the weighted values of a chunk to s->sum, 32 elements at a time, one a lane; a
 * warp takes every eighth 16 positions. */
template <int QUERIES>
static __device__ __forceinline__ void sum_chunk(attention_shared<QUERIES> *s,
                                                 const attention_args *p, const row_window *window,
                                                 int first, int count)
{
    const struct ops_kv *kv = &p->kv;
    int warp = threadIdx.x >> 5;
    bool planes = kv->v_lo != NULL;
    for (int element = threadIdx.x & 31; element < kv->pitch; element += 32) {
        int acc[QUERIES][3];
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            acc[i][0] = acc[i][1] = acc[i][2] = 0;
#pragma unroll 2
        for (int block = warp; block < (count + 15) / 16; block += WARPS) {
            int pos = kv_wrap(kv, window->begin + first + block * 16);
            size_t at = kv_value_at(kv, window->head0, pos, element);
            int4 v_hi = *(const int4 *)(kv->v_hi + at);
            int4 v_lo = v_hi;
            if (planes)
                v_lo = *(const int4 *)(kv->v_lo + at);
#pragma unroll
            for (int i = 0; i < QUERIES; i++)
                dot16(acc[i], s->w_hi[i][block], s->w_lo[i][block], v_hi, v_lo, planes);
        }
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            atomicAdd(&s->sum[i][element], (unsigned long long)dot_of(acc[i], planes));
    }
}

/* Fills in the queries of heads first_head .. + queries - 1, heads beyond are zero; and their
 * scores with the sink, a warp a head, if the row has one. sink: kv_sink_at(). */
template <int QUERIES>
static __device__ __forceinline__ void load_queries(attention_shared<QUERIES> *s,
                                                    const attention_args *p, int row,
                                                    int first_head, int queries, bool has_sink,
                                                    size_t sink)
{
    int head_dim = p->kv.head_dim, pitch = p->kv.pitch;
    for (int at = threadIdx.x; at < QUERIES * pitch; at += THREADS) {
        int i = at / pitch, element = at % pitch;
        int value = 0;
        if (i < queries && element < head_dim)
            value = p->q.q[((size_t)row * p->heads + first_head + i) * head_dim + element];
        ((int8_t *)s->q_hi[i])[element] = (int8_t)(value >> 7);
        ((int8_t *)s->q_lo[i])[element] = (int8_t)(value & 127);
        s->sum[i][element] = 0;
    }
    if (threadIdx.x < QUERIES) {
        int i = threadIdx.x;
        s->q_scale[i] =
            i < queries ? p->q.scale[(size_t)row * p->heads + first_head + i] * p->factor : 0.0f;
    }
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    if (has_sink && warp < QUERIES) {
        size_t query = (size_t)row * p->heads + first_head + min(warp, queries - 1);
        long long dot = warp_sum(sink_dot(p, query, sink, lane, 32));
        if (lane == 0)
            s->sink_score[warp] = sink_score(p, query, sink, dot);
    }
    __syncthreads();
}

/* Begins the sums of a row with a sink, of which the maxima are known. */
template <int QUERIES>
static __device__ __forceinline__ void begin_sums(attention_shared<QUERIES> *s,
                                                  const attention_args *p, size_t sink, float inv,
                                                  long long denominator[QUERIES])
{
    const struct ops_kv *kv = &p->kv;
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        float e = det_exp2f(s->sink_score[i] - s->max[i]);
        long long weight = det_rint_s32((e * kv->v_scale[sink]) * inv);
        if (threadIdx.x == 0)
            denominator[i] += det_rint_s32(e * 0x1p24f);
#pragma unroll 1
        for (int element = threadIdx.x; element < kv->head_dim; element += THREADS)
            s->sum[i][element] =
                (unsigned long long)(weight *
                                     kv_sink_element(kv, kv->v_hi, kv->v_lo, sink, element));
    }
}

/* Attends with a row and the queries from first_query on that share a KV head, at most QUERIES; the
 * whole block calls it. */
template <int QUERIES>
static __device__ __forceinline__ void attend_row(const attention_args *p,
                                                  attention_shared<QUERIES> *s, int row,
                                                  int kv_head, int first_query)
{
    const struct ops_kv *kv = &p->kv;
    int group = p->heads / kv->kv_heads, queries = min(QUERIES, group - first_query);
    int first_head = kv_head * group + first_query;
    int pos = p->pos[row], begin = kv_window_begin(kv, pos), aligned = begin & ~15;
    size_t sequence = kv_sequence(kv, p->layer, p->slot[row], kv_head);
    size_t sink = kv_sink_at(kv, sequence);
    bool has_sink = pos >= kv->window;
    row_window w = {kv_at(kv, sequence), aligned % kv->ring, begin - aligned, pos - aligned + 1};

    load_queries<QUERIES>(s, p, row, first_head, queries, has_sink, sink);
    float vmax = has_sink ? kv->v_scale[sink] : 0.0f, max[QUERIES];
    for (int j = w.skip + threadIdx.x; j < w.count; j += THREADS)
        vmax = fmaxf(vmax, kv->v_scale[window_at(kv, &w, j)]);
    vmax = block_max(vmax, (float *)s->scratch);
    if (threadIdx.x == 0)
        s->vmax = vmax; /* for the end */
    float inv = vmax < TINY ? 0.0f : (float)OPS_Q15_MAX / vmax;

    long long denominator[QUERIES];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        denominator[i] = 0;
        max[i] = has_sink ? s->sink_score[i] : -INFINITY;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int first = 0; first < w.count; first += CHUNK) {
            int n = min(CHUNK, w.count - first);
            if (pass == 0 || w.count > CHUNK) {
                score_chunk<QUERIES>(s, p, &w, first, n, max);
                __syncthreads();
            }
            if (pass == 1) {
                weigh_chunk<QUERIES>(s, p, &w, first, n, inv, denominator);
                __syncthreads();
                sum_chunk<QUERIES>(s, p, &w, first, n);
            }
        }
        for (int i = 0; i < QUERIES && pass == 0; i++) {
            float all = block_max(max[i], (float *)s->scratch);
            if (threadIdx.x == 0)
                s->max[i] = all;
        }
        __syncthreads();
        if (pass == 0 && has_sink)
            begin_sums<QUERIES>(s, p, sink, inv, denominator);
    }
    vmax = s->vmax;
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        float d = (float)block_sum(denominator[i], s->scratch);
        float unit = (vmax / (float)OPS_Q15_MAX) * (0x1p24f / d);
        if (i < queries)
            for (int element = threadIdx.x; element < kv->head_dim; element += THREADS)
                p->out[((size_t)row * p->heads + first_head + i) * kv->head_dim + element] =
                    vmax < TINY ? 0.0f : (float)(long long)s->sum[i][element] * unit;
    }
}

/* Block y takes one of the tiles that a KV head's queries make. Without a plan, block x has row x,
 * and three blocks of one query or two of more share a multiprocessor; with a plan, blocks x share
 * the single rows, and the loop's registers leave room for one block less. */
template <int QUERIES, bool PLANNED>
static __global__ void __launch_bounds__(THREADS, (QUERIES == 1 ? 3 : 2) - PLANNED)
    attention_kernel(attention_args p)
{
    DYNAMIC_SHARED(shared);
    attention_shared<QUERIES> *s = (attention_shared<QUERIES> *)shared;
    int tiles = (p.heads / p.kv.kv_heads + QUERIES - 1) / QUERIES;
    int kv_head = blockIdx.y / tiles, first_query = blockIdx.y % tiles * QUERIES;
    if constexpr (!PLANNED) {
        attend_row<QUERIES>(&p, s, blockIdx.x, kv_head, first_query);
    } else {
        for (int i = blockIdx.x; i < p.plan.counts[0]; i += gridDim.x) {
            attend_row<QUERIES>(&p, s, p.plan.single[i], kv_head, first_query);
            __syncthreads(); /* the next row has the same shared memory */
        }
    }
}

/* Attends with the plan's single rows, at most `rows`; without a plan, with all rows. How many
 * there are in a plan only the device knows: a few blocks a multiprocessor share them, lest most
 * have none. */
template <int QUERIES, bool PLANNED>
static gpuzip_status launch(const ops_context *ctx, const attention_args *p, unsigned rows)
{
    unsigned height = p->kv.kv_heads * ceil_div(p->heads / p->kv.kv_heads, QUERIES);
    unsigned enough = ceil_div(BLOCKS_ENOUGH * (size_t)ctx->processors, height);
    dim3 grid(PLANNED && rows > enough ? enough : rows, height);
    size_t shared = sizeof(attention_shared<QUERIES>);
    void (*kernel)(attention_args) = attention_kernel<QUERIES, PLANNED>;
    TRY(cuda_status(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    LAUNCH(kernel, grid, THREADS, shared, ctx->stream, *p);
    return cuda_launched();
}

static gpuzip_status launch_rows(const ops_context *ctx, const attention_args *p, unsigned rows)
{
    bool planned = p->plan.counts != NULL;
    if (p->heads == p->kv.kv_heads)
        return planned ? launch<1, true>(ctx, p, rows) : launch<1, false>(ctx, p, rows);
    return planned ? launch<4, true>(ctx, p, rows) : launch<4, false>(ctx, p, rows);
}

/* -- the division of the work ---------------------------------------------------- */

/* The first of rows low .. high for which (slot[row] == slot) is `equal`, which it is
 * from some row on; high if none before. */
static __device__ int find_row(const int32_t *slots, int low, int high, int slot, bool equal)
{
    while (low < high) {
        int middle = low + (high - low) / 2;
        if ((slots[middle] == slot) == equal)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* A thread a row: the first of a piece enters it. piece_rows: the most rows of one;
 * pieces below tile_rows go row by row. */
static __global__ void plan_kernel(attention_args p, int piece_rows, int tile_rows)
{
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= p.rows)
        return;
    /* A run's positions are consecutive, so it began at most pos rows ago. */
    int slot = p.slot[row];
    int begin = find_row(p.slot, max(0, row - p.pos[row]), row, slot, true);
    if ((row - begin) % piece_rows != 0)
        return;
    int end = find_row(p.slot, row, min(p.rows, row + piece_rows), slot, false);
    if (end - row >= tile_rows) {
        attention_tile tile = {row, end - row};
        p.plan.tile[atomicAdd(&p.plan.counts[1], 1)] = tile;
    } else {
        for (int i = row; i < end; i++)
            p.plan.single[atomicAdd(&p.plan.counts[0], 1)] = i;
    }
}

size_t cuda_attention_scratch(int rows)
{
    return 2 * sizeof(int32_t) + (size_t)rows * (sizeof(int32_t) + sizeof(attention_tile));
}

/* Divides p->rows rows into the context's scratch memory, unless the last call has done so. */
static gpuzip_status divide(ops_context *ctx, attention_args *p, int piece_rows, int tile_rows)
{
    const attention_division *d = &ctx->divided;
    TRY(cuda_scratch(ctx, cuda_attention_scratch(p->rows)));
    p->plan.counts = (int32_t *)ctx->scratch;
    p->plan.tile = (attention_tile *)(p->plan.counts + 2);
    p->plan.single = (int32_t *)(p->plan.tile + p->rows);
    if (d->rows == p->rows && d->slot == p->slot && d->pos == p->pos &&
        d->piece_rows == piece_rows && d->tile_rows == tile_rows)
        return GPUZIP_OK;
    TRY(cuda_status(cudaMemsetAsync(p->plan.counts, 0, 2 * sizeof(int32_t), ctx->stream)));
    LAUNCH(plan_kernel, ceil_div(p->rows, 256), 256, 0, ctx->stream, *p, piece_rows, tile_rows);
    TRY(cuda_launched());
    ctx->divided = {p->slot, p->pos, p->rows, piece_rows, tile_rows};
    return GPUZIP_OK;
}

gpuzip_status cuda_attention(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                             int heads, float factor, const ops_kv *kv, int layer, float *out)
{
    if (batch->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    attention_args p = {batch->slot,        batch->pos, *q,          out,   *kv,
                        {NULL, NULL, NULL}, factor,     batch->rows, heads, layer};
    int group = heads / kv->kv_heads, piece_rows = TILE_QUERIES / group;
    int tile_rows = (TILE_MIN + group - 1) / group;
    bool tiles = piece_rows > 0 && kv->window <= TILE_POSITIONS &&
                 attention_tile_shared(&p) <= (size_t)ctx->shared_max;
    if (!tiles || (batch->longest == 1 && tile_rows > 1))
        return launch_rows(ctx, &p, (unsigned)p.rows);
    TRY(divide(ctx, &p, piece_rows, tile_rows));

    /* A slot has one run, so at most one piece short of piece_rows. */
    size_t runs = kv->slots < p.rows ? kv->slots : p.rows;
    size_t single = runs * (size_t)(tile_rows - 1);
    if (p.rows >= tile_rows)
        TRY(attention_tile_launch(ctx, &p, (unsigned)(p.rows / piece_rows + runs)));
    if (single == 0)
        return GPUZIP_OK;
    return launch_rows(ctx, &p, (unsigned)(single < (size_t)p.rows ? single : p.rows));
}
