/* learning.c: the steps of the attention and MLP matrices (host/experts/model_learn.h, with the
 * operations of kernels/ops_learn.h), one element at a time. All arrays of errors have a row for
 * each row of the step. */
#include <math.h>
#include <string.h>

#include "reference.h"

enum { QKV, OUT, UP, DOWN, MATRICES };

struct learner {
    const model *from;
    model model;                  /* its layers' matrices are those that learn */
    int32_t *(*master)[MATRICES]; /* [layers], of each matrix [n][k] */
    trace *row;                   /* [most] */
    uint32_t rows, most;
};

static matrix *matrix_of(const model *m, int layer, int which)
{
    struct layer_matrices {
        matrix *of[MATRICES];
    } all = {
        {&m->layer[layer].qkv, &m->layer[layer].out, &m->layer[layer].up, &m->layer[layer].down}};
    return all.of[which];
}

/* The rows that the matrix took. */
static const float *input_of(const trace *row, int layer, int which)
{
    const layer_trace *t = &row->layer[layer];
    return which == QKV ? t->y1 : which == OUT ? t->attended : which == UP ? t->y2 : t->activated;
}

/* ---- the matrices -----------------------------------------------------------------------------
 */

/* The working copy of weight (n, k), of the master weights. */
static void set_weight(const matrix *w, const int32_t *master, int n, int k)
{
    size_t at = (size_t)n * (size_t)w->k + (size_t)k;
    int64_t dither = ((uint32_t)n * 30011u + (uint32_t)k * 40503u) & 65535;
    int64_t weight = (master[at] + dither) >> 16;
    if (w->bits == 8)
        ((int8_t *)w->w)[at] = (int8_t)weight;
    else
        ((int16_t *)w->w)[at] = (int16_t)weight;
}

learner *learner_create(const model *m, uint32_t rows)
{
    learner *l = take(1, sizeof *l);
    *l = (learner){.from = m, .model = *m, .most = rows};
    l->row = take(rows, sizeof *l->row);
    for (uint32_t r = 0; r < rows; r++)
        trace_create(&l->row[r], m);
    l->model.layer = take((size_t)m->layers, sizeof *m->layer);
    memcpy(l->model.layer, m->layer, (size_t)m->layers * sizeof *m->layer);
    l->master = take((size_t)m->layers, sizeof *l->master);
    for (int i = 0; i < m->layers; i++)
        for (int which = 0; which < MATRICES; which++) {
            matrix *w = matrix_of(&l->model, i, which);
            size_t count = (size_t)w->n * (size_t)w->k;
            l->master[i][which] = take(count, sizeof(int32_t));
            w->w = take(count, w->bits == 8 ? 1 : 2);
        }
    learner_reset(l);
    return l;
}

void learner_reset(learner *l)
{
    l->rows = 0;
    for (int i = 0; i < l->model.layers; i++)
        for (int which = 0; which < MATRICES; which++) {
            const matrix *w = matrix_of(&l->model, i, which), *from = matrix_of(l->from, i, which);
            int32_t *master = l->master[i][which];
            for (int n = 0; n < w->n; n++)
                for (int k = 0; k < w->k; k++) {
                    size_t at = (size_t)n * (size_t)w->k + (size_t)k;
                    master[at] = weight_at(from, at) * 65536;
                    set_weight(w, master, n, k);
                }
        }
}

const model *learner_model(const learner *l)
{
    return &l->model;
}

trace *learner_row(learner *l, uint32_t s, uint32_t p)
{
    if (l->rows == l->most)
        fail("too many rows in a step of the weights");
    trace *t = &l->row[l->rows++];
    t->stream = s;
    t->position = p;
    return t;
}

void learner_target(learner *l, uint32_t token)
{
    l->row[l->rows - 1].target = token;
}

static float limited(float x, float most)
{
    return fminf(fmaxf(x, -most), most);
}

static float clamp(float x)
{
    return limited(x, 0x1p40f);
}

