/* engine_state.h: types and functions that the engine's files share.
 *
 * engine.c opens engines; engine_job.c gathers streams into a job; engine_encode.c takes a job
 * through its windows in passes of many steps (engine_pass.c), engine_decode.c step by step;
 * engine_adapt.c has the adaptive experts, engine_costs.c statistics.
 *
 * The host queues work on the device without waiting; it fetches only the results it needs and
 * waits for these copies alone. It never touches memory that queued work reads or writes: two
 * stages alternate, each with an event after its last use.
 */
#ifndef GPUZIP_ENGINE_STATE_H
#define GPUZIP_ENGINE_STATE_H

#include <math.h>

#include "clock.h"
#include "engine.h"
#include "model_learn.h"
#include "rangecoder.h"

#define HOST_SHARED 256 /* rows or streams from which host threads pay */
#define STAGES      2
#define EVENT_STEP  STAGES /* the event of a decoding step; those below are the stages' */

/* The rows of a pass, on the host or on the device. */
typedef struct {
    ops_interval *interval;                     /* [pass_rows] of the mixed rows */
    int32_t *token[GPUZIP_MAX_EXPERTS];         /* [pass_rows] for each model, NULL for others */
    int32_t *slot, *pos;                        /* [pass_rows] */
    int32_t *row;                               /* [pass_rows] as in ops_mix */
    ops_candidate (*candidate)[OPS_CANDIDATES]; /* [pass_rows], as in ops_mix; NULL without */
    int32_t *candidates;                        /* [pass_rows] with context models */
} pass_rows;

/* A pass in progress. */
typedef struct {
    void *memory;               /* page-locked, holds all arrays below but `stream` */
    pass_rows rows;             /* uploaded; the intervals are fetched */
    int32_t *symbol;            /* [pass_rows] of the mixed rows, uploaded */
    int32_t *state;             /* [pass_rows] of the mixed rows' streams, uploaded */
    int32_t *stream;            /* [pass_rows] streams of the mixed rows */
    context_model_query *asked; /* [pass_rows] the mixed rows, with context models */
    int mixed;                  /* rows whose intervals are not range-coded yet; 0: none */
} engine_stage;

/* The rows from which the weights learn. */
typedef struct {
    int32_t *slot, *pos; /* in the order of the passes */
    int32_t *target;     /* the token that followed; -1: an escape, which the models do not know */
} learn_rows;

/* See engine_costs.c. */
typedef struct engine_measures engine_measures;

/* The state of all streams at one step. */
typedef struct {
    ops_symbol *found;                  /* [slots] */
    int32_t *token[GPUZIP_MAX_EXPERTS]; /* [slots] for each model, NULL for others */
    int32_t *slot, *pos;                /* [slots]; slot[s] = s */
    uint32_t *target;                   /* [slots] */
    int32_t *state;                     /* [slots] of the streams */
} step_rows;

struct engine {
    const ops *ops;
    ops_context *ctx;
    engine_config config;
    int pass_rows, logits_rows;             /* the most rows of a pass, and of its mixing */
    model_state *state[GPUZIP_MAX_EXPERTS]; /* of the models; NULL for others */
    int slots;                              /* streams that fit in the memory; 0: none yet */
    int states;                             /* adaptive states that fit */
    int run;                                /* steps of a pass that fit, with sliding windows */

    engine_stage stage[STAGES];
    int next_stage; /* the least recently used */
    void *pass_memory;
    pass_rows pass; /* on the device */
    void *step_memory, *step_host_memory;
    step_rows step;         /* on the device */
    ops_symbol *host_found; /* [slots], page-locked */
    uint32_t *host_target;  /* [slots], page-locked */
    int32_t *host_state;    /* [slots], page-locked */

    /* Symbols on the device that wait for mixing or an update: pending[pending_first, pending_end)
     * of adapt_pending_rows(), and their states. */
    int32_t *pending, *pending_state;
    size_t pending_first, pending_end;

    model_learner *learner[GPUZIP_MAX_EXPERTS]; /* of the models, with learn_weights; or NULL */
    int learn_most, learnt_rows;  /* the most rows of a step of the weights; those recorded for
                                     the next */
    learn_rows learn, learn_host; /* [learn_most] on the device; on the host, page-locked */
    void *learn_memory, *learn_host_memory;

