/* test_rows.c: the CPU backend's context, embed, norm and quantize: against double
 * precision; n rows against n times one; every instruction set against plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "test_kernels.h"

static const int row_counts[] = {1, 2, 7, 33, 130};
static const int dims[] = {1, 32, 64, 257, 768};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

#define ROWS_MAX 130
#define DIM_MAX  768
#define VOCAB    50
#define EPS      1e-5f

typedef enum {
    EMBED,
    EMBED_POSITION,
    NORM_RMS,
    NORM_LAYER,
    QUANTIZE_NONE,
    QUANTIZE_GELU_TANH,
    QUANTIZE_GELU_ERF,
    QUANTIZE_SWIGLU,
    OPERATIONS
} operation;

/* Where norm() puts y. */
typedef enum { Y_NONE, Y_APART, Y_IN_PLACE } placement;

typedef struct {
    float *x; /* [ROWS_MAX][2 dim] */
    float *gain, *bias, *position, *scale;
    int16_t *w; /* [VOCAB][dim] */
    int32_t *token, *pos;
    int dim;
} inputs;

typedef struct {
    float *y; /* [rows][dim] */
    int8_t *hi, *lo;
    float *scale;
    int rows, dim;
} outputs;

/* Rows of many kinds: the first kinds[] rows are the odd ones. */
static void fill_row(test_random *random, float *x, int n, int kind)
{
    for (int i = 0; i < n; i++)
        x[i] = 2 * random_normal(random);
    switch (kind) {
    case 1: /* zero */
        memset(x, 0, (size_t)n * sizeof *x);
        break;
    case 2: /* one outlier */
        x[random_below(random, (uint32_t)n)] = -5e4f;
        break;
    case 3: /* a large mean */
        for (int i = 0; i < n; i++)
            x[i] -= 1000;
        break;
    case 4: /* constant */
        for (int i = 0; i < n; i++)
            x[i] = -3.25f;
        break;
    case 5: /* subnormal, taken as zero */
        for (int i = 0; i < n; i++)
            x[i] *= 0x1p-140f;
        break;
    case 6: /* just above and below 2^-100 */
        for (int i = 0; i < n; i++)
            x[i] = i % 2 ? 0x1p-100f : -0x1p-101f;
        break;
    case 7:
        for (int i = 0; i < n; i++)
            x[i] *= 0x1p100f;
        break;
    case 8: /* exact powers of two, ties of rint */
        for (int i = 0; i < n; i++)
            x[i] = (i % 2 ? 1.0f : -1.0f) * (float)(1 << i % 20) * 0.5f;
        break;
    }
}

