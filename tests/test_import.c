/* test_import.c: checkpoints to model files: ids, values, tables, refusals.
 *
 * Ids are those that golden_import.py computes from weights/FORMAT.md on its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <mpfr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import_rows.h"

#define TOKENIZER "not a tokenizer"

typedef struct {
    const char *folder;
    int weight_bits;
    const char *id;
} golden;

/* Made by: golden_import.py test_import.c */
static const golden goldens[] = {
    {"import_gpt2", 8, "ecea934538b13cf864042994488ac7eb1406773052648e0118198f6281d3f9fd"},
    {"import_gpt2", 15, "d1769cbbfb3ba9658c8414a3a59735cb59e6db1874418b8b89ca36c53031b26f"},
    {"import_llama", 8, "55cc0db9fd6be1c7938d180275bfff95882433523f333f996283e0ab19066919"},
    {"import_llama", 15, "77ed706bbb685f7d95d78d9c99183c60497da4a0556d8e7fb17f61541c7c42dd"},
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

/* ---- RoPE ---------------------------------------------------------------- */

/* The frequency of a pair in radians, by MPFR; bits enough that its errors do not count. */
static void mpfr_frequency(mpfr_t f, const rope_config *c, int i, int head_dim)
{
    mpfr_t cycles;
    mpfr_init2(cycles, 200);
    mpfr_set_si(f, -2 * i, MPFR_RNDN);
    mpfr_div_si(f, f, head_dim, MPFR_RNDN);
    mpfr_set_d(cycles, c->theta, MPFR_RNDN);
    mpfr_pow(f, cycles, f, MPFR_RNDN);
    mpfr_const_pi(cycles, MPFR_RNDN);
    mpfr_div(cycles, f, cycles, MPFR_RNDN);
    mpfr_mul_d(cycles, cycles, c->original_context / 2, MPFR_RNDN);
    double turns = mpfr_get_d(cycles, MPFR_RNDN), s = 1;
    if (c->scaling == ROPE_LLAMA3) {
        mpfr_sub_d(cycles, cycles, c->low_freq_factor, MPFR_RNDN);
        mpfr_div_d(cycles, cycles, c->high_freq_factor - c->low_freq_factor, MPFR_RNDN);
        s = turns < c->low_freq_factor ? 0 : turns > c->high_freq_factor ? 1 : -1;
        if (s >= 0)
            mpfr_set_d(cycles, s, MPFR_RNDN);
    } else {
        mpfr_set_d(cycles, c->scaling == ROPE_LINEAR ? 0 : 1, MPFR_RNDN);
    }
    /* f * (s + (1 - s) / factor) */
    mpfr_t slow;
    mpfr_init2(slow, 200);
    mpfr_si_sub(slow, 1, cycles, MPFR_RNDN);
    mpfr_div_d(slow, slow, c->scaling == ROPE_PLAIN ? 1 : c->factor, MPFR_RNDN);
    mpfr_add(slow, slow, cycles, MPFR_RNDN);
    mpfr_mul(f, f, slow, MPFR_RNDN);
    mpfr_clears(cycles, slow, (mpfr_ptr)NULL);
}

/* The largest error of the tables, in units of 2^-30, at every step-th position. */
static double rope_error(const rope_config *c, int context, int head_dim, int step)
{
    size_t pairs = (size_t)head_dim / 2, count = (size_t)context * pairs;
    int32_t *cosine = malloc(count * sizeof *cosine), *sine = malloc(count * sizeof *sine);
    double worst = 0;
    mpfr_t f, s, k;
    mpfr_inits2(200, f, s, k, (mpfr_ptr)NULL);
    assert_true(rope_config_valid(c));
    rope_tables(cosine, sine, context, head_dim, c);
    for (size_t i = 0; i < pairs; i++) {
        mpfr_frequency(f, c, (int)i, head_dim);
        for (int pos = context - 1; pos >= 0; pos -= step) {
            size_t at = (size_t)pos * pairs + i;
            mpfr_mul_si(k, f, pos, MPFR_RNDN);
            mpfr_sin_cos(s, k, k, MPFR_RNDN);
            mpfr_mul_2si(s, s, 30, MPFR_RNDN);
            mpfr_mul_2si(k, k, 30, MPFR_RNDN);
            mpfr_sub_si(s, s, sine[at], MPFR_RNDN);
            mpfr_sub_si(k, k, cosine[at], MPFR_RNDN);
            worst = fmax(worst, fabs(mpfr_get_d(s, MPFR_RNDN)));
            worst = fmax(worst, fabs(mpfr_get_d(k, MPFR_RNDN)));
        }
    }
    mpfr_clears(f, s, k, (mpfr_ptr)NULL);
    free(cosine);
    free(sine);
    return worst;
}

static void rope_oracle(void **state)
{
    (void)state;
    static const rope_config configs[] = {
        {.theta = 10000},
        {.theta = 500000},
        {.theta = 1.0000001},
        {.theta = 0x1p40},
        {.theta = 12345.678},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 4},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 2.7},
        {500000, ROPE_LLAMA3, 8, 1, 4, 8192},
        {500000, ROPE_LLAMA3, 32, 1, 4, 8192},
        {10000, ROPE_LLAMA3, 3.3, 0.7, 5.1, 1000},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        double near = rope_error(&configs[i], 512, 64, 1);
        double far = rope_error(&configs[i], 131072, 8, 97);
        print_message("theta %.9g scaling %d: error %.6f, at far positions %.6f\n",
                      configs[i].theta, (int)configs[i].scaling, near, far);
        assert_true(near <= 0.5 + 0x1p-10 && far <= 0.5 + 0x1p-10);
    }
    static const rope_config bad[] = {
        {.theta = 1},
        {.theta = NAN},
        {.theta = 0x1p41},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 0.5},
        {10000, ROPE_LLAMA3, 8, 4, 4, 8192},
        {10000, ROPE_LLAMA3, 8, 1, 4, INFINITY},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(rope_config_valid(&bad[i]));
}

