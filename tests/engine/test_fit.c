/* test_fit.c: fitted alphas against a grid, and the rows they are fitted to against a plain
 * reading of which model and counts predict a token. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "detmath.h"
#include "engine_blocks.h"
#include "fit.h"
#include "tiny_checkpoint.h"

enum { VOCAB = 37, ROWS = 90 };

/* ---- the minimum --------------------------------------------------------- */

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}

typedef struct {
    fit_rows rows;
    int16_t log[ROWS * GPUZIP_MAX_EXPERTS * VOCAB];
    int32_t symbol[ROWS];
} data;

/* Experts that know something of the symbols, more or less, and of each other. */
static data *make_data(int experts, int vocab, int rows, double spread)
{
    data *d = calloc(1, sizeof *d);
    d->rows = (fit_rows){experts, vocab, rows, d->log, d->symbol};
    for (int r = 0; r < rows; r++) {
        double shared[VOCAB];
        int16_t *log = d->log + r * experts * vocab;
        d->symbol[r] = (int32_t)(uniform() * vocab);
        for (int i = 0; i < vocab; i++)
            shared[i] = uniform();
        for (int k = 0; k < experts; k++)
            for (int i = 0; i < vocab; i++) {
                double known = i == d->symbol[r] ? uniform() * (k % 3) : 0;
                log[k * vocab + i] =
                    (int16_t)(-FIT_SCALE * spread * (shared[i] + uniform() - known) - 300 * k);
            }
    }
    return d;
}

/* F by its definition. */
static double plain_bits(const fit_rows *rows, const double *alpha)
{
    double sum = 0;
    for (int r = 0; r < rows->rows; r++) {
        const int16_t *log = rows->log + r * rows->experts * rows->vocab;
        long double z = 0; /* of a range that exp2() lacks */
        for (int i = 0; i < rows->vocab; i++) {
            double t = 0;
            for (int k = 0; k < rows->experts; k++)
                t += alpha[k] * log[k * rows->vocab + i] / FIT_SCALE;
            z += exp2l(t);
            sum -= i == rows->symbol[r] ? t : 0;
        }
        sum += (double)log2l(z);
    }
    return sum / rows->rows;
}

/* The fit's F; its alphas are within the box, and as many threads as there may be find the same. */
static double fit(const fit_rows *rows, double most, double *alpha)
{
    double again[GPUZIP_MAX_EXPERTS], bits, again_bits;
    assert_int_equal(fit_alphas(rows, most, 1, alpha, &bits), GPUZIP_OK);
    assert_int_equal(fit_alphas(rows, most, 3, again, &again_bits), GPUZIP_OK);
    assert_true(bits == again_bits);
    assert_memory_equal(alpha, again, (size_t)rows->experts * sizeof *alpha);
    for (int k = 0; k < rows->experts; k++)
        assert_true(alpha[k] >= 0 && alpha[k] <= most);
    assert_true(fabs(bits - plain_bits(rows, alpha)) < 1e-7);
    return bits;
}

static void no_grid_finds_better(void **unused)
{
    (void)unused;
    for (int trial = 0; trial < 12; trial++) {
        double alpha[GPUZIP_MAX_EXPERTS], most = trial % 2 ? 2 : 15.99;
        data *d = make_data(2, 3 + 3 * trial, 20 + trial * 5, 1 + trial % 5);
        double bits = fit(&d->rows, most, alpha), best = INFINITY;
        for (double a = 0; a <= most && a < 4; a += 0.05)
            for (double b = 0; b <= most && b < 4; b += 0.05)
                best = fmin(best, plain_bits(&d->rows, (double[]){a, b}));
        assert_true(bits <= best + 1e-6);
        assert_true(alpha[0] > 4 || alpha[1] > 4 || bits > best - 0.01);
        free(d);
    }
}

