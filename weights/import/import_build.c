/* import_build.c: a checkpoint's views to the bytes of a model file. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import_rows.h"

/* Models with fewer parameters keep 15-bit weights unless asked otherwise. */
#define SMALL_MODEL 32000000u

/* One build. The pointers in *model point into the new file, which is ours to write
 * (that they are const is for those who read models). */
typedef struct {
    weights_model *model;
    float *block; /* [IMPORT_BLOCK_ROWS][columns of the widest tensor] */
    weights_error *error;
} builder;

gpuzip_status import_fail(weights_error *error, gpuzip_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    for (char *p = error->text; *p; p++) {
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    }
    return FAIL(status);
}

void import_set_name(char name[64], const char *text)
{
    size_t end = strlen(text), n = 0;
    while (end > 0 && text[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && text[begin - 1] != '/')
        begin--;
    memset(name, 0, 64);
    for (size_t i = begin; i < end && n < 63; i++) {
        if (text[i] >= 0x20 && text[i] <= 0x7e)
            name[n++] = text[i];
    }
}

/* "llama-260K": architecture and parameters. */
static void make_name(char name[64], const weights_model *m)
{
    static const char *const arch[] = {"llama", "gpt2", "wpoe"};
    unsigned long long p = m->parameters;
    const char *a = arch[m->config.arch];
    memset(name, 0, 64);
    if (p < 999500)
        snprintf(name, 64, "%s-%lluK", a, (p + 500) / 1000);
    else if (p < 999500000)
        snprintf(name, 64, "%s-%lluM", a, (p + 500000) / 1000000);
    else
        snprintf(name, 64, "%s-%llu.%lluB", a, (p + 50000000) / 1000000000,
                 (p + 50000000) / 100000000 % 10);
}

static gpuzip_status check_shape(const builder *b, const import_tensor *t, int rows, int cols,
                                 int layer, const char *tensor)
{
    if (t->views > 0 && t->view[0].cols == cols && import_rows(t) >= rows)
        return GPUZIP_OK;
    return import_fail(b->error, GPUZIP_ERR_CORRUPT, "layer %d, %s: not there, or of another shape",
                       layer, tensor);
}

/* layer is -1 for tensors outside the layers. */
static gpuzip_status fill_matrix(const builder *b, const weights_matrix *m, const import_tensor *t,
                                 int layer, const char *tensor)
{
    int bits = b->model->config.weight_bits;
    size_t k = (size_t)m->k, width = bits == 8 ? sizeof(int8_t) : sizeof(int16_t);
    uint8_t *w = (uint8_t *)m->w;
    float *scale = (float *)m->scale;
    TRY(check_shape(b, t, m->n, m->k, layer, tensor));
    for (int n = 0; n < m->n; n += IMPORT_BLOCK_ROWS) {
        int rows = m->n - n < IMPORT_BLOCK_ROWS ? m->n - n : IMPORT_BLOCK_ROWS;
        import_read_rows(t, n, rows, b->block);
        for (int i = 0; i < rows; i++) {
            size_t row = (size_t)(n + i);
            if (!import_quantize_row(w + row * k * width, &scale[row], b->block + (size_t)i * k,
                                     m->k, bits))
                return import_fail(b->error, GPUZIP_ERR_CORRUPT,
                                   "layer %d, %s, row %zu: a weight is NaN or infinite", layer,
                                   tensor, row);
            if (!(scale[row] <= 8))
                return import_fail(b->error, GPUZIP_ERR_UNSUPPORTED,
                                   "layer %d, %s, row %zu: weights up to %g; gpuzip takes %d",
                                   layer, tensor, row, (double)scale[row] * weights_quant_max(bits),
                                   8 * weights_quant_max(bits));
        }
    }
    return GPUZIP_OK;
}

/* Copies rows of floats; dst [rows][cols], NULL where the model has none. */
static gpuzip_status fill_floats(const builder *b, const float *dst, int rows, int cols,
                                 const import_tensor *t, int layer, const char *tensor)
{
    float *out = (float *)dst;
    if (!out)
        return GPUZIP_OK;
    TRY(check_shape(b, t, rows, cols, layer, tensor));
    for (int n = 0; n < rows; n += IMPORT_BLOCK_ROWS) {
        int count = rows - n < IMPORT_BLOCK_ROWS ? rows - n : IMPORT_BLOCK_ROWS;
        size_t values = (size_t)count * (size_t)cols;
        import_read_rows(t, n, count, out);
        for (size_t i = 0; i < values; i++) {
            if (!(fabsf(out[i]) <= 1024))
                return import_fail(b->error, GPUZIP_ERR_UNSUPPORTED,
                                   "layer %d, %s: holds %g; gpuzip takes magnitudes up to 1024",
                                   layer, tensor, (double)out[i]);
        }
        out += values;
    }
    return GPUZIP_OK;
}

static gpuzip_status fill_layer(const builder *b, const import_layer *src, int i)
{
    const weights_layer *l = &b->model->layer[i];
    int dim = b->model->config.dim;
    TRY(fill_floats(b, l->norm1.gain, dim, 1, &src->norm1_gain, i, "gain of norm 1"));
    TRY(fill_floats(b, l->norm1.bias, dim, 1, &src->norm1_bias, i, "bias of norm 1"));
    TRY(fill_matrix(b, &l->qkv, &src->qkv, i, "q, k, v"));
    TRY(fill_floats(b, l->qkv_bias, l->qkv.n, 1, &src->qkv_bias, i, "bias of q, k, v"));
    TRY(fill_matrix(b, &l->out, &src->out, i, "attention output"));
    TRY(fill_floats(b, l->out_bias, dim, 1, &src->out_bias, i, "bias of attention output"));
    TRY(fill_floats(b, l->norm2.gain, dim, 1, &src->norm2_gain, i, "gain of norm 2"));
    TRY(fill_floats(b, l->norm2.bias, dim, 1, &src->norm2_bias, i, "bias of norm 2"));
    TRY(fill_matrix(b, &l->up, &src->up, i, "MLP up"));
    TRY(fill_floats(b, l->up_bias, l->up.n, 1, &src->up_bias, i, "bias of MLP up"));
    TRY(fill_matrix(b, &l->down, &src->down, i, "MLP down"));
    return fill_floats(b, l->down_bias, dim, 1, &src->down_bias, i, "bias of MLP down");
}

static gpuzip_status fill(const builder *b, const import_checkpoint *c)
{
    const weights_model *m = b->model;
    const weights_config *g = &m->config;
    TRY(fill_matrix(b, &m->embedding, &c->embedding, -1, "embedding"));
    TRY(fill_floats(b, m->position, g->context, g->dim, &c->position, -1, "positions"));
    if (g->rope)
        rope_turns((uint64_t *)m->turns, g->head_dim, &c->rope);
    for (int i = 0; i < g->layers; i++)
        TRY(fill_layer(b, &c->layer[i], i));
    TRY(fill_floats(b, m->final_norm.gain, g->dim, 1, &c->final_gain, -1, "gain of the last norm"));
    TRY(fill_floats(b, m->final_norm.bias, g->dim, 1, &c->final_bias, -1, "bias of the last norm"));
    if (!(c->flags & FORMAT_TIED))
        TRY(fill_matrix(b, &m->head, &c->head, -1, "head"));
    return fill_floats(b, m->head_bias, g->vocab, 1, &c->head_bias, -1, "bias of the head");
}

/* Names the first field that is out of range. */
static gpuzip_status refuse_config(const weights_model *m, const import_checkpoint *c,
                                   weights_error *error)
{
    const weights_config *g = &m->config;
    const struct {
        const char *name;
        int value, least, most;
    } fields[] = {
        {"number of layers", g->layers, 1, WEIGHTS_MAX_LAYERS},
        {"width (hidden_size)", g->dim, 1, WEIGHTS_MAX_DIM},
        {"number of heads", g->heads, 1, WEIGHTS_MAX_DIM / (g->head_dim > 0 ? g->head_dim : 1)},
        {"number of key and value heads", g->kv_heads, 1, g->heads},
        {"width of a head (head_dim)", g->head_dim, 2, WEIGHTS_MAX_HEAD_DIM},
        {"width of the MLP (intermediate_size)", g->ffn, 1, WEIGHTS_MAX_DIM},
        {"vocabulary (vocab_size)", g->vocab, 2, WEIGHTS_MAX_VOCAB},
        {"context (max_position_embeddings)", g->context, 2, WEIGHTS_MAX_CONTEXT},
        {"start token (bos_token_id)", g->bos, 0, g->vocab - 1},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].least || fields[i].value > fields[i].most)
            return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                               "the %s is %d; gpuzip takes %d to %d (weights/FORMAT.md)",
                               fields[i].name, fields[i].value, fields[i].least, fields[i].most);
    if (g->head_dim % 2 != 0 || g->heads % g->kv_heads != 0)
        return import_fail(
            error, GPUZIP_ERR_UNSUPPORTED,
            "%d heads of width %d with %d of keys and values: the width must be even "
            "and the latter divide the former",
            g->heads, g->head_dim, g->kv_heads);
    if (!(g->eps >= 1e-12f && g->eps <= 1e-2f))
        return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                           "the eps of the norms is %g; gpuzip takes 1e-12 to 1e-2",
                           (double)g->eps);
    if (g->rope && !rope_config_valid(&c->rope))
        return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                           "the rotary positions (rope_theta %g, factor %g, low_freq_factor %g, "
                           "high_freq_factor %g, original_max_position_embeddings %g) are out of "
                           "gpuzip's range",
                           c->rope.theta, c->rope.factor, c->rope.low_freq_factor,
                           c->rope.high_freq_factor, c->rope.original_context);
    return import_fail(error, GPUZIP_ERR_UNSUPPORTED,
                       "the widths of bits, the size of the tokenizer or a factor of the "
                       "checkpoint are out of gpuzip's range (weights/FORMAT.md)");
}

