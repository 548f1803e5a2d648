/* test_logits.c: the forward pass of real Hugging Face layouts (GPT-2; Llama with biases, GQA, an
 * untied head, shards and Llama 3's RoPE scaling) against transformers in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../oracle/logits.h"
#include "model.h"

enum { VOCAB = 48, ROWS = sizeof logits_row / sizeof *logits_row };

static void run(const char *folder, int weight_bits, float out[LOGITS_TOKENS][VOCAB])
{
    weights_error error;
    weights_import_options options = {.weight_bits = weight_bits};
    weights_model *weights;
    ops_context *ctx;
    model *m;
    model_state *s;
    void *data;
    size_t size;
    const float *logits;
    int32_t token[LOGITS_TOKENS], slot[LOGITS_TOKENS] = {0}, pos[LOGITS_TOKENS];
    assert_int_equal(weights_import(&data, &size, folder, &options, "blob", 4, 1, &error),
                     GPUZIP_OK);
    assert_int_equal(weights_open_memory(&weights, data, size), GPUZIP_OK);
    assert_int_equal(weights->config.vocab, VOCAB);
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, NULL), GPUZIP_OK);
    assert_int_equal(model_open(&m, &ops_cpu, ctx, weights), GPUZIP_OK);
    for (int i = 0; i < LOGITS_TOKENS; i++) {
        token[i] = (i * i * 7 + i * 3 + 1) % VOCAB;
        pos[i] = i;
    }
    ops_batch batch = {token, slot, pos, LOGITS_TOKENS, 0};
    model_sizes sizes = {.slots = 1,
                         .window = LOGITS_TOKENS,
                         .max_rows = LOGITS_TOKENS,
                         .max_logits = LOGITS_TOKENS};
    assert_int_equal(model_state_open(&s, m, ctx, &sizes), GPUZIP_OK);
    assert_int_equal(model_set_positions(s, 0, LOGITS_TOKENS), GPUZIP_OK);
    assert_int_equal(model_forward(s, &batch), GPUZIP_OK);
    assert_int_equal(model_logits(s, 0, LOGITS_TOKENS, &logits), GPUZIP_OK);
    memcpy(out, logits, sizeof(float) * LOGITS_TOKENS * VOCAB);
    model_state_close(s);
    model_close(m);
    ops_cpu.close(ctx);
    weights_close(weights);
    free(data);
}

/* ||ours - theirs|| / ||theirs||, row by row. */
static void check(const char *folder, const double expected[][VOCAB], int weight_bits,
                  double tolerance)
{
    static float ours[LOGITS_TOKENS][VOCAB];
    run(folder, weight_bits, ours);
    for (int r = 0; r < ROWS; r++) {
        double error = 0, norm = 0;
        for (int i = 0; i < VOCAB; i++) {
            double d = (double)ours[logits_row[r]][i] - expected[r][i];
            error += d * d;
            norm += expected[r][i] * expected[r][i];
        }
        assert_true(sqrt(error / norm) < tolerance);
    }
}

static void gpt2_logits(void **state)
{
    (void)state;
    check(GPUZIP_TEST_DATA "/import_gpt2", import_gpt2_logits, 15, 1e-3);
    check(GPUZIP_TEST_DATA "/import_gpt2", import_gpt2_logits, 8, 2e-2);
}

static void llama_logits(void **state)
{
    (void)state;
    /* a single key's value is the whole of row 0's attention, with 12 bits */
    check(GPUZIP_TEST_DATA "/import_llama", import_llama_logits, 15, 2e-3);
    check(GPUZIP_TEST_DATA "/import_llama", import_llama_logits, 8, 4e-2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_logits),
        cmocka_unit_test(llama_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