/* Of any number of experts: not worse than any alone, or than all in equal parts. */
static void no_simple_choice_is_better(void **unused)
{
    (void)unused;
    for (int trial = 0; trial < 80; trial++) {
        double alpha[GPUZIP_MAX_EXPERTS], simple[GPUZIP_MAX_EXPERTS];
        int experts = 1 + trial % GPUZIP_MAX_EXPERTS;
        data *d = make_data(experts, VOCAB - trial % 9, ROWS - trial, 0.5 * (1 << trial % 8));
        double bits = fit(&d->rows, 15.99, alpha);
        for (int k = -1; k < experts; k++) {
            for (int j = 0; j < experts; j++)
                simple[j] = k < 0 ? 1.0 / experts : j == k;
            assert_true(bits <= plain_bits(&d->rows, simple) + 1e-6);
        }
        for (int k = 0; k < experts; k++) /* nor a little aside */
            for (int sign = -1; sign <= 1; sign += 2) {
                memcpy(simple, alpha, sizeof simple);
                simple[k] = fmin(fmax(alpha[k] + sign * 0.003, 0), 15.99);
                assert_true(bits <= plain_bits(&d->rows, simple) + 1e-6);
            }
        free(d);
    }
}

/* Symbols that come as often as a product says: it is found, beyond the simplex, too. */
static void the_true_alphas_are_found(void **unused)
{
    static const double expected[2] = {1.75, 0.5};
    static const int16_t log[2][3] = {{0, -256, -512}, {-512, 0, -100}};
    enum { MANY = 3000 };
    int16_t(*rows)[2][3] = calloc(MANY, sizeof *rows);
    int32_t *symbol = calloc(MANY, sizeof *symbol);
    double p[3], z = 0, alpha[2], upto = 0;
    (void)unused;
    for (int i = 0; i < 3; i++)
        z += p[i] = exp2(expected[0] * log[0][i] / FIT_SCALE + expected[1] * log[1][i] / FIT_SCALE);
    for (int r = 0, i = 0; r < MANY; r++) {
        while (r >= MANY * (upto + p[i] / z) && i < 2)
            upto += p[i++] / z;
        memcpy(rows[r], log, sizeof log);
        symbol[r] = i;
    }
    fit_rows all = {2, 3, MANY, rows[0][0], symbol};
    fit(&all, 15.99, alpha);
    for (int k = 0; k < 2; k++)
        assert_true(fabs(alpha[k] - expected[k]) < 0.01);
    free(rows);
    free(symbol);
}

/* An expert that is always right, one that never is, one that says nothing; the same twice. */
static void extremes(void **unused)
{
    double alpha[GPUZIP_MAX_EXPERTS], bits;
    data *d = make_data(3, 5, 40, 1);
    (void)unused;
    for (int r = 0; r < 40; r++)
        for (int i = 0; i < 5; i++) {
            int16_t *log = d->log + r * 15;
            log[i] = i == d->symbol[r] ? 0 : -20;
            log[5 + i] = i == d->symbol[r] ? -INT16_MAX : 0;
            log[10 + i] = -77;
        }
    fit(&d->rows, 15.99, alpha);
    assert_true(alpha[0] == 15.99 && alpha[1] == 0);
    free(d);

    d = make_data(1, 20, ROWS, 2);
    bits = fit(&d->rows, 15.99, alpha);
    data *twice = make_data(2, 20, ROWS, 2);
    memcpy(twice->symbol, d->symbol, sizeof d->symbol);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < 40; i++)
            twice->log[r * 40 + i] = d->log[r * 20 + i % 20];
    assert_true(fabs(fit(&twice->rows, 15.99, alpha) - bits) < 1e-6);
    free(twice);
    free(d);
}

/* ---- the rows ------------------------------------------------------------ */

#define TOKENS 700

static ops_context *ctx;
static weights_model *weights;
static model *m;
static uint32_t text[TOKENS];

typedef struct {
    int window, hop, update;
    bool scope;
    size_t tokens;
    uint32_t streams;
} geometry;

