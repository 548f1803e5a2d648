/* engine_decode.c: decodes all streams step by step. The symbols of a step stay on the device as
 * the input of the next; while the models compute that, the host advances its range decoders.
 * Neither waits for the other longer than the slower one takes. */
#include "engine_state.h"

/* The streams of a pass at one step: all, unless they exceed the rows of a pass. */
typedef struct {
    size_t k;               /* of the window */
    schedule_window window; /* its steps */
    size_t t;               /* the step */
    int first;              /* stream */
    int rows;               /* streams that have a token at the step; 0: no more steps */
    int padded;             /* rows computed, padding included */
} step_group;

typedef gpuzip_status part_function(engine_job *job, const step_group *g);

/* Half a step, which a graph replays. */
typedef struct {
    part_function *run;
    ops_graph *graph; /* or NULL */
    int rows;         /* of the graph */
    int seen;         /* rows of the last run without a graph */
} step_part;

typedef struct {
    engine_job *job;
    step_part layers, mix;
    bool records;
    int padded; /* rows of the last group that began with stream 0 */
} decoder;

/* ---- the halves of a step ------------------------------------------------ */

/* First half: from the tokens to the last hidden state, the input of the logits. */
static gpuzip_status run_layers(engine_job *job, const step_group *g)
{
    engine *e = job->e;
    for (int k = 0; k < e->config.experts; k++) {
        if (!is_model(e, k))
            continue;
        ops_batch batch = {e->step.token[k] + g->first, e->step.slot + g->first,
                           e->step.pos + g->first, g->padded, 1};
        TRY(model_forward(e->state[k], &batch));
    }
    return GPUZIP_OK;
}

/* Second half: logits, mixing and symbol search, from the targets to the next tokens. */
static gpuzip_status run_mix(engine_job *job, const step_group *g)
{
    engine *e = job->e;
    const ops_symbol *found = e->step.found + g->first;
    int32_t *pos = e->step.pos + g->first;
    for (int done = 0; done < g->padded; done += e->logits_rows) {
        ops_mix mix;
        int left = g->padded - done, n = left < e->logits_rows ? left : e->logits_rows;
        TRY(pass_mix(job, &mix, done, n, e->step.state + g->first + done));
        if (e->config.prior) {
            mix.candidate = e->pass.candidate[done];
            mix.candidates = e->pass.candidates + done;
        }
        double start = clock_seconds();
        TRY(e->ops->mix_decode(e->ctx, &mix, n, e->step.target + g->first + done,
                               e->step.found + g->first + done));
        job->costs->seconds[GPUZIP_PHASE_MIX] += clock_seconds() - start;
    }
    for (int k = 0; k < e->config.experts; k++) {
        if (!is_model(e, k))
            continue;
        int32_t bos = (int32_t)model_weights(e->config.expert[k].m)->config.bos;
        TRY(e->ops->next_tokens(e->ctx, found, g->padded, e->config.vocab, bos,
                                e->step.token[k] + g->first, pos));
        pos = NULL; /* all models share it */
    }
    return GPUZIP_OK;
}

/* Records a run and replays it. If that fails, the decoder records no more. */
static gpuzip_status record_part(decoder *d, step_part *part, const step_group *g)
{
    const ops *ops = d->job->e->ops;
    ops_context *ctx = d->job->e->ctx;
    ops_graph *graph = NULL;
    TRY(ops->graph_begin(ctx));
    gpuzip_status ran = part->run(d->job, g);
    gpuzip_status ended = ops->graph_end(ctx, &graph);
    if (ran != GPUZIP_OK || ended != GPUZIP_OK) {
        ops->graph_destroy(ctx, graph);
        d->records = false;
        return part->run(d->job, g);
    }
    ops->graph_destroy(ctx, part->graph);
    part->graph = graph;
    part->rows = g->padded;
    return ops->graph_replay(ctx, graph);
}

/* Runs half a step. The second run in succession with the same rows is recorded; later ones only
 * replay it. */
static gpuzip_status run_part(decoder *d, step_part *part, const step_group *g)
{
    const engine *e = d->job->e;
    if (d->records && g->first == 0) {
        if (part->graph && part->rows == g->padded)
            return e->ops->graph_replay(e->ctx, part->graph);
        if (part->seen == g->padded)
            return record_part(d, part, g);
        part->seen = g->padded;
    }
    return part->run(d->job, g);
}

