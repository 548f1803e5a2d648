/* token_stats.h: the measurements of a compressed file's tokens, on their way to the caller. */
#ifndef GPUZIP_TOKEN_STATS_H
#define GPUZIP_TOKEN_STATS_H

#include "plan.h"

typedef struct {
    engine_config config; /* of the file's plan, on no device */
    const tokenizer *t;   /* likewise */
    uint64_t offset;      /* bytes of content in the blocks before */
} token_stats;

/* Begins a measured file with a zeroed m: names the experts in its statistics. */
void token_stats_begin(token_stats *m, gpuzip_stats *stats, const coding_plan *plan);

/* Adds the file's next block to the statistics and calls io->observe for each of its tokens.
 * Does nothing for a file that is not measured. */
void token_stats_add(token_stats *m, gpuzip_stats *stats, const gpuzip_io *io, const block *b);

#endif
