/* import_hf.c: Hugging Face checkpoints: config.json and the names of tensors.
 *
 * The reader's status is sticky: after the first error lookups give zeroes and change
 * nothing, and the error is reported once, at the end. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"

#define SUPPORTED "llama, mistral, gpt2, wpoe_transformer_decoder"

typedef struct {
    const json_t *config;
    const import_shards *shards;
    const char *prefix; /* that names may or may not have, e.g. "model." */
    uint64_t bytes;     /* of all tensors taken so far; see take() */
    gpuzip_status status;
    weights_error *error;
} hf_reader;

#define REFUSE(r, kind, ...)                                                                       \
    ((r)->status = (r)->status ? (r)->status : import_fail((r)->error, kind, __VA_ARGS__))

/* ---- config.json --------------------------------------------------------- */

/* A value that is there and not null. */
static const json_t *lookup(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* An integer in [least, most]; fallback (if >= 0) where there is none. */
static int config_int(hf_reader *r, const char *key, int fallback, int least, int most)
{
    const json_t *value = lookup(r->config, key);
    if (!value && fallback >= 0)
        return fallback;
    json_int_t v = json_integer_value(value);
    if (json_is_integer(value) && v >= least && v <= most)
        return (int)v;
    REFUSE(r, value ? GPUZIP_ERR_UNSUPPORTED : GPUZIP_ERR_FORMAT,
           "config.json: %s must be an integer from %d to %d", key, least, most);
    return 0;
}

static double number(hf_reader *r, const json_t *object, const char *key, double fallback)
{
    const json_t *value = lookup(object, key);
    if (value && !json_is_number(value))
        REFUSE(r, GPUZIP_ERR_FORMAT, "config.json: %s must be a number", key);
    return value ? json_number_value(value) : fallback;
}

static bool config_bool(hf_reader *r, const char *key, bool fallback)
{
    const json_t *value = lookup(r->config, key);
    if (value && !json_is_boolean(value))
        REFUSE(r, GPUZIP_ERR_FORMAT, "config.json: %s must be true or false", key);
    return value ? json_is_true(value) : fallback;
}

static const char *string(hf_reader *r, const json_t *object, const char *key, const char *fallback)
{
    const json_t *value = lookup(object, key);
    if (value && !json_is_string(value))
        REFUSE(r, GPUZIP_ERR_FORMAT, "config.json: %s must be a string", key);
    return json_is_string(value) ? json_string_value(value) : fallback;
}

/* Refuses a feature: the string must be `wanted`. */
static void expect(hf_reader *r, const char *key, const char *wanted)
{
    const char *value = string(r, r->config, key, wanted);
    if (strcmp(value, wanted) != 0)
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED, "config.json: %s is \"%.80s\"; gpuzip computes \"%s\"",
               key, value, wanted);
}

/* dim / heads, which must be whole. */
static int head_dim_of(hf_reader *r, int dim, int heads)
{
    if (!r->status && dim % heads != 0)
        REFUSE(r, GPUZIP_ERR_CORRUPT, "config.json: %d heads do not divide %d", heads, dim);
    return r->status ? 0 : dim / heads;
}

/* ---- tensors ------------------------------------------------------------- */

/* Finds the shard of a name; NULL if none. */
static const safetensors *shard_of(const import_shards *s, const char *name)
{
    if (!s->shard_of)
        return s->shards > 0 ? &s->shard[0] : NULL;
    const json_t *index = json_object_get(s->shard_of, name);
    json_int_t i = json_integer_value(index);
    return json_is_integer(index) && i >= 0 && i < s->shards ? &s->shard[i] : NULL;
}

static gpuzip_status find(const hf_reader *r, const char *name, safetensors_tensor *t)
{
    const safetensors *s = shard_of(r->shards, name);
    return s ? safetensors_find(s, name, t) : GPUZIP_ERR_ARGUMENT;
}

/* Whether the shape is [rows][cols], ones not counted; or has more rows. */
static bool shape_is(const safetensors_tensor *t, int rows, int cols, bool more_rows)
{
    uint64_t wanted[2] = {(uint64_t)rows, (uint64_t)cols}, dim[2] = {1, 1};
    int n = 0;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == 1)
            continue;
        if (n == 2)
            return false;
        dim[n++] = t->dim[i];
    }
    if (n == 1 && rows == 1) /* a single row */
        dim[1] = dim[0], dim[0] = 1;
    return dim[1] == wanted[1] && (dim[0] == wanted[0] || (more_rows && dim[0] > wanted[0]));
}

