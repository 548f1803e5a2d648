/* decompress.c: from .gpz frames to the original bytes. */
#include <stdlib.h>
#include <string.h>

#include "decompressor.h"
#include "packed.h"

/* ---- writing: in the order of the file ----------------------------------- */

/* Takes a block's content and writes the part of it that is wanted. */
static gpuzip_status write_content(decompressor *d, const uint8_t *content, size_t size)
{
    const gpuzip_io *io = &d->f.way.io;
    uint64_t at = d->write_at, from = at < d->begin ? d->begin - at : 0;
    uint64_t to = d->end - at < size ? d->end - at : size;
    container_hash_add(d->f.hash, content, size);
    if (io->write && to > from && io->write(io->context, content + from, (size_t)(to - from)))
        return session_fail(d->f.gz, GPUZIP_ERR_IO, "writing failed");
    d->write_at += size;
    d->frame_bytes += size;
    d->f.way.stats.bytes_out += to - from;
    d->f.way.stats.blocks++;
    return GPUZIP_OK;
}

static void block_done(pipeline_job *job)
{
    decompressor *d = job->file->owner;
    const block *b = &job->b;
    gpuzip_stats *stats = &d->f.way.stats;
    bool stored = b->kind == CONTAINER_STORED;
    if (!coding_may_write(&d->f, job))
        return;
    stats->stored_blocks += stored;
    stats->packed_blocks += b->kind == CONTAINER_PACKED;
    if (b->kind == CONTAINER_CODED) {
        stats->tokens += b->tokens;
        stats->model_bytes += b->content_size;
        stats->coder_bits += 8.0 * (double)b->coded.payload_size;
    }
    coding_wrote(&d->f, job,
                 write_content(d, stored ? b->coded.payload : b->content,
                               stored ? b->coded.payload_size : b->content_size));
}

static void frame_done(pipeline_job *job)
{
    decompressor *d = job->file->owner;
    const container_end *end = &job->end;
    gpuzip_status status = GPUZIP_OK;
    if (!coding_may_write(&d->f, job))
        return;
    if (end->raw_size != d->frame_bytes || end->content_hash != container_hash_value(d->f.hash))
        status = FAIL(GPUZIP_ERR_CORRUPT);
    container_hash_reset(d->f.hash);
    d->frame_bytes = 0;
    coding_wrote(&d->f, job, status);
}

/* As frame_done(), of a frame of which some blocks were skipped: nothing tells its hash. */
static void part_done(pipeline_job *job)
{
    decompressor *d = job->file->owner;
    container_hash_reset(d->f.hash);
    d->frame_bytes = 0;
}

static void file_done(pipeline_job *job)
{
    decompressor *d = job->file->owner;
    gpuzip_status status = coding_outcome_of(&d->f);
    coding_end(&d->f, archive_fail(d->f.gz, status, d->frames));
    free(d->in.data);
    free(d);
}

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
    TRY(coding_next(&d->f, read->raw_size, &b));
    TRY(block_reserve(b, size));
    memcpy(b->code, d->in.data + d->in.first, size);
    b->code_size = size;
    TRY(container_read_block(&b->coded, b->code, size)); /* as *read, but pointing there */
    b->kind = read->kind;
    if (b->kind == CONTAINER_PACKED) {
        TRY(check_unpack_memory(d->f.gz, read->raw_size));
        TRY(block_unpack(b));
    }
    pipeline_submit(d->f.gz->p, &d->f.way, block_done, read->raw_size, size);
    return GPUZIP_OK;
}

/* Makes the pipeline ready for a coded block. Others need no model, and perhaps none is
 * there. */
static gpuzip_status prepare_coded(decompressor *d, const container_frame *frame,
                                   const container_block *read)
{
    coding_plan plan;
    TRY(plan_frame(d->f.gz, frame, &plan));
    block_rules rules = plan_rules(d->f.gz, &plan);
    rules.decode = true;
    TRY(plan_check_memory(d->f.gz, &rules, read->tokens, read->streams));
    TRY(pipeline_prepare(d->f.gz->p, &plan, &rules));
    return coding_status(&d->f);
}

