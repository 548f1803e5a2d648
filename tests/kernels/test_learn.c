/* test_learn.c: the operations of ops_learn.h, on every instruction set that this machine has.
 * Steps of matrices against ops_learn.h's formulas, element by element and bit for bit; errors
 * against double precision. test_attention_back.c has attention_back(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "detmath.h"
#include "ops_learn.h"
#include "test_kernels.h"

static ops_qrows open_rows(int rows, int dim, int bits)
{
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    ops_qrows q = {.rows = rows, .dim = dim, .bits = bits};
    q.hi = test_array(plane, 1);
    q.lo = bits == 15 ? test_array(plane, 1) : NULL;
    q.scale = test_array((size_t)rows, sizeof *q.scale);
    return q;
}

static void close_rows(ops_qrows *q)
{
    free(q->hi);
    free(q->lo);
    free(q->scale);
}

static int row_value(const ops_qrows *q, int row, int i)
{
    size_t at = (size_t)row * OPS_PITCH(q->dim) + (size_t)i;
    return q->bits == 15 ? 128 * q->hi[at] + q->lo[at] : q->hi[at];
}

static float *random_floats(test_random *r, size_t count, float deviation)
{
    float *x = test_array(count, sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = deviation * random_normal(r);
    return x;
}

/* ---- steps ---------------------------------------------------------------- */

typedef struct {
    int n, k, rows, bits, input_bits;
    float size; /* of the errors */
    float rate;
} step_case;

typedef struct {
    ops_weights w;
    int8_t *w8;
    int16_t *w16;
    float *scale, *x, *dy;
} step_inputs;

static step_inputs open_inputs(const step_case *c, test_random *r)
{
    step_inputs in = {0};
    size_t count = (size_t)c->n * (size_t)c->k;
    in.w8 = test_array(count, sizeof *in.w8);
    in.w16 = test_array(count, sizeof *in.w16);
    in.scale = test_array((size_t)c->n, sizeof *in.scale);
    for (size_t i = 0; i < count; i++) {
        in.w8[i] = (int8_t)((int)random_below(r, 255) - 127);
        in.w16[i] = (int16_t)((int)random_below(r, 2 * OPS_Q15_MAX + 1) - OPS_Q15_MAX);
    }
    for (int i = 0; i < c->n; i++)
        in.scale[i] = i % 9 == 8 ? 0 : 0.001f * (float)(1 + i % 5);
    in.x = random_floats(r, (size_t)c->rows * (size_t)c->k, 1);
    in.dy = random_floats(r, (size_t)c->rows * (size_t)c->n, c->size);
    for (int row = 0; row < c->rows; row++) {
        if (row % 6 == 4)
            memset(in.dy + (size_t)row * (size_t)c->n, 0, (size_t)c->n * sizeof *in.dy);
        if (row % 7 == 5)
            memset(in.x + (size_t)row * (size_t)c->k, 0, (size_t)c->k * sizeof *in.x);
        if (c->k > 2) /* sums that are 0 */
            in.x[(size_t)(row + 1) * (size_t)c->k - 1] = 0;
        if (c->size > 1e30f)
            in.dy[(size_t)row * (size_t)c->n] = row % 2 ? INFINITY : -INFINITY;
    }
    in.w = (ops_weights){c->bits == 8 ? (void *)in.w8 : in.w16, in.scale, c->n, c->k, c->bits};
    return in;
}

static void close_inputs(step_inputs *in)
{
    free(in->w8);
    free(in->w16);
    free(in->scale);
    free(in->x);
    free(in->dy);
}

static float clamped(float x, float most)
{
    return x < -most ? -most : x > most ? most : x;
}

