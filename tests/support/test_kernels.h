/* test_kernels.h: random data, and a context for every instruction set the machine
 * has. Include after cmocka.h. */
#ifndef GPUZIP_TEST_KERNELS_H
#define GPUZIP_TEST_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "cpu/cpu.h"

/* A linear congruential generator (Knuth's constants); the upper bits are good. */
typedef struct {
    uint64_t state;
} test_random;

static inline uint32_t random_bits(test_random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 32);
}

/* Uniform in [0, n). */
static inline uint32_t random_below(test_random *r, uint32_t n)
{
    return (uint32_t)((uint64_t)random_bits(r) * n >> 32);
}

/* Standard normal (Box-Muller). */
static inline float random_normal(test_random *r)
{
    double radius = sqrt(-2 * log((random_bits(r) + 1.0) * 0x1p-32));
    return (float)(radius * cos(6.283185307179586 * random_bits(r) * 0x1p-32));
}

/* Zeroed memory of exactly this size, so that AddressSanitizer sees a step outside. */
static inline void *test_array(size_t count, size_t size)
{
    void *array = calloc(count, size);
    assert_non_null(array);
    return array;
}

/* Contexts that must all give the same bits; the first is plain C on one thread. */
typedef struct {
    ops_context *context[8];
    const char *name[8];
    int count;
} test_levels;

static inline void levels_add(test_levels *levels, const char *isa, int threads, const char *name)
{
    ops_context *context = NULL;
    gpuzip_status status = ops_cpu.open(&context, 0, threads, isa);
    if (status == GPUZIP_ERR_DEVICE)
        return; /* the machine lacks it */
    assert_int_equal(status, GPUZIP_OK);
    context->shares_all = true;
    levels->context[levels->count] = context;
    levels->name[levels->count++] = name;
}

static inline test_levels levels_open(void)
{
    test_levels levels = {.count = 0};
    levels_add(&levels, "c", 1, "c");
    levels_add(&levels, "avx2", 1, "avx2");
    levels_add(&levels, "avx512", 1, "avx512");
    levels_add(&levels, "avx512vnni", 1, "avx512vnni");
    levels_add(&levels, NULL, 2, "2 threads");
    levels_add(&levels, NULL, 5, "5 threads");
    return levels;
}

static inline void levels_close(test_levels *levels)
{
    for (int i = 0; i < levels->count; i++)
        ops_cpu.close(levels->context[i]);
}

/* Set-up and tear-down of cmocka groups whose state is a context of two threads with the best
 * instruction set. */
static inline int open_default(void **state)
{
    ops_context *ctx = NULL;
    gpuzip_status status = ops_cpu.open(&ctx, 0, 2, NULL);
    *state = ctx;
    if (status != GPUZIP_OK)
        return -1;
    ctx->shares_all = true;
    return 0;
}

static inline int close_default(void **state)
{
    ops_cpu.close(*state);
    return 0;
}

#endif
