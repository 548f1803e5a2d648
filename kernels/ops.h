/* ops.h: every operation of a forward pass and of the mixing, once, with its
 * shapes and its exact arithmetic. Each backend implements this table; for the
 * same inputs all give the same bits, for any number of rows in a call, any
 * tiling, any number of threads. kernels/cpu/ is the reference that defines
 * correct.
 *
 * The law. Floats never meet a plus sign across elements; every sum is a sum of
 * integers, which is exact and has no order. The remaining float arithmetic
 * is single IEEE-754 binary32 operations (+ - * / sqrt fma rint, conversions,
 * max), each correctly rounded, round to nearest even, subnormals kept.
 * Below, every float expression is to be read as written: one rounding an
 * operator, left to right where there are no parentheses, never fused. (float)
 * of an integer and rint() of a float round once. det_*() are in detmath.h.
 *
 * Finite by construction. The model file's checks (weights/FORMAT.md: bounds on
 * scales, gains, biases, dimensions) keep every intermediate finite, so NaN and
 * infinity do not arise and no operation needs to define them.
 *
 * Quantised rows. A row x[dim] is held as integers of at most 15 bits and one
 * scale: QUANT_ROW(x, qmax), with qmax 16256 (= 127 * 128) or 127:
 *     amax  = max |x[i]|
 *     if amax < 2^-100: q[i] = 0 and scale = 0
 *     else: inv = qmax / amax;  q[i] = rint(x[i] * inv);  scale = amax / qmax
 * |q[i]| <= qmax always. 15-bit rows are two s8 planes, q = 128 * hi + lo with
 * hi = q >> 7 in [-127, 127] and lo = q & 127 in [0, 127]; 8-bit rows are the
 * plane hi alone, q = hi. norm() and quantize() write the pad too. Either way no plane value is
 * -128, and s8 x s8 sums are exact in s32 while dim <= 131,071.
 *
 * Pointers into device memory come from alloc(); every float, integer and plane
 * pointer below is one, unless it says "host". Matrices are row-major.
 * Operations run in order; on a device that is asynchronous they may return
 * before they are done, and sync(), download() or wait_event() waits and reports.
 */
#ifndef GPUZIP_OPS_H
#define GPUZIP_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define OPS_Q15_MAX 16256 /* the largest magnitude of a 15-bit row: hi in [-127, 127] */
#define OPS_Q12_MAX 2047  /* of a 12-bit KV row */
#define OPS_Q8_MAX  127   /* of an 8-bit row */

#define OPS_MAX_DIM      65536  /* columns of any linear layer but a transposed head */
#define OPS_MAX_HEAD_DIM 256    /* a multiple of 2 */
#define OPS_MAX_VOCAB    262144 /* escapes included */
#define OPS_MAX_EXPERTS  8
#define OPS_CDF_BITS     30 /* frequencies of a distribution sum to 2^30 (RC_BITS) */
#define OPS_EVENTS       4  /* places in a queue that a context remembers */

#define OPS_CANDIDATES    16   /* of a row, at most */
#define OPS_FEATURES      8    /* of a candidate, from as many contexts */
#define OPS_FEATURE_MAX   8191 /* Q8: 32 bits */
#define OPS_ORDER_SETS    120  /* of weights: OPS_FEATURES orders * 5 levels * 3 numbers of hits */
#define OPS_SELECTOR_SETS 256  /* of weights: one a selector */
#define OPS_SETS          (OPS_ORDER_SETS + OPS_SELECTOR_SETS)
#define OPS_WEIGHTS       10 /* of a set: of the features, of the logit, and one alone */
#define OPS_WEIGHT_MAX    ((int32_t)1 << 22)  /* Q16 */
#define OPS_BIAS_MAX      ((int32_t)1 << 19)  /* Q16 */
#define OPS_LEARNT_MAX    ((uint32_t)1 << 17) /* a learnt alpha, Q16 */
#define OPS_LEARN_ROWS    ((uint32_t)1 << 25) /* of a state, from one reset to the next, at most */