typedef enum { PLAIN, TRANSPOSED, MORE_ROWS } view_kind;

static bool read_type(const char *dtype, import_type *type)
{
    static const char *const name[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(dtype, name[i]) == 0) {
            *type = (import_type)i;
            return true;
        }
    }
    return false;
}

/* Appends the tensor of this name, [rows][cols], to the views of *out. Tensors may overlap in a
 * file, but their sizes must not sum to more than the file, which bounds the model file. */
static void take(hf_reader *r, import_tensor *out, view_kind kind, int rows, int cols,
                 const char *format, ...) __attribute__((format(printf, 6, 7)));

static void take(hf_reader *r, import_tensor *out, view_kind kind, int rows, int cols,
                 const char *format, ...)
{
    char name[160];
    size_t prefix = strlen(r->prefix);
    safetensors_tensor t;
    import_type type = IMPORT_F32;
    if (r->status)
        return;
    memcpy(name, r->prefix, prefix);
    va_list args;
    va_start(args, format);
    vsnprintf(name + prefix, sizeof name - prefix, format, args);
    va_end(args);
    gpuzip_status status = find(r, name, &t);
    if (status == GPUZIP_ERR_ARGUMENT)
        status = find(r, name + prefix, &t);
    if (status != GPUZIP_OK) {
        REFUSE(r, GPUZIP_ERR_CORRUPT, "tensor %s: %s", name + prefix,
               status == GPUZIP_ERR_ARGUMENT ? "not there" : "its entry is malformed");
        return;
    }
    uint64_t count = (uint64_t)rows * (uint64_t)cols;
    bool shaped = kind == TRANSPOSED ? shape_is(&t, cols, rows, false)
                                     : shape_is(&t, rows, cols, kind == MORE_ROWS);
    bool known = read_type(t.dtype, &type);
    uint64_t size = count * (type == IMPORT_F32 ? 4 : 2);
    if (!known)
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED, "tensor %s: dtype %.20s; gpuzip reads F32, F16, BF16",
               name + prefix, t.dtype);
    else if (!shaped || (kind == MORE_ROWS ? t.size < size : t.size != size))
        REFUSE(r, GPUZIP_ERR_CORRUPT, "tensor %s: not of shape [%d][%d]", name + prefix,
               kind == TRANSPOSED ? cols : rows, kind == TRANSPOSED ? rows : cols);
    if (r->status)
        return;
    r->bytes += size;
    out->view[out->views++] = (import_view){
        .data = t.data, .type = type, .rows = rows, .cols = cols, .transposed = kind == TRANSPOSED};
}

static void allocate_layers(hf_reader *r, import_checkpoint *c)
{
    if (r->status)
        return;
    c->layer = calloc((size_t)c->config.layers, sizeof *c->layer);
    if (!c->layer)
        r->status = FAIL(GPUZIP_ERR_MEMORY);
}

/* Layers to take: none after an error. */
static int layers_of(const hf_reader *r, const import_checkpoint *c)
{
    return r->status ? 0 : c->config.layers;
}

/* ---- Llama --------------------------------------------------------------- */

/* rope_parameters (transformers 5) holds all; before, rope_scaling did, and rope_theta
 * stood beside it. */
static void llama_rope(hf_reader *r, rope_config *rope, int context)
{
    const json_t *dict = lookup(r->config, "rope_parameters");
    if (!dict)
        dict = lookup(r->config, "rope_scaling");
    if (dict && !json_is_object(dict))
        REFUSE(r, GPUZIP_ERR_FORMAT, "config.json: rope_parameters must be an object");
    const char *type = string(r, dict, "rope_type", string(r, dict, "type", "default"));
    double original = number(r, r->config, "original_max_position_embeddings", context);
    *rope = (rope_config){
        .theta = number(r, dict, "rope_theta", number(r, r->config, "rope_theta", 10000)),
        .factor = number(r, dict, "factor", 1),
        .low_freq_factor = number(r, dict, "low_freq_factor", 1),
        .high_freq_factor = number(r, dict, "high_freq_factor", 4),
        .original_context = number(r, dict, "original_max_position_embeddings", original),
    };
    if (strcmp(type, "linear") == 0)
        rope->scaling = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope->scaling = ROPE_LLAMA3;
    else if (strcmp(type, "default") != 0)
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED,
               "config.json: rope_type is \"%.40s\"; gpuzip computes default, linear, llama3",
               type);
    if (number(r, dict, "partial_rotary_factor",
               number(r, r->config, "partial_rotary_factor", 1)) != 1)
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED, "config.json: partial_rotary_factor is not 1");
}

