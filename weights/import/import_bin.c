/* import_bin.c: the checkpoints of llama2.c (version 0) and llm.c (GPT-2).
 *
 * Both are a header of 32-bit integers and then tensors without names or sizes, each
 * stacked over the layers. The header alone says how long the file must be. */
#include <stdlib.h>
#include <string.h>

#include "import.h"

#define LLAMA2C_HEADER   28u         /* seven integers */
#define LLAMA2C_VERSIONS 0x616b3432u /* "ak42": the magic of versions 1 and up */
#define LLMC_HEADER      1024u
#define LLMC_GPT2        20240326u
#define LLMC_LLAMA3      20240803u

/* Takes one tensor after another. Counts are below 2^8 * 2^18 * 2^18: no overflow. */
typedef struct {
    const uint8_t *data; /* NULL: only measure */
    uint64_t pos;
    import_type type;
} tensor_cursor;

/* A tensor [rows][cols] for layer `layer` of [layers][rows][cols]; the cursor stays. */
static import_tensor view_at(const tensor_cursor *at, int layer, int rows, int cols)
{
    uint64_t width = at->type == IMPORT_F32 ? 4 : 2;
    uint64_t offset = at->pos + (uint64_t)layer * (uint64_t)rows * (uint64_t)cols * width;
    import_view v = {
        .data = at->data ? at->data + offset : NULL, .type = at->type, .rows = rows, .cols = cols};
    return (import_tensor){{v}, 1};
}

static void skip(tensor_cursor *at, int layers, int rows, int cols)
{
    uint64_t width = at->type == IMPORT_F32 ? 4 : 2;
    at->pos += (uint64_t)layers * (uint64_t)rows * (uint64_t)cols * width;
}

static import_tensor take_one(tensor_cursor *at, int rows, int cols)
{
    import_tensor t = view_at(at, 0, rows, cols);
    skip(at, 1, rows, cols);
    return t;
}

/* Stores the next tensor, stacked over the layers, in a field of every layer; `index`
 * says which view of the field it is. */
static void take_layers(tensor_cursor *at, const import_checkpoint *c, size_t field, int index,
                        int rows, int cols, int interleaved_head)
{
    for (int i = 0; i < c->config.layers; i++) {
        import_tensor *t = (import_tensor *)((char *)&c->layer[i] + field);
        t->view[index] = view_at(at, i, rows, cols).view[0];
        t->view[index].interleaved_head = interleaved_head;
        t->views = index + 1;
    }
    skip(at, c->config.layers, rows, cols);
}

#define TAKE(at, c, name, index, rows, cols)                                                       \
    take_layers(at, c, offsetof(import_layer, name), index, rows, cols, 0)

static int32_t load_int(const uint8_t *data, size_t index)
{
    int32_t v;
    memcpy(&v, data + 4 * index, sizeof v);
    return v;
}

static bool within(int32_t v, int32_t least, int32_t most)
{
    return v >= least && v <= most;
}

/* ---- llama2.c ------------------------------------------------------------ */

/* Reads the header; false if it cannot be one. */
static bool llama2c_header(import_checkpoint *c, const uint8_t *data, size_t size)
{
    if (size < LLAMA2C_HEADER)
        return false;
    int32_t dim = load_int(data, 0), ffn = load_int(data, 1), layers = load_int(data, 2);
    int32_t heads = load_int(data, 3), kv_heads = load_int(data, 4), vocab = load_int(data, 5);
    int32_t context = load_int(data, 6);
    bool tied = vocab > 0; /* a negative vocabulary marks a head of its own */
    if (vocab < -WEIGHTS_MAX_VOCAB)
        return false;
    vocab = tied ? vocab : -vocab;
    if (!within(dim, 1, WEIGHTS_MAX_DIM) || !within(ffn, 1, WEIGHTS_MAX_DIM) ||
        !within(layers, 1, WEIGHTS_MAX_LAYERS) || !within(heads, 1, dim) ||
        !within(kv_heads, 1, heads) || !within(vocab, 1, WEIGHTS_MAX_VOCAB) ||
        !within(context, 1, WEIGHTS_MAX_CONTEXT) || dim % heads != 0 || heads % kv_heads != 0 ||
        dim / heads % 2 != 0)
        return false;
    c->config = (weights_config){.arch = WEIGHTS_LLAMA,
                                 .norm = WEIGHTS_NORM_RMS,
                                 .act = WEIGHTS_ACT_SWIGLU,
                                 .layers = layers,
                                 .dim = dim,
                                 .heads = heads,
                                 .kv_heads = kv_heads,
                                 .head_dim = dim / heads,
                                 .ffn = ffn,
                                 .vocab = vocab,
                                 .context = context,
                                 .eps = 1e-5f};
    c->flags = FORMAT_ROPE | (tied ? FORMAT_TIED : 0);
    c->embedding_factor = 1;
    c->rope = (rope_config){.theta = 10000, .scaling = ROPE_PLAIN};
    return true;
}