/* Rounds a row pitch up so that SIMD loads and tensor-core tiles need no tail. */
#define OPS_PITCH(dim) (((size_t)(dim) + 63) & ~(size_t)63)

typedef struct ops_context ops_context;   /* a device, its threads or streams, its scratch */
typedef struct ops_matrix ops_matrix;     /* a weight matrix in the backend's own layout */
typedef struct ops_kv ops_kv;             /* a KV cache in the backend's own layout */
typedef struct ops_graph ops_graph;       /* operations to be replayed */
typedef struct ops_adaptive ops_adaptive; /* adaptive states of mixing, and their pending sums */
typedef struct ops_learn ops_learn;       /* operations of ops_learn.h */

/* Quantised rows. Planes are [rows][OPS_PITCH(dim)], the pad zero; lo is NULL
 * for 8-bit rows. scale is [rows]. */
typedef struct {
    int8_t *hi, *lo;
    float *scale;
    int rows, dim;
    int bits; /* 8 or 15 */
} ops_qrows;

/* The rows of one forward pass. Rows of one KV slot stand together, with
 * consecutive ascending positions (a run); a slot has at most one run a pass.
 * The cache must hold every earlier position that attention() reads. */
typedef struct {
    const int32_t *token; /* [rows] in [0, vocab) */
    const int32_t *slot;  /* [rows] in [0, slots) */
    const int32_t *pos;   /* [rows] >= 0 */
    int rows;
    int longest; /* 1: no run has more than one row, which saves work; 0: they may */
} ops_batch;

/* Rotations of the positions of a pass, in device memory: position p has row p % rows. The last
 * row, behind these, is that of position window - 1 of the cache. */
typedef struct {
    const int32_t *cosine, *sine; /* [rows + 1][head_dim / 2] Q30, or NULL: nothing is rotated */
    int rows;                     /* a power of two */
} ops_rope;

/* The quantised queries of a pass. The second pair meets the attention sink; it is needed, and
 * written, for rows at positions >= the cache's window only, and NULL if there are none. */
typedef struct {
    int16_t *q;        /* [rows][heads][head_dim] */
    float *scale;      /* [rows][heads] */
    int16_t *sink;     /* [rows][heads][head_dim] rotated as if at position window - 1 */
    float *sink_scale; /* [rows][heads] */
} ops_queries;

/* A weight matrix as the model file holds it, in host memory: [n][k] integers,
 * int8_t for bits 8 (|w| <= 127), int16_t for bits 15 (|w| <= 16256), one scale
 * an output channel. */
typedef struct {
    const void *w;      /* host, [n][k] */
    const float *scale; /* host, [n] */
    int n, k;
    int bits; /* 8 or 15 */
} ops_weights;

typedef enum { OPS_NORM_RMS = 0, OPS_NORM_LAYER = 1 } ops_norm_kind;

typedef enum {
    OPS_ACT_NONE = 0,
    OPS_ACT_GELU_TANH = 1, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    OPS_ACT_GELU_ERF = 2,  /* 0.5 x (1 + erf(x / sqrt 2)) */
    OPS_ACT_SWIGLU = 3     /* silu(gate) * up; rows hold [gate dim][up dim] */
} ops_act;

/* One expert of a mix. Exactly one of logits and counts is set. */
typedef struct {
    const float *logits;   /* [rows][stride], natural log, a language model's */
    const int32_t *counts; /* [states][vocab] log2(count + 1) in Q16; a row reads its state's */
    size_t stride;         /* of logits, in floats */
    uint32_t alpha;        /* Q16, < 2^20 */
} ops_expert;

/* A symbol proposed by contexts of the row. feature[k] is context k's logit of its probability,
 * log2(q / (1 - q)) in Q8, or 0 if context k has none. */