static void llama_config(hf_reader *r, import_checkpoint *c)
{
    weights_config *g = &c->config;
    *g = (weights_config){
        .arch = WEIGHTS_LLAMA, .norm = WEIGHTS_NORM_RMS, .act = WEIGHTS_ACT_SWIGLU};
    g->layers = config_int(r, "num_hidden_layers", -1, 1, WEIGHTS_MAX_LAYERS);
    g->dim = config_int(r, "hidden_size", -1, 1, WEIGHTS_MAX_DIM);
    g->heads = config_int(r, "num_attention_heads", -1, 1, WEIGHTS_MAX_DIM);
    g->kv_heads = config_int(r, "num_key_value_heads", g->heads, 1, WEIGHTS_MAX_DIM);
    if (lookup(r->config, "head_dim"))
        g->head_dim = config_int(r, "head_dim", -1, 2, WEIGHTS_MAX_HEAD_DIM);
    else
        g->head_dim = head_dim_of(r, g->dim, g->heads);
    g->ffn = config_int(r, "intermediate_size", -1, 1, WEIGHTS_MAX_DIM);
    g->vocab = config_int(r, "vocab_size", -1, 2, WEIGHTS_MAX_VOCAB);
    int context = config_int(r, "max_position_embeddings", 2048, 2, 1 << 24);
    /* Within the window, sliding attention is attention. */
    const json_t *sliding = lookup(r->config, "sliding_window");
    bool slides =
        !json_is_integer(sliding) || json_integer_value(sliding) != 0; /* 0: it does not */
    int window = slides ? config_int(r, "sliding_window", context, 2, 1 << 24) : context;
    g->context = context < window ? context : window;
    g->eps = (float)number(r, r->config, "rms_norm_eps", 1e-6);
    expect(r, "hidden_act", "silu");
    llama_rope(r, &c->rope, context);
    c->flags = FORMAT_ROPE;
    if (config_bool(r, "tie_word_embeddings", false))
        c->flags |= FORMAT_TIED;
    if (config_bool(r, "attention_bias", false))
        c->flags |= FORMAT_QKV_BIAS | FORMAT_OUT_BIAS;
    if (config_bool(r, "mlp_bias", false))
        c->flags |= FORMAT_UP_BIAS | FORMAT_DOWN_BIAS;
    c->embedding_factor = 1;
}

static void llama_layer(hf_reader *r, import_checkpoint *c, import_layer *l, int i)
{
    const weights_config *g = &c->config;
    int dim = g->dim, q = g->heads * g->head_dim, kv = g->kv_heads * g->head_dim;
    take(r, &l->norm1_gain, PLAIN, dim, 1, "layers.%d.input_layernorm.weight", i);
    take(r, &l->qkv, PLAIN, q, dim, "layers.%d.self_attn.q_proj.weight", i);
    take(r, &l->qkv, PLAIN, kv, dim, "layers.%d.self_attn.k_proj.weight", i);
    take(r, &l->qkv, PLAIN, kv, dim, "layers.%d.self_attn.v_proj.weight", i);
    take(r, &l->out, PLAIN, dim, q, "layers.%d.self_attn.o_proj.weight", i);
    take(r, &l->norm2_gain, PLAIN, dim, 1, "layers.%d.post_attention_layernorm.weight", i);
    take(r, &l->up, PLAIN, g->ffn, dim, "layers.%d.mlp.gate_proj.weight", i);
    take(r, &l->up, PLAIN, g->ffn, dim, "layers.%d.mlp.up_proj.weight", i);
    take(r, &l->down, PLAIN, dim, g->ffn, "layers.%d.mlp.down_proj.weight", i);
    if (c->flags & FORMAT_QKV_BIAS) {
        take(r, &l->qkv_bias, PLAIN, q, 1, "layers.%d.self_attn.q_proj.bias", i);
        take(r, &l->qkv_bias, PLAIN, kv, 1, "layers.%d.self_attn.k_proj.bias", i);
        take(r, &l->qkv_bias, PLAIN, kv, 1, "layers.%d.self_attn.v_proj.bias", i);
        take(r, &l->out_bias, PLAIN, dim, 1, "layers.%d.self_attn.o_proj.bias", i);
    }
    if (c->flags & FORMAT_UP_BIAS) {
        take(r, &l->up_bias, PLAIN, g->ffn, 1, "layers.%d.mlp.gate_proj.bias", i);
        take(r, &l->up_bias, PLAIN, g->ffn, 1, "layers.%d.mlp.up_proj.bias", i);
        take(r, &l->down_bias, PLAIN, dim, 1, "layers.%d.mlp.down_proj.bias", i);
    }
}

