/* engine_group.c: adaptive states, except Naive Bayes counts, and the barrier at which the members
 * update them. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine_state.h"

/* A block's adaptive state, on the host. */
typedef struct {
    size_t longest; /* of its streams */
    int number;     /* the caller's, from the lowest on */
    int streams;
    context_model *cm;      /* or NULL */
    const uint32_t **token; /* [streams] */
    size_t *length;         /* [streams] */
} group_state;

struct engine_group {
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
    int *index;         /* [streams] of each, among those of its state */
    int *position;      /* [states] by the caller's number: where in state */
    int lowest;         /* of the caller's numbers */
    group_state *state; /* [states], those with longer streams first */
    int states;
    int most;       /* streams of a member */
    size_t updated; /* the step of the last update or reset */

    /* Barrier: the last member to arrive wakes the rest; all then share the update. With the
     * lock: */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int members, arrived;
    unsigned barriers;           /* completed */
    bool working;                /* all have arrived */
    bool abandoned;              /* a member failed: the batch cannot be completed */
    int parts_begun, parts_done; /* of the context models' update */
    gpuzip_status status;        /* of the last barrier */
};

ops_adaptive *group_learner(const engine_group *group)
{
    return group->learner;
}

context_model *group_context_model(const engine_group *group, int state)
{
    return group->state[state].cm;
}

int group_states(const engine_group *group)
{
    return group->states;
}

int group_most_streams(const engine_group *group)
{
    return group->most;
}

void group_place(const engine_group *group, const engine_stream *stream, int *state, int *index)
{
    *state = group->position[stream->state - group->lowest];
    *index = group->index[stream - group->stream];
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

size_t group_bytes(const engine_group *group, int states)
{
    ops_adaptive_config config = learner_config(&group->config, 1, states);
    return group->learns ? group->ops->adaptive_bytes(&config) : 0;
}

gpuzip_status engine_group_open(engine_group **out, const ops *ops, ops_context *ctx,
                                const engine_config *config, int members)
{
    bool learns = config->bias || config->learn_alpha || config->prior;
    if (learns && !ops->adaptive_create)
        return GPUZIP_ERR_UNSUPPORTED;
    engine_group *group = calloc(1, sizeof *group);
    if (!group)
        return FAIL(GPUZIP_ERR_MEMORY);
    group->ops = ops;
    group->ctx = ctx;
    group->config = *config;
    group->learns = learns;
    group->members_most = members;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);
    *out = group;
    return GPUZIP_OK;
}

static void close_learner(engine_group *group)
{
    if (group->learner)
        group->ops->adaptive_destroy(group->ctx, group->learner);
    group->learner = NULL;
    group->learner_states = 0;
}

void engine_group_close(engine_group *group)
{
    if (!group)
        return;
    engine_group_end(group);
    close_learner(group);
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
    free(group);
}

/* Grows the device memory to the batch's states; never shrinks it. */
static gpuzip_status reserve_learner(engine_group *group)
{
    if (!group->learns || group->states <= group->learner_states)
        return GPUZIP_OK;
    close_learner(group);
    ops_adaptive_config config = learner_config(&group->config, group->members_most, group->states);
    TRY(group->ops->adaptive_create(group->ctx, &group->learner, &config));
    group->learner_states = group->states;
    return GPUZIP_OK;
}

/* ---- the states of a batch ----------------------------------------------- */

static int compare_states(const void *a, const void *b)
{
    const group_state *x = a, *y = b;
    if (x->longest != y->longest)
        return x->longest > y->longest ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Finds the states of group->stream, and sorts them. */
static gpuzip_status gather_states(engine_group *group)
{
    const engine_stream *stream = group->stream;
    int highest = stream[0].state;
    group->lowest = stream[0].state;
    for (int s = 1; s < group->streams; s++) {
        group->lowest = stream[s].state < group->lowest ? stream[s].state : group->lowest;
        highest = stream[s].state > highest ? stream[s].state : highest;
    }
    group->states = highest - group->lowest + 1;
    group->state = calloc((size_t)group->states, sizeof *group->state);
    group->position = malloc((size_t)group->states * sizeof *group->position);
    group->index = malloc((size_t)group->streams * sizeof *group->index);
    if (!group->state || !group->position || !group->index)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < group->states; i++)
        group->state[i].number = i;
    for (int s = 0; s < group->streams; s++) {
        group_state *state = &group->state[stream[s].state - group->lowest];
        group->index[s] = state->streams++;
        state->longest = stream[s].length > state->longest ? stream[s].length : state->longest;
    }
    qsort(group->state, (size_t)group->states, sizeof *group->state, compare_states);
    for (int i = 0; i < group->states; i++)
        group->position[group->state[i].number] = i;
    return GPUZIP_OK;
}

/* Opens the context models of all states. */
static gpuzip_status open_context_models(engine_group *group)
{
    const engine_config *c = &group->config;
    for (int i = 0; i < group->states; i++) {
        size_t streams = (size_t)group->state[i].streams;
        group->state[i].token = malloc((streams + 1) * sizeof *group->state[i].token);
        group->state[i].length = malloc((streams + 1) * sizeof *group->state[i].length);
        if (!group->state[i].token || !group->state[i].length)
            return FAIL(GPUZIP_ERR_MEMORY);
    }
    for (int s = 0; s < group->streams; s++) {
        int state, index;
        group_place(group, &group->stream[s], &state, &index);
        group->state[state].token[index] = group->stream[s].token;
        group->state[state].length[index] = group->stream[s].length;
    }
    for (int i = 0; i < group->states; i++) {
        group_state *state = &group->state[i];
        context_model_config config = {.vocab = c->vocab,
                                       .symbols = c->vocab + c->escapes,
                                       .token_suffix = c->token_suffix,
                                       .prior = c->prior,
                                       .ngrams = c->ngrams,
                                       .streams = state->streams,
                                       .token = state->token,
                                       .length = state->length,
                                       .scope = schedule_scope(&c->schedule, state->longest),
                                       .update_interval = c->schedule.update_interval};
        if (state->streams > 0)
            TRY(context_model_open(&state->cm, &config));
    }
    return GPUZIP_OK;
}

