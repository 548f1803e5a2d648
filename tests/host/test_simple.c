/* test_simple.c: compressing from buffer to buffer, with the built-in model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gpuzip.h"

static uint8_t *noise(size_t size)
{
    uint8_t *data = malloc(size + 1);
    uint64_t state = 88172645463325252u;
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data[i] = (uint8_t)state;
    }
    return data;
}

static void check_round_trip(const void *data, size_t size, int level)
{
    size_t capacity = gpuzip_compress_bound(size), packed_size = 0, out_size = size + 1;
    uint8_t *packed = malloc(capacity), *out = malloc(size + 1);
    uint64_t content = size + 1;
    assert_int_equal(gpuzip_compress(packed, capacity, &packed_size, data, size, level), GPUZIP_OK);
    assert_int_equal(gpuzip_content_size(packed, packed_size, &content), GPUZIP_OK);
    assert_int_equal(content, size);
    assert_int_equal(gpuzip_decompress(out, size, &out_size, packed, packed_size), GPUZIP_OK);
    assert_int_equal(out_size, size);
    assert_memory_equal(out, data, size);
    free(packed);
    free(out);
}

static void any_buffer_round_trips_within_the_bound(void **state)
{
    static const char text[] = "It is a truth universally acknowledged, that a single man in "
                               "possession of a good fortune, must be in want of a wife.";
    uint8_t *random = noise((size_t)5 << 20); /* two blocks of level 1, both stored */
    (void)state;
    check_round_trip(text, sizeof text, 0);
    check_round_trip(text, 1, 9);
    check_round_trip(NULL, 0, 1);
    check_round_trip(random, 1000, 6);
    check_round_trip(random, (size_t)5 << 20, 1);
    free(random);
}

static void a_small_buffer_is_an_error_and_changes_nothing(void **state)
{
    static const char text[] = "the cat sat on the mat, and the dog sat on the log";
    uint8_t packed[256], out[sizeof text];
    size_t size = 0, kept = 12345;
    (void)state;
    assert_int_equal(gpuzip_compress(packed, sizeof packed, &size, text, sizeof text, 0),
                     GPUZIP_OK);
    for (size_t capacity = 0; capacity < size; capacity += 7)
        assert_int_equal(gpuzip_compress(packed + 128, capacity, &kept, text, sizeof text, 0),
                         GPUZIP_ERR_CAPACITY);
    assert_int_equal(gpuzip_decompress(out, sizeof text - 1, &kept, packed, size),
                     GPUZIP_ERR_CAPACITY);
    assert_int_equal(kept, 12345);
}

static void wrong_bytes_and_levels_are_refused(void **state)
{
    uint8_t out[64];
    size_t size = 7;
    uint64_t content = 7;
    (void)state;
    assert_int_equal(gpuzip_compress(out, sizeof out, &size, "x", 1, 10), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_decompress(out, sizeof out, &size, "no archive", 10),
                     GPUZIP_ERR_FORMAT);
    assert_int_equal(gpuzip_content_size("no archive", 10, &content), GPUZIP_ERR_FORMAT);
    assert_int_equal(size, 7);
    assert_int_equal(content, 7);
}

static void several_buffers_share_a_session(void **state)
{
    gpuzip *gz;
    gpuzip_options options;
    uint8_t packed[512], out[64];
    (void)state;
    gpuzip_init_options(&options);
    assert_int_equal(options.adapt, GPUZIP_ADAPT_DEFAULT);
    assert_int_equal(gpuzip_open(&gz, "cpu", 1, NULL), GPUZIP_OK);
    assert_int_equal(gpuzip_add_model(gz, NULL, NULL), GPUZIP_OK);
    for (int adapt = GPUZIP_ADAPT_NONE; adapt <= GPUZIP_ADAPT_ALL; adapt++) {
        size_t packed_size, out_size;
        options.adapt = (unsigned)adapt;
        assert_int_equal(gpuzip_compress_buffer(gz, &options, packed, sizeof packed, &packed_size,
                                                "hello, hello", 12),
                         GPUZIP_OK);
        assert_int_equal(
            gpuzip_decompress_buffer(gz, out, sizeof out, &out_size, packed, packed_size),
            GPUZIP_OK);
        assert_int_equal(out_size, 12);
        assert_memory_equal(out, "hello, hello", 12);
    }
    gpuzip_close(gz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_buffer_round_trips_within_the_bound),
        cmocka_unit_test(a_small_buffer_is_an_error_and_changes_nothing),
        cmocka_unit_test(wrong_bytes_and_levels_are_refused),
        cmocka_unit_test(several_buffers_share_a_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
