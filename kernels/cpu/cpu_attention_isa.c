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

/* Rotates (if the job does and the head is not a value's) and quantises a head; returns the
 * scale. */
static float prepare_head(const qkv_job *job, const float *h, int pos, bool rotate, int qmax,
                          int16_t *q)
{
    int dim = job->kv->head_dim;
    if (!rotate || !job->cosine)
        return quantize_head(h, dim, qmax, q);
    float f[OPS_MAX_HEAD_DIM];
    int unit;
    size_t at = (size_t)pos * (dim / 2);
    rotate_head(h, dim, job->cosine + at, job->sine + at, f, &unit);
    return det_scale2(quantize_head(f, dim, qmax, q), unit);
}

static void store_row(const void *qkv, int row, int thread)
{
    (void)thread; /* needs no scratch */
    const qkv_job *job = qkv;
    const ops_kv *kv = job->kv;
    int dim = kv->head_dim, pos = job->batch->pos[row], slot = job->batch->slot[row];
    int qmax = kv->bits == 8 ? OPS_Q8_MAX : OPS_Q12_MAX;
    const float *h = job->qkv + (size_t)row * (job->heads + 2 * kv->kv_heads) * dim;
    for (int i = 0; i < job->heads; i++, h += dim) {
        size_t at = (size_t)row * job->heads + i;
        job->q_scale[at] = prepare_head(job, h, pos, true, OPS_Q15_MAX, job->q + at * dim);
    }
    int16_t q[OPS_MAX_HEAD_DIM];
    for (int i = 0; i < kv->kv_heads; i++, h += dim) {
        size_t at = kv_sequence(kv, job->layer, slot, i) * kv->positions + pos;
        kv->k_scale[at] = prepare_head(job, h, pos, true, qmax, q);
        int16_t *k = kv->k + (at - pos % 16) * dim + pos % 16 * 2;
        for (int d = 0; d < dim; d += 2)
            memcpy(k + (size_t)d * 16, q + d, 2 * sizeof *q);
    }
    for (int i = 0; i < kv->kv_heads; i++, h += dim) {
        size_t at = kv_sequence(kv, job->layer, slot, i) * kv->positions + pos;
        kv->v_scale[at] = prepare_head(job, h, pos, false, qmax, q);
        int16_t *v = kv->v + (at - pos % 2) * kv->v_dim + pos % 2;
        for (int d = 0; d < dim; d++)
            v[2 * d] = q[d];
    }
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
    int positions; /* that the last row reads, padded to segments */
    int pos[ATTENTION_QUERIES];
    const int16_t *q[ATTENTION_QUERIES]; /* [head_dim] each */
    float scale[ATTENTION_QUERIES];      /* q_scale * factor */
    float *out[ATTENTION_QUERIES];       /* [head_dim] each */
    size_t first;                        /* position 0 of the sequence in the cache */
} query_set;

static void collect_queries(const attention_job *job, const attention_item *item, query_set *set)
{
    const ops_kv *kv = job->kv;
    int last = job->batch->pos[item->row + item->rows - 1];
    int kv_head = item->head / (job->heads / kv->kv_heads);
    set->count = item->rows * item->heads;
    set->positions = (last / ATTENTION_SEGMENT + 1) * ATTENTION_SEGMENT;
    set->first = kv_sequence(kv, job->layer, job->batch->slot[item->row], kv_head) * kv->positions;
    for (int i = 0; i < set->count; i++) {
        int row = item->row + i / item->heads;
        size_t at = (size_t)row * job->heads + item->head + i % item->heads;
        set->pos[i] = job->batch->pos[row];
        set->q[i] = job->q + at * kv->head_dim;
        set->scale[i] = job->q_scale[at] * job->factor;
        set->out[i] = job->out + at * kv->head_dim;
    }
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
        size_t at = set->first + pos;
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

/* The largest of s[n]; n is a multiple of 16. */
static float max_score(const float *s, int n)
{
    float max[16], largest = s[0];
    memcpy(max, s, sizeof max);
    for (int i = 16; i < n; i += 16)
        for (int l = 0; l < 16; l++)
            max[l] = s[i + l] > max[l] ? s[i + l] : max[l];
    for (int l = 0; l < 16; l++)
        largest = max[l] > largest ? max[l] : largest;
    return largest;
}

/* Turns the scores of one query into weights; returns the value of weight 1. score, weight,
 * v_scale: [positions]; weights beyond pos are zero. */
static float form_weights(float *score, int16_t *weight, const float *v_scale, float v_max, int pos,
                          int positions)
{
    if (v_max < 0x1p-100f) {
        memset(weight, 0, (size_t)positions * sizeof *weight);
        return 0;
    }
    for (int j = pos + 1; j < positions; j++)
        score[j] = -INFINITY; /* whose exponential is 0 */
    float max = max_score(score, positions), inv = OPS_Q15_MAX / v_max;
    int64_t total = 0;
    for (int begin = 0; begin < positions; begin += ATTENTION_SEGMENT) {
        int32_t sum = 0; /* <= 64 * 2^24 */
        for (int j = begin; j < begin + ATTENTION_SEGMENT; j++) {
            float e = det_exp2f(score[j] - max);
            sum += det_rint_s32(e * 0x1p24f);
            weight[j] = (int16_t)det_rint_s32((e * v_scale[j]) * inv);
        }
        total += sum;
    }
    return (v_max / OPS_Q15_MAX) * (0x1p24f / (float)total);
}

static void mix_values(const attention_job *job, const query_set *set, const int16_t *weight,
                       double *total)
{
    const ops_kv *kv = job->kv;
    size_t dims = kv->v_dim;
    memset(total, 0, set->count * dims * sizeof *total);
    for (int pos = 0; pos < set->positions; pos += ATTENTION_SEGMENT) {
        const int16_t *v = kv->v + (set->first + pos) * dims;
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

static void attend(const attention_job *job, const attention_item *item,
                   const attention_scratch *scratch)
{
    const ops_kv *kv = job->kv;
    query_set set;
    float unit[ATTENTION_QUERIES];
    collect_queries(job, item, &set);
    form_scores(job, &set, scratch->score);
    for (int i = 0; i < set.count; i++) {
        size_t at = (size_t)i * job->positions;
        unit[i] = form_weights(scratch->score + at, scratch->weight + at, kv->v_scale + set.first,
                               kv->v_max[set.first + set.pos[i]], set.pos[i], set.positions);
    }
    mix_values(job, &set, scratch->weight, scratch->total);
    for (int i = 0; i < set.count; i++)
        for (int d = 0; d < kv->head_dim; d++)
            set.out[i][d] = (float)scratch->total[(size_t)i * kv->v_dim + d] * unit[i];
}

const attention_path CPU_ISA(attention_path) = {.store_row = store_row, .attend = attend};