gpuzip_status engine_group_begin(engine_group *group, const engine_stream *stream, int streams,
                                 int members, int most)
{
    engine_group_end(group);
    group->members = members;
    group->stream = stream;
    group->streams = streams;
    group->most = most;
    group->arrived = 0;
    group->updated = 0;
    group->abandoned = false;
    TRY(gather_states(group));
    TRY(reserve_learner(group));
    return group->config.prior ? open_context_models(group) : GPUZIP_OK;
}

void engine_group_end(engine_group *group)
{
    for (int i = 0; i < group->states && group->state; i++) {
        context_model_close(group->state[i].cm);
        free(group->state[i].token);
        free(group->state[i].length);
    }
    free(group->state);
    free(group->position);
    free(group->index);
    group->state = NULL;
    group->position = group->index = NULL;
    group->states = 0;
}

/* ---- the barrier --------------------------------------------------------- */

/* A barrier's work: an update with all tokens before `step`, or a reset at `step`. */
typedef struct {
    size_t step;
    bool resets;
    int states; /* states to update or reset: the first so many */
    int parts;  /* of the context models' update */
} group_work;

/* States whose streams have all ended are skipped: nothing reads them any more. */
static group_work work_at(const engine_group *group, size_t step, bool resets)
{
    group_work w = {.step = step, .resets = resets};
    while (w.states < group->states && group->state[w.states].longest >= step + resets)
        w.states++;
    w.parts = !group->config.prior ? 0 : resets ? w.states : w.states * CONTEXT_MODEL_PARTS;
    return w;
}

/* Begins the work: all members have arrived. With the lock. */
static void begin_work(engine_group *group)
{
    group->working = true;
    group->parts_begun = group->parts_done = 0;
    pthread_cond_broadcast(&group->changed);
}

/* Ends the work when all parts are done: completes the context models' update, queues the mixer's,
 * and wakes the members. With the lock. */
static void end_work(engine_group *group, const group_work *w)
{
    group->status = GPUZIP_OK;
    for (int i = 0; i < w->states && w->parts && !w->resets; i++)
        context_model_learn_end(group->state[i].cm, w->step);
    if (group->learner && w->states > 0)
        group->status = w->resets
                            ? group->ops->adaptive_reset(group->ctx, group->learner, 0, w->states)
                            : group->ops->mix_learn(group->ctx, group->learner, w->states);
    group->updated = w->step;
    group->working = false;
    group->arrived = 0;
    group->barriers++;
    pthread_cond_broadcast(&group->changed);
}

static void work_part(const engine_group *group, const group_work *w, int part)
{
    if (w->resets)
        context_model_reset(group->state[part].cm, w->step);
    else
        context_model_learn_part(group->state[part / CONTEXT_MODEL_PARTS].cm,
                                 part % CONTEXT_MODEL_PARTS, w->step);
}

/* The work of a group of one. */
typedef struct {
    const engine_group *group;
    const group_work *w;
} lone_work;

static void work_lone_part(const void *of, int part, int worker)
{
    const lone_work *lone = of;
    (void)worker;
    work_part(lone->group, lone->w, part);
}

/* Does all parts in a group of one: in several threads if there are many tokens. */
static void work_alone(engine_group *group, const group_work *w)
{
    size_t rows = (size_t)group->streams * (w->step - group->updated);
    pool_run(group->config.pool, host_threads(&group->config, rows), w->parts, work_lone_part,
             &(lone_work){group, w});
    group->parts_begun = group->parts_done = w->parts;
}

/* Takes parts of the work until none is left, or a member fails. With the lock. */
static void work(engine_group *group, const group_work *w)
{
    unsigned barrier = group->barriers;
    if (group->members == 1)
        work_alone(group, w);
    while (group->barriers == barrier && !group->abandoned) {
        if (group->working && group->parts_begun < w->parts) {
            int part = group->parts_begun++;
            pthread_mutex_unlock(&group->lock);
            work_part(group, w, part);
            pthread_mutex_lock(&group->lock);
            group->parts_done++;
        } else if (group->working && group->parts_done == w->parts) {
            end_work(group, w);
        } else {
            pthread_cond_wait(&group->changed, &group->lock);
        }
    }
}

gpuzip_status group_barrier(engine_group *group, size_t step, bool resets)
{
    if (!group->learner)
        return GPUZIP_OK;
    group_work w = work_at(group, step, resets);
    pthread_mutex_lock(&group->lock);
    if (!group->abandoned) {
        group->arrived++;
        assert(group->arrived <= group->members);
        if (group->arrived == group->members)
            begin_work(group);
        work(group, &w);
    }
    gpuzip_status status = group->abandoned ? FAIL(GPUZIP_ERR_CANCELLED) : group->status;
    pthread_mutex_unlock(&group->lock);
    return status;
}

void engine_group_leave(engine_group *group)
{
    pthread_mutex_lock(&group->lock);
    group->members--;
    if (group->members > 0 && group->arrived == group->members)
        begin_work(group);
    pthread_mutex_unlock(&group->lock);
}

void engine_group_abandon(engine_group *group)
{
    pthread_mutex_lock(&group->lock);
    group->abandoned = true;
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
}
