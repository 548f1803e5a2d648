/* cpu_learn.h: the operations of ops_learn.h on the CPU, as cpu_learn.c's table takes them. */
#ifndef GPUZIP_CPU_LEARN_H
#define GPUZIP_CPU_LEARN_H

#include "cpu/cpu.h"
#include "ops_learn.h"

/* cpu_trainable.c */
gpuzip_status cpu_trainable_create(ops_context *ctx, ops_trainable **t, const ops_weights *src);
void cpu_trainable_destroy(ops_context *ctx, ops_trainable *t);
size_t cpu_trainable_bytes(int n, int k, int bits);
gpuzip_status cpu_trainable_reset(ops_context *ctx, ops_trainable *t, const ops_weights *src);
const ops_matrix *cpu_trainable_matrix(const ops_trainable *t);
const ops_matrix *cpu_trainable_transpose(const ops_trainable *t);
gpuzip_status cpu_trainable_read(ops_context *ctx, const ops_trainable *t, int32_t *master);
gpuzip_status cpu_transpose_create(ops_context *ctx, ops_matrix **m, const ops_weights *src);
size_t cpu_transpose_bytes(int n, int k, int bits);
gpuzip_status cpu_trainable_step(ops_context *ctx, ops_trainable *t, const float *dy,
                                 const ops_qrows *x, float rate);
size_t cpu_trainable_step_bytes(int rows, int columns);

/* cpu_attention_back.c */
gpuzip_status cpu_attention_back(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                                 int heads, float factor, const ops_rope *rope, const ops_kv *kv,
                                 int layer, const float *out, const float *dout, float *dqkv);
size_t cpu_attention_back_bytes(int rows, int run, int window, int heads, int kv_heads,
                                int head_dim, int threads);

/* cpu_learn_rows.c */
gpuzip_status cpu_softmax_back(ops_context *ctx, const float *x, const int32_t *symbol,
                               const ops_matrix *w, ops_qrows *err);
gpuzip_status cpu_linear_back(ops_context *ctx, const float *dy, const ops_matrix *w,
                              ops_qrows *err);
gpuzip_status cpu_norm_back(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                            float eps, const float *dy, const float *residual, float *dx, int rows,
                            int dim);
gpuzip_status cpu_act_back(ops_context *ctx, ops_act act, const float *x, const float *dy,
                           float *dx, int rows, int dim);

/* cpu_learn.c */
extern const ops_learn cpu_learn;

#endif
