/* container_index.c: index frames, which list the blocks of the frame before them. */
#include "container_bytes.h"

enum {
    KIND_BITS = 2, /* of an entry's first number */
    SIZE_BYTES = 2 /* that end the record: the size of the index frame */
};

/* The end mark of a frame without content: kind, raw size, XXH3 of nothing. */
static const uint8_t empty_end[] = {CONTAINER_END, 0,    0xc2, 0x94, 0xd3,
                                    0x38,          0x05, 0x80, 0x06, 0x2d};

/* Bytes behind the record's size: the header's check and the end mark. */
#define BEHIND_RECORD (CHECK_BYTES + sizeof empty_end)

size_t container_end_size(uint64_t raw_size)
{
    return 1 + varint_size(raw_size) + HASH_BYTES;
}

static bool entry_is_valid(const container_entry *e)
{
    if (e->raw_size < 1 || e->raw_size > CONTAINER_RAW_MAX || e->size < 1)
        return false;
    size_t stored = container_stored_size(e->raw_size);
    return e->kind == CONTAINER_STORED
               ? e->size == stored
               : (e->kind == CONTAINER_CODED || e->kind == CONTAINER_PACKED) && e->size < stored;
}

static void put_entries(writer *w, const container_entry *entry, uint32_t blocks)
{
    uint32_t before = 0; /* the raw size of the block before: most blocks repeat it */
    for (uint32_t i = 0; i < blocks; i++) {
        put_varint(w, (uint64_t)entry[i].size << KIND_BITS | entry[i].kind);
        put_varint(w, entry[i].raw_size == before ? 0 : entry[i].raw_size);
        before = entry[i].raw_size;
    }
}

gpuzip_status container_write_index(uint8_t *dst, size_t capacity, size_t *size,
                                    const container_frame *frame, uint32_t piece, size_t head_size,
                                    const container_entry *entry, uint32_t blocks)
{
    uint8_t record[CONTAINER_FRAME_MAX];
    size_t head;
    bool valid = piece < CONTAINER_PIECES_MAX && head_size > CONTAINER_FRAME_PREFIX &&
                 head_size <= CONTAINER_FRAME_MAX && blocks <= CONTAINER_INDEX_BLOCKS;
    for (uint32_t i = 0; valid && i < blocks; i++)
        valid = entry_is_valid(&entry[i]);
    if (!valid)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer w = {.dst = record, .capacity = sizeof record};
    put_varint(&w, piece);
    put_varint(&w, head_size);
    put_varint(&w, blocks);
    put_entries(&w, entry, blocks);
    size_t whole = container_head_size(frame, w.size + SIZE_BYTES) + sizeof empty_end;
    put_fixed(&w, whole, SIZE_BYTES);
    TRY(container_write_head(dst, capacity, &head, frame, record, w.size));
    if (capacity - head < sizeof empty_end)
        return FAIL(GPUZIP_ERR_CAPACITY);
    memcpy(dst + head, empty_end, sizeof empty_end);
    *size = whole;
    return GPUZIP_OK;
}

static void take_entries(reader *r, container_index *index)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < index->blocks && !r->bad; i++) {
        container_entry *e = &index->entry[i];
        uint64_t size = take_varint(r, 0, UINT32_MAX);
        uint32_t raw_size = (uint32_t)take_varint(r, 0, CONTAINER_RAW_MAX);
        e->kind = (container_kind)(size & ((1 << KIND_BITS) - 1));
        e->size = (uint32_t)(size >> KIND_BITS);
        e->raw_size = raw_size ? raw_size : before;
        if (raw_size == before || !entry_is_valid(e)) /* also where raw_size and before are 0 */
            r->bad = true;
        before = e->raw_size;
    }
}

/* Takes the record. */
static bool take_index(reader *r, container_index *index)
{
    index->piece = (uint32_t)take_varint(r, 0, CONTAINER_PIECES_MAX - 1);
    index->head_size = (uint32_t)take_varint(r, CONTAINER_FRAME_PREFIX + 1, CONTAINER_FRAME_MAX);
    index->blocks = (uint32_t)take_varint(r, 0, CONTAINER_INDEX_BLOCKS);
    take_entries(r, index);
    take_fixed(r, SIZE_BYTES); /* which led here */
    return !r->bad && r->size == 0;
}

gpuzip_status container_read_index(container_index *index, const uint8_t *src, size_t size)
{
    container_frame frame;
    container_index parsed;
    size_t head;
    if (size < BEHIND_RECORD + SIZE_BYTES ||
        memcmp(src + size - sizeof empty_end, empty_end, sizeof empty_end) != 0)
        return FAIL(GPUZIP_ERR_FORMAT);
    reader r = {.src = src + size - BEHIND_RECORD - SIZE_BYTES, .size = SIZE_BYTES};
    parsed.size = take_fixed(&r, SIZE_BYTES);
    if (parsed.size > size || parsed.size < BEHIND_RECORD + SIZE_BYTES)
        return FAIL(GPUZIP_ERR_FORMAT);
    src += size - parsed.size;
    head = parsed.size - sizeof empty_end;
    reader record;
    if (container_read_head(&frame, src, head, &record) != GPUZIP_OK || !frame.is_index)
        return FAIL(GPUZIP_ERR_FORMAT);
    if (record.src + record.size != src + head - CHECK_BYTES || !take_index(&record, &parsed))
        return FAIL(GPUZIP_ERR_CORRUPT);
    *index = parsed;
    return GPUZIP_OK;
}
