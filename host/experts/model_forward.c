/* model_forward.c: the forward pass of every architecture over the operations of ops.h. */
#include <stdlib.h>
#include <xxhash.h>

#include "model_parts.h"

/* ---- the pass ----------------------------------------------------------- */

/* Where layer `layer` keeps the rows of a pass; record: the learner keeps them. */
static layer_rows rows_of(const model_state *s, int layer, int rows, bool record)
{
    layer_rows r = {.norm1_in = s->x, .norm2_in = s->x, .q = s->q, .att = s->att, .up = s->wide};
    if (record)
        return model_learner_rows(s->learner, layer, rows);
    r.qkv_in = r.up_in = s->dim_rows;
    r.out_in = s->att_rows;
    r.down_in = s->ffn_rows;
    r.qkv_in.rows = r.up_in.rows = r.out_in.rows = r.down_in.rows = rows;
    return r;
}

static layer_matrices matrices_of(const model_state *s, int layer)
{
    const model_layer *l = &s->m->layer[layer];
    if (s->learner)
        return model_learner_matrices(s->learner, layer);
    return (layer_matrices){l->qkv.w, l->out.w, l->up.w, l->down.w};
}

/* Queries, keys and values of the rows; the latter go to the cache. */
static gpuzip_status project(model_state *s, const ops_batch *batch, int layer, const layer_rows *r)
{
    const model *m = s->m;
    const float *bias = m->layer[layer].qkv.bias;
    TRY(m->ops->linear(s->ctx, &r->qkv_in, matrices_of(s, layer).qkv, bias, NULL, s->wide));
    return m->ops->qkv(s->ctx, batch, s->wide, m->weights->config.heads, &s->rope, &r->q, s->kv,
                       layer);
}

/* Attention of the queries over the cache, and its projection added to x: out, which may be x. */
static gpuzip_status attend(model_state *s, const ops_batch *batch, int layer, layer_rows *r,
                            const float *x, float *out)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const weights_config *c = &m->weights->config;
    const float *bias = m->layer[layer].out.bias;
    TRY(ops->attention(s->ctx, batch, &r->q, c->heads, c->attention_factor, s->kv, layer, r->att));
    TRY(ops->quantize(s->ctx, OPS_ACT_NONE, r->att, &r->out_in));
    return ops->linear(s->ctx, &r->out_in, matrices_of(s, layer).out, bias, x, out);
}

/* The feed-forward network over up_in, added to x: out, which may be x. */
static gpuzip_status ffn_block(model_state *s, int layer, layer_rows *r, const float *x, float *out)
{
    const model *m = s->m;
    const ops *ops = m->ops;
    const model_layer *l = &m->layer[layer];
    layer_matrices w = matrices_of(s, layer);
    TRY(ops->linear(s->ctx, &r->up_in, w.up, l->up.bias, NULL, r->up));
    TRY(ops->quantize(s->ctx, (ops_act)m->weights->config.act, r->up, &r->down_in));
    return ops->linear(s->ctx, &r->down_in, w.down, l->down.bias, x, out);
}

/* Normalises x; y: where the normalised stream goes (post-norm), or NULL. */
static gpuzip_status normalize(model_state *s, const norm_layer *n, const float *x, float *y,
                               ops_qrows *q)
{
    const weights_config *c = &s->m->weights->config;
    return s->m->ops->norm(s->ctx, (ops_norm_kind)c->norm, x, n->gain, n->bias, c->eps, y, q);
}

/* The layers of a model whose norms stand before the matrices; without `output` they end with the
 * last layer's keys and values. The residual stream is the norms' input. */
static gpuzip_status run_pre_norm(model_state *s, const ops_batch *batch, layer_rows *r,
                                  bool output, bool record)
{
    const model *m = s->m;
    int layers = m->weights->config.layers;
    for (int i = 0; i < layers; i++) {
        layer_rows next = rows_of(s, i + 1, batch->rows, record);
        TRY(normalize(s, &m->layer[i].norm1, r->norm1_in, NULL, &r->qkv_in));
        TRY(project(s, batch, i, r));
        if (!output && i + 1 == layers)
            return GPUZIP_OK;
        TRY(attend(s, batch, i, r, r->norm1_in, r->norm2_in));
        TRY(normalize(s, &m->layer[i].norm2, r->norm2_in, NULL, &r->up_in));
        TRY(ffn_block(s, i, r, r->norm2_in, next.norm1_in));
        *r = next;
    }
    return GPUZIP_OK;
}

/* The same where the norms stand behind the sums. The residual stream is s->x. */
static gpuzip_status run_post_norm(model_state *s, const ops_batch *batch, layer_rows *r,
                                   bool output, bool record)
{
    const model *m = s->m;
    int layers = m->weights->config.layers;
    TRY(m->ops->quantize(s->ctx, OPS_ACT_NONE, s->x, &r->qkv_in));
    for (int i = 0; i < layers; i++) {
        layer_rows next = rows_of(s, i + 1, batch->rows, record);
        bool last = i + 1 == layers;
        TRY(project(s, batch, i, r));
        if (!output && last)
            return GPUZIP_OK;
        TRY(attend(s, batch, i, r, s->x, r->norm1_in));
        TRY(normalize(s, &m->layer[i].norm1, r->norm1_in, s->x, &r->up_in));
        TRY(ffn_block(s, i, r, s->x, r->norm2_in));
        TRY(normalize(s, &m->layer[i].norm2, r->norm2_in, last ? next.norm1_in : s->x,
                      &next.qkv_in));
        *r = next;
    }
    return GPUZIP_OK;
}

/* The pass; without `output` it ends with the last layer's keys and values. */
static gpuzip_status run_layers(model_state *s, const ops_batch *batch, bool output)
{
    const model *m = s->m;
    const weights_config *c = &m->weights->config;
    bool record = output && s->learner;
    s->has_step_logits = false;
    layer_rows r = rows_of(s, 0, batch->rows, record);
    TRY(m->ops->embed(s->ctx, c->post_norm ? s->x : r.norm1_in, batch, m->embedding,
                      m->embedding_scale, m->position, c->dim));
    TRY((c->post_norm ? run_post_norm : run_pre_norm)(s, batch, &r, output, record));
    if (!output)
        return GPUZIP_OK;
    TRY(normalize(s, &m->final_norm, r.norm1_in, NULL, &r.qkv_in));
    s->head_rows = r.qkv_in;
    if (record)
        model_learner_recorded(s->learner, batch->rows);
    return GPUZIP_OK;
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
    ops_qrows rows = model_qrows_at(s->head_rows, first, count);
    TRY(m->ops->linear(s->ctx, &rows, m->head.w, m->head.bias, NULL, s->logits));
    *logits = s->logits;
    s->has_step_logits = s->learner && model_learner_holds(s->learner, &rows);
    return GPUZIP_OK;
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
