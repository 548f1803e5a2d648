/* bench_bounds.h: lower bounds of the time that CUDA kernels take on a GPU that need not be here.
 *
 * A model, not a measurement. A kernel's work is counted (warp instructions, products, conversions,
 * bytes) and divided by the device's rates; the largest quotient is the bound, and its resource
 * is the binding one. bench_bounds.c has the rates and counts, with their sources.
 */
#ifndef GPUZIP_BENCH_BOUNDS_H
#define GPUZIP_BENCH_BOUNDS_H

#include "weights.h"

typedef enum {
    BOUNDS_ISSUE,   /* warp instructions, four a clock and multiprocessor */
    BOUNDS_TENSOR,  /* s8 multiply-adds of the tensor cores */
    BOUNDS_PIPES,   /* dp4a and conversions: pipes slower than the issue of instructions */
    BOUNDS_SHARED,  /* bytes to and from shared memory */
    BOUNDS_L2,      /* bytes between the multiprocessors and L2 */
    BOUNDS_DRAM,    /* bytes that L2 cannot hold */
    BOUNDS_LATENCY, /* a launch, and waits that depend on each other */
    BOUNDS_RESOURCES
} bounds_resource;

/* A GPU's rates. */
typedef struct {
    const char *name, *title;  /* as on the command line; for people */
    int processors;            /* multiprocessors */
    double clock;              /* Hz */
    double wgmma, mma;         /* s8 multiply-adds a clock and multiprocessor; wgmma 0: none */
    double convert64;          /* conversions of 64-bit integers, likewise */
    double l2, dram;           /* bytes a second, as copies reach them */
    double l2_bytes, memory;   /* bytes of L2, of the device */
    double l2_wait, dram_wait; /* clocks until a load is answered */
} bounds_device;

/* The device of that name, "H200" or "4090"; NULL: unknown. */
const bounds_device *bounds_device_named(const char *name);

/* A model on a device. */
typedef struct {
    const bounds_device *device;
    weights_config config;
    double weight_bytes; /* of all matrices, which L2 holds if they are few */
} bounds_model;

/* Counts weight_bytes. */
bounds_model bounds_model_of(const bounds_device *device, const weights_config *config);

/* What a launch does, on all multiprocessors together. */
typedef struct {
    double blocks;                   /* of equal work */
    double resident;                 /* blocks that a multiprocessor holds */
    double issue;                    /* warp instructions */
    double wgmma, mma;               /* s8 multiply-adds */
    double dp4a, convert, convert64; /* operations of single lanes */
    double shared, l2, dram;         /* bytes */
    double wait;                     /* clocks of a block's waits that depend on each other */
} bounds_work;

typedef struct {
    double seconds[BOUNDS_RESOURCES];
    bounds_resource binding; /* that of the largest */
} bounds_time;

bounds_time bounds_time_of(const bounds_device *d, const bounds_work *w);

/* linear() of rows x k by k x n, to which a residual is added or not. */
bounds_work bounds_linear(const bounds_model *m, int rows, int n, int k, bool residual);
/* norm() of rows of the model's width; quantize() without and with the model's activation. */
bounds_work bounds_norm(const bounds_model *m, int rows);
bounds_work bounds_quantize(const bounds_model *m, int rows, int dim);
bounds_work bounds_activate(const bounds_model *m, int rows);
bounds_work bounds_embed(const bounds_model *m, int rows);
/* qkv() without second rotations for the attention sink. */
bounds_work bounds_qkv(const bounds_model *m, int rows);
/* attention() of `slots` runs of `run` rows that see `positions` positions on average, on tensor
 * cores; of single rows. */
bounds_work bounds_prefill(const bounds_model *m, int slots, int run, double positions);
bounds_work bounds_attend(const bounds_model *m, int rows, double positions);
/* mix_encode() or mix_decode() of the model alone. adaptive: it learns. */
bounds_work bounds_mix(const bounds_model *m, int rows, bool decode, bool adaptive);

/* ---- whole steps ---------------------------------------------------------- */

#define BOUNDS_PARTS 16

/* A kernel of a step: so many equal launches. */
typedef struct {
    const char *name;
    char shape[48];
    double calls; /* a fraction for work that several steps share */
    bounds_work work;
    bounds_time time; /* of one */
} bounds_part;

/* One pass of an encoder, or one step of a decoder. */
typedef struct {
    bounds_part part[BOUNDS_PARTS];
    int parts;
    double tokens;               /* coded */
    double seconds;              /* the sum of the parts' bounds */
    double by[BOUNDS_RESOURCES]; /* of these, by binding resource */
    double cache;                /* bytes of the KV cache */
} bounds_step;

/* window: of positions. Models that slide go on without reading anything again; others read half of
 * each window again. */
bounds_step bounds_encode(const bounds_model *m, int window);
bounds_step bounds_decode(const bounds_model *m, int streams, int window);

#endif
