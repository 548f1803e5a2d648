/* engine_pass.c: stages, and passes of the models over rows of many steps. */
#include <assert.h>

#include "engine_state.h"

/* ---- stages -------------------------------------------------------------- */

gpuzip_status pass_code(engine_job *job, int index)
{
    engine *e = job->e;
    engine_stage *g = &e->stage[index];
    if (g->mixed == 0)
        return GPUZIP_OK;
    double start = clock_seconds();
    TRY(e->ops->wait_event(e->ctx, index));
    double fetched = clock_seconds();
    e->ops->range_push("code");
    for (int r = 0; r < g->mixed; r++) {
        ops_interval interval = g->rows.interval[r];
        int s = g->stream[r];
        rc_encode(&job->encoder[s], interval.start, interval.freq);
        double bits = symbol_bits(interval.freq);
        job->stream[s].bits += bits;
        if (job->stream[s].coded) {
            job->stream[s].coded[ENGINE_MEASURE_BITS] = (float)bits;
            job->stream[s].coded += ENGINE_MEASURES(e->config.experts);
        }
    }
    e->ops->range_pop();
    g->mixed = 0;
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += fetched - start;
    job->costs->seconds[GPUZIP_PHASE_CODER] += clock_seconds() - fetched;
    return GPUZIP_OK;
}

gpuzip_status pass_stage(engine_job *job, int *index)
{
    engine *e = job->e;
    int oldest = e->next_stage;
    TRY(pass_code(job, oldest));
    double start = clock_seconds();
    TRY(e->ops->wait_event(e->ctx, oldest));
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += clock_seconds() - start;
    e->next_stage = (oldest + 1) % STAGES;
    *index = oldest;
    return GPUZIP_OK;
}

/* ---- the models ---------------------------------------------------------- */

int pass_fill_rows(const engine_job *job, pass_rows *p, int s0, int s1, size_t base, size_t t,
                   int steps)
{
    const engine *e = job->e;
    int rows = 0;
    for (int s = s0; s < s1; s++) {
        int n = job_stream_steps(job, s, t, steps);
        for (int i = 0; i < n; i++, rows++) {
            size_t step = t + (size_t)i;
            for (int k = 0; k < e->config.experts; k++)
                if (is_model(e, k))
                    p->token[k][rows] = input_token(e, k, &job->stream[s], base, step);
            p->slot[rows] = s;
            p->pos[rows] = (int32_t)(step - base);
        }
    }
    assert(rows > 0 && rows <= e->pass_rows);
    return rows;
}

gpuzip_status pass_forward(engine_job *job, const pass_rows *host, int rows, bool logits)
{
    engine *e = job->e;
    const ops *ops = e->ops;
    size_t bytes = (size_t)rows * sizeof(int32_t);
    double start = clock_seconds();
    int last = 0;         /* row with the highest position */
    double positions = 0; /* that the rows attend to */
    for (int r = 0; r < rows; r++) {
        last = host->pos[r] > host->pos[last] ? r : last;
        positions += (double)attended(e, (size_t)host->pos[r]);
    }
    TRY(ops->upload(e->ctx, e->pass.slot, host->slot, bytes));
    TRY(ops->upload(e->ctx, e->pass.pos, host->pos, bytes));
    for (int k = 0; k < e->config.experts; k++) {
        double forward_ops, extend_ops;
        ops_batch batch = {e->pass.token[k], e->pass.slot, e->pass.pos, rows, 0};
        if (!is_model(e, k))
            continue;
        TRY(model_set_positions(e->state[k], (size_t)host->pos[0],
                                host->pos[last] - host->pos[0] + 1));
        TRY(ops->upload(e->ctx, e->pass.token[k], host->token[k], bytes));
        TRY(logits ? model_forward(e->state[k], &batch) : model_extend(e->state[k], &batch));
        model_row_ops(e->config.expert[k].m, &forward_ops, &extend_ops);
        job->costs->forward_ops += rows * (logits ? forward_ops : extend_ops) +
                                   positions * model_position_ops(e->config.expert[k].m);
    }
    for (int r = 0; r < rows && logits; r++)
        learn_record(job, host->slot[r], host->pos[r]);
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += clock_seconds() - start;
    return GPUZIP_OK;
}

gpuzip_status pass_mix(engine_job *job, ops_mix *mix, int first, int rows, const int32_t *state)
{
    engine *e = job->e;
    double start = clock_seconds();
    *mix = (ops_mix){
        .experts = e->config.experts, .vocab = e->config.vocab, .escapes = e->config.escapes};
    for (int k = 0; k < e->config.experts; k++) {
        ops_expert *expert = &mix->expert[k];
        expert->alpha = e->config.expert[k].alpha;
        expert->counts = e->count_log[k];
        if (!is_model(e, k))
            continue;
        TRY(model_logits(e->state[k], first, rows, &expert->logits));
        expert->stride = model_logits_stride(e->config.expert[k].m);
    }
    mix->adaptive = group_learner(e->group);
    mix->part = e->rank;
    mix->state = e->adaptive && group_states(e->group) > 1 ? state : NULL;
    job->costs->seconds[GPUZIP_PHASE_FORWARD] += clock_seconds() - start;
    return GPUZIP_OK;
}

int pass_steps(const engine_job *job, int streams, size_t left)
{
    const engine *e = job->e;
    if (e->group != e->own_group) /* all members take the same */
        streams = group_most_streams(e->group);
    int steps = streams < e->pass_rows ? e->pass_rows / streams : 1;
    if (job->run > 0 && steps > job->run)
        steps = job->run;
    return (size_t)steps < left ? steps : (int)left;
}

/* Queues a pass that only reads. */
static gpuzip_status read_pass(engine_job *job, int s0, int s1, size_t base, size_t t, int steps)
{
    engine *e = job->e;
    int index;
    TRY(pass_stage(job, &index));
    pass_rows *host = &e->stage[index].rows;
    TRY(pass_forward(job, host, pass_fill_rows(job, host, s0, s1, base, t, steps), false));
    return e->ops->event(e->ctx, index);
}

gpuzip_status pass_prefill(engine_job *job, size_t base, size_t t)
{
    engine *e = job->e;
    gpuzip_status status = GPUZIP_OK;
    int active = job_active(job, t), steps;
    e->ops->range_push("prefill");
    for (size_t at = base; status == GPUZIP_OK && at < t; at += (size_t)steps) {
        steps = pass_steps(job, active, t - at);
        int group = e->pass_rows / steps;
        for (int s = 0; status == GPUZIP_OK && s < active; s += group)
            status = read_pass(job, s, smaller(s + group, active), base, at, steps);
    }
    e->ops->range_pop();
    return status;
}
