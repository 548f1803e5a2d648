/* cpu_linear.h: shared by cpu_linear.c, the driver, and cpu_linear_isa.c, the
 * inner loops compiled once an instruction set. Private to these two.
 *
 * Packed weights. Output channels stand in panels, columns in steps of 4 bytes of
 * the activation operand: 4 s8 where four products fit a lane (VNNI), 2 s16
 * elsewhere. A plane of weights is [panels][steps][panel][step], so that a tile
 * streams through one panel, and one operand word, repeated, meets 16 channels in
 * one instruction. Channels are padded to whole panels and columns to whole
 * steps; the pad's content does not matter, since the activations' pad is zero
 * and surplus channels are not written.
 *
 * 15-bit weights are two such planes, w = 128 * hi + lo. VNNI multiplies u8 by s8;
 * there the plane hi (or the only one) is stored as w + 128, and 128 times the
 * sum of the activations is taken off again.
 *
 * Exactness. Over a chunk of 1024 columns a 15-bit activation times an s8 plane
 * of weights sums to at most 1024 * 16256 * 127 < 2^31. So every chunk has an
 * exact s32 total, made in one of two ways: from s16 activations directly, or as
 * 128 * hi + lo of two plane sums, modulo 2^32. Chunks and planes of weights are
 * added as doubles, which hold every integer below 2^53 (the sum is below
 * 2^18 * 16256^2 < 2^46), so these sums are exact too, and the conversion to
 * float rounds once, as ops.h asks. */
#ifndef GPUZIP_CPU_LINEAR_H
#define GPUZIP_CPU_LINEAR_H

#include <stdbool.h>

#include "cpu.h"

#define LINEAR_CHUNK 1024 /* columns whose total fits s32 */
#define LINEAR_ROWS  6    /* activation operands of a tile: rows times their planes */

typedef struct linear_path linear_path;

struct ops_matrix {
    const linear_path *path;
    int n, k;
    int planes; /* of weights: 1, or 2 for 15 bits */
    int panels, steps;
    int8_t *w;    /* [planes][panels][steps][panel][step], 64-byte aligned */
    float *scale; /* [panels][panel], 64-byte aligned, the pad zero */
};

/* One call of linear(). */
typedef struct {
    const ops_matrix *w;
    const ops_qrows *q;
    const float *bias, *residual; /* [n], [rows][n], or NULL */
    float *out;                   /* [rows][n] */

    /* Made from q by prepare(), row by row. */
    int planes;      /* activation operands a row, 1 or 2 */
    size_t pitch;    /* bytes from row to row of an operand, >= 4 * steps */
    int8_t *wide;    /* s16 paths: the rows as s16, [rows][pitch] */
    int chunks;      /* of LINEAR_CHUNK columns */
    int32_t *offset; /* VNNI: [rows][chunks], excess of the totals from w + 128, mod 2^32 */
} linear_job;

struct linear_path {
    int panel;     /* output channels, a multiple of 16 */
    int step;      /* columns, 4 or 2 */
    bool wide;     /* operands are s16 rows made by prepare(), not q's planes */
    int8_t offset; /* xored into the plane hi of the weights: -128 for VNNI, which adds 128 */
    void (*prepare)(const linear_job *job, int row);
    /* Writes out[row .. row + rows) for the channels of one panel. */
    void (*run)(const linear_job *job, int panel, int row, int rows);
    /* Does `rounds` rounds of the inner loop's multiply-adds in registers; returns
     * how many multiply-adds a round is. */
    long (*spin)(long rounds);
};

/* One a compilation of cpu_linear_isa.c. */
extern const linear_path linear_path_c;
#if defined(__x86_64__)
extern const linear_path linear_path_avx2, linear_path_avx512, linear_path_avx512vnni;
#endif

#endif
