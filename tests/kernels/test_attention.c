/* test_attention.c: the KV cache, qkv() and attention() against attention_reference.h, bit for
 * bit, and against attention in double precision; on every instruction set that this machine has.
 * Buffers have their exact sizes, so that ASan sees one element too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "attention_reference.h"
#include "cpu/cpu.h"

static const char *const isa_names[] = {"c", "avx2", "avx512", "avx512vnni"};
#define ISAS (int)(sizeof isa_names / sizeof *isa_names)

enum { LAYERS = 2, LAYER = 1 }; /* the tests use the last layer */

/* Rows of a call, in order. */
typedef struct {
    int slot, first, count; /* tokens of a slot's text */
} run;

/* -- the kernels ------------------------------------------------------------ */

/* NULL where this machine lacks the instruction set. */
static ops_context *open_context(int threads, const char *isa)
{
    ops_context *ctx = NULL;
    gpuzip_status status = ops_cpu.open(&ctx, 0, threads, isa);
    if (status == GPUZIP_ERR_DEVICE) {
        print_message("this machine has no %s\n", isa);
        return NULL;
    }
    assert_int_equal(status, GPUZIP_OK);
    ctx->shares_all = true;
    return ctx;
}

static ops_kv *open_kv(ops_context *ctx, const shape *s)
{
    ops_kv *kv = NULL;
    assert_int_equal(ops_cpu.kv_create(ctx, &kv, LAYERS, s->slots, s->window, s->run, s->kv_heads,
                                       s->head_dim, s->bits),
                     GPUZIP_OK);
    return kv;
}

/* Rotations for the tokens of a pass, of as few rows as keep the positions apart; other rows hold
 * noise. */
static ops_rope open_rope(const world *w, const int *token, int tokens)
{
    ops_rope rope = {NULL, NULL, 0};
    if (!w->s.rotary)
        return rope;
    size_t half = w->s.head_dim / 2;
    bool apart = false;
    for (rope.rows = 1; !apart; rope.rows *= apart ? 1 : 2) {
        int64_t *user = calloc(rope.rows, sizeof *user); /* 1 + position */
        assert_non_null(user);
        apart = true;
        for (int i = 0; i < tokens; i++) {
            int64_t pos = position_of(&w->s, token[i]), *row = &user[pos % rope.rows];
            apart = apart && (*row == 0 || *row == pos + 1);
            *row = pos + 1;
        }
        free(user);
    }
    size_t bytes = (rope.rows + 1) * half * sizeof(int32_t);
    int32_t *cosine = allocate(bytes), *sine = allocate(bytes);
    memset(cosine, 0x5a, bytes);
    memset(sine, 0xa5, bytes);
    for (int i = 0; i <= tokens; i++) {
        size_t from = i < tokens ? token[i] : w->s.positions;
        size_t row = i < tokens ? position_of(&w->s, token[i]) % rope.rows : rope.rows;
        memcpy(cosine + row * half, w->cosine + from * half, half * sizeof *cosine);
        memcpy(sine + row * half, w->sine + from * half, half * sizeof *sine);
    }
    rope.cosine = cosine;
    rope.sine = sine;
    return rope;
}

/* The rows of a pass, [rows][...]. */
typedef struct {
    int rows;
    int *token;
    int32_t *slot, *pos;
    float *qkv, *out;
    ops_rope rope;
    ops_queries q; /* sink, sink_scale: NULL if no row meets the sink */
} pass;

static void open_pass(pass *p, const world *w, const run *runs, int count)
{
    const shape *s = &w->s;
    size_t values = qkv_values(s), queries = (size_t)s->heads * s->head_dim, row = 0;
    bool sinks = false;
    *p = (pass){0};
    for (int i = 0; i < count; i++)
        p->rows += runs[i].count;
    size_t rows = p->rows;
    p->token = allocate(rows * sizeof *p->token);
    p->slot = allocate(rows * sizeof *p->slot);
    p->pos = allocate(rows * sizeof *p->pos);
    p->qkv = allocate(rows * values * sizeof *p->qkv);
    p->out = allocate(rows * queries * sizeof *p->out);
    p->q.q = allocate(rows * queries * sizeof *p->q.q);
    p->q.scale = allocate(rows * s->heads * sizeof *p->q.scale);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < runs[i].count; j++, row++) {
            p->token[row] = runs[i].first + j;
            p->slot[row] = runs[i].slot;
            p->pos[row] = position_of(s, p->token[row]);
            sinks = sinks || p->pos[row] >= s->window;
            size_t at = (size_t)p->slot[row] * s->positions + p->token[row];
            memcpy(p->qkv + row * values, w->qkv + at * values, values * sizeof *p->qkv);
        }
    }
    p->rope = open_rope(w, p->token, p->rows);
    if (sinks) {
        p->q.sink = calloc(rows * queries, sizeof *p->q.sink);
        p->q.sink_scale = calloc(rows * s->heads, sizeof *p->q.sink_scale);
        assert_true(p->q.sink && p->q.sink_scale);
    }
}

