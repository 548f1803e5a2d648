/* decompress.c: from .gpz frames to the original bytes. */
#include <stdlib.h>

#include "decoding.h"
#include "salvage.h"

static void file_done(pipeline_job *job)
{
    decoding *d = job->file->owner;
    gpuzip_status status = coding_outcome_of(&d->f);
    if (status == GPUZIP_OK && d->damaged)
        status = session_fail(d->f.gz, GPUZIP_ERR_CORRUPT,
                              "truncated or damaged; the intact blocks were decompressed");
    coding_end(&d->f, archive_fail(d->f.gz, status, d->frames));
    free(d->in.data);
    free(d);
}

/* ---- reading ------------------------------------------------------------ */

static gpuzip_status read_block(decoding *d, const container_frame *frame, size_t size)
{
    container_block read;
    TRY(archive_fill(&d->in, size));
    TRY(container_read_block(&read, d->in.data + d->in.first, archive_have(&d->in, size)));
    return decoding_block(d, frame, &read, size);
}

/* Reads a frame and submits its blocks and its end. */
static gpuzip_status read_frame(decoding *d)
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
    return decoding_end(d, &end);
}

static gpuzip_status read_file(decoding *d)
{
    bool more;
    if (d->f.way.io.lost)
        return salvage_file(d);
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
    decoding *d = calloc(1, sizeof *d);
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
