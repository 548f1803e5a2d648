/* cpu_linear.c: packing of weight matrices, and linear() down to its tiles. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cpu_linear.h"
#include "cpu_threads.h"

/* Of many rows: multiply-adds of s8 in a microsecond. Of few: bytes of weights, from the last
 * cache. Both about, with VNNI. */
#define MULTIPLY_ADDS_PER_US 300000
#define WEIGHTS_PER_US       30000
/* Parts for each thread: with more, threads end together even if one of them lost its processor for
 * a while; with fewer, the pieces that share a panel of weights stay together. */
#define PORTIONS 8
/* Rows of one piece of a thread's work. The panel of weights stays in its cache
 * over these rows. A multiple of every tile's rows. */
#define BLOCK_ROWS 48

static const linear_path *find_path(const ops_context *ctx)
{
#if defined(__x86_64__)
    if (ctx->isa == CPU_ISA_AVX512VNNI)
        return &linear_path_avx512vnni;
    if (ctx->isa == CPU_ISA_AVX512)
        return &linear_path_avx512;
    if (ctx->isa == CPU_ISA_AVX2)
        return &linear_path_avx2;
#endif
    (void)ctx;
    return &linear_path_c;
}

static int divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

/* 64-byte aligned, released with free(). NULL when there is no memory. */
static void *alloc_aligned(size_t bytes)
{
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

/* Element i of plane p: of 15 bits, plane 0 is w >> 7 and plane 1 is w & 127. */
static int8_t weight_plane(const ops_weights *src, size_t i, int plane)
{
    if (src->bits == 8)
        return ((const int8_t *)src->w)[i];
    int16_t w = ((const int16_t *)src->w)[i];
    return (int8_t)(plane == 0 ? w >> 7 : w & 127);
}

/* Packs one panel of one plane; dst: [steps][panel][step]. */
static void pack_panel(const ops_matrix *m, const ops_weights *src, int plane, int panel,
                       int8_t *dst)
{
    int channels = m->path->panel, step = m->path->step;
    int8_t flip = plane == 0 ? m->path->offset : 0;
    for (int s = 0; s < m->steps; s++) {
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < step; i++) {
                int n = panel * channels + c, k = s * step + i;
                int8_t w =
                    n < m->n && k < m->k ? weight_plane(src, (size_t)n * m->k + k, plane) : 0;
                *dst++ = (int8_t)(w ^ flip);
            }
        }
    }
}

/* A matrix being packed. */
typedef struct {
    const ops_matrix *m;
    const ops_weights *src;
    size_t panel_bytes;
} pack_job;

/* Packs panel i of all planes. */
static void pack_part(const void *of, int i, int worker)
{
    const pack_job *job = of;
    int panels = job->m->panels;
    (void)worker;
    pack_panel(job->m, job->src, i / panels, i % panels, job->m->w + (size_t)i * job->panel_bytes);
}

gpuzip_status cpu_matrix_create(ops_context *ctx, ops_matrix **m, const ops_weights *src)
{
    assert(src->n > 0 && src->k > 0 && src->k <= OPS_MAX_VOCAB);
    gpuzip_status status = GPUZIP_OK;
    ops_matrix *packed = calloc(1, sizeof *packed);
    if (!packed) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    const linear_path *path = find_path(ctx);
    packed->path = path;
    packed->n = src->n;
    packed->k = src->k;
    packed->planes = src->bits == 8 ? 1 : 2;
    packed->panels = divide_up(src->n, path->panel);
    packed->steps = divide_up(src->k, path->step);
    size_t channels = (size_t)packed->panels * path->panel;
    size_t panel_bytes = (size_t)packed->steps * path->panel * path->step;
    packed->w = alloc_aligned(packed->planes * packed->panels * panel_bytes);
    packed->scale = alloc_aligned(channels * sizeof *packed->scale);
    if (!packed->w || !packed->scale) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    memcpy(packed->scale, src->scale, (size_t)src->n * sizeof *packed->scale);
    memset(packed->scale + src->n, 0, (channels - (size_t)src->n) * sizeof *packed->scale);
    pool_run(ctx->pool, ctx->threads, packed->planes * packed->panels, pack_part,
             &(pack_job){packed, src, panel_bytes});
    *m = packed;
    packed = NULL;

out:
    cpu_matrix_destroy(ctx, packed);
    return status;
}

void cpu_matrix_destroy(ops_context *ctx, ops_matrix *m)
{
    (void)ctx;
    if (!m)
        return;
    free(m->scale);
    free(m->w);
    free(m);
}

