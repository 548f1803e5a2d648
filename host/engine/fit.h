/* fit.h: the alphas that suit a text, which the encoder finds and the frame's header tells.
 *
 * Over rows of a text with the symbols y, and p_k the experts' probabilities,
 *     F(alpha) = mean of log2 Z - sum_k alpha_k log2 p_k(y),   Z = sum_i prod_k p_k(i)^alpha_k
 * are the bits that a symbol takes. F is convex, since log2 Z is and the rest is linear: what
 * cannot be improved a little cannot be improved at all. Adding a number to log2 p_k of a row
 * changes nothing, so rows need no normalisers.
 *
 * The floats here are the encoder's own: nothing of them is coded but the alphas. Sums are
 * made in a fixed order all the same, so that a file compresses to the same bytes with any
 * number of threads.
 */
#ifndef GPUZIP_FIT_H
#define GPUZIP_FIT_H

#include "engine.h"

#define FIT_SCALE 256 /* of log-probabilities: Q8 */

typedef struct {
    int experts; /* 1 .. GPUZIP_MAX_EXPERTS */
    int vocab;
    int rows;              /* >= 1 */
    const int16_t *log;    /* [rows][experts][vocab] log2 p_k, up to a number, Q8 */
    const int32_t *symbol; /* [rows] < vocab, what came */
} fit_rows;

/* Finds alpha [experts], each from 0 to most, of the least F, which becomes *bits.
 * Errors: MEMORY. */
gpuzip_status fit_alphas(const fit_rows *rows, double most, int threads, double *alpha,
                         double *bits);

/* Rows of a block, spread over it: the models read some of its windows as they would when it
 * is coded, Naive Bayes all that comes before. memory: bytes that rows may take, about; at
 * least one is tried. */
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
