/* cuda_attention.cu: causal attention over the KV cache, in integers.
 *
 * A block takes one row and up to QUERIES query heads that share a KV head, so
 * that keys and values are read once for all of them. It goes over the positions
 * in chunks: scores and their maximum first, then, the maximum being known,
 * weights and the weighted sum of values. Scores of a row that fits one chunk are
 * kept; for longer ones the second pass computes them again.
 */
#include "block.cuh"
#include "context.cuh"
#include "kv.cuh"
#include "quant.cuh"

#define THREADS   256
#define WARPS     8
#define CHUNK     2048 /* positions whose scores fit shared memory */
#define KEY_LANES 4    /* lanes that share a key, each 16 bytes of it at a time */
/* |w v| <= 16256 * 2047, so that this many fit an s32. */
#define SUM_POSITIONS 64

typedef struct {
    const int32_t *slot, *pos; /* [rows] */
    const int16_t *q;          /* [rows][heads][head_dim] */
    const float *q_scale;      /* [rows][heads] */
    float *out;                /* [rows][heads][head_dim] */
    struct ops_kv kv;
    float factor;
    int heads, layer;
} attention_args;

/* What a block holds in shared memory. A query's planes stand as s8x4 words. */
template <int QUERIES> struct attention_shared {
    int4 q_hi[QUERIES][OPS_MAX_HEAD_DIM / 16], q_lo[QUERIES][OPS_MAX_HEAD_DIM / 16];
    unsigned long long sum[QUERIES][OPS_MAX_HEAD_DIM]; /* of w v, modulo 2^64 */
    long long scratch[32];
    float q_scale[QUERIES], max[QUERIES];
    union {
        float score;
        int weight;
    } at[QUERIES][CHUNK];
};

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

/* Scores of positions first .. first + count - 1 into s->at; head0 is the index of
 * position 0. Returns, to the lanes that saw them, maxima in max[]. */
template <int QUERIES>
static __device__ __forceinline__ void score_chunk(attention_shared<QUERIES> *s,
                                                   const attention_args *p, size_t head0, int first,
                                                   int count, float max[QUERIES])
{
    const struct ops_kv *kv = &p->kv;
    int part = threadIdx.x % KEY_LANES;
    bool planes = kv->k_lo != NULL;
    for (int base = 0; base < count; base += THREADS / KEY_LANES) {
        int j = base + threadIdx.x / KEY_LANES;
        int acc[QUERIES][3];
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            acc[i][0] = acc[i][1] = acc[i][2] = 0;
        size_t at = (head0 + first + (j < count ? j : 0)) * kv->pitch;
        for (int c = part; c < kv->pitch / 16; c += KEY_LANES) {
            int4 k_hi = ((const int4 *)(kv->k_hi + at))[c];
            int4 k_lo = k_hi;
            if (planes)
                k_lo = ((const int4 *)(kv->k_lo + at))[c];
#pragma unroll
            for (int i = 0; i < QUERIES; i++)
                dot16(acc[i], s->q_hi[i][c], s->q_lo[i][c], k_hi, k_lo, planes);
        }
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            /* Without planes the key is 128 times smaller than k_hi stands for. */
            long long dot = planes ? ((long long)acc[i][0] * 128 + acc[i][1]) * 128 + acc[i][2]
                                   : (long long)acc[i][0] * 128 + acc[i][1];
            dot += __shfl_xor_sync(WARP_ALL, dot, 1);
            dot += __shfl_xor_sync(WARP_ALL, dot, 2);
            if (j < count && part == 0) {
                float score = ((float)dot * kv->k_scale[head0 + first + j]) * s->q_scale[i];
                s->at[i][j].score = score;
                max[i] = fmaxf(max[i], score);
            }
        }
    }
}

/* Turns the scores of a chunk into weights; adds to denominator[]. */
template <int QUERIES>
static __device__ __forceinline__ void weigh_chunk(attention_shared<QUERIES> *s,
                                                   const attention_args *p, size_t head0, int first,
                                                   int count, float inv,
                                                   long long denominator[QUERIES])
{
    for (int j = threadIdx.x; j < count; j += THREADS) {
        float v_scale = p->kv.v_scale[head0 + first + j];
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            float e = det_exp2f(s->at[i][j].score - s->max[i]);
            denominator[i] += det_rint_s32(e * 0x1p24f);
            s->at[i][j].weight = det_rint_s32((e * v_scale) * inv);
        }
    }
}

/* Adds the weighted values of a chunk to s->sum. A lane holds the elements
 * 2 lane, 2 lane + 1 of each 64 (so head_dim <= 64 * STEPS); a warp takes every
 * eighth position. */
template <int QUERIES, int STEPS>
static __device__ __forceinline__ void sum_chunk(attention_shared<QUERIES> *s,
                                                 const attention_args *p, size_t head0, int first,
                                                 int count)
{
    const struct ops_kv *kv = &p->kv;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int base = warp; base < count; base += WARPS * SUM_POSITIONS) {
        int acc[QUERIES][STEPS][2];
#pragma unroll
        for (int i = 0; i < QUERIES * STEPS; i++)
            acc[i / STEPS][i % STEPS][0] = acc[i / STEPS][i % STEPS][1] = 0;
        int end = min(count, base + WARPS * SUM_POSITIONS);
        for (int j = base; j < end; j += WARPS) {
            size_t at = (head0 + first + j) * kv->pitch;
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                int element = 64 * step + 2 * lane, low, high;
                if (element >= kv->pitch)
                    continue;
                if (kv->v16 != NULL) {
                    unsigned pair = *(const unsigned *)(kv->v16 + at + element);
                    low = (int16_t)pair, high = (int)pair >> 16;
                } else {
                    int pair = *(const int16_t *)(kv->v8 + at + element);
                    low = (int8_t)pair, high = pair >> 8;
                }
#pragma unroll
                for (int i = 0; i < QUERIES; i++) {
                    acc[i][step][0] += s->at[i][j].weight * low;
                    acc[i][step][1] += s->at[i][j].weight * high;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                int element = 64 * step + 2 * lane;
                if (element >= kv->pitch)
                    continue;
                atomicAdd(&s->sum[i][element], (unsigned long long)acc[i][step][0]);
                atomicAdd(&s->sum[i][element + 1], (unsigned long long)acc[i][step][1]);
            }
    }
}

