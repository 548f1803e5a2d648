/* test_import.c: checkpoints to model files: ids, values, shapes.
 *
 * Ids are those that golden_import.py computes from weights/FORMAT.md on its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "import_rows.h"

#define TOKENIZER "not a tokenizer"

typedef struct {
    const char *folder;
    int weight_bits;
    const char *id;
} golden;

/* Made by: golden_import.py test_import.c */
static const golden goldens[] = {
    {"import_gpt2", 8, "f19a2343b507ea089f19690a973fd525e8255fed021c21d0f695027d258a84a2"},
    {"import_gpt2", 15, "b6c45b624ba06e38f9bba09a5f7bd403140feb6027ada6b5642d0cb00d82696a"},
    {"import_llama", 8, "70df84b58be4a24bdc058021272b902cf89ad5ab8c862ff5884fbd851e8c8e80"},
    {"import_llama", 15, "a307f60973f95c21437e9225c39a98df2d05dee14608d2c3a0d57a047e022ab0"},
};

/* An imported model and its bytes. */
typedef struct {
    weights_model *model;
    void *data;
} imported;

static imported import_path(const char *path, int weight_bits)
{
    imported out;
    size_t size;
    weights_source source;
    weights_error error;
    weights_import_options options = {.weight_bits = weight_bits};
    if (weights_probe(&source, path, &error) != GPUZIP_OK)
        fail_msg("%s", error.text);
    uint32_t bos = source.bos < 0 ? 0 : (uint32_t)source.bos;
    if (weights_import(&out.data, &size, path, &options, TOKENIZER, strlen(TOKENIZER), bos,
                       &error) != GPUZIP_OK)
        fail_msg("%s", error.text);
    assert_int_equal(weights_open_memory(&out.model, out.data, size), GPUZIP_OK);
    return out;
}

static void release(imported *m)
{
    weights_close(m->model);
    free(m->data);
}

static void golden_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char path[512], id[65];
        snprintf(path, sizeof path, "%s/%s", GPUZIP_TEST_DATA, goldens[i].folder);
        imported m = import_path(path, goldens[i].weight_bits);
        for (int k = 0; k < 32; k++)
            snprintf(id + 2 * k, 3, "%02x", m.model->id[k]);
        assert_string_equal(id, goldens[i].id);
        release(&m);
    }
}

/* ---- values -------------------------------------------------------------- */

/* Whether w[n][k] * scale[n] is within half a step of x, and all is used. */
static void assert_row_near(const weights_matrix *m, int bits, int n, const float *x)
{
    int largest = 0;
    for (int k = 0; k < m->k; k++) {
        size_t at = (size_t)n * (size_t)m->k + (size_t)k;
        int w = bits == 8 ? ((const int8_t *)m->w)[at] : ((const int16_t *)m->w)[at];
        double scale = (double)m->scale[n];
        largest = abs(w) > largest ? abs(w) : largest;
        assert_true(fabs(w * scale - (double)x[k]) <= 0.50001 * scale);
    }
    assert_int_equal(largest, weights_quant_max(bits));
}

static void quantized_rows(void **state)
{
    (void)state;
    int16_t w15[8];
    int8_t w8[8];
    float scale;
    const float x[8] = {0.1f, -3.0f, 2.9999f, 0.0f, -0.0f, 1e-30f, 1.5f, -0.01f};
    weights_matrix m = {.w = w8, .scale = &scale, .n = 1, .k = 8};
    assert_true(import_quantize_row(w8, &scale, x, 8, 8));
    assert_row_near(&m, 8, 0, x);
    m.w = w15;
    assert_true(import_quantize_row(w15, &scale, x, 8, 15));
    assert_row_near(&m, 15, 0, x);
    /* Ties go to even: with a scale of exactly 1. */
    const float tie[4] = {127, 0.5f, 1.5f, -2.5f};
    assert_true(import_quantize_row(w8, &scale, tie, 4, 8));
    assert_true(scale == 1.0f && w8[0] == 127 && w8[1] == 0 && w8[2] == 2 && w8[3] == -2);
    const float tiny[2] = {0x1p-101f, -0x1p-149f}, least[2] = {0x1p-100f, -0x1p-149f};
    assert_true(import_quantize_row(w8, &scale, tiny, 2, 8));
    assert_true(scale == 0.0f && w8[0] == 0 && w8[1] == 0);
    assert_true(import_quantize_row(w8, &scale, least, 2, 8));
    assert_true(scale > 0.0f && w8[0] == 127 && w8[1] == 0);
    const float bad[2] = {1, NAN}, worse[2] = {-INFINITY, 0};
    assert_false(import_quantize_row(w8, &scale, bad, 2, 8));
    assert_false(import_quantize_row(w8, &scale, worse, 2, 8));
    /* Every amax of one binade: the largest entry becomes qmax and never more. */
    for (uint32_t bits = 0x3f800000; bits < 0x40000000; bits += 97) {
        float edge[2];
        memcpy(&edge[0], &bits, 4);
        edge[1] = -edge[0];
        assert_true(import_quantize_row(w15, &scale, edge, 2, 15));
        assert_true(w15[0] == 16256 && w15[1] == -16256);
    }
}

