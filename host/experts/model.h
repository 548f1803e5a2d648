/* model.h: the forward pass. One for every architecture and every backend.
 *
 * A model is weights prepared for a device; once open it is only read. A state is
 * a KV cache and the scratch of a pass; a model may have several, each for one
 * thread at a time.
 */
#ifndef GPUZIP_MODEL_H
#define GPUZIP_MODEL_H

#include "ngrams.h"
#include "ops.h"
#include "weights.h"

typedef struct model model;
typedef struct model_state model_state;

/* Prepares weights on a device; ops, ctx and weights must outlive the model.
 * model_close() accepts NULL. Errors: MEMORY, DEVICE. */
gpuzip_status model_open(model **m, const ops *ops, ops_context *ctx, const weights_model *weights);
void model_close(model *m);
const weights_model *model_weights(const model *m);

/* Whether windows may slide over the model's text: its positions are rotations. Learned positions
 * end with the context. */
bool model_slides(const weights_model *w);

/* The sizes of a state. */
typedef struct {
    int slots;      /* sequences in the KV cache */
    int window;     /* positions that a row attends to, at most the context */
    int run;        /* the most rows of a slot in a pass that reaches positions >= window; 0: none
                       does, and then no memory is kept for it. Needs model_slides() */
    int max_rows;   /* of a pass */
    int max_logits; /* rows whose logits are computed at a time */
} model_sizes;

/* A KV cache, and scratch memory for passes. ctx runs the passes: the model's own or another on the
 * same device; states with contexts of their own may be used at the same time.
 * Errors: MEMORY, DEVICE. */
gpuzip_status model_state_open(model_state **s, const model *m, ops_context *ctx,
                               const model_sizes *sizes);
void model_state_close(model_state *s);

/* Bytes that model_state_open() with these arguments allocates for the state, and bytes that it
 * reserves in the context, which all states share. */
size_t model_state_bytes(const model *m, const model_sizes *sizes);
size_t model_scratch_bytes(const model *m, int max_rows, int max_logits);

/* Call before passes over rows at the positions first .. first + count - 1, count <= max(window,
 * run): computes their rotations, unless the state has them. Errors: DEVICE. */
gpuzip_status model_set_positions(model_state *s, size_t first, int count);

/* Runs the layers over the rows of a batch (see ops_batch; device memory) and
 * extends the cache. Errors: DEVICE. */
gpuzip_status model_forward(model_state *s, const ops_batch *batch);

/* The same for rows without logits: ends once the last layer's keys and values are in the cache. */
gpuzip_status model_extend(model_state *s, const ops_batch *batch);

/* The logits of rows [first, first + count) of the last pass, count <=
 * max_logits: device memory, [count][model_logits_stride()], valid until the
 * next call. Errors: DEVICE. */
gpuzip_status model_logits(model_state *s, int first, int count, const float **logits);
size_t model_logits_stride(const model *m);

/* Operations (2 a multiply-add of s8 planes) of the linear layers for a row: of
 * model_forward() and model_logits(), and of model_extend(). */
void model_row_ops(const model *m, double *forward, double *extend);

/* Operations (2 a multiply-add of s8 planes) of attention for a row and each position that it
 * attends to, in all layers: the products of 15-bit queries with keys and of 15-bit weights with
 * values. */
double model_position_ops(const model *m);

/* Operations (2 a multiply-add of a weight, whatever its planes) of the linear layers for a
 * token that is predicted. */
double model_token_ops(const weights_model *w);

/* Its n-grams of other texts, for contexts. */
ngrams_table model_ngrams(const weights_model *w);

/* Runs tokens [count] from position 0 and gives the XXH3-64 of the logits'
 * bits: the test vectors of a model file. Errors: MEMORY, DEVICE. */
gpuzip_status model_fingerprint(model *m, const uint32_t *tokens, int count, uint64_t *hash);

#endif
