/* curve.h: curves of bits and alphas along a file whose length is not known in advance. */
#ifndef CURVE_H
#define CURVE_H

#include "gpuzip.h"

#define CURVE_BINS  256
#define CURVE_WIDTH 64 /* bytes of a bin at first: in fewer a curve is noise */

/* Sums over the tokens that begin in a range of the file. The bits of a stored or packed block are
 * spread evenly over its bytes. */
typedef struct {
    double bytes, bits;
    double tokens, coded_bytes; /* coded blocks only, like all below */
    double log2_z;
    double expert_bits[GPUZIP_MAX_EXPERTS], alpha[GPUZIP_MAX_EXPERTS];
} curve_bin;

/* bin[i] covers the bytes [i width, (i + 1) width); the width doubles when the bins are full. */
typedef struct {
    curve_bin bin[CURVE_BINS];
    int bins; /* up to the last one in use */
    uint64_t width;
} curve;

void curve_begin(curve *c); /* an empty one */
void curve_add(curve *c, const gpuzip_token *token);

/* Adds bin b to sum. */
void curve_add_bin(curve_bin *sum, const curve_bin *b);

/* Whether an expert's alpha changes along the file. */
bool curve_alphas_vary(const curve *c, int experts);

#endif
