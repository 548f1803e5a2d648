/* bench_clock.h: checks that the machine is idle and at full clock. */
#ifndef GPUZIP_BENCH_CLOCK_H
#define GPUZIP_BENCH_CLOCK_H

#include "bench_run.h"

/* Warns of load by other programs and of a processor held below its highest clock. Call before
 * the first measurement. */
void bench_check_host(void);

/* Reads b->clock and b->clock_max of a GPU; zeros without the driver's management library. Warns
 * if the clock is far below the maximum. Call right after work on the GPU. */
void bench_check_clock(bench *b);

#endif
