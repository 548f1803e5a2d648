/* cuda_norm.cu: norms and activations, fused with quantisation.
 *
 * A warp keeps a row of up to 1,024 elements in registers, and a block one of activations of up to
 * 4,096, if its elements come in vectors of four. For other rows, a block's passes over the row
 * compute its elements again from x, which the caches hold.
 */
#include "block.cuh"
#include "context.cuh"
#include "quant.cuh"

#define THREADS       256
#define WARP_ROWS     4    /* rows, each of a warp, in a block */
#define NARROW        256  /* columns of a lane's 2 vectors of four */
#define WARP_COLUMNS  1024 /* of its 8 */
#define BLOCK_COLUMNS 4096 /* of a thread's 4 */

typedef struct {
    const float *x;    /* [rows][dim]; quantize: twice as wide for SWIGLU */
    const float *gain; /* [dim] */
    const float *bias; /* [dim], LAYER */
    float *y;          /* [rows][dim] or NULL; may be x */
    int8_t *hi, *lo;   /* [rows][pitch]; lo NULL for 8 bits */
    float *scale;      /* [rows] */
    float eps, qmax;
    int rows, dim, pitch;
    int kind; /* an ops_norm_kind or ops_act */
} row_args;

/* -- rows in registers ----------------------------------------------------------- */

/* Vector j of a thread among `threads` is elements (j * threads + thread) * 4 .. + 3 of the row. */

