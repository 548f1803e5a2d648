/* bench_bounds.c: see bench_bounds.h.
 *
 * Counts of instructions are of sm_90a's SASS (nvcc 13.0), by hand from loops' lengths divided by
 * the units of work of an iteration, +-20 %; other architectures are taken to need as many. Waits
 * of barriers, bank conflicts, partial waves within a multiprocessor and stalls are left out, so
 * that real kernels are slower: those here usually reach 0.6 of the issue rate.
 */
#include "bench_bounds.h"

#include <math.h>
#include <string.h>

#include "ops.h"

/* Rates that the devices share, a clock and multiprocessor. CUDA C++ Programming Guide, throughput
 * of arithmetic instructions; shared memory has 32 banks of 4 bytes. */
#define ISSUE   4   /* warp instructions */
#define DP4A    64  /* lanes */
#define CONVERT 64  /* lanes; 32-bit integers and floats */
#define SHARED  128 /* bytes */

/* Of a node of a graph that depends on the one before: an estimate of reports by others. */
#define LAUNCH 1.4e-6 /* seconds */

/* Tensor cores: the data sheets' dense rates at the clock here; mma.sync on 9.0 reaches about 0.6
 * of wgmma. L2 and DRAM: the rates that copies reach, estimated. Waits for memory are the shortest
 * that are published: for the H100 in PMC10448217 (table 3); L2 of an AD102 in arXiv 2606.22588. */
static const bounds_device devices[] = {
    {.name = "H200",
     .title = "H200 (132 multiprocessors, 1.8 GHz)",
     .processors = 132,
     .clock = 1.8e9,
     .wgmma = 4096,
     .mma = 2500,
     .convert64 = 16,
     .l2 = 5.5e12,
     .dram = 4.3e12,
     .l2_bytes = 50e6,
     .memory = 150.8e9,
     .l2_wait = 200,
     .dram_wait = 400},
    {.name = "4090",
     .title = "RTX 4090 (128 multiprocessors, 2.5 GHz)",
     .processors = 128,
     .clock = 2.5e9,
     .mma = 1024,
     .convert64 = 2,
     .l2 = 5.0e12,
     .dram = 0.95e12,
     .l2_bytes = 72e6,
     .memory = 24e9,
     .l2_wait = 222,
     .dram_wait = 400},
};

/* Warp instructions a unit of work. */
static const struct {
    /* linear_hopper_kernel, 128 bytes of K: a consumer's warp, without and a pair of planes; the
     * producer's. linear_kernel and linear_small_kernel, 64 bytes of K: without, a plane copied, a
     * product. The epilogue: 16 x 32 outputs, without and a set of sums. A warp's beginning. */
    double step, step_pair, produce, mma_step, mma_plane, small_step, small_mma, store, store_set;
    double begin;
    /* attention_tile_kernel, a warp's 16 queries with 32 keys: in the first and second pass, one
     * plane; for one plane more; its queries and outputs. attention_kernel, a position: a query's
     * scores, its weights, its values; that which queries share. A warp's
     * queries, reductions and outputs. */
    double tile_first, tile_second, tile_plane, tile, score, weigh, value, position, attend;
    /* Four elements of each lane, read and quantised; normalised; with GELU; with SwiGLU. A row's
     * reductions. embed: 32 elements without and with a position. qkv: a head. */
    double quantize, norm, gelu, swiglu, reduce, embed, embed_position, head;
    /* mix: 32 symbols, encoded, decoded, adaptive with one expert: 2 for the maximum of logits,
     * 19 of t, 46 for the sum, 75 for the sums that learn. A row. */
    double mix_encode, mix_decode, mix_adaptive, mix_row;
} instructions = {
    .step = 48,
    .step_pair = 26,
    .produce = 80,
    .mma_step = 130,
    .mma_plane = 100,
    .small_step = 28,
    .small_mma = 4,
    .store = 175,
    .store_set = 50,
    .begin = 200,
    .tile_first = 230,
    .tile_second = 660,
    .tile_plane = 170,
    .tile = 2500,
    .score = 6,
    .weigh = 1.2,
    .value = 2.5,
    .position = 9,
    .attend = 400,
    .quantize = 36,
    .norm = 44,
    .gelu = 160,
    .swiglu = 120,
    .reduce = 60,
    .embed = 6.5,
    .embed_position = 16,
    .head = 300,
    .mix_encode = 35,
    .mix_decode = 40,
    .mix_adaptive = 142,
    .mix_row = 4000,
};

