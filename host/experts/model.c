/* model.c: the forward pass of every architecture over the operations of ops.h. */
#include "model.h"
#include "rope.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A linear layer on the device. */
typedef struct {
    ops_matrix *w;
    float *bias; /* [n] or NULL */
} linear_layer;

typedef struct {
    float *gain, *bias; /* [dim]; bias NULL for RMS */
} norm_layer;

typedef struct {
    norm_layer norm1, norm2;
    linear_layer qkv, out, up, down;
} model_layer;

struct model {
    const ops *ops;
    ops_context *ctx;
    const weights_model *weights;
    int16_t *embedding;     /* [vocab][dim] */
    float *embedding_scale; /* [vocab] */
    float *position;        /* [context][dim] or NULL */
    int32_t *cosine, *sine; /* [context][head_dim / 2] or NULL */
    model_layer *layer;     /* [layers] */
    norm_layer final_norm;
    linear_layer head;
};

struct model_state {
    const model *m;
    ops_context *ctx; /* may be another than the model's, on the same device */
    ops_kv *kv;
    int slots, positions, max_rows, max_logits;
    float *x;       /* [max_rows][dim], the residual stream */
    float *wide;    /* [max_rows][wide_columns()]: qkv, then the feed-forward */
    float *att;     /* [max_rows][heads head_dim] */
    int16_t *q;     /* [max_rows][heads][head_dim] */
    float *q_scale; /* [max_rows][heads] */
    ops_qrows dim_rows, att_rows, ffn_rows;
    float *logits; /* [max_logits][vocab] */
};

/* ---- preparing weights -------------------------------------------------- */

/* Copies count elements of `size` bytes to the device; NULL stays NULL. */
static gpuzip_status copy_to_device(model *m, void *dst_pointer, const void *src, size_t count,
                                    size_t size)
{
    void **dst = dst_pointer;
    if (!src)
        return GPUZIP_OK;
    TRY(m->ops->alloc(m->ctx, dst, count * size));
    return m->ops->upload(m->ctx, *dst, src, count * size);
}

static gpuzip_status prepare_norm(model *m, norm_layer *dst, const weights_norm_vectors *src)
{
    size_t dim = (size_t)m->weights->config.dim;
    TRY(copy_to_device(m, &dst->gain, src->gain, dim, sizeof(float)));
    return copy_to_device(m, &dst->bias, src->bias, dim, sizeof(float));
}

static gpuzip_status prepare_linear(model *m, linear_layer *dst, const weights_matrix *src,
                                    const float *bias)
{
    ops_weights w = {src->w, src->scale, src->n, src->k, m->weights->config.weight_bits};
    TRY(m->ops->matrix_create(m->ctx, &dst->w, &w));
    return copy_to_device(m, &dst->bias, bias, (size_t)src->n, sizeof(float));
}

/* embed() reads rows of int16_t, and its scale has the embedding's factor in it. */
static gpuzip_status prepare_embedding(model *m)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_matrix *src = &m->weights->embedding;
    size_t count = (size_t)src->n * (size_t)src->k;
    int16_t *wide = NULL;
    float *scale = malloc((size_t)src->n * sizeof *scale);
    const void *rows = src->w;
    if (!scale) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int i = 0; i < src->n; i++)
        scale[i] = src->scale[i] * m->weights->embedding_factor;
    if (m->weights->config.weight_bits == 8) {
        wide = malloc(count * sizeof *wide);
        if (!wide) {
            status = FAIL(GPUZIP_ERR_MEMORY);
            goto out;
        }
        for (size_t i = 0; i < count; i++)
            wide[i] = ((const int8_t *)src->w)[i];
        rows = wide;
    }
    TRY_OUT(copy_to_device(m, &m->embedding, rows, count, sizeof(int16_t)));
    TRY_OUT(copy_to_device(m, &m->embedding_scale, scale, (size_t)src->n, sizeof(float)));
out:
    free(wide);
    free(scale);
    return status;
}

static gpuzip_status prepare_layer(model *m, model_layer *dst, const weights_layer *src)
{
    TRY(prepare_norm(m, &dst->norm1, &src->norm1));
    TRY(prepare_norm(m, &dst->norm2, &src->norm2));
    TRY(prepare_linear(m, &dst->qkv, &src->qkv, src->qkv_bias));
    TRY(prepare_linear(m, &dst->out, &src->out, src->out_bias));
    TRY(prepare_linear(m, &dst->up, &src->up, src->up_bias));
    return prepare_linear(m, &dst->down, &src->down, src->down_bias);
}

