/* test_cuda_ops.c: every operation of ops_cuda against ops_cpu, bit for bit; linear() has
 * test_cuda_linear.c.
 *
 * Built twice: with the kernels that nvcc made, for a real GPU (skipped where there
 * is none, failed there under GPUZIP_REQUIRE_GPU), and with the emulator of
 * tests/cuda/emulator, where each run shuffles the threads by another seed.
 */
#include "test_cuda_support.h"

/* -- rows ------------------------------------------------------------------------- */

static void embed_cuda(void **state)
{
    (void)state;
    enum { VOCAB = 257, POSITIONS = 40, DIM = 257 };
    static int16_t w[VOCAB * DIM];
    for (int i = 0; i < VOCAB * DIM; i++)
        w[i] = (int16_t)draw_integer(16256);
    pair weights = pair_of(w, sizeof w), scale = pair_floats(VOCAB);
    pair position = pair_floats((size_t)POSITIONS * DIM);
    for (int r = 0; r < ROW_COUNTS; r++) {
        int rows = row_counts[r];
        int32_t token[130], pos[130];
        for (int i = 0; i < rows; i++) {
            token[i] = (int32_t)(draw() % VOCAB);
            pos[i] = (int32_t)(draw() % POSITIONS);
        }
        pair tokens = pair_of(token, (size_t)rows * 4), at = pair_of(pos, (size_t)rows * 4);
        for (int with = 0; with < 2; with++) {
            pair x = pair_zero((size_t)rows * DIM * sizeof(float));
            for (int b = 0; b < 2; b++) {
                ops_batch batch = {tokens.at[b], NULL, at.at[b], rows, 0};
                assert_int_equal(backend[b]->embed(context[b], x.at[b], &batch, weights.at[b],
                                                   scale.at[b], with ? position.at[b] : NULL, DIM),
                                 GPUZIP_OK);
            }
            pair_check(&x, "embed", rows, DIM);
            pair_free(&x);
        }
        pair_free(&at);
        pair_free(&tokens);
    }
    pair_free(&position);
    pair_free(&scale);
    pair_free(&weights);
}

static const int dims[] = {2, 64, 257, 768, 1540};
#define DIMS ((int)(sizeof dims / sizeof *dims))

/* Rows of very different sizes, among them a zero row, tiny and huge ones. */
static pair pair_rows(int rows, int dim)
{
    static const float size[] = {1.0f, 0.0f, 0x1p-90f, 0x1p-101f, 1e-3f, 0x1p60f, 30.0f};
    size_t n = (size_t)rows * (size_t)dim;
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = draw_float() * size[i / (size_t)dim % 7];
    pair p = pair_of(x, n * sizeof *x);
    free(x);
    return p;
}

static void norm_case(ops_norm_kind kind, int rows, int dim, int bits, int with_y)
{
    pair x = pair_rows(rows, dim), gain = pair_floats((size_t)dim), bias = pair_floats((size_t)dim);
    qpair q = qpair_zero(rows, dim, bits);
    BOTH(norm(context[b], kind, x.at[b], gain.at[b], bias.at[b], 1e-5f, with_y ? x.at[b] : NULL,
              &q.q[b]));
    qpair_check(&q, "norm");
    pair_check(&x, "norm", rows, dim);
    qpair_free(&q);
    pair_free(&bias);
    pair_free(&gain);
    pair_free(&x);
}

static void norm_cuda(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_COUNTS; r++)
        for (int d = 0; d < DIMS; d++)
            for (int kind = 0; kind < 2; kind++)
                norm_case((ops_norm_kind)kind, row_counts[r], dims[d], (r + d) % 2 ? 8 : 15, d % 2);
}

static void quantize_cuda(void **state)
{
    (void)state;
    for (int act = OPS_ACT_NONE; act <= OPS_ACT_SWIGLU; act++)
        for (int r = 0; r < ROW_COUNTS; r++)
            for (int d = 0; d < DIMS; d++) {
                int rows = row_counts[r], dim = dims[d];
                pair x = act == OPS_ACT_NONE ? pair_rows(rows, dim)
                                             : pair_floats((size_t)rows * 2 * (size_t)dim);
                qpair q = qpair_zero(rows, dim, (r + d) % 2 ? 15 : 8);
                BOTH(quantize(context[b], (ops_act)act, x.at[b], &q.q[b]));
                qpair_check(&q, "quantize");
                qpair_free(&q);
                pair_free(&x);
            }
}