const bounds_device *bounds_device_named(const char *name)
{
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (strcmp(devices[i].name, name) == 0)
            return &devices[i];
    return NULL;
}

static int planes(int bits)
{
    return bits > 8 ? 2 : 1;
}

/* Rows of the matrices of a layer. */
static int qkv_columns(const weights_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head_dim;
}

static int up_columns(const weights_config *c)
{
    return c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1);
}

bounds_model bounds_model_of(const bounds_device *device, const weights_config *config)
{
    const weights_config *c = config;
    double att = (double)c->heads * c->head_dim;
    double layer = (double)c->dim * (qkv_columns(c) + att + up_columns(c) + c->ffn);
    double head = (double)c->vocab * c->dim;
    return (bounds_model){device, *c, (c->layers * layer + head) * planes(c->weight_bits)};
}

/* ---- from work to time ---------------------------------------------------- */

bounds_time bounds_time_of(const bounds_device *d, const bounds_work *w)
{
    bounds_time t = {{0}, BOUNDS_ISSUE};
    if (w->blocks <= 0)
        return t;
    /* The busiest multiprocessor has ceil() of its share of the blocks. */
    double share = ceil(w->blocks / d->processors) / w->blocks / d->clock;
    double waves = fmax(1, ceil(w->blocks / (d->processors * w->resident)));
    double tensor = w->mma / d->mma + (d->wgmma > 0 ? w->wgmma / d->wgmma : 0);
    double pipes = fmax(w->dp4a / DP4A, w->convert / CONVERT + w->convert64 / d->convert64);
    t.seconds[BOUNDS_ISSUE] = w->issue / ISSUE * share;
    t.seconds[BOUNDS_TENSOR] = tensor * share;
    t.seconds[BOUNDS_PIPES] = pipes * share;
    t.seconds[BOUNDS_SHARED] = w->shared / SHARED * share;
    t.seconds[BOUNDS_L2] = w->l2 / d->l2;
    t.seconds[BOUNDS_DRAM] = w->dram / d->dram;
    t.seconds[BOUNDS_LATENCY] = LAUNCH + waves * w->wait / d->clock;
    for (int i = 1; i < BOUNDS_RESOURCES; i++)
        if (t.seconds[i] > t.seconds[t.binding])
            t.binding = (bounds_resource)i;
    return t;
}

/* Bytes of activations that pass through DRAM: those beyond L2, where the kernels before and behind
 * may leave and find the others. */
static double beyond_l2(const bounds_model *m, double bytes)
{
    return fmax(0, bytes - m->device->l2_bytes);
}

/* Matrices are read from DRAM in every pass, unless L2 holds those of the whole model. */
static double weights_dram(const bounds_model *m, double bytes)
{
    return m->weight_bytes <= m->device->l2_bytes ? 0 : bytes;
}

/* ---- linear layers -------------------------------------------------------- */

/* The shape of a call. */
typedef struct {
    int rows, n, pitch;
    int a, w, sets; /* planes, and sums of a pair of planes */
    bool residual;
} linear_shape;

/* The epilogue of 16 x 32 outputs a warp, so many of them. wide: the sum is converted from 64 bits,
 * on 9.0's path only. */
static void add_epilogue(bounds_work *work, const linear_shape *s, double pieces, bool wide)
{
    work->issue += pieces * (instructions.store + instructions.store_set * s->sets);
    if (wide && s->sets > 1)
        work->convert64 += pieces * 16 * 32;
    else
        work->convert += pieces * 16 * 32 * (s->sets > 1 ? 2 : 1);
}

/* Columns of a tile of linear_hopper_kernel, chosen as it chooses. */
static int hopper_columns(const bounds_model *m, const linear_shape *s)
{
    int wide = s->a == 1 ? (s->w == 1 ? 256 : 128) : s->w == 1 ? 192 : 64;
    const int columns[] = {wide, wide < 128 ? wide : 128, 64};
    int best = 0;
    double least = INFINITY;
    for (int i = 0; i < 3; i++) {
        double tiles = ceil(s->rows / 128.0) * ceil((double)s->n / columns[i]);
        double cost = ceil(tiles / m->device->processors) * (columns[i] + 32);
        if (cost < least) {
            least = cost;
            best = columns[i];
        }
    }
    return best;
}

