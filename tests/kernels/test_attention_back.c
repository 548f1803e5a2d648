/* test_attention_back.c: attention_back() against double precision, for windows of many segments,
 * wide heads and large groups; on every instruction set, and with the rows in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ops_learn.h"
#include "test_kernels.h"

typedef struct {
    int heads, kv_heads, head_dim, bits;
    int window, run, slots;
    int before; /* positions of every slot before the pass */
    bool rotary;
    double tolerance;
} shape;

/* Inputs of all positions, and the errors of the last `run`. */
typedef struct {
    const shape *s;
    int positions, rows;
    int columns;   /* of qkv */
    float *qkv;    /* [slots][positions][columns] */
    float *dout;   /* [slots][run][heads][head_dim] */
    double *angle; /* [head_dim / 2] of a position */
    float factor;
} world;

static world open_world(const shape *s)
{
    world w = {.s = s, .positions = s->before + s->run, .rows = s->slots * s->run};
    test_random random = {(uint64_t)s->window};
    w.columns = (s->heads + 2 * s->kv_heads) * s->head_dim;
    size_t values = (size_t)s->slots * (size_t)w.positions * (size_t)w.columns;
    size_t errors = (size_t)w.rows * (size_t)(s->heads * s->head_dim);
    w.qkv = test_array(values, sizeof *w.qkv);
    w.dout = test_array(errors, sizeof *w.dout);
    w.angle = test_array((size_t)s->head_dim / 2, sizeof *w.angle);
    for (size_t i = 0; i < values; i++)
        w.qkv[i] = random_normal(&random);
    for (size_t i = 0; i < errors; i++)
        w.dout[i] = random_normal(&random) * (float)(1 + i % 3);
    for (int i = 0; i < s->head_dim / 2; i++)
        w.angle[i] = s->rotary ? pow(100, -2.0 * i / s->head_dim) : 0;
    w.factor = (float)(1.4426950408889634 / sqrt(s->head_dim));
    return w;
}

static void close_world(world *w)
{
    free(w->qkv);
    free(w->dout);
    free(w->angle);
}

/* ---- the kernels ---------------------------------------------------------- */

static ops_rope open_rope(const world *w)
{
    ops_rope rope = {NULL, NULL, 1};
    int half = w->s->head_dim / 2;
    while (rope.rows < w->positions)
        rope.rows *= 2;
    size_t count = (size_t)(rope.rows + 1) * (size_t)half;
    int32_t *cosine = test_array(count, sizeof *cosine), *sine = test_array(count, sizeof *sine);
    for (int row = 0; row <= rope.rows; row++) {
        int pos = row < rope.rows ? row : w->s->window - 1;
        for (int i = 0; i < half; i++) {
            cosine[row * half + i] = (int32_t)rint(0x1p30 * cos(pos * w->angle[i]));
            sine[row * half + i] = (int32_t)rint(0x1p30 * sin(pos * w->angle[i]));
        }
    }
    rope.cosine = w->s->rotary ? cosine : NULL;
    rope.sine = w->s->rotary ? sine : NULL;
    if (!w->s->rotary) {
        free(cosine);
        free(sine);
    }
    return rope;
}

/* Rows of positions [first, first + count) of all slots; shuffled: row r stands at r * 11 % rows.
 */
typedef struct {
    int rows;
    int32_t *slot, *pos, *index; /* index: of the row among those in order */
    float *qkv, *out, *dout, *dqkv;
    ops_queries q;
} pass;

static pass open_pass(const world *w, int first, int count, bool shuffled)
{
    const shape *s = w->s;
    pass p = {.rows = s->slots * count};
    size_t rows = (size_t)p.rows, heads = rows * (size_t)s->heads, columns = (size_t)w->columns;
    size_t dims = heads * (size_t)s->head_dim, width = (size_t)(s->heads * s->head_dim);
    p.slot = test_array(rows, sizeof *p.slot);
    p.pos = test_array(rows, sizeof *p.pos);
    p.index = test_array(rows, sizeof *p.index);
    p.qkv = test_array(rows * columns, sizeof *p.qkv);
    p.out = test_array(dims, sizeof *p.out);
    p.dout = test_array(dims, sizeof *p.dout);
    p.dqkv = test_array(rows * columns, sizeof *p.dqkv);
    p.q = (ops_queries){test_array(dims, sizeof *p.q.q), test_array(heads, sizeof *p.q.scale),
                        test_array(dims, sizeof *p.q.q), test_array(heads, sizeof *p.q.scale)};
    for (int i = 0; i < p.rows; i++) {
        int r = shuffled ? i * 11 % p.rows : i;
        p.slot[r] = i / count;
        p.pos[r] = first + i % count;
        p.index[r] = i;
        size_t from = (size_t)(p.slot[r] * w->positions + p.pos[r]) * columns;
        memcpy(p.qkv + (size_t)r * columns, w->qkv + from, columns * sizeof *p.qkv);
        if (first == s->before)
            memcpy(p.dout + (size_t)r * width, w->dout + (size_t)i * width, width * sizeof *p.dout);
    }
    return p;
}