/* ---- refusals ------------------------------------------------------------ */

/* Changes the config.json of import_NAME; or, with a tensor, its header entry; or, where the
 * key is "data", the bits of its first number. */
typedef struct {
    const char *folder, *tensor, *key;
    const char *value; /* JSON, in an array; NULL: removes the key */
    gpuzip_status expected;
    const char *says;
} change;

static void apply(json_t *object, const change *ch)
{
    if (!ch->value) {
        json_object_del(object, ch->key);
        return;
    }
    json_t *array = json_loads(ch->value, 0, NULL);
    assert_non_null(array);
    json_object_set(object, ch->key, json_array_get(array, 0));
    json_decref(array);
}

/* *context: of the model, if there is one. */
static gpuzip_status import_changed(const change *ch, weights_error *error, int *context)
{
    size_t config_size, size[2], out_size;
    uint8_t *config_text = read_file(ch->folder, "config.json", &config_size), *file[2] = {NULL};
    bool two = strcmp(ch->folder, "import_llama") == 0;
    safetensors shard[2] = {{0}};
    for (int i = 0; i <= two; i++) {
        char name[64] = "model.safetensors";
        if (two)
            snprintf(name, sizeof name, "model-0000%d-of-00002.safetensors", i + 1);
        file[i] = read_file(ch->folder, name, &size[i]);
        assert_int_equal(safetensors_open_memory(&shard[i], file[i], size[i]), GPUZIP_OK);
    }
    json_t *config = json_loadb((const char *)config_text, config_size, 0, NULL);
    json_t *shard_of = two ? json_object() : NULL;
    const char *name;
    json_t *value;
    for (int i = 0; i <= two; i++) {
        json_object_foreach(shard[i].header, name, value)
            json_object_set_new(shard_of, name, json_integer(i));
    }
    json_t *entry = json_object_get(shard[0].header, ch->tensor ? ch->tensor : "");
    if (strcmp(ch->key, "data") == 0) {
        safetensors_tensor t;
        uint32_t bits = (uint32_t)strtoul(ch->value, NULL, 16);
        assert_int_equal(safetensors_find(&shard[0], ch->tensor, &t), GPUZIP_OK);
        memcpy((uint8_t *)t.data, &bits, sizeof bits);
    } else {
        apply(ch->tensor ? entry : config, ch);
    }

    import_shards shards = {shard, two + 1, shard_of};
    import_checkpoint c = {0};
    void *data = NULL;
    *error = (weights_error){""};
    gpuzip_status status = import_read_hf(&c, config, &shards, error);
    if (status == GPUZIP_OK)
        status =
            import_build(&data, &out_size, &c, &(weights_import_options){0}, NULL, 0, 0, error);
    if (status == GPUZIP_OK) {
        weights_model *m;
        assert_int_equal(weights_open_memory(&m, data, out_size), GPUZIP_OK);
        *context = m->config.context;
        weights_close(m);
    }
    free(data);
    free(c.layer);
    json_decref(shard_of);
    json_decref(config);
    for (int i = 0; i <= two; i++) {
        safetensors_close(&shard[i]);
        free(file[i]);
    }
    free(config_text);
    return status;
}

