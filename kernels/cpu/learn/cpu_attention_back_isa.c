/* cpu_attention_back_isa.c: the inner loops of attention_back(), for the instruction set that this
 * compilation is for. cpu_attention.h says why the sums are exact: coefficients have 15 bits and
 * the cache's numbers 12, or 12 and the queries' 15. */
#include "cpu_attention_back.h"

#include "cpu/cpu_attention_tile.h"

CPU_INLINE float clamp(float x)
{
    x = x < OPS_ERROR_MAX ? x : OPS_ERROR_MAX;
    return x > -OPS_ERROR_MAX ? x : -OPS_ERROR_MAX;
}

static void gather(const void *of, int row, int thread)
{
    const back_job *job = of;
    const ops_kv *kv = job->attention.kv;
    size_t heads = (size_t)job->attention.heads, dim = (size_t)kv->head_dim;
    size_t from = (size_t)job->row[row] * heads, to = (size_t)row * heads;
    (void)thread;
    memcpy(job->sorted.q + to * dim, job->q->q + from * dim, heads * dim * sizeof *job->sorted.q);
    memcpy(job->sorted.scale + to, job->q->scale + from, heads * sizeof(float));
    if (job->sorted.sink) {
        memcpy(job->sorted.sink + to * dim, job->q->sink + from * dim,
               heads * dim * sizeof *job->sorted.sink);
        memcpy(job->sorted.sink_scale + to, job->q->sink_scale + from, heads * sizeof(float));
    }
    for (size_t h = 0; h < heads; h++) {
        float error[OPS_MAX_HEAD_DIM];
        int16_t *a = job->a + (to + h) * dim, o[OPS_MAX_HEAD_DIM];
        const float *dout = job->dout + (from + h) * dim;
        for (size_t d = 0; d < dim; d++)
            error[d] = clamp(dout[d]);
        float scale = quantize_head(error, (int)dim, OPS_Q15_MAX, a);
        float o_scale = quantize_head(job->out + (from + h) * dim, (int)dim, OPS_Q15_MAX, o);
        int64_t sum = 0;
        for (size_t d = 0; d < dim; d++)
            sum += a[d] * o[d];
        job->a_scale[to + h] = scale;
        job->delta[to + h] = ((float)sum * o_scale) * scale;
    }
}

/* ---- transposes ----------------------------------------------------------- */

/* Turns blocks of 2 x 2 s16, row by row in a word of 64 bits, over; out [columns][rows] of these
 * words from in [rows][columns], with rows * columns <= 8 * OPS_MAX_HEAD_DIM / 2. */
static void turn_words(const int16_t *in, int rows, int columns, size_t in_pitch, int16_t *out,
                       size_t out_pitch)
{
    uint64_t word[8 * OPS_MAX_HEAD_DIM / 2];
    for (int r = 0; r < rows; r++) {
        const int16_t *from = in + (size_t)r * in_pitch;
        uint64_t *to = word + (size_t)r * (size_t)columns;
#pragma omp simd
        for (int c = 0; c < columns; c++) {
            uint64_t x;
            memcpy(&x, from + 4 * c, sizeof x);
            to[c] = (x & 0xffff00000000ffffu) | (x >> 16 & 0xffff0000u) | (x & 0xffff0000u) << 16;
        }
    }
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++)
            memcpy(out + (size_t)c * out_pitch + 4 * (size_t)r, &word[r * columns + c], 8);
}

/* out = x [rows][heads][head_dim] of a sequence's queries, as [queries / 2][v_dim][2], zero behind
 * the last. */
static void pair_queries(const back_job *job, const back_sequence *sequence, const int16_t *x,
                         int16_t *out)
{
    const attention_job *a = &job->attention;
    int group = a->heads / a->kv->kv_heads, queries = sequence->rows * group;
    size_t dim = (size_t)a->kv->head_dim, v_dim = (size_t)a->kv->v_dim;
    static const int16_t zero[OPS_MAX_HEAD_DIM];
    for (int i = 0; i < sequence->queries; i += 2, out += 2 * v_dim) {
        const int16_t *from[2] = {zero, zero};
        for (int j = 0; j < 2 && i + j < queries; j++) {
            size_t row = (size_t)(sequence->first + (i + j) / group);
            size_t head = (size_t)(sequence->kv_head * group + (i + j) % group);
            from[j] = x + (row * (size_t)a->heads + head) * dim;
        }
#pragma omp simd
        for (size_t d = 0; d < dim; d++) {
            out[2 * d] = from[0][d];
            out[2 * d + 1] = from[1][d];
        }
        memset(out + 2 * dim, 0, 2 * (v_dim - dim) * sizeof *out);
    }
}

