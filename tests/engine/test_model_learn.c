/* test_model_learn.c: learners of tiny models. The gradient against differences of a forward pass
 * in double precision; the same bits for all threads, instruction sets, orders and passes; texts
 * that could break a step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "model_learn.h"
#include "model_reference.h"

enum { SLOTS = 2, WINDOW = 8, MATRICES = 4 };

/* ---- the learner ---------------------------------------------------------- */

typedef struct {
    const tiny_model *tiny;
    ops_context *ctx;
    model *m;
    model_state *s;
    model_learner *l;
    int logits;
} fixture;

/* logits: rows whose logits are computed at a time. */
static fixture open_fixture(const tiny_model *tiny, ops_context *ctx, int slots, int run, int rows,
                            int logits)
{
    fixture f = {.tiny = tiny, .ctx = ctx, .logits = logits};
    bool slides = model_slides(&tiny->w);
    model_sizes sizes = {.slots = slots,
                         .window = slides ? WINDOW : tiny->w.config.context,
                         .run = slides ? run : 0,
                         .max_rows = rows,
                         .max_logits = logits};
    assert_int_equal(model_open(&f.m, &ops_cpu, ctx, &tiny->w), GPUZIP_OK);
    assert_true(model_learns(f.m));
    assert_int_equal(model_prepare_learning(f.m), GPUZIP_OK);
    assert_int_equal(model_state_open(&f.s, f.m, ctx, &sizes), GPUZIP_OK);
    model_learner_sizes learner = {
        .rows = rows, .run = run, .window = sizes.window, .logits = sizes.max_logits};
    assert_int_equal(model_learner_open(&f.l, f.m, ctx, &learner), GPUZIP_OK);
    model_state_learn(f.s, f.l);
    return f;
}

static void close_fixture(fixture *f)
{
    model_learner_close(f->l);
    model_state_close(f->s);
    model_close(f->m);
}

/* How the rows of a step reach the learner; PARTLY: as BY_SLOT, with the logits of but one row. */
typedef enum { BY_SLOT, PARTLY, BY_POSITION, ONE_BY_ONE } order;

/* Positions [first, first + count) of all slots, and one step at the end. */
static void run_step(fixture *f, int slots, int first, int count, order order, float rate)
{
    int rows = slots * count;
    int32_t *memory = test_array((size_t)rows * 4, sizeof *memory);
    int32_t *token = memory, *slot = token + rows, *pos = slot + rows, *target = pos + rows;
    for (int i = 0; i < rows; i++) {
        slot[i] = order <= PARTLY ? i / count : i % slots;
        pos[i] = first + (order <= PARTLY ? i % count : i / slots);
        token[i] = tiny_token(f->tiny, slot[i], pos[i]);
        target[i] = tiny_target(f->tiny, slot[i], pos[i]);
    }
    ops_batch batch = {token, slot, pos, rows, 0};
    const float *logits;
    int each = order <= PARTLY ? rows : order == BY_POSITION ? slots : 1;
    for (int row = 0; row < rows; row += each) {
        ops_batch pass = {token + row, slot + row, pos + row, each, 0};
        assert_int_equal(model_set_positions(f->s, (size_t)pos[row], order <= PARTLY ? count : 1),
                         GPUZIP_OK);
        assert_int_equal(model_forward(f->s, &pass), GPUZIP_OK);
        if (each <= f->logits) /* the step may use these logits */
            assert_int_equal(model_logits(f->s, 0, order == PARTLY ? 1 : each, &logits), GPUZIP_OK);
    }
    assert_int_equal(model_set_positions(f->s, (size_t)first, count), GPUZIP_OK);
    assert_int_equal(model_learner_step(f->l, f->s, &batch, target, rate), GPUZIP_OK);
    free(memory);
}

static size_t matrix_size(const tiny_model *t, int which)
{
    const weights_matrix *m = tiny_matrix(t, 0, which);
    return (size_t)m->n * (size_t)m->k;
}

/* ---- the gradient --------------------------------------------------------- */