/* The step of channel n by ops_learn.h. */
static void expect_channel(const step_case *c, const step_inputs *in, const ops_qrows *x, int n,
                           int32_t *master)
{
    float *z = test_array((size_t)c->rows, sizeof *z), most = 0, factor = 0;
    int32_t *zq = test_array((size_t)c->rows, sizeof *zq);
    for (int r = 0; r < c->rows; r++) {
        z[r] = clamped(in->dy[(size_t)r * (size_t)c->n + (size_t)n], 0x1p40f) * x->scale[r];
        most = fabsf(z[r]) > most ? fabsf(z[r]) : most;
    }
    if (most >= 0x1p-100f) {
        float inv = 127 / most;
        for (int r = 0; r < c->rows; r++)
            zq[r] = (int32_t)rintf(z[r] * inv);
        if (in->scale[n] >= 0x1p-60f)
            factor =
                (((most / 127) * (x->bits == 15 ? 128 : 1)) * c->rate) * (65536 / in->scale[n]);
        factor = factor < 0x1p90f ? factor : 0x1p90f;
    }
    int32_t bound = (c->bits == 8 ? OPS_Q8_MAX : OPS_Q15_MAX) * 65536;
    for (int k = 0; k < c->k; k++) {
        int64_t sum = 0;
        for (int r = 0; r < c->rows; r++) {
            int q = row_value(x, r, k);
            sum += zq[r] * (x->bits == 15 ? (q + 64) >> 7 : q);
        }
        float step = rintf(clamped((float)sum * factor, c->bits == 8 ? 0x1p17f : 0x1p24f));
        int32_t m = master[k] - (int32_t)step;
        master[k] = m > bound ? bound : m < -bound ? -bound : m;
    }
    free(z);
    free(zq);
}

static int32_t working_copy(int32_t master, int n, int k)
{
    uint32_t threshold = ((uint32_t)n * OPS_DITHER_N + (uint32_t)k * OPS_DITHER_K) & 65535;
    return (master + (int32_t)threshold) >> 16;
}

/* Whether linear() with the working copy and its transpose gives the products with w. */
static void check_copies(ops_context *ctx, const step_case *c, const ops_trainable *t,
                         const int32_t *master, const float *scale)
{
    const ops_learn *learn = ops_cpu.learn;
    for (int side = 0; side < 2; side++) {
        int in = side ? c->n : c->k, out = side ? c->k : c->n;
        ops_qrows q = open_rows(3, in, 15);
        float *x = test_array(3 * (size_t)in, sizeof *x),
              *y = test_array(3 * (size_t)out, sizeof *y);
        for (int i = 0; i < 3 * in; i++)
            x[i] = (float)(i * 37 % 201 - 100);
        assert_int_equal(ops_cpu.quantize(ctx, OPS_ACT_NONE, x, &q), GPUZIP_OK);
        assert_int_equal(
            ops_cpu.linear(ctx, &q,
                           side ? learn->trainable_transpose(t) : learn->trainable_matrix(t), NULL,
                           NULL, y),
            GPUZIP_OK);
        for (int row = 0; row < 3; row++) {
            for (int o = 0; o < out; o++) {
                int64_t sum = 0;
                for (int i = 0; i < in; i++) {
                    int n = side ? i : o, k = side ? o : i;
                    sum += (int64_t)row_value(&q, row, i) *
                           working_copy(master[(size_t)n * (size_t)c->k + (size_t)k], n, k);
                }
                float expected = ((float)sum * q.scale[row]) * (side ? 1 : scale[o]);
                assert_true(expected == y[(size_t)row * (size_t)out + (size_t)o]);
            }
        }
        free(x);
        free(y);
        close_rows(&q);
    }
}

static void check_steps(const step_case *c)
{
    test_levels levels = levels_open();
    test_random random = {(uint64_t)c->n * 1000 + (uint64_t)c->rows};
    step_inputs in = open_inputs(c, &random);
    size_t count = (size_t)c->n * (size_t)c->k;
    int32_t *expected = test_array(count, sizeof *expected);
    int32_t *found = test_array(count, sizeof *found);
    ops_qrows x = open_rows(c->rows, c->k, c->input_bits);
    assert_int_equal(ops_cpu.quantize(levels.context[0], OPS_ACT_NONE, in.x, &x), GPUZIP_OK);
    for (size_t i = 0; i < count; i++)
        expected[i] = (c->bits == 8 ? in.w8[i] : in.w16[i]) * 65536;
    for (int step = 0; step < 2; step++)
        for (int n = 0; n < c->n; n++)
            expect_channel(c, &in, &x, n, expected + (size_t)n * (size_t)c->k);
    for (int i = 0; i < levels.count; i++) {
        const ops_learn *learn = ops_cpu.learn;
        ops_context *ctx = levels.context[i];
        ops_trainable *t;
        assert_int_equal(learn->trainable_create(ctx, &t, &in.w), GPUZIP_OK);
        assert_int_equal(learn->trainable_step(ctx, t, in.dy, &x, c->rate), GPUZIP_OK);
        assert_int_equal(learn->trainable_step(ctx, t, in.dy, &x, c->rate), GPUZIP_OK);
        assert_int_equal(learn->trainable_read(ctx, t, found), GPUZIP_OK);
        assert_memory_equal(expected, found, count * sizeof *found);
        check_copies(ctx, c, t, expected, in.scale);
        assert_int_equal(learn->trainable_reset(ctx, t, &in.w), GPUZIP_OK);
        assert_int_equal(learn->trainable_read(ctx, t, found), GPUZIP_OK);
        for (size_t j = 0; j < count; j++)
            assert_int_equal(found[j], (c->bits == 8 ? in.w8[j] : in.w16[j]) * 65536);
        check_copies(ctx, c, t, found, in.scale);
        learn->trainable_destroy(ctx, t);
    }
    close_rows(&x);
    close_inputs(&in);
    free(expected);
    free(found);
    levels_close(&levels);
}

