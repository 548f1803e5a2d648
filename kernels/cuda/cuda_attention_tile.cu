/* cuda_attention_tile.cu: attention of up to 64 queries at once over one KV head, on
 * tensor cores.
 *
 * Keys and values pass by in chunks of 32 positions, twice: the first pass finds
 * each query's largest score, the second computes the scores again, turns them to
 * weights and sums the values. A warp has 16 queries; its weights go from the
 * products that made the scores straight into those with the values, for kv_slot()
 * orders the values' positions as a lane holds them. The attention sink, which other queries
 * meet, stays off the tensor cores: it joins the maxima at the start, the sums at the end.
 */
#include "attention.cuh"
#include "block.cuh"
#include "quant.cuh"

#define THREADS     128
#define KEYS        32 /* positions of a chunk */
#define KEY_FRAGS   4  /* 8-position fragments of a chunk */
#define DIMS        64 /* elements of the output a block computes */
#define DIM_FRAGS   8
#define VALUE_BYTES (KEYS * DIMS) /* of a plane of a chunk */

/* Layout of a block's shared memory. Rows are cut into chunks of 16
 * bytes, [pitch / 16][queries or keys][16], so that ldmatrix meets no bank twice. */
typedef struct {
    unsigned char *q; /* [2 planes] */
    unsigned char *k; /* [2 stages][planes] */
    unsigned char *v; /* [2 stages][planes][2][DIMS][16] */
} tile_shared;

/* The chunks of the cache that a tile reads. */
typedef struct {
    size_t head0; /* kv_at() of the head */
    size_t sink;  /* kv_sink_at() of the head */
    int first;    /* position of the first chunk, a multiple of KEYS */
    int begin;    /* where that stands in the ring */
    int count;
} tile_chunks;

/* A lane's two queries: rows g and g + 8 of its warp's 16. */
typedef struct {
    int pos[2];       /* the last position each sees; -1: no query */
    float q_scale[2]; /* times factor */
    float sink[2];    /* score with the sink; -infinity: not seen */
    float max[2], vmax[2], inv[2];
    long long denominator[2];
} lane_queries;

/* Where chunk `chunk` stands in the head's ring, in positions. */
static __device__ __forceinline__ int chunk_at(const struct ops_kv *kv, const tile_chunks *c,
                                               int chunk)
{
    return kv_wrap(kv, c->begin + chunk * KEYS);
}

/* Begins to copy the chunk of keys at position `pos` of the ring. base: of the head, in
 * elements. */
template <int PLANES>
static __device__ __forceinline__ void load_keys(const struct ops_kv *kv, unsigned char *stage,
                                                 size_t base, int pos)
{
    int chunks = kv->pitch / 16;
    for (int at = threadIdx.x; at < PLANES * KEYS * chunks; at += THREADS) {
        int c = at % chunks, key = at / chunks % KEYS, plane = at / chunks / KEYS;
        const int8_t *from = plane == 0 ? kv->k_hi : kv->k_lo;
        cp_async_16(stage + ((plane * chunks + c) * KEYS + key) * 16,
                    from + base + (size_t)(pos + key) * kv->pitch + c * 16, true);
    }
}

/* The same of the values' elements first .. first + DIMS - 1. */
template <int PLANES>
static __device__ __forceinline__ void load_values(const struct ops_kv *kv, unsigned char *stage,
                                                   size_t base, int pos, int first)
{
    for (int at = threadIdx.x; at < PLANES * 2 * DIMS; at += THREADS) {
        int i = at % DIMS, half = at / DIMS % 2, plane = at / DIMS / 2;
        bool present = first + i < kv->pitch;
        const int8_t *from = plane == 0 ? kv->v_hi : kv->v_lo;
        size_t offset = ((size_t)(pos / 16 + half) * kv->pitch + first + i) * 16;
        cp_async_16(stage + ((plane * 2 + half) * DIMS + i) * 16,
                    from + base + (present ? offset : 0), present);
    }
}

