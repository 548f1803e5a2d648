/* test_container_fields.c: every field of the .gpz format at and past its bounds, in
 * parts whose checks are right; errors of the writers; the layout of streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "container.h"

/* Makes the check that ends data[0, size) right again. */
static void seal(uint8_t *data, size_t size)
{
    uint32_t check = container_check(data, size - 4);
    for (size_t i = 0; i < 4; i++)
        data[size - 4 + i] = (uint8_t)(check >> (8 * i));
}

/* -- frame header --------------------------------------------------------- */

/* Reads a frame header with body[0, size) as the bytes after its size. */
static gpuzip_status read_body(uint8_t version, const char *body, size_t size)
{
    size_t frame_size, whole = 6 + size + 4;
    container_frame frame = {.schedule.window = 12345};
    uint8_t *src = malloc(whole);
    assert_non_null(src);
    memcpy(src, "\xb7g\r\n", 4);
    src[4] = version;
    src[5] = (uint8_t)(size + 4);
    memcpy(src + 6, body, size);
    seal(src, whole);
    assert_int_equal(container_peek_frame(src, whole, &frame_size), GPUZIP_OK);
    assert_int_equal(frame_size, whole);
    assert_int_equal(container_frame_version(src), version);
    gpuzip_status status = container_read_frame(&frame, src, whole);
    assert_true(status == GPUZIP_OK || frame.schedule.window == 12345);
    free(src);
    return status;
}

#define BODY(text) CONTAINER_VERSION, text, sizeof(text) - 1

