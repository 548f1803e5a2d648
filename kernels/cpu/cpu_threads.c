/* cpu_threads.c: the rows of an operation, spread over threads. */
#include <omp.h>

#include "cpu_threads.h"

/* Below this many elements a parallel region costs more than it saves (a few
 * microseconds to wake the threads; an element takes about a nanosecond). */
#define CPU_PARALLEL_MIN 16384

void cpu_for_rows(const ops_context *ctx, int rows, size_t cost, cpu_row_fn fn, const void *job)
{
    int threads = ctx->threads < rows ? ctx->threads : rows;
    if (threads <= 1 || (size_t)rows * cost < CPU_PARALLEL_MIN) {
        for (int row = 0; row < rows; row++)
            fn(job, row, 0);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int row = 0; row < rows; row++)
        fn(job, row, omp_get_thread_num());
}