static void close_pass(pass *p)
{
    void *memory[] = {p->slot, p->pos, p->index,   p->qkv,    p->out,         p->dout,
                      p->dqkv, p->q.q, p->q.scale, p->q.sink, p->q.sink_scale};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        free(memory[i]);
}

/* The errors of the last rows, in order: [rows][columns]. */
static float *run(const world *w, ops_context *ctx, bool shuffled)
{
    const shape *s = w->s;
    ops_kv *kv;
    ops_rope rope = open_rope(w);
    float *all = test_array((size_t)w->rows * (size_t)w->columns, sizeof *all);
    assert_int_equal(ops_cpu.kv_create(ctx, &kv, 2, s->slots, s->window, s->run, s->kv_heads,
                                       s->head_dim, s->bits),
                     GPUZIP_OK);
    for (int first = 0, count; first < w->positions; first += count) {
        count = first < s->before && s->before - first < s->run ? s->before - first : s->run;
        pass p = open_pass(w, first, count, false);
        ops_batch batch = {p.slot, p.slot, p.pos, p.rows};
        assert_int_equal(ops_cpu.qkv(ctx, &batch, p.qkv, s->heads, &rope, &p.q, kv, 1), GPUZIP_OK);
        if (first == s->before) {
            /* The cache is filled; rows may now have another order. */
            pass last = open_pass(w, first, count, shuffled);
            ops_batch order = {last.slot, last.slot, last.pos, last.rows};
            size_t heads = (size_t)s->heads, dims = heads * (size_t)s->head_dim;
            assert_int_equal(
                ops_cpu.attention(ctx, &batch, &p.q, s->heads, w->factor, kv, 1, p.out), GPUZIP_OK);
            for (int r = 0; r < last.rows; r++) {
                size_t to = (size_t)r, from = (size_t)last.index[r];
                memcpy(last.out + to * dims, p.out + from * dims, dims * sizeof *p.out);
                memcpy(last.q.q + to * dims, p.q.q + from * dims, dims * sizeof *p.q.q);
                memcpy(last.q.sink + to * dims, p.q.sink + from * dims, dims * sizeof *p.q.q);
                memcpy(last.q.scale + to * heads, p.q.scale + from * heads, heads * sizeof(float));
                memcpy(last.q.sink_scale + to * heads, p.q.sink_scale + from * heads,
                       heads * sizeof(float));
            }
            assert_int_equal(ops_cpu.learn->attention_back(ctx, &order, &last.q, s->heads,
                                                           w->factor, &rope, kv, 1, last.out,
                                                           last.dout, last.dqkv),
                             GPUZIP_OK);
            size_t columns = (size_t)w->columns;
            for (int r = 0; r < last.rows; r++)
                memcpy(all + (size_t)last.index[r] * columns, last.dqkv + (size_t)r * columns,
                       columns * sizeof *all);
            close_pass(&last);
        }
        close_pass(&p);
    }
    ops_cpu.kv_destroy(ctx, kv);
    free((void *)rope.cosine);
    free((void *)rope.sine);
    return all;
}

/* ---- double precision ----------------------------------------------------- */

/* f = h rotated by a position; back: by its opposite. */
static void rotate(const world *w, const double *h, int pos, double *f)
{
    int half = w->s->head_dim / 2;
    for (int i = 0; i < half; i++) {
        double c = cos(pos * w->angle[i]), s = sin(pos * w->angle[i]);
        double a = h[i], b = h[i + half];
        f[i] = a * c - b * s;
        f[i + half] = b * c + a * s;
    }
}