/* The tensors in the order of the file; c->layer must be there. Returns the file's size. */
static uint64_t llama2c_tensors(import_checkpoint *c, const uint8_t *data)
{
    const weights_config *g = &c->config;
    int dim = g->dim, kv_dim = g->kv_heads * g->head_dim, half = g->head_dim / 2;
    tensor_cursor at = {data, LLAMA2C_HEADER, IMPORT_F32};
    c->embedding = take_one(&at, g->vocab, dim);
    TAKE(&at, c, norm1_gain, 0, dim, 1);
    /* RoPE turns pairs 2i, 2i + 1 there. */
    take_layers(&at, c, offsetof(import_layer, qkv), 0, dim, dim, g->head_dim);
    take_layers(&at, c, offsetof(import_layer, qkv), 1, kv_dim, dim, g->head_dim);
    TAKE(&at, c, qkv, 2, kv_dim, dim);
    TAKE(&at, c, out, 0, dim, dim);
    TAKE(&at, c, norm2_gain, 0, dim, 1);
    TAKE(&at, c, up, 0, g->ffn, dim); /* w1, the gate */
    TAKE(&at, c, down, 0, dim, g->ffn);
    TAKE(&at, c, up, 1, g->ffn, dim); /* w3 */
    c->final_gain = take_one(&at, dim, 1);
    skip(&at, 2, g->context, half); /* RoPE tables of the first versions */
    if (!(c->flags & FORMAT_TIED))
        c->head = take_one(&at, g->vocab, dim);
    return at.pos;
}

/* ---- llm.c --------------------------------------------------------------- */

/* Reads the header. padded_vocab: rows of the embedding. */
static gpuzip_status llmc_header(import_checkpoint *c, import_type *type, int *padded_vocab,
                                 const uint8_t *data, size_t size, weights_error *error)
{
    if (size < LLMC_HEADER)
        return import_fail(error, GPUZIP_ERR_CORRUPT, "llm.c checkpoint: truncated");
    int32_t version = load_int(data, 1), context = load_int(data, 2), vocab = load_int(data, 3);
    int32_t layers = load_int(data, 4), heads = load_int(data, 5), dim = load_int(data, 6);
    if (version != 1 && version != 3 && version != 5)
        return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                           "llm.c checkpoint of version %d; gpuzip reads 1, 3 and 5", version);
    int32_t padded = version == 1 ? vocab : load_int(data, 7);
    if (!within(context, 1, WEIGHTS_MAX_CONTEXT) || !within(vocab, 1, WEIGHTS_MAX_VOCAB) ||
        !within(layers, 1, WEIGHTS_MAX_LAYERS) || !within(dim, 1, WEIGHTS_MAX_DIM / 4) ||
        !within(heads, 1, dim) || dim % heads != 0 || !within(padded, vocab, vocab + 4096))
        return import_fail(error, GPUZIP_ERR_CORRUPT,
                           "llm.c checkpoint: its header holds impossible sizes");
    c->config = (weights_config){.arch = WEIGHTS_GPT2,
                                 .norm = WEIGHTS_NORM_LAYER,
                                 .act = WEIGHTS_ACT_GELU_TANH,
                                 .layers = layers,
                                 .dim = dim,
                                 .heads = heads,
                                 .kv_heads = heads,
                                 .head_dim = dim / heads,
                                 .ffn = 4 * dim,
                                 .vocab = vocab,
                                 .context = context,
                                 .eps = 1e-5f};
    c->flags = FORMAT_TIED | FORMAT_QKV_BIAS | FORMAT_OUT_BIAS | FORMAT_UP_BIAS | FORMAT_DOWN_BIAS;
    c->embedding_factor = 1;
    *type = version == 5 ? IMPORT_BF16 : IMPORT_F32;
    *padded_vocab = padded;
    return GPUZIP_OK;
}