static void transpose(const back_job *job, const back_sequence *sequence)
{
    const ops_kv *kv = job->attention.kv;
    size_t dim = (size_t)kv->head_dim, v_dim = (size_t)kv->v_dim;
    int slot = job->attention.batch->slot[sequence->first];
    size_t at = kv_sequence(kv, job->attention.layer, slot, sequence->kv_head) * (size_t)kv->ring;
    for (int pos = 0; pos < sequence->positions; pos += 16) {
        size_t ring = at + (size_t)((sequence->begin + pos) % kv->ring);
        const int16_t *k = kv->k + ring * dim, *v = kv->v + ring * v_dim;
        int16_t *k_out = sequence->k + (size_t)pos * v_dim,
                *v_out = sequence->v + (size_t)pos * dim;
        turn_words(k, (int)dim / 2, 8, 32, k_out, 2 * v_dim);
        turn_words(v, 8, (int)dim / 2, 2 * v_dim, v_out, 32);
        for (size_t j = 0; j < 8 && v_dim > dim; j++)
            memset(k_out + 2 * (j * v_dim + dim), 0, 2 * (v_dim - dim) * sizeof *k_out);
    }
    pair_queries(job, sequence, job->sorted.q, sequence->q);
    pair_queries(job, sequence, job->a, sequence->a);
}

/* ---- items ---------------------------------------------------------------- */

/* An item's part of the job. */
typedef struct {
    const back_job *job;
    const back_sequence *sequence;
    const back_scratch *scratch;
    query_set set;
    size_t first;                 /* (sorted row, head) of query 0 */
    int heads;                    /* of a row */
    int begin[ATTENTION_QUERIES]; /* of each query's window, an offset into the set's positions */
    int end[ATTENTION_QUERIES];
    float sink[ATTENTION_QUERIES]; /* the error of its score with the sink, or 0 */
} item_state;

/* The (sorted row, head) of a query. */
static size_t query_at(const item_state *s, int query)
{
    return s->first + (size_t)(query / s->heads) * (size_t)s->job->attention.heads +
           (size_t)(query % s->heads);
}

static void gather_k_scales(const ops_kv *kv, const query_set *set, float *k_scale)
{
    for (int pos = 0; pos < set->positions; pos += ATTENTION_SEGMENT)
        memcpy(k_scale + pos, kv->k_scale + segment_at(kv, set, pos),
               ATTENTION_SEGMENT * sizeof *k_scale);
}

/* error[q][pos] = dp of ops_learn.h. */
static void probability_errors(const item_state *s)
{
    const attention_job *job = &s->job->attention;
    int dim = job->kv->head_dim;
    const int16_t *v = s->sequence->v + (size_t)(s->set.begin - s->sequence->begin) * (size_t)dim;
    for (int pos = 0; pos < s->set.positions; pos += LANES) {
        const float *v_scale = s->scratch->v_scale + pos;
        for (int q = 0; q < s->set.count; q += QUERIES) {
            int queries = s->set.count - q < QUERIES ? s->set.count - q : QUERIES;
            const int16_t *a[QUERIES];
            float dot[QUERIES][LANES];
            for (int i = 0; i < queries; i++)
                a[i] = s->job->a + query_at(s, q + i) * (size_t)dim;
            dot_keys(dot, a, v + (size_t)pos * (size_t)dim, dim, queries);
            for (int i = 0; i < queries; i++) {
                float *e = s->scratch->error + (size_t)(q + i) * (size_t)job->positions + pos;
                float scale = s->job->a_scale[query_at(s, q + i)];
                for (int l = 0; l < LANES; l++)
                    e[l] = (dot[i][l] * v_scale[l]) * scale;
            }
        }
    }
}

/* The sink's dp. */
static float sink_error(const item_state *s, int query)
{
    const ops_kv *kv = s->job->attention.kv;
    const int16_t *a = s->job->a + query_at(s, query) * (size_t)kv->head_dim;
    const int16_t *v = kv->sink_v + s->set.sequence * (size_t)kv->head_dim;
    int64_t sum = 0;
    for (int i = 0; i < kv->head_dim; i++)
        sum += a[i] * v[i];
    return ((float)sum * kv->sink_v_scale[s->set.sequence]) * s->job->a_scale[query_at(s, query)];
}

/* Turns the scores of a query into probabilities, and their errors into those of the scores, both
 * within the query's window. */
