/* engine_team.c: adaptive states, except Naive Bayes counts, and the barrier at which the members
 * update them. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine_internal.h"

/* A block's adaptive state, on the host. */
typedef struct {
    size_t longest; /* of its streams */
    int number;     /* the caller's, from the lowest on */
    int streams;
    context_model *cm;      /* or NULL */
    const uint32_t **token; /* [streams] */
    size_t *length;         /* [streams] */
} team_state;

struct engine_team {
    const ops *ops;
    ops_context *ctx;
    engine_config config;
    bool learns;           /* biases, alphas or weights */
    int members_most;      /* the most that may join */
    ops_adaptive *learner; /* holds learner_states states, or NULL */
    int learner_states;

    /* Of the batch being coded: */
    const engine_stream *stream; /* [streams] of all members */
    int streams;
    int *index;        /* [streams] of each, among those of its state */
    int *rank;         /* [states] by the caller's number: where in state */
    int lowest;        /* of the caller's numbers */
    team_state *state; /* [states], those with longer streams first */
    int states;
    int most;       /* streams of a member */
    size_t updated; /* the step of the last update or reset */

    /* Barrier: the last member to arrive wakes the rest; all then share the update. With the
     * lock: */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int members, arrived;
    unsigned meetings;           /* completed */
    bool working;                /* all have arrived */
    int parts_begun, parts_done; /* of the context models' update */
    gpuzip_status status;        /* of the last meeting */
};

ops_adaptive *team_learner(const engine_team *team)
{
    return team->learner;
}

context_model *team_contexts(const engine_team *team, int state)
{
    return team->state[state].cm;
}

int team_states(const engine_team *team)
{
    return team->states;
}

int team_most_streams(const engine_team *team)
{
    return team->most;
}

void team_place(const engine_team *team, const engine_stream *stream, int *state, int *index)
{
    *state = team->rank[stream->state - team->lowest];
    *index = team->index[stream - team->stream];
}

/* ---- memory -------------------------------------------------------------- */

static ops_adaptive_config learner_config(const engine_config *c, int members, int states)
{
    ops_adaptive_config config = {.vocab = c->vocab,
                                  .experts = c->experts,
                                  .bias = c->bias,
                                  .alpha = c->learn_alpha,
                                  .weights = c->prior ? c->prior->weights[0] : NULL,
                                  .parts = members,
                                  .states = states};
    for (int k = 0; k < c->experts; k++)
        config.start[k] = c->expert[k].alpha;
    return config;
}

size_t team_bytes(const engine_team *team, int states)
{
    ops_adaptive_config config = learner_config(&team->config, 1, states);
    return team->learns ? team->ops->adaptive_bytes(&config) : 0;
}

gpuzip_status engine_team_open(engine_team **out, const ops *ops, ops_context *ctx,
                               const engine_config *config, int members)
{
    bool learns = config->bias || config->learn_alpha || config->prior;
    if (learns && !ops->adaptive_create)
        return GPUZIP_ERR_UNSUPPORTED;
    engine_team *team = calloc(1, sizeof *team);
    if (!team)
        return FAIL(GPUZIP_ERR_MEMORY);
    team->ops = ops;
    team->ctx = ctx;
    team->config = *config;
    team->learns = learns;
    team->members_most = members;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->changed, NULL);
    *out = team;
    return GPUZIP_OK;
}

static void close_learner(engine_team *team)
{
    if (team->learner)
        team->ops->adaptive_destroy(team->ctx, team->learner);
    team->learner = NULL;
    team->learner_states = 0;
}

