/* bench_model.c: see bench_model.h. */
#include "bench_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rope.h"

/* As the importers take it. */
#define CONTEXT_MAX 8192

#define GPT2(layers_, dim_)                                                                        \
    {                                                                                              \
        .arch = WEIGHTS_GPT2, .norm = WEIGHTS_NORM_LAYER, .act = WEIGHTS_ACT_GELU_TANH,            \
        .layers = (layers_), .dim = (dim_), .heads = (dim_) / 64, .kv_heads = (dim_) / 64,         \
        .head_dim = 64, .ffn = 4 * (dim_), .vocab = 50257, .context = 1024, .bos = 50256,          \
        .eps = 1e-5f                                                                               \
    }

#define LLAMA(layers_, dim_, heads_, kv_heads_, ffn_, vocab_)                                      \
    {                                                                                              \
        .arch = WEIGHTS_LLAMA, .norm = WEIGHTS_NORM_RMS, .act = WEIGHTS_ACT_SWIGLU, .rope = true,  \
        .layers = (layers_), .dim = (dim_), .heads = (heads_), .kv_heads = (kv_heads_),            \
        .head_dim = (dim_) / (heads_), .ffn = (ffn_), .vocab = (vocab_), .context = CONTEXT_MAX,   \
        .eps = 1e-5f                                                                               \
    }

static const bench_shape shapes[] = {
    {"gpt2-124m", "openai-community/gpt2", GPT2(12, 768), true, true},
    {"gpt2-355m", "openai-community/gpt2-medium", GPT2(24, 1024), true, true},
    {"gpt2-774m", "openai-community/gpt2-large", GPT2(36, 1280), true, true},
    {"gpt2-1558m", "openai-community/gpt2-xl", GPT2(48, 1600), true, true},
    {"llama-3.2-1b", "meta-llama/Llama-3.2-1B", LLAMA(16, 2048, 32, 8, 8192, 128256), true, false},
    {"smollm2-135m", "HuggingFaceTB/SmolLM2-135M", LLAMA(30, 576, 9, 3, 1536, 49152), true, false},
};
#define SHAPES ((int)(sizeof shapes / sizeof *shapes))

const bench_shape *bench_shape_at(int i)
{
    return i < SHAPES ? &shapes[i] : NULL;
}

void bench_noise(void *dst, size_t bytes, uint64_t seed)
{
    uint8_t *p = dst;
    uint64_t state = seed;
    while (bytes > 0) { /* splitmix64 */
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        size_t part = bytes < sizeof z ? bytes : sizeof z;
        memcpy(p, &z, part);
        p += part;
        bytes -= part;
    }
}

/* ---- random weights ----------------------------------------------------- */

/* The memory of a random model, handed out piece by piece. */
typedef struct {
    uint8_t *base; /* NULL: only measuring */
    size_t used;
    uint64_t seed;
} arena;

static void *arena_take(arena *a, size_t bytes)
{
    void *p = a->base ? a->base + a->used : NULL;
    a->used += (bytes + 63) & ~(size_t)63;
    return p;
}

static const float *take_floats(arena *a, size_t n, float value)
{
    float *v = arena_take(a, n * sizeof *v);
    for (size_t i = 0; v && i < n; i++)
        v[i] = value;
    return v;
}

/* Entries with a deviation of 0.02, as models are initialised. */
static weights_matrix take_matrix(arena *a, int n, int k, int bits)
{
    size_t count = (size_t)n * (size_t)k;
    int8_t *w8 = arena_take(a, count * (bits == 8 ? 1 : 2));
    int16_t *w15 = (int16_t *)w8;
    float step = 0.02f * sqrtf(3) / (bits == 8 ? 127 : 16256);
    if (w8) {
        bench_noise(w8, count * (bits == 8 ? 1 : 2), a->seed++);
        for (size_t i = 0; i < count; i++) {
            if (bits == 8)
                w8[i] = w8[i] == -128 ? 0 : w8[i];
            else
                w15[i] = (int16_t)(w15[i] / 2 % 16257);
        }
    }
    return (weights_matrix){w8, take_floats(a, (size_t)n, step), n, k};
}

static weights_norm_vectors take_norm(arena *a, const weights_config *c)
{
    size_t dim = (size_t)c->dim;
    return (weights_norm_vectors){
        take_floats(a, dim, 1), c->norm == WEIGHTS_NORM_LAYER ? take_floats(a, dim, 0.01f) : NULL};
}

static weights_layer take_layer(arena *a, const bench_shape *shape, const weights_config *c)
{
    int qkv = (c->heads + 2 * c->kv_heads) * c->head_dim, att = c->heads * c->head_dim;
    int up = c->ffn * (c->act == WEIGHTS_ACT_SWIGLU ? 2 : 1), bits = c->weight_bits;
    weights_layer l = {take_norm(a, c),
                       take_norm(a, c),
                       take_matrix(a, qkv, c->dim, bits),
                       take_matrix(a, c->dim, att, bits),
                       take_matrix(a, up, c->dim, bits),
                       take_matrix(a, c->dim, c->ffn, bits)};
    if (shape->biases) {
        l.qkv_bias = take_floats(a, (size_t)qkv, 0.01f);
        l.out_bias = take_floats(a, (size_t)c->dim, 0.01f);
        l.up_bias = take_floats(a, (size_t)up, 0.01f);
        l.down_bias = take_floats(a, (size_t)c->dim, 0.01f);
    }
    return l;
}

