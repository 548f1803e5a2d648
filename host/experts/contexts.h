/* contexts.h: the context models of a block: six hashed tables, a match model and the n-grams of a
 * model file. For each row (a stream and a step) they propose candidates with features, which the
 * mixer of ops.h takes. All arithmetic is on integers.
 *
 * coder/CONTEXTS.md defines the models; they are part of the file format. This header is the API.
 *
 * Ownership. contexts_open() copies contexts_config, but not the memory it points to. The caller
 * owns that, tokens included, and may write token[s][t] until a call below needs it: before a row
 * of stream s at a step > t is predicted, and before an update whose end is > t.
 *
 * Order of calls. After contexts_open() or contexts_reset(), in turn: contexts_predict() for the
 * rows before the next update, which contexts_next_update() names, then contexts_learn() with that
 * step as end. An encoder may predict all rows up to the update in one call, a decoder predicts
 * them step by step; both get the same candidates. After the last step no update is needed. Only
 * rows that were predicted enter the probabilities of states, so predict every coded row.
 *
 * Threads. Between updates, threads may predict rows of different streams at the same time, not of
 * the same stream. The parts of an update may run at the same time, but not beside predictions.
 * Every other call has the contexts to itself.
 */
#ifndef GPUZIP_CONTEXTS_H
#define GPUZIP_CONTEXTS_H

#include "ngrams.h"
#include "ops.h"
#include "status.h"

#define CONTEXTS_STATES   NGRAMS_STATES /* the most states of a context; state 0: none */
#define CONTEXTS_PARTS    8             /* parts of an update */
#define CONTEXTS_MAX_BITS 20
#define CONTEXTS_EARLY    16 /* steps from the origin with an update after each */

/* Start values: probabilities of states and the mixer's weights; belong to a model. */
typedef struct {
    uint16_t q[OPS_FEATURES][CONTEXTS_STATES]; /* Q16 */
    int32_t weights[OPS_SETS][OPS_WEIGHTS];    /* of ops_adaptive_config */
} contexts_prior;

/* Start values of the built-in model, from tools/train_prior.c. */
extern const contexts_prior contexts_prior_builtin;

/* The class of the first of n bytes (coder/CONTEXTS.md, section 7). */
uint32_t contexts_class(const uint8_t *bytes, size_t n);

/* The context models' view of a symbol with these bytes: the last 3 in bits 0 .. 23, newest lowest,
 * their number in 24 .. 25, the class of the first in 28 .. 31. */
uint32_t contexts_tail(const uint8_t *bytes, size_t size);

typedef struct {
    int vocab;            /* symbols that may be candidates */
    int symbols;          /* >= vocab: tokens are below */
    const uint32_t *tail; /* [symbols] contexts_tail(), 0 without bytes */
    const contexts_prior *prior;
    ngrams_table ngrams; /* of this vocab, or none */

    int streams;                  /* >= 1 */
    const uint32_t *const *token; /* [streams][length]; see Ownership above */
    const size_t *length;         /* [streams] < 2^32 */
    size_t scope;                 /* the most steps between two resets */
    int update_interval;          /* U >= 1 */
    int table_bits;               /* 1 .. CONTEXTS_MAX_BITS; 0: twice as many slots as tokens */
} contexts_config;

typedef struct contexts contexts;

/* Memory that config points to, tokens included, must outlive the contexts. contexts_close()
 * accepts NULL. Errors: MEMORY. */
gpuzip_status contexts_open(contexts **c, const contexts_config *config);
void contexts_close(contexts *c);

/* Bytes of memory that contexts_open() takes for `streams` streams of `longest` tokens or a
 * few less; scope, update_interval and table_bits as in contexts_config. */
uint64_t contexts_bytes(size_t streams, size_t longest, size_t scope, int update_interval,
                        int table_bits);

/* Resets to the start values; `step` is the origin and the next step of every stream. */
void contexts_reset(contexts *c, size_t step);

/* The next update is before this step, which is > step. */
static inline size_t contexts_next_update(size_t step, size_t origin, int update_interval)
{
    size_t since = step - origin, u = (size_t)update_interval;
    return since < CONTEXTS_EARLY ? step + 1 : origin + (since / u + 1) * u;
}

typedef struct {
    int32_t stream;
    uint32_t step;
} contexts_row;

/* Writes candidate[r][0 .. candidates[r]) of every row r. Rows lie between the last update and the
 * next, less than U steps from the last; those of one stream come once each, with ascending steps.
 * Concurrent calls must be for different streams. */
void contexts_predict(contexts *c, const contexts_row *row, int rows,
                      ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* A row of one of several context models. */
typedef struct {
    contexts *of;
    contexts_row row;
    int32_t key; /* >= 0, the same for all rows of a stream */
} contexts_query;

/* contexts_predict() for rows of several contexts, restricted to keys with key % parts == part;
 * parts may run at the same time. */
void contexts_predict_part(int part, int parts, const contexts_query *query, int rows,
                           ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* Updates with the tokens of the steps [last update, end) of all streams, and with the hits and
 * misses of the candidates predicted for them. */
void contexts_learn(contexts *c, size_t end);

/* contexts_learn() in parts 0 .. CONTEXTS_PARTS - 1, in any order or at the same time, then
 * contexts_learn_end(). */
void contexts_learn_part(contexts *c, int part, size_t end);
void contexts_learn_end(contexts *c, size_t end);

/* Reads the states: probabilities, Q16, and the number of candidates (up to 255) that they were
 * learnt from. */
void contexts_read(const contexts *c, uint16_t q[OPS_FEATURES][CONTEXTS_STATES],
                   uint8_t seen[OPS_FEATURES][CONTEXTS_STATES]);

#endif
