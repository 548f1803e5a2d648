/* test_attention.c: the KV cache, qkv() and attention() against the formulas of
 * ops.h spelled out element by element, bit for bit, and against attention in
 * double precision; on every instruction set that this machine has. Buffers have
 * their exact sizes, so that ASan sees one element too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "detmath.h"
#include "ops.h"

static const char *const isa_names[] = {"c", "avx2", "avx512", "avx512vnni"};
#define ISAS (int)(sizeof isa_names / sizeof *isa_names)

enum { LAYERS = 2, LAYER = 1 }; /* the tests use the last layer */

typedef struct {
    int heads, kv_heads, head_dim, bits;
    int slots, positions;
    bool rotary;
} shape;

/* Everything for every (slot, pos) of a shape: inputs and expected outputs, as arrays
 * [slots][positions][...]. */
typedef struct {
    shape s;
    float *qkv;             /* [heads + 2 kv_heads][head_dim] */
    int32_t *cosine, *sine; /* [positions][head_dim / 2], not a slot's */
    float factor;
    int16_t *q, *k, *v;                 /* [heads][head_dim], [kv_heads][head_dim] twice */
    float *q_scale, *k_scale, *v_scale; /* [heads], [kv_heads] twice */
    float *out;                         /* [heads][head_dim] */
} world;

/* Rows of a call, in order. */
typedef struct {
    int slot, pos, count;
} run;

static uint32_t random_u32(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

/* Roughly normal. */
static float random_float(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(random_u32(state) % 65536) - 32768;
    return sum / 40000;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static size_t qkv_values(const shape *s)
{
    return (size_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
}

/* -- what must come out ---------------------------------------------------- */

static float expect_quantized(const float *f, int n, int qmax, int16_t *q)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = fabsf(f[i]) > amax ? fabsf(f[i]) : amax;
    if (amax < 0x1p-100f) {
        memset(q, 0, n * sizeof *q);
        return 0;
    }
    float inv = (float)qmax / amax;
    for (int i = 0; i < n; i++)
        q[i] = (int16_t)rintf(f[i] * inv);
    return amax / (float)qmax;
}

static float expect_head(const world *w, const float *h, int pos, bool rotate, int qmax, int16_t *q)
{
    int dim = w->s.head_dim, half = dim / 2;
    float f[OPS_MAX_HEAD_DIM] = {0}, amax = 0;
    if (!rotate || !w->s.rotary)
        return expect_quantized(h, dim, qmax, q);
    for (int i = 0; i < dim; i++)
        amax = fabsf(h[i]) > amax ? fabsf(h[i]) : amax;
    int p = amax < 0x1p-100f ? 0 : ilogbf(amax);
    for (int i = 0; i < half && amax >= 0x1p-100f; i++) {
        int64_t a = (int64_t)rintf(ldexpf(h[i], 22 - p));
        int64_t b = (int64_t)rintf(ldexpf(h[i + half], 22 - p));
        int64_t cosine = w->cosine[pos * half + i], sine = w->sine[pos * half + i];
        f[i] = (float)(a * cosine - b * sine);
        f[i + half] = (float)(b * cosine + a * sine);
    }
    return ldexpf(expect_quantized(f, dim, qmax, q), p - 52);
}

static void expect_qkv(world *w, int slot, int pos)
{
    const shape *s = &w->s;
    size_t at = (size_t)slot * s->positions + pos, dim = s->head_dim;
    int qmax = s->bits == 8 ? 127 : 2047;
    const float *h = w->qkv + at * qkv_values(s);
    for (int i = 0; i < s->heads; i++, h += dim) {
        size_t head = at * s->heads + i;
        w->q_scale[head] = expect_head(w, h, pos, true, 16256, w->q + head * dim);
    }
    for (int i = 0; i < s->kv_heads; i++, h += dim) {
        size_t head = at * s->kv_heads + i;
        w->k_scale[head] = expect_head(w, h, pos, true, qmax, w->k + head * dim);
    }
    for (int i = 0; i < s->kv_heads; i++, h += dim) {
        size_t head = at * s->kv_heads + i;
        w->v_scale[head] = expect_head(w, h, pos, false, qmax, w->v + head * dim);
    }
}

static void expect_attention(world *w, int slot, int pos, int head)
{
    const shape *s = &w->s;
    int dim = s->head_dim, kv_head = head / (s->heads / s->kv_heads);
    size_t query = ((size_t)slot * s->positions + pos) * s->heads + head;
    size_t first = (size_t)slot * s->positions * s->kv_heads + kv_head, step = s->kv_heads;
    float *e = allocate((pos + 1) * sizeof *e);
    float qs = w->q_scale[query] * w->factor, max = -INFINITY, vmax = 0;
    for (int j = 0; j <= pos; j++) {
        int64_t sum = 0;
        for (int i = 0; i < dim; i++)
            sum += w->q[query * dim + i] * w->k[(first + j * step) * dim + i];
        e[j] = ((float)sum * w->k_scale[first + j * step]) * qs;
        max = e[j] > max ? e[j] : max;
        vmax = w->v_scale[first + j * step] > vmax ? w->v_scale[first + j * step] : vmax;
    }
    int64_t total = 0, sum[OPS_MAX_HEAD_DIM] = {0};
    float inv = vmax < 0x1p-100f ? 0 : 16256 / vmax;
    for (int j = 0; j <= pos; j++) {
        float x = det_exp2f(e[j] - max);
        total += (int64_t)rintf(x * 0x1p24f);
        int64_t weight = (int64_t)rintf((x * w->v_scale[first + j * step]) * inv);
        for (int i = 0; i < dim; i++)
            sum[i] += weight * w->v[(first + j * step) * dim + i];
    }
    for (int i = 0; i < dim; i++)
        w->out[query * dim + i] =
            inv == 0 ? 0 : (float)sum[i] * ((vmax / 16256) * (0x1p24f / (float)total));
    free(e);
}

static void expect(world *w)
{
    for (int slot = 0; slot < w->s.slots; slot++)
        for (int pos = 0; pos < w->s.positions; pos++) {
            expect_qkv(w, slot, pos);
            for (int head = 0; head < w->s.heads; head++)
                expect_attention(w, slot, pos, head);
        }
}

static void open_world(world *w, shape s)
{
    uint64_t state = 88172645463325252u + (uint64_t)s.head_dim * 1000 + (uint64_t)s.heads;
    size_t rows = (size_t)s.slots * s.positions, half = s.head_dim / 2;
    *w = (world){.s = s, .factor = 1.44269504f / sqrtf((float)s.head_dim)};
    w->qkv = allocate(rows * qkv_values(&s) * sizeof *w->qkv);
    for (size_t i = 0; i < rows * qkv_values(&s); i++)
        w->qkv[i] = random_float(&state) * (i % 97 == 0 ? 30 : 1);
    if (s.rotary) {
        w->cosine = allocate(s.positions * half * sizeof *w->cosine);
        w->sine = allocate(s.positions * half * sizeof *w->sine);
        for (size_t i = 0; i < s.positions * half; i++) {
            double angle = (double)(i / half) * pow(10000, -(double)(i % half) / (double)half);
            w->cosine[i] = (int32_t)lrint(cos(angle) * 0x1p30);
            w->sine[i] = (int32_t)lrint(sin(angle) * 0x1p30);
        }
    }
    w->q = allocate(rows * s.heads * s.head_dim * sizeof *w->q);
    w->k = allocate(rows * s.kv_heads * s.head_dim * sizeof *w->k);
    w->v = allocate(rows * s.kv_heads * s.head_dim * sizeof *w->v);
    w->q_scale = allocate(rows * s.heads * sizeof *w->q_scale);
    w->k_scale = allocate(rows * s.kv_heads * sizeof *w->k_scale);
    w->v_scale = allocate(rows * s.kv_heads * sizeof *w->v_scale);
    w->out = allocate(rows * s.heads * s.head_dim * sizeof *w->out);
}

static void close_world(world *w)
{
    free(w->qkv);
    free(w->cosine);
    free(w->sine);
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->q_scale);
    free(w->k_scale);
    free(w->v_scale);
    free(w->out);
}

/* -- what comes out -------------------------------------------------------- */

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
    return ctx;
}

