/* cpu_attention_tile.h: the products and scores of attention() and attention_back(), for the
 * instruction set that a compilation is for. cpu_attention.h has the layout of the cache and why
 * the sums are exact. */
#ifndef GPUZIP_CPU_ATTENTION_TILE_H
#define GPUZIP_CPU_ATTENTION_TILE_H

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

/* max |x[i]|. As integers, for maxima of integers vectorise. */
static inline float max_magnitude(const float *x, int n)
{
    int32_t max = 0;
    for (int i = 0; i < n; i++) {
        int32_t bits = (int32_t)(det_float_bits(x[i]) & 0x7fffffff);
        max = bits > max ? bits : max;
    }
    return det_bits_float((uint32_t)max);
}

/* QUANT_ROW(f, qmax) into q[n]; returns the scale. */
static inline float quantize_head(const float *f, int n, int qmax, int16_t *q)
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

/* Rotates h[dim] into f[dim], which is in units of 2^*unit. cosine, sine: [dim / 2] Q30. turn: 1,
 * or -1 to rotate back. */
static inline void rotate_head(const float *h, int dim, const int32_t *cosine, const int32_t *sine,
                               int turn, float *f, int *unit)
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
        int64_t s = turn * sine[i];
        f[i] = (float)((int64_t)a[i] * cosine[i] - a[i + half] * s);
        f[i + half] = (float)((int64_t)a[i + half] * cosine[i] + a[i] * s);
    }
    *unit = p - 52;
}

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
static inline void sum_tile(int32_t sum[QUERIES][LANES], const int16_t *const *a, const int16_t *b,
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
static inline int window_begin(const ops_kv *kv, int pos)
{
    return pos < kv->window ? 0 : pos - kv->window + 1;
}

static inline void collect_queries(const attention_job *job, const attention_item *item,
                                   query_set *set)
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
static inline size_t segment_at(const ops_kv *kv, const query_set *set, int at)
{
    return set->sequence * kv->ring + (set->begin + at) % kv->ring;
}

/* dot[q][l] = the product of q[q] and the key at position l of a block of LANES, rounded once. */
static inline void dot_keys(float dot[QUERIES][LANES], const int16_t *const *q, const int16_t *k,
                            int dim, int queries)
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

static inline void form_scores(const attention_job *job, const query_set *set, float *score)
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
static inline float max_score(const float *s, int n)
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
static inline void gather_scales(const ops_kv *kv, const query_set *set, float *v_scale)
{
    for (int pos = 0; pos < set->positions; pos += ATTENTION_SEGMENT)
        memcpy(v_scale + pos, kv->v_scale + segment_at(kv, set, pos),
               ATTENTION_SEGMENT * sizeof *v_scale);
}

/* The score of a query with the attention sink. */
static inline float sink_score(const ops_kv *kv, const query_set *set, int query)
{
    const int16_t *q = set->sink[query], *k = kv->sink_k + set->sequence * kv->head_dim;
    int64_t sum = 0;
    for (int i = 0; i < kv->head_dim; i++)
        sum += q[i] * k[i];
    return ((float)sum * kv->sink_k_scale[set->sequence]) * set->sink_scale[query];
}

#endif
