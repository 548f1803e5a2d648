/* engine.c: engines and their memory; begins and ends jobs. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "engine_state.h"

#define PASS_ROWS_MIN 64 /* on any device */

/* ---- memory ------------------------------------------------------------- */

/* Takes n elements of `size` bytes at memory + *used and advances *used. memory may be NULL, to
 * count bytes only. */
static void *cut(void *memory, size_t *used, size_t n, size_t size)
{
    char *at = memory;
    if (at)
        at += *used;
    *used += n * size;
    return at;
}

/* Lays out a pass; returns its bytes. */
static size_t lay_out_pass(const engine *e, pass_rows *p, void *memory)
{
    size_t used = 0, rows = (size_t)e->pass_rows;
    p->interval = cut(memory, &used, rows, sizeof *p->interval);
    for (int k = 0; k < e->config.experts; k++)
        if (is_model(e, k))
            p->token[k] = cut(memory, &used, rows, sizeof *p->token[k]);
    p->slot = cut(memory, &used, rows, sizeof *p->slot);
    p->pos = cut(memory, &used, rows, sizeof *p->pos);
    p->row = cut(memory, &used, rows, sizeof *p->row);
    p->candidate = NULL;
    p->candidates = NULL;
    if (e->config.prior) {
        p->candidate = cut(memory, &used, rows, sizeof *p->candidate);
        p->candidates = cut(memory, &used, rows, sizeof *p->candidates);
    }
    return used;
}

/* Lays out the steps of so many streams; returns its bytes. */
static size_t lay_out_step(const engine *e, step_rows *p, int streams, void *memory)
{
    size_t used = 0, rows = (size_t)streams;
    p->found = cut(memory, &used, rows, sizeof *p->found);
    for (int k = 0; k < e->config.experts; k++)
        if (is_model(e, k))
            p->token[k] = cut(memory, &used, rows, sizeof *p->token[k]);
    p->slot = cut(memory, &used, rows, sizeof *p->slot);
    p->pos = cut(memory, &used, rows, sizeof *p->pos);
    p->target = cut(memory, &used, rows, sizeof *p->target);
    p->state = cut(memory, &used, rows, sizeof *p->state);
    return used;
}

/* The sizes of the models' states, for passes of at most `rows` rows with up to `run` of a stream.
 */
static model_sizes state_sizes(const engine *e, int streams, int run, int rows, int logits_rows)
{
    return (model_sizes){.slots = streams,
                         .window = e->config.schedule.window,
                         .run = e->config.schedule.hop ? 0 : run,
                         .max_rows = rows,
                         .max_logits = logits_rows};
}

/* Bytes of the models' states with so many slots. */
static size_t states_bytes(const engine *e, int slots, int rows, int logits_rows)
{
    int run = slots > 0 && slots < rows ? rows / slots : 1;
    model_sizes sizes = state_sizes(e, slots, run, rows, logits_rows);
    size_t bytes = 0, scratch = 0;
    for (int k = 0; k < e->config.experts; k++) {
        const model *m = e->config.expert[k].m;
        if (!is_model(e, k))
            continue;
        size_t own = model_scratch_bytes(m, rows, logits_rows);
        bytes += model_state_bytes(m, &sizes);
        scratch = own > scratch ? own : scratch;
    }
    return bytes + scratch;
}

/* Device memory of pending symbols and their states. */
static size_t pending_bytes(const engine *e, int streams, int states)
{
    return (e->adaptive ? 2 : 1) * adapt_pending_rows(e, streams, states) * sizeof(int32_t);
}

/* Device memory of a Naive Bayes expert: its counts, and their logarithms. */
static size_t counts_bytes(const engine *e, int states)
{
    return (size_t)states * (size_t)e->config.vocab * sizeof(uint32_t);
}

size_t engine_bytes(const engine *e, int streams, int states)
{
    pass_rows pass;
    step_rows step;
    size_t bytes = states_bytes(e, streams, e->pass_rows, e->logits_rows);
    for (int k = 0; k < e->config.experts; k++)
        if (!is_model(e, k))
            bytes += 2 * counts_bytes(e, states);
    bytes += group_bytes(e->group, states);
    bytes += pending_bytes(e, streams, states);
    bytes += learn_bytes(e, streams);
    return bytes + lay_out_pass(e, &pass, NULL) + lay_out_step(e, &step, streams, NULL);
}