/* Microseconds that a call takes one thread, about. */
static double time_of(const linear_job *job)
{
    double weights = (double)job->w->n * job->w->k * job->w->planes;
    return weights / WEIGHTS_PER_US + weights * job->q->rows * job->planes / MULTIPLY_ADDS_PER_US;
}

static void prepare_row(const void *of, int row, int thread)
{
    const linear_job *job = of;
    (void)thread;
    job->w->path->prepare(job, row);
}

/* The pieces of a call: `block` rows by one panel. Neighbours share the panel, so that a thread
 * which takes several finds the weights in its cache. */
typedef struct {
    const linear_job *job;
    int block, blocks; /* rows of a piece, and pieces of a panel */
    int pieces;
    int portion; /* pieces that a thread takes at a time */
} linear_pieces;

static void run_portion(const void *of, int part, int worker)
{
    const linear_pieces *p = of;
    int rows = p->job->q->rows, end = (part + 1) * p->portion;
    (void)worker;
    for (int i = part * p->portion; i < end && i < p->pieces; i++) {
        int panel = i / p->blocks, row = i % p->blocks * p->block;
        p->job->w->path->run(p->job, panel, row, rows - row < p->block ? rows - row : p->block);
    }
}

gpuzip_status cpu_linear(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                         const float *bias, const float *residual, float *out)
{
    assert(q->dim == w->k);
    const linear_path *path = w->path;
    int rows = q->rows;
    if (rows <= 0)
        return GPUZIP_OK;
    linear_job job = {.w = w, .q = q, .bias = bias, .residual = residual, .out = out};
    job.planes = path->wide || q->bits == 8 ? 1 : 2;
    job.chunks = divide_up(q->dim, LINEAR_CHUNK);
    job.pitch = OPS_PITCH(q->dim) * (path->wide ? 2 : 1);
    size_t row_bytes = path->wide ? job.pitch : (size_t)job.chunks * sizeof *job.offset;
    void *operands = alloc_aligned((size_t)rows * row_bytes);
    if (!operands)
        return FAIL(GPUZIP_ERR_MEMORY);
    if (path->wide)
        job.wide = operands;
    else
        job.offset = operands;

    int threads = cpu_threads_worth(ctx, time_of(&job));
    linear_pieces p = {.job = &job, .block = BLOCK_ROWS};
    while (p.block > LINEAR_ROWS && w->panels * divide_up(rows, p.block) < 4 * threads)
        p.block /= 2;
    p.blocks = divide_up(rows, p.block);
    p.pieces = w->panels * p.blocks;
    p.portion = divide_up(p.pieces, threads > 1 ? PORTIONS * threads : 1);
    cpu_for_rows(ctx, rows, 2 * (size_t)w->k, prepare_row, &job);
    pool_run(ctx->pool, threads, divide_up(p.pieces, p.portion), run_portion, &p);
    free(operands);
    return GPUZIP_OK;
}

/* The measurement of a thread's peak. */
typedef struct {
    const linear_path *path;
    double end;   /* on the clock */
    double *best; /* [threads] multiply-adds a second */
} peak_job;

/* The best of many short measurements, for other programs may take the processor away. */
static void measure_part(const void *of, int part, int worker)
{
    const peak_job *job = of;
    const long rounds = 1 << 12;
    double best = 0, now = clock_seconds();
    (void)worker;
    do {
        double begin = now;
        double done = (double)rounds * (double)job->path->spin(rounds);
        now = clock_seconds();
        if (best < done / (now - begin))
            best = done / (now - begin);
    } while (now < job->end);
    job->best[part] = best;
}

gpuzip_status cpu_measure_peak(ops_context *ctx, double *ops_per_second)
{
    const double seconds = 0.05;
    int threads = pool_start(ctx->pool);
    peak_job job = {.path = find_path(ctx), .best = calloc((size_t)threads, sizeof *job.best)};
    if (!job.best)
        return FAIL(GPUZIP_ERR_MEMORY);
    job.end = clock_seconds() + seconds;
    pool_run(ctx->pool, threads, threads, measure_part, &job);
    double total = 0;
    for (int i = 0; i < threads; i++)
        total += job.best[i];
    free(job.best);
    /* Where rows are s16, one product does the work of two of their planes. */
    *ops_per_second = 2 * total * (job.path->wide ? 2 : 1);
    return GPUZIP_OK;
}
