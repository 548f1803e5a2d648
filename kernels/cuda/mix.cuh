/* mix.cuh: the weights w[i] of ops.h's mix. A block has a row, and nothing of it is kept:
 * weights are computed again where they are needed.
 *
 * One model alone is the usual case, and its weights take half the work: SINGLE, and
 * ADAPTIVE_SINGLE. Without biases its largest t is 0, at its largest logit.
 */
#ifndef GPUZIP_MIX_CUH
#define GPUZIP_MIX_CUH

#include "adaptive.cuh"
#include "block.cuh"
#include "mixmath.h"

#define THREADS   512
#define WARPS     16
#define TILE      512                    /* symbols of a tile */
#define TILES_MAX (OPS_MAX_VOCAB / TILE) /* at most THREADS: a scan takes one a thread */
#define PER_LANE  (TILE / 32)

/* Kernels are compiled for: one model alone; any experts; experts with an adaptive state; one model
 * with such. */
enum mix_kind { SINGLE, PRODUCT, ADAPTIVE, ADAPTIVE_SINGLE, MIX_KINDS };

#define IS_ADAPTIVE(kind) ((kind) == ADAPTIVE || (kind) == ADAPTIVE_SINGLE)

typedef struct {
    ops_mix mix;
    const int32_t *symbol;    /* encode: [rows] */
    const uint32_t *target;   /* decode: [rows] */
    ops_interval *interval;   /* encode: [rows] */
    ops_symbol *found;        /* decode: [rows] */
    uint32_t *start;          /* cdf: [rows][vocab + escapes + 1] */
    adaptive_states adaptive; /* ADAPTIVE; bias and alpha NULL if they are not learnt */
} mix_args;

/* The inputs of a block's row: the row of the experts' logits, and the state. */
typedef struct {
    size_t row;
    int state;
} mix_source;

/* The inputs of a row's weights; in shared memory. */
typedef struct {
    long long scratch[32];
    float max_logit[OPS_MAX_EXPERTS];
    uint32_t alpha[OPS_MAX_EXPERTS]; /* ADAPTIVE */
    long long max_t;
} mix_row;

static __device__ __forceinline__ float mix_logit(const ops_expert *x, mix_source from, int i)
{
    return x->logits[from.row * x->stride + i];
}

/* l_k[i]. */
template <mix_kind KIND>
static __device__ __forceinline__ int mix_expert_log(const mix_args *p, const mix_row *row, int k,
                                                     mix_source from, int i)
{
    const ops_expert *x = &p->mix.expert[k];
    if (KIND != ADAPTIVE_SINGLE && x->logits == NULL)
        return x->counts[(size_t)from.state * p->mix.vocab + i];
    return mix_log_of_logit(mix_logit(x, from, i), row->max_logit[k]);
}

/* t[i], Q32 bits. */
template <mix_kind KIND>
static __device__ __forceinline__ long long mix_log(const mix_args *p, const mix_row *row,
                                                    mix_source from, int i)
{
    long long t = 0;
    if (IS_ADAPTIVE(KIND) && p->adaptive.zero.bias != NULL)
        t = (long long)in_state(p->adaptive.zero.bias, p->adaptive.stride, from.state)[i] * MIX_ONE;
    int experts = KIND == ADAPTIVE_SINGLE ? 1 : p->mix.experts;
    for (int k = 0; k < experts; k++) {
        uint32_t alpha = IS_ADAPTIVE(KIND) ? row->alpha[k] : p->mix.expert[k].alpha;
        t += (long long)alpha * mix_expert_log<KIND>(p, row, k, from, i);
    }
    return t;
}

/* d[i]. That of one model alone is alpha l >> 16, l <= 0, the upper half of a product of 32
 * bits. */
template <mix_kind KIND>
static __device__ __forceinline__ int mix_depth(const mix_args *p, const mix_row *row,
                                                mix_source from, int i)
{
    if constexpr (KIND == SINGLE) {
        const ops_expert *x = &p->mix.expert[0];
        int l = mix_log_of_logit(mix_logit(x, from, i), row->max_logit[0]);
        return max(__mulhi(l * 128, (int)(x->alpha * 512)), MIX_DEPTH_MIN);
    } else {
        return mix_depth_of(mix_log<KIND>(p, row, from, i), row->max_t);
    }
}

/* w[i], before candidates change it. */
template <mix_kind KIND>
static __device__ __forceinline__ unsigned mix_weight(const mix_args *p, const mix_row *row,
                                                      mix_source from, int i)
{
    return mix_weight_of(mix_depth<KIND>(p, row, from, i));
}

/* Fills in *row (shared); the whole block calls it. */
template <mix_kind KIND>
static __device__ void mix_measure(const mix_args *p, mix_row *row, mix_source from)
{
    const ops_mix *mix = &p->mix;
    const uint32_t *alpha = IS_ADAPTIVE(KIND) ? state_at(&p->adaptive, from.state).alpha : NULL;
    if (IS_ADAPTIVE(KIND) && (int)threadIdx.x < mix->experts)
        row->alpha[threadIdx.x] =
            alpha != NULL ? alpha[threadIdx.x] : mix->expert[threadIdx.x].alpha;
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *x = &mix->expert[k];
        if (x->logits == NULL)
            continue;
        float max = -INFINITY;
        for (int i = threadIdx.x; i < mix->vocab; i += THREADS)
            max = fmaxf(max, mix_logit(x, from, i));
        max = block_max(max, (float *)row->scratch);
        if (threadIdx.x == 0)
            row->max_logit[k] = max;
    }
    bool zero = KIND == ADAPTIVE_SINGLE && p->adaptive.zero.bias == NULL;
    if (zero && threadIdx.x == 0)
        row->max_t = 0;
    __syncthreads();
    if (KIND == SINGLE || zero)
        return;
    long long max = -((long long)1 << 62);
    for (int i = threadIdx.x; i < mix->vocab; i += THREADS) {
        long long t = mix_log<KIND>(p, row, from, i);
        max = t > max ? t : max;
    }
    max = block_max_s64(max, row->scratch);
    if (threadIdx.x == 0)
        row->max_t = max;
    __syncthreads();
}

#endif