static void llama_tensors(hf_reader *r, import_checkpoint *c)
{
    const weights_config *g = &c->config;
    r->prefix = "model.";
    take(r, &c->embedding, PLAIN, g->vocab, g->dim, "embed_tokens.weight");
    for (int i = 0; i < layers_of(r, c); i++)
        llama_layer(r, c, &c->layer[i], i);
    take(r, &c->final_gain, PLAIN, g->dim, 1, "norm.weight");
    if (!(c->flags & FORMAT_TIED))
        take(r, &c->head, PLAIN, g->vocab, g->dim, "lm_head.weight");
}

/* ---- GPT-2 --------------------------------------------------------------- */

/* GPT-2's own name for a field, or the one that newer models have, which transformers takes, too.
 */
static const char *named(const hf_reader *r, const char *own, const char *newer)
{
    return !lookup(r->config, own) && lookup(r->config, newer) ? newer : own;
}

static void gpt2_config(hf_reader *r, import_checkpoint *c)
{
    weights_config *g = &c->config;
    *g = (weights_config){.arch = WEIGHTS_GPT2, .norm = WEIGHTS_NORM_LAYER};
    g->layers = config_int(r, named(r, "n_layer", "num_hidden_layers"), -1, 1, WEIGHTS_MAX_LAYERS);
    g->dim = config_int(r, named(r, "n_embd", "hidden_size"), -1, 1, WEIGHTS_MAX_DIM / 4);
    g->heads = g->kv_heads =
        config_int(r, named(r, "n_head", "num_attention_heads"), -1, 1, WEIGHTS_MAX_DIM);
    g->head_dim = head_dim_of(r, g->dim, g->heads);
    g->ffn = config_int(r, "n_inner", 4 * g->dim, 1, WEIGHTS_MAX_DIM);
    g->vocab = config_int(r, "vocab_size", -1, 2, WEIGHTS_MAX_VOCAB);
    g->context =
        config_int(r, named(r, "n_positions", "max_position_embeddings"), 1024, 2, 1 << 24);
    g->eps = (float)number(r, r->config, "layer_norm_epsilon", 1e-5);
    const char *act = string(r, r->config, "activation_function", "gelu_new");
    if (strcmp(act, "gelu_new") == 0 || strcmp(act, "gelu_pytorch_tanh") == 0)
        g->act = WEIGHTS_ACT_GELU_TANH;
    else if (strcmp(act, "gelu") == 0)
        g->act = WEIGHTS_ACT_GELU_ERF;
    else
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED,
               "config.json: activation_function is \"%.40s\"; gpuzip computes gelu_new, "
               "gelu_pytorch_tanh, gelu",
               act);
    if (!config_bool(r, "scale_attn_weights", true) ||
        config_bool(r, "scale_attn_by_inverse_layer_idx", false) ||
        config_bool(r, "add_cross_attention", false))
        REFUSE(r, GPUZIP_ERR_UNSUPPORTED,
               "config.json: scale_attn_weights, scale_attn_by_inverse_layer_idx and "
               "add_cross_attention must have their defaults");
    c->flags = FORMAT_QKV_BIAS | FORMAT_OUT_BIAS | FORMAT_UP_BIAS | FORMAT_DOWN_BIAS;
    if (config_bool(r, "tie_word_embeddings", true))
        c->flags |= FORMAT_TIED;
    c->embedding_factor = 1;
}