static void container_frame_bodies(void **state)
{
    (void)state;
    /* features, window, window - hop, update interval, experts, kind, alpha */
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\1\x10\0\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\2\1\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x80\x80\x40\0\x80\x80\x40\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\xff\xff\7")), GPUZIP_OK);

    for (unsigned version = 0; version < 256; version++)
        assert_int_equal(read_body((uint8_t)version, "\0\x10\0\1\1\1\0", 7),
                         version == 2 ? GPUZIP_OK : GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\2\x10\0\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\x80\1\x10\0\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\2\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\0\x10\0\1\2\1\0\x80\1\0")), GPUZIP_ERR_UNSUPPORTED);

    assert_int_equal(read_body(BODY("\x10\x10\0\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\x20\x10\0\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\2\x10\0\1\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED); /* prior */
    assert_int_equal(read_body(BODY("\x0e\x10\0\1\0\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\2\2\1\1\1\0")), GPUZIP_OK); /* sliding */

    static const struct {
        const char *body;
        size_t size;
    } bad[] = {
        {"\1\x10\1\1\1\1\0", 7},                  /* window scope with an overlap */
        {"\0\1\0\1\1\1\0", 7},                    /* window of 1 */
        {"\0\x81\x80\x40\0\1\1\1\0", 9},          /* window of 2^20 + 1 */
        {"\1\2\2\1\1\1\0", 7},                    /* window scope, sliding */
        {"\0\2\3\1\1\1\0", 7},                    /* hop of -1 */
        {"\0\x10\0\0\1\1\0", 7},                  /* no update interval */
        {"\0\x10\0\x81\x80\x40\1\1\0", 9},        /* update interval of 2^20 + 1 */
        {"\0\x10\0\1\0", 5},                      /* no expert */
        {"\0\x10\0\1\1", 5},                      /* one, not there */
        {"\0\x10\0\1\1\1", 6},                    /* without its alpha */
        {"\0\x10\0\1\2\1\0", 7},                  /* one of two */
        {"\0\x10\0\1\1\0\0abcdefg", 14},          /* model id of 7 bytes */
        {"\0\x10\0\1\1\1\x80\x80\x78", 9},        /* alpha of 2^20 */
        {"\0\x10\0\1\1\1\x81\x80\x08", 9},        /* alpha of -1 */
        {"\0\x10\0\1\1\1\xff\xff\xff\xff\7", 11}, /* alpha far below 0 */
        {"\0\x90\0\0\1\1\1\0", 8},                /* a varint with a needless byte */
        {"\0\x10\0\1\1\1\0\5", 8},                /* optional record without a size */
        {"\0\x10\0\1\1\1\0\5\2a", 10},            /* one that is cut */
        {"\0\x10\0\1\x09\1\0\1\0\1\0\1\0\1\0\1\0\1\0\1\0\1\0", 23},   /* 9 experts */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x10\0\1\1\1\0", 16}, /* features of 2^63 */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(read_body(CONTAINER_VERSION, bad[i].body, bad[i].size),
                         GPUZIP_ERR_CORRUPT);

    /* Optional records are skipped. */
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0\5\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0\5\2ab\xff\1\1c")), GPUZIP_OK);
}

/* Headers with everything that may stand in one. Confirmed by golden_coder.py. */
static const char golden_headers[] = "b7670d0a021a0e800880041000020000010203040506070801cb99079a40"
                                     "0448"
                                     "b7670d0a02170f80100001000100808008010203040506070822587ea1"
                                     "b7670d0a02270880028001030300ffff03010203040506070800ffff0709"
                                     "08070605040302018080081d494aa0"
                                     "b7670d0a0218020201808040000100feff7709080706050403027d81c555"
                                     "b7670d0a021e04808040ffff3f8001020182800800fdff07010203040506"
                                     "070878f4d3f8";

static const container_frame golden_frames[] = {
    {.schedule = {.window = 1024, .hop = 512, .update_interval = 16},
     .contexts = true,
     .biases = true,
     .learns_alphas = true,
     .experts = 2,
     .expert = {{CONTAINER_EXPERT_MODEL, CONTAINER_ALPHA_ONE, {1, 2, 3, 4, 5, 6, 7, 8}},
                {CONTAINER_EXPERT_NAIVE_BAYES, 6554, {0}}}},
    {.schedule = {.window = 2048, .hop = 2048, .update_interval = 1, .window_scope = true},
     .contexts = true,
     .biases = true,
     .learns_alphas = true,
     .experts = 1,
     .expert = {{CONTAINER_EXPERT_MODEL, CONTAINER_LEARNT_MAX, {1, 2, 3, 4, 5, 6, 7, 8}}}},
    {.schedule = {.window = 256, .hop = 128, .update_interval = 3},
     .learns_alphas = true,
     .experts = 3,
     .expert = {{CONTAINER_EXPERT_MODEL, CONTAINER_ALPHA_ONE / 2, {1, 2, 3, 4, 5, 6, 7, 8}},
                {CONTAINER_EXPERT_MODEL, 0, {9, 8, 7, 6, 5, 4, 3, 2}},
                {CONTAINER_EXPERT_NAIVE_BAYES, CONTAINER_LEARNT_MAX, {0}}}},
    {.schedule = {.window = 2, .hop = 1, .update_interval = SCHEDULE_STEPS_MAX},
     .contexts = true,
     .experts = 1,
     .expert = {{CONTAINER_EXPERT_MODEL, CONTAINER_ALPHA_MAX, {9, 8, 7, 6, 5, 4, 3, 2}}}},
    {.schedule = {.window = SCHEDULE_STEPS_MAX, .hop = 1, .update_interval = 128},
     .biases = true,
     .experts = 2,
     .expert = {{CONTAINER_EXPERT_NAIVE_BAYES, CONTAINER_LEARNT_MAX + 1, {0}},
                {CONTAINER_EXPERT_MODEL, 1, {1, 2, 3, 4, 5, 6, 7, 8}}}},
};

static void check_frame(const container_frame *a, const container_frame *b)
{
    assert_true(schedule_equal(&a->schedule, &b->schedule));
    assert_int_equal(a->contexts, b->contexts);
    assert_int_equal(a->biases, b->biases);
    assert_int_equal(a->learns_alphas, b->learns_alphas);
    assert_int_equal(a->prior, b->prior);
    assert_int_equal(a->experts, b->experts);
    for (int k = 0; k < a->experts; k++) {
        assert_int_equal(a->expert[k].kind, b->expert[k].kind);
        assert_int_equal(a->expert[k].alpha, b->expert[k].alpha);
        assert_memory_equal(a->expert[k].model_id, b->expert[k].model_id, CONTAINER_MODEL_BYTES);
    }
}

/* Each golden header is read as the fields, the fields are written as the header, and no byte
 * of it may change. */
static void container_golden_headers(void **state)
{
    (void)state;
    enum { COUNT = sizeof golden_frames / sizeof *golden_frames, SIZE = sizeof golden_headers / 2 };
    uint8_t all[SIZE], again[CONTAINER_FRAME_BOUND];
    size_t at = 0, size, again_size;
    for (size_t i = 0; i < SIZE; i++) {
        char digits[3] = {golden_headers[2 * i], golden_headers[2 * i + 1]};
        all[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    for (int n = 0; n < COUNT; n++, at += size) {
        container_frame frame;
        uint8_t *src = all + at;
        assert_int_equal(container_peek_frame(src, SIZE - at, &size), GPUZIP_OK);
        assert_int_equal(container_read_frame(&frame, src, size), GPUZIP_OK);
        check_frame(&frame, &golden_frames[n]);
        assert_int_equal(container_write_frame(again, sizeof again, &again_size, &golden_frames[n]),
                         GPUZIP_OK);
        assert_int_equal(again_size, size);
        assert_memory_equal(again, src, size);
        for (size_t i = 0; i < 8 * size; i++) {
            src[i / 8] ^= (uint8_t)(1 << i % 8);
            assert_int_equal(container_read_frame(&frame, src, size),
                             i < 32 ? GPUZIP_ERR_FORMAT : GPUZIP_ERR_CORRUPT);
            src[i / 8] ^= (uint8_t)(1 << i % 8);
        }
    }
    assert_int_equal(at, SIZE);
}

static void container_frame_sizes(void **state)
{
    (void)state;
    uint8_t src[8] = {0xb7, 'g', '\r', '\n', CONTAINER_VERSION};
    for (unsigned body = 0; body < 1 << 14; body++) {
        size_t size = SIZE_MAX, whole = body + (body < 128 ? 6 : 7);
        src[5] = (uint8_t)(body < 128 ? body : (body & 127) | 128);
        src[6] = (uint8_t)(body < 128 ? 0 : body >> 7);
        bool good = whole > CONTAINER_FRAME_PREFIX && whole <= CONTAINER_FRAME_MAX;
        assert_int_equal(container_peek_frame(src, CONTAINER_FRAME_PREFIX, &size),
                         good ? GPUZIP_OK : GPUZIP_ERR_CORRUPT);
        assert_int_equal(size, good ? whole : SIZE_MAX);
    }
}

/* The largest header fits CONTAINER_FRAME_BOUND; bad values are refused. */
static void container_frame_arguments(void **state)
{
    (void)state;
    container_frame most = {
        .schedule = {.window = SCHEDULE_STEPS_MAX, .hop = 1, .update_interval = SCHEDULE_STEPS_MAX},
        .experts = CONTAINER_EXPERTS_MAX,
    };
    for (int k = 0; k < CONTAINER_EXPERTS_MAX; k++)
        most.expert[k].alpha = CONTAINER_ALPHA_MAX;
    uint8_t dst[CONTAINER_FRAME_BOUND];
    size_t size;
    container_frame back;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &most), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_int_equal(back.schedule.hop, 1);
    assert_int_equal(back.expert[7].alpha, CONTAINER_ALPHA_MAX);

    most.expert[7].alpha = 0;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &most), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_int_equal(back.expert[7].alpha, 0);

    static const container_frame good = {.schedule = {.window = 16, .hop = 8, .update_interval = 1},
                                         .experts = 2};
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &good), GPUZIP_OK);
    container_frame sliding = good;
    sliding.schedule.hop = 0;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &sliding), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_true(back.schedule.window == 16 && back.schedule.hop == 0);
    container_frame learning = good;
    learning.contexts = learning.biases = learning.learns_alphas = true;
    learning.expert[1].alpha = CONTAINER_LEARNT_MAX;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &learning), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_true(back.contexts && back.biases && back.learns_alphas);
    assert_int_equal(back.expert[1].alpha, CONTAINER_LEARNT_MAX);
    learning.expert[1].alpha++;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &learning), GPUZIP_ERR_ARGUMENT);
    learning.learns_alphas = false;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &learning), GPUZIP_OK);
    learning.prior = CONTAINER_PRIOR_MAX + 1;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &learning), GPUZIP_ERR_ARGUMENT);

    container_frame bad[10];
    for (size_t i = 0; i < 10; i++)
        bad[i] = good;
    bad[0].schedule.window = 1;
    bad[1].schedule.window = SCHEDULE_STEPS_MAX + 1;
    bad[2].schedule.hop = 0;
    bad[2].schedule.window_scope = true;
    bad[3].schedule.hop = bad[3].schedule.window + 1;
    bad[4].schedule.update_interval = 0;
    bad[5].schedule.update_interval = SCHEDULE_STEPS_MAX + 1;
    bad[6].experts = 0;
    bad[7].experts = CONTAINER_EXPERTS_MAX + 1;
    bad[8].schedule.window_scope = true;
    bad[9].expert[1].alpha = CONTAINER_ALPHA_MAX + 1;
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(container_write_frame(dst, sizeof dst, &size, &bad[i]),
                         GPUZIP_ERR_ARGUMENT);
}