size_t engine_plain_bytes(const engine *e, int streams, int states)
{
    return engine_bytes(e, streams, states) - learn_bytes(e, streams);
}

size_t engine_logits_bytes(const engine *e)
{
    size_t models = 0;
    for (int k = 0; k < e->config.experts; k++)
        models += is_model(e, k);
    return models * (size_t)e->logits_rows * (size_t)e->config.vocab * sizeof(float);
}

/* Chooses the rows of a pass: the device's preference, or fewer, so that scratch memory leaves most
 * of the device's to the KV caches. Adaptive experts need the logits of a whole pass at once. */
static gpuzip_status choose_rows(engine *e)
{
    uint64_t available, total;
    int models = 0;
    TRY(e->ops->memory(e->ctx, &available, &total));
    for (int k = 0; k < e->config.experts; k++)
        models += is_model(e, k);
    size_t row_bytes = (size_t)e->config.vocab * sizeof(float) * (size_t)(models ? models : 1);
    size_t most = e->ops->logits_bytes / row_bytes;
    int rows = e->config.pass_rows ? e->config.pass_rows : e->ops->pass_rows, logits;
    for (;; rows /= 2) {
        logits = most >= (size_t)rows ? rows : most > 0 ? (int)most : 1;
        if (e->config.pass_rows || rows / 2 < PASS_ROWS_MIN ||
            states_bytes(e, 0, rows, logits) <= available / 4)
            break;
    }
    e->logits_rows = logits;
    e->pass_rows = e->adaptive ? logits : rows;
    return GPUZIP_OK;
}

/* ---- opening ------------------------------------------------------------ */

static gpuzip_status open_stage(engine *e, engine_stage *g)
{
    size_t rows = (size_t)e->pass_rows, used = lay_out_pass(e, &g->rows, NULL);
    g->stream = calloc(rows, sizeof *g->stream);
    g->asked = calloc(rows, sizeof *g->asked);
    if (!g->stream || !g->asked)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY(e->ops->host_alloc(e->ctx, &g->memory,
                           used + rows * (sizeof *g->symbol + sizeof *g->state)));
    (void)lay_out_pass(e, &g->rows, g->memory);
    g->symbol = cut(g->memory, &used, rows, sizeof *g->symbol);
    g->state = cut(g->memory, &used, rows, sizeof *g->state);
    return GPUZIP_OK;
}

static void close_counts(engine *e)
{
    for (int k = 0; k < e->config.experts; k++) {
        e->ops->release(e->ctx, e->count[k]);
        e->ops->release(e->ctx, e->count_log[k]);
        e->count[k] = NULL;
        e->count_log[k] = NULL;
    }
}

/* Counts of so many states. */
static gpuzip_status open_counts(engine *e, int states)
{
    close_counts(e);
    for (int k = 0; k < e->config.experts; k++) {
        if (is_model(e, k))
            continue;
        TRY(e->ops->alloc(e->ctx, (void **)&e->count[k], counts_bytes(e, states)));
        TRY(e->ops->alloc(e->ctx, (void **)&e->count_log[k], counts_bytes(e, states)));
    }
    return GPUZIP_OK;
}

gpuzip_status engine_open(engine **out, const ops *ops, ops_context *ctx,
                          const engine_config *config)
{
    gpuzip_status status = GPUZIP_OK;
    pass_rows measured;
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return FAIL(GPUZIP_ERR_MEMORY);
    e->ops = ops;
    e->ctx = ctx;
    e->config = *config;
    e->adaptive = config->bias || config->learn_alpha || config->prior;
    for (int k = 0; k < config->experts; k++)
        e->adaptive |= !is_model(e, k);
    if (config->learn_weights && !learn_is_possible(config)) {
        status = GPUZIP_ERR_UNSUPPORTED;
        goto out;
    }
    TRY_OUT(choose_rows(e));
    if (e->adaptive)
        TRY_OUT(ops->host_alloc(ctx, &e->zeros, (size_t)config->vocab * sizeof(uint32_t)));
    TRY_OUT(engine_group_open(&e->own_group, ops, ctx, config, 1));
    e->group = e->own_group;
    for (int i = 0; i < STAGES; i++)
        TRY_OUT(open_stage(e, &e->stage[i]));
    TRY_OUT(ops->alloc(ctx, &e->pass_memory, lay_out_pass(e, &measured, NULL)));
    (void)lay_out_pass(e, &e->pass, e->pass_memory);
    *out = e;
    e = NULL;
out:
    engine_close(e);
    return status;
}

