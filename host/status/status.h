/* status.h: error plumbing. This folder is the only one that every layer may include. */
#ifndef GPUZIP_STATUS_H
#define GPUZIP_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpuzip_status.h"

/* Wraps a status at the line it arises or passes. Built with -DGPUZIP_TRACE
 * each one is printed, which reads as a backtrace; otherwise it is free. */
#ifdef GPUZIP_TRACE
#include <stdio.h>
#define FAIL(status)                                                                               \
    (fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, __func__, (int)(status)),       \
     (status))
#else
#define FAIL(status) (status)
#endif

/* Returns unless expr is GPUZIP_OK. For functions that own nothing yet. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        gpuzip_status try_status_ = (expr);                                                        \
        if (try_status_ != GPUZIP_OK)                                                              \
            return FAIL(try_status_);                                                              \
    } while (0)

/* The same for functions that own something: leaves by `out:`, which releases
 * everything and returns status. */
#define TRY_OUT(expr)                                                                              \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != GPUZIP_OK) {                                                                 \
            (void)FAIL(status);                                                                    \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

#endif