/* Fills in the queries of heads first_head .. + queries - 1; heads beyond are zero. */
template <int QUERIES>
static __device__ __forceinline__ void load_queries(attention_shared<QUERIES> *s,
                                                    const attention_args *p, int row,
                                                    int first_head, int queries)
{
    int head_dim = p->kv.head_dim, pitch = p->kv.pitch;
    for (int at = threadIdx.x; at < QUERIES * pitch; at += THREADS) {
        int i = at / pitch, element = at % pitch;
        int value = 0;
        if (i < queries && element < head_dim)
            value = p->q[((size_t)row * p->heads + first_head + i) * head_dim + element];
        ((int8_t *)s->q_hi[i])[element] = (int8_t)(value >> 7);
        ((int8_t *)s->q_lo[i])[element] = (int8_t)(value & 127);
        s->sum[i][element] = 0;
    }
    if (threadIdx.x < QUERIES) {
        int i = threadIdx.x;
        s->q_scale[i] =
            i < queries ? p->q_scale[(size_t)row * p->heads + first_head + i] * p->factor : 0.0f;
    }
    __syncthreads();
}

/* Block x takes a row, block y one of the tiles that a KV head's queries make. */
template <int QUERIES, int STEPS>
static __global__ void __launch_bounds__(THREADS, 2) attention_kernel(attention_args p)
{
    DYNAMIC_SHARED(shared);
    attention_shared<QUERIES> *s = (attention_shared<QUERIES> *)shared;
    const struct ops_kv *kv = &p.kv;
    int group = p.heads / kv->kv_heads, tiles = (group + QUERIES - 1) / QUERIES;
    int row = blockIdx.x, kv_head = blockIdx.y / tiles;
    int first_query = blockIdx.y % tiles * QUERIES, queries = min(QUERIES, group - first_query);
    int first_head = kv_head * group + first_query;
    int count = p.pos[row] + 1;
    size_t head0 = kv_at(kv, p.layer, p.slot[row], kv_head);

    load_queries<QUERIES>(s, &p, row, first_head, queries);
    float vmax = 0.0f, max[QUERIES];
    for (int j = threadIdx.x; j < count; j += THREADS)
        vmax = fmaxf(vmax, kv->v_scale[head0 + j]);
    vmax = block_max(vmax, (float *)s->scratch);
    float inv = vmax < TINY ? 0.0f : (float)OPS_Q15_MAX / vmax;

    long long denominator[QUERIES];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        denominator[i] = 0;
        max[i] = -INFINITY;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int first = 0; first < count; first += CHUNK) {
            int n = min(CHUNK, count - first);
            if (pass == 0 || count > CHUNK) {
                __syncthreads(); /* the chunk before has been summed */
                score_chunk<QUERIES>(s, &p, head0, first, n, max);
                __syncthreads();
            }
            if (pass == 1) {
                weigh_chunk<QUERIES>(s, &p, head0, first, n, inv, denominator);
                __syncthreads();
                sum_chunk<QUERIES, STEPS>(s, &p, head0, first, n);
            }
        }
        for (int i = 0; i < QUERIES && pass == 0; i++) {
            float all = block_max(max[i], (float *)s->scratch);
            if (threadIdx.x == 0)
                s->max[i] = all;
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        float d = (float)block_sum(denominator[i], s->scratch);
        float unit = (vmax / (float)OPS_Q15_MAX) * (0x1p24f / d);
        if (i < queries)
            for (int element = threadIdx.x; element < kv->head_dim; element += THREADS)
                p.out[((size_t)row * p.heads + first_head + i) * kv->head_dim + element] =
                    vmax < TINY ? 0.0f : (float)(long long)s->sum[i][element] * unit;
    }
}

template <int QUERIES, int STEPS>
static gpuzip_status launch_steps(const ops_context *ctx, const attention_args *p, int rows)
{
    int group = p->heads / p->kv.kv_heads;
    dim3 grid(rows, p->kv.kv_heads * ceil_div(group, QUERIES));
    size_t shared = sizeof(attention_shared<QUERIES>);
    void (*kernel)(attention_args) = attention_kernel<QUERIES, STEPS>;
    TRY(cuda_status(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    LAUNCH(kernel, grid, THREADS, shared, ctx->stream, *p);
    return cuda_launched();
}

template <int QUERIES>
static gpuzip_status launch(const ops_context *ctx, const attention_args *p, int rows)
{
    if (p->kv.head_dim <= 64)
        return launch_steps<QUERIES, 1>(ctx, p, rows);
    if (p->kv.head_dim <= 128)
        return launch_steps<QUERIES, 2>(ctx, p, rows);
    return launch_steps<QUERIES, 4>(ctx, p, rows);
}

gpuzip_status cuda_attention(ops_context *ctx, const ops_batch *batch, const int16_t *q,
                             const float *q_scale, int heads, float factor, const ops_kv *kv,
                             int layer, float *out)
{
    if (batch->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    attention_args p = {batch->slot, batch->pos, q, q_scale, out, *kv, factor, heads, layer};
    return heads == kv->kv_heads ? launch<1>(ctx, &p, batch->rows)
                                 : launch<4>(ctx, &p, batch->rows);
}
