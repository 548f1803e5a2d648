/* test_cuda_support.h: the same data on both backends, and their comparison. */
#ifndef GPUZIP_TEST_CUDA_SUPPORT_H
#define GPUZIP_TEST_CUDA_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/cuda.h"
#include "ops.h"

static const ops *const backend[2] = {&ops_cpu, &ops_cuda};
enum { CPU, CUDA };

static ops_context *context[2];

/* -- data ------------------------------------------------------------------------- */

static uint64_t random_state = 1;

static inline uint32_t draw(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* An integer in [-max, max]. */
static inline int draw_integer(int max)
{
    return (int)(draw() % (2 * (uint32_t)max + 1)) - max;
}

/* A float of either sign, most near 1, some 64 times that. */
static inline float draw_float(void)
{
    float x = (float)draw_integer(1 << 20) * 0x1p-20f;
    return draw() % 61 == 0 ? 64.0f * x : x;
}

static inline void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = draw_float();
}

/* The same zeroed memory on both backends. */
typedef struct {
    void *at[2];
    size_t bytes;
} pair;

static inline pair pair_zero(size_t bytes)
{
    pair p = {.bytes = bytes};
    for (int b = 0; b < 2; b++)
        assert_int_equal(backend[b]->alloc(context[b], &p.at[b], bytes), GPUZIP_OK);
    return p;
}

static inline pair pair_of(const void *data, size_t bytes)
{
    pair p = pair_zero(bytes);
    for (int b = 0; b < 2; b++)
        assert_int_equal(backend[b]->upload(context[b], p.at[b], data, bytes), GPUZIP_OK);
    return p;
}

static inline pair pair_floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    fill_floats(x, n);
    pair p = pair_of(x, n * sizeof *x);
    free(x);
    return p;
}

static inline void pair_free(pair *p)
{
    for (int b = 0; b < 2; b++)
        backend[b]->release(context[b], p->at[b]);
}

static inline uint8_t *pair_download(const pair *p, int b)
{
    uint8_t *host = malloc(p->bytes > 0 ? p->bytes : 1);
    assert_int_equal(backend[b]->download(context[b], host, p->at[b], p->bytes), GPUZIP_OK);
    return host;
}

/* Fails, naming the first byte, unless both sides hold the same bits. */
static inline void pair_check(const pair *p, const char *what, int rows, int dim)
{
    uint8_t *host[2] = {pair_download(p, CPU), pair_download(p, CUDA)};
    for (size_t i = 0; i < p->bytes; i++)
        if (host[0][i] != host[1][i])
            fail_msg("%s, rows %d, dim %d: byte %zu of %zu is %02x on the CPU, %02x on the GPU",
                     what, rows, dim, i, p->bytes, host[0][i], host[1][i]);
    free(host[0]);
    free(host[1]);
}

/* Quantised rows on both backends. */
typedef struct {
    pair hi, lo, scale;
    ops_qrows q[2];
} qpair;

static inline qpair qpair_zero(int rows, int dim, int bits)
{
    qpair p;
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    p.hi = pair_zero(plane);
    p.lo = bits == 15 ? pair_zero(plane) : (pair){{NULL, NULL}, 0};
    p.scale = pair_zero((size_t)rows * sizeof(float));
    for (int b = 0; b < 2; b++)
        p.q[b] = (ops_qrows){p.hi.at[b], p.lo.at[b], p.scale.at[b], rows, dim, bits};
    return p;
}

static inline void qpair_check(const qpair *p, const char *what)
{
    pair_check(&p->hi, what, p->q[0].rows, p->q[0].dim);
    pair_check(&p->scale, what, p->q[0].rows, p->q[0].dim);
    if (p->lo.bytes > 0)
        pair_check(&p->lo, what, p->q[0].rows, p->q[0].dim);
}

static inline void qpair_free(qpair *p)
{
    pair_free(&p->scale);
    pair_free(&p->lo);
    pair_free(&p->hi);
}

#define BOTH(call)                                                                                 \
    for (int b = 0; b < 2; b++)                                                                    \
    assert_int_equal(backend[b]->call, GPUZIP_OK)

/* -- the program ------------------------------------------------------------------ */

static const int row_counts[] = {1, 2, 7, 33, 130};
#define ROW_COUNTS ((int)(sizeof row_counts / sizeof *row_counts))

/* What a test program exits with that finds no GPU: skipped, or failed. */
#ifdef GPUZIP_REQUIRE_GPU
#define NO_GPU 1
#else
#define NO_GPU 77
#endif

/* Opens both contexts. False: there is no GPU. */
static inline bool open_both(void)
{
    if (ops_cuda.open(&context[CUDA], 0, 0, NULL) != GPUZIP_OK)
        return false;
    assert_int_equal(ops_cpu.open(&context[CPU], 0, 1, NULL), GPUZIP_OK);
    /* One test or a pattern of them, for bisecting and for the mutations. */
    cmocka_set_test_filter(getenv("GPUZIP_TEST_FILTER"));
    return true;
}

static inline void close_both(void)
{
    ops_cpu.close(context[CPU]);
    ops_cuda.close(context[CUDA]);
}

#endif
