/* cpu_learn_rows.h: functions of cpu_learn_rows_isa.c that cpu_learn_rows.c calls, each for one row
 * of an operation. Parameters as in ops_learn.h. */
#ifndef GPUZIP_CPU_LEARN_ROWS_H
#define GPUZIP_CPU_LEARN_ROWS_H

#include "cpu/cpu_isa.h"
#include "cpu/cpu_threads.h"
#include "ops_learn.h"

typedef struct {
    const float *x; /* logits, inputs of a norm or of an activation */
    const int32_t *symbol;
    const float *scale; /* or a norm's gain */
    const float *dy, *residual;
    float *dx;
    const ops_qrows *err;
    ops_norm_kind kind;
    ops_act act;
    float eps;
    int dim;
    float *scratch; /* [threads][scratch_dim], see cpu_learn_rows.c */
    size_t scratch_dim;
} cpu_learn_rows_job;

typedef struct {
    cpu_row_fn softmax, linear, norm, act; /* with the job above */
} cpu_learn_rows_table;

CPU_ISA_DECLARE(cpu_learn_rows_table, cpu_learn_rows);

#endif
