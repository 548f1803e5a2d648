/* engine_costs.c: the cost of the encoded tokens by each expert alone, for the statistics. The
 * host downloads the logits and sums them in floats, in an order of its own: no coded bit depends
 * on them. */
#include <stdlib.h>

#include "engine_state.h"

struct engine_measures {
    float *logits[GPUZIP_MAX_EXPERTS];   /* [logits_rows][stride] of the models; NULL for others */
    int32_t *counts[GPUZIP_MAX_EXPERTS]; /* [vocab] of the others, as in ops_expert */
    double norm[GPUZIP_MAX_EXPERTS];     /* log2 of the sum of 2^counts[i] */
    uint32_t alpha[GPUZIP_MAX_EXPERTS];  /* Q16 */
    int32_t *bias;                       /* [vocab] Q16, or NULL */
    double *t;                           /* [vocab] */
};

void costs_close(engine_measures *m)
{
    if (!m)
        return;
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++) {
        free(m->logits[k]);
        free(m->counts[k]);
    }
    free(m->bias);
    free(m->t);
    free(m);
}

gpuzip_status costs_open(engine_measures **out, const engine *e)
{
    size_t vocab = (size_t)e->config.vocab, rows = (size_t)e->logits_rows;
    engine_measures *m = calloc(1, sizeof *m);
    bool done = m && (m->t = malloc(vocab * sizeof *m->t));
    if (done && e->config.bias)
        done = (m->bias = malloc(vocab * sizeof *m->bias));
    for (int k = 0; done && k < e->config.experts; k++) {
        const engine_expert *expert = &e->config.expert[k];
        if (is_model(e, k))
            done = (m->logits[k] =
                        malloc(rows * model_logits_stride(expert->m) * sizeof *m->logits[k]));
        else
            done = (m->counts[k] = malloc(vocab * sizeof *m->counts[k]));
    }
    if (!done) {
        costs_close(m);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    *out = m;
    return GPUZIP_OK;
}

/* ---- one row ------------------------------------------------------------ */

/* log2 of the sum of 2^t[i]. */
static double log2_sum(const double *t, int n)
{
    double max = t[0], sum = 0;
    for (int i = 1; i < n; i++)
        max = t[i] > max ? t[i] : max;
    for (int i = 0; i < n; i++)
        sum += exp2f((float)(t[i] - max));
    return max + log2(sum);
}

/* log2 of the sum of e^x[i]. */
static double log2_sum_logits(const float *x, int n)
{
    float max = x[0];
    double sum = 0;
    for (int i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++)
        sum += exp2f((x[i] - max) * (float)M_LOG2E);
    return max * M_LOG2E + log2(sum);
}

/* Adds expert k, normalised, to the product t. */
static void add_expert(const engine_measures *m, int k, const float *x, double norm, int vocab)
{
    double alpha = m->alpha[k] * 0x1p-16;
    const int32_t *counts = m->counts[k];
    if (x)
        for (int i = 0; i < vocab; i++)
            m->t[i] += alpha * (x[i] * M_LOG2E - norm);
    else
        for (int i = 0; i < vocab; i++)
            m->t[i] += alpha * (counts[i] * 0x1p-16 - norm);
}

/* Fills in all of out but its bits. x: each model's logits, [vocab]. */
static void costs_row(const engine *e, const float *const x[GPUZIP_MAX_EXPERTS], int symbol,
                      float *out)
{
    engine_measures *m = e->measures;
    int experts = e->config.experts, vocab = e->config.vocab;
    bool known = symbol < vocab, alone = experts == 1 && m->alpha[0] == 65536 && !m->bias;
    out[ENGINE_MEASURE_LOG2_Z] = out[ENGINE_MEASURE_BIASED] = 0;
    for (int i = 0; known && !alone && i < vocab; i++)
        m->t[i] = 0;
    for (int k = 0; k < experts; k++) {
        out[ENGINE_MEASURE_EXPERT(k)] = 0;
        out[ENGINE_MEASURE_ALPHA(k, experts)] = (float)(m->alpha[k] * 0x1p-16);
        if (!known)
            continue;
        double norm = x[k] ? log2_sum_logits(x[k], vocab) : m->norm[k];
        double log = x[k] ? x[k][symbol] * M_LOG2E : m->counts[k][symbol] * 0x1p-16;
        out[ENGINE_MEASURE_EXPERT(k)] = (float)(norm - log);
        if (!alone)
            add_expert(m, k, x[k], norm, vocab);
    }
    if (alone)
        out[ENGINE_MEASURE_BIASED] = out[ENGINE_MEASURE_EXPERT(0)];
    if (!known || alone)
        return;
    double log2_z = log2_sum(m->t, vocab), biased = log2_z - m->t[symbol];
    if (m->bias) {
        for (int i = 0; i < vocab; i++)
            m->t[i] += m->bias[i] * 0x1p-16;
        biased = log2_sum(m->t, vocab) - m->t[symbol];
    }
    out[ENGINE_MEASURE_LOG2_Z] = (float)log2_z;
    out[ENGINE_MEASURE_BIASED] = (float)biased;
}

/* ---- rows --------------------------------------------------------------- */

gpuzip_status costs_logits(engine_job *job, const ops_mix *mix, int rows)
{
    engine *e = job->e;
    double start = clock_seconds();
    if (!job->measures)
        return GPUZIP_OK;
    for (int k = 0; k < e->config.experts; k++)
        if (is_model(e, k))
            TRY(e->ops->download(e->ctx, e->measures->logits[k], mix->expert[k].logits,
                                 (size_t)rows * mix->expert[k].stride * sizeof(float)));
    job->costs->seconds[GPUZIP_PHASE_MEASURE] += clock_seconds() - start;
    return GPUZIP_OK;
}

/* Downloads a state's current counts, biases and alphas. */
static gpuzip_status fetch_learnt(engine *e, int state)
{
    engine_measures *m = e->measures;
    for (int k = 0; k < e->config.experts; k++) {
        m->alpha[k] = e->config.expert[k].alpha;
        if (is_model(e, k))
            continue;
        TRY(e->ops->download(e->ctx, m->counts[k],
                             e->count_log[k] + (size_t)state * (size_t)e->config.vocab,
                             (size_t)e->config.vocab * sizeof *m->counts[k]));
        for (int i = 0; i < e->config.vocab; i++)
            m->t[i] = m->counts[k][i] * 0x1p-16;
        m->norm[k] = log2_sum(m->t, e->config.vocab);
    }
    if (e->config.bias || e->config.learn_alpha)
        TRY(e->ops->adaptive_read(e->ctx, group_learner(e->group), state, m->bias,
                                  e->config.learn_alpha ? m->alpha : NULL, NULL));
    return GPUZIP_OK;
}

/* Measures the rows of streams of one state. */
static gpuzip_status costs_state(engine_job *job, const engine_stage *g, const ops_mix *mix,
                                 int first, int rows, int state)
{
    engine *e = job->e;
    int experts = e->config.experts;
    bool fetched = false;
    for (int r = first; r < first + rows; r++) {
        const float *x[GPUZIP_MAX_EXPERTS] = {NULL};
        job_stream *stream = &job->stream[g->stream[r]];
        size_t source = (size_t)(mix->row ? g->rows.row[r] : r - first);
        if (!stream->measured || stream->state != state)
            continue;
        if (!fetched)
            TRY(fetch_learnt(e, state));
        fetched = true;
        for (int k = 0; k < experts; k++)
            if (is_model(e, k))
                x[k] = e->measures->logits[k] + source * mix->expert[k].stride;
        costs_row(e, x, g->symbol[r], stream->measured);
        stream->measured += ENGINE_MEASURES(experts);
    }
    return GPUZIP_OK;
}

gpuzip_status costs_rows(engine_job *job, const engine_stage *g, const ops_mix *mix, int first,
                         int rows)
{
    double start = clock_seconds();
    if (!job->measures)
        return GPUZIP_OK;
    for (int state = 0; state < group_states(job->e->group); state++)
        TRY(costs_state(job, g, mix, first, rows, state));
    job->costs->seconds[GPUZIP_PHASE_MEASURE] += clock_seconds() - start;
    return GPUZIP_OK;
}