static void score_errors(item_state *s, int query)
{
    const attention_job *job = &s->job->attention;
    size_t at = (size_t)query * (size_t)job->positions;
    float *p = s->scratch->score + at, *e = s->scratch->error + at;
    float delta = s->job->delta[query_at(s, query)], sink = 0, sink_e = 0;
    bool has_sink = s->set.pos[query] >= job->kv->window;
    int begin = s->begin[query], end = s->end[query];
    float max = max_score(p + begin, end - begin);
    int64_t total = 0;
    if (has_sink) {
        sink = sink_score(job->kv, &s->set, query);
        max = sink > max ? sink : max;
        sink_e = det_exp2f(sink - max);
        total = det_rint_s32(sink_e * 0x1p24f);
    }
    for (int from = begin, to; from < end; from = to) {
        int32_t sum = 0; /* <= ATTENTION_SEGMENT * 2^24 */
        to = end - from < ATTENTION_SEGMENT ? end : from + ATTENTION_SEGMENT;
#pragma omp simd reduction(+ : sum)
        for (int j = from; j < to; j++) {
            p[j] = det_exp2f(p[j] - max);
            sum += det_rint_s32(p[j] * 0x1p24f);
        }
        total += sum;
    }
    float inv = 0x1p24f / (float)total;
#pragma omp simd
    for (int j = begin; j < end; j++) {
        p[j] = p[j] * inv;
        e[j] = clamp(p[j] * (e[j] - delta));
    }
    s->sink[query] = has_sink ? clamp((sink_e * inv) * (sink_error(s, query) - delta)) : 0;
}

/* Writes the coefficients of the pass's own keys for a query. */
static void key_coefficients(const item_state *s, int query)
{
    const back_sequence *q = s->sequence;
    const attention_job *job = &s->job->attention;
    size_t at = (size_t)query * (size_t)job->positions, of = query_at(s, query);
    size_t group = (size_t)(job->heads / job->kv->kv_heads);
    size_t head = of % (size_t)job->heads, row = of / (size_t)job->heads;
    size_t index = (row - (size_t)q->first) * group + head % group;
    const float *p = s->scratch->score + at, *e = s->scratch->error + at;
    float a = s->job->a_scale[of], scale = s->job->sorted.scale[of];
    float *value_error = q->value_error + index * q->key_pitch;
    float *key_error = q->key_error + index * q->key_pitch;
    int first = job->batch->pos[q->first] - s->set.begin; /* where key 0 stands */
    int begin = s->begin[query] > first ? s->begin[query] : first;
    memset(value_error, 0, q->key_pitch * sizeof *value_error);
    memset(key_error, 0, q->key_pitch * sizeof *key_error);
#pragma omp simd
    for (int j = begin; j < s->end[query]; j++) {
        value_error[j - first] = p[j] * a;
        key_error[j - first] = e[j] * scale;
    }
}

/* Quantises the errors of a query's scores, times the keys' scales; returns the scale. */
static float weigh_errors(const item_state *s, int query)
{
    size_t at = (size_t)query * (size_t)s->job->attention.positions;
    float *e = s->scratch->error + at;
    int16_t *w = s->scratch->weight + at;
    int begin = s->begin[query], end = s->end[query];
    for (int j = begin; j < end; j++)
        e[j] *= s->scratch->k_scale[j];
    memset(w, 0, (size_t)begin * sizeof *w);
    memset(w + end, 0, (size_t)(s->set.positions - end) * sizeof *w);
    return quantize_head(e + begin, end - begin, OPS_Q15_MAX, w + begin);
}

/* total[q][d] = the weighted sum of the keys. */
static void mix_keys(const item_state *s)
{
    const attention_job *job = &s->job->attention;
    size_t dims = (size_t)job->kv->v_dim;
    const int16_t *keys = s->sequence->k + (size_t)(s->set.begin - s->sequence->begin) * dims;
    memset(s->scratch->total, 0, (size_t)s->set.count * dims * sizeof *s->scratch->total);
    for (int pos = 0; pos < s->set.positions; pos += ATTENTION_SEGMENT) {
        const int16_t *k = keys + (size_t)pos * dims;
        for (int q = 0; q < s->set.count; q += QUERIES) {
            int queries = s->set.count - q < QUERIES ? s->set.count - q : QUERIES;
            const int16_t *w[QUERIES];
            for (int i = 0; i < queries; i++)
                w[i] = s->scratch->weight + (size_t)(q + i) * (size_t)job->positions + pos;
            for (size_t d = 0, lanes; d < dims; d += lanes) {
                int32_t sum[QUERIES][LANES];
                lanes = dims - d >= LANES ? LANES : 16;
                sum_tile(sum, w, k + 2 * d, 2 * dims, 32, ATTENTION_SEGMENT / 2, queries,
                         (int)lanes / 16);
                for (int i = 0; i < queries; i++)
                    for (size_t l = 0; l < lanes; l++)
                        s->scratch->total[(size_t)(q + i) * dims + d + l] += sum[i][l];
            }
        }
    }
}

