/* clock.h: time spans, for statistics. */
#ifndef GPUZIP_CLOCK_H
#define GPUZIP_CLOCK_H

#include <time.h>

/* Seconds on a clock that never goes back. */
static inline double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
