/* test_packed.c: what is packed comes back, any bytes are unpacked without harm, and memory is
 * bounded; which contents the model is spared. Every buffer has its exact size on the heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "packed.h"
#include "suits.h"

static uint32_t state_of_dice;

static uint32_t roll(uint32_t sides)
{
    state_of_dice = state_of_dice * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)state_of_dice * sides) >> 32);
}

/* ---- contents ----------------------------------------------------------- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* data: [size]. */
typedef void fill_function(uint8_t *data, size_t size);

static void fill_zeros(uint8_t *data, size_t size)
{
    memset(data, 0, size);
}

static void fill_noise(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)roll(256);
}

static void fill_base64(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)base64[roll(64)];
}

static void fill_words(uint8_t *data, size_t size)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog and runs away ";
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)words[(i / 7 * roll(8) + i) % (sizeof words - 1)];
}

/* Records of 16 bytes, as binaries have. */
static void fill_records(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i % 16 < 4 ? i / 16 >> 8 * (i % 4) : i % 16 < 8 ? roll(30) : i % 16);
}

static fill_function *const fill[] = {fill_zeros, fill_noise, fill_base64, fill_words,
                                      fill_records};
enum { FILLS = sizeof fill / sizeof *fill };

static uint8_t *make(int kind, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    assert_non_null(data);
    fill[kind](data, size);
    return data;
}

/* Packs raw into *packed, which the caller frees; 0: it does not get smaller. */
static size_t pack(const uint8_t *raw, size_t size, uint64_t memory, uint8_t **packed)
{
    size_t made = 0;
    *packed = malloc(size);
    assert_non_null(*packed);
    gpuzip_status status = packed_pack(*packed, size, &made, raw, size, memory);
    if (status == GPUZIP_ERR_CAPACITY)
        assert_int_equal(made, 0);
    else
        assert_int_equal(status, GPUZIP_OK);
    assert_true(made <= size);
    return made;
}

static void check_back(const uint8_t *raw, size_t size, const uint8_t *packed, size_t made)
{
    uint8_t *exact = malloc(made), *back = malloc(size);
    assert_true(exact && back);
    memcpy(exact, packed, made);
    assert_int_equal(packed_unpack(back, size, exact, made), GPUZIP_OK);
    assert_memory_equal(back, raw, size);
    free(exact);
    free(back);
}

/* ---- round trips -------------------------------------------------------- */

static void everything_comes_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < FILLS; kind++) {
        for (size_t size = 1; size < 200000; size += size < 80 ? 1 : size * 2 / 3) {
            uint8_t *raw = make(kind, size), *packed;
            size_t made = pack(raw, size, 0, &packed);
            if (made)
                check_back(raw, size, packed, made);
            assert_true(made || size < 400 || fill[kind] == fill_noise);
            free(packed);
            free(raw);
        }
    }
}

/* Of each content the better form is taken: base64 at 6 bits a byte, records by LZMA2. */
static void the_smaller_form_is_taken(void **state)
{
    enum { SIZE = 100000 };
    static const struct {
        fill_function *fill;
        uint8_t form;
        size_t most;
    } wanted[] = {{fill_base64, 1, SIZE * 6 / 8 + 200}, {fill_records, 0, 32000}};
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        uint8_t *raw = malloc(SIZE), *packed;
        wanted[i].fill(raw, SIZE);
        size_t made = pack(raw, SIZE, 0, &packed);
        assert_int_equal(packed[0], wanted[i].form);
        assert_true(made <= wanted[i].most);
        free(packed);
        free(raw);
    }
}

/* No more memory than is allowed, down to none at all; the result is read all the same. */
static void memory_makes_it_larger_only(void **state)
{
    enum { SIZE = 1 << 20 };
    uint8_t *raw = make(3, SIZE), *packed;
    size_t best, made;
    (void)state;
    memcpy(raw + SIZE / 2, raw, SIZE / 2); /* to be found by a large window alone */
    best = pack(raw, SIZE, 0, &packed);
    free(packed);
    for (uint64_t memory = (uint64_t)64 << 20; memory >= 1000; memory /= 4) {
        made = pack(raw, SIZE, memory, &packed);
        if (memory < packed_unpack_bytes(SIZE))
            assert_int_equal(made, 0);
        if (made) {
            assert_true(made >= best - best / 100);
            check_back(raw, SIZE, packed, made);
        }
        assert_true(packed_estimate(raw, SIZE, memory) <= SIZE);
        free(packed);
    }
    assert_int_equal(pack(raw, SIZE, 1, &packed), 0);
    free(packed);
    free(raw);
}

