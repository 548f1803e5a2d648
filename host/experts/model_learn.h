/* model_learn.h: weights that learn while coding.
 *
 * A learner has copies of the attention and MLP matrices of a model, for one block of a file. A
 * state with a learner takes the learner's matrices in place of the model's, and the learner
 * records the rows of its passes. A step then takes the gradient of the cross-entropy of the
 * model's own distribution and moves the matrices against it: plain SGD, without state.
 *
 * The gradient is that of the model alone, not of the mixture behind it: so learning does not
 * depend on other experts, on their alphas or on candidates, and a step can run as soon as tokens
 * are known. The embedding, the head, norms and biases do not learn; keys and values of earlier
 * steps are constants.
 *
 * The step, in terms of ops_learn.h, of all recorded rows at once:
 *
 *     head      dn = linear(softmax_back(logits), transpose of the head), 15-bit errors
 *               G = norm_back(final norm, dn)
 *     layers, from the last to the first; errors of as many bits as activations:
 *       down    da = linear(linear_back(G)); trainable_step(down, G)
 *       up      du = act_back(da); dn = linear(linear_back(du)); trainable_step(up, du)
 *       norm2   G = norm_back(norm2, dn) with residual G
 *       out     da = linear(linear_back(G)); trainable_step(out, G)
 *       qkv     du = attention_back(da); dn = linear(linear_back(du)); trainable_step(qkv, du)
 *       norm1   G = norm_back(norm1, dn) with residual G; not in the first layer, nor its dn
 *     post-norm: G = norm_back(norm2, G) before down; dn of up has linear()'s residual G and
 *       becomes G; the same with norm1, out and qkv.
 *
 * A matrix's error is taken with the weights before its step. The inputs x of a trainable_step()
 * are those that linear() took in the recorded pass.
 *
 * How a caller uses it, for each block:
 *
 *     model_prepare_learning(m);                       once a model
 *     model_learner_open(&l, m, ctx, &sizes);          once a thread that codes blocks
 *     model_learner_reset(l);                          trained weights, at the block's start
 *     model_state_learn(s, l);                         from here on s uses and records
 *     for each step of U positions of S streams:
 *         model_forward(s, batch), model_logits()      in one pass or in several
 *         ... code the tokens ...
 *         model_learner_step(l, s, batch, target, rate)
 *
 * Encoder and decoder must take the same steps: the same rows and targets between two steps, in any
 * order and in any number of passes, none of which crosses a step. Results do not depend on
 * threads, on the instruction set, on passes or on the order of rows. model_extend() records
 * nothing.
 *
 * All rows of a step are of one state: a block's streams are not shared by several states, but by
 * the threads of a context.
 *
 * The cache must still hold the windows of all rows of a step, so model_sizes.run >= U where the
 * windows slide, also when decoding; and the state their rotations: call model_set_positions() for
 * all positions of a step before it. A step is cheaper by the logits if the last call before it was
 * a model_logits() for all of its rows.
 */
#ifndef GPUZIP_MODEL_LEARN_H
#define GPUZIP_MODEL_LEARN_H

#include "model.h"

typedef struct model_learner model_learner;

/* Whether a model on these operations may learn: the device does, and the bounds of the model's
 * numbers hold whatever is learnt (weights_learnable()). Reads all scales. */
bool model_learns(const model *m);

/* Prepares a model for learners: the transpose of its head, model_learning_bytes() bytes of the
 * device, released by model_close(). Call once, before learners open. Errors: MEMORY, DEVICE. */
gpuzip_status model_prepare_learning(model *m);
size_t model_learning_bytes(const model *m);

/* The sizes of a learner. */
typedef struct {
    int rows;   /* of a step, at most; OPS_STEP_ROWS at most */
    int run;    /* of a slot in a step, at most */
    int window; /* of the states that will use it */
    int logits; /* rows whose logits are computed at a time */
} model_learner_sizes;

/* A learner with the trained weights. ctx: of the states that will use it. model_learner_bytes():
 * what it takes, with what a step allocates for its duration in a context of so many threads.
 * model_learner_close() accepts NULL. Errors: MEMORY, DEVICE. */
gpuzip_status model_learner_open(model_learner **l, const model *m, ops_context *ctx,
                                 const model_learner_sizes *sizes);
void model_learner_close(model_learner *l);
size_t model_learner_bytes(const ops_learn *learn, const weights_model *w,
                           const model_learner_sizes *sizes, int threads);

/* Takes the trained weights again and forgets recorded rows. Errors: DEVICE. */
gpuzip_status model_learner_reset(model_learner *l);

/* Makes a state use a learner of its model, or NULL: the model's own weights. One state at a time
 * uses a learner. The cache's content stays: reset the state's texts as for a new window. */
void model_state_learn(model_state *s, model_learner *l);

/* Forgets the rows recorded since the last step. */
void model_learner_forget(model_learner *l);

/* The rate, of the summed gradient, for a step of so many rows, those without a target included:
 * 0.00625f / sqrtf(max(rows, 256)). A row counts the same up to 256 rows, and less beyond, with the
 * root of their number. The optimum is flat: half the rate or twice costs about 1 % of a text at
 * most. */
float model_learning_rate(int rows);

/* One step from the rows recorded since the last: batch has these rows, in the order of the passes
 * (device memory, see ops_batch; tokens are not read). target: device, [rows] the token that
 * followed each row, or -1 for none. rate: of the summed gradient. Forgets the rows. A step
 * overwrites the state's logits. Errors: MEMORY, DEVICE. */
gpuzip_status model_learner_step(model_learner *l, model_state *s, const ops_batch *batch,
                                 const int32_t *target, float rate);

/* Copies the master weights of one matrix to host memory, [n][k]; for tests. which: 0 qkv, 1 out, 2
 * up, 3 down. */
gpuzip_status model_learner_read(const model_learner *l, int layer, int which, int32_t *master);

#endif
