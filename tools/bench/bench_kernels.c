/* bench_kernels.c: every operation of ops.h alone, in the shapes of a model, on noise.
 *
 * Operations are counted as linear() does them: s8 products of planes, 2 a multiply-add. Bytes
 * are the least that a call must read and write. Calls rotate among matrices and layers of the
 * cache, as a pass does, so that a processor cache as large as one of them doesn't help.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench_report.h"
#include "rope.h"

#define TURNS       32                  /* matrices of a shape at most */
#define TURNS_BYTES ((size_t)192 << 20) /* of all of them, about */

static int planes(int bits)
{
    return bits > 8 ? 2 : 1;
}

/* How many of something of so many bytes to take in turns, `most` at most. */
static int turns_of(const bench *b, size_t bytes, int most)
{
    size_t wanted = (b->gpu ? TURNS_BYTES : TURNS_BYTES / 4) / bytes + 1;
    return wanted < (size_t)most ? (int)wanted : most;
}

/* Rows of a call, from one decoding stream to a prefill; returns 0 past the last. */
static int rows_at(const bench *b, int i)
{
    static const int gpu[] = {1, 16, 64, 256, 1024, 4096, 8192, 0}, gpu_quick[] = {64, 4096, 0};
    static const int cpu[] = {1, 16, 64, 256, 512, 0}, cpu_quick[] = {16, 256, 0};
    return (b->gpu ? b->quick ? gpu_quick : gpu : b->quick ? cpu_quick : cpu)[i];
}

/* ---- linear -------------------------------------------------------------- */

typedef struct {
    const bench *b;
    ops_qrows q;
    ops_matrix *w[TURNS];
    int turns;
    const float *bias, *residual;
    float *out;
} linear_job;

static gpuzip_status call_linear(void *job, int i)
{
    linear_job *l = job;
    return l->b->ops->linear(l->b->ctx, &l->q, l->w[i % l->turns], l->bias, l->residual, l->out);
}

/* A linear layer of a model. */
typedef struct {
    const char *name;
    const weights_matrix *w;
    const float *bias;
    bool residual;
} linear_kind;

static gpuzip_status time_linear(bench *b, const weights_config *c, const linear_kind *kind,
                                 linear_job *l, int rows)
{
    gpuzip_status status = GPUZIP_OK;
    double n = kind->w->n, k = kind->w->k, outputs = n * rows;
    bench_pool pool = {.b = b};
    bench_time time;
    char shape[64];
    snprintf(shape, sizeof shape, "%d x %d x %d", rows, kind->w->n, kind->w->k);
    if (sizeof(float) * outputs > (double)b->memory / 4) {
        bench_report_skip(b, kind->name, shape, "needs more memory");
        return GPUZIP_OK;
    }
    TRY_OUT(bench_take_rows(&pool, &l->q, rows, kind->w->k, c->activation_bits));
    TRY_OUT(bench_take(&pool, &l->out, sizeof(float) * (size_t)outputs, BENCH_ZEROS));
    l->residual = kind->residual ? l->out : NULL;
    TRY_OUT(bench_measure(b, kind->name, call_linear, l, &time));
    double weights = n * k * planes(c->weight_bits), in = k * rows * planes(c->activation_bits);
    bench_report_row(b, &(bench_row){.name = kind->name,
                                     .shape = shape,
                                     .rows = rows,
                                     .time = time,
                                     .operations = 2 * n * k * rows * planes(c->weight_bits) *
                                                   planes(c->activation_bits),
                                     .bytes = weights + in + (kind->residual ? 8 : 4) * outputs});
out:
    bench_release(&pool);
    return status;
}

