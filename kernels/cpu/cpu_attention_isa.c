/* cpu_attention_isa.c: the inner loops of qkv() and attention(), for the instruction
 * set that this compilation is for. cpu_attention.h has the layout of the cache and
 * why the sums are exact. */
#include "cpu_attention.h"
#include "cpu_simd.h"
#include "detmath.h"

#if defined(__AVX512BW__)
#define VECS 4 /* 4 queries x 64 lanes: 16 of 32 registers hold sums */
#else
#define VECS 1 /* 4 queries x 16 lanes: 8 of 16 ymm hold sums */
#endif
#define LANES   (16 * VECS)
#define QUERIES 4 /* of a tile */

/* -- qkv ------------------------------------------------------------------- */

/* max |x[i]|. As integers, for maxima of integers vectorise. */
static float max_magnitude(const float *x, int n)
{
    int32_t max = 0;
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)(det_float_bits(x[i]) & 0x7fffffff);
        max = bits > max ? bits : max;
    }
    return det_bits_float((uint32_t)max);
}

/* QUANT_ROW(f, qmax) into q[n]; returns the scale. */
static float quantize_head(const float *f, int n, int qmax, int16_t *q)
{
    float max = max_magnitude(f, n);
    if (max < 0x1p-100f) {
        memset(q, 0, (size_t)n * sizeof *q);
        return 0;
    }
    float inv = (float)qmax / max;
    for (int i = 0; i < n; i++)
        q[i] = (int16_t)det_rint_s32(f[i] * inv);
    return max / (float)qmax;
}

/* Rotates h[dim] into f[dim], which is in units of 2^*unit. cosine, sine: [dim / 2] Q30. */
static void rotate_head(const float *h, int dim, const int32_t *cosine, const int32_t *sine,
                        float *f, int *unit)
{
    int32_t a[OPS_MAX_HEAD_DIM];
    float max = max_magnitude(h, dim);
    if (max < 0x1p-100f) {
        memset(f, 0, (size_t)dim * sizeof *f);
        *unit = 0;
        return;
    }
    int p = det_exponent(max), half = dim / 2;
    float scale = det_pow2(22 - p);
    for (int i = 0; i < dim; i++)
        a[i] = det_rint_s32(h[i] * scale);
    for (int i = 0; i < half; i++) {
        f[i] = (float)((int64_t)a[i] * cosine[i] - (int64_t)a[i + half] * sine[i]);
        f[i + half] = (float)((int64_t)a[i + half] * cosine[i] + (int64_t)a[i] * sine[i]);
    }
    *unit = p - 52;
}

/* Rotates a head (if the job does) by a row of job->rope and quantises it; returns the scale. */
static float prepare_head(const qkv_job *job, const float *h, int rope_row, int qmax, int16_t *q)
{
    int dim = job->kv->head_dim;
    if (!job->rope->cosine)
        return quantize_head(h, dim, qmax, q);
    float f[OPS_MAX_HEAD_DIM];
    int unit;
    size_t at = (size_t)rope_row * (dim / 2);
    rotate_head(h, dim, job->rope->cosine + at, job->rope->sine + at, f, &unit);
    return det_scale2(quantize_head(f, dim, qmax, q), unit);
}

static void store_queries(const qkv_job *job, const float *h, int row)
{
    const ops_queries *q = job->q;
    int dim = job->kv->head_dim, pos = job->batch->pos[row];
    for (int i = 0; i < job->heads; i++, h += dim) {
        size_t at = (size_t)row * job->heads + i;
        q->scale[at] =
            prepare_head(job, h, pos & (job->rope->rows - 1), OPS_Q15_MAX, q->q + at * dim);
        if (pos >= job->kv->window)
            q->sink_scale[at] =
                prepare_head(job, h, job->rope->rows, OPS_Q15_MAX, q->sink + at * dim);
    }
}