/* -- attention --------------------------------------------------------------------- */

typedef struct {
    int heads, kv_heads, head_dim, bits;
    bool rotate;
    int window, run; /* of kv_create() */
} attention_shape;

#define SLOTS     5
#define ROPE_ROWS 64 /* fewer than positions, so that they share rows */

/* A cache on both backends, and the next position of each slot. */
typedef struct {
    attention_shape shape;
    ops_kv *kv[2];
    pair cosine, sine;
    int next[SLOTS];
} cache_pair;

#define CACHE_LAYERS 2

static void cache_open(cache_pair *c, attention_shape shape)
{
    *c = (cache_pair){.shape = shape};
    BOTH(kv_create(context[b], &c->kv[b], CACHE_LAYERS, SLOTS, shape.window, shape.run,
                   shape.kv_heads, shape.head_dim, shape.bits));
    /* Any numbers of the tables' range will do: they need not lie on a circle. */
    size_t n = (size_t)(ROPE_ROWS + 1) * (size_t)shape.head_dim / 2;
    int32_t *table = malloc(n * sizeof *table);
    for (size_t i = 0; i < n; i++)
        table[i] = draw_integer(1 << 30);
    c->cosine = pair_of(table, n * sizeof *table);
    for (size_t i = 0; i < n; i++)
        table[i] = draw_integer(1 << 30);
    c->sine = pair_of(table, n * sizeof *table);
    free(table);
}

static void cache_close(cache_pair *c)
{
    pair_free(&c->sine);
    pair_free(&c->cosine);
    for (int b = 0; b < 2; b++)
        backend[b]->kv_destroy(context[b], c->kv[b]);
}

/* Heads of very different sizes, now and then a zero or a tiny one. */
static pair pair_heads(int heads, int head_dim)
{
    size_t n = (size_t)heads * (size_t)head_dim;
    float *x = malloc(n * sizeof *x), size = 1.0f;
    for (size_t i = 0; i < n; i++) {
        if (i % (size_t)head_dim == 0) {
            uint32_t kind = draw() % 16;
            size = kind == 0 ? 0.0f : kind == 1 ? 0x1p-95f : (float)(1 + draw() % 8);
        }
        x[i] = draw_float() * size;
    }
    pair p = pair_of(x, n * sizeof *x);
    free(x);
    return p;
}

/* The rows of a pass on both backends. */
typedef struct {
    int rows;
    int longest; /* of ops_batch */
    bool sinks;  /* some meet the attention sink */
    pair slot, pos, qkv, q, scale, sink, sink_scale, out;
} pass_pair;

/* Appends a run of run[s] positions to every slot s. */
static pass_pair pass_open(cache_pair *c, const int run[SLOTS])
{
    const attention_shape *shape = &c->shape;
    pass_pair p = {.longest = 1};
    for (int s = 0; s < SLOTS; s++) {
        p.rows += run[s];
        p.longest = run[s] > 1 ? 0 : p.longest;
    }
    size_t rows = (size_t)p.rows, query = rows * (size_t)shape->heads;
    size_t elements = query * (size_t)shape->head_dim;
    int32_t *slot = malloc(rows * sizeof *slot), *pos = malloc(rows * sizeof *pos);
    for (int s = 0, r = 0; s < SLOTS; s++)
        for (int i = 0; i < run[s]; i++, r++) {
            slot[r] = s;
            pos[r] = c->next[s] + i;
            p.sinks = p.sinks || pos[r] >= shape->window;
        }
    for (int s = 0; s < SLOTS; s++)
        c->next[s] += run[s] <= INT32_MAX - c->next[s] ? run[s] : 0;
    p.slot = pair_of(slot, rows * 4);
    p.pos = pair_of(pos, rows * 4);
    p.qkv = pair_heads(p.rows * (shape->heads + 2 * shape->kv_heads), shape->head_dim);
    p.q = pair_zero(elements * 2);
    p.scale = pair_zero(query * 4);
    p.sink = pair_zero(p.sinks ? elements * 2 : 0);
    p.sink_scale = pair_zero(p.sinks ? query * 4 : 0);
    p.out = pair_zero(elements * 4);
    free(pos);
    free(slot);
    return p;
}