static void take_positions(arena *a, weights_model *w)
{
    static const rope_config rope = {.theta = 500000, .scaling = ROPE_PLAIN};
    const weights_config *c = &w->config;
    if (!c->rope) {
        w->position = take_floats(a, (size_t)c->context * (size_t)c->dim, 0.01f);
        return;
    }
    uint64_t *turns = arena_take(a, (size_t)c->head_dim / 2 * sizeof *turns);
    if (turns)
        rope_turns(turns, c->head_dim, &rope);
    w->turns = turns;
}

static uint64_t matrix_count(const weights_matrix *m)
{
    return (uint64_t)m->n * (uint64_t)m->k;
}

static uint64_t count_parameters(const weights_model *w)
{
    const weights_layer *l = w->layer;
    uint64_t layer = matrix_count(&l->qkv) + matrix_count(&l->out) + matrix_count(&l->up) +
                     matrix_count(&l->down);
    return (uint64_t)w->config.layers * layer + matrix_count(&w->embedding) +
           (w->head.w == w->embedding.w ? 0 : matrix_count(&w->head)) +
           (w->position ? (uint64_t)w->config.context * (uint64_t)w->config.dim : 0);
}

static void take_model(arena *a, weights_model *w, const bench_shape *shape)
{
    const weights_config *c = &w->config;
    a->used = 0;
    a->seed = 1;
    w->embedding = take_matrix(a, c->vocab, c->dim, c->weight_bits);
    w->head = shape->tied ? w->embedding : take_matrix(a, c->vocab, c->dim, c->weight_bits);
    take_positions(a, w);
    w->final_norm = take_norm(a, c);
    w->layer[0] = take_layer(a, shape, c);
    for (int i = 1; i < c->layers; i++)
        w->layer[i] = w->layer[0];
}

gpuzip_status bench_random_open(weights_model **out, void **data, const bench_shape *shape,
                                const bench_widths *widths)
{
    gpuzip_status status = GPUZIP_OK;
    arena a = {0};
    weights_model *w = calloc(1, sizeof *w);
    if (!w)
        return FAIL(GPUZIP_ERR_MEMORY);
    w->config = shape->config;
    w->config.weight_bits = widths->weight_bits ? widths->weight_bits : 8;
    w->config.activation_bits = widths->activation_bits ? widths->activation_bits : 15;
    w->config.kv_bits = widths->kv_bits ? widths->kv_bits : 12;
    w->config.attention_factor = 1.44269504f / sqrtf((float)shape->config.head_dim);
    w->embedding_factor = 1;
    snprintf(w->name, sizeof w->name, "%s", shape->name);
    w->layer = calloc((size_t)w->config.layers, sizeof *w->layer);
    if (!w->layer) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    take_model(&a, w, shape);
    a.base = aligned_alloc(64, a.used);
    if (!a.base) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    take_model(&a, w, shape);
    w->parameters = count_parameters(w);
    w->file_size = w->parameters * (w->config.weight_bits == 8 ? 1 : 2);
    *data = a.base;
    *out = w;
    w = NULL;
out:
    bench_random_close(w, NULL);
    return status;
}

void bench_random_close(weights_model *w, void *data)
{
    if (w)
        free(w->layer);
    free(w);
    free(data);
}

/* ---- any model ---------------------------------------------------------- */

static const bench_shape *find_shape(const char *name)
{
    for (int i = 0; i < SHAPES; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

static gpuzip_status open_source(bench_model *m, const char *name, const bench_widths *widths,
                                 char error[CHECKPOINT_ERROR_BYTES])
{
    gpuzip_import_options options = {.weight_bits = widths->weight_bits,
                                     .activation_bits = widths->activation_bits,
                                     .kv_bits = widths->kv_bits};
    TRY(checkpoint_open(&m->file, name, &options, error));
    m->weights = m->file.weights;
    return tokenizer_open(&m->t, m->weights->tokenizer, m->weights->tokenizer_size,
                          (uint32_t)m->weights->config.vocab);
}

gpuzip_status bench_model_open(bench_model *out, const char *name, bool random,
                               const bench_widths *widths, char error[CHECKPOINT_ERROR_BYTES])
{
    const bench_shape *shape = find_shape(name);
    bench_model m = {.name = name};
    gpuzip_status status = GPUZIP_ERR_IO;
    error[0] = '\0';
    if (!shape || !random)
        status = open_source(&m,
                             shape                          ? shape->hub
                             : strcmp(name, "builtin") == 0 ? NULL
                                                            : name,
                             widths, error);
    if (status != GPUZIP_OK && shape) {
        bench_model_close(&m);
        m = (bench_model){.name = name, .random = true};
        error[0] = '\0';
        status = bench_random_open(&m.weights, &m.data, shape, widths);
    }
    if (status != GPUZIP_OK) {
        bench_model_close(&m);
        return status;
    }
    *out = m;
    return GPUZIP_OK;
}

void bench_model_close(bench_model *m)
{
    tokenizer_close(m->t);
    if (m->random)
        bench_random_close(m->weights, m->data);
    else
        checkpoint_close(&m->file);
    *m = (bench_model){0};
}