/* trainable_step(): dy [rows][n] is the error of the matrix's output. */
static void step_matrix(learner *l, int layer, int which, const float *dy, float rate)
{
    const matrix *w = matrix_of(&l->model, layer, which);
    size_t rows = l->rows, columns = (size_t)w->k;
    int qmax = activation_max(&l->model);
    void *scratch = mark();
    int16_t *x = take(rows * columns, sizeof *x), *zq = take(rows, sizeof *zq);
    float *x_scale = take(rows, sizeof *x_scale), *z = take(rows, sizeof *z);
    float unit = qmax == 127 ? 1.0f : 128.0f, most = w->bits == 8 ? 0x1p17f : 0x1p24f;
    int32_t *master = l->master[layer][which], end = (w->bits == 8 ? 127 : 16256) * 65536;
    for (size_t r = 0; r < rows; r++) {
        int16_t *xr = x + r * columns;
        x_scale[r] = quantise(input_of(&l->row[r], layer, which), w->k, qmax, xr);
        for (size_t k = 0; k < columns && qmax != 127; k++)
            xr[k] = (int16_t)((xr[k] + 64) >> 7);
    }
    for (int n = 0; n < w->n; n++) {
        for (size_t r = 0; r < rows; r++)
            z[r] = clamp(dy[r * (size_t)w->n + (size_t)n]) * x_scale[r];
        float f = quantise(z, (int)rows, 127, zq) * unit * rate * (0x1p16f / w->scale[n]);
        f = w->scale[n] < 0x1p-60f ? 0 : fminf(f, 0x1p90f);
        for (int k = 0; k < w->k; k++) {
            int64_t sum = 0;
            for (size_t r = 0; r < rows; r++)
                sum += zq[r] * x[r * columns + (size_t)k];
            size_t at = (size_t)n * columns + (size_t)k;
            int64_t moved = master[at] - (int64_t)rintf(limited((float)sum * f, most));
            master[at] = (int32_t)(moved < -end ? -end : moved > end ? end : moved);
            set_weight(w, master, n, k);
        }
    }
    release(scratch);
}

/* ---- errors of a row --------------------------------------------------------------------------
 */

/* x [k] = the error of a linear layer's input, of its output's error times its scales, e [n]; with
 * add, x's entries are residuals that it joins. */
static void transposed(const matrix *w, const float *e, int qmax, bool add, float *x)
{
    void *scratch = mark();
    int16_t *q = take((size_t)w->n, sizeof *q);
    float scale = quantise(e, w->n, qmax, q);
    for (int k = 0; k < w->k; k++) {
        int64_t acc = 0;
        for (int n = 0; n < w->n; n++)
            acc += (int64_t)q[n] * weight_at(w, (size_t)n * (size_t)w->k + (size_t)k);
        float y = (float)acc * scale;
        x[k] = add ? x[k] + y : y;
    }
    release(scratch);
}

/* linear_back() and linear() of the transpose, for all rows: dy [rows][n], x [rows][k]. */
static void linear_back(const learner *l, int layer, int which, const float *dy, bool add, float *x)
{
    const matrix *w = matrix_of(&l->model, layer, which);
    void *scratch = mark();
    float *e = take((size_t)w->n, sizeof *e);
    for (size_t r = 0; r < l->rows; r++) {
        for (int n = 0; n < w->n; n++)
            e[n] = clamp(dy[r * (size_t)w->n + (size_t)n]) * w->scale[n];
        transposed(w, e, activation_max(&l->model), add, x + r * (size_t)w->k);
    }
    release(scratch);
}

/* The error of the head's input, dn [dim]. */
static void head_back(const model *m, const trace *row, float *dn)
{
    void *scratch = mark();
    float *e = take((size_t)m->vocab, sizeof *e), max = row->logits[0];
    int64_t D = 0;
    for (int i = 0; i < m->vocab; i++)
        max = fmaxf(max, row->logits[i]);
    for (int i = 0; i < m->vocab; i++) {
        e[i] = power_of_2((row->logits[i] - max) * 0x1.715476p+0f);
        D += (int64_t)rintf(e[i] * 0x1p24f);
    }
    for (int i = 0; i < m->vocab; i++) {
        float g = e[i] * (0x1p24f / (float)D) - ((uint32_t)i == row->target ? 1.0f : 0.0f);
        e[i] = row->target < (uint32_t)m->vocab ? g * m->head.scale[i] : 0;
    }
    transposed(&m->head, e, 16256, false, dn);
    release(scratch);
}