static void pass_free(pass_pair *p)
{
    pair_free(&p->out);
    pair_free(&p->sink_scale);
    pair_free(&p->sink);
    pair_free(&p->scale);
    pair_free(&p->q);
    pair_free(&p->qkv);
    pair_free(&p->pos);
    pair_free(&p->slot);
}

/* Adds the rows' keys and values to a layer; then, if asked to, attends with all rows. */
static void pass_run(const cache_pair *c, const pass_pair *p, int layer, bool attend)
{
    const attention_shape *shape = &c->shape;
    /* The factor that makes weights neither equal nor all on one position. */
    float factor = 0.05f / (float)(shape->rotate ? 4 : 1);
    for (int b = 0; b < 2; b++) {
        ops_batch batch = {NULL, p->slot.at[b], p->pos.at[b], p->rows, p->longest};
        ops_rope rope = {shape->rotate ? c->cosine.at[b] : NULL,
                         shape->rotate ? c->sine.at[b] : NULL, ROPE_ROWS};
        ops_queries q = {p->q.at[b], p->scale.at[b], p->sinks ? p->sink.at[b] : NULL,
                         p->sinks ? p->sink_scale.at[b] : NULL};
        assert_int_equal(backend[b]->qkv(context[b], &batch, p->qkv.at[b], shape->heads, &rope, &q,
                                         c->kv[b], layer),
                         GPUZIP_OK);
        if (attend)
            assert_int_equal(backend[b]->attention(context[b], &batch, &q, shape->heads, factor,
                                                   c->kv[b], layer, p->out.at[b]),
                             GPUZIP_OK);
    }
    pair_check(&p->q, "qkv q", p->rows, shape->head_dim);
    pair_check(&p->scale, "qkv scale", p->rows, shape->head_dim);
    pair_check(&p->sink, "qkv sink", p->rows, shape->head_dim);
    pair_check(&p->sink_scale, "qkv sink scale", p->rows, shape->head_dim);
    pair_check(&p->out, "attention", p->rows, shape->head_dim);
}

/* Appends a run of run[s] positions to every slot s; then, if asked to, attends with all rows. */
static void cache_append(cache_pair *c, const int run[SLOTS], int layer, bool attend)
{
    pass_pair p = pass_open(c, run);
    pass_run(c, &p, layer, attend);
    pass_free(&p);
}

static void cache_step(cache_pair *c, const int run[SLOTS], int layer)
{
    cache_append(c, run, layer, true);
}

/* Appends rows to slot 1 without attending, which would take quadratic time. */
static void cache_fill(cache_pair *c, int rows, int layer)
{
    for (int count; rows > 0; rows -= count) {
        count = rows < c->shape.run ? rows : c->shape.run;
        cache_append(c, (const int[SLOTS]){0, count, 0, 0, 0}, layer, false);
    }
}

