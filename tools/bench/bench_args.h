/* bench_args.h: the command line of gpuzip-bench. */
#ifndef GPUZIP_BENCH_ARGS_H
#define GPUZIP_BENCH_ARGS_H

#include "bench_report.h"

#define BENCH_MODELS 32

/* Strings point into argv. */
typedef struct {
    const char *device;              /* NULL: not given */
    int threads;                     /* 0: one a core */
    const char *model[BENCH_MODELS]; /* [models] */
    int models;
    bool random;
    bench_widths widths;
    bool kernels, whole; /* measure kernels; passes and coding */
    bool quick, list;
    double seconds; /* coding takes at most, about; 0: not given */
    int window;     /* 0: not given */
    uint32_t streams[BENCH_STREAM_COUNTS];
    int stream_counts;  /* 0: not given */
    const char *text;   /* NULL: none */
    const char *log;    /* NULL: none */
    const char *bounds; /* of this GPU, printed instead of measurements; NULL: none */
    bench_format format;
} bench_args;

typedef enum {
    BENCH_ARGS_RUN,
    BENCH_ARGS_DONE, /* help or version, printed already */
    BENCH_ARGS_WRONG /* an error, printed already */
} bench_args_result;

bench_args_result bench_args_parse(bench_args *a, int argc, char **argv);

#endif
