/* adaptive.cuh: adaptive states of mixing in the device's memory. */
#ifndef GPUZIP_ADAPTIVE_CUH
#define GPUZIP_ADAPTIVE_CUH

#include "context.cuh"

#define ADAPTIVE_WEIGHTS (OPS_SETS * OPS_WEIGHTS)

/* One state; the names of ops.h in brackets. Sums are of s64; atomics know the unsigned kind. */
typedef struct {
    int32_t *bias;                            /* [vocab]; NULL: not learnt */
    unsigned long long *expected;             /* [vocab] (E) */
    uint32_t *seen;                           /* [vocab] (N) */
    uint32_t *trust;                          /* [vocab] (T) */
    int32_t *weights;                         /* [OPS_SETS][OPS_WEIGHTS] */
    unsigned long long *gradient, *curvature; /* [OPS_SETS][OPS_WEIGHTS] (G, A) */
    unsigned long long *all_curvature;        /* [OPS_SETS][OPS_WEIGHTS] (A*) */
    unsigned long long *majorant;             /* [OPS_SETS][OPS_WEIGHTS] (R) */
    uint32_t *alpha;                          /* [experts]; NULL: not learnt */
    unsigned long long *g, *h, *all_h;        /* [experts] (g, H, H*) */
} adaptive_state;

/* All states: state s lies s * stride bytes behind state 0. */
typedef struct {
    adaptive_state zero;
    size_t stride;
    const uint32_t *start; /* [experts] the alphas of the configuration */
} adaptive_states;

/* The pointer into state s that belongs to `zero`, a pointer into state 0. */
template <class T>
static __host__ __device__ __forceinline__ T *in_state(T *zero, size_t stride, int s)
{
    return (T *)((char *)zero + (size_t)s * stride);
}

static __device__ __forceinline__ adaptive_state state_at(const adaptive_states *all, int s)
{
    const adaptive_state *z = &all->zero;
    size_t stride = all->stride;
    return {z->bias != NULL ? in_state(z->bias, stride, s) : NULL,
            in_state(z->expected, stride, s),
            in_state(z->seen, stride, s),
            in_state(z->trust, stride, s),
            in_state(z->weights, stride, s),
            in_state(z->gradient, stride, s),
            in_state(z->curvature, stride, s),
            in_state(z->all_curvature, stride, s),
            in_state(z->majorant, stride, s),
            z->alpha != NULL ? in_state(z->alpha, stride, s) : NULL,
            in_state(z->g, stride, s),
            in_state(z->h, stride, s),
            in_state(z->all_h, stride, s)};
}

struct ops_adaptive {
    ops_adaptive_config config;
    adaptive_states state;
    void *memory;         /* the states, then the parameters that a reset gives them */
    size_t cleared_bytes; /* of a state, at its beginning: a reset clears them */
    int32_t *first;       /* weights, then alphas, as a reset makes them */
    cudaStream_t *stream; /* [parts] the last that has mixed the part, or NULL */
};

#endif
