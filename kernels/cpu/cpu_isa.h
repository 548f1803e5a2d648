/* cpu_isa.h: the parts of the CPU backend that are compiled once a level of
 * instruction set, and how to reach them.
 *
 * A file listed in CPU_ISA_SOURCES is compiled with CPU_ISA_SUFFIX = c, avx2 or
 * avx512 and that level's flags. It has internal linkage throughout, but for one
 * table of functions whose name ends in the suffix: CPU_ISA(name).
 */
#ifndef GPUZIP_CPU_ISA_H
#define GPUZIP_CPU_ISA_H

#include "cpu.h"

#define CPU_ISA_JOIN_(name, suffix) name##_##suffix
#define CPU_ISA_JOIN(name, suffix)  CPU_ISA_JOIN_(name, suffix)
#define CPU_ISA(name)               CPU_ISA_JOIN(name, CPU_ISA_SUFFIX)

/* Does one row of an operation; job is the operation's own description, thread in
 * [0, threads) tells which scratch it may use. */
typedef void (*cpu_row_fn)(const void *job, int row, int thread);

/* Calls fn for every row in [0, rows), on several threads when rows times cost (of
 * a row, in elements read) is worth waking them. */
void cpu_for_rows(const ops_context *ctx, int rows, size_t cost, cpu_row_fn fn, const void *job);

#endif
