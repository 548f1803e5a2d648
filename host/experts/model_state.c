/* model_state.c: the memory of a pass, and the rotations of its positions. */
#include <assert.h>
#include <stdlib.h>

#include "model_parts.h"
#include "rope.h"

/* ---- memory -------------------------------------------------------------- */

size_t model_wide_columns(const weights_config *c)
{
    size_t qkv = (size_t)(c->heads + 2 * c->kv_heads) * (size_t)c->head_dim;
    size_t up = (size_t)c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
    return qkv > up ? qkv : up;
}

/* Columns of the widest linear layer but the head. */
static int layer_columns(const weights_config *c)
{
    size_t wide = model_wide_columns(c), dim = (size_t)c->dim;
    return (int)(wide > dim ? wide : dim);
}

size_t model_qrows_bytes(int bits, size_t dim, size_t rows)
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
    bytes += rows * (sizeof(float) * (dim + model_wide_columns(c) + att) +
                     queries * (sizeof(int16_t) * att + sizeof(float) * (size_t)c->heads));
    bytes += model_qrows_bytes(c->activation_bits, dim, rows) +
             model_qrows_bytes(c->activation_bits, att, rows) +
             model_qrows_bytes(c->activation_bits, (size_t)c->ffn, rows);
    return bytes + (size_t)z->max_logits * (size_t)c->vocab * sizeof(float);
}

size_t model_scratch_bytes(const model *m, int max_rows, int max_logits)
{
    const weights_config *c = &m->weights->config;
    size_t layers = m->ops->scratch_bytes(max_rows, layer_columns(c));
    size_t head = m->ops->scratch_bytes(max_logits, c->vocab);
    return layers > head ? layers : head;
}

gpuzip_status model_open_qrows(const model *m, ops_context *ctx, ops_qrows *q, int bits, int dim,
                               int rows)
{
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    q->dim = dim;
    q->bits = bits;
    TRY(m->ops->alloc(ctx, (void **)&q->hi, plane));
    if (q->bits == 15)
        TRY(m->ops->alloc(ctx, (void **)&q->lo, plane));
    return m->ops->alloc(ctx, (void **)&q->scale, (size_t)rows * sizeof(float));
}

void model_close_qrows(const model *m, ops_context *ctx, ops_qrows *q)
{
    m->ops->release(ctx, q->hi);
    m->ops->release(ctx, q->lo);
    m->ops->release(ctx, q->scale);
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
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->wide, rows * model_wide_columns(c) * sizeof(float)));
    TRY_OUT(ops->alloc(s->ctx, (void **)&s->att, rows * att * sizeof(float)));
    TRY_OUT(model_open_qrows(m, ctx, &s->dim_rows, c->activation_bits, c->dim, max_rows));
    TRY_OUT(model_open_qrows(m, ctx, &s->att_rows, c->activation_bits, c->heads * c->head_dim,
                             max_rows));
    TRY_OUT(model_open_qrows(m, ctx, &s->ffn_rows, c->activation_bits, c->ffn, max_rows));
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
    model_close_qrows(m, s->ctx, &s->dim_rows);
    model_close_qrows(m, s->ctx, &s->att_rows);
    model_close_qrows(m, s->ctx, &s->ffn_rows);
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