/* Compares the step after `before` positions with differences of the reference's loss. */
static void check_gradient(const tiny_config *config, int before, int count, double tolerance)
{
    tiny_model tiny = tiny_open(config, 7);
    tiny_settle(&tiny);
    ops_context *ctx;
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, NULL), GPUZIP_OK);
    fixture f = open_fixture(&tiny, ctx, SLOTS, 8, SLOTS * 8, 5);
    const float rate = 0x1p-12f;
    for (int at = 0; at < before; at += 4)
        run_step(&f, SLOTS, at, 4, BY_SLOT, 0);
    run_step(&f, SLOTS, before, count, BY_SLOT, rate);
    reference ref = reference_open(&tiny, SLOTS, WINDOW, before + count);
    for (int pos = 0; pos < before; pos++)
        reference_position(&ref, pos);
    test_random random = {11};
    for (int layer = 0; layer < config->layers; layer++) {
        for (int which = 0; which < MATRICES; which++) {
            const weights_matrix *m = tiny_matrix(&tiny, layer, which);
            int32_t *master = test_array(matrix_size(&tiny, which), sizeof *master);
            double error = 0, norm = 0;
            assert_int_equal(model_learner_read(f.l, layer, which, master), GPUZIP_OK);
            for (int sample = 0; sample < 80; sample++) {
                size_t at = random_below(&random, (uint32_t)matrix_size(&tiny, which));
                double scale = m->scale[at / (size_t)m->k];
                double moved = (double)master[at] - 65536.0 * tiny_weight(&tiny, m, at);
                double ours = -moved / 65536 * scale / rate;
                double theirs = reference_slope(&ref, layer, which, at, before, count);
                error += (ours - theirs) * (ours - theirs);
                norm += theirs * theirs;
            }
            free(master);
            if (sqrt(error / norm) >= tolerance)
                print_message("layer %d, matrix %d: error %g of %g\n", layer, which, sqrt(error),
                              sqrt(norm));
            assert_true(norm > 0 && sqrt(error / norm) < tolerance);
        }
    }
    reference_close(&ref);
    close_fixture(&f);
    ops_cpu.close(ctx);
    tiny_close(&tiny);
}

static void gradient_of_llama(void **state)
{
    (void)state;
    check_gradient(&tiny_llama, 0, 6, 0.02);
    check_gradient(&tiny_llama, 4, 4, 0.02);
}

/* The windows have slid: earlier keys are constants, and the sink stands outside. */
static void gradient_behind_the_window(void **state)
{
    (void)state;
    check_gradient(&tiny_llama, 12, 5, 0.02);
}

static void gradient_of_gpt2(void **state)
{
    (void)state;
    check_gradient(&tiny_gpt2, 0, 6, 0.02);
    check_gradient(&tiny_gpt2, 8, 4, 0.02);
}

static void gradient_of_wpoe(void **state)
{
    (void)state;
    check_gradient(&tiny_wpoe, 0, 6, 0.02);
    check_gradient(&tiny_wpoe, 4, 3, 0.02);
}

static void gradient_of_8_bits(void **state)
{
    (void)state;
    tiny_config config = tiny_llama;
    config.weight_bits = config.activation_bits = 8;
    check_gradient(&config, 0, 6, 0.1);
}

/* ---- the same bits -------------------------------------------------------- */

/* All master weights of a learner after a few steps, one matrix after the other. */
static int32_t *learn(const tiny_model *tiny, ops_context *ctx, order order, int logits,
                      size_t *bytes)
{
    fixture f = open_fixture(tiny, ctx, 3, 5, 15, logits);
    size_t size = 0, at = 0;
    for (int which = 0; which < MATRICES; which++)
        size += matrix_size(tiny, which) * (size_t)tiny->w.config.layers;
    int32_t *all = test_array(size, sizeof *all);
    for (int step = 0; step < 4; step++)
        run_step(&f, 3, step * 5, 5, order, 0x1p-4f);
    for (int layer = 0; layer < tiny->w.config.layers; layer++) {
        for (int which = 0; which < MATRICES; which++) {
            assert_int_equal(model_learner_read(f.l, layer, which, all + at), GPUZIP_OK);
            at += matrix_size(tiny, which);
        }
    }
    close_fixture(&f);
    *bytes = size * sizeof *all;
    return all;
}