typedef struct {
    int32_t symbol;                /* [0, vocab); the candidates of a row are distinct */
    int16_t feature[OPS_FEATURES]; /* |.| <= OPS_FEATURE_MAX */
    uint8_t order;                 /* [0, OPS_FEATURES) the context that proposed it */
    uint8_t hits;                  /* [1, 3] how many contexts hold it; 3: or more */
    uint8_t selector;              /* [0, OPS_SELECTOR_SETS), chosen by the caller */
} ops_candidate;

/* The experts' product, for a number of rows. */
typedef struct {
    ops_expert expert[OPS_MAX_EXPERTS];
    int experts;        /* >= 1 */
    int vocab;          /* symbols the experts know */
    int escapes;        /* further symbols vocab .. vocab + escapes - 1 that none knows: 0 or 256 */
    const int32_t *row; /* [rows] the row of every expert's logits that mixed row r reads;
                           NULL: r itself */

    /* [rows] in [0, states): the adaptive state and the counts that mixed row r uses; NULL: 0
     * for every row. Rows of different states may stand in any order. */
    const int32_t *state;

    ops_adaptive *adaptive; /* of this vocab and these experts, or NULL: nothing is learnt */
    int part;               /* of the pending sums, see ops_adaptive_config */
    /* Of each mixed row, or both NULL; only with adaptive. A row of -1 candidates is mixed
     * as if it had none, and nothing is learnt from it. */
    const ops_candidate *candidate; /* [rows][OPS_CANDIDATES] */
    const int32_t *candidates;      /* [rows] [-1, OPS_CANDIDATES] */
} ops_mix;

/* Adaptive states of mixing: `states` independent sets of biases, alphas and weights, all with
 * the same configuration. Weights (see mix_learn()) are learnt from rows with candidates. */
typedef struct {
    int vocab, experts;
    bool bias;                       /* a number a symbol */
    bool alpha;                      /* the experts' alphas; else those of ops_expert hold */
    uint32_t start[OPS_MAX_EXPERTS]; /* of the alphas, Q16, <= OPS_LEARNT_MAX */
    const int32_t *weights;          /* host, [OPS_SETS][OPS_WEIGHTS], Q16, |.| <=
                                        OPS_WEIGHT_MAX, to begin with; NULL: zeros */
    int parts;                       /* >= 1: calls that mix at the same time, in several
                                        contexts of a device, each use their own part */
    int states;                      /* >= 1: independent adaptive states */
} ops_adaptive_config;

typedef struct {
    uint32_t start, freq; /* of 2^OPS_CDF_BITS; freq >= 1 */
} ops_interval;

typedef struct {
    int32_t symbol;
    uint32_t start, freq;
} ops_symbol;

/* Properties of a device. */
typedef struct {
    char name[256];      /* for people; any bytes */
    uint8_t id[16];      /* tells this device from every other, always the same; zeros: none */
    int capability;      /* CUDA: 10 * major + minor; else 0 */
    int driver, runtime; /* CUDA: versions, 1000 * major + 10 * minor; else 0 */
    uint64_t memory;     /* bytes in all */
    bool usable;         /* open() takes devices of this kind */
    bool full_speed;     /* this build has the device's fastest instructions */
} ops_device;

