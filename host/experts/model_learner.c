/* model_learner.c: learners: their memory, their matrices and the rows that they record. */
#include <assert.h>
#include <stdlib.h>

#include "model_parts.h"

/* ---- memory --------------------------------------------------------------- */

/* Columns of the widest errors of a layer's inputs. */
static size_t narrow_columns(const weights_config *c)
{
    size_t att = (size_t)c->heads * (size_t)c->head_dim, most = (size_t)c->dim;
    most = att > most ? att : most;
    return (size_t)c->ffn > most ? (size_t)c->ffn : most;
}

/* Columns of the widest errors that are quantised: of the layers' outputs. */
static size_t error_columns(const weights_config *c)
{
    size_t wide = model_wide_columns(c);
    return wide > (size_t)c->dim ? wide : (size_t)c->dim;
}

/* The logits' errors are one large number and thousands of small ones, whose sum counts: 15 bits.
 * Those of the layers are as even as activations, and as wide. */
#define HEAD_ERROR_BITS 15

static int error_bits(const model *m)
{
    return m->weights->config.activation_bits;
}

bool model_learns(const model *m)
{
    return m->ops->learn && weights_learnable(m->weights);
}

size_t model_learning_bytes(const model *m)
{
    const weights_matrix *head = &m->weights->head;
    return m->ops->learn->transpose_bytes(head->n, head->k, m->weights->config.weight_bits);
}

gpuzip_status model_prepare_learning(model *m)
{
    const weights_matrix *head = &m->weights->head;
    ops_weights w = {head->w, head->scale, head->n, head->k, m->weights->config.weight_bits};
    if (m->head_transpose)
        return GPUZIP_OK;
    return m->ops->learn->transpose_create(m->ctx, &m->head_transpose, &w);
}

/* Bytes of the rows that a learner records in a layer. */
static size_t saved_bytes(const weights_config *c, size_t rows)
{
    size_t att = (size_t)c->heads * (size_t)c->head_dim, dim = (size_t)c->dim, f = sizeof(float);
    size_t up = (size_t)c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
    int bits = c->activation_bits;
    return rows * (f * (2 * dim + att + up) + 2 * (sizeof(int16_t) * att + f * (size_t)c->heads)) +
           2 * model_qrows_bytes(bits, dim, rows) + model_qrows_bytes(bits, att, rows) +
           model_qrows_bytes(bits, (size_t)c->ffn, rows);
}

size_t model_learner_bytes(const ops_learn *learn, const weights_model *w,
                           const model_learner_sizes *z, int threads)
{
    const weights_config *c = &w->config;
    const weights_layer *l = w->layer;
    const weights_matrix *matrix[] = {&l->qkv, &l->out, &l->up, &l->down};
    size_t rows = (size_t)z->rows, layer = saved_bytes(c, rows), wide = error_columns(c);
    for (int i = 0; i < 4; i++)
        layer += learn->trainable_bytes(matrix[i]->n, matrix[i]->k, c->weight_bits);
    size_t bytes = layer * (size_t)c->layers + rows * (size_t)c->dim * sizeof(float) +
                   model_qrows_bytes(c->activation_bits, (size_t)c->dim, rows);
    bytes += rows * sizeof(float) * ((size_t)c->dim + model_wide_columns(c) + narrow_columns(c));
    bytes += model_qrows_bytes(c->activation_bits, wide, rows);
    bytes += model_qrows_bytes(HEAD_ERROR_BITS, (size_t)c->vocab, (size_t)z->logits);
    size_t step = learn->trainable_step_bytes(z->rows, (int)(wide + narrow_columns(c)));
    size_t back = learn->attention_back_bytes(z->rows, z->run, z->window, c->heads, c->kv_heads,
                                              c->head_dim, threads);
    return bytes + (step > back ? step : back);
}

static gpuzip_status open_floats(model_learner *l, float **floats, size_t columns)
{
    return l->m->ops->alloc(l->ctx, (void **)floats,
                            (size_t)l->sizes.rows * columns * sizeof(float));
}