/* h: the row's [kv_heads][head_dim]. */
static void store_keys(const qkv_job *job, const float *h, int row, int qmax)
{
    const ops_kv *kv = job->kv;
    int dim = kv->head_dim, pos = job->batch->pos[row], ring = pos % kv->ring;
    int16_t q[OPS_MAX_HEAD_DIM];
    for (int i = 0; i < kv->kv_heads; i++, h += dim) {
        size_t sequence = kv_sequence(kv, job->layer, job->batch->slot[row], i);
        size_t at = sequence * kv->ring + ring;
        float scale = prepare_head(job, h, pos & (job->rope->rows - 1), qmax, q);
        int16_t *k = kv->k + (at - ring % 16) * dim + ring % 16 * 2;
        for (int d = 0; d < dim; d += 2)
            memcpy(k + (size_t)d * 16, q + d, 2 * sizeof *q);
        kv->k_scale[at] = scale;
        if (pos == 0) {
            memcpy(kv->sink_k + sequence * dim, q, (size_t)dim * sizeof *q);
            kv->sink_k_scale[sequence] = scale;
        }
    }
}

/* The same of values. */
static void store_values(const qkv_job *job, const float *h, int row, int qmax)
{
    const ops_kv *kv = job->kv;
    int dim = kv->head_dim, pos = job->batch->pos[row], ring = pos % kv->ring;
    int16_t q[OPS_MAX_HEAD_DIM];
    for (int i = 0; i < kv->kv_heads; i++, h += dim) {
        size_t sequence = kv_sequence(kv, job->layer, job->batch->slot[row], i);
        size_t at = sequence * kv->ring + ring;
        float scale = quantize_head(h, dim, qmax, q);
        int16_t *v = kv->v + (at - ring % 2) * kv->v_dim + ring % 2;
        for (int d = 0; d < dim; d++)
            v[2 * d] = q[d];
        kv->v_scale[at] = scale;
        if (pos == 0) {
            memcpy(kv->sink_v + sequence * dim, q, (size_t)dim * sizeof *q);
            kv->sink_v_scale[sequence] = scale;
        }
    }
}

static void store_row(const void *qkv, int row, int thread)
{
    (void)thread; /* needs no scratch */
    const qkv_job *job = qkv;
    size_t dim = job->kv->head_dim, kv_heads = job->kv->kv_heads, heads = job->heads;
    int qmax = job->kv->bits == 8 ? OPS_Q8_MAX : OPS_Q12_MAX;
    const float *h = job->qkv + (size_t)row * (heads + 2 * kv_heads) * dim;
    store_queries(job, h, row);
    store_keys(job, h + heads * dim, row, qmax);
    store_values(job, h + (heads + kv_heads) * dim, row, qmax);
}

/* -- attention ------------------------------------------------------------- */

/* sum[q][l] = sum over s < steps of a[q][s] . b[s][l], where the elements are pairs of
 * s16. a[q] is [steps]. b has vecs blocks of 16 lanes a step; the next block is
 * vec_pitch further on, the next step b_pitch (both in s16). */
CPU_INLINE void sum_products(int32_t sum[QUERIES][LANES], const int16_t *const *a, const int16_t *b,
                             size_t b_pitch, size_t vec_pitch, int steps, const int queries,
                             const int vecs)
{
    i32x16 acc[QUERIES][VECS];
    CPU_UNROLL
    for (int q = 0; q < queries; q++) {
        CPU_UNROLL
        for (int v = 0; v < vecs; v++)
            acc[q][v] = i32x16_zero();
    }
    for (int s = 0; s < steps; s++) {
        i32x16 bv[VECS];
        CPU_UNROLL
        for (int v = 0; v < vecs; v++)
            bv[v] = i32x16_load(b + s * b_pitch + v * vec_pitch);
        CPU_UNROLL
        for (int q = 0; q < queries; q++) {
            i32x16 x = i32x16_repeat(a[q] + 2 * (size_t)s);
            CPU_UNROLL
            for (int v = 0; v < vecs; v++)
                acc[q][v] = i32x16_dot(acc[q][v], bv[v], x);
        }
    }
    CPU_UNROLL
    for (int q = 0; q < queries; q++) {
        CPU_UNROLL
        for (int v = 0; v < vecs; v++)
            i32x16_store(&sum[q][16 * v], acc[q][v]);
    }
}

