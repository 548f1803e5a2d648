/* pipeline.h: the blocks of several files on their way through the devices, in order.
 *
 * The caller reads blocks and submits them, and takes them in the same order when they
 * are done. With GPUs, threads work meanwhile: one for each GPU, which codes as many
 * blocks together as its memory holds, of whichever files, and some for what the host has
 * to do with them. On the CPU alone there are no further threads and one block at a time:
 * the work is done when it is waited for.
 *
 * A GPU that reports an error is given up, with a note; its blocks are coded on the CPU.
 * So is a block that no GPU has room for.
 */
#ifndef GPUZIP_PIPELINE_H
#define GPUZIP_PIPELINE_H

#include "block.h"
#include "plan.h"

typedef struct pipeline pipeline;

/* A file as the pipeline sees it; it must outlive its blocks. */
typedef struct {
    gpuzip_io io;         /* its progress is told while waiting for one of its blocks */
    gpuzip_stats stats;   /* bytes_out is told */
    uint64_t input_done;  /* bytes of input of the blocks taken */
    gpuzip_status status; /* becomes CANCELLED if the progress says so */
} pipeline_file;

typedef enum {
    PIPELINE_BLOCK,
    PIPELINE_FRAME_END, /* all blocks of a frame have been taken */
    PIPELINE_FILE_END   /* the file's last item */
} pipeline_kind;

/* What is taken. */
typedef struct {
    pipeline_kind kind;
    pipeline_file *file;
    block b;           /* its status says how it went */
    block_costs costs; /* the block's share of what its group cost; bits are in b */
    container_end end; /* of a FRAME_END */
} pipeline_item;

/* Nothing is ready yet but for blocks that are not coded in a file to be decompressed.
 * pipeline_close() accepts NULL, and ends what is under way. Errors: MEMORY. */
gpuzip_status pipeline_open(pipeline **p, gpuzip *gz);
void pipeline_close(pipeline *p);

/* Whether it is ready for blocks of this kind. */
bool pipeline_suits(const pipeline *p, const coding_plan *plan, const block_rules *rules);

/* Makes it so; nothing may be under way. Both are copied. Errors: MEMORY, DEVICE, SELF_TEST;
 * then it is as if just opened. */
gpuzip_status pipeline_prepare(pipeline *p, const coding_plan *plan, const block_rules *rules);

/* Whether blocks are worked on before they are waited for. */
bool pipeline_overlaps(const pipeline *p);

/* The next block to be filled in, for content of at most raw_size bytes; NULL: first an
 * item must be taken. Then it is either submitted, or forgotten. */
block *pipeline_next(pipeline *p, size_t raw_size);

/* Puts that block under way, with content of raw_size bytes. input_bytes: what it counts for
 * in the progress. A block that is not CODED is done already. */
void pipeline_submit(pipeline *p, pipeline_file *file, size_t raw_size, size_t input_bytes);

/* Submits an end; `end` may be NULL. false: first an item must be taken. */
bool pipeline_mark(pipeline *p, pipeline_file *file, pipeline_kind kind, const container_end *end);

/* No more work for this file's blocks; they are to be taken all the same. */
void pipeline_drop(pipeline *p, const pipeline_file *file);

/* Waits for the earliest item, and gives it: valid until the next call. NULL: none is under
 * way. */
pipeline_item *pipeline_take(pipeline *p);

/* Calls io->progress, if there is one; nonzero cancels. */
static inline int pipeline_progress(const gpuzip_io *io, uint64_t bytes_in, uint64_t bytes_out)
{
    return io->progress ? io->progress(io->context, bytes_in, bytes_out) : 0;
}

#endif
