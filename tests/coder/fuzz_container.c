/* fuzz_container.c: any bytes as a .gpz file, as the fields of a frame header, and as an index
 * frame. The first byte says which, and whether checks are made right before they are tested, so
 * that the code behind them is reached. */
#include <stdlib.h>
#include <string.h>

#include "container_bytes.h"
#include "rangecoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

typedef struct {
    const uint8_t *src; /* [size] */
    size_t size;
    bool seal;
    uint8_t *piece; /* heap, [piece_size] */
    size_t piece_size;
} source;

static void fetch(source *in, size_t size, bool seal)
{
    free(in->piece);
    in->piece_size = size < in->size ? size : in->size;
    in->piece = malloc(in->piece_size ? in->piece_size : 1);
    REQUIRE(in->piece);
    if (in->piece_size)
        memcpy(in->piece, in->src, in->piece_size);
    if (seal && in->seal && in->piece_size == size && size >= 4) {
        uint32_t check = container_check(in->piece, size - 4);
        for (size_t i = 0; i < 4; i++)
            in->piece[size - 4 + i] = (uint8_t)(check >> (8 * i));
    }
}

static void skip(source *in, size_t size)
{
    REQUIRE(size <= in->size);
    in->src += size;
    in->size -= size;
}

/* Decodes a few symbols of any stream; they must encode to the same
 * bytes if and only if the decoder says so. */
static void use_stream(const container_stream *stream)
{
    enum { SYMBOLS = 64 };
    uint8_t again[4 * SYMBOLS + 1];
    size_t again_size;
    rc_decoder decoder;
    rc_encoder encoder;
    rc_decode_begin(&decoder, stream->data, stream->size);
    rc_encode_begin(&encoder, again, sizeof again);
    for (uint32_t i = 0; i < SYMBOLS; i++) {
        uint32_t target = rc_decode_target(&decoder);
        REQUIRE(target < RC_TOTAL);
        uint32_t freq = 1u << i * 7 % 31;
        uint32_t start = target & ~(freq - 1);
        rc_decode_advance(&decoder, start, freq);
        rc_encode(&encoder, start, freq);
    }
    REQUIRE(rc_encode_end(&encoder, &again_size));
    bool same = again_size == stream->size &&
                (again_size == 0 || memcmp(again, stream->data, again_size) == 0);
    REQUIRE(rc_decode_end(&decoder) == same);
}

static void use_coded(const container_block *block)
{
    container_stream *stream = malloc(block->streams * sizeof *stream);
    REQUIRE(stream);
    container_read_streams(block, stream);
    const uint8_t *next = block->payload;
    for (uint32_t s = 0; s < block->streams; s++) {
        REQUIRE(stream[s].data == next);
        next += stream[s].size;
        if (s < 16)
            use_stream(&stream[s]);
    }
    REQUIRE(next == block->payload + block->payload_size);
    size_t size = container_coded_size(block->raw_size, block->tokens, stream, block->streams);
    REQUIRE(size < container_stored_size(block->raw_size));
    free(stream);
}

/* Reads blocks up to an end mark. Returns whether all was well. */
static bool use_blocks(source *in)
{
    for (;;) {
        container_prefix prefix;
        fetch(in, CONTAINER_BLOCK_PREFIX, false);
        if (container_peek_block(&prefix, in->piece, in->piece_size) != GPUZIP_OK)
            return false;
        fetch(in, prefix.size, prefix.kind != CONTAINER_END);
        if (prefix.kind == CONTAINER_END) {
            container_end end;
            uint8_t again[CONTAINER_END_MAX];
            size_t again_size;
            if (container_read_end(&end, in->piece, in->piece_size) != GPUZIP_OK)
                return false;
            REQUIRE(container_write_end(again, sizeof again, &again_size, &end) == GPUZIP_OK);
            REQUIRE(again_size == prefix.size && memcmp(again, in->piece, again_size) == 0);
            skip(in, prefix.size);
            return true;
        }
        container_block block;
        if (container_read_block(&block, in->piece, in->piece_size) != GPUZIP_OK)
            return false;
        REQUIRE(block.payload + block.payload_size + 4 == in->piece + in->piece_size);
        if (block.kind == CONTAINER_CODED)
            use_coded(&block);
        else if (block.kind == CONTAINER_PACKED)
            REQUIRE(block.payload_size >= 1 &&
                    container_packed_size(block.raw_size, block.payload_size) == prefix.size &&
                    prefix.size < container_stored_size(block.raw_size));
        else
            REQUIRE(block.payload_size == block.raw_size);
        skip(in, prefix.size);
    }
}

static bool use_frame(source *in)
{
    size_t frame_size, again_size;
    container_frame frame;
    uint8_t again[CONTAINER_FRAME_BOUND];
    fetch(in, CONTAINER_FRAME_PREFIX, false);
    if (container_peek_frame(in->piece, in->piece_size, &frame_size) != GPUZIP_OK)
        return false;
    fetch(in, frame_size, true);
    if (container_read_frame(&frame, in->piece, in->piece_size) != GPUZIP_OK)
        return false;
    /* Optional records, which are dropped, are all that may differ. */
    REQUIRE(container_write_frame(again, sizeof again, &again_size, &frame) == GPUZIP_OK);
    REQUIRE(again_size <= frame_size);
    if (again_size == frame_size)
        REQUIRE(memcmp(again, in->piece, frame_size) == 0);
    skip(in, frame_size);
    return use_blocks(in);
}

