/* decompress.c: from .gpz frames to the original bytes. */
#include <stdlib.h>
#include <string.h>

#include "archive_input.h"
#include "files.h"
#include "packed.h"

/* A file being read. */
typedef struct {
    gpuzip *gz;
    file *f;
    archive_input in;
} decompressor;

/* ---- reading ------------------------------------------------------------ */

/* Refuses a packed block that needs more memory than the limit. */
static gpuzip_status check_unpack_memory(gpuzip *gz, size_t raw_size)
{
    uint64_t needs = packed_unpack_bytes(raw_size);
    if (!gz->memory_limit || needs <= gz->memory_limit)
        return GPUZIP_OK;
    return session_fail(
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
    coding_plan plan;
    TRY(plan_frame(d->gz, frame, &plan));
    block_rules rules = plan_rules(d->gz, &plan);
    rules.decode = true;
    TRY(plan_check_memory(d->gz, &rules, read->tokens, read->streams));
    return files_prepare(d->gz, d->f, &plan, &rules);
}

static gpuzip_status read_block(decompressor *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(archive_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, archive_have(&d->in, size)));
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
    TRY(archive_frame(d->gz, &d->in, &frame));
    for (;;) {
        TRY(archive_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(read_block(d, &frame, prefix.size));
    }
    TRY(archive_end(&d->in, prefix.size, &end));
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
        TRY_OUT(archive_fill(&d.in, 1));
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
        return session_fail(gz, GPUZIP_ERR_IO, "writing failed");
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

static const file_kind decompressing = {read_file, write_block, check_end, archive_fail};

gpuzip_status gpuzip_decompress(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats)
{
    return files_run(gz, &decompressing, io, stats, NULL);
}

void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io)
{
    files_begin(gz, &decompressing, io, io->ended, io->context, NULL);
}
