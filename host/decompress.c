/* decompress.c: from .gpz frames to the original bytes; listing. Input may be hostile:
 * container_read_*() check what they return, and memory is bounded before it is taken. */
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "packed.h"

/* Bytes read but not yet used. */
typedef struct {
    const gpuzip_io *io;
    uint8_t *data;
    size_t first, end, capacity; /* data[first, end) is there */
    uint64_t bytes_in;           /* read so far */
    bool ended;                  /* the input has no more */
} input;

/* A file being read. */
typedef struct {
    gpuzip *gz;
    file *f;
    input in;
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

/* Says which version of the format an unsupported frame header has, and what to do. */
static gpuzip_status fail_version(gpuzip *gz, int version)
{
    if (version < CONTAINER_VERSION)
        return handle_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                           "a .gpz file of format version %d, and this program reads version %d "
                           "only: decompress it with the program that made it, then compress the "
                           "result again",
                           version, CONTAINER_VERSION);
    if (version > CONTAINER_VERSION)
        return handle_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                           "made by a newer version of gpuzip: a .gpz file of format version %d, "
                           "and this program reads version %d only",
                           version, CONTAINER_VERSION);
    return FAIL(GPUZIP_ERR_UNSUPPORTED);
}

/* Reads the frame header that comes next. */
static gpuzip_status input_frame(gpuzip *gz, input *in, container_frame *frame)
{
    size_t size;
    TRY(input_fill(in, CONTAINER_FRAME_PREFIX));
    TRY(container_peek_frame(in->data + in->first, input_have(in, CONTAINER_FRAME_PREFIX), &size));
    TRY(input_fill(in, size));
    gpuzip_status status = container_read_frame(frame, in->data + in->first, input_have(in, size));
    if (status == GPUZIP_ERR_UNSUPPORTED)
        return fail_version(gz, container_frame_version(in->data + in->first));
    TRY(status);
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

/* ---- reading ------------------------------------------------------------ */

/* Refuses a packed block that needs more memory than the limit. */
static gpuzip_status check_unpack_memory(gpuzip *gz, size_t raw_size)
{
    uint64_t needs = packed_unpack_bytes(raw_size);
    if (!gz->memory_limit || needs <= gz->memory_limit)
        return GPUZIP_OK;
    return handle_fail(
        gz, GPUZIP_ERR_MEMORY, "a block needs %llu KiB of memory, more than the limit of %llu KiB",
        (unsigned long long)(needs >> 10), (unsigned long long)(gz->memory_limit >> 10));
}

/* Puts a block of `size` bytes that is whole in the input under way. */
static gpuzip_status submit_block(decompressor *d, const container_block *read, size_t size)
{
    block *b;
    TRY(files_next(d->gz, d->f, read->raw_size, &b));
    TRY(block_reserve(b, size));
    memcpy(b->code, d->in.data + d->in.first, size);
    b->code_size = size;
    TRY(container_read_block(&b->coded, b->code, size)); /* as *read, but pointing there */
    b->kind = read->kind;
    if (b->kind == CONTAINER_PACKED) {
        TRY(check_unpack_memory(d->gz, read->raw_size));
        TRY(block_unpack(b));
    }
    pipeline_submit(d->gz->p, &d->f->way, read->raw_size, size);
    return GPUZIP_OK;
}

/* Makes the pipeline ready for a coded block. Others need no model, and perhaps none is
 * there. */
static gpuzip_status prepare_coded(decompressor *d, const container_frame *frame,
                                   const container_block *read)
{
    handle_plan plan;
    TRY(handle_plan_frame(d->gz, frame, &plan));
    block_rules rules = handle_rules(d->gz, &plan);
    rules.decode = true;
    TRY(handle_check_memory(d->gz, &rules, read->tokens, read->streams));
    return files_prepare(d->gz, d->f, &plan, &rules);
}

static gpuzip_status read_block(decompressor *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(input_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, input_have(&d->in, size)));
    if (read.kind == CONTAINER_CODED)
        TRY(prepare_coded(d, frame, &read));
    TRY(submit_block(d, &read, size));
    d->in.first += size;
    return GPUZIP_OK;
}

