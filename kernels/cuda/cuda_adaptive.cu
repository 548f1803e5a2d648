/* cuda_adaptive.cu: adaptive states of mixing: their memory and their steps. All parts add to
 * the same sums, for integers may be added in any order; parts tell which streams to wait for. */
#include <stdlib.h>
#include <string.h>

#include "adaptive.cuh"
#include "mixmath.h"
#include "ptx.cuh"

#define THREADS    256
#define FIRST_SIZE (ADAPTIVE_WEIGHTS + OPS_MAX_EXPERTS) /* weights and alphas */

/* -- memory ---------------------------------------------------------------------- */

static size_t cleared_bytes(const ops_adaptive_config *config)
{
    size_t vocab = (size_t)config->vocab;
    size_t sums = vocab + 4 * ADAPTIVE_WEIGHTS + 3 * OPS_MAX_EXPERTS;
    return sums * sizeof(unsigned long long) + 3 * vocab * sizeof(uint32_t);
}

/* Bytes of a state. */
static size_t state_bytes(const ops_adaptive_config *config)
{
    size_t bytes = cleared_bytes(config) + FIRST_SIZE * sizeof(int32_t);
    return (bytes + 255) & ~(size_t)255; /* whole cache lines */
}

size_t cuda_adaptive_bytes(const ops_adaptive_config *config)
{
    return state_bytes(config) * (size_t)config->states + FIRST_SIZE * sizeof(int32_t);
}

/* Lays a's pointers into its memory. */
static void adaptive_lay_out(ops_adaptive *a)
{
    size_t vocab = (size_t)a->config.vocab;
    adaptive_state *s = &a->state.zero;
    s->expected = (unsigned long long *)a->memory;
    s->gradient = s->expected + vocab;
    s->curvature = s->gradient + ADAPTIVE_WEIGHTS;
    s->all_curvature = s->curvature + ADAPTIVE_WEIGHTS;
    s->majorant = s->all_curvature + ADAPTIVE_WEIGHTS;
    s->g = s->majorant + ADAPTIVE_WEIGHTS;
    s->h = s->g + OPS_MAX_EXPERTS;
    s->all_h = s->h + OPS_MAX_EXPERTS;
    s->seen = (uint32_t *)(s->all_h + OPS_MAX_EXPERTS);
    s->trust = s->seen + vocab;
    s->bias = (int32_t *)(s->trust + vocab);
    s->weights = s->bias + vocab;
    s->alpha = (uint32_t *)s->weights + ADAPTIVE_WEIGHTS;
    a->state.stride = state_bytes(&a->config);
    a->cleared_bytes = cleared_bytes(&a->config);
    a->first = in_state((int32_t *)a->memory, a->state.stride, a->config.states);
    a->state.start = (uint32_t *)a->first + ADAPTIVE_WEIGHTS;
}

void cuda_adaptive_destroy(ops_context *ctx, ops_adaptive *a)
{
    if (a == NULL)
        return;
    (void)cudaSetDevice(ctx->device);
    (void)cudaFree(a->memory);
    free(a->stream);
    free(a);
}

static gpuzip_status upload_first(ops_context *ctx, const ops_adaptive *a)
{
    int32_t first[FIRST_SIZE] = {0};
    if (a->config.weights != NULL)
        memcpy(first, a->config.weights, ADAPTIVE_WEIGHTS * sizeof *first);
    memcpy(first + ADAPTIVE_WEIGHTS, a->config.start, sizeof a->config.start);
    return cuda_upload(ctx, a->first, first, sizeof first);
}

gpuzip_status cuda_adaptive_create(ops_context *ctx, ops_adaptive **out,
                                   const ops_adaptive_config *config)
{
    gpuzip_status status = GPUZIP_ERR_MEMORY;
    ops_adaptive *a = (ops_adaptive *)calloc(1, sizeof *a);
    if (a == NULL)
        return FAIL(GPUZIP_ERR_MEMORY);
    a->config = *config;
    a->stream = (cudaStream_t *)calloc((size_t)config->parts, sizeof *a->stream);
    if (a->stream == NULL)
        goto out;
    TRY_OUT(cuda_enter(ctx));
    if (cudaMalloc(&a->memory, cuda_adaptive_bytes(config)) != cudaSuccess) {
        (void)cudaGetLastError(); /* a full device is not a broken one */
        a->memory = NULL;
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    adaptive_lay_out(a);
    TRY_OUT(upload_first(ctx, a));
    TRY_OUT(cuda_adaptive_reset(ctx, a, 0, config->states));
    a->config.weights = NULL; /* the caller's */
    *out = a;
    a = NULL;
    status = GPUZIP_OK;
out:
    cuda_adaptive_destroy(ctx, a);
    return status;
}

/* -- values ---------------------------------------------------------------------- */

/* Waits for other contexts' queued work that adds to the sums. */
static gpuzip_status wait_for_parts(const ops_context *ctx, const ops_adaptive *a)
{
    for (int part = 0; part < a->config.parts; part++)
        if (a->stream[part] != NULL && a->stream[part] != ctx->stream)
            TRY(cuda_status(cudaStreamSynchronize(a->stream[part])));
    return GPUZIP_OK;
}

/* Makes queued work visible to work that other contexts queue later: waits for it if there are
 * several parts. */
static gpuzip_status tell_parts(const ops_context *ctx, const ops_adaptive *a)
{
    return a->config.parts > 1 ? cuda_status(cudaStreamSynchronize(ctx->stream)) : GPUZIP_OK;
}

static gpuzip_status reset_state(ops_context *ctx, const ops_adaptive *a, int s)
{
    size_t stride = a->state.stride;
    void *state = in_state((char *)a->memory, stride, s);
    TRY(cuda_status(cudaMemsetAsync(state, 0, a->cleared_bytes, ctx->stream)));
    return cuda_status(cudaMemcpyAsync(in_state(a->state.zero.weights, stride, s), a->first,
                                       FIRST_SIZE * sizeof *a->first, cudaMemcpyDeviceToDevice,
                                       ctx->stream));
}

gpuzip_status cuda_adaptive_reset(ops_context *ctx, ops_adaptive *a, int first, int n)
{
    TRY(cuda_enter(ctx));
    TRY(wait_for_parts(ctx, a));
    for (int s = first; s < first + n; s++)
        TRY(reset_state(ctx, a, s));
    return tell_parts(ctx, a);
}

static gpuzip_status read_back(ops_context *ctx, void *host, const void *src, size_t bytes)
{
    if (host == NULL)
        return GPUZIP_OK;
    return cuda_status(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, ctx->stream));
}

