/* test_linear.c: linear() against exact 64-bit sums, bit for bit, on every
 * instruction set that this machine has. Buffers have their exact sizes, so that
 * ASan sees one element too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"

static const char *const isa_names[] = {"c", "avx2", "avx512", "avx512vnni"};
#define ISAS (int)(sizeof isa_names / sizeof *isa_names)

/* One problem and its expected result. */
typedef struct {
    ops_weights w;
    ops_qrows q;
    float *bias, *residual; /* [n], [rows][n], or NULL */
    float *expected;        /* [rows][n] */
} problem;

typedef enum { FILL_RANDOM, FILL_SAME_SIGN, FILL_OPPOSITE_SIGN, FILL_ALTERNATING } fill;

static uint32_t random_u32(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

static float random_float(uint64_t *state)
{
    return ((float)(random_u32(state) % 20001) - 10000) / 7919;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

/* A value in [-max, max]; extreme fills have the given magnitude everywhere. */
static int pick(uint64_t *state, fill kind, int max, int i, bool weight)
{
    switch (kind) {
    case FILL_SAME_SIGN:
        return max;
    case FILL_OPPOSITE_SIGN:
        return weight ? -max : max;
    case FILL_ALTERNATING:
        return i % 2 ? -max : max;
    default:
        return (int)(random_u32(state) % (2 * (uint32_t)max + 1)) - max;
    }
}

static int get_q(const ops_qrows *q, int row, int i)
{
    size_t at = (size_t)row * OPS_PITCH(q->dim) + (size_t)i;
    return q->bits == 8 ? q->hi[at] : 128 * q->hi[at] + q->lo[at];
}

static int get_w(const ops_weights *w, int n, int i)
{
    size_t at = (size_t)n * w->k + (size_t)i;
    return w->bits == 8 ? ((const int8_t *)w->w)[at] : ((const int16_t *)w->w)[at];
}

static void make_rows(ops_qrows *q, int rows, int dim, int bits, fill kind, uint64_t *state)
{
    size_t pitch = OPS_PITCH(dim);
    *q = (ops_qrows){.rows = rows, .dim = dim, .bits = bits};
    q->hi = allocate(rows * pitch);
    q->lo = bits == 15 ? allocate(rows * pitch) : NULL;
    q->scale = allocate(rows * sizeof *q->scale);
    memset(q->hi, 0, rows * pitch);
    if (q->lo)
        memset(q->lo, 0, rows * pitch);
    for (int r = 0; r < rows; r++) {
        q->scale[r] = fabsf(random_float(state)) / 16256;
        for (int i = 0; i < dim; i++) {
            int x = pick(state, kind, bits == 8 ? OPS_Q8_MAX : OPS_Q15_MAX, i, false);
            q->hi[r * pitch + i] = (int8_t)(bits == 8 ? x : x >> 7);
            if (q->lo)
                q->lo[r * pitch + i] = (int8_t)(x & 127);
        }
    }
}

static void make_weights(ops_weights *w, int n, int k, int bits, fill kind, uint64_t *state)
{
    int8_t *w8 = bits == 8 ? allocate((size_t)n * k) : NULL;
    int16_t *w16 = bits == 15 ? allocate((size_t)n * k * sizeof *w16) : NULL;
    float *scale = allocate(n * sizeof *scale);
    for (int i = 0; i < n; i++)
        scale[i] = fabsf(random_float(state)) / 127;
    for (int c = 0; c < n; c++) {
        for (int i = 0; i < k; i++) {
            size_t at = (size_t)c * k + i;
            int x = pick(state, kind, bits == 8 ? OPS_Q8_MAX : OPS_Q15_MAX, i, true);
            if (w8)
                w8[at] = (int8_t)x;
            else
                w16[at] = (int16_t)x;
        }
    }
    *w = (ops_weights){.w = w8 ? (void *)w8 : (void *)w16, .scale = scale, .n = n, .k = k};
    w->bits = bits;
}

/* ops.h's formula, word by word. */
static void expect(problem *p)
{
    int n = p->w.n;
    for (int r = 0; r < p->q.rows; r++) {
        for (int c = 0; c < n; c++) {
            int64_t acc = 0;
            for (int i = 0; i < p->w.k; i++)
                acc += (int64_t)get_q(&p->q, r, i) * get_w(&p->w, c, i);
            float y = ((float)acc * p->q.scale[r]) * p->w.scale[c];
            if (p->bias)
                y = y + p->bias[c];
            if (p->residual)
                y = p->residual[(size_t)r * n + c] + y;
            p->expected[(size_t)r * n + c] = y;
        }
    }
}

static void make_problem(problem *p, int rows, int n, int k, int q_bits, int w_bits, fill kind,
                         bool bias, bool residual)
{
    uint64_t state = 88172645463325252u + (uint64_t)rows + 1000u * (uint64_t)n +
                     1000000u * (uint64_t)k + (uint64_t)(q_bits + 16 * w_bits);
    *p = (problem){.bias = NULL};
    make_rows(&p->q, rows, k, q_bits, kind, &state);
    make_weights(&p->w, n, k, w_bits, kind, &state);
    p->expected = allocate((size_t)rows * n * sizeof(float));
    if (bias) {
        p->bias = allocate(n * sizeof(float));
        for (int i = 0; i < n; i++)
            p->bias[i] = random_float(&state);
    }
    if (residual) {
        p->residual = allocate((size_t)rows * n * sizeof(float));
        for (int i = 0; i < rows * n; i++)
            p->residual[i] = random_float(&state);
    }
}

static void free_problem(problem *p)
{
    free(p->q.hi);
    free(p->q.lo);
    free(p->q.scale);
    free((void *)p->w.w);
    free((void *)p->w.scale);
    free(p->bias);
    free(p->residual);
    free(p->expected);
}

/* NULL where this machine lacks the instruction set. */
static ops_context *open_context(int threads, const char *isa)
{
    ops_context *ctx = NULL;
    gpuzip_status status = ops_cpu.open(&ctx, 0, threads, isa);
    if (status == GPUZIP_ERR_DEVICE) {
        print_message("this machine has no %s\n", isa ? isa : "cpu");
        return NULL;
    }
    assert_int_equal(status, GPUZIP_OK);
    ctx->shares_all = true;
    return ctx;
}

/* Runs p and requires p->expected; in place when there is a residual and in_place. */
static void check_problem(const problem *p, ops_context *ctx, bool in_place)
{
    size_t bytes = (size_t)p->q.rows * p->w.n * sizeof(float);
    float *out = allocate(bytes);
    const float *residual = p->residual;
    if (in_place && residual)
        residual = memcpy(out, p->residual, bytes);
    ops_matrix *m = NULL;
    assert_int_equal(ops_cpu.matrix_create(ctx, &m, &p->w), GPUZIP_OK);
    assert_int_equal(ops_cpu.linear(ctx, &p->q, m, p->bias, residual, out), GPUZIP_OK);
    assert_memory_equal(out, p->expected, bytes);
    ops_cpu.matrix_destroy(ctx, m);
    free(out);
}

static void check_all_isas(const problem *p, bool in_place)
{
    for (int i = 0; i < ISAS; i++) {
        ops_context *ctx = open_context(2, isa_names[i]);
        if (ctx)
            check_problem(p, ctx, in_place);
        ops_cpu.close(ctx);
    }
}

static void linear_oracle(void **state)
{
    static const int ns[] = {1, 7, 100, 257, 1000};
    static const int ks[] = {1, 32, 64, 172, 257, 768, 1024, 1025, 4096};
    static const int rows[] = {1, 2, 3, 4, 5, 6, 7, 13};
    int round = 0;
    (void)state;
    for (int n = 0; n < (int)(sizeof ns / sizeof *ns); n++) {
        for (int k = 0; k < (int)(sizeof ks / sizeof *ks); k++) {
            for (int bits = 0; bits < 4; bits++, round++) {
                problem p;
                make_problem(&p, rows[round % 8], ns[n], ks[k], bits % 2 ? 15 : 8,
                             bits / 2 ? 15 : 8, FILL_RANDOM, round % 3 == 0, round % 5 < 3);
                expect(&p);
                check_all_isas(&p, round % 2);
                free_problem(&p);
            }
        }
    }
}

/* The largest magnitudes everywhere: no partial sum may overflow. */
static void linear_extremes(void **state)
{
    static const int ks[] = {768, 1024, 4096, OPS_MAX_DIM};
    (void)state;
    for (int k = 0; k < 4; k++) {
        for (int bits = 0; bits < 4; bits++) {
            for (int kind = FILL_SAME_SIGN; kind <= FILL_ALTERNATING; kind++) {
                problem p;
                make_problem(&p, 4, 17, ks[k], bits % 2 ? 15 : 8, bits / 2 ? 15 : 8, (fill)kind,
                             false, false);
                expect(&p);
                check_all_isas(&p, false);
                free_problem(&p);
            }
        }
    }
}

/* One call with n rows equals n calls with one row: encoding and decoding agree. */
static void linear_rows(void **state)
{
    enum { ROWS = 131, N = 200, K = 172 };
    (void)state;
    for (int i = 0; i < ISAS; i++) {
        ops_context *ctx = open_context(2, isa_names[i]);
        if (!ctx)
            continue;
        for (int bits = 8; bits <= 15; bits += 7) {
            problem p;
            make_problem(&p, ROWS, N, K, bits, 8, FILL_RANDOM, true, true);
            ops_matrix *m = NULL;
            assert_int_equal(ops_cpu.matrix_create(ctx, &m, &p.w), GPUZIP_OK);
            for (int r = 0; r < ROWS; r++) {
                ops_qrows row = p.q;
                row.hi += r * OPS_PITCH(K);
                row.lo = row.lo ? row.lo + r * OPS_PITCH(K) : NULL;
                row.scale += r;
                row.rows = 1;
                assert_int_equal(
                    ops_cpu.linear(ctx, &row, m, p.bias, p.residual + r * N, p.expected + r * N),
                    GPUZIP_OK);
            }
            check_problem(&p, ctx, false);
            ops_cpu.matrix_destroy(ctx, m);
            free_problem(&p);
        }
        ops_cpu.close(ctx);
    }
}

/* Any number of threads, also more than there are panels of channels. */
static void linear_threads(void **state)
{
    static const int rows[] = {1, 9, 300};
    (void)state;
    for (int r = 0; r < 3; r++) {
        problem p;
        make_problem(&p, rows[r], 1100, 1100, 15, 8, FILL_RANDOM, true, false);
        expect(&p);
        for (int i = 1; i < ISAS; i++) {
            for (int threads = 1; threads <= 5; threads = threads == 2 ? 5 : threads + 1) {
                ops_context *ctx = open_context(threads, isa_names[i]);
                if (ctx)
                    check_problem(&p, ctx, false);
                ops_cpu.close(ctx);
            }
        }
        free_problem(&p);
    }
}

static void copy_rate(void **state)
{
    double rate = 0;
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        ops_context *ctx = open_context(threads, NULL);
        assert_int_equal(ops_cpu.measure_copy(ctx, &rate), GPUZIP_OK);
        assert_true(rate > 1e7 && rate < 1e13);
        ops_cpu.close(ctx);
    }
}

static void linear_peak(void **state)
{
    (void)state;
    for (int i = 0; i < ISAS; i++) {
        ops_context *ctx = open_context(1, isa_names[i]);
        if (!ctx)
            continue;
        double peak = 0;
        assert_int_equal(ops_cpu.measure_peak(ctx, &peak), GPUZIP_OK);
        assert_true(peak > 1e8 && peak < 1e14);
        print_message("%s: %.1f GOP/s\n", isa_names[i], peak / 1e9);
        ops_cpu.close(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_oracle), cmocka_unit_test(linear_extremes),
        cmocka_unit_test(linear_rows),   cmocka_unit_test(linear_threads),
        cmocka_unit_test(linear_peak),   cmocka_unit_test(copy_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