static void steps(void **state)
{
    (void)state;
    static const step_case cases[] = {
        {64, 64, 16, 8, 8, 1, 1e-3f},
        {1, 1, 1, 8, 8, 1, 1e-3f},
        {67, 130, 9, 8, 8, 1, 1e-2f},
        {13, 65, 33, 15, 15, 1, 1e-2f},
        {130, 31, 128, 15, 8, 1, 1e-4f},
        {37, 70, 50, 8, 15, 1, 1e-3f},
        {70, 3, 7, 8, 8, 1e-20f, 1},
        {18, 20, 11, 8, 8, 1e-38f, 1},
        {18, 20, 11, 8, 8, 1e38f, 1e38f},
        {18, 20, 11, 15, 15, 1e38f, 1},
        {20, 70, 4096, 8, 8, 1, 1e-4f},
        {5, 6, 4097, 15, 15, 1, 1e-4f},
        {9, 5, 3, 8, 8, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_steps(&cases[i]);
}

/* Rows in another order, and rows without errors between them, change nothing. */
static void order_of_rows(void **state)
{
    ops_context *ctx = *state;
    enum { N = 21, K = 40, ROWS = 30 };
    step_case c = {N, K, ROWS, 8, 8, 1, 1e-3f};
    test_random random = {99};
    step_inputs in = open_inputs(&c, &random);
    int32_t found[2][N * K];
    float *x = test_array(2 * ROWS * K, sizeof *x), *dy = test_array(2 * ROWS * N, sizeof *dy);
    for (int i = 0; i < ROWS; i++) {
        int to = 2 * (i * 7 % ROWS);
        memcpy(x + to * K, in.x + i * K, K * sizeof *x);
        memcpy(x + (to + 1) * K, in.x, K * sizeof *x);
        memcpy(dy + to * N, in.dy + i * N, N * sizeof *dy);
    }
    for (int i = 0; i < 2; i++) {
        ops_trainable *t;
        ops_qrows q = open_rows(i ? 2 * ROWS : ROWS, K, 8);
        assert_int_equal(ops_cpu.quantize(ctx, OPS_ACT_NONE, i ? x : in.x, &q), GPUZIP_OK);
        assert_int_equal(ops_cpu.learn->trainable_create(ctx, &t, &in.w), GPUZIP_OK);
        assert_int_equal(ops_cpu.learn->trainable_step(ctx, t, i ? dy : in.dy, &q, c.rate),
                         GPUZIP_OK);
        assert_int_equal(ops_cpu.learn->trainable_read(ctx, t, found[i]), GPUZIP_OK);
        ops_cpu.learn->trainable_destroy(ctx, t);
        close_rows(&q);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
    free(x);
    free(dy);
    close_inputs(&in);
}

/* Small steps add up: the mean of the working copies follows the masters' mean. */
static void small_steps(void **state)
{
    ops_context *ctx = *state;
    enum { N = 64, K = 256 };
    static int8_t w[N * K];
    static int32_t master[N * K];
    float scale[N], dy[N], x[K];
    for (int i = 0; i < N; i++) {
        scale[i] = 0.01f;
        dy[i] = -1;
    }
    for (int i = 0; i < K; i++)
        x[i] = 1;
    ops_trainable *t;
    ops_weights src = {w, scale, N, K, 8};
    ops_qrows q = open_rows(1, K, 8);
    assert_int_equal(ops_cpu.quantize(ctx, OPS_ACT_NONE, x, &q), GPUZIP_OK);
    assert_int_equal(ops_cpu.learn->trainable_create(ctx, &t, &src), GPUZIP_OK);
    for (int step = 1; step <= 40; step++) {
        double copies = 0;
        assert_int_equal(ops_cpu.learn->trainable_step(ctx, t, dy, &q, 0.0001f), GPUZIP_OK);
        assert_int_equal(ops_cpu.learn->trainable_read(ctx, t, master), GPUZIP_OK);
        for (int i = 0; i < N * K; i++)
            copies += working_copy(master[i], i / K, i % K);
        assert_true(fabs(master[0] / 65536.0 - 0.01 * step) < 4e-4);
        assert_true(fabs(copies / (N * K) - 0.01 * step) < 0.002);
    }
    ops_cpu.learn->trainable_destroy(ctx, t);
    close_rows(&q);
}

/* ---- errors within rows --------------------------------------------------- */

static void softmax(void **state)
{
    (void)state;
    enum { ROWS = 5, V = 300, K = 2 };
    test_levels levels = levels_open();
    test_random random = {3};
    static int8_t w[V * K];
    float *scale = random_floats(&random, V, 0.1f);
    float *x = random_floats(&random, (size_t)ROWS * V, 4);
    int32_t symbol[ROWS] = {0, V - 1, -1, V, 17};
    x[4 * V + 3] = 1e18f;
    for (int i = 0; i < V; i++)
        scale[i] = fabsf(scale[i]);
    for (int i = 0; i < levels.count; i++) {
        ops_context *ctx = levels.context[i];
        ops_matrix *head;
        ops_qrows q = open_rows(ROWS, V, 15);
        assert_int_equal(ops_cpu.matrix_create(ctx, &head, &(ops_weights){w, scale, V, K, 8}),
                         GPUZIP_OK);
        assert_int_equal(ops_cpu.learn->softmax_back(ctx, x, symbol, head, &q), GPUZIP_OK);
        for (int row = 0; row < ROWS; row++) {
            double max = -1e30, total = 0;
            bool known = symbol[row] >= 0 && symbol[row] < V;
            for (int j = 0; j < V; j++)
                max = fmax(max, (double)x[row * V + j]);
            for (int j = 0; j < V; j++)
                total += exp((double)x[row * V + j] - max);
            for (int j = 0; j < V; j++) {
                double p = exp((double)x[row * V + j] - max) / total;
                double g = known ? (p - (j == symbol[row])) * (double)scale[j] : 0;
                assert_true(fabs(g - (double)q.scale[row] * row_value(&q, row, j)) <=
                            0.51 * (double)q.scale[row] + 1e-6);
            }
        }
        ops_cpu.matrix_destroy(ctx, head);
        close_rows(&q);
    }
    free(scale);
    free(x);
    levels_close(&levels);
}

static double norm_value(ops_norm_kind kind, const double *x, int dim, int at, double gain)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < dim && kind == OPS_NORM_LAYER; i++)
        mean += x[i] / dim;
    for (int i = 0; i < dim; i++)
        squares += (x[i] - mean) * (x[i] - mean) / dim;
    return (x[at] - mean) / sqrt(squares + 1e-5) * gain;
}

/* sum over i of dy[i] * norm(x)[i]. */
static double norm_sum(ops_norm_kind kind, const double *x, const float *dy, const float *gain,
                       int dim)
{
    double sum = 0;
    for (int i = 0; i < dim; i++)
        sum += (double)dy[i] * norm_value(kind, x, dim, i, (double)gain[i]);
    return sum;
}

static void norms(void **state)
{
    (void)state;
    enum { ROWS = 3, DIM = 37 };
    test_levels levels = levels_open();
    test_random random = {4};
    float *x = random_floats(&random, ROWS * DIM, 2), *dy = random_floats(&random, ROWS * DIM, 1);
    float *gain = random_floats(&random, DIM, 1), *base = random_floats(&random, ROWS * DIM, 1);
    for (int kind = OPS_NORM_RMS; kind <= OPS_NORM_LAYER; kind++) {
        float first[ROWS * DIM], dx[ROWS * DIM];
        for (int i = 0; i < levels.count; i++) {
            for (int with = 0; with < 2; with++) {
                memcpy(dx, with ? base : dy, sizeof dx);
                assert_int_equal(ops_cpu.learn->norm_back(levels.context[i], (ops_norm_kind)kind, x,
                                                          gain, 1e-5f, with ? dy : dx,
                                                          with ? dx : NULL, dx, ROWS, DIM),
                                 GPUZIP_OK);
                for (int j = 0; j < ROWS * DIM; j++) {
                    double at[DIM], *v = &at[j % DIM], h = 1e-6;
                    const float *row = x + j / DIM * DIM, *error = dy + j / DIM * DIM;
                    for (int d = 0; d < DIM; d++)
                        at[d] = (double)row[d];
                    *v += h;
                    double slope = norm_sum((ops_norm_kind)kind, at, error, gain, DIM);
                    *v -= 2 * h;
                    slope = (slope - norm_sum((ops_norm_kind)kind, at, error, gain, DIM)) / (2 * h);
                    slope += with ? (double)base[j] : 0;
                    assert_true(fabs(slope - (double)dx[j]) < 1e-3);
                }
                if (i == 0 && with)
                    memcpy(first, dx, sizeof dx);
            }
            assert_memory_equal(first, dx, sizeof dx);
        }
    }
    free(x);
    free(dy);
    free(gain);
    free(base);
    levels_close(&levels);
}

static double activation(ops_act act, double x)
{
    if (act == OPS_ACT_SWIGLU)
        return x / (1 + exp(-x));
    if (act == OPS_ACT_GELU_ERF)
        return 0.5 * x * erfc(-x / sqrt(2));
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x * x * x)));
}