static void close_pass(pass *p)
{
    free(p->token);
    free(p->slot);
    free(p->pos);
    free(p->qkv);
    free(p->out);
    free((void *)p->rope.cosine);
    free((void *)p->rope.sine);
    free(p->q.q);
    free(p->q.scale);
    free(p->q.sink);
    free(p->q.sink_scale);
}

/* Requires row `row` of a pass to be the world's. */
static void check_row(const world *w, const pass *p, size_t row)
{
    const shape *s = &w->s;
    size_t at = (size_t)p->slot[row] * s->positions + p->token[row];
    size_t heads = s->heads, queries = heads * s->head_dim;
    assert_memory_equal(p->q.q + row * queries, w->q + at * queries, queries * sizeof *w->q);
    assert_memory_equal(p->q.scale + row * heads, w->q_scale + at * heads,
                        heads * sizeof *w->q_scale);
    if (p->pos[row] >= s->window) {
        assert_memory_equal(p->q.sink + row * queries, w->sink + at * queries,
                            queries * sizeof *w->sink);
        assert_memory_equal(p->q.sink_scale + row * heads, w->sink_scale + at * heads,
                            heads * sizeof *w->sink_scale);
    } else if (p->q.sink) { /* not written */
        for (size_t i = 0; i < queries; i++)
            assert_int_equal(p->q.sink[row * queries + i], 0);
    }
    if (has_window(s, p->token[row]))
        assert_memory_equal(p->out + row * queries, w->out + at * queries,
                            queries * sizeof *w->out);
}

/* Passes runs[count] through qkv() and attention() in one call each and requires the
 * results of w. */
static void check_runs(const world *w, ops_context *ctx, ops_kv *kv, const run *runs, int count)
{
    pass p;
    int heads = w->s.heads;
    open_pass(&p, w, runs, count);
    ops_batch batch = {NULL, p.slot, p.pos, p.rows, 0};
    assert_int_equal(ops_cpu.qkv(ctx, &batch, p.qkv, heads, &p.rope, &p.q, kv, LAYER), GPUZIP_OK);
    assert_int_equal(ops_cpu.attention(ctx, &batch, &p.q, heads, w->factor, kv, LAYER, p.out),
                     GPUZIP_OK);
    for (int row = 0; row < p.rows; row++)
        check_row(w, &p, row);
    close_pass(&p);
}

/* All tokens of all slots: the first `first` in one call, then as many as a run may have. */
static void check_text(const world *w, ops_context *ctx, int first)
{
    const shape *s = &w->s;
    ops_kv *kv = open_kv(ctx, s);
    run runs[16];
    assert_true(s->slots <= 16);
    for (int token = 0, count = first; token < s->positions; token += count, count = s->run) {
        int left = s->positions - token;
        for (int i = 0; i < s->slots; i++)
            runs[i] = (run){i, token, count < left ? count : left};
        check_runs(w, ctx, kv, runs, s->slots);
    }
    ops_cpu.kv_destroy(ctx, kv);
}

/* The same, with as few calls as can be. */
static void check_whole(const world *w, ops_context *ctx)
{
    check_text(w, ctx, w->s.window > w->s.run ? w->s.window : w->s.run);
}

static void check_all_isas(const world *w)
{
    for (int i = 0; i < ISAS; i++) {
        ops_context *ctx = open_context(2, isa_names[i]);
        if (ctx)
            check_whole(w, ctx);
        ops_cpu.close(ctx);
    }
}

/* -- tests ----------------------------------------------------------------- */

