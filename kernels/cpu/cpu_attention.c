/* cpu_attention.c: the KV cache, and qkv() and attention() down to rows and items. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_attention.h"

/* Multiply-adds in a microsecond, about: twice as many for the rows of one slot, half as many for
 * rows of many. */
#define MULTIPLY_ADDS_PER_US 60000
/* A value to be rotated and rounded takes as long as so many elements of a norm. */
#define VALUE_COST 4
/* Items for each thread, at least, before a thread takes several at a time. */
#define PORTIONS 8

static const attention_path *find_path(const ops_context *ctx)
{
#if defined(__x86_64__)
    if (ctx->isa == CPU_ISA_AVX512VNNI)
        return &attention_path_avx512vnni;
    if (ctx->isa == CPU_ISA_AVX512)
        return &attention_path_avx512;
    if (ctx->isa == CPU_ISA_AVX2)
        return &attention_path_avx2;
#endif
    (void)ctx;
    return &attention_path_c;
}

/* n rounded up to a multiple of unit, a power of two. */
static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* Positions of a cache's rings. */
static size_t ring_of(int window, int run)
{
    return round_up((size_t)window + run - 1, ATTENTION_SEGMENT);
}

size_t cpu_kv_bytes(int layers, int slots, int window, int run, int kv_heads, int head_dim,
                    int bits)
{
    (void)bits; /* s16 holds both widths */
    size_t sequences = (size_t)layers * slots * kv_heads;
    size_t k = (size_t)head_dim * sizeof(int16_t), v = round_up(head_dim, 16) * sizeof(int16_t);
    size_t sink = 2 * k + 2 * sizeof(float), bytes;
    if (__builtin_mul_overflow(ring_of(window, run), k + v + 2 * sizeof(float), &bytes) ||
        __builtin_mul_overflow(bytes + sink, sequences, &bytes) || bytes > SIZE_MAX - 63)
        return SIZE_MAX;
    return round_up(bytes, 64);
}

gpuzip_status cpu_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots, int window,
                            int run, int kv_heads, int head_dim, int bits)
{
    (void)ctx;
    assert(window > 0 && run > 0);
    assert(head_dim > 0 && head_dim % 2 == 0 && head_dim <= OPS_MAX_HEAD_DIM);
    assert(bits == 8 || bits == 12);
    gpuzip_status status = GPUZIP_OK;
    size_t bytes = cpu_kv_bytes(layers, slots, window, run, kv_heads, head_dim, bits);
    void *memory = NULL;
    ops_kv *cache = malloc(sizeof *cache);
    if (!cache || bytes == SIZE_MAX || !(memory = aligned_alloc(64, bytes))) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    /* Unwritten positions are read with weight zero, but must be finite. */
    memset(memory, 0, bytes);
    *cache = (ops_kv){layers, slots, kv_heads, head_dim, bits};
    cache->window = window;
    cache->ring = (int)ring_of(window, run);
    cache->v_dim = (int)round_up(head_dim, 16);
    size_t sequences = (size_t)layers * slots * kv_heads, rows = sequences * cache->ring;
    cache->memory = memory;
    cache->k = memory;
    cache->v = cache->k + rows * head_dim;
    cache->k_scale = (float *)(cache->v + rows * cache->v_dim);
    cache->v_scale = cache->k_scale + rows;
    cache->sink_k_scale = cache->v_scale + rows;
    cache->sink_v_scale = cache->sink_k_scale + sequences;
    cache->sink_k = (int16_t *)(cache->sink_v_scale + sequences);
    cache->sink_v = cache->sink_k + sequences * head_dim;
    *kv = cache;
    cache = NULL;
    memory = NULL;

out:
    free(memory);
    free(cache);
    return status;
}

void cpu_kv_destroy(ops_context *ctx, ops_kv *kv)
{
    (void)ctx;
    if (!kv)
        return;
    free(kv->memory);
    free(kv);
}

gpuzip_status cpu_qkv(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                      const ops_rope *rope, const ops_queries *q, ops_kv *kv, int layer)
{
    const attention_path *path = find_path(ctx);
    const qkv_job job = {batch, qkv, heads, rope, q, kv, layer};
    size_t values = (size_t)(heads + 2 * kv->kv_heads) * kv->head_dim;
    cpu_for_rows(ctx, batch->rows, VALUE_COST * values, path->store_row, &job);
    return GPUZIP_OK;
}

int attention_cut_items(const ops_batch *batch, int heads, attention_item *items)
{
    int count = 0, max_rows = ATTENTION_QUERIES / heads;
    for (int row = 0; row < batch->rows; row++) {
        attention_item *last = items + count - 1;
        if (count > 0 && last->rows < max_rows && batch->slot[last->row] == batch->slot[row])
            last->rows++;
        else
            items[count++] = (attention_item){.row = row, .rows = 1, .heads = heads};
    }
    return count;
}