gpuzip_status model_open(model **out, const ops *ops, ops_context *ctx,
                         const weights_model *weights)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &weights->config;
    size_t context = (size_t)c->context, half = (size_t)c->head_dim / 2;
    model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(GPUZIP_ERR_MEMORY);
    m->ops = ops;
    m->ctx = ctx;
    m->weights = weights;
    m->layer = calloc((size_t)c->layers, sizeof *m->layer);
    if (!m->layer) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(prepare_embedding(m));
    TRY_OUT(copy_to_device(m, &m->position, weights->position, context * (size_t)c->dim,
                           sizeof(float)));
    if (weights->turns) {
        int32_t *t=malloc(context*half*8);
        rope_rows(t,t+context*half,weights->turns,(int)half,0,(int)context);
    TRY_OUT(copy_to_device(m, &m->cosine, t, context * half, sizeof(int32_t)));
    TRY_OUT(copy_to_device(m, &m->sine, t+context*half, context * half, sizeof(int32_t)));
    free(t);}
    for (int i = 0; i < c->layers; i++)
        TRY_OUT(prepare_layer(m, &m->layer[i], &weights->layer[i]));
    TRY_OUT(prepare_norm(m, &m->final_norm, &weights->final_norm));
    TRY_OUT(prepare_linear(m, &m->head, &weights->head, weights->head_bias));
    *out = m;
    m = NULL;
out:
    model_close(m);
    return status;
}

static void release_linear(model *m, linear_layer *l)
{
    m->ops->matrix_destroy(m->ctx, l->w);
    m->ops->release(m->ctx, l->bias);
}

static void release_norm(model *m, norm_layer *n)
{
    m->ops->release(m->ctx, n->gain);
    m->ops->release(m->ctx, n->bias);
}

void model_close(model *m)
{
    if (!m)
        return;
    m->ops->release(m->ctx, m->embedding);
    m->ops->release(m->ctx, m->embedding_scale);
    m->ops->release(m->ctx, m->position);
    m->ops->release(m->ctx, m->cosine);
    m->ops->release(m->ctx, m->sine);
    for (int i = 0; m->layer && i < m->weights->config.layers; i++) {
        model_layer *l = &m->layer[i];
        release_norm(m, &l->norm1);
        release_norm(m, &l->norm2);
        release_linear(m, &l->qkv);
        release_linear(m, &l->out);
        release_linear(m, &l->up);
        release_linear(m, &l->down);
    }
    release_norm(m, &m->final_norm);
    release_linear(m, &m->head);
    free(m->layer);
    free(m);
}

const weights_model *model_weights(const model *m)
{
    return m->weights;
}

/* ---- state -------------------------------------------------------------- */

/* Columns of the widest float rows: qkv, or the feed-forward's input. */
static size_t wide_columns(const weights_config *c)
{
    size_t qkv = (size_t)(c->heads + 2 * c->kv_heads) * (size_t)c->head_dim;
    size_t up = (size_t)c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
    return qkv > up ? qkv : up;
}

/* Columns of the widest linear layer but the head. */
static int layer_columns(const weights_config *c)
{
    size_t wide = wide_columns(c), dim = (size_t)c->dim;
    return (int)(wide > dim ? wide : dim);
}

static size_t qrows_bytes(int bits, size_t dim, size_t rows)
{
    return rows * (OPS_PITCH(dim) * (bits == 15 ? 2 : 1) + sizeof(float));
}

size_t model_state_bytes(const model *m, int slots, int positions, int max_rows, int max_logits)
{
    const weights_config *c = &m->weights->config;
    size_t rows = (size_t)max_rows, dim = (size_t)c->dim;
    size_t att = (size_t)c->heads * (size_t)c->head_dim;
    size_t bytes =
        m->ops->kv_bytes(c->layers, slots, positions, c->kv_heads, c->head_dim, c->kv_bits);
    bytes += rows * (sizeof(float) * (dim + wide_columns(c) + att) + sizeof(int16_t) * att +
                     sizeof(float) * (size_t)c->heads);
    bytes += qrows_bytes(c->activation_bits, dim, rows) +
             qrows_bytes(c->activation_bits, att, rows) +
             qrows_bytes(c->activation_bits, (size_t)c->ffn, rows);
    return bytes + (size_t)max_logits * (size_t)c->vocab * sizeof(float);
}

size_t model_scratch_bytes(const model *m, int max_rows, int max_logits)
{
    const weights_config *c = &m->weights->config;
    size_t layers = m->ops->scratch_bytes(max_rows, layer_columns(c));
    size_t head = m->ops->scratch_bytes(max_logits, c->vocab);
    return layers > head ? layers : head;
}

static gpuzip_status open_qrows(model_state *s, ops_qrows *q, int dim, int rows)
{
    const model *m = s->m;
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    q->dim = dim;
    q->bits = m->weights->config.activation_bits;
    TRY(m->ops->alloc(s->ctx, (void **)&q->hi, plane));
    if (q->bits == 15)
        TRY(m->ops->alloc(s->ctx, (void **)&q->lo, plane));
    return m->ops->alloc(s->ctx, (void **)&q->scale, (size_t)rows * sizeof(float));
}

