/* attention.cuh: shared by the two kernels of attention().
 *
 * The device divides a pass's rows, since only it knows their slots: runs
 * of one slot are cut into pieces of at most TILE_QUERIES queries (a query is a row
 * and one of the heads that share a KV head). Large pieces are tiles, for tensor
 * cores; the rows of small ones go one by one.
 */
#ifndef GPUZIP_ATTENTION_CUH
#define GPUZIP_ATTENTION_CUH

#include "context.cuh"
#include "kv.cuh"

#define TILE_QUERIES 64
#define TILE_MIN     16 /* queries from which a piece is a tile */
#define TILE_POSITIONS                                                                             \
    65536 /* of a window whose sums a tile's s32 hold: 2^31 / (2 * 127 * 127)                      \
           */

/* A tile: consecutive rows of one slot. */
typedef struct {
    int32_t first_row, rows;
} attention_tile;

/* The division's result, in device memory, in no particular order. */
typedef struct {
    int32_t *counts;      /* [2]: of single rows, of tiles */
    int32_t *single;      /* [rows] */
    attention_tile *tile; /* [rows] */
} attention_plan;

typedef struct {
    const int32_t *slot, *pos; /* [rows] */
    ops_queries q;
    float *out; /* [rows][heads][head_dim] */
    struct ops_kv kv;
    attention_plan plan;
    float factor;
    int rows, heads, layer;
} attention_args;

/* Adds up elements first, first + step, .. of the product of a sink's query with the sink's key.
 * query: the number of the row's head among all; sink: kv_sink_at(). */
static __device__ __forceinline__ long long sink_dot(const attention_args *p, size_t query,
                                                     size_t sink, int first, int step)
{
    const struct ops_kv *kv = &p->kv;
    const int16_t *q = p->q.sink + query * kv->head_dim;
    long long dot = 0;
    for (int i = first; i < kv->head_dim; i += step)
        dot += q[i] * kv_sink_element(kv, kv->k_hi, kv->k_lo, sink, i);
    return dot;
}

static __device__ __forceinline__ float sink_score(const attention_args *p, size_t query,
                                                   size_t sink, long long dot)
{
    return ((float)dot * p->kv.k_scale[sink]) * (p->q.sink_scale[query] * p->factor);
}

/* Bytes of shared memory that a tile takes. */
size_t attention_tile_shared(const attention_args *p);

/* Queues the kernel that attends with the plan's tiles, of which there are at most
 * `tiles`. */
gpuzip_status attention_tile_launch(const ops_context *ctx, const attention_args *p,
                                    unsigned tiles);

#endif
