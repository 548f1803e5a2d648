/* cuda_mix.cu: the product of experts as an integer distribution, and counts.
 * A block a row, and nothing of a row is kept: weights are computed again where
 * they are needed.
 *
 * Encoding needs no order: Z and C[symbol] are two sums over the vocabulary.
 * Decoding sums tile by tile, finds the tile whose interval holds the target, and
 * looks again at that tile alone.
 *
 * One model alone is the usual case, and its weights take half the work: the template
 * parameter SINGLE. Its largest t is 0, at its largest logit.
 */
#include "block.cuh"
#include "context.cuh"
#include "detmath.h"

#define THREADS   512
#define WARPS     16
#define TILE      512                    /* symbols of a tile */
#define TILES_MAX (OPS_MAX_VOCAB / TILE) /* at most THREADS: a scan takes one a thread */
#define PER_LANE  (TILE / 32)

#define LOG2E_Q16    94548.4609375f
#define ESCAPE_SHIFT 20 /* an escape's weight is Z >> this */

typedef struct {
    ops_mix mix;
    const int32_t *symbol;  /* encode: [rows] */
    const uint32_t *target; /* decode: [rows] */
    ops_interval *interval; /* encode: [rows] */
    ops_symbol *found;      /* decode: [rows] */
    uint32_t *start;        /* cdf: [rows][vocab + escapes + 1] */
} mix_args;

/* What a row's weights depend on; shared. */
typedef struct {
    long long scratch[32];
    float max_logit[OPS_MAX_EXPERTS];
    long long max_t;
} mix_row;

/* sum_k alpha_k l_k[i], Q32 bits. */
static __device__ __forceinline__ long long mix_log(const ops_mix *mix, const mix_row *row,
                                                    size_t r, int i)
{
    long long t = 0;
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *x = &mix->expert[k];
        int l;
        if (x->logits != NULL) {
            float below = (x->logits[r * x->stride + i] - row->max_logit[k]) * LOG2E_Q16;
            l = det_rint_s32(fmaxf(below, -0x1p24f));
        } else {
            l = x->counts[i];
        }
        t += (long long)x->alpha * l;
    }
    return t;
}

/* d[i] of one model alone: alpha l >> 16, l <= 0, as the upper half of a product of 32 bits. */
static __device__ __forceinline__ int mix_log_single(const ops_mix *mix, const mix_row *row,
                                                     size_t r, int i)
{
    const ops_expert *x = &mix->expert[0];
    float below = (x->logits[r * x->stride + i] - row->max_logit[0]) * LOG2E_Q16;
    int l = det_rint_s32(fmaxf(below, -0x1p24f));
    return max(__mulhi(l * 128, (int)(x->alpha * 512)), -40 * 65536);
}

/* w[i], 0 .. 2^30. */
template <bool SINGLE>
static __device__ __forceinline__ unsigned mix_weight(const ops_mix *mix, const mix_row *row,
                                                      size_t r, int i)
{
    float d;
    if constexpr (SINGLE) {
        d = (float)mix_log_single(mix, row, r, i);
    } else {
        long long t = (mix_log(mix, row, r, i) - row->max_t) >> 16;
        d = (float)(int)(t < -40 * 65536 ? -40 * 65536 : t);
    }
    return (unsigned)det_rint_s32(det_exp2f(d * 0x1p-16f) * 0x1p30f);
}

/* Fills in *row (shared); the whole block calls it. r: the row of the logits. */
template <bool SINGLE>
static __device__ void mix_measure(const ops_mix *mix, mix_row *row, size_t r)
{
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *x = &mix->expert[k];
        if (x->logits == NULL)
            continue;
        float max = -INFINITY;
        for (int i = threadIdx.x; i < mix->vocab; i += THREADS)
            max = fmaxf(max, x->logits[r * x->stride + i]);
        max = block_max(max, (float *)row->scratch);
        if (threadIdx.x == 0)
            row->max_logit[k] = max;
    }
    __syncthreads();
    if (SINGLE)
        return;
    long long max = -((long long)1 << 62);
    for (int i = threadIdx.x; i < mix->vocab; i += THREADS) {
        long long t = mix_log(mix, row, r, i);
        max = t > max ? t : max;
    }
    max = block_max_s64(max, row->scratch);
    if (threadIdx.x == 0)
        row->max_t = max;
    __syncthreads();
}

/* A row's distribution, all sums known: start() of any C. */
typedef struct {
    unsigned long long z, total; /* Z and Z' of ops.h */
    unsigned escape;             /* the weight of one */
    int shift;                   /* h */
    unsigned long long scale;    /* M */
} mix_total;