/* Splits the tile's queries into planes; rows that are not there are zero. */
static __device__ __forceinline__ void load_queries(const attention_args *p, unsigned char *q,
                                                    attention_tile tile, int kv_head, int group)
{
    int pitch = p->kv.pitch, head_dim = p->kv.head_dim;
    for (int at = threadIdx.x; at < TILE_QUERIES * pitch; at += THREADS) {
        int m = at / pitch, i = at % pitch, value = 0;
        if (m < tile.rows * group && i < head_dim) {
            size_t row = tile.first_row + m / group, head = kv_head * group + m % group;
            value = p->q.q[(row * p->heads + head) * head_dim + i];
        }
        int to = (i / 16 * TILE_QUERIES + m) * 16 + i % 16;
        q[to] = (unsigned char)(value >> 7);
        q[TILE_QUERIES * pitch + to] = (unsigned char)(value & 127);
    }
}

/* The products of the warp's queries with a chunk of keys, by weight of 128. */
template <int PLANES>
static __device__ __forceinline__ void multiply_keys(int acc[PLANES + 1][KEY_FRAGS][4],
                                                     const unsigned char *q, const unsigned char *k,
                                                     int pitch)
{
    int lane = threadIdx.x & 31, matrix = lane >> 3, i = lane & 7, warp = threadIdx.x >> 5;
#pragma unroll
    for (int j = 0; j < (PLANES + 1) * KEY_FRAGS * 4; j++)
        acc[j / (KEY_FRAGS * 4)][j / 4 % KEY_FRAGS][j % 4] = 0;
    for (int c = 0; c < pitch / 16; c += 2) {
        unsigned b[PLANES][KEY_FRAGS][2], a[4];
#pragma unroll
        for (int pk = 0; pk < PLANES; pk++)
#pragma unroll
            for (int nf = 0; nf < KEY_FRAGS; nf += 2) {
                unsigned r[4];
                int key = nf * 8 + (matrix >> 1) * 8 + i;
                ldmatrix_x4(r, k + ((pk * (pitch / 16) + c + (matrix & 1)) * KEYS + key) * 16);
                b[pk][nf][0] = r[0], b[pk][nf][1] = r[1];
                b[pk][nf + 1][0] = r[2], b[pk][nf + 1][1] = r[3];
            }
#pragma unroll
        for (int pq = 0; pq < 2; pq++) {
            int query = warp * 16 + (matrix & 1) * 8 + i;
            ldmatrix_x4(a,
                        q + ((pq * (pitch / 16) + c + (matrix >> 1)) * TILE_QUERIES + query) * 16);
#pragma unroll
            for (int pk = 0; pk < PLANES; pk++)
#pragma unroll
                for (int nf = 0; nf < KEY_FRAGS; nf++)
                    mma_s8(acc[pq + pk][nf], a, b[pk][nf][0], b[pk][nf][1]);
        }
    }
}

/* sum_s acc[s] 128^(sets - 1 - s), exact. */
template <int SETS>
static __device__ __forceinline__ long long combine(int first, int second, int third)
{
    long long sum = (long long)first * 128 + second;
    return SETS == 3 ? sum * 128 + third : sum;
}

/* Whether a query sees a position. Where there is no query the difference is negative. */
static __device__ __forceinline__ bool lane_sees(const lane_queries *l, const attention_args *p,
                                                 int h, int pos)
{
    return (unsigned)(l->pos[h] - pos) < (unsigned)p->kv.window;
}

/* The first pass over a chunk: maxima of scores and of value scales. first: its position; at: its
 * index in scales. */