static gpuzip_status bench_linear(bench *b, const weights_config *c, const linear_kind *kind)
{
    gpuzip_status status = GPUZIP_OK;
    linear_job l = {.b = b};
    bench_pool pool = {.b = b};
    ops_weights w = {kind->w->w, kind->w->scale, kind->w->n, kind->w->k, c->weight_bits};
    size_t bytes = (size_t)w.n * (size_t)w.k * (size_t)planes(c->weight_bits);
    int turns = turns_of(b, bytes, TURNS);
    for (; l.turns < turns; l.turns++)
        TRY_OUT(b->ops->matrix_create(b->ctx, &l.w[l.turns], &w));
    if (kind->bias)
        TRY_OUT(bench_take_copy(&pool, &l.bias, kind->bias, (size_t)w.n * sizeof(float)));
    for (int i = 0; rows_at(b, i) > 0; i++)
        TRY_OUT(time_linear(b, c, kind, &l, rows_at(b, i)));
out:
    bench_release(&pool);
    for (int i = 0; i < l.turns; i++)
        b->ops->matrix_destroy(b->ctx, l.w[i]);
    return status;
}

static gpuzip_status bench_linears(bench *b, const weights_model *w)
{
    const weights_layer *l = &w->layer[0];
    const linear_kind kinds[] = {{"linear qkv", &l->qkv, l->qkv_bias, false},
                                 {"linear out", &l->out, l->out_bias, true},
                                 {"linear up", &l->up, l->up_bias, false},
                                 {"linear down", &l->down, l->down_bias, true},
                                 {"linear head", &w->head, w->head_bias, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        TRY(bench_linear(b, &w->config, &kinds[i]));
    return GPUZIP_OK;
}

/* ---- row by row ---------------------------------------------------------- */

/* A call of norm, quantize or embed. */
typedef struct {
    const bench *b;
    const weights_model *w;
    ops_qrows q;
    ops_batch batch;
    float *x, *gain, *bias;
    int16_t *embedding;
    float *scale, *position;
    ops_act act;
} rows_job;

static gpuzip_status call_norm(void *job, int i)
{
    rows_job *r = job;
    const weights_config *c = &r->w->config;
    (void)i;
    return r->b->ops->norm(r->b->ctx, (ops_norm_kind)c->norm, r->x, r->gain, r->bias, c->eps, NULL,
                           &r->q);
}

static gpuzip_status call_quantize(void *job, int i)
{
    rows_job *r = job;
    (void)i;
    return r->b->ops->quantize(r->b->ctx, r->act, r->x, &r->q);
}

static gpuzip_status call_embed(void *job, int i)
{
    rows_job *r = job;
    (void)i;
    return r->b->ops->embed(r->b->ctx, r->x, &r->batch, r->embedding, r->scale, r->position,
                            r->w->config.dim);
}

/* dim columns in, which the call reads `reads` bytes of each, quantised to as many. */
static gpuzip_status time_rows(bench *b, rows_job *r, const char *name, bench_call *call, int rows,
                               int dim, int reads)
{
    gpuzip_status status = GPUZIP_OK;
    bench_pool pool = {.b = b};
    bench_time time;
    char shape[64];
    size_t elements = (size_t)rows * (size_t)dim;
    snprintf(shape, sizeof shape, "%d x %d", rows, dim);
    TRY_OUT(bench_take_rows(&pool, &r->q, rows, dim, r->w->config.activation_bits));
    TRY_OUT(bench_take(&pool, &r->x, elements * (size_t)reads, BENCH_FLOATS));
    TRY_OUT(bench_measure(b, name, call, r, &time));
    bench_report_row(b, &(bench_row){.name = name,
                                     .shape = shape,
                                     .rows = rows,
                                     .time = time,
                                     .bytes = (double)elements *
                                              (reads + planes(r->w->config.activation_bits))});
out:
    bench_release(&pool);
    return status;
}

static gpuzip_status time_embed(bench *b, rows_job *r, int rows)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &r->w->config;
    bench_pool pool = {.b = b};
    bench_time time;
    char shape[64];
    size_t elements = (size_t)rows * (size_t)c->dim;
    int32_t *host = calloc((size_t)rows * 2, sizeof *host), *device;
    if (!host)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < rows; i++) {
        host[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)c->vocab);
        host[rows + i] = i % c->context;
    }
    snprintf(shape, sizeof shape, "%d x %d", rows, c->dim);
    TRY_OUT(bench_take_copy(&pool, &device, host, (size_t)rows * 2 * sizeof *host));
    r->batch = (ops_batch){.token = device, .pos = device + rows, .rows = rows};
    TRY_OUT(bench_take(&pool, &r->x, elements * sizeof(float), BENCH_ZEROS));
    TRY_OUT(bench_measure(b, "embed", call_embed, r, &time));
    bench_report_row(b, &(bench_row){.name = "embed",
                                     .shape = shape,
                                     .rows = rows,
                                     .time = time,
                                     .bytes = (double)elements * (r->position ? 10 : 6)});