/* GPT-2's Conv1D keeps weights [in][out]. */
static void gpt2_layer(hf_reader *r, import_checkpoint *c, import_layer *l, int i)
{
    int dim = c->config.dim, ffn = c->config.ffn;
    take(r, &l->norm1_gain, PLAIN, dim, 1, "h.%d.ln_1.weight", i);
    take(r, &l->norm1_bias, PLAIN, dim, 1, "h.%d.ln_1.bias", i);
    take(r, &l->qkv, TRANSPOSED, 3 * dim, dim, "h.%d.attn.c_attn.weight", i);
    take(r, &l->qkv_bias, PLAIN, 3 * dim, 1, "h.%d.attn.c_attn.bias", i);
    take(r, &l->out, TRANSPOSED, dim, dim, "h.%d.attn.c_proj.weight", i);
    take(r, &l->out_bias, PLAIN, dim, 1, "h.%d.attn.c_proj.bias", i);
    take(r, &l->norm2_gain, PLAIN, dim, 1, "h.%d.ln_2.weight", i);
    take(r, &l->norm2_bias, PLAIN, dim, 1, "h.%d.ln_2.bias", i);
    take(r, &l->up, TRANSPOSED, ffn, dim, "h.%d.mlp.c_fc.weight", i);
    take(r, &l->up_bias, PLAIN, ffn, 1, "h.%d.mlp.c_fc.bias", i);
    take(r, &l->down, TRANSPOSED, dim, ffn, "h.%d.mlp.c_proj.weight", i);
    take(r, &l->down_bias, PLAIN, dim, 1, "h.%d.mlp.c_proj.bias", i);
}

static void gpt2_tensors(hf_reader *r, import_checkpoint *c)
{
    const weights_config *g = &c->config;
    r->prefix = "transformer.";
    take(r, &c->embedding, PLAIN, g->vocab, g->dim, "wte.weight");
    take(r, &c->position, PLAIN, g->context, g->dim, "wpe.weight");
    for (int i = 0; i < layers_of(r, c); i++)
        gpt2_layer(r, c, &c->layer[i], i);
    take(r, &c->final_gain, PLAIN, g->dim, 1, "ln_f.weight");
    take(r, &c->final_bias, PLAIN, g->dim, 1, "ln_f.bias");
    if (!(c->flags & FORMAT_TIED))
        take(r, &c->head, PLAIN, g->vocab, g->dim, "lm_head.weight");
}

/* ---- the wPoE authors' decoder ------------------------------------------- */

static void wpoe_config(hf_reader *r, import_checkpoint *c)
{
    weights_config *g = &c->config;
    *g = (weights_config){
        .arch = WEIGHTS_WPOE, .norm = WEIGHTS_NORM_LAYER, .act = WEIGHTS_ACT_GELU_ERF};
    g->layers = config_int(r, "num_layers", -1, 1, WEIGHTS_MAX_LAYERS);
    g->dim = config_int(r, "embedding_dim", -1, 1, WEIGHTS_MAX_DIM / 4);
    g->heads = g->kv_heads = config_int(r, "num_heads", -1, 1, WEIGHTS_MAX_DIM);
    g->head_dim = head_dim_of(r, g->dim, g->heads);
    g->ffn = g->dim * config_int(r, "widening_factor", 4, 1, 4);
    g->vocab = config_int(r, "vocab_size", -1, 2, WEIGHTS_MAX_VOCAB);
    g->context = config_int(r, "context_length", -1, 2, 1 << 24);
    g->eps = (float)number(r, r->config, "layer_norm_eps", 1e-5);
    expect(r, "norm", "post");
    expect(r, "activation", "gelu_exact");
    expect(r, "embedding_scale", "sqrt(embedding_dim)");
    expect(r, "position", "sinusoidal");
    c->flags = FORMAT_POST_NORM | FORMAT_QKV_BIAS | FORMAT_OUT_BIAS | FORMAT_UP_BIAS |
               FORMAT_DOWN_BIAS | FORMAT_HEAD_BIAS;
    if (config_bool(r, "tie_word_embeddings", false))
        c->flags |= FORMAT_TIED;
    c->embedding_factor = sqrtf((float)g->dim);
}

static void wpoe_layer(hf_reader *r, import_checkpoint *c, import_layer *l, int i)
{
    int dim = c->config.dim, ffn = c->config.ffn;
    take(r, &l->norm1_gain, PLAIN, dim, 1, "layers.%d.layer_norm1.weight", i);
    take(r, &l->norm1_bias, PLAIN, dim, 1, "layers.%d.layer_norm1.bias", i);
    take(r, &l->qkv, PLAIN, 3 * dim, dim, "layers.%d.self_attn.in_proj_weight", i);
    take(r, &l->qkv_bias, PLAIN, 3 * dim, 1, "layers.%d.self_attn.in_proj_bias", i);
    take(r, &l->out, PLAIN, dim, dim, "layers.%d.self_attn.out_proj.weight", i);
    take(r, &l->out_bias, PLAIN, dim, 1, "layers.%d.self_attn.out_proj.bias", i);
    take(r, &l->norm2_gain, PLAIN, dim, 1, "layers.%d.layer_norm2.weight", i);
    take(r, &l->norm2_bias, PLAIN, dim, 1, "layers.%d.layer_norm2.bias", i);
    take(r, &l->up, PLAIN, ffn, dim, "layers.%d.feed_forward.0.weight", i);
    take(r, &l->up_bias, PLAIN, ffn, 1, "layers.%d.feed_forward.0.bias", i);
    take(r, &l->down, PLAIN, dim, ffn, "layers.%d.feed_forward.2.weight", i);
    take(r, &l->down_bias, PLAIN, dim, 1, "layers.%d.feed_forward.2.bias", i);
}

