/* token_stats.h: what was measured of a compressed file's tokens, on its way to the caller. */
#ifndef GPUZIP_TOKEN_STATS_H
#define GPUZIP_TOKEN_STATS_H

#include "files.h"

/* Names the experts in f's statistics: they are measured. For every block of f. */
void token_stats_begin(file *f, const coding_plan *plan);

/* Adds up what was measured of f's next block, if it was, and tells f's observer of it. */
void token_stats_add(file *f, const block *b);

#endif
