/* cuda_mix.cu: the product of experts as an integer distribution, and counts.
 * A block a row.
 *
 * Encoding needs no order: Z and C[symbol] are two sums over the vocabulary.
 * Decoding sums tile by tile, finds the tile whose interval holds the target, and
 * looks again at that tile alone.
 */
#include "mix_adaptive.cuh"

/* Learning takes so many registers that a multiprocessor may hold no more than a block; for
 * the rest, the compiler decides. */
#define BLOCKS(kind) (IS_ADAPTIVE(kind) ? 1 : 0)

static __device__ __forceinline__ mix_source source_of(const ops_mix *mix)
{
    mix_source from;
    from.row = mix->row != NULL ? (size_t)mix->row[blockIdx.x] : blockIdx.x;
    from.state = mix->state != NULL ? mix->state[blockIdx.x] : 0;
    return from;
}

/* w[i] as candidates leave it. */
template <mix_kind KIND>
static __device__ __forceinline__ unsigned long long final_weight(const mix_args *p,
                                                                  const mix_row *row,
                                                                  const mix_changes *changes,
                                                                  mix_source from, int i)
{
    unsigned w = mix_weight<KIND>(p, row, from, i);
    return IS_ADAPTIVE(KIND) ? changed_weight(changes, i, w) : w;
}

/* -- encoding ------------------------------------------------------------------- */

template <mix_kind KIND>
static __global__ void __launch_bounds__(THREADS, BLOCKS(KIND)) mix_encode_kernel(mix_args p)
{
    __shared__ mix_row row;
    __shared__ mix_changes changes;
    SHARED_BEGINS(row);
    SHARED_BEGINS(changes);
    const ops_mix *mix = &p.mix;
    mix_source from = source_of(mix);
    int symbol = p.symbol[blockIdx.x];
    mix_measure<KIND>(&p, &row, from);

    unsigned long long sum = 0, before = 0;
    for (int i = threadIdx.x; i < mix->vocab; i += THREADS) {
        unsigned w = mix_weight<KIND>(&p, &row, from, i);
        sum += w;
        before += i < symbol ? w : 0;
    }
    sum = (unsigned long long)block_sum((long long)sum, row.scratch);
    before = (unsigned long long)block_sum((long long)before, row.scratch);
    if constexpr (IS_ADAPTIVE(KIND)) {
        mix_change<KIND>(&p, &row, &changes, from, sum);
        sum += changes_before(&changes, mix->vocab);
        before += changes_before(&changes, symbol);
    }
    mix_total m = mix_total_of(sum, mix->vocab, mix->escapes);
    if (threadIdx.x == 0) {
        unsigned long long after;
        if (symbol < mix->vocab) {
            after = before + final_weight<KIND>(&p, &row, &changes, from, symbol);
        } else {
            before = mix_escape_before(&m, symbol - mix->vocab);
            after = before + m.escape;
        }
        p.interval[blockIdx.x] = mix_interval_of(&m, before, after, symbol);
    }
    if constexpr (IS_ADAPTIVE(KIND))
        mix_add<KIND>(&p, &row, &changes, from, symbol, m.total);
}

/* -- decoding ------------------------------------------------------------------- */

/* Fills before[tile] with C of each tile's first symbol, before[tiles] with Z, and *changes;
 * both are shared. */
template <mix_kind KIND>
static __device__ void tile_sums(const mix_args *p, mix_row *row, mix_changes *changes,
                                 mix_source from, int tiles,
                                 unsigned long long before[TILES_MAX + 1])
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    for (int tile = warp; tile < tiles; tile += WARPS) {
        unsigned long long sum = 0;
        for (int j = 0; j < PER_LANE; j++) {
            int i = tile * TILE + j * 32 + lane;
            sum += i < p->mix.vocab ? mix_weight<KIND>(p, row, from, i) : 0;
        }
        sum = (unsigned long long)warp_sum((long long)sum);
        if (lane == 0)
            before[tile] = sum;
    }
    __syncthreads();
    int tile = threadIdx.x;
    unsigned long long through = block_scan(tile < tiles ? before[tile] : 0, row->scratch);
    if (tile < tiles)
        before[tile + 1] = through;
    if (tile == 0)
        before[0] = 0;
    __syncthreads();
    if constexpr (IS_ADAPTIVE(KIND)) {
        mix_change<KIND>(p, row, changes, from, before[tiles]);
        if (tile < tiles)
            before[tile + 1] += changes_before(changes, (tile + 1) * TILE);
        __syncthreads();
    }
}