static void close_qrows(model_state *s, ops_qrows *q)
{
    const model *m = s->m;
    m->ops->release(s->ctx, q->hi);
    m->ops->release(s->ctx, q->lo);
    m->ops->release(s->ctx, q->scale);
}

gpuzip_status model_state_open(model_state **out, const model *m, ops_context *ctx, int slots,
                               int positions, int max_rows, int max_logits)
{
    gpuzip_status status = GPUZIP_OK;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    size_t rows = (size_t)max_rows, att = (size_t)c->heads * (size_t)c->head_dim;
    model_state *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(GPUZIP_ERR_MEMORY);
    s->m = m;
    s->ctx = ctx;
    s->slots = slots;
    s->positions = positions;
    s->max_rows = max_rows;
    s->max_logits = max_logits;
    TRY_OUT(ops->kv_create(s->ctx, &s->kv, c->layers, slots, positions, c->kv_heads, c->head_dim,
                           c->kv_bits));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->x, rows * (size_t)c->dim * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->wide, rows * wide_columns(c) * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->att, rows * att * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->q, rows * att * sizeof(int16_t)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->q_scale, rows * (size_t)c->heads * sizeof(float)));
    TRY_OUT(open_qrows(s, &s->dim_rows, c->dim, max_rows));
    TRY_OUT(open_qrows(s, &s->att_rows, c->heads * c->head_dim, max_rows));
    TRY_OUT(open_qrows(s, &s->ffn_rows, c->ffn, max_rows));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->logits,
                       (size_t)max_logits * (size_t)c->vocab * sizeof(float)));
    TRY_OUT(ops->reserve(ctx, max_rows, layer_columns(c)));
    TRY_OUT(ops->reserve(ctx, max_logits, c->vocab));
    *out = s;
    s = NULL;
out:
    model_state_close(s);
    return status;
}

void model_state_close(model_state *s)
{
    if (!s)
        return;
    const model *m = s->m;
    m->ops->kv_destroy(s->ctx, s->kv);
    m->ops->release(s->ctx, s->x);
    m->ops->release(s->ctx, s->wide);
    m->ops->release(s->ctx, s->att);
    m->ops->release(s->ctx, s->q);
    m->ops->release(s->ctx, s->q_scale);
    close_qrows(s, &s->dim_rows);
    close_qrows(s, &s->att_rows);
    close_qrows(s, &s->ffn_rows);
    m->ops->release(s->ctx, s->logits);
    free(s);
}

/* ---- the pass ----------------------------------------------------------- */

/* Queries, keys and values of the quantised input in dim_rows; the latter go to the cache. */
static gpuzip_status project(model_state *s, const ops_batch *batch, int layer)
{
    const model *m = s->m;
    const linear_layer *qkv = &m->layer[layer].qkv;
    TRY(m->ops->linear(s->ctx, &s->dim_rows, qkv->w, qkv->bias, NULL, s->wide));
    return m->ops->qkv(s->ctx, batch, s->wide, m->weights->config.heads, m->cosine, m->sine, s->q,
                       s->q_scale, s->kv, layer);
}

/* Attention of the queries over the cache, added to x. */
static gpuzip_status attend(model_state *s, const ops_batch *batch, int layer)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    const model_layer *l = &m->layer[layer];
    TRY(ops->attention(s->ctx, batch, s->q, s->q_scale, c->heads, c->attention_factor, s->kv, layer,
                       s->att));
    TRY(ops->quantize(s->ctx, OPS_ACT_NONE, s->att, &s->att_rows));
    return ops->linear(s->ctx, &s->att_rows, l->out.w, l->out.bias, s->x, s->x);
}

/* The feed-forward network over the quantised input in dim_rows, added to x. */
static gpuzip_status ffn_block(model_state *s, int layer)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const model_layer *l = &m->layer[layer];
    TRY(ops->linear(s->ctx, &s->dim_rows, l->up.w, l->up.bias, NULL, s->wide));
    TRY(ops->quantize(s->ctx, (ops_act)m->weights->config.act, s->wide, &s->ffn_rows));
    return ops->linear(s->ctx, &s->ffn_rows, l->down.w, l->down.bias, s->x, s->x);
}

/* Normalises x; y is x (post-norm: the stream itself is normalised) or NULL. */
static gpuzip_status normalize(model_state *s, const norm_layer *n, float *y, ops_qrows *q)
{
    const weights_config *c = &s->m->weights->config;
    return s->m->ops->norm(s->ctx, (ops_norm_kind)c->norm, s->x, n->gain, n->bias, c->eps, y, q);
}