/* -- blocks --------------------------------------------------------------- */

/* Reads a coded block of 31 bytes of content with body[0, size) between
 * its size and its check. */
static gpuzip_status read_coded(const char *body, size_t size)
{
    size_t whole = 3 + size + 4;
    container_block block = {.tokens = 12345};
    uint8_t *src = malloc(whole);
    assert_non_null(src);
    src[0] = CONTAINER_CODED;
    src[1] = 31;
    src[2] = (uint8_t)(size + 4);
    memcpy(src + 3, body, size);
    seal(src, whole);
    gpuzip_status status = container_read_block(&block, src, whole);
    assert_true(status == GPUZIP_OK || block.tokens == 12345);
    free(src);
    return status;
}

static void container_coded_bodies(void **state)
{
    (void)state;
    /* tokens, streams, sizes of all but the last, content check, streams */
    assert_int_equal(read_coded("\x1f\1cccc", 6), GPUZIP_OK);
    assert_int_equal(read_coded("\x1f\1ccccxyz", 9), GPUZIP_OK);
    assert_int_equal(read_coded("\x1f\2\3ccccxyz", 10), GPUZIP_OK);
    assert_int_equal(read_coded("\1\1ccccxyz", 9), GPUZIP_OK);

    static const struct {
        const char *body;
        size_t size;
    } bad[] = {
        {"\0\1ccccxyz", 9},                  /* no token */
        {"\x21\1ccccxyz", 9},                /* more tokens than bytes and one */
        {"\x1f\0ccccxyz", 9},                /* no stream */
        {"\x1f\2\4ccccxyz", 10},             /* more in the streams than there is */
        {"\x1f\2\x83\0ccccxyz", 11},         /* a varint with a needless byte */
        {"\x1f\2\x80\x80\x80\4ccccxyz", 13}, /* 2^23 bytes */
        {"\1\2\1ccccxyz", 10},               /* more streams than tokens */
        {"\5\4\1\1\1ccccxyz", 12},           /* the last of four streams is empty */
        {"\x1f\x81\x80\4ccccxyz", 11},       /* 65,537 streams */
        {"\x1f\x1f\0\0\0\0\0\0", 8},         /* a table that is cut */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(read_coded(bad[i].body, bad[i].size), GPUZIP_ERR_CORRUPT);
}

/* Peeks into a heap copy of the exact size. */
static gpuzip_status peek(const char *src, size_t size, container_prefix *prefix)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, src, size);
    gpuzip_status status = container_peek_block(prefix, copy, size);
    free(copy);
    return status;
}

