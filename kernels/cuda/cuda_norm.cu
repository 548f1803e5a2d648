/* cuda_norm.cu: norms and activations, fused with quantisation; a block a row.
 *
 * Rows may be wider than shared memory, so a pass over the row computes its
 * elements again from x, which the caches hold, rather than keep them.
 */
#include "block.cuh"
#include "context.cuh"
#include "quant.cuh"

#define THREADS 256

typedef struct {
    const float *x;    /* [rows][dim]; quantize: twice as wide for SWIGLU */
    const float *gain; /* [dim] */
    const float *bias; /* [dim], LAYER */
    float *y;          /* [rows][dim] or NULL; may be x */
    int8_t *hi, *lo;   /* [rows][pitch]; lo NULL for 8 bits */
    float *scale;      /* [rows] */
    float eps, qmax;
    int dim, pitch;
    int kind; /* an ops_norm_kind or ops_act */
} row_args;

/* -- norms -------------------------------------------------------------------- */

/* y = ((x - mean) * r) * gain + bias, without mean and bias for RMS. */
typedef struct {
    float mean, r;
} norm_row;

static __device__ __forceinline__ float norm_apply(const row_args *p, norm_row n, float x, int i)
{
    if (p->kind == OPS_NORM_RMS)
        return (x * n.r) * p->gain[i];
    return ((x - n.mean) * n.r) * p->gain[i] + p->bias[i];
}

/* Called by the whole block. */
static __device__ norm_row norm_measure(const row_args *p, const float *x, long long *scratch)
{
    int dim = p->dim;
    float amax = 0.0f, width = (float)dim;
    for (int i = threadIdx.x; i < dim; i += THREADS)
        amax = fmaxf(amax, fabsf(x[i]));
    amax = block_max(amax, (float *)scratch);
    /* A zero row has p = 0 and no integers. */
    int e = amax < TINY ? 0 : det_exponent(amax);
    float to_integer = amax < TINY ? 0.0f : det_pow2(20 - e);

    long long sum = 0, squares = 0;
    for (int i = threadIdx.x; i < dim; i += THREADS) {
        long long u = det_rint_s32(x[i] * to_integer);
        sum += u;
        squares += u * u;
    }
    norm_row n = {0.0f, 0.0f};
    if (p->kind == OPS_NORM_RMS) {
        squares = block_sum(squares, scratch);
        float ms = (float)squares / width;
        n.r = 1.0f / sqrtf(det_scale2(ms, 2 * e - 40) + p->eps);
        return n;
    }
    sum = block_sum(sum, scratch);
    long long twice = 2 * sum + dim, m = twice / (2 * dim);
    m -= m * (2 * dim) > twice; /* division truncates, floor() does not */
    /* sum (u - m)^2, multiplied out; every term is below 2^60. */
    long long deviations = block_sum(squares, scratch) - 2 * m * sum + m * m * dim;
    float c = (float)(sum - m * dim) / width;
    float variance = det_scale2(fmaxf((float)deviations / width - c * c, 0.25f), 2 * e - 40);
    n.mean = ((float)sum / width) * det_pow2(e - 20);
    n.r = 1.0f / sqrtf(variance + p->eps);
    return n;
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
    LAUNCH(norm_kernel, (unsigned)q->rows, THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

/* -- activations ---------------------------------------------------------------- */

static __device__ __forceinline__ float act_apply(const row_args *p, const float *x, int i)
{
    switch (p->kind) {
    case OPS_ACT_GELU_TANH:
        return det_gelu_tanh(x[i]);
    case OPS_ACT_GELU_ERF:
        return det_gelu_erf(x[i]);
    case OPS_ACT_SWIGLU:
        return det_siluf(x[i]) * x[p->dim + i];
    default:
        return x[i];
    }
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
    LAUNCH(quantize_kernel, (unsigned)q->rows, THREADS, 0, ctx->stream, p);
    return cuda_launched();
}
