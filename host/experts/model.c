/* model.c: weights on a device, and their numbers. */
#include "model.h"

#include <stdlib.h>

#include "model_parts.h"

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
    if (m->head_transpose)
        m->ops->matrix_destroy(m->ctx, m->head_transpose);
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

/* ---- numbers -------------------------------------------------------------- */

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