int attention_item_heads(int group)
{
    int heads = group < ATTENTION_QUERIES ? group : ATTENTION_QUERIES;
    while (group % heads != 0)
        heads--;
    return heads;
}

/* Bytes of a thread's scratch memory, a multiple of 64. */
static size_t scratch_bytes(const attention_job *job)
{
    size_t elements = (size_t)ATTENTION_QUERIES * job->positions;
    return round_up(elements * (sizeof(float) + sizeof(int16_t)) + job->positions * sizeof(float) +
                        (size_t)ATTENTION_QUERIES * job->kv->v_dim * sizeof(double),
                    64);
}

/* Room for so many bytes in the context, 64-byte aligned, until the next call. Errors: MEMORY. */
static gpuzip_status reserve(ops_context *ctx, size_t bytes)
{
    if (bytes <= ctx->attention_bytes)
        return GPUZIP_OK;
    bytes = round_up(bytes + bytes / 2, 64); /* passes grow with the positions they read */
    free(ctx->attention);
    ctx->attention_bytes = 0;
    ctx->attention = aligned_alloc(64, bytes);
    if (!ctx->attention)
        return FAIL(GPUZIP_ERR_MEMORY);
    ctx->attention_bytes = bytes;
    return GPUZIP_OK;
}

static attention_scratch scratch_of(const attention_job *job, void *memory)
{
    attention_scratch scratch;
    scratch.total = memory;
    scratch.score = (float *)(scratch.total + (size_t)ATTENTION_QUERIES * job->kv->v_dim);
    scratch.v_scale = scratch.score + (size_t)ATTENTION_QUERIES * job->positions;
    scratch.weight = (int16_t *)(scratch.v_scale + job->positions);
    return scratch;
}

int attention_positions(const ops_kv *kv, int pos)
{
    int first = pos - kv->window + 1 - (ATTENTION_QUERIES - 1);
    first = first > 0 ? first / ATTENTION_SEGMENT * ATTENTION_SEGMENT : 0;
    return (int)round_up((size_t)(pos - first) + 1, ATTENTION_SEGMENT);
}

/* The items of a call. */
typedef struct {
    const attention_job *job;
    const attention_path *path;
    attention_item *item; /* [items / groups], each for `groups` groups of heads */
    int items, groups;
    int portion;  /* items that a thread takes at a time */
    void *memory; /* [threads][bytes] */
    size_t bytes; /* of a thread's scratch memory */
} attention_items;

/* The last rows of a run read the most: they go first. */
static void attend_portion(const void *of, int part, int worker)
{
    const attention_items *a = of;
    attention_scratch scratch = scratch_of(a->job, (char *)a->memory + (size_t)worker * a->bytes);
    int last = a->items - part * a->portion, first = last - a->portion;
    for (int i = last - 1; i >= first && i >= 0; i--) {
        attention_item item = a->item[i / a->groups];
        item.head = i % a->groups * item.heads;
        a->path->attend(a->job, &item, &scratch);
    }
}

gpuzip_status cpu_attention(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                            int heads, float factor, const ops_kv *kv, int layer, float *out)
{
    assert(heads % kv->kv_heads == 0);
    if (batch->rows <= 0)
        return GPUZIP_OK;
    attention_job job = {batch, q, heads, factor, kv, layer, out};
    attention_items a = {.job = &job, .path = find_path(ctx)};
    double pairs = 0;
    for (int row = 0; row < batch->rows; row++) {
        int positions = attention_positions(kv, batch->pos[row]);
        job.positions = positions > job.positions ? positions : job.positions;
        pairs += positions;
    }
    int threads = cpu_threads_worth(ctx, 2 * pairs * heads * kv->head_dim / MULTIPLY_ADDS_PER_US);
    a.bytes = scratch_bytes(&job);
    size_t scratch = a.bytes * (size_t)(threads > 1 ? ctx->threads : 1);
    TRY(reserve(ctx, scratch + (size_t)batch->rows * sizeof *a.item));
    a.memory = ctx->attention;
    a.item = (attention_item *)((char *)ctx->attention + scratch);
    int item_heads = attention_item_heads(heads / kv->kv_heads);
    a.groups = heads / item_heads;
    a.items = attention_cut_items(batch, item_heads, a.item) * a.groups;
    a.portion = threads > 1 ? 1 + a.items / (PORTIONS * threads) : a.items;
    pool_run(ctx->pool, threads, (a.items + a.portion - 1) / a.portion, attend_portion, &a);
    return GPUZIP_OK;
}
