/* bench_run.c: see bench_run.h. */
#include "bench_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine.h"

#define SAMPLES_MAX 15
#define CALLS_MAX   4096
#define RECORD_MAX  256   /* calls of a graph */
#define RECORD_TIME 50e-6 /* seconds of a call; longer calls hide the time to queue them */
#define NOISE_BYTES ((size_t)4 << 20) /* of noise, repeated */

static int compare_doubles(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* The work of one sample. */
typedef struct {
    const bench *b;
    bench_call *call;
    void *job;
    int calls, done;
    ops_graph *graph; /* of the calls, or NULL */
} sample_work;

static gpuzip_status run_calls(sample_work *w, int calls)
{
    for (int i = 0; i < calls; i++)
        TRY(w->call(w->job, w->done++));
    return GPUZIP_OK;
}

/* Seconds of so many calls, or of the graph. */
static gpuzip_status time_calls(sample_work *w, int calls, double *seconds)
{
    const bench *b = w->b;
    double begin = clock_seconds();
    TRY(w->graph ? b->ops->graph_replay(b->ctx, w->graph) : run_calls(w, calls));
    TRY(b->ops->sync(b->ctx));
    *seconds = clock_seconds() - begin;
    return GPUZIP_OK;
}

/* Records the calls of a sample, as steps of decoding are; where that fails they are queued one
 * by one. Errors: those of the graph's first replay. */
static gpuzip_status record_calls(sample_work *w)
{
    const ops *ops = w->b->ops;
    double seconds;
    if (!ops->graph_begin)
        return GPUZIP_OK;
    w->calls = w->calls < RECORD_MAX ? w->calls : RECORD_MAX;
    TRY(ops->graph_begin(w->b->ctx));
    gpuzip_status ran = run_calls(w, w->calls);
    gpuzip_status ended = ops->graph_end(w->b->ctx, &w->graph);
    if (ran != GPUZIP_OK || ended != GPUZIP_OK) {
        ops->graph_destroy(w->b->ctx, w->graph);
        w->graph = NULL;
        return GPUZIP_OK;
    }
    return time_calls(w, 0, &seconds); /* warms up */
}

static gpuzip_status take_samples(sample_work *w, bench_time *time)
{
    double sample[SAMPLES_MAX], once, spent = 0, wanted = w->b->seconds;
    int samples = 0;
    TRY(time_calls(w, 1, &once)); /* warms up */
    TRY(time_calls(w, 1, &once));
    double calls = wanted / SAMPLES_MAX / (once > 1e-9 ? once : 1e-9);
    w->calls = calls < 1 ? 1 : calls > CALLS_MAX ? CALLS_MAX : (int)calls;
    if (once < RECORD_TIME)
        TRY(record_calls(w));
    do {
        TRY(time_calls(w, w->calls, &sample[samples]));
        spent += sample[samples];
        sample[samples++] /= w->calls;
    } while (samples < SAMPLES_MAX && (spent < wanted || (samples < 3 && spent < 2)));
    qsort(sample, (size_t)samples, sizeof *sample, compare_doubles);
    double median = (sample[samples / 2] + sample[(samples - 1) / 2]) / 2;
    double quartiles = sample[samples * 3 / 4] - sample[samples / 4];
    *time = (bench_time){median, median > 0 ? quartiles / 2 / median : 0, samples, w->calls};
    return GPUZIP_OK;
}

gpuzip_status bench_measure(const bench *b, const char *range, bench_call *call, void *job,
                            bench_time *time)
{
    sample_work w = {.b = b, .call = call, .job = job};
    b->ops->range_push(range);
    gpuzip_status status = take_samples(&w, time);
    b->ops->range_pop();
    if (w.graph) {
        if (status != GPUZIP_OK)
            (void)b->ops->sync(b->ctx); /* nothing replays any more */
        b->ops->graph_destroy(b->ctx, w.graph);
    }
    return status;
}

double bench_floor(const bench *b, double operations, double bytes, const char **bound)
{
    const bench_ceilings *c = &b->ceilings;
    double products = operations / fmax(c->gemm, fmax(c->products, c->library));
    double copy = bytes / c->copy;
    *bound = products > copy ? "int8" : "copy";
    return products > copy ? products : copy;
}

/* ---- ceilings ------------------------------------------------------------ */

typedef struct {
    const bench *b;
    ops_qrows q;
    ops_matrix *w;
    float *out;
} gemm_job;

static gpuzip_status call_gemm(void *job, int i)
{
    gemm_job *g = job;
    (void)i;
    return g->b->ops->linear(g->b->ctx, &g->q, g->w, NULL, NULL, g->out);
}

/* One plane times one plane, both large. */
static gpuzip_status measure_gemm(const bench *b, double *rate)
{
    gpuzip_status status = GPUZIP_OK;
    int rows = b->gpu ? 8192 : 512, n = b->gpu ? 8192 : 2048;
    size_t count = (size_t)n * (size_t)n;
    gemm_job g = {.b = b};
    bench_pool pool = {.b = b};
    bench_time time;
    int8_t *w = malloc(count);
    float *scale = calloc((size_t)n, sizeof *scale);
    if (!w || !scale) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    bench_noise(w, count, 1);
    for (size_t i = 0; i < count; i++)
        w[i] = w[i] == -128 ? 0 : w[i];
    TRY_OUT(b->ops->matrix_create(b->ctx, &g.w, &(ops_weights){w, scale, n, n, 8}));
    TRY_OUT(bench_take_rows(&pool, &g.q, rows, n, 8));
    TRY_OUT(bench_take(&pool, &g.out, (size_t)rows * (size_t)n * sizeof(float), BENCH_ZEROS));
    TRY_OUT(bench_measure(b, "linear() on one plane", call_gemm, &g, &time));
    *rate = 2.0 * rows * n * n / time.median;
out:
    bench_release(&pool);
    b->ops->matrix_destroy(b->ctx, g.w);
    free(scale);
    free(w);
    return status;
}

gpuzip_status bench_find_ceilings(bench *b)
{
    TRY(b->ops->measure_peak(b->ctx, &b->ceilings.products));
    TRY(b->ops->measure_product(b->ctx, &b->ceilings.library));
    TRY(b->ops->measure_copy(b->ctx, &b->ceilings.copy));
    return measure_gemm(b, &b->ceilings.gemm);
}

/* ---- device memory ------------------------------------------------------- */

static void make_content(void *block, size_t bytes, bench_content content)
{
    const int8_t *small = block;
    float *wide = block;
    size_t floats = bytes / sizeof *wide;
    bench_noise(block, bytes, 42);
    switch (content) {
    case BENCH_ZEROS:
        memset(block, 0, bytes);
        break;
    case BENCH_FLOATS: /* the sum of four uniform bytes, scaled */
        for (size_t i = 0; i < floats; i++) {
            const int8_t *part = small + 4 * i;
            float sum = (float)part[0] + (float)part[1] + (float)part[2] + (float)part[3];
            wide[i] = sum * 0.00676f;
        }
        break;
    case BENCH_SCALES:
        for (size_t i = 0; i < floats; i++)
            wide[i] = 0.01f;
        break;
    }
}

static gpuzip_status allocate(bench_pool *pool, void **ptr, size_t bytes)
{
    if (pool->count == BENCH_POOL)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY(pool->b->ops->alloc(pool->b->ctx, ptr, bytes));
    pool->ptr[pool->count++] = *ptr;
    return GPUZIP_OK;
}

gpuzip_status bench_take(bench_pool *pool, void *ptr, size_t bytes, bench_content content)
{
    gpuzip_status status = GPUZIP_OK;
    const bench *b = pool->b;
    size_t part = bytes < NOISE_BYTES ? (bytes + 3) & ~(size_t)3 : NOISE_BYTES;
    void *memory = NULL, *block = NULL;
    TRY(allocate(pool, &memory, bytes));
    if (content != BENCH_ZEROS) {
        block = malloc(part);
        if (!block)
            return FAIL(GPUZIP_ERR_MEMORY);
        make_content(block, part, content);
        for (size_t at = 0; at < bytes; at += part)
            TRY_OUT(b->ops->upload(b->ctx, (char *)memory + at, block,
                                   bytes - at < part ? bytes - at : part));
        TRY_OUT(b->ops->sync(b->ctx));
    }
    memcpy(ptr, &memory, sizeof memory);
out:
    free(block);
    return status;
}

gpuzip_status bench_take_copy(bench_pool *pool, void *ptr, const void *host, size_t bytes)
{
    void *memory = NULL;
    TRY(allocate(pool, &memory, bytes));
    TRY(pool->b->ops->upload(pool->b->ctx, memory, host, bytes));
    TRY(pool->b->ops->sync(pool->b->ctx));
    memcpy(ptr, &memory, sizeof memory);
    return GPUZIP_OK;
}

gpuzip_status bench_take_rows(bench_pool *pool, ops_qrows *q, int rows, int dim, int bits)
{
    gpuzip_status status = GPUZIP_OK;
    const bench *b = pool->b;
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    bench_pool own = {.b = b};
    float *x;
    *q = (ops_qrows){.rows = rows, .dim = dim, .bits = bits};
    TRY(bench_take(pool, &q->hi, plane, BENCH_ZEROS));
    if (bits == 15)
        TRY(bench_take(pool, &q->lo, plane, BENCH_ZEROS));
    TRY(bench_take(pool, &q->scale, (size_t)rows * sizeof(float), BENCH_ZEROS));
    TRY_OUT(bench_take(&own, &x, (size_t)rows * (size_t)dim * sizeof *x, BENCH_FLOATS));
    TRY_OUT(b->ops->quantize(b->ctx, OPS_ACT_NONE, x, q));
    TRY_OUT(b->ops->sync(b->ctx));
out:
    bench_release(&own);
    return status;
}

void bench_release(bench_pool *pool)
{
    for (int i = 0; i < pool->count; i++)
        pool->b->ops->release(pool->b->ctx, pool->ptr[i]);
    pool->count = 0;
}
