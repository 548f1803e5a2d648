/* bench_run.h: the device with its ceilings, timing, and device memory filled with noise; shared by
 * all measurements. */
#ifndef GPUZIP_BENCH_RUN_H
#define GPUZIP_BENCH_RUN_H

#include "bench_model.h"
#include "ops.h"

/* The device's peak rates, measured in this run with minimal kernels. Operations count 2 a
 * multiply-add of s8; bytes are those read plus those written. */
typedef struct {
    double products; /* operations a second of the instructions that linear() uses */
    double library;  /* of a library's matrix product; 0: none */
    double gemm;     /* of linear() on large matrices of one plane */
    double copy;     /* bytes a second of a copy */
} bench_ceilings;

typedef struct bench_report bench_report;

#define BENCH_STREAM_COUNTS 16

typedef struct {
    const ops *ops;
    ops_context *ctx;
    ops_device about;
    const char *name;          /* "cpu", "cuda:0" */
    unsigned clock, clock_max; /* MHz of a GPU under load; 0: not known */
    int threads;
    bool gpu;
    bool quick;
    double seconds;                        /* that a measurement of a kernel takes, about */
    double coding_seconds;                 /* that coding takes at most, about, each way */
    uint64_t memory;                       /* free bytes of the device */
    int window;                            /* of coding; 0: 1,024 or the model's context */
    uint32_t streams[BENCH_STREAM_COUNTS]; /* [stream_counts] to code */
    int stream_counts;
    bench_ceilings ceilings;
    bench_report *report;
} bench;

/* Seconds of one call: the median of several samples of many calls each. */
typedef struct {
    double median;
    double spread; /* half the distance of the quartiles, as a part of the median */
    int samples, calls;
} bench_time;

/* Queues the work once; i counts the calls, for rotating among inputs. */
typedef gpuzip_status bench_call(void *job, int i);

/* Times a call, after one to warm up; every sample ends with sync(). range: the name in a
 * profiler, a static string. Errors: the call's. */
gpuzip_status bench_measure(const bench *b, const char *range, bench_call *call, void *job,
                            bench_time *time);

/* Fills in b->ceilings. Errors: MEMORY, DEVICE. */
gpuzip_status bench_find_ceilings(bench *b);

/* The least seconds of so much work at the ceilings; *bound names the one that limits. */
double bench_floor(const bench *b, double operations, double bytes, const char **bound);

/* ---- device memory ------------------------------------------------------- */

#define BENCH_POOL 24

/* The device memory of a measurement, released together. */
typedef struct {
    const bench *b;
    void *ptr[BENCH_POOL];
    int count;
} bench_pool;

typedef enum {
    BENCH_ZEROS,
    BENCH_FLOATS, /* near normal, deviation 1 */
    BENCH_SCALES  /* floats, all 0.01 */
} bench_content;

/* Device memory of so many bytes with such a content. Errors: MEMORY, DEVICE. */
gpuzip_status bench_take(bench_pool *pool, void *ptr, size_t bytes, bench_content content);

/* The same with a copy of host[0, bytes). */
gpuzip_status bench_take_copy(bench_pool *pool, void *ptr, const void *host, size_t bytes);

/* Rows of noise, quantised. */
gpuzip_status bench_take_rows(bench_pool *pool, ops_qrows *q, int rows, int dim, int bits);

void bench_release(bench_pool *pool);

/* ---- the parts ------------------------------------------------------------ */

/* Tokens to code: of a text, or none, which stands for noise. */
typedef struct {
    uint32_t *token; /* [count] */
    size_t count, bytes;
} bench_text;

/* Each measures a model and reports: its kernels one by one; a pass and coding. Errors: MEMORY,
 * DEVICE; SELF_TEST (decoding gave other tokens; reported already). */
gpuzip_status bench_kernels(bench *b, const bench_model *m);
gpuzip_status bench_whole(bench *b, const bench_model *m, const bench_text *text);

#endif