static void wpoe_tensors(hf_reader *r, import_checkpoint *c)
{
    const weights_config *g = &c->config;
    take(r, &c->embedding, PLAIN, g->vocab, g->dim, "embedding.weight");
    take(r, &c->position, MORE_ROWS, g->context, g->dim, "positional_encoding.pe");
    for (int i = 0; i < layers_of(r, c); i++)
        wpoe_layer(r, c, &c->layer[i], i);
    take(r, &c->final_gain, PLAIN, g->dim, 1, "norm.weight");
    take(r, &c->final_bias, PLAIN, g->dim, 1, "norm.bias");
    if (!(c->flags & FORMAT_TIED))
        take(r, &c->head, PLAIN, g->vocab, g->dim, "output_layer.weight");
    take(r, &c->head_bias, PLAIN, g->vocab, 1, "output_layer.bias");
}

/* ---- all ----------------------------------------------------------------- */

typedef struct {
    const char *model_type;
    void (*config)(hf_reader *r, import_checkpoint *c);
    void (*tensors)(hf_reader *r, import_checkpoint *c);
} hf_family;

static const hf_family *find_family(hf_reader *r)
{
    static const hf_family families[] = {
        {"llama", llama_config, llama_tensors},
        {"mistral", llama_config, llama_tensors},
        {"gpt2", gpt2_config, gpt2_tensors},
        {"wpoe_transformer_decoder", wpoe_config, wpoe_tensors},
    };
    const char *type = string(r, r->config, "model_type", "");
    const json_t *quantised = lookup(r->config, "quantization_config");
    if (quantised)
        REFUSE(
            r, GPUZIP_ERR_UNSUPPORTED,
            "config.json: quantization_config (%.40s): the weights are quantised already; import "
            "the checkpoint that they were made of, in F32, F16 or BF16",
            string(r, quantised, "quant_method", "of an unknown method"));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcmp(type, families[i].model_type) == 0)
            return &families[i];
    }
    REFUSE(r, GPUZIP_ERR_UNSUPPORTED,
           "config.json: model_type is \"%.80s\"; gpuzip reads " SUPPORTED, type);
    return NULL;
}

gpuzip_status import_read_hf(import_checkpoint *c, const json_t *config, const import_shards *s,
                             weights_error *error)
{
    hf_reader r = {.config = config, .shards = s, .prefix = "", .error = error};
    const hf_family *family = find_family(&r);
    if (r.status)
        return r.status;
    family->config(&r, c);
    allocate_layers(&r, c);
    family->tensors(&r, c);
    import_set_name(c->name, string(&r, config, "_name_or_path", ""));
    uint64_t size = 0;
    for (int i = 0; i < s->shards; i++)
        size += s->shard[i].size;
    if (r.bytes > size)
        REFUSE(&r, GPUZIP_ERR_CORRUPT, "tensors overlap: together they are larger than the files");
    return r.status;
}

gpuzip_status import_probe_hf(weights_source *source, const json_t *config, weights_error *error)
{
    hf_reader r = {.config = config, .prefix = "", .error = error};
    const hf_family *family = find_family(&r);
    int vocab = config_int(&r, "vocab_size", -1, 2, WEIGHTS_MAX_VOCAB);
    const json_t *bos = lookup(config, "bos_token_id");
    if (!bos)
        bos = lookup(config, "eos_token_id");
    if (json_is_array(bos))
        bos = json_array_get(bos, 0);
    json_int_t id = json_is_integer(bos) ? json_integer_value(bos) : -1;
    if (r.status)
        return r.status;
    *source = (weights_source){
        .kind = WEIGHTS_SOURCE_HUGGING_FACE,
        .vocab = vocab,
        .bos = id < 0 ? -1 : (int64_t)id,
        .byte_vocab = strcmp(family->model_type, "wpoe_transformer_decoder") == 0 && vocab == 256,
    };
    return GPUZIP_OK;
}
