/* salvage.c: see salvage.h. */
#include "salvage.h"

#include <string.h>

/* What begins at a place of the input. */
typedef enum {
    PLACE_DAMAGED,
    PLACE_FRAME, /* an intact frame header, also of a version that this program lacks */
    PLACE_BLOCK, /* an intact block */
    PLACE_CLOSE, /* an end mark, behind which the input ends, a frame begins or zeros come */
    PLACE_OVER   /* the end of the input */
} place_kind;

typedef struct {
    place_kind kind;
    size_t size; /* bytes; PLACE_DAMAGED: of the block that its first bytes announce, or 0 */
    gpuzip_status status; /* of a frame header: OK or UNSUPPORTED */
    container_frame frame;
    container_block block;
    container_end end;
    uint32_t raw_size; /* PLACE_DAMAGED: the content that is announced, if size is not 0 */
} place;

/* Bytes at `ahead` behind the first unused one; *have: how many of `wanted` there are. */
static gpuzip_status look(decoding *d, size_t ahead, size_t wanted, const uint8_t **bytes,
                          size_t *have)
{
    archive_input *in = &d->in;
    TRY(archive_fill(in, ahead + wanted));
    size_t all = archive_have(in, ahead + wanted);
    *have = all > ahead ? all - ahead : 0;
    *bytes = in->data + in->first + (all > ahead ? ahead : all);
    return GPUZIP_OK;
}

/* Whether a frame header begins at `ahead`. */
static gpuzip_status look_for_frame(decoding *d, size_t ahead, place *found)
{
    const uint8_t *bytes;
    size_t have, size;
    TRY(look(d, ahead, CONTAINER_FRAME_PREFIX, &bytes, &have));
    if (have == 0 || container_peek_frame(bytes, have, &size) != GPUZIP_OK)
        return GPUZIP_OK;
    TRY(look(d, ahead, size, &bytes, &have));
    gpuzip_status status = container_read_frame(&found->frame, bytes, have);
    if (status != GPUZIP_OK && status != GPUZIP_ERR_UNSUPPORTED)
        return GPUZIP_OK;
    found->kind = PLACE_FRAME;
    found->size = size;
    found->status = status;
    return GPUZIP_OK;
}

/* Whether an end mark of so many bytes begins at `ahead`. It has no check, so the bytes behind it
 * must fit. */
static gpuzip_status look_for_end(decoding *d, size_t ahead, size_t size, place *found)
{
    const uint8_t *bytes;
    size_t have;
    place behind = {.kind = PLACE_DAMAGED};
    if (!d->recognised)
        return GPUZIP_OK; /* a file of zeros has many */
    TRY(look(d, ahead, size + (d->index.head_size ? CONTAINER_INDEX_MAX : 1), &bytes, &have));
    if (container_read_end(&found->end, bytes, have < size ? have : size) != GPUZIP_OK)
        return GPUZIP_OK;
    bool fits = have == size || bytes[size] == 0 ||
                salvage_index_match(&d->index, bytes + size, have - size);
    if (!fits)
        TRY(look_for_frame(d, ahead + size, &behind));
    if (fits || behind.kind == PLACE_FRAME) {
        found->kind = PLACE_CLOSE;
        found->size = size;
    }
    return GPUZIP_OK;
}

/* Looks at what begins at `ahead`. */
static gpuzip_status look_at(decoding *d, size_t ahead, place *found)
{
    const uint8_t *bytes;
    size_t have;
    container_prefix prefix;
    *found = (place){.kind = PLACE_DAMAGED};
    TRY(look(d, ahead, CONTAINER_BLOCK_PREFIX, &bytes, &have));
    if (have == 0)
        found->kind = PLACE_OVER;
    TRY(look_for_frame(d, ahead, found));
    if (found->kind != PLACE_DAMAGED)
        return GPUZIP_OK;
    TRY(look(d, ahead, CONTAINER_BLOCK_PREFIX, &bytes, &have));
    if (container_peek_block(&prefix, bytes, have) != GPUZIP_OK)
        return GPUZIP_OK;
    if (prefix.kind == CONTAINER_END)
        return look_for_end(d, ahead, prefix.size, found);
    TRY(look(d, ahead, prefix.size, &bytes, &have));
    if (container_read_block(&found->block, bytes, have) == GPUZIP_OK)
        found->kind = PLACE_BLOCK;
    found->size = prefix.size;
    found->raw_size = prefix.raw_size;
    return GPUZIP_OK;
}