void engine_team_close(engine_team *team)
{
    if (!team)
        return;
    engine_team_end(team);
    close_learner(team);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

/* Grows the device memory to the batch's states; never shrinks it. */
static gpuzip_status reserve_learner(engine_team *team)
{
    if (!team->learns || team->states <= team->learner_states)
        return GPUZIP_OK;
    close_learner(team);
    ops_adaptive_config config = learner_config(&team->config, team->members_most, team->states);
    TRY(team->ops->adaptive_create(team->ctx, &team->learner, &config));
    team->learner_states = team->states;
    return GPUZIP_OK;
}

/* ---- the states of a batch ----------------------------------------------- */

static int compare_states(const void *a, const void *b)
{
    const team_state *x = a, *y = b;
    if (x->longest != y->longest)
        return x->longest > y->longest ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Finds the states of team->stream, and sorts them. */
static gpuzip_status gather_states(engine_team *team)
{
    const engine_stream *stream = team->stream;
    int highest = stream[0].state;
    team->lowest = stream[0].state;
    for (int s = 1; s < team->streams; s++) {
        team->lowest = stream[s].state < team->lowest ? stream[s].state : team->lowest;
        highest = stream[s].state > highest ? stream[s].state : highest;
    }
    team->states = highest - team->lowest + 1;
    team->state = calloc((size_t)team->states, sizeof *team->state);
    team->rank = malloc((size_t)team->states * sizeof *team->rank);
    team->index = malloc((size_t)team->streams * sizeof *team->index);
    if (!team->state || !team->rank || !team->index)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < team->states; i++)
        team->state[i].number = i;
    for (int s = 0; s < team->streams; s++) {
        team_state *state = &team->state[stream[s].state - team->lowest];
        team->index[s] = state->streams++;
        state->longest = stream[s].length > state->longest ? stream[s].length : state->longest;
    }
    qsort(team->state, (size_t)team->states, sizeof *team->state, compare_states);
    for (int i = 0; i < team->states; i++)
        team->rank[team->state[i].number] = i;
    return GPUZIP_OK;
}

/* Opens the context models of all states. */
static gpuzip_status open_contexts(engine_team *team)
{
    const engine_config *c = &team->config;
    for (int i = 0; i < team->states; i++) {
        size_t streams = (size_t)team->state[i].streams;
        team->state[i].token = malloc((streams + 1) * sizeof *team->state[i].token);
        team->state[i].length = malloc((streams + 1) * sizeof *team->state[i].length);
        if (!team->state[i].token || !team->state[i].length)
            return FAIL(GPUZIP_ERR_MEMORY);
    }
    for (int s = 0; s < team->streams; s++) {
        int state, index;
        team_place(team, &team->stream[s], &state, &index);
        team->state[state].token[index] = team->stream[s].token;
        team->state[state].length[index] = team->stream[s].length;
    }
    for (int i = 0; i < team->states; i++) {
        team_state *state = &team->state[i];
        context_model_config config = {.vocab = c->vocab,
                                       .symbols = c->vocab + c->escapes,
                                       .token_suffix = c->token_suffix,
                                       .prior = c->prior,
                                       .ngrams = c->ngrams,
                                       .streams = state->streams,
                                       .token = state->token,
                                       .length = state->length,
                                       .scope =
                                           c->window_scope ? (size_t)c->window : state->longest,
                                       .update_interval = c->update_interval};
        if (state->streams > 0)
            TRY(context_model_open(&state->cm, &config));
    }
    return GPUZIP_OK;
}

gpuzip_status engine_team_begin(engine_team *team, const engine_stream *stream, int streams,
                                int members, int most)
{
    engine_team_end(team);
    team->members = members;
    team->stream = stream;
    team->streams = streams;
    team->most = most;
    team->arrived = 0;
    team->updated = 0;
    TRY(gather_states(team));
    TRY(reserve_learner(team));
    return team->config.prior ? open_contexts(team) : GPUZIP_OK;
}

void engine_team_end(engine_team *team)
{
    for (int i = 0; i < team->states && team->state; i++) {
        context_model_close(team->state[i].cm);
        free(team->state[i].token);
        free(team->state[i].length);
    }
    free(team->state);
    free(team->rank);
    free(team->index);
    team->state = NULL;
    team->rank = team->index = NULL;
    team->states = 0;
}

/* ---- meetings ------------------------------------------------------------ */

/* A barrier's work: an update with all tokens before `step`, or a reset at `step`. */
typedef struct {
    size_t step;
    bool resets;
    int states; /* states to update or reset: the first so many */
    int parts;  /* of the context models' update */
} team_work;

/* States whose streams have all ended are skipped: nothing reads them any more. */
static team_work work_at(const engine_team *team, size_t step, bool resets)
{
    team_work w = {.step = step, .resets = resets};
    while (w.states < team->states && team->state[w.states].longest >= step + resets)
        w.states++;
    w.parts = !team->config.prior ? 0 : resets ? w.states : w.states * CONTEXT_MODEL_PARTS;
    return w;
}

/* Begins the work: all members have arrived. With the lock. */
static void begin_work(engine_team *team)
{
    team->working = true;
    team->parts_begun = team->parts_done = 0;
    pthread_cond_broadcast(&team->changed);
}

/* Ends the work when all parts are done: completes the context models' update, queues the mixer's,
 * and wakes the members. With the lock. */
static void end_work(engine_team *team, const team_work *w)
{
    team->status = GPUZIP_OK;
    for (int i = 0; i < w->states && w->parts && !w->resets; i++)
        context_model_learn_end(team->state[i].cm, w->step);
    if (team->learner && w->states > 0)
        team->status = w->resets ? team->ops->adaptive_reset(team->ctx, team->learner, 0, w->states)
                                 : team->ops->mix_learn(team->ctx, team->learner, w->states);
    team->updated = w->step;
    team->working = false;
    team->arrived = 0;
    team->meetings++;
    pthread_cond_broadcast(&team->changed);
}

static void work_part(const engine_team *team, const team_work *w, int part)
{
    if (w->resets)
        context_model_reset(team->state[part].cm, w->step);
    else
        context_model_learn_part(team->state[part / CONTEXT_MODEL_PARTS].cm,
                                 part % CONTEXT_MODEL_PARTS, w->step);
}

/* Does all parts in a team of one: in several threads if there are many tokens. */
static void work_alone(engine_team *team, const team_work *w)
{
    size_t rows = (size_t)team->streams * (w->step - team->updated);
    int threads = host_threads(&team->config, rows);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
    for (int part = 0; part < w->parts; part++)
        work_part(team, w, part);
    team->parts_begun = team->parts_done = w->parts;
}

/* Takes parts of the work until none is left. With the lock. */
static void work(engine_team *team, const team_work *w)
{
    unsigned meeting = team->meetings;
    if (team->members == 1)
        work_alone(team, w);
    while (team->meetings == meeting) {
        if (team->working && team->parts_begun < w->parts) {
            int part = team->parts_begun++;
            pthread_mutex_unlock(&team->lock);
            work_part(team, w, part);
            pthread_mutex_lock(&team->lock);
            team->parts_done++;
        } else if (team->working && team->parts_done == w->parts) {
            end_work(team, w);
        } else {
            pthread_cond_wait(&team->changed, &team->lock);
        }
    }
}

gpuzip_status team_meet(engine_team *team, size_t step, bool resets)
{
    if (!team->learner)
        return GPUZIP_OK;
    team_work w = work_at(team, step, resets);
    pthread_mutex_lock(&team->lock);
    team->arrived++;
    assert(team->arrived <= team->members);
    if (team->arrived == team->members)
        begin_work(team);
    work(team, &w);
    gpuzip_status status = team->status;
    pthread_mutex_unlock(&team->lock);
    return status;
}

void engine_team_skip(engine_team *team)
{
    team_leave(team);
}

void team_leave(engine_team *team)
{
    pthread_mutex_lock(&team->lock);
    team->members--;
    if (team->members > 0 && team->arrived == team->members)
        begin_work(team);
    pthread_mutex_unlock(&team->lock);
}