void engine_join(engine *e, engine_group *group, int rank)
{
    e->group = group ? group : e->own_group;
    e->rank = rank;
}

static void close_states(engine *e)
{
    learn_close(e);
    for (int k = 0; k < e->config.experts; k++) {
        model_state_close(e->state[k]);
        e->state[k] = NULL;
    }
    e->ops->release(e->ctx, e->pending);
    e->ops->release(e->ctx, e->step_memory);
    e->ops->host_release(e->ctx, e->step_host_memory);
    e->pending = NULL;
    e->step_memory = e->step_host_memory = NULL;
    close_counts(e);
    e->slots = e->states = e->run = 0;
}

void engine_close(engine *e)
{
    if (!e)
        return;
    (void)e->ops->sync(e->ctx); /* after a failure, queued work may use the memory below */
    close_states(e);
    e->ops->host_release(e->ctx, e->zeros);
    costs_close(e->measures);
    engine_group_close(e->own_group);
    e->ops->release(e->ctx, e->pass_memory);
    for (int i = 0; i < STAGES; i++) {
        e->ops->host_release(e->ctx, e->stage[i].memory);
        free(e->stage[i].stream);
        free(e->stage[i].asked);
    }
    free(e);
}

/* Allocates the memory of decoding steps for so many streams. */
static gpuzip_status open_step(engine *e, int streams)
{
    step_rows measured;
    size_t n = (size_t)streams, used = 0;
    TRY(e->ops->alloc(e->ctx, &e->step_memory, lay_out_step(e, &measured, streams, NULL)));
    (void)lay_out_step(e, &e->step, streams, e->step_memory);
    TRY(e->ops->host_alloc(
        e->ctx, &e->step_host_memory,
        n * (sizeof *e->host_found + sizeof *e->host_target + sizeof *e->host_state)));
    e->host_found = cut(e->step_host_memory, &used, n, sizeof *e->host_found);
    e->host_target = cut(e->step_host_memory, &used, n, sizeof *e->host_target);
    e->host_state = cut(e->step_host_memory, &used, n, sizeof *e->host_state);
    int32_t *slot = malloc(n * sizeof *slot);
    if (!slot)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int s = 0; s < streams; s++)
        slot[s] = s;
    gpuzip_status status = e->ops->upload(e->ctx, e->step.slot, slot, n * sizeof *slot);
    free(slot);
    return status;
}

/* Keeps the memory if it suffices for so many streams, adaptive states and steps of a pass. Else
 * allocates it anew for just these streams and steps: the most of either that any job had could
 * together exceed the memory that each job was planned with. */
static gpuzip_status reserve_states(engine *e, int streams, int states, int run, bool learns)
{
    if (streams <= e->slots && states <= e->states && run <= e->run &&
        (!learns || (size_t)e->learn_most >= schedule_weight_rows((size_t)streams)))
        return GPUZIP_OK;
    states = states > e->states ? states : e->states;
    close_states(e);
    model_sizes sizes = state_sizes(e, streams, run, e->pass_rows, e->logits_rows);
    for (int k = 0; k < e->config.experts; k++)
        if (is_model(e, k))
            TRY(model_state_open(&e->state[k], e->config.expert[k].m, e->ctx, &sizes));
    TRY(e->ops->alloc(e->ctx, (void **)&e->pending, pending_bytes(e, streams, states)));
    e->pending_state = e->adaptive ? e->pending + adapt_pending_rows(e, streams, states) : NULL;
    TRY(open_counts(e, states));
    TRY(open_step(e, streams));
    if (learns)
        TRY(learn_open(e, streams));
    e->slots = streams;
    e->states = states;
    e->run = run;
    return GPUZIP_OK;
}

/* ---- jobs --------------------------------------------------------------- */

