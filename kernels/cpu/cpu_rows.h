/* cpu_rows.h: functions of cpu_rows_isa.c that cpu_rows.c calls, each for one row of an
 * operation. */
#ifndef GPUZIP_CPU_ROWS_H
#define GPUZIP_CPU_ROWS_H

#include "cpu_isa.h"
#include "cpu_threads.h"

/* Parameters as in ops.h. */
typedef struct {
    const ops_batch *batch;
    const int16_t *w;
    const float *scale, *position;
    float *x;
    int dim;
} cpu_embed_job;

typedef struct {
    ops_norm_kind kind;
    const float *x, *gain, *bias;
    float eps;
    float *y; /* or NULL */
    const ops_qrows *q;
    float *scratch; /* [threads][OPS_MAX_DIM] */
} cpu_norm_job;

typedef struct {
    ops_act act;
    const float *x;
    const ops_qrows *q;
    float *scratch; /* [threads][OPS_MAX_DIM] */
} cpu_quantize_job;

typedef struct {
    cpu_row_fn embed, norm, quantize; /* with the jobs above */
} cpu_rows_table;

CPU_ISA_DECLARE(cpu_rows_table, cpu_rows);

#endif