template <int PLANES>
static __device__ __forceinline__ void measure_chunk(lane_queries *l, const attention_args *p,
                                                     const int acc[PLANES + 1][KEY_FRAGS][4],
                                                     size_t at, int first)
{
    int t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < KEY_FRAGS * 4; j++) {
        int nf = j / 4, h = j / 2 % 2, key = nf * 8 + t * 2 + j % 2;
        if (lane_sees(l, p, h, first + key)) {
            float dot = (float)combine<PLANES + 1>(acc[0][nf][j % 4], acc[1][nf][j % 4],
                                                   acc[PLANES][nf][j % 4]);
            float score = (dot * p->kv.k_scale[at + key]) * l->q_scale[h];
            l->max[h] = fmaxf(l->max[h], score);
            l->vmax[h] = fmaxf(l->vmax[h], p->kv.v_scale[at + key]);
        }
    }
}

/* The second pass: weights as the two planes of a fragment of A. */
template <int PLANES>
static __device__ __forceinline__ void weigh_chunk(lane_queries *l, const attention_args *p,
                                                   const int acc[PLANES + 1][KEY_FRAGS][4],
                                                   size_t at, int first, unsigned a[2][4])
{
    int t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < 4; j++)
        a[0][j] = a[1][j] = 0;
#pragma unroll
    for (int j = 0; j < KEY_FRAGS * 4; j++) {
        int nf = j / 4, h = j / 2 % 2, key = nf * 8 + t * 2 + j % 2;
        if (lane_sees(l, p, h, first + key)) {
            float dot = (float)combine<PLANES + 1>(acc[0][nf][j % 4], acc[1][nf][j % 4],
                                                   acc[PLANES][nf][j % 4]);
            float score = (dot * p->kv.k_scale[at + key]) * l->q_scale[h];
            float e = det_exp2f(score - l->max[h]);
            l->denominator[h] += det_rint_s32(e * 0x1p24f);
            unsigned w = (unsigned)det_rint_s32((e * p->kv.v_scale[at + key]) * l->inv[h]);
            /* Fragment 2 n fills bytes 0 and 1, fragment 2 n + 1 bytes 2 and 3. */
            int shift = (nf & 1) * 16 + (j & 1) * 8;
            a[0][(nf >> 1) * 2 + h] |= (w >> 7) << shift;
            a[1][(nf >> 1) * 2 + h] |= (w & 127) << shift;
        }
    }
}

/* Adds the products of the weights with a chunk of values. */
template <int PLANES>
static __device__ __forceinline__ void multiply_values(int acc[PLANES + 1][DIM_FRAGS][4],
                                                       const unsigned a[2][4],
                                                       const unsigned char *v)
{
    int lane = threadIdx.x & 31, matrix = lane >> 3, i = lane & 7;
    __syncwarp(); /* the products need a converged warp */
#pragma unroll
    for (int pv = 0; pv < PLANES; pv++)
#pragma unroll
        for (int nf = 0; nf < DIM_FRAGS; nf += 2) {
            unsigned b[4];
            int element = nf * 8 + (matrix >> 1) * 8 + i;
            ldmatrix_x4(b, v + ((pv * 2 + (matrix & 1)) * DIMS + element) * 16);
#pragma unroll
            for (int pw = 0; pw < 2; pw++) {
                mma_s8(acc[pw + pv][nf], a[pw], b[0], b[1]);
                mma_s8(acc[pw + pv][nf + 1], a[pw], b[2], b[3]);
            }
        }
}

