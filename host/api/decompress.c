/* decompress.c: from .gpz frames to the original bytes. */
#include <stdlib.h>

#include "decompress.h"
#include "salvage.h"

static void file_done(pipeline_job *job)
{
    decoding *d = job->file->owner;
    gpuzip_status status = coding_outcome_of(&d->f);
    if (status == GPUZIP_OK && d->damaged)
        status = session_fail(d->f.gz, GPUZIP_ERR_CORRUPT,
                              "truncated or damaged; the intact blocks were decompressed");
    coding_end(&d->f, archive_fail(d->f.gz, status, d->frames));
    free(d->index.entry);
    free(d->in.data);
    free(d);
}

/* ---- reading ------------------------------------------------------------ */

gpuzip_status decompress_block(decoding *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(archive_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, archive_have(&d->in, size)));
    return decoding_block(d, frame, &read, size);
}

/* Reads a frame and submits its blocks, as far as they are wanted, and its end. */
static gpuzip_status read_frame(decoding *d)
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
            TRY(decompress_block(d, &frame, prefix.size));
        }
    }
    TRY(archive_end(&d->in, prefix.size, &end));
    if (whole)
        return decoding_end(d, &end);
    decoding_end_part(d);
    d->frames++;
    return coding_status(&d->f);
}

gpuzip_status decompress_fail_range(decoding *d, uint64_t size)
{
    return session_fail(d->f.gz, GPUZIP_ERR_ARGUMENT,
                        "the content has %llu bytes, and the range begins behind them",
                        (unsigned long long)size);
}

static gpuzip_status read_file(decoding *d)
{
    bool more = true;
    if (d->f.way.io.lost)
        return salvage_file(d);
    while (more && d->read_at < d->end) {
        TRY(read_frame(d));
        if (d->read_at < d->end)
            TRY(archive_more(&d->in, &more));
    }
    d->f.way.stats.bytes_in = d->in.bytes_in;
    return d->read_at < d->begin ? decompress_fail_range(d, d->read_at) : GPUZIP_OK;
}

/* ---- a file, from reading to its end -------------------------------------- */

decoding *decompress_open(gpuzip *gz, const gpuzip_io *io,
                          void (*ended)(void *, gpuzip_status, const gpuzip_stats *), void *context)
{
    decoding *d = calloc(1, sizeof *d);
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

void decompress_end(decoding *d, gpuzip_status status)
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
    decoding *d = decompress_open(gz, io, coding_keep_outcome, &outcome);
    if (d) {
        decompress_set_range(d, offset, length);
        decompress_end(d, read_file(d));
    }
    gpuzip_finish(gz);
    return outcome.status;
}

void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io)
{
    decoding *d = decompress_open(gz, io, io->ended, io->context);
    if (d)
        decompress_end(d, read_file(d));
}
