/* test_mix_states.c: rows of several adaptive states in one call, as those of several blocks in a
 * batch: coded and learnt as by each state alone, on every instruction set and any number of
 * threads. */
#include "mix_adaptive_rows.h"

enum { STATES = 4, UPDATES = 6 };

/* Rows of all states in one call, state by state alone, and the rows' places in both. */
typedef struct {
    sample alone[STATES];
    float *logits[2];               /* [STATES * ROWS][vocab] those of the states, in order */
    int32_t *counts;                /* [STATES][vocab] */
    int order[STATES * ROWS], rows; /* the call's rows: state * ROWS + the state's row */
    int32_t row[STATES * ROWS], state[STATES * ROWS], symbol[STATES * ROWS];
    int32_t candidates[STATES * ROWS];
    ops_candidate candidate[STATES * ROWS][OPS_CANDIDATES];
} blend;

/* How many rows a state has in an update: 0 for state 1 in most, and for state 3 at the end. */
static int blend_rows(int state, int update)
{
    if (state == 1)
        return update == 2 ? ROWS : 0;
    return state == 3 && update >= UPDATES - 2 ? 0 : ROWS - 3 * state;
}

static blend *blend_new(int c)
{
    blend *b = test_array(1, sizeof *b);
    size_t vocab = (size_t)cases[c].vocab;
    for (int s = 0; s < STATES; s++)
        b->alone[s] = sample_new(c, cases[c].hostile);
    for (int k = 0; k < cases[c].models; k++)
        b->logits[k] = test_array(STATES * ROWS * vocab, sizeof(float));
    b->counts = test_array(STATES * vocab, sizeof *b->counts);
    return b;
}

static void blend_free(blend *b)
{
    for (int s = 0; s < STATES; s++)
        sample_free(&b->alone[s]);
    free(b->logits[0]);
    free(b->logits[1]);
    free(b->counts);
    free(b);
}

/* Draws every state's rows, and the order of all of them. */
static void blend_draw(blend *b, test_random *random, int update)
{
    size_t vocab = (size_t)b->alone[0].vocab;
    b->rows = 0;
    for (int s = 0; s < STATES; s++) {
        sample *from = &b->alone[s];
        draw(from, random);
        for (int k = 0; k < from->models; k++)
            memcpy(b->logits[k] + (size_t)s * ROWS * vocab, from->logits[k],
                   ROWS * vocab * sizeof(float));
        memcpy(b->counts + (size_t)s * vocab, from->counts, vocab * sizeof *b->counts);
        for (int r = 0; r < blend_rows(s, update); r++) {
            int at = (int)random_below(random, (uint32_t)++b->rows);
            b->order[b->rows - 1] = b->order[at];
            b->order[at] = s * ROWS + r;
        }
    }
    for (int i = 0; i < b->rows; i++) {
        const sample *from = &b->alone[b->order[i] / ROWS];
        int r = b->order[i] % ROWS;
        b->row[i] = b->order[i];
        b->state[i] = b->order[i] / ROWS;
        b->symbol[i] = from->symbol[r];
        b->candidates[i] = from->candidates[r];
        memcpy(b->candidate[i], from->candidate[r], sizeof b->candidate[i]);
    }
}

static ops_mix blend_mix(const blend *b, ops_adaptive *a)
{
    ops_mix mix = mix_of(&b->alone[0], a);
    for (int k = 0; k < mix.experts; k++) {
        if (mix.expert[k].logits)
            mix.expert[k].logits = b->logits[k];
        else
            mix.expert[k].counts = b->counts;
    }
    mix.row = b->row;
    mix.state = b->state;
    mix.candidate = b->candidate[0];
    mix.candidates = b->candidates;
    return mix;
}

/* The rows that state s has in the call: coded as by `alone`, which has only these. */
static void check_blend_rows(ops_context *ctx, const blend *b, int s, int rows, ops_adaptive *alone,
                             const ops_interval *interval, const ops_symbol *found)
{
    ops_interval want[ROWS];
    ops_mix mix = mix_of(&b->alone[s], alone);
    assert_int_equal(ops_cpu.mix_encode(ctx, &mix, rows, b->alone[s].symbol, want), GPUZIP_OK);
    for (int i = 0; i < b->rows; i++) {
        if (b->state[i] != s)
            continue;
        assert_memory_equal(&interval[i], &want[b->order[i] % ROWS], sizeof *want);
        assert_int_equal(found[i].symbol, b->symbol[i]);
        assert_memory_equal(&found[i].start, &want[b->order[i] % ROWS], sizeof *want);
    }
}

static void check_same_state(ops_context *ctx, const ops_adaptive *got, int state,
                             const ops_adaptive *want, int vocab)
{
    learnt a = learnt_in(ctx, got, state, vocab), b = learnt_of(ctx, want, vocab);
    assert_memory_equal(a.bias, b.bias, (size_t)vocab * sizeof *a.bias);
    assert_memory_equal(a.alpha, b.alpha, sizeof a.alpha);
    assert_memory_equal(a.weights, b.weights, sizeof a.weights);
    free(a.bias);
    free(b.bias);
}

