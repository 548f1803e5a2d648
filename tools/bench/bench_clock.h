/* bench_clock.h: whether the machine is in a state to be measured. */
#ifndef GPUZIP_BENCH_CLOCK_H
#define GPUZIP_BENCH_CLOCK_H

#include "bench_run.h"

/* Warns of a load that other programs make, and of a processor that may not run as fast as it
 * could. To be called before anything is measured. */
void bench_check_host(void);

/* Reads b->clock and b->clock_max of a GPU: to be called right after it worked. Zeros where the
 * driver's management library is not to be had. Warns if the clock is far below. */
void bench_check_clock(bench *b);

#endif
