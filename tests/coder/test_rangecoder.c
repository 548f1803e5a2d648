/* test_rangecoder.c: sizes against the ideal, goldens, carries, every capacity,
 * every prefix, and the rule that decides everything else: of all byte strings,
 * rc_decode_end() accepts exactly those that an encoder writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rangecoder.h"

typedef struct {
    uint32_t start, freq;
} interval;

enum { MAX_SYMBOLS = 4096, MAX_BYTES = 4 * MAX_SYMBOLS + 1 };

static uint32_t random_next(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x;
}

/* An interval of any width; golden_coder.py makes the same ones. */
static interval golden_symbol(uint32_t *x)
{
    uint32_t freq = 1u << (random_next(x) >> 27);
    freq = freq < RC_TOTAL ? freq : RC_TOTAL;
    return (interval){(random_next(x) >> 2) % (RC_TOTAL - freq + 1), freq};
}

/* The symbol that holds target in one of a few distributions. */
static interval model_symbol(uint32_t kind, uint32_t target)
{
    uint32_t end;
    switch (kind % 5) {
    case 0: /* 1024 equal ones */
        return (interval){target & ~((1u << 20) - 1), 1u << 20};
    case 1: /* [0, 1), [1, 2), [2, 4), [4, 8), .. */
        end = target < 1 ? 1 : 2u << (31 - __builtin_clz(target));
        return target < 1 ? (interval){0, 1} : (interval){end / 2, end / 2};
    case 2: /* the same from the other end */
        target = RC_TOTAL - 1 - target;
        end = target < 1 ? 1 : 2u << (31 - __builtin_clz(target));
        return target < 1 ? (interval){RC_TOTAL - 1, 1} : (interval){RC_TOTAL - end, end / 2};
    case 3: /* the narrowest */
        return (interval){target, 1};
    default: /* one symbol only */
        return (interval){0, RC_TOTAL};
    }
}

/* Encodes symbol[0, n) into out[MAX_BYTES]; returns the size. */
static size_t encode(uint8_t *out, const interval *symbol, size_t n)
{
    rc_encoder rc;
    size_t size = SIZE_MAX;
    rc_encode_begin(&rc, out, MAX_BYTES);
    for (size_t i = 0; i < n; i++)
        rc_encode(&rc, symbol[i].start, symbol[i].freq);
    assert_true(rc_encode_end(&rc, &size));
    return size;
}

/* Decodes n symbols, which must be symbol[0, n), from a heap copy of its exact size. */
static void expect_decode(const uint8_t *in, size_t size, const interval *symbol, size_t n)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, in, size);
    rc_decoder rc;
    rc_decode_begin(&rc, size ? copy : NULL, size);
    for (size_t i = 0; i < n; i++) {
        uint32_t target = rc_decode_target(&rc);
        assert_true(target >= symbol[i].start && target - symbol[i].start < symbol[i].freq);
        rc_decode_advance(&rc, symbol[i].start, symbol[i].freq);
    }
    assert_true(rc_decode_end(&rc));
    free(copy);
}

/* Decodes any bytes with model_symbol(kind + i); rc_decode_end() must say whether
 * encoding the symbols found gives the same bytes. Returns what it said. */
static bool expect_judged(const uint8_t *in, size_t size, uint32_t kind, size_t n)
{
    static interval symbol[MAX_SYMBOLS];
    static uint8_t again[MAX_BYTES];
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, in, size);
    rc_decoder rc;
    rc_decode_begin(&rc, copy, size);
    for (size_t i = 0; i < n; i++) {
        uint32_t target = rc_decode_target(&rc);
        assert_true(target < RC_TOTAL);
        symbol[i] = model_symbol(kind + (uint32_t)i, target);
        rc_decode_advance(&rc, symbol[i].start, symbol[i].freq);
        assert_true(rc.range >= (uint64_t)1 << 56);
        assert_true(rc.code < rc.range);
    }
    size_t again_size = encode(again, symbol, n);
    bool same = again_size == size && memcmp(again, copy, size) == 0;
    assert_int_equal(rc_decode_end(&rc), same);
    free(copy);
    return same;
}

static void expect_hex(const uint8_t *data, size_t size, const char *hex)
{
    char text[2 * MAX_BYTES + 1] = "";
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", data[i]);
    assert_string_equal(text, hex);
}

/* Confirmed by golden_coder.py. */
static const char golden_mixed[] =
    "5e888740d1c7ff76d6f27c525a28d17d5eff29c6b76e601207545da5f3938a834fcaa6599d71a24c"
    "1eb17b315c2ecd5fa9";
