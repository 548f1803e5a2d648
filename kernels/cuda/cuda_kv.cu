/* cuda_kv.cu: the KV cache and the kernels that write it: rotation and quantisation of
 * queries, keys and values. A warp a head. */
#include <stdlib.h>

#include "block.cuh"
#include "context.cuh"
#include "kv.cuh"
#include "quant.cuh"

#define THREADS   256
#define WARPS     8
#define MAX_PAIRS (OPS_MAX_HEAD_DIM / 2 / 32) /* pairs i, i + head_dim/2 of a lane */

typedef struct {
    const float *qkv;          /* [rows][heads + 2 kv_heads][head_dim] */
    const int32_t *slot, *pos; /* [rows] */
    ops_rope rope;
    ops_queries q;
    struct ops_kv kv;
    int rows, heads, layer;
    int row_warps; /* the heads of a row and, where q has such, its sink's queries */
} qkv_args;

/* A lane's part of a head: low[j] is element lane + 32 j, high[j] that plus half. */
typedef struct {
    float low[MAX_PAIRS], high[MAX_PAIRS];
    int e; /* the values count 2^e */
} head_part;

static __device__ __forceinline__ float head_max(const head_part *h)
{
    float amax = 0.0f;
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++)
        amax = fmaxf(amax, fmaxf(fabsf(h->low[j]), fabsf(h->high[j])));
    return warp_max(amax);
}

/* Rotates in integers; h->e becomes the exponent of the result's unit. */
static __device__ __forceinline__ void head_rotate(head_part *h, const int32_t *cosine,
                                                   const int32_t *sine, int half)
{
    int lane = threadIdx.x & 31;
    float amax = head_max(h);
    bool zero = amax < TINY;
    int p = zero ? 0 : det_exponent(amax);
    float to_integer = zero ? 0.0f : det_pow2(22 - p);
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = lane + 32 * j;
        if (i < half) {
            long long low = det_rint_s32(h->low[j] * to_integer);
            long long high = det_rint_s32(h->high[j] * to_integer);
            h->low[j] = (float)(low * cosine[i] - high * sine[i]);
            h->high[j] = (float)(high * cosine[i] + low * sine[i]);
        }
    }
    h->e = p - 52;
}

/* Writes a head of keys or values. Element i goes to index at + i * step of the planes. */
static __device__ __forceinline__ void head_store(const head_part *h, quant z, int half, int8_t *hi,
                                                  int8_t *lo, size_t at, int step)
{
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = (threadIdx.x & 31) + 32 * j;
        if (i < half) {
            quant_store(hi, lo, at + i * step, quant_apply(z, h->low[j]));
            quant_store(hi, lo, at + (half + i) * step, quant_apply(z, h->high[j]));
        }
    }
}

/* Writes a head of queries to q. */
static __device__ __forceinline__ void head_store_query(const head_part *h, quant z, int half,
                                                        int16_t *q)
{
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = (threadIdx.x & 31) + 32 * j;
        if (i < half) {
            q[i] = (int16_t)quant_apply(z, h->low[j]);
            q[half + i] = (int16_t)quant_apply(z, h->high[j]);
        }
    }
}

/* Writes head `head` of the row's keys and then values into the cache. */
static __device__ __forceinline__ void head_store_kv(const qkv_args *p, const head_part *h, quant z,
                                                     int row, int head, int pos)
{
    const struct ops_kv *kv = &p->kv;
    bool is_value = head >= kv->kv_heads;
    int half = kv->head_dim / 2, ring = pos % kv->ring;
    size_t sequence = kv_sequence(kv, p->layer, p->slot[row], head % kv->kv_heads);
    int8_t *hi = is_value ? kv->v_hi : kv->k_hi, *lo = is_value ? kv->v_lo : kv->k_lo;
    float *scales = is_value ? kv->v_scale : kv->k_scale, scale = det_scale2(z.scale, h->e);
    size_t at = kv_at(kv, sequence);
    if (is_value)
        head_store(h, z, half, hi, lo, kv_value_at(kv, at, ring, 0), 16);
    else
        head_store(h, z, half, hi, lo, (at + ring) * kv->pitch, 1);
    if ((threadIdx.x & 31) == 0)
        scales[at + ring] = scale;
    if (pos == 0) {
        at = kv_sink_at(kv, sequence);
        head_store(h, z, half, hi, lo, at * kv->pitch, 1);
        if ((threadIdx.x & 31) == 0)
            scales[at] = scale;
    }
}

