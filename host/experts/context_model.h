/* context_model.h: the context models of a block: six hashed tables, a match model and the n-grams
 * of a model file. For each row (a stream and a step) they propose candidates with features, which
 * the mixer of ops.h takes. All arithmetic is on integers.
 *
 * coder/CONTEXTS.md defines the models; they are part of the file format. This header is the API.
 *
 * Ownership. context_model_open() copies context_model_config, but not the memory it points to. The
 * caller owns that, tokens included, and may write token[s][t] until a call below needs it: before
 * a row of stream s at a step > t is predicted, and before an update whose end is > t.
 *
 * Order of calls. After context_model_open() or context_model_reset(), in turn:
 * context_model_predict() for the rows before the next update, which context_model_next_update()
 * names, then context_model_learn() with that step as end. An encoder may predict all rows up to
 * the update in one call, a decoder predicts them step by step; both get the same candidates. After
 * the last step no update is needed. Only rows that were predicted enter the probabilities of
 * states, so predict every coded row.
 *
 * Threads. Between updates, threads may predict rows of different streams at the same time, not of
 * the same stream. The parts of an update may run at the same time, but not beside predictions.
 * Every other call has the context model to itself.
 */
#ifndef GPUZIP_CONTEXT_MODEL_H
#define GPUZIP_CONTEXT_MODEL_H

#include "ngrams.h"
#include "ops.h"
#include "status.h"

#define CONTEXT_MODEL_STATES   NGRAMS_STATES /* the most states of a context; state 0: none */
#define CONTEXT_MODEL_PARTS    8             /* parts of an update */
#define CONTEXT_MODEL_MAX_BITS 20
#define CONTEXT_MODEL_EARLY    16 /* steps from the origin with an update after each */

/* Start values: probabilities of states and the mixer's weights; belong to a model. */
typedef struct {
    uint16_t q[OPS_FEATURES][CONTEXT_MODEL_STATES]; /* Q16 */
    int32_t weights[OPS_SETS][OPS_WEIGHTS];         /* of ops_adaptive_config */
} context_prior;

/* Start values of the built-in model, from tools/train_prior.c. */
extern const context_prior context_prior_builtin;

/* The class of the first of n bytes (coder/CONTEXTS.md, section 7). */
uint32_t context_model_class(const uint8_t *bytes, size_t n);

/* The context models' view of a symbol with these bytes: the last 3 in bits 0 .. 23, newest lowest,
 * their number in 24 .. 25, the class of the first in 28 .. 31. */
uint32_t token_suffix(const uint8_t *bytes, size_t size);

typedef struct {
    int vocab;                    /* symbols that may be candidates */
    int symbols;                  /* >= vocab: tokens are below */
    const uint32_t *token_suffix; /* [symbols] token_suffix(), 0 without bytes */
    const context_prior *prior;
    ngrams_table ngrams; /* of this vocab, or none */

    int streams;                  /* >= 1 */
    const uint32_t *const *token; /* [streams][length]; see Ownership above */
    const size_t *length;         /* [streams] < 2^32 */
    size_t scope;                 /* the most steps between two resets */
    int update_interval;          /* U >= 1 */
    int table_bits; /* 1 .. CONTEXT_MODEL_MAX_BITS; 0: twice as many buckets as tokens */
} context_model_config;

typedef struct context_model context_model;

/* Memory that config points to, tokens included, must outlive the context model.
 * context_model_close() accepts NULL. Errors: MEMORY. */
gpuzip_status context_model_open(context_model **c, const context_model_config *config);
void context_model_close(context_model *c);

/* Bytes of memory that context_model_open() takes for `streams` streams of `longest` tokens or a
 * few less; scope, update_interval and table_bits as in context_model_config. */
uint64_t context_model_bytes(size_t streams, size_t longest, size_t scope, int update_interval,
                             int table_bits);

/* Resets to the start values; `step` is the origin and the next step of every stream. */
void context_model_reset(context_model *c, size_t step);

/* The next update is before this step, which is > step. */
static inline size_t context_model_next_update(size_t step, size_t origin, int update_interval)
{
    size_t since = step - origin, u = (size_t)update_interval;
    return since < CONTEXT_MODEL_EARLY ? step + 1 : origin + (since / u + 1) * u;
}

typedef struct {
    int32_t stream;
    uint32_t step;
} context_model_row;

/* Writes candidate[r][0 .. candidates[r]) of every row r. Rows lie between the last update and the
 * next, less than U steps from the last; those of one stream come once each, with ascending steps.
 * Concurrent calls must be for different streams. */
void context_model_predict(context_model *c, const context_model_row *row, int rows,
                           ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* A row of one of several context models. */
typedef struct {
    context_model *of;
    context_model_row row;
    int32_t key; /* >= 0, the same for all rows of a stream */
} context_model_query;

/* context_model_predict() for rows of several context models, restricted to keys with key % parts
 * == part; parts may run at the same time. */
void context_model_predict_part(int part, int parts, const context_model_query *query, int rows,
                                ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates);

/* Updates with the tokens of the steps [last update, end) of all streams, and with the hits and
 * misses of the candidates predicted for them. */
void context_model_learn(context_model *c, size_t end);

/* context_model_learn() in parts 0 .. CONTEXT_MODEL_PARTS - 1, in any order or at the same time,
 * then context_model_learn_end(). */
void context_model_learn_part(context_model *c, int part, size_t end);
void context_model_learn_end(context_model *c, size_t end);

/* Reads the states: probabilities, Q16, and the number of candidates (up to 255) that they were
 * learnt from. */
void context_model_read(const context_model *c, uint16_t q[OPS_FEATURES][CONTEXT_MODEL_STATES],
                        uint8_t seen[OPS_FEATURES][CONTEXT_MODEL_STATES]);

#endif
