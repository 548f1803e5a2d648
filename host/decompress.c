/* decompress.c: from .gpz frames to the original bytes; listing. Input may be hostile:
 * container_read_*() check what they return, and memory is bounded before it is taken. */
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

/* Bytes read but not yet used. */
typedef struct {
    const gpuzip_io *io;
    uint8_t *data;
    size_t first, end, capacity; /* data[first, end) is there */
    uint64_t bytes_in;           /* read so far */
    bool ended;                  /* the input has no more */
} input;

typedef struct {
    gpuzip *gz;
    const gpuzip_io *io;
    input in;
    pipeline *p; /* of this frame; opened at its first coded block */
    handle_plan plan;
    block_rules rules;
    container_hash *hash;
    uint64_t frame_bytes; /* of content so far */
    gpuzip_stats stats;
} decompressor;

/* ---- input -------------------------------------------------------------- */

/* Reads until `size` bytes are there or the input ends. */
static gpuzip_status input_fill(input *in, size_t size)
{
    if (in->first + size > in->capacity) {
        size_t have = in->end - in->first;
        if (size > in->capacity) {
            uint8_t *grown = malloc(size);
            if (!grown)
                return FAIL(GPUZIP_ERR_MEMORY);
            if (have)
                memcpy(grown, in->data + in->first, have);
            free(in->data);
            in->data = grown;
            in->capacity = size;
        } else {
            memmove(in->data, in->data + in->first, have);
        }
        in->first = 0;
        in->end = have;
    }
    while (in->end - in->first < size && !in->ended) {
        size_t got;
        if (in->io->read(in->io->context, in->data + in->end, size - (in->end - in->first), &got))
            return FAIL(GPUZIP_ERR_IO);
        in->end += got;
        in->bytes_in += got;
        in->ended = got == 0;
    }
    return GPUZIP_OK;
}

static size_t input_have(const input *in, size_t wanted)
{
    size_t have = in->end - in->first;
    return have < wanted ? have : wanted;
}

/* Reads the frame header that comes next. */
static gpuzip_status input_frame(input *in, container_frame *frame)
{
    size_t size;
    TRY(input_fill(in, CONTAINER_FRAME_PREFIX));
    TRY(container_peek_frame(in->data + in->first, input_have(in, CONTAINER_FRAME_PREFIX), &size));
    TRY(input_fill(in, size));
    TRY(container_read_frame(frame, in->data + in->first, input_have(in, size)));
    in->first += size;
    return GPUZIP_OK;
}

/* Reads the beginning of the next block or end mark. */
static gpuzip_status input_prefix(input *in, container_prefix *prefix)
{
    TRY(input_fill(in, CONTAINER_BLOCK_PREFIX));
    return container_peek_block(prefix, in->data + in->first,
                                input_have(in, CONTAINER_BLOCK_PREFIX));
}

static gpuzip_status input_end(input *in, size_t size, container_end *end)
{
    TRY(input_fill(in, size));
    TRY(container_read_end(end, in->data + in->first, input_have(in, size)));
    in->first += size;
    return GPUZIP_OK;
}

/* Says in words what is wrong with the file. */
static gpuzip_status explain(gpuzip *gz, gpuzip_status status, uint64_t frames)
{
    if (status == GPUZIP_OK || gz->error[0])
        return status;
    switch (status) {
    case GPUZIP_ERR_FORMAT:
        if (frames)
            return handle_fail(gz, GPUZIP_ERR_CORRUPT,
                               "bytes follow the end that are no gpuzip data");
        return handle_fail(gz, status, "not a gpuzip file");
    case GPUZIP_ERR_CORRUPT:
        return handle_fail(gz, status, "truncated or damaged");
    case GPUZIP_ERR_UNSUPPORTED:
        return handle_fail(gz, status, "made by a newer version of gpuzip");
    case GPUZIP_ERR_IO:
        return handle_fail(gz, status, "reading failed");
    case GPUZIP_ERR_MEMORY:
        return handle_fail(gz, status, "not enough memory");
    default:
        return status;
    }
}

/* ---- blocks ------------------------------------------------------------- */

