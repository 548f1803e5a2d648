/* cpu_trainable.h: shared by cpu_trainable.c, the driver, and cpu_trainable_isa.c, the inner loops
 * compiled once an instruction set. Private to these two.
 *
 * A step multiplies the errors z[n][rows] by the layer's inputs x[rows][k], both s8, in tiles of
 * TRAINABLE_CHANNELS output channels and one panel of columns. Its operands are packed so that rows
 * take the place that columns have in cpu_linear.h: words of 4 bytes hold 4 rows of s8 where VNNI
 * multiplies them, else 2 rows of s16. A tile's sums stay in registers; from there the step goes to
 * the master weights, and the working copies are written in the layouts of linear(). */
#ifndef GPUZIP_CPU_TRAINABLE_H
#define GPUZIP_CPU_TRAINABLE_H

#include "cpu/cpu_linear.h"
#include "ops_learn.h"

#define TRAINABLE_CHANNELS 4  /* of a tile */
#define TRAINABLE_ERRORS   16 /* channels of a panel of errors */

struct ops_trainable {
    ops_matrix *w, *back; /* [n][k] and [k][n] */
    int n, k, planes;
    size_t pitch;    /* of master: k in whole panels */
    int32_t *master; /* [n in whole TRAINABLE_CHANNELS][pitch], the pad zero */
};

/* One call of trainable_step(). */
typedef struct {
    ops_trainable *t;
    const float *dy; /* [x.rows][n] */
    const ops_qrows *x;
    float rate;
    int words;     /* of rows: 4 or 2 rows each */
    uint32_t *z;   /* [n / TRAINABLE_ERRORS][words][TRAINABLE_ERRORS] */
    uint32_t *xw;  /* [panels of k][words][panel] */
    float *factor; /* [n in whole panels of errors] */
    int32_t *sum;  /* the same: of z over the rows */
} trainable_job;

typedef struct {
    int word_rows; /* rows in a word: 4 or 2 */
    /* Packs the errors of panel `panel` of channels, with their factors and sums. */
    void (*pack_errors)(const trainable_job *job, int panel);
    /* Packs the inputs of a panel of columns. */
    void (*pack_inputs)(const trainable_job *job, int panel);
    /* Updates the master weights and the working copies of the channels [n, end) of one panel of
     * columns. */
    void (*update)(const trainable_job *job, int panel, int n, int end);
    /* Writes the working copies of the channels [n, end) of one panel of columns. */
    void (*write)(ops_trainable *t, int panel, int n, int end);
} trainable_path;

/* One a compilation of cpu_trainable_isa.c. */
extern const trainable_path trainable_path_c;
#if defined(__x86_64__)
extern const trainable_path trainable_path_avx2, trainable_path_avx512, trainable_path_avx512vnni;
#endif

#endif