/* Noise that comes twice, half the content apart. The caller frees it. */
static uint8_t *make_twice(size_t size)
{
    uint8_t *raw = make(1, size);
    memcpy(raw + size / 2, raw, size / 2);
    return raw;
}

/* Both forms find what lies far back, unless there is no memory for such a window; and what could
 * not be unpacked with the same memory is not packed. */
static void windows_fit_the_memory(void **state)
{
    enum { SIZE = 1 << 20 };
    uint8_t *raw = make_twice(SIZE), *packed;
    (void)state;
    assert_in_range(pack(raw, SIZE, 0, &packed), SIZE / 2, SIZE * 51 / 100);
    free(packed);
    assert_in_range(packed_estimate(raw, SIZE, 0), SIZE / 2, SIZE * 51 / 100);
    assert_int_equal(pack(raw, SIZE, (uint64_t)3 << 20, &packed), 0);
    free(packed);
    assert_int_equal(packed_estimate(raw, SIZE, (uint64_t)3 << 20), SIZE);
    free(raw);
    raw = make(0, 4 * SIZE);
    assert_int_equal(pack(raw, 4 * SIZE, packed_unpack_bytes(4 * SIZE) - 1, &packed), 0);
    free(packed);
    assert_in_range(pack(raw, 4 * SIZE, packed_unpack_bytes(4 * SIZE), &packed), 1, 2000);
    free(packed);
    free(raw);
}

/* A result that does not fit is none, and nothing is written behind it. */
static void capacity_is_kept(void **state)
{
    (void)state;
    for (int kind = 0; kind < FILLS; kind++) {
        uint8_t *raw = make(kind, 3000), *packed;
        size_t made = pack(raw, 3000, 0, &packed), size = 12345;
        free(packed);
        if (!made)
            made = 3001;
        for (size_t capacity = 0; capacity < made; capacity = capacity * 5 / 4 + 1) {
            uint8_t *dst = malloc(capacity ? capacity : 1);
            assert_int_equal(packed_pack(dst, capacity, &size, raw, 3000, 0), GPUZIP_ERR_CAPACITY);
            assert_int_equal(size, 12345);
            free(dst);
        }
        free(raw);
    }
}

/* The estimate is near the result, where it says that there is one. */
static void estimates_are_near(void **state)
{
    enum { SIZE = 60000 };
    (void)state;
    for (int kind = 0; kind < FILLS; kind++) {
        uint8_t *raw = make(kind, SIZE), *packed;
        size_t made = pack(raw, SIZE, 0, &packed), estimate = packed_estimate(raw, SIZE, 0);
        if (!made)
            made = SIZE;
        assert_true(estimate >= made * 9 / 10 && estimate <= made * 2 + 200);
        free(packed);
        free(raw);
    }
}

/* ---- hostile input ------------------------------------------------------ */

/* Unpacks a copy of the exact size: nothing may be read or written out of bounds. */
static gpuzip_status unpack(const uint8_t *src, size_t size, size_t raw_size)
{
    uint8_t *exact = malloc(size ? size : 1), *raw = malloc(raw_size ? raw_size : 1);
    assert_true(exact && raw);
    memcpy(exact, src, size);
    gpuzip_status status = packed_unpack(raw, raw_size, exact, size);
    free(exact);
    free(raw);
    return status;
}