static __device__ __forceinline__ mix_total total_of(const ops_mix *mix, unsigned long long z)
{
    mix_total m;
    m.z = z;
    m.escape = (unsigned)(z >> 20);
    m.total = z + (unsigned long long)m.escape * mix->escapes;
    int bits = 64 - __clzll((long long)m.total);
    m.shift = bits > 34 ? bits - 34 : 0;
    m.scale = (1u << OPS_CDF_BITS) - (unsigned)(mix->vocab + mix->escapes);
    return m;
}

/* start[i], where before = C[i]. */
static __device__ __forceinline__ unsigned start_of(mix_total m, unsigned long long before, int i)
{
    return (unsigned)((before >> m.shift) * m.scale / (m.total >> m.shift)) + i;
}

/* C of escape number i. */
static __device__ __forceinline__ unsigned long long escape_before(mix_total m, int i)
{
    return m.z + (unsigned long long)m.escape * i;
}

static __device__ __forceinline__ size_t source_row(const ops_mix *mix)
{
    return mix->row != NULL ? (size_t)mix->row[blockIdx.x] : blockIdx.x;
}

/* -- encoding ------------------------------------------------------------------- */

template <bool SINGLE>
static __global__ void __launch_bounds__(THREADS) mix_encode_kernel(mix_args p)
{
    __shared__ mix_row row;
    SHARED_BEGINS(row);
    const ops_mix *mix = &p.mix;
    size_t r = source_row(mix);
    int symbol = p.symbol[blockIdx.x];
    mix_measure<SINGLE>(mix, &row, r);

    unsigned long long sum = 0, before = 0;
    for (int i = threadIdx.x; i < mix->vocab; i += THREADS) {
        unsigned w = mix_weight<SINGLE>(mix, &row, r, i);
        sum += w;
        before += i < symbol ? w : 0;
    }
    sum = (unsigned long long)block_sum((long long)sum, row.scratch);
    before = (unsigned long long)block_sum((long long)before, row.scratch);
    if (threadIdx.x == 0) {
        mix_total m = total_of(mix, sum);
        unsigned long long after;
        if (symbol < mix->vocab) {
            after = before + mix_weight<SINGLE>(mix, &row, r, symbol);
        } else {
            before = escape_before(m, symbol - mix->vocab);
            after = before + m.escape;
        }
        unsigned start = start_of(m, before, symbol);
        p.interval[blockIdx.x].start = start;
        p.interval[blockIdx.x].freq = start_of(m, after, symbol + 1) - start;
    }
}

/* -- decoding ------------------------------------------------------------------- */

/* Fills before[tile] with C of each tile's first symbol, before[tiles] with Z;
 * before is shared. */
template <bool SINGLE>
static __device__ void tile_sums(const ops_mix *mix, mix_row *row, size_t r, int tiles,
                                 unsigned long long before[TILES_MAX + 1])
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    for (int tile = warp; tile < tiles; tile += WARPS) {
        unsigned long long sum = 0;
        for (int j = 0; j < PER_LANE; j++) {
            int i = tile * TILE + j * 32 + lane;
            sum += i < mix->vocab ? mix_weight<SINGLE>(mix, row, r, i) : 0;
        }
        sum = (unsigned long long)warp_sum((long long)sum);
        if (lane == 0)
            before[tile] = sum;
    }
    __syncthreads();
    int tile = threadIdx.x;
    unsigned long long through = block_scan(tile < tiles ? before[tile] : 0, row->scratch);
    if (tile < tiles)
        before[tile + 1] = through;
    if (tile == 0)
        before[0] = 0;
    __syncthreads();
}

/* Writes the answer if [before, after) is the interval of symbol i that holds target. */
static __device__ __forceinline__ void offer(ops_symbol *found, mix_total m, unsigned target, int i,
                                             unsigned long long before, unsigned long long after)
{
    unsigned start = start_of(m, before, i), end = start_of(m, after, i + 1);
    if (start <= target && target < end) {
        found->symbol = i;
        found->start = start;
        found->freq = end - start;
    }
}