static ops_kv *open_kv(ops_context *ctx, const shape *s)
{
    ops_kv *kv = NULL;
    assert_int_equal(ops_cpu.kv_create(ctx, &kv, LAYERS, s->slots, s->positions, s->kv_heads,
                                       s->head_dim, s->bits),
                     GPUZIP_OK);
    return kv;
}

/* Passes runs[count] through qkv() and attention() in one call each and requires what w
 * expects. */
static void check_runs(const world *w, ops_context *ctx, ops_kv *kv, const run *runs, int count)
{
    const shape *s = &w->s;
    size_t values = qkv_values(s), queries = (size_t)s->heads * s->head_dim;
    int rows = 0, row = 0;
    for (int i = 0; i < count; i++)
        rows += runs[i].count;
    int32_t *slot = allocate(rows * sizeof *slot), *pos = allocate(rows * sizeof *pos);
    float *qkv = allocate(rows * values * sizeof *qkv);
    float *out = allocate(rows * queries * sizeof *out);
    int16_t *q = allocate(rows * queries * sizeof *q);
    float *q_scale = allocate((size_t)rows * s->heads * sizeof *q_scale);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < runs[i].count; j++, row++) {
            slot[row] = runs[i].slot;
            pos[row] = runs[i].pos + j;
            size_t at = (size_t)slot[row] * s->positions + pos[row];
            memcpy(qkv + row * values, w->qkv + at * values, values * sizeof *qkv);
        }
    }
    ops_batch batch = {NULL, slot, pos, rows};
    assert_int_equal(
        ops_cpu.qkv(ctx, &batch, qkv, s->heads, w->cosine, w->sine, q, q_scale, kv, LAYER),
        GPUZIP_OK);
    assert_int_equal(
        ops_cpu.attention(ctx, &batch, q, q_scale, s->heads, w->factor, kv, LAYER, out), GPUZIP_OK);
    for (row = 0; row < rows; row++) {
        size_t at = (size_t)slot[row] * s->positions + pos[row];
        assert_memory_equal(q + row * queries, w->q + at * queries, queries * sizeof *q);
        assert_memory_equal(q_scale + (size_t)row * s->heads, w->q_scale + at * s->heads,
                            s->heads * sizeof *q_scale);
        assert_memory_equal(out + row * queries, w->out + at * queries, queries * sizeof *out);
    }
    free(slot);
    free(pos);
    free(qkv);
    free(out);
    free(q);
    free(q_scale);
}