/* The error of a norm's input x to G [dim], where dy is that of its output; with add, G's entries
 * are residuals that it joins. G may be dy. */
static void norm_back(const model *m, const float *x, const float *gain, const float *dy, bool add,
                      float *G)
{
    size_t dim = (size_t)m->dim;
    void *scratch = mark();
    float *h = take(dim, sizeof *h), *n = take(dim, sizeof *n), mean;
    float r = normaliser(m, x, &mean);
    int16_t *A = take(dim, sizeof *A), *B = take(dim, sizeof *B);
    int64_t sum = 0, both = 0;
    for (size_t i = 0; i < dim; i++) {
        h[i] = clamp(dy[i]) * gain[i];
        n[i] = (x[i] - mean) * r;
    }
    float h_scale = quantise(h, m->dim, 16256, A), n_scale = quantise(n, m->dim, 16256, B);
    for (size_t i = 0; i < dim; i++) {
        sum += A[i];
        both += A[i] * B[i];
    }
    float c = ((float)both * (h_scale * n_scale)) / (float)m->dim;
    float middle = m->norm == NORM_LAYER ? ((float)sum * h_scale) / (float)m->dim : 0;
    for (size_t i = 0; i < dim; i++) {
        float dx = clamp(r * ((h[i] - middle) - n[i] * c));
        G[i] = add ? clamp(clamp(G[i]) + dx) : dx;
    }
    release(scratch);
}

static float gelu_slope(const model *m, float x)
{
    if (m->activation == GELU_TANH) {
        float s = sigmoid_times(1.0f, 0x1.988454p+0f * fmaf(0x1.6e4e26p-5f * x, x * x, x));
        float slope = 0x1.988454p+0f * fmaf(0x1.12ba9cp-3f * x, x, 1.0f);
        return fmaf(s * (1.0f - s) * x, slope, s);
    }
    float tail = normal_tail(fabsf(x)), phi = x < 0.0f ? tail : 1.0f - tail;
    return fmaf(x * 0x1.988454p-2f, exp_exact(-0.5f * (x * x)), phi);
}

/* The error of up's output x to dx, of that of the activation's, dy [ffn]. */
static void activation_back(const model *m, const float *x, const float *dy, float *dx)
{
    for (int i = 0; i < m->ffn; i++) {
        float d = clamp(dy[i]), g = x[i];
        if (m->activation != SWIGLU) {
            dx[i] = clamp(d * gelu_slope(m, g));
            continue;
        }
        float u = x[m->ffn + i], s = sigmoid_times(1.0f, g);
        dx[m->ffn + i] = clamp(d * (g * s));
        dx[i] = clamp((d * u) * (s * fmaf(g, 1.0f - s, 1.0f)));
    }
}

/* ---- attention --------------------------------------------------------------------------------
 */

/* The rows of a stream in the step, and of the pairs of row and head, in this order, all that
 * joins in the errors of keys and values. */
typedef struct {
    const model *m;
    const cache *cache;
    int layer;
    uint32_t window, *row, rows; /* row: [rows] of the step, at consecutive positions */
    int16_t *a, *q;              /* [rows][heads][head_dim] */
    float *a_scale, *q_scale;    /* [rows][heads] */
    float *p, *ds;               /* [rows][heads][rows]; 0 where the key is not in the window */
} stream_rows;

