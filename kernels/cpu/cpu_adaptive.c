/* cpu_adaptive.c: adaptive states of mixing: their memory and their steps. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_mix.h"
#include "mixmath.h"

#define SETS_SIZE (OPS_SETS * OPS_WEIGHTS)
/* A parameter's step takes as long as so many elements of a norm. */
#define STEP_COST 10

/* ---- memory ------------------------------------------------------------- */

/* Threads that mix at the same time, each with sums and scratch memory of its own. */
static int workers(const ops_adaptive *a)
{
    return a->config.parts * a->threads;
}

/* Bytes a symbol of a thread's scratch memory. */
static size_t scratch_bytes(const ops_adaptive_config *config)
{
    size_t logs = config->alpha ? (size_t)config->experts : 0;
    return sizeof(double) + sizeof(uint32_t) + logs * sizeof(int32_t);
}

/* Bytes a symbol of a thread's sums for a state. */
#define SUMS_BYTES  (sizeof(int64_t) + 2 * sizeof(uint32_t))
#define STATE_BYTES (sizeof(int32_t) + sizeof(uint32_t)) /* of a state's parameters */

size_t cpu_adaptive_bytes(const ops_adaptive_config *config)
{
    size_t vocab = (size_t)config->vocab, parts = (size_t)config->parts;
    size_t state = vocab * STATE_BYTES + sizeof(cpu_mix_state) +
                   parts * (vocab * SUMS_BYTES + sizeof(cpu_mix_sums));
    return sizeof(ops_adaptive) + SETS_SIZE * sizeof(int32_t) + state * (size_t)config->states +
           parts * (vocab * scratch_bytes(config) + sizeof(cpu_mix_scratch));
}

static gpuzip_status open_sums(cpu_mix_sums *sums, size_t vocab)
{
    sums->expected = calloc(vocab, SUMS_BYTES); /* the widest first */
    if (!sums->expected)
        return FAIL(GPUZIP_ERR_MEMORY);
    sums->recent = (uint32_t *)(sums->expected + vocab);
    sums->seen = sums->recent + vocab;
    return GPUZIP_OK;
}

static gpuzip_status open_scratch(cpu_mix_scratch *scratch, const ops_adaptive_config *config)
{
    size_t vocab = (size_t)config->vocab;
    scratch->t = calloc(vocab, scratch_bytes(config)); /* the widest first */
    if (!scratch->t)
        return FAIL(GPUZIP_ERR_MEMORY);
    scratch->w = (uint32_t *)(scratch->t + vocab);
    for (int k = 0; config->alpha && k < config->experts; k++)
        scratch->log[k] = (int32_t *)(scratch->w + vocab * (size_t)(k + 1));
    return GPUZIP_OK;
}

static gpuzip_status open_state(cpu_mix_state *state, size_t vocab)
{
    state->bias = calloc(vocab, STATE_BYTES);
    if (!state->bias)
        return FAIL(GPUZIP_ERR_MEMORY);
    state->trust = (uint32_t *)(state->bias + vocab);
    return GPUZIP_OK;
}

void cpu_adaptive_destroy(ops_context *ctx, ops_adaptive *a)
{
    (void)ctx;
    if (!a)
        return;
    for (int i = 0; a->sums && i < a->config.states * workers(a); i++)
        free(a->sums[i].expected);
    for (int i = 0; a->scratch && i < workers(a); i++)
        free(a->scratch[i].t);
    for (int s = 0; a->state && s < a->config.states; s++)
        free(a->state[s].bias);
    free(a->sums);
    free(a->scratch);
    free(a->state);
    free(a->first);
    free(a);
}

gpuzip_status cpu_adaptive_create(ops_context *ctx, ops_adaptive **out,
                                  const ops_adaptive_config *config)
{
    gpuzip_status status = GPUZIP_ERR_MEMORY;
    assert(config->vocab >= 1 && config->vocab <= OPS_MAX_VOCAB);
    assert(config->parts >= 1 && config->states >= 1);
    assert(config->experts >= 1 && config->experts <= OPS_MAX_EXPERTS);
    ops_adaptive *a = calloc(1, sizeof *a);
    if (!a)
        return FAIL(GPUZIP_ERR_MEMORY);
    size_t vocab = (size_t)config->vocab;
    a->config = *config;
    a->threads = ctx->threads;
    a->state = calloc((size_t)config->states, sizeof *a->state);
    a->sums = calloc((size_t)config->states * (size_t)workers(a), sizeof *a->sums);
    a->scratch = calloc((size_t)workers(a), sizeof *a->scratch);
    a->first = calloc(OPS_SETS, sizeof *a->first);
    if (!a->state || !a->sums || !a->scratch || !a->first)
        goto out;
    if (config->weights)
        memcpy(a->first, config->weights, SETS_SIZE * sizeof(int32_t));
    a->config.weights = NULL; /* the caller's */
    for (int i = 0; i < config->states * workers(a); i++)
        TRY_OUT(open_sums(&a->sums[i], vocab));
    for (int i = 0; i < workers(a); i++)
        TRY_OUT(open_scratch(&a->scratch[i], config));
    for (int s = 0; s < config->states; s++)
        TRY_OUT(open_state(&a->state[s], vocab));
    TRY_OUT(cpu_adaptive_reset(ctx, a, 0, config->states));
    *out = a;
    a = NULL;
    status = GPUZIP_OK;
out:
    cpu_adaptive_destroy(ctx, a);
    return status;
}

/* ---- values ------------------------------------------------------------- */