gpuzip_status cuda_adaptive_read(ops_context *ctx, const ops_adaptive *a, int state, int32_t *bias,
                                 uint32_t *alpha, int32_t *weights)
{
    const adaptive_state *zero = &a->state.zero;
    size_t stride = a->state.stride;
    TRY(cuda_enter(ctx));
    TRY(read_back(ctx, bias, in_state(zero->bias, stride, state),
                  (size_t)a->config.vocab * sizeof *bias));
    TRY(read_back(ctx, alpha, in_state(zero->alpha, stride, state),
                  (size_t)a->config.experts * sizeof *alpha));
    TRY(read_back(ctx, weights, in_state(zero->weights, stride, state),
                  ADAPTIVE_WEIGHTS * sizeof *weights));
    return cuda_status(cudaStreamSynchronize(ctx->stream));
}

/* -- learning -------------------------------------------------------------------- */

static __device__ void step_bias(const adaptive_state *s, int i)
{
    s->bias[i] = mix_step_bias(s->bias[i], &s->trust[i], s->seen[i], (int64_t)s->expected[i]);
    s->expected[i] = 0;
    s->seen[i] = 0;
}

static __device__ void step_weight(const adaptive_state *s, int i)
{
    int64_t gradient = (int64_t)s->gradient[i], curvature = (int64_t)s->curvature[i];
    int64_t all_curvature = (int64_t)(s->all_curvature[i] += s->curvature[i]);
    if (gradient != 0)
        s->weights[i] = mix_step_weight(s->weights[i], gradient, curvature, all_curvature,
                                        (int64_t)s->majorant[i]);
    s->gradient[i] = s->curvature[i] = s->majorant[i] = 0;
}

static __device__ void step_alpha(const adaptive_state *s, uint32_t start, int experts, int k)
{
    int64_t h = (int64_t)s->h[k], all_h = (int64_t)(s->all_h[k] += s->h[k]);
    s->alpha[k] = mix_step_alpha(s->alpha[k], start, experts, (int64_t)s->g[k], h, all_h);
    s->g[k] = s->h[k] = 0;
}

/* A thread a bias, a set of weights (most have no sums), or an alpha; a row of blocks a state. */
static __global__ void mix_learn_kernel(adaptive_states all, int vocab, int experts, bool bias,
                                        bool alpha)
{
    adaptive_state s = state_at(&all, blockIdx.y);
    int i = blockIdx.x * blockDim.x + threadIdx.x, set = i - vocab, k = set - OPS_SETS;
    if (i < vocab) {
        if (bias)
            step_bias(&s, i);
    } else if (set < OPS_SETS) {
        for (int w = set * OPS_WEIGHTS; w < (set + 1) * OPS_WEIGHTS; w++)
            if ((s.gradient[w] | s.curvature[w] | s.majorant[w]) != 0)
                step_weight(&s, w);
    } else if (alpha && k < experts) {
        step_alpha(&s, all.start[k], experts, k);
    }
}

gpuzip_status cuda_mix_learn(ops_context *ctx, ops_adaptive *a, int states)
{
    const ops_adaptive_config *c = &a->config;
    unsigned blocks = ceil_div((size_t)c->vocab + OPS_SETS + OPS_MAX_EXPERTS, THREADS);
    if (states == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    TRY(wait_for_parts(ctx, a));
    LAUNCH(mix_learn_kernel, dim3(blocks, (unsigned)states), THREADS, 0, ctx->stream, a->state,
           c->vocab, c->experts, c->bias, c->alpha);
    TRY(cuda_launched());
    return tell_parts(ctx, a);
}
