/* token_hash.h: hashes of tokens, the same on every machine. */
#ifndef GPUZIP_TOKEN_HASH_H
#define GPUZIP_TOKEN_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t mix64(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9E3779B97F4A7C15;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9;
    return x ^ x >> 32;
}

/* From that of the newer tokens (0: none), with one more token, or with none where a text begins.
 */
static inline uint64_t mix64_token(uint64_t newer, uint32_t token)
{
    return mix64(newer + token + 1);
}

static inline uint64_t mix64_none(uint64_t newer)
{
    return mix64(newer);
}

#endif
