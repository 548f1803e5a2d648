/* ops_learn.h: operations of weights that learn while coding: the backward pass and the step,
 * with their exact arithmetic. The law, the notation and the quantised rows are those of ops.h.
 *
 * A pass has rows; each row's error is a float for each of its numbers, the gradient of the
 * pass's cross-entropy (natural log, summed over rows). Rows are only joined in integer sums and
 * maxima, so that any order of rows gives the same bits.
 *
 * Finite by construction. CLAMP(x) = min(max(x, -2^40), 2^40). Every error that an operation below
 * writes is clamped, but for linear()'s, whose readers clamp. Weights stay within the range of
 * the file's, for which weights_learnable() has checked the bounds of weights/FORMAT.md. Products
 * of at most 2^40 with numbers within those bounds stay below 2^127.
 */
#ifndef GPUZIP_OPS_LEARN_H
#define GPUZIP_OPS_LEARN_H

#include "ops.h"

#define OPS_ERROR_MAX   0x1p40f /* of an error, see CLAMP above */
#define OPS_MASTER_BITS 16      /* of a master weight, below the working copy's lowest bit */
#define OPS_STEP_MAX                                                                               \
    0x1p17f                  /* of a master weight of 8 bits in one step, 1/64 of its range; of    \
                                15 bits 128 times that */
#define OPS_STEP_ROWS 65536  /* of a step, at most; 127 * 127 of each fit s32 */
#define OPS_DITHER_N  30011u /* see trainable_step() */
#define OPS_DITHER_K  40503u /* 2^16 / the golden ratio: neighbours' thresholds lie apart */

/* A weight matrix that learns: master weights, and working copies for linear() and for errors. */
typedef struct ops_trainable ops_trainable;

struct ops_learn {
    /* Makes a trainable matrix of the trained weights; src need not outlive the call.
     * trainable_bytes() is its size. Errors: MEMORY. */
    gpuzip_status (*trainable_create)(ops_context *ctx, ops_trainable **t, const ops_weights *src);
    void (*trainable_destroy)(ops_context *ctx, ops_trainable *t); /* accepts NULL */
    size_t (*trainable_bytes)(int n, int k, int bits);
    /* Takes the trained weights again: master[n][k] = w[n][k] * 2^16. src: as at create. */
    gpuzip_status (*trainable_reset)(ops_context *ctx, ops_trainable *t, const ops_weights *src);
    /* The working copy, for linear(); its transpose [k][n] with scales of 1, for errors. */
    const ops_matrix *(*trainable_matrix)(const ops_trainable *t);
    const ops_matrix *(*trainable_transpose)(const ops_trainable *t);
    /* Copies the master weights to host memory, [n][k]; for tests. */
    gpuzip_status (*trainable_read)(ops_context *ctx, const ops_trainable *t, int32_t *master);

    /* The transpose [k][n] of a matrix that does not learn, with scales of 1, released with
     * matrix_destroy(); transpose_bytes() is its size. n <= OPS_MAX_VOCAB. Errors: MEMORY. */
    gpuzip_status (*transpose_create)(ops_context *ctx, ops_matrix **m, const ops_weights *src);
    size_t (*transpose_bytes)(int n, int k, int bits);

    /* The error of logits x[r][V], V = err.dim, where symbol[r] followed:
     *     e[i] = det_exp2f((x[i] - max x) * log2(e))        (the constant is 0x1.715476p+0)
     *     D = sum rint(e[i] * 2^24)                         (s64)
     *     g[i] = e[i] * (2^24 / (float)D) - (i == symbol ? 1 : 0)
     *     err = QUANT_ROW(g[i] * scale[i])
     * scale: of `head`, the matrix that made the logits. A row whose symbol is not in [0, V) has
     * error 0. symbol: [rows]. */
    gpuzip_status (*softmax_back)(ops_context *ctx, const float *x, const int32_t *symbol,
                                  const ops_matrix *head, ops_qrows *err);

    /* err = QUANT_ROW(CLAMP(dy[r][n]) * scale[n]), n < err.dim: what linear() with the transpose
     * takes to give the error of a linear layer's input. dy: [rows][dim]; scale: of the layer's
     * matrix w. */
    gpuzip_status (*linear_back)(ops_context *ctx, const float *dy, const ops_matrix *w,
                                 ops_qrows *err);

    /* The error of a norm's input x, where dy is the error of its output; rows [rows][dim].
     * h[i] = CLAMP(dy[i]) * gain[i]; n[i], r: the norm's x * r or (x - mean) * r before gain and
     * bias, and its r. With A and B the integers of QUANT_ROW(h, 16256) and QUANT_ROW(n, 16256),
     *     c = ((float)(sum A B) * (scale_h * scale_n)) / (float)dim
     *     m = LAYER: ((float)(sum A) * scale_h) / (float)dim;  RMS: 0
     *     dx[i] = CLAMP(r * ((h[i] - m) - n[i] * c))
     * and, with a residual, dx[i] = CLAMP(CLAMP(residual[r][i]) + dx[i]). dx may be dy or residual.
     */
    gpuzip_status (*norm_back)(ops_context *ctx, ops_norm_kind kind, const float *x,
                               const float *gain, float eps, const float *dy, const float *residual,
                               float *dx, int rows, int dim);

