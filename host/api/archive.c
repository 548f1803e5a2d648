/* archive.c: archives that are read in any order. */
#include "archive.h"

#include <stdlib.h>
#include <string.h>

#include "decompress.h"

gpuzip_status gpuzip_archive_open(gpuzip_archive **archive, gpuzip *gz, const gpuzip_source *source)
{
    gz->error[0] = '\0';
    gpuzip_archive *a = calloc(1, sizeof *a);
    if (!a)
        return archive_fail(gz, FAIL(GPUZIP_ERR_MEMORY), 0);
    a->source = *source;
    gpuzip_status status = archive_make_table(gz, a);
    if (status != GPUZIP_OK) {
        gpuzip_archive_close(a);
        return status;
    }
    *archive = a;
    return GPUZIP_OK;
}

void gpuzip_archive_close(gpuzip_archive *a)
{
    if (!a)
        return;
    free(a->frame);
    free(a->block);
    free(a->cache);
    free(a);
}

uint64_t gpuzip_archive_size(const gpuzip_archive *a)
{
    return a->size;
}

uint64_t gpuzip_archive_blocks(const gpuzip_archive *a)
{
    return a->blocks;
}

gpuzip_status gpuzip_archive_block(const gpuzip_archive *a, uint64_t block, gpuzip_block *info)
{
    if (block >= a->blocks)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    const archive_block *b = &a->block[block];
    *info = (gpuzip_block){.kind = (gpuzip_block_kind)b->kind,
                           .frame = b->frame,
                           .offset = b->at,
                           .size = b->size,
                           .content_offset = b->content,
                           .content_size = b->raw_size};
    return GPUZIP_OK;
}

/* The blocks [0, part) of `parts` shares: the product may be beyond 64 bits. */
static uint64_t share(uint64_t blocks, int part, int parts)
{
    uint64_t n = (uint64_t)parts;
    return blocks / n * (uint64_t)part + blocks % n * (uint64_t)part / n;
}

static bool part_is_valid(int part, int parts)
{
    return part >= 1 && parts >= part && parts <= GPUZIP_MAX_PARTS;
}

/* Where block i begins, or where the content ends. */
static uint64_t block_begin(const gpuzip_archive *a, uint64_t i)
{
    return i < a->blocks ? a->block[i].content : a->size;
}

gpuzip_status gpuzip_archive_part(const gpuzip_archive *a, int part, int parts, uint64_t *offset,
                                  uint64_t *length)
{
    if (!part_is_valid(part, parts))
        return FAIL(GPUZIP_ERR_ARGUMENT);
    uint64_t begin = block_begin(a, share(a->blocks, part - 1, parts));
    *length = block_begin(a, share(a->blocks, part, parts)) - begin;
    *offset = begin;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_input_part(uint64_t size, size_t block_size, int part, int parts,
                                uint64_t *offset, uint64_t *length)
{
    if (!part_is_valid(part, parts) || !block_size)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    uint64_t blocks = size / block_size + (size % block_size > 0);
    uint64_t begin = share(blocks, part - 1, parts) * block_size;
    uint64_t end = part == parts ? size : share(blocks, part, parts) * block_size;
    *offset = begin;
    *length = end - begin;
    return GPUZIP_OK;
}

/* ---- decompressing --------------------------------------------------------- */

/* Reads the blocks that have a part of the range. */
static gpuzip_status read_range(decoding *d, gpuzip_archive *a, archive_reader *reader,
                                gpuzip_io *io)
{
    container_frame frame;
    gpuzip *gz = d->f.gz;
    if (d->begin > a->size)
        return decompress_fail_range(d, a->size);
    if (d->begin >= d->end || d->begin == a->size)
        return GPUZIP_OK;
    size_t first = archive_find(a, d->begin);
    for (size_t i = first; i < a->blocks && a->block[i].content < d->end; i++) {
        const archive_block *b = &a->block[i];
        TRY(archive_verify(gz, a, i));
        if (i == first || b[-1].frame != b->frame) {
            archive_go(&d->in, reader, io, a->frame[b->frame].at);
            TRY(archive_frame(gz, &d->in, &frame));
            archive_go(&d->in, reader, io, b->at);
        }
        if (i == first)
            d->read_at = b->content;
        else if (b[-1].frame != b->frame)
            decoding_end_part(d);
        TRY(decompress_block(d, &frame, b->size));
    }
    d->f.way.stats.bytes_in = d->in.bytes_in;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_archive_extract(gpuzip *gz, gpuzip_archive *a, uint64_t offset,
                                     uint64_t length, const gpuzip_io *io, gpuzip_stats *stats)
{
    coding_outcome outcome = {.stats = stats};
    archive_reader reader = {.source = &a->source};
    gpuzip_io input;
    decoding *d = decompress_open(gz, io, coding_keep_outcome, &outcome);
    if (d) {
        decompress_set_range(d, offset, length);
        decompress_end(d, read_range(d, a, &reader, &input));
    }
    gpuzip_finish(gz);
    return outcome.status;
}

/* A buffer that a block is written to. */
typedef struct {
    uint8_t *data; /* [size], of which `have` are there */
    size_t size, have;
} block_buffer;

static int write_buffer(void *context, const void *data, size_t size)
{
    block_buffer *b = context;
    if (size > b->size - b->have)
        return 1;
    memcpy(b->data + b->have, data, size);
    b->have += size;
    return 0;
}

/* Decodes block i into the cache. */
static gpuzip_status load_block(gpuzip *gz, gpuzip_archive *a, size_t i)
{
    const archive_block *b = &a->block[i];
    if (a->has_cached && a->cached == i)
        return GPUZIP_OK;
    a->has_cached = false;
    if (a->cache_room < b->raw_size) {
        free(a->cache);
        a->cache_room = 0;
        a->cache = malloc(b->raw_size);
        if (!a->cache)
            return archive_fail(gz, FAIL(GPUZIP_ERR_MEMORY), 0);
        a->cache_room = b->raw_size;
    }
    block_buffer buffer = {.data = a->cache, .size = b->raw_size};
    const gpuzip_io io = {.context = &buffer, .write = write_buffer};
    TRY(gpuzip_archive_extract(gz, a, b->content, b->raw_size, &io, NULL));
    a->cached = i;
    a->has_cached = true;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_archive_read(gpuzip *gz, gpuzip_archive *a, uint64_t offset, void *data,
                                  size_t size, size_t *got)
{
    uint8_t *dst = data;
    size_t done = 0;
    gz->error[0] = '\0';
    while (done < size && offset < a->size) {
        size_t i = archive_find(a, offset);
        TRY(load_block(gz, a, i));
        uint64_t from = offset - a->block[i].content;
        size_t left = a->block[i].raw_size - (size_t)from;
        size_t part = size - done < left ? size - done : left;
        memcpy(dst + done, a->cache + from, part);
        done += part;
        offset += part;
    }
    *got = done;
    return GPUZIP_OK;
}
