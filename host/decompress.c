/* decompress.c: from .gpz frames to the original bytes; listing. Input may be hostile:
 * container_read_*() check what they return, and memory is bounded before it is taken. */
#include <stdlib.h>
#include <string.h>

#include "handle.h"

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
    lanes *l;           /* of this frame; opened at its first coded block */
    const tokenizer *t; /* with it */
    container_hash *hash;
    uint64_t frame_bytes; /* of content so far */
    gpuzip_stats stats;
    engine_costs costs;
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

/* Joins the tokens' bytes into raw[0, raw_size); anything else is CORRUPT. */
static gpuzip_status join_tokens(const tokenizer *t, const uint32_t *token, size_t n, uint8_t *raw,
                                 size_t raw_size)
{
    size_t used = 0, skip = tokenizer_prefix_bytes(t);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes;
        size_t size;
        TRY(tokenizer_token_bytes(t, token[i], &bytes, &size));
        size_t cut = size < skip ? size : skip;
        skip -= cut;
        if (size - cut > raw_size - used)
            return FAIL(GPUZIP_ERR_CORRUPT);
        memcpy(raw + used, bytes + cut, size - cut);
        used += size - cut;
    }
    return used == raw_size ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
}

gpuzip_status handle_decode_block(gpuzip *gz, lanes *l, const tokenizer *t,
                                  const container_block *coded, uint8_t **out, engine_costs *costs,
                                  const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    uint64_t needed = lanes_bytes(l, coded->streams);
    engine_block block = {.tokens = coded->tokens, .streams = coded->streams};
    uint8_t *raw = NULL;
    if (gz->memory_limit && needed > gz->memory_limit)
        return handle_fail(gz, GPUZIP_ERR_MEMORY,
                           "a block of %u streams needs %llu MiB, more than the limit of %llu MiB; "
                           "raise it with --memory",
                           coded->streams, (unsigned long long)(needed >> 20),
                           (unsigned long long)(gz->memory_limit >> 20));
    block.stream = calloc(coded->streams, sizeof *block.stream);
    block.token = malloc(coded->tokens * sizeof *block.token);
    raw = malloc(coded->raw_size);
    if (!block.stream || !block.token || !raw) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    container_read_streams(coded, block.stream);
    TRY_OUT(lanes_decode(l, &block, costs, progress));
    TRY_OUT(join_tokens(t, block.token, block.tokens, raw, coded->raw_size));
    if (container_check(raw, coded->raw_size) != coded->content_check) {
        status = FAIL(GPUZIP_ERR_CORRUPT);
        goto out;
    }
    *out = raw;
    raw = NULL;
out:
    free(raw);
    free(block.token);
    free(block.stream);
    return status;
}

static gpuzip_status write_content(decompressor *d, const uint8_t *raw, size_t size)
{
    container_hash_add(d->hash, raw, size);
    if (d->io->write && d->io->write(d->io->context, raw, size))
        return handle_fail(d->gz, GPUZIP_ERR_IO, "writing failed");
    d->frame_bytes += size;
    d->stats.bytes_out += size;
    d->stats.blocks++;
    if (handle_tell(d->io, d->in.bytes_in, d->stats.bytes_out))
        return FAIL(GPUZIP_ERR_CANCELLED);
    return GPUZIP_OK;
}

static gpuzip_status decode_coded(decompressor *d, const container_frame *frame,
                                  const container_block *block, size_t block_size)
{
    uint8_t *raw = NULL;
    if (!d->l) {
        handle_plan plan;
        const device *on = d->gz->gpus ? &d->gz->gpu[0] : &d->gz->cpu;
        TRY(handle_plan_frame(d->gz, frame, &plan));
        engine_config config = handle_plan_on(&plan, on);
        d->t = plan.t;
        TRY(lanes_open(&d->l, on->ops, on->ctx, &config, d->gz->threads));
    }
    handle_progress progress = {.gz = d->gz,
                                .io = d->io,
                                .bytes_in = d->in.bytes_in - block_size,
                                .bytes_out = d->stats.bytes_out,
                                .share = 1,
                                .block_bytes = (double)block_size};
    engine_progress steps = {handle_step, &progress};
    TRY(handle_decode_block(d->gz, d->l, d->t, block, &raw, &d->costs, &steps));
    d->stats.tokens += block->tokens;
    d->stats.model_bytes += block->raw_size;
    d->stats.coder_bits += 8.0 * (double)block->payload_size;
    gpuzip_status status = write_content(d, raw, block->raw_size);
    free(raw);
    return status;
}

static gpuzip_status decompress_block(decompressor *d, const container_frame *frame, size_t size)
{
    container_block block;
    TRY(input_fill(&d->in, size));
    TRY(container_read_block(&block, d->in.data + d->in.first, input_have(&d->in, size)));
    if (block.kind == CONTAINER_CODED) {
        TRY(decode_coded(d, frame, &block, size));
    } else {
        TRY(write_content(d, block.payload, block.payload_size));
        d->stats.stored_blocks++;
    }
    d->in.first += size;
    return GPUZIP_OK;
}

static gpuzip_status decompress_frame(decompressor *d)
{
    container_frame frame;
    container_prefix prefix;
    container_end end;
    TRY(input_frame(&d->in, &frame));
    container_hash_reset(d->hash);
    d->frame_bytes = 0;
    for (;;) {
        TRY(input_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(decompress_block(d, &frame, prefix.size));
    }
    TRY(input_end(&d->in, prefix.size, &end));
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
        lanes_close(d.l);
        d.l = NULL;
        TRY_OUT(input_fill(&d.in, 1));
    } while (d.in.end > d.in.first);
    d.stats.bytes_in = d.in.bytes_in;
    handle_add_costs(&d.stats, &d.costs);
    if (stats)
        *stats = d.stats;
out:
    lanes_close(d.l);
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