/* Completes m->config and m->name, and checks them. Allocates m->layer. */
static gpuzip_status settle_config(weights_model *m, const import_checkpoint *c,
                                   const weights_import_options *options, weights_error *error)
{
    weights_config *g = &m->config;
    int context = options->context ? options->context : IMPORT_CONTEXT;
    g->context = context < g->context ? context : g->context;
    g->post_norm = (c->flags & FORMAT_POST_NORM) != 0;
    g->rope = (c->flags & FORMAT_ROPE) != 0;
    g->weight_bits = options->weight_bits ? options->weight_bits : 8;
    g->activation_bits = options->activation_bits ? options->activation_bits : 15;
    g->kv_bits = options->kv_bits ? options->kv_bits : 12;
    g->attention_factor = (float)(0x1.71547652b82fep+0 / sqrt((double)g->head_dim));
    if (!format_config_valid(m, c->flags) || (g->rope && !rope_config_valid(&c->rope)))
        return refuse_config(m, c, error);
    m->layer = calloc((size_t)g->layers, sizeof *m->layer);
    if (!m->layer)
        return FAIL(GPUZIP_ERR_MEMORY);
    format_layout(m, c->flags, NULL); /* for the parameters */
    if (options->weight_bits == 0 && m->parameters < SMALL_MODEL)
        g->weight_bits = 15;
    if (options->name)
        import_set_name(m->name, options->name);
    else
        memcpy(m->name, c->name, sizeof m->name);
    if (!m->name[0])
        make_name(m->name, m);
    return GPUZIP_OK;
}