static void container_prefixes(void **state)
{
    (void)state;
    container_prefix prefix;
    assert_int_equal(peek("\1\1", 2, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.kind, CONTAINER_STORED);
    assert_int_equal(prefix.size, container_stored_size(1));
    assert_int_equal(peek("\1\x80\x80\x80\x08", 5, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.raw_size, CONTAINER_RAW_MAX);
    assert_int_equal(prefix.size, container_stored_size(CONTAINER_RAW_MAX));
    /* The largest coded or packed block is a byte smaller than a stored one. */
    assert_int_equal(peek("\3\x1f\x21", 3, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.kind, CONTAINER_PACKED);
    assert_int_equal(prefix.size, container_stored_size(31) - 1);
    assert_int_equal(peek("\3\x80\x80\x80\x08\x09", 6, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.raw_size, CONTAINER_RAW_MAX);
    assert_int_equal(prefix.size, 6 + 9);
    assert_int_equal(peek("\2\x1f\x21", 3, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.size, container_stored_size(31) - 1);
    assert_int_equal(peek("\2\x80\x80\x80\x08\xff\xff\xff\x07", 9, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.size, container_stored_size(CONTAINER_RAW_MAX) - 1);
    assert_int_equal(peek("\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, &prefix), GPUZIP_OK);
    assert_int_equal(prefix.kind, CONTAINER_END);
    assert_int_equal(prefix.size, CONTAINER_END_MAX);

    static const struct {
        const char *src;
        size_t size;
    } bad[] = {
        {"", 0},
        {"\4\x1f\x0a", 3}, /* unknown kind */
        {"\xff\x1f\x0a", 3},
        {"\1", 1}, /* cut */
        {"\2\x1f", 2},
        {"\3\x1f", 2},
        {"\3\0\x0a", 3},
        {"\3\x1f\x22", 3}, /* packed, as large as stored */
        {"\3\x1f\x08", 3}, /* packed, without a payload */
        {"\3\x81\x80\x80\x08\x0a", 6},
        {"\1\0", 2}, /* no content */
        {"\2\0\x0a", 3},
        {"\1\x81\x80\x80\x08", 5}, /* too much content */
        {"\2\x1f\x22", 3},         /* as large as stored */
        {"\2\x1f\x09", 3},         /* too small for its fields */
        {"\2\x80\x80\x80\x08\x80\x80\x80\x08", 9},
        {"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11}, /* 2^63 and more */
        {"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 11},
        {"\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", 12},
        {"\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", 11},
        {"\0\x80\0", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        container_prefix untouched = {.size = 12345};
        assert_int_equal(peek(bad[i].src, bad[i].size, &untouched), GPUZIP_ERR_CORRUPT);
        assert_int_equal(untouched.size, 12345);
    }
}

static void container_block_arguments(void **state)
{
    (void)state;
    uint8_t dst[256], raw[100] = {0};
    size_t size;
    container_block block;
    const container_stream stream[4] = {{raw, 1}};
    assert_int_equal(container_write_stored(dst, sizeof dst, &size, raw, 0), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(container_write_stored(dst, sizeof dst, &size, raw, CONTAINER_RAW_MAX + 1),
                     GPUZIP_ERR_ARGUMENT);
    static const struct {
        uint32_t raw_size, tokens, streams;
    } bad[] = {{0, 1, 1},   {CONTAINER_RAW_MAX + 1, 1, 1},
               {100, 0, 1}, {100, 102, 1},
               {100, 9, 0}, {100, 5, 4},
               {100, 3, 4}, {7, 7, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(container_write_coded(dst, sizeof dst, &size, raw, bad[i].raw_size,
                                               bad[i].tokens, stream, bad[i].streams),
                         GPUZIP_ERR_ARGUMENT);
    assert_int_equal(container_write_coded(dst, sizeof dst, &size, raw, 100, 9, stream, 1),
                     GPUZIP_OK);

    container_end end = {.raw_size = CONTAINER_SIZE_MAX, .content_hash = UINT64_MAX}, back;
    assert_int_equal(container_write_end(dst, sizeof dst, &size, &end), GPUZIP_OK);
    assert_int_equal(size, CONTAINER_END_MAX);
    assert_int_equal(container_read_end(&back, dst, size), GPUZIP_OK);
    assert_true(back.raw_size == end.raw_size && back.content_hash == end.content_hash);
    assert_int_equal(container_read_end(&back, dst, size - 1), GPUZIP_ERR_CORRUPT);
    assert_int_equal(container_read_end(&back, dst, size + 1), GPUZIP_ERR_CORRUPT);
    assert_int_equal(container_read_end(&back, raw, 0), GPUZIP_ERR_CORRUPT);
    assert_int_equal(container_read_block(&block, dst, size), GPUZIP_ERR_ARGUMENT);
    end.raw_size++;
    assert_int_equal(container_write_end(dst, sizeof dst, &size, &end), GPUZIP_ERR_ARGUMENT);
}

/* Packed blocks of every size of payload are read as they were written, and no byte of one may
 * change or be missing. */
static void container_packed_blocks(void **state)
{
    (void)state;
    uint8_t raw[200], payload[200];
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)(i * i);
        payload[i] = (uint8_t)(255 - i);
    }
    for (uint32_t n = 1; n <= sizeof raw; n += n < 20 ? 1 : 45) {
        for (size_t p = 0; p <= sizeof payload; p++) {
            size_t want = container_packed_size(n, p), size = SIZE_MAX;
            uint8_t *dst = malloc(want);
            assert_non_null(dst);
            gpuzip_status status = container_write_packed(dst, want, &size, raw, n, payload, p);
            if (p < 1 || want >= container_stored_size(n)) {
                assert_int_equal(status, GPUZIP_ERR_ARGUMENT);
                free(dst);
                continue;
            }
            container_block block;
            container_prefix prefix;
            assert_int_equal(status, GPUZIP_OK);
            assert_int_equal(size, want);
            assert_int_equal(container_peek_block(&prefix, dst, size), GPUZIP_OK);
            assert_int_equal(prefix.size, size);
            assert_int_equal(container_read_block(&block, dst, size), GPUZIP_OK);
            assert_int_equal(block.kind, CONTAINER_PACKED);
            assert_int_equal(block.raw_size, n);
            assert_int_equal(block.content_check, container_check(raw, n));
            assert_int_equal(block.payload_size, p);
            assert_memory_equal(block.payload, payload, p);
            assert_int_equal(container_read_block(&block, dst, size - 1), GPUZIP_ERR_CORRUPT);
            for (size_t i = 0; i < size; i++) {
                dst[i] ^= 1;
                assert_int_equal(container_read_block(&block, dst, size), GPUZIP_ERR_CORRUPT);
                dst[i] ^= 1;
            }
            assert_int_equal(container_write_packed(dst, want - 1, &size, raw, n, payload, p),
                             GPUZIP_ERR_CAPACITY);
            free(dst);
        }
    }
    assert_int_equal(container_write_packed(payload, 200, &(size_t){0}, raw, 0, payload, 1),
                     GPUZIP_ERR_ARGUMENT);
    assert_int_equal(
        container_write_packed(payload, 200, &(size_t){0}, raw, CONTAINER_RAW_MAX + 1, payload, 1),
        GPUZIP_ERR_ARGUMENT);
}

/* Every stream has tokens, all but the last have the same number, none is lost. */
static void container_layout(void **state)
{
    (void)state;
    static const uint32_t large[] = {65535, 65536, 65537, 1000003, CONTAINER_RAW_MAX};
    for (uint32_t i = 1; i < 405; i++) {
        for (uint32_t j = 1; j < 405; j++) {
            uint32_t tokens = i < 400 ? i : large[i - 400];
            uint32_t wanted = j < 400 ? j : j == 404 ? CONTAINER_STREAMS_MAX : 4096u << (j - 400);
            uint32_t streams = container_fit_streams(tokens, wanted);
            uint32_t length = container_stream_length(tokens, streams);
            assert_true(streams >= 1 && streams <= wanted && streams <= tokens);
            assert_true((uint64_t)streams * length >= tokens);
            assert_true((uint64_t)(streams - 1) * length < tokens);
            assert_int_equal(container_fit_streams(tokens, streams), streams);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(container_frame_bodies),    cmocka_unit_test(container_frame_sizes),
        cmocka_unit_test(container_frame_arguments), cmocka_unit_test(container_coded_bodies),
        cmocka_unit_test(container_prefixes),        cmocka_unit_test(container_block_arguments),
        cmocka_unit_test(container_layout),          cmocka_unit_test(container_golden_headers),
        cmocka_unit_test(container_packed_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