static gpuzip_status open_saved(model_learner *l, layer_rows *r)
{
    const model *m = l->m;
    const weights_config *c = &m->weights->config;
    int bits = c->activation_bits, att = c->heads * c->head_dim, rows = l->sizes.rows;
    size_t heads = (size_t)rows * (size_t)c->heads, dims = heads * (size_t)c->head_dim;
    TRY(open_floats(l, &r->norm1_in, (size_t)c->dim));
    TRY(open_floats(l, &r->norm2_in, (size_t)c->dim));
    TRY(open_floats(l, &r->att, (size_t)att));
    TRY(open_floats(l, &r->up, (size_t)c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1)));
    TRY(model_open_qrows(m, l->ctx, &r->qkv_in, bits, c->dim, rows));
    TRY(model_open_qrows(m, l->ctx, &r->out_in, bits, att, rows));
    TRY(model_open_qrows(m, l->ctx, &r->up_in, bits, c->dim, rows));
    TRY(model_open_qrows(m, l->ctx, &r->down_in, bits, c->ffn, rows));
    TRY(m->ops->alloc(l->ctx, (void **)&r->q.q, dims * sizeof *r->q.q));
    TRY(m->ops->alloc(l->ctx, (void **)&r->q.scale, heads * sizeof *r->q.scale));
    TRY(m->ops->alloc(l->ctx, (void **)&r->q.sink, dims * sizeof *r->q.sink));
    return m->ops->alloc(l->ctx, (void **)&r->q.sink_scale, heads * sizeof *r->q.sink_scale);
}

static void close_saved(model_learner *l, layer_rows *r)
{
    const model *m = l->m;
    void *memory[] = {r->norm1_in, r->norm2_in, r->att,    r->up,
                      r->q.q,      r->q.scale,  r->q.sink, r->q.sink_scale};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        m->ops->release(l->ctx, memory[i]);
    model_close_qrows(m, l->ctx, &r->qkv_in);
    model_close_qrows(m, l->ctx, &r->out_in);
    model_close_qrows(m, l->ctx, &r->up_in);
    model_close_qrows(m, l->ctx, &r->down_in);
}

static ops_weights weights_of(const model *m, const weights_matrix *w)
{
    return (ops_weights){w->w, w->scale, w->n, w->k, m->weights->config.weight_bits};
}

static gpuzip_status open_layer(model_learner *l, int layer)
{
    const model *m = l->m;
    const ops_learn *learn = m->ops->learn;
    const weights_layer *w = &m->weights->layer[layer];
    learner_layer *to = &l->layer[layer];
    ops_weights qkv = weights_of(m, &w->qkv), out = weights_of(m, &w->out);
    ops_weights up = weights_of(m, &w->up), down = weights_of(m, &w->down);
    TRY(learn->trainable_create(l->ctx, &to->qkv, &qkv));
    TRY(learn->trainable_create(l->ctx, &to->out, &out));
    TRY(learn->trainable_create(l->ctx, &to->up, &up));
    TRY(learn->trainable_create(l->ctx, &to->down, &down));
    return open_saved(l, &l->saved[layer]);
}

gpuzip_status model_learner_open(model_learner **out, const model *m, ops_context *ctx,
                                 const model_learner_sizes *sizes)
{
    assert(m->head_transpose && sizes->rows <= OPS_STEP_ROWS);
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &m->weights->config;
    int rows = sizes->rows;
    model_learner *l = calloc(1, sizeof *l);
    if (!l)
        return FAIL(GPUZIP_ERR_MEMORY);
    l->m = m;
    l->ctx = ctx;
    l->sizes = *sizes;
    l->layer = calloc((size_t)c->layers, sizeof *l->layer);
    l->saved = calloc((size_t)c->layers + 1, sizeof *l->saved);
    if (!l->layer || !l->saved) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int i = 0; i < c->layers; i++)
        TRY_OUT(open_layer(l, i));
    layer_rows *last = &l->saved[c->layers];
    TRY_OUT(open_floats(l, &last->norm1_in, (size_t)c->dim));
    TRY_OUT(model_open_qrows(m, ctx, &last->qkv_in, c->activation_bits, c->dim, rows));
    TRY_OUT(open_floats(l, &l->stream, (size_t)c->dim));
    TRY_OUT(open_floats(l, &l->wide, model_wide_columns(c)));
    TRY_OUT(open_floats(l, &l->narrow, narrow_columns(c)));
    TRY_OUT(model_open_qrows(m, ctx, &l->error, error_bits(m), (int)error_columns(c), rows));
    TRY_OUT(model_open_qrows(m, ctx, &l->head_error, HEAD_ERROR_BITS, c->vocab, sizes->logits));
    *out = l;
    l = NULL;
