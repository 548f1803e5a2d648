/* test_container.c: the .gpz format, read by a small host whose tokens are the
 * letters a to d. Every buffer that is read has its exact size on the heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "rangecoder.h"

enum { FILE_MAX = 1024, STREAMS_MAX = 8 };

/* The example of FORMAT.md. Confirmed by golden_coder.py. */
static const char golden_file[] =
    "b7670d0a01190080088004100200000123456789abcdef01ffff05e7c4d765" /* frame header */
    "010e48656c6c6f2c20776f726c642e0ae37d634c"                       /* stored block */
    "021f111f0203edbf56484c9d32993a646443835a"                       /* coded block */
    "002d5dbe1157f5bd32ec";                                          /* end mark */
enum { GOLDEN_STORED = 31, GOLDEN_CODED = 51, GOLDEN_END = 71, GOLDEN_SIZE = 81 };
static const char golden_content[] = "Hello, world.\nabacabadabacabaabacabadabacabaa";
enum { GOLDEN_STORED_RAW = 14, GOLDEN_CODED_RAW = 31 };

static const container_frame golden_frame = {
    .window = 1024,
    .hop = 512,
    .update_interval = 16,
    .experts = 2,
    .expert = {{CONTAINER_EXPERT_MODEL,
                CONTAINER_ALPHA_ONE,
                {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}},
               {CONTAINER_EXPERT_NAIVE_BAYES, CONTAINER_ALPHA_ONE / 4, {0}}},
};