static engine_config config_of(const geometry *g)
{
    engine_config c = {.schedule = {.window = g->window,
                                    .hop = g->hop,
                                    .update_interval = g->update,
                                    .window_scope = g->scope},
                       .escapes = 256,
                       .vocab = TINY_VOCAB,
                       .pass_rows = 10,
                       .experts = 3};
    c.expert[0] = (engine_expert){GPUZIP_EXPERT_MODEL, m, 1 << 16};
    c.expert[1] = (engine_expert){GPUZIP_EXPERT_NAIVE_BAYES, NULL, 1 << 16};
    c.expert[2] = (engine_expert){GPUZIP_EXPERT_MODEL, m, 1 << 16};
    return c;
}

/* The model's prediction for a step, recomputed from the beginning of its window. */
static void expected_logits(const geometry *g, const uint32_t *token, size_t step, float *out)
{
    int32_t rows[3][64] = {{0}};
    size_t window = (size_t)g->window, hop = (size_t)g->hop, base = 0;
    const float *logits;
    model_state *s;
    while (step >= base + window)
        base += hop;
    int n = (int)(step - base) + 1;
    for (int i = 0; i < n; i++) {
        uint32_t before = i ? token[base + (size_t)i - 1] : TINY_VOCAB;
        rows[0][i] = (int32_t)(before < TINY_VOCAB ? before : (uint32_t)weights->config.bos);
        rows[2][i] = i;
    }
    ops_batch batch = {rows[0], rows[1], rows[2], n, 0};
    model_sizes sizes = {.slots = 1, .window = 64, .max_rows = 64, .max_logits = 64};
    assert_int_equal(model_state_open(&s, m, ctx, &sizes), GPUZIP_OK);
    assert_int_equal(model_set_positions(s, 0, 64), GPUZIP_OK);
    assert_int_equal(model_forward(s, &batch), GPUZIP_OK);
    assert_int_equal(model_logits(s, n - 1, 1, &logits), GPUZIP_OK);
    memcpy(out, logits, TINY_VOCAB * sizeof *out);
    model_state_close(s);
}

/* The counts at a step: those of all streams up to the last update before it. */
static void expected_counts(const geometry *g, size_t length, size_t step, uint32_t *count)
{
    size_t window = (size_t)g->window, origin = g->scope ? step / window * window : 0, u = origin;
    for (size_t next = u; next <= step; next = context_model_next_update(next, origin, g->update))
        u = next;
    memset(count, 0, TINY_VOCAB * sizeof *count);
    for (size_t i = 0; i < g->tokens; i++)
        if (i % length >= origin && i % length < u && text[i] < TINY_VOCAB)
            count[text[i]]++;
}

/* Whether row r is that of token `at`. */
static bool is_row(const geometry *g, const fit_rows *rows, int r, size_t length, size_t at)
{
    const int16_t *log = rows->log + (size_t)r * 3 * TINY_VOCAB;
    float logits[TINY_VOCAB], most = -INFINITY;
    uint32_t count[TINY_VOCAB];
    if (text[at] != (uint32_t)rows->symbol[r])
        return false;
    expected_counts(g, length, at % length, count);
    for (int i = 0; i < TINY_VOCAB; i++)
        if (fabs(log[TINY_VOCAB + i] - FIT_SCALE * log2(count[i] + 1.0)) > 0.51)
            return false;
    expected_logits(g, text + at / length * length, at % length, logits);
    for (int i = 0; i < TINY_VOCAB; i++)
        most = fmaxf(most, logits[i]);
    for (int i = 0; i < TINY_VOCAB; i++) {
        double bits = fmax((logits[i] - most) * 1.44269504088896, -127.99);
        if (fabs(log[i] - FIT_SCALE * bits) > 0.51 || log[2 * TINY_VOCAB + i] != log[i])
            return false;
    }
    return true;
}

static gpuzip_status take_block(fit_sample *sample, const engine_config *c, text_block *block,
                                size_t memory)
{
    container_stream *code = calloc(block->streams, sizeof *code); /* nothing is coded */
    int streams;
    block->stream = code;
    engine_stream *stream = blocks_cut(block, 1, &streams);
    gpuzip_status status = fit_sample_take(sample, &ops_cpu, ctx, c, stream, streams, memory);
    free(stream);
    free(code);
    return status;
}