static inputs inputs_new(int dim, uint64_t seed)
{
    test_random random = {seed};
    size_t n = (size_t)dim;
    inputs in = {.dim = dim};
    in.x = test_array(ROWS_MAX * 2 * n, sizeof *in.x);
    in.gain = test_array(n, sizeof *in.gain);
    in.bias = test_array(n, sizeof *in.bias);
    in.position = test_array(ROWS_MAX * n, sizeof *in.position);
    in.scale = test_array(VOCAB, sizeof *in.scale);
    in.w = test_array(VOCAB * n, sizeof *in.w);
    in.token = test_array(ROWS_MAX, sizeof *in.token);
    in.pos = test_array(ROWS_MAX, sizeof *in.pos);
    for (int r = 0; r < ROWS_MAX; r++) {
        fill_row(&random, in.x + (size_t)r * 2 * n, 2 * dim, r % 12);
        in.token[r] = (int32_t)random_below(&random, VOCAB);
        in.pos[r] = (int32_t)random_below(&random, ROWS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        in.gain[i] = 1 + 0.3f * random_normal(&random);
        in.bias[i] = 0.2f * random_normal(&random);
    }
    for (size_t i = 0; i < ROWS_MAX * n; i++)
        in.position[i] = random_normal(&random);
    for (size_t i = 0; i < VOCAB * n; i++)
        in.w[i] = (int16_t)((int)random_below(&random, 2 * OPS_Q15_MAX + 1) - OPS_Q15_MAX);
    for (int i = 0; i < VOCAB; i++)
        in.scale[i] = 0x1p-13f * (1 + (float)i / 7);
    return in;
}

static void inputs_free(inputs *in)
{
    free(in->x);
    free(in->gain);
    free(in->bias);
    free(in->position);
    free(in->scale);
    free(in->w);
    free(in->token);
    free(in->pos);
}

static outputs outputs_new(int rows, int dim)
{
    size_t n = (size_t)rows;
    outputs out = {.rows = rows, .dim = dim};
    out.y = test_array(n * (size_t)dim, sizeof *out.y);
    out.hi = test_array(n * OPS_PITCH(dim), 1);
    out.lo = test_array(n * OPS_PITCH(dim), 1);
    out.scale = test_array(n, sizeof *out.scale);
    memset(out.hi, 0x55, n * OPS_PITCH(dim)); /* the pad must be written */
    memset(out.lo, 0x55, n * OPS_PITCH(dim));
    return out;
}

static void outputs_free(outputs *out)
{
    free(out->y);
    free(out->hi);
    free(out->lo);
    free(out->scale);
}

static void outputs_compare(const outputs *a, const outputs *b, bool with_y)
{
    size_t n = (size_t)a->rows;
    if (with_y)
        assert_memory_equal(a->y, b->y, n * (size_t)a->dim * sizeof *a->y);
    assert_memory_equal(a->hi, b->hi, n * OPS_PITCH(a->dim));
    assert_memory_equal(a->lo, b->lo, n * OPS_PITCH(a->dim));
    assert_memory_equal(a->scale, b->scale, n * sizeof *a->scale);
}

/* Runs rows [first, first + rows) of the inputs into rows first .. of out. */
static void run_rows(ops_context *ctx, operation op, int bits, placement place, const inputs *in,
                     int first, int rows, outputs *out)
{
    size_t skip = (size_t)first, dim = (size_t)in->dim;
    float *y = out->y + skip * dim;
    ops_qrows q = {.hi = out->hi + skip * OPS_PITCH(dim),
                   .lo = bits == 15 ? out->lo + skip * OPS_PITCH(dim) : NULL,
                   .scale = out->scale + skip,
                   .rows = rows,
                   .dim = in->dim,
                   .bits = bits};
    if (op == EMBED || op == EMBED_POSITION) {
        ops_batch batch = {.token = in->token + first, .pos = in->pos + first, .rows = rows};
        const float *position = op == EMBED ? NULL : in->position;
        ops_cpu.embed(ctx, y, &batch, in->w, in->scale, position, in->dim);
        return;
    }
    if (op == QUANTIZE_SWIGLU) {
        ops_cpu.quantize(ctx, OPS_ACT_SWIGLU, in->x + skip * 2 * dim, &q);
        return;
    }
    /* The others read [rows][dim]. */
    const float *x = in->x + skip * dim;
    if (op != NORM_RMS && op != NORM_LAYER) {
        ops_cpu.quantize(ctx, (ops_act)(op - QUANTIZE_NONE + OPS_ACT_NONE), x, &q);
        return;
    }
    if (place == Y_IN_PLACE) {
        memcpy(y, x, (size_t)rows * dim * sizeof *y);
        x = y;
    }
    ops_cpu.norm(ctx, op == NORM_RMS ? OPS_NORM_RMS : OPS_NORM_LAYER, x, in->gain, in->bias, EPS,
                 place == Y_NONE ? NULL : y, &q);
}

/* -- against double precision ---------------------------------------------------------- */

static double quantised(const outputs *out, int bits, int row, int i)
{
    size_t at = (size_t)row * OPS_PITCH(out->dim) + (size_t)i;
    int q = bits == 15 ? 128 * out->hi[at] + out->lo[at] : out->hi[at];
    assert_true(out->hi[at] >= -127);
    if (bits == 15)
        assert_true(out->lo[at] >= 0);
    return q * (double)out->scale[row];
}

/* Row `row` must be want[dim], known to within error[dim], quantised. */
static void check_quantised(const outputs *out, int bits, int row, const double *want,
                            const double *error)
{
    double amax = 0, amax_error = 0, qmax = bits == 15 ? OPS_Q15_MAX : OPS_Q8_MAX;
    for (int i = 0; i < out->dim; i++) {
        amax = fmax(amax, fabs(want[i]));
        amax_error = fmax(amax_error, error[i]);
    }
    double scale = out->scale[row];
    if (amax > 0x1p-99)
        assert_true(fabs(scale * qmax - amax) <= 1e-6 * amax + amax_error);
    for (int i = 0; i < out->dim; i++)
        assert_true(fabs(quantised(out, bits, row, i) - want[i]) <=
                    0.5001 * scale + error[i] + 1e-5 * fabs(want[i]) + 0x1p-100);
    for (size_t i = (size_t)out->dim; i < OPS_PITCH(out->dim); i++) {
        assert_int_equal(out->hi[(size_t)row * OPS_PITCH(out->dim) + i], 0);
        if (bits == 15)
            assert_int_equal(out->lo[(size_t)row * OPS_PITCH(out->dim) + i], 0);
    }
}

static void embed_oracle(void **state)
{
    ops_context *ctx = *state;
    inputs in = inputs_new(257, 1);
    outputs out = outputs_new(ROWS_MAX, 257);
    for (int op = EMBED; op <= EMBED_POSITION; op++) {
        run_rows(ctx, (operation)op, 15, Y_NONE, &in, 0, ROWS_MAX, &out);
        for (int r = 0; r < ROWS_MAX; r++)
            for (int i = 0; i < 257; i++) {
                int token = in.token[r];
                double want = (double)in.w[token * 257 + i] * (double)in.scale[token];
                if (op == EMBED_POSITION)
                    want += (double)in.position[in.pos[r] * 257 + i];
                assert_true(fabs((double)out.y[r * 257 + i] - want) <= 2e-7 * (fabs(want) + 5));
            }
    }
    outputs_free(&out);
    inputs_free(&in);
}

/* y of one row in double precision, with the error that the integers (20 bits below
 * the greatest value) and binary32 allow. */
static void norm_exact(operation op, const inputs *in, const float *x, double *y, double *error)
{
    double mean = 0, square = 0, amax = 0;
    for (int i = 0; i < in->dim; i++) {
        mean += op == NORM_LAYER ? (double)x[i] / in->dim : 0;
        amax = fmax(amax, fabs((double)x[i]));
    }
    for (int i = 0; i < in->dim; i++)
        square += (x[i] - mean) * (x[i] - mean) / in->dim;
    double r = 1 / sqrt(square + (double)EPS);
    for (int i = 0; i < in->dim; i++) {
        double gain = in->gain[i], bias = op == NORM_LAYER ? in->bias[i] : 0;
        y[i] = (x[i] - mean) * r * gain + bias;
        error[i] = 1e-6 * (amax * r * fabs(gain) + fabs(bias)) + 0x1p-100;
    }
}

static void norm_oracle(void **state)
{
    ops_context *ctx = *state;
    double want[DIM_MAX], error[DIM_MAX];
    for (int d = 0; d < COUNT(dims); d++) {
        int dim = dims[d];
        inputs in = inputs_new(dim, 2);
        outputs out = outputs_new(ROWS_MAX, dim);
        for (int op = NORM_RMS; op <= NORM_LAYER; op++)
            for (int bits = 8; bits <= 15; bits += 7) {
                run_rows(ctx, (operation)op, bits, Y_APART, &in, 0, ROWS_MAX, &out);
                for (int r = 0; r < ROWS_MAX; r++) {
                    const float *x = in.x + (size_t)r * (size_t)dim;
                    bool huge = false; /* the mean square is beyond binary32 */
                    for (int i = 0; i < dim; i++)
                        huge |= fabsf(x[i]) > 0x1p60f;
                    if (huge)
                        continue;
                    norm_exact((operation)op, &in, x, want, error);
                    for (int i = 0; i < dim; i++)
                        assert_true(fabs((double)out.y[r * dim + i] - want[i]) <= error[i]);
                    check_quantised(&out, bits, r, want, error);
                }
            }
        outputs_free(&out);
        inputs_free(&in);
    }
}

/* A deviation two millionths of the mean: there the mean's own rounding to an integer,
 * c in ops.h, decides the variance. */
static void norm_small_variance(void **state)
{
    ops_context *ctx = *state;
    inputs in = inputs_new(64, 8);
    outputs out = outputs_new(1, 64);
    for (int i = 0; i < 64; i++)
        in.x[i] = 0x1p20f + 2 * (i % 4 == 0);
    run_rows(ctx, NORM_LAYER, 15, Y_APART, &in, 0, 1, &out);
    for (int i = 0; i < 64; i++) {
        double want = (2 * (i % 4 == 0) - 0.5) / sqrt(0.75 + (double)EPS) * (double)in.gain[i];
        assert_true(fabs((double)(out.y[i] - in.bias[i]) - want) <= 1e-6);
    }
    outputs_free(&out);
    inputs_free(&in);
}

static double activation(operation op, const float *x, int dim, int i)
{
    double v = x[i];
    switch (op) {
    case QUANTIZE_GELU_TANH:
        return 0.5 * v * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v)));
    case QUANTIZE_GELU_ERF:
        return 0.5 * v * erfc(-v / sqrt(2));
    case QUANTIZE_SWIGLU:
        return v / (1 + exp(-v)) * (double)x[dim + i];
    default:
        return v;
    }
}

