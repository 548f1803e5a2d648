/* model_reference.h: tiny random models, and their forward pass in double precision, for tests of
 * weights that learn. Include after cmocka.h. */
#ifndef GPUZIP_TEST_MODEL_REFERENCE_H
#define GPUZIP_TEST_MODEL_REFERENCE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model_learn.h"
#include "rope.h"
#include "test_kernels.h"

enum { TINY_VOCAB = 70, TINY_CONTEXT = 64, TINY_LAYERS = 2 };

/* The fields of a weights_config that tests choose. */
typedef struct {
    weights_norm norm;
    weights_act act;
    bool post_norm, rope, biases;
    int layers, dim, heads, kv_heads, head_dim, ffn;
    int weight_bits, activation_bits, kv_bits;
} tiny_config;

static const tiny_config tiny_llama = {
    WEIGHTS_NORM_RMS, WEIGHTS_ACT_SWIGLU, false, true, false, 2, 36, 4, 2, 8, 50, 15, 15, 12};
static const tiny_config tiny_gpt2 = {
    WEIGHTS_NORM_LAYER, WEIGHTS_ACT_GELU_TANH, false, false, true, 2, 32, 2, 2, 18, 44, 15, 15, 12};
static const tiny_config tiny_wpoe = {
    WEIGHTS_NORM_LAYER, WEIGHTS_ACT_GELU_ERF, true, false, true, 2, 40, 3, 1, 6, 66, 15, 15, 12};

typedef struct {
    weights_model w;
    weights_layer layer[TINY_LAYERS];
    uint64_t turns[OPS_MAX_HEAD_DIM / 2];
    void *memory[128]; /* of all arrays */
    int arrays;
    uint64_t seed;
} tiny_model;

static inline void *tiny_array(tiny_model *t, size_t count, size_t size)
{
    void *array = aligned_alloc(64, (count * size + 63) & ~(size_t)63);
    assert_non_null(array);
    assert_true(t->arrays < (int)(sizeof t->memory / sizeof *t->memory));
    t->memory[t->arrays++] = array;
    return array;
}

static inline const float *tiny_floats(tiny_model *t, test_random *r, int count, float mean,
                                       float deviation)
{
    float *v = tiny_array(t, (size_t)count, sizeof *v);
    for (int i = 0; i < count; i++)
        v[i] = mean + deviation * random_normal(r);
    return v;
}

/* Weights whose rows turn inputs of size 1 into outputs of about `gain`. */
static inline weights_matrix tiny_weights(tiny_model *t, test_random *r, int n, int k, double gain)
{
    int bits = t->w.config.weight_bits;
    double most = bits == 8 ? OPS_Q8_MAX : OPS_Q15_MAX, unit = most / 4;
    void *w = tiny_array(t, (size_t)n * (size_t)k, bits == 8 ? 1 : 2);
    float *scale = tiny_array(t, (size_t)n, sizeof *scale);
    for (int i = 0; i < n; i++)
        scale[i] = (float)((0.5 + random_below(r, 1000) / 1000.0) * gain / (unit * sqrt(k)));
    for (size_t i = 0; i < (size_t)n * (size_t)k; i++) {
        double v = fmax(fmin(rint(unit * random_normal(r)), most), -most);
        if (bits == 8)
            ((int8_t *)w)[i] = (int8_t)v;
        else
            ((int16_t *)w)[i] = (int16_t)v;
    }
    return (weights_matrix){w, scale, n, k};
}

static inline weights_norm_vectors tiny_norm(tiny_model *t, test_random *r)
{
    int dim = t->w.config.dim;
    weights_norm_vectors v = {tiny_floats(t, r, dim, 1, 0.3f), NULL};
    if (t->w.config.norm == WEIGHTS_NORM_LAYER)
        v.bias = tiny_floats(t, r, dim, 0, 0.2f);
    return v;
}

