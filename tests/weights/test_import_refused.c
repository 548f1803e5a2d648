/* test_import_refused.c: the importers on changed, hostile and unknown checkpoints:
 * the status, and that the message names the culprit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "import.h"

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
        {GPT2, "n_head", "[16]", GPUZIP_ERR_UNSUPPORTED, "(head_dim) is 1"},
        {GPT2, "n_inner", "[64]", GPUZIP_OK, ""},
        {GPT2, "n_inner", "[63]", GPUZIP_ERR_CORRUPT, "c_fc"},
        {GPT2, "n_positions", "[31]", GPUZIP_ERR_CORRUPT, "wpe"},
        {GPT2, "vocab_size", "[47]", GPUZIP_ERR_CORRUPT, "wte"},
        {GPT2, "activation_function", "[\"gelu\"]", GPUZIP_OK, ""},
        {GPT2, "activation_function", "[\"relu\"]", GPUZIP_ERR_UNSUPPORTED, "relu"},
        {GPT2, "scale_attn_weights", "[false]", GPUZIP_ERR_UNSUPPORTED, "scale_attn_weights"},
        {GPT2, "tie_word_embeddings", "[false]", GPUZIP_ERR_CORRUPT, "lm_head"},
        {GPT2, "tie_word_embeddings", "[1]", GPUZIP_ERR_FORMAT, "tie_word_embeddings"},
        {GPT2, "layer_norm_epsilon", "[0.1]", GPUZIP_ERR_UNSUPPORTED, "eps of the norms is 0.1"},
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
        {GPT2, "quantization_config", "[{\"quant_method\": \"gptq\"}]", GPUZIP_ERR_UNSUPPORTED,
         "quantization_config (gptq)"},
        {LLAMA, "sliding_window", "[1]", GPUZIP_ERR_UNSUPPORTED, "sliding_window"},
        {LLAMA, "rope_parameters", "[3]", GPUZIP_ERR_FORMAT, "rope_parameters"},
        {LLAMA, "rope_parameters", "[null]", GPUZIP_OK, ""},
        {LLAMA, "rope_parameters", "[{\"rope_type\": \"yarn\"}]", GPUZIP_ERR_UNSUPPORTED, "yarn"},
        {LLAMA, "rope_parameters", "[{\"type\": \"linear\", \"factor\": 2}]", GPUZIP_OK, ""},
        {LLAMA, "rope_parameters", "[{\"type\": \"linear\", \"factor\": 0}]",
         GPUZIP_ERR_UNSUPPORTED, "factor 0"},
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

/* A model keeps as many positions as it may, up to the sliding window and the default. */
static void kept_context(void **state)
{
    (void)state;
    static const struct {
        change change;
        int context;
    } kept[] = {
        {{LLAMA, "sliding_window", "[16]", GPUZIP_OK, ""}, 16},
        {{LLAMA, "sliding_window", "[null]", GPUZIP_OK, ""}, 64},
        {{LLAMA, "sliding_window", "[0]", GPUZIP_OK, ""}, 64},
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
        "{\"model_type\":\"gpt2\",\"num_hidden_layers\":1,\"hidden_size\":2,"
        "\"num_attention_heads\":1,\"vocab_size\":2,\"max_position_embeddings\":2,"
        "\"n_inner\":1}"; /* names that transformers takes for GPT-2's own */
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
        uint64_t size; /* claimed; 0: the true size */
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
        {"version https://git-lfs.github.com/spec/v1\noid", 46, GPUZIP_ERR_FORMAT, "git lfs pull"},
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
    expect_refusal(folder, GPUZIP_ERR_FORMAT, "not a whole safetensors file: it is shorter");
    write_text(folder, "model.safetensors", "\x15\0\0\0\0\0\0\0{\"wte\":1, \"wte\":1 }   ", 29);
    expect_refusal(folder, GPUZIP_ERR_FORMAT, "duplicate object key near '\"wte\"'");
    /* Python's writers leave numbers in it that are none in JSON, and keys twice. */
    static const char loose[] =
        "{\"model_type\": \"x\", \"a\": NaN, \"b\": [-Infinity, \"\\\"NaN\"], "
        "\"model_type\": \"gpt2\", \"vocab_size\": 4, \"c\": Infinity}";
    write_text(folder, "config.json", loose, strlen(loose));
    expect_refusal(folder, GPUZIP_ERR_FORMAT, "duplicate object key");
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        unlink(file);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_checkpoints), cmocka_unit_test(kept_context),
        cmocka_unit_test(overlapping_tensors), cmocka_unit_test(safetensors_headers),
        cmocka_unit_test(refused_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
