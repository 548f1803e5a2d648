/* forward.c: the model file (weights/FORMAT.md) and the forward pass of one row (kernels/ops.h),
 * one element at a time. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "reference.h"

enum { FLAG_POST_NORM = 1, FLAG_ROPE = 2, FLAG_TIED = 4, FLAG_QKV = 8, FLAG_OUT = 16 };
enum { FLAG_UP = 32, FLAG_DOWN = 64, FLAG_HEAD = 128, FLAG_NAMELESS_ID = 256 };

/* ---- the file ---------------------------------------------------------------------------------
 */

static const uint8_t *section_file; /* [section_size] the file that is being read */
static size_t section_size, section_at;

static const void *section(size_t bytes)
{
    section_at = (section_at + 63) / 64 * 64;
    if (bytes > section_size || section_at > section_size - bytes)
        fail("the model file is too short");
    const void *found = section_file + section_at;
    section_at += bytes;
    return found;
}

static const float *floats(bool there, int n)
{
    return there ? section((size_t)n * sizeof(float)) : NULL;
}

static matrix read_matrix(const model *m, int n, int k, bool bias)
{
    matrix x = {.n = n, .k = k, .bits = m->weight_bits};
    x.w = section((size_t)n * (size_t)k * (x.bits == 8 ? 1 : 2));
    x.scale = floats(true, n);
    x.bias = floats(bias, n);
    return x;
}

static uint32_t u32_at(const uint8_t *file, size_t at)
{
    uint32_t x;
    memcpy(&x, file + at, 4);
    return x;
}

static float f32_at(const uint8_t *file, size_t at)
{
    float x;
    memcpy(&x, file + at, 4);
    return x;
}

static void read_header(model *m, const uint8_t *f)
{
    m->norm = (int)u32_at(f, 28);
    m->activation = (int)u32_at(f, 32);
    m->layers = (int)u32_at(f, 36);
    m->dim = (int)u32_at(f, 40);
    m->heads = (int)u32_at(f, 44);
    m->kv_heads = (int)u32_at(f, 48);
    m->head_dim = (int)u32_at(f, 52);
    m->ffn = (int)u32_at(f, 56);
    m->vocab = (int)u32_at(f, 60);
    m->context = (int)u32_at(f, 64);
    m->weight_bits = (int)u32_at(f, 68);
    m->activation_bits = (int)u32_at(f, 72);
    m->kv_bits = (int)u32_at(f, 76);
    m->bos = u32_at(f, 80);
    m->eps = f32_at(f, 84);
    m->factor = f32_at(f, 88);
    m->embedding_factor = f32_at(f, 92);
    m->buckets = u32_at(f, 100);
    m->tokenizer_size = u32_at(f, 112);
}

/* Compares the check, and computes the id from a copy without it. */
static void identify(model *m, const char *path, uint32_t flags)
{
    uint64_t check;
    uint8_t *copy = take(section_size, 1);
    memcpy(copy, section_file, section_size);
    memcpy(&check, copy + 184, 8);
    memset(copy + 184, 0, 8);
    if (check != 0 &&
        check != XXH3_64bits_withSeed(copy + 192, section_size - 192, XXH3_64bits(copy, 192)))
        fail("%s: damaged", path);
    if (flags & FLAG_NAMELESS_ID)
        memset(copy + 120, 0, 64);
    sha256(copy, section_size, m->id);
}

void model_read(model *m, const char *path)
{
    *m = (model){0};
    const uint8_t *f = section_file = read_file(path, &section_size);
    uint64_t size;
    if (section_size < 192 || memcmp(f, "\x89GPZM\r\n\x1a", 8) != 0 || u32_at(f, 8) != 2)
        fail("%s: not a model file of version 2", path);
    memcpy(&size, f + 16, 8);
    if (size != section_size)
        fail("%s: wrong size", path);
    read_header(m, f);
    uint32_t flags = u32_at(f, 12);
    identify(m, path, flags);
    bool bias = m->norm == NORM_LAYER;
    int d = m->dim, attention = m->heads * m->head_dim;
    m->post_norm = flags & FLAG_POST_NORM;
    m->rope = flags & FLAG_ROPE;

    section_at = 192;
    m->tokenizer = section(m->tokenizer_size);
    m->embedding = read_matrix(m, m->vocab, d, false);
    if (m->rope)
        m->turns = section((size_t)m->head_dim / 2 * 8);
    else
        m->position = section((size_t)m->context * (size_t)d * 4);
    m->layer = take((size_t)m->layers, sizeof *m->layer);
    for (int i = 0; i < m->layers; i++) {
        layer *l = &m->layer[i];
        l->norm1 = floats(true, d);
        l->norm1_bias = floats(bias, d);
        l->qkv = read_matrix(m, (m->heads + 2 * m->kv_heads) * m->head_dim, d, flags & FLAG_QKV);
        l->out = read_matrix(m, d, attention, flags & FLAG_OUT);
        l->norm2 = floats(true, d);
        l->norm2_bias = floats(bias, d);
        l->up = read_matrix(m, m->activation == SWIGLU ? 2 * m->ffn : m->ffn, d, flags & FLAG_UP);
        l->down = read_matrix(m, d, m->ffn, flags & FLAG_DOWN);
    }
    m->final = floats(true, d);
    m->final_bias = floats(bias, d);
    m->head = flags & FLAG_TIED ? m->embedding : read_matrix(m, m->vocab, d, false);
    m->head.bias = floats(flags & FLAG_HEAD, m->vocab);
    section((size_t)u32_at(f, 96) * 4);
    m->ngrams = section((size_t)m->buckets * 64);
}

