/* cuda_attention_tile.cu: attention of up to 64 queries at once over one KV head, on
 * tensor cores.
 *
 * Keys and values pass by in chunks of 32 positions, twice: the first pass finds
 * each query's largest score, the second computes the scores again, turns them to
 * weights and sums the values. A warp has 16 queries; its weights go from the
 * products that made the scores straight into those with the values, for kv_slot()
 * orders the values' positions as a lane holds them. A warp leaves out chunks that none of its
 * queries sees, and tests single positions in those that not all of them see. The attention sink,
 * which other queries meet, stays off the tensor cores: it joins the maxima at the start, the sums
 * at the end.
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
    float *scale;     /* [2 stages][keys, values][KEYS] */
} tile_shared;

#define SCALE_FLOATS (2 * KEYS) /* of a stage */

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

/* The positions that one of a warp's queries sees, and those that each of them sees; the positions
 * of its queries ascend. */
typedef struct {
    int seen_first, seen_last, full_first, full_last;
} warp_span;

/* Where chunk `chunk` stands in the head's ring, in positions. */
static __device__ __forceinline__ int chunk_at(const struct ops_kv *kv, const tile_chunks *c,
                                               int chunk)
{
    return kv_wrap(kv, c->begin + chunk * KEYS);
}

/* Begins to copy the chunk of keys at position `pos` of the ring. base: of the head, in
 * elements. */
template <int PLANES, int PITCH>
static __device__ __forceinline__ void load_keys(const struct ops_kv *kv, unsigned char *stage,
                                                 size_t base, int pos)
{
    int pitch = PITCH > 0 ? PITCH : kv->pitch, chunks = pitch / 16;
#pragma unroll
    for (int plane = 0; plane < PLANES; plane++) {
        const int8_t *from = (plane == 0 ? kv->k_hi : kv->k_lo) + base + (size_t)pos * pitch;
        for (int at = threadIdx.x; at < KEYS * chunks; at += THREADS) {
            int c = at % chunks, key = at / chunks;
            cp_async_16(stage + ((plane * chunks + c) * KEYS + key) * 16, from + at * 16, true);
        }
    }
}

/* The same of the values' elements first .. first + DIMS - 1. */
template <int PLANES, int PITCH>
static __device__ __forceinline__ void load_values(const struct ops_kv *kv, unsigned char *stage,
                                                   size_t base, int pos, int first)
{
    int pitch = PITCH > 0 ? PITCH : kv->pitch;
#pragma unroll
    for (int plane = 0; plane < PLANES; plane++) {
        const int8_t *from = (plane == 0 ? kv->v_hi : kv->v_lo) + base + (size_t)pos * pitch;
        static_assert(THREADS == 2 * DIMS, "a thread has one element of 16 positions");
        int i = threadIdx.x % DIMS, half = threadIdx.x / DIMS;
        bool present = first + i < pitch;
        cp_async_16(stage + ((plane * 2 + half) * DIMS + i) * 16,
                    from + (present ? (half * pitch + first + i) * 16 : 0), present);
    }
}