out:
    bench_release(&pool);
    free(host);
    return status;
}

static gpuzip_status bench_rows(bench *b, const weights_model *w)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &w->config;
    rows_job r = {.b = b, .w = w};
    bench_pool pool = {.b = b};
    size_t dim = (size_t)c->dim;
    bool swiglu = c->act == WEIGHTS_ACT_SWIGLU;
    TRY_OUT(bench_take(&pool, &r.gain, dim * sizeof(float), BENCH_FLOATS));
    TRY_OUT(bench_take(&pool, &r.bias, dim * sizeof(float), BENCH_FLOATS));
    TRY_OUT(bench_take(&pool, &r.embedding, (size_t)c->vocab * dim * 2, BENCH_FLOATS));
    TRY_OUT(bench_take(&pool, &r.scale, (size_t)c->vocab * sizeof(float), BENCH_SCALES));
    if (w->position)
        TRY_OUT(bench_take(&pool, &r.position, (size_t)c->context * dim * 4, BENCH_FLOATS));
    for (int i = 0; rows_at(b, i) > 0; i++) {
        int rows = rows_at(b, i);
        TRY_OUT(time_rows(b, &r, "norm", call_norm, rows, c->dim, 4));
        r.act = OPS_ACT_NONE;
        TRY_OUT(time_rows(b, &r, "quantize", call_quantize, rows, c->heads * c->head_dim, 4));
        r.act = (ops_act)c->act;
        TRY_OUT(time_rows(b, &r, swiglu ? "quantize SwiGLU" : "quantize GELU", call_quantize, rows,
                          c->ffn, swiglu ? 8 : 4));
        TRY_OUT(time_embed(b, &r, rows));
    }
out:
    bench_release(&pool);
    return status;
}

/* ---- attention ----------------------------------------------------------- */

/* Slots with `run` rows each, at positions first .. first + run - 1, which attend to `window`
 * positions and those at `window` and beyond to the attention sink, too. */
typedef struct {
    const bench *b;
    const weights_model *w;
    int slots, run, first, window, layers;
    ops_kv *kv;
    ops_batch batch;
    ops_rope rope;
    ops_queries q;
    float *qkv, *out;
} attention_job;

static gpuzip_status call_qkv(void *job, int i)
{
    attention_job *a = job;
    return a->b->ops->qkv(a->b->ctx, &a->batch, a->qkv, a->w->config.heads, &a->rope, &a->q, a->kv,
                          i % a->layers);
}

static gpuzip_status call_attention(void *job, int i)
{
    attention_job *a = job;
    const weights_config *c = &a->w->config;
    return a->b->ops->attention(a->b->ctx, &a->batch, &a->q, c->heads, c->attention_factor, a->kv,
                                i % a->layers, a->out);
}

/* Whether a row of the job meets the sink. */
static bool meets_sink(const attention_job *a)
{
    return a->first + a->run > a->window;
}

/* Bytes of the cache of `layers` layers. A run within the window needs no room behind it. */
static size_t cache_bytes(const attention_job *a, int layers)
{
    const weights_config *c = &a->w->config;
    return a->b->ops->kv_bytes(layers, a->slots, a->window, meets_sink(a) ? a->run : 1, c->kv_heads,
                               c->head_dim, c->kv_bits);
}