static void quantize_oracle(void **state)
{
    ops_context *ctx = *state;
    double want[DIM_MAX], error[DIM_MAX];
    for (int d = 0; d < COUNT(dims); d++) {
        int dim = dims[d];
        inputs in = inputs_new(dim, 3);
        outputs out = outputs_new(ROWS_MAX, dim);
        for (int op = QUANTIZE_NONE; op <= QUANTIZE_SWIGLU; op++)
            for (int bits = 8; bits <= 15; bits += 7) {
                run_rows(ctx, (operation)op, bits, Y_NONE, &in, 0, ROWS_MAX, &out);
                size_t stride = (size_t)dim * (op == QUANTIZE_SWIGLU ? 2 : 1);
                for (int r = 0; r < ROWS_MAX; r++) {
                    const float *x = in.x + (size_t)r * stride;
                    bool overflow = false; /* of gate times up, which models' bounds exclude */
                    for (int i = 0; i < dim; i++) {
                        want[i] = activation((operation)op, x, dim, i);
                        error[i] = 3e-7 * fabs((double)x[i]);
                        if (op == QUANTIZE_SWIGLU)
                            error[i] *= fabs((double)x[dim + i]);
                        overflow |= !(fabs(want[i]) < 0x1p127);
                    }
                    if (!overflow)
                        check_quantised(&out, bits, r, want, error);
                }
            }
        outputs_free(&out);
        inputs_free(&in);
    }
}

