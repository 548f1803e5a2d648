/* cpu_attention_back.c: attention_back() down to its items and keys. */
#include "cpu_attention_back.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_threads.h"
#include "cpu_learn.h"

/* Multiply-adds in a microsecond, about, as in cpu_attention.c. */
#define MULTIPLY_ADDS_PER_US 60000
/* Sequences whose transposed windows are held at a time, for each thread. */
#define SEQUENCES 4

static const back_path *find_path(const ops_context *ctx)
{
#if defined(__x86_64__)
    if (ctx->isa == CPU_ISA_AVX512VNNI)
        return &back_path_avx512vnni;
    if (ctx->isa == CPU_ISA_AVX512)
        return &back_path_avx512;
    if (ctx->isa == CPU_ISA_AVX2)
        return &back_path_avx2;
#endif
    (void)ctx;
    return &back_path_c;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* A bump allocator over one block: with base NULL it only counts. */
typedef struct {
    char *base;
    size_t used;
} arena;

static void *take(arena *a, size_t bytes)
{
    void *at = a->base ? a->base + a->used : NULL;
    a->used += round_up(bytes, 64);
    return at;
}

/* All of a call. */
typedef struct {
    back_job job;
    ops_batch batch; /* sorted */
    const back_path *path;
    int32_t *row, *slot, *pos; /* of the sorted rows */
    back_sequence *sequence;   /* [SEQUENCES * threads], the current round's */
    attention_item *item;      /* [rows]; head groups repeat them */
    int sequences, groups;     /* of the round; head groups of a KV head */
    int *part_sequence;        /* [rows] the sequence of each part */
    int *part_first;           /* [rows] the part's item, or its first key */
    back_scratch *scratch;     /* [threads] */
    int threads, positions;    /* that an item reads, at most */
} back_call;

/* ---- sorting -------------------------------------------------------------- */

typedef struct {
    int32_t slot, pos, row;
} row_key;

static int compare_rows(const void *a, const void *b)
{
    const row_key *x = a, *y = b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    return (x->pos > y->pos) - (x->pos < y->pos);
}

/* Errors: MEMORY. */
static gpuzip_status sort_rows(back_call *c, const ops_batch *batch)
{
    row_key *key = malloc((size_t)batch->rows * sizeof *key);
    if (!key)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < batch->rows; i++)
        key[i] = (row_key){batch->slot[i], batch->pos[i], i};
    qsort(key, (size_t)batch->rows, sizeof *key, compare_rows);
    for (int i = 0; i < batch->rows; i++) {
        assert(i == 0 || key[i].slot != key[i - 1].slot || key[i].pos == key[i - 1].pos + 1);
        c->row[i] = key[i].row;
        c->slot[i] = key[i].slot;
        c->pos[i] = key[i].pos;
    }
    free(key);
    return GPUZIP_OK;
}

/* ---- memory --------------------------------------------------------------- */

/* Lays the arrays of a call out, but for those of sequences. */
static void lay_out(back_call *c, arena *a, int rows, bool sinks)
{
    const ops_kv *kv = c->job.attention.kv;
    size_t heads = (size_t)rows * (size_t)c->job.attention.heads,
           dims = heads * (size_t)kv->head_dim;
    size_t positions = ATTENTION_QUERIES * (size_t)c->positions;
    c->job.sorted.q = take(a, dims * sizeof(int16_t));
    c->job.sorted.scale = take(a, heads * sizeof(float));
    if (sinks) {
        c->job.sorted.sink = take(a, dims * sizeof(int16_t));
        c->job.sorted.sink_scale = take(a, heads * sizeof(float));
    }
    c->job.a = take(a, dims * sizeof(int16_t));
    c->job.a_scale = take(a, heads * sizeof(float));
    c->job.delta = take(a, heads * sizeof(float));
    c->item = take(a, (size_t)rows * sizeof *c->item);
    c->part_sequence = take(a, (size_t)rows * sizeof *c->part_sequence);
    c->part_first = take(a, (size_t)rows * sizeof *c->part_first);
    c->sequence = take(a, (size_t)SEQUENCES * (size_t)c->threads * sizeof *c->sequence);
    c->scratch = take(a, (size_t)c->threads * sizeof *c->scratch);
    for (int i = 0; i < c->threads; i++) {
        back_scratch s;
        s.total = take(a, ATTENTION_QUERIES * (size_t)kv->v_dim * sizeof *s.total);
        s.score = take(a, positions * sizeof *s.score);
        s.error = take(a, positions * sizeof *s.error);
        s.weight = take(a, positions * sizeof *s.weight);
        s.k_scale = take(a, (size_t)c->positions * sizeof *s.k_scale);
        s.v_scale = take(a, (size_t)c->positions * sizeof *s.v_scale);
        if (a->base)
            c->scratch[i] = s;
    }
}