gpuzip_status import_build(void **data, size_t *size, const import_checkpoint *c,
                           const weights_import_options *options, const void *tokenizer,
                           size_t tokenizer_size, uint32_t bos, weights_error *error)
{
    gpuzip_status status = GPUZIP_OK;
    uint8_t *bytes = NULL;
    weights_model m = {.config = c->config,
                       .embedding_factor = c->embedding_factor,
                       .tokenizer_size = tokenizer_size};
    builder b = {.model = &m, .error = error};
    uint32_t flags = c->flags | FORMAT_NAMELESS_ID;
    m.config.bos = bos < (uint32_t)WEIGHTS_MAX_VOCAB ? (int)bos : -1;
    TRY_OUT(settle_config(&m, c, options, error));

    int widest = m.config.dim > m.config.ffn ? m.config.dim : m.config.ffn;
    int attention = m.config.heads * m.config.head_dim;
    widest = widest > attention ? widest : attention;
    m.file_size = format_layout(&m, flags, NULL);
    bytes = aligned_alloc(FORMAT_ALIGN, m.file_size);
    b.block = malloc((size_t)widest * IMPORT_BLOCK_ROWS * sizeof *b.block);
    if (!bytes || !b.block) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    memset(bytes, 0, m.file_size); /* the pads */
    format_layout(&m, flags, bytes);
    format_write_header(bytes, &m, flags);
    if (tokenizer_size > 0)
        memcpy((uint8_t *)m.tokenizer, tokenizer, tokenizer_size);
    TRY_OUT(fill(&b, c));
    TRY_OUT(weights_check(&m, error));
    *data = bytes;
    *size = m.file_size;
    bytes = NULL;
out:
    free(bytes);
    free(b.block);
    free(m.layer);
    if (status == GPUZIP_ERR_MEMORY)
        import_fail(error, status, "not enough memory for a model file of %llu bytes",
                    (unsigned long long)m.file_size);
    return status;
}
