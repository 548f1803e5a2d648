/* rope.c: log, exp, sine and cosine in 64-bit fixed point, for the angles of rope.h.
 *
 * Qn: an integer that stands for itself times 2^-n. Errors: a logarithm 2^-62, so
 * an exponential 2^-60 relative, so a phase at position 2^17 less than 2^-44 turns;
 * a sine 2^-58 besides. */
#include "rope.h"

#include <string.h>

typedef unsigned __int128 uint128;

#define PI_Q62      0xc90fdaa22168c235u /* pi */
#define INV_2PI_Q66 0xa2f9836e4e44152au /* 1 / (2 pi) */
#define LN2_Q64     0xb17217f7d1cf79acu /* log 2 */
#define ONE_Q63     ((uint64_t)1 << 63)
#define ONE_Q62     ((uint64_t)1 << 62)
#define EXP_TERMS   22 /* 0.7^23 / 23! < 2^-85 */
#define SINE_TERMS  10 /* 0.8^22 / 22! < 2^-76 */

static uint64_t mul(uint64_t a, uint64_t b, int shift)
{
    return (uint64_t)((uint128)a * b >> shift);
}

/* x = mantissa * 2^(exponent - 52) with 2^52 <= mantissa < 2^53; x is positive and normal. */
static uint64_t split_double(double x, int *exponent)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    *exponent = (int)(bits >> 52) - 1023;
    return (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
}

/* log2(x) in Q64, for x >= 1: squaring a number in [1, 2) gives the next bit of its logarithm. */
static uint128 log2_q64(double x)
{
    int exponent;
    uint64_t y = split_double(x, &exponent) << 11; /* Q63, in [1, 2) */
    uint64_t fraction = 0;
    for (int i = 0; i < 64; i++) {
        uint128 square = (uint128)y * y; /* Q126, in [1, 4) */
        bool bit = square >> 127 != 0;
        y = (uint64_t)(square >> (bit ? 64 : 63));
        fraction = fraction << 1 | bit;
    }
    return (uint128)(unsigned)exponent << 64 | fraction;
}

/* 2^x in Q62, for x in [0, 1) in Q64. */
static uint64_t exp2_q62(uint64_t x)
{
    uint64_t t = mul(x, LN2_Q64, 64), sum = ONE_Q62;
    for (unsigned k = EXP_TERMS; k > 0; k--)
        sum = ONE_Q62 + mul(t, sum, 64) / k;
    return sum;
}

/* theta^(-2i/head_dim) / (2 pi): the turns of pair i from a position to the next, in Q64. */
static uint64_t plain_turns(uint128 log2_theta, int i, int head_dim)
{
    uint128 power = log2_theta * (unsigned)(2 * i) / (unsigned)head_dim;
    int whole = (int)(power >> 64);
    uint64_t fraction = (uint64_t)power;
    /* 2^-(whole + fraction) = 2^(1 - fraction) 2^-(whole + 1) */
    uint64_t mantissa = exp2_q62(0 - fraction);
    int shift = 64 + whole + (fraction != 0);
    return (uint64_t)(((uint128)mantissa * INV_2PI_Q66 + ((uint128)1 << (shift - 1))) >> shift);
}

static uint64_t divide(uint64_t turns, double factor)
{
    int exponent;
    uint64_t mantissa = split_double(factor, &exponent);
    return (uint64_t)(((uint128)turns << 52) / mantissa) >> exponent;
}

static uint64_t scale_turns(uint64_t turns, const rope_config *c)
{
    if (c->scaling == ROPE_PLAIN)
        return turns;
    uint64_t slow = divide(turns, c->factor);
    if (c->scaling == ROPE_LINEAR)
        return slow;
    /* Turns in the original context. One rounding each: the same everywhere. */
    double cycles = (double)turns * 0x1p-64 * c->original_context;
    if (cycles <= c->low_freq_factor)
        return slow;
    if (cycles >= c->high_freq_factor)
        return turns;
    double smooth = (cycles - c->low_freq_factor) / (c->high_freq_factor - c->low_freq_factor);
    return slow + mul(turns - slow, (uint64_t)(smooth * 0x1p52), 52);
}

/* x in [0, 1) to Q30, rounded. */
static int32_t round_q30(uint64_t x_q63)
{
    return (int32_t)((x_q63 + ((uint64_t)1 << 32)) >> 33);
}

/* Cosine and sine of a phase in turns, Q64. Within an octant the angle is at most pi/4. */
static void cosine_sine(uint64_t phase, int32_t *cosine, int32_t *sine)
{
    unsigned octant = (unsigned)(phase >> 61);
    uint64_t part = phase & (((uint64_t)1 << 61) - 1);
    if (octant & 1)
        part = ((uint64_t)1 << 61) - part;
    uint64_t x = mul(part, PI_Q62, 62); /* radians, Q63 */
    uint64_t square = mul(x, x, 63), c = ONE_Q63, s = ONE_Q63;
#pragma GCC unroll 10 /* so that the divisors are constants */
    for (unsigned k = SINE_TERMS; k > 0; k--) {
        c = ONE_Q63 - mul(square, c, 63) / ((2 * k - 1) * (2 * k));
        s = ONE_Q63 - mul(square, s, 63) / ((2 * k) * (2 * k + 1));
    }
    int32_t near = round_q30(c), far = round_q30(mul(x, s, 63));
    bool swap = ((octant + 1) & 2) != 0;
    *cosine = swap ? far : near;
    *sine = swap ? near : far;
    if ((octant + 2) & 4)
        *cosine = -*cosine;
    if (octant & 4)
        *sine = -*sine;
}

bool rope_config_valid(const rope_config *c)
{
    bool valid = c->theta > 1 && c->theta <= 0x1p40;
    if (c->scaling != ROPE_PLAIN)
        valid = valid && c->factor >= 1 && c->factor <= 0x1p16;
    if (c->scaling == ROPE_LLAMA3)
        valid = valid && c->low_freq_factor > 0 && c->low_freq_factor < c->high_freq_factor &&
                c->high_freq_factor <= 0x1p16 && c->original_context >= 1 &&
                c->original_context <= 0x1p24;
    return valid;
}

void rope_turns(uint64_t *turns, int head_dim, const rope_config *c)
{
    uint128 log2_theta = log2_q64(c->theta);
    for (int i = 0; i < head_dim / 2; i++)
        turns[i] = scale_turns(plain_turns(log2_theta, i, head_dim), c);
}

void rope_rows(int32_t *cosine, int32_t *sine, const uint64_t *turns, int pairs, uint64_t first,
               int count)
{
    for (int row = 0; row < count; row++) {
        for (int i = 0; i < pairs; i++, cosine++, sine++)
            cosine_sine((first + (uint64_t)row) * turns[i], cosine, sine);
    }
}