/* h [head_dim] clamped, rotated back by position p, and clamped. */
static void rotate_back(const model *m, float *h, uint32_t p)
{
    int half = m->head_dim / 2;
    for (int i = 0; i < m->head_dim; i++)
        h[i] = clamp(h[i]);
    if (!m->rope)
        return;
    float max = largest(h, m->head_dim);
    bool zero = max < 0x1p-100f;
    int e = zero ? 0 : exponent(max);
    for (int i = 0; i < half; i++) {
        int64_t a = zero ? 0 : (int64_t)rintf(h[i] * ldexpf(1.0f, 22 - e)), cosine, sine;
        int64_t b = zero ? 0 : (int64_t)rintf(h[i + half] * ldexpf(1.0f, 22 - e));
        rotation(p * m->turns[i], &cosine, &sine);
        h[i] = clamp(scale2((float)(a * cosine + b * sine), e - 52));
        h[i + half] = clamp(scale2((float)(b * cosine - a * sine), e - 52));
    }
}

static int64_t dot(const int16_t *a, const int16_t *b, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += (int64_t)a[i] * b[i];
    return sum;
}

/* s[n]: the scores to p, the probabilities of attention. */
static void to_probabilities(float *s, int n)
{
    float max = s[0];
    int64_t D = 0;
    for (int j = 0; j < n; j++)
        max = fmaxf(max, s[j]);
    for (int j = 0; j < n; j++) {
        s[j] = power_of_2(s[j] - max);
        D += (int64_t)rintf(s[j] * 0x1p24f);
    }
    for (int j = 0; j < n; j++)
        s[j] = s[j] * (0x1p24f / (float)D);
}

/* The query's error dq [head_dim], of ds over n positions at[n] of the cache. */
static void query_back(const stream_rows *s, uint32_t position, const float *ds, const size_t *at,
                       int n, float *dq)
{
    const model *m = s->m;
    const cache *c = s->cache;
    size_t d = (size_t)m->head_dim;
    float u = m->factor * 0x1.62e430p-1f, sink[256];
    int inside = position >= s->window ? n - 1 : n; /* the sink is the last */
    void *scratch = mark();
    float *b = take((size_t)n, sizeof *b);
    int16_t *bq = take((size_t)n, sizeof *bq);
    for (int j = 0; j < inside; j++)
        b[j] = ds[j] * c->k_scale[at[j]];
    float scale = quantise(b, inside, 16256, bq);
    for (size_t i = 0; i < d; i++) {
        int64_t sum = 0;
        for (int j = 0; j < inside; j++)
            sum += (int64_t)bq[j] * c->k[at[j] * d + i];
        dq[i] = (float)sum * (scale * u);
    }
    rotate_back(m, dq, position);
    if (inside < n) {
        for (size_t i = 0; i < d; i++)
            sink[i] = (ds[inside] * (c->k_scale[at[inside]] * u)) * (float)c->k[at[inside] * d + i];
        rotate_back(m, sink, s->window - 1);
        for (size_t i = 0; i < d; i++)
            dq[i] = clamp(dq[i] + sink[i]);
    }
    release(scratch);
}

/* Query head h of the stream's row i: its error dq, and its parts of the keys' and values'. */
static void head_of_row(const stream_rows *s, const trace *row, uint32_t i, int h,
                        const float *dout, float *dq)
{
    const model *m = s->m;
    const cache *c = s->cache;
    int d = m->head_dim, heads = m->heads;
    size_t pair = (size_t)i * (size_t)heads + (size_t)h;
    const layer_trace *t = &row->layer[s->layer];
    attended_row attended = {s->layer, row->position, s->window, t->qkv};
    int16_t *a = s->a + pair * (size_t)d, o[256];
    float clamped[256];
    void *scratch = mark();
    size_t *at = take((size_t)s->window + 1, sizeof *at);
    float *p = take((size_t)s->window + 1, sizeof *p);
    float *ds = take((size_t)s->window + 1, sizeof *ds);

    int n = scores(m, c, &attended, h, at, p);
    to_probabilities(p, n);
    for (int k = 0; k < d; k++)
        clamped[k] = clamp(dout[h * d + k]);
    float a_scale = quantise(clamped, d, 16256, a);
    float o_scale = quantise(t->attended + h * d, d, 16256, o);
    float delta = ((float)dot(a, o, d) * o_scale) * a_scale;
    for (int j = 0; j < n; j++) {
        int64_t sum = dot(a, c->v + at[j] * (size_t)d, d);
        float dp = ((float)sum * c->v_scale[at[j]]) * a_scale;
        ds[j] = clamp(p[j] * (dp - delta));
    }
    query_back(s, row->position, ds, at, n, dq + h * d);

    s->a_scale[pair] = a_scale;
    s->q_scale[pair] =
        quantise_head(m, t->qkv + h * d, row->position, 16256, s->q + pair * (size_t)d);
    int last = row->position >= s->window ? n - 2 : n - 1; /* where the row's own key is */
    for (int back = 0; back <= last && back <= (int)i; back++) {
        s->p[pair * s->rows + i - (uint32_t)back] = p[last - back];
        s->ds[pair * s->rows + i - (uint32_t)back] = ds[last - back];
    }
    release(scratch);
}