static void clear_sums(cpu_mix_sums *sums, int vocab)
{
    size_t n = (size_t)vocab;
    memset(sums->expected, 0, n * sizeof *sums->expected);
    memset(sums->recent, 0, n * sizeof *sums->recent);
    memset(sums->seen, 0, n * sizeof *sums->seen);
    memset(sums->g, 0, sizeof sums->g);
    memset(sums->h, 0, sizeof sums->h);
    memset(sums->gradient, 0, sizeof sums->gradient);
    memset(sums->curvature, 0, sizeof sums->curvature);
    memset(sums->majorant, 0, sizeof sums->majorant);
    sums->recent_rows = 0;
    sums->used = false;
}

static void reset_state(const ops_adaptive *a, cpu_mix_state *state)
{
    size_t vocab = (size_t)a->config.vocab;
    memset(state->bias, 0, vocab * sizeof *state->bias);
    memset(state->trust, 0, vocab * sizeof *state->trust);
    memcpy(state->weights, a->first, sizeof state->weights);
    memset(state->curvature, 0, sizeof state->curvature);
    memcpy(state->alpha, a->config.start, sizeof state->alpha);
    memset(state->h, 0, sizeof state->h);
}

gpuzip_status cpu_adaptive_reset(ops_context *ctx, ops_adaptive *a, int first, int n)
{
    (void)ctx;
    assert(first >= 0 && n >= 0 && first + n <= a->config.states);
    for (int i = first * workers(a); i < (first + n) * workers(a); i++)
        clear_sums(&a->sums[i], a->config.vocab);
    for (int s = first; s < first + n; s++)
        reset_state(a, &a->state[s]);
    return GPUZIP_OK;
}

gpuzip_status cpu_adaptive_read(ops_context *ctx, const ops_adaptive *a, int state, int32_t *bias,
                                uint32_t *alpha, int32_t *weights)
{
    (void)ctx;
    assert(state >= 0 && state < a->config.states);
    const cpu_mix_state *from = &a->state[state];
    if (bias)
        memcpy(bias, from->bias, (size_t)a->config.vocab * sizeof *bias);
    if (alpha)
        memcpy(alpha, from->alpha, (size_t)a->config.experts * sizeof *alpha);
    if (weights)
        memcpy(weights, from->weights, sizeof from->weights);
    return GPUZIP_OK;
}

/* ---- learning ----------------------------------------------------------- */

/* Adds the sums of `from` to those of `to`, and clears `from`. */
static void move_sums(cpu_mix_sums *to, cpu_mix_sums *from, const ops_adaptive_config *config)
{
    if (!from->used)
        return;
    to->used = true;
    for (int i = 0; config->bias && i < config->vocab; i++) {
        to->expected[i] += from->expected[i] + from->recent[i];
        to->seen[i] += from->seen[i];
    }
    for (int k = 0; k < config->experts; k++) {
        to->g[k] += from->g[k];
        to->h[k] += from->h[k];
    }
    for (int set = 0; set < OPS_SETS; set++)
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            to->gradient[set][j] += from->gradient[set][j];
            to->curvature[set][j] += from->curvature[set][j];
            to->majorant[set][j] += from->majorant[set][j];
        }
    clear_sums(from, config->vocab);
}

static void step_weights(cpu_mix_state *state, const cpu_mix_sums *sums)
{
    for (int set = 0; set < OPS_SETS; set++)
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            int64_t gradient = sums->gradient[set][j], curvature = sums->curvature[set][j];
            int32_t *weight = &state->weights[set][j];
            state->curvature[set][j] += curvature;
            if (gradient) /* most sets have none, after few rows */
                *weight = mix_step_weight(*weight, gradient, curvature, state->curvature[set][j],
                                          sums->majorant[set][j]);
        }
}

static void step_alphas(cpu_mix_state *state, const cpu_mix_sums *sums,
                        const ops_adaptive_config *config)
{
    for (int k = 0; k < config->experts; k++) {
        state->h[k] += sums->h[k];
        state->alpha[k] = mix_step_alpha(state->alpha[k], config->start[k], config->experts,
                                         sums->g[k], sums->h[k], state->h[k]);
    }
}

typedef struct {
    ops_adaptive *adaptive;
    const cpu_mix_learn_table *isa;
} learn_job;

/* The steps of state s, from the sums of all threads, gathered in those of the first. */
static void learn_state(const void *opaque, int s, int thread)
{
    const learn_job *job = opaque;
    ops_adaptive *a = job->adaptive;
    const ops_adaptive_config *config = &a->config;
    cpu_mix_state *state = &a->state[s];
    cpu_mix_sums *sums = &a->sums[s * workers(a)];
    (void)thread;
    for (int i = 0; sums->used && config->bias && i < config->vocab; i++)
        sums->expected[i] += sums->recent[i];
    for (int worker = 1; worker < workers(a); worker++)
        move_sums(sums, sums + worker, config);
    if (!sums->used)
        return;
    if (config->bias)
        job->isa->step_bias(state->bias, state->trust, sums->expected, sums->seen, config->vocab);
    step_weights(state, sums);
    if (config->alpha)
        step_alphas(state, sums, config);
    clear_sums(sums, config->vocab);
}

gpuzip_status cpu_mix_learn(ops_context *ctx, ops_adaptive *a, int states)
{
    learn_job job = {a, CPU_ISA_PICK(ctx, cpu_mix_learn)};
    assert(states >= 0 && states <= a->config.states);
    cpu_for_rows(ctx, states, STEP_COST * ((size_t)a->config.vocab + SETS_SIZE), learn_state, &job);
    return GPUZIP_OK;
}
