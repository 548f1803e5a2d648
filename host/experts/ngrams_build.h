/* ngrams_build.h: makes a table of n-grams (ngrams.h) from text. */
#ifndef GPUZIP_NGRAMS_BUILD_H
#define GPUZIP_NGRAMS_BUILD_H

#include "ngrams.h"
#include "status.h"

#define NGRAMS_BREAK UINT32_MAX /* stands for the end of a text among its tokens */

/* Fills entry [buckets][NGRAMS_BUCKET] with what is worth most of the texts token[0, tokens), which
 * NGRAMS_BREAKs part. An n-gram is counted once in a text (or a part of one with PIECE different
 * ones), and is of use when it comes in two. What an entry is worth: the bits it would have saved
 * in these texts over the n-grams that are shorter by one, its own occurrence left out each time;
 * so contexts that tell nothing new, and those of one text alone, take no room. Each bucket keeps
 * the best of its own.
 *
 * The same texts give the same table on a machine; not on every machine, for floats are summed.
 * Takes some 30 bytes (up to 80, if all repeats) a token of memory. Errors: MEMORY. */
gpuzip_status ngrams_build(uint32_t *entry, uint32_t buckets, uint32_t vocab, const uint32_t *token,
                           size_t tokens);

#endif
