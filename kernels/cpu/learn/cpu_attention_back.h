/* cpu_attention_back.h: shared by cpu_attention_back.c, the driver, and cpu_attention_back_isa.c,
 * the inner loops compiled once an instruction set. Private to these two.
 *
 * The rows are sorted by slot and position. A sequence is the rows of one slot with the heads of
 * one KV head. It is done in three steps, whose parts are independent of each other:
 *   1. transpose: the sequence's window of keys in the cache's layout of values, and the reverse,
 *      so that sums over positions and over dims change places;
 *   2. items of up to ATTENTION_QUERIES queries: probabilities, their errors, queries' errors, and
 *      the coefficients of the pass's own keys;
 *   3. the pass's own keys: their errors and their values', summed over queries. */
#ifndef GPUZIP_CPU_ATTENTION_BACK_H
#define GPUZIP_CPU_ATTENTION_BACK_H

#include "cpu/cpu_attention.h"
#include "ops_learn.h"

#define BACK_KEYS 16 /* keys that step 3 does at a time */

typedef struct {
    attention_job attention; /* of the sorted rows; out is NULL */
    const ops_batch *batch;  /* of the call */
    const ops_queries *q;    /* of the call */
    const ops_rope *rope;
    const float *out, *dout; /* [rows][heads][head_dim], of the call */
    float *dqkv;             /* [rows][(heads + 2 kv_heads) head_dim], of the call */
    const int32_t *row;      /* [rows] the call's row of each sorted row */
    float unit;              /* factor * ln 2 */
    /* Of the sorted rows, written by gather(). */
    ops_queries sorted;
    int16_t *a;     /* [rows][heads][head_dim] quantised dout */
    float *a_scale; /* [rows][heads] */
    float *delta;   /* [rows][heads] */
} back_job;

typedef struct {
    int first, rows; /* sorted rows */
    int kv_head;
    int begin, positions; /* that are transposed, in whole segments */
    int16_t *k;           /* [positions / 2][v_dim][2] */
    int16_t *v;           /* [positions / 16][head_dim / 2][16][2] */
    int queries;          /* rows * heads of the KV head, in whole segments */
    int16_t *q, *a;       /* [queries / 2][v_dim][2] */
    size_t key_pitch;     /* rows in whole BACK_KEYS */
    /* Coefficients of the pass's keys, p_ij * a.scale and ds_ij * q.scale, [queries][key_pitch]. */
    float *value_error, *key_error;
} back_sequence;

/* One thread's room for an item. */
typedef struct {
    double *total;   /* [ATTENTION_QUERIES][v_dim] */
    float *score;    /* [ATTENTION_QUERIES][positions], then the probabilities */
    float *error;    /* [ATTENTION_QUERIES][positions] of probabilities, then of scores */
    float *k_scale;  /* [positions] */
    float *v_scale;  /* [positions] */
    int16_t *weight; /* [ATTENTION_QUERIES][positions] */
} back_scratch;

typedef struct {
    cpu_row_fn gather; /* with a back_job: a sorted row's queries and quantised errors */
    void (*transpose)(const back_job *job, const back_sequence *sequence);
    void (*item)(const back_job *job, const back_sequence *sequence, const attention_item *item,
                 const back_scratch *scratch);
    /* Of BACK_KEYS keys of a sequence from `key` on, counted from its first row. */
    void (*keys)(const back_job *job, const back_sequence *sequence, int key);
} back_path;

/* One a compilation of cpu_attention_back_isa.c. */
extern const back_path back_path_c;
#if defined(__x86_64__)
extern const back_path back_path_avx2, back_path_avx512, back_path_avx512vnni;
#endif

#endif