static gpuzip_status write_content(decompressor *d, const uint8_t *raw, size_t size)
{
    container_hash_add(d->hash, raw, size);
    if (d->io->write && d->io->write(d->io->context, raw, size))
        return handle_fail(d->gz, GPUZIP_ERR_IO, "writing failed");
    d->frame_bytes += size;
    d->stats.bytes_out += size;
    d->stats.blocks++;
    return GPUZIP_OK;
}

/* Takes the earliest block and writes it; *done: there was none. */
static gpuzip_status write_block(decompressor *d, bool *done)
{
    block *b;
    TRY(pipeline_take(d->p, &b));
    *done = !b;
    if (!b)
        return GPUZIP_OK;
    if (b->stored) {
        TRY(write_content(d, b->coded.payload, b->coded.payload_size));
        d->stats.stored_blocks++;
    } else {
        d->stats.tokens += b->tokens;
        d->stats.model_bytes += b->raw_size;
        d->stats.coder_bits += 8.0 * (double)b->coded.payload_size;
        TRY(write_content(d, b->raw, b->raw_size));
    }
    if (handle_tell(d->io, pipeline_input(d->p), d->stats.bytes_out))
        return FAIL(GPUZIP_ERR_CANCELLED);
    return GPUZIP_OK;
}

static gpuzip_status open_pipeline(decompressor *d, const container_frame *frame, size_t block_size)
{
    TRY(handle_plan_frame(d->gz, frame, &d->plan));
    d->rules = handle_rules(d->gz, &d->plan);
    d->rules.decode = true;
    return pipeline_open(&d->p, d->gz, &d->plan, &d->rules, block_size, d->io, &d->stats);
}

/* A block to read the next one of the file into; earlier ones are written till there is
 * room for it. */
static gpuzip_status next_block(decompressor *d, size_t raw_size, block **b)
{
    bool done = false;
    while (!done && (*b = pipeline_next(d->p, raw_size)) == NULL)
        TRY(write_block(d, &done));
    return GPUZIP_OK;
}

/* Puts a block of `size` bytes that is whole in the input under way. */
static gpuzip_status submit_block(decompressor *d, const container_block *read, size_t size)
{
    block *b;
    TRY(next_block(d, read->raw_size, &b));
    TRY(block_reserve(b, 0, size));
    memcpy(b->code, d->in.data + d->in.first, size);
    b->code_size = size;
    TRY(container_read_block(&b->coded, b->code, size)); /* as *read, but pointing there */
    b->stored = read->kind == CONTAINER_STORED;
    pipeline_submit(d->p, size);
    return GPUZIP_OK;
}

/* A stored block where no model is needed yet, and perhaps none is there. */
static gpuzip_status write_stored(decompressor *d, const container_block *read, size_t size)
{
    TRY(write_content(d, read->payload, read->payload_size));
    d->stats.stored_blocks++;
    if (handle_tell(d->io, d->in.bytes_in - (d->in.end - d->in.first) + size, d->stats.bytes_out))
        return FAIL(GPUZIP_ERR_CANCELLED);
    return GPUZIP_OK;
}

static gpuzip_status decompress_block(decompressor *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(input_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, input_have(&d->in, size)));
    if (read.kind == CONTAINER_CODED) {
        if (!d->p)
            TRY(open_pipeline(d, frame, read.raw_size));
        TRY(handle_check_memory(d->gz, &d->rules, read.streams));
    }
    TRY(d->p ? submit_block(d, &read, size) : write_stored(d, &read, size));
    d->in.first += size;
    return GPUZIP_OK;
}

/* Reads the blocks up to the end mark, whose size is *end_size, and submits them. */
static gpuzip_status read_blocks(decompressor *d, const container_frame *frame, size_t *end_size)
{
    for (;;) {
        container_prefix prefix;
        TRY(input_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END) {
            *end_size = prefix.size;
            return GPUZIP_OK;
        }
        TRY(decompress_block(d, frame, prefix.size));
    }
}

/* Writes what is still under way. */
static gpuzip_status drain(decompressor *d)
{
    bool done = !d->p;
    while (!done)
        TRY(write_block(d, &done));
    return GPUZIP_OK;
}