static void *heap_copy(const void *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

static void golden_bytes(uint8_t *file)
{
    for (size_t i = 0; i < GOLDEN_SIZE; i++) {
        char digits[3] = {golden_file[2 * i], golden_file[2 * i + 1]};
        file[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

/* -- the small host ------------------------------------------------------- */

/* a: 1/2, b: 1/4, c: 1/8, d: 1/8. */
static const uint32_t letter_start[] = {0, 1u << 29, 3u << 28, 7u << 27, RC_TOTAL};

static uint8_t letter_at(uint32_t target)
{
    uint8_t letter = 0;
    while (target >= letter_start[letter + 1])
        letter++;
    return letter;
}

static void encode_letters(const char *raw, uint32_t tokens, uint32_t streams, uint8_t *buffer,
                           container_stream *stream)
{
    uint32_t length = container_stream_length(tokens, streams);
    for (uint32_t s = 0; s < streams; s++) {
        rc_encoder rc;
        uint8_t *out = buffer + s * (length + 1);
        rc_encode_begin(&rc, out, length + 1);
        for (uint32_t t = s * length; t < tokens && t < (s + 1) * length; t++) {
            int letter = raw[t] - 'a';
            rc_encode(&rc, letter_start[letter], letter_start[letter + 1] - letter_start[letter]);
        }
        assert_true(rc_encode_end(&rc, &stream[s].size));
        stream[s].data = out;
    }
}

/* Decodes in lock-step, as FORMAT.md says. raw: [block->raw_size]. */
static gpuzip_status decode_letters(const container_block *block, uint8_t *raw)
{
    container_stream stream[STREAMS_MAX];
    rc_decoder rc[STREAMS_MAX];
    if (block->tokens != block->raw_size || block->streams > STREAMS_MAX)
        return GPUZIP_ERR_CORRUPT;
    container_read_streams(block, stream);
    uint32_t length = container_stream_length(block->tokens, block->streams);
    for (uint32_t s = 0; s < block->streams; s++)
        rc_decode_begin(&rc[s], stream[s].data, stream[s].size);
    for (uint32_t t = 0; t < length; t++) {
        for (uint32_t s = 0; s < block->streams && s * length + t < block->tokens; s++) {
            uint8_t letter = letter_at(rc_decode_target(&rc[s]));
            raw[s * length + t] = (uint8_t)('a' + letter);
            rc_decode_advance(&rc[s], letter_start[letter],
                              letter_start[letter + 1] - letter_start[letter]);
        }
    }
    for (uint32_t s = 0; s < block->streams; s++)
        if (!rc_decode_end(&rc[s]))
            return GPUZIP_ERR_CORRUPT;
    return container_check(raw, block->raw_size) == block->content_check ? GPUZIP_OK
                                                                         : GPUZIP_ERR_CORRUPT;
}

/* What is being read, and the piece of it that was fetched last. */
typedef struct {
    const uint8_t *src; /* [size] */
    size_t size, pos;
    uint8_t *piece; /* heap, [piece_size] */
    size_t piece_size;
} source;

/* Makes src[pos, pos + size), or what there is of it, the piece. */
static void fetch(source *in, size_t size)
{
    free(in->piece);
    in->piece_size = size < in->size - in->pos ? size : in->size - in->pos;
    in->piece = heap_copy(in->src + in->pos, in->piece_size);
}

/* Reads one frame and appends its content to raw[FILE_MAX]. */
static gpuzip_status read_one_frame(source *in, container_hash *hash, uint8_t *raw,
                                    size_t *raw_size)
{
    size_t frame_size, begin = *raw_size;
    container_frame frame;
    TRY(container_peek_frame(in->piece, in->piece_size, &frame_size));
    fetch(in, frame_size);
    TRY(container_read_frame(&frame, in->piece, in->piece_size));
    in->pos += frame_size;

    container_hash_reset(hash);
    for (;;) {
        container_prefix prefix;
        fetch(in, CONTAINER_BLOCK_PREFIX);
        TRY(container_peek_block(&prefix, in->piece, in->piece_size));
        fetch(in, prefix.size);
        if (prefix.kind == CONTAINER_END) {
            container_end end;
            TRY(container_read_end(&end, in->piece, in->piece_size));
            in->pos += prefix.size;
            return end.raw_size == *raw_size - begin &&
                           end.content_hash == container_hash_value(hash)
                       ? GPUZIP_OK
                       : GPUZIP_ERR_CORRUPT;
        }
        container_block block;
        TRY(container_read_block(&block, in->piece, in->piece_size));
        in->pos += prefix.size;
        assert_int_equal(block.raw_size, prefix.raw_size);
        assert_true(block.raw_size <= FILE_MAX - *raw_size);
        uint8_t *to = raw + *raw_size;
        if (block.kind == CONTAINER_STORED)
            memcpy(to, block.payload, block.raw_size);
        else
            TRY(decode_letters(&block, to));
        container_hash_add(hash, to, block.raw_size);
        *raw_size += block.raw_size;
    }
}

/* Reads a file of any number of frames. raw: [FILE_MAX]. */
static gpuzip_status read_file(const uint8_t *src, size_t size, uint8_t *raw, size_t *raw_size)
{
    gpuzip_status status = GPUZIP_OK;
    source in = {.src = src, .size = size};
    container_hash *hash = NULL;
    *raw_size = 0;
    TRY_OUT(container_hash_open(&hash));
    do {
        fetch(&in, CONTAINER_FRAME_PREFIX);
        TRY_OUT(read_one_frame(&in, hash, raw, raw_size));
    } while (in.pos < in.size);

out:
    container_hash_close(hash);
    free(in.piece);
    return status;
}

static gpuzip_status file_status(const uint8_t *src, size_t size)
{
    static uint8_t raw[FILE_MAX];
    size_t raw_size;
    return read_file(src, size, raw, &raw_size);
}

/* -- whole files ---------------------------------------------------------- */

static void container_golden_read(void **state)
{
    (void)state;
    uint8_t file[GOLDEN_SIZE], raw[FILE_MAX];
    golden_bytes(file);
    size_t raw_size;
    assert_int_equal(read_file(file, GOLDEN_SIZE, raw, &raw_size), GPUZIP_OK);
    assert_int_equal(raw_size, strlen(golden_content));
    assert_memory_equal(raw, golden_content, raw_size);

    container_frame frame;
    assert_int_equal(container_read_frame(&frame, file, GOLDEN_STORED), GPUZIP_OK);
    assert_int_equal(frame.window, golden_frame.window);
    assert_int_equal(frame.hop, golden_frame.hop);
    assert_int_equal(frame.update_interval, golden_frame.update_interval);
    assert_int_equal(frame.window_scope, golden_frame.window_scope);
    assert_int_equal(frame.experts, golden_frame.experts);
    for (int k = 0; k < frame.experts; k++) {
        assert_int_equal(frame.expert[k].kind, golden_frame.expert[k].kind);
        assert_int_equal(frame.expert[k].alpha, golden_frame.expert[k].alpha);
        assert_memory_equal(frame.expert[k].model_id, golden_frame.expert[k].model_id,
                            CONTAINER_MODEL_BYTES);
    }
}

/* Writes the golden file, each part into a buffer of every capacity. */
static gpuzip_status write_golden_part(int part, uint8_t *dst, size_t capacity, size_t *size)
{
    const uint8_t *content = (const uint8_t *)golden_content;
    uint8_t buffer[2 * (GOLDEN_CODED_RAW + 1)];
    container_stream stream[2];
    container_end end = {.raw_size = strlen(golden_content)};
    container_hash *hash;
    switch (part) {
    case 0:
        return container_write_frame(dst, capacity, size, &golden_frame);
    case 1:
        return container_write_stored(dst, capacity, size, content, GOLDEN_STORED_RAW);
    case 2:
        encode_letters(golden_content + GOLDEN_STORED_RAW, GOLDEN_CODED_RAW, 2, buffer, stream);
        return container_write_coded(dst, capacity, size, content + GOLDEN_STORED_RAW,
                                     GOLDEN_CODED_RAW, GOLDEN_CODED_RAW, stream, 2);
    default:
        assert_int_equal(container_hash_open(&hash), GPUZIP_OK);
        container_hash_add(hash, content, strlen(golden_content));
        end.content_hash = container_hash_value(hash);
        container_hash_close(hash);
        return container_write_end(dst, capacity, size, &end);
    }
}

static void container_golden_write(void **state)
{
    (void)state;
    static const size_t part_at[] = {0, GOLDEN_STORED, GOLDEN_CODED, GOLDEN_END, GOLDEN_SIZE};
    uint8_t file[GOLDEN_SIZE];
    golden_bytes(file);
    for (int part = 0; part < 4; part++) {
        size_t want = part_at[part + 1] - part_at[part];
        for (size_t capacity = 0; capacity < want + 3; capacity++) {
            uint8_t *dst = malloc(capacity ? capacity : 1);
            assert_non_null(dst);
            size_t size = SIZE_MAX;
            gpuzip_status status = write_golden_part(part, dst, capacity, &size);
            assert_int_equal(status, capacity < want ? GPUZIP_ERR_CAPACITY : GPUZIP_OK);
            assert_int_equal(size, capacity < want ? SIZE_MAX : want);
            if (status == GPUZIP_OK)
                assert_memory_equal(dst, file + part_at[part], want);
            free(dst);
        }
    }
}

/* Every byte, changed to every other value, must be found. */
static void container_changed(void **state)
{
    (void)state;
    uint8_t file[GOLDEN_SIZE];
    golden_bytes(file);
    for (size_t i = 0; i < GOLDEN_SIZE; i++) {
        uint8_t original = file[i];
        for (unsigned change = 1; change < 256; change++) {
            file[i] = original ^ (uint8_t)change;
            gpuzip_status status = file_status(file, GOLDEN_SIZE);
            assert_int_equal(status, i < 4 ? GPUZIP_ERR_FORMAT : GPUZIP_ERR_CORRUPT);
        }
        file[i] = original;
    }
}

static void container_truncated(void **state)
{
    (void)state;
    uint8_t file[2 * GOLDEN_SIZE];
    golden_bytes(file);
    golden_bytes(file + GOLDEN_SIZE);
    assert_int_equal(file_status(file, 0), GPUZIP_ERR_FORMAT);
    for (size_t size = 1; size < 2 * GOLDEN_SIZE; size++)
        assert_int_equal(file_status(file, size),
                         size == GOLDEN_SIZE ? GPUZIP_OK : GPUZIP_ERR_CORRUPT);

    /* Without a block, with one twice, and with two exchanged. */
    uint8_t mixed[2 * GOLDEN_SIZE];
    size_t size = 0;
    static const size_t cut[][2] = {{0, GOLDEN_CODED}, {GOLDEN_END, GOLDEN_SIZE}};
    for (size_t i = 0; i < 2; i++) {
        memcpy(mixed + size, file + cut[i][0], cut[i][1] - cut[i][0]);
        size += cut[i][1] - cut[i][0];
    }
    assert_int_equal(file_status(mixed, size), GPUZIP_ERR_CORRUPT);
    size = GOLDEN_END;
    memcpy(mixed, file, size);
    memcpy(mixed + size, file + GOLDEN_CODED, GOLDEN_SIZE - GOLDEN_CODED);
    assert_int_equal(file_status(mixed, size + GOLDEN_SIZE - GOLDEN_CODED), GPUZIP_ERR_CORRUPT);
    memcpy(mixed, file, GOLDEN_SIZE);
    memcpy(mixed + GOLDEN_STORED, file + GOLDEN_CODED, GOLDEN_END - GOLDEN_CODED);
    memcpy(mixed + GOLDEN_STORED + GOLDEN_END - GOLDEN_CODED, file + GOLDEN_STORED,
           GOLDEN_CODED - GOLDEN_STORED);
    assert_int_equal(file_status(mixed, GOLDEN_SIZE), GPUZIP_ERR_CORRUPT);
}

static void container_appended(void **state)
{
    (void)state;
    uint8_t file[2 * GOLDEN_SIZE], raw[FILE_MAX];
    golden_bytes(file);
    golden_bytes(file + GOLDEN_SIZE);
    size_t raw_size;
    assert_int_equal(read_file(file, sizeof file, raw, &raw_size), GPUZIP_OK);
    assert_int_equal(raw_size, 2 * strlen(golden_content));

    for (unsigned byte = 0; byte < 256; byte++) {
        file[GOLDEN_SIZE] = (uint8_t)byte;
        assert_int_equal(file_status(file, GOLDEN_SIZE + 1),
                         byte == 0xb7 ? GPUZIP_ERR_CORRUPT : GPUZIP_ERR_FORMAT);
    }
}

static void container_empty(void **state)
{
    (void)state;
    uint8_t file[CONTAINER_FRAME_BOUND + CONTAINER_END_MAX], raw[1];
    size_t frame_size, end_size, raw_size;
    container_hash *hash;
    assert_int_equal(container_hash_open(&hash), GPUZIP_OK);
    container_end end = {.content_hash = container_hash_value(hash)};
    container_hash_close(hash);
    assert_int_equal(container_write_frame(file, CONTAINER_FRAME_BOUND, &frame_size, &golden_frame),
                     GPUZIP_OK);
    assert_int_equal(container_write_end(file + frame_size, CONTAINER_END_MAX, &end_size, &end),
                     GPUZIP_OK);
    assert_int_equal(read_file(file, frame_size + end_size, raw, &raw_size), GPUZIP_OK);
    assert_int_equal(raw_size, 0);
}

/* -- frame header --------------------------------------------------------- */

/* Makes the check that ends data[0, size) right again. */
static void seal(uint8_t *data, size_t size)
{
    uint32_t check = container_check(data, size - 4);
    for (size_t i = 0; i < 4; i++)
        data[size - 4 + i] = (uint8_t)(check >> (8 * i));
}

/* Reads the golden frame header with body[0, size) for what follows its size. */
static gpuzip_status read_body(uint8_t version, const char *body, size_t size)
{
    size_t frame_size, whole = 6 + size + 4;
    container_frame frame = {.window = 12345};
    uint8_t *src = malloc(whole);
    assert_non_null(src);
    memcpy(src, "\xb7g\r\n", 4);
    src[4] = version;
    src[5] = (uint8_t)(size + 4);
    memcpy(src + 6, body, size);
    seal(src, whole);
    assert_int_equal(container_peek_frame(src, whole, &frame_size), GPUZIP_OK);
    assert_int_equal(frame_size, whole);
    gpuzip_status status = container_read_frame(&frame, src, whole);
    assert_true(status == GPUZIP_OK || frame.window == 12345);
    free(src);
    return status;
}

#define BODY(text) 1, text, sizeof(text) - 1

static void container_frame_bodies(void **state)
{
    (void)state;
    /* features, window, window - hop, update interval, experts, kind, alpha */
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\1\x10\0\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\2\1\1\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x80\x80\x40\0\x80\x80\x40\1\1\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\xff\xff\7")), GPUZIP_OK);

    assert_int_equal(read_body(2, "\0\x10\0\1\1\1\0", 7), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(0, "\0\x10\0\1\1\1\0", 7), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\2\x10\0\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\x80\1\x10\0\1\1\1\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\2\0")), GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(read_body(BODY("\0\x10\0\1\2\1\0\x80\1\0")), GPUZIP_ERR_UNSUPPORTED);

    static const struct {
        const char *body;
        size_t size;
    } bad[] = {
        {"\1\x10\1\1\1\1\0", 7},                  /* window scope with an overlap */
        {"\0\1\0\1\1\1\0", 7},                    /* window of 1 */
        {"\0\x81\x80\x40\0\1\1\1\0", 9},          /* window of 2^20 + 1 */
        {"\0\2\2\1\1\1\0", 7},                    /* hop of 0 */
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
        assert_int_equal(read_body(1, bad[i].body, bad[i].size), GPUZIP_ERR_CORRUPT);

    /* Optional records are skipped. */
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0\5\0")), GPUZIP_OK);
    assert_int_equal(read_body(BODY("\0\x10\0\1\1\1\0\5\2ab\xff\1\1c")), GPUZIP_OK);
}

static void container_frame_sizes(void **state)
{
    (void)state;
    uint8_t src[8] = {0xb7, 'g', '\r', '\n', 1};
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
        .window = CONTAINER_STEPS_MAX,
        .hop = 1,
        .update_interval = CONTAINER_STEPS_MAX,
        .experts = CONTAINER_EXPERTS_MAX,
    };
    for (int k = 0; k < CONTAINER_EXPERTS_MAX; k++)
        most.expert[k].alpha = CONTAINER_ALPHA_MAX;
    uint8_t dst[CONTAINER_FRAME_BOUND];
    size_t size;
    container_frame back;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &most), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_int_equal(back.hop, 1);
    assert_int_equal(back.expert[7].alpha, CONTAINER_ALPHA_MAX);

    most.expert[7].alpha = 0;
    assert_int_equal(container_write_frame(dst, sizeof dst, &size, &most), GPUZIP_OK);
    assert_int_equal(container_read_frame(&back, dst, size), GPUZIP_OK);
    assert_int_equal(back.expert[7].alpha, 0);

    container_frame bad[10];
    for (size_t i = 0; i < 10; i++)
        bad[i] = golden_frame;
    bad[0].window = 1;
    bad[1].window = CONTAINER_STEPS_MAX + 1;
    bad[2].hop = 0;
    bad[3].hop = bad[3].window + 1;
    bad[4].update_interval = 0;
    bad[5].update_interval = CONTAINER_STEPS_MAX + 1;
    bad[6].experts = 0;
    bad[7].experts = CONTAINER_EXPERTS_MAX + 1;
    bad[8].window_scope = true;
    bad[9].expert[1].alpha = CONTAINER_ALPHA_MAX + 1;
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(container_write_frame(dst, sizeof dst, &size, &bad[i]),
                         GPUZIP_ERR_ARGUMENT);
}

/* -- blocks --------------------------------------------------------------- */

/* Writes and reads coded blocks of many shapes. */
static void container_coded_shapes(void **state)
{
    (void)state;
    char raw[300];
    uint8_t buffer[600], back[300];
    container_stream stream[STREAMS_MAX];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = "aaaabaacaad"[i % 11];
    size_t coded = 0;
    for (uint32_t n = 1; n <= sizeof raw; n++) {
        for (uint32_t wanted = 1; wanted <= STREAMS_MAX; wanted++) {
            uint32_t streams = container_fit_streams(n, wanted);
            encode_letters(raw, n, streams, buffer, stream);
            size_t want = container_coded_size(n, n, stream, streams), size;
            uint8_t *dst = malloc(want);
            assert_non_null(dst);
            gpuzip_status status = container_write_coded(dst, want, &size, (const uint8_t *)raw, n,
                                                         n, stream, streams);
            if (want < container_stored_size(n)) {
                container_block block;
                assert_int_equal(status, GPUZIP_OK);
                assert_int_equal(size, want);
                assert_int_equal(container_read_block(&block, dst, size), GPUZIP_OK);
                assert_int_equal(decode_letters(&block, back), GPUZIP_OK);
                assert_memory_equal(back, raw, n);
                coded++;
            } else {
                assert_int_equal(status, GPUZIP_ERR_ARGUMENT);
            }
            free(dst);
        }
    }
    assert_true(coded > 2000);
}

/* Reads a coded block of 31 bytes of content with body[0, size) for what is
 * between its size and its check. */
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
        {"\x20\1ccccxyz", 9},                /* more tokens than bytes */
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

static gpuzip_status peek(const char *src, size_t size, container_prefix *prefix)
{
    uint8_t *copy = heap_copy(src, size);
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
    /* The largest coded block is a byte smaller than a stored one. */
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
        {"\3\x1f\x0a", 3}, /* unknown kind */
        {"\xff\x1f\x0a", 3},
        {"\1", 1}, /* cut */
        {"\2\x1f", 2},
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

/* More bytes than asked for change nothing; fewer are CORRUPT. */
static void container_pieces(void **state)
{
    (void)state;
    static const size_t begin[] = {GOLDEN_STORED, GOLDEN_CODED, GOLDEN_END, GOLDEN_SIZE};
    uint8_t file[GOLDEN_SIZE];
    golden_bytes(file);
    for (size_t size = 1; size <= GOLDEN_SIZE; size++) {
        size_t frame_size;
        uint8_t *copy = heap_copy(file, size);
        gpuzip_status status = container_peek_frame(copy, size, &frame_size);
        assert_true(status == GPUZIP_OK || size < CONTAINER_FRAME_PREFIX);
        assert_true(status == GPUZIP_OK ? frame_size == GOLDEN_STORED
                                        : status == GPUZIP_ERR_CORRUPT);
        free(copy);
    }
    for (size_t part = 0; part < 3; part++) {
        for (size_t size = 0; size <= GOLDEN_SIZE - begin[part]; size++) {
            container_prefix prefix;
            gpuzip_status status = peek((const char *)file + begin[part], size, &prefix);
            assert_true(status == GPUZIP_OK || size < CONTAINER_BLOCK_PREFIX);
            assert_true(status == GPUZIP_OK ? prefix.size == begin[part + 1] - begin[part]
                                            : status == GPUZIP_ERR_CORRUPT);
        }
    }
}

static void container_block_arguments(void **state)
{
    (void)state;
    uint8_t dst[256], raw[100] = {0};
    size_t size;
    container_block block;
    const container_stream stream[STREAMS_MAX] = {{raw, 1}};
    assert_int_equal(container_write_stored(dst, sizeof dst, &size, raw, 0), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(container_write_stored(dst, sizeof dst, &size, raw, CONTAINER_RAW_MAX + 1),
                     GPUZIP_ERR_ARGUMENT);
    static const struct {
        uint32_t raw_size, tokens, streams;
    } bad[] = {{0, 1, 1},   {CONTAINER_RAW_MAX + 1, 1, 1},
               {100, 0, 1}, {100, 101, 1},
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

static void container_hash_pieces(void **state)
{
    (void)state;
    uint8_t data[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3);
    container_hash *hash;
    assert_int_equal(container_hash_open(&hash), GPUZIP_OK);
    container_hash_add(hash, data, sizeof data);
    uint64_t whole = container_hash_value(hash);
    assert_int_equal((uint32_t)whole, container_check(data, sizeof data));
    for (size_t piece = 1; piece < 300; piece += 7) {
        container_hash_reset(hash);
        for (size_t i = 0; i < sizeof data; i += piece)
            container_hash_add(hash, data + i, piece < sizeof data - i ? piece : sizeof data - i);
        assert_true(container_hash_value(hash) == whole);
        assert_true(container_hash_value(hash) == whole);
    }
    container_hash_close(hash);
    container_hash_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(container_golden_read),     cmocka_unit_test(container_golden_write),
        cmocka_unit_test(container_changed),         cmocka_unit_test(container_truncated),
        cmocka_unit_test(container_appended),        cmocka_unit_test(container_empty),
        cmocka_unit_test(container_frame_bodies),    cmocka_unit_test(container_frame_sizes),
        cmocka_unit_test(container_frame_arguments), cmocka_unit_test(container_coded_shapes),
        cmocka_unit_test(container_coded_bodies),    cmocka_unit_test(container_prefixes),
        cmocka_unit_test(container_pieces),          cmocka_unit_test(container_block_arguments),
        cmocka_unit_test(container_layout),          cmocka_unit_test(container_hash_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