/* f[d] = h[d] rotated back by a row of the tables, clamped. */
static void rotate_back(const back_job *job, const float *h, int row, float *f)
{
    int dim = job->attention.kv->head_dim, unit;
    if (job->rope->cosine) {
        size_t at = (size_t)row * (size_t)(dim / 2);
        float turned[OPS_MAX_HEAD_DIM];
        rotate_head(h, dim, job->rope->cosine + at, job->rope->sine + at, -1, turned, &unit);
        for (int d = 0; d < dim; d++)
            f[d] = clamp(det_scale2(turned[d], unit));
    } else {
        for (int d = 0; d < dim; d++)
            f[d] = clamp(h[d]);
    }
}

/* Where the errors of a sorted row's head `head` of [heads + 2 kv_heads] go. */
static float *error_of(const back_job *job, int row, int head)
{
    const attention_job *a = &job->attention;
    size_t heads = (size_t)(a->heads + 2 * a->kv->kv_heads);
    return job->dqkv + ((size_t)job->row[row] * heads + (size_t)head) * (size_t)a->kv->head_dim;
}

static void write_query(const item_state *s, int query, float scale)
{
    const back_job *job = s->job;
    const ops_kv *kv = job->attention.kv;
    const double *total = s->scratch->total + (size_t)query * (size_t)kv->v_dim;
    float h[OPS_MAX_HEAD_DIM], f[OPS_MAX_HEAD_DIM], unit = scale * job->unit;
    size_t of = query_at(s, query);
    int heads = job->attention.heads;
    float *out = error_of(job, (int)(of / (size_t)heads), (int)(of % (size_t)heads));
    for (int d = 0; d < kv->head_dim; d++)
        h[d] = clamp((float)total[d] * unit);
    rotate_back(job, h, s->set.pos[query] & (job->rope->rows - 1), out);
    if (s->set.pos[query] < kv->window)
        return;
    const int16_t *sink = kv->sink_k + s->set.sequence * (size_t)kv->head_dim;
    unit = s->sink[query] * (kv->sink_k_scale[s->set.sequence] * job->unit);
    for (int d = 0; d < kv->head_dim; d++)
        h[d] = clamp(unit * (float)sink[d]);
    rotate_back(job, h, job->rope->rows, f);
    for (int d = 0; d < kv->head_dim; d++)
        out[d] = clamp(out[d] + f[d]);
}

static void back_item(const back_job *job, const back_sequence *sequence,
                      const attention_item *item, const back_scratch *scratch)
{
    const attention_job *attention = &job->attention;
    item_state s = {.job = job, .sequence = sequence, .scratch = scratch, .heads = item->heads};
    float scale[ATTENTION_QUERIES];
    s.first = (size_t)item->row * (size_t)attention->heads + (size_t)item->head;
    collect_queries(attention, item, &s.set);
    form_scores(attention, &s.set, scratch->score);
    gather_scales(attention->kv, &s.set, scratch->v_scale);
    gather_k_scales(attention->kv, &s.set, scratch->k_scale);
    probability_errors(&s);
    for (int i = 0; i < s.set.count; i++) {
        s.begin[i] = window_begin(attention->kv, s.set.pos[i]) - s.set.begin;
        s.end[i] = s.set.pos[i] - s.set.begin + 1;
        score_errors(&s, i);
        key_coefficients(&s, i);
        scale[i] = weigh_errors(&s, i);
    }
    mix_keys(&s);
    for (int i = 0; i < s.set.count; i++)
        write_query(&s, i, scale[i]);
}

/* ---- the pass's own keys -------------------------------------------------- */

/* max[k] = 2047 over the largest coefficient of a panel's key k, or 0; scale[k]: of its integers.
 */
static void find_units(const float *coefficient, size_t pitch, int from, int queries,
                       float inv[BACK_KEYS], float scale[BACK_KEYS])
{
    int32_t max[BACK_KEYS] = {0};
    for (int i = from; i < queries; i++) {
        const float *c = coefficient + (size_t)i * pitch;
        for (int k = 0; k < BACK_KEYS; k++) {
            int32_t bits = (int32_t)(det_float_bits(c[k]) & 0x7fffffff);
            max[k] = bits > max[k] ? bits : max[k];
        }
    }
    for (int k = 0; k < BACK_KEYS; k++) {
        float most = det_bits_float((uint32_t)max[k]);
        inv[k] = most < 0x1p-100f ? 0 : OPS_Q12_MAX / most;
        scale[k] = most < 0x1p-100f ? 0 : most / OPS_Q12_MAX;
    }
}

