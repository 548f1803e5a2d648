/* test_tokenizer_utf8.c: UTF-8 against its definition: the encodings of all code
 * points but surrogates, and nothing else. */
#include "test_tokenizer_support.h"

#include "utf8.h"

/* Writes the encoding of a code point; returns its bytes. */
static size_t encode(uint32_t code, uint8_t bytes[4])
{
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, code >>= 6)
        bytes[i] = (uint8_t)(0x80 | (code & 0x3F));
    bytes[0] = (uint8_t)(0xF00u >> size | code);
    return size;
}

static bool is_scalar(uint32_t code)
{
    return code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF);
}

static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x1FFFFF; code++) {
        uint8_t bytes[4];
        size_t size = encode(code, bytes);
        assert_int_equal(utf8_char(bytes, size), is_scalar(code) ? size : 0);
        if (!is_scalar(code))
            continue;
        assert_int_equal(utf8_code(bytes, size), code);
        assert_int_equal(utf8_char(bytes, size - 1), 0);
    }
}

/* Any three bytes, and a fourth that continues: what is taken must be what the
 * code point's encoding is. */
static void every_beginning(void **state)
{
    (void)state;
    for (uint32_t word = 0; word < 1u << 24; word++) {
        uint8_t bytes[4] = {(uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word, 0x80};
        uint8_t again[4];
        size_t size = utf8_char(bytes, 4);
        if (size == 0)
            continue;
        uint32_t code = utf8_code(bytes, size);
        if (!is_scalar(code) || encode(code, again) != size || memcmp(bytes, again, size) != 0)
            fail_msg("%02x %02x %02x is taken", bytes[0], bytes[1], bytes[2]);
    }
}

static void runs(void **state)
{
    (void)state;
    uint64_t random = 5;
    uint8_t text[64];
    for (int round = 0; round < 20000; round++) {
        size_t size = test_random(&random) % sizeof(text), expected = 0, length;
        test_mixture(&random, text, size);
        while ((length = utf8_char(text + expected, size - expected)) > 0)
            expected += length;
        assert_int_equal(utf8_run(text, size), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_beginning),
        cmocka_unit_test(runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