static void activations(void **state)
{
    (void)state;
    enum { DIM = 400 };
    test_levels levels = levels_open();
    float x[2 * DIM], dy[DIM], dx[2 * DIM], first[2 * DIM];
    for (int i = 0; i < DIM; i++) {
        x[i] = (float)(i - 200) * 0.05f;
        x[DIM + i] = (float)(i % 7) - 3;
        dy[i] = (float)(i % 5) - 2;
    }
    for (int act = OPS_ACT_GELU_TANH; act <= OPS_ACT_SWIGLU; act++) {
        bool gated = act == OPS_ACT_SWIGLU;
        for (int level = 0; level < levels.count; level++) {
            memset(dx, 0, sizeof dx);
            assert_int_equal(
                ops_cpu.learn->act_back(levels.context[level], (ops_act)act, x, dy, dx, 1, DIM),
                GPUZIP_OK);
            for (int i = 0; i < DIM; i++) {
                double v = (double)x[i], h = 1e-5, up = gated ? (double)x[DIM + i] : 1;
                double slope =
                    (activation((ops_act)act, v + h) - activation((ops_act)act, v - h)) / (2 * h);
                assert_true(fabs(slope * up * (double)dy[i] - (double)dx[i]) < 1e-5);
                if (gated)
                    assert_true(fabs(activation(OPS_ACT_SWIGLU, v) * (double)dy[i] -
                                     (double)dx[DIM + i]) < 1e-5);
            }
            if (level == 0)
                memcpy(first, dx, sizeof dx);
            assert_memory_equal(first, dx, sizeof dx);
        }
    }
    levels_close(&levels);
}