static gpuzip_status decompress_frame(decompressor *d)
{
    container_frame frame;
    container_end end;
    size_t end_size = 0;
    TRY(input_frame(&d->in, &frame));
    container_hash_reset(d->hash);
    d->frame_bytes = 0;
    gpuzip_status status = read_blocks(d, &frame, &end_size);
    /* What stands before a damaged place is written, as if it had been found just then. */
    gpuzip_status earlier = status == GPUZIP_ERR_CANCELLED ? status : drain(d);
    TRY(earlier != GPUZIP_OK ? earlier : status);
    TRY(input_end(&d->in, end_size, &end));
    if (end.raw_size != d->frame_bytes || end.content_hash != container_hash_value(d->hash))
        return FAIL(GPUZIP_ERR_CORRUPT);
    return GPUZIP_OK;
}

gpuzip_status gpuzip_decompress(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats)
{
    gpuzip_status status = GPUZIP_OK;
    uint64_t frames = 0;
    decompressor d = {.gz = gz, .io = io, .in = {.io = io}};
    gz->error[0] = '\0';
    TRY_OUT(container_hash_open(&d.hash));
    do {
        TRY_OUT(decompress_frame(&d));
        frames++;
        pipeline_close(d.p);
        d.p = NULL;
        TRY_OUT(input_fill(&d.in, 1));
    } while (d.in.end > d.in.first);
    d.stats.bytes_in = d.in.bytes_in;
    if (stats)
        *stats = d.stats;
out:
    pipeline_close(d.p);
    container_hash_close(d.hash);
    free(d.in.data);
    return explain(gz, status, frames);
}

/* ---- listing ------------------------------------------------------------ */

/* Goes past `size` bytes without holding them. */
static gpuzip_status input_skip(input *in, size_t size)
{
    while (size) {
        size_t part = size < 65536 ? size : 65536;
        TRY(input_fill(in, part));
        if (input_have(in, part) < part)
            return FAIL(GPUZIP_ERR_CORRUPT);
        in->first += part;
        size -= part;
    }
    return GPUZIP_OK;
}

static void list_frame(const gpuzip *gz, const container_frame *frame, gpuzip_info *info)
{
    for (int k = 0; k < frame->experts; k++) {
        if (frame->expert[k].kind == CONTAINER_EXPERT_MODEL &&
            !handle_find_model(gz, frame->expert[k].model_id))
            info->model_known = false;
    }
    if (info->frames++)
        return;
    info->version = CONTAINER_VERSION;
    info->window = (int)frame->window;
    info->hop = (int)frame->hop;
    info->update_interval = (int)frame->update_interval;
    info->contexts = frame->contexts;
    info->biases = frame->biases;
    info->learn_alphas = frame->learns_alphas;
    info->experts = frame->experts;
    for (int k = 0; k < frame->experts; k++) {
        info->expert[k].kind = (gpuzip_expert_kind)frame->expert[k].kind;
        info->expert[k].alpha = frame->expert[k].alpha / (double)CONTAINER_ALPHA_ONE;
        memcpy(info->expert[k].model_id, frame->expert[k].model_id, CONTAINER_MODEL_BYTES);
    }
}

static gpuzip_status list_blocks(input *in, gpuzip_info *info)
{
    container_prefix prefix;
    container_end end;
    uint64_t size = 0;
    for (;;) {
        TRY(input_prefix(in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(input_skip(in, prefix.size));
        size += prefix.raw_size;
        info->blocks++;
        info->stored_blocks += prefix.kind == CONTAINER_STORED;
    }
    TRY(input_end(in, prefix.size, &end));
    if (end.raw_size != size)
        return FAIL(GPUZIP_ERR_CORRUPT);
    info->size += size;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_peek(gpuzip *gz, const gpuzip_io *io, gpuzip_info *info)
{
    gpuzip_status status = GPUZIP_OK;
    gpuzip_info listed = {.model_known = true};
    container_frame frame;
    input in = {.io = io};
    gz->error[0] = '\0';
    do {
        TRY_OUT(input_frame(&in, &frame));
        list_frame(gz, &frame, &listed);
        TRY_OUT(list_blocks(&in, &listed));
        TRY_OUT(input_fill(&in, 1));
    } while (in.end > in.first);
    listed.compressed_size = in.bytes_in;
    *info = listed;
out:
    free(in.data);
    return explain(gz, status, listed.frames);
}