static void attention_exact(void **state)
{
    static const shape shapes[] = {
        {1, 1, 2, 12, 1, 20, true},
        {1, 1, 8, 12, 1, 130, false},
        {2, 1, 12, 8, 2, 70, true},
        {4, 1, 64, 12, 2, 150, true},
        {4, 4, 64, 8, 1, 129, false},
        {6, 2, 48, 12, 1, 65, true},
        {8, 2, 80, 12, 1, 64, false},
        {3, 3, 96, 8, 2, 33, true},
        {32, 1, 10, 12, 1, 40, true},
        {34, 2, 16, 12, 1, 17, false},
        {5, 1, 256, 12, 1, 100, true},
        {2, 2, 130, 12, 1, 90, false},
        /* windows: of one position, short of the text by one, longer than it */
        {4, 2, 24, 12, 2, 40, true, .window = 1, .run = 40},
        {2, 1, 12, 8, 2, 71, true, .window = 70, .run = 71},
        {2, 1, 64, 12, 1, 70, true, .window = 200},
        {5, 1, 256, 12, 1, 90, true, .window = 33, .run = 90},
        {32, 1, 10, 12, 1, 40, false, .window = 16, .run = 8},
        {2, 2, 130, 8, 1, 90, false, .window = 31, .run = 3},
    };
    (void)state;
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        world w;
        open_world(&w, shapes[i]);
        expect(&w);
        check_all_isas(&w);
        close_world(&w);
    }
}

/* The formulas of ops.h are attention: against double precision, on the quantised rows. The
 * weights' rounding, to 1/16256 of v_max, is most of the difference. */
static void check_oracle(int window)
{
    enum { DIM = 64, ROWS = 200 };
    world w;
    open_world(&w, (shape){4, 2, DIM, 12, 1, ROWS, true, .window = window});
    expect(&w);
    for (int head = 0; head < w.s.heads; head++) {
        size_t query = (size_t)(ROWS - 1) * w.s.heads + head;
        double p[ROWS] = {0}, max = -INFINITY, sum = 0, v_max = 0;
        for (int j = 0; j < ROWS; j++) {
            bool sink = ROWS > window && j == 0;
            if (j < ROWS - window && !sink) {
                p[j] = -INFINITY;
                continue;
            }
            size_t at = (size_t)j * w.s.kv_heads + head / 2;
            const int16_t *q = (sink ? w.sink : w.q) + query * DIM;
            for (int i = 0; i < DIM; i++)
                p[j] += (double)q[i] * w.k[at * DIM + i];
            p[j] *= (double)(sink ? w.sink_scale : w.q_scale)[query] * w.k_scale[at] / sqrt(DIM);
            max = fmax(max, p[j]);
            v_max = fmax(v_max, w.v_scale[at]);
        }
        for (int j = 0; j < ROWS; j++)
            sum += p[j] = exp(p[j] - max);
        for (int i = 0; i < DIM; i++) {
            double out = 0, slack = 0;
            for (int j = 0; j < ROWS; j++) {
                size_t at = (size_t)j * w.s.kv_heads + head / 2;
                double v = w.v[at * DIM + i];
                out += p[j] * v * w.v_scale[at];
                slack += (0.5 * v_max / 16256 + 2e-5 * p[j] * w.v_scale[at]) * fabs(v);
            }
            assert_true(fabs(out - w.out[query * DIM + i] * sum) < slack);
        }
    }
    close_world(&w);
}

static void attention_oracle(void **state)
{
    (void)state;
    check_oracle(200);
    check_oracle(80);
}

/* One call, step by step and odd chunks give the same rows; slots of different
 * lengths, in any order. */
static void attention_steps(void **state)
{
    static const int chunks[] = {1, 7, 64, 2, 33, 1, 16};
    (void)state;
    world w;
    open_world(&w, (shape){4, 2, 24, 12, 3, 190, true});
    expect(&w);
    for (int isa = 0; isa < ISAS; isa++) {
        ops_context *ctx = open_context(2, isa_names[isa]);
        if (!ctx)
            continue;
        ops_kv *kv = open_kv(ctx, &w.s);
        /* Slot 2 alone ahead, then all in lock-step, 0 and 1 behind it. */
        check_runs(&w, ctx, kv, &(run){2, 0, 70}, 1);
        for (int pos = 0; pos < 120; pos++) {
            run step[] = {{2, pos + 70, 1}, {0, pos, 1}, {1, pos, 1}};
            check_runs(&w, ctx, kv, step, 3);
        }
        /* Slots 1 and 0 on in chunks. */
        for (int pos = 120, i = 0; pos < 190; i++) {
            int count = chunks[i % 7] < 190 - pos ? chunks[i % 7] : 190 - pos;
            check_runs(&w, ctx, kv, (run[]){{1, pos, count}, {0, pos, count}}, 2);
            pos += count;
        }
        ops_cpu.kv_destroy(ctx, kv);
        ops_cpu.close(ctx);
    }
    close_world(&w);
}

