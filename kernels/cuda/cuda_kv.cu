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
    const float *qkv;             /* [rows][heads + 2 kv_heads][head_dim] */
    const int32_t *slot, *pos;    /* [rows] */
    const int32_t *cosine, *sine; /* [positions][head_dim/2] Q30, or NULL */
    int16_t *q;                   /* [rows][heads][head_dim] */
    float *q_scale;               /* [rows][heads] */
    struct ops_kv kv;
    int rows, heads, layer;
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

/* Writes one integer of a head: of q, of a key or of a value. at: of the KV head. */
static __device__ __forceinline__ void head_store(const qkv_args *p, int row, int head, size_t at,
                                                  int pos, int i, int value)
{
    const struct ops_kv *kv = &p->kv;
    if (head < p->heads)
        p->q[((size_t)row * p->heads + head) * kv->head_dim + i] = (int16_t)value;
    else if (head < p->heads + kv->kv_heads)
        quant_store(kv->k_hi, kv->k_lo, (at + pos) * kv->pitch + i, value);
    else
        quant_store(kv->v_hi, kv->v_lo, kv_value_at(kv, at, pos, i), value);
}

static __global__ void __launch_bounds__(THREADS) qkv_kernel(qkv_args p)
{
    const struct ops_kv *kv = &p.kv;
    int all_heads = p.heads + 2 * kv->kv_heads, half = kv->head_dim / 2, lane = threadIdx.x & 31;
    long long index = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
    int row = (int)(index / all_heads), head = (int)(index % all_heads);
    if (row >= p.rows)
        return; /* a whole warp */
    const float *x = p.qkv + (size_t)index * kv->head_dim;
    int pos = p.pos[row];
    bool is_query = head < p.heads, is_value = head >= p.heads + kv->kv_heads;

    head_part h;
    h.e = 0;
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = lane + 32 * j;
        h.low[j] = i < half ? x[i] : 0.0f;
        h.high[j] = i < half ? x[half + i] : 0.0f;
    }
    if (p.cosine != NULL && !is_value)
        head_rotate(&h, p.cosine + (size_t)pos * half, p.sine + (size_t)pos * half, half);

    float qmax = is_query         ? (float)OPS_Q15_MAX
                 : kv->bits == 12 ? (float)OPS_Q12_MAX
                                  : (float)OPS_Q8_MAX;
    quant z = quant_of(head_max(&h), qmax);
    int kv_head = is_query ? 0 : (head - p.heads) % kv->kv_heads;
    size_t at = kv_at(kv, p.layer, p.slot[row], kv_head);
#pragma unroll
    for (int j = 0; j < MAX_PAIRS; j++) {
        int i = lane + 32 * j;
        if (i < half) {
            head_store(&p, row, head, at, pos, i, quant_apply(z, h.low[j]));
            head_store(&p, row, head, at, pos, half + i, quant_apply(z, h.high[j]));
        }
    }
    if (lane == 0) {
        float scale = det_scale2(z.scale, h.e);
        if (is_query)
            p.q_scale[(size_t)row * p.heads + head] = scale;
        else
            (is_value ? kv->v_scale : kv->k_scale)[at + pos] = scale;
    }
}

gpuzip_status cuda_qkv(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                       const int32_t *cosine, const int32_t *sine, int16_t *q, float *q_scale,
                       ops_kv *kv, int layer)
{
    if (batch->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    qkv_args p = {qkv,     batch->slot, batch->pos,  cosine, sine, q,
                  q_scale, *kv,         batch->rows, heads,  layer};
    size_t warps = (size_t)batch->rows * (heads + 2 * kv->kv_heads);
    LAUNCH(qkv_kernel, ceil_div(warps, WARPS), THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

/* -- the cache ----------------------------------------------------------------- */

static int round_up_32(int n)
{
    return (n + 31) & ~31;
}

/* Head positions of a cache. */
static size_t kv_count(int layers, int slots, int positions, int kv_heads)
{
    return (size_t)layers * slots * kv_heads * round_up_32(positions);
}

size_t cuda_kv_bytes(int layers, int slots, int positions, int kv_heads, int head_dim, int bits)
{
    size_t planes = bits == 12 ? 4 : 2; /* of keys and values together */
    return kv_count(layers, slots, positions, kv_heads) *
           (round_up_32(head_dim) * planes + 2 * sizeof(float));
}

gpuzip_status cuda_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots, int positions,
                             int kv_heads, int head_dim, int bits)
{
    gpuzip_status status = GPUZIP_OK;
    size_t count = kv_count(layers, slots, positions, kv_heads), plane = 0;
    ops_kv *made = (ops_kv *)calloc(1, sizeof *made);
    if (made == NULL) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    made->layers = layers, made->slots = slots, made->positions = round_up_32(positions);
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