static void check_bits(const tiny_config *config)
{
    tiny_model tiny = tiny_open(config, 5);
    tiny_settle(&tiny);
    test_levels levels = levels_open();
    size_t bytes;
    int32_t *expected = learn(&tiny, levels.context[0], BY_SLOT, 4, &bytes);
    for (int i = 0; i < levels.count; i++) {
        for (order order = BY_SLOT; order <= ONE_BY_ONE; order++) {
            int32_t *found = learn(&tiny, levels.context[i], order, i % 2 ? 4 : 15, &bytes);
            if (memcmp(expected, found, bytes) != 0)
                print_message("%s, order %d\n", levels.name[i], order);
            assert_memory_equal(expected, found, bytes);
            free(found);
        }
    }
    free(expected);
    levels_close(&levels);
    tiny_close(&tiny);
}

static void same_bits(void **state)
{
    (void)state;
    tiny_config config = tiny_llama;
    check_bits(&config);
    config.weight_bits = config.activation_bits = config.kv_bits = 8;
    check_bits(&config);
    check_bits(&tiny_gpt2);
    check_bits(&tiny_wpoe);
}

/* A reset learner learns what a new one does; a state without its learner has the model's logits.
 */
static void reset_and_detach(void **state)
{
    (void)state;
    tiny_model tiny = tiny_open(&tiny_llama, 3);
    tiny_settle(&tiny);
    ops_context *ctx;
    assert_int_equal(ops_cpu.open(&ctx, 0, 2, NULL), GPUZIP_OK);
    fixture f = open_fixture(&tiny, ctx, 1, 8, 8, 8);
    size_t size = matrix_size(&tiny, 0);
    int32_t *first = test_array(size, sizeof *first), *second = test_array(size, sizeof *first);
    run_step(&f, 1, 0, 8, BY_SLOT, 0x1p-3f);
    assert_int_equal(model_learner_read(f.l, 0, 0, first), GPUZIP_OK);
    run_step(&f, 1, 8, 8, BY_SLOT, 0x1p-3f);
    assert_int_equal(model_learner_reset(f.l), GPUZIP_OK);
    assert_int_equal(model_learner_read(f.l, 0, 0, second), GPUZIP_OK);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(second[i], 65536 * tiny_weight(&tiny, tiny_matrix(&tiny, 0, 0), i));

    /* Logits of rows that are forgotten count for nothing. */
    int32_t rows[24] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7};
    ops_batch batch = {rows, rows + 8, rows + 16, 8, 0};
    const float *logits;
    assert_int_equal(model_set_positions(f.s, 0, 8), GPUZIP_OK);
    assert_int_equal(model_forward(f.s, &batch), GPUZIP_OK);
    assert_int_equal(model_logits(f.s, 0, 8, &logits), GPUZIP_OK);
    model_learner_forget(f.l);
    f.logits = 0;
    run_step(&f, 1, 0, 8, BY_SLOT, 0x1p-3f);
    assert_int_equal(model_learner_read(f.l, 0, 0, second), GPUZIP_OK);
    assert_memory_equal(first, second, size * sizeof *first);

    float learnt[3][5 * TINY_VOCAB];
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            assert_int_equal(model_learner_reset(f.l), GPUZIP_OK);
        if (i == 1)
            model_state_learn(f.s, NULL);
        if (i == 2) {
            model_state_learn(f.s, f.l);
            model_learner_forget(f.l);
            run_step(&f, 1, 0, 8, BY_SLOT, 0x1p-3f);
        }
        assert_int_equal(model_set_positions(f.s, 0, 8), GPUZIP_OK);
        assert_int_equal(model_forward(f.s, &batch), GPUZIP_OK);
        assert_int_equal(model_logits(f.s, 0, 5, &logits), GPUZIP_OK);
        memcpy(learnt[i], logits, sizeof learnt[i]);
    }
    assert_memory_equal(learnt[0], learnt[1], sizeof learnt[0]);
    assert_memory_not_equal(learnt[0], learnt[2], sizeof learnt[0]);
    free(first);
    free(second);
    close_fixture(&f);
    ops_cpu.close(ctx);
    tiny_close(&tiny);
}