/* Windows much shorter than the text: step by step, in short runs and in runs longer than the
 * window, all across the ends of the ring. */
static void attention_window(void **state)
{
    static const int windows[] = {2, 7, 64, 100}, lengths[] = {1, 16, 70};
    (void)state;
    for (int i = 0; i < 12; i++) {
        int window = windows[i % 4], length = lengths[i / 4];
        world w;
        open_world(&w, (shape){4, 2, 24, i % 2 ? 8 : 12, 2, 330, true, window, length, 0});
        expect(&w);
        for (int isa = 0; isa < ISAS; isa++) {
            ops_context *ctx = open_context(2, isa_names[isa]);
            if (!ctx)
                continue;
            check_whole(&w, ctx);
            check_text(&w, ctx, 1);
            ops_cpu.close(ctx);
        }
        close_world(&w);
    }
}

/* Texts of many windows, and the last positions that an int32_t has. */
static void attention_far(void **state)
{
    static const shape shapes[] = {{2, 1, 16, 12, 2, 700, true, 64, 16, 0},
                                   {2, 1, 16, 12, 1, 300, true, 64, 70, INT32_MAX - 299},
                                   {2, 1, 16, 12, 1, 300, true, 50, 1, INT32_MAX - 299}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        world w;
        open_world(&w, shapes[i]);
        expect(&w);
        for (int isa = 0; isa < ISAS; isa++) {
            ops_context *ctx = open_context(2, isa_names[isa]);
            if (ctx)
                check_text(&w, ctx, 1);
            ops_cpu.close(ctx);
        }
        close_world(&w);
    }
}

/* A slot begun anew, and one set back, ignore their old contents, though these had much
 * larger values. */
static void attention_rewrite(void **state)
{
    (void)state;
    shape s = {2, 1, 16, 12, 1, 100, false, .window = 100};
    world before, after;
    open_world(&before, s);
    open_world(&after, s);
    for (size_t i = 0; i < s.positions * qkv_values(&s); i++)
        before.qkv[i] *= i < 40 * qkv_values(&s) ? 1 : 1e6f; /* the first 40 rows are the same */
    expect(&before);
    expect(&after);
    for (int isa = 0; isa < ISAS; isa++) {
        ops_context *ctx = open_context(1, isa_names[isa]);
        if (!ctx)
            continue;
        ops_kv *kv = open_kv(ctx, &s);
        check_runs(&before, ctx, kv, &(run){0, 0, 100}, 1);
        check_runs(&after, ctx, kv, &(run){0, 40, 3}, 1);
        for (int pos = 43; pos < 60; pos++)
            check_runs(&after, ctx, kv, &(run){0, pos, 1}, 1);
        check_runs(&before, ctx, kv, &(run){0, 40, 60}, 1);
        for (int pos = 0; pos < 100; pos++)
            check_runs(&after, ctx, kv, &(run){0, pos, 1}, 1);
        ops_cpu.kv_destroy(ctx, kv);
        ops_cpu.close(ctx);
    }
    close_world(&before);
    close_world(&after);
}

/* The same where the ring is shorter than the old contents, and the sink another. */
static void attention_rewrite_window(void **state)
{
    (void)state;
    world before, after;
    open_world(&before, (shape){2, 1, 16, 12, 1, 150, true, .window = 40, .run = 20});
    open_world(&after, before.s);
    for (size_t i = 0; i < before.s.positions * qkv_values(&before.s); i++)
        before.qkv[i] *= 1e6f;
    expect(&before);
    expect(&after);
    for (int isa = 0; isa < ISAS; isa++) {
        ops_context *ctx = open_context(1, isa_names[isa]);
        if (!ctx)
            continue;
        ops_kv *kv = open_kv(ctx, &before.s);
        for (int i = 0; i < 150; i += 10)
            check_runs(&before, ctx, kv, &(run){0, i, 10}, 1);
        for (int i = 0; i < 150; i++)
            check_runs(&after, ctx, kv, &(run){0, i, 1}, 1);
        ops_cpu.kv_destroy(ctx, kv);
        ops_cpu.close(ctx);
    }
    close_world(&before);
    close_world(&after);
}