/* A number from the next 4 bytes, often near a power of 2. */
static uint32_t take_number(source *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4 && in->size > 0; i++) {
        value = value << 8 | *in->src;
        skip(in, 1);
    }
    return value & 0x80000000 ? ((uint32_t)1 << (value >> 8 & 31)) + (value & 3) - 1 : value;
}

/* Fields that are written must be read again; those that are not are out of range. */
static void use_fields(source *in)
{
    uint8_t bytes[CONTAINER_FRAME_BOUND], again[CONTAINER_FRAME_BOUND];
    size_t size, again_size, peeked;
    container_frame frame = {.schedule.window = (int)take_number(in)}, back;
    uint32_t features = take_number(in);
    frame.schedule.hop = features & 32 ? frame.schedule.window : (int)take_number(in);
    frame.schedule.update_interval = (int)take_number(in);
    frame.schedule.window_scope = features & 1;
    frame.contexts = features & 2;
    frame.biases = features & 4;
    frame.learns_alphas = features & 8;
    frame.prior = features & 16 ? take_number(in) : 0;
    frame.experts = (int)(features >> 8 & 15);
    for (int k = 0; k < frame.experts && k < CONTAINER_EXPERTS_MAX; k++) {
        container_expert *expert = &frame.expert[k];
        expert->alpha = take_number(in);
        expert->kind = expert->alpha & 1 ? CONTAINER_EXPERT_NAIVE_BAYES : CONTAINER_EXPERT_MODEL;
        for (int i = 0; i < CONTAINER_MODEL_BYTES && expert->kind == CONTAINER_EXPERT_MODEL; i++)
            expert->model_id[i] = (uint8_t)(k + i);
    }
    gpuzip_status status = container_write_frame(bytes, sizeof bytes, &size, &frame);
    REQUIRE(status == GPUZIP_OK || status == GPUZIP_ERR_ARGUMENT);
    if (status != GPUZIP_OK)
        return;
    REQUIRE(container_peek_frame(bytes, size, &peeked) == GPUZIP_OK && peeked == size);
    REQUIRE(container_read_frame(&back, bytes, size) == GPUZIP_OK);
    REQUIRE(schedule_equal(&back.schedule, &frame.schedule) && back.contexts == frame.contexts &&
            back.biases == frame.biases && back.learns_alphas == frame.learns_alphas &&
            back.prior == frame.prior && back.experts == frame.experts);
    for (int k = 0; k < frame.experts; k++)
        REQUIRE(back.expert[k].kind == frame.expert[k].kind &&
                back.expert[k].alpha == frame.expert[k].alpha &&
                memcmp(back.expert[k].model_id, frame.expert[k].model_id, CONTAINER_MODEL_BYTES) ==
                    0);
    REQUIRE(container_write_frame(again, sizeof again, &again_size, &back) == GPUZIP_OK);
    REQUIRE(again_size == size && memcmp(again, bytes, size) == 0);
}

/* The bytes as an index frame, and as the record of one that is otherwise right; an index that is
 * read is written again to the same bytes. */
static void use_index(const source *in)
{
    static const container_frame frame = {
        .schedule = {2, 1, 1, false}, .experts = 1, .expert = {{.alpha = 65536}}};
    static const uint8_t end[] = {0, 0, 0xc2, 0x94, 0xd3, 0x38, 0x05, 0x80, 0x06, 0x2d};
    uint8_t record[CONTAINER_FRAME_MAX], bytes[CONTAINER_INDEX_MAX], again[CONTAINER_INDEX_MAX];
    size_t room = in->size < 3900 ? in->size : 3900, head, again_size;
    container_index index;
    (void)container_read_index(&index, in->src, in->size);
    size_t whole = container_head_size(&frame, room + 2) + sizeof end;
    if (room > 0)
        memcpy(record, in->src, room);
    record[room] = (uint8_t)whole;
    record[room + 1] = (uint8_t)(whole >> 8);
    REQUIRE(container_write_head(bytes, sizeof bytes, &head, &frame, record, room + 2) ==
            GPUZIP_OK);
    REQUIRE(head + sizeof end == whole);
    memcpy(bytes + head, end, sizeof end);
    if (container_read_index(&index, bytes, whole) != GPUZIP_OK)
        return;
    REQUIRE(index.size == whole);
    REQUIRE(container_write_index(again, sizeof again, &again_size, &frame, index.piece,
                                  index.head_size, index.entry, index.blocks) == GPUZIP_OK);
    REQUIRE(again_size == whole && memcmp(again, bytes, whole) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    source in = {.src = data + 1, .size = size - 1, .seal = data[0] & 1};
    if (data[0] & 2)
        use_fields(&in);
    if (data[0] & 4)
        use_index(&in);
    while (in.size > 0 && use_frame(&in))
        ;
    free(in.piece);
    return 0;
}