/* A block an SM takes tiles of 128 x n; two warpgroups of 64 rows read A and W from shared memory,
 * 32 bytes of K an instruction, which the TMA has filled. */
static void hopper(bounds_work *work, const bounds_model *m, const linear_shape *s)
{
    int n = hopper_columns(m, s), pairs = s->a * s->w;
    double tiles = ceil(s->rows / 128.0) * ceil((double)s->n / n), steps = ceil(s->pitch / 128.0);
    double stage = 128.0 * (128 * s->a + n * s->w);
    double read = 2 * 4 * pairs * 32.0 * (64 + n);
    work->blocks = tiles;
    work->resident = INFINITY; /* the next tile's copies begin before this one ends */
    work->issue = tiles * steps *
                  (8 * (instructions.step + instructions.step_pair * pairs) + instructions.produce);
    work->wgmma = tiles * 128 * n * 128.0 * steps * pairs;
    work->shared = tiles * steps * (stage + read);
    work->l2 = tiles * steps * stage;
    work->wait = m->device->dram_wait + m->device->l2_wait;
    add_epilogue(work, s, tiles * 8 * n / 32, true);
}

/* A block has 128 columns by 32 fragments rows; 8 warps of half the rows by 32 columns; three
 * stages of 64 bytes of K. */
static void tiled(bounds_work *work, const bounds_model *m, const linear_shape *s)
{
    double columns = ceil(s->n / 128.0);
    bool small = s->a + s->w == 4 || 2 * columns * ceil(s->rows / 128.0) <= m->device->processors;
    int rows = small ? 64 : 128, pairs = s->a * s->w;
    double tiles = columns * ceil((double)s->rows / rows), steps = s->pitch / 64.0;
    double stage = 64.0 * (rows * s->a + 128 * s->w),
           products = rows / 2 * 32 * 64.0 / 4096 * pairs;
    /* Of a warp's 64 bytes of K, ldmatrix reads its rows of A and columns of W. */
    double read = 64.0 * (rows / 2 * s->a + 32 * s->w);
    work->blocks = tiles;
    work->resident = 1;
    work->issue = tiles * 8 *
                  (instructions.begin + steps * (instructions.mma_step + products +
                                                 instructions.mma_plane * (s->a + s->w)));
    work->mma = tiles * rows * 128.0 * 64 * steps * pairs;
    work->shared = tiles * steps * (stage + 8 * read);
    work->l2 = tiles * steps * stage;
    /* Two steps are under way. */
    work->wait = m->device->dram_wait + steps * m->device->l2_wait / 2;
    add_epilogue(work, s, tiles * 8 * rows / 32, false);
}

/* At most 16 rows: a block has 16 columns, its 8 warps share K. */
static void few_rows(bounds_work *work, const bounds_model *m, const linear_shape *s)
{
    double blocks = ceil(s->n / 16.0), steps = ceil(s->pitch / 64.0), products = 4.0 * s->a * s->w;
    work->blocks = blocks;
    work->resident = 2;
    work->issue = blocks * (8 * instructions.begin +
                            steps * (instructions.small_step + instructions.small_mma * products));
    work->mma = blocks * steps * products * 4096;
    work->shared = blocks * 8 * 2 * s->sets * 2 * 4 * 32 * 4.0;
    work->l2 = blocks * 16.0 * s->pitch * s->w + (double)s->rows * s->pitch * s->a * blocks;
    work->wait = m->device->dram_wait + (s->residual ? m->device->l2_wait : 0);
}

bounds_work bounds_linear(const bounds_model *m, int rows, int n, int k, bool residual)
{
    const weights_config *c = &m->config;
    linear_shape s = {.rows = rows,
                      .n = n,
                      .pitch = (int)OPS_PITCH(k),
                      .a = planes(c->activation_bits),
                      .w = planes(c->weight_bits),
                      .residual = residual};
    s.sets = s.a + s.w - 1;
    bounds_work work = {0};
    if (m->device->wgmma > 0 && rows >= 65)
        hopper(&work, m, &s);
    else if (rows <= 16)
        few_rows(&work, m, &s);
    else
        tiled(&work, m, &s);
    double out = 4.0 * rows * n * (residual ? 2 : 1), in = (double)rows * s.pitch * s.a;
    work.l2 += out;
    work.dram = weights_dram(m, (double)n * s.pitch * s.w) + beyond_l2(m, in + out);
    return work;
}