    bool adaptive;                          /* some part adapts */
    engine_group *own_group;                /* of this engine alone */
    engine_group *group;                    /* own_group, or the one that it has joined */
    int rank;                               /* its number in the group */
    size_t origin;                          /* the step of the last reset */
    uint32_t *count[GPUZIP_MAX_EXPERTS];    /* device, Naive Bayes: [states][vocab] */
    int32_t *count_log[GPUZIP_MAX_EXPERTS]; /* device, [states][vocab] log2(count + 1), Q16 */
    void *zeros;                            /* page-locked, [vocab] */

    engine_measures *measures; /* NULL: none yet */
};

/* A stream of a job. */
typedef struct {
    engine_stream *own; /* the caller's */
    uint32_t *token;    /* [length] own->token */
    size_t length;
    int state, index;        /* of the group's states; its number among that state's streams */
    double bits;             /* sum of -log2(freq / 2^30) */
    float *measured, *coded; /* destination of the next token's measurements and bits; or NULL */
} job_stream;

/* Streams being coded, sorted by falling length, so that those with a token at a given step come
 * first; stream s has slot s. */
typedef struct {
    engine *e;
    job_stream *stream; /* [streams] */
    int streams;
    size_t steps;        /* of the longest */
    int run;             /* the most steps of a pass; 0: any number, windows do not slide */
    rc_encoder *encoder; /* [streams], or NULL */
    rc_decoder *decoder; /* [streams], or NULL */
    size_t update_due;   /* decoding: the next update is before this step */
    engine_costs *costs;
    const engine_progress *progress; /* or NULL */
    bool learns;                     /* the models' weights do, from these streams */
    bool measures;                   /* some stream's tokens are measured */
} engine_job;

/* engine_job.c: streams and their steps. */

/* Gathers the streams of one member of the group. Errors: MEMORY. */
gpuzip_status job_gather(engine_job *job, engine_stream *stream, int streams);

/* The number of streams with a token at step t: the first ones. */
int job_active(const engine_job *job, size_t t);

/* How many of the steps [t, t + steps) stream s has. */
int job_stream_steps(const engine_job *job, int s, size_t t, int steps);

/* Codes all streams. Errors: MEMORY, DEVICE, CANCELLED; work may still be queued then. */
gpuzip_status job_encode(engine_job *job);
gpuzip_status job_decode(engine_job *job);

/* Whether expert k is a model. */
static inline bool is_model(const engine *e, int k)
{
    return e->config.expert[k].kind == GPUZIP_EXPERT_MODEL;
}

/* Host threads of the context models for n rows or streams. */
static inline int host_threads(const engine_config *c, size_t n)
{
    return n < HOST_SHARED ? 1 : pool_threads(c->pool);
}

/* Positions that a row at position pos attends to, the sink among them. */
static inline size_t attended(const engine *e, size_t pos)
{
    size_t window = (size_t)e->config.schedule.window;
    return pos < window ? pos + 1 : window + 1;
}

/* The input of expert k, a model, at `step` of a stream, in a window from `base` on: the token
 * before; the BOS at the window's start, and in place of an escape, which the model lacks. */
static inline int32_t input_token(const engine *e, int k, const job_stream *stream, size_t base,
                                  size_t step)
{
    uint32_t token = step == base ? UINT32_MAX : stream->token[step - 1];
    return token < (uint32_t)e->config.vocab
               ? (int32_t)token
               : (int32_t)model_weights(e->config.expert[k].m)->config.bos;
}

/* Bits of a symbol, for the statistics; nothing coded depends on it. */
static inline double symbol_bits(uint32_t freq)
{
    return OPS_CDF_BITS - log2((double)freq);
}

/* engine_pass.c: stages and passes. */

static inline int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Waits for the intervals of a stage and codes them. Errors: DEVICE. */
gpuzip_status pass_code(engine_job *job, int index);

/* Takes the least recently used stage, after waiting for its last use and range-coding its
 * remaining intervals. The caller puts event *index after its own use. */
gpuzip_status pass_stage(engine_job *job, int *index);

/* Fills in the inputs of the rows of the steps [t, t + steps) of streams [s0, s1), stream by
 * stream, in a window from `base` on. Returns the number of rows. */
int pass_fill_rows(const engine_job *job, pass_rows *p, int s0, int s1, size_t base, size_t t,
                   int steps);

/* Queues a pass of all models over the rows of a stage; without logits it only fills the KV
 * caches. */
gpuzip_status pass_forward(engine_job *job, const pass_rows *host, int rows, bool logits);

/* Steps of a pass over so many streams, at most `left` and job->run. Streams beyond pass_rows /
 * steps go to another pass. */
