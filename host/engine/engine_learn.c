/* engine_learn.c: the models' weights learn from the rows of a block. The models' learners record
 * the rows of passes; the engine remembers which these are, for a step needs their targets. */
#include <assert.h>

#include "engine_state.h"

/* Bytes of the arrays of a step of so many rows. */
static size_t rows_bytes(int rows)
{
    return 3 * (size_t)rows * sizeof(int32_t);
}

static learn_rows lay_out(int rows, int32_t *memory)
{
    return (learn_rows){memory, memory + rows, memory + 2 * (size_t)rows};
}

static model_learner_sizes sizes_of(const engine *e, int streams)
{
    return (model_learner_sizes){.rows = (int)schedule_weight_rows((size_t)streams),
                                 .run = (int)schedule_weight_interval((size_t)streams),
                                 .window = e->config.schedule.window,
                                 .logits = e->logits_rows};
}

size_t learn_bytes(const engine *e, int streams)
{
    if (!e->config.learn_weights)
        return 0;
    model_learner_sizes sizes = sizes_of(e, streams);
    size_t bytes = rows_bytes(sizes.rows);
    for (int k = 0; k < e->config.experts; k++)
        if (is_model(e, k))
            bytes += model_learner_bytes(e->ops->learn, model_weights(e->config.expert[k].m),
                                         &sizes, pool_threads(e->config.pool));
    return bytes;
}

bool learn_is_possible(const engine_config *config)
{
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind == GPUZIP_EXPERT_MODEL && !model_learns(config->expert[k].m))
            return false;
    return true;
}

gpuzip_status learn_open(engine *e, int streams)
{
    model_learner_sizes sizes = sizes_of(e, streams);
    int rows = e->learn_most = sizes.rows;
    TRY(e->ops->alloc(e->ctx, &e->learn_memory, rows_bytes(rows)));
    TRY(e->ops->host_alloc(e->ctx, &e->learn_host_memory, rows_bytes(rows)));
    e->learn = lay_out(rows, e->learn_memory);
    e->learn_host = lay_out(rows, e->learn_host_memory);
    for (int k = 0; k < e->config.experts; k++) {
        model *m = e->config.expert[k].m;
        if (!is_model(e, k))
            continue;
        TRY(model_prepare_learning(m));
        TRY(model_learner_open(&e->learner[k], m, e->ctx, &sizes));
    }
    return GPUZIP_OK;
}

void learn_close(engine *e)
{
    for (int k = 0; k < e->config.experts; k++) {
        model_learner_close(e->learner[k]);
        e->learner[k] = NULL;
    }
    e->ops->release(e->ctx, e->learn_memory);
    e->ops->host_release(e->ctx, e->learn_host_memory);
    e->learn_memory = e->learn_host_memory = NULL;
    e->learn_most = 0;
}

gpuzip_status learn_reset(engine_job *job)
{
    engine *e = job->e;
    e->learnt_rows = 0;
    for (int k = 0; k < e->config.experts; k++) {
        if (!is_model(e, k))
            continue;
        if (job->learns)
            TRY(model_learner_reset(e->learner[k]));
        model_state_learn(e->state[k], job->learns ? e->learner[k] : NULL);
    }
    return GPUZIP_OK;
}

size_t learn_next_update(const engine_job *job, size_t t, size_t end)
{
    const engine *e = job->e;
    if (!job->learns)
        return SIZE_MAX;
    size_t interval = schedule_weight_interval((size_t)job->streams);
    size_t next = e->origin + ((t - e->origin) / interval + 1) * interval;
    next = next < end ? next : end;
    return next < job->steps ? next : SIZE_MAX;
}

void learn_record(engine_job *job, int32_t slot, int32_t pos)
{
    engine *e = job->e;
    if (!job->learns)
        return;
    assert(e->learnt_rows < e->learn_most);
    e->learn_host.slot[e->learnt_rows] = slot;
    e->learn_host.pos[e->learnt_rows++] = pos;
}

gpuzip_status learn_update(engine_job *job, size_t base)
{
    engine *e = job->e;
    const ops *ops = e->ops;
    double start = clock_seconds();
    int rows = e->learnt_rows;
    size_t bytes = (size_t)rows * sizeof(int32_t);
    int32_t first = e->learn_host.pos[0], last = first;
    for (int r = 0; r < rows; r++) {
        int32_t pos = e->learn_host.pos[r];
        first = pos < first ? pos : first;
        last = pos > last ? pos : last;
        uint32_t next = job->stream[e->learn_host.slot[r]].token[base + (size_t)pos];
        e->learn_host.target[r] = next < (uint32_t)e->config.vocab ? (int32_t)next : -1;
    }
    TRY(ops->upload(e->ctx, e->learn.slot, e->learn_host.slot, bytes));
    TRY(ops->upload(e->ctx, e->learn.pos, e->learn_host.pos, bytes));
    TRY(ops->upload(e->ctx, e->learn.target, e->learn_host.target, bytes));
    ops_batch batch = {.slot = e->learn.slot, .pos = e->learn.pos, .rows = rows};
    for (int k = 0; k < e->config.experts; k++) {
        if (!is_model(e, k))
            continue;
        TRY(model_set_positions(e->state[k], (size_t)first, last - first + 1));
        TRY(model_learner_step(e->learner[k], e->state[k], &batch, e->learn.target,
                               model_learning_rate(rows)));
    }
    TRY(ops->sync(e->ctx)); /* the arrays on the host are free again */
    e->learnt_rows = 0;
    job->costs->seconds[GPUZIP_PHASE_WEIGHTS] += clock_seconds() - start;
    return GPUZIP_OK;
}
