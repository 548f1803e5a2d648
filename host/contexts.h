/* contexts.h: what the tokens of a block say of those that follow, in integers alone.
 *
 * Six tables remember which symbols came after contexts of tokens, a match model finds where
 * the last tokens stood before, and n-grams of other texts may come with the model; each proposes
 * candidates for a row (a stream and a step) with a feature, which ops.h mixes. All streams of a
 * block share what is learnt.
 *
 * A row depends on what was learnt at the last update, and on the tokens of its own stream
 * before its step. So the rows of different streams may be asked for in any order, or by
 * several threads, and many steps ahead where the tokens are known: the answers are the
 * same. Updates are the caller's to call, at the steps that contexts_next_update() says.
 *
 * Contexts k = 0 .. 7: the last 3 bytes; the last 1, 2, 3, 4, 6 tokens; the match (of 6); n-grams.
 * Tokens before the origin (the stream's start, or the last reset) are not there.
 *
 * Tables. Slot hash & (2^table_bits - 1) belongs to the context with check = hash >> 32,
 * the last that was learnt there. hash of n tokens, newest first: h = 0; h = mix64(h + token
 * + 1), or mix64(h) where there is no token. Of 3 bytes, those of the last 3 tokens:
 * mix64(2^32 + bits 0 .. 25 of their contexts_tail()) (mix64.h).
 * A slot has 7 (symbol, count), the last seen first. To learn a symbol: it is there: its
 * count + 1, which above 250 becomes 125 while all others halve (but not below 1). Else it
 * takes a free entry or that of the smallest count but for the first entry (of several the
 * last), its count is 1, and every other count c > 2 becomes c - floor(c / 4). It moves to
 * the front. Symbols >= vocab are not learnt.
 *
 * Match. A place (stream, step) is remembered for the hash of the 6 tokens before it. Each
 * stream follows one with a length. If the token there comes: length + 1, and a miss is
 * forgiven at 16; if not: with a length >= 16 it is missed, its length 0; else it is dropped.
 * What is followed moves on a step, and is dropped at the end of its stream. One of a length
 * < 6, or none, is then given up for the place remembered for the hash, if there at least 6
 * tokens before both agree: as many (of 32 that are looked at) are its length. Places in
 * other streams count only before the last update.
 *
 * States of a candidate in a context, and features. In a table that holds it, with count c
 * and o that of the others: 1 + 8 C + 2 O + (it is first); C = 0 .. 6 for c = 1, 2, 3, ..5,
 * ..9, ..20, more; O = 0 .. 3 for o = 0, ..2, ..6, more. In a slot without it, of the total
 * t: 57 + (0 .. 3 for t = ..1, ..4, ..12, more). The symbol of a match: its length 1 .. 15;
 * 16 for ..23, 17 ..31, 18 ..63, 19 ..127, 20 ..511, 21; if missed 24 + min(length / 2, 4).
 * N-grams: see ngrams_find(). Else 0, with feature 0. Each state of each context has a probability
 * q (Q32) that its candidates come, first the prior's; the feature is log2(q / (1 - q)) in Q8,
 *     (det_log2_q16(q) - det_log2_q16(2^32 - q) + 128) >> 8
 * At an update, of m candidates that were in the state and h of them that came, with n those
 * before (no more than 255 count):
 *     q = ((n + 5) q + 2^32 h) / (n + 5 + m), within 0.0005 .. 0.9998
 * (which is q += (hit - q) / (n + 6) for one after another, but in any order). The new q is a mean
 * of the old one and the shares seen, so it lies between them and cannot overshoot for any m. The
 * prior counts as 5 candidates, and 255 that came before are what is remembered: 2 or 20 for 5 and
 * 80 or 1,000 for 255 change four files of 4 to 152 KB by at most 0.1 %. A slot's counts are exact
 * up to their limits, whatever the number of rows; / 8 or / 2 for / 4 changes 0.1 % at most.
 *
 * Candidates: of the match, of contexts 5 .. 3, each slot's last seen first, of the n-grams, of
 * contexts 2 .. 0, the first OPS_CANDIDATES that differ.
 *
 * Kinds. That of a candidate is 16 times the class of the last two bytes before the row, newest
 * first, of those of the last 3 tokens, and the class of the symbol's first two. Class of a byte
 * and the one beside it: 0 if there is none; 1 line feed, carriage return; blank, tab: 2 beside
 * a blank, tab, line feed or carriage return, 3 a letter, 4 a digit, 5 else; digit: 6 beside a
 * digit, 7 else; a-z: 8 beside such, 9 else; 10 A-Z; 11 above 127; others: 12 beside a letter,
 * 13 a digit, 14 another of the others, 15 else. Letters: a-z, A-Z and those above 127.
 */
