/* test_cuda_linear.c: linear() of ops_cuda against that of ops_cpu, bit for bit, on every path.
 *
 * Built twice, as test_cuda_ops.c is. Which path runs depends on the device, the rows and
 * GPUZIP_CUBLAS; the emulated program is run with each.
 */
#include "test_cuda_support.h"

/* n x k weights of both backends; extreme: all of the largest magnitude. */
static void matrix_pair(ops_matrix *m[2], int n, int k, int bits, bool extreme)
{
    size_t count = (size_t)n * (size_t)k;
    int16_t *w16 = malloc(count * sizeof *w16);
    int8_t *w8 = malloc(count);
    float *scale = malloc((size_t)n * sizeof *scale);
    for (size_t i = 0; i < count; i++) {
        w16[i] = (int16_t)(extreme ? 16255 : draw_integer(16256));
        w8[i] = (int8_t)(extreme ? 127 : draw_integer(127));
    }
    fill_floats(scale, (size_t)n);
    ops_weights src = {bits == 8 ? (void *)w8 : (void *)w16, scale, n, k, bits};
    BOTH(matrix_create(context[b], &m[b], &src));
    free(scale);
    free(w8);
    free(w16);
}

/* Rows as integers drawn over the whole range; extreme: all of the largest. */
static qpair qpair_random(int rows, int dim, int bits, bool extreme)
{
    qpair p = qpair_zero(rows, dim, bits);
    size_t pitch = OPS_PITCH(dim), plane = (size_t)rows * pitch;
    int8_t *hi = calloc(1, plane), *lo = calloc(1, plane);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < dim; i++) {
            int v = extreme ? bits == 8 ? 127 : 16255 : draw_integer(bits == 8 ? 127 : 16256);
            hi[(size_t)r * pitch + (size_t)i] = (int8_t)(bits == 8 ? v : v >> 7);
            lo[(size_t)r * pitch + (size_t)i] = (int8_t)(v & 127);
        }
    float *scale = malloc((size_t)rows * sizeof *scale);
    fill_floats(scale, (size_t)rows);
    BOTH(upload(context[b], p.hi.at[b], hi, plane));
    BOTH(upload(context[b], p.scale.at[b], scale, (size_t)rows * sizeof *scale));
    if (bits == 15)
        BOTH(upload(context[b], p.lo.at[b], lo, plane));
    free(scale);
    free(lo);
    free(hi);
    return p;
}

/* features: bit 0 a bias, bit 1 a residual, bit 2 in place. */
static void linear_case(int rows, int n, int k, int q_bits, int w_bits, int features, bool extreme)
{
    ops_matrix *m[2];
    matrix_pair(m, n, k, w_bits, extreme);
    qpair q = qpair_random(rows, k, q_bits, extreme);
    size_t count = (size_t)rows * (size_t)n;
    pair bias = pair_floats((size_t)n), residual = pair_floats(count);
    pair out = pair_zero(count * sizeof(float));
    const pair *to = features & 4 ? &residual : &out;
    BOTH(linear(context[b], &q.q[b], m[b], features & 1 ? bias.at[b] : NULL,
                features & 2 ? residual.at[b] : NULL, to->at[b]));
    pair_check(to, "linear", rows, n);
    pair_free(&out);
    pair_free(&residual);
    pair_free(&bias);
    qpair_free(&q);
    for (int b = 0; b < 2; b++)
        backend[b]->matrix_destroy(context[b], m[b]);
}

static void linear_cuda(void **state)
{
    (void)state;
    for (int planes = 0; planes < 4; planes++)
        for (int r = 0; r < ROW_COUNTS; r++)
            linear_case(row_counts[r], 257, 257, planes & 1 ? 15 : 8, planes & 2 ? 15 : 8,
                        (planes + r) % 8, false);
}

static void linear_shapes(void **state)
{
    (void)state;
    static const int shape[][3] = {{17, 1, 1},    {16, 16, 64},   {17, 128, 65},
                                   {3, 130, 640}, {40, 300, 320}, {129, 64, 192}};
    for (int i = 0; i < 6; i++)
        for (int planes = 0; planes < 4; planes++)
            linear_case(shape[i][0], shape[i][1], shape[i][2], planes & 1 ? 15 : 8,
                        planes & 2 ? 15 : 8, 3 + 4 * (i & 1), false);
}

/* The largest sums that ops.h allows must not leave an s32. */
static void linear_extremes(void **state)
{
    (void)state;
    linear_case(3, 5, OPS_MAX_DIM, 15, 15, 0, true);
    linear_case(3, 5, OPS_MAX_DIM, 8, 8, 0, true);
    linear_case(3, 5, OPS_MAX_DIM - 1, 15, 8, 0, true); /* odd sums, which are rounded */
    linear_case(3, 5, OPS_MAX_DIM - 1, 15, 15, 0, true);
}

