/* engine_mt.h: an engine, and the streams of a batch shared among CPU threads.
 *
 * Each thread (a worker) takes some of the streams with an engine and a cache of its own. Where
 * blocks with adaptive state can be dealt out evenly, a worker takes whole blocks; else workers
 * share the streams of all blocks and are a group that meets at updates. With Naive Bayes, which
 * groups do not share, where streams are fewer than threads, or where the weights are too large for
 * every core to read them alone, one engine takes all and its operations share the threads.
 * The code is the same. On other devices than the CPU there is the one engine.
 */
#ifndef GPUZIP_ENGINE_MT_H
#define GPUZIP_ENGINE_MT_H

#include "engine.h"

typedef struct engine_mt engine_mt;

/* ctx is the device's context, for the single engine. threads >= 1: CPU threads; also the most
 * workers, fewer if their memory would exceed limit bytes (0: no limit). ops, ctx and the models
 * must outlive it. engine_mt_close() accepts NULL. Errors: MEMORY, DEVICE. */
gpuzip_status engine_mt_open(engine_mt **mt, const ops *ops, ops_context *ctx,
                             const engine_config *config, int threads, uint64_t limit);
/* Sets the limit for the next batches. */
void engine_mt_set_limit(engine_mt *mt, uint64_t limit);
void engine_mt_close(engine_mt *mt);

/* Device memory, in bytes, for coding `streams` streams of `blocks` blocks in one batch. */
size_t engine_mt_bytes(const engine_mt *mt, uint32_t streams, int blocks);

/* The same for a batch of which it is known whether its weights learn. */
size_t engine_mt_batch_bytes(const engine_mt *mt, uint32_t streams, int blocks, bool learns);

/* The part of engine_mt_bytes() for logits. */
size_t engine_mt_logits_bytes(const engine_mt *mt, uint32_t streams);

/* engine_encode(), with the streams of each state side by side. costs are added to; the seconds
 * of several workers count as one, the slowest's. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_mt_encode(engine_mt *mt, engine_stream *stream, int streams,
                               engine_costs *costs, const engine_progress *progress);

/* engine_decode(), likewise. Errors: CORRUPT, MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_mt_decode(engine_mt *mt, engine_stream *stream, int streams,
                               engine_costs *costs, const engine_progress *progress);

#endif