/* Updates of a case, of all states at once and of each alone. In update 3 only states 0 and 1
 * take a step, and the others' sums wait for update 4, in which state 3 has no rows; before that,
 * states 1 and 2 are reset. */
static void run_states(ops_context *ctx, int c)
{
    int32_t weights[OPS_SETS * OPS_WEIGHTS];
    test_random random = {500 + (uint64_t)c};
    ops_adaptive *encoding, *decoding, *alone[STATES];
    ops_interval interval[STATES * ROWS];
    ops_symbol found[STATES * ROWS];
    uint32_t target[STATES * ROWS];
    bool pending[STATES] = {false};
    draw_weights(&random, cases[c].hostile, weights);
    ops_adaptive_config config = config_of(c, weights, 1);
    for (int s = 0; s < STATES; s++)
        assert_int_equal(ops_cpu.adaptive_create(ctx, &alone[s], &config), GPUZIP_OK);
    config.states = STATES;
    assert_int_equal(ops_cpu.adaptive_create(ctx, &encoding, &config), GPUZIP_OK);
    assert_int_equal(ops_cpu.adaptive_create(ctx, &decoding, &config), GPUZIP_OK);
    blend *b = blend_new(c);
    for (int update = 0; update < UPDATES; update++) {
        blend_draw(b, &random, update);
        ops_mix mix = blend_mix(b, encoding), other = blend_mix(b, decoding);
        assert_int_equal(ops_cpu.mix_encode(ctx, &mix, b->rows, b->symbol, interval), GPUZIP_OK);
        for (int i = 0; i < b->rows; i++)
            target[i] = interval[i].start + interval[i].freq / 2;
        assert_int_equal(ops_cpu.mix_decode(ctx, &other, b->rows, target, found), GPUZIP_OK);
        int steps = update == 3 ? 2 : STATES;
        assert_int_equal(ops_cpu.mix_learn(ctx, encoding, steps), GPUZIP_OK);
        assert_int_equal(ops_cpu.mix_learn(ctx, decoding, steps), GPUZIP_OK);
        if (update == 3) {
            assert_int_equal(ops_cpu.adaptive_reset(ctx, encoding, 1, 2), GPUZIP_OK);
            assert_int_equal(ops_cpu.adaptive_reset(ctx, decoding, 1, 2), GPUZIP_OK);
        }
        for (int s = 0; s < STATES; s++) {
            int rows = blend_rows(s, update);
            check_blend_rows(ctx, b, s, rows, alone[s], interval, found);
            pending[s] |= rows > 0; /* else the state alone takes no step at all */
            if (s < steps && pending[s]) {
                assert_int_equal(ops_cpu.mix_learn(ctx, alone[s], 1), GPUZIP_OK);
                pending[s] = false;
            }
            if (update == 3 && (s == 1 || s == 2)) {
                assert_int_equal(ops_cpu.adaptive_reset(ctx, alone[s], 0, 1), GPUZIP_OK);
                pending[s] = false;
            }
            check_same_state(ctx, encoding, s, alone[s], config.vocab);
            check_same_state(ctx, decoding, s, alone[s], config.vocab);
        }
    }
    blend_free(b);
    for (int s = 0; s < STATES; s++)
        ops_cpu.adaptive_destroy(ctx, alone[s]);
    ops_cpu.adaptive_destroy(ctx, encoding);
    ops_cpu.adaptive_destroy(ctx, decoding);
}

static void adaptive_states(void **state)
{
    (void)state;
    test_levels levels = levels_open();
    for (int c = 0; c < CASES; c++)
        for (int level = 0; level < levels.count; level++)
            run_states(levels.context[level], c);
    levels_close(&levels);
}

/* Without an adaptive state the rows' states choose their counts alone. */
static void counts_of_states(void **state)
{
    enum { COUNTED = 6 }; /* the case with counts alone beside logits */
    ops_context *ctx = *state;
    test_random random = {600};
    ops_interval interval[STATES * ROWS], want[ROWS];
    blend *b = blend_new(COUNTED);
    blend_draw(b, &random, 2);
    ops_mix mix = blend_mix(b, NULL);
    mix.candidate = NULL;
    mix.candidates = NULL;
    for (int s = 0; s < STATES; s++) /* drawn as hostile, all alike */
        for (int i = 0; i < b->alone[s].vocab; i++)
            b->alone[s].counts[i] = b->counts[s * b->alone[s].vocab + i] =
                (int32_t)random_below(&random, 12 * ONE);
    assert_int_equal(ops_cpu.mix_encode(ctx, &mix, b->rows, b->symbol, interval), GPUZIP_OK);
    for (int s = 0; s < STATES; s++) {
        ops_mix one = mix_of(&b->alone[s], NULL);
        one.candidate = NULL;
        one.candidates = NULL;
        assert_int_equal(ops_cpu.mix_encode(ctx, &one, ROWS, b->alone[s].symbol, want), GPUZIP_OK);
        for (int i = 0; i < b->rows; i++)
            if (b->state[i] == s)
                assert_memory_equal(&interval[i], &want[b->order[i] % ROWS], sizeof *want);
    }
    blend_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adaptive_states),
        cmocka_unit_test(counts_of_states),
    };
    return cmocka_run_group_tests(tests, open_default, close_default);
}
