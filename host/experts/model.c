/* model.c: the forward pass of every architecture over the operations of ops.h. */
#include "model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "rope.h"

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
    model_layer *layer;     /* [layers] */
    norm_layer final_norm;
    linear_layer head;
};

struct model_state {
    const model *m;
    ops_context *ctx; /* may be another than the model's, on the same device */
    ops_kv *kv;
    model_sizes sizes;
    ops_rope rope;
    int32_t *rotations;          /* device, [2][rope.rows + 1][head_dim / 2]: rope's tables */
    size_t rope_first, rope_end; /* positions whose rows are there */
    int32_t *host_rotations;     /* [2][rope.rows][head_dim / 2] */
    float *x;                    /* [max_rows][dim], the residual stream */
    float *wide;                 /* [max_rows][wide_columns()]: qkv, then the feed-forward */
    float *att;                  /* [max_rows][heads head_dim] */
    ops_queries q;               /* of max_rows */
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
    size_t context = (size_t)c->context;
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

bool model_slides(const weights_model *w)
{
    return w->turns != NULL;
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

/* Rows of the rotations' table: a power of two that holds the positions of a pass, and of a window
 * that does not slide. 0: the model has none. */
static int rope_table_rows(const model *m, const model_sizes *z)
{
    int rows = 1, needed = z->run > z->window ? z->run : z->window;
    while (rows < needed)
        rows *= 2;
    return m->weights->turns ? rows : 0;
}

/* Elements of both tables of rotations, with the sink's row in each. */
static size_t rotations_count(const model *m, int rows)
{
    return 2 * (size_t)(rows + 1) * ((size_t)m->weights->config.head_dim / 2);
}

size_t model_state_bytes(const model *m, const model_sizes *z)
{
    const weights_config *c = &m->weights->config;
    size_t rows = (size_t)z->max_rows, dim = (size_t)c->dim;
    size_t att = (size_t)c->heads * (size_t)c->head_dim;
    size_t queries = z->run > 0 ? 2 : 1;
    size_t bytes = m->ops->kv_bytes(c->layers, z->slots, z->window, z->run > 0 ? z->run : 1,
                                    c->kv_heads, c->head_dim, c->kv_bits);
    bytes += rotations_count(m, rope_table_rows(m, z)) * sizeof(int32_t);
    bytes += rows * (sizeof(float) * (dim + wide_columns(c) + att) +
                     queries * (sizeof(int16_t) * att + sizeof(float) * (size_t)c->heads));
    bytes += qrows_bytes(c->activation_bits, dim, rows) +
             qrows_bytes(c->activation_bits, att, rows) +
             qrows_bytes(c->activation_bits, (size_t)c->ffn, rows);
    return bytes + (size_t)z->max_logits * (size_t)c->vocab * sizeof(float);
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

/* Allocates the tables of rotations, and fills in the sink's row. */
static gpuzip_status open_rotations(model_state *s)
{
    const model *m = s->m;
    int rows = rope_table_rows(m, &s->sizes), pairs = m->weights->config.head_dim / 2;
    size_t bytes = rotations_count(m, rows) * sizeof(int32_t), last = (size_t)rows * (size_t)pairs;
    if (rows == 0)
        return GPUZIP_OK;
    s->host_rotations = malloc(bytes);
    if (!s->host_rotations)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY(m->ops->alloc(s->ctx, (void **)&s->rotations, bytes));
    int32_t *cosine = s->rotations, *sine = cosine + bytes / sizeof(int32_t) / 2;
    s->rope = (ops_rope){cosine, sine, rows};
    int32_t *host = s->host_rotations;
    rope_rows(host, host + pairs, m->weights->turns, pairs, (uint64_t)s->sizes.window - 1, 1);
    TRY(m->ops->upload(s->ctx, cosine + last, host, (size_t)pairs * sizeof *host));
    return m->ops->upload(s->ctx, sine + last, host + pairs, (size_t)pairs * sizeof *host);
}

static gpuzip_status open_queries(model_state *s)
{
    const ops *ops = s->m->ops;
    const weights_config *c = &s->m->weights->config;
    size_t rows = (size_t)s->sizes.max_rows, heads = rows * (size_t)c->heads;
    size_t elements = heads * (size_t)c->head_dim;
    TRY(ops->alloc(s->ctx, (void **)&s->q.q, elements * sizeof *s->q.q));
    TRY(ops->alloc(s->ctx, (void **)&s->q.scale, heads * sizeof *s->q.scale));
    if (s->sizes.run == 0)
        return GPUZIP_OK;
    TRY(ops->alloc(s->ctx, (void **)&s->q.sink, elements * sizeof *s->q.sink));
    return ops->alloc(s->ctx, (void **)&s->q.sink_scale, heads * sizeof *s->q.sink_scale);
}

gpuzip_status model_state_open(model_state **out, const model *m, ops_context *ctx,
                               const model_sizes *sizes)
{
    gpuzip_status status = GPUZIP_OK;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    int max_rows = sizes->max_rows, max_logits = sizes->max_logits;
    size_t rows = (size_t)max_rows, att = (size_t)c->heads * (size_t)c->head_dim;
    assert(sizes->run == 0 || model_slides(m->weights));
    model_state *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(GPUZIP_ERR_MEMORY);
    s->m = m;
    s->ctx = ctx;
    s->sizes = *sizes;
    TRY_OUT(ops->kv_create(s->ctx, &s->kv, c->layers, sizes->slots, sizes->window,
                           sizes->run > 0 ? sizes->run : 1, c->kv_heads, c->head_dim, c->kv_bits));
    TRY_OUT(open_rotations(s));
    TRY_OUT(open_queries(s));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->x, rows * (size_t)c->dim * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->wide, rows * wide_columns(c) * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->att, rows * att * sizeof(float)));
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
    m->ops->release(s->ctx, s->rotations);
    m->ops->release(s->ctx, s->q.q);
    m->ops->release(s->ctx, s->q.scale);
    m->ops->release(s->ctx, s->q.sink);
    m->ops->release(s->ctx, s->q.sink_scale);
    close_qrows(s, &s->dim_rows);
    close_qrows(s, &s->att_rows);
    close_qrows(s, &s->ffn_rows);
    m->ops->release(s->ctx, s->logits);
    free(s->host_rotations);
    free(s);
}

/* ---- positions ----------------------------------------------------------- */

/* Rows of rotations that are computed at a time, if there is room: one upload a so many decoding
 * steps. */
#define ROPE_AHEAD 64

/* Computes the rows of positions first .. end - 1, which stand one after the other in the table,
 * and copies them there. */
static gpuzip_status upload_rotations(model_state *s, size_t first, size_t end)
{
    const model *m = s->m;
    size_t pairs = (size_t)m->weights->config.head_dim / 2, count = end - first;
    size_t at = (first & (size_t)(s->rope.rows - 1)) * pairs,
           bytes = count * pairs * sizeof(int32_t);
    int32_t *cosine = s->host_rotations, *sine = cosine + count * pairs;
    int32_t *table = s->rotations + at, *sines = table + ((size_t)s->rope.rows + 1) * pairs;
    rope_rows(cosine, sine, m->weights->turns, (int)pairs, first, (int)count);
    TRY(m->ops->upload(s->ctx, table, cosine, bytes));
    return m->ops->upload(s->ctx, sines, sine, bytes);
}

gpuzip_status model_set_positions(model_state *s, size_t first, int count)
{
    size_t rows = (size_t)s->rope.rows, end = first + (size_t)count;
    if (rows == 0 || (first >= s->rope_first && end <= s->rope_end))
        return GPUZIP_OK;
    assert((size_t)count <= rows);
    size_t begin = s->rope_end;
    if (first < s->rope_first || first > s->rope_end) /* not the next ones: begin anew */
        s->rope_first = begin = first;
    size_t ahead = first + (rows < ROPE_AHEAD ? rows : ROPE_AHEAD);
    end = end > ahead ? end : ahead;
    for (size_t at = begin, next; at < end; at = next) {
        size_t wrap = (at / rows + 1) * rows;
        next = end < wrap ? end : wrap;
        TRY(upload_rotations(s, at, next));
    }
    s->rope_end = end;
    if (end - s->rope_first > rows)
        s->rope_first = end - rows;
    return GPUZIP_OK;
}

/* ---- the pass ----------------------------------------------------------- */

/* Queries, keys and values of the quantised input in dim_rows; the latter go to the cache. */
static gpuzip_status project(model_state *s, const ops_batch *batch, int layer)
{
    const model *m = s->m;
    const linear_layer *qkv = &m->layer[layer].qkv;
    TRY(m->ops->linear(s->ctx, &s->dim_rows, qkv->w, qkv->bias, NULL, s->wide));
    return m->ops->qkv(s->ctx, batch, s->wide, m->weights->config.heads, &s->rope, &s->q, s->kv,
                       layer);
}

/* Attention of the queries over the cache, added to x. */
static gpuzip_status attend(model_state *s, const ops_batch *batch, int layer)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    const model_layer *l = &m->layer[layer];
    TRY(ops->attention(s->ctx, batch, &s->q, c->heads, c->attention_factor, s->kv, layer, s->att));
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

double model_position_ops(const model *m)
{
    const weights_config *c = &m->weights->config;
    double planes = 2.0 * (c->kv_bits == 12 ? 2 : 1);
    return 2.0 * 2.0 * planes * c->layers * c->heads * c->head_dim;
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
    ops_batch batch = {device_rows, device_rows + count, device_rows + 2 * count, count, 0};
    model_sizes sizes = {.slots = 1, .window = count, .max_rows = count, .max_logits = count};
    TRY_OUT(model_state_open(&s, m, m->ctx, &sizes));
    TRY_OUT(model_set_positions(s, 0, count));
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