static void wrong_sizes_are_corrupt(void **state)
{
    (void)state;
    for (int kind = 0; kind < FILLS; kind++) {
        if (fill[kind] == fill_noise)
            continue;
        uint8_t *raw = make(kind, 2000), *packed, more[5000] = {0};
        size_t made = pack(raw, 2000, 0, &packed);
        assert_true(made > 0);
        for (size_t raw_size = 0; raw_size < 4200; raw_size += raw_size == 1998 ? 1 : 3)
            assert_int_equal(unpack(packed, made, raw_size),
                             raw_size == 2000 ? GPUZIP_OK : GPUZIP_ERR_CORRUPT);
        for (size_t size = 0; size < made; size++)
            assert_int_equal(unpack(packed, size, 2000), GPUZIP_ERR_CORRUPT);
        memcpy(more, packed, made);
        for (size_t size = made + 1; size < made + 40; size++) /* zeros follow */
            assert_int_equal(unpack(more, size, 2000), GPUZIP_ERR_CORRUPT);
        memcpy(more + made, packed + 1, made - 1); /* a second frame, or the same again */
        assert_int_equal(unpack(more, 2 * made - 1, 2000), GPUZIP_ERR_CORRUPT);
        assert_int_equal(unpack(more, 2 * made - 1, 4000), GPUZIP_ERR_CORRUPT);
        assert_int_equal(packed_unpack(raw, PACKED_RAW_MAX + 1, packed, made), GPUZIP_ERR_CORRUPT);
        free(packed);
        free(raw);
    }
}

/* zstd's frames that are skipped, and of its old versions, and forms that there are not. */
static void other_forms_are_corrupt(void **state)
{
    static const uint8_t skipped[] = {1, 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
    static const uint8_t raw_block[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 9, 0, 0, 'x'};
    uint8_t both[64] = {1};
    (void)state;
    assert_int_equal(unpack(skipped, sizeof skipped, 1), GPUZIP_ERR_CORRUPT);
    memcpy(both + 1, raw_block, sizeof raw_block);
    assert_int_equal(unpack(both, 1 + sizeof raw_block, 1), GPUZIP_OK);
    for (int form = 2; form < 256; form++) {
        both[0] = (uint8_t)form;
        assert_int_equal(unpack(both, 1 + sizeof raw_block, 1), GPUZIP_ERR_CORRUPT);
    }
    both[0] = 1;
    memcpy(both + 1 + sizeof raw_block, skipped + 1, sizeof skipped - 1);
    assert_int_equal(unpack(both, sizeof raw_block + sizeof skipped, 1), GPUZIP_ERR_CORRUPT);
    memcpy(both + 1, skipped + 1, sizeof skipped - 1);
    memcpy(both + sizeof skipped, raw_block, sizeof raw_block);
    assert_int_equal(unpack(both, sizeof raw_block + sizeof skipped, 1), GPUZIP_ERR_CORRUPT);
    for (uint8_t version = 0x22; version < 0x28; version++) {
        memcpy(both + 1, raw_block, sizeof raw_block);
        both[1] = version;
        assert_int_equal(unpack(both, 1 + sizeof raw_block, 1), GPUZIP_ERR_CORRUPT);
    }
    assert_int_equal(unpack(both, 0, 1), GPUZIP_ERR_CORRUPT);
    assert_int_equal(unpack((const uint8_t[]){0, 0}, 2, 1), GPUZIP_ERR_CORRUPT);
}

/* Any change either is found or gives other content of the same size, and does no harm. */
static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    for (int kind = 0; kind < FILLS; kind++) {
        if (fill[kind] == fill_noise)
            continue;
        uint8_t *raw = make(kind, 700), *packed;
        size_t made = pack(raw, 700, 0, &packed);
        for (size_t i = 0; i < made; i++)
            for (unsigned change = 1; change < 256; change += 1 + change) {
                packed[i] ^= (uint8_t)change;
                gpuzip_status status = unpack(packed, made, 700);
                assert_true(status == GPUZIP_OK || status == GPUZIP_ERR_CORRUPT);
                packed[i] ^= (uint8_t)change;
            }
        free(packed);
        free(raw);
    }
}

/* ---- what the model is spared ------------------------------------------- */

