/* decompress.c: from .gpz frames to the original bytes. */
#include <stdlib.h>
#include <string.h>

#include "archive_input.h"
#include "coding_file.h"
#include "packed.h"

/* A file being decompressed. */
typedef struct {
    coding_file f;
    archive_input in;
    uint64_t frame_bytes; /* of a frame's content written */
    uint64_t frames;      /* read whole */
} decompressor;

/* ---- writing: in the order of the file ----------------------------------- */

static gpuzip_status write_content(decompressor *d, const uint8_t *content, size_t size)
{
    const gpuzip_io *io = &d->f.way.io;
    container_hash_add(d->f.hash, content, size);
    if (io->write && io->write(io->context, content, size))
        return session_fail(d->f.gz, GPUZIP_ERR_IO, "writing failed");
    d->frame_bytes += size;
    d->f.way.stats.bytes_out += size;
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

/* Reads a frame and submits its blocks and its end. */
static gpuzip_status read_frame(decompressor *d)
{
    container_frame frame;
    container_prefix prefix;
    container_end end;
    TRY(archive_frame(d->f.gz, &d->in, &frame));
    for (;;) {
        TRY(archive_prefix(&d->in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        TRY(read_block(d, &frame, prefix.size));
    }
    TRY(archive_end(&d->in, prefix.size, &end));
    pipeline_submit_end(d->f.gz->p, &d->f.way, frame_done, &end);
    d->frames++;
    return coding_status(&d->f);
}

static gpuzip_status read_file(decompressor *d)
{
    bool more;
    do {
        TRY(read_frame(d));
        TRY(archive_more(&d->in, &more));
    } while (more);
    d->f.way.stats.bytes_in = d->in.bytes_in;
    return GPUZIP_OK;
}

/* ---- a file, from reading to its end -------------------------------------- */

static void decompress(gpuzip *gz, const gpuzip_io *io,
                       void (*ended)(void *, gpuzip_status, const gpuzip_stats *), void *context)
{
    decompressor *d = calloc(1, sizeof *d);
    if (!d) {
        gz->error[0] = '\0';
        if (ended)
            ended(context, FAIL(GPUZIP_ERR_MEMORY), NULL);
        return;
    }
    if (coding_open(&d->f, gz, io, d, ended, context) != GPUZIP_OK) {
        free(d);
        return;
    }
    d->in.io = &d->f.way.io;
    coding_read_all(&d->f, read_file(d), file_done);
}

gpuzip_status gpuzip_decompress_stream(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats)
{
    coding_outcome outcome = {.stats = stats};
    decompress(gz, io, coding_keep_outcome, &outcome);
    gpuzip_finish(gz);
    return outcome.status;
}

void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io)
{
    decompress(gz, io, io->ended, io->context);
}
