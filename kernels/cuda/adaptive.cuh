/* adaptive.cuh: what mixing learns, in the device's memory. */
#ifndef GPUZIP_ADAPTIVE_CUH
#define GPUZIP_ADAPTIVE_CUH

#include "context.cuh"

#define ADAPTIVE_WEIGHTS (OPS_SETS * OPS_WEIGHTS)

/* The names of ops.h in brackets. Sums are of s64; atomics know the unsigned kind. */
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
    const uint32_t *start;                    /* [experts] of the alphas */
    unsigned long long *g, *h, *all_h;        /* [experts] (g, H, H*) */
} adaptive_state;

struct ops_adaptive {
    ops_adaptive_config config;
    adaptive_state state;
    void *memory;         /* all of it */
    size_t cleared_bytes; /* of memory, at its beginning: what a reset clears */
    int32_t *now, *first; /* weights, then alphas; and what a reset makes of them */
    cudaStream_t *stream; /* [parts] that has mixed the part since a reset, or NULL */
};

#endif