/* n rows equal n times one row, though other kernels take them. */
static void linear_rows(void **state)
{
    (void)state;
    enum { ROWS = 33, N = 70, K = 129 };
    ops_matrix *m[2];
    matrix_pair(m, N, K, 8, false);
    qpair q = qpair_random(ROWS, K, 15, false);
    pair out = pair_zero(ROWS * N * sizeof(float));
    assert_int_equal(ops_cuda.linear(context[CUDA], &q.q[CUDA], m[CUDA], NULL, NULL, out.at[CUDA]),
                     GPUZIP_OK);
    for (int r = 0; r < ROWS; r++) {
        ops_qrows one = q.q[CUDA];
        one.hi += (size_t)r * OPS_PITCH(K);
        one.lo += (size_t)r * OPS_PITCH(K);
        one.scale += r;
        one.rows = 1;
        float *to = (float *)out.at[CPU] + r * N; /* host memory takes the single rows */
        pair single = pair_zero(N * sizeof(float));
        assert_int_equal(ops_cuda.linear(context[CUDA], &one, m[CUDA], NULL, NULL, single.at[CUDA]),
                         GPUZIP_OK);
        assert_int_equal(ops_cuda.download(context[CUDA], to, single.at[CUDA], N * sizeof(float)),
                         GPUZIP_OK);
        pair_free(&single);
    }
    pair_check(&out, "linear_rows", ROWS, N);
    pair_free(&out);
    qpair_free(&q);
    for (int b = 0; b < 2; b++)
        backend[b]->matrix_destroy(context[b], m[b]);
}

/* Several tiles of rows and columns and more of K than a ring of stages holds, so that a
 * block takes more than one tile, with every tile shape; and the fewest rows that tiles
 * take. */
static void linear_tiles(void **state)
{
    (void)state;
    static const int shape[][3] = {
        {260, 390, 700}, {257, 128, 440}, {140, 60, 1300}, {65, 1, 64}, {64, 200, 128}};
    for (int i = 0; i < 5; i++)
        for (int planes = 0; planes < 4; planes++)
            linear_case(shape[i][0], shape[i][1], shape[i][2], planes & 1 ? 15 : 8,
                        planes & 2 ? 15 : 8, (i + planes) % 8, false);
}

/* Every block takes more than one tile, of all planes and widths, some blocks one more than others.
 * The emulator has 2 or 5 multiprocessors: 12 tiles at least, of 4 steps in a ring of 3 to 6. A
 * device has up to 148: 198 tiles at least. */
static void linear_second_tiles(void **state)
{
    (void)state;
#ifdef GPUZIP_EMULATED
    enum { ROWS = 700, N = 132, K = 448 };
#else
    enum { ROWS = 4153, N = 1300, K = 448 };
#endif
    for (int planes = 0; planes < 4; planes++)
        linear_case(ROWS, N, K, planes & 1 ? 15 : 8, planes & 2 ? 15 : 8, 7 - 4 * (planes & 1),
                    false);
}

/* Enough rows for cuBLAS to be considered; the second call uses the first one's timings. */
static void linear_many(void **state)
{
    (void)state;
    for (int planes = 0; planes < 4; planes++)
        for (int run = 0; run < 2; run++)
            linear_case(1037, 19, 70, planes & 1 ? 15 : 8, planes & 2 ? 15 : 8, 7, false);
}

/* A recorded graph replays with the bits of the direct call. */
static void linear_recorded(void **state)
{
    (void)state;
    enum { ROWS = 100, N = 70, K = 129 };
    ops_context *ctx = context[CUDA];
    ops_matrix *m[2];
    ops_graph *graph = NULL;
    matrix_pair(m, N, K, 8, false);
    qpair q = qpair_random(ROWS, K, 15, false);
    pair out = pair_zero(ROWS * N * sizeof(float));
    BOTH(linear(context[b], &q.q[b], m[b], NULL, NULL, out.at[b]));
    float *none = calloc(ROWS * N, sizeof *none);
    assert_int_equal(ops_cuda.upload(ctx, out.at[CUDA], none, out.bytes), GPUZIP_OK);
    assert_int_equal(ops_cuda.graph_begin(ctx), GPUZIP_OK);
    assert_int_equal(ops_cuda.linear(ctx, &q.q[CUDA], m[CUDA], NULL, NULL, out.at[CUDA]),
                     GPUZIP_OK);
    assert_int_equal(ops_cuda.graph_end(ctx, &graph), GPUZIP_OK);
    assert_int_equal(ops_cuda.graph_replay(ctx, graph), GPUZIP_OK);
    pair_check(&out, "linear_recorded", ROWS, N);
    ops_cuda.graph_destroy(ctx, graph);
    free(none);
    pair_free(&out);
    qpair_free(&q);
    for (int b = 0; b < 2; b++)
        backend[b]->matrix_destroy(context[b], m[b]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_cuda),     cmocka_unit_test(linear_shapes),
        cmocka_unit_test(linear_extremes), cmocka_unit_test(linear_rows),
        cmocka_unit_test(linear_tiles),    cmocka_unit_test(linear_many),
        cmocka_unit_test(linear_recorded), cmocka_unit_test(linear_second_tiles),
    };
    if (!open_both())
        return NO_GPU;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_both();
    return failed;
}