static __global__ void __launch_bounds__(THREADS) qkv_kernel(qkv_args p)
{
    const struct ops_kv *kv = &p.kv;
    int all_heads = p.heads + 2 * kv->kv_heads, half = kv->head_dim / 2, lane = threadIdx.x & 31;
    long long index = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
    int row = (int)(index / p.row_warps), head = (int)(index % p.row_warps);
    if (row >= p.rows)
        return; /* a whole warp */
    int pos = p.pos[row];
    bool is_sink = head >= all_heads; /* a query's second rotation */
    if (is_sink && pos < kv->window)
        return;
    head -= is_sink ? all_heads : 0;
    bool is_value = head >= p.heads + kv->kv_heads;
    const float *x = p.qkv + ((size_t)row * all_heads + head) * kv->head_dim;

    head_part h;
    h.e = 0;
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = lane + 32 * j;
        h.low[j] = i < half ? x[i] : 0.0f;
        h.high[j] = i < half ? x[half + i] : 0.0f;
    }
    if (p.rope.cosine != NULL && !is_value) {
        size_t at = (size_t)(is_sink ? p.rope.rows : pos & (p.rope.rows - 1)) * half;
        head_rotate(&h, p.rope.cosine + at, p.rope.sine + at, half);
    }

    if (head < p.heads) {
        quant z = quant_of(head_max(&h), (float)OPS_Q15_MAX);
        size_t query = (size_t)row * p.heads + head;
        head_store_query(&h, z, half, (is_sink ? p.q.sink : p.q.q) + query * kv->head_dim);
        if (lane == 0)
            (is_sink ? p.q.sink_scale : p.q.scale)[query] = det_scale2(z.scale, h.e);
    } else {
        quant z = quant_of(head_max(&h), kv->bits == 12 ? (float)OPS_Q12_MAX : (float)OPS_Q8_MAX);
        head_store_kv(&p, &h, z, row, head - p.heads, pos);
    }
}

gpuzip_status cuda_qkv(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                       const ops_rope *rope, const ops_queries *q, ops_kv *kv, int layer)
{
    if (batch->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    int row_warps = heads + 2 * kv->kv_heads + (q->sink != NULL ? heads : 0);
    qkv_args p = {qkv, batch->slot, batch->pos, *rope, *q,
                  *kv, batch->rows, heads,      layer, row_warps};
    size_t warps = (size_t)batch->rows * row_warps;
    LAUNCH(qkv_kernel, ceil_div(warps, WARPS), THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

/* -- the cache ----------------------------------------------------------------- */

static int round_up_32(int n)
{
    return (n + 31) & ~31;
}

/* Positions of all heads of a cache: the rings' and the sinks. */
static size_t kv_count(int layers, int slots, int window, int run, int kv_heads)
{
    return (size_t)layers * slots * kv_heads * (round_up_32(window + run - 1) + 1);
}

size_t cuda_kv_bytes(int layers, int slots, int window, int run, int kv_heads, int head_dim,
                     int bits)
{
    size_t planes = bits == 12 ? 4 : 2; /* of keys and values together */
    return kv_count(layers, slots, window, run, kv_heads) *
           (round_up_32(head_dim) * planes + 2 * sizeof(float));
}

gpuzip_status cuda_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots, int window,
                             int run, int kv_heads, int head_dim, int bits)
{
    gpuzip_status status = GPUZIP_OK;
    size_t count = kv_count(layers, slots, window, run, kv_heads), plane = 0;
    ops_kv *made = (ops_kv *)calloc(1, sizeof *made);
    if (made == NULL) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    made->layers = layers, made->slots = slots;
    made->window = window, made->ring = round_up_32(window + run - 1);
    made->kv_heads = kv_heads, made->head_dim = head_dim, made->bits = bits;
    made->pitch = round_up_32(head_dim);
    plane = count * made->pitch;
    TRY_OUT(cuda_alloc(ctx, (void **)&made->k_hi, plane));
    TRY_OUT(cuda_alloc(ctx, (void **)&made->v_hi, plane));
    if (bits == 12) {
        TRY_OUT(cuda_alloc(ctx, (void **)&made->k_lo, plane));
        TRY_OUT(cuda_alloc(ctx, (void **)&made->v_lo, plane));
    }
    TRY_OUT(cuda_alloc(ctx, (void **)&made->k_scale, count * sizeof(float)));
    TRY_OUT(cuda_alloc(ctx, (void **)&made->v_scale, count * sizeof(float)));
    *kv = made;
    made = NULL;

out:
    cuda_kv_destroy(ctx, made);
    return status;
}

void cuda_kv_destroy(ops_context *ctx, ops_kv *kv)
{
    if (kv == NULL)
        return;
    cuda_release(ctx, kv->v_scale);
    cuda_release(ctx, kv->k_scale);
    cuda_release(ctx, kv->v_lo);
    cuda_release(ctx, kv->k_lo);
    cuda_release(ctx, kv->v_hi);
    cuda_release(ctx, kv->k_hi);
    free(kv);
}