/* -- the same bits --------------------------------------------------------------------- */

static void rows_n_times_one(void **state)
{
    ops_context *ctx = *state;
    for (int d = 0; d < COUNT(dims); d++) {
        inputs in = inputs_new(dims[d], 4);
        for (int op = 0; op < OPERATIONS; op++)
            for (int bits = 8; bits <= 15; bits += 7) {
                outputs all = outputs_new(ROWS_MAX, dims[d]);
                outputs single = outputs_new(ROWS_MAX, dims[d]);
                run_rows(ctx, (operation)op, bits, Y_APART, &in, 0, ROWS_MAX, &all);
                for (int r = 0; r < ROWS_MAX; r++)
                    run_rows(ctx, (operation)op, bits, Y_APART, &in, r, 1, &single);
                outputs_compare(&all, &single, true);
                outputs_free(&single);
                outputs_free(&all);
            }
        inputs_free(&in);
    }
}

static void norm_placements(void **state)
{
    ops_context *ctx = *state;
    inputs in = inputs_new(257, 5);
    for (int op = NORM_RMS; op <= NORM_LAYER; op++) {
        outputs apart = outputs_new(ROWS_MAX, 257), other = outputs_new(ROWS_MAX, 257);
        run_rows(ctx, (operation)op, 15, Y_APART, &in, 0, ROWS_MAX, &apart);
        run_rows(ctx, (operation)op, 15, Y_IN_PLACE, &in, 0, ROWS_MAX, &other);
        outputs_compare(&apart, &other, true);
        run_rows(ctx, (operation)op, 15, Y_NONE, &in, 0, ROWS_MAX, &other);
        outputs_compare(&apart, &other, false);
        outputs_free(&other);
        outputs_free(&apart);
    }
    inputs_free(&in);
}

