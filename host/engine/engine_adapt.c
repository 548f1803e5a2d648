/* engine_adapt.c: updates of the adaptive parts. Coded symbols wait on the device, uploaded by the
 * encoder or decoded there, until the next update. */
#include "engine_state.h"

size_t adapt_pending_rows(const engine *e, int streams, int states)
{
    size_t rows = (size_t)e->pass_rows;
    if (!e->adaptive)
        return rows;
    /* A pass, and those before it since the last update: no more than the blocks have. */
    uint64_t since = (uint64_t)e->config.schedule.update_interval * (uint64_t)streams;
    uint64_t most = ((uint64_t)CONTAINER_RAW_MAX + 1) * (uint64_t)states;
    return rows + (size_t)(since < most ? since : most);
}

gpuzip_status adapt_reset(engine_job *job, size_t step)
{
    engine *e = job->e;
    size_t vocab = (size_t)e->config.vocab, bytes = vocab * sizeof(uint32_t);
    for (int k = 0; k < e->config.experts; k++) {
        for (size_t i = 0; !is_model(e, k) && i < (size_t)group_states(e->group); i++) {
            TRY(e->ops->upload(e->ctx, e->count[k] + i * vocab, e->zeros, bytes));
            TRY(e->ops->upload(e->ctx, e->count_log[k] + i * vocab, e->zeros, bytes));
        }
    }
    e->pending_first = e->pending_end = 0;
    e->origin = step;
    job->update_due = SIZE_MAX;
    TRY(learn_reset(job));
    return group_barrier(e->group, step, true);
}

gpuzip_status adapt_update(engine_job *job, size_t t, size_t n)
{
    engine *e = job->e;
    double start = clock_seconds();
    for (int k = 0; k < e->config.experts; k++)
        if (!is_model(e, k))
            TRY(e->ops->count_add(e->ctx, e->count[k], e->count_log[k], e->config.vocab,
                                  group_states(e->group) > 1 ? e->pending_state + e->pending_first
                                                             : NULL,
                                  e->pending + e->pending_first, (int)n));
    e->pending_first += n;
    if (e->pending_first == e->pending_end)
        e->pending_first = e->pending_end = 0;
    TRY(group_barrier(e->group, t, false));
    job->costs->seconds[GPUZIP_PHASE_CONTEXTS] += clock_seconds() - start;
    return GPUZIP_OK;
}

int adapt_steps_to_update(const engine *e, size_t t)
{
    return (int)(context_model_next_update(t, e->origin, e->config.schedule.update_interval) - t);
}

int adapt_steps_to_last_update(const engine *e, size_t t, int steps)
{
    int last = adapt_steps_to_update(e, t);
    if (last > steps)
        return steps;
    for (int next = last; next <= steps; next += adapt_steps_to_update(e, t + (size_t)next))
        last = next;
    return last;
}

/* ---- context models ------------------------------------------------------ */

context_model_query adapt_query(const engine_job *job, int stream, size_t t)
{
    const job_stream *s = &job->stream[stream];
    if (!job->e->config.prior)
        return (context_model_query){0};
    return (context_model_query){
        group_context_model(job->e->group, s->state), {(int32_t)s->index, (uint32_t)t}, stream};
}

/* Context models predict rows in parts, each with streams of its own. */
typedef struct {
    const context_model_query *query; /* [rows] */
    int rows, parts;
    ops_candidate (*candidate)[OPS_CANDIDATES]; /* [rows] */
    int32_t *candidates;                        /* [rows] */
} prediction_parts;

static void predict_part(const void *of, int part, int worker)
{
    const prediction_parts *p = of;
    (void)worker;
    context_model_predict_part(part, p->parts, p->query, p->rows, p->candidate, p->candidates);
}

gpuzip_status adapt_predict(engine_job *job, engine_stage *g, int first, int rows)
{
    engine *e = job->e;
    size_t n = (size_t)rows;
    double start = clock_seconds();
    if (!e->config.prior)
        return GPUZIP_OK;
    int threads = host_threads(&e->config, n);
    e->ops->range_push("predict by contexts");
    prediction_parts p = {.query = g->asked + first,
                          .rows = rows,
                          .parts = smaller(job->streams, threads > 1 ? 4 * threads : 1),
                          .candidate = g->rows.candidate + first,
                          .candidates = g->rows.candidates + first};
    pool_run(e->config.pool, threads, p.parts, predict_part, &p);
    e->ops->range_pop();
    job->costs->seconds[GPUZIP_PHASE_CONTEXTS] += clock_seconds() - start;
    TRY(e->ops->upload(e->ctx, e->pass.candidate + first, g->rows.candidate + first,
                       n * sizeof *g->rows.candidate));
    return e->ops->upload(e->ctx, e->pass.candidates + first, g->rows.candidates + first,
                          n * sizeof *g->rows.candidates);
}