typedef struct ops {
    const char *name; /* "cpu", "cuda" */

    /* Rows of a forward pass, and bytes of logits held at a time, beyond which more give no
     * speed. */
    int pass_rows;
    size_t logits_bytes;

    /* -- device and memory ------------------------------------------------ */

    /* The number of devices: 0 where there is no driver. Takes no memory on them. */
    int (*devices)(void);
    /* Describes device 0 .. devices() - 1. Errors: DEVICE. */
    gpuzip_status (*describe)(int device, ops_device *about);

    /* device: which one, for backends with several. threads: CPU threads, 0 for
     * one a core. isa: host string or NULL, restricts the instruction set
     * ("c", "avx2", "avx512", "avx512vnni"); for tests. */
    gpuzip_status (*open)(ops_context **ctx, int device, int threads, const char *isa);
    void (*close)(ops_context *ctx); /* accepts NULL */

    /* Zeroed memory, 64-byte aligned, released with release() (accepts NULL).
     * Errors: MEMORY. */
    gpuzip_status (*alloc)(ops_context *ctx, void **ptr, size_t bytes);
    void (*release)(ops_context *ctx, void *ptr);
    /* host_src may change once this returns, unless it is of host_alloc(): then not before
     * a wait_event() or sync(). */
    gpuzip_status (*upload)(ops_context *ctx, void *dst, const void *host_src, size_t bytes);
    gpuzip_status (*download)(ops_context *ctx, void *host_dst, const void *src, size_t bytes);
    gpuzip_status (*sync)(ops_context *ctx);
    /* Bytes of the device's memory, available and total. Errors: DEVICE. */
    gpuzip_status (*memory)(ops_context *ctx, uint64_t *available, uint64_t *total);

    /* The operations below need scratch memory on the device while they run: scratch_bytes() for
     * passes of so many rows whose widest linear layer has so many columns. They allocate it on
     * demand, or reserve() does in advance. Errors: MEMORY, DEVICE. */
    size_t (*scratch_bytes)(int rows, int columns);
    gpuzip_status (*reserve)(ops_context *ctx, int rows, int columns);

    /* -- the queue -------------------------------------------------------- */

    /* Zeroed host memory that the device copies from and to while the host does other
     * work; released with host_release() (accepts NULL). Errors: MEMORY. */
    gpuzip_status (*host_alloc)(ops_context *ctx, void **ptr, size_t bytes);
    void (*host_release)(ops_context *ctx, void *ptr);
    /* Queues a copy to host_dst, of host_alloc(); complete after a wait_event() for a later
     * event(), or a sync(). */
    gpuzip_status (*fetch)(ops_context *ctx, void *host_dst, const void *src, size_t bytes);
    /* event() puts event 0 .. OPS_EVENTS - 1 after all queued work, wherever it stood before;
     * wait_event() waits for the work before it, for none if it was never put. Errors: DEVICE. */
    gpuzip_status (*event)(ops_context *ctx, int event);
    gpuzip_status (*wait_event)(ops_context *ctx, int event);

    /* Graphs save the cost of queueing the same operations repeatedly. Calls from
     * graph_begin() to graph_end() do not run; they are recorded with all arguments, and
     * graph_replay() queues them. Only operations of a forward pass and of mixing may be recorded,
     * after reserve() and after one such call without a graph; their rows are fixed, while tokens,
     * positions and the like are read from device memory at each replay. graph_end() must follow
     * each graph_begin(), whatever failed between them; if it fails (DEVICE), these operations
     * cannot be recorded, but run. All four are NULL where nothing would be saved. */
    gpuzip_status (*graph_begin)(ops_context *ctx);
    gpuzip_status (*graph_end)(ops_context *ctx, ops_graph **graph);
    gpuzip_status (*graph_replay)(ops_context *ctx, const ops_graph *graph);
    void (*graph_destroy)(ops_context *ctx, ops_graph *graph); /* accepts NULL */

    /* Packs a matrix for linear() (and nothing else); src need not outlive the
     * call. Errors: MEMORY. */
    gpuzip_status (*matrix_create)(ops_context *ctx, ops_matrix **m, const ops_weights *src);
    void (*matrix_destroy)(ops_context *ctx, ops_matrix *m);

    /* A KV cache of [layers][slots][kv_heads] sequences: position 0, and a ring of the last
     * positions, at least window + run - 1 of them. A row attends to `window` positions;
     * runs of rows whose positions exceed the window have at most `run` rows. bits 8 or 12.
     * Errors: MEMORY. */
    gpuzip_status (*kv_create)(ops_context *ctx, ops_kv **kv, int layers, int slots, int window,
                               int run, int kv_heads, int head_dim, int bits);
    void (*kv_destroy)(ops_context *ctx, ops_kv *kv);
    /* Device bytes that kv_create() with these arguments takes. */
    size_t (*kv_bytes)(int layers, int slots, int window, int run, int kv_heads, int head_dim,
                       int bits);

    /* -- the forward pass ------------------------------------------------- */

    /* x[r][i] = (float)w[token][i] * scale[token] (+ position[pos][i] unless
     * position is NULL). w is [vocab][dim] of int16_t, whatever the file's width.
     * x: [rows][dim]. */
    gpuzip_status (*embed)(ops_context *ctx, float *x, const ops_batch *batch, const int16_t *w,
                           const float *scale, const float *position, int dim);

    /* Normalises rows x[rows][dim], then writes y (unless NULL) and the rows
     * quantised by QUANT_ROW(y); rows, dim and bits are q's. y may be x.
     * Each row first becomes integers: with 2^p <= max|x| < 2^(p+1) (p from the
     * float's exponent; a row whose max is below 2^-100 is taken as zero),
     * u[i] = rint(x[i] * 2^(20-p)), |u| <= 2^21; the factor 2^(20-p) is exact
     * and in binary32's range. S = sum u[i], Q = sum u[i]^2, s64.
     * RMS:   ms = (float)Q / (float)dim
     *        r = 1 / sqrt(ms * 2^(2p-40) + eps);  y[i] = (x[i] * r) * gain[i]
     * LAYER: m = floor((2 S + dim) / (2 dim)), the mean rounded to an integer;
     *        V = sum (u[i]-m)^2 in s64;  S' = S - m dim
     *        mean = ((float)S / (float)dim) * 2^(p-20)
     *        c = (float)S' / (float)dim
     *        var = max((float)V / (float)dim - c * c, 0.25) * 2^(2p-40); the
     *              rounding to u hides no less, and y stays finite
     *        r = 1 / sqrt(var + eps);  y[i] = ((x[i] - mean) * r) * gain[i] + bias[i]
     * A zero row has S = Q = V = 0 and p = 0; y takes its x[i] as they are. The
     * product with 2^(2p-40) is det_scale2(), which takes two steps, for the power
     * may be outside binary32's range. gain [dim]; bias [dim], for LAYER. */
    gpuzip_status (*norm)(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                          const float *bias, float eps, float *y, ops_qrows *q);

    /* Quantises act(x) row by row: QUANT_ROW(act(x)). x: [rows][dim], or
     * [rows][2 dim] for SWIGLU; rows, dim and bits are q's. */
    gpuzip_status (*quantize)(ops_context *ctx, ops_act act, const float *x, ops_qrows *q);

    /* out[r][n] = ((float)acc * q.scale[r]) * w.scale[n] (+ bias[n]) and, with a
     * residual, residual[r][n] + that; acc = sum_k q[r][k] * w[n][k], exact (s64).
     * out, residual: [rows][n]; bias [n]; residual and bias may be NULL; out may
     * be residual. */
    gpuzip_status (*linear)(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                            const float *bias, const float *residual, float *out);

    /* Turns rows of [heads][head_dim] q, [kv_heads][head_dim] k and the same of
     * v, qkv: [rows][(heads + 2 kv_heads) head_dim], into quantised queries and
     * cache entries.
     * Rotation (rotary position embedding, arXiv:2104.09864; rotate-half pairs
     * i and i + head_dim/2), for q and k when rope has tables, head by head:
     * with 2^p <= max|h| < 2^(p+1): a[i] = rint(h[i] * 2^(22-p)), |a| <= 2^23 (a
     * head whose max is below 2^-100 is zero);
     *     r[i]       = a[i] * cosine[pos][i] - a[i + d/2] * sine[pos][i]
     *     r[i + d/2] = a[i + d/2] * cosine[pos][i] + a[i] * sine[pos][i]
     * in s64, with the tables of rope in Q30; then
     * f[i] = (float)r[i] and unit = 2^(p-52). Without rotation f = h, unit = 1.
     * A product with unit is det_scale2(), as in norm().
     * q: QUANT_ROW(f, 16256), scale * unit; the same for the sink's queries, with
     * the rotation of position window - 1.
     * k, v: QUANT_ROW(f, 2047 or 127 by the cache's bits), scale * unit, into
     * the cache at [layer][slot][kv_head][pos]. */
    gpuzip_status (*qkv)(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                         const ops_rope *rope, const ops_queries *q, ops_kv *kv, int layer);

    /* Causal attention of every row over a sliding window of W = kv_create()'s `window` positions
     * of its slot, j = max(0, pos - W + 1) .. pos, and where pos >= W also over j = 0, the
     * attention sink (StreamingLLM, arXiv:2309.17453); the query head h reads KV head
     * h / (heads / kv_heads). For each row and head:
     *     qs   = q.scale * factor      (factor = log2(e) / sqrt(head_dim) mostly)
     *     s_j  = ((float)(sum_i q[i] k_j[i]) * k_scale_j) * qs
     *            (the sink with q.sink and q.sink_scale)
     *     e_j  = det_exp2f(s_j - max_j s_j)
     *     D    = sum_j rint(e_j * 2^24)                                  (s64)
     *     vmax = max_j v_scale_j;  inv = 16256 / vmax   (vmax < 2^-100: out = 0)
     *     w_j  = rint((e_j * v_scale_j) * inv)          (0 .. 16256)
     *     A[i] = sum_j w_j v_j[i]                                        (s64)
     *     out[i] = (float)A[i] * ((vmax / 16256) * (2^24 / (float)D))
     * D >= 2^24, for the maximum gives 1. out: [rows][heads][head_dim]. */
    gpuzip_status (*attention)(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                               int heads, float factor, const ops_kv *kv, int layer, float *out);

    /* -- mixing ----------------------------------------------------------- */

    /* The weighted product of experts as an integer distribution. For one row:
     *     l_k[i] = rint(max((x[i] - max x) * (log2(e) 2^16), -2^24)) for logits x
     *              (the constant is the float 94548.4609375), counts[i] for counts
     *     t[i] = sum_k alpha_k * l_k[i]                       (s64, Q32 bits)
     *     d[i] = max((t[i] - max t) >> 16, -40 * 2^16)        (floor; Q16 bits)
     *     w[i] = rint(det_exp2f((float)d[i] * 2^-16) * 2^30)  (0 .. 2^30)
     * Normalisers of the experts cancel in Z, so they are not formed. With
     * C[i] = w[0] + .. + w[i-1] (u64), Z = C[vocab]; each escape symbol has
     * weight Z >> 20 (C continues over them; Z' = the total). h = the smallest
     * shift with Z' >> h < 2^34, M = 2^30 - (vocab + escapes):
     *     start[i] = ((C[i] >> h) * M) / (Z' >> h) + i        (u64, floor)
     *     freq[i]  = start[i+1] - start[i]                    (>= 1; total 2^30)
     *
     * With adaptive, its alphas (if it learns them) stand for alpha_k, and its bias[i]
     * joins the product: t[i] += bias[i] * 2^16. (|t| < 2^48.) Candidates change
     * their symbols' weights. With u = d[x] and w = w[x] of a candidate's symbol x:
     *     o     = its logit so far, Q8:
     *             min(max((u + 30 * 2^16 - log2_q16(max(Z - w, 1))) >> 8, -7680), 7680)
     *             (log2_q16() is det_log2_u64_q16())
     *     level = 0, 1, 2, 3, 4 for o < -2048, < -1024, < -256, < 512, else
     *     set   = (order * 5 + level) * 3 + hits - 1;  other = OPS_ORDER_SETS + selector
     *     F     = feature[0 .. 7], o, 256
     *     delta = min(max((sum_j (weights[set][j] + weights[other][j]) * F[j]) >> 8,
     *                     -24 * 2^16), 24 * 2^16)
     *     w'    = rint(det_exp2f((float)(u + delta) * 2^-16) * 2^30)
     * w' (u64, <= 2^54) takes the place of w[x] in C and Z: Z >= 64, for the greatest weight
     * is 2^30 and falls by 24 bits at most, and the total is < 2^59.
     *
     * mix_encode: the interval of symbol[r], for every row.
     * mix_decode: the symbol whose interval holds target[r] (< 2^30).
     * mix_cdf: start[r][0 .. vocab + escapes], the last one 2^30; for tests and
     * library users; it learns nothing.
     *
     * Learning. mix_encode and mix_decode add each row to the pending sums of its state, in
     * integers and thus in any order; mix_learn() takes the steps. Results for state s equal
     * those of a run with the rows of that state alone: rows of other states in the same
     * call, and their order, change nothing. For one row with the symbol y (of either), w
     * the weights as changed by candidates, Z' the total with escapes:
     *     inv  = 2^20 / (float)Z'
     *     p(i) = rint((float)w[i] * inv)    for i < vocab, Q20, <= 2^20
     * Bias:  E[i] += p(i) for all i < vocab;  N[y] += 1 unless y is an escape
     * Weights, for each candidate x and both sets, j = 0 .. 9, q = (p(x) + 8) >> 4 (Q16):
     *     e = (x == y ? 2^16 : 0) - q
     *     G[set][j] += e * F[j]
     *     A[set][j] += ((q * (2^16 - q)) >> 16) * (F[j]^2 >> 8)
     *     R[set][j] += ((|e| + 8) >> 4) * ((|F[j]| * sum_i |F[i]|) >> 8)
     * Alphas, unless y is an escape, for each expert k with v[i] = l_k[i] >> 12 (Q4, floor),
     * a[i] = w[i] >> 10 and sums over the i < vocab that are no candidates:
     *     S0 = sum a[i],  S1 = sum a[i] v[i],  S2 = sum a[i] v[i]^2      (<= 2^62)
     *     M1 = floor(S1 * 2^8 / S0),  M2 = floor(S2 / S0);  0 if S0 is
     *     R  = 2^20 - sum p(x) (>= -8, for they round)     sums over candidates
     *     m1 = (R M1 + 2^8 sum p(x) v[x]) >> 20            (Q12)
     *     m2 = (R M2 + sum p(x) v[x]^2) >> 20              (Q8)
     *     g[k] += v[y] * 2^8 - m1
     *     H[k] += max(m2 - (m1^2 >> 16), 0)
     * Shifts are floors. For OPS_LEARN_ROWS rows and 16 candidates a row, |G| <= 2^58,
     * A <= 2^61, R <= 2^63, E <= 2^45, |g| <= 2^47 and H <= 2^49: all are s64. */
    gpuzip_status (*mix_encode)(ops_context *ctx, const ops_mix *mix, int rows,
                                const int32_t *symbol, ops_interval *out);
    gpuzip_status (*mix_decode)(ops_context *ctx, const ops_mix *mix, int rows,
                                const uint32_t *target, ops_symbol *out);
    gpuzip_status (*mix_cdf)(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start);

    /* Device memory for config->states adaptive states, all of them reset. Errors: MEMORY.
     * adaptive_bytes() is the size. All of these are NULL where a device does not learn. */
    gpuzip_status (*adaptive_create)(ops_context *ctx, ops_adaptive **a,
                                     const ops_adaptive_config *config);
    void (*adaptive_destroy)(ops_context *ctx, ops_adaptive *a); /* accepts NULL */
    size_t (*adaptive_bytes)(const ops_adaptive_config *config);
    /* Resets states first .. first + n - 1: alphas and weights to those of the configuration,
     * biases and all sums to 0. Other states keep everything. */
    gpuzip_status (*adaptive_reset)(ops_context *ctx, ops_adaptive *a, int first, int n);
    /* Copies the parameters of one state to host memory; each pointer may be NULL: bias
     * [vocab] Q16, alpha [experts] Q16, weights [OPS_SETS][OPS_WEIGHTS] Q16. */
    gpuzip_status (*adaptive_read)(ops_context *ctx, const ops_adaptive *a, int state,
                                   int32_t *bias, uint32_t *alpha, int32_t *weights);

    /* Takes one step of every parameter of states 0 .. states - 1 from the pending sums of all
     * parts, of any number of rows up to OPS_LEARN_ROWS a state. Other states keep their
     * parameters and their pending sums. A state without rows since its last step does not
     * change. mixmath.h has the steps, their constants and why they do not overshoot. E, N,
     * G, A, R, g and H are 0 afterwards; T, A* and H* are kept until a reset clears them.
     * Bias, if it is learnt, for every i < vocab:
     *     K     = 2 * (T[i] + E[i] + 2 * 2^20)
     *     step  = ((float)(N[i] * 2^20 - E[i]) * 189096.921875) / (float)(N[i] * 2^20 + E[i] + K)
     *     T[i]  = min(T[i] + E[i], 60 * 2^20)
     *     bias[i] += rint(step), then within +-OPS_BIAS_MAX
     * Weights, for every set and j:
     *     A*   += A
     *     D     = min(600 * 2^8 + (A* >> 16), 4000 * 2^8) + 16 * (A >> 16)
     *     step  = floor((4 G + D') / (2 D')),    D' = max(D, 3 * (R >> 12))
     *     weights += step, then within +-OPS_WEIGHT_MAX
     * Alphas, if they are learnt, for each of K experts:
     *     H*   += H
     *     D     = 200 * 2^8 + ((123 * (H* + (K - 1) * H)) >> 8)
     *     step  = floor((2 * (g * 2^12) + D) / (2 D)), within +-2^14
     *     alpha += step, then within start / 5 .. OPS_LEARNT_MAX
     * (float) is of s64. */
    gpuzip_status (*mix_learn)(ops_context *ctx, ops_adaptive *a, int states);

    /* Makes decoded symbols the next input: token[r] = found[r].symbol, or bos if that is not below
     * vocab; and pos[r] += 1, unless pos is NULL. */
    gpuzip_status (*next_tokens)(ops_context *ctx, const ops_symbol *found, int rows, int vocab,
                                 int32_t bos, int32_t *token, int32_t *pos);

    /* Naive Bayes: for every symbol[i] in [0, vocab), s = state[i] (0 if state is NULL):
     * count[s][symbol] += 1; then counts[s][a] = det_log2_q16(count[s][a] + 1) for those
     * that changed (repeats count as often as they occur; symbols >= vocab are skipped).
     * count, counts: [states][vocab]; state, symbol: [n]. */
    gpuzip_status (*count_add)(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                               const int32_t *state, const int32_t *symbol, int n);

    /* Operations of weights that learn; NULL where a device does not learn weights. */
    const ops_learn *learn;

    /* -- measurement ------------------------------------------------------ */

    /* The int8 multiply-add peak of this context, in operations (2 a
     * multiply-add) a second, measured with the instructions that linear() uses. */
    gpuzip_status (*measure_peak)(ops_context *ctx, double *ops_per_second);

    /* The same for a large product of two s8 matrices by a library (cuBLAS); 0 without one. Errors:
     * MEMORY, DEVICE. */
    gpuzip_status (*measure_product)(ops_context *ctx, double *ops_per_second);

    /* Measures the speed of a plain copy within the device's memory, in bytes read and written a
     * second, with buffers much larger than its caches. Errors: MEMORY. */
    gpuzip_status (*measure_copy)(ops_context *ctx, double *bytes_per_second);

    /* A named range of the host's time, for profilers; ranges nest. name: static. */
    void (*range_push)(const char *name);
    void (*range_pop)(void);
} ops;

/* The plain C and SIMD backend; always available. */
extern const ops ops_cpu;

#endif