/* As llama2c_tensors(). */
static uint64_t llmc_tensors(import_checkpoint *c, import_type type, int padded_vocab,
                             const uint8_t *data)
{
    int dim = c->config.dim, ffn = c->config.ffn;
    tensor_cursor at = {data, LLMC_HEADER, type};
    c->embedding = take_one(&at, padded_vocab, dim);
    c->position = take_one(&at, c->config.context, dim);
    TAKE(&at, c, norm1_gain, 0, dim, 1);
    TAKE(&at, c, norm1_bias, 0, dim, 1);
    TAKE(&at, c, qkv, 0, 3 * dim, dim);
    TAKE(&at, c, qkv_bias, 0, 3 * dim, 1);
    TAKE(&at, c, out, 0, dim, dim);
    TAKE(&at, c, out_bias, 0, dim, 1);
    TAKE(&at, c, norm2_gain, 0, dim, 1);
    TAKE(&at, c, norm2_bias, 0, dim, 1);
    TAKE(&at, c, up, 0, ffn, dim);
    TAKE(&at, c, up_bias, 0, ffn, 1);
    TAKE(&at, c, down, 0, dim, ffn);
    TAKE(&at, c, down_bias, 0, dim, 1);
    c->final_gain = take_one(&at, dim, 1);
    c->final_bias = take_one(&at, dim, 1);
    return at.pos;
}

/* ---- both ---------------------------------------------------------------- */

static gpuzip_status allocate_layers(import_checkpoint *c)
{
    c->layer = calloc((size_t)c->config.layers, sizeof *c->layer);
    return c->layer ? GPUZIP_OK : FAIL(GPUZIP_ERR_MEMORY);
}

gpuzip_status import_read_llama2c(import_checkpoint *c, const uint8_t *data, size_t size,
                                  weights_error *error)
{
    if (!llama2c_header(c, data, size))
        return import_fail(error, GPUZIP_ERR_FORMAT, "not a llama2.c checkpoint");
    TRY(allocate_layers(c));
    if (llama2c_tensors(c, NULL) != size)
        return import_fail(error, GPUZIP_ERR_CORRUPT,
                           "llama2.c checkpoint: its size does not agree with its header");
    llama2c_tensors(c, data);
    return GPUZIP_OK;
}

gpuzip_status import_read_llmc(import_checkpoint *c, const uint8_t *data, size_t size,
                               weights_error *error)
{
    import_type type = IMPORT_F32;
    int padded_vocab = 0;
    TRY(llmc_header(c, &type, &padded_vocab, data, size, error));
    TRY(allocate_layers(c));
    if (llmc_tensors(c, type, padded_vocab, NULL) != size)
        return import_fail(error, GPUZIP_ERR_CORRUPT,
                           "llm.c checkpoint: its size does not agree with its header");
    llmc_tensors(c, type, padded_vocab, data);
    return GPUZIP_OK;
}

gpuzip_status import_probe_bin(weights_source *source, const uint8_t *data, size_t size,
                               weights_error *error)
{
    gpuzip_status status = GPUZIP_OK;
    import_checkpoint c = {0};
    uint32_t magic = size >= 4 ? (uint32_t)load_int(data, 0) : 0;
    import_type type = IMPORT_F32;
    int padded_vocab = 0;
    if (magic == LLAMA2C_VERSIONS || magic == LLMC_LLAMA3)
        return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                           "a %s checkpoint; gpuzip reads llama2.c version 0 and llm.c GPT-2",
                           magic == LLMC_LLAMA3 ? "llm.c Llama 3" : "newer llama2.c");
    if (magic == LLMC_GPT2) {
        TRY(llmc_header(&c, &type, &padded_vocab, data, size, error));
        *source = (weights_source){WEIGHTS_SOURCE_LLMC, c.config.vocab, c.config.vocab - 1, false};
        return GPUZIP_OK;
    }
    /* Without a magic, a header that agrees with the file's size is the proof. */
    TRY_OUT(import_read_llama2c(&c, data, size, error));
    *source = (weights_source){WEIGHTS_SOURCE_LLAMA2C, c.config.vocab, 1, false};
out:
    free(c.layer);
    return status;
}
