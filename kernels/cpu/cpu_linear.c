/* cpu_linear.c: packing of weight matrices, and linear() down to its tiles. */
#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_linear.h"

/* Multiply-adds (of s8) that are worth a thread: about as long as waking it takes. */
#define WORK_PER_THREAD (1 << 19)
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

gpuzip_status cpu_matrix_create(ops_context *ctx, ops_matrix **m, const ops_weights *src)
{
    assert(src->n > 0 && src->k > 0 && src->k <= OPS_MAX_DIM);
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
    int panels = packed->planes * packed->panels;
#pragma omp parallel for num_threads(ctx->threads)
    for (int i = 0; i < panels; i++)
        pack_panel(packed, src, i / packed->panels, i % packed->panels,
                   packed->w + (size_t)i * panel_bytes);
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

/* How many threads the work is worth. */
static int count_threads(const ops_context *ctx, const linear_job *job)
{
    double work = (double)job->q->rows * job->w->n * job->w->k * job->w->planes * job->planes;
    double threads = 1 + work / WORK_PER_THREAD;
    return threads < ctx->threads ? (int)threads : ctx->threads;
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

    int threads = count_threads(ctx, &job);
    int block = BLOCK_ROWS;
    while (block > LINEAR_ROWS && w->panels * divide_up(rows, block) < 4 * threads)
        block /= 2;
    int blocks = divide_up(rows, block), pieces = w->panels * blocks;
    /* Dynamic, for a thread may lose its processor to another program; in few
     * portions, so that the pieces of one thread stand together. */
    int portion = divide_up(pieces, 8 * threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int row = 0; row < rows; row++)
            path->prepare(&job, row);
#pragma omp for schedule(dynamic, portion)
        for (int i = 0; i < pieces; i++) {
            int panel = i / blocks, row = i % blocks * block;
            path->run(&job, panel, row, rows - row < block ? rows - row : block);
        }
    }
    free(operands);
    return GPUZIP_OK;
}

/* The best of many short measurements on each thread, for other programs may take
 * the processor away at any time. */
gpuzip_status cpu_measure_peak(ops_context *ctx, double *ops_per_second)
{
    const linear_path *path = find_path(ctx);
    const long rounds = 1 << 12;
    const double seconds = 0.05;
    double end = omp_get_wtime() + seconds, total = 0;
#pragma omp parallel num_threads(ctx->threads) reduction(+ : total)
    {
        double best = 0, now = omp_get_wtime();
        do {
            double begin = now;
            double done = (double)rounds * (double)path->spin(rounds);
            now = omp_get_wtime();
            if (best < done / (now - begin))
                best = done / (now - begin);
        } while (now < end);
        total += best;
    }
    /* Where rows are s16, one product does the work of two of their planes. */
    *ops_per_second = 2 * total * (path->wide ? 2 : 1);
    return GPUZIP_OK;
}
