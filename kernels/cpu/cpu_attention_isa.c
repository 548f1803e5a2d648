/* cpu_attention_isa.c: the inner loops of qkv() and attention(), for the instruction
 * set that this compilation is for. cpu_attention.h has the layout of the cache and
 * why the sums are exact. */
#include "cpu_attention_tile.h"

/* -- qkv ------------------------------------------------------------------- */

/* Rotates a head (if the job does) by a row of job->rope and quantises it; returns the scale. */
static float prepare_head(const qkv_job *job, const float *h, int rope_row, int qmax, int16_t *q)
{
    int dim = job->kv->head_dim;
    if (!job->rope->cosine)
        return quantize_head(h, dim, qmax, q);
    float f[OPS_MAX_HEAD_DIM];
    int unit;
    size_t at = (size_t)rope_row * (dim / 2);
    rotate_head(h, dim, job->rope->cosine + at, job->rope->sine + at, 1, f, &unit);
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