#ifndef GPUZIP_CONTEXTS_H
#define GPUZIP_CONTEXTS_H

#include "ngrams.h"
#include "ops.h"
#include "status.h"

#define CONTEXTS_STATES   NGRAMS_STATES /* of a context, at most; 0 is no state */
#define CONTEXTS_PARTS    8             /* of learning */
#define CONTEXTS_MAX_BITS 20
#define CONTEXTS_EARLY    16 /* steps from the origin with an update after each */

/* What is known before anything is learnt; belongs to a model. */
typedef struct {
    uint16_t q[OPS_FEATURES][CONTEXTS_STATES]; /* Q16 */
    int32_t weights[OPS_SETS][OPS_WEIGHTS];    /* of ops_adaptive_config */
} contexts_prior;

/* Of the built-in model. weights/train/prior.c made it. */
extern const contexts_prior contexts_prior_builtin;

/* The class (see above) of the first of n bytes. */
uint32_t contexts_class(const uint8_t *bytes, size_t n);

/* What contexts see of a symbol that stands for these bytes: the last 3 in bits 0 .. 23, newest
 * lowest, how many there are of them in 24 .. 25, the class of the first in 28 .. 31. */
uint32_t contexts_tail(const uint8_t *bytes, size_t size);

typedef struct {
    int vocab;            /* symbols that may be candidates */
    int symbols;          /* >= vocab: tokens are below */
    const uint32_t *tail; /* [symbols] contexts_tail(), 0 where there are no bytes */
    const contexts_prior *prior;
    ngrams_table ngrams; /* of this vocab, or none */

    int streams;                  /* >= 1 */
    const uint32_t *const *token; /* [streams][length]; those that are asked for are there */
    const size_t *length;         /* [streams] < 2^32 */
    size_t scope;                 /* the most steps from one reset to the next */
    int update_interval;          /* U >= 1 */
    int table_bits; /* 1 .. CONTEXTS_MAX_BITS; 0: by the tokens, twice as many slots */
} contexts_config;

typedef struct contexts contexts;

/* All that config points to, the tokens' memory included, must outlive the contexts.
 * contexts_close() accepts NULL. Errors: MEMORY. */
gpuzip_status contexts_open(contexts **c, const contexts_config *config);
void contexts_close(contexts *c);

/* Bytes of memory that contexts_open() takes for `streams` streams of `longest` tokens or a
 * few less; scope, update_interval and table_bits as in contexts_config. */
uint64_t contexts_bytes(size_t streams, size_t longest, size_t scope, int update_interval,
                        int table_bits);

/* Forgets everything; `step` is the origin and the next step of every stream. */
void contexts_reset(contexts *c, size_t step);

/* The step > step before which the next update comes. */
static inline size_t contexts_next_update(size_t step, size_t origin, int update_interval)
{
    size_t since = step - origin, u = (size_t)update_interval;
    return since < CONTEXTS_EARLY ? step + 1 : origin + (since / u + 1) * u;
}

typedef struct {
    int32_t stream;
    uint32_t step;
} contexts_row;

/* For every row, candidate[r][0 .. candidates[r]). Rows lie after the last update and before
 * the next, less than U steps away; those of a stream come with ascending steps, and each
 * but once. At the same time only for other streams. */
void contexts_predict(contexts *c, const contexts_row *row, int rows,
                      ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* The same for the rows of part 0 .. parts - 1 of the streams alone; parts at the same time. */
void contexts_predict_part(contexts *c, int part, int parts, const contexts_row *row, int rows,
                           ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* Learns the tokens of the steps [last update, end) of all streams, and how the candidates
 * that were predicted for them did. */
void contexts_learn(contexts *c, size_t end);

/* The same in pieces: part 0 .. CONTEXTS_PARTS - 1, in any order or at the same time, then
 * contexts_learn_end(). */
void contexts_learn_part(contexts *c, int part, size_t end);
void contexts_learn_end(contexts *c, size_t end);

/* What states have become: their probabilities, Q16, and of how many candidates (up to 255)
 * that was learnt. */
void contexts_read(const contexts *c, uint16_t q[OPS_FEATURES][CONTEXTS_STATES],
                   uint8_t seen[OPS_FEATURES][CONTEXTS_STATES]);

#endif
