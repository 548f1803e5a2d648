/* fit.h: the encoder fits the experts' alphas to a text; the frame's header stores them.
 *
 * Over rows of a text with the symbols y, and p_k the experts' probabilities,
 *     F(alpha) = mean of log2 Z - sum_k alpha_k log2 p_k(y),   Z = sum_i prod_k p_k(i)^alpha_k
 * are the bits a symbol. F is convex, since log2 Z is convex and the rest is linear: a local
 * minimum is the global one. Adding a constant to log2 p_k of a row leaves F unchanged, so rows
 * need no normalisers.
 *
 * Only the encoder computes these floats, and only the alphas are coded. Sums still have a fixed
 * order, so that a file compresses to the same bytes with any number of threads.
 */
#ifndef GPUZIP_FIT_H
#define GPUZIP_FIT_H

#include "engine.h"

#define FIT_SCALE 256 /* of log-probabilities: Q8 */

typedef struct {
    int experts; /* 1 .. GPUZIP_MAX_EXPERTS */
    int vocab;
    int rows;              /* >= 1 */
    const int16_t *log;    /* [rows][experts][vocab] log2 p_k plus any constant, Q8 */
    const int32_t *symbol; /* [rows] < vocab, the coded symbols */
} fit_rows;

/* Finds the alpha [experts], each from 0 to most, that minimise F; *bits is that minimum. Errors:
 * MEMORY. */
gpuzip_status fit_alphas(const fit_rows *rows, double most, int threads, double *alpha,
                         double *bits);

/* Rows of a block, at even distances: the models read some of its windows as in coding, Naive Bayes
 * counts all earlier tokens. memory: bytes for the rows, about; at least one row is tried. */
typedef struct {
    fit_rows rows;
    int16_t *log;
    int32_t *symbol;
} fit_sample;

/* ops, ctx and config's models as in engine_open(); stream[streams] are one block, to be encoded.
 * Without errors rows.rows may still be 0, if the block has only escapes. fit_sample_close()
 * accepts a zeroed one. Errors: MEMORY, DEVICE. */
gpuzip_status fit_sample_take(fit_sample *sample, const ops *ops, ops_context *ctx,
                              const engine_config *config, const engine_stream *stream, int streams,
                              size_t memory);
void fit_sample_close(fit_sample *sample);

#endif