/* Every row is that of some token, one after another. Returns how many there are. */
static int check_sample(const geometry *g, size_t memory)
{
    engine_config c = config_of(g);
    text_block block = {.token = text, .tokens = g->tokens};
    fit_sample sample;
    size_t length, at = 0;
    block.streams = container_fit_streams((uint32_t)g->tokens, g->streams);
    length = container_stream_length((uint32_t)g->tokens, block.streams);
    assert_int_equal(take_block(&sample, &c, &block, memory), GPUZIP_OK);
    int rows = sample.rows.rows;
    for (int r = 0; r < rows; r++) {
        while (at < g->tokens && !is_row(g, &sample.rows, r, length, at))
            at++;
        assert_true(at < g->tokens);
        at++;
    }
    fit_sample_close(&sample);
    return rows;
}

static void rows_are_what_will_be_mixed(void **unused)
{
    static const geometry cases[] = {
        {16, 16, 1, false, 300, 1}, {16, 8, 3, false, 400, 3},  {7, 3, 16, false, 300, 7},
        {16, 16, 5, true, 400, 3},  {64, 1, 2, false, 170, 2},  {64, 64, 40, true, 400, 4},
        {16, 8, 1, false, 1, 1},    {64, 32, 4, false, 2, 2},   {5, 2, 1, false, 700, 1},
        {16, 8, 16, false, 60, 60}, {16, 16, 16, true, 700, 1}, {2, 1, 100, false, 300, 2},
        {32, 32, 20, true, 700, 2},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const geometry *g = &cases[i];
        int rows = check_sample(g, SIZE_MAX);
        assert_true(rows >= 1 && (size_t)rows <= g->tokens);
        if (g->tokens > 200) /* about a quarter of all but escapes, with re-reading fewer */
            assert_true((size_t)rows >= g->tokens * (size_t)g->hop / (size_t)g->window / 8);
        assert_true(check_sample(g, 5 * 3 * TINY_VOCAB * sizeof(int16_t)) <= 5);
        assert_true(check_sample(g, 0) <= 1);
    }
}

static void escapes_are_no_rows(void **unused)
{
    uint32_t escapes[40];
    fit_sample sample;
    geometry g = {16, 8, 4, false, 40, 2};
    engine_config c = config_of(&g);
    text_block block = {.token = escapes, .tokens = 40, .streams = 2};
    (void)unused;
    for (size_t i = 0; i < 40; i++)
        escapes[i] = TINY_VOCAB + (uint32_t)i;
    assert_int_equal(take_block(&sample, &c, &block, SIZE_MAX), GPUZIP_OK);
    assert_int_equal(sample.rows.rows, 0);
    fit_sample_close(&sample);
    fit_sample_close(&sample);
}

static int set_up(void **unused)
{
    tiny_checkpoint tiny;
    weights_error error;
    weights_import_options options = {0};
    void *bytes;
    size_t size;
    (void)unused;
    tiny_open(&tiny);
    assert_int_equal(weights_import(&bytes, &size, tiny.model, &options, "blob", 4, 1, &error),
                     GPUZIP_OK);
    tiny_close(&tiny);
    assert_int_equal(weights_open_memory(&weights, bytes, size), GPUZIP_OK);
    assert_int_equal(ops_cpu.open(&ctx, 0, 1, NULL), GPUZIP_OK);
    assert_int_equal(model_open(&m, &ops_cpu, ctx, weights), GPUZIP_OK);
    for (size_t i = 0; i < TOKENS; i++) /* few, escapes among them */
        text[i] = (uint32_t)(uniform() < 0.1 ? TINY_VOCAB + uniform() * 256 : uniform() * 40);
    *unused = bytes;
    return 0;
}

static int tear_down(void **bytes)
{
    model_close(m);
    ops_cpu.close(ctx);
    weights_close(weights);
    free(*bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_grid_finds_better),        cmocka_unit_test(no_simple_choice_is_better),
        cmocka_unit_test(the_true_alphas_are_found),   cmocka_unit_test(extremes),
        cmocka_unit_test(rows_are_what_will_be_mixed), cmocka_unit_test(escapes_are_no_rows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