/* Every 16-bit pattern becomes the float it means. */
static void half_conversions(void **state)
{
    (void)state;
    uint16_t *all = malloc(65536 * sizeof *all);
    float out[65536 / 256];
    for (uint32_t i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (int type = IMPORT_F16; type <= IMPORT_BF16; type++) {
        import_view v = {(const uint8_t *)all, (import_type)type, 256, 256, false, 0};
        import_tensor t = {{v}, 1};
        for (uint32_t i = 0; i < 65536; i++) {
            if (i % 256 == 0)
                import_read_rows(&t, (int)(i / 256), 1, out);
            int exponent = type == IMPORT_F16 ? i >> 10 & 0x1f : i >> 7 & 0xff;
            int fraction = type == IMPORT_F16 ? i & 0x3ff : i & 0x7f;
            int bits = type == IMPORT_F16 ? 10 : 7, top = type == IMPORT_F16 ? 0x1f : 0xff;
            int bias = top >> 1;
            double value = exponent ? ldexp((1 << bits) + fraction, exponent - bias - bits)
                                    : ldexp(fraction, 1 - bias - bits);
            if (exponent == top)
                value = fraction ? NAN : INFINITY;
            value = i >> 15 ? -value : value;
            float found = out[i % 256];
            if (isnan(value))
                assert_true(isnan(found));
            else
                assert_true((double)found == value && !signbit(found) == !(i >> 15));
        }
    }
    free(all);
}

/* Reads a whole file; the caller frees it. */
static uint8_t *read_file(const char *folder, const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s", GPUZIP_TEST_DATA, folder, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

/* GPT-2's weights are [in][out] in the checkpoint. */
static void gpt2_values(void **state)
{
    (void)state;
    imported m = import_path(GPUZIP_TEST_DATA "/import_gpt2", 8);
    const weights_model *g = m.model;
    const weights_config *c = &g->config;
    size_t size;
    uint8_t *file = read_file("import_gpt2", "model.safetensors", &size);
    safetensors s;
    safetensors_tensor t;
    assert_int_equal(safetensors_open_memory(&s, file, size), GPUZIP_OK);
    assert_true(c->arch == WEIGHTS_GPT2 && c->norm == WEIGHTS_NORM_LAYER);
    assert_true(c->act == WEIGHTS_ACT_GELU_TANH && !c->rope && !c->post_norm);
    assert_int_equal(c->layers, 2);
    assert_int_equal(c->ffn, 64);
    assert_int_equal(c->context, 32);
    assert_int_equal(c->bos, 47);
    assert_ptr_equal(g->head.w, g->embedding.w);
    assert_true(g->embedding_factor == 1.0f && c->eps == 1e-5f);
    assert_int_equal(safetensors_find(&s, "transformer.h.1.mlp.c_fc.weight", &t), GPUZIP_OK);
    for (int n = 0; n < 64; n++) {
        float x[16];
        for (int k = 0; k < 16; k++)
            memcpy(&x[k], t.data + 4 * (k * 64 + n), 4);
        assert_row_near(&g->layer[1].up, 8, n, x);
    }
    assert_int_equal(safetensors_find(&s, "transformer.wte.weight", &t), GPUZIP_OK);
    for (int n = 0; n < 48; n++) {
        float x[16];
        memcpy(x, t.data + 64 * n, 64);
        assert_row_near(&g->embedding, 8, n, x);
    }
    assert_int_equal(safetensors_find(&s, "transformer.wpe.weight", &t), GPUZIP_OK);
    assert_memory_equal(g->position, t.data, t.size);
    assert_int_equal(safetensors_find(&s, "transformer.h.0.ln_2.bias", &t), GPUZIP_OK);
    assert_memory_equal(g->layer[0].norm2.bias, t.data, t.size);
    safetensors_close(&s);
    free(file);
    release(&m);
}

/* ---- llama2.c and llm.c --------------------------------------------------- */

/* Appends count floats start, start + step, ... */
static void append(uint8_t **at, size_t count, float start, float step)
{
    for (size_t i = 0; i < count; i++) {
        float v = start + (float)i * step;
        memcpy(*at, &v, sizeof v);
        *at += sizeof v;
    }
}

/* One layer, dim 8, two heads of four, one KV head. Rows of wq and wk hold their number. */
static size_t make_llama2c(uint8_t *out, bool tied)
{
    const int32_t header[7] = {8, 12, 1, 2, 1, tied ? 5 : -5, 4};
    uint8_t *at = out + sizeof header;
    memcpy(out, header, sizeof header);
    append(&at, 5 * 8, 1, 0.1f); /* embedding */
    append(&at, 8, 2, 0.5f);     /* norm 1 */
    for (int row = 0; row < 8; row++)
        append(&at, 8, (float)(row + 1), 0); /* wq */
    for (int row = 0; row < 4; row++)
        append(&at, 8, (float)(row + 101), 0); /* wk */
    for (int row = 0; row < 4; row++)
        append(&at, 8, (float)(row + 201), 0); /* wv */
    append(&at, 8 * 8, 0.1f, 0);               /* wo */
    append(&at, 8, 3, 0.5f);                   /* norm 2 */
    append(&at, 12 * 8, 1, 0);                 /* w1, the gate */
    append(&at, 8 * 12, 2, 0);                 /* w2, down */
    append(&at, 12 * 8, 3, 0);                 /* w3, up */
    append(&at, 8, 4, 0.5f);                   /* final norm */
    append(&at, 2 * 4 * 2, NAN, 0);            /* tables, not read */
    if (!tied)
        append(&at, 5 * 8, -1, 0); /* head */
    return (size_t)(at - out);
}

static imported build(import_checkpoint *c, int weight_bits)
{
    imported out;
    size_t size;
    weights_error error;
    weights_import_options options = {.weight_bits = weight_bits};
    if (import_build(&out.data, &size, c, &options, NULL, 0, 1, &error) != GPUZIP_OK)
        fail_msg("%s", error.text);
    free(c->layer);
    assert_int_equal(weights_open_memory(&out.model, out.data, size), GPUZIP_OK);
    return out;
}

static void llama2c_values(void **state)
{
    (void)state;
    uint8_t source[8192];
    weights_error error;
    for (int tied = 0; tied < 2; tied++) {
        import_checkpoint c = {0};
        size_t size = make_llama2c(source, tied);
        assert_int_equal(import_read_llama2c(&c, source, size, &error), GPUZIP_OK);
        imported m = build(&c, 8);
        const weights_layer *l = &m.model->layer[0];
        /* Heads of four: rows 0 2 1 3 of each become rows 0 1 2 3. All entries of a row are
         * the same, so its scale is that value / 127. v is not turned. */
        static const float row[16] = {1,   3,   2,   4,   5,   7,   6,   8,
                                      101, 103, 102, 104, 201, 202, 203, 204};
        for (int n = 0; n < 16; n++)
            assert_true(l->qkv.scale[n] == row[n] / 127);
        for (int n = 0; n < 12; n++)
            assert_true(l->up.scale[n] == 1.0f / 127 && l->up.scale[12 + n] == 3.0f / 127);
        assert_true(l->down.scale[7] == 2.0f / 127 && l->out.scale[0] == 0.1f / 127);
        assert_true(l->norm1.gain[1] == 2.5f && l->norm2.gain[1] == 3.5f);
        assert_true(m.model->final_norm.gain[7] == 7.5f);
        assert_true((m.model->head.w == m.model->embedding.w) == (bool)tied);
        if (!tied)
            assert_int_equal(((const int8_t *)m.model->head.w)[39], -127);
        assert_string_equal(m.model->name, "llama-1K");
        release(&m);
        /* One byte more or less is another file. */
        for (int d = -1; d <= 1; d += 2) {
            import_checkpoint other = {0};
            source[size] = 0;
            assert_int_not_equal(
                import_read_llama2c(&other, source, (size_t)((int)size + d), &error), GPUZIP_OK);
            free(other.layer);
        }
    }
}

/* llm.c: two layers, dim 4, two heads, vocabulary 5 padded to 8, context 3. Each tensor is
 * filled with its number in the file's order; layers and the embedding's rows differ. */
static size_t make_llmc(uint8_t *out, int version)
{
    const int32_t header[8] = {20240326, version, 3, 5, 2, 2, 4, version == 1 ? 0 : 8};
    const size_t dim = 4, padded = version == 1 ? 5 : 8;
    const size_t size[16] = {padded * dim,  3 * dim, dim, dim, 3 * dim * dim, 3 * dim,
                             dim * dim,     dim,     dim, dim, 4 * dim * dim, 4 * dim,
                             4 * dim * dim, dim,     dim, dim};
    uint8_t *at = out + 1024;
    memset(out, 0, 1024);
    memcpy(out, header, sizeof header);
    for (int tensor = 0; tensor < 16; tensor++) {
        bool stacked = tensor >= 2 && tensor < 14;
        for (int layer = 0; layer < (stacked ? 2 : 1); layer++)
            append(&at, size[tensor], (float)(tensor + 1) + 0.5f * (float)layer, 0);
    }
    if (version == 5) { /* the values above are exact in bfloat16 */
        size_t count = (size_t)(at - out - 1024) / 4;
        for (size_t i = 0; i < count; i++)
            memcpy(out + 1024 + 2 * i, out + 1024 + 4 * i + 2, 2);
        at = out + 1024 + 2 * count;
    }
    return (size_t)(at - out);
}

static void llmc_values(void **state)
{
    (void)state;
    static uint8_t source[65536];
    uint8_t id[32];
    weights_error error;
    for (int version = 1; version <= 5; version += 2) {
        import_checkpoint c = {0};
        size_t size = make_llmc(source, version);
        assert_int_equal(import_read_llmc(&c, source, size, &error), GPUZIP_OK);
        imported m = build(&c, 8);
        const weights_layer *l = &m.model->layer[1];
        const weights_config *g = &m.model->config;
        assert_int_equal(g->vocab, 5);
        assert_int_equal(g->context, 3);
        assert_int_equal(g->ffn, 16);
        assert_true(m.model->embedding.scale[4] == 1.0f / 127 && m.model->position[11] == 2);
        assert_true(l->norm1.gain[3] == 3.5f && l->norm1.bias[3] == 4.5f);
        assert_true(l->qkv.scale[11] == 5.5f / 127 && l->qkv_bias[11] == 6.5f);
        assert_true(l->out.scale[3] == 7.5f / 127 && l->out_bias[0] == 8.5f);
        assert_true(l->norm2.gain[3] == 9.5f && l->norm2.bias[3] == 10.5f);
        assert_true(l->up.scale[15] == 11.5f / 127 && l->up_bias[15] == 12.5f);
        assert_true(l->down.scale[3] == 13.5f / 127 && l->down_bias[3] == 14.5f);
        assert_true(m.model->layer[0].down_bias[3] == 14);
        assert_true(m.model->final_norm.gain[0] == 15 && m.model->final_norm.bias[3] == 16);
        assert_string_equal(m.model->name, "gpt2-1K");
        /* The same model whatever the type and padding. */
        if (version > 1)
            assert_memory_equal(m.model->id, id, 32);
        memcpy(id, m.model->id, 32);
        release(&m);
        import_checkpoint other = {0};
        assert_int_equal(import_read_llmc(&other, source, size - 1, &error), GPUZIP_ERR_CORRUPT);
        free(other.layer);
    }
    import_checkpoint c = {0};
    size_t size = make_llmc(source, 4);
    assert_int_equal(import_read_llmc(&c, source, size, &error), GPUZIP_ERR_UNSUPPORTED);
}

/* ---- whole paths --------------------------------------------------------- */

static void options_count(void **state)
{
    (void)state;
    const char *path = GPUZIP_TEST_DATA "/import_gpt2";
    weights_import_options options = {8, 8, 8, "a/b/my \x1b model/", 16};
    weights_error error;
    weights_model *m;
    void *data;
    size_t size;
    assert_int_equal(weights_import(&data, &size, path, &options, NULL, 0, 3, &error), GPUZIP_OK);
    assert_int_equal(weights_open_memory(&m, data, size), GPUZIP_OK);
    assert_string_equal(m->name, "my  model");
    assert_int_equal(m->config.context, 16);
    assert_int_equal(m->config.activation_bits, 8);
    assert_int_equal(m->config.kv_bits, 8);
    assert_int_equal(m->config.bos, 3);
    assert_int_equal(m->tokenizer_size, 0);
    weights_close(m);
    free(data);
    options.kv_bits = 15;
    assert_int_equal(weights_import(&data, &size, path, &options, NULL, 0, 3, &error),
                     GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(weights_import(&data, &size, path, NULL, NULL, 0, 48, &error),
                     GPUZIP_ERR_UNSUPPORTED);
    assert_int_equal(weights_import(&data, &size, path, NULL, NULL, 0, UINT32_MAX, &error),
                     GPUZIP_ERR_UNSUPPORTED);
}

/* Real checkpoints, where they are at hand. */
static void real_checkpoints(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name;
        weights_arch arch;
        int layers, dim, heads, kv_heads, head_dim, ffn, vocab, context, bos;
        uint64_t parameters;
    } known[] = {
        {"stories260K/stories260K.bin", "llama-260K", WEIGHTS_LLAMA, 5, 64, 8, 4, 8, 172, 512, 512,
         1, 260032},
        {"babyllama/model5000.bin", "llama-936K", WEIGHTS_LLAMA, 5, 128, 8, 4, 16, 352, 105, 256, 1,
         936448},
        {"wpoe_enwik8_dim64", "wpoe-233K", WEIGHTS_WPOE, 4, 64, 8, 8, 8, 256, 256, 2048, 0, 233088},
    };
    const char *root = getenv("GPUZIP_DATA");
    root = root ? root : GPUZIP_TEST_DATA "/../../../shared/data";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char path[512];
        struct stat st;
        snprintf(path, sizeof path, "%s/models/%s", root, known[i].path);
        if (stat(path, &st) != 0)
            skip();
        imported m = import_path(path, 0);
        const weights_config *c = &m.model->config;
        assert_string_equal(m.model->name, known[i].name);
        assert_int_equal(c->arch, known[i].arch);
        assert_int_equal(c->layers, known[i].layers);
        assert_int_equal(c->dim, known[i].dim);
        assert_int_equal(c->heads, known[i].heads);
        assert_int_equal(c->kv_heads, known[i].kv_heads);
        assert_int_equal(c->head_dim, known[i].head_dim);
        assert_int_equal(c->ffn, known[i].ffn);
        assert_int_equal(c->vocab, known[i].vocab);
        assert_int_equal(c->context, known[i].context);
        assert_int_equal(c->bos, known[i].bos);
        assert_int_equal(c->weight_bits, 15);
        assert_int_equal(m.model->parameters, known[i].parameters);
        bool wpoe = c->arch == WEIGHTS_WPOE;
        assert_true(c->post_norm == wpoe && c->rope == !wpoe);
        assert_true(m.model->embedding_factor == (wpoe ? 8.0f : 1.0f));
        assert_true((m.model->head_bias != NULL) == wpoe);
        assert_true(c->act == (wpoe ? WEIGHTS_ACT_GELU_ERF : WEIGHTS_ACT_SWIGLU));
        if (wpoe) /* sin(1), cos(1) of the first pair at position 1 */
            assert_true(fabsf(m.model->position[64] - 0.841471f) < 1e-6f &&
                        fabsf(m.model->position[65] - 0.540302f) < 1e-6f);
        release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),       cmocka_unit_test(quantized_rows),
        cmocka_unit_test(half_conversions), cmocka_unit_test(gpt2_values),
        cmocka_unit_test(llama2c_values),   cmocka_unit_test(llmc_values),
        cmocka_unit_test(options_count),    cmocka_unit_test(real_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