/* The sum over all pairs of row and head of KV head g of weights [rows][heads][rows] of key j,
 * times scale [rows][heads] and quantised to 12 bits, and q [rows][heads][head_dim]; its unit is
 * returned. */
static float over_pairs(const stream_rows *s, uint32_t j, int g, const float *weights,
                        const float *scale, const int16_t *q, int64_t *sum)
{
    const model *m = s->m;
    int group = m->heads / m->kv_heads, count = (int)s->rows * group;
    void *scratch = mark();
    float *x = take((size_t)count, sizeof *x);
    int16_t *xq = take((size_t)count, sizeof *xq);
    for (int i = 0; i < count; i++) {
        size_t pair = (size_t)(i / group * m->heads + g * group + i % group);
        x[i] = weights[pair * s->rows + j] * scale[pair];
    }
    float unit = quantise(x, count, 2047, xq);
    for (int k = 0; k < m->head_dim; k++) {
        sum[k] = 0;
        for (int i = 0; i < count; i++) {
            size_t pair = (size_t)(i / group * m->heads + g * group + i % group);
            sum[k] += (int64_t)xq[i] * q[pair * (size_t)m->head_dim + (size_t)k];
        }
    }
    release(scratch);
    return unit;
}

/* The errors of the key and the value of KV head g of the stream's row j, [head_dim]. */
static void key_and_value_back(const stream_rows *s, uint32_t j, uint32_t position, int g,
                               float *dk, float *dv)
{
    int64_t sum[256];
    float u = s->m->factor * 0x1.62e430p-1f;
    float unit = over_pairs(s, j, g, s->p, s->a_scale, s->a, sum);
    for (int i = 0; i < s->m->head_dim; i++)
        dv[i] = clamp((float)sum[i] * unit);
    unit = over_pairs(s, j, g, s->ds, s->q_scale, s->q, sum);
    for (int i = 0; i < s->m->head_dim; i++)
        dk[i] = (float)sum[i] * (unit * u);
    rotate_back(s->m, dk, position);
}

/* attention_back() of the rows of a stream: dout [rows][heads][head_dim] to dqkv. */
static void stream_back(const learner *l, stream_rows *s, const float *dout, float *dqkv)
{
    const model *m = s->m;
    size_t pairs = (size_t)s->rows * (size_t)m->heads, d = (size_t)m->head_dim;
    size_t heads = (size_t)m->heads, columns = (heads + 2 * (size_t)m->kv_heads) * d;
    s->a = take(pairs * d, sizeof *s->a);
    s->q = take(pairs * d, sizeof *s->q);
    s->a_scale = take(pairs, sizeof *s->a_scale);
    s->q_scale = take(pairs, sizeof *s->q_scale);
    s->p = take(pairs * s->rows, sizeof *s->p);
    s->ds = take(pairs * s->rows, sizeof *s->ds);
    for (uint32_t i = 0; i < s->rows; i++)
        for (int h = 0; h < m->heads; h++)
            head_of_row(s, &l->row[s->row[i]], i, h, dout + s->row[i] * heads * d,
                        dqkv + s->row[i] * columns);
    for (uint32_t j = 0; j < s->rows; j++)
        for (int g = 0; g < m->kv_heads; g++) {
            float *dk = dqkv + s->row[j] * columns + (heads + (size_t)g) * d;
            key_and_value_back(s, j, l->row[s->row[j]].position, g, dk,
                               dk + (size_t)m->kv_heads * d);
        }
}