#define GPT2  "import_gpt2", NULL
#define LLAMA "import_llama", NULL
#define WTE   "import_gpt2", "transformer.wte.weight"
#define LN    "import_gpt2", "transformer.h.0.ln_1.weight"
#define FC    "import_gpt2", "transformer.h.0.mlp.c_fc.weight"

static void changed_checkpoints(void **state)
{
    (void)state;
    static const change changes[] = {
        {GPT2, "unknown_key", "[1]", GPUZIP_OK, ""},
        {GPT2, "model_type", "[\"mamba\"]", GPUZIP_ERR_UNSUPPORTED, "mamba"},
        {GPT2, "model_type", "[\"mamba\"]", GPUZIP_ERR_UNSUPPORTED, "llama, mistral, gpt2"},
        {GPT2, "model_type", "[\"\\u001b[31m\"]", GPUZIP_ERR_UNSUPPORTED, "?[31m"},
        {GPT2, "model_type", "[3]", GPUZIP_ERR_FORMAT, "model_type"},
        {GPT2, "model_type", NULL, GPUZIP_ERR_UNSUPPORTED, "model_type"},
        {GPT2, "n_layer", NULL, GPUZIP_ERR_FORMAT, "n_layer"},
        {GPT2, "n_layer", "[3]", GPUZIP_ERR_CORRUPT, "h.2.ln_1.weight: not there"},
        {GPT2, "n_layer", "[0]", GPUZIP_ERR_UNSUPPORTED, "n_layer"},
        {GPT2, "n_layer", "[257]", GPUZIP_ERR_UNSUPPORTED, "n_layer"},
        {GPT2, "n_layer", "[1e3]", GPUZIP_ERR_UNSUPPORTED, "n_layer"},
        {GPT2, "n_embd", "[99999999999]", GPUZIP_ERR_UNSUPPORTED, "n_embd"},
        {GPT2, "n_head", "[3]", GPUZIP_ERR_CORRUPT, "divide"},
        {GPT2, "n_head", "[16]", GPUZIP_ERR_UNSUPPORTED, "head dim 1"},
        {GPT2, "n_inner", "[64]", GPUZIP_OK, ""},
        {GPT2, "n_inner", "[63]", GPUZIP_ERR_CORRUPT, "c_fc"},
        {GPT2, "n_positions", "[31]", GPUZIP_ERR_CORRUPT, "wpe"},
        {GPT2, "vocab_size", "[47]", GPUZIP_ERR_CORRUPT, "wte"},
        {GPT2, "activation_function", "[\"gelu\"]", GPUZIP_OK, ""},
        {GPT2, "activation_function", "[\"relu\"]", GPUZIP_ERR_UNSUPPORTED, "relu"},
        {GPT2, "scale_attn_weights", "[false]", GPUZIP_ERR_UNSUPPORTED, "scale_attn_weights"},
        {GPT2, "tie_word_embeddings", "[false]", GPUZIP_ERR_CORRUPT, "lm_head"},
        {GPT2, "tie_word_embeddings", "[1]", GPUZIP_ERR_FORMAT, "tie_word_embeddings"},
        {GPT2, "layer_norm_epsilon", "[0.1]", GPUZIP_ERR_UNSUPPORTED, "range"},
        {WTE, "dtype", "[\"I64\"]", GPUZIP_ERR_UNSUPPORTED, "I64"},
        {WTE, "dtype", "[\"F16\"]", GPUZIP_ERR_CORRUPT, "wte"},
        {WTE, "dtype", "[null]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "shape", "[[48, 1, 16]]", GPUZIP_OK, ""},
        {WTE, "shape", "[[16, 48]]", GPUZIP_ERR_CORRUPT, "[48][16]"},
        {WTE, "shape", "[[768]]", GPUZIP_ERR_CORRUPT, "wte"},
        {WTE, "shape", "[[48, 16, 2]]", GPUZIP_ERR_CORRUPT, "wte"},
        {WTE, "shape", "[[48, -16]]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "shape", "[[1,1,1,1,1,1,1,48,16]]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "shape", "[7]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "data_offsets", "[[0, 3072]]", GPUZIP_OK, ""},
        {WTE, "data_offsets", "[[0, 3073]]", GPUZIP_ERR_CORRUPT, "wte"},
        {WTE, "data_offsets", "[[3072, 0]]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "data_offsets", "[[-3072, 0]]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "data_offsets", "[[9223372036854772735, 9223372036854775807]]", GPUZIP_ERR_CORRUPT,
         "malformed"},
        {WTE, "data_offsets", "[[0]]", GPUZIP_ERR_CORRUPT, "malformed"},
        {WTE, "data", "7fc00000", GPUZIP_ERR_CORRUPT, "embedding, row 0: a weight is NaN"},
        {FC, "data", "ff800000", GPUZIP_ERR_CORRUPT, "layer 0, MLP up, row 0"},
        {FC, "data", "47fe0000", GPUZIP_OK, ""}, /* 130048, the largest with 15 bits */
        {FC, "data", "47fe0100", GPUZIP_ERR_UNSUPPORTED, "weights up to 130050"},
        {LN, "data", "44800000", GPUZIP_OK, ""}, /* 1024 */
        {LN, "data", "c4800001", GPUZIP_ERR_UNSUPPORTED, "gain of norm 1: holds -1024"},
        {LN, "data", "7fc00000", GPUZIP_ERR_UNSUPPORTED, "holds nan"},
        {FC, "shape", "[[64, 16]]", GPUZIP_ERR_CORRUPT, "[16][64]"},
        {LLAMA, "hidden_act", "[\"gelu\"]", GPUZIP_ERR_UNSUPPORTED, "silu"},
        {LLAMA, "model_type", "[\"mistral\"]", GPUZIP_OK, ""},
        {LLAMA, "num_key_value_heads", "[4]", GPUZIP_ERR_CORRUPT, "k_proj"},
        {LLAMA, "num_key_value_heads", "[3]", GPUZIP_ERR_CORRUPT, "k_proj"},
        {LLAMA, "head_dim", NULL, GPUZIP_ERR_CORRUPT, "q_proj"},
        {LLAMA, "attention_bias", "[false]", GPUZIP_OK, ""},
        {LLAMA, "mlp_bias", "[true]", GPUZIP_ERR_CORRUPT, "gate_proj.bias"},
        {LLAMA, "tie_word_embeddings", "[true]", GPUZIP_OK, ""},
        {LLAMA, "sliding_window", "[16]", GPUZIP_OK, ""},
        {LLAMA, "sliding_window", "[1]", GPUZIP_ERR_UNSUPPORTED, "sliding_window"},
        {LLAMA, "rope_parameters", "[3]", GPUZIP_ERR_FORMAT, "rope_parameters"},
        {LLAMA, "rope_parameters", "[null]", GPUZIP_OK, ""},
        {LLAMA, "rope_parameters", "[{\"rope_type\": \"yarn\"}]", GPUZIP_ERR_UNSUPPORTED, "yarn"},
        {LLAMA, "rope_parameters", "[{\"type\": \"linear\", \"factor\": 2}]", GPUZIP_OK, ""},
        {LLAMA, "rope_parameters", "[{\"type\": \"linear\", \"factor\": 0}]",
         GPUZIP_ERR_UNSUPPORTED, "RoPE"},
        {LLAMA, "rope_parameters", "[{\"rope_theta\": \"10000\"}]", GPUZIP_ERR_FORMAT,
         "rope_theta"},
        {LLAMA, "partial_rotary_factor", "[0.5]", GPUZIP_ERR_UNSUPPORTED, "partial"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        int context;
        weights_error error;
        gpuzip_status status = import_changed(&changes[i], &error, &context);
        if (status != changes[i].expected || !strstr(error.text, changes[i].says))
            fail_msg("%s %s = %s: status %d, \"%s\"", changes[i].folder, changes[i].key,
                     changes[i].value ? changes[i].value : "nothing", (int)status, error.text);
    }
}

/* A model keeps what positions it may, up to the sliding window and the default. */
static void kept_context(void **state)
{
    (void)state;
    static const struct {
        change change;
        int context;
    } kept[] = {
        {{LLAMA, "sliding_window", "[16]", GPUZIP_OK, ""}, 16},
        {{LLAMA, "sliding_window", "[null]", GPUZIP_OK, ""}, 64},
        {{LLAMA, "sliding_window", "[4096]", GPUZIP_OK, ""}, 64},
        {{LLAMA, "max_position_embeddings", "[131072]", GPUZIP_OK, ""}, 8192},
    };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        int context = 0;
        weights_error error;
        assert_int_equal(import_changed(&kept[i].change, &error, &context), GPUZIP_OK);
        assert_int_equal(context, kept[i].context);
    }
}

/* All tensors may lie on the same bytes only while they are not more than the file. */
static void overlapping_tensors(void **state)
{
    (void)state;
    static const char header[] =
        "{\"wte.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
        "\"wpe.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}";
    static const char config[] =
        "{\"model_type\":\"gpt2\",\"n_layer\":1,\"n_embd\":2,\"n_head\":1,\"vocab_size\":2,"
        "\"n_positions\":2,\"n_inner\":1}";
    static const char *const name[12] = {
        "ln_1.weight",        "ln_1.bias",        "ln_2.weight",        "ln_2.bias",
        "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
        "mlp.c_fc.weight",    "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};
    static const char *const shape[12] = {"2",   "2", "2",   "2", "2,6", "6",
                                          "2,2", "2", "2,1", "1", "1,2", "2"};
    static const int count[12] = {2, 2, 2, 2, 12, 6, 4, 2, 2, 1, 2, 2};
    uint8_t data[512] = {0};
    for (int extra = 0; extra < 2; extra++) {
        /* 4 + 4 + 39 + 4 floats; the data has exactly as many, or one fewer. */
        safetensors s = {json_loads(header, 0, NULL), data, 4 * (51 - (size_t)extra), 0};
        for (int i = 0; i < 14; i++) {
            char key[64], text[128];
            snprintf(key, sizeof key,
                     i < 12    ? "h.0.%s"
                     : i == 12 ? "ln_f.weight"
                               : "ln_f.bias",
                     name[i % 12]);
            snprintf(text, sizeof text,
                     "{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,%d]}",
                     i < 12 ? shape[i] : "2", 4 * (i < 12 ? count[i] : 2));
            json_object_set_new(s.header, key, json_loads(text, 0, NULL));
        }
        import_shards shards = {&s, 1, NULL};
        import_checkpoint c = {0};
        weights_error error = {""};
        json_t *json = json_loads(config, 0, NULL);
        gpuzip_status status = import_read_hf(&c, json, &shards, &error);
        if (extra == 0)
            assert_int_equal(status, GPUZIP_OK);
        else
            assert_non_null(strstr(error.text, "overlap"));
        free(c.layer);
        json_decref(json);
        safetensors_close(&s);
    }
}

static void safetensors_headers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        uint64_t size; /* claimed; 0: what it is */
        gpuzip_status expected;
    } headers[] = {
        {"{}", 0, GPUZIP_OK},
        {"{}   ", 0, GPUZIP_OK},
        {"{}", 1, GPUZIP_ERR_FORMAT},
        {"{}", 3, GPUZIP_ERR_FORMAT},
        {"{}", UINT64_MAX, GPUZIP_ERR_FORMAT},
        {"[]", 0, GPUZIP_ERR_FORMAT},
        {"{\"a\":1,\"a\":2}", 0, GPUZIP_ERR_FORMAT},
        {"{\"a\":", 0, GPUZIP_ERR_FORMAT},
        {"{} x", 0, GPUZIP_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        size_t n = strlen(headers[i].json);
        uint64_t claimed = headers[i].size ? headers[i].size : n;
        uint8_t *file = malloc(8 + n);
        safetensors s = {0};
        memcpy(file, &claimed, 8);
        memcpy(file + 8, headers[i].json, n);
        assert_int_equal(safetensors_open_memory(&s, file, 8 + n), headers[i].expected);
        safetensors_close(&s);
        for (size_t cut = 0; cut < 8; cut++)
            assert_int_equal(safetensors_open_memory(&s, file, cut), GPUZIP_ERR_FORMAT);
        free(file);
    }
}

/* ---- whole paths --------------------------------------------------------- */

static void write_text(const char *folder, const char *name, const char *text, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
}

/* Probes, or imports where the probe is not to fail. */
static void expect_refusal(const char *path, gpuzip_status expected, const char *says)
{
    weights_source source;
    weights_error error;
    void *data;
    size_t size;
    gpuzip_status status = weights_probe(&source, path, &error);
    if (status == GPUZIP_OK)
        status = weights_import(&data, &size, path, NULL, NULL, 0, 0, &error);
    if (status != expected || !strstr(error.text, says) || strncmp(error.text, path, 5) != 0)
        fail_msg("%s: status %d, \"%s\"", path, (int)status, error.text);
}

static void refused_paths(void **state)
{
    (void)state;
    char folder[] = "/tmp/gpuzip-test-XXXXXX", file[64];
    static const struct {
        const char *text;
        size_t size;
        gpuzip_status expected;
        const char *says;
    } files[] = {
        {"", 0, GPUZIP_ERR_FORMAT, "empty"},
        {"G", 1, GPUZIP_ERR_FORMAT, "not a llama2.c"},
        {"GGUF\3\0\0\0\0\0", 10, GPUZIP_ERR_UNSUPPORTED, "GGUF"},
        {"PK\3\4\0\0\0\0\0\0", 10, GPUZIP_ERR_UNSUPPORTED, "PyTorch"},
        {"\2\0\0\0\0\0\0\0{}", 10, GPUZIP_ERR_UNSUPPORTED, "safetensors"},
        {"24ka\1\0\0\0", 8, GPUZIP_ERR_UNSUPPORTED, "llama2.c"},
        {"\306\327\064\1\1\0\0\0", 8, GPUZIP_ERR_CORRUPT, "truncated"}, /* 20240326 */
        {"\x89GPZM\r\n\x1a", 8, GPUZIP_ERR_UNSUPPORTED, "already"},
    };
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/file", folder);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_text(folder, "file", files[i].text, files[i].size);
        expect_refusal(file, files[i].expected, files[i].says);
    }
    unlink(file);
    expect_refusal(file, GPUZIP_ERR_IO, "No such file");
    expect_refusal(folder, GPUZIP_ERR_IO, "config.json");

    static const char config[] = "{\"model_type\": \"gpt2\", \"vocab_size\": 4}";
    static const char *const index[] = {"[]",
                                        "{}",
                                        "{\"weight_map\": {\"a\": \"../b\"}}",
                                        "{\"weight_map\": {\"a\": \"b/c\"}}",
                                        "{\"weight_map\": {\"a\": 1}}",
                                        "{\"weight_map\": {\"a\": \"gone\"}}"};
    write_text(folder, "config.json", config, strlen(config) - 1);
    expect_refusal(folder, GPUZIP_ERR_FORMAT, "config.json");
    write_text(folder, "config.json", config, strlen(config));
    expect_refusal(folder, GPUZIP_ERR_IO, "neither");
    for (int i = 0; i < 6; i++) {
        write_text(folder, "model.safetensors.index.json", index[i], strlen(index[i]));
        expect_refusal(folder, i == 5 ? GPUZIP_ERR_IO : GPUZIP_ERR_FORMAT, "");
    }
    write_text(folder, "model.safetensors", "none", 4);
    expect_refusal(folder, GPUZIP_ERR_FORMAT, "not a whole safetensors file");
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        unlink(file);
    }
    assert_int_equal(rmdir(folder), 0);
}

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
        cmocka_unit_test(golden_ids),          cmocka_unit_test(quantized_rows),
        cmocka_unit_test(half_conversions),    cmocka_unit_test(gpt2_values),
        cmocka_unit_test(llama2c_values),      cmocka_unit_test(llmc_values),
        cmocka_unit_test(rope_oracle),         cmocka_unit_test(changed_checkpoints),
        cmocka_unit_test(overlapping_tensors), cmocka_unit_test(kept_context),
        cmocka_unit_test(safetensors_headers), cmocka_unit_test(refused_paths),
        cmocka_unit_test(options_count),       cmocka_unit_test(real_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