/* The batch of a job. */
static gpuzip_status take_batch(bench_pool *pool, attention_job *a)
{
    size_t rows = (size_t)a->slots * (size_t)a->run;
    int32_t *host = malloc(rows * 2 * sizeof *host), *device;
    if (!host)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t r = 0; r < rows; r++) {
        host[r] = (int32_t)(r / (size_t)a->run);
        host[rows + r] = a->first + (int32_t)(r % (size_t)a->run);
    }
    gpuzip_status status = bench_take_copy(pool, &device, host, rows * 2 * sizeof *host);
    a->batch = (ops_batch){
        .slot = device, .pos = device + rows, .rows = (int)rows, .longest = a->run == 1};
    free(host);
    return status;
}

/* Rotations of all positions of a job, if its model has such. */
static gpuzip_status take_rope(bench_pool *pool, attention_job *a)
{
    size_t pairs = (size_t)a->w->config.head_dim / 2;
    if (!a->w->turns)
        return GPUZIP_OK;
    int rows = 1;
    while (rows < a->first + a->run || rows < a->window)
        rows *= 2;
    size_t count = ((size_t)rows + 1) * pairs;
    int32_t *host = malloc(2 * count * sizeof *host), *device;
    if (!host)
        return FAIL(GPUZIP_ERR_MEMORY);
    rope_rows(host, host + count, a->w->turns, (int)pairs, 0, rows);
    rope_rows(host + count - pairs, host + 2 * count - pairs, a->w->turns, (int)pairs,
              (uint64_t)a->window - 1, 1);
    gpuzip_status status = bench_take_copy(pool, &device, host, 2 * count * sizeof *host);
    a->rope = (ops_rope){device, device + count, rows};
    free(host);
    return status;
}

static gpuzip_status take_queries(bench_pool *pool, attention_job *a, int rows)
{
    const weights_config *c = &a->w->config;
    size_t heads = (size_t)rows * (size_t)c->heads, dim = (size_t)c->head_dim;
    size_t columns = (size_t)(c->heads + 2 * c->kv_heads) * dim;
    TRY(bench_take(pool, &a->qkv, (size_t)rows * columns * sizeof(float), BENCH_FLOATS));
    TRY(bench_take(pool, &a->q.q, heads * dim * sizeof(int16_t), BENCH_ZEROS));
    TRY(bench_take(pool, &a->q.scale, heads * sizeof(float), BENCH_ZEROS));
    if (meets_sink(a)) {
        TRY(bench_take(pool, &a->q.sink, heads * dim * sizeof(int16_t), BENCH_ZEROS));
        TRY(bench_take(pool, &a->q.sink_scale, heads * sizeof(float), BENCH_ZEROS));
    }
    return bench_take(pool, &a->out, heads * dim * sizeof(float), BENCH_ZEROS);
}

/* Noise in the first positions of every layer of the cache, up to the window, `rows` positions of
 * all slots at a time; then in the job's own. */
static gpuzip_status fill_cache(const attention_job *job, int rows)
{
    gpuzip_status status = GPUZIP_OK;
    for (int first = 0; first < job->window; first += rows) {
        attention_job part = *job;
        bench_pool pool = {.b = job->b};
        part.first = first;
        part.run = job->window - first < rows ? job->window - first : rows;
        part.q.sink = NULL;
        part.q.sink_scale = NULL;
        status = take_batch(&pool, &part);
        for (int layer = 0; status == GPUZIP_OK && layer < job->layers; layer++)
            status = call_qkv(&part, layer);
        bench_release(&pool); /* waits for the device */
        TRY(status);
    }
    attention_job own = *job;
    for (int layer = 0; layer < job->layers; layer++)
        TRY(call_qkv(&own, layer));
    return GPUZIP_OK;
}

/* Positions that a row of a job attends to, on average. */
static double mean_positions(const attention_job *a)
{
    double sum = 0;
    for (int pos = a->first; pos < a->first + a->run; pos++)
        sum += pos < a->window ? pos + 1 : a->window + 1;
    return sum / a->run;
}

