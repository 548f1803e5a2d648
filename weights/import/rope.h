/* rope.h: tables for rotary position embedding, the same bytes on every machine.
 *
 * libm's sine may differ in the last bit between systems, and the tables are part of
 * a model's id; so they are made of integers only. */
#ifndef GPUZIP_ROPE_H
#define GPUZIP_ROPE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 } rope_scaling;

/* The frequency of pair i is theta^(-2i/head_dim) radians a position, then scaled:
 * LINEAR divides it by factor; LLAMA3 does so for those that turn less than
 * low_freq_factor times in original_context positions, keeps those that turn more
 * than high_freq_factor times, and interpolates between. */
typedef struct {
    double theta; /* 1 < theta <= 2^40 */
    rope_scaling scaling;
    double factor;                            /* 1 .. 2^16 */
    double low_freq_factor, high_freq_factor; /* 0 < low < high <= 2^16 */
    double original_context;                  /* 1 .. 2^24 */
} rope_config;

/* Whether the ranges above hold (those of fields that scaling uses). */
bool rope_config_valid(const rope_config *c);

/* Fills cosine and sine, [context][head_dim / 2], Q30; context <= 2^17, head_dim
 * even and at most 256. Entries are within 0.5 + 2^-10 of the true value * 2^30. */
void rope_tables(int32_t *cosine, int32_t *sine, int context, int head_dim, const rope_config *c);

#endif
