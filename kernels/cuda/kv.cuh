/* kv.cuh: the KV cache as the kernels see it.
 *
 * Keys are s8 planes (hi alone, or 128 hi + lo for 12 bits), values are int8_t or
 * int16_t; each [layers][slots][kv_heads][positions][pitch], the pad zero. Two
 * planes and int16_t take the same 16 bits.
 */
#ifndef GPUZIP_KV_CUH
#define GPUZIP_KV_CUH

#include "ops.h"

struct ops_kv {
    int8_t *k_hi, *k_lo;      /* keys; k_lo NULL for 8 bits */
    int8_t *v8;               /* values for 8 bits, else NULL */
    int16_t *v16;             /* values for 12 bits, else NULL */
    float *k_scale, *v_scale; /* [layers][slots][kv_heads][positions] */
    int layers, slots, positions, kv_heads, head_dim;
    int pitch; /* elements of a position: head_dim up to a multiple of 16 */
    int bits;  /* 8 or 12 */
};

/* The index of position 0 of a head, in scales; times pitch, in elements. */
static __host__ __device__ __forceinline__ size_t kv_at(const struct ops_kv *kv, int layer,
                                                        int slot, int head)
{
    return (((size_t)layer * kv->slots + slot) * kv->kv_heads + head) * kv->positions;
}

#endif
