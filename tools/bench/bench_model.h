/* bench_model.h: the models of gpuzip-bench: the built-in one, checkpoints on this machine, and
 * random weights in the shape of known models. */
#ifndef GPUZIP_BENCH_MODEL_H
#define GPUZIP_BENCH_MODEL_H

#include <stdio.h>

#include "checkpoint.h"
#include "tokenizer.h"

/* The shape of a known model. */
typedef struct {
    const char *name;
    const char *hub; /* its name in the Hugging Face cache */
    weights_config config;
    bool tied, biases;
} bench_shape;

/* Returns the shape of index i, or NULL past the last. */
const bench_shape *bench_shape_at(int i);

/* Integers a weight, an activation and a KV entry of random weights have; 0: the importers'
 * defaults, 8, 15 and 12. */
typedef struct {
    int weight_bits, activation_bits, kv_bits;
} bench_widths;

/* A model in memory. */
typedef struct {
    const char *name;
    weights_model *weights;
    tokenizer *t; /* NULL for random weights */
    bool random;
    checkpoint file; /* of a real one */
    void *data;      /* of a random one */
} bench_model;

/* Opens the model of that name: "builtin"; a shape's name, which means the real weights where
 * the Hugging Face cache has them (unless `random` is set), and else random ones; or whatever
 * gpuzip --model accepts. Released with bench_model_close(). On an error, `error` holds
 * a message. Errors: as checkpoint_open(). */
gpuzip_status bench_model_open(bench_model *m, const char *name, bool random,
                               const bench_widths *widths, char error[CHECKPOINT_ERROR_BYTES]);
void bench_model_close(bench_model *m);

/* Makes random weights of a shape within the bounds of weights/FORMAT.md. All layers share the
 * matrices of one, to save memory; on a device each layer has a copy. Released with
 * bench_random_close(), which accepts NULL; *data is the memory to free. Errors: MEMORY. */
gpuzip_status bench_random_open(weights_model **w, void **data, const bench_shape *shape,
                                const bench_widths *widths);
void bench_random_close(weights_model *w, void *data);

/* Fills dst[0, bytes) with noise; the same seed gives the same bytes. */
void bench_noise(void *dst, size_t bytes, uint64_t seed);

#endif