/* Counts the operations and bytes of a call, with each key and value of a slot read once. */
static void report_attention(bench *b, const attention_job *a, const char *name, const char *shape,
                             const bench_time *time)
{
    const weights_config *c = &a->w->config;
    double rows = a->batch.rows, dim = c->head_dim, mean = mean_positions(a);
    bench_report_row(
        b, &(bench_row){.name = name,
                        .shape = shape,
                        .rows = a->batch.rows,
                        .context = (int)mean,
                        .time = *time,
                        .operations = rows * mean * c->heads * dim * 2 * 2 * 2 *
                                      planes(c->kv_bits), /* queries and weights: two planes */
                        .bytes = (double)cache_bytes(a, 1) + rows * c->heads * dim * 6,
                        .tokens = rows});
}

/* Counts the bytes of a call of qkv(). */
static void report_qkv(bench *b, const attention_job *a, const char *shape, const bench_time *time)
{
    const weights_config *c = &a->w->config;
    double columns = (double)(c->heads + 2 * c->kv_heads) * c->head_dim;
    double queries = c->heads * c->head_dim * (meets_sink(a) ? 4.0 : 2.0);
    double one = (double)b->ops->kv_bytes(1, 1, 1, 1024, c->kv_heads, c->head_dim, c->kv_bits) /
                 1024; /* position of a slot, about */
    bench_report_row(b, &(bench_row){.name = "qkv",
                                     .shape = shape,
                                     .rows = a->batch.rows,
                                     .time = *time,
                                     .bytes = a->batch.rows * (columns * 4 + queries + one)});
}

/* The last `run` rows of a window of a text; but if the model slides, and the run is shorter than
 * the window, the first behind it. */
static gpuzip_status bench_attention(bench *b, const weights_model *w, const char *name, int slots,
                                     int run, int window)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &w->config;
    bench_pool pool = {.b = b};
    bench_time time;
    char shape[64];
    attention_job a = {.b = b, .w = w, .slots = slots, .run = run, .window = window};
    a.first = w->turns && run < window ? window : window - run;
    double columns = (double)(c->heads + 2 * c->kv_heads) * c->head_dim;
    snprintf(shape, sizeof shape, "%d x %d of %d", slots, run, window);
    a.layers = turns_of(b, cache_bytes(&a, 1), c->layers);
    /* The cache is filled by rows of qkv that take no more than one that is measured. */
    int fill = b->gpu ? 65536 / slots : 1024 / slots;
    fill = fill < 1 ? 1 : fill > window ? window : fill;
    double widest = (double)slots * (fill > run ? fill : run);
    if ((double)cache_bytes(&a, a.layers) + widest * columns * 8 > (double)b->memory / 2) {
        bench_report_skip(b, name, shape, "needs more memory");
        return GPUZIP_OK;
    }
    TRY_OUT(b->ops->kv_create(b->ctx, &a.kv, a.layers, slots, window, meets_sink(&a) ? run : 1,
                              c->kv_heads, c->head_dim, c->kv_bits));
    TRY_OUT(take_rope(&pool, &a));
    TRY_OUT(take_queries(&pool, &a, (int)widest));
    TRY_OUT(take_batch(&pool, &a));
    TRY_OUT(fill_cache(&a, fill));
    TRY_OUT(bench_measure(b, "qkv", call_qkv, &a, &time));
    report_qkv(b, &a, shape, &time);
    TRY_OUT(bench_measure(b, name, call_attention, &a, &time));
    report_attention(b, &a, name, shape, &time);
out:
    bench_release(&pool);
    b->ops->kv_destroy(b->ctx, a.kv);
    return status;
}

static gpuzip_status bench_attentions(bench *b, const weights_model *w)
{
    /* A step of decoding attends to a whole sliding window, or to the mean of a window of 1,024
     * with a hop of 512: 768 positions. */
    int window = w->config.context < 1024 ? w->config.context : 1024;
    int decode = w->turns ? window : window * 3 / 4;
    if (b->gpu) {
        TRY(bench_attention(b, w, "attention, prefill", 8, window, window));
        TRY(bench_attention(b, w, "attention, prefill", 64, window / 8, window));
        for (int slots = b->quick ? 4096 : 64; slots <= 4096; slots *= 4)
            TRY(bench_attention(b, w, "attention, decode", slots, 1, decode));
        return GPUZIP_OK;
    }
    TRY(bench_attention(b, w, "attention, prefill", 1, window / 2, window / 2));
    TRY(bench_attention(b, w, "attention, prefill", 16, window / 32, window));
    return bench_attention(b, w, "attention, decode", 64, 1, decode);
}