/* ---- row by row ------------------------------------------------------------ */

/* Rows of dim elements, `reads` bytes of each, quantised. warps: of a row. vector: instructions of
 * a warp's 128 elements. */
static bounds_work row_work(const bounds_model *m, int rows, int dim, int reads, double vector,
                            double reductions)
{
    double warps = dim <= 1024 ? 1 : 8, vectors = ceil(dim / 128.0 / warps) * warps;
    double bytes = (double)rows * dim * (reads + planes(m->config.activation_bits));
    bounds_work work = {.blocks = warps == 1 ? ceil(rows / 4.0) : rows,
                        .resident = warps == 1 ? 8 : 4,
                        .issue =
                            rows * (vectors * vector + warps * reductions * instructions.reduce),
                        .convert = (double)rows * dim,
                        .l2 = bytes,
                        .dram = beyond_l2(m, bytes)};
    /* A load, then shuffles: five of about 25 clocks a reduction. */
    work.wait = m->device->l2_wait + reductions * 5 * 25;
    return work;
}

bounds_work bounds_norm(const bounds_model *m, int rows)
{
    bounds_work work =
        row_work(m, rows, m->config.dim, 4, instructions.quantize + instructions.norm,
                 m->config.norm == WEIGHTS_NORM_LAYER ? 4 : 3);
    work.convert *= 2; /* to integers once more, for the sums */
    return work;
}

bounds_work bounds_quantize(const bounds_model *m, int rows, int dim)
{
    return row_work(m, rows, dim, 4, instructions.quantize, 1);
}

bounds_work bounds_activate(const bounds_model *m, int rows)
{
    bool gated = m->config.act == WEIGHTS_ACT_SWIGLU;
    return row_work(m, rows, m->config.ffn, gated ? 8 : 4,
                    instructions.quantize + (gated ? instructions.swiglu : instructions.gelu), 1);
}

bounds_work bounds_embed(const bounds_model *m, int rows)
{
    bool position = !m->config.rope;
    double elements = (double)rows * m->config.dim, bytes = elements * (position ? 10 : 6);
    return (bounds_work){.blocks = rows,
                         .resident = 8,
                         .issue = elements / 32 *
                                  (position ? instructions.embed_position : instructions.embed),
                         .convert = elements,
                         .l2 = bytes,
                         .dram = beyond_l2(m, bytes),
                         .wait = m->device->l2_wait + m->device->dram_wait};
}

bounds_work bounds_qkv(const bounds_model *m, int rows)
{
    const weights_config *c = &m->config;
    double heads = (double)rows * (c->heads + 2 * c->kv_heads), elements = heads * c->head_dim;
    double kv = 2.0 * rows * c->kv_heads * c->head_dim * planes(c->kv_bits);
    double bytes = elements * 4 + (double)rows * c->heads * c->head_dim * 2 + kv;
    return (bounds_work){.blocks = ceil(heads / 8),
                         .resident = 6,
                         .issue = heads * instructions.head * ceil(c->head_dim / 64.0),
                         .convert = elements * (c->rope ? 2 : 1),
                         .l2 = bytes,
                         .dram = fmax(kv, beyond_l2(m, bytes)),
                         .wait = 2 * m->device->l2_wait + 5 * 25};
}

/* ---- attention ------------------------------------------------------------- */

/* Bytes of a position of a KV head: a key and a value; the scales. */
static double position_bytes(const weights_config *c)
{
    return 2.0 * c->head_dim * planes(c->kv_bits) + 2 * sizeof(float);
}

/* A block has 64 queries (rows, and the heads that share a KV head) and all keys by chunks of 32,
 * twice. Its copies are one chunk ahead. */