static void load(const world *w, int slot, int pos, int head, double *h)
{
    const float *from =
        w->qkv + (size_t)(slot * w->positions + pos) * (size_t)w->columns + head * w->s->head_dim;
    for (int d = 0; d < w->s->head_dim; d++)
        h[d] = (double)from[d];
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Adds the errors of one query, of row `row` in order and a head, to all [rows][columns]. */
static void expect_query(const world *w, int row, int head, double *all)
{
    const shape *s = w->s;
    enum { MOST = 512, DIM = OPS_MAX_HEAD_DIM };
    static double key[MOST][DIM], value[MOST][DIM], p[MOST], ds[MOST];
    int dim = s->head_dim, slot = row / s->run, pos = s->before + row % s->run, count = 0;
    int kv = s->heads + head / (s->heads / s->kv_heads), at[MOST];
    bool sink = pos >= s->window;
    double h[DIM], q[DIM], q_sink[DIM], dout[DIM], total = 0, delta = 0, dq[DIM] = {0};
    double dq_sink[DIM] = {0};
    if (sink)
        at[count++] = 0;
    for (int j = sink ? pos - s->window + 1 : 0; j <= pos; j++)
        at[count++] = j;
    load(w, slot, pos, head, h);
    rotate(w, h, pos, q);
    rotate(w, h, s->window - 1, q_sink);
    for (int d = 0; d < dim; d++)
        dout[d] = (double)w->dout[(size_t)(row * s->heads + head) * (size_t)dim + (size_t)d];
    for (int i = 0; i < count; i++) {
        load(w, slot, at[i], kv, h);
        rotate(w, h, at[i], key[i]);
        load(w, slot, at[i], kv + s->kv_heads, value[i]);
        p[i] = exp2((double)w->factor * dot(sink && i == 0 ? q_sink : q, key[i], dim));
        total += p[i];
    }
    for (int i = 0; i < count; i++) {
        p[i] /= total;
        delta += p[i] * dot(dout, value[i], dim);
    }
    for (int i = 0; i < count; i++) {
        bool of_sink = sink && i == 0;
        ds[i] = p[i] * (dot(dout, value[i], dim) - delta) * (double)w->factor * log(2);
        for (int d = 0; d < dim; d++)
            (of_sink ? dq_sink : dq)[d] += ds[i] * key[i][d];
        if (of_sink || at[i] < s->before)
            continue;
        double dk[DIM];
        double *to = all + (size_t)(slot * s->run + at[i] - s->before) * (size_t)w->columns;
        for (int d = 0; d < dim; d++)
            h[d] = ds[i] * q[d];
        rotate(w, h, -at[i], dk);
        for (int d = 0; d < dim; d++) {
            to[kv * dim + d] += dk[d];
            to[(kv + s->kv_heads) * dim + d] += p[i] * dout[d];
        }
    }
    rotate(w, dq, -pos, q);
    rotate(w, dq_sink, 1 - s->window, q_sink);
    for (int d = 0; d < dim; d++)
        all[(size_t)row * (size_t)w->columns + (size_t)(head * dim + d)] += q[d] + q_sink[d];
}

/* Compares queries', keys' and values' errors, each as a whole. */
static void compare(const world *w, const float *found)
{
    const shape *s = w->s;
    double *all = test_array((size_t)w->rows * (size_t)w->columns, sizeof *all);
    double error[3] = {0}, norm[3] = {0};
    for (int row = 0; row < w->rows; row++)
        for (int head = 0; head < s->heads; head++)
            expect_query(w, row, head, all);
    for (int i = 0; i < w->rows * w->columns; i++) {
        int head = i % w->columns / s->head_dim;
        int part = head < s->heads ? 0 : head < s->heads + s->kv_heads ? 1 : 2;
        error[part] += (all[i] - (double)found[i]) * (all[i] - (double)found[i]);
        norm[part] += all[i] * all[i];
    }
    for (int part = 0; part < 3; part++) {
        double ratio = sqrt(error[part] / norm[part]);
        if (!(ratio < s->tolerance))
            print_message("window %d, part %d: %g\n", s->window, part, ratio);
        assert_true(ratio < s->tolerance);
    }
    free(all);
}

static void all_shapes(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {4, 1, 64, 12, 100, 16, 2, 0, true, 0.003},   /* from the start */
        {4, 1, 64, 12, 100, 16, 2, 50, true, 0.003},  /* the window is not full */
        {4, 2, 64, 12, 100, 13, 2, 333, true, 0.003}, /* the ring has wrapped */
        {4, 1, 64, 12, 130, 70, 1, 290, true, 0.003}, /* rows of several segments */
        {4, 2, 32, 12, 20, 90, 2, 70, true, 0.003},   /* a pass of several windows */
        {20, 1, 80, 12, 66, 5, 1, 100, true, 0.003},  /* two parts of a group, of a head */
        {3, 3, 256, 12, 40, 9, 1, 31, true, 0.003},
        {2, 1, 6, 12, 200, 20, 3, 20, false, 0.003}, /* no rotation */
        {4, 1, 64, 8, 100, 16, 2, 150, true, 0.03},
    };
    test_levels levels = levels_open();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        world w = open_world(&shapes[i]);
        float *expected = run(&w, levels.context[levels.count - 1], false);
        compare(&w, expected);
        for (int level = 0; level < levels.count; level++) {
            for (int shuffled = 0; shuffled < 2; shuffled++) {
                float *found = run(&w, levels.context[level], shuffled);
                assert_memory_equal(expected, found,
                                    (size_t)w.rows * (size_t)w.columns * sizeof *found);
                free(found);
            }
        }
        free(expected);
        close_world(&w);
    }
    levels_close(&levels);
}

/* Errors of any size give errors within the bounds; none give none. */
static void extremes(void **state)
{
    ops_context *ctx = *state;
    static const shape s = {4, 2, 16, 12, 20, 6, 2, 30, true, 1};
    world w = open_world(&s);
    size_t errors = (size_t)w.rows * (size_t)(s.heads * s.head_dim);
    for (int size = 0; size < 3; size++) {
        for (size_t i = 0; i < errors; i++)
            w.dout[i] = size == 0 ? 0 : size == 1 ? (i % 2 ? INFINITY : -INFINITY) : 1e-44f;
        float *found = run(&w, ctx, false);
        for (int i = 0; i < w.rows * w.columns; i++)
            assert_true(size == 1 ? fabsf(found[i]) <= 0x1p40f : found[i] == 0);
        free(found);
    }
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shapes),
        cmocka_unit_test_setup_teardown(extremes, open_default, close_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