/* All slots in one call. */
static void check_whole(const world *w, ops_context *ctx)
{
    ops_kv *kv = open_kv(ctx, &w->s);
    run runs[16];
    assert_true(w->s.slots <= 16);
    for (int i = 0; i < w->s.slots; i++)
        runs[i] = (run){i, 0, w->s.positions};
    check_runs(w, ctx, kv, runs, w->s.slots);
    ops_cpu.kv_destroy(ctx, kv);
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
        {1, 1, 2, 12, 1, 20, true},    {1, 1, 8, 12, 1, 130, false},  {2, 1, 12, 8, 2, 70, true},
        {4, 1, 64, 12, 2, 150, true},  {4, 4, 64, 8, 1, 129, false},  {6, 2, 48, 12, 1, 65, true},
        {8, 2, 80, 12, 1, 64, false},  {3, 3, 96, 8, 2, 33, true},    {32, 1, 10, 12, 1, 40, true},
        {34, 2, 16, 12, 1, 17, false}, {5, 1, 256, 12, 1, 100, true}, {2, 2, 130, 12, 1, 90, false},
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
static void attention_oracle(void **state)
{
    enum { DIM = 64, ROWS = 200 };
    (void)state;
    world w;
    open_world(&w, (shape){4, 2, DIM, 12, 1, ROWS, true});
    expect(&w);
    for (int head = 0; head < w.s.heads; head++) {
        size_t query = (size_t)(ROWS - 1) * w.s.heads + head;
        double p[ROWS], max = -INFINITY, sum = 0, v_max = 0;
        for (int j = 0; j < ROWS; j++) {
            size_t at = (size_t)j * w.s.kv_heads + head / 2;
            p[j] = 0;
            for (int i = 0; i < DIM; i++)
                p[j] += (double)w.q[query * DIM + i] * w.k[at * DIM + i];
            p[j] *= (double)w.q_scale[query] * w.k_scale[at] / sqrt(DIM);
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

/* A slot begun anew, and one set back, know nothing of what stood there before, though
 * that had much larger values. */
static void attention_rewrite(void **state)
{
    (void)state;
    shape s = {2, 1, 16, 12, 1, 100, false};
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

/* The largest magnitudes everywhere, all signs alike: no partial sum may overflow. */
static void attention_extremes(void **state)
{
    static const shape shapes[] = {{1, 1, 64, 12, 1, 600, false},
                                   {2, 1, 256, 12, 1, 150, false},
                                   {2, 1, 256, 8, 1, 150, false}};
    (void)state;
    for (int i = 0; i < 3; i++) {
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
    for (int rotary = 0; rotary < 2; rotary++) {
        world w;
        open_world(&w, (shape){2, 1, 20, 12, 1, 80, rotary});
        uint64_t seed = 7;
        for (int head = 0; head < w.s.positions * 4; head++) {
            float scale = scales[random_u32(&seed) % 7];
            if (head < 12) /* all values so far are zero, then too small to mix */
                scale = head < 4 ? 0 : 0x1p-95f;
            for (int i = 0; i < 20; i++)
                w.qkv[head * 20 + i] *= scale;
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
    open_world(&w, (shape){4, 2, 64, 12, 2, 200, true});
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

/* What does not fit in memory is refused, not overrun. */
static void attention_memory(void **state)
{
    (void)state;
    ops_context *ctx = open_context(1, "c");
    ops_kv *kv = NULL;
    assert_true(ops_cpu.kv_bytes(1, 1, 100, 1, 64, 12) >= 100 * 64 * 2 * 2);
    assert_int_equal(ops_cpu.kv_create(ctx, &kv, 1 << 20, 1 << 20, 1 << 20, 1 << 10, 256, 12),
                     GPUZIP_ERR_MEMORY);
    assert_null(kv);
    ops_cpu.kv_destroy(ctx, NULL);
    ops_cpu.close(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_exact),    cmocka_unit_test(attention_oracle),
        cmocka_unit_test(attention_steps),    cmocka_unit_test(attention_rewrite),
        cmocka_unit_test(attention_extremes), cmocka_unit_test(attention_degenerate),
        cmocka_unit_test(attention_threads),  cmocka_unit_test(attention_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