/* ---- rounds --------------------------------------------------------------- */

/* The sequence of `rows` rows from `first` on. Lays its arrays out. */
static back_sequence open_sequence(const back_call *c, arena *a, int first, int rows, int kv_head)
{
    const ops_kv *kv = c->job.attention.kv;
    int begin = c->pos[first] - kv->window + 1, last = c->pos[first + rows - 1];
    back_sequence s = {.first = first, .rows = rows, .kv_head = kv_head};
    s.begin = begin > 0 ? begin / ATTENTION_SEGMENT * ATTENTION_SEGMENT : 0;
    s.positions = (int)round_up((size_t)(last - s.begin) + 1, ATTENTION_SEGMENT);
    size_t group = (size_t)(c->job.attention.heads / kv->kv_heads);
    s.queries = (int)round_up((size_t)rows * group, ATTENTION_SEGMENT);
    s.key_pitch = round_up((size_t)rows, BACK_KEYS);
    size_t pairs = (size_t)s.queries * (size_t)kv->v_dim;
    size_t coefficients = (size_t)rows * group * s.key_pitch;
    s.q = take(a, pairs * sizeof *s.q);
    s.a = take(a, pairs * sizeof *s.a);
    s.k = take(a, (size_t)s.positions * (size_t)kv->v_dim * sizeof *s.k);
    s.v = take(a, (size_t)s.positions * (size_t)kv->head_dim * sizeof *s.v);
    s.value_error = take(a, coefficients * sizeof *s.value_error);
    s.key_error = take(a, coefficients * sizeof *s.key_error);
    return s;
}

static void transpose_part(const void *of, int part, int worker)
{
    const back_call *c = of;
    (void)worker;
    c->path->transpose(&c->job, &c->sequence[part]);
}

static void item_part(const void *of, int part, int worker)
{
    const back_call *c = of;
    const back_sequence *s = &c->sequence[c->part_sequence[part / c->groups]];
    attention_item item = c->item[part / c->groups];
    item.head = s->kv_head * item.heads * c->groups + part % c->groups * item.heads;
    c->path->item(&c->job, s, &item, &c->scratch[worker]);
}

static void key_part(const void *of, int part, int worker)
{
    const back_call *c = of;
    (void)worker;
    c->path->keys(&c->job, &c->sequence[c->part_sequence[part]], c->part_first[part]);
}

/* Does the round's sequences. rows: all of theirs, at most those of the call. */
static void run_round(ops_context *ctx, back_call *c, int rows)
{
    const attention_job *a = &c->job.attention;
    int item_heads = attention_item_heads(a->heads / a->kv->kv_heads), items = 0, parts = 0;
    double pairs = (double)rows * c->positions * a->heads * a->kv->head_dim;
    int threads = cpu_threads_worth(ctx, 4 * pairs / MULTIPLY_ADDS_PER_US);
    pool_run(ctx->pool, threads, c->sequences, transpose_part, c);
    c->groups = a->heads / a->kv->kv_heads / item_heads;
    for (int i = 0; i < c->sequences; i++) {
        const back_sequence *s = &c->sequence[i];
        ops_batch batch = {NULL, c->slot + s->first, c->pos + s->first, s->rows};
        int count = attention_cut_items(&batch, item_heads, c->item + items);
        for (int end = items + count; items < end; items++) {
            c->item[items].row += s->first;
            c->part_sequence[items] = i;
        }
    }
    pool_run(ctx->pool, threads, items * c->groups, item_part, c);
    for (int i = 0; i < c->sequences; i++) {
        for (int key = 0; key < c->sequence[i].rows; key += BACK_KEYS, parts++) {
            c->part_sequence[parts] = i;
            c->part_first[parts] = key;
        }
    }
    pool_run(ctx->pool, threads, parts, key_part, c);
}

/* Sequences of the next round: as many as fit the table and have at most all rows of the call.
 * Lays out their arrays; moves on *row and *kv_head. Returns their rows. */
