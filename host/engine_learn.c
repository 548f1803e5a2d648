/* engine_learn.c: what learns from what is coded. Symbols wait on the device, where they
 * were uploaded or found, until the update that takes them. */
#include <stdlib.h>

#include "engine_internal.h"

size_t pending_rows(const engine *e, int streams)
{
    size_t rows = (size_t)e->pass_rows;
    if (!e->adaptive)
        return rows;
    /* A pass, and those before it since the last update: no more than a block has. */
    uint64_t since = (uint64_t)e->config.update_interval * (uint64_t)streams;
    return rows + (size_t)(since < CONTAINER_RAW_MAX + 1 ? since : CONTAINER_RAW_MAX + 1);
}

ops_adaptive_config learner_config(const engine *e)
{
    const engine_config *c = &e->config;
    ops_adaptive_config config = {.vocab = c->vocab,
                                  .experts = c->experts,
                                  .bias = c->bias,
                                  .alpha = c->learn_alpha,
                                  .weights = c->prior ? c->prior->weights[0] : NULL,
                                  .parts = 1};
    for (int k = 0; k < c->experts; k++)
        config.start[k] = c->expert[k].alpha;
    return config;
}

gpuzip_status open_learner(engine *e)
{
    if (!e->mix_learns)
        return GPUZIP_OK;
    if (!e->ops->adaptive_create)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    ops_adaptive_config config = learner_config(e);
    return e->ops->adaptive_create(e->ctx, &e->learner, &config);
}

gpuzip_status open_contexts(engine_job *job)
{
    const engine_config *c = &job->e->config;
    size_t streams = (size_t)job->streams;
    if (!c->prior)
        return GPUZIP_OK;
    job->token = malloc(streams * sizeof *job->token);
    job->length = malloc(streams * sizeof *job->length);
    if (!job->token || !job->length)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t s = 0; s < streams; s++) {
        job->token[s] = job->stream[s].token;
        job->length[s] = job->stream[s].length;
    }
    contexts_config config = {.vocab = c->vocab,
                              .symbols = c->vocab + c->escapes,
                              .tail = c->tail,
                              .prior = c->prior,
                              .streams = job->streams,
                              .token = job->token,
                              .length = job->length,
                              .scope = c->window_scope ? (size_t)c->window : job->steps,
                              .update_interval = c->update_interval};
    return contexts_open(&job->contexts, &config);
}

gpuzip_status forget(engine_job *job, size_t step)
{
    engine *e = job->e;
    size_t bytes = (size_t)e->config.vocab * sizeof(uint32_t);
    for (int k = 0; k < e->config.experts; k++) {
        if (is_model(e, k))
            continue;
        TRY(e->ops->upload(e->ctx, e->count[k], e->zeros, bytes));
        TRY(e->ops->upload(e->ctx, e->count_log[k], e->zeros, bytes)); /* log2(1) = 0 */
    }
    e->pending_first = e->pending_end = 0;
    e->origin = job->learnt = job->updated = step;
    if (job->contexts)
        contexts_reset(job->contexts, step);
    return e->learner ? e->ops->adaptive_reset(e->ctx, e->learner) : GPUZIP_OK;
}

gpuzip_status learn(engine *e, size_t n)
{
    for (int k = 0; k < e->config.experts; k++)
        if (!is_model(e, k))
            TRY(e->ops->count_add(e->ctx, e->count[k], e->count_log[k], e->config.vocab,
                                  e->pending + e->pending_first, (int)n));
    if (e->learner)
        TRY(e->ops->mix_learn(e->ctx, e->learner));
    e->pending_first += n;
    if (e->pending_first == e->pending_end)
        e->pending_first = e->pending_end = 0;
    return GPUZIP_OK;
}

int steps_to_update(const engine *e, size_t t)
{
    return (int)(contexts_next_update(t, e->origin, e->config.update_interval) - t);
}

int steps_to_last_update(const engine *e, size_t t, int steps)
{
    int last = steps_to_update(e, t);
    if (last > steps)
        return steps;
    for (int next = last; next <= steps; next += steps_to_update(e, t + (size_t)next))
        last = next;
    return last;
}

/* ---- contexts ------------------------------------------------------------ */

void learn_contexts(engine_job *job, size_t t)
{
    if (!job->contexts || job->learnt == t)
        return;
    double start = engine_seconds();
    job->e->ops->range_push("learn contexts");
    contexts_learn(job->contexts, t);
    job->e->ops->range_pop();
    job->learnt = t;
    job->costs->seconds_contexts += engine_seconds() - start;
}

gpuzip_status find_candidates(engine_job *job, engine_stage *g, int first, int rows)
{
    engine *e = job->e;
    size_t n = (size_t)rows;
    double start = engine_seconds();
    if (!job->contexts)
        return GPUZIP_OK;
    e->ops->range_push("predict by contexts");
    contexts_predict(job->contexts, g->asked + first, rows, g->rows.candidate + first,
                     g->rows.candidates + first);
    e->ops->range_pop();
    job->costs->seconds_contexts += engine_seconds() - start;
    TRY(e->ops->upload(e->ctx, e->pass.candidate + first, g->rows.candidate + first,
                       n * sizeof *g->rows.candidate));
    return e->ops->upload(e->ctx, e->pass.candidates + first, g->rows.candidates + first,
                          n * sizeof *g->rows.candidates);
}
