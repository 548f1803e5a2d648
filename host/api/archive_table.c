/* archive_table.c: see archive.h. */
#include "archive.h"

#include <stdlib.h>

/* ---- reading at a place --------------------------------------------------- */

static int read_on(void *context, void *data, size_t size, size_t *got)
{
    archive_reader *r = context;
    const gpuzip_source *s = r->source;
    uint64_t left = r->at < s->size ? s->size - r->at : 0;
    *got = 0;
    if (size > left)
        size = (size_t)left;
    if (size && s->read_at(s->context, r->at, data, size, got))
        return 1;
    r->at += *got;
    return 0;
}

void archive_go(archive_input *in, archive_reader *reader, gpuzip_io *io, uint64_t at)
{
    uint64_t begin = reader->at - in->end; /* of the bytes in the window */
    *io = (gpuzip_io){.context = reader, .read = read_on};
    if (in->io == io && at >= begin && at <= reader->at) {
        in->first = (size_t)(at - begin);
        return;
    }
    reader->at = at;
    in->io = io;
    in->first = in->end = 0;
    in->ended = false;
}

/* A reader of its own for the functions below. */
typedef struct {
    gpuzip *gz;
    gpuzip_archive *a;
    archive_input in;
    archive_reader reader;
    gpuzip_io io;
} walker;

static void go(walker *w, uint64_t at)
{
    w->reader.source = &w->a->source;
    archive_go(&w->in, &w->reader, &w->io, at);
}

/* The place of the next byte that was not used. */
static uint64_t place(const walker *w)
{
    return w->reader.at - (w->in.end - w->in.first);
}

/* ---- the table ------------------------------------------------------------ */

/* Makes room for one more item. */
static gpuzip_status grow(void **item, size_t items, size_t *room, size_t item_size)
{
    if (items < *room)
        return GPUZIP_OK;
    size_t wanted = 2 * *room + 16;
    void *grown = wanted <= SIZE_MAX / item_size ? realloc(*item, wanted * item_size) : NULL;
    if (!grown)
        return FAIL(GPUZIP_ERR_MEMORY);
    *item = grown;
    *room = wanted;
    return GPUZIP_OK;
}

/* Begins a frame behind the others. */
static gpuzip_status add_frame(gpuzip_archive *a, uint64_t at, uint32_t head_size)
{
    TRY(grow((void **)&a->frame, a->frames, &a->frame_room, sizeof *a->frame));
    a->frame[a->frames++] = (archive_frame_place){
        .at = at, .content = a->size, .head_size = head_size, .end_at = at + head_size};
    return GPUZIP_OK;
}

/* Adds a block to the last frame. */
static gpuzip_status add_block(gpuzip_archive *a, container_kind kind, uint32_t raw_size,
                               uint32_t size)
{
    archive_frame_place *f = &a->frame[a->frames - 1];
    TRY(grow((void **)&a->block, a->blocks, &a->block_room, sizeof *a->block));
    a->block[a->blocks++] = (archive_block){.at = f->end_at,
                                            .content = a->size,
                                            .size = size,
                                            .raw_size = raw_size,
                                            .kind = kind,
                                            .frame = (uint32_t)(a->frames - 1)};
    f->end_at += size;
    f->raw_size += raw_size;
    a->size += raw_size;
    return GPUZIP_OK;
}

size_t archive_find(const gpuzip_archive *a, uint64_t offset)
{
    size_t first = 0, end = a->blocks; /* the block is one of [first, end) */
    while (end - first > 1) {
        size_t middle = first + (end - first) / 2;
        if (a->block[middle].content <= offset)
            first = middle;
        else
            end = middle;
    }
    return first;
}

/* ---- from the headers ------------------------------------------------------ */

