/* cpu_mix.h: functions that cpu_mix.c and cpu_adaptive.c call in cpu_mix_isa.c (the weights
 * w[i] of ops.h, tile by tile) and cpu_mix_learn_isa.c (candidates, learning). Without adaptation
 * weights are computed twice, first for the sums of all tiles, then for the one tile of the
 * symbol, so that no row stores a weight for each symbol; with it they are stored. */
#ifndef GPUZIP_CPU_MIX_H
#define GPUZIP_CPU_MIX_H

#include "cpu_isa.h"
#include "cpu_threads.h"

#define MIX_TILE      512 /* symbols; a tile's scratch stays in the first cache */
#define MIX_TILES_MAX (OPS_MAX_VOCAB / MIX_TILE)

/* The pending sums of one thread for one adaptive state. */
typedef struct {
    int64_t *expected; /* [vocab] E of ops.h, without the rows in recent */
    uint32_t *recent;  /* [vocab] E of the last rows */
    uint32_t *seen;    /* [vocab] N */
    int recent_rows;   /* of recent: p(i) <= 2^20, so that it holds MIX_RECENT_MAX */
    bool used;         /* some row was added since mix_learn() */
    int64_t g[OPS_MAX_EXPERTS], h[OPS_MAX_EXPERTS];
    int64_t gradient[OPS_SETS][OPS_WEIGHTS], curvature[OPS_SETS][OPS_WEIGHTS]; /* G, A */
    int64_t majorant[OPS_SETS][OPS_WEIGHTS];                                   /* R */
} cpu_mix_sums;

#define MIX_RECENT_MAX 4095

/* One thread's memory for the row that it mixes. */
typedef struct {
    double *t;                     /* [vocab] */
    uint32_t *w;                   /* [vocab] weights, 0 for candidates */
    int32_t *log[OPS_MAX_EXPERTS]; /* [vocab] l of logits; NULL if alphas are not learnt */
} cpu_mix_scratch;

/* The parameters of one adaptive state. */
typedef struct {
    int32_t *bias;   /* [vocab] */
    uint32_t *trust; /* [vocab] T of ops.h */
    int32_t weights[OPS_SETS][OPS_WEIGHTS];
    int64_t curvature[OPS_SETS][OPS_WEIGHTS]; /* A* */
    uint32_t alpha[OPS_MAX_EXPERTS];
    int64_t h[OPS_MAX_EXPERTS]; /* H* */
} cpu_mix_state;

struct ops_adaptive {
    ops_adaptive_config config;
    int threads;                   /* of a part */
    cpu_mix_state *state;          /* [states] */
    cpu_mix_sums *sums;            /* [states][parts * threads] */
    cpu_mix_scratch *scratch;      /* [parts * threads] */
    int32_t (*first)[OPS_WEIGHTS]; /* [OPS_SETS] the weights to begin with */
};

/* A candidate whose weight was changed. */
typedef struct {
    int32_t symbol;
    int set, other;               /* of weights */
    uint64_t w;                   /* w' */
    int32_t log[OPS_MAX_EXPERTS]; /* l_k, if alphas are learnt */
    int32_t feature[OPS_WEIGHTS]; /* F */
} cpu_mix_change;

/* One row of a mix. */
typedef struct {
    const ops_mix *mix;
    const float *logits[OPS_MAX_EXPERTS];   /* [vocab], or NULL for counts */
    const int32_t *counts[OPS_MAX_EXPERTS]; /* [vocab] of the row's state, or NULL for logits */
    uint32_t alpha[OPS_MAX_EXPERTS];
    float max[OPS_MAX_EXPERTS];  /* of the logits */
    double max_t;                /* of t[i], an integer, Q32 */
    uint64_t sum[MIX_TILES_MAX]; /* of the weights of each tile */
    int tiles;

    /* With adaptive: */
    cpu_mix_sums *sums; /* the thread's for the row's state; NULL: without */
    const cpu_mix_scratch *scratch;
    const cpu_mix_state *state;
    const int32_t *bias; /* [vocab] of the state, or NULL */
    bool learns_alpha;
    int64_t s0, s1[OPS_MAX_EXPERTS], s2[OPS_MAX_EXPERTS]; /* S0 .. S2 of ops.h */
    cpu_mix_change change[OPS_CANDIDATES];
    int changes;
} cpu_mix_row;

typedef struct {
    /* Fills row->max, max_t and sum from the rest. With sums, also the scratch, and s0 to s2
     * if alphas are learnt, all as if there were no candidates. */
    void (*prepare)(cpu_mix_row *row);
    /* Writes the weights of symbols first .. first + n - 1, n <= MIX_TILE. Without sums. */
    void (*weights)(const cpu_mix_row *row, int first, int n, uint32_t *w);
} cpu_mix_table;

typedef struct {
    /* Takes n candidates into a prepared row, whose weights sum to z. */
    void (*change)(cpu_mix_row *row, const ops_candidate *candidate, int n, uint64_t z);
    /* Adds a row with the symbol `coded` to its sums; total is Z' of ops.h. */
    void (*add)(cpu_mix_row *row, int coded, uint64_t total);
    /* Takes the step of every bias. */
    void (*step_bias)(int32_t *bias, uint32_t *trust, const int64_t *expected, const uint32_t *seen,
                      int vocab);
} cpu_mix_learn_table;

CPU_ISA_DECLARE(cpu_mix_learn_table, cpu_mix_learn);
CPU_ISA_DECLARE(cpu_mix_table, cpu_mix);

#endif
