/* cpu_learn.c: the table of the CPU's operations of learning. */
#include "cpu_learn.h"

const ops_learn cpu_learn = {
    .trainable_create = cpu_trainable_create,
    .trainable_destroy = cpu_trainable_destroy,
    .trainable_bytes = cpu_trainable_bytes,
    .trainable_reset = cpu_trainable_reset,
    .trainable_matrix = cpu_trainable_matrix,
    .trainable_transpose = cpu_trainable_transpose,
    .trainable_read = cpu_trainable_read,
    .transpose_create = cpu_transpose_create,
    .transpose_bytes = cpu_transpose_bytes,
    .softmax_back = cpu_softmax_back,
    .linear_back = cpu_linear_back,
    .norm_back = cpu_norm_back,
    .act_back = cpu_act_back,
    .attention_back = cpu_attention_back,
    .attention_back_bytes = cpu_attention_back_bytes,
    .trainable_step = cpu_trainable_step,
    .trainable_step_bytes = cpu_trainable_step_bytes,
};
