/* cpu_mix.c: distributions as intervals of [0, 2^OPS_CDF_BITS): encoding, decoding
 * and whole tables; and Naive Bayes' counts. */
#include <assert.h>

#include "cpu_mix.h"
#include "mixmath.h"

/* A symbol's weight takes as long as so many elements of a norm. */
#define SYMBOL_COST 6

typedef struct {
    const ops_mix *mix;
    const cpu_mix_table *isa;
    const cpu_mix_learn_table *learn;
    const int32_t *symbol;  /* encode */
    const uint32_t *target; /* decode */
    ops_interval *interval; /* encode */
    ops_symbol *decoded;    /* decode */
    uint32_t *start;        /* cdf */
} mix_job;

static int mix_symbols(const ops_mix *mix)
{
    return mix->vocab + mix->escapes;
}

static void mix_check(const ops_mix *mix)
{
    assert(mix->vocab >= 1 && mix->escapes >= 0 && mix_symbols(mix) <= OPS_MAX_VOCAB);
    assert(mix->experts >= 1 && mix->experts <= OPS_MAX_EXPERTS);
    for (int k = 0; k < mix->experts; k++) {
        assert(!mix->expert[k].logits != !mix->expert[k].counts);
        assert(mix->expert[k].alpha < 1u << 20);
    }
    assert(!mix->candidate == !mix->candidates && (mix->adaptive || !mix->candidate));
    if (mix->adaptive) {
        assert(mix->adaptive->config.vocab == mix->vocab);
        assert(mix->adaptive->config.experts == mix->experts);
        assert(mix->part >= 0 && mix->part < mix->adaptive->config.parts);
    }
    (void)mix;
}

static void check_candidates(const ops_mix *mix, const ops_candidate *c, int n)
{
    assert(n <= OPS_CANDIDATES);
    for (int i = 0; i < n; i++) {
        assert(c[i].symbol >= 0 && c[i].symbol < mix->vocab);
        assert(c[i].order < OPS_FEATURES && c[i].hits >= 1 && c[i].hits <= MIX_HITS);
    }
    (void)mix;
    (void)c;
}

/* Whether a row is learnt from. */
static bool learns(const ops_mix *mix, int r)
{
    return mix->adaptive && (!mix->candidates || mix->candidates[r] >= 0);
}

static uint64_t sum_tiles(const cpu_mix_row *row)
{
    uint64_t z = 0;
    for (int tile = 0; tile < row->tiles; tile++)
        z += row->sum[tile];
    return z;
}

/* Fills in the row's adaptive state, number s, if there is one. */
static void open_adaptive(cpu_mix_row *row, const ops_mix *mix, int s, int thread)
{
    const ops_adaptive *a = mix->adaptive;
    int worker = a ? mix->part * a->threads + thread : 0;
    row->sums = NULL;
    row->bias = NULL;
    row->learns_alpha = false;
    row->changes = 0;
    for (int k = 0; k < mix->experts; k++)
        row->alpha[k] = a && a->config.alpha ? a->state[s].alpha[k] : mix->expert[k].alpha;
    if (!a)
        return;
    assert(s >= 0 && s < a->config.states);
    row->sums = &a->sums[s * a->config.parts * a->threads + worker];
    row->scratch = &a->scratch[worker];
    row->state = &a->state[s];
    row->bias = a->config.bias ? row->state->bias : NULL;
    row->learns_alpha = a->config.alpha;
    row->s0 = 0;
    for (int k = 0; k < mix->experts; k++)
        row->s1[k] = row->s2[k] = 0;
}

/* Fills `row` for mixed row r and returns Z. */
static uint64_t mix_open(cpu_mix_row *row, const mix_job *job, int r, int thread)
{
    const ops_mix *mix = job->mix;
    size_t source = (size_t)(mix->row ? mix->row[r] : r);
    int s = mix->state ? mix->state[r] : 0;
    row->mix = mix;
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *expert = &mix->expert[k];
        row->logits[k] = expert->logits ? expert->logits + source * expert->stride : NULL;
        row->counts[k] = expert->counts ? expert->counts + (size_t)s * (size_t)mix->vocab : NULL;
    }
    open_adaptive(row, mix, s, thread);
    job->isa->prepare(row);
    uint64_t z = sum_tiles(row);
    if (!mix->candidates || mix->candidates[r] <= 0)
        return z;
    const ops_candidate *candidate = mix->candidate + (size_t)r * OPS_CANDIDATES;
    check_candidates(mix, candidate, mix->candidates[r]);
    job->learn->change(row, candidate, mix->candidates[r], z);
    return sum_tiles(row);
}

/* The weights of symbols [first, first + n) of a tile. */
static void tile_weights(const cpu_mix_row *row, const mix_job *job, int first, int n,
                         uint64_t w[MIX_TILE])
{
    uint32_t narrow[MIX_TILE];
    const uint32_t *from = narrow;
    if (row->sums)
        from = row->scratch->w + first;
    else
        job->isa->weights(row, first, n, narrow);
    for (int i = 0; i < n; i++)
        w[i] = from[i];
    for (int c = 0; c < row->changes; c++) {
        int i = row->change[c].symbol - first;
        if (i >= 0 && i < n)
            w[i] = row->change[c].w;
    }
}

static mix_total total_of(const ops_mix *mix, uint64_t z)
{
    return mix_total_of(z, mix->vocab, mix->escapes);
}

/* start[i] <= target, without the division: floor(a / b) <= n means a < (n + 1) b.
 * Requires i >= 1 and target < 2^30, else the product could pass 2^64. */
static bool starts_by(const mix_total *m, uint64_t c, int i, uint32_t target)
{
    uint32_t first = (uint32_t)i;
    return first <= target &&
           (c >> m->shift) * m->spread < (uint64_t)(target - first + 1) * m->divisor;
}

