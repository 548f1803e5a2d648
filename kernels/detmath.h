/* detmath.h: the elementary functions of the coded path, the same text for host
 * and device and therefore the same bits.
 *
 * They are made of single IEEE-754 binary32 operations (+ - * / abs fma rint,
 * comparisons), bit casts and integers: no libm, no tables, no branches, so a
 * loop over them vectorises. fmaf() and rintf() are the two library names used;
 * both are one correctly rounded operation. Where the target has no FMA
 * instruction (baseline x86-64) fmaf() is a call: slow, and equal.
 *
 * Polynomials are minimax fits to the relative error: Lawson's iteration on 801
 * Chebyshev nodes in double precision, the coefficients rounded to binary32 one
 * after another from the lowest, the rest fitted again after each. The errors
 * stated were measured against MPFR (tests/kernels/test_detmath.c holds them).
 */
#ifndef GPUZIP_DETMATH_H
#define GPUZIP_DETMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "fast-math breaks the law of ops.h: decoding would differ from encoding"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "binary32 operations must round to binary32 (x87 arithmetic does not)"
#endif

#if defined(__CUDACC__)
#define DET_FN static __host__ __device__ __forceinline__
#else
#define DET_FN static inline
#endif

DET_FN uint32_t det_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

DET_FN float det_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#if !defined(__CUDACC__) && defined(__has_builtin)
#if __has_builtin(__builtin_irintf)
#define DET_HAS_IRINTF 1
#endif
#endif

/* The nearest integer, ties to even. Requires |x| < 2^31. gcc makes one instruction
 * of irintf(), two of the other (and a call where there is no SSE4.1). */
DET_FN int32_t det_rint_s32(float x)
{
#if defined(DET_HAS_IRINTF)
    return __builtin_irintf(x);
#else
    return (int32_t)rintf(x);
#endif
}

/* p with 2^p <= |x| < 2^(p+1). Requires x normal. */
DET_FN int det_exponent(float x)
{
    return (int)(det_float_bits(x) >> 23 & 255) - 127;
}

/* 2^e, exact. Requires e in [-126, 127]. */
DET_FN float det_pow2(int e)
{
    return det_bits_float((uint32_t)(e + 127) << 23);
}

/* x * 2^e for e in [-252, 254], in two steps where 2^e alone may be out of range:
 * (x * 2^floor(e/2)) * 2^(e - floor(e/2)). */
DET_FN float det_scale2(float x, int e)
{
    int half = e >> 1;
    return (x * det_pow2(half)) * det_pow2(e - half);
}

/* Adding 1.5 * 2^23 to |x| < 2^22 rounds x to an integer, which then stands in
 * the low bits of the sum: two instructions on every target for rint() and the
 * conversion. */
#define DET_ROUND_MAGIC 12582912.0f

/* 2^(f + k), |f| <= 0.5, k in [-126, 127], with rounded = k + DET_ROUND_MAGIC.
 * 2^f = 1 + f q(f), q of degree 5; the fit's error is 3.0e-9. The scaling is a
 * product, not an addition to the exponent, for results below 2^-126. */
DET_FN float det_exp2_parts(float f, float rounded)
{
    float q = 0x1.416b5ep-13f;
    q = fmaf(q, f, 0x1.5f082ep-10f);
    q = fmaf(q, f, 0x1.3b2de0p-7f);
    q = fmaf(q, f, 0x1.c6af7cp-5f);
    q = fmaf(q, f, 0x1.ebfbdcp-3f);
    q = fmaf(q, f, 0x1.62e430p-1f);
    /* The low nine bits of the magic number's own representation are zero. */
    float scale = det_bits_float((det_float_bits(rounded) << 23) + 0x3f800000u);
    return fmaf(q, f, 1.0f) * scale;
}

/* 2^x for x <= 126; 0 below -126; exactly 1 at 0. Error < 0.8 ulp. */
DET_FN float det_exp2f(float x)
{
    float rounded = x + DET_ROUND_MAGIC;
    float y = det_exp2_parts(x - (rounded - DET_ROUND_MAGIC), rounded);
    return x < -126.0f ? 0.0f : y;
}

/* e^x for x <= 87; 0 below -87; exactly 1 at 0. Error < 1 ulp. The product x log2(e)
 * is kept to twice the precision, else the error would grow with |x|. */
DET_FN float det_expf(float x)
{
    float rounded = fmaf(x, 0x1.715476p+0f, DET_ROUND_MAGIC);
    float f = fmaf(x, 0x1.715476p+0f, -(rounded - DET_ROUND_MAGIC));
    f = fmaf(x, 0x1.4ae0c0p-26f, f); /* log2(e) less its binary32 */
    float y = det_exp2_parts(f, rounded);
    return x < -87.0f ? 0.0f : y;
}

/* x / (1 + e^-z), with the exponential of -|z| so that nothing overflows. */
DET_FN float det_sigmoid_times(float x, float z)
{
    float e = det_expf(-fabsf(z));
    return (z < 0.0f ? x * e : x) / (1.0f + e);
}