/* Writes the answer if [before, after) is the interval of symbol i that holds target. */
static __device__ __forceinline__ void offer(ops_symbol *found, const mix_total *m, unsigned target,
                                             int i, unsigned long long before,
                                             unsigned long long after)
{
    ops_interval x = mix_interval_of(m, before, after, i);
    if (x.start <= target && target - x.start < x.freq) {
        found->symbol = i;
        found->start = x.start;
        found->freq = x.freq;
    }
}

/* Finds the symbol; *found_tile is shared. The whole block calls it. */
template <mix_kind KIND>
static __device__ void find_symbol(const mix_args *p, mix_row *row, const mix_changes *changes,
                                   mix_source from, const mix_total *m, int tiles,
                                   const unsigned long long before[TILES_MAX + 1], int *found_tile)
{
    const ops_mix *mix = &p->mix;
    ops_symbol *found = &p->found[blockIdx.x];
    unsigned target = p->target[blockIdx.x];
    int thread = threadIdx.x;
    if (target >= mix_start_of(m, m->z, mix->vocab)) {
        if (thread < mix->escapes)
            offer(found, m, target, mix->vocab + thread, mix_escape_before(m, thread),
                  mix_escape_before(m, thread + 1));
        return; /* all threads */
    }
    if (thread < tiles) {
        int end = min((thread + 1) * TILE, mix->vocab);
        if (mix_start_of(m, before[thread], thread * TILE) <= target &&
            target < mix_start_of(m, before[thread + 1], end))
            *found_tile = thread;
    }
    __syncthreads();
    int i = *found_tile * TILE + thread;
    bool inside = thread < TILE && i < mix->vocab;
    unsigned long long w = inside ? final_weight<KIND>(p, row, changes, from, i) : 0;
    unsigned long long through = before[*found_tile] + block_scan(w, row->scratch);
    if (inside)
        offer(found, m, target, i, through - w, through);
}

template <mix_kind KIND>
static __global__ void __launch_bounds__(THREADS, BLOCKS(KIND)) mix_decode_kernel(mix_args p)
{
    __shared__ mix_row row;
    __shared__ mix_changes changes;
    __shared__ unsigned long long before[TILES_MAX + 1];
    __shared__ int found_tile;
    SHARED_BEGINS(row);
    SHARED_BEGINS(changes);
    SHARED_BEGINS(before);
    SHARED_BEGINS(found_tile);
    mix_source from = source_of(&p.mix);
    int tiles = (p.mix.vocab + TILE - 1) / TILE;
    mix_measure<KIND>(&p, &row, from);
    tile_sums<KIND>(&p, &row, &changes, from, tiles, before);
    mix_total m = mix_total_of(before[tiles], p.mix.vocab, p.mix.escapes);
    find_symbol<KIND>(&p, &row, &changes, from, &m, tiles, before, &found_tile);
    if constexpr (IS_ADAPTIVE(KIND)) {
        __syncthreads(); /* one thread has found the symbol */
        mix_add<KIND>(&p, &row, &changes, from, p.found[blockIdx.x].symbol, m.total);
    }
}

/* -- the whole distribution ------------------------------------------------------ */

template <mix_kind KIND>
static __global__ void __launch_bounds__(THREADS, BLOCKS(KIND)) mix_cdf_kernel(mix_args p)
{
    __shared__ mix_row row;
    __shared__ mix_changes changes;
    __shared__ unsigned long long before[TILES_MAX + 1];
    SHARED_BEGINS(row);
    SHARED_BEGINS(changes);
    SHARED_BEGINS(before);
    const ops_mix *mix = &p.mix;
    mix_source from = source_of(mix);
    int tiles = (mix->vocab + TILE - 1) / TILE, symbols = mix->vocab + mix->escapes;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    uint32_t *start = p.start + (size_t)blockIdx.x * (symbols + 1);
    mix_measure<KIND>(&p, &row, from);
    tile_sums<KIND>(&p, &row, &changes, from, tiles, before);

    mix_total m = mix_total_of(before[tiles], mix->vocab, mix->escapes);
    for (int tile = warp; tile < tiles; tile += WARPS) {
        unsigned long long sum = before[tile];
        for (int j = 0; j < PER_LANE; j++) {
            int i = tile * TILE + j * 32 + lane;
            unsigned long long w = 0;
            if (i < mix->vocab)
                w = final_weight<KIND>(&p, &row, &changes, from, i);
            unsigned long long through = sum + warp_scan(w);
            if (i < mix->vocab)
                start[i] = mix_start_of(&m, through - w, i);
            sum = __shfl_sync(WARP_ALL, through, 31);
        }
    }
    for (int i = threadIdx.x; i <= mix->escapes; i += THREADS)
        start[mix->vocab + i] = mix_start_of(&m, mix_escape_before(&m, i), mix->vocab + i);
}

