/* test_bench_model.c: the random models of gpuzip-bench equal opened files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "bench_model.h"
#include "model.h"
#include "weights_format.h"

static void shapes_are_known(void **state)
{
    static const struct {
        const char *name;
        double parameters; /* as published */
    } known[] = {{"gpt2-124m", 124.44e6},  {"gpt2-355m", 354.82e6},    {"gpt2-774m", 774.03e6},
                 {"gpt2-1558m", 1557.6e6}, {"llama-3.2-1b", 1235.8e6}, {"smollm2-135m", 134.5e6}};
    static const bench_widths widths = {8, 15, 12};
    (void)state;
    for (int i = 0; i < 6; i++) {
        const bench_shape *shape = bench_shape_at(i);
        weights_model *w;
        void *data;
        assert_non_null(shape);
        assert_string_equal(shape->name, known[i].name);
        if (shape->config.vocab > 100000 || shape->config.dim > 1024)
            continue; /* the same code, and hundreds of megabytes */
        assert_int_equal(bench_random_open(&w, &data, shape, &widths), GPUZIP_OK);
        /* Norms and biases are not counted. */
        assert_true(fabs((double)w->parameters / known[i].parameters - 1) < 0.002);
        bench_random_close(w, data);
    }
    assert_null(bench_shape_at(6));
}

/* Shapes like the real ones, small enough for every width. */
static void numbers_are_in_bounds(void **state)
{
    (void)state;
    for (int i = 0; bench_shape_at(i); i++) {
        bench_shape shape = *bench_shape_at(i);
        int group = shape.config.heads / shape.config.kv_heads;
        shape.config.kv_heads = 2;
        shape.config.heads = 2 * group;
        shape.config.dim = shape.config.heads * shape.config.head_dim;
        shape.config.ffn = 100;
        shape.config.vocab = 300;
        shape.config.bos = 299;
        shape.config.layers = 3;
        shape.config.context = 16;
        for (int bits = 8; bits <= 15; bits += 7) {
            bench_widths widths = {bits, bits, bits == 8 ? 8 : 12};
            weights_model *w;
            void *data;
            weights_error error = {""};
            assert_int_equal(bench_random_open(&w, &data, &shape, &widths), GPUZIP_OK);
            assert_int_equal(weights_check(w, &error), GPUZIP_OK);
            assert_string_equal(error.text, "");
            assert_true(format_config_valid(w, (shape.tied ? FORMAT_TIED : 0) |
                                                   (shape.config.rope ? FORMAT_ROPE : 0)));
            bench_random_close(w, data);
        }
    }
}

/* Every logit differs from the next: the weights are noise, not zeros. */
static void forward_pass_runs(void **state)
{
    enum { TOKENS = 4 };
    static const uint32_t token[TOKENS] = {1, 2, 3, 4};
    bench_shape shape = *bench_shape_at(0);
    static const bench_widths widths = {0};
    weights_model *w;
    void *data;
    ops_context *ctx;
    model *m;
    uint64_t hash, other;
    (void)state;
    shape.config.layers = 2;
    assert_int_equal(bench_random_open(&w, &data, &shape, &widths), GPUZIP_OK);
    assert_int_equal(w->config.activation_bits, 15);
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, NULL), GPUZIP_OK);
    assert_int_equal(model_open(&m, &ops_cpu, ctx, w), GPUZIP_OK);
    assert_int_equal(model_fingerprint(m, token, TOKENS, &hash), GPUZIP_OK);
    assert_int_equal(model_fingerprint(m, token, TOKENS - 1, &other), GPUZIP_OK);
    assert_true(hash != other);
    model_close(m);
    ops_cpu.close(ctx);
    bench_random_close(w, data);
}

static void names_are_opened(void **state)
{
    char error[CHECKPOINT_ERROR_BYTES];
    static const bench_widths widths = {0};
    bench_model m;
    (void)state;
    assert_int_equal(bench_model_open(&m, "builtin", false, &widths, error), GPUZIP_OK);
    assert_false(m.random);
    assert_non_null(m.t);
    bench_model_close(&m);
    assert_int_equal(bench_model_open(&m, "gpt2-124m", true, &widths, error), GPUZIP_OK);
    assert_true(m.random);
    assert_null(m.t);
    bench_model_close(&m);
    assert_int_not_equal(bench_model_open(&m, "no/such-model", false, &widths, error), GPUZIP_OK);
    assert_true(strlen(error) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_known),
        cmocka_unit_test(numbers_are_in_bounds),
        cmocka_unit_test(forward_pass_runs),
        cmocka_unit_test(names_are_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
