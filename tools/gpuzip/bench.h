/* bench.h: `gpuzip -b`, how small and how fast. */
#ifndef BENCH_H
#define BENCH_H

#include "args.h"

/* Compresses and decompresses the file path in memory, at every level given, until
 * each direction has taken a->bench_seconds, and prints the size and the best speeds.
 * peak: of gpuzip_measure_peak(), operations a second. */
void bench_file(gpuzip *gz, const args *a, const char *path, double peak);

#endif
