/* curve.h: how figures of tokens go along a file whose length is not known before. */
#ifndef CURVE_H
#define CURVE_H

#include "gpuzip.h"

#define CURVE_BINS  256
#define CURVE_WIDTH 64 /* bytes of a bin at first: in fewer a curve is noise */

/* Sums over the tokens that begin in a stretch of the file. A stored or packed block, which is no
 * token, is spread over the bytes that it holds. */
typedef struct {
    double bytes, bits;
    double tokens, coded_bytes; /* without such blocks, as all below */
    double log2_z;
    double expert_bits[GPUZIP_MAX_EXPERTS], alpha[GPUZIP_MAX_EXPERTS];
} curve_bin;

/* bin[i] is of the bytes [i width, (i + 1) width); the width doubles as the file goes on. */
typedef struct {
    curve_bin bin[CURVE_BINS];
    int bins; /* that hold something, or lie before one that does */
    uint64_t width;
} curve;

void curve_begin(curve *c); /* an empty one */
void curve_add(curve *c, const gpuzip_token *token);

/* Adds bin b to sum. */
void curve_add_bin(curve_bin *sum, const curve_bin *b);

/* Whether some expert's alpha is not the same everywhere. */
bool curve_alphas_vary(const curve *c, int experts);

#endif