static void attention_cuda(void **state)
{
    (void)state;
    static const attention_shape shapes[] = {
        {3, 3, 64, 12, false, 96, 1}, {4, 1, 64, 12, true, 96, 1},  {6, 2, 40, 8, true, 96, 1},
        {5, 1, 128, 8, false, 96, 1}, {2, 1, 256, 12, true, 96, 1}, {1, 1, 2, 12, true, 96, 1},
        {2, 2, 144, 12, true, 96, 1},
    };
    /* 1, 2, 7, 33 and 130 rows, in runs of one slot and in ragged ones. */
    static const int runs[][SLOTS] = {{0, 1, 0, 0, 0},   {1, 0, 0, 0, 1},   {3, 0, 4, 0, 0},
                                      {1, 20, 0, 5, 7},  {70, 1, 2, 57, 0}, {1, 1, 1, 1, 1},
                                      {0, 2, 17, 1, 16}, {0, 0, 33, 0, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cache_pair c;
        cache_open(&c, shapes[i]);
        for (size_t step = 0; step < sizeof runs / sizeof *runs; step++)
            cache_step(&c, runs[step], CACHE_LAYERS - 1);
        cache_close(&c);
    }
}

/* Windows shorter than the text: single rows and tiles, before, at and far behind the window,
 * across the end of the ring several times; with slots that begin anew. */
static void attention_window(void **state)
{
    (void)state;
    static const attention_shape shapes[] = {
        {3, 3, 64, 12, false, 32, 33}, {4, 1, 64, 12, true, 7, 40},   {6, 2, 40, 8, true, 64, 35},
        {5, 1, 128, 8, true, 17, 34},  {2, 1, 256, 12, true, 33, 40}, {1, 1, 2, 12, true, 1, 70},
    };
    static const int runs[][SLOTS] = {{1, 6, 2, 17, 0},  {1, 1, 1, 1, 0},  {3, 0, 33, 20, 1},
                                      {33, 4, 0, 30, 1}, {1, 20, 1, 0, 5}, {30, 33, 1, 1, 1},
                                      {1, 1, 5, 33, 1},  {17, 1, 1, 1, 1}, {1, 33, 32, 16, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cache_pair c;
        cache_open(&c, shapes[i]);
        for (size_t step = 0; step < sizeof runs / sizeof *runs; step++)
            cache_step(&c, runs[step], CACHE_LAYERS - 1);
        c.next[0] = c.next[3] = 0;
        for (size_t step = 0; step < 5; step++)
            cache_step(&c, runs[step], CACHE_LAYERS - 1);
        cache_close(&c);
    }
}

/* Passes through two layers, in the same memory: one tile and single rows; the same of other slots;
 * more single rows than blocks. */
static void attention_layers(void **state)
{
    (void)state;
    static const int runs[][SLOTS] = {{13, 0, 0, 2, 0}, {0, 2, 0, 13, 0}, {3, 3, 3, 3, 3}};
    cache_pair c;
    cache_open(&c, (attention_shape){8, 2, 64, 12, true, 96, 1});
    pass_pair p = pass_open(&c, runs[0]);
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            pass_pair next = pass_open(&c, runs[i]);
            uint8_t *slot = pair_download(&next.slot, CPU), *pos = pair_download(&next.pos, CPU);
            BOTH(upload(context[b], p.slot.at[b], slot, p.slot.bytes));
            BOTH(upload(context[b], p.pos.at[b], pos, p.pos.bytes));
            free(pos);
            free(slot);
            pass_free(&next);
        }
        pass_run(&c, &p, 0, true);
        pass_run(&c, &p, 1, true);
    }
    pass_free(&p);
    cache_close(&c);
}

/* The last positions that an int32_t has. */
static void attention_far(void **state)
{
    (void)state;
    cache_pair c;
    cache_open(&c, (attention_shape){2, 1, 8, 12, true, 70, 20});
    cache_fill(&c, 1, 0);
    c.next[1] = INT32_MAX - 89;
    cache_fill(&c, 70, 0);
    cache_step(&c, (const int[SLOTS]){0, 2, 0, 0, 0}, 0);
    cache_step(&c, (const int[SLOTS]){0, 17, 0, 0, 0}, 0);
    cache_step(&c, (const int[SLOTS]){0, 1, 0, 0, 0}, 0);
    cache_close(&c);
}

/* More positions than a block's scores: the second pass computes them again. */
static void attention_long(void **state)
{
    (void)state;
    /* All of a text; the end of one, across the ring's end; about as many as the scores. */
    static const int windows[][2] = {{4600, 4500}, {2500, 5040}, {1024, 1500}};
    for (int i = 0; i < 3; i++) {
        cache_pair c;
        cache_open(&c, (attention_shape){2, 1, 8, 12, true, windows[i][0], 300});
        cache_fill(&c, windows[i][1], 0);
        cache_step(&c, (const int[SLOTS]){0, 3, 0, 0, 0}, 0);
        cache_step(&c, (const int[SLOTS]){0, 17, 0, 0, 0}, 0);
        cache_close(&c);
    }
}

/* -- mixing ------------------------------------------------------------------------ */

/* Experts of a mix on both backends. */
typedef struct {
    pair values[OPS_MAX_EXPERTS], source;
    ops_mix mix[2];
} mix_pair;