static const char golden_carry[] = "8000000000000000000000000000000000000000000000000015555353";
static const char golden_ones[] = "fffffffffffffffeffffffffffffc0";

/* Symbols that hold the point 1/2, and one above it. */
static const interval carry_symbols[] = {
    {536870911, 2}, {553648128, 2}, {536870912, 2}, {536870915, 2},
    {536870927, 2}, {536870975, 2}, {536871169, 1}, {357913941, 5},
};

static void rangecoder_golden(void **state)
{
    (void)state;
    uint8_t out[MAX_BYTES];
    interval symbol[24];

    uint32_t x = 1;
    for (size_t i = 0; i < 24; i++)
        symbol[i] = golden_symbol(&x);
    size_t size = encode(out, symbol, 24);
    expect_hex(out, size, golden_mixed);
    expect_decode(out, size, symbol, 24);

    size = encode(out, carry_symbols, 8);
    expect_hex(out, size, golden_carry);
    expect_decode(out, size, carry_symbols, 8);

    for (size_t i = 0; i < 4; i++)
        symbol[i] = (interval){RC_TOTAL - 1, 1};
    size = encode(out, symbol, 4);
    expect_hex(out, size, golden_ones);
    expect_decode(out, size, symbol, 4);
}

/* Streams that zeros alone would say take no bytes. */
static void rangecoder_empty(void **state)
{
    (void)state;
    rc_encoder rc;
    size_t size = SIZE_MAX;
    rc_encode_begin(&rc, NULL, 0);
    rc_encode(&rc, 0, RC_TOTAL);
    assert_true(rc_encode_end(&rc, &size));
    assert_int_equal(size, 0);

    static const interval first[] = {{0, 1}, {0, 1}, {0, RC_TOTAL}, {0, 7}};
    uint8_t out[MAX_BYTES];
    for (size_t n = 0; n <= 4; n++) {
        assert_int_equal(encode(out, first, n), 0);
        expect_decode(out, 0, first, n);
    }
}

/* Codes n symbols; the size must be within a byte of the ideal. */
static void expect_small(const interval *symbol, size_t n)
{
    static uint8_t out[MAX_BYTES];
    double bits = 0;
    for (size_t i = 0; i < n; i++)
        bits += RC_BITS - log2(symbol[i].freq);
    size_t size = encode(out, symbol, n);
    assert_true(8.0 * (double)size <= bits + (double)n * 0x1p-25 + 8.0);
    expect_decode(out, size, symbol, n);
}

static void rangecoder_size(void **state)
{
    (void)state;
    static interval symbol[MAX_SYMBOLS];
    uint32_t x = 7;
    for (size_t n = 0; n < MAX_SYMBOLS; n = n < 64 ? n + 1 : 2 * n) {
        for (uint32_t kind = 0; kind < 7; kind++) {
            for (size_t i = 0; i < n; i++)
                symbol[i] = kind < 5    ? model_symbol(kind, random_next(&x) >> 2)
                            : kind == 5 ? model_symbol((uint32_t)i, random_next(&x) >> 2)
                                        : golden_symbol(&x);
            expect_small(symbol, n);
        }
    }
}

/* The extreme symbols, alone, in runs and after one another. */
static void rangecoder_edges(void **state)
{
    (void)state;
    static const interval edge[] = {
        {0, 1}, {RC_TOTAL - 1, 1}, {0, RC_TOTAL}, {0, RC_TOTAL - 1}, {1, RC_TOTAL - 1},
    };
    enum { EDGES = sizeof edge / sizeof *edge };
    static interval symbol[1000];
    for (size_t first = 0; first < EDGES; first++) {
        for (size_t second = 0; second < EDGES; second++) {
            for (size_t i = 0; i < 1000; i++)
                symbol[i] = edge[i % 3 ? first : second];
            for (size_t n = 0; n < 20; n++)
                expect_small(symbol, n);
            expect_small(symbol, 1000);
        }
    }
}

/* Carries through every number of bytes up to some 3,600. A chain of symbols that
 * hold a point is found by decoding that point. */