/* Errors and inputs at their bounds stay finite. */
static void extremes(void **state)
{
    ops_context *ctx = *state;
    enum { DIM = 64 };
    float x[2 * DIM], dy[DIM], dx[2 * DIM], gain[DIM];
    for (int i = 0; i < DIM; i++) {
        x[i] = x[DIM + i] = i % 2 ? 0x1p40f : -0x1p40f;
        dy[i] = i % 3 ? INFINITY : -0x1p127f;
        gain[i] = 1024;
    }
    for (int act = OPS_ACT_GELU_TANH; act <= OPS_ACT_SWIGLU; act++) {
        assert_int_equal(ops_cpu.learn->act_back(ctx, (ops_act)act, x, dy, dx, 1, DIM), GPUZIP_OK);
        for (int i = 0; i < (act == OPS_ACT_SWIGLU ? 2 : 1) * DIM; i++)
            assert_true(fabsf(dx[i]) <= 0x1p40f);
    }
    for (int size = 0; size < 3; size++) {
        for (int i = 0; i < DIM; i++)
            x[i] = (i % 2 ? 1.0f : -1.0f) * (size == 0 ? 0 : size == 1 ? 0x1p-99f : 0x1p60f);
        for (int kind = OPS_NORM_RMS; kind <= OPS_NORM_LAYER; kind++) {
            assert_int_equal(ops_cpu.learn->norm_back(ctx, (ops_norm_kind)kind, x, gain, 1e-12f, dy,
                                                      dy, dx, 1, DIM),
                             GPUZIP_OK);
            for (int i = 0; i < DIM; i++)
                assert_true(fabsf(dx[i]) <= 0x1p40f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps),
        cmocka_unit_test_setup_teardown(order_of_rows, open_default, close_default),
        cmocka_unit_test_setup_teardown(small_steps, open_default, close_default),
        cmocka_unit_test(softmax),
        cmocka_unit_test(norms),
        cmocka_unit_test(activations),
        cmocka_unit_test_setup_teardown(extremes, open_default, close_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
