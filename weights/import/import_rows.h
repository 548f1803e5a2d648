/* import_rows.h: rows of a checkpoint's tensors as floats, and rows as integers. */
#ifndef GPUZIP_IMPORT_ROWS_H
#define GPUZIP_IMPORT_ROWS_H

#include "import.h"

#define IMPORT_BLOCK_ROWS 16 /* a cache line of a transposed float32 matrix */

/* Rows a tensor has. */
int import_rows(const import_tensor *t);

/* Writes rows [row, row + count) to out[count][cols], with RoPE pairs in rotate-half
 * order; conversions are exact. count <= IMPORT_BLOCK_ROWS, the rows are there. */
void import_read_rows(const import_tensor *t, int row, int count, float *out);

/* Quantises x[k] to *scale and w[k] (int8_t for bits 8, int16_t for bits 15) as
 * FORMAT.md says. Returns false if an entry is NaN or infinite. */
bool import_quantize_row(void *w, float *scale, const float *x, int k, int bits);

#endif