    /* The error of quantize()'s input x of an activation, d = CLAMP(dy), [rows][dim]:
     *     GELU:   dx[i] = CLAMP(d[i] * slope(x[i])), det_gelu_*_slope()
     *     SWIGLU: g, u = x[i], x[dim + i], s = det_sigmoid_times(1, g):
     *             dx[dim + i] = CLAMP(d[i] * (g * s))
     *             dx[i] = CLAMP((d[i] * u) * (s * fma(g, 1 - s, 1)))
     * x, dx: [rows][dim], or [rows][2 dim] for SWIGLU. */
    gpuzip_status (*act_back)(ops_context *ctx, ops_act act, const float *x, const float *dy,
                              float *dx, int rows, int dim);

    /* The error of qkv()'s input, where dout [rows][heads][head_dim] is that of attention()'s
     * output `out`. The rows are those of a batch in any order; of each slot consecutive positions,
     * all of whose windows are in the cache. Keys and values of other rows, and the sink, are
     * constants. q: as qkv() wrote it. Of a row i and a head, with attention()'s e_j and D:
     *     p_j = e_j * (2^24 / (float)D)
     *     a, o = QUANT_ROW(CLAMP(dout), 16256), QUANT_ROW(out, 16256), of the head
     *     dp_j = ((float)(sum a v_j) * v_scale_j) * a.scale
     *     delta = ((float)(sum a o) * o.scale) * a.scale
     *     ds_j = CLAMP(p_j * (dp_j - delta))
     *     b = QUANT_ROW(ds_j * k_scale_j, 16256) over the window's j (without the sink)
     *     u = factor * ln 2                                  (0x1.62e430p-1)
     *     dq[d] = (float)(sum_j b_j k_j[d]) * (b.scale * u), rotated back by position i, plus
     *     (ds_sink * (k_scale_sink * u)) * k_sink[d], rotated back by position window - 1
     * Of a key j of the pass, over its KV head's (row, head) pairs i whose window holds it:
     *     cv = QUANT_ROW(p_ij * a_i.scale, 2047);  dv[d] = (float)(sum_i cv_i a_i[d]) * cv.scale
     *     ck = QUANT_ROW(ds_ij * q_i.scale, 2047); dk[d] = (float)(sum_i ck_i q_i[d]) * (ck.scale
     *     * u), rotated back by position j
     * Rotated back: as qkv() rotates, but with -sine; unit joins by det_scale2(). Clamped before it
     * is rotated, after it, and after the sink's part has joined.
     * dqkv: [rows][(heads + 2 kv_heads) head_dim]. attention_back_bytes() is the memory that it
     * needs while it runs, for up to `run` rows of a slot in a context of so many threads. Errors:
     * MEMORY. */
    gpuzip_status (*attention_back)(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                                    int heads, float factor, const ops_rope *rope, const ops_kv *kv,
                                    int layer, const float *out, const float *dout, float *dqkv);
    size_t (*attention_back_bytes)(int rows, int run, int window, int heads, int kv_heads,
                                   int head_dim, int threads);

    /* One step of plain SGD. x: the rows that linear() took, dy [rows][n] the error of its output.
     *     z[r][n] = CLAMP(dy[r][n]) * x.scale[r]
     *     zq[n]   = QUANT_ROW(z[..][n], 127): for each n, over the rows r
     *     xq      = x.hi for 8 bits, (x.q + 64) >> 7 for 15 bits
     *     unit    = 1 or 128, for x of 8 or 15 bits
     *     f[n]    = min(((zq.scale[n] * unit) * rate) * (2^16 / scale[n]), 2^90),
     *               0 where scale[n] < 2^-60; scale: of the matrix
     *     most    = OPS_STEP_MAX or 128 times that, for weights of 8 or 15 bits
     *     step    = rint(min(max((float)(sum_r zq[r][n] xq[r][k]) * f[n], -most), most))
     *     master[n][k] = master[n][k] - step, within +-qmax * 2^16 of the weights' bits
     * and the working copies are
     *     w[n][k] = (master[n][k] + ((n * OPS_DITHER_N + k * OPS_DITHER_K) & 65535)) >> 16
     * The threshold differs from weight to weight, so that a matrix as a whole follows its master
     * weights although a step is small beside a unit; and trained weights stay as they are. Any
     * order of rows gives the same. rows <= OPS_STEP_ROWS. Errors: MEMORY. */
    gpuzip_status (*trainable_step)(ops_context *ctx, ops_trainable *t, const float *dy,
                                    const ops_qrows *x, float rate);
    size_t (*trainable_step_bytes)(int rows, int columns);
};

#endif