/* sum_products() for any number of queries up to QUERIES, and VECS vecs or 1. */
static void sum_tile(int32_t sum[QUERIES][LANES], const int16_t *const *a, const int16_t *b,
                     size_t b_pitch, size_t vec_pitch, int steps, int queries, int vecs)
{
    switch (vecs == VECS ? queries : QUERIES + queries) {
    case 1:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 1, VECS);
        break;
    case 2:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 2, VECS);
        break;
    case 3:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 3, VECS);
        break;
    case 4:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 4, VECS);
        break;
#if VECS > 1
    case QUERIES + 1:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 1, 1);
        break;
    case QUERIES + 2:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 2, 1);
        break;
    case QUERIES + 3:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 3, 1);
        break;
    default:
        sum_products(sum, a, b, b_pitch, vec_pitch, steps, 4, 1);
        break;
#endif
    }
}

/* The queries of an item, and their inputs. */
typedef struct {
    int count;     /* <= ATTENTION_QUERIES */
    int begin;     /* the first position that they read, rounded down to a segment */
    int positions; /* that they read from there on, in whole segments */
    int pos[ATTENTION_QUERIES];
    const int16_t *q[ATTENTION_QUERIES]; /* [head_dim] each */
    float scale[ATTENTION_QUERIES];      /* scale * factor */
    const int16_t *sink[ATTENTION_QUERIES];
    float sink_scale[ATTENTION_QUERIES];
    float *out[ATTENTION_QUERIES]; /* [head_dim] each */
    size_t sequence;               /* in the cache */
} query_set;

/* The first position of the window of a row at `pos`. */
static int window_begin(const ops_kv *kv, int pos)
{
    return pos < kv->window ? 0 : pos - kv->window + 1;
}

static void collect_queries(const attention_job *job, const attention_item *item, query_set *set)
{
    const ops_kv *kv = job->kv;
    const ops_queries *q = job->q;
    int first = job->batch->pos[item->row], last = job->batch->pos[item->row + item->rows - 1];
    int kv_head = item->head / (job->heads / kv->kv_heads);
    set->count = item->rows * item->heads;
    set->begin = window_begin(kv, first) / ATTENTION_SEGMENT * ATTENTION_SEGMENT;
    set->positions = ((last - set->begin) / ATTENTION_SEGMENT + 1) * ATTENTION_SEGMENT;
    set->sequence = kv_sequence(kv, job->layer, job->batch->slot[item->row], kv_head);
    for (int i = 0; i < set->count; i++) {
        int row = item->row + i / item->heads;
        size_t at = (size_t)row * job->heads + item->head + i % item->heads;
        set->pos[i] = job->batch->pos[row];
        set->q[i] = q->q + at * kv->head_dim;
        set->scale[i] = q->scale[at] * job->factor;
        set->out[i] = job->out + at * kv->head_dim;
        if (set->pos[i] < kv->window)
            continue;
        set->sink[i] = q->sink + at * kv->head_dim;
        set->sink_scale[i] = q->sink_scale[at] * job->factor;
    }
}

/* Where the segment at offset `at` of a set's positions stands in the cache's arrays. */
static size_t segment_at(const ops_kv *kv, const query_set *set, int at)
{
    return set->sequence * kv->ring + (set->begin + at) % kv->ring;
}

/* dot[q][l] = the product of q[q] and the key at position l of a block of LANES, rounded once. */
static void dot_keys(float dot[QUERIES][LANES], const int16_t *const *q, const int16_t *k, int dim,
                     int queries)
{
    int32_t sum[QUERIES][LANES];
    if (dim <= ATTENTION_SEGMENT) {
        sum_tile(sum, q, k, 32, 16 * (size_t)dim, dim / 2, queries, VECS);
        for (int i = 0; i < queries; i++)
            for (int l = 0; l < LANES; l++)
                dot[i][l] = (float)sum[i][l];
        return;
    }
    double total[QUERIES][LANES] = {0};
    for (int d = 0; d < dim; d += ATTENTION_SEGMENT) {
        const int16_t *part[QUERIES];
        int dims = dim - d < ATTENTION_SEGMENT ? dim - d : ATTENTION_SEGMENT;
        for (int i = 0; i < queries; i++)
            part[i] = q[i] + d;
        sum_tile(sum, part, k + 16 * (size_t)d, 32, 16 * (size_t)dim, dims / 2, queries, VECS);
        for (int i = 0; i < queries; i++)
            for (int l = 0; l < LANES; l++)
                total[i][l] += sum[i][l];
    }
    for (int i = 0; i < queries; i++)
        for (int l = 0; l < LANES; l++)
            dot[i][l] = (float)total[i][l];
}

