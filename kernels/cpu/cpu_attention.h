/* cpu_attention.h: shared by cpu_attention.c, the driver, cpu_attention_isa.c, the inner loops
 * compiled once an instruction set, and the backward pass (learn/cpu_attention_back.h).
 *
 * The cache. A sequence is one (layer, slot, KV head). Values of 8 or 12 bits are
 * held as s16, arranged for i32x16_dot(), which adds two products a lane:
 *     k: [positions / 16][head_dim / 2][16 positions][2 dims]
 *     v: [positions / 2][v_dim][2 positions]
 * so that both products of attention meet one repeated pair (of a query's dims, of
 * two positions' weights) with 16 lanes (of positions, of dims), and no sum runs
 * across lanes. The positions are a ring: position p stands at p % ring. The ring is a
 * multiple of ATTENTION_SEGMENT, dims of v of 16. Data outside a row's window is finite but
 * stale; its weight is zero. Position 0, the attention sink, is kept a second time:
 *     sink_k, sink_v: [head_dim]
 *
 * Exactness. |q| <= 16256, |k| <= 2047 and 0 <= w <= 16256, |v| <= 2047, so 64
 * products sum to at most 64 * 16256 * 2047 < 2^31 in s32. Longer sums go on in
 * doubles, exact below 2^53 (16256 * 2047 < 2^25: up to 2^28 positions). */
#ifndef GPUZIP_CPU_ATTENTION_H
#define GPUZIP_CPU_ATTENTION_H

#include "cpu_isa.h"
#include "cpu_threads.h"

#define ATTENTION_SEGMENT 64 /* products whose sum fits s32 */
#define ATTENTION_QUERIES 16 /* (row, head) pairs that share a pass over the cache */

struct ops_kv {
    int layers, slots, kv_heads, head_dim, bits;
    int window;   /* positions that a row attends to */
    int ring;     /* positions that are kept */
    int v_dim;    /* head_dim, padded */
    void *memory; /* owns all below; each array is [layers * slots * kv_heads][...] */
    int16_t *k, *v;
    float *k_scale, *v_scale; /* [ring] */
    int16_t *sink_k, *sink_v;
    float *sink_k_scale, *sink_v_scale; /* of one position */
};

typedef struct {
    const ops_batch *batch;
    const float *qkv; /* [rows][(heads + 2 kv_heads) head_dim] */
    int heads;
    const ops_rope *rope;
    const ops_queries *q;
    ops_kv *kv;
    int layer;
} qkv_job;

typedef struct {
    const ops_batch *batch;
    const ops_queries *q;
    int heads;
    float factor;
    const ops_kv *kv;
    int layer;
    float *out;    /* [rows][heads][head_dim] */
    int positions; /* that an item reads at most, in whole segments */
} attention_job;

/* Consecutive rows of one slot and heads that read one KV head; rows * heads <=
 * ATTENTION_QUERIES. */
typedef struct {
    int row, rows;
    int head, heads;
} attention_item;

/* One thread's room for an item. */
typedef struct {
    float *score;    /* [ATTENTION_QUERIES][positions] */
    float *v_scale;  /* [positions] */
    int16_t *weight; /* [ATTENTION_QUERIES][positions] */
    double *total;   /* [ATTENTION_QUERIES][v_dim] */
} attention_scratch;

typedef struct {
    /* For cpu_for_rows() with a qkv_job: quantises one row's queries, and its keys and
     * values into the cache. */
    cpu_row_fn store_row;
    void (*attend)(const attention_job *job, const attention_item *item,
                   const attention_scratch *scratch);
} attention_path;

/* One a compilation of cpu_attention_isa.c. */
extern const attention_path attention_path_c;
#if defined(__x86_64__)
extern const attention_path attention_path_avx2, attention_path_avx512, attention_path_avx512vnni;
#endif

/* cpu_attention.c, for attention_back() too. */

/* Cuts the batch into items of at most ATTENTION_QUERIES queries, `heads` heads each;
 * items has room for one a row. Every group of heads repeats them: head is left 0.
 * Returns their number. */
int attention_cut_items(const ops_batch *batch, int heads, attention_item *items);

/* The most heads of a group of `group` that an item takes: a divisor of it. */
int attention_item_heads(int group);

/* Positions in the segments that an item whose last row stands at `pos` reads, at most. */
int attention_positions(const ops_kv *kv, int pos);

/* The index of a sequence in the cache's arrays. */
static inline size_t kv_sequence(const ops_kv *kv, int layer, int slot, int kv_head)
{
    return ((size_t)layer * kv->slots + slot) * kv->kv_heads + kv_head;
}

#endif
