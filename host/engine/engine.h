/* engine.h: arrays of token streams to range-coded bytes and back.
 *
 * A stream is a sequence of tokens with one byte string. A block of n tokens is cut into S
 * streams: stream s holds the tokens [s L, min(n, (s + 1) L)), L = ceil(n / S). One call codes
 * the streams of any number of blocks as one batch, in lock-step: step t codes token t of every
 * stream that is longer than t.
 *
 * The context of a token depends on its step alone. With H = 0 windows slide: position p of a
 * stream holds token p - 1, the model's BOS at p = 0, and predicts token p; it attends to the last
 * W positions and to BOS (ops.h, attention()). Models with learned positions need H > 0: window k
 * covers the steps [k H, k H + W); it begins with BOS at position 0, and position p
 * holds token k H + p - 1 and predicts token k H + p. Window 0 codes all its
 * steps; each later one codes its last H, and reads the W - H before them again.
 *
 * Adaptive state (Naive Bayes counts, context models, the mixer's biases, alphas and weights)
 * belongs to a block and is shared by its streams. It is updated with the tokens of all of them
 * after each of the first CONTEXT_MODEL_EARLY steps, then every U steps
 * (context_model_next_update()). With window_scope it is reset at the start of each window. Windows
 * and updates depend on the step alone, so the blocks of a batch have them at the same time.
 * Weights that learn have steps of their own (schedule.h), and their block is a batch alone. A
 * stream's bytes depend on its block only, never on the rest of the batch.
 *
 * The encoder runs many steps a pass, the decoder one; both through the same
 * code, and by the law of ops.h with the same numbers.
 */
#ifndef GPUZIP_ENGINE_H
#define GPUZIP_ENGINE_H

#include "container.h"
#include "context_model.h"
#include "gpuzip.h"
#include "model.h"
#include "pool.h"

typedef struct {
    gpuzip_expert_kind kind;
    model *m;       /* for GPUZIP_EXPERT_MODEL */
    uint32_t alpha; /* Q16, < 2^20 */
} engine_expert;

typedef struct {
    schedule schedule; /* W, at most the smallest context of the models; H, which all models must
                          be able to; U */
    int escapes;       /* of the tokenizer: 0 or 256 */
    int vocab;         /* the same for every model */
    int pass_rows;     /* the most rows of a pass; 0: chosen for the device */
    int experts;       /* >= 1, at least one a model */
    engine_expert expert[GPUZIP_MAX_EXPERTS];
    bool bias, learn_alpha;       /* adapt the mixer's; then alphas are <= OPS_LEARNT_MAX */
    bool learn_weights;           /* adapt the models' matrices in blocks that engine_learns() */
    const context_prior *prior;   /* context models propose candidates; NULL: no context models */
    ngrams_table ngrams;          /* n-grams of other texts, for the context models; or none */
    pool *pool;                   /* of the context models on the host; NULL: one thread */
    const uint32_t *token_suffix; /* [vocab + escapes] with context models: theirs */
} engine_config;

/* Costs of a block, accumulated. Where the device runs asynchronously, GPUZIP_PHASE_FORWARD is the
 * time that the host waits for it. */
typedef struct {
    double seconds[GPUZIP_PHASES];
    double forward_ops; /* as in gpuzip_stats */
    double model_bits;  /* sum of -log2(freq / 2^30) */
} engine_costs;

/* Adds a share of the costs. */
static inline void engine_add_costs(engine_costs *sum, const engine_costs *costs, double share)
{
    for (int i = 0; i < GPUZIP_PHASES; i++)
        sum->seconds[i] += share * costs->seconds[i];
    sum->forward_ops += share * costs->forward_ops;
    sum->model_bits += share * costs->model_bits;
}

/* Measurements of a token, in bits, without the share of the escapes. For an escape, which no
 * expert predicts, all are 0 but the first and the alphas. */
#define ENGINE_MEASURE_BITS              0         /* -log2(freq / 2^30) */
#define ENGINE_MEASURE_LOG2_Z            1         /* of the product of the experts */
#define ENGINE_MEASURE_BIASED            2         /* with the biases, without candidates */
#define ENGINE_MEASURE_EXPERT(k)         (3 + (k)) /* with expert k alone, alpha 1 */
#define ENGINE_MEASURE_ALPHA(k, experts) (3 + (experts) + (k)) /* of expert k */
#define ENGINE_MEASURES(experts)         (3 + 2 * (experts))

/* A stream. */
typedef struct {
    uint32_t *token;        /* [length] read when encoding, written when decoding */
    size_t length;          /* >= 1 */
    container_stream *code; /* encoding: data has room for ENGINE_STREAM_BOUND(length) bytes, which
                               are written; size is set */
    int state;              /* the adaptive state that it shares: that of its block */
    float *measure;         /* [length][ENGINE_MEASURES(experts)] written when encoding, or NULL */
    double bits;            /* set: the sum of -log2(freq / 2^30) */
    gpuzip_status status;   /* set by the decoder: OK or CORRUPT */
} engine_stream;