/* Reads a frame and submits what it holds. */
static gpuzip_status read_frame(decompressor *d)
{
    container_frame frame;
    container_prefix prefix;
    container_end end;
    TRY(input_frame(d->gz, &d->in, &frame));
    for (;;) {
        TRY(input_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(read_block(d, &frame, prefix.size));
    }
    TRY(input_end(&d->in, prefix.size, &end));
    TRY(files_end_frame(d->gz, d->f, &end));
    d->f->frames++;
    return GPUZIP_OK;
}

static gpuzip_status read_file(gpuzip *gz, file *f, const gpuzip_options *options)
{
    gpuzip_status status = GPUZIP_OK;
    decompressor d = {.gz = gz, .f = f, .in = {.io = &f->way.io}};
    (void)options;
    do {
        TRY_OUT(read_frame(&d));
        TRY_OUT(input_fill(&d.in, 1));
    } while (d.in.end > d.in.first);
    f->way.stats.bytes_in = d.in.bytes_in;
out:
    free(d.in.data);
    return status;
}

/* ---- writing ------------------------------------------------------------ */

static gpuzip_status write_content(gpuzip *gz, file *f, const uint8_t *raw, size_t size)
{
    const gpuzip_io *io = &f->way.io;
    container_hash_add(f->hash, raw, size);
    if (io->write && io->write(io->context, raw, size))
        return handle_fail(gz, GPUZIP_ERR_IO, "writing failed");
    f->frame_bytes += size;
    f->way.stats.bytes_out += size;
    f->way.stats.blocks++;
    return GPUZIP_OK;
}

static gpuzip_status write_block(gpuzip *gz, file *f, const pipeline_item *item)
{
    const block *b = &item->b;
    gpuzip_stats *stats = &f->way.stats;
    stats->stored_blocks += b->kind == CONTAINER_STORED;
    stats->packed_blocks += b->kind == CONTAINER_PACKED;
    if (b->kind == CONTAINER_STORED)
        return write_content(gz, f, b->coded.payload, b->coded.payload_size);
    if (b->kind == CONTAINER_PACKED)
        return write_content(gz, f, b->raw, b->raw_size);
    stats->tokens += b->tokens;
    stats->model_bytes += b->raw_size;
    stats->coder_bits += 8.0 * (double)b->coded.payload_size;
    return write_content(gz, f, b->raw, b->raw_size);
}

static gpuzip_status check_end(gpuzip *gz, file *f, const container_end *end)
{
    (void)gz;
    if (end->raw_size != f->frame_bytes || end->content_hash != container_hash_value(f->hash))
        return FAIL(GPUZIP_ERR_CORRUPT);
    container_hash_reset(f->hash);
    f->frame_bytes = 0;
    return GPUZIP_OK;
}

static const file_kind decompressing = {read_file, write_block, check_end, explain};

gpuzip_status gpuzip_decompress(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats)
{
    return files_run(gz, &decompressing, io, stats, NULL);
}

void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io)
{
    files_begin(gz, &decompressing, io, io->ended, io->context, NULL);
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
    info->window_scope = frame->window_scope;
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

/* What the first coded block adds, if it is whole; a list does not judge. */
static gpuzip_status list_streams(input *in, size_t size, gpuzip_info *info)
{
    container_block read;
    TRY(input_fill(in, size));
    if (container_read_block(&read, in->data + in->first, input_have(in, size)) == GPUZIP_OK)
        info->streams = (int)read.streams;
    return GPUZIP_OK;
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
        if (!info->blocks)
            info->block_size = prefix.raw_size;
        if (!info->streams && prefix.kind == CONTAINER_CODED)
            TRY(list_streams(in, prefix.size, info));
        TRY(input_skip(in, prefix.size));
        size += prefix.raw_size;
        info->blocks++;
        info->stored_blocks += prefix.kind == CONTAINER_STORED;
        info->packed_blocks += prefix.kind == CONTAINER_PACKED;
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
        TRY_OUT(input_frame(gz, &in, &frame));
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
