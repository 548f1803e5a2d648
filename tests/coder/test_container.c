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
    "b7670d0a02190080088004100200000123456789abcdef01ffff05d534a4c7" /* frame header */
    "010e48656c6c6f2c20776f726c642e0ae37d634c"                       /* stored block */
    "021f111f0203edbf56484c9d32993a646443835a"                       /* coded block */
    "032813cc812fe90128b52ffd20284301007895a181a3"                   /* packed block */
    "0055d39b123d0b271498";                                          /* end mark */
enum {
    GOLDEN_STORED = 31,
    GOLDEN_CODED = 51,
    GOLDEN_PACKED = 71,
    GOLDEN_END = 93,
    GOLDEN_SIZE = 103
};
static const char golden_content[] = "Hello, world.\nabacabadabacabaabacabadabacabaa"
                                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
enum { GOLDEN_STORED_RAW = 14, GOLDEN_CODED_RAW = 31, GOLDEN_PACKED_RAW = 40 };

/* The payload of the packed block, to this module bytes as any: a frame of zstd that repeats the
 * last one. */
static const uint8_t golden_payload[] = {1, 0x28, 0xb5, 0x2f, 0xfd, 0x20, 40, 0x43, 1, 0, 'x'};

static const container_frame golden_frame = {
    .schedule = {.window = 1024, .hop = 512, .update_interval = 16},
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

/* raw: [block->raw_size]. */
static gpuzip_status unpack_run(const container_block *block, uint8_t *raw)
{
    assert_int_equal(block->payload_size, sizeof golden_payload);
    assert_memory_equal(block->payload, golden_payload, sizeof golden_payload);
    memset(raw, block->payload[sizeof golden_payload - 1], block->raw_size);
    return container_check(raw, block->raw_size) == block->content_check ? GPUZIP_OK
                                                                         : GPUZIP_ERR_CORRUPT;
}

/* The input, and the piece of it that was fetched last. */
typedef struct {
    const uint8_t *src; /* [size] */
    size_t size, pos;
    uint8_t *piece; /* heap, [piece_size] */
    size_t piece_size;
} source;

/* Makes src[pos, pos + size), clipped to its end, the piece. */
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
        else if (block.kind == CONTAINER_CODED)
            TRY(decode_letters(&block, to));
        else
            TRY(unpack_run(&block, to));
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
    assert_true(schedule_equal(&frame.schedule, &golden_frame.schedule));
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
    case 3:
        return container_write_packed(dst, capacity, size,
                                      content + GOLDEN_STORED_RAW + GOLDEN_CODED_RAW,
                                      GOLDEN_PACKED_RAW, golden_payload, sizeof golden_payload);
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
    static const size_t part_at[] = {0,          GOLDEN_STORED, GOLDEN_CODED, GOLDEN_PACKED,
                                     GOLDEN_END, GOLDEN_SIZE};
    uint8_t file[GOLDEN_SIZE];
    golden_bytes(file);
    for (int part = 0; part < 5; part++) {
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
    static const size_t cut[][2] = {{0, GOLDEN_CODED}, {GOLDEN_PACKED, GOLDEN_SIZE}};
    for (size_t i = 0; i < 2; i++) {
        memcpy(mixed + size, file + cut[i][0], cut[i][1] - cut[i][0]);
        size += cut[i][1] - cut[i][0];
    }
    assert_int_equal(file_status(mixed, size), GPUZIP_ERR_CORRUPT);
    size = GOLDEN_PACKED;
    memcpy(mixed, file, size);
    memcpy(mixed + size, file + GOLDEN_CODED, GOLDEN_SIZE - GOLDEN_CODED);
    assert_int_equal(file_status(mixed, size + GOLDEN_SIZE - GOLDEN_CODED), GPUZIP_ERR_CORRUPT);
    memcpy(mixed, file, GOLDEN_SIZE);
    memcpy(mixed + GOLDEN_STORED, file + GOLDEN_CODED, GOLDEN_PACKED - GOLDEN_CODED);
    memcpy(mixed + GOLDEN_STORED + GOLDEN_PACKED - GOLDEN_CODED, file + GOLDEN_STORED,
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

/* -- parts of files ------------------------------------------------------- */

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

/* More bytes than asked for change nothing; fewer are CORRUPT. */
static void container_pieces(void **state)
{
    (void)state;
    static const size_t begin[] = {GOLDEN_STORED, GOLDEN_CODED, GOLDEN_PACKED, GOLDEN_END,
                                   GOLDEN_SIZE};
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
    for (size_t part = 0; part < 4; part++) {
        for (size_t size = 0; size <= GOLDEN_SIZE - begin[part]; size++) {
            container_prefix prefix;
            uint8_t *copy = heap_copy(file + begin[part], size);
            gpuzip_status status = container_peek_block(&prefix, copy, size);
            assert_true(status == GPUZIP_OK || size < CONTAINER_BLOCK_PREFIX);
            assert_true(status == GPUZIP_OK ? prefix.size == begin[part + 1] - begin[part]
                                            : status == GPUZIP_ERR_CORRUPT);
            free(copy);
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
        cmocka_unit_test(container_golden_read),  cmocka_unit_test(container_golden_write),
        cmocka_unit_test(container_changed),      cmocka_unit_test(container_truncated),
        cmocka_unit_test(container_appended),     cmocka_unit_test(container_empty),
        cmocka_unit_test(container_coded_shapes), cmocka_unit_test(container_pieces),
        cmocka_unit_test(container_hash_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