/* Fills in the lane's queries; the four lanes of a query share its product with the sink. */
static __device__ __forceinline__ lane_queries lane_begin(const attention_args *p,
                                                          attention_tile tile, int kv_head,
                                                          int group, size_t sink)
{
    lane_queries l;
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3, warp = threadIdx.x >> 5;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int m = warp * 16 + h * 8 + g;
        bool present = m < tile.rows * group;
        size_t row = tile.first_row + (present ? m / group : 0);
        size_t head = kv_head * group + (present ? m % group : 0);
        size_t query = row * p->heads + head;
        l.pos[h] = present ? p->pos[row] : -1;
        l.q_scale[h] = p->q.scale[query] * p->factor;
        bool has_sink = l.pos[h] >= p->kv.window;
        long long dot = has_sink ? sink_dot(p, query, sink, t, 4) : 0;
        dot += __shfl_xor_sync(WARP_ALL, dot, 1);
        dot += __shfl_xor_sync(WARP_ALL, dot, 2);
        l.sink[h] = has_sink ? sink_score(p, query, sink, dot) : -INFINITY;
        l.max[h] = l.sink[h];
        l.vmax[h] = has_sink ? p->kv.v_scale[sink] : 0.0f;
        l.denominator[h] = 0;
    }
    return l;
}

/* The four lanes of a query agree on its maxima. */
static __device__ __forceinline__ void lane_agree(lane_queries *l)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        for (int lanes = 1; lanes <= 2; lanes <<= 1) {
            l->max[h] = fmaxf(l->max[h], __shfl_xor_sync(WARP_ALL, l->max[h], lanes));
            l->vmax[h] = fmaxf(l->vmax[h], __shfl_xor_sync(WARP_ALL, l->vmax[h], lanes));
        }
        l->inv[h] = l->vmax[h] < TINY ? 0.0f : (float)OPS_Q15_MAX / l->vmax[h];
    }
}

/* Writes the lane's part of the output. */
template <int PLANES>
static __device__ __forceinline__ void lane_store(lane_queries *l, const attention_args *p,
                                                  const int acc[PLANES + 1][DIM_FRAGS][4],
                                                  attention_tile tile, int kv_head, int group,
                                                  size_t sink, int first)
{
    const struct ops_kv *kv = &p->kv;
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3, warp = threadIdx.x >> 5;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int m = warp * 16 + h * 8 + g;
        bool has_sink = l->pos[h] >= kv->window;
        long long weight = 0;
        for (int lanes = 1; lanes <= 2; lanes <<= 1)
            l->denominator[h] += __shfl_xor_sync(WARP_ALL, l->denominator[h], lanes);
        if (has_sink) {
            float e = det_exp2f(l->sink[h] - l->max[h]);
            l->denominator[h] += det_rint_s32(e * 0x1p24f);
            weight = det_rint_s32((e * kv->v_scale[sink]) * l->inv[h]);
        }
        float d = (float)l->denominator[h];
        float unit = (l->vmax[h] / (float)OPS_Q15_MAX) * (0x1p24f / d);
        size_t row = tile.first_row + m / group, head = kv_head * group + m % group;
        float *out = p->out + (row * p->heads + head) * kv->head_dim;
#pragma unroll
        for (int j = 0; j < DIM_FRAGS * 2; j++) {
            int nf = j / 2, i = h * 2 + j % 2, element = first + nf * 8 + t * 2 + j % 2;
            if (l->pos[h] >= 0 && element < kv->head_dim) {
                long long sum =
                    combine<PLANES + 1>(acc[0][nf][i], acc[1][nf][i], acc[PLANES][nf][i]);
                if (has_sink)
                    sum += weight * kv_sink_element(kv, kv->v_hi, kv->v_lo, sink, element);
                out[element] = l->vmax[h] < TINY ? 0.0f : (float)sum * unit;
            }
        }
    }
}

/* The chunks from the first position of the tile's first row to the last of its last row. */
static __device__ __forceinline__ tile_chunks chunks_of(const attention_args *p,
                                                        attention_tile tile, int kv_head)
{
    const struct ops_kv *kv = &p->kv;
    tile_chunks c;
    size_t sequence = kv_sequence(kv, p->layer, p->slot[tile.first_row], kv_head);
    c.head0 = kv_at(kv, sequence), c.sink = kv_sink_at(kv, sequence);
    c.first = kv_window_begin(kv, p->pos[tile.first_row]) / KEYS * KEYS;
    c.begin = c.first % kv->ring;
    c.count = (p->pos[tile.first_row + tile.rows - 1] - c.first) / KEYS + 1;
    return c;
}