static void rows_isa(void **state)
{
    (void)state;
    test_levels levels = levels_open();
    for (int d = 0; d < COUNT(dims); d++) {
        inputs in = inputs_new(dims[d], 6);
        for (int n = 0; n < COUNT(row_counts); n++)
            for (int op = 0; op < OPERATIONS; op++)
                for (int bits = 8; bits <= 15; bits += 7) {
                    int rows = row_counts[n];
                    outputs want = outputs_new(rows, dims[d]);
                    run_rows(levels.context[0], (operation)op, bits, Y_APART, &in, 0, rows, &want);
                    for (int level = 1; level < levels.count; level++) {
                        outputs got = outputs_new(rows, dims[d]);
                        run_rows(levels.context[level], (operation)op, bits, Y_APART, &in, 0, rows,
                                 &got);
                        outputs_compare(&want, &got, true);
                        outputs_free(&got);
                    }
                    outputs_free(&want);
                }
        inputs_free(&in);
    }
    levels_close(&levels);
}

static void norm_extremes(void **state)
{
    ops_context *ctx = *state;
    inputs in = inputs_new(64, 7);
    outputs out = outputs_new(ROWS_MAX, 64);
    run_rows(ctx, QUANTIZE_NONE, 15, Y_NONE, &in, 0, ROWS_MAX, &out);
    /* Rows of in.x are [2 dim]: the kind of row r here is (r / 2) % 12. */
    for (int r = 2; r < 4; r++)
        assert_true(out.scale[r] == 0); /* zero */
    for (int r = 10; r < 12; r++)
        assert_true(out.scale[r] == 0); /* subnormal */
    for (int r = 12; r < 14; r++) {
        assert_true(out.scale[r] == 0x1p-100f / OPS_Q15_MAX);
        assert_true(quantised(&out, 15, r, 1) == OPS_Q15_MAX * (double)out.scale[r]);
    }
    /* A mean square beyond binary32 makes r and y zero, not NaN. */
    run_rows(ctx, NORM_RMS, 15, Y_APART, &in, 0, ROWS_MAX, &out);
    for (int r = 14; r < 16; r++) {
        assert_true(out.scale[r] == 0);
        for (int i = 0; i < 64; i++)
            assert_true(out.y[r * 64 + i] == 0);
    }
    outputs_free(&out);
    inputs_free(&in);
}

/* -- the context ----------------------------------------------------------------------- */

static void context_open(void **state)
{
    (void)state;
    ops_context *ctx = NULL;
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, "sse9"), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, ""), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(ops_cpu.open(&ctx, 0, -1, NULL), GPUZIP_ERR_ARGUMENT);
    assert_null(ctx);
    assert_int_equal(ops_cpu.open(&ctx, 0, 0, NULL), GPUZIP_OK);
    ops_cpu.close(ctx);
    ops_cpu.close(NULL);
}

static void context_memory(void **state)
{
    ops_context *ctx = *state;
    void *p = NULL;
    assert_int_equal(ops_cpu.alloc(ctx, &p, SIZE_MAX), GPUZIP_ERR_MEMORY);
    assert_null(p);
    for (size_t bytes = 0; bytes < 200; bytes++) {
        assert_int_equal(ops_cpu.alloc(ctx, &p, bytes), GPUZIP_OK);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(((uint8_t *)p)[i], 0);
        ops_cpu.release(ctx, p);
    }
    ops_cpu.release(ctx, NULL);
    char there[5], back[5] = "";
    assert_int_equal(ops_cpu.upload(ctx, there, "four", 5), GPUZIP_OK);
    assert_int_equal(ops_cpu.download(ctx, back, there, 5), GPUZIP_OK);
    assert_int_equal(ops_cpu.sync(ctx), GPUZIP_OK);
    assert_string_equal(back, "four");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_open),    cmocka_unit_test(context_memory),
        cmocka_unit_test(embed_oracle),    cmocka_unit_test(norm_oracle),
        cmocka_unit_test(quantize_oracle), cmocka_unit_test(rows_n_times_one),
        cmocka_unit_test(norm_placements), cmocka_unit_test(rows_isa),
        cmocka_unit_test(norm_extremes),   cmocka_unit_test(norm_small_variance),
    };
    return cmocka_run_group_tests(tests, open_default, close_default);
}