/* ---- extremes ------------------------------------------------------------- */

/* Absurd rates: weights go to their bounds, and logits stay finite. */
static void huge_rates(void **state)
{
    (void)state;
    const tiny_config *configs[] = {&tiny_llama, &tiny_gpt2, &tiny_wpoe};
    ops_context *ctx;
    assert_int_equal(ops_cpu.open(&ctx, 0, 2, NULL), GPUZIP_OK);
    for (int i = 0; i < 3; i++) {
        tiny_model tiny = tiny_open(configs[i], 13);
        tiny_settle(&tiny);
        fixture f = open_fixture(&tiny, ctx, 1, 4, 4, 4);
        for (int step = 0; step < 300; step++)
            run_step(&f, 1, step % 5 * 4, 4, BY_SLOT, 0x1p100f);
        const float *logits;
        int32_t rows[12] = {1, 2, 3, 4, 0, 0, 0, 0, 20, 21, 22, 23};
        ops_batch batch = {rows, rows + 4, rows + 8, 4, 0};
        assert_int_equal(model_set_positions(f.s, 20, 4), GPUZIP_OK);
        assert_int_equal(model_forward(f.s, &batch), GPUZIP_OK);
        assert_int_equal(model_logits(f.s, 0, 4, &logits), GPUZIP_OK);
        for (int j = 0; j < 4 * TINY_VOCAB; j++)
            assert_true(isfinite(logits[j]));
        close_fixture(&f);
        tiny_close(&tiny);
    }
    ops_cpu.close(ctx);
}

/* Whether a matrix with the largest scales, and so its model, may learn. */
static void bounds(void **state)
{
    (void)state;
    tiny_model tiny = tiny_open(&tiny_llama, 19);
    tiny_settle(&tiny);
    assert_true(weights_learnable(&tiny.w));
    float scale[256];
    for (int i = 0; i < 256; i++)
        scale[i] = 8;
    tiny.layer[1].up.scale = scale;
    tiny.layer[1].down.scale = scale;
    assert_false(weights_learnable(&tiny.w));
    tiny_close(&tiny);
}

/* Repeating a text makes it cheaper; a step without targets, or of one row, is one. */
static void learning_helps(void **state)
{
    (void)state;
    tiny_model tiny = tiny_open(&tiny_llama, 17);
    tiny_settle(&tiny);
    ops_context *ctx;
    assert_int_equal(ops_cpu.open(&ctx, 0, 2, NULL), GPUZIP_OK);
    fixture f = open_fixture(&tiny, ctx, 1, 8, 8, 8);
    double cost[2];
    for (int i = 0; i <= 60; i++) {
        run_step(&f, 1, 0, 8, BY_SLOT, model_learning_rate(8));
        if (i == 0 || i == 60)
            cost[i > 0] = 0;
    }
    reference ref = reference_open(&tiny, 1, WINDOW, 8);
    cost[0] = reference_loss(&ref, 0, 8);
    reference_learn(&ref, f.l);
    cost[1] = reference_loss(&ref, 0, 8);
    assert_true(cost[1] < cost[0] * 0.95);
    run_step(&f, 1, 8, 1, BY_SLOT, model_learning_rate(1));
    reference_close(&ref);
    close_fixture(&f);
    ops_cpu.close(ctx);
    tiny_close(&tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_llama),  cmocka_unit_test(gradient_behind_the_window),
        cmocka_unit_test(gradient_of_gpt2),   cmocka_unit_test(gradient_of_wpoe),
        cmocka_unit_test(gradient_of_8_bits), cmocka_unit_test(same_bits),
        cmocka_unit_test(reset_and_detach),   cmocka_unit_test(huge_rates),
        cmocka_unit_test(learning_helps),     cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
