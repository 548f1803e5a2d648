/* cpu_adaptive.c: what mixing learns, and learning it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_mix.h"
#include "mixmath.h"

#define SETS_SIZE (OPS_SETS * OPS_WEIGHTS)

/* ---- memory ------------------------------------------------------------- */

/* What a bucket takes of bytes a symbol. */
static size_t symbol_bytes(const ops_adaptive_config *config)
{
    size_t bytes = sizeof(int64_t) + 2 * sizeof(uint32_t) + sizeof(uint32_t) + sizeof(double);
    return bytes + (config->alpha ? (size_t)config->experts * sizeof(int32_t) : 0);
}

size_t cpu_adaptive_bytes(const ops_adaptive_config *config)
{
    size_t vocab = (size_t)config->vocab;
    size_t part = vocab * symbol_bytes(config) + sizeof(cpu_mix_sums);
    return sizeof(ops_adaptive) + SETS_SIZE * sizeof(int32_t) + 2 * vocab * sizeof(int32_t) +
           part * (size_t)config->parts;
}

static gpuzip_status open_sums(cpu_mix_sums *sums, const ops_adaptive_config *config)
{
    size_t vocab = (size_t)config->vocab;
    char *memory = calloc(vocab, symbol_bytes(config));
    if (!memory)
        return FAIL(GPUZIP_ERR_MEMORY);
    sums->expected = (int64_t *)memory; /* the widest first */
    sums->t = (double *)(sums->expected + vocab);
    sums->recent = (uint32_t *)(sums->t + vocab);
    sums->seen = sums->recent + vocab;
    sums->w = sums->seen + vocab;
    for (int k = 0; config->alpha && k < config->experts; k++)
        sums->log[k] = (int32_t *)(sums->w + vocab * (size_t)(k + 1));
    return GPUZIP_OK;
}

void cpu_adaptive_destroy(ops_context *ctx, ops_adaptive *a)
{
    (void)ctx;
    if (!a)
        return;
    for (int b = 0; a->sums && b < a->config.parts * a->threads; b++)
        free(a->sums[b].expected);
    free(a->sums);
    free(a->bias);
    free(a->trust);
    free(a->first);
    free(a);
}

gpuzip_status cpu_adaptive_create(ops_context *ctx, ops_adaptive **out,
                                  const ops_adaptive_config *config)
{
    gpuzip_status status = GPUZIP_ERR_MEMORY;
    assert(config->vocab >= 1 && config->vocab <= OPS_MAX_VOCAB && config->parts >= 1);
    assert(config->experts >= 1 && config->experts <= OPS_MAX_EXPERTS);
    ops_adaptive *a = calloc(1, sizeof *a);
    if (!a)
        return FAIL(GPUZIP_ERR_MEMORY);
    size_t vocab = (size_t)config->vocab;
    a->config = *config;
    a->threads = ctx->threads;
    a->sums = calloc((size_t)config->parts * (size_t)a->threads, sizeof *a->sums);
    a->bias = calloc(vocab, sizeof *a->bias);
    a->trust = calloc(vocab, sizeof *a->trust);
    a->first = calloc(OPS_SETS, sizeof *a->first);
    if (!a->sums || !a->bias || !a->trust || !a->first)
        goto out;
    if (config->weights)
        memcpy(a->first, config->weights, SETS_SIZE * sizeof(int32_t));
    a->config.weights = NULL; /* the caller's */
    for (int b = 0; b < config->parts * a->threads; b++)
        TRY_OUT(open_sums(&a->sums[b], config));
    TRY_OUT(cpu_adaptive_reset(ctx, a));
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

gpuzip_status cpu_adaptive_reset(ops_context *ctx, ops_adaptive *a)
{
    size_t vocab = (size_t)a->config.vocab;
    (void)ctx;
    for (int b = 0; b < a->config.parts * a->threads; b++)
        clear_sums(&a->sums[b], a->config.vocab);
    memset(a->bias, 0, vocab * sizeof *a->bias);
    memset(a->trust, 0, vocab * sizeof *a->trust);
    memcpy(a->weights, a->first, sizeof a->weights);
    memset(a->curvature, 0, sizeof a->curvature);
    memcpy(a->alpha, a->config.start, sizeof a->alpha);
    memset(a->h, 0, sizeof a->h);
    return GPUZIP_OK;
}

gpuzip_status cpu_adaptive_read(ops_context *ctx, const ops_adaptive *a, int32_t *bias,
                                uint32_t *alpha, int32_t *weights)
{
    (void)ctx;
    if (bias)
        memcpy(bias, a->bias, (size_t)a->config.vocab * sizeof *bias);
    if (alpha)
        memcpy(alpha, a->alpha, (size_t)a->config.experts * sizeof *alpha);
    if (weights)
        memcpy(weights, a->weights, sizeof a->weights);
    return GPUZIP_OK;
}

/* ---- learning ----------------------------------------------------------- */

/* Moves what `from` has to `to`, two of the same vocabulary. */
static void move_sums(cpu_mix_sums *to, cpu_mix_sums *from, const ops_adaptive_config *config)
{
    if (!from->used)
        return;
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

static void step_weights(ops_adaptive *a, cpu_mix_sums *sums)
{
    for (int set = 0; set < OPS_SETS; set++)
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            int64_t gradient = sums->gradient[set][j], curvature = sums->curvature[set][j];
            a->curvature[set][j] += curvature;
            if (gradient) /* most sets have none, after few rows */
                a->weights[set][j] = mix_step_weight(a->weights[set][j], gradient, curvature,
                                                     a->curvature[set][j], sums->majorant[set][j]);
        }
}

static void step_alphas(ops_adaptive *a, cpu_mix_sums *sums)
{
    int experts = a->config.experts;
    for (int k = 0; k < experts; k++) {
        a->h[k] += sums->h[k];
        a->alpha[k] = mix_step_alpha(a->alpha[k], a->config.start[k], experts, sums->g[k],
                                     sums->h[k], a->h[k]);
    }
}

gpuzip_status cpu_mix_learn(ops_context *ctx, ops_adaptive *a)
{
    const cpu_mix_learn_table *isa = CPU_ISA_PICK(ctx, cpu_mix_learn);
    cpu_mix_sums *sums = &a->sums[0];
    int vocab = a->config.vocab;
    for (int i = 0; sums->used && a->config.bias && i < vocab; i++)
        sums->expected[i] += sums->recent[i];
    for (int b = 1; b < a->config.parts * a->threads; b++)
        move_sums(sums, &a->sums[b], &a->config);
    if (a->config.bias)
        isa->step_bias(a->bias, a->trust, sums->expected, sums->seen, vocab);
    step_weights(a, sums);
    if (a->config.alpha)
        step_alphas(a, sums);
    clear_sums(sums, vocab);
    return GPUZIP_OK;
}
