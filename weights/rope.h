/* rope.h: angles of rotary position embedding (arXiv:2104.09864), the same bits on every machine.
 *
 * libm's sine may differ in the last bit between systems, and the angles are part of the coded
 * path; so they are made of integers only. A model file holds one number a pair of dims, the turns
 * from a position to the next; a position's angle is the product modulo one turn, exact at any
 * distance. */
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

/* Fills turns [head_dim / 2]: the turns of each pair from a position to the next, Q64, within 2^-58
 * relative. head_dim is even. */
void rope_turns(uint64_t *turns, int head_dim, const rope_config *c);

/* Fills cosine and sine, [count][pairs], Q30, of the positions first .. first + count - 1. Entries
 * are within 0.5 + 2^-10 of the value * 2^30 of the phase position * turns, modulo 2^64. Takes
 * about 50 ns an entry. */
void rope_rows(int32_t *cosine, int32_t *sine, const uint64_t *turns, int pairs, uint64_t first,
               int count);

#endif