/* Expert k is counts if bit k of counted is set. gather: rows read other rows'. */
static mix_pair mix_pair_random(int rows, int vocab, int escapes, int experts, unsigned counted,
                                bool gather)
{
    mix_pair m = {.source = {{NULL, NULL}, 0}};
    size_t stride = (size_t)vocab + 3;
    for (int b = 0; b < 2; b++)
        m.mix[b] = (ops_mix){.experts = experts, .vocab = vocab, .escapes = escapes};
    if (gather) {
        int32_t row[130];
        for (int r = 0; r < rows; r++)
            row[r] = (int32_t)(draw() % (uint32_t)rows);
        m.source = pair_of(row, (size_t)rows * 4);
    }
    for (int k = 0; k < experts; k++) {
        /* The largest, any, and those that make all symbols about as likely. */
        const uint32_t alphas[] = {(1u << 20) - 1, draw() % (1u << 17), draw() % 64};
        uint32_t alpha = alphas[draw() % 3];
        size_t n = counted >> k & 1 ? (size_t)vocab : (size_t)rows * stride;
        uint32_t *host = malloc(n * 4);
        for (size_t i = 0; i < n; i++) {
            int32_t count = (int32_t)(draw() % (20u << 16));
            float logit = draw_float() * 8.0f;
            memcpy(&host[i], counted >> k & 1 ? (void *)&count : (void *)&logit, 4);
        }
        m.values[k] = pair_of(host, n * 4);
        free(host);
        for (int b = 0; b < 2; b++) {
            m.mix[b].expert[k] = (ops_expert){.stride = stride, .alpha = alpha};
            if (counted >> k & 1)
                m.mix[b].expert[k].counts = m.values[k].at[b];
            else
                m.mix[b].expert[k].logits = m.values[k].at[b];
        }
    }
    for (int b = 0; b < 2; b++)
        m.mix[b].row = m.source.at[b];
    return m;
}

static void mix_pair_free(mix_pair *m)
{
    for (int k = 0; k < m->mix[0].experts; k++)
        pair_free(&m->values[k]);
    pair_free(&m->source);
}

/* A symbol, the first and the last of vocabulary and escapes among the likely. */
static int32_t draw_symbol(int vocab, int escapes)
{
    switch (draw() % 6) {
    case 0:
        return 0;
    case 1:
        return vocab - 1;
    case 2:
        return vocab + escapes - 1;
    case 3:
        return escapes > 0 ? vocab : 0;
    default:
        return (int32_t)(draw() % (uint32_t)(vocab + escapes));
    }
}

static void mix_case(int rows, int vocab, int escapes, int experts, unsigned counted, bool gather)
{
    mix_pair m = mix_pair_random(rows, vocab, escapes, experts, counted, gather);
    int32_t symbol[130];
    uint32_t target[130];
    for (int r = 0; r < rows; r++)
        symbol[r] = draw_symbol(vocab, escapes);
    pair symbols = pair_of(symbol, (size_t)rows * 4);
    pair intervals = pair_zero((size_t)rows * sizeof(ops_interval));
    BOTH(mix_encode(context[b], &m.mix[b], rows, symbols.at[b], intervals.at[b]));
    pair_check(&intervals, "mix_encode", rows, vocab);

    /* Ends of the coded intervals, then any target. */
    ops_interval *host = (ops_interval *)pair_download(&intervals, CUDA);
    for (int r = 0; r < rows; r++) {
        uint32_t end = host[r].start + host[r].freq - 1;
        target[r] = r % 3 == 0 ? host[r].start : r % 3 == 1 ? end : draw() >> 2;
    }
    free(host);
    pair targets = pair_of(target, (size_t)rows * 4);
    pair found = pair_zero((size_t)rows * sizeof(ops_symbol));
    BOTH(mix_decode(context[b], &m.mix[b], rows, targets.at[b], found.at[b]));
    pair_check(&found, "mix_decode", rows, vocab);

    pair start = pair_zero((size_t)rows * (size_t)(vocab + escapes + 1) * 4);
    BOTH(mix_cdf(context[b], &m.mix[b], rows, start.at[b]));
    pair_check(&start, "mix_cdf", rows, vocab);
    pair_free(&start);
    pair_free(&found);
    pair_free(&targets);
    pair_free(&intervals);
    pair_free(&symbols);
    mix_pair_free(&m);
}