int pass_steps(const engine_job *job, int streams, size_t left);

/* Queues a re-read of the steps [base, t) of a window, to fill the KV caches of the streams that
 * have a token at step t. */
gpuzip_status pass_prefill(engine_job *job, size_t base, size_t t);

/* Queues the logits of rows [first, first + rows) of the last pass and fills in *mix for them.
 * state: the states of the rows' streams, in device memory. */
gpuzip_status pass_mix(engine_job *job, ops_mix *mix, int first, int rows, const int32_t *state);

/* engine_costs.c: the cost by each expert alone. */

/* costs_close() accepts NULL. Errors: MEMORY. */
gpuzip_status costs_open(engine_measures **m, const engine *e);
void costs_close(engine_measures *m);

/* costs_logits() downloads the first rows of a mix's logits; costs_rows() measures the mixed
 * rows [first, first + rows) of a stage with them, rows mix->row[] or consecutive ones. Call both
 * before the update that takes these rows. They do nothing unless the job measures. Errors:
 * DEVICE. */
gpuzip_status costs_logits(engine_job *job, const ops_mix *mix, int rows);
gpuzip_status costs_rows(engine_job *job, const engine_stage *g, const ops_mix *mix, int first,
                         int rows);

/* engine_group.c: updates that the members of a group share. */

ops_adaptive *group_learner(const engine_group *group); /* on the device, or NULL */
context_model *group_context_model(const engine_group *group, int state); /* or NULL */
int group_states(const engine_group *group);                              /* of the batch */
int group_most_streams(const engine_group *group);                        /* of a member */
/* Bytes of device memory, for so many states of one member. */
size_t group_bytes(const engine_group *group, int states);

/* The place of a stream of the batch: its state among the group's, which are sorted by falling
 * length of their longest stream, and its number among the streams of that state. */
void group_place(const engine_group *group, const engine_stream *stream, int *state, int *index);

/* Waits for all members. The group then updates its states with the tokens before `step`, all of
 * them known, or with `resets` resets them at `step`. Errors: DEVICE; CANCELLED, if a member
 * failed. */
gpuzip_status group_barrier(engine_group *group, size_t step, bool resets);

/* engine_learn.c: the models' weights learn. */

/* Whether the devices and the bounds of the models' numbers allow it. */
bool learn_is_possible(const engine_config *config);

/* Opens the learners for steps with the rows of so many streams, or closes them.
 * Errors: MEMORY, UNSUPPORTED. */
gpuzip_status learn_open(engine *e, int streams);
void learn_close(engine *e);
/* Device memory that learn_open() takes. */
size_t learn_bytes(const engine *e, int streams);
/* Gives the models their trained weights again. Errors: DEVICE. */
gpuzip_status learn_reset(engine_job *job);

/* The end of the rows, from step t on, that the next step of the weights learns from: at most
 * `end`, the window's. SIZE_MAX if the weights do not learn, or no row is left to use the step. */
size_t learn_next_update(const engine_job *job, size_t t, size_t end);

/* Remembers a row of a pass with logits, for the next step of the weights. */
void learn_record(engine_job *job, int32_t slot, int32_t pos);

/* Takes a step of the weights with the recorded rows, of a window from `base` on; the tokens that
 * follow them are known. Errors: MEMORY, DEVICE. */
gpuzip_status learn_update(engine_job *job, size_t base);

/* engine_adapt.c: adaptation. All work is queued on the device, except that of the context models,
 * which run on the host. */

/* Symbols that fit in `pending`, for so many streams and states. */
size_t adapt_pending_rows(const engine *e, int streams, int states);

/* Resets the adaptive state at `step` and drops pending symbols. */
gpuzip_status adapt_reset(engine_job *job, size_t step);

/* Updates with the steps before t, whose tokens are all known: Naive Bayes with the first n pending
 * symbols, the group with its mixed rows. */
gpuzip_status adapt_update(engine_job *job, size_t t, size_t n);

/* The context models' query for step t of a stream of a job. */
context_model_query adapt_query(const engine_job *job, int stream, size_t t);

/* Queues the candidates of mixed rows [first, first + rows) of a stage. */
gpuzip_status adapt_predict(engine_job *job, engine_stage *g, int first, int rows);

/* Steps from t to the next update. */
int adapt_steps_to_update(const engine *e, size_t t);

/* The largest part of `steps` steps from t on that ends with an update; all if none does. */
int adapt_steps_to_last_update(const engine *e, size_t t, int steps);

#endif
