/* bench_report.h: the output of gpuzip-bench: tables, JSON lines or CSV. */
#ifndef GPUZIP_BENCH_REPORT_H
#define GPUZIP_BENCH_REPORT_H

#include "bench_run.h"

typedef enum { BENCH_TEXT, BENCH_JSON, BENCH_CSV } bench_format;

/* The measurement of a kernel or a pass. */
typedef struct {
    const char *name;  /* "linear qkv" */
    const char *shape; /* "16 x 2304 x 768" */
    int rows;          /* or streams */
    int context;       /* positions a row attends to, on average; 0: none */
    bench_time time;
    double operations; /* of s8 products, 2 a multiply-add; 0: not counted */
    double bytes;      /* least bytes that a call reads and writes */
    double tokens;     /* of a call; 0: print no rate */
} bench_row;

/* The measurement of coding in one direction. */
typedef struct {
    const char *name; /* "encode" */
    uint32_t streams;
    size_t steps;         /* timed, of each stream */
    double context;       /* positions a coded token attended to, on average */
    double tokens, bytes; /* coded; bytes 0: the tokens are noise */
    double seconds;
    double forward, mix, coder; /* seconds of them */
    double operations;          /* of the linear layers */
    double floor_seconds;       /* least time at the device's ceilings */
    const char *bound;          /* "int8" or "copy" */
    double bits;                /* a token */
} bench_coding_row;

/* log: where to write JSON lines as well, or NULL. Returns NULL if memory is short. */
bench_report *bench_report_open(bench_format format, FILE *log);
void bench_report_close(bench_report *r);

/* The device and its ceilings: once, first. */
void bench_report_device(bench_report *r, const bench *b);
/* The model of the rows to come. */
void bench_report_model(bench_report *r, const bench_model *m);
void bench_report_row(const bench *b, const bench_row *row);
void bench_report_coding(const bench *b, const bench_coding_row *row);
/* A skipped row, with the reason. */
void bench_report_skip(const bench *b, const char *name, const char *shape, const char *why);

#endif
