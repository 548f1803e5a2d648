/* model_parts.h: what a model and a state consist of; shared by the files model*.c, private to
 * them. */
#ifndef GPUZIP_MODEL_PARTS_H
#define GPUZIP_MODEL_PARTS_H

#include "model.h"
#include "model_learn.h"
#include "ops_learn.h"

/* A linear layer on the device. */
typedef struct {
    ops_matrix *w;
    float *bias; /* [n] or NULL */
} linear_layer;

typedef struct {
    float *gain, *bias; /* [dim]; bias NULL for RMS */
} norm_layer;

typedef struct {
    norm_layer norm1, norm2;
    linear_layer qkv, out, up, down;
} model_layer;

struct model {
    const ops *ops;
    ops_context *ctx;
    const weights_model *weights;
    int16_t *embedding;     /* [vocab][dim] */
    float *embedding_scale; /* [vocab] */
    float *position;        /* [context][dim] or NULL */
    model_layer *layer;     /* [layers] */
    norm_layer final_norm;
    linear_layer head;
    ops_matrix *head_transpose; /* of model_prepare_learning(), or NULL */
};

struct model_state {
    const model *m;
    ops_context *ctx; /* may be another than the model's, on the same device */
    ops_kv *kv;
    model_sizes sizes;
    model_learner *learner; /* its weights stand for the model's, and it records passes; or NULL */
    ops_rope rope;
    int32_t *rotations;          /* device, [2][rope.rows + 1][head_dim / 2]: rope's tables */
    size_t rope_first, rope_end; /* positions whose rows are there */
    int32_t *host_rotations;     /* [2][rope.rows][head_dim / 2] */
    float *x;                    /* [max_rows][dim], the residual stream */
    float *wide;                 /* [max_rows][wide_columns()]: qkv, then the feed-forward */
    float *att;                  /* [max_rows][heads head_dim] */
    ops_queries q;               /* of max_rows */
    ops_qrows dim_rows, att_rows, ffn_rows;
    ops_qrows head_rows;  /* of the last pass: what the head takes */
    float *logits;        /* [max_logits][vocab] */
    bool has_step_logits; /* the logits there are those of all rows that the learner has recorded */
};

/* The rows of a pass in one layer: inputs of its norms, [rows][dim], and of its matrices; queries,
 * attention's output and the activation's input. Behind the last layer stands one more, of
 * which norm1_in is the input of the final norm and qkv_in that of the head. Without a learner all
 * layers share their memory. */
typedef struct {
    float *norm1_in, *norm2_in; /* with post_norm: the sums that the norms of a layer take */
    ops_qrows qkv_in, out_in, up_in, down_in;
    ops_queries q;
    float *att; /* [rows][heads head_dim] */
    float *up;  /* [rows][ffn], or twice that for SWIGLU */
} layer_rows;

/* The matrices of a layer, for linear(). */
typedef struct {
    const ops_matrix *qkv, *out, *up, *down;
} layer_matrices;

/* Columns of the widest float rows: qkv, or the feed-forward's input. */
size_t model_wide_columns(const weights_config *c);

/* Bytes of quantised rows; rows, and their memory in a context. bits, dim: theirs. */
size_t model_qrows_bytes(int bits, size_t dim, size_t rows);
gpuzip_status model_open_qrows(const model *m, ops_context *ctx, ops_qrows *q, int bits, int dim,
                               int rows);
void model_close_qrows(const model *m, ops_context *ctx, ops_qrows *q);

/* Rows first .. first + rows - 1 of q. */
static inline ops_qrows model_qrows_at(ops_qrows q, int first, int rows)
{
    size_t offset = (size_t)first * OPS_PITCH(q.dim);
    q.hi += offset;
    if (q.lo)
        q.lo += offset;
    q.scale += first;
    q.rows = rows;
    return q;
}

typedef struct {
    ops_trainable *qkv, *out, *up, *down;
} learner_layer;

struct model_learner {
    const model *m;
    ops_context *ctx;
    model_learner_sizes sizes;
    int rows;             /* recorded since the last step */
    learner_layer *layer; /* [layers] */
    layer_rows *saved;    /* [layers + 1] of sizes.rows */
    float *stream;        /* [sizes.rows][dim] the residual stream's error */
    float *wide;          /* [sizes.rows][model_wide_columns()] */
    float *narrow;        /* [sizes.rows][narrow_columns()] */
    ops_qrows error;      /* of the widest rows; dim is set at each use */
    ops_qrows head_error; /* [sizes.logits][vocab] */
};

/* model_learner.c: rows first .. first + rows - 1 of those recorded of layer `layer`, or for layer
 * = layers, of the final norm and the head. */
layer_rows model_learner_rows_at(const model_learner *l, int layer, int first, int rows);
/* The matrices that learn; where layer `layer` records the next `rows` rows. */
layer_matrices model_learner_matrices(const model_learner *l, int layer);
layer_rows model_learner_rows(const model_learner *l, int layer, int rows);
/* Whether these are all rows that are recorded, as inputs of the head. */
bool model_learner_holds(const model_learner *l, const ops_qrows *rows);
/* Rows that later passes will not overwrite: `rows` more. */
void model_learner_recorded(model_learner *l, int rows);

#endif