template <bool SINGLE>
static __global__ void __launch_bounds__(THREADS) mix_decode_kernel(mix_args p)
{
    __shared__ mix_row row;
    __shared__ unsigned long long before[TILES_MAX + 1];
    __shared__ int found_tile;
    SHARED_BEGINS(row);
    SHARED_BEGINS(before);
    SHARED_BEGINS(found_tile);
    const ops_mix *mix = &p.mix;
    size_t r = source_row(mix);
    unsigned target = p.target[blockIdx.x];
    int tiles = (mix->vocab + TILE - 1) / TILE, thread = threadIdx.x;
    mix_measure<SINGLE>(mix, &row, r);
    tile_sums<SINGLE>(mix, &row, r, tiles, before);

    mix_total m = total_of(mix, before[tiles]);
    if (target >= start_of(m, m.z, mix->vocab)) {
        if (thread < mix->escapes)
            offer(&p.found[blockIdx.x], m, target, mix->vocab + thread, escape_before(m, thread),
                  escape_before(m, thread + 1));
        return; /* all threads */
    }
    if (thread < tiles) {
        int end = min((thread + 1) * TILE, mix->vocab);
        if (start_of(m, before[thread], thread * TILE) <= target &&
            target < start_of(m, before[thread + 1], end))
            found_tile = thread;
    }
    __syncthreads();
    int i = found_tile * TILE + thread;
    bool inside = thread < TILE && i < mix->vocab;
    unsigned w = inside ? mix_weight<SINGLE>(mix, &row, r, i) : 0;
    unsigned long long through = before[found_tile] + block_scan(w, row.scratch);
    if (inside)
        offer(&p.found[blockIdx.x], m, target, i, through - w, through);
}

/* -- the whole distribution ------------------------------------------------------ */

static __global__ void __launch_bounds__(THREADS) mix_cdf_kernel(mix_args p)
{
    __shared__ mix_row row;
    __shared__ unsigned long long before[TILES_MAX + 1];
    const ops_mix *mix = &p.mix;
    size_t r = source_row(mix);
    int tiles = (mix->vocab + TILE - 1) / TILE, symbols = mix->vocab + mix->escapes;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    uint32_t *start = p.start + (size_t)blockIdx.x * (symbols + 1);
    mix_measure<false>(mix, &row, r);
    tile_sums<false>(mix, &row, r, tiles, before);

    mix_total m = total_of(mix, before[tiles]);
    for (int tile = warp; tile < tiles; tile += WARPS) {
        unsigned long long sum = before[tile];
        for (int j = 0; j < PER_LANE; j++) {
            int i = tile * TILE + j * 32 + lane;
            unsigned w = i < mix->vocab ? mix_weight<false>(mix, &row, r, i) : 0;
            unsigned long long through = sum + warp_scan(w);
            if (i < mix->vocab)
                start[i] = start_of(m, through - w, i);
            sum = __shfl_sync(WARP_ALL, through, 31);
        }
    }
    for (int i = threadIdx.x; i <= mix->escapes; i += THREADS)
        start[mix->vocab + i] = start_of(m, escape_before(m, i), mix->vocab + i);
}

/* -- launching ------------------------------------------------------------------- */

/* single: the kernel for one model alone; any: for whatever mix. */
static gpuzip_status launch(ops_context *ctx, void (*single)(mix_args), void (*any)(mix_args),
                            int rows, mix_args p)
{
    bool alone = p.mix.experts == 1 && p.mix.expert[0].logits != NULL;
    void (*kernel)(mix_args) = alone ? single : any;
    if (rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    LAUNCH(kernel, (unsigned)rows, THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

gpuzip_status cuda_mix_encode(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                              ops_interval *out)
{
    mix_args p = {*mix, symbol, NULL, out, NULL, NULL};
    return launch(ctx, mix_encode_kernel<true>, mix_encode_kernel<false>, rows, p);
}

gpuzip_status cuda_mix_decode(ops_context *ctx, const ops_mix *mix, int rows,
                              const uint32_t *target, ops_symbol *out)
{
    mix_args p = {*mix, NULL, target, NULL, out, NULL};
    return launch(ctx, mix_decode_kernel<true>, mix_decode_kernel<false>, rows, p);
}

gpuzip_status cuda_mix_cdf(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start)
{
    mix_args p = {*mix, NULL, NULL, NULL, NULL, start};
    return launch(ctx, mix_cdf_kernel, mix_cdf_kernel, rows, p);
}

/* -- counts ---------------------------------------------------------------------- */

static __global__ void count_kernel(uint32_t *count, int vocab, const int32_t *symbol, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && symbol[i] < vocab)
        atomicAdd(&count[symbol[i]], 1u);
}

/* After count_kernel; a symbol that repeats is written repeatedly, with one value. */
static __global__ void count_log_kernel(const uint32_t *count, int32_t *counts, int vocab,
                                        const int32_t *symbol, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && symbol[i] < vocab)
        counts[symbol[i]] = det_log2_q16(count[symbol[i]] + 1);
}

gpuzip_status cuda_count_add(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                             const int32_t *symbol, int n)
{
    if (n == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    LAUNCH(count_kernel, ceil_div(n, 256), 256, 0, ctx->stream, count, vocab, symbol, n);
    LAUNCH(count_log_kernel, ceil_div(n, 256), 256, 0, ctx->stream, count, counts, vocab, symbol,
           n);
    return cuda_launched();
}