/* The largest magnitudes everywhere, all signs alike: no partial sum may overflow. */
static void attention_extremes(void **state)
{
    static const shape shapes[] = {{1, 1, 64, 12, 1, 600, false},
                                   {2, 1, 256, 12, 1, 150, false},
                                   {2, 1, 256, 8, 1, 150, false},
                                   {1, 1, 64, 12, 1, 600, false, .window = 300, .run = 100}};
    (void)state;
    for (int i = 0; i < 4; i++) {
        for (int sign = 0; sign < 4; sign++) {
            world w;
            open_world(&w, shapes[i]);
            const shape *s = &w.s;
            for (int row = 0; row < s->positions; row++) {
                float *h = w.qkv + row * qkv_values(s);
                for (int j = 0; j < (int)qkv_values(s); j++)
                    h[j] = j < s->heads * s->head_dim ? 1 : sign % 2 ? -1 : 1;
                for (int j = 0; j < s->head_dim; j++)
                    h[(s->heads + s->kv_heads) * s->head_dim + j] = sign / 2 ? -1 : 1;
            }
            expect(&w);
            check_all_isas(&w);
            close_world(&w);
        }
    }
}

/* Rows of zeros, subnormal and huge rows, scores too far apart for the exponential. */
static void attention_degenerate(void **state)
{
    static const float scales[] = {0, 0x1p-130f, 0x1p-101f, 0x1p-60f, 1, 200, 0x1p30f};
    (void)state;
    for (int i = 0; i < 4; i++) {
        world w;
        int window = i / 2 ? 20 : 80;
        open_world(&w, (shape){2, 1, 20, 12, 1, 80, i % 2, .window = window, .run = 9});
        uint64_t seed = 7;
        for (int head = 0; head < w.s.positions * 4; head++) {
            float scale = scales[random_u32(&seed) % 7];
            if (head < 12) /* all values so far are zero, then too small to mix */
                scale = head < 4 ? 0 : 0x1p-95f;
            for (int d = 0; d < 20; d++)
                w.qkv[head * 20 + d] *= scale;
        }
        expect(&w);
        check_all_isas(&w);
        close_world(&w);
    }
}

static void attention_threads(void **state)
{
    (void)state;
    world w;
    open_world(&w, (shape){4, 2, 64, 12, 2, 200, true, .window = 120, .run = 60});
    expect(&w);
    for (int isa = 1; isa < ISAS; isa++) {
        for (int threads = 1; threads <= 5; threads = threads == 2 ? 5 : threads + 1) {
            ops_context *ctx = open_context(threads, isa_names[isa]);
            if (ctx)
                check_whole(&w, ctx);
            ops_cpu.close(ctx);
        }
    }
    close_world(&w);
}

/* A cache that does not fit in memory is refused, not overrun. */
static void attention_memory(void **state)
{
    (void)state;
    ops_context *ctx = open_context(1, "c");
    ops_kv *kv = NULL;
    assert_true(ops_cpu.kv_bytes(1, 1, 100, 1, 1, 64, 12) >= 101 * 64 * 2 * 2);
    assert_true(ops_cpu.kv_bytes(1, 1, 100, 101, 1, 64, 12) >= 201 * 64 * 2 * 2);
    assert_int_equal(ops_cpu.kv_create(ctx, &kv, 1 << 20, 1 << 20, 1 << 20, 1, 1 << 10, 256, 12),
                     GPUZIP_ERR_MEMORY);
    assert_null(kv);
    ops_cpu.kv_destroy(ctx, NULL);
    ops_cpu.close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_exact),          cmocka_unit_test(attention_oracle),
        cmocka_unit_test(attention_steps),          cmocka_unit_test(attention_rewrite),
        cmocka_unit_test(attention_window),         cmocka_unit_test(attention_far),
        cmocka_unit_test(attention_rewrite_window), cmocka_unit_test(attention_extremes),
        cmocka_unit_test(attention_degenerate),     cmocka_unit_test(attention_threads),
        cmocka_unit_test(attention_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
