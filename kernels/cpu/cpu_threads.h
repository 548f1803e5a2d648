/* cpu_threads.h: the rows of an operation, spread over threads. */
#ifndef GPUZIP_CPU_THREADS_H
#define GPUZIP_CPU_THREADS_H

#include "cpu.h"

/* Does one row of an operation; job is the operation's own description, thread in
 * [0, threads) tells which scratch it may use. */
typedef void (*cpu_row_fn)(const void *job, int row, int thread);

/* How many of the context's threads gain by work that takes one thread so many microseconds; at
 * least 1. */
int cpu_threads_worth(const ops_context *ctx, double us);

/* Calls fn for every row in [0, rows), on several threads when rows times cost (of a row, in
 * elements that are read and rounded, or in work of that length) is worth it. */
void cpu_for_rows(const ops_context *ctx, int rows, size_t cost, cpu_row_fn fn, const void *job);

#endif
