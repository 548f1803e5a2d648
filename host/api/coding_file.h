/* coding_file.h: a file on its way through the pipeline; the part that compressing and
 * decompressing share.
 *
 * The caller's thread reads a file whole and submits its blocks as jobs. Each job's done()
 * writes one block or end, in order, while later files are read. An error ends its own file
 * alone: its other blocks are dropped.
 */
#ifndef GPUZIP_CODING_FILE_H
#define GPUZIP_CODING_FILE_H

#include "pipeline.h"

typedef struct {
    pipeline_file way; /* way.status: the first error in writing the file */
    gpuzip *gz;
    gpuzip_status read_status; /* the error that ended reading; counts after the writing's */
    char error[GPUZIP_ERROR_BYTES];
    container_hash *hash; /* of a frame's content */
    void (*ended)(void *context, gpuzip_status status, const gpuzip_stats *stats); /* or NULL */
    void *context;                                                                 /* of ended() */
} coding_file;

/* Where gpuzip_compress_stream() and gpuzip_decompress_stream() keep the outcome of one file. */
typedef struct {
    gpuzip_status status;
    gpuzip_stats *stats; /* or NULL */
} coding_outcome;

/* An `ended` whose context is a coding_outcome. */
void coding_keep_outcome(void *context, gpuzip_status status, const gpuzip_stats *stats);

/* Prepares a zeroed f and opens the session's pipeline if there is none. owner: the structure
 * that f belongs to, for done(). Errors: MEMORY; ended() has been called then, and nothing is
 * to be released. */
gpuzip_status coding_open(coding_file *f, gpuzip *gz, const gpuzip_io *io, void *owner,
                          void (*ended)(void *, gpuzip_status, const gpuzip_stats *),
                          void *context);

/* Records how reading ended and submits the file's last job, whose done() calls coding_end(). */
void coding_read_all(coding_file *f, gpuzip_status status, void (*done)(pipeline_job *job));

/* The status of the writing so far. Clears gz's error text, which may be another file's. */
gpuzip_status coding_status(coding_file *f);

/* As pipeline_next(). Errors: those of writing the file's earlier blocks. */
gpuzip_status coding_next(coding_file *f, size_t content_size, block **b);

/* In a job's done(): whether it may write. Ends the file if the job itself failed; adds the
 * block's costs to the statistics. */
bool coding_may_write(coding_file *f, const pipeline_job *job);

/* In a job's done(), after writing: ends the file on an error; after a block, reports progress,
 * which may cancel. */
void coding_wrote(coding_file *f, const pipeline_job *job, gpuzip_status status);

/* In the last job's done(): the file's status, with gz's error text set for it. */
gpuzip_status coding_outcome_of(coding_file *f);

/* Calls ended() and releases the memory that f owns. */
void coding_end(coding_file *f, gpuzip_status status);

#endif
