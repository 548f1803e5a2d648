/* model_learn.c: the backward pass of every architecture, and the step. */
#include "model_learn.h"

#include <assert.h>
#include <math.h>

#include "model_parts.h"

/* Measured with the built-in model, bytes of the model alone. alice29.txt, rates of the summed
 * gradient times 10^5: 16 rows (1 stream x 16 steps) 125: 27,245, 310: 27,857; 32 rows 94: 27,224,
 * 221: 27,549; 64 rows (4 x 16) 78: 27,308, 156: 27,424; 128 rows 55: 27,341, 78: 27,312, 109:
 * 27,364; 256 rows (16 x 16) 39: 27,609, 78: 27,489. With 256 rows 39 and 78: German novel 26,141
 * and 26,149, code 11,105 and 11,032, enwik6 - and 181,717 (20: 185,567); 250 KB of it 78: 44,596,
 * 156: 44,606. 1024 rows (64 x 16) of that 29: 45,982, 59: 45,350. So a row counts the same up to
 * about 256 rows; beyond, rows of a step agree more and more.
 *
 * Behind context models half of that best rate, 39, gains as much and never loses: files at level 8
 * with fixed weights, and with 78, 39 and 20: alice29.txt 26,518, 26,161, 26,155, 26,225; its first
 * 20,000 bytes 3,774, 3,778, 3,762, 3,762; code, the first 20,000 bytes 2,500, 2,507, 2,498, 2,498;
 * German novel 23,567, 23,516, 23,486, 23,496; enwik6 173,768, 167,789, 168,145, -. */
#define ROW_RATE   0.000390625f
#define EQUAL_ROWS 256

float model_learning_rate(int rows)
{
    return rows <= EQUAL_ROWS ? ROW_RATE : ROW_RATE / sqrtf((float)rows / EQUAL_ROWS);
}

/* One step of one matrix, and before it, with dx: dx = the error of its input (plus residual, which
 * may be dx or NULL) for the error dy of its output, [rows][n]. */
static gpuzip_status step_matrix(model_learner *l, ops_trainable *t, const weights_matrix *shape,
                                 const ops_qrows *x, const float *dy, const float *residual,
                                 float *dx, float rate)
{
    const ops *ops = l->m->ops;
    if (dx) {
        l->error.dim = shape->n;
        l->error.rows = l->rows;
        TRY(ops->learn->linear_back(l->ctx, dy, ops->learn->trainable_matrix(t), &l->error));
        TRY(ops->linear(l->ctx, &l->error, ops->learn->trainable_transpose(t), NULL, residual, dx));
    }
    return ops->learn->trainable_step(l->ctx, t, dy, x, rate);
}

/* dx = the error of a norm's input, plus residual unless that is NULL. */
static gpuzip_status norm_back(model_learner *l, const norm_layer *n, const float *x,
                               const float *dy, const float *residual, float *dx)
{
    const weights_config *c = &l->m->weights->config;
    return l->m->ops->learn->norm_back(l->ctx, (ops_norm_kind)c->norm, x, n->gain, c->eps, dy,
                                       residual, dx, l->rows, c->dim);
}

/* narrow = the error of the final norm's output. */
static gpuzip_status head_back(model_learner *l, model_state *s, const int32_t *target)
{
    const model *m = l->m;
    const ops *ops = m->ops;
    int most = s->sizes.max_logits < l->sizes.logits ? s->sizes.max_logits : l->sizes.logits;
    s->head_rows = model_learner_rows_at(l, m->weights->config.layers, 0, l->rows).qkv_in;
    bool reuse = s->has_step_logits && l->rows <= most;
    for (int first = 0, rows; first < l->rows; first += rows) {
        const float *logits = s->logits;
        rows = l->rows - first < most ? l->rows - first : most;
        if (!reuse)
            TRY(model_logits(s, first, rows, &logits));
        l->head_error.rows = rows;
        TRY(ops->learn->softmax_back(l->ctx, logits, target + first, m->head.w, &l->head_error));
        TRY(ops->linear(l->ctx, &l->head_error, m->head_transpose, NULL, NULL,
                        l->narrow + (size_t)first * (size_t)m->weights->config.dim));
    }
    return GPUZIP_OK;
}