/* x / (1 + e^-x). Error < 2.5 ulp while the result is above 2^-100. */
DET_FN float det_siluf(float x)
{
    return det_sigmoid_times(x, x);
}

/* 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), as x / (1 + e^-2u):
 * the same function without the cancellation. Error < 1.2e-7 |x|. */
DET_FN float det_gelu_tanh(float x)
{
    float u2 = 0x1.988454p+0f * fmaf(0x1.6e4e26p-5f * x, x * x, x); /* 2 sqrt(2/pi) ... */
    return det_sigmoid_times(x, u2);
}

/* The normal distribution's tail Phi(-a), a >= 0, is e^(-a^2/2) t P(1 - 2t) with t = 1 / (1 + a/3);
 * P is the degree-8 fit of e^(a^2/2) Phi(-a) / t on a in [0, 14] (error 5.2e-8), beyond which the
 * exponential is 0. */
DET_FN float det_normal_tail(float a)
{
    float t = 1.0f / fmaf(a, 0x1.555556p-2f, 1.0f);
    float s = fmaf(-2.0f, t, 1.0f);
    float p = -0x1.75c6bcp-14f;
    p = fmaf(p, s, -0x1.3ca200p-12f);
    p = fmaf(p, s, 0x1.778efcp-12f);
    p = fmaf(p, s, 0x1.2e9bd4p-9f);
    p = fmaf(p, s, -0x1.c9cf66p-9f);
    p = fmaf(p, s, -0x1.0215b6p-6f);
    p = fmaf(p, s, 0x1.3a0d78p-4f);
    p = fmaf(p, s, -0x1.5bb442p-3f);
    p = fmaf(p, s, 0x1.f1b89cp-3f);
    return det_expf(-0.5f * (a * a)) * (t * p);
}

/* 0.5 x (1 + erf(x / sqrt 2)) = x Phi(x). Error < 2.0e-7 |x|. */
DET_FN float det_gelu_erf(float x)
{
    float tail = det_normal_tail(fabsf(x));
    return x < 0.0f ? x * tail : fmaf(-x, tail, x);
}

/* Derivatives, for weights that learn; |x| <= 2^40. Of det_gelu_tanh(), x s(u): s + x s (1 - s) u',
 * u' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2). */
DET_FN float det_gelu_tanh_slope(float x)
{
    float s = det_sigmoid_times(1.0f, 0x1.988454p+0f * fmaf(0x1.6e4e26p-5f * x, x * x, x));
    float slope = 0x1.988454p+0f * fmaf(0x1.12ba9cp-3f * x, x, 1.0f);
    return fmaf(s * (1.0f - s) * x, slope, s);
}

/* Of det_gelu_erf(), x Phi(x): Phi(x) + x e^(-x^2/2) / sqrt(2 pi). */
DET_FN float det_gelu_erf_slope(float x)
{
    float tail = det_normal_tail(fabsf(x));
    float phi = x < 0.0f ? tail : 1.0f - tail;
    return fmaf(x * 0x1.988454p-2f, det_expf(-0.5f * (x * x)), phi);
}

/* The upper half of the product a * b. */
DET_FN uint64_t det_mul_high(uint64_t a, uint64_t b)
{
#if defined(__CUDA_ARCH__)
    return __umul64hi(a, b);
#else
    return (uint64_t)((unsigned __int128)a * b >> 64);
#endif
}

/* The bits of n from its highest 1 on; n >= 1. */
DET_FN int det_bits_u64(uint64_t n)
{
#if defined(__CUDA_ARCH__)
    return 64 - __clzll((long long)n);
#else
    return 64 - __builtin_clzll(n);
#endif
}

/* floor(log2(n) * 2^16), exactly, in integers alone; n >= 1. n is normalised to m in
 * [1, 2), Q63; squaring m doubles its logarithm, so that each of 16 squarings yields
 * the next bit of the fraction. Truncating the squares lowers the logarithm by less
 * than 2^-61, and no step of the result lies that near to an integer n (the test tries
 * every step). */
DET_FN int32_t det_log2_q16(uint32_t n)
{
#if defined(__CUDA_ARCH__)
    int zeros = __clz((int)n);
#else
    int zeros = __builtin_clz(n);
#endif
    int32_t log = 31 - zeros;
    uint64_t m = (uint64_t)n << (zeros + 32);
    for (int bit = 0; bit < 16; bit++) {
        m = det_mul_high(m, m); /* Q62, in [1, 4) */
        int32_t two = (int32_t)(m >> 63);
        m <<= 1 - two;
        log = 2 * log + two;
    }
    return log;
}

/* det_log2_q16() of more bits, of which it takes the upper 32: floor(log2(n) * 2^16) or 1
 * less; n >= 1. */
DET_FN int32_t det_log2_u64_q16(uint64_t n)
{
    int bits = det_bits_u64(n), shift = bits > 32 ? bits - 32 : 0;
    return det_log2_q16((uint32_t)(n >> shift)) + shift * 65536;
}

#endif