bounds_work bounds_prefill(const bounds_model *m, int slots, int run, double positions)
{
    const weights_config *c = &m->config;
    int group = c->heads / c->kv_heads, kv_planes = planes(c->kv_bits), piece = 64 / group;
    double parts = ceil(c->head_dim / 64.0), frags = c->head_dim / 32.0;
    double tiles = (double)slots * ceil((double)run / piece) * c->kv_heads * parts;
    double chunks = ceil((positions + piece / 2.0) / 32);
    double all = tiles * chunks, bytes = 32.0 * c->head_dim * kv_planes;
    double rows = (double)slots * run, cache = c->kv_heads * (positions + run / 2.0) * slots;
    double io = rows * c->heads * c->head_dim * 6;
    double each = instructions.tile_first + instructions.tile_second +
                  2 * (kv_planes - 1) * instructions.tile_plane;
    /* Positions before the runs have left L2 if that does not hold all layers'. */
    bool old = positions > run && cache * position_bytes(c) * c->layers > m->device->l2_bytes;
    /* ldmatrix of 512 bytes: of keys and both planes of queries, in two passes; of values. */
    double loads = 2 * frags * (2 * kv_planes + 2) + 4 * kv_planes;
    return (bounds_work){.blocks = tiles,
                         .resident = kv_planes == 1 ? 3 : 2,
                         .issue = 4 * (all * each + tiles * instructions.tile),
                         .mma = all * 64 * 32 * 2 * kv_planes * (2.0 * c->head_dim + 64),
                         .convert = all * 64 * 32 * (2 + kv_planes * 2),
                         .shared = all * (4 * loads * 512 + 3 * bytes),
                         .l2 = all * 3 * bytes + io,
                         .dram = old ? cache * position_bytes(c) + beyond_l2(m, io)
                                     : beyond_l2(m, cache * position_bytes(c) + io),
                         .wait = 3 * m->device->l2_wait + 2 * chunks * m->device->l2_wait};
}

/* A block has a row and up to four heads that share a KV head: scores of 64 positions at a time,
 * weights, then values of 128. */
bounds_work bounds_attend(const bounds_model *m, int rows, double positions)
{
    const weights_config *c = &m->config;
    int group = c->heads / c->kv_heads, kv_planes = planes(c->kv_bits);
    int queries = group == 1 ? 1 : 4, tiles = (group + queries - 1) / queries;
    double blocks = (double)rows * c->kv_heads * tiles, seen = blocks * positions;
    double width = c->head_dim / 64.0, bytes = (double)rows * c->kv_heads * positions;
    double query = instructions.score + instructions.weigh + instructions.value * kv_planes;
    /* Scores wait for keys each time, values for each pair of 16. */
    double waits = 4 + positions / 64 + width * 2 * positions / 16 / 8 / 2;
    return (bounds_work){.blocks = blocks,
                         .resident = queries == 1 ? 3 : 2,
                         .issue = seen * width * (instructions.position + query * queries) +
                                  blocks * 8 * instructions.attend,
                         .dp4a = seen * queries * 2 * 2 * kv_planes * c->head_dim / 4,
                         .convert = seen * queries * 2,
                         .convert64 = seen * queries,
                         .shared = seen * queries * width * (2.0 / 8 + 2 * 2.0 / 16) * 128,
                         .l2 = seen * position_bytes(c),
                         .dram =
                             rows > 0 && bytes * position_bytes(c) * c->layers > m->device->l2_bytes
                                 ? bytes * position_bytes(c)
                                 : 0,
                         .wait = waits * m->device->dram_wait};
}

/* ---- mixing ---------------------------------------------------------------- */

bounds_work bounds_mix(const bounds_model *m, int rows, bool decode, bool adaptive)
{
    double symbols = m->config.vocab, bytes = (double)rows * symbols * sizeof(float);
    double each = adaptive ? instructions.mix_adaptive
                  : decode ? instructions.mix_decode
                           : instructions.mix_encode;
    /* The maximum, 16 loads at a time; then weights, 4 at a time; of an adaptive
     * mix, t 4 at a time and two passes 2 at a time. */
    double waits = ceil(symbols / 512 / 16) + (adaptive ? 5 : 1) * ceil(symbols / 512 / 4);
    return (bounds_work){.blocks = rows,
                         .resident = adaptive ? 2 : 4,
                         .issue = rows * (symbols / 32 * each + instructions.mix_row),
                         .convert = rows * symbols * (adaptive ? 6 : 2),
                         .l2 = bytes,
                         .dram = beyond_l2(m, bytes),
                         .wait = waits * m->device->l2_wait + (adaptive ? 12 : 5) * 5 * 25};
}