static void form_scores(const attention_job *job, const query_set *set, float *score)
{
    const ops_kv *kv = job->kv;
    for (int pos = 0; pos < set->positions; pos += LANES) {
        size_t at = segment_at(kv, set, pos);
        const float *k_scale = kv->k_scale + at;
        for (int q = 0; q < set->count; q += QUERIES) {
            int queries = set->count - q < QUERIES ? set->count - q : QUERIES;
            float dot[QUERIES][LANES];
            dot_keys(dot, set->q + q, kv->k + at * kv->head_dim, kv->head_dim, queries);
            for (int i = 0; i < queries; i++) {
                float *s = score + (size_t)(q + i) * job->positions + pos;
                for (int l = 0; l < LANES; l++)
                    s[l] = (dot[i][l] * k_scale[l]) * set->scale[q + i];
            }
        }
    }
}

/* The largest of s[n]. As integers of the same order, for maxima of integers vectorise. */
static float max_score(const float *s, int n)
{
    int32_t max = INT32_MIN;
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)det_float_bits(s[i]);
        int32_t key = bits ^ (bits >> 31 & 0x7fffffff);
        max = key > max ? key : max;
    }
    return det_bits_float((uint32_t)(max ^ (max >> 31 & 0x7fffffff)));
}

/* Copies the scales of a set's values to v_scale [positions]. */
static void gather_scales(const ops_kv *kv, const query_set *set, float *v_scale)
{
    for (int pos = 0; pos < set->positions; pos += ATTENTION_SEGMENT)
        memcpy(v_scale + pos, kv->v_scale + segment_at(kv, set, pos),
               ATTENTION_SEGMENT * sizeof *v_scale);
}

/* The score of a query with the attention sink. */
static float sink_score(const ops_kv *kv, const query_set *set, int query)
{
    const int16_t *q = set->sink[query], *k = kv->sink_k + set->sequence * kv->head_dim;
    int64_t sum = 0;
    for (int i = 0; i < kv->head_dim; i++)
        sum += q[i] * k[i];
    return ((float)sum * kv->sink_k_scale[set->sequence]) * set->sink_scale[query];
}

#define SUM_SEGMENTS 64 /* of positions, whose exponentials a lane's s32 adds: 2^30 */

/* The weights of a query in [0, OPS_Q15_MAX]. */
typedef struct {
    float unit;     /* the value of weight 1 */
    int32_t sink;   /* the sink's weight */
    int begin, end; /* the window, offsets into the set's positions */
    bool has_sink;
    float sink_score; /* with has_sink */
} query_weights;

/* Turns the scores of one query into weights. score, weight, v_scale: [positions]; weights outside
 * the window are zero. v_max: of the window and the sink. */
static void form_weights(query_weights *w, float *score, int16_t *weight, const float *v_scale,
                         float v_max, float sink_v_scale, int positions)
{
    w->sink = 0;
    w->unit = 0;
    if (v_max < 0x1p-100f) {
        memset(weight, 0, (size_t)positions * sizeof *weight);
        return;
    }
    for (int j = 0; j < w->begin; j++)
        score[j] = -INFINITY; /* whose exponential is 0 */
    for (int j = w->end; j < positions; j++)
        score[j] = -INFINITY;
    float max = max_score(score + w->begin, w->end - w->begin), inv = OPS_Q15_MAX / v_max;
    int64_t total = 0;
    if (w->has_sink) {
        max = w->sink_score > max ? w->sink_score : max;
        float e = det_exp2f(w->sink_score - max);
        total = det_rint_s32(e * 0x1p24f);
        w->sink = det_rint_s32((e * sink_v_scale) * inv);
    }
    for (int begin = 0, end; begin < positions; begin = end) {
        int32_t sum[ATTENTION_SEGMENT] = {0}; /* <= SUM_SEGMENTS * 2^24 */
        end = positions - begin < SUM_SEGMENTS * ATTENTION_SEGMENT
                  ? positions
                  : begin + SUM_SEGMENTS * ATTENTION_SEGMENT;
        for (int at = begin; at < end; at += ATTENTION_SEGMENT) {
            for (int j = 0; j < ATTENTION_SEGMENT; j++) {
                float e = det_exp2f(score[at + j] - max);
                sum[j] += det_rint_s32(e * 0x1p24f);
                weight[at + j] = (int16_t)det_rint_s32((e * v_scale[at + j]) * inv);
            }
        }
        for (int j = 0; j < ATTENTION_SEGMENT; j++)
            total += sum[j];
    }
    w->unit = (v_max / OPS_Q15_MAX) * (0x1p24f / (float)total);
}

