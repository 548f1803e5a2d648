/* cpu_trainable.c: matrices that learn: their memory, their working copies, and trainable_step()
 * down to its tiles. */
#include "cpu_trainable.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_threads.h"
#include "cpu_learn.h"

/* Multiply-adds and elements in a microsecond, about: of a step's products with VNNI, and of its
 * reading and writing. */
#define MULTIPLY_ADDS_PER_US 100000
#define ELEMENTS_PER_US      3000
/* Channels that a thread takes at a time, a multiple of TRAINABLE_ERRORS. */
#define PORTION 64

static const trainable_path *find_path(const ops_context *ctx)
{
#if defined(__x86_64__)
    if (ctx->isa == CPU_ISA_AVX512VNNI)
        return &trainable_path_avx512vnni;
    if (ctx->isa == CPU_ISA_AVX512)
        return &trainable_path_avx512;
    if (ctx->isa == CPU_ISA_AVX2)
        return &trainable_path_avx2;
#endif
    (void)ctx;
    return &trainable_path_c;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t round_up(size_t n, size_t unit)
{
    return divide_up(n, unit) * unit;
}

/* 64-byte aligned, released with free(). NULL when there is no memory. */
static void *alloc_aligned(size_t bytes)
{
    return aligned_alloc(64, round_up(bytes, 64));
}

/* ---- transposes ----------------------------------------------------------- */

gpuzip_status cpu_transpose_create(ops_context *ctx, ops_matrix **m, const ops_weights *src)
{
    gpuzip_status status = GPUZIP_OK;
    size_t n = (size_t)src->n, k = (size_t)src->k, size = src->bits == 8 ? 1 : 2;
    char *w = malloc(n * k * size);
    float *ones = malloc(k * sizeof *ones);
    if (!w || !ones) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (size_t i = 0; i < k; i++)
        ones[i] = 1;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            memcpy(w + (j * n + i) * size, (const char *)src->w + (i * k + j) * size, size);
    TRY_OUT(cpu_matrix_create(ctx, m, &(ops_weights){w, ones, src->k, src->n, src->bits}));
out:
    free(ones);
    free(w);
    return status;
}

/* Bytes of a packed matrix for the widest panels: 64 channels, steps of 4 columns. */
static size_t packed_bytes(int n, int k, int bits)
{
    return round_up((size_t)n, 64) * (round_up((size_t)k, 4) * (bits == 8 ? 1 : 2) + sizeof(float));
}

size_t cpu_transpose_bytes(int n, int k, int bits)
{
    return packed_bytes(k, n, bits);
}

/* ---- memory --------------------------------------------------------------- */

static size_t master_bytes(int n, int k)
{
    return round_up((size_t)n, TRAINABLE_CHANNELS) * round_up((size_t)k, 64) * sizeof(int32_t);
}

size_t cpu_trainable_bytes(int n, int k, int bits)
{
    return packed_bytes(n, k, bits) + packed_bytes(k, n, bits) + master_bytes(n, k);
}

gpuzip_status cpu_trainable_create(ops_context *ctx, ops_trainable **out, const ops_weights *src)
{
    gpuzip_status status = GPUZIP_OK;
    ops_trainable *t = calloc(1, sizeof *t);
    if (!t)
        return FAIL(GPUZIP_ERR_MEMORY);
    t->n = src->n;
    t->k = src->k;
    t->planes = src->bits == 8 ? 1 : 2;
    TRY_OUT(cpu_matrix_create(ctx, &t->w, src));
    TRY_OUT(cpu_transpose_create(ctx, &t->back, src));
    t->pitch = (size_t)t->back->panels * (size_t)t->w->path->panel;
    t->master = alloc_aligned(master_bytes(t->n, t->k));
    if (!t->master) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    memset(t->master, 0, master_bytes(t->n, t->k));
    TRY_OUT(cpu_trainable_reset(ctx, t, src));
    *out = t;
    t = NULL;
out:
    cpu_trainable_destroy(ctx, t);
    return status;
}

void cpu_trainable_destroy(ops_context *ctx, ops_trainable *t)
{
    if (!t)
        return;
    cpu_matrix_destroy(ctx, t->w);
    cpu_matrix_destroy(ctx, t->back);
    free(t->master);
    free(t);
}

/* ---- reset ---------------------------------------------------------------- */

typedef struct {
    ops_trainable *t;
    const ops_weights *src;
    const trainable_path *path;
} reset_job;

static void reset_part(const void *of, int part, int worker)
{
    const reset_job *job = of;
    ops_trainable *t = job->t;
    int first = part * PORTION, end = first + PORTION < t->n ? first + PORTION : t->n;
    (void)worker;
    for (int n = first; n < end; n++) {
        int32_t *master = t->master + (size_t)n * t->pitch;
        size_t at = (size_t)n * (size_t)t->k;
        for (int k = 0; k < t->k; k++)
            master[k] = (job->src->bits == 8 ? ((const int8_t *)job->src->w)[at + (size_t)k]
                                             : ((const int16_t *)job->src->w)[at + (size_t)k]) *
                        (1 << OPS_MASTER_BITS);
    }
    for (int panel = 0; panel < t->back->panels; panel++)
        job->path->write(t, panel, first, end);
}

gpuzip_status cpu_trainable_reset(ops_context *ctx, ops_trainable *t, const ops_weights *src)
{
    double elements = (double)t->n * t->k;
    pool_run(ctx->pool, cpu_threads_worth(ctx, elements / ELEMENTS_PER_US),
             (int)divide_up((size_t)t->n, PORTION), reset_part,
             &(reset_job){t, src, find_path(ctx)});
    return GPUZIP_OK;
}

const ops_matrix *cpu_trainable_matrix(const ops_trainable *t)
{
    return t->w;
}

const ops_matrix *cpu_trainable_transpose(const ops_trainable *t)
{
    return t->back;
}

gpuzip_status cpu_trainable_read(ops_context *ctx, const ops_trainable *t, int32_t *master)
{
    (void)ctx;
    for (size_t n = 0; n < (size_t)t->n; n++)
        memcpy(master + n * (size_t)t->k, t->master + n * t->pitch, (size_t)t->k * sizeof *master);
    return GPUZIP_OK;
}

/* ---- the step ------------------------------------------------------------- */

/* The parts of a step: packing the errors' panels, then the inputs'; and tiles. */
typedef struct {
    const trainable_job *job;
    const trainable_path *path;
    int error_panels, portions;
} step_parts;

static void pack_part(const void *of, int part, int worker)
{
    const step_parts *p = of;
    (void)worker;
    if (part < p->error_panels)
        p->path->pack_errors(p->job, part);
    else
        p->path->pack_inputs(p->job, part - p->error_panels);
}

/* Neighbours share the inputs' panel, so that a thread which takes several finds it in its cache.
 */
static void update_part(const void *of, int part, int worker)
{
    const step_parts *p = of;
    int n = part % p->portions * PORTION, all = p->job->t->n;
    (void)worker;
    p->path->update(p->job, part / p->portions, n, n + PORTION < all ? n + PORTION : all);
}

size_t cpu_trainable_step_bytes(int rows, int columns)
{
    /* s16 at most; panels and words are padded; factors and sums are 8 bytes a channel. */
    return (round_up((size_t)rows, 4) * 2 + 8) * ((size_t)columns + 128);
}

gpuzip_status cpu_trainable_step(ops_context *ctx, ops_trainable *t, const float *dy,
                                 const ops_qrows *x, float rate)
{
    assert(x->dim == t->k && x->rows <= OPS_STEP_ROWS);
    gpuzip_status status = GPUZIP_OK;
    if (x->rows <= 0)
        return GPUZIP_OK;
    const trainable_path *path = find_path(ctx);
    size_t words = divide_up((size_t)x->rows, (size_t)path->word_rows);
    size_t panels = divide_up((size_t)t->n, TRAINABLE_ERRORS), channels = panels * TRAINABLE_ERRORS;
    trainable_job job = {.t = t, .dy = dy, .x = x, .rate = rate, .words = (int)words};
    job.z = alloc_aligned(words * channels * sizeof *job.z);
    job.xw = alloc_aligned(words * t->pitch * sizeof *job.xw);
    job.factor = alloc_aligned(channels * sizeof *job.factor);
    job.sum = alloc_aligned(channels * sizeof *job.sum);
    if (!job.z || !job.xw || !job.factor || !job.sum) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    step_parts p = {&job, path, (int)panels, (int)divide_up((size_t)t->n, PORTION)};
    double elements = (double)x->rows * (2.0 * t->n + t->k), weights = (double)t->n * t->k;
    pool_run(ctx->pool, cpu_threads_worth(ctx, elements / ELEMENTS_PER_US),
             p.error_panels + t->back->panels, pack_part, &p);
    pool_run(ctx->pool,
             cpu_threads_worth(ctx, weights * x->rows / MULTIPLY_ADDS_PER_US +
                                        weights / ELEMENTS_PER_US),
             t->back->panels * p.portions, update_part, &p);
out:
    free(job.sum);
    free(job.factor);
    free(job.xw);
    free(job.z);
    return status;
}
