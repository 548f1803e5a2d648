/* lanes.h: an engine, and a block's streams shared among CPU threads.
 *
 * Streams know nothing of each other but what adapts, so each thread (a lane) takes
 * some of them through the whole block with an engine of its own, and a cache for
 * itself; where something adapts the engines are a team and meet at updates, else
 * there is no barrier anywhere. With Naive Bayes, where streams are fewer than threads,
 * or where the weights are too large for every core to read them alone, one engine
 * takes all and its operations share the threads.
 * What is coded is the same. On other devices than the CPU there is the one engine.
 */
#ifndef GPUZIP_LANES_H
#define GPUZIP_LANES_H

#include "engine.h"

typedef struct lanes lanes;

/* ctx is the device's context, for the one engine; threads >= 1: the host's to
 * use, and how many lanes there may be if what they need is within limit bytes (0: any
 * number). ops, ctx and the models must outlive it. lanes_close() accepts NULL. Errors: MEMORY,
 * DEVICE. */
gpuzip_status lanes_open(lanes **l, const ops *ops, ops_context *ctx, const engine_config *config,
                         int threads, uint64_t limit);
void lanes_close(lanes *l);

/* Bytes of the device's memory that coding `streams` streams at once takes. */
size_t lanes_bytes(const lanes *l, uint32_t streams);

/* Those of them that hold logits. */
size_t lanes_logits_bytes(const lanes *l, uint32_t streams);

/* Allocates block->stream[streams] and *buffer, where the encoder puts their bytes; the
 * caller frees both. Errors: MEMORY. */
gpuzip_status lanes_make_room(engine_block *block, uint8_t **buffer);

/* engine_encode() for all streams of block[blocks]; only those of a single block are
 * shared. costs are added to; the seconds of several lanes count as one, the slowest's.
 * Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status lanes_encode(lanes *l, engine_block *block, int blocks, engine_costs *costs,
                           const engine_progress *progress);

/* engine_decode(), likewise. Errors: CORRUPT, MEMORY, DEVICE, CANCELLED. */
gpuzip_status lanes_decode(lanes *l, engine_block *block, int blocks, engine_costs *costs,
                           const engine_progress *progress);

#endif
