/* attention_reference.h: ops.h's formulas of qkv() and attention(), spelled out element by element,
 * for texts of random rows. */
#ifndef GPUZIP_ATTENTION_REFERENCE_H
#define GPUZIP_ATTENTION_REFERENCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "detmath.h"
#include "ops.h"

typedef struct {
    int heads, kv_heads, head_dim, bits;
    int slots, positions;
    bool rotary;
    int window; /* 0: all positions */
    int run;    /* of kv_create(); 0: 1 */
    int origin; /* the position of the text's token i > 0 is origin + i */
} shape;

/* Everything for every (slot, token) of a shape: inputs and expected outputs, as arrays
 * [slots][positions][...]. */
typedef struct {
    shape s;
    float *qkv;             /* [heads + 2 kv_heads][head_dim] */
    int32_t *cosine, *sine; /* [positions + 1][head_dim / 2], not a slot's; the last: window - 1 */
    float factor;
    int16_t *q, *sink, *k, *v; /* [heads][head_dim] twice, [kv_heads][head_dim] twice */
    float *q_scale, *sink_scale, *k_scale, *v_scale; /* [heads] twice, [kv_heads] twice */
    float *out;                                      /* [heads][head_dim] */
} world;

static uint32_t random_u32(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

/* Roughly normal. */
static float random_float(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(random_u32(state) % 65536) - 32768;
    return sum / 40000;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static size_t qkv_values(const shape *s)
{
    return (size_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
}

/* The position of token i of a slot's text. */
static int32_t position_of(const shape *s, int i)
{
    return i == 0 ? 0 : s->origin + i;
}

/* -- the reference ---------------------------------------------------------- */

static float expect_quantized(const float *f, int n, int qmax, int16_t *q)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = fabsf(f[i]) > amax ? fabsf(f[i]) : amax;
    if (amax < 0x1p-100f) {
        memset(q, 0, n * sizeof *q);
        return 0;
    }
    float inv = (float)qmax / amax;
    for (int i = 0; i < n; i++)
        q[i] = (int16_t)rintf(f[i] * inv);
    return amax / (float)qmax;
}

/* turn: the row of the tables; -1: no rotation. */
static float expect_head(const world *w, const float *h, int turn, int qmax, int16_t *q)
{
    int dim = w->s.head_dim, half = dim / 2;
    float f[OPS_MAX_HEAD_DIM] = {0}, amax = 0;
    if (turn < 0 || !w->s.rotary)
        return expect_quantized(h, dim, qmax, q);
    for (int i = 0; i < dim; i++)
        amax = fabsf(h[i]) > amax ? fabsf(h[i]) : amax;
    int p = amax < 0x1p-100f ? 0 : ilogbf(amax);
    for (int i = 0; i < half && amax >= 0x1p-100f; i++) {
        int64_t a = (int64_t)rintf(ldexpf(h[i], 22 - p));
        int64_t b = (int64_t)rintf(ldexpf(h[i + half], 22 - p));
        int64_t cosine = w->cosine[turn * half + i], sine = w->sine[turn * half + i];
        f[i] = (float)(a * cosine - b * sine);
        f[i + half] = (float)(b * cosine + a * sine);
    }
    return ldexpf(expect_quantized(f, dim, qmax, q), p - 52);
}

static void expect_qkv(world *w, int slot, int token)
{
    const shape *s = &w->s;
    size_t at = (size_t)slot * s->positions + token, dim = s->head_dim;
    int qmax = s->bits == 8 ? 127 : 2047;
    const float *h = w->qkv + at * qkv_values(s);
    for (int i = 0; i < s->heads; i++, h += dim) {
        size_t head = at * s->heads + i;
        w->q_scale[head] = expect_head(w, h, token, 16256, w->q + head * dim);
        w->sink_scale[head] = expect_head(w, h, s->positions, 16256, w->sink + head * dim);
    }
    for (int i = 0; i < s->kv_heads; i++, h += dim) {
        size_t head = at * s->kv_heads + i;
        w->k_scale[head] = expect_head(w, h, token, qmax, w->k + head * dim);
    }
    for (int i = 0; i < s->kv_heads; i++, h += dim) {
        size_t head = at * s->kv_heads + i;
        w->v_scale[head] = expect_head(w, h, -1, qmax, w->v + head * dim);
    }
}

/* Whether the text has all tokens of a token's window. */
static bool has_window(const shape *s, int token)
{
    return s->origin == 0 || token >= s->window;
}

/* The tokens that a token attends to, the sink first if it is not in the window. Returns how
 * many; list: room for window + 1. */
static int attended(const shape *s, int token, int *list, bool *has_sink)
{
    int count = 0;
    *has_sink = position_of(s, token) >= s->window;
    if (*has_sink)
        list[count++] = 0;
    for (int j = token - s->window + 1 > 0 ? token - s->window + 1 : 0; j <= token; j++)
        list[count++] = j;
    return count;
}

static void expect_attention(world *w, int slot, int token, int head)
{
    const shape *s = &w->s;
    int dim = s->head_dim, kv_head = head / (s->heads / s->kv_heads);
    size_t query = ((size_t)slot * s->positions + token) * s->heads + head;
    size_t first = (size_t)slot * s->positions * s->kv_heads + kv_head;
    int *list = allocate((s->window + 1) * sizeof *list);
    float *e = allocate((s->window + 1) * sizeof *e), max = -INFINITY, vmax = 0;
    bool has_sink;
    int count = attended(s, token, list, &has_sink);
    for (int j = 0; j < count; j++) {
        bool sink = has_sink && j == 0;
        size_t at = first + (size_t)list[j] * s->kv_heads;
        const int16_t *q = (sink ? w->sink : w->q) + query * dim;
        int64_t sum = 0;
        for (int i = 0; i < dim; i++)
            sum += q[i] * w->k[at * dim + i];
        float qs = (sink ? w->sink_scale : w->q_scale)[query] * w->factor;
        e[j] = ((float)sum * w->k_scale[at]) * qs;
        max = e[j] > max ? e[j] : max;
        vmax = w->v_scale[at] > vmax ? w->v_scale[at] : vmax;
    }
    int64_t total = 0, sum[OPS_MAX_HEAD_DIM] = {0};
    float inv = vmax < 0x1p-100f ? 0 : 16256 / vmax;
    for (int j = 0; j < count; j++) {
        size_t at = first + (size_t)list[j] * s->kv_heads;
        float x = det_exp2f(e[j] - max);
        total += (int64_t)rintf(x * 0x1p24f);
        int64_t weight = (int64_t)rintf((x * w->v_scale[at]) * inv);
        for (int i = 0; i < dim; i++)
            sum[i] += weight * w->v[at * dim + i];
    }
    for (int i = 0; i < dim; i++)
        w->out[query * dim + i] =
            inv == 0 ? 0 : (float)sum[i] * ((vmax / 16256) * (0x1p24f / (float)total));
    free(e);
    free(list);
}

static void expect(world *w)
{
    for (int slot = 0; slot < w->s.slots; slot++)
        for (int token = 0; token < w->s.positions; token++) {
            expect_qkv(w, slot, token);
            for (int head = 0; head < w->s.heads && has_window(&w->s, token); head++)
                expect_attention(w, slot, token, head);
        }
}

/* A row of rotations for a position. */
static void fill_turns(int32_t *cosine, int32_t *sine, int half, int position)
{
    for (int i = 0; i < half; i++) {
        double angle = position * pow(10000, -(double)i / half);
        cosine[i] = (int32_t)lrint(cos(angle) * 0x1p30);
        sine[i] = (int32_t)lrint(sin(angle) * 0x1p30);
    }
}

static void open_world(world *w, shape s)
{
    uint64_t state = 88172645463325252u + (uint64_t)s.head_dim * 1000 + (uint64_t)s.heads;
    size_t rows = (size_t)s.slots * s.positions, half = s.head_dim / 2;
    s.window = s.window > 0 ? s.window : s.positions;
    s.run = s.run > 0 ? s.run : 1;
    *w = (world){.s = s, .factor = 1.44269504f / sqrtf((float)s.head_dim)};
    w->qkv = allocate(rows * qkv_values(&s) * sizeof *w->qkv);
    for (size_t i = 0; i < rows * qkv_values(&s); i++)
        w->qkv[i] = random_float(&state) * (i % 97 == 0 ? 30 : 1);
    if (s.rotary) {
        w->cosine = allocate((s.positions + 1) * half * sizeof *w->cosine);
        w->sine = allocate((s.positions + 1) * half * sizeof *w->sine);
        for (int i = 0; i <= s.positions; i++)
            fill_turns(w->cosine + i * half, w->sine + i * half, (int)half,
                       i < s.positions ? position_of(&s, i) : s.window - 1);
    }
    w->q = allocate(rows * s.heads * s.head_dim * sizeof *w->q);
    w->sink = allocate(rows * s.heads * s.head_dim * sizeof *w->sink);
    w->k = allocate(rows * s.kv_heads * s.head_dim * sizeof *w->k);
    w->v = allocate(rows * s.kv_heads * s.head_dim * sizeof *w->v);
    w->q_scale = allocate(rows * s.heads * sizeof *w->q_scale);
    w->sink_scale = allocate(rows * s.heads * sizeof *w->sink_scale);
    w->k_scale = allocate(rows * s.kv_heads * sizeof *w->k_scale);
    w->v_scale = allocate(rows * s.kv_heads * sizeof *w->v_scale);
    w->out = allocate(rows * s.heads * s.head_dim * sizeof *w->out);
}

static void close_world(world *w)
{
    free(w->qkv);
    free(w->cosine);
    free(w->sine);
    free(w->q);
    free(w->sink);
    free(w->k);
    free(w->v);
    free(w->q_scale);
    free(w->sink_scale);
    free(w->k_scale);
    free(w->v_scale);
    free(w->out);
}

#endif