/* ---- queueing ------------------------------------------------------------ */

/* Sets the positions of the group's streams at the start of a window. */
static gpuzip_status set_positions(engine_job *job, const step_group *g)
{
    engine *e = job->e;
    size_t bytes = (size_t)g->padded * sizeof(int32_t);
    int index;
    TRY(pass_stage(job, &index));
    pass_rows *host = &e->stage[index].rows;
    for (int r = 0; r < g->padded; r++)
        host->pos[r] = (int32_t)(g->t - g->window.base);
    TRY(e->ops->upload(e->ctx, e->step.pos + g->first, host->pos, bytes));
    for (int k = 0; k < e->config.experts && g->t == g->window.base; k++) {
        if (!is_model(e, k))
            continue;
        for (int r = 0; r < g->padded; r++)
            host->token[k][r] = input_token(e, k, NULL, g->window.base, g->t);
        TRY(e->ops->upload(e->ctx, e->step.token[k] + g->first, host->token[k], bytes));
    }
    return e->ops->event(e->ctx, index);
}

/* Queues the first half of a step, before its targets are known. The host lacks only the newest
 * token, which the device has. */
static gpuzip_status queue_layers(decoder *d, const step_group *g)
{
    engine_job *job = d->job;
    engine *e = job->e;
    bool begins = g->t == g->window.begin;
    if (begins && g->first == 0) {
        if (e->config.schedule.window_scope)
            TRY(adapt_reset(job, g->window.base));
        TRY(pass_prefill(job, g->window.base, g->t));
    }
    if (begins)
        TRY(set_positions(job, g));
    double start = clock_seconds();
    for (int k = 0; k < e->config.experts && g->first == 0; k++)
        if (is_model(e, k))
            TRY(model_set_positions(e->state[k], g->t - g->window.base, 1));
    e->ops->range_push("step");
    gpuzip_status status = run_part(d, &d->layers, g);
    e->ops->range_pop();
    for (int r = 0; r < g->rows; r++)
        learn_record(job, g->first + r, (int32_t)(g->t - g->window.base));
    for (int k = 0; k < e->config.experts; k++) {
        double forward_ops, extend_ops;
        if (!is_model(e, k))
            continue;
        model_row_ops(e->config.expert[k].m, &forward_ops, &extend_ops);
        forward_ops +=
            (double)attended(e, g->t - g->window.base) * model_position_ops(e->config.expert[k].m);
        job->costs->forward_ops += g->rows * forward_ops;
    }
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += clock_seconds() - start;
    return status;
}

/* Queues the candidates of a group's rows; the tokens before the step are known. */
static gpuzip_status queue_candidates(decoder *d, const step_group *g)
{
    engine_job *job = d->job;
    int index;
    if (!job->e->config.prior)
        return GPUZIP_OK;
    TRY(pass_stage(job, &index));
    engine_stage *stage = &job->e->stage[index];
    for (int r = 0; r < g->rows; r++)
        stage->asked[r] = adapt_query(job, g->first + r, g->t);
    TRY(adapt_predict(job, stage, 0, g->rows));
    return job->e->ops->event(job->e->ctx, index);
}

/* Queues the second half of a step, then the copy of its symbols to the host. */
static gpuzip_status queue_mix(decoder *d, const step_group *g)
{
    engine_job *job = d->job;
    engine *e = job->e;
    const ops *ops = e->ops;
    size_t rows = (size_t)g->rows;
    double start = clock_seconds();
    for (int s = g->first; s < g->first + g->rows; s++)
        e->host_target[s] = rc_decode_target(&job->decoder[s]);
    job->costs->seconds[GPUZIP_PHASE_CODER] += clock_seconds() - start;
    TRY(ops->upload(e->ctx, e->step.target + g->first, e->host_target + g->first,
                    rows * sizeof *e->host_target));
    if (g->first == 0 && job->update_due == g->t)
        TRY(adapt_update(job, g->t, e->pending_end));
    TRY(queue_candidates(d, g));
    ops->range_push("mix");
    gpuzip_status status = run_part(d, &d->mix, g);
    ops->range_pop();
    TRY(status);
    TRY(ops->fetch(e->ctx, e->host_found + g->first, e->step.found + g->first,
                   rows * sizeof *e->host_found));
    TRY(ops->event(e->ctx, EVENT_STEP));
    if (!e->adaptive)
        return GPUZIP_OK;
    TRY(ops->next_tokens(e->ctx, e->step.found + g->first, g->rows, e->config.vocab,
                         e->config.vocab, e->pending + e->pending_end, NULL));
    if (group_states(e->group) > 1)
        TRY(ops->upload(e->ctx, e->pending_state + e->pending_end, e->host_state + g->first,
                        rows * sizeof *e->host_state));
    e->pending_end += rows;
    if (adapt_steps_to_update(e, g->t) > 1 || g->first + g->rows < job_active(job, g->t))
        return GPUZIP_OK;
    job->update_due = g->t + 1;
    return GPUZIP_OK;
}