static int next_round(back_call *c, arena *a, int *row, int *kv_head)
{
    int rows = 0, all = c->batch.rows, kv_heads = c->job.attention.kv->kv_heads;
    c->sequences = 0;
    while (*row < all && c->sequences < SEQUENCES * c->threads) {
        int end = *row + 1;
        while (end < all && c->slot[end] == c->slot[*row])
            end++;
        if (rows + end - *row > all)
            break;
        back_sequence s = open_sequence(c, a, *row, end - *row, *kv_head);
        if (a->base)
            c->sequence[c->sequences] = s;
        c->sequences++;
        rows += end - *row;
        if (++*kv_head == kv_heads) {
            *kv_head = 0;
            *row = end;
        }
    }
    return rows;
}

/* Runs all rounds. Errors: MEMORY. */
static gpuzip_status run_rounds(ops_context *ctx, back_call *c)
{
    int row = 0, kv_head = 0;
    while (row < c->batch.rows) {
        int first = row, first_head = kv_head;
        arena a = {0};
        int rows = next_round(c, &a, &row, &kv_head);
        a.base = aligned_alloc(64, a.used);
        if (!a.base)
            return FAIL(GPUZIP_ERR_MEMORY);
        a.used = 0;
        row = first;
        kv_head = first_head;
        next_round(c, &a, &row, &kv_head);
        run_round(ctx, c, rows);
        free(a.base);
    }
    return GPUZIP_OK;
}

size_t cpu_attention_back_bytes(int rows, int run, int window, int heads, int kv_heads,
                                int head_dim, int threads)
{
    const ops_kv kv = {.kv_heads = kv_heads,
                       .head_dim = head_dim,
                       .v_dim = (int)round_up((size_t)head_dim, 16),
                       .window = window};
    back_call c = {.threads = threads, .positions = attention_positions(&kv, window + run)};
    arena a = {0};
    c.job.attention = (attention_job){.kv = &kv, .heads = heads};
    lay_out(&c, &a, rows, true);
    a.used += 6 * (size_t)rows * sizeof(int32_t); /* order, and while it is sorted */
    /* A round: SEQUENCES windows a thread, and at most all rows. */
    size_t group = (size_t)(heads / kv_heads), all = (size_t)rows;
    size_t positions = (size_t)window + (size_t)run + 2 * ATTENTION_SEGMENT;
    size_t sequences = (size_t)SEQUENCES * (size_t)threads;
    sequences = sequences < all * (size_t)kv_heads ? sequences : all * (size_t)kv_heads;
    size_t segments = all * group + sequences * ATTENTION_SEGMENT;
    return a.used + sequences * (4 * positions * (size_t)kv.v_dim + 6 * 64) +
           4 * segments * (size_t)kv.v_dim +
           2 * all * group * sizeof(float) * round_up((size_t)run, BACK_KEYS);
}

gpuzip_status cpu_attention_back(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                                 int heads, float factor, const ops_rope *rope, const ops_kv *kv,
                                 int layer, const float *out, const float *dout, float *dqkv)
{
    assert(heads % kv->kv_heads == 0);
    gpuzip_status status = GPUZIP_OK;
    int rows = batch->rows;
    bool sinks = false;
    if (rows <= 0)
        return GPUZIP_OK;
    int32_t *order = malloc(3 * (size_t)rows * sizeof *order);
    arena a = {0};
    if (!order)
        return FAIL(GPUZIP_ERR_MEMORY);
    back_call c = {.row = order, .slot = order + rows, .pos = order + 2 * (size_t)rows};
    c.path = find_path(ctx);
    c.threads = ctx->threads;
    TRY_OUT(sort_rows(&c, batch));
    for (int i = 0; i < rows; i++) {
        int positions = attention_positions(kv, batch->pos[i]);
        c.positions = positions > c.positions ? positions : c.positions;
        sinks = sinks || batch->pos[i] >= kv->window;
    }
    c.batch = (ops_batch){batch->token, c.slot, c.pos, rows};
    c.job = (back_job){.batch = batch, .q = q, .rope = rope, .out = out, .dout = dout};
    c.job.dqkv = dqkv;
    c.job.row = c.row;
    c.job.unit = factor * 0x1.62e430p-1f;
    c.job.attention =
        (attention_job){&c.batch, &c.job.sorted, heads, factor, kv, layer, dqkv, c.positions};
    lay_out(&c, &a, rows, sinks);
    a.base = aligned_alloc(64, a.used);
    if (!a.base) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    a.used = 0;
    lay_out(&c, &a, rows, sinks);
    cpu_for_rows(ctx, rows, 8 * (size_t)heads * (size_t)kv->head_dim, c.path->gather, &c.job);
    TRY_OUT(run_rounds(ctx, &c));
out:
    free(a.base);
    free(order);
    return status;
}
