/* files.h: several files through one pipeline.
 *
 * A file is read whole when it begins; what is written, and its end, come in their turn,
 * while later files are read. What goes wrong with one ends that one alone.
 */
#ifndef GPUZIP_FILES_H
#define GPUZIP_FILES_H

#include "pipeline.h"

typedef struct file file;

/* What compressing and decompressing do differently. The functions set gz->error. */
typedef struct {
    /* Reads the file from io and submits its blocks and frame ends. */
    gpuzip_status (*read)(gpuzip *gz, file *f, const gpuzip_options *options);
    /* Writes a block that is done, which is *item, and counts it. */
    gpuzip_status (*write_block)(gpuzip *gz, file *f, const pipeline_item *item);
    /* What comes after a frame's blocks. */
    gpuzip_status (*end_frame)(gpuzip *gz, file *f, const container_end *end);
    /* Says in words what a status means, where nobody has; returns it, or a better one. */
    gpuzip_status (*explain)(gpuzip *gz, gpuzip_status status, uint64_t frames);
} file_kind;

struct file {
    pipeline_file way; /* way.status: the first that went wrong with what was read before */
    const file_kind *kind;
    void (*ended)(void *context, gpuzip_status status, const gpuzip_stats *stats); /* or NULL */
    void *context;                                                                 /* of ended() */
    gpuzip_status read_status; /* counts once what was read before is written */
    char error[GPUZIP_ERROR_BYTES];
    container_hash *hash;                /* of a frame's content */
    uint64_t frame_bytes;                /* of content written */
    uint64_t frames;                     /* read */
    uint8_t head[CONTAINER_FRAME_BOUND]; /* [head_size] to be written first */
    size_t head_size;
    engine_config config; /* of what is measured, on no device */
    const tokenizer *t;   /* likewise */
};

/* Reads a file; ended() is called in its turn. */
void files_begin(gpuzip *gz, const file_kind *kind, const gpuzip_io *io,
                 void (*ended)(void *context, gpuzip_status status, const gpuzip_stats *stats),
                 void *context, const gpuzip_options *options);

/* The same for a file alone: ends all files, and returns what became of it. stats may be
 * NULL. */
gpuzip_status files_run(gpuzip *gz, const file_kind *kind, const gpuzip_io *io, gpuzip_stats *stats,
                        const gpuzip_options *options);

/* Writes what is under way and closes the session's pipeline, if there is one. */
void files_finish(gpuzip *gz);

/* ---- for file_kind.read ------------------------------------------------- */

/* Makes the pipeline ready for f's next blocks; if it is not, what is under way is written
 * first. Errors: MEMORY, DEVICE, SELF_TEST, and f's own. */
gpuzip_status files_prepare(gpuzip *gz, file *f, const coding_plan *plan, const block_rules *rules);

/* Writes what is under way, so that no device is in use. Errors: f's own. */
gpuzip_status files_settle(gpuzip *gz, file *f);

/* As pipeline_next(); what is under way is written until there is room.
 * Errors: f's own, from what was read before. */
gpuzip_status files_next(gpuzip *gz, file *f, size_t raw_size, block **b);

/* Submits the end of a frame. Errors: f's own. */
gpuzip_status files_end_frame(gpuzip *gz, file *f, const container_end *end);

#endif