/* w[k] = the integers of a segment of queries, from `begin` on, for each key of a panel. */
static void weigh_queries(const float *coefficient, size_t pitch, int begin, int queries,
                          const float inv[BACK_KEYS], int16_t w[BACK_KEYS][ATTENTION_SEGMENT])
{
    for (int i = 0; i < ATTENTION_SEGMENT; i += 2) {
        int32_t pair[2][BACK_KEYS] = {{0}};
        for (int j = 0; j < 2 && begin + i + j < queries; j++) {
            const float *c = coefficient + (size_t)(begin + i + j) * pitch;
            for (int k = 0; k < BACK_KEYS; k++)
                pair[j][k] = det_rint_s32(c[k] * inv[k]);
        }
        for (int k = 0; k < BACK_KEYS; k++) {
            w[k][i] = (int16_t)pair[0][k];
            w[k][i + 1] = (int16_t)pair[1][k];
        }
    }
}

/* h[k][d] = the sum over queries of x, in pairs, weighted by the coefficients of a panel's keys. */
static void mix_queries(const back_job *job, const back_sequence *sequence, int key,
                        const float *coefficient, const int16_t *x, float unit,
                        float h[BACK_KEYS][OPS_MAX_HEAD_DIM])
{
    const attention_job *a = &job->attention;
    size_t dims = (size_t)a->kv->v_dim;
    int group = a->heads / a->kv->kv_heads, queries = sequence->rows * group;
    int first = key * group / ATTENTION_SEGMENT * ATTENTION_SEGMENT;
    double total[BACK_KEYS][OPS_MAX_HEAD_DIM];
    float inv[BACK_KEYS], scale[BACK_KEYS];
    for (int k = 0; k < BACK_KEYS; k++)
        memset(total[k], 0, dims * sizeof **total);
    coefficient += key;
    find_units(coefficient, sequence->key_pitch, first, queries, inv, scale);
    for (int begin = first; begin < queries; begin += ATTENTION_SEGMENT) {
        int16_t w[BACK_KEYS][ATTENTION_SEGMENT];
        weigh_queries(coefficient, sequence->key_pitch, begin, queries, inv, w);
        for (int k = 0; k < BACK_KEYS; k += QUERIES) {
            const int16_t *keys[QUERIES] = {w[k], w[k + 1], w[k + 2], w[k + 3]};
            for (size_t d = 0, lanes; d < dims; d += lanes) {
                int32_t sum[QUERIES][LANES];
                lanes = dims - d >= LANES ? LANES : 16;
                sum_tile(sum, keys, x + (size_t)begin * dims + 2 * d, 2 * dims, 32,
                         ATTENTION_SEGMENT / 2, QUERIES, (int)lanes / 16);
                for (int i = 0; i < QUERIES; i++)
                    for (size_t l = 0; l < lanes; l++)
                        total[k + i][d + l] += sum[i][l];
            }
        }
    }
    for (int k = 0; k < BACK_KEYS; k++)
        for (int d = 0; d < a->kv->head_dim; d++)
            h[k][d] = clamp((float)total[k][d] * (scale[k] * unit));
}

static void back_keys(const back_job *job, const back_sequence *sequence, int key)
{
    const attention_job *a = &job->attention;
    int rows = sequence->rows - key < BACK_KEYS ? sequence->rows - key : BACK_KEYS;
    float h[BACK_KEYS][OPS_MAX_HEAD_DIM];
    mix_queries(job, sequence, key, sequence->key_error, sequence->q, job->unit, h);
    for (int i = 0; i < rows; i++) {
        int row = sequence->first + key + i;
        rotate_back(job, h[i], a->batch->pos[row] & (job->rope->rows - 1),
                    error_of(job, row, a->heads + sequence->kv_head));
    }
    mix_queries(job, sequence, key, sequence->value_error, sequence->a, 1, h);
    for (int i = 0; i < rows; i++)
        memcpy(error_of(job, sequence->first + key + i,
                        a->heads + a->kv->kv_heads + sequence->kv_head),
               h[i], (size_t)a->kv->head_dim * sizeof **h);
}

const back_path CPU_ISA(back_path) = {gather, transpose, back_item, back_keys};