/* Block x takes a tile, y a KV head, z DIMS elements of the output. With one plane three blocks
 * share a multiprocessor: 168 registers are enough. */
template <int PLANES>
static __global__ void __launch_bounds__(THREADS, PLANES == 1 ? 3 : 2)
    attention_tile_kernel(attention_args p)
{
    DYNAMIC_SHARED(shared);
    if ((int)blockIdx.x >= p.plan.counts[1])
        return;
    const struct ops_kv *kv = &p.kv;
    attention_tile tile = p.plan.tile[blockIdx.x];
    int group = p.heads / kv->kv_heads, kv_head = blockIdx.y, first_dim = blockIdx.z * DIMS;
    int k_bytes = PLANES * KEYS * kv->pitch, v_bytes = PLANES * VALUE_BYTES;
    tile_shared s = {shared, shared + 2 * TILE_QUERIES * kv->pitch, NULL};
    s.v = s.k + 2 * k_bytes;
    tile_chunks c = chunks_of(&p, tile, kv_head);
    size_t base = c.head0 * kv->pitch;

    load_queries(&p, s.q, tile, kv_head, group);
    lane_queries l = lane_begin(&p, tile, kv_head, group, c.sink);
    int sum[PLANES + 1][DIM_FRAGS][4];
#pragma unroll
    for (int j = 0; j < (PLANES + 1) * DIM_FRAGS * 4; j++)
        sum[j / (DIM_FRAGS * 4)][j / 4 % DIM_FRAGS][j % 4] = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (int chunk = -1; chunk < c.count; chunk++) {
            cp_async_wait<0>();
            __syncthreads(); /* this chunk is there, the one before is no longer needed */
            int next = chunk + 1;
            if (next < c.count) {
                int at = chunk_at(kv, &c, next);
                load_keys<PLANES>(kv, s.k + next % 2 * k_bytes, base, at);
                if (pass == 1)
                    load_values<PLANES>(kv, s.v + next % 2 * v_bytes, base, at, first_dim);
            }
            cp_async_commit();
            if (chunk < 0)
                continue;
            int score[PLANES + 1][KEY_FRAGS][4], first = c.first + chunk * KEYS;
            size_t at = c.head0 + chunk_at(kv, &c, chunk);
            multiply_keys<PLANES>(score, s.q, s.k + chunk % 2 * k_bytes, kv->pitch);
            if (pass == 0) {
                measure_chunk<PLANES>(&l, &p, score, at, first);
            } else {
                unsigned weights[2][4];
                weigh_chunk<PLANES>(&l, &p, score, at, first, weights);
                multiply_values<PLANES>(sum, weights, s.v + chunk % 2 * v_bytes);
            }
        }
        if (pass == 0)
            lane_agree(&l);
    }
    lane_store<PLANES>(&l, &p, sum, tile, kv_head, group, c.sink, first_dim);
}

size_t attention_tile_shared(const attention_args *p)
{
    size_t planes = p->kv.bits == 12 ? 2 : 1, pitch = (size_t)p->kv.pitch;
    return 2 * TILE_QUERIES * pitch + 2 * planes * (KEYS * pitch + VALUE_BYTES);
}

gpuzip_status attention_tile_launch(const ops_context *ctx, const attention_args *p, unsigned tiles)
{
    size_t shared = attention_tile_shared(p);
    dim3 grid(tiles, p->kv.kv_heads, ceil_div(p->kv.head_dim, DIMS));
    void (*kernel)(attention_args) =
        p->kv.bits == 12 ? attention_tile_kernel<2> : attention_tile_kernel<1>;
    TRY(cuda_status(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    LAUNCH(kernel, grid, THREADS, shared, ctx->stream, *p);
    return cuda_launched();
}