/* ---- elementary functions ---------------------------------------------------------------------
 */

/* 2^x, or 0 below -126: the integer nearest to x apart, 2^f = 1 + f q(f) for the rest. */
static float power2(float f, float k)
{
    static const float q[6] = {0x1.416b5ep-13f, 0x1.5f082ep-10f, 0x1.3b2de0p-7f,
                               0x1.c6af7cp-5f,  0x1.ebfbdcp-3f,  0x1.62e430p-1f};
    float sum = q[0];
    for (int i = 1; i < 6; i++)
        sum = fmaf(sum, f, q[i]);
    return fmaf(sum, f, 1.0f) * ldexpf(1.0f, (int)k);
}

float power_of_2(float x)
{
    if (x < -126.0f)
        return 0.0f;
    float k = rintf(x);
    return power2(x - k, k);
}

/* The product x log2(e) is rounded once to an integer k, and its rest is kept twice as precise. */
float exp_exact(float x)
{
    if (x < -87.0f)
        return 0.0f;
    const float magic = 12582912.0f; /* 1.5 * 2^23: the sum's last bit has the weight 1 */
    float k = fmaf(x, 0x1.715476p+0f, magic) - magic;
    float f = fmaf(x, 0x1.715476p+0f, -k);
    return power2(fmaf(x, 0x1.4ae0c0p-26f, f), k);
}

/* x / (1 + e^-z) */
float sigmoid_times(float x, float z)
{
    float e = exp_exact(-fabsf(z));
    return (z < 0.0f ? x * e : x) / (1.0f + e);
}

static float gelu_tanh(float x)
{
    return sigmoid_times(x, 0x1.988454p+0f * fmaf(0x1.6e4e26p-5f * x, x * x, x));
}

float normal_tail(float a)
{
    static const float p[9] = {-0x1.75c6bcp-14f, -0x1.3ca200p-12f, 0x1.778efcp-12f,
                               0x1.2e9bd4p-9f,   -0x1.c9cf66p-9f,  -0x1.0215b6p-6f,
                               0x1.3a0d78p-4f,   -0x1.5bb442p-3f,  0x1.f1b89cp-3f};
    float t = 1.0f / fmaf(a, 0x1.555556p-2f, 1.0f), s = fmaf(-2.0f, t, 1.0f);
    float sum = p[0];
    for (int i = 1; i < 9; i++)
        sum = fmaf(sum, s, p[i]);
    return exp_exact(-0.5f * (a * a)) * (t * sum);
}

static float gelu_erf(float x)
{
    float tail = normal_tail(fabsf(x));
    return x < 0.0f ? x * tail : fmaf(-x, tail, x);
}

/* p with 2^p <= x < 2^(p + 1) */
int exponent(float x)
{
    int e;
    frexpf(x, &e);
    return e - 1;
}

