/* test_container_index.c: index frames: a golden one, all sizes, and every damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "container.h"

/* The index of the example of FORMAT.md. Confirmed by golden_coder.py. */
static const char golden_index[] =
    "b7670d0a02260080088004100200000123456789abcdef01ffff05" /* the frame's settings */
    "010b001f03510e521f5b283600d7d0e631"                     /* record, check */
    "0000c294d3380580062d";                                  /* end mark */
enum { GOLDEN_SIZE = 54, GOLDEN_RECORD = 27, GOLDEN_CHECK = 40 };

static const container_frame golden_frame = {
    .schedule = {.window = 1024, .hop = 512, .update_interval = 16},
    .experts = 2,
    .expert = {{CONTAINER_EXPERT_MODEL,
                CONTAINER_ALPHA_ONE,
                {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}},
               {CONTAINER_EXPERT_NAIVE_BAYES, CONTAINER_ALPHA_ONE / 4, {0}}},
};
static const container_entry golden_entry[3] = {
    {CONTAINER_STORED, 14, 20}, {CONTAINER_CODED, 31, 20}, {CONTAINER_PACKED, 40, 22}};

static void golden_bytes(uint8_t bytes[GOLDEN_SIZE])
{
    for (size_t i = 0; i < GOLDEN_SIZE; i++) {
        char digits[3] = {golden_index[2 * i], golden_index[2 * i + 1]};
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

/* Makes the check of a changed header right. */
static void seal(uint8_t bytes[GOLDEN_SIZE])
{
    uint32_t check = container_check(bytes, GOLDEN_CHECK);
    for (int i = 0; i < 4; i++)
        bytes[GOLDEN_CHECK + i] = (uint8_t)(check >> (8 * i));
}

/* Reads a copy of exactly so many bytes. */
static gpuzip_status read_copy(container_index *index, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    gpuzip_status status = container_read_index(index, copy, size);
    free(copy);
    return status;
}

static void assert_entries(const container_index *index, const container_entry *entry,
                           uint32_t blocks)
{
    assert_int_equal(index->blocks, blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        assert_int_equal(index->entry[i].kind, entry[i].kind);
        assert_int_equal(index->entry[i].raw_size, entry[i].raw_size);
        assert_int_equal(index->entry[i].size, entry[i].size);
    }
}

static void index_golden(void **state)
{
    (void)state;
    uint8_t golden[GOLDEN_SIZE], made[CONTAINER_INDEX_MAX];
    size_t size;
    container_index index;
    container_frame frame;
    golden_bytes(golden);
    assert_int_equal(
        container_write_index(made, GOLDEN_SIZE, &size, &golden_frame, 0, 31, golden_entry, 3),
        GPUZIP_OK);
    assert_int_equal(size, GOLDEN_SIZE);
    assert_memory_equal(made, golden, size);
    assert_int_equal(read_copy(&index, golden, size), GPUZIP_OK);
    assert_int_equal(index.piece, 0);
    assert_int_equal(index.head_size, 31);
    assert_int_equal(index.size, size);
    assert_entries(&index, golden_entry, 3);
    for (size_t capacity = 0; capacity < GOLDEN_SIZE; capacity++)
        assert_int_equal(
            container_write_index(made, capacity, &size, &golden_frame, 0, 31, golden_entry, 3),
            GPUZIP_ERR_CAPACITY);

    /* To a reader of frames it is a frame without content. */
    container_prefix prefix;
    container_end end;
    size_t head;
    assert_int_equal(container_peek_frame(golden, GOLDEN_SIZE, &head), GPUZIP_OK);
    assert_int_equal(container_read_frame(&frame, golden, head), GPUZIP_OK);
    assert_true(frame.is_index);
    assert_int_equal(frame.schedule.window, 1024);
    assert_int_equal(container_peek_block(&prefix, golden + head, GOLDEN_SIZE - head), GPUZIP_OK);
    assert_int_equal(prefix.kind, CONTAINER_END);
    assert_int_equal(head + prefix.size, GOLDEN_SIZE);
    assert_int_equal(container_read_end(&end, golden + head, prefix.size), GPUZIP_OK);
    assert_int_equal(end.raw_size, 0);
    assert_true(end.content_hash == 0x2d06800538d394c2u);
    assert_int_equal(container_end_size(0), prefix.size);
    assert_int_equal(container_end_size(127), 10);
    assert_int_equal(container_end_size(128), 11);
}

/* Any number of blocks of any sizes, with other bytes before the index frame. */
static void index_sizes(void **state)
{
    (void)state;
    static const uint32_t raw[] = {1, 127, 128, 70000, 70000, CONTAINER_RAW_MAX};
    container_entry entry[CONTAINER_INDEX_BLOCKS];
    uint8_t bytes[CONTAINER_INDEX_MAX + 7];
    container_index index;
    for (uint32_t blocks = 0; blocks <= CONTAINER_INDEX_BLOCKS; blocks += blocks < 3 ? 1 : 53) {
        for (uint32_t i = 0; i < blocks; i++) {
            uint32_t raw_size = i > 400 ? CONTAINER_RAW_MAX - i : raw[i * i % 6];
            uint32_t stored = (uint32_t)container_stored_size(raw_size);
            entry[i] = i % 3 == 0
                           ? (container_entry){CONTAINER_STORED, raw_size, stored}
                           : (container_entry){i % 3 == 1 ? CONTAINER_CODED : CONTAINER_PACKED,
                                               raw_size, i % 2 ? stored - 1 : 12};
            if (raw_size < 127)
                entry[i] = (container_entry){CONTAINER_STORED, raw_size, stored};
        }
        size_t size;
        memset(bytes, 0xb7, sizeof bytes);
        assert_int_equal(container_write_index(bytes + 7, CONTAINER_INDEX_MAX, &size, &golden_frame,
                                               blocks, 4096, entry, blocks),
                         GPUZIP_OK);
        assert_int_equal(read_copy(&index, bytes, size + 7), GPUZIP_OK);
        assert_int_equal(index.size, size);
        assert_int_equal(index.piece, blocks);
        assert_int_equal(index.head_size, 4096);
        assert_entries(&index, entry, blocks);
    }
}

static void index_changed(void **state)
{
    (void)state;
    uint8_t bytes[GOLDEN_SIZE];
    container_index index;
    for (size_t i = 0; i < GOLDEN_SIZE; i++)
        for (unsigned bit = 1; bit < 256; bit <<= 1) {
            golden_bytes(bytes);
            bytes[i] ^= (uint8_t)bit;
            assert_int_not_equal(read_copy(&index, bytes, GOLDEN_SIZE), GPUZIP_OK);
            if (i >= GOLDEN_CHECK)
                continue;
            seal(bytes); /* a change that its maker signed: no crash, and no other size */
            if (read_copy(&index, bytes, GOLDEN_SIZE) == GPUZIP_OK)
                assert_int_equal(index.size, GOLDEN_SIZE);
        }
    golden_bytes(bytes);
    for (size_t size = 0; size < GOLDEN_SIZE; size++) {
        assert_int_equal(read_copy(&index, bytes, size), GPUZIP_ERR_FORMAT);
        assert_int_equal(read_copy(&index, bytes + GOLDEN_SIZE - size, size), GPUZIP_ERR_FORMAT);
    }
}

/* Values out of their range, with a right check. */
static void index_refused(void **state)
{
    (void)state;
    static const struct {
        int at, value; /* byte of the record, counted from GOLDEN_RECORD */
        gpuzip_status status;
    } wrong[] = {
        {0, 2, GPUZIP_ERR_FORMAT},     /* another type of record */
        {1, 10, GPUZIP_ERR_FORMAT},    /* of another size: the rest is no record */
        {3, 7, GPUZIP_ERR_CORRUPT},    /* a header of 7 bytes */
        {4, 2, GPUZIP_ERR_CORRUPT},    /* two blocks; a third follows */
        {4, 4, GPUZIP_ERR_CORRUPT},    /* four */
        {5, 0x50, GPUZIP_ERR_CORRUPT}, /* an end mark among the blocks */
        {5, 0x55, GPUZIP_ERR_CORRUPT}, /* a stored block of another size */
        {6, 0, GPUZIP_ERR_CORRUPT},    /* the first block's raw size as that before it */
        {8, 14, GPUZIP_ERR_CORRUPT},   /* repeated instead of 0, and the block is too large */
        {8, 0, GPUZIP_ERR_CORRUPT},    /* a coded block that is no smaller than a stored one */
        {10, 16, GPUZIP_ERR_CORRUPT},  /* a packed one */
    };
    uint8_t bytes[GOLDEN_SIZE];
    container_index index;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        golden_bytes(bytes);
        bytes[GOLDEN_RECORD + wrong[i].at] = (uint8_t)wrong[i].value;
        seal(bytes);
        assert_int_equal(read_copy(&index, bytes, GOLDEN_SIZE), wrong[i].status);
    }
    uint8_t made[CONTAINER_INDEX_MAX];
    size_t size;
    const container_entry bad[] = {{CONTAINER_END, 14, 20},      {CONTAINER_STORED, 14, 19},
                                   {CONTAINER_CODED, 14, 20},    {CONTAINER_PACKED, 0, 1},
                                   {(container_kind)4, 100, 50}, {CONTAINER_CODED, 100, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(
            container_write_index(made, sizeof made, &size, &golden_frame, 0, 31, &bad[i], 1),
            GPUZIP_ERR_ARGUMENT);
    assert_int_equal(
        container_write_index(made, sizeof made, &size, &golden_frame, 0, 7, golden_entry, 3),
        GPUZIP_ERR_ARGUMENT);
    assert_int_equal(container_write_index(made, sizeof made, &size, &golden_frame, 0, 31, NULL,
                                           CONTAINER_INDEX_BLOCKS + 1),
                     GPUZIP_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_golden),
        cmocka_unit_test(index_sizes),
        cmocka_unit_test(index_changed),
        cmocka_unit_test(index_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
