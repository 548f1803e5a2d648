/* bench_bounds_report.h: the tables of gpuzip-bench --bounds. */
#ifndef GPUZIP_BENCH_BOUNDS_REPORT_H
#define GPUZIP_BENCH_BOUNDS_REPORT_H

#include "bench_args.h"

/* Prints the bounds of the models of the command line. Messages report errors. */
void bench_print_bounds(const bench_args *a);

#endif
