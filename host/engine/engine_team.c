/* engine_team.c: what adapts but Naive Bayes, and the meetings at which it learns. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine_internal.h"

struct engine_team {
    const ops *ops;
    ops_context *ctx;
    engine_config config;
    ops_adaptive *learner; /* or NULL */

    /* Of the block being coded: */
    contexts *contexts;     /* or NULL */
    const uint32_t **token; /* [streams] */
    size_t *length;         /* [streams] */
    size_t streams;         /* of all members */
    int most;               /* of a member */

    /* Whoever comes last to a meeting wakes the others, and all work. With the lock: */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int members, arrived;
    unsigned meetings;           /* that are over */
    bool working;                /* all have arrived */
    int parts_begun, parts_done; /* of the contexts' learning */
    gpuzip_status status;        /* of the last meeting */
};

ops_adaptive *team_learner(const engine_team *team)
{
    return team->learner;
}

contexts *team_contexts(const engine_team *team)
{
    return team->contexts;
}

int team_most_streams(const engine_team *team)
{
    return team->most;
}

static ops_adaptive_config learner_config(const engine_config *c, int members)
{
    ops_adaptive_config config = {.vocab = c->vocab,
                                  .experts = c->experts,
                                  .bias = c->bias,
                                  .alpha = c->learn_alpha,
                                  .weights = c->prior ? c->prior->weights[0] : NULL,
                                  .parts = members,
                                  .states = 1};
    for (int k = 0; k < c->experts; k++)
        config.start[k] = c->expert[k].alpha;
    return config;
}

size_t team_bytes(const engine_team *team)
{
    ops_adaptive_config config = learner_config(&team->config, 1);
    return team->learner ? team->ops->adaptive_bytes(&config) : 0;
}

gpuzip_status engine_team_open(engine_team **out, const ops *ops, ops_context *ctx,
                               const engine_config *config, int members)
{
    gpuzip_status status = GPUZIP_OK;
    engine_team *team = calloc(1, sizeof *team);
    if (!team)
        return FAIL(GPUZIP_ERR_MEMORY);
    team->ops = ops;
    team->ctx = ctx;
    team->config = *config;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->changed, NULL);
    if (config->bias || config->learn_alpha || config->prior) {
        ops_adaptive_config learner = learner_config(config, members);
        status = GPUZIP_ERR_UNSUPPORTED;
        if (!ops->adaptive_create)
            goto out;
        TRY_OUT(ops->adaptive_create(ctx, &team->learner, &learner));
    }
    status = GPUZIP_OK;
    *out = team;
    team = NULL;
out:
    engine_team_close(team);
    return status;
}

void engine_team_close(engine_team *team)
{
    if (!team)
        return;
    engine_team_end(team);
    if (team->learner)
        team->ops->adaptive_destroy(team->ctx, team->learner);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

gpuzip_status engine_team_begin(engine_team *team, const engine_block *block, int members, int most)
{
    const engine_config *c = &team->config;
    size_t streams = block->streams;
    size_t longest = container_stream_length((uint32_t)block->tokens, block->streams);
    engine_team_end(team);
    team->members = members;
    team->streams = streams;
    team->most = most;
    team->arrived = 0;
    if (!c->prior)
        return GPUZIP_OK;
    team->token = malloc(streams * sizeof *team->token);
    team->length = malloc(streams * sizeof *team->length);
    if (!team->token || !team->length)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t s = 0; s < streams; s++) {
        size_t left = block->tokens - s * longest;
        team->token[s] = block->token + s * longest;
        team->length[s] = left < longest ? left : longest;
    }
    contexts_config config = {.vocab = c->vocab,
                              .symbols = c->vocab + c->escapes,
                              .tail = c->tail,
                              .prior = c->prior,
                              .ngrams = c->ngrams,
                              .streams = (int)streams,
                              .token = team->token,
                              .length = team->length,
                              .scope = c->window_scope ? (size_t)c->window : longest,
                              .update_interval = c->update_interval};
    return contexts_open(&team->contexts, &config);
}

void engine_team_end(engine_team *team)
{
    contexts_close(team->contexts);
    free(team->token);
    free(team->length);
    team->contexts = NULL;
    team->token = NULL;
    team->length = NULL;
}

/* ---- meetings ------------------------------------------------------------ */

/* All have arrived. With the lock. */
static void begin_work(engine_team *team)
{
    team->working = true;
    team->parts_begun = team->parts_done = 0;
    pthread_cond_broadcast(&team->changed);
}

/* What is left when the contexts have learnt. With the lock. */
static void end_work(engine_team *team, size_t step, bool forgets)
{
    team->status = GPUZIP_OK;
    if (team->contexts && forgets)
        contexts_reset(team->contexts, step);
    else if (team->contexts)
        contexts_learn_end(team->contexts, step);
    if (team->learner)
        team->status = forgets ? team->ops->adaptive_reset(team->ctx, team->learner, 0, 1)
                               : team->ops->mix_learn(team->ctx, team->learner, 1);
    team->working = false;
    team->arrived = 0;
    team->meetings++;
    pthread_cond_broadcast(&team->changed);
}

/* All parts of the contexts' learning, where nobody else is there to take some: by threads if
 * there is much to learn. */
static void learn_alone(engine_team *team, size_t step)
{
    int threads = host_threads(&team->config, team->streams);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
    for (int part = 0; part < CONTEXTS_PARTS; part++)
        contexts_learn_part(team->contexts, part, step);
    team->parts_begun = team->parts_done = CONTEXTS_PARTS;
}

/* Takes a share of the work, while the meeting lasts. With the lock. */
static void work(engine_team *team, size_t step, bool forgets)
{
    unsigned meeting = team->meetings;
    int parts = team->contexts && !forgets ? CONTEXTS_PARTS : 0;
    if (parts && team->members == 1)
        learn_alone(team, step);
    while (team->meetings == meeting) {
        if (team->working && team->parts_begun < parts) {
            int part = team->parts_begun++;
            pthread_mutex_unlock(&team->lock);
            contexts_learn_part(team->contexts, part, step);
            pthread_mutex_lock(&team->lock);
            team->parts_done++;
        } else if (team->working && team->parts_done == parts) {
            end_work(team, step, forgets);
        } else {
            pthread_cond_wait(&team->changed, &team->lock);
        }
    }
}

gpuzip_status team_meet(engine_team *team, size_t step, bool forgets)
{
    if (!team->learner)
        return GPUZIP_OK;
    pthread_mutex_lock(&team->lock);
    team->arrived++;
    assert(team->arrived <= team->members);
    if (team->arrived == team->members)
        begin_work(team);
    work(team, step, forgets);
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