out:
    model_learner_close(l);
    return status;
}

void model_learner_close(model_learner *l)
{
    if (!l)
        return;
    const model *m = l->m;
    const ops_learn *learn = m->ops->learn;
    int layers = m->weights->config.layers;
    for (int i = 0; l->layer && i < layers; i++) {
        learn->trainable_destroy(l->ctx, l->layer[i].qkv);
        learn->trainable_destroy(l->ctx, l->layer[i].out);
        learn->trainable_destroy(l->ctx, l->layer[i].up);
        learn->trainable_destroy(l->ctx, l->layer[i].down);
    }
    for (int i = 0; l->saved && i <= layers; i++)
        close_saved(l, &l->saved[i]);
    m->ops->release(l->ctx, l->stream);
    m->ops->release(l->ctx, l->wide);
    m->ops->release(l->ctx, l->narrow);
    model_close_qrows(m, l->ctx, &l->error);
    model_close_qrows(m, l->ctx, &l->head_error);
    free(l->saved);
    free(l->layer);
    free(l);
}

gpuzip_status model_learner_reset(model_learner *l)
{
    const model *m = l->m;
    const ops_learn *learn = m->ops->learn;
    l->rows = 0;
    for (int i = 0; i < m->weights->config.layers; i++) {
        const weights_layer *w = &m->weights->layer[i];
        ops_weights qkv = weights_of(m, &w->qkv), out = weights_of(m, &w->out);
        ops_weights up = weights_of(m, &w->up), down = weights_of(m, &w->down);
        TRY(learn->trainable_reset(l->ctx, l->layer[i].qkv, &qkv));
        TRY(learn->trainable_reset(l->ctx, l->layer[i].out, &out));
        TRY(learn->trainable_reset(l->ctx, l->layer[i].up, &up));
        TRY(learn->trainable_reset(l->ctx, l->layer[i].down, &down));
    }
    return GPUZIP_OK;
}

/* ---- recording ------------------------------------------------------------ */

void model_state_learn(model_state *s, model_learner *l)
{
    assert(!l || l->m == s->m);
    s->learner = l;
}

void model_learner_forget(model_learner *l)
{
    l->rows = 0;
}

layer_matrices model_learner_matrices(const model_learner *l, int layer)
{
    const ops_learn *learn = l->m->ops->learn;
    const learner_layer *w = &l->layer[layer];
    return (layer_matrices){learn->trainable_matrix(w->qkv), learn->trainable_matrix(w->out),
                            learn->trainable_matrix(w->up), learn->trainable_matrix(w->down)};
}

layer_rows model_learner_rows_at(const model_learner *l, int layer, int first, int rows)
{
    const weights_config *c = &l->m->weights->config;
    layer_rows r = l->saved[layer];
    size_t from = (size_t)first, heads = from * (size_t)c->heads, att = heads * (size_t)c->head_dim;
    r.norm1_in += from * (size_t)c->dim;
    r.qkv_in = model_qrows_at(r.qkv_in, first, rows);
    if (layer == c->layers)
        return r;
    r.norm2_in += from * (size_t)c->dim;
    r.att += att;
    r.up += from * (size_t)c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
    r.out_in = model_qrows_at(r.out_in, first, rows);
    r.up_in = model_qrows_at(r.up_in, first, rows);
    r.down_in = model_qrows_at(r.down_in, first, rows);
    r.q.q += att;
    r.q.scale += heads;
    r.q.sink += att;
    r.q.sink_scale += heads;
    return r;
}

layer_rows model_learner_rows(const model_learner *l, int layer, int rows)
{
    assert(l->rows + rows <= l->sizes.rows);
    return model_learner_rows_at(l, layer, l->rows, rows);
}

bool model_learner_holds(const model_learner *l, const ops_qrows *rows)
{
    const layer_rows *last = &l->saved[l->m->weights->config.layers];
    return rows->scale == last->qkv_in.scale && rows->rows == l->rows;
}

void model_learner_recorded(model_learner *l, int rows)
{
    l->rows += rows;
}

gpuzip_status model_learner_read(const model_learner *l, int layer, int which, int32_t *master)
{
    const learner_layer *t = &l->layer[layer];
    const ops_trainable *matrix[] = {t->qkv, t->out, t->up, t->down};
    return l->m->ops->learn->trainable_read(l->ctx, matrix[which], master);
}
