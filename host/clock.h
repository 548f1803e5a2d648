/* clock.h: the monotonic clock, for statistics and progress. */
#ifndef GPUZIP_CLOCK_H
#define GPUZIP_CLOCK_H

#include <time.h>

/* Seconds since an unspecified start; never goes back. */
static inline double clock_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

#endif
