/* test_bench_bounds.c: bounds of kernels, against figures computed by hand from the shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "bench_bounds.h"
#include "bench_model.h"

static bounds_model gpt2_on(const char *device)
{
    weights_config c = bench_shape_at(0)->config;
    c.weight_bits = 8;
    c.activation_bits = 15;
    c.kv_bits = 12;
    return bounds_model_of(bounds_device_named(device), &c);
}

static void assert_near(double value, double expected)
{
    assert_true(fabs(value / expected - 1) < 1e-6);
}

static void devices_have_names(void **state)
{
    (void)state;
    assert_int_equal(bounds_device_named("H200")->processors, 132);
    assert_int_equal(bounds_device_named("4090")->processors, 128);
    assert_null(bounds_device_named("h200"));
}

/* 12 layers of 768 x (2304 + 768 + 3072 + 3072), and 50257 x 768. */
static void weights_are_counted(void **state)
{
    (void)state;
    assert_near(gpt2_on("H200").weight_bytes, 84934656.0 + 38597376.0);
}

/* 16,384 x 3,072: 128 x 16 tiles of 128 x 192, of which the busiest of 132 multiprocessors has 16.
 * A tile has 6 steps of 128 x 192 x 128 products of two pairs of planes, 1,536 clocks each, and
 * of 57,344 bytes copied to shared memory, 131,072 read by the products. */
static void wgmma_tiles(void **state)
{
    bounds_model m = gpt2_on("H200");
    bounds_work w = bounds_linear(&m, 16384, 3072, 768, false);
    bounds_time t = bounds_time_of(m.device, &w);
    (void)state;
    assert_near(w.blocks, 2048);
    assert_near(t.seconds[BOUNDS_TENSOR], 16 * 6 * 1536 / 1.8e9);
    assert_near(t.seconds[BOUNDS_SHARED], 16 * 6 * (57344 + 131072) / 128 / 1.8e9);
    assert_near(w.l2, 2048.0 * 6 * 57344 + 4.0 * 16384 * 3072);
    /* 64-bit conversions: an output each, 16 a clock, 24,576 a tile. */
    assert_near(t.seconds[BOUNDS_PIPES], 16 * 24576 / 16 / 1.8e9);
}

/* On a 4090: 128 x 24 tiles of 128 x 128 on 128 multiprocessors, 12 steps of 2,048 clocks. */
static void mma_tiles(void **state)
{
    bounds_model m = gpt2_on("4090");
    bounds_work w = bounds_linear(&m, 16384, 3072, 768, false);
    bounds_time t = bounds_time_of(m.device, &w);
    (void)state;
    assert_near(t.seconds[BOUNDS_TENSOR], 24 * 12 * 2048 / 2.5e9);
    assert_int_equal(t.binding, BOUNDS_TENSOR);
}

/* One row: 3,072 x 768 bytes of weights, 768 of each plane of the row; of the residual none. */
static void one_row_reads_the_weights(void **state)
{
    bounds_model m = gpt2_on("H200");
    bounds_work w = bounds_linear(&m, 1, 3072, 768, false);
    bounds_time t = bounds_time_of(m.device, &w);
    (void)state;
    assert_near(t.seconds[BOUNDS_DRAM], 3072.0 * 768 / 4.3e12);
    assert_int_equal(t.binding, BOUNDS_LATENCY);
    /* 192 blocks are resident at once. */
    assert_near(t.seconds[BOUNDS_LATENCY], 1.4e-6 + 400 / 1.8e9);
}

/* A position of a head is 64 elements of 2 bytes of a key and a value, and two scales. */
static void decoding_reads_the_cache(void **state)
{
    bounds_model m = gpt2_on("H200");
    bounds_work w = bounds_attend(&m, 1024, 768);
    bounds_time t = bounds_time_of(m.device, &w);
    (void)state;
    assert_near(t.seconds[BOUNDS_DRAM], 1024.0 * 12 * 768 * 264 / 4.3e12);
    assert_int_equal(t.binding, BOUNDS_DRAM);
}

/* One block more than multiprocessors takes as long as twice as many. */
static void blocks_are_whole(void **state)
{
    const bounds_device *d = bounds_device_named("H200");
    bounds_work w = {.blocks = 132, .resident = 1, .issue = 132e6};
    (void)state;
    assert_near(bounds_time_of(d, &w).seconds[BOUNDS_ISSUE], 1e6 / 4 / 1.8e9);
    w.blocks = 133, w.issue = 133e6;
    assert_near(bounds_time_of(d, &w).seconds[BOUNDS_ISSUE], 2e6 / 4 / 1.8e9);
}

/* Steps are sums of their kernels, and more streams take no less time. */
static void steps_are_sums(void **state)
{
    bounds_model m = gpt2_on("H200");
    double before = 0;
    (void)state;
    for (int streams = 1; streams <= 4096; streams *= 8) {
        bounds_step s = bounds_decode(&m, streams, 1024);
        double by = 0;
        for (int r = 0; r < BOUNDS_RESOURCES; r++)
            by += s.by[r];
        assert_near(by, s.seconds);
        assert_true(s.parts <= BOUNDS_PARTS && s.seconds > before);
        before = s.seconds;
    }
    bounds_step s = bounds_encode(&m, 1024);
    assert_near(s.tokens, 8192); /* the other half is read again */
    assert_near(s.cache, 16384.0 * 12 * 12 * 264);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_have_names),
        cmocka_unit_test(weights_are_counted),
        cmocka_unit_test(wgmma_tiles),
        cmocka_unit_test(mma_tiles),
        cmocka_unit_test(one_row_reads_the_weights),
        cmocka_unit_test(decoding_reads_the_cache),
        cmocka_unit_test(blocks_are_whole),
        cmocka_unit_test(steps_are_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