gpuzip_status decompressor_read_block(decompressor *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(archive_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, archive_have(&d->in, size)));
    if (read.kind == CONTAINER_CODED)
        TRY(prepare_coded(d, frame, &read));
    if (!d->begun) { /* blocks before it were skipped */
        d->write_at = d->read_at;
        d->begun = true;
    }
    TRY(submit_block(d, &read, size));
    d->read_at += read.raw_size;
    d->in.first += size;
    return GPUZIP_OK;
}

void decompressor_end_part(decompressor *d)
{
    pipeline_submit_end(d->f.gz->p, &d->f.way, part_done, NULL);
}

/* Reads a frame and submits its blocks, as far as they are wanted, and its end. */
static gpuzip_status read_frame(decompressor *d)
{
    container_frame frame;
    container_prefix prefix;
    container_end end;
    bool whole = true;
    TRY(archive_frame(d->f.gz, &d->in, &frame));
    for (;;) {
        if (d->read_at >= d->end)
            return coding_status(&d->f);
        TRY(archive_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        if (d->read_at < d->begin && prefix.raw_size <= d->begin - d->read_at) {
            whole = false;
            TRY(archive_skip(&d->in, prefix.size));
            d->read_at += prefix.raw_size;
        } else {
            TRY(decompressor_read_block(d, &frame, prefix.size));
        }
    }
    TRY(archive_end(&d->in, prefix.size, &end));
    if (whole)
        pipeline_submit_end(d->f.gz->p, &d->f.way, frame_done, &end);
    else
        decompressor_end_part(d);
    d->frames++;
    return coding_status(&d->f);
}

gpuzip_status decompressor_fail_range(decompressor *d, uint64_t size)
{
    return session_fail(d->f.gz, GPUZIP_ERR_ARGUMENT,
                        "the content has %llu bytes, and the range begins behind them",
                        (unsigned long long)size);
}

static gpuzip_status read_file(decompressor *d)
{
    bool more = true;
    while (more && d->read_at < d->end) {
        TRY(read_frame(d));
        if (d->read_at < d->end)
            TRY(archive_more(&d->in, &more));
    }
    d->f.way.stats.bytes_in = d->in.bytes_in;
    return d->read_at < d->begin ? decompressor_fail_range(d, d->read_at) : GPUZIP_OK;
}

/* ---- a file, from reading to its end -------------------------------------- */

decompressor *decompressor_open(gpuzip *gz, const gpuzip_io *io,
                                void (*ended)(void *, gpuzip_status, const gpuzip_stats *),
                                void *context)
{
    decompressor *d = calloc(1, sizeof *d);
    if (!d) {
        gz->error[0] = '\0';
        if (ended)
            ended(context, FAIL(GPUZIP_ERR_MEMORY), NULL);
        return NULL;
    }
    if (coding_open(&d->f, gz, io, d, ended, context) != GPUZIP_OK) {
        free(d);
        return NULL;
    }
    d->in.io = &d->f.way.io;
    d->end = UINT64_MAX;
    return d;
}

void decompressor_end(decompressor *d, gpuzip_status status)
{
    coding_read_all(&d->f, status, file_done);
}

gpuzip_status gpuzip_decompress_stream(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats)
{
    return gpuzip_decompress_range(gz, io, 0, UINT64_MAX, stats);
}

gpuzip_status gpuzip_decompress_range(gpuzip *gz, const gpuzip_io *io, uint64_t offset,
                                      uint64_t length, gpuzip_stats *stats)
{
    coding_outcome outcome = {.stats = stats};
    decompressor *d = decompressor_open(gz, io, coding_keep_outcome, &outcome);
    if (d) {
        decompressor_set_range(d, offset, length);
        decompressor_end(d, read_file(d));
    }
    gpuzip_finish(gz);
    return outcome.status;
}

void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io)
{
    decompressor *d = decompressor_open(gz, io, io->ended, io->context);
    if (d)
        decompressor_end(d, read_file(d));
}
