/* ngrams_build.h: makes a table of n-grams (ngrams.h) from text. */
#ifndef GPUZIP_NGRAMS_BUILD_H
#define GPUZIP_NGRAMS_BUILD_H

#include "ngrams.h"
#include "status.h"

#define NGRAMS_BREAK UINT32_MAX /* ends a text in the token array */

/* Fills entry [buckets][NGRAMS_BUCKET] with the most valuable n-grams of the texts token[0,
 * tokens), which NGRAMS_BREAKs separate. An n-gram counts once a text (or a piece of one with PIECE
 * different n-grams) and is used if it counts twice. Its value: the bits it would have saved in
 * these texts over the n-grams shorter by one token, its own occurrence left out each time; so
 * contexts without new information, and those of one text only, take no room. Each bucket keeps its
 * best entries.
 *
 * Deterministic on one machine; tables of two machines may differ, since floats are summed. Takes
 * about 30 bytes of memory a token (up to 80, if all repeat). Errors: MEMORY. */
gpuzip_status ngrams_build(uint32_t *entry, uint32_t buckets, uint32_t vocab, const uint32_t *token,
                           size_t tokens);

#endif
