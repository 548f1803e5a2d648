/* lanes.h: an engine, and the streams of a batch shared among CPU threads.
 *
 * Each thread (a lane) takes some of the streams with an engine and a cache of its own. Where
 * blocks with adaptive state can be dealt out evenly, a lane takes whole blocks; else lanes share
 * the streams of all blocks and are a team that meets at updates. With Naive Bayes, which teams
 * do not share, where streams are fewer than threads, or where the weights are too large for
 * every core to read them alone, one engine takes all and its operations share the threads.
 * The code is the same. On other devices than the CPU there is the one engine.
 */
#ifndef GPUZIP_LANES_H
#define GPUZIP_LANES_H

#include "engine.h"

typedef struct lanes lanes;

/* ctx is the device's context, for the single engine. threads >= 1: CPU threads; also the most
 * lanes, fewer if their memory would exceed limit bytes (0: no limit). ops, ctx and the models must
 * outlive it. lanes_close() accepts NULL. Errors: MEMORY, DEVICE. */
gpuzip_status lanes_open(lanes **l, const ops *ops, ops_context *ctx, const engine_config *config,
                         int threads, uint64_t limit);
void lanes_close(lanes *l);

/* Device memory, in bytes, for coding `streams` streams of `blocks` blocks in one batch. */
size_t lanes_bytes(const lanes *l, uint32_t streams, int blocks);

/* The part of lanes_bytes() for logits. */
size_t lanes_logits_bytes(const lanes *l, uint32_t streams);

/* engine_encode(), with the streams of each state side by side. costs are added to; the seconds
 * of several lanes count as one, the slowest's. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status lanes_encode(lanes *l, engine_stream *stream, int streams, engine_costs *costs,
                           const engine_progress *progress);

/* engine_decode(), likewise. Errors: CORRUPT, MEMORY, DEVICE, CANCELLED. */
gpuzip_status lanes_decode(lanes *l, engine_stream *stream, int streams, engine_costs *costs,
                           const engine_progress *progress);

#endif