static __device__ __forceinline__ float vector_max(float4 v)
{
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

/* Four bytes, the first lowest. */
static __device__ __forceinline__ unsigned pack(int a, int b, int c, int d)
{
    return (a & 255) | (b & 255) << 8 | (c & 255) << 16 | (unsigned)(d & 255) << 24;
}

/* Writes the quantised rows' vectors, and the pad, of thread `thread` of `threads`. */
template <int VECTORS>
static __device__ __forceinline__ void store_quantized(const row_args *p, size_t row, quant z,
                                                       const float4 v[VECTORS], int thread,
                                                       int threads)
{
#pragma unroll
    for (int j = 0; j < VECTORS; j++) {
        int i = (j * threads + thread) * 4;
        if (i >= p->pitch)
            continue;
        int a = quant_apply(z, v[j].x), b = quant_apply(z, v[j].y);
        int c = quant_apply(z, v[j].z), d = quant_apply(z, v[j].w);
        size_t at = row * p->pitch + i;
        if (p->lo != NULL) {
            *(unsigned *)(p->hi + at) = pack(a >> 7, b >> 7, c >> 7, d >> 7);
            *(unsigned *)(p->lo + at) = pack(a & 127, b & 127, c & 127, d & 127);
        } else {
            *(unsigned *)(p->hi + at) = pack(a, b, c, d);
        }
    }
}

/* Whether rows can be kept in vectors of four. */
static bool row_has_vectors(const row_args *p)
{
    uintptr_t starts = (uintptr_t)p->x | (uintptr_t)p->gain | (uintptr_t)p->bias | (uintptr_t)p->y;
    return p->dim % 4 == 0 && starts % sizeof(float4) == 0;
}

/* -- norms -------------------------------------------------------------------- */

/* y = ((x - mean) * r) * gain + bias, without mean and bias for RMS. */
typedef struct {
    float mean, r;
} norm_row;

static __device__ __forceinline__ float norm_value(const row_args *p, norm_row n, float x,
                                                   float gain, float bias)
{
    if (p->kind == OPS_NORM_RMS)
        return (x * n.r) * gain;
    return ((x - n.mean) * n.r) * gain + bias;
}

static __device__ __forceinline__ float norm_apply(const row_args *p, norm_row n, float x, int i)
{
    return norm_value(p, n, x, p->gain[i], p->kind == OPS_NORM_RMS ? 0.0f : p->bias[i]);
}

/* The factor that makes a row of this maximum integers; e: the maximum's exponent. A zero row has
 * e = 0 and no integers. */
static __device__ __forceinline__ float norm_unit(float amax, int *e)
{
    *e = amax < TINY ? 0 : det_exponent(amax);
    return amax < TINY ? 0.0f : det_pow2(20 - *e);
}

/* sum, squares: of the integers; sum is not used for RMS. */
static __device__ __forceinline__ norm_row norm_of(const row_args *p, int e, long long sum,
                                                   long long squares)
{
    int dim = p->dim;
    float width = (float)dim;
    norm_row n = {0.0f, 0.0f};
    if (p->kind == OPS_NORM_RMS) {
        float ms = (float)squares / width;
        n.r = 1.0f / sqrtf(det_scale2(ms, 2 * e - 40) + p->eps);
        return n;
    }
    long long twice = 2 * sum + dim, m = twice / (2 * dim);
    m -= m * (2 * dim) > twice; /* division truncates, floor() does not */
    /* sum (u - m)^2, multiplied out; every term is below 2^60. */
    long long deviations = squares - 2 * m * sum + m * m * dim;
    float c = (float)(sum - m * dim) / width;
    float variance = det_scale2(fmaxf((float)deviations / width - c * c, 0.25f), 2 * e - 40);
    n.mean = ((float)sum / width) * det_pow2(e - 20);
    n.r = 1.0f / sqrtf(variance + p->eps);
    return n;
}

/* Called by the whole block. */
static __device__ norm_row norm_measure(const row_args *p, const float *x, long long *scratch)
{
    int dim = p->dim, e;
    float amax = 0.0f;
    for (int i = threadIdx.x; i < dim; i += THREADS)
        amax = fmaxf(amax, fabsf(x[i]));
    float to_integer = norm_unit(block_max(amax, (float *)scratch), &e);

    long long sum = 0, squares = 0;
    for (int i = threadIdx.x; i < dim; i += THREADS) {
        long long u = det_rint_s32(x[i] * to_integer);
        sum += u;
        squares += u * u;
    }
    if (p->kind != OPS_NORM_RMS)
        sum = block_sum(sum, scratch);
    return norm_of(p, e, sum, block_sum(squares, scratch));
}

static __global__ void __launch_bounds__(THREADS) norm_kernel(row_args p)
{
    __shared__ long long scratch[32];
    const float *x = p.x + (size_t)blockIdx.x * p.dim;
    norm_row n = norm_measure(&p, x, scratch);
    float amax = 0.0f;
    for (int i = threadIdx.x; i < p.dim; i += THREADS)
        amax = fmaxf(amax, fabsf(norm_apply(&p, n, x[i], i)));
    quant z = quant_of(block_max(amax, (float *)scratch), p.qmax);
    if (threadIdx.x == 0)
        p.scale[blockIdx.x] = z.scale;
    /* Element i of y overwrites at most element i of x, read by the same thread. */
    for (int i = threadIdx.x; i < p.pitch; i += THREADS) {
        float y = i < p.dim ? norm_apply(&p, n, x[i], i) : 0.0f;
        if (p.y != NULL && i < p.dim)
            p.y[(size_t)blockIdx.x * p.dim + i] = y;
        quant_store(p.hi, p.lo, (size_t)blockIdx.x * p.pitch + i, quant_apply(z, y));
    }
}

/* A warp a row; y may overwrite x, which is all read before. */
template <int VECTORS>
static __global__ void __launch_bounds__(WARP_ROWS * 32) norm_warp_kernel(row_args p)
{
    int lane = threadIdx.x & 31, row = blockIdx.x * WARP_ROWS + (threadIdx.x >> 5), e;
    if (row >= p.rows)
        return; /* a whole warp */
    const float *x = p.x + (size_t)row * p.dim;
    float amax = 0.0f;
    float4 v[VECTORS];
#pragma unroll
    for (int j = 0; j < VECTORS; j++) {
        int i = (j * 32 + lane) * 4;
        v[j] = {0, 0, 0, 0};
        if (i < p.dim)
            v[j] = *(const float4 *)(x + i);
        amax = fmaxf(amax, vector_max(v[j]));
    }
    float to_integer = norm_unit(warp_max(amax), &e);
    int sum = 0; /* of 32 elements at most, each up to 2^21 */
    long long squares = 0;
#pragma unroll
    for (int j = 0; j < VECTORS; j++) {
        const float element[4] = {v[j].x, v[j].y, v[j].z, v[j].w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int u = det_rint_s32(element[k] * to_integer);
            sum += u;
            squares += (long long)u * u;
        }
    }
    norm_row n = norm_of(&p, e, warp_sum(sum), warp_sum(squares));
    amax = 0.0f;
#pragma unroll
    for (int j = 0; j < VECTORS; j++) {
        int i = (j * 32 + lane) * 4;
        if (i >= p.dim)
            continue;
        float4 gain = *(const float4 *)(p.gain + i), bias = {0, 0, 0, 0};
        if (p.kind != OPS_NORM_RMS)
            bias = *(const float4 *)(p.bias + i);
        v[j].x = norm_value(&p, n, v[j].x, gain.x, bias.x);
        v[j].y = norm_value(&p, n, v[j].y, gain.y, bias.y);
        v[j].z = norm_value(&p, n, v[j].z, gain.z, bias.z);
        v[j].w = norm_value(&p, n, v[j].w, gain.w, bias.w);
        amax = fmaxf(amax, vector_max(v[j]));
        if (p.y != NULL)
            *(float4 *)(p.y + (size_t)row * p.dim + i) = v[j];
    }
    quant z = quant_of(warp_max(amax), p.qmax);
    if (lane == 0)
        p.scale[row] = z.scale;
    store_quantized<VECTORS>(&p, row, z, v, lane, 32);
}

/* Everything but the norm's own vectors. */
static row_args row_args_of(int kind, const float *x, const ops_qrows *q)
{
    row_args p;
    p.x = x;
    p.gain = p.bias = NULL;
    p.y = NULL;
    p.hi = q->hi;
    p.lo = q->bits == 15 ? q->lo : NULL;
    p.scale = q->scale;
    p.eps = 0.0f;
    p.qmax = q->bits == 15 ? (float)OPS_Q15_MAX : (float)OPS_Q8_MAX;
    p.rows = q->rows;
    p.dim = q->dim;
    p.pitch = (int)OPS_PITCH(q->dim);
    p.kind = kind;
    return p;
}

gpuzip_status cuda_norm(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                        const float *bias, float eps, float *y, ops_qrows *q)
{
    if (q->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    row_args p = row_args_of(kind, x, q);
    p.gain = gain;
    p.bias = bias;
    p.eps = eps;
    p.y = y;
    if (row_has_vectors(&p) && p.dim <= WARP_COLUMNS) {
        void (*kernel)(row_args) = p.dim <= NARROW ? norm_warp_kernel<2> : norm_warp_kernel<8>;
        LAUNCH(kernel, ceil_div(p.rows, WARP_ROWS), WARP_ROWS * 32, 0, ctx->stream, p);
    } else {
        LAUNCH(norm_kernel, (unsigned)q->rows, THREADS, 0, ctx->stream, p);
    }
    return cuda_launched();
}

/* -- activations ---------------------------------------------------------------- */

/* up: for SWIGLU. */
static __device__ __forceinline__ float act_value(int kind, float x, float up)
{
    switch (kind) {
    case OPS_ACT_GELU_TANH:
        return det_gelu_tanh(x);
    case OPS_ACT_GELU_ERF:
        return det_gelu_erf(x);
    case OPS_ACT_SWIGLU:
        return det_siluf(x) * up;
    default:
        return x;
    }
}

static __device__ __forceinline__ float act_apply(const row_args *p, const float *x, int i)
{
    return act_value(p->kind, x[i], p->kind == OPS_ACT_SWIGLU ? x[p->dim + i] : 0.0f);
}

/* The thread's activations of a row; all are read before the first is computed. */
template <int VECTORS>
static __device__ __forceinline__ void load_activations(const row_args *p, size_t row,
                                                        float4 v[VECTORS], int thread, int threads)
{
    bool gated = p->kind == OPS_ACT_SWIGLU;
    const float *x = p->x + row * p->dim * (gated ? 2 : 1);
    float4 up[VECTORS];
#pragma unroll
    for (int j = 0; j < VECTORS; j++) {
        int i = (j * threads + thread) * 4;
        v[j] = up[j] = {0, 0, 0, 0};
        if (i < p->dim) {
            v[j] = *(const float4 *)(x + i);
            if (gated)
                up[j] = *(const float4 *)(x + p->dim + i);
        }
    }
    if (p->kind == OPS_ACT_NONE)
        return;
#pragma unroll
    for (int j = 0; j < VECTORS; j++) { /* of a pad's zeros too, which stay zeros */
        v[j].x = act_value(p->kind, v[j].x, up[j].x), v[j].y = act_value(p->kind, v[j].y, up[j].y);
        v[j].z = act_value(p->kind, v[j].z, up[j].z), v[j].w = act_value(p->kind, v[j].w, up[j].w);
    }
}

/* A warp a row. */
template <int VECTORS>
static __global__ void __launch_bounds__(WARP_ROWS * 32) quantize_warp_kernel(row_args p)
{
    int lane = threadIdx.x & 31, row = blockIdx.x * WARP_ROWS + (threadIdx.x >> 5);
    if (row >= p.rows)
        return; /* a whole warp */
    float amax = 0.0f;
    float4 v[VECTORS];
    load_activations<VECTORS>(&p, row, v, lane, 32);
#pragma unroll
    for (int j = 0; j < VECTORS; j++)
        amax = fmaxf(amax, vector_max(v[j]));
    quant z = quant_of(warp_max(amax), p.qmax);
    if (lane == 0)
        p.scale[row] = z.scale;
    store_quantized<VECTORS>(&p, row, z, v, lane, 32);
}

/* A block a row. */
template <int VECTORS>
static __global__ void __launch_bounds__(THREADS) quantize_block_kernel(row_args p)
{
    __shared__ float scratch[32];
    SHARED_BEGINS(scratch);
    float amax = 0.0f;
    float4 v[VECTORS];
    load_activations<VECTORS>(&p, blockIdx.x, v, threadIdx.x, THREADS);
#pragma unroll
    for (int j = 0; j < VECTORS; j++)
        amax = fmaxf(amax, vector_max(v[j]));
    quant z = quant_of(block_max(amax, scratch), p.qmax);
    if (threadIdx.x == 0)
        p.scale[blockIdx.x] = z.scale;
    store_quantized<VECTORS>(&p, blockIdx.x, z, v, threadIdx.x, THREADS);
}

static __global__ void __launch_bounds__(THREADS) quantize_kernel(row_args p)
{
    __shared__ float scratch[32];
    const float *x = p.x + (size_t)blockIdx.x * p.dim * (p.kind == OPS_ACT_SWIGLU ? 2 : 1);
    float amax = 0.0f;
    for (int i = threadIdx.x; i < p.dim; i += THREADS)
        amax = fmaxf(amax, fabsf(act_apply(&p, x, i)));
    quant z = quant_of(block_max(amax, scratch), p.qmax);
    if (threadIdx.x == 0)
        p.scale[blockIdx.x] = z.scale;
    for (int i = threadIdx.x; i < p.pitch; i += THREADS) {
        int q = i < p.dim ? quant_apply(z, act_apply(&p, x, i)) : 0;
        quant_store(p.hi, p.lo, (size_t)blockIdx.x * p.pitch + i, q);
    }
}

gpuzip_status cuda_quantize(ops_context *ctx, ops_act act, const float *x, ops_qrows *q)
{
    if (q->rows == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    row_args p = row_args_of(act, x, q);
    if (row_has_vectors(&p) && p.dim <= WARP_COLUMNS) {
        void (*kernel)(row_args) =
            p.dim <= NARROW ? quantize_warp_kernel<2> : quantize_warp_kernel<8>;
        LAUNCH(kernel, ceil_div(p.rows, WARP_ROWS), WARP_ROWS * 32, 0, ctx->stream, p);
    } else if (row_has_vectors(&p) && p.dim <= BLOCK_COLUMNS) {
        LAUNCH(quantize_block_kernel<BLOCK_COLUMNS / THREADS / 4>, (unsigned)q->rows, THREADS, 0,
               ctx->stream, p);
    } else {
        LAUNCH(quantize_kernel, (unsigned)q->rows, THREADS, 0, ctx->stream, p);
    }
    return cuda_launched();
}
