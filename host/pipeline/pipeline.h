/* pipeline.h: codes jobs of several files on the devices and completes them in order.
 *
 * The caller's thread submits jobs and calls their done() functions. With GPUs, the pipeline has
 * threads: one for each GPU, which codes batches of blocks of any files, as large as its memory
 * allows, and some for the host's steps (tokenizing, packing, checking). On the CPU alone there
 * are no further threads: when the earliest job must be completed, the caller's thread codes the
 * blocks of all jobs, in batches as large as memory allows.
 *
 * A GPU that reports an error is not used again, with a note; its blocks are coded on the CPU, as
 * is a block that fits in no GPU's memory.
 */
#ifndef GPUZIP_PIPELINE_H
#define GPUZIP_PIPELINE_H

#include "block.h"
#include "plan.h"

typedef struct pipeline pipeline;

/* A file as the pipeline sees it; it must outlive its jobs. */
typedef struct {
    gpuzip_io io;         /* its progress callback runs while the caller waits for a block of it */
    gpuzip_stats stats;   /* bytes_out is told to the callback */
    uint64_t input_done;  /* bytes of input of the jobs done */
    gpuzip_status status; /* becomes CANCELLED if the callback says so */
    void *owner;          /* for done() */
} pipeline_file;

/* A block to be coded, or an end (of a frame or of a file), which needs no device. */
typedef struct pipeline_job {
    pipeline_file *file;
    /* Called in the caller's thread when the job is done, in the order of submission. The job is
     * valid for the time of the call; done() may not submit. */
    void (*done)(struct pipeline_job *job);
    bool is_end;
    block b;           /* unless is_end; b.status is the outcome of its coding */
    block_costs costs; /* the block's share of its batch's costs; its bits are in b */
    container_end end; /* of a frame's end */
} pipeline_job;

/* Without a plan a pipeline accepts only blocks that need no device (decompressing).
 * pipeline_close() accepts NULL and drops all jobs. Errors: MEMORY. */
gpuzip_status pipeline_open(pipeline **p, gpuzip *gz);
void pipeline_close(pipeline *p);

/* Makes p ready for blocks of this plan; if it is ready for another one, all jobs are completed
 * first. Both arguments are copied. Errors: MEMORY, DEVICE, SELF_TEST; then p is as just opened. */
gpuzip_status pipeline_prepare(pipeline *p, const coding_plan *plan, const block_rules *rules);

/* Returns the next block to fill in, for content of at most content_size bytes; completes the
 * earliest jobs until it fits. The block is submitted or, if the next call is another
 * pipeline_next(), abandoned. */
block *pipeline_next(pipeline *p, size_t content_size);

/* Submits that block, with content of content_size bytes. input_bytes: its share of the progress. A
 * block that is not CODED needs no device. */
void pipeline_submit(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                     size_t content_size, size_t input_bytes);

/* Submits an end; `end` may be NULL. */
void pipeline_submit_end(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                         const container_end *end);

/* Cancels the blocks of this file that no device has begun; done() is still called. */
void pipeline_drop(pipeline *p, const pipeline_file *file);

/* Completes all jobs. */
void pipeline_drain(pipeline *p);

/* Calls io->progress, if there is one; nonzero cancels. */
static inline int pipeline_progress(const gpuzip_io *io, uint64_t bytes_in, uint64_t bytes_out)
{
    return io->progress ? io->progress(io->context, bytes_in, bytes_out) : 0;
}

#endif