/* attention_back(): stream by stream. */
static void attention_back(const learner *l, const cache *cache, size_t stride, uint32_t window,
                           int layer, const float *dout, float *dqkv)
{
    for (uint32_t first = 0; first < l->rows; first++) {
        uint32_t stream = l->row[first].stream, earlier = 0;
        while (l->row[earlier].stream != stream)
            earlier++;
        if (earlier < first)
            continue;
        void *scratch = mark();
        stream_rows s = {&l->model, cache + stream * stride, layer, window, .rows = 0};
        s.row = take(l->rows, sizeof *s.row);
        for (uint32_t r = first; r < l->rows; r++)
            if (l->row[r].stream == stream)
                s.row[s.rows++] = r;
        stream_back(l, &s, dout, dqkv);
        release(scratch);
    }
}

/* ---- the step ---------------------------------------------------------------------------------
 */

/* norm_back() of all rows, with the inputs of one norm of a layer. */
static void norms_back(const learner *l, int layer, int norm, const float *dy, bool add, float *G)
{
    size_t dim = (size_t)l->model.dim;
    const float *gain = norm == 1 ? l->model.layer[layer].norm1 : l->model.layer[layer].norm2;
    for (size_t r = 0; r < l->rows; r++) {
        const layer_trace *t = &l->row[r].layer[layer];
        norm_back(&l->model, norm == 1 ? t->x1 : t->x2, gain, dy + r * dim, add, G + r * dim);
    }
}

void learner_step(learner *l, const cache *cache, size_t stride, uint32_t window)
{
    const model *m = &l->model;
    size_t rows = l->rows, dim = (size_t)m->dim, ffn = (size_t)m->ffn;
    size_t attention = (size_t)(m->heads * m->head_dim), up = (size_t)m->layer[0].up.n;
    float rate = 0.00625f / sqrtf((float)(rows < 256 ? 256 : rows));
    void *scratch = mark();
    float *G = take(rows * dim, 4), *dn = take(rows * dim, 4), *da = take(rows * ffn, 4);
    float *du = take(rows * up, 4), *dout = take(rows * attention, 4);
    float *dqkv = take(rows * (size_t)m->layer[0].qkv.n, 4);
    float *joined =
        m->post_norm ? G : dn; /* the error of a norm's output, or of post-norm's rows */
    for (size_t r = 0; r < rows; r++) {
        head_back(m, &l->row[r], dn + r * dim);
        norm_back(m, l->row[r].last, m->final, dn + r * dim, false, G + r * dim);
    }
    for (int i = m->layers - 1; i >= 0; i--) {
        if (m->post_norm)
            norms_back(l, i, 2, G, false, G);
        linear_back(l, i, DOWN, G, false, da);
        step_matrix(l, i, DOWN, G, rate);
        for (size_t r = 0; r < rows; r++)
            activation_back(m, l->row[r].layer[i].up, da + r * ffn, du + r * up);
        linear_back(l, i, UP, du, m->post_norm, joined);
        step_matrix(l, i, UP, du, rate);
        if (m->post_norm)
            norms_back(l, i, 1, G, false, G);
        else
            norms_back(l, i, 2, dn, true, G);
        linear_back(l, i, OUT, G, false, dout);
        step_matrix(l, i, OUT, G, rate);
        attention_back(l, cache, stride, window, i, dout, dqkv);
        linear_back(l, i, QKV, dqkv, m->post_norm, joined);
        step_matrix(l, i, QKV, dqkv, rate);
        if (!m->post_norm)
            norms_back(l, i, 1, dn, true, G);
    }
    l->rows = 0;
    release(scratch);
}