/* Waits for the symbols of a group and advances its range decoders past them. */
static gpuzip_status code_group(engine_job *job, const step_group *g)
{
    engine *e = job->e;
    double start = clock_seconds();
    TRY(e->ops->wait_event(e->ctx, EVENT_STEP));
    double fetched = clock_seconds();
    e->ops->range_push("code");
    for (int s = g->first; s < g->first + g->rows; s++) {
        ops_symbol found = e->host_found[s];
        rc_decode_advance(&job->decoder[s], found.start, found.freq);
        job->stream[s].token[g->t] = (uint32_t)found.symbol;
        job->stream[s].bits += symbol_bits(found.freq);
    }
    e->ops->range_pop();
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += fetched - start;
    job->costs->seconds[GPUZIP_PHASE_CODER] += clock_seconds() - fetched;
    return GPUZIP_OK;
}

/* ---- decoding ------------------------------------------------------------ */

/* Sets the rows of the group at g->first, g->t. Pads it with finished streams, ignoring their
 * results, until a quarter of the rows are idle, so that one graph serves many row counts.
 * Never while the mixer learns: it would learn from the padding; there the streams of a block end
 * together, but for one. */
static void fit_group(decoder *d, step_group *g)
{
    const engine_job *job = d->job;
    int left = job_active(job, g->t) - g->first;
    g->rows = left < job->e->pass_rows ? left : job->e->pass_rows;
    g->padded = g->rows;
    if (g->first > 0)
        return;
    bool may_pad = d->records && !group_learner(job->e->group);
    if (may_pad && g->rows < d->padded && g->rows > d->padded / 4 * 3)
        g->padded = d->padded;
    d->padded = g->padded;
}

/* The group after g: the next streams of the step, or the first of the next step. */
static step_group next_group(decoder *d, const step_group *g)
{
    const engine_job *job = d->job;
    step_group next = *g;
    next.first = g->first + g->rows;
    if (next.first >= job_active(job, g->t)) {
        next.first = 0;
        if (++next.t == g->window.end)
            next.window = schedule_window_at(&job->e->config.schedule, ++next.k, job->steps);
    }
    fit_group(d, &next);
    return next;
}

/* Decodes group by group. */
static gpuzip_status decode_groups(decoder *d)
{
    engine_job *job = d->job;
    const engine_progress *progress = job->progress;
    step_group now = {.window = schedule_window_at(&job->e->config.schedule, 0, job->steps)};
    fit_group(d, &now);
    TRY(queue_layers(d, &now));
    while (now.rows > 0) {
        TRY(queue_mix(d, &now));
        step_group next = next_group(d, &now);
        bool learns = next.t == learn_next_update(job, now.t, now.window.end);
        if (learns) { /* from tokens that the host knows */
            TRY(code_group(job, &now));
            TRY(learn_update(job, now.window.base));
        }
        if (next.rows > 0)
            TRY(queue_layers(d, &next));
        if (!learns)
            TRY(code_group(job, &now));
        if (next.t > now.t && progress && progress->step(progress->context, next.t, job->steps))
            return FAIL(GPUZIP_ERR_CANCELLED);
        now = next;
    }
    return GPUZIP_OK;
}

gpuzip_status job_decode(engine_job *job)
{
    const ops *ops = job->e->ops;
    decoder d = {.job = job, .layers.run = run_layers, .mix.run = run_mix};
    d.records = ops->graph_begin != NULL;
    gpuzip_status status = decode_groups(&d);
    if (!ops->graph_begin)
        return status;
    if (status != GPUZIP_OK)
        (void)ops->sync(job->e->ctx); /* nothing replays any more */
    ops->graph_destroy(job->e->ctx, d.layers.graph);
    ops->graph_destroy(job->e->ctx, d.mix.graph);
    return status;
}
