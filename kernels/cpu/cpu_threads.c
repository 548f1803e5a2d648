/* cpu_threads.c: the rows of an operation, spread over threads. */
#include "cpu_threads.h"

/* Microseconds of work for which a second thread is woken, and for each further one. */
#define WORTH_US 50
/* Elements that a thread reads and computes in a microsecond, about. */
#define ELEMENTS_PER_US 1000
/* Parts for each thread, so that threads end together even if one of them lost its processor for a
 * while. */
#define PARTS 8

int cpu_threads_worth(const ops_context *ctx, double units, double units_per_us)
{
    double threads = units / (units_per_us * WORTH_US);
    if (threads < 1)
        return 1;
    return threads + 1 < ctx->threads ? (int)threads + 1 : ctx->threads;
}

/* Rows in parts of `part_rows`. */
typedef struct {
    cpu_row_fn fn;
    const void *job;
    int rows, part_rows;
} row_parts;

static void do_rows(const void *of, int part, int worker)
{
    const row_parts *p = of;
    int end = (part + 1) * p->part_rows;
    for (int row = part * p->part_rows; row < end && row < p->rows; row++)
        p->fn(p->job, row, worker);
}

void cpu_for_rows(const ops_context *ctx, int rows, size_t cost, cpu_row_fn fn, const void *job)
{
    int threads = cpu_threads_worth(ctx, (double)rows * (double)cost, ELEMENTS_PER_US);
    int part_rows = threads > 1 ? 1 + (rows - 1) / (PARTS * threads) : rows;
    row_parts p = {fn, job, rows, part_rows};
    if (rows > 0)
        pool_run(ctx->pool, threads, (rows - 1) / part_rows + 1, do_rows, &p);
}
