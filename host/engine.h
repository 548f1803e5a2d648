/* engine.h: blocks of tokens to range-coded streams and back.
 *
 * A block of n tokens is cut into S streams: stream s holds the tokens
 * [s L, min(n, (s + 1) L)), L = ceil(n / S). All streams advance in lock-step:
 * step t codes token t of every stream that still has one.
 *
 * The context of a token depends on its step alone. Window k covers the steps
 * [k H, k H + W); it begins with the model's BOS at position 0, and position p
 * holds token k H + p - 1 and predicts token k H + p. Window 0 codes all its
 * steps; each later one codes its last H, and reads the W - H before them again.
 *
 * What adapts, Naive Bayes, contexts and the mixing's biases and alphas, is shared
 * by the streams of a block. It learns the tokens of all streams at updates:
 * after each of the first CONTEXTS_EARLY steps, then every U steps (see
 * contexts_next_update()). With window_scope it forgets at the start of each window.
 *
 * Several blocks are coded at once as if their streams were one block's, for the
 * context of a token knows nothing of its block; that keeps a large device full.
 * What adapts learns from one block alone, so with it a call takes one.
 *
 * The encoder runs many steps a pass, the decoder one; both through the same
 * code, and by the law of ops.h with the same numbers.
 */
#ifndef GPUZIP_ENGINE_H
#define GPUZIP_ENGINE_H

#include "container.h"
#include "contexts.h"
#include "model.h"

typedef struct {
    gpuzip_expert_kind kind;
    model *m;       /* for GPUZIP_EXPERT_MODEL */
    uint32_t alpha; /* Q16, < 2^20 */
} engine_expert;

typedef struct {
    int window;          /* W, 2 .. the smallest context of the models */
    int hop;             /* H, 1 .. W */
    int update_interval; /* U >= 1 */
    bool window_scope;   /* needs hop == window */
    int escapes;         /* of the tokenizer: 0 or 256 */
    int vocab;           /* of every model */
    int pass_rows;       /* the most rows of a pass; 0: as many as suit the device */
    int experts;         /* >= 1, at least one a model */
    engine_expert expert[GPUZIP_MAX_EXPERTS];
    bool bias, learn_alpha;      /* of the mixing; then alphas are <= OPS_LEARNT_MAX */
    const contexts_prior *prior; /* contexts propose candidates; NULL: no contexts */
    ngrams_table ngrams;         /* what contexts know of other texts, or none */
    int host_threads;            /* for contexts, beside what the device does; 0: one */
    const uint32_t *tail;        /* [vocab + escapes] with contexts, see contexts_config */
} engine_config;

/* What a block's work cost, added up. Where the device works beside the host, forward is
 * the time that the host waits for it. */
typedef struct {
    double seconds_forward, seconds_mix, seconds_coder;
    double seconds_contexts;
    double forward_ops; /* as in gpuzip_stats */
    double model_bits;  /* sum of -log2(freq / 2^30) */
    double seconds_measure;
} engine_costs;

/* What is measured of a token, in bits, without what room for escapes costs. Of an escape,
 * which no expert knows, only the first and the alphas are not 0. */
#define ENGINE_MEASURE_BITS              0         /* -log2(freq / 2^30) */
#define ENGINE_MEASURE_LOG2_Z            1         /* of the product of the experts */
#define ENGINE_MEASURE_BIASED            2         /* with the biases, without candidates */
#define ENGINE_MEASURE_EXPERT(k)         (3 + (k)) /* with expert k alone, alpha 1 */
#define ENGINE_MEASURE_ALPHA(k, experts) (3 + (experts) + (k)) /* of expert k */
#define ENGINE_MEASURES(experts)         (3 + 2 * (experts))

/* A block: its tokens, and a byte string a stream. */
typedef struct {
    uint32_t *token;          /* [tokens]: read when encoding, written when decoding */
    size_t tokens;            /* >= 1 */
    container_stream *stream; /* [streams] */
    uint32_t streams;         /* a value of container_fit_streams() for the tokens */
    gpuzip_status status;     /* of decoding, see engine_decode() */
    double bits;              /* -log2(freq / 2^30) of its tokens is added to it */
    float *measure; /* [tokens][ENGINE_MEASURES(experts)] written when encoding, or NULL */
} engine_block;

/* Told how many of the longest stream's steps are done; nonzero cancels. */
typedef struct {
    int (*step)(void *context, size_t done, size_t steps);
    void *context;
} engine_progress;

typedef struct engine engine;

/* ops, ctx and the models must outlive the engine; ctx runs its work. Engines with
 * contexts of their own may be used at the same time. engine_close() accepts NULL.
 * Errors: MEMORY, DEVICE, UNSUPPORTED (the device's mixing does not learn). */
gpuzip_status engine_open(engine **e, const ops *ops, ops_context *ctx,
                          const engine_config *config);
void engine_close(engine *e);

/* Engines of one backend that code the streams of a block at the same time, in a thread
 * each, and learn together what adapts. Each engine is a team alone until it joins another.
 * Naive Bayes is not shared. */
typedef struct engine_team engine_team;

/* For up to so many members. ctx must outlive it. engine_team_close() accepts NULL.
 * Errors: MEMORY, UNSUPPORTED. */
gpuzip_status engine_team_open(engine_team **team, const ops *ops, ops_context *ctx,
                               const engine_config *config, int members);
void engine_team_close(engine_team *team);

/* Before a block is coded: by how many members, and how many streams one has at most. Each
 * of them must then call engine_encode() or engine_decode() once, or engine_team_skip().
 * Errors: MEMORY. */
gpuzip_status engine_team_begin(engine_team *team, const engine_block *block, int members,
                                int most);
void engine_team_skip(engine_team *team);
void engine_team_end(engine_team *team); /* releases what was the block's */

/* The engine becomes member 0 .. members - 1 of a team of the same config. */
void engine_join(engine *e, engine_team *team, int member);

/* Bytes of the device's memory that coding `streams` streams at once takes, what is
 * taken already included; the models' own not. */
size_t engine_bytes(const engine *e, int streams);

/* Those of them that hold logits, for any number of streams. */
size_t engine_logits_bytes(const engine *e);

/* Bytes that always suffice for a stream of so many tokens. */
#define ENGINE_STREAM_BOUND(tokens) ((size_t)(tokens)*4 + 1)

/* Encodes the streams [first, end) of block[blocks], counted over all of them, block
 * after block. stream[s].data must point to ENGINE_STREAM_BOUND(tokens of a stream) bytes,
 * which are written; .size is set. Where something adapts there must be one block, and
 * the ranges of a team be the whole. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_encode(engine *e, engine_block *block, int blocks, uint32_t first,
                            uint32_t end, engine_costs *costs, const engine_progress *progress);

/* The inverse: writes the tokens of these streams. CORRUPT: some stream was not written by
 * an encoder; the status of each block with streams in the range says, OK or CORRUPT,
 * whether it is one of its own, and those that are OK are whole.
 * Errors: CORRUPT, MEMORY, DEVICE, CANCELLED. */
gpuzip_status engine_decode(engine *e, engine_block *block, int blocks, uint32_t first,
                            uint32_t end, engine_costs *costs, const engine_progress *progress);

#endif
