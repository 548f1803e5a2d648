/* ngrams.h: n-gram statistics of other texts, counted in advance and stored in a model file.
 *
 * A table (weights/FORMAT.md; ngrams_build.h makes one) has buckets of NGRAMS_BUCKET
 * entries, u32; nonzero ones come first. An entry records a symbol seen after a context of
 * n = 2 .. 5 tokens:
 *     level | symbol << 5 | check << (5 + b)      b: the bits of vocab - 1
 * With h = ngrams_context() of the n tokens:
 *     H = mix64(h + n * 2^48)
 *     bucket = ((H >> 32) * buckets) >> 32        check = the low 27 - b bits of H
 * Contexts with the same check in a bucket collide: 1 in 2^(27 - b).
 *
 * The level, 0 .. 31, grades the symbol's probability. The maker of a table chooses the
 * levels; the coder learns the probability of each (context_model.h).
 */
#ifndef GPUZIP_NGRAMS_H
#define GPUZIP_NGRAMS_H

#include <stddef.h>
#include <stdint.h>

#define NGRAMS_BUCKET       16 /* entries */
#define NGRAMS_ORDERS       4
#define NGRAMS_SHORT        2 /* tokens of the shortest context; each order has one more */
#define NGRAMS_LEVELS       32
#define NGRAMS_CONTEXT_BITS 46                                        /* of ngrams_context() */
#define NGRAMS_STATES       (1 + NGRAMS_ORDERS * (NGRAMS_LEVELS + 1)) /* see ngrams_find() */
#define NGRAMS_FOUND        16                  /* symbols of a row, at most */
#define NGRAMS_BUCKETS      ((uint32_t)1 << 26) /* of a table, at most */

typedef struct {
    const uint32_t *entry; /* [buckets][NGRAMS_BUCKET] */
    uint32_t buckets;      /* 0: no table */
    uint32_t vocab;
} ngrams_table;

/* 46 bits of token_hash.h's hash of the n tokens before end, newest first. */
uint64_t ngrams_context(const uint32_t *end, size_t n);

/* H of such a context of n tokens. */
uint64_t ngrams_hash(uint64_t context, size_t n);

/* Hashes the contexts of a row: hash[i] is H of NGRAMS_SHORT + i tokens, 0 if there are fewer. end:
 * behind the newest of them. Prefetches the buckets. */
void ngrams_look(const ngrams_table *table, const uint32_t *end, size_t there,
                 uint64_t hash[NGRAMS_ORDERS]);

/* Finds the symbols seen after a row's contexts, the longest context's first. state: of the longest
 * context that has the symbol, 1 + 32 i + level for NGRAMS_SHORT + i tokens. *other: the state of
 * every other symbol, 129 + i if the longest context found has that length; 0 if none is found.
 * Symbols >= vocab are skipped. Returns how many were found, <= NGRAMS_FOUND. */
int ngrams_find(const ngrams_table *table, const uint64_t hash[NGRAMS_ORDERS],
                uint32_t symbol[NGRAMS_FOUND], uint8_t state[NGRAMS_FOUND], uint8_t *other);

/* The entry of a context (its H) and a symbol, and the bucket of a context; for makers of
 * tables. */
uint32_t ngrams_entry(const ngrams_table *table, uint64_t hash, uint32_t symbol, uint32_t level);
uint32_t ngrams_bucket(const ngrams_table *table, uint64_t hash);

#endif