/* Reads the headers of the blocks of the last frame, and its end mark. */
static gpuzip_status walk_blocks(walker *w)
{
    gpuzip_archive *a = w->a;
    const archive_frame_place *f;
    container_prefix prefix;
    container_end end;
    for (;;) {
        f = &a->frame[a->frames - 1];
        go(w, f->end_at);
        TRY(archive_prefix(&w->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(add_block(a, prefix.kind, prefix.raw_size, (uint32_t)prefix.size));
    }
    TRY(archive_end(&w->in, prefix.size, &end));
    return end.raw_size == f->raw_size ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
}

/* Walks over the frames from the archive's beginning up to `end`. */
static gpuzip_status walk_frames(walker *w, uint64_t end)
{
    gpuzip_archive *a = w->a;
    container_frame frame;
    uint64_t at = 0;
    while (at < end) {
        go(w, at);
        TRY(archive_frame(w->gz, &w->in, &frame));
        TRY(add_frame(a, at, (uint32_t)(place(w) - at)));
        TRY(walk_blocks(w));
        at = place(w);
        if (frame.is_index && !a->frame[a->frames - 1].raw_size)
            a->frames--;
    }
    a->frames_known = a->frames;
    a->blocks_known = a->blocks;
    return at == end ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
}

/* ---- from the indexes ------------------------------------------------------ */

/* A frame that has an index. */
typedef struct {
    uint64_t at;       /* of the frame */
    uint64_t index_at; /* of its first index frame */
    uint32_t pieces;   /* index frames */
} indexed_frame;

/* Reads the index frame that ends at `end`. Errors: FORMAT (there is none), CORRUPT, MEMORY, IO. */
static gpuzip_status read_index(walker *w, uint64_t end, container_index *index)
{
    size_t size = end < CONTAINER_INDEX_MAX ? (size_t)end : CONTAINER_INDEX_MAX;
    go(w, end - size);
    TRY(archive_fill(&w->in, size));
    return container_read_index(index, w->in.data + w->in.first, archive_have(&w->in, size));
}

/* Finds the frame whose last index frame is *index, which ends at `end`. */
static gpuzip_status find_indexed(walker *w, uint64_t end, container_index *index,
                                  indexed_frame *found)
{
    uint64_t bytes = index->head_size, raw_size = 0;
    uint32_t piece = index->piece, head_size = index->head_size;
    found->pieces = piece + 1;
    for (;;) {
        for (uint32_t i = 0; i < index->blocks; i++) {
            bytes += index->entry[i].size;
            raw_size += index->entry[i].raw_size;
        }
        end -= index->size;
        if (bytes > end)
            return FAIL(GPUZIP_ERR_CORRUPT);
        if (piece == 0)
            break;
        if (read_index(w, end, index) != GPUZIP_OK || index->piece != --piece ||
            index->head_size != head_size || index->blocks != CONTAINER_INDEX_BLOCKS)
            return FAIL(GPUZIP_ERR_CORRUPT);
    }
    found->index_at = end;
    bytes += container_end_size(raw_size);
    if (bytes > end)
        return FAIL(GPUZIP_ERR_CORRUPT);
    found->at = end - bytes;
    return GPUZIP_OK;
}

/* Adds a frame and its blocks from its index. */
static gpuzip_status add_indexed(walker *w, const indexed_frame *f, container_index *index)
{
    uint64_t at = f->index_at;
    for (uint32_t piece = 0; piece < f->pieces; piece++) {
        container_frame frame;
        size_t size;
        go(w, at); /* of the index frame only the beginning is known */
        TRY(archive_frame(w->gz, &w->in, &frame));
        size = (size_t)(place(w) - at) + container_end_size(0);
        TRY(read_index(w, at + size, index));
        if (index->size != size ||
            index->piece != piece) /* it was read before, and is another now */
            return FAIL(GPUZIP_ERR_CORRUPT);
        if (piece == 0)
            TRY(add_frame(w->a, f->at, index->head_size));
        for (uint32_t i = 0; i < index->blocks; i++)
            TRY(add_block(w->a, index->entry[i].kind, index->entry[i].raw_size,
                          index->entry[i].size));
        at += size;
    }
    return GPUZIP_OK;
}

/* Returns the archive's end without the zero bytes behind it, which are padding. */
static gpuzip_status find_end(walker *w, uint64_t *end)
{
    uint64_t at = w->a->source.size;
    while (at > 0) {
        size_t size = at < CONTAINER_INDEX_MAX ? (size_t)at : CONTAINER_INDEX_MAX;
        go(w, at - size);
        TRY(archive_fill(&w->in, size));
        if (archive_have(&w->in, size) < size)
            return FAIL(GPUZIP_ERR_IO); /* the source is shorter than its size */
        while (size > 0 && w->in.data[w->in.first + size - 1] == 0) {
            size--;
            at--;
        }
        if (size > 0)
            break;
    }
    *end = at;
    return GPUZIP_OK;
}

static gpuzip_status make_table(walker *w, container_index *index, indexed_frame **found)
{
    size_t count = 0, room = 0;
    uint64_t end;
    gpuzip_status status = GPUZIP_OK;
    TRY(find_end(w, &end));
    while (end > 0) {
        status = read_index(w, end, index);
        if (status == GPUZIP_ERR_FORMAT)
            break;
        TRY(status);
        TRY(grow((void **)found, count, &room, sizeof **found));
        TRY(find_indexed(w, end, index, &(*found)[count]));
        end = (*found)[count++].at;
    }
    if (end == 0 && count == 0)
        return FAIL(GPUZIP_ERR_FORMAT); /* nothing, or zeros */
    TRY(walk_frames(w, end));
    while (count > 0)
        TRY(add_indexed(w, &(*found)[--count], index));
    return GPUZIP_OK;
}

gpuzip_status archive_make_table(gpuzip *gz, gpuzip_archive *a)
{
    walker w = {.gz = gz, .a = a};
    indexed_frame *found = NULL;
    container_index *index = malloc(sizeof *index);
    gpuzip_status status = GPUZIP_ERR_MEMORY;
    if (index)
        status = make_table(&w, index, &found);
    free(index);
    free(found);
    free(w.in.data);
    return archive_fail(gz, status, a->frames);
}

/* ---- comparing ------------------------------------------------------------- */

/* The header of frame i, and the end mark of the frame before it. */
static gpuzip_status verify_frame(walker *w, size_t i)
{
    const archive_frame_place *f = &w->a->frame[i];
    container_frame frame;
    container_end end;
    if (i > 0) {
        size_t size = container_end_size(f[-1].raw_size);
        go(w, f[-1].end_at);
        TRY(archive_end(&w->in, size, &end));
        if (end.raw_size != f[-1].raw_size)
            return FAIL(GPUZIP_ERR_CORRUPT);
    }
    go(w, f->at);
    TRY(archive_frame(w->gz, &w->in, &frame));
    return place(w) == f->at + f->head_size ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
}

static gpuzip_status verify_block(walker *w, const archive_block *b)
{
    container_prefix prefix;
    go(w, b->at);
    TRY(archive_prefix(&w->in, &prefix));
    return prefix.kind == b->kind && prefix.raw_size == b->raw_size && prefix.size == b->size
               ? GPUZIP_OK
               : FAIL(GPUZIP_ERR_CORRUPT);
}

/* Compares blocks and the frames that they are in, up to block i. */
static gpuzip_status verify(walker *w, size_t i)
{
    gpuzip_archive *a = w->a;
    for (; a->blocks_known <= i; a->blocks_known++) {
        const archive_block *b = &a->block[a->blocks_known];
        for (; a->frames_known <= b->frame; a->frames_known++)
            TRY(verify_frame(w, a->frames_known));
        TRY(verify_block(w, b));
    }
    return GPUZIP_OK;
}

gpuzip_status archive_verify(gpuzip *gz, gpuzip_archive *a, size_t i)
{
    walker w = {.gz = gz, .a = a};
    gpuzip_status status = verify(&w, i);
    free(w.in.data);
    if (status == GPUZIP_ERR_CORRUPT || status == GPUZIP_ERR_FORMAT)
        return session_fail(gz, GPUZIP_ERR_CORRUPT, "damaged: the index does not fit the blocks");
    return archive_fail(gz, status, 0);
}