/* The pass; without `output` it ends with the last layer's keys and values. */
static gpuzip_status run_layers(model_state *s, const ops_batch *batch, bool output)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    s->dim_rows.rows = s->att_rows.rows = s->ffn_rows.rows = batch->rows;

    TRY(ops->embed(s->ctx, s->x, batch, m->embedding, m->embedding_scale, m->position, c->dim));
    if (c->post_norm)
        TRY(ops->quantize(s->ctx, OPS_ACT_NONE, s->x, &s->dim_rows));
    for (int i = 0; i < c->layers; i++) {
        const model_layer *l = &m->layer[i];
        if (!c->post_norm)
            TRY(normalize(s, &l->norm1, NULL, &s->dim_rows));
        TRY(project(s, batch, i));
        if (!output && i + 1 == c->layers)
            return GPUZIP_OK;
        TRY(attend(s, batch, i));
        if (c->post_norm)
            TRY(normalize(s, &l->norm1, s->x, &s->dim_rows));
        else
            TRY(normalize(s, &l->norm2, NULL, &s->dim_rows));
        TRY(ffn_block(s, i));
        if (c->post_norm)
            TRY(normalize(s, &l->norm2, s->x, &s->dim_rows));
    }
    return normalize(s, &m->final_norm, NULL, &s->dim_rows);
}

gpuzip_status model_forward(model_state *s, const ops_batch *batch)
{
    return run_layers(s, batch, true);
}

gpuzip_status model_extend(model_state *s, const ops_batch *batch)
{
    return run_layers(s, batch, false);
}

gpuzip_status model_logits(model_state *s, int first, int count, const float **logits)
{
    const model *m = s->m;
    size_t offset = (size_t)first * OPS_PITCH(s->dim_rows.dim);
    ops_qrows rows = s->dim_rows;
    rows.hi += offset;
    if (rows.lo)
        rows.lo += offset;
    rows.scale += first;
    rows.rows = count;
    TRY(m->ops->linear(s->ctx, &rows, m->head.w, m->head.bias, NULL, s->logits));
    *logits = s->logits;
    return GPUZIP_OK;
}

size_t model_logits_stride(const model *m)
{
    return (size_t)m->weights->config.vocab;
}

void model_row_ops(const model *m, double *forward, double *extend)
{
    const weights_model *w = m->weights;
    const weights_layer *l = w->layer; /* all layers have the same shapes */
    double unit =
        2.0 * (w->config.weight_bits == 15 ? 2 : 1) * (w->config.activation_bits == 15 ? 2 : 1);
    double qkv = (double)l->qkv.n * l->qkv.k;
    double rest =
        (double)l->out.n * l->out.k + (double)l->up.n * l->up.k + (double)l->down.n * l->down.k;
    *forward = unit * (w->config.layers * (qkv + rest) + (double)w->head.n * w->head.k);
    *extend = unit * (w->config.layers * qkv + (w->config.layers - 1) * rest);
}

ngrams_table model_ngrams(const weights_model *w)
{
    return (ngrams_table){w->ngrams, w->ngram_buckets, (uint32_t)w->config.vocab};
}

double model_token_ops(const weights_model *w)
{
    const weights_layer *l = w->layer;
    double layer = (double)l->qkv.n * l->qkv.k + (double)l->out.n * l->out.k +
                   (double)l->up.n * l->up.k + (double)l->down.n * l->down.k;
    return 2 * (w->config.layers * layer + (double)w->head.n * w->head.k);
}

gpuzip_status model_fingerprint(model *m, const uint32_t *tokens, int count, uint64_t *hash)
{
    gpuzip_status status = GPUZIP_OK;
    model_state *s = NULL;
    size_t bytes = (size_t)count * model_logits_stride(m) * sizeof(float);
    const float *logits;
    size_t rows_bytes = (size_t)count * 3 * sizeof(int32_t);
    int32_t *device_rows = NULL;
    void *copy = malloc(bytes);
    int32_t *rows = calloc(1, rows_bytes); /* tokens, slots, positions */
    if (!copy || !rows) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int i = 0; i < count; i++) {
        rows[i] = (int32_t)tokens[i];
        rows[2 * count + i] = i;
    }
    TRY_OUT(m->ops->alloc(m->ctx, (void **)&device_rows, rows_bytes));
    TRY_OUT(m->ops->upload(m->ctx, device_rows, rows, rows_bytes));
    ops_batch batch = {device_rows, device_rows + count, device_rows + 2 * count, count};
    TRY_OUT(model_state_open(&s, m, m->ctx, 1, count, count, count));
    TRY_OUT(model_forward(s, &batch));
    TRY_OUT(model_logits(s, 0, count, &logits));
    TRY_OUT(m->ops->download(m->ctx, copy, logits, bytes));
    *hash = XXH3_64bits(copy, bytes);
out:
    model_state_close(s);
    m->ops->release(m->ctx, device_rows);
    free(rows);
    free(copy);
    return status;
}