/* The same of the scales. at: their index. */
static __device__ __forceinline__ void load_scales(const struct ops_kv *kv, float *stage, size_t at)
{
    const int copies = SCALE_FLOATS / 4;
    int i = threadIdx.x * 4;
    if (threadIdx.x < copies)
        cp_async_16(stage + i, (i < KEYS ? kv->k_scale : kv->v_scale - KEYS) + at + i, true);
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
template <int PLANES, int PITCH>
static __device__ __forceinline__ void multiply_keys(int acc[PLANES + 1][KEY_FRAGS][4],
                                                     const unsigned char *q, const unsigned char *k,
                                                     int any_pitch)
{
    int pitch = PITCH > 0 ? PITCH : any_pitch;
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

/* (float)combine() of a query and a key, rounded once, without 64 bits: keys have 8 bits in one
 * plane, 12 in two, so that for OPS_MAX_HEAD_DIM elements the sum of one plane is below 2^30, and
 * of two |top| < 2^20; top and low are exact in a float. */
template <int SETS>
static __device__ __forceinline__ float dot_float(int first, int second, int third)
{
    if (SETS == 2)
        return (float)(first * 128 + second);
    int rest = second * 128 + third;
    return fmaf((float)(first + (rest >> 14)), 0x1p14f, (float)(rest & ((1 << 14) - 1)));
}

/* Whether a query sees a position. Where there is no query the difference is negative. */
static __device__ __forceinline__ bool lane_sees(const lane_queries *l, const attention_args *p,
                                                 int h, int pos)
{
    return (unsigned)(l->pos[h] - pos) < (unsigned)p->kv.window;
}

/* The score of query h with key `key` of a fragment of a chunk; scale: the keys'. */
template <int PLANES>
static __device__ __forceinline__ float score_of(const lane_queries *l,
                                                 const int acc[PLANES + 1][KEY_FRAGS][4], int nf,
                                                 int h, int key, float scale)
{
    int i = h * 2 + key;
    float dot = dot_float<PLANES + 1>(acc[0][nf][i], acc[1][nf][i], acc[PLANES][nf][i]);
    return (dot * scale) * l->q_scale[h];
}

/* The first pass over a chunk: maxima of scores and of value scales. scales: of the stage; first:
 * the chunk's position. EDGE: some queries do not see some positions, of which everything is
 * arbitrary. */
template <int PLANES, bool EDGE>
static __device__ __forceinline__ void measure_chunk(lane_queries *l, const attention_args *p,
                                                     const int acc[PLANES + 1][KEY_FRAGS][4],
                                                     const float *scales, int first)
{
    int t = threadIdx.x & 3;
#pragma unroll
    for (int nf = 0; nf < KEY_FRAGS; nf++) {
        int key = nf * 8 + t * 2;
        float2 k_scale = *(const float2 *)(scales + key);
        float2 v_scale = *(const float2 *)(scales + KEYS + key);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int h = j / 2;
            float v = j % 2 ? v_scale.y : v_scale.x;
            float score = score_of<PLANES>(l, acc, nf, h, j % 2, j % 2 ? k_scale.y : k_scale.x);
            bool sees = !EDGE || lane_sees(l, p, h, first + key + j % 2);
            l->max[h] = fmaxf(l->max[h], sees ? score : -INFINITY);
            l->vmax[h] = fmaxf(l->vmax[h], sees ? v : 0.0f);
        }
    }
}

/* The second pass: weights as the two planes of a fragment of A. Rounds them by an addition: they
 * stand in the low bits of w[], for they are below 2^14. */
template <int PLANES, bool EDGE>
static __device__ __forceinline__ void weigh_chunk(lane_queries *l, const attention_args *p,
                                                   const int acc[PLANES + 1][KEY_FRAGS][4],
                                                   const float *scales, int first, unsigned a[2][4])
{
    int t = threadIdx.x & 3, sum[2] = {0, 0};
    unsigned w[KEY_FRAGS][4];
#pragma unroll
    for (int nf = 0; nf < KEY_FRAGS; nf++) {
        int key = nf * 8 + t * 2;
        float2 k_scale = *(const float2 *)(scales + key);
        float2 v_scale = *(const float2 *)(scales + KEYS + key);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int h = j / 2;
            float v = j % 2 ? v_scale.y : v_scale.x;
            float score = score_of<PLANES>(l, acc, nf, h, j % 2, j % 2 ? k_scale.y : k_scale.x);
            float e = det_exp2f(score - l->max[h]);
            bool sees = !EDGE || lane_sees(l, p, h, first + key + j % 2);
            e = sees ? e : 0.0f;
            v = sees ? v : 0.0f;
            sum[h] += det_rint_s32(e * 0x1p24f); /* 8 of them: below 2^28 */
            w[nf][j] = det_float_bits((e * v) * l->inv[h] + DET_ROUND_MAGIC);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        /* Fragment 2 n fills bytes 0 and 1, fragment 2 n + 1 bytes 2 and 3. */
        int nf = i / 2 * 2, h = i % 2;
        unsigned even = w[nf + 1][h * 2] << 16 | (w[nf][h * 2] & 0xffff);
        unsigned odd = w[nf + 1][h * 2 + 1] << 16 | (w[nf][h * 2 + 1] & 0xffff);
        a[0][i] = (even >> 7 & 0x007f007f) | (odd << 1 & 0x7f007f00);
        a[1][i] = (even & 0x007f007f) | (odd << 8 & 0x7f007f00);
        l->denominator[h] += i < 2 ? sum[h] : 0;
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

static __device__ __forceinline__ warp_span span_of(const attention_args *p, attention_tile tile,
                                                    int group)
{
    int query = threadIdx.x / 32 * 16, end = tile.rows * group;
    warp_span s = {0, -1, 0, -1};
    if (query < end) {
        const int32_t *pos = p->pos + tile.first_row;
        int low = pos[query / group], high = pos[min(query + 15, end - 1) / group];
        s.seen_first = kv_window_begin(&p->kv, low), s.seen_last = high;
        s.full_first = kv_window_begin(&p->kv, high), s.full_last = low;
    }
    return s;
}

/* A warp's part of chunk `first` .. + KEYS - 1, in the first or the second pass. k, v: of the
 * chunk's stage. */
template <int PLANES, int PITCH, int PASS, bool EDGE>
static __device__ __forceinline__ void attend_chunk(const attention_args *p, lane_queries *l,
                                                    int sum[PLANES + 1][DIM_FRAGS][4],
                                                    const tile_shared *s, const unsigned char *k,
                                                    const unsigned char *v, const float *scales,
                                                    int first)
{
    int score[PLANES + 1][KEY_FRAGS][4];
    multiply_keys<PLANES, PITCH>(score, s->q, k, p->kv.pitch);
    if (PASS == 0) {
        measure_chunk<PLANES, EDGE>(l, p, score, scales, first);
    } else {
        unsigned weights[2][4];
        weigh_chunk<PLANES, EDGE>(l, p, score, scales, first, weights);
        multiply_values<PLANES>(sum, weights, v);
    }
}

/* One pass over all chunks; the whole block calls it. */
template <int PLANES, int PITCH, int PASS>
static __device__ __forceinline__ void attend(const attention_args *p, lane_queries *l,
                                              int sum[PLANES + 1][DIM_FRAGS][4],
                                              const tile_shared *s, const tile_chunks *c,
                                              const warp_span *span, int first_dim)
{
    const struct ops_kv *kv = &p->kv;
    int k_bytes = PLANES * KEYS * kv->pitch, v_bytes = PLANES * VALUE_BYTES;
    size_t base = c->head0 * kv->pitch;
    for (int chunk = -1; chunk < c->count; chunk++) {
        cp_async_wait<0>();
        __syncthreads(); /* this chunk is there, the one before is no longer needed */
        int next = chunk + 1, stage = next % 2;
        if (next < c->count) {
            int at = chunk_at(kv, c, next);
            load_keys<PLANES, PITCH>(kv, s->k + stage * k_bytes, base, at);
            load_scales(kv, s->scale + stage * SCALE_FLOATS, c->head0 + at);
            if (PASS == 1)
                load_values<PLANES, PITCH>(kv, s->v + stage * v_bytes, base, at, first_dim);
        }
        cp_async_commit();
        stage = chunk & 1;
        int first = c->first + chunk * KEYS, last = first + KEYS - 1;
        if (chunk < 0 || last < span->seen_first || first > span->seen_last)
            continue;
        const unsigned char *k = s->k + stage * k_bytes, *v = s->v + stage * v_bytes;
        const float *scales = s->scale + stage * SCALE_FLOATS;
        if (first >= span->full_first && last <= span->full_last)
            attend_chunk<PLANES, PITCH, PASS, false>(p, l, sum, s, k, v, scales, first);
        else
            attend_chunk<PLANES, PITCH, PASS, true>(p, l, sum, s, k, v, scales, first);
    }
}

/* Blocks that share a multiprocessor. With one plane 168 registers are enough for three on 8.x and
 * 9.0; for the others the compiler would spill some. */
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 800 || __CUDA_ARCH__ >= 1000)
#define BLOCKS(planes) 2
#else
#define BLOCKS(planes) ((planes) == 1 ? 3 : 2)
#endif

/* Block x takes a tile, y a KV head, z DIMS elements of the output. PITCH: the cache's, or 0 for
 * any. */
template <int PLANES, int PITCH>
static __global__ void __launch_bounds__(THREADS, BLOCKS(PLANES))
    attention_tile_kernel(attention_args p)
{
    DYNAMIC_SHARED(shared);
    if ((int)blockIdx.x >= p.plan.counts[1])
        return;
    const struct ops_kv *kv = &p.kv;
    attention_tile tile = p.plan.tile[blockIdx.x];
    int group = p.heads / kv->kv_heads, kv_head = blockIdx.y, first_dim = blockIdx.z * DIMS;
    tile_shared s = {shared, shared + 2 * TILE_QUERIES * kv->pitch, NULL, NULL};
    s.v = s.k + 2 * PLANES * KEYS * kv->pitch;
    s.scale = (float *)(s.v + 2 * PLANES * VALUE_BYTES);
    tile_chunks c = chunks_of(&p, tile, kv_head);
    warp_span span = span_of(&p, tile, group);

    load_queries(&p, s.q, tile, kv_head, group);
    lane_queries l = lane_begin(&p, tile, kv_head, group, c.sink);
    int sum[PLANES + 1][DIM_FRAGS][4];
#pragma unroll
    for (int j = 0; j < (PLANES + 1) * DIM_FRAGS * 4; j++)
        sum[j / (DIM_FRAGS * 4)][j / 4 % DIM_FRAGS][j % 4] = 0;

    attend<PLANES, PITCH, 0>(&p, &l, sum, &s, &c, &span, first_dim);
    lane_agree(&l);
    attend<PLANES, PITCH, 1>(&p, &l, sum, &s, &c, &span, first_dim);
    lane_store<PLANES>(&l, &p, sum, tile, kv_head, group, c.sink, first_dim);
}

size_t attention_tile_shared(const attention_args *p)
{
    size_t planes = p->kv.bits == 12 ? 2 : 1, pitch = (size_t)p->kv.pitch;
    return 2 * TILE_QUERIES * pitch + 2 * planes * (KEYS * pitch + VALUE_BYTES) +
           2 * SCALE_FLOATS * sizeof(float);
}

gpuzip_status attention_tile_launch(const ops_context *ctx, const attention_args *p, unsigned tiles)
{
    size_t shared = attention_tile_shared(p);
    dim3 grid(tiles, p->kv.kv_heads, ceil_div(p->kv.head_dim, DIMS));
    void (*const kernels[2][2])(attention_args) = {
        {attention_tile_kernel<1, 0>, attention_tile_kernel<1, 64>},
        {attention_tile_kernel<2, 0>, attention_tile_kernel<2, 64>}};
    void (*kernel)(attention_args) = kernels[p->kv.bits == 12][p->kv.pitch == 64];
    TRY(cuda_status(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)));
    LAUNCH(kernel, grid, THREADS, shared, ctx->stream, *p);
    return cuda_launched();
}