/* As if so many bytes went into each token, in hundredths. */
static bool suits(int kind, size_t size, size_t token_bytes)
{
    uint8_t *raw = make(kind, size);
    bool answer = suits_model(raw, size, 100 * size / token_bytes, packed_estimate(raw, size, 0));
    free(raw);
    return answer;
}

static void the_model_is_spared(void **state)
{
    (void)state;
    for (size_t size = SUITS_BYTES_MIN; size <= 1 << 20; size *= 4) {
        assert_false(suits(1, size, 101)); /* noise */
        assert_false(suits(1, size, 400));
        assert_false(suits(2, size, 109)); /* base64 */
        assert_false(suits(4, size, 100)); /* records with control characters */
        assert_true(suits(4, size, 200));  /* in which the tokenizer finds words */
        assert_true(suits(3, size, 300));
        assert_true(suits(3, size, 100)); /* a language that the tokenizer does not know */
    }
    assert_false(suits(0, 1 << 20, 100)); /* zeros */
    assert_false(suits(0, SUITS_BYTES_MIN, 100));
    for (int kind = 0; kind < FILLS; kind++) { /* of a tokenizer without words */
        uint8_t *raw = make(kind, 8192);
        size_t estimate = packed_estimate(raw, 8192, 0);
        assert_true(suits_model(raw, 8192, 0, estimate) == (fill[kind] != fill_noise));
        free(raw);
    }
    assert_true(suits(0, 1 << 20, 400));
}

/* Base64 that repeats itself is no noise, and a few control characters make no binary. */
static void doubtful_content_may_suit(void **state)
{
    enum { SIZE = 20000 };
    uint8_t *raw = make(2, SIZE);
    (void)state;
    memcpy(raw + SIZE / 2, raw, SIZE / 2);
    assert_true(suits_model(raw, SIZE, SIZE, packed_estimate(raw, SIZE, 0)));
    fill_words(raw, SIZE);
    for (size_t i = 0; i < SIZE; i += 39) /* each of 18 values makes up 1/702 */
        raw[i] = (uint8_t)(14 + i / 39 % 18);
    assert_true(suits_model(raw, SIZE, SIZE, packed_estimate(raw, SIZE, 0)));
    free(raw);
}

/* Languages in UTF-8 and UTF-16 are not taken for noise or binaries, however little there is. */
static void languages_are_not_spared(void **state)
{
    (void)state;
    for (size_t size = SUITS_BYTES_MIN; size <= 1 << 18; size *= 4) {
        uint8_t *raw = malloc(size);
        for (size_t i = 0; i + 3 <= size; i += 3) { /* Chinese: 3 bytes a character */
            uint32_t c = 0x4e00 + roll(20000);
            raw[i] = (uint8_t)(0xe0 | c >> 12);
            raw[i + 1] = (uint8_t)(0x80 | (c >> 6 & 63));
            raw[i + 2] = (uint8_t)(0x80 | (c & 63));
        }
        memset(raw + size / 3 * 3, '.', size % 3);
        assert_true(suits_model(raw, size, size * 100 / 120, size * 7 / 8));
        for (size_t i = 0; i + 1 < size; i += 2) { /* letters in UTF-16 */
            raw[i] = (uint8_t)('a' + roll(26) * roll(2));
            raw[i + 1] = 0;
        }
        assert_true(suits_model(raw, size, size, packed_estimate(raw, size, 0)));
        for (size_t i = 0; i < size; i++) /* fields parted by a control character */
            raw[i] = i % 9 == 0 ? 1 : (uint8_t)('a' + roll(8));
        assert_true(suits_model(raw, size, size, packed_estimate(raw, size, 0)));
        free(raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(the_smaller_form_is_taken),
        cmocka_unit_test(memory_makes_it_larger_only),
        cmocka_unit_test(windows_fit_the_memory),
        cmocka_unit_test(capacity_is_kept),
        cmocka_unit_test(estimates_are_near),
        cmocka_unit_test(wrong_sizes_are_corrupt),
        cmocka_unit_test(other_forms_are_corrupt),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(the_model_is_spared),
        cmocka_unit_test(doubtful_content_may_suit),
        cmocka_unit_test(languages_are_not_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