static inline tiny_model tiny_open(const tiny_config *c, uint64_t seed)
{
    tiny_model t = {.seed = seed};
    test_random r = {seed};
    int att = c->heads * c->head_dim, qkv = att + 2 * c->kv_heads * c->head_dim;
    int up = c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
    t.w.config = (weights_config){.norm = c->norm,
                                  .act = c->act,
                                  .post_norm = c->post_norm,
                                  .rope = c->rope,
                                  .layers = c->layers,
                                  .dim = c->dim,
                                  .heads = c->heads,
                                  .kv_heads = c->kv_heads,
                                  .head_dim = c->head_dim,
                                  .ffn = c->ffn,
                                  .vocab = TINY_VOCAB,
                                  .context = TINY_CONTEXT,
                                  .weight_bits = c->weight_bits,
                                  .activation_bits = c->activation_bits,
                                  .kv_bits = c->kv_bits,
                                  .eps = 1e-5f};
    t.w.config.attention_factor = 1.5f * (float)(1.4426950408889634 / sqrt(c->head_dim));
    t.w.embedding = tiny_weights(&t, &r, TINY_VOCAB, c->dim, sqrt(c->dim));
    t.w.embedding_factor = 1;
    if (!c->rope)
        t.w.position = tiny_floats(&t, &r, TINY_CONTEXT * c->dim, 0, 0.5f);
    for (int i = 0; i < c->layers; i++) {
        weights_layer *l = &t.layer[i];
        *l = (weights_layer){.norm1 = tiny_norm(&t, &r), .norm2 = tiny_norm(&t, &r)};
        l->qkv = tiny_weights(&t, &r, qkv, c->dim, 1);
        l->out = tiny_weights(&t, &r, c->dim, att, 1);
        l->up = tiny_weights(&t, &r, up, c->dim, 1);
        l->down = tiny_weights(&t, &r, c->dim, c->ffn, 1);
        if (!c->biases)
            continue;
        l->qkv_bias = tiny_floats(&t, &r, qkv, 0, 0.2f);
        l->out_bias = tiny_floats(&t, &r, c->dim, 0, 0.2f);
        l->up_bias = tiny_floats(&t, &r, up, 0, 0.2f);
        l->down_bias = tiny_floats(&t, &r, c->dim, 0, 0.2f);
    }
    t.w.final_norm = tiny_norm(&t, &r);
    t.w.head = tiny_weights(&t, &r, TINY_VOCAB, c->dim, 1);
    rope_config rope = {.theta = 100, .scaling = ROPE_PLAIN};
    rope_turns(t.turns, c->head_dim, &rope);
    return t;
}

/* Sets the pointers of a model to its own parts: call where it stands. */
static inline void tiny_settle(tiny_model *t)
{
    t->w.layer = t->layer;
    t->w.turns = t->w.config.rope ? t->turns : NULL;
}

static inline void tiny_close(tiny_model *t)
{
    for (int i = 0; i < t->arrays; i++)
        free(t->memory[i]);
}

static inline const weights_matrix *tiny_matrix(const tiny_model *t, int layer, int which)
{
    const weights_layer *l = &t->layer[layer];
    return which == 0 ? &l->qkv : which == 1 ? &l->out : which == 2 ? &l->up : &l->down;
}

static inline int tiny_weight(const tiny_model *t, const weights_matrix *m, size_t at)
{
    return t->w.config.weight_bits == 8 ? ((const int8_t *)m->w)[at] : ((const int16_t *)m->w)[at];
}

/* The texts: a token of a slot at a position, and the token that follows it; some are unknown. */
static inline int32_t tiny_token(const tiny_model *t, int slot, int pos)
{
    test_random r = {t->seed * 1000 + (uint64_t)slot * 100 + (uint64_t)pos};
    random_bits(&r);
    return (int32_t)random_below(&r, TINY_VOCAB);
}

static inline int32_t tiny_target(const tiny_model *t, int slot, int pos)
{
    return (pos + slot) % 7 == 5 ? -1 : tiny_token(t, slot, pos + 1);
}

/* ---- the forward pass ----------------------------------------------------- */

typedef struct {
    const tiny_model *t;
    int slots, window, positions;
    double *w[TINY_LAYERS][4];               /* the matrices */
    double *k[TINY_LAYERS], *v[TINY_LAYERS]; /* [slots][positions][kv_heads][head_dim] */
} reference;

static inline reference reference_open(const tiny_model *t, int slots, int window, int positions)
{
    reference r = {.t = t, .slots = slots, .positions = positions};
    const weights_config *c = &t->w.config;
    size_t cache = (size_t)slots * (size_t)positions * (size_t)(c->kv_heads * c->head_dim);
    r.window = c->rope ? window : c->context;
    for (int layer = 0; layer < c->layers; layer++) {
        r.k[layer] = test_array(cache, sizeof(double));
        r.v[layer] = test_array(cache, sizeof(double));
        for (int which = 0; which < 4; which++) {
            const weights_matrix *m = tiny_matrix(t, layer, which);
            size_t size = (size_t)m->n * (size_t)m->k;
            r.w[layer][which] = test_array(size, sizeof(double));
            for (size_t i = 0; i < size; i++)
                r.w[layer][which][i] = (double)m->scale[i / (size_t)m->k] * tiny_weight(t, m, i);
        }
    }
    return r;
}