/* Uploads the state numbers of the streams. */
static gpuzip_status upload_states(const engine_job *job)
{
    engine *e = job->e;
    if (group_states(e->group) == 1)
        return GPUZIP_OK;
    for (int s = 0; s < job->streams; s++)
        e->host_state[s] = job->stream[s].state;
    return e->ops->upload(e->ctx, e->step.state, e->host_state,
                          (size_t)job->streams * sizeof *e->host_state);
}

/* Prepares an engine for a job. */
static gpuzip_status begin_job(engine_job *job, engine_stream *stream, int streams, bool decodes)
{
    engine *e = job->e;
    assert(streams >= 1);
    if (e->group == e->own_group)
        TRY(engine_group_begin(e->group, stream, streams, 1, streams));
    TRY(job_gather(job, stream, streams));
    if (job->measures && !e->measures)
        TRY(costs_open(&e->measures, e));
    if (!e->config.schedule.hop)
        job->run = decodes ? 1 : pass_steps(job, streams, INT_MAX);
    job->learns = engine_learns(&e->config, engine_tokens(stream, streams)) &&
                  stream[0].state == stream[streams - 1].state;
    int again = job->learns ? (int)schedule_weight_interval((size_t)streams) : 0;
    int room = !e->config.schedule.hop && job->run < again ? again : job->run;
    TRY(reserve_states(e, job->streams, e->adaptive ? group_states(e->group) : 1, room,
                       job->learns));
    for (int i = 0; i < STAGES; i++)
        e->stage[i].mixed = 0;
    if (e->adaptive)
        TRY(upload_states(job));
    return adapt_reset(job, 0);
}

/* Ends a job, after success or failure: no queued work refers to it on return. */
static void end_job(engine_job *job, gpuzip_status status)
{
    engine *e = job->e;
    if (status == GPUZIP_OK || status == GPUZIP_ERR_CORRUPT)
        engine_group_leave(e->group);
    else
        engine_group_abandon(e->group);
    if (e->group == e->own_group)
        engine_group_end(e->group);
    if (status != GPUZIP_OK)
        (void)e->ops->sync(e->ctx); /* stages may be in use without their events */
    for (int s = 0; s < job->streams; s++) {
        job->costs->model_bits += job->stream[s].bits;
        job->stream[s].own->bits = job->stream[s].bits;
    }
    free(job->encoder);
    free(job->decoder);
    free(job->stream);
}

gpuzip_status engine_encode(engine *e, engine_stream *stream, int streams, engine_costs *costs,
                            const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    engine_job job = {.e = e, .costs = costs, .progress = progress};
    TRY_OUT(begin_job(&job, stream, streams, false));
    job.encoder = calloc((size_t)job.streams, sizeof *job.encoder);
    if (!job.encoder) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int s = 0; s < job.streams; s++)
        rc_encode_begin(&job.encoder[s], (uint8_t *)job.stream[s].own->code->data,
                        ENGINE_STREAM_BOUND(job.stream[s].length));
    TRY_OUT(job_encode(&job));
    for (int s = 0; s < job.streams; s++) {
        bool fits = rc_encode_end(&job.encoder[s], &job.stream[s].own->code->size);
        assert(fits);
        (void)fits;
    }
out:
    end_job(&job, status);
    return status;
}

gpuzip_status engine_decode(engine *e, engine_stream *stream, int streams, engine_costs *costs,
                            const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    engine_job job = {.e = e, .costs = costs, .progress = progress};
    TRY_OUT(begin_job(&job, stream, streams, true));
    job.decoder = calloc((size_t)job.streams, sizeof *job.decoder);
    if (!job.decoder) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int s = 0; s < job.streams; s++)
        rc_decode_begin(&job.decoder[s], job.stream[s].own->code->data,
                        job.stream[s].own->code->size);
    TRY_OUT(job_decode(&job));
    for (int s = 0; s < job.streams; s++) {
        engine_stream *own = job.stream[s].own;
        own->status = rc_decode_end(&job.decoder[s]) ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
        if (own->status != GPUZIP_OK)
            status = own->status;
    }
out:
    end_job(&job, status);
    return status;
}

gpuzip_status engine_read_weights(const engine *e, int state, int32_t *weights)
{
    return e->ops->adaptive_read(e->ctx, group_learner(e->group), state, NULL, NULL, weights);
}
