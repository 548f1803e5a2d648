/* cpu_simd.h: sixteen s32 lanes and the integer dot products into them.
 *
 * The inner loops of linear() and attention() are written once over i32x16 and
 * compiled once an instruction set (the files cpu_*_isa.c, see cpu_isa.h); the
 * compiler's target macros choose the type of sixteen lanes: one zmm register,
 * two ymm or an array. Integer sums are exact, so every choice gives the same
 * bits.
 */
#ifndef GPUZIP_CPU_SIMD_H
#define GPUZIP_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#define CPU_INLINE static inline __attribute__((always_inline))

/* Unrolls the loop that follows in full, and early enough that arrays indexed by its
 * counter become registers. The trip count is a constant <= 8 after inlining. */
#if defined(__clang__)
#define CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CPU_UNROLL _Pragma("GCC unroll 8")
#endif

/* For every type below:
 *   load      16 lanes (64 bytes) from memory of any alignment; store: the inverse
 *   repeat    the 4 bytes at p in every lane
 *   widen     32 s8 to 32 s16, two a lane
 *   dot       acc + a.lo * b.lo + a.hi * b.hi, with two s16 a lane
 *   opaque    hides a value's origin from the compiler (for timing) */
#if defined(__AVX512BW__)

#include <immintrin.h>

typedef __m512i i32x16;

CPU_INLINE i32x16 i32x16_zero(void)
{
    return _mm512_setzero_si512();
}

CPU_INLINE i32x16 i32x16_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

CPU_INLINE void i32x16_store(int32_t *p, i32x16 v)
{
    _mm512_storeu_si512(p, v);
}

CPU_INLINE i32x16 i32x16_repeat(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

CPU_INLINE i32x16 i32x16_widen(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}

CPU_INLINE i32x16 i32x16_dot(i32x16 acc, i32x16 a, i32x16 b)
{
#if defined(__AVX512VNNI__)
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}

#if defined(__AVX512VNNI__)
/* acc + the sum of four products a lane: u8 of a times s8 of b. Wraps, never saturates. */
CPU_INLINE i32x16 i32x16_dot_u8s8(i32x16 acc, i32x16 a, i32x16 b)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
}
#endif

CPU_INLINE void i32x16_opaque(i32x16 *v)
{
    __asm__ volatile("" : "+v"(*v));
}

#elif defined(__AVX2__)

#include <immintrin.h>

typedef struct {
    __m256i a, b; /* lanes 0 .. 7, 8 .. 15 */
} i32x16;

CPU_INLINE i32x16 i32x16_zero(void)
{
    return (i32x16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

CPU_INLINE i32x16 i32x16_load(const void *p)
{
    const __m256i *half = p;
    return (i32x16){_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
}

CPU_INLINE void i32x16_store(int32_t *p, i32x16 v)
{
    _mm256_storeu_si256((__m256i *)p, v.a);
    _mm256_storeu_si256((__m256i *)(p + 8), v.b);
}

CPU_INLINE i32x16 i32x16_repeat(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    __m256i v = _mm256_set1_epi32(x);
    return (i32x16){v, v};
}

CPU_INLINE i32x16 i32x16_widen(const int8_t *p)
{
    return (i32x16){_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)),
                    _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)))};
}

CPU_INLINE i32x16 i32x16_dot(i32x16 acc, i32x16 a, i32x16 b)
{
    return (i32x16){_mm256_add_epi32(acc.a, _mm256_madd_epi16(a.a, b.a)),
                    _mm256_add_epi32(acc.b, _mm256_madd_epi16(a.b, b.b))};
}

CPU_INLINE void i32x16_opaque(i32x16 *v)
{
    __asm__ volatile("" : "+x"(v->a), "+x"(v->b));
}

#else

/* Plain C: the reading of this file that needs no instruction set. */
typedef union {
    int32_t lane[16];
    int16_t half[32];
} i32x16;

CPU_INLINE i32x16 i32x16_zero(void)
{
    return (i32x16){.lane = {0}};
}

CPU_INLINE i32x16 i32x16_load(const void *p)
{
    i32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

CPU_INLINE void i32x16_store(int32_t *p, i32x16 v)
{
    memcpy(p, &v, sizeof v);
}

CPU_INLINE i32x16 i32x16_repeat(const void *p)
{
    i32x16 v;
    for (int i = 0; i < 16; i++)
        memcpy(&v.lane[i], p, sizeof v.lane[i]);
    return v;
}

CPU_INLINE i32x16 i32x16_widen(const int8_t *p)
{
    i32x16 v;
    for (int i = 0; i < 32; i++)
        v.half[i] = p[i];
    return v;
}

CPU_INLINE i32x16 i32x16_dot(i32x16 acc, i32x16 a, i32x16 b)
{
    for (int i = 0; i < 16; i++)
        acc.lane[i] += a.half[2 * i] * b.half[2 * i] + a.half[2 * i + 1] * b.half[2 * i + 1];
    return acc;
}

CPU_INLINE void i32x16_opaque(i32x16 *v)
{
    __asm__ volatile("" : "+m"(*v));
}

#endif

#endif