static void mix_values(const attention_job *job, const query_set *set, const int16_t *weight,
                       double *total)
{
    const ops_kv *kv = job->kv;
    size_t dims = kv->v_dim;
    memset(total, 0, set->count * dims * sizeof *total);
    for (int pos = 0; pos < set->positions; pos += ATTENTION_SEGMENT) {
        const int16_t *v = kv->v + segment_at(kv, set, pos) * dims;
        for (int q = 0; q < set->count; q += QUERIES) {
            int queries = set->count - q < QUERIES ? set->count - q : QUERIES;
            const int16_t *w[QUERIES];
            for (int i = 0; i < queries; i++)
                w[i] = weight + (size_t)(q + i) * job->positions + pos;
            for (size_t d = 0, lanes; d < dims; d += lanes) {
                int32_t sum[QUERIES][LANES];
                lanes = dims - d >= LANES ? LANES : 16;
                sum_tile(sum, w, v + 2 * d, 2 * dims, 32, ATTENTION_SEGMENT / 2, queries,
                         (int)lanes / 16);
                for (int i = 0; i < queries; i++)
                    for (size_t l = 0; l < lanes; l++)
                        total[(q + i) * dims + d + l] += sum[i][l];
            }
        }
    }
}

/* Weighs the keys of every query of a set. */
static void weigh_keys(const attention_job *job, const query_set *set,
                       const attention_scratch *scratch, query_weights *weights)
{
    const ops_kv *kv = job->kv;
    float v_max = 0, sink_v_scale = kv->sink_v_scale[set->sequence];
    gather_scales(kv, set, scratch->v_scale);
    for (int i = 0; i < set->count; i++) {
        query_weights *w = &weights[i];
        int pos = set->pos[i];
        *w = (query_weights){.begin = window_begin(kv, pos) - set->begin,
                             .end = pos - set->begin + 1,
                             .has_sink = pos >= kv->window};
        if (i == 0 || pos != set->pos[i - 1])
            v_max = max_magnitude(scratch->v_scale + w->begin, w->end - w->begin);
        if (w->has_sink) {
            w->sink_score = sink_score(kv, set, i);
            v_max = sink_v_scale > v_max ? sink_v_scale : v_max;
        }
        size_t at = (size_t)i * job->positions;
        form_weights(w, scratch->score + at, scratch->weight + at, scratch->v_scale, v_max,
                     sink_v_scale, set->positions);
    }
}

static void attend(const attention_job *job, const attention_item *item,
                   const attention_scratch *scratch)
{
    const ops_kv *kv = job->kv;
    query_set set;
    query_weights weights[ATTENTION_QUERIES];
    collect_queries(job, item, &set);
    form_scores(job, &set, scratch->score);
    weigh_keys(job, &set, scratch, weights);
    mix_values(job, &set, scratch->weight, scratch->total);
    const int16_t *sink_v = kv->sink_v + set.sequence * kv->head_dim;
    for (int i = 0; i < set.count; i++) {
        const double *total = scratch->total + (size_t)i * kv->v_dim;
        double sink = weights[i].sink;
        for (int d = 0; d < kv->head_dim; d++)
            set.out[i][d] = (float)(total[d] + sink * sink_v[d]) * weights[i].unit;
    }
}

const attention_path CPU_ISA(attention_path) = {.store_row = store_row, .attend = attend};
