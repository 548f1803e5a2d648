/* pipeline.h: blocks on their way through the devices, in order.
 *
 * The caller reads blocks and submits them, and takes them in the same order when they
 * are done. With GPUs, threads work meanwhile: one for each GPU, which codes as many
 * blocks together as its memory holds, and some for what the host has to do with them.
 * On the CPU alone there are no further threads and one block at a time: the work is done
 * when it is waited for.
 *
 * A GPU that reports an error is given up, with a note; its blocks are coded on the CPU.
 * So is a block that no GPU has room for.
 */
#ifndef GPUZIP_PIPELINE_H
#define GPUZIP_PIPELINE_H

#include "block.h"
#include "handle.h"

typedef struct pipeline pipeline;

/* plan, rules, io and stats must outlive the pipeline; block_size: bytes of content that
 * blocks have as a rule. While waiting, io->progress is told of stats->bytes_out and the
 * input done. pipeline_close() accepts NULL, and ends what is under way.
 * Errors: MEMORY, DEVICE, SELF_TEST. */
gpuzip_status pipeline_open(pipeline **p, gpuzip *gz, const handle_plan *plan,
                            const block_rules *rules, size_t block_size, const gpuzip_io *io,
                            gpuzip_stats *stats);
void pipeline_close(pipeline *p);

/* The next block to be filled in, for content of at most raw_size bytes; NULL: first one
 * must be taken. Then it is either submitted, or forgotten by asking again. */
block *pipeline_next(pipeline *p, size_t raw_size);

/* Puts that block under way. input_bytes: what it counts for in the progress. */
void pipeline_submit(pipeline *p, size_t input_bytes);

/* Waits for the earliest block, and gives it: valid until the next call. *b is NULL when
 * none is under way. What coding cost is added to stats. Errors: those of the block's
 * steps (block.h), DEVICE, CANCELLED. */
gpuzip_status pipeline_take(pipeline *p, block **b);

/* Bytes of input of all blocks taken. */
uint64_t pipeline_input(const pipeline *p);

#endif