/* The feed-forward network of a layer, whose output's error is the stream's. dx: the error of its
 * input; residual: joins it, or NULL. */
static gpuzip_status ffn_back(model_learner *l, int layer, const layer_rows *r,
                              const float *residual, float *dx, float rate)
{
    const weights_config *c = &l->m->weights->config;
    const weights_layer *w = &l->m->weights->layer[layer];
    const learner_layer *t = &l->layer[layer];
    TRY(step_matrix(l, t->down, &w->down, &r->down_in, l->stream, NULL, l->narrow, rate));
    TRY(l->m->ops->learn->act_back(l->ctx, (ops_act)c->act, r->up, l->narrow, l->wide, l->rows,
                                   c->ffn));
    return step_matrix(l, t->up, &w->up, &r->up_in, l->wide, residual, dx, rate);
}

/* The same of a layer's attention. dx: NULL in the first layer, whose input does not learn. */
static gpuzip_status attention_back(model_learner *l, const model_state *s, const ops_batch *batch,
                                    int layer, const layer_rows *r, const float *residual,
                                    float *dx, float rate)
{
    const weights_config *c = &l->m->weights->config;
    const weights_layer *w = &l->m->weights->layer[layer];
    const learner_layer *t = &l->layer[layer];
    TRY(step_matrix(l, t->out, &w->out, &r->out_in, l->stream, NULL, l->narrow, rate));
    TRY(l->m->ops->learn->attention_back(l->ctx, batch, &r->q, c->heads, c->attention_factor,
                                         &s->rope, s->kv, layer, r->att, l->narrow, l->wide));
    return step_matrix(l, t->qkv, &w->qkv, &r->qkv_in, l->wide, residual, dx, rate);
}

static gpuzip_status pre_norm_back(model_learner *l, const model_state *s, const ops_batch *batch,
                                   int layer, float rate)
{
    const model_layer *p = &l->m->layer[layer];
    layer_rows r = model_learner_rows_at(l, layer, 0, l->rows);
    TRY(ffn_back(l, layer, &r, NULL, l->narrow, rate));
    TRY(norm_back(l, &p->norm2, r.norm2_in, l->narrow, l->stream, l->stream));
    TRY(attention_back(l, s, batch, layer, &r, NULL, layer > 0 ? l->narrow : NULL, rate));
    if (layer == 0)
        return GPUZIP_OK;
    return norm_back(l, &p->norm1, r.norm1_in, l->narrow, l->stream, l->stream);
}

static gpuzip_status post_norm_back(model_learner *l, const model_state *s, const ops_batch *batch,
                                    int layer, float rate)
{
    const model_layer *p = &l->m->layer[layer];
    layer_rows r = model_learner_rows_at(l, layer, 0, l->rows);
    TRY(norm_back(l, &p->norm2, r.norm2_in, l->stream, NULL, l->stream));
    TRY(ffn_back(l, layer, &r, l->stream, l->stream, rate));
    TRY(norm_back(l, &p->norm1, r.norm1_in, l->stream, NULL, l->stream));
    return attention_back(l, s, batch, layer, &r, l->stream, layer > 0 ? l->stream : NULL, rate);
}

gpuzip_status model_learner_step(model_learner *l, model_state *s, const ops_batch *batch,
                                 const int32_t *target, float rate)
{
    const model *m = l->m;
    const weights_config *c = &m->weights->config;
    assert(s->learner == l && batch->rows == l->rows);
    if (l->rows == 0)
        return GPUZIP_OK;
    layer_rows last = model_learner_rows_at(l, c->layers, 0, l->rows);
    TRY(head_back(l, s, target));
    TRY(norm_back(l, &m->final_norm, last.norm1_in, l->narrow, NULL, l->stream));
    for (int i = c->layers - 1; i >= 0; i--)
        TRY((c->post_norm ? post_norm_back : pre_norm_back)(l, s, batch, i, rate));
    l->rows = 0;
    s->has_step_logits = false;
    return GPUZIP_OK;
}