static inline void reference_close(reference *r)
{
    for (int layer = 0; layer < r->t->w.config.layers; layer++) {
        free(r->k[layer]);
        free(r->v[layer]);
        for (int which = 0; which < 4; which++)
            free(r->w[layer][which]);
    }
}

/* Takes the master weights of a learner. */
static inline void reference_learn(reference *r, const model_learner *l)
{
    for (int layer = 0; layer < r->t->w.config.layers; layer++) {
        for (int which = 0; which < 4; which++) {
            const weights_matrix *m = tiny_matrix(r->t, layer, which);
            size_t size = (size_t)m->n * (size_t)m->k;
            int32_t *master = test_array(size, sizeof *master);
            assert_int_equal(model_learner_read(l, layer, which, master), GPUZIP_OK);
            for (size_t i = 0; i < size; i++)
                r->w[layer][which][i] = (double)m->scale[i / (size_t)m->k] * master[i] / 65536;
            free(master);
        }
    }
}

static inline void reference_norm(const reference *r, const weights_norm_vectors *n,
                                  const double *x, double *y)
{
    const weights_config *c = &r->t->w.config;
    double mean = 0, squares = 0;
    for (int i = 0; i < c->dim && c->norm == WEIGHTS_NORM_LAYER; i++)
        mean += x[i] / c->dim;
    for (int i = 0; i < c->dim; i++)
        squares += (x[i] - mean) * (x[i] - mean) / c->dim;
    for (int i = 0; i < c->dim; i++)
        y[i] = (x[i] - mean) / sqrt(squares + (double)c->eps) * (double)n->gain[i] +
               (n->bias ? (double)n->bias[i] : 0);
}

static inline void reference_linear(const weights_matrix *m, const double *w, const float *bias,
                                    const double *x, double *y)
{
    for (int n = 0; n < m->n; n++) {
        y[n] = bias ? (double)bias[n] : 0;
        for (int k = 0; k < m->k; k++)
            y[n] += w[(size_t)n * (size_t)m->k + (size_t)k] * x[k];
    }
}

static inline void reference_rotate(const reference *r, const double *h, int pos, double *f)
{
    const weights_config *c = &r->t->w.config;
    int half = c->head_dim / 2;
    memcpy(f, h, (size_t)c->head_dim * sizeof *f);
    for (int i = 0; i < half && c->rope; i++) {
        double angle = 6.283185307179586 * (double)(r->t->turns[i] * (uint64_t)pos) * 0x1p-64;
        f[i] = h[i] * cos(angle) - h[i + half] * sin(angle);
        f[i + half] = h[i + half] * cos(angle) + h[i] * sin(angle);
    }
}

static inline void reference_attend(const reference *r, int layer, int slot, int pos, int head,
                                    const double *q, double *out)
{
    const weights_config *c = &r->t->w.config;
    int dim = c->head_dim, kv = head / (c->heads / c->kv_heads), count = 0;
    double rotated[64], sink[64], score[TINY_CONTEXT + 1], total = 0;
    int at[TINY_CONTEXT + 1];
    reference_rotate(r, q, pos, rotated);
    reference_rotate(r, q, r->window - 1, sink);
    if (pos >= r->window)
        at[count++] = 0;
    for (int j = pos >= r->window ? pos - r->window + 1 : 0; j <= pos; j++)
        at[count++] = j;
    memset(out, 0, (size_t)dim * sizeof *out);
    for (int i = 0; i < count; i++) {
        size_t row = ((size_t)slot * (size_t)r->positions + (size_t)at[i]) * (size_t)c->kv_heads;
        const double *k = r->k[layer] + (row + (size_t)kv) * (size_t)dim;
        score[i] = 0;
        for (int d = 0; d < dim; d++)
            score[i] += k[d] * (pos >= r->window && i == 0 ? sink : rotated)[d];
        score[i] = exp2(score[i] * (double)c->attention_factor);
        total += score[i];
    }
    for (int i = 0; i < count; i++) {
        size_t row = ((size_t)slot * (size_t)r->positions + (size_t)at[i]) * (size_t)c->kv_heads;
        const double *v = r->v[layer] + (row + (size_t)kv) * (size_t)dim;
        for (int d = 0; d < dim; d++)
            out[d] += score[i] / total * v[d];
    }
}