/* ---- mixing -------------------------------------------------------------- */

typedef struct {
    const bench *b;
    ops_mix mix;
    int rows;
    int32_t *symbol;
    uint32_t *target;
    ops_interval *interval;
    ops_symbol *found;
} mix_job;

static gpuzip_status call_mix_encode(void *job, int i)
{
    mix_job *m = job;
    (void)i;
    return m->b->ops->mix_encode(m->b->ctx, &m->mix, m->rows, m->symbol, m->interval);
}

static gpuzip_status call_mix_decode(void *job, int i)
{
    mix_job *m = job;
    (void)i;
    return m->b->ops->mix_decode(m->b->ctx, &m->mix, m->rows, m->target, m->found);
}

static gpuzip_status bench_mix(bench *b, const weights_model *w, int rows)
{
    gpuzip_status status = GPUZIP_OK;
    bench_pool pool = {.b = b};
    char shape[64];
    int vocab = w->config.vocab;
    size_t bytes = (size_t)rows * (size_t)vocab * sizeof(float);
    float *logits;
    int32_t *counts;
    uint32_t *host = malloc((size_t)rows * 2 * sizeof *host), *device;
    mix_job m = {
        .b = b,
        .rows = rows,
        .mix = {.experts = 1, .vocab = vocab, .escapes = w->config.arch == WEIGHTS_GPT2 ? 0 : 256}};
    if (!host)
        return FAIL(GPUZIP_ERR_MEMORY);
    bench_noise(host, (size_t)rows * 2 * sizeof *host, 1);
    for (int i = 0; i < rows; i++) {
        host[i] %= (uint32_t)vocab;
        host[rows + i] >>= 32 - OPS_CDF_BITS;
    }
    snprintf(shape, sizeof shape, "%d x %d", rows, vocab);
    TRY_OUT(bench_take_copy(&pool, &device, host, (size_t)rows * 2 * sizeof *host));
    TRY_OUT(bench_take(&pool, &logits, bytes, BENCH_FLOATS));
    TRY_OUT(bench_take(&pool, &counts, (size_t)vocab * sizeof *counts, BENCH_ZEROS));
    TRY_OUT(bench_take(&pool, &m.interval, (size_t)rows * sizeof *m.interval, BENCH_ZEROS));
    TRY_OUT(bench_take(&pool, &m.found, (size_t)rows * sizeof *m.found, BENCH_ZEROS));
    m.symbol = (int32_t *)device;
    m.target = device + rows;
    m.mix.expert[0] = (ops_expert){.logits = logits, .stride = (size_t)vocab, .alpha = 60000};
    m.mix.expert[1] = (ops_expert){.counts = counts, .alpha = 6000};
    bench_row row = {.shape = shape, .rows = rows, .bytes = (double)bytes, .tokens = rows};
    row.name = "mix, encode";
    TRY_OUT(bench_measure(b, row.name, call_mix_encode, &m, &row.time));
    bench_report_row(b, &row);
    row.name = "mix, decode";
    TRY_OUT(bench_measure(b, row.name, call_mix_decode, &m, &row.time));
    bench_report_row(b, &row);
    m.mix.experts = 2;
    row.name = "mix, with counts";
    TRY_OUT(bench_measure(b, row.name, call_mix_decode, &m, &row.time));
    bench_report_row(b, &row);
out:
    bench_release(&pool);
    free(host);
    return status;
}

gpuzip_status bench_kernels(bench *b, const bench_model *m)
{
    TRY(bench_linears(b, m->weights));
    TRY(bench_rows(b, m->weights));
    TRY(bench_attentions(b, m->weights));
    TRY(bench_mix(b, m->weights, b->gpu ? 4096 : 64));
    return b->quick ? GPUZIP_OK : bench_mix(b, m->weights, b->gpu ? 256 : 16);
}