static void rangecoder_carry(void **state)
{
    (void)state;
    static uint8_t below[MAX_BYTES], above[MAX_BYTES];
    static interval symbol[1001];
    const uint8_t half = 0x80;
    rc_decoder rc;
    rc_decode_begin(&rc, &half, 1);
    for (size_t n = 0; n < 1000; n++) {
        uint32_t at = rc_decode_target(&rc);
        symbol[n] = (interval){at + 1, 1};
        size_t size = encode(above, symbol, n + 1);
        expect_decode(above, size, symbol, n + 1);
        assert_int_equal(above[0], 0x80);

        symbol[n] = (interval){at - 1, 1};
        size = encode(below, symbol, n + 1);
        expect_decode(below, size, symbol, n + 1);
        assert_int_equal(below[0], 0x7f);
        for (size_t i = 1; i + 8 < size; i++)
            assert_int_equal(below[i], 0xff);

        /* The point itself is in the interval: the shortest string is one byte. */
        symbol[n] = (interval){at - 1, 2};
        assert_int_equal(encode(above, symbol, n + 1), 1);
        assert_int_equal(above[0], 0x80);
        rc_decode_advance(&rc, at - 1, 2);
    }
}

/* Exact-size heap buffers: too small a one is reported and never overrun. */
static void rangecoder_capacity(void **state)
{
    (void)state;
    static uint8_t whole[MAX_BYTES];
    interval symbol[40];
    uint32_t x = 3;
    for (uint32_t kind = 0; kind < 7; kind++) {
        for (size_t i = 0; i < 40; i++)
            symbol[i] = kind < 5    ? model_symbol(kind, random_next(&x) >> 2)
                        : kind == 5 ? carry_symbols[i % 8]
                                    : golden_symbol(&x);
        size_t whole_size = encode(whole, symbol, 40);
        for (size_t capacity = 0; capacity < whole_size + 8; capacity++) {
            uint8_t *out = malloc(capacity ? capacity : 1);
            assert_non_null(out);
            rc_encoder rc;
            size_t size = SIZE_MAX;
            rc_encode_begin(&rc, capacity ? out : NULL, capacity);
            for (size_t i = 0; i < 40; i++)
                rc_encode(&rc, symbol[i].start, symbol[i].freq);
            bool ok = rc_encode_end(&rc, &size);
            /* Zeros at the end that are dropped need room before they are. */
            assert_int_equal(ok, size != SIZE_MAX);
            assert_true(ok ? capacity >= whole_size : capacity < whole_size + 4);
            if (ok) {
                assert_int_equal(size, whole_size);
                assert_memory_equal(out, whole, size);
            }
            free(out);
        }
    }
}

/* Every prefix, every changed bit, and appended bytes. */
static void rangecoder_damage(void **state)
{
    (void)state;
    static uint8_t out[MAX_BYTES];
    interval symbol[30];
    uint32_t x = 11;
    for (uint32_t kind = 0; kind < 5; kind++) {
        for (size_t i = 0; i < 30; i++)
            symbol[i] = model_symbol(kind + (uint32_t)i, random_next(&x) >> 2);
        size_t size = encode(out, symbol, 30);
        assert_true(size > 0 && expect_judged(out, size, kind, 30));
        for (size_t prefix = 0; prefix < size; prefix++)
            expect_judged(out, prefix, kind, 30);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            out[bit / 8] ^= (uint8_t)(1u << bit % 8);
            expect_judged(out, size, kind, 30);
            out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t extra = 1; extra < 20; extra++) {
            memset(out + size, extra % 2 ? 0 : 0x55, extra);
            assert_false(expect_judged(out, size + extra, kind, 30));
        }
    }
}

/* All strings of up to two bytes, and random ones. */
static void rangecoder_noise(void **state)
{
    (void)state;
    uint8_t in[64];
    size_t accepted = 0;
    for (uint32_t kind = 0; kind < 5; kind++) {
        for (uint32_t value = 0; value < 65536; value++) {
            in[0] = (uint8_t)(value >> 8);
            in[1] = (uint8_t)value;
            accepted += expect_judged(in, 2, kind, 2);
            if (in[1] == 0)
                accepted += expect_judged(in, 1, kind, 1);
        }
    }
    assert_true(accepted > 65536);

    uint32_t x = 5;
    for (int round = 0; round < 100000; round++) {
        size_t size = random_next(&x) >> 26;
        for (size_t i = 0; i < size; i++)
            in[i] = (uint8_t)(random_next(&x) >> 24);
        if (round % 4 == 0)
            memset(in, round % 8 ? 0xff : 0, (random_next(&x) >> 26) % (size + 1));
        expect_judged(in, size, random_next(&x) >> 16, random_next(&x) >> 26);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rangecoder_golden), cmocka_unit_test(rangecoder_empty),
        cmocka_unit_test(rangecoder_size),   cmocka_unit_test(rangecoder_edges),
        cmocka_unit_test(rangecoder_carry),  cmocka_unit_test(rangecoder_capacity),
        cmocka_unit_test(rangecoder_damage), cmocka_unit_test(rangecoder_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