/* Passes the damaged bytes that begin here: with the block that they announce, if something intact
 * or the end of the input follows it; else up to the next intact place. */
static gpuzip_status pass_damage(decoding *d, const place *here)
{
    place next = {.kind = PLACE_DAMAGED};
    if (here->size > 0 && archive_have(&d->in, here->size) == here->size)
        TRY(look_at(d, here->size, &next));
    if (next.kind != PLACE_DAMAGED) {
        d->in.first += here->size;
        return decoding_gap(d, here->raw_size);
    }
    while (next.kind == PLACE_DAMAGED) {
        d->in.first++;
        TRY(look_at(d, 0, &next));
    }
    /* Nothing at all was found: the file is another kind. */
    return next.kind == PLACE_OVER && !d->recognised ? GPUZIP_OK : decoding_gap(d, 0);
}

/* Uses up an intact block. Without its frame's header, or if its content cannot be had although
 * its check fits, it is a gap. */
static gpuzip_status take_block(decoding *d, const container_frame *frame, const place *here)
{
    gpuzip_status status = GPUZIP_ERR_CORRUPT;
    if (frame || here->block.kind != CONTAINER_CODED)
        status = decoding_block(d, frame, &here->block, here->size);
    if (status != GPUZIP_ERR_CORRUPT)
        return status;
    d->in.first += here->size;
    return decoding_gap(d, here->block.raw_size);
}

/* Passes zeros, which are padding behind an end mark. */
static gpuzip_status pass_zeros(decoding *d)
{
    const uint8_t *bytes;
    size_t have;
    for (;;) {
        TRY(look(d, 0, 1, &bytes, &have));
        if (have == 0 || *bytes != 0)
            return GPUZIP_OK;
        d->in.first++;
    }
}

/* Passes the index frame that is due here, intact or damaged; *passed: whether there was one. Its
 * loss is no loss of content. */
static gpuzip_status pass_index(decoding *d, bool *passed)
{
    const uint8_t *bytes;
    size_t have;
    container_index read;
    TRY(look(d, 0, CONTAINER_INDEX_MAX, &bytes, &have));
    size_t size = salvage_index_match(&d->index, bytes, have);
    *passed = size > 0;
    if (size == 0)
        return GPUZIP_OK;
    if (container_read_index(&read, bytes, size) != GPUZIP_OK)
        d->f.way.stats.damaged_indexes++;
    d->in.first += size;
    d->index.piece++;
    return GPUZIP_OK;
}

/* Passes all index frames behind a frame's end mark, and padding. */
static gpuzip_status pass_behind_end(decoding *d)
{
    bool passed = true;
    while (passed)
        TRY(pass_index(d, &passed));
    salvage_index_begin(&d->index, NULL, 0);
    return pass_zeros(d);
}

gpuzip_status salvage_file(decoding *d)
{
    place here, first = {.kind = PLACE_DAMAGED}; /* first.frame: the current frame's settings */
    bool within = false;                         /* a frame */
    for (;;) {
        TRY(look_at(d, 0, &here));
        if (here.kind == PLACE_OVER)
            break;
        switch (here.kind) {
        case PLACE_FRAME:
            if (here.status != GPUZIP_OK)
                return archive_frame(d->f.gz, &d->in, &here.frame); /* sets the text */
            if (within)
                TRY(decoding_gap(d, 0)); /* the end mark is missing */
            first = here;
            within = d->recognised = true;
            salvage_index_begin(&d->index, &here.frame, here.size);
            d->in.first += here.size;
            break;
        case PLACE_BLOCK:
            if (!within)
                TRY(decoding_gap(d, 0)); /* its header is missing */
            TRY(salvage_index_add(&d->index, &here.block, here.size));
            TRY(take_block(d, within && first.kind == PLACE_FRAME ? &first.frame : NULL, &here));
            within = d->recognised = true;
            break;
        case PLACE_CLOSE:
            d->in.first += here.size;
            TRY(decoding_end(d, &here.end));
            within = false;
            first.kind = PLACE_DAMAGED;
            TRY(pass_behind_end(d));
            break;
        default:
            salvage_index_begin(&d->index, NULL, 0);
            TRY(pass_damage(d, &here));
            within = true; /* whatever was there */
        }
    }
    if (!d->recognised)
        return FAIL(GPUZIP_ERR_FORMAT);
    d->f.way.stats.bytes_in = d->in.bytes_in;
    return within ? decoding_gap(d, 0) : GPUZIP_OK;
}