/* x * 2^e in two steps, each of which rounds. */
float scale2(float x, int e)
{
    int half = e < 0 ? -((1 - e) / 2) : e / 2;
    return (x * ldexpf(1.0f, half)) * ldexpf(1.0f, e - half);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

float largest(const float *x, int n)
{
    float max = 0;
    for (int i = 0; i < n; i++)
        max = fmaxf(max, fabsf(x[i]));
    return max;
}

/* QUANT_ROW: x [n] to q [n]; returns the scale. */
float quantise(const float *x, int n, int qmax, int16_t *q)
{
    float amax = largest(x, n);
    bool zero = amax < 0x1p-100f;
    float inv = zero ? 0 : (float)qmax / amax;
    for (int i = 0; i < n; i++)
        q[i] = zero ? 0 : (int16_t)rintf(x[i] * inv);
    return zero ? 0 : amax / (float)qmax;
}

int activation_max(const model *m)
{
    return m->activation_bits == 8 ? 127 : 16256;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

float normaliser(const model *m, const float *x, float *mean)
{
    int dim = m->dim;
    float max = largest(x, dim), n = (float)dim;
    bool zero = max < 0x1p-100f;
    int p = zero ? 0 : exponent(max);
    void *scratch = mark();
    int64_t *u = take((size_t)dim, sizeof *u), sum = 0, squares = 0, spread = 0;
    for (int i = 0; i < dim; i++) {
        u[i] = zero ? 0 : (int64_t)rintf(x[i] * ldexpf(1.0f, 20 - p));
        sum += u[i];
        squares += u[i] * u[i];
    }
    float r = scale2((float)squares / n, 2 * p - 40);
    *mean = 0;
    if (m->norm == NORM_LAYER) {
        int64_t middle = floor_div(2 * sum + dim, 2 * (int64_t)dim);
        for (int i = 0; i < dim && !zero; i++)
            spread += (u[i] - middle) * (u[i] - middle);
        *mean = ((float)sum / n) * ldexpf(1.0f, p - 20);
        float c = (float)(sum - middle * dim) / n;
        r = scale2(fmaxf((float)spread / n - c * c, 0.25f), 2 * p - 40);
    }
    release(scratch);
    return 1.0f / sqrtf(r + m->eps);
}

/* x [dim] normalised in place. */
static void normalise(const model *m, float *x, const float *gain, const float *bias)
{
    float mean, r = normaliser(m, x, &mean);
    for (int i = 0; i < m->dim; i++) {
        x[i] = ((x[i] - mean) * r) * gain[i];
        if (m->norm == NORM_LAYER)
            x[i] = x[i] + bias[i];
    }
}

int weight_at(const matrix *w, size_t at)
{
    return w->bits == 8 ? ((const int8_t *)w->w)[at] : ((const int16_t *)w->w)[at];
}

/* out [n] = the layer's product with the row x [k], quantised first; with add, out's entries are
 * residuals that it joins. */
static void linear(const model *m, const matrix *w, const float *x, bool add, float *out)
{
    void *scratch = mark();
    int16_t *q = take((size_t)w->k, sizeof *q);
    float scale = quantise(x, w->k, activation_max(m), q);
    for (int n = 0; n < w->n; n++) {
        int64_t acc = 0;
        for (int k = 0; k < w->k; k++)
            acc += (int64_t)q[k] * weight_at(w, (size_t)n * (size_t)w->k + (size_t)k);
        float y = ((float)acc * scale) * w->scale[n];
        if (w->bias)
            y = y + w->bias[n];
        out[n] = add ? out[n] + y : y;
    }
    release(scratch);
}

/* ---- attention --------------------------------------------------------------------------------
 */

static uint64_t scaled(uint64_t a, uint64_t b, int shift)
{
    return (uint64_t)((unsigned __int128)a * b >> shift);
}

/* Cosine and sine, Q30, of a phase of which 2^64 are a turn. */
void rotation(uint64_t phase, int64_t *cosine, int64_t *sine)
{
    const uint64_t one = (uint64_t)1 << 63, eighth = (uint64_t)1 << 61;
    int octant = (int)(phase / eighth);
    uint64_t part = octant % 2 ? eighth - phase % eighth : phase % eighth;
    uint64_t x = scaled(part, 0xc90fdaa22168c235u, 62), square = scaled(x, x, 63); /* Q63 */
    uint64_t c = one, s = one;
    for (uint64_t k = 10; k >= 1; k--) {
        c = one - scaled(square, c, 63) / ((2 * k - 1) * (2 * k));
        s = one - scaled(square, s, 63) / (2 * k * (2 * k + 1));
    }
    int64_t near = (int64_t)((c + ((uint64_t)1 << 32)) >> 33);
    int64_t far = (int64_t)((scaled(x, s, 63) + ((uint64_t)1 << 32)) >> 33);
    static const bool swapped[8] = {0, 1, 1, 0, 0, 1, 1, 0};
    *cosine = swapped[octant] ? far : near;
    *sine = swapped[octant] ? near : far;
    if (octant >= 2 && octant <= 5)
        *cosine = -*cosine;
    if (octant >= 4)
        *sine = -*sine;
}

/* A head h [head_dim], rotated as at position p and quantised to q; returns the scale. */
float quantise_head(const model *m, const float *h, uint32_t p, int qmax, int16_t *q)
{
    int d = m->head_dim, half = d / 2;
    float max = largest(h, d), f[256];
    if (!m->rope || max < 0x1p-100f)
        return quantise(h, d, qmax, q);
    int e = exponent(max);
    for (int i = 0; i < half; i++) {
        int64_t a = (int64_t)rintf(h[i] * ldexpf(1.0f, 22 - e));
        int64_t b = (int64_t)rintf(h[i + half] * ldexpf(1.0f, 22 - e)), cosine, sine;
        rotation(p * m->turns[i], &cosine, &sine);
        f[i] = (float)(a * cosine - b * sine);
        f[i + half] = (float)(b * cosine + a * sine);
    }
    return scale2(quantise(f, d, qmax, q), e - 52);
}

static float score(const model *m, const int16_t *q, float q_scale, const int16_t *k, float k_scale)
{
    int64_t dot = 0;
    for (int i = 0; i < m->head_dim; i++)
        dot += (int64_t)q[i] * k[i];
    return ((float)dot * k_scale) * (q_scale * m->factor);
}

/* One query head over n positions at[n]: the scores s[n] to out [head_dim]. */
static void average(const model *m, const cache *c, const size_t *at, float *s, int n, float *out)
{
    float max = s[0], vmax = 0;
    for (int j = 0; j < n; j++) {
        max = fmaxf(max, s[j]);
        vmax = fmaxf(vmax, c->v_scale[at[j]]);
    }
    int64_t total = 0, sum[256] = {0};
    float inv = 16256.0f / vmax;
    for (int j = 0; j < n; j++) {
        float e = power_of_2(s[j] - max);
        total += (int64_t)rintf(e * 0x1p24f);
        int64_t w = vmax < 0x1p-100f ? 0 : (int64_t)rintf((e * c->v_scale[at[j]]) * inv);
        for (int i = 0; i < m->head_dim; i++)
            sum[i] += w * c->v[at[j] * (size_t)m->head_dim + (size_t)i];
    }
    float unit = (vmax / 16256.0f) * (0x1p24f / (float)total);
    for (int i = 0; i < m->head_dim; i++)
        out[i] = vmax < 0x1p-100f ? 0 : (float)sum[i] * unit;
}

int scores(const model *m, const cache *c, const attended_row *row, int h, size_t *at, float *s)
{
    int16_t q[256], sink[256];
    int d = m->head_dim, n = 0, head = h / (m->heads / m->kv_heads);
    uint32_t p = row->position, window = row->window;
    float scale = quantise_head(m, row->qkv + h * d, p, 16256, q);
    float sink_scale = quantise_head(m, row->qkv + h * d, window - 1, 16256, sink);
    uint32_t first = p >= window ? p - window + 1 : 0;
    for (uint32_t j = first; j <= p; j++, n++) {
        at[n] = ((size_t)row->layer * c->capacity + j) * (size_t)m->kv_heads + (size_t)head;
        s[n] = score(m, q, scale, c->k + at[n] * (size_t)d, c->k_scale[at[n]]);
    }
    if (p >= window) { /* the attention sink: position 0 */
        at[n] = (size_t)row->layer * c->capacity * (size_t)m->kv_heads + (size_t)head;
        s[n] = score(m, sink, sink_scale, c->k + at[n] * (size_t)d, c->k_scale[at[n]]);
        n++;
    }
    return n;
}

/* The row's keys and values enter the cache; out [heads][head_dim]. */
static void attend(const model *m, cache *c, const attended_row *row, float *out)
{
    int d = m->head_dim, kv_max = m->kv_bits == 8 ? 127 : 2047;
    size_t first = ((size_t)row->layer * c->capacity + row->position) * (size_t)m->kv_heads;
    for (int h = 0; h < m->kv_heads; h++) {
        const float *k = row->qkv + (m->heads + h) * d, *v = k + m->kv_heads * d;
        size_t at = first + (size_t)h;
        c->k_scale[at] = quantise_head(m, k, row->position, kv_max, c->k + at * (size_t)d);
        c->v_scale[at] = quantise(v, d, kv_max, c->v + at * (size_t)d);
    }

    void *scratch = mark();
    size_t *at = take((size_t)row->window + 1, sizeof *at);
    float *s = take((size_t)row->window + 1, sizeof *s);
    for (int h = 0; h < m->heads; h++) {
        int n = scores(m, c, row, h, at, s);
        average(m, c, at, s, n, out + h * d);
    }
    release(scratch);
}

/* ---- the forward pass -------------------------------------------------------------------------
 */

/* x [up.n] to y [ffn] */
static void activate(const model *m, const float *x, float *y)
{
    for (int i = 0; i < m->ffn; i++)
        if (m->activation == SWIGLU)
            y[i] = sigmoid_times(x[i], x[i]) * x[m->ffn + i];
        else
            y[i] = m->activation == GELU_TANH ? gelu_tanh(x[i]) : gelu_erf(x[i]);
}

static void embed(const model *m, uint32_t token, uint32_t p, float *x)
{
    const matrix *e = &m->embedding;
    float scale = e->scale[token] * m->embedding_factor;
    for (int i = 0; i < m->dim; i++) {
        size_t at = (size_t)token * (size_t)m->dim + (size_t)i;
        int w = e->bits == 8 ? ((const int8_t *)e->w)[at] : ((const int16_t *)e->w)[at];
        x[i] = (float)w * scale;
        if (m->position)
            x[i] = x[i] + m->position[(size_t)p * (size_t)m->dim + (size_t)i];
    }
}

void trace_create(trace *t, const model *m)
{
    size_t dim = (size_t)m->dim, heads = (size_t)(m->heads + 2 * m->kv_heads);
    size_t qkv = heads * (size_t)m->head_dim, out = (size_t)(m->heads * m->head_dim);
    size_t ffn = (size_t)m->ffn, up = m->activation == SWIGLU ? 2 * ffn : ffn;
    size_t layers = (size_t)m->layers, layer = 4 * dim + qkv + out + up + ffn;
    float *at = take(layers * layer + dim + (size_t)m->vocab, sizeof *at);
    t->layer = take(layers, sizeof *t->layer);
    for (size_t i = 0; i < layers; i++, at += layer) {
        layer_trace *l = &t->layer[i];
        l->x1 = at;
        l->y1 = l->x1 + dim;
        l->qkv = l->y1 + dim;
        l->attended = l->qkv + qkv;
        l->x2 = l->attended + out;
        l->y2 = l->x2 + dim;
        l->up = l->y2 + dim;
        l->activated = l->up + up;
    }
    t->last = at;
    t->logits = at + dim;
}

void forward(const model *m, cache *c, uint32_t token, uint32_t p, uint32_t window, trace *t,
             float *logits)
{
    size_t dim = (size_t)m->dim;
    void *scratch = mark();
    float *x = take(dim, 4);
    trace unread;
    if (!t)
        trace_create(t = &unread, m);
    if (p >= c->capacity || token >= (uint32_t)m->vocab ||
        (m->position && p >= (uint32_t)m->context))
        fail("a position or token that the model does not have");
    embed(m, token, p, x);
    for (int i = 0; i < m->layers; i++) {
        const layer *l = &m->layer[i];
        const layer_trace *lt = &t->layer[i];
        memcpy(lt->x1, x, dim * 4);
        memcpy(lt->y1, x, dim * 4);
        if (!m->post_norm)
            normalise(m, lt->y1, l->norm1, l->norm1_bias);
        linear(m, &l->qkv, lt->y1, false, lt->qkv);
        attend(m, c, &(attended_row){i, p, window, lt->qkv}, lt->attended);
        linear(m, &l->out, lt->attended, true, x);
        if (m->post_norm) {
            memcpy(lt->x1, x, dim * 4);
            normalise(m, x, l->norm1, l->norm1_bias);
        }
        memcpy(lt->x2, x, dim * 4);
        memcpy(lt->y2, x, dim * 4);
        if (!m->post_norm)
            normalise(m, lt->y2, l->norm2, l->norm2_bias);
        linear(m, &l->up, lt->y2, false, lt->up);
        activate(m, lt->up, lt->activated);
        linear(m, &l->down, lt->activated, true, x);
        if (m->post_norm) {
            memcpy(lt->x2, x, dim * 4);
            normalise(m, x, l->norm2, l->norm2_bias);
        }
    }
    if (logits) {
        memcpy(t->last, x, dim * 4);
        normalise(m, x, m->final, m->final_bias);
        linear(m, &m->head, x, false, logits);
        memcpy(t->logits, logits, (size_t)m->vocab * 4);
    }
    release(scratch);
}

void cache_create(cache *c, const model *m, uint32_t capacity)
{
    size_t rows = (size_t)m->layers * capacity * (size_t)m->kv_heads;
    c->capacity = capacity;
    c->k = take(rows * (size_t)m->head_dim, sizeof *c->k);
    c->v = take(rows * (size_t)m->head_dim, sizeof *c->v);
    c->k_scale = take(rows, sizeof *c->k_scale);
    c->v_scale = take(rows, sizeof *c->v_scale);
}
