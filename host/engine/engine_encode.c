/* engine_encode.c: passes of many steps at once. While the device computes one, the host
 * range-codes the one before. */
#include <assert.h>

#include "engine_state.h"

/* ---- mixing -------------------------------------------------------------- */

/* Queues mixing `rows` rows from mixed row `first` on, whose symbols are pending[at ..]. */
static gpuzip_status mix_rows(engine_job *job, const ops_mix *mix, int first, int rows, size_t at)
{
    engine *e = job->e;
    double start = clock_seconds();
    TRY(e->ops->mix_encode(e->ctx, mix, rows, e->pending + at, e->pass.interval + first));
    job->costs->seconds[GPUZIP_PHASE_MIX] += clock_seconds() - start;
    return GPUZIP_OK;
}

/* Queues mixing without adaptation, in slices of logits_rows rows. */
static gpuzip_status mix_plain(engine_job *job, engine_stage *g, int s0, int s1, size_t t,
                               int steps)
{
    engine *e = job->e;
    int rows = 0;
    for (int s = s0; s < s1; s++) {
        int n = job_stream_steps(job, s, t, steps);
        for (int i = 0; i < n; i++, rows++) {
            g->symbol[rows] = (int32_t)job->stream[s].token[t + (size_t)i];
            g->stream[rows] = s;
        }
    }
    g->mixed = rows;
    TRY(e->ops->upload(e->ctx, e->pending, g->symbol, (size_t)rows * sizeof *g->symbol));
    for (int first = 0; first < rows; first += e->logits_rows) {
        ops_mix mix;
        int n = smaller(e->logits_rows, rows - first);
        TRY(pass_mix(job, &mix, first, n, NULL));
        TRY(mix_rows(job, &mix, first, n, (size_t)first));
        TRY(costs_logits(job, &mix, n));
        TRY(costs_rows(job, g, &mix, first, n));
    }
    return GPUZIP_OK;
}

/* Queues mixing with adaptation: rows step by step, with each update in its place. */
static gpuzip_status mix_learning(engine_job *job, engine_stage *g, int s0, int s1, size_t t,
                                  int steps)
{
    engine *e = job->e;
    ops_mix mix;
    int rows = 0, mixed = 0;
    size_t at = e->pending_end;
    for (int i = 0; i < steps; i++) {
        int row = i;
        for (int s = s0; s < s1; s++) {
            int n = job_stream_steps(job, s, t, steps);
            if (i < n) {
                g->rows.row[rows] = row;
                g->stream[rows] = s;
                g->state[rows] = job->stream[s].state;
                g->asked[rows] = adapt_query(job, s, t + (size_t)i);
                g->symbol[rows++] = (int32_t)job->stream[s].token[t + (size_t)i];
            }
            row += n;
        }
    }
    g->mixed = rows;
    size_t bytes = (size_t)rows * sizeof(int32_t);
    TRY(e->ops->upload(e->ctx, e->pass.row, g->rows.row, bytes));
    TRY(e->ops->upload(e->ctx, e->pending + at, g->symbol, bytes));
    if (group_states(e->group) > 1)
        TRY(e->ops->upload(e->ctx, e->pending_state + at, g->state, bytes));
    e->pending_end += (size_t)rows;
    TRY(pass_mix(job, &mix, 0, rows, NULL));
    TRY(costs_logits(job, &mix, rows));
    for (int i = 0; i < steps;) {
        int to_update = adapt_steps_to_update(e, t + (size_t)i),
            group = smaller(to_update, steps - i);
        int n = 0;
        for (int j = i; j < i + group; j++)
            n += smaller(s1, job_active(job, t + (size_t)j)) - s0;
        mix.row = e->pass.row + mixed;
        mix.state = group_states(e->group) > 1 ? e->pending_state + at : NULL;
        TRY(adapt_predict(job, g, mixed, n));
        if (e->config.prior) {
            mix.candidate = e->pass.candidate[mixed];
            mix.candidates = e->pass.candidates + mixed;
        }
        TRY(mix_rows(job, &mix, mixed, n, at));
        TRY(costs_rows(job, g, &mix, mixed, n));
        mixed += n;
        at += (size_t)n;
        i += group;
        /* with several groups of streams a step ends with the last of them */
        if (group == to_update && s1 == job_active(job, t))
            TRY(adapt_update(job, t + (size_t)i, at - e->pending_first));
    }
    return GPUZIP_OK;
}

/* ---- encoding ------------------------------------------------------------ */

/* Queues a pass over the steps [t, t + steps) of streams [s0, s1), then range-codes the previous
 * pass. */
static gpuzip_status encode_pass(engine_job *job, int s0, int s1, size_t base, size_t t, int steps)
{
    engine *e = job->e;
    int index;
    TRY(pass_stage(job, &index));
    engine_stage *g = &e->stage[index];
    TRY(pass_forward(job, &g->rows, pass_fill_rows(job, &g->rows, s0, s1, base, t, steps), true));
    TRY(e->adaptive ? mix_learning(job, g, s0, s1, t, steps) : mix_plain(job, g, s0, s1, t, steps));
    TRY(e->ops->fetch(e->ctx, g->rows.interval, e->pass.interval,
                      (size_t)g->mixed * sizeof *g->rows.interval));
    TRY(e->ops->event(e->ctx, index));
    return pass_code(job, e->next_stage);
}

static gpuzip_status encode_window(engine_job *job, const schedule_window *w)
{
    engine *e = job->e;
    size_t t = w->begin;
    while (t < w->end) {
        int active = job_active(job, t), steps = pass_steps(job, active, w->end - t);
        int group = e->pass_rows / steps;
        /* End at an update, if the pass reaches one: no pending symbol is then newer. */
        size_t learns = learn_next_update(job, t, w->end);
        if (learns - t < (size_t)steps)
            steps = (int)(learns - t);
        if (e->adaptive)
            steps = adapt_steps_to_last_update(e, t, steps);
        for (int s = 0; s < active; s += group)
            TRY(encode_pass(job, s, smaller(s + group, active), w->base, t, steps));
        t += (size_t)steps;
        if (t == learns)
            TRY(learn_update(job, w->base));
        if (job->progress && job->progress->step(job->progress->context, t, job->steps))
            return FAIL(GPUZIP_ERR_CANCELLED);
    }
    return GPUZIP_OK;
}

gpuzip_status job_encode(engine_job *job)
{
    engine *e = job->e;
    const schedule *s = &e->config.schedule;
    for (size_t k = 0; k < schedule_windows(s, job->steps); k++) {
        schedule_window w = schedule_window_at(s, k, job->steps);
        if (s->window_scope)
            TRY(adapt_reset(job, w.base));
        TRY(pass_prefill(job, w.base, w.begin));
        e->ops->range_push("encode");
        gpuzip_status status = encode_window(job, &w);
        e->ops->range_pop();
        TRY(status);
    }
    for (int i = 0; i < STAGES; i++) /* the oldest first */
        TRY(pass_code(job, (e->next_stage + i) % STAGES));
    return GPUZIP_OK;
}