/* -- launching ------------------------------------------------------------------- */

/* kernel: [mix_kind]. */
static gpuzip_status launch(ops_context *ctx, void (*const kernel[MIX_KINDS])(mix_args), int rows,
                            mix_args p)
{
    const ops_expert *x = p.mix.expert;
    mix_kind kind = p.mix.experts == 1 && x->logits != NULL ? SINGLE : PRODUCT;
    ops_adaptive *a = p.mix.adaptive;
    if (rows == 0)
        return GPUZIP_OK;
    if (a != NULL) {
        kind = kind == SINGLE ? ADAPTIVE_SINGLE : ADAPTIVE;
        p.adaptive = a->state;
        if (!a->config.bias)
            p.adaptive.zero.bias = NULL;
        if (!a->config.alpha)
            p.adaptive.zero.alpha = NULL;
        a->stream[p.mix.part] = ctx->stream;
    }
    TRY(cuda_enter(ctx));
    LAUNCH(kernel[kind], (unsigned)rows, THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

#define KINDS(kernel)                                                                              \
    {                                                                                              \
        kernel<SINGLE>, kernel<PRODUCT>, kernel<ADAPTIVE>, kernel<ADAPTIVE_SINGLE>                 \
    }

gpuzip_status cuda_mix_encode(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                              ops_interval *out)
{
    void (*const kernel[MIX_KINDS])(mix_args) = KINDS(mix_encode_kernel);
    mix_args p = {*mix, symbol, NULL, out, NULL, NULL, {}};
    return launch(ctx, kernel, rows, p);
}

gpuzip_status cuda_mix_decode(ops_context *ctx, const ops_mix *mix, int rows,
                              const uint32_t *target, ops_symbol *out)
{
    void (*const kernel[MIX_KINDS])(mix_args) = KINDS(mix_decode_kernel);
    mix_args p = {*mix, NULL, target, NULL, out, NULL, {}};
    return launch(ctx, kernel, rows, p);
}

gpuzip_status cuda_mix_cdf(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start)
{
    void (*const kernel[MIX_KINDS])(mix_args) = {mix_cdf_kernel<PRODUCT>, mix_cdf_kernel<PRODUCT>,
                                                 mix_cdf_kernel<ADAPTIVE>,
                                                 mix_cdf_kernel<ADAPTIVE>};
    mix_args p = {*mix, NULL, NULL, NULL, NULL, start, {}};
    return launch(ctx, kernel, rows, p);
}

/* -- counts ---------------------------------------------------------------------- */

/* Where symbol i of n is counted in [states][vocab]. */
static __device__ __forceinline__ size_t count_at(const int32_t *state, const int32_t *symbol,
                                                  int vocab, int i)
{
    return (state != NULL ? (size_t)state[i] * vocab : 0) + symbol[i];
}

static __global__ void count_kernel(uint32_t *count, int vocab, const int32_t *state,
                                    const int32_t *symbol, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && symbol[i] < vocab)
        atomicAdd(&count[count_at(state, symbol, vocab, i)], 1u);
}

/* After count_kernel; a symbol that repeats is written repeatedly, with one value. */
static __global__ void count_log_kernel(const uint32_t *count, int32_t *counts, int vocab,
                                        const int32_t *state, const int32_t *symbol, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n || symbol[i] >= vocab)
        return;
    size_t at = count_at(state, symbol, vocab, i);
    counts[at] = mix_log_of_count(count[at]);
}

gpuzip_status cuda_count_add(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                             const int32_t *state, const int32_t *symbol, int n)
{
    if (n == 0)
        return GPUZIP_OK;
    TRY(cuda_enter(ctx));
    LAUNCH(count_kernel, ceil_div(n, 256), 256, 0, ctx->stream, count, vocab, state, symbol, n);
    LAUNCH(count_log_kernel, ceil_div(n, 256), 256, 0, ctx->stream, count, counts, vocab, state,
           symbol, n);
    return cuda_launched();
}