static void mix_cuda(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_COUNTS; r++)
        for (int experts = 1; experts <= 4; experts++)
            mix_case(row_counts[r], 257, (r + experts) % 2 ? 256 : 0, experts,
                     (unsigned)(r + experts) & 6, experts % 2 == 0);
    mix_case(3, 1, 256, 2, 0, false);
    mix_case(2, 511, 0, 1, 1, false);
    mix_case(2, 512, 256, 1, 0, false);
    mix_case(2, 513, 0, 2, 2, false);
    mix_case(33, 1100, 0, 1, 0, false); /* answers in several tiles */
}

static void mix_vocab(void **state)
{
    (void)state;
    mix_case(2, 50257, 256, 1, 0, false);
    mix_case(1, 50257, 0, 3, 2, true);
}

static void count_add_cuda(void **state)
{
    (void)state;
    enum { VOCAB = 257, STATES = 3 };
    pair count = pair_zero(STATES * VOCAB * 4), counts = pair_zero(STATES * VOCAB * 4);
    for (int r = 0; r < ROW_COUNTS; r++) {
        int n = row_counts[r];
        int32_t symbol[130], of[130];
        for (int i = 0; i < n; i++) {
            symbol[i] = (int32_t)(draw() % 3 ? draw() % 7 : draw() % (VOCAB + 256));
            of[i] = (int32_t)(draw() % STATES);
        }
        pair symbols = pair_of(symbol, (size_t)n * 4), states = pair_of(of, (size_t)n * 4);
        BOTH(count_add(context[b], count.at[b], counts.at[b], VOCAB, NULL, symbols.at[b], n));
        BOTH(count_add(context[b], count.at[b], counts.at[b], VOCAB, states.at[b], symbols.at[b],
                       n));
        pair_check(&count, "count_add", n, VOCAB);
        pair_check(&counts, "count_add logarithms", n, VOCAB);
        pair_free(&states);
        pair_free(&symbols);
    }
    pair_free(&counts);
    pair_free(&count);
}

/* -- the device --------------------------------------------------------------------- */

static void peak_cuda(void **state)
{
    (void)state;
    double ops_per_second = 0, bytes_per_second = 0;
    assert_int_equal(ops_cuda.measure_peak(context[CUDA], &ops_per_second), GPUZIP_OK);
    assert_true(ops_per_second > 0);
    assert_int_equal(ops_cuda.measure_product(context[CUDA], &ops_per_second), GPUZIP_OK);
    assert_true(ops_per_second >= 0); /* 0: no library */
    assert_int_equal(ops_cuda.measure_copy(context[CUDA], &bytes_per_second), GPUZIP_OK);
    assert_true(bytes_per_second > 0);
}

static void empty_cuda(void **state)
{
    (void)state;
    ops_context *ctx = context[CUDA];
    ops_batch batch = {NULL, NULL, NULL, 0};
    ops_mix mix = {.experts = 1, .vocab = 1};
    assert_int_equal(ops_cuda.embed(ctx, NULL, &batch, NULL, NULL, NULL, 1), GPUZIP_OK);
    assert_int_equal(ops_cuda.mix_encode(ctx, &mix, 0, NULL, NULL), GPUZIP_OK);
    assert_int_equal(ops_cuda.count_add(ctx, NULL, NULL, 1, NULL, NULL, 0), GPUZIP_OK);
    assert_int_equal(ops_cuda.sync(ctx), GPUZIP_OK);
    ops_cuda.release(ctx, NULL);
    ops_cuda.matrix_destroy(ctx, NULL);
    ops_cuda.kv_destroy(ctx, NULL);
    ops_cuda.close(NULL);
    ops_context *none = NULL;
    assert_int_equal(ops_cuda.open(&none, 1000, 0, NULL), GPUZIP_ERR_DEVICE);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed_cuda),     cmocka_unit_test(norm_cuda),
        cmocka_unit_test(quantize_cuda),  cmocka_unit_test(attention_cuda),
        cmocka_unit_test(attention_long), cmocka_unit_test(attention_window),
        cmocka_unit_test(attention_far),  cmocka_unit_test(attention_layers),
        cmocka_unit_test(mix_cuda),       cmocka_unit_test(mix_vocab),
        cmocka_unit_test(count_add_cuda), cmocka_unit_test(peak_cuda),
        cmocka_unit_test(empty_cuda),
    };
    if (!open_both())
        return NO_GPU;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_both();
    return failed;
}
