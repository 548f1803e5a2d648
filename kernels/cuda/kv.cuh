/* kv.cuh: the KV cache as the kernels see it.
 *
 * Keys and values are s8 planes: hi alone for 8 bits, 128 hi + lo for 12. A head's
 * keys are [positions][pitch]. A head's values stand as the tensor cores and dp4a
 * want them, positions innermost: [positions / 16][pitch][16], the 16 in the order
 * of kv_slot(). pitch is head_dim and positions is kv_create()'s, both rounded up to
 * multiples of 32. Pads and unwritten positions hold arbitrary numbers, multiplied only by
 * weights of 0.
 */
#ifndef GPUZIP_KV_CUH
#define GPUZIP_KV_CUH

#include "ops.h"

struct ops_kv {
    int8_t *k_hi, *k_lo;      /* keys; k_lo NULL for 8 bits */
    int8_t *v_hi, *v_lo;      /* values; v_lo NULL for 8 bits */
    float *k_scale, *v_scale; /* [layers][slots][kv_heads][positions] */
    int layers, slots, positions, kv_heads, head_dim;
    int pitch; /* elements */
    int bits;  /* 8 or 12 */
};

/* The index of position 0 of a head, in scales; times pitch, in elements. */
static __host__ __device__ __forceinline__ size_t kv_at(const struct ops_kv *kv, int layer,
                                                        int slot, int head)
{
    return (((size_t)layer * kv->slots + slot) * kv->kv_heads + head) * kv->positions;
}

/* Where position pos % 16 stands among its 16: the products of two fragments of
 * scores leave a lane with positions 2t, 2t + 1, 8 + 2t, 9 + 2t, and so these are
 * neighbours. */
static __host__ __device__ __forceinline__ int kv_slot(int pos)
{
    return 4 * ((pos & 7) >> 1) + 2 * (pos >> 3 & 1) + (pos & 1);
}

/* The index of element i of a value. at: kv_at(). */
static __host__ __device__ __forceinline__ size_t kv_value_at(const struct ops_kv *kv, size_t at,
                                                              int pos, int i)
{
    return at * kv->pitch + ((size_t)(pos >> 4) * kv->pitch + i) * 16 + kv_slot(pos);
}

#endif