static inline void reference_activate(const weights_config *c, const double *up, double *y)
{
    for (int i = 0; i < c->ffn; i++) {
        double x = up[i];
        if (c->act == WEIGHTS_ACT_SWIGLU)
            y[i] = x / (1 + exp(-x)) * up[c->ffn + i];
        else if (c->act == WEIGHTS_ACT_GELU_ERF)
            y[i] = x * 0.5 * (1 + erf(x / sqrt(2)));
        else
            y[i] = 0.5 * x * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x * x * x)));
    }
}

/* One layer of one row; x: the residual stream. */
static inline void reference_layer(reference *r, int layer, int slot, int pos, double *x)
{
    const weights_config *c = &r->t->w.config;
    const weights_layer *l = &r->t->layer[layer];
    double y[256], wide[256], act[256], sum[256];
    int dim = c->head_dim, att = c->heads * dim;
    memcpy(y, x, (size_t)c->dim * sizeof *y);
    if (!c->post_norm)
        reference_norm(r, &l->norm1, x, y);
    reference_linear(&l->qkv, r->w[layer][0], l->qkv_bias, y, wide);
    for (int i = 0; i < c->kv_heads; i++) {
        size_t row = ((size_t)slot * (size_t)r->positions + (size_t)pos) * (size_t)c->kv_heads;
        size_t at = (row + (size_t)i) * (size_t)dim;
        reference_rotate(r, wide + att + i * dim, pos, r->k[layer] + at);
        memcpy(r->v[layer] + at, wide + att + (c->kv_heads + i) * dim,
               (size_t)dim * sizeof(double));
    }
    for (int h = 0; h < c->heads; h++)
        reference_attend(r, layer, slot, pos, h, wide + h * dim, act + h * dim);
    reference_linear(&l->out, r->w[layer][1], l->out_bias, act, sum);
    for (int i = 0; i < c->dim; i++)
        x[i] += sum[i];
    if (c->post_norm) {
        memcpy(y, x, (size_t)c->dim * sizeof *y);
        reference_norm(r, &l->norm1, y, x);
        memcpy(y, x, (size_t)c->dim * sizeof *y);
    } else {
        reference_norm(r, &l->norm2, x, y);
    }
    reference_linear(&l->up, r->w[layer][2], l->up_bias, y, wide);
    reference_activate(c, wide, act);
    reference_linear(&l->down, r->w[layer][3], l->down_bias, act, sum);
    for (int i = 0; i < c->dim; i++)
        x[i] += sum[i];
    if (c->post_norm) {
        memcpy(y, x, (size_t)c->dim * sizeof *y);
        reference_norm(r, &l->norm2, y, x);
    }
}

/* One position of all slots, whose keys and values it keeps. Returns the cross-entropy of its
 * targets. */
static inline double reference_position(reference *r, int pos)
{
    const weights_model *w = &r->t->w;
    const weights_config *c = &w->config;
    double loss = 0;
    for (int slot = 0; slot < r->slots; slot++) {
        double x[256], y[256], logits[TINY_VOCAB], total = 0;
        int32_t token = tiny_token(r->t, slot, pos), target = tiny_target(r->t, slot, pos);
        for (int i = 0; i < c->dim; i++) {
            size_t at = (size_t)token * (size_t)c->dim + (size_t)i;
            x[i] = (double)w->embedding.scale[token] * tiny_weight(r->t, &w->embedding, at);
            x[i] += w->position ? (double)w->position[pos * c->dim + i] : 0;
        }
        for (int layer = 0; layer < c->layers; layer++)
            reference_layer(r, layer, slot, pos, x);
        if (target < 0)
            continue;
        reference_norm(r, &w->final_norm, x, y);
        for (int i = 0; i < TINY_VOCAB; i++) {
            logits[i] = 0;
            for (int d = 0; d < c->dim; d++)
                logits[i] += (double)w->head.scale[i] * y[d] *
                             tiny_weight(r->t, &w->head, (size_t)(i * c->dim + d));
            total += exp(logits[i]);
        }
        loss += log(total) - logits[target];
    }
    return loss;
}

static inline double reference_loss(reference *r, int first, int count)
{
    double loss = 0;
    for (int pos = first; pos < first + count; pos++)
        loss += reference_position(r, pos);
    return loss;
}

/* The derivative of the loss of positions [first, first + count) by one weight, where the keys and
 * values of earlier positions are constants. */
static inline double reference_slope(reference *r, int layer, int which, size_t at, int first,
                                     int count)
{
    double *w = &r->w[layer][which][at], old = *w, h = 1e-5;
    *w = old + h;
    double up = reference_loss(r, first, count);
    *w = old - h;
    double down = reference_loss(r, first, count);
    *w = old;
    return (up - down) / (2 * h);
}

#endif