/* Whether the models' weights learn from a block of so many tokens. */
static inline bool engine_learns(const engine_config *config, size_t tokens)
{
    return config->learn_weights && tokens >= SCHEDULE_WEIGHT_TOKENS;
}

/* Tokens of streams [streams]. */
static inline size_t engine_tokens(const engine_stream *stream, int streams)
{
    size_t tokens = 0;
    for (int s = 0; s < streams; s++)
        tokens += stream[s].length;
    return tokens;
}

/* Cuts a block of n tokens into streams [streams] of the adaptive state `state`; stream s has
 * code[s]. streams: a value of container_fit_streams() for n. measure: of all tokens, or NULL. */
void engine_cut(engine_stream *stream, uint32_t streams, int state, uint32_t *token, size_t n,
                container_stream *code, float *measure, int experts);

/* Allocates code[streams] and *bytes, the encoder's output for a block of n tokens; the caller
 * frees both. Errors: MEMORY. */
gpuzip_status engine_make_room(container_stream **code, uint8_t **bytes, size_t n,
                               uint32_t streams);

/* step() gets the number of completed steps of the longest stream; nonzero cancels. */
typedef struct {
    int (*step)(void *context, size_t done, size_t steps);
    void *context;
} engine_progress;

typedef struct engine engine;

/* ops, ctx and the models must outlive the engine; ctx runs its work. Engines with
 * contexts of their own may be used at the same time. engine_close() accepts NULL.
 * Errors: MEMORY, DEVICE, UNSUPPORTED (the device's mixing does not learn, or weights do not). */
gpuzip_status engine_open(engine **e, const ops *ops, ops_context *ctx,
                          const engine_config *config);
void engine_close(engine *e);

/* Engines of one backend that code the streams of a batch at the same time, in a thread
 * each, and update the adaptive states together. Each engine is a group alone until it joins
 * another. Naive Bayes is not shared. */
typedef struct engine_group engine_group;

/* Opens a group of up to `members` engines. ctx must outlive it. engine_group_close() accepts NULL.
 * Errors: MEMORY, UNSUPPORTED. */
gpuzip_status engine_group_open(engine_group **group, const ops *ops, ops_context *ctx,
                                const engine_config *config, int members);
void engine_group_close(engine_group *group);

/* Call before a batch: members that code it, and the most streams of one of them. Each of them must
 * then call engine_encode() or engine_decode() once, for a part of this array, or
 * engine_group_leave() or engine_group_abandon(). Errors: MEMORY. */
gpuzip_status engine_group_begin(engine_group *group, const engine_stream *stream, int streams,
                                 int members, int most);

/* Removes one member from the barrier: the others no longer wait for it. An engine does so itself
 * at the end of its call. */
void engine_group_leave(engine_group *group);

/* Says that a member failed: decoding, its streams' tokens are never known, from which the others
 * would learn. They end with CANCELLED at the barrier. An engine does so itself. */
void engine_group_abandon(engine_group *group);
void engine_group_end(engine_group *group); /* releases the context models of the batch */

/* The engine becomes member `rank`, 0 .. members - 1, of a group of the same config; NULL: alone
 * again. */
void engine_join(engine *e, engine_group *group, int rank);

/* Device memory, in bytes, for coding `streams` streams of `states` adaptive states at once, memory
 * in use included, the models' own excluded. */
size_t engine_bytes(const engine *e, int streams, int states);

/* The same for a batch from which no weights learn. */
size_t engine_plain_bytes(const engine *e, int streams, int states);

/* The part of engine_bytes() for logits, the same for any number of streams. */
size_t engine_logits_bytes(const engine *e);

/* The most bytes that a stream of so many tokens takes. */
#define ENGINE_STREAM_BOUND(tokens) ((size_t)(tokens)*4 + 1)

/* Encodes stream[streams], >= 1. The states are numbered from any number on; the streams of one
 * stand in the order of their block. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_encode(engine *e, engine_stream *stream, int streams, engine_costs *costs,
                            const engine_progress *progress);

/* The inverse: writes the tokens. CORRUPT: the code of some stream was not written by an
 * encoder; the streams of the other states are whole.
 * Errors: CORRUPT, MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_decode(engine *e, engine_stream *stream, int streams, engine_costs *costs,
                            const engine_progress *progress);

/* Reads the mixer's weights of a state [OPS_SETS][OPS_WEIGHTS], as the last call left them; with
 * config.prior. For training. Errors: DEVICE. */
gpuzip_status engine_read_weights(const engine *e, int state, int32_t *weights);

#endif
