/* cpu_threads.c: the rows of an operation, spread over threads. */
#include "cpu_threads.h"

/* Microseconds of work from which two threads need at most 0.8 of one's time. Threads that watch
 * begin at once: measured with linear() and quantize(), 12 us remain 12, 17 become 12, 28 become
 * 20. A thread that sleeps comes after 50 us or more. */
#define WORTH_AWAKE_US  20
#define WORTH_ASLEEP_US 100

/* Elements of a norm that a thread reads in a microsecond, about. */
#define ELEMENTS_PER_US 10000
/* Parts for each thread, so that threads end together even if one of them lost its processor for a
 * while. */
#define PARTS 8

int cpu_threads_worth(const ops_context *ctx, double us)
{
    double worth = 1 + us / WORTH_AWAKE_US;
    double there = pool_awake(ctx->pool) + us / WORTH_ASLEEP_US;
    if (ctx->shares_all)
        return ctx->threads;
    if (worth > there)
        worth = there;
    return worth < ctx->threads ? (int)worth : ctx->threads;
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
    int threads = cpu_threads_worth(ctx, (double)rows * (double)cost / ELEMENTS_PER_US);
    int part_rows = threads > 1 ? 1 + (rows - 1) / (PARTS * threads) : rows;
    row_parts p = {fn, job, rows, part_rows};
    if (rows > 0)
        pool_run(ctx->pool, threads, (rows - 1) / part_rows + 1, do_rows, &p);
}