static int tile_size(const ops_mix *mix, int first)
{
    return mix->vocab - first < MIX_TILE ? mix->vocab - first : MIX_TILE;
}

/* Learns from row r, whose symbol is now known; total is Z' of ops.h. */
static void learn_row(cpu_mix_row *row, const mix_job *job, int r, int symbol, uint64_t total)
{
    if (learns(job->mix, r))
        job->learn->add(row, symbol, total);
}

static void encode_row(const void *opaque, int r, int thread)
{
    const mix_job *job = opaque;
    const ops_mix *mix = job->mix;
    int symbol = job->symbol[r];
    assert(symbol >= 0 && symbol < mix_symbols(mix));
    cpu_mix_row row;
    mix_total m = total_of(mix, mix_open(&row, job, r, thread));

    if (symbol >= mix->vocab) {
        uint64_t c = mix_escape_before(&m, symbol - mix->vocab);
        job->interval[r] = mix_interval_of(&m, c, c + m.escape, symbol);
        learn_row(&row, job, r, symbol, m.total);
        return;
    }
    int tile = symbol / MIX_TILE, first = tile * MIX_TILE;
    uint64_t c = 0;
    for (int before = 0; before < tile; before++)
        c += row.sum[before];
    uint64_t w[MIX_TILE];
    int last = symbol - first;
    tile_weights(&row, job, first, last + 1, w);
    for (int i = 0; i < last; i++)
        c += w[i];
    job->interval[r] = mix_interval_of(&m, c, c + w[last], symbol);
    learn_row(&row, job, r, symbol, m.total);
}

static void decode_row(const void *opaque, int r, int thread)
{
    const mix_job *job = opaque;
    const ops_mix *mix = job->mix;
    uint32_t target = job->target[r];
    assert(target < 1u << OPS_CDF_BITS);
    cpu_mix_row row;
    mix_total m = total_of(mix, mix_open(&row, job, r, thread));

    uint64_t c = 0, w = m.escape;
    int symbol = 0, tile = 0;
    while (tile < row.tiles) {
        int next = symbol + tile_size(mix, symbol);
        if (!starts_by(&m, c + row.sum[tile], next, target))
            break;
        c += row.sum[tile++];
        symbol = next;
    }
    if (tile == row.tiles) { /* an escape, of which all weigh the same */
        while (symbol < mix_symbols(mix) - 1 && starts_by(&m, c + w, symbol + 1, target)) {
            c += w;
            symbol++;
        }
    } else {
        uint64_t tile_w[MIX_TILE];
        int last = tile_size(mix, symbol) - 1, i = 0;
        tile_weights(&row, job, symbol, last + 1, tile_w);
        while (i < last && starts_by(&m, c + tile_w[i], symbol + i + 1, target))
            c += tile_w[i++];
        symbol += i;
        w = tile_w[i];
    }
    ops_interval found = mix_interval_of(&m, c, c + w, symbol);
    job->decoded[r] = (ops_symbol){symbol, found.start, found.freq};
    learn_row(&row, job, r, symbol, m.total);
}

static void cdf_row(const void *opaque, int r, int thread)
{
    const mix_job *job = opaque;
    const ops_mix *mix = job->mix;
    cpu_mix_row row;
    mix_total m = total_of(mix, mix_open(&row, job, r, thread));

    uint32_t *start = job->start + (size_t)r * ((size_t)mix_symbols(mix) + 1);
    uint64_t c = 0;
    for (int first = 0; first < mix->vocab; first += MIX_TILE) {
        uint64_t w[MIX_TILE];
        int n = tile_size(mix, first);
        tile_weights(&row, job, first, n, w);
        for (int i = 0; i < n; i++) {
            start[first + i] = mix_start_of(&m, c, first + i);
            c += w[i];
        }
    }
    for (int i = mix->vocab; i <= mix_symbols(mix); i++) {
        start[i] = mix_start_of(&m, c, i);
        c += m.escape;
    }
}

static gpuzip_status mix_run(ops_context *ctx, const mix_job *job, int rows, cpu_row_fn fn)
{
    mix_check(job->mix);
    size_t cost = SYMBOL_COST * (size_t)job->mix->vocab * (size_t)job->mix->experts;
    cpu_for_rows(ctx, rows, cost, fn, job);
    return GPUZIP_OK;
}

gpuzip_status cpu_mix_encode(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                             ops_interval *out)
{
    mix_job job = {mix, CPU_ISA_PICK(ctx, cpu_mix), CPU_ISA_PICK(ctx, cpu_mix_learn),
                   .symbol = symbol, .interval = out};
    return mix_run(ctx, &job, rows, encode_row);
}

gpuzip_status cpu_mix_decode(ops_context *ctx, const ops_mix *mix, int rows, const uint32_t *target,
                             ops_symbol *out)
{
    mix_job job = {mix, CPU_ISA_PICK(ctx, cpu_mix), CPU_ISA_PICK(ctx, cpu_mix_learn),
                   .target = target, .decoded = out};
    return mix_run(ctx, &job, rows, decode_row);
}

gpuzip_status cpu_mix_cdf(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start)
{
    mix_job job = {mix, CPU_ISA_PICK(ctx, cpu_mix), CPU_ISA_PICK(ctx, cpu_mix_learn),
                   .start = start};
    return mix_run(ctx, &job, rows, cdf_row);
}

gpuzip_status cpu_count_add(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                            const int32_t *state, const int32_t *symbol, int n)
{
    (void)ctx;
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)(state ? state[i] : 0) * (size_t)vocab + (size_t)symbol[i];
        if (symbol[i] < vocab)
            counts[at] = mix_log_of_count(++count[at]);
    }
    return GPUZIP_OK;
}
