/* decoding.c: see decoding.h. */
#include "decoding.h"

#include <string.h>

#include "packed.h"

/* ---- writing: in the order of the file ----------------------------------- */

/* Takes content and writes the part of it that is wanted. */
static gpuzip_status write_bytes(decoding *d, const uint8_t *content, size_t size)
{
    const gpuzip_io *io = &d->f.way.io;
    uint64_t at = d->write_at, from = at < d->begin ? d->begin - at : 0;
    uint64_t to = at > d->end ? 0 : d->end - at < size ? d->end - at : size;
    d->write_at += size;
    d->frame_bytes += size;
    if (from >= to)
        return GPUZIP_OK;
    if (io->write && io->write(io->context, content + from, (size_t)(to - from)))
        return session_fail(d->f.gz, GPUZIP_ERR_IO, "writing failed");
    d->f.way.stats.bytes_out += to - from;
    return GPUZIP_OK;
}

static gpuzip_status write_content(decoding *d, const uint8_t *content, size_t size)
{
    container_hash_add(d->f.hash, content, size);
    TRY(write_bytes(d, content, size));
    d->f.way.stats.blocks++;
    return GPUZIP_OK;
}

/* Writes zeros for lost bytes and tells the caller. */
static gpuzip_status write_gap(decoding *d, uint32_t size)
{
    static const uint8_t zeros[4096];
    const gpuzip_io *io = &d->f.way.io;
    d->frame_damaged = d->damaged = true;
    d->frame_inexact |= size == 0;
    io->lost(io->context, d->f.way.stats.bytes_out, size);
    for (uint32_t part; size; size -= part) {
        part = size < sizeof zeros ? size : (uint32_t)sizeof zeros;
        TRY(write_bytes(d, zeros, part));
    }
    return GPUZIP_OK;
}

static void block_done(pipeline_job *job)
{
    decoding *d = job->file->owner;
    block *b = &job->b;
    gpuzip_stats *stats = &d->f.way.stats;
    bool stored = b->kind == CONTAINER_STORED;
    bool lost = b->status == GPUZIP_ERR_CORRUPT && d->f.way.io.lost;
    if (lost)
        b->status = GPUZIP_OK;
    if (!coding_may_write(&d->f, job))
        return;
    if (lost) {
        coding_wrote(&d->f, job, write_gap(d, b->coded.raw_size));
        return;
    }
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
    decoding *d = job->file->owner;
    const container_end *end = &job->end;
    gpuzip_status status = GPUZIP_OK;
    if (!coding_may_write(&d->f, job))
        return;
    bool fits = d->frame_damaged || end->content_hash == container_hash_value(d->f.hash);
    if (!fits || (end->raw_size != d->frame_bytes && !d->frame_inexact))
        status = FAIL(GPUZIP_ERR_CORRUPT);
    /* Each block fits its check, but not all are here; or the size of a lost one was damaged. */
    if (status == GPUZIP_ERR_CORRUPT && d->f.way.io.lost)
        status = write_gap(d, 0);
    container_hash_reset(d->f.hash);
    d->frame_bytes = 0;
    d->frame_damaged = d->frame_inexact = false;
    coding_wrote(&d->f, job, status);
}

/* As frame_done(), of a frame of which some blocks were left out: nothing tells its hash. */
static void part_done(pipeline_job *job)
{
    decoding *d = job->file->owner;
    container_hash_reset(d->f.hash);
    d->frame_bytes = 0;
    d->frame_damaged = d->frame_inexact = false;
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

static gpuzip_status submit_block(decoding *d, const container_block *read, size_t size)
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

/* Adds the frame's models that nobody named, if they are at hand. Errors: those of adding one; none
 * if there is none, which plan_frame() reports. */
static gpuzip_status fetch_models(decoding *d, const container_frame *frame)
{
    gpuzip *gz = d->f.gz;
    for (int k = 0; k < frame->experts; k++) {
        const container_expert *expert = &frame->expert[k];
        if (expert->kind != CONTAINER_EXPERT_MODEL ||
            session_find_model(gz, expert->model_id, CONTAINER_MODEL_BYTES))
            continue;
        pipeline_drain(gz->p); /* the devices must be free */
        gz->error[0] = '\0';
        gpuzip_status status = session_fetch_model(gz, expert->model_id, CONTAINER_MODEL_BYTES);
        if (status != GPUZIP_OK && (status != GPUZIP_ERR_MODEL || gz->error[0]))
            return status;
    }
    return GPUZIP_OK;
}

/* Makes the pipeline ready for a coded block. Others need no model, and perhaps none is
 * there. */
static gpuzip_status prepare_coded(decoding *d, const container_frame *frame,
                                   const container_block *read)
{
    coding_plan plan;
    TRY(fetch_models(d, frame));
    TRY(plan_frame(d->f.gz, frame, &plan));
    block_rules rules = plan_rules(d->f.gz, &plan);
    rules.decode = true;
    TRY(plan_check_memory(d->f.gz, &rules, read->raw_size, read->tokens, read->streams));
    TRY(pipeline_prepare(d->f.gz->p, &plan, &rules));
    return coding_status(&d->f);
}

gpuzip_status decoding_block(decoding *d, const container_frame *frame, const container_block *read,
                             size_t size)
{
    if (read->kind == CONTAINER_CODED)
        TRY(prepare_coded(d, frame, read));
    if (!d->begun) { /* blocks before it were skipped */
        d->write_at = d->read_at;
        d->begun = true;
    }
    TRY(submit_block(d, read, size));
    d->read_at += read->raw_size;
    d->in.first += size;
    return GPUZIP_OK;
}

void decoding_end_part(decoding *d)
{
    pipeline_submit_end(d->f.gz->p, &d->f.way, part_done, NULL);
}

gpuzip_status decoding_end(decoding *d, const container_end *end)
{
    pipeline_submit_end(d->f.gz->p, &d->f.way, frame_done, end);
    d->frames++;
    return coding_status(&d->f);
}

gpuzip_status decoding_gap(decoding *d, uint32_t size)
{
    block *b;
    TRY(coding_next(&d->f, size, &b));
    b->kind = CONTAINER_STORED; /* no step of the pipeline is left */
    b->coded = (container_block){.kind = CONTAINER_STORED, .raw_size = size};
    b->status = GPUZIP_ERR_CORRUPT;
    pipeline_submit(d->f.gz->p, &d->f.way, block_done, size, 0);
    return GPUZIP_OK;
}
