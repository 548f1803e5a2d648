/* kv.cuh: the KV cache as the kernels see it.
 *
 * Keys and values are s8 planes: hi alone for 8 bits, 128 hi + lo for 12. The positions
 * of a head are a ring: position p stands at p % ring. Its keys are [ring][pitch], its
 * values stand as the tensor cores and dp4a want them, positions innermost:
 * [ring / 16][pitch][16], the 16 in the order of kv_slot(). pitch is head_dim and ring is
 * window + run - 1 of kv_create(), both rounded up to multiples of 32, so that an aligned
 * block of 16 or 32 positions is one in the ring, too. Behind the rings of all heads stands
 * the attention sink of each, position 0 a second time: its key and its value are [pitch].
 * Pads and unwritten positions hold arbitrary numbers, multiplied only by weights of 0.
 */
#ifndef GPUZIP_KV_CUH
#define GPUZIP_KV_CUH

#include "ops.h"

struct ops_kv {
    int8_t *k_hi, *k_lo;      /* keys; k_lo NULL for 8 bits */
    int8_t *v_hi, *v_lo;      /* values; v_lo NULL for 8 bits */
    float *k_scale, *v_scale; /* [layers][slots][kv_heads][ring], [layers][slots][kv_heads] */
    int layers, slots, kv_heads, head_dim;
    int window, ring; /* positions that a row attends to, and that are kept */
    int pitch;        /* elements */
    int bits;         /* 8 or 12 */
};

/* The number of a head among those of all layers and slots. */
static __host__ __device__ __forceinline__ size_t kv_sequence(const struct ops_kv *kv, int layer,
                                                              int slot, int head)
{
    return ((size_t)layer * kv->slots + slot) * kv->kv_heads + head;
}

/* The index of the first position of a head's ring, in scales; times pitch, in elements. */
static __host__ __device__ __forceinline__ size_t kv_at(const struct ops_kv *kv, size_t sequence)
{
    return sequence * kv->ring;
}

/* The same of a head's attention sink. */
static __host__ __device__ __forceinline__ size_t kv_sink_at(const struct ops_kv *kv,
                                                             size_t sequence)
{
    return (size_t)kv->layers * kv->slots * kv->kv_heads * kv->ring + sequence;
}

/* The first position that a row at `pos` attends to, apart from the sink. */
static __host__ __device__ __forceinline__ int kv_window_begin(const struct ops_kv *kv, int pos)
{
    return pos < kv->window ? 0 : pos - kv->window + 1;
}

/* An index in the ring that has gone past its end once at most. */
static __host__ __device__ __forceinline__ int kv_wrap(const struct ops_kv *kv, int at)
{
    return at < kv->ring ? at : at - kv->ring;
}

/* Where position pos % 16 stands among its 16: the products of two fragments of
 * scores leave a lane with positions 2t, 2t + 1, 8 + 2t, 9 + 2t, and so these are
 * neighbours. */
static __host__ __device__ __forceinline__ int kv_slot(int pos)
{
    return 4 * ((pos & 7) >> 1) + 2 * (pos >> 3 & 1) + (pos & 1);
}

/* The index of element i of a value. at: kv_at(); pos: in the ring. */
static __host__ __device__ __forceinline__ size_t kv_value_at(const struct ops_kv *kv, size_t at,
                                                              int pos, int i)
{
    return at * kv->pitch + ((size_t)(pos >> 4) * kv->pitch + i) * 16 + kv_slot(pos);
}

/* Element i of a sink's key or value. hi, lo: the cache's planes of keys or values. */
static __device__ __forceinline__ int kv_sink_element(const struct ops_kv *kv, const int8_t *hi,
                                                      const int8_t *lo, size_t sink, int i)
{
    size_t at = sink * kv->pitch + i;
    return lo != NULL ? hi[at] * 128 + lo[at] : hi[at];
}

#endif
