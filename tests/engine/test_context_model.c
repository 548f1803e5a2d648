/* test_context_model.c: context experts against a plain reading of CONTEXTS.md, row for row; asked
 * ahead and step by step; tables that overflow, streams that end, matches that miss. */
#include <pthread.h>

#include "context_model_reference.h"

/* ---- comparison --------------------------------------------------------- */

typedef struct {
    int32_t candidates;
    ops_candidate candidate[OPS_CANDIDATES];
} answer;

static void check_row(const reference *r, const ref_row *expected, const answer *a, int s,
                      size_t step)
{
    if (a->candidates != expected->n)
        fail_msg("stream %d step %zu: %d candidates, not %d", s, step, a->candidates, expected->n);
    for (int i = 0; i < expected->n; i++) {
        const ops_candidate *c = &a->candidate[i];
        int hits = expected->hits[i] < 3 ? expected->hits[i] : 3;
        if (c->symbol != (int32_t)expected->symbol[i] || c->order != expected->order[i] ||
            c->hits != hits || c->selector != expected->selector[i])
            fail_msg("stream %d step %zu candidate %d: %d %d %d %d, not %u %d %d %d", s, step, i,
                     c->symbol, c->order, c->hits, c->selector, expected->symbol[i],
                     expected->order[i], hits, expected->selector[i]);
        for (int k = 0; k < CONTEXTS; k++)
            if (c->feature[k] != ref_feature(r, k, expected->state[i][k]))
                fail_msg("stream %d step %zu candidate %d context %d: %d, not %d (state %d)", s,
                         step, i, k, c->feature[k], ref_feature(r, k, expected->state[i][k]),
                         expected->state[i][k]);
    }
}

static size_t steps_of(const test_case *t)
{
    size_t most = 0;
    for (int s = 0; s < t->config.streams; s++)
        most = t->length[s] > most ? t->length[s] : most;
    return most;
}

/* How the rows up to an update are asked for, and learnt. */
typedef enum { AHEAD, STEPS, SINGLE, ORDERS, THREADS } asking;

typedef struct {
    context_model *c;
    context_model_row row[MAX_ROWS];
    int rows;
    answer (*answers)[MAX_STEPS];
    ops_candidate candidate[MAX_ROWS][OPS_CANDIDATES];
    int32_t candidates[MAX_ROWS];
} question;

static void *ask_rows(void *of)
{
    question *q = of;
    context_model_predict(q->c, q->row, q->rows, q->candidate, q->candidates);
    for (int i = 0; i < q->rows; i++) {
        answer *to = &q->answers[q->row[i].stream][q->row[i].step];
        to->candidates = q->candidates[i];
        memset(to->candidate, 0, sizeof to->candidate);
        for (int j = 0; j < q->candidates[i]; j++) /* not its padding */
            to->candidate[j] = q->candidate[i][j];
    }
    q->rows = 0;
    return NULL;
}

/* Asks for the steps [first, end) of all streams. STEPS and SINGLE hide later tokens. */
static void ask_interval(test_case *t, context_model *c, asking how, size_t first, size_t end,
                         answer (*a)[MAX_STEPS])
{
    static question question_of[MAX_STREAMS];
    static uint32_t later[MAX_STREAMS][MAX_STEPS];
    int streams = t->config.streams;
    bool ahead = how == AHEAD || how == ORDERS || how == THREADS;
    pthread_t thread[MAX_STREAMS];
    for (int s = 0; s < streams; s++) {
        question_of[s].c = c;
        question_of[s].answers = a;
    }
    for (int i = 0; ahead && i < streams; i++) {
        int s = how == ORDERS ? streams - 1 - i : i;
        question *q = &question_of[how == THREADS ? s : 0];
        for (size_t step = first; step < end && step < t->length[s]; step++)
            if (asked(t, s, step))
                q->row[q->rows++] = (context_model_row){s, (uint32_t)step};
        if (how == THREADS)
            assert_int_equal(pthread_create(&thread[s], NULL, ask_rows, q), 0);
    }
    for (int s = 0; how == THREADS && s < streams; s++)
        pthread_join(thread[s], NULL);
    if (ahead) {
        ask_rows(&question_of[0]);
        return;
    }
    memcpy(later, t->memory, sizeof later);
    for (size_t step = first; step < end; step++) {
        question *q = &question_of[0];
        for (int s = 0; s < streams; s++)
            memset(t->memory[s] + step, 0xee, (MAX_STEPS - step) * sizeof(uint32_t));
        for (int s = 0; s < streams; s++) {
            if (step < t->length[s] && asked(t, s, step))
                q->row[q->rows++] = (context_model_row){s, (uint32_t)step};
            if (how == SINGLE)
                ask_rows(q);
        }
        ask_rows(q);
        memcpy(t->memory, later, sizeof later);
    }
}

typedef struct {
    context_model *c;
    int part;
    size_t end;
} lesson;

static void *learn_part(void *of)
{
    lesson *l = of;
    context_model_learn_part(l->c, l->part, l->end);
    return NULL;
}

static void learn(context_model *c, asking how, size_t end)
{
    if (how < ORDERS) {
        context_model_learn(c, end);
        return;
    }
    pthread_t thread[CONTEXT_MODEL_PARTS];
    lesson l[CONTEXT_MODEL_PARTS];
    for (int i = 0; i < CONTEXT_MODEL_PARTS; i++) {
        l[i] = (lesson){c, CONTEXT_MODEL_PARTS - 1 - i, end};
        if (how == ORDERS)
            learn_part(&l[i]);
        else
            assert_int_equal(pthread_create(&thread[i], NULL, learn_part, &l[i]), 0);
    }
    for (int i = 0; how == THREADS && i < CONTEXT_MODEL_PARTS; i++)
        pthread_join(thread[i], NULL);
    context_model_learn_end(c, end);
}

static void run(test_case *t, context_model *c, asking how, size_t origin, answer (*a)[MAX_STEPS])
{
    size_t steps = steps_of(t);
    for (size_t step = origin; step < steps;) {
        size_t end = context_model_next_update(step, origin, t->config.update_interval);
        ask_interval(t, c, how, step, end < steps ? end : steps, a);
        learn(c, how, end);
        step = end;
    }
}

static answer (*answers(void))[MAX_STEPS]
{
    answer(*a)[MAX_STEPS] = calloc(MAX_STREAMS, sizeof *a);
    assert_non_null(a);
    return a;
}

/* Every way of asking gives the reference's answer. */
static void compare(test_case *t, bool exact, reference *counts)
{
    answer(*a)[MAX_STEPS] = answers(), (*b)[MAX_STEPS] = answers();
    context_model *c;
    assert_int_equal(context_model_open(&c, &t->config), GPUZIP_OK);
    run(t, c, AHEAD, 0, a);

    reference *r = ref_open(t, exact);
    size_t update = context_model_next_update(0, 0, t->config.update_interval);
    for (size_t step = 0; step < steps_of(t); step++) {
        for (int s = 0; s < t->config.streams; s++) {
            ref_row row;
            if (step >= t->length[s])
                continue;
            ref_predict(r, s, step, &row);
            if (asked(t, s, step))
                check_row(r, &row, &a[s][step], s, step);
            ref_follow(r, s, step);
        }
        if (step + 1 == update) {
            ref_update(r, update);
            update = context_model_next_update(update, 0, t->config.update_interval);
        }
    }
    if (counts)
        *counts = *r;
    ref_close(r);
    for (asking how = STEPS; how <= (t->config.update_interval < 16 ? ORDERS : THREADS); how++) {
        context_model_reset(c, 0);
        run(t, c, how, 0, b);
        assert_memory_equal(a, b, MAX_STREAMS * sizeof *a);
    }
    context_model_close(c);
    free(a);
    free(b);
}

/* ---- tests -------------------------------------------------------------- */

static void updates(void **state)
{
    (void)state;
    assert_int_equal(context_model_next_update(0, 0, 16), 1);
    assert_int_equal(context_model_next_update(15, 0, 16), 16);
    assert_int_equal(context_model_next_update(16, 0, 16), 32);
    assert_int_equal(context_model_next_update(31, 0, 16), 32);
    assert_int_equal(context_model_next_update(32, 0, 16), 48);
    assert_int_equal(context_model_next_update(16, 0, 1), 17);
    assert_int_equal(context_model_next_update(16, 0, 7), 21);
    assert_int_equal(context_model_next_update(15, 0, 100), 16);
    assert_int_equal(context_model_next_update(16, 0, 100), 100);
    assert_int_equal(context_model_next_update(1000 + 16, 1000, 16), 1000 + 32);
}

static void suffixes(void **state)
{
    (void)state;
    assert_int_equal(token_suffix(NULL, 0), 0);
    assert_int_equal(token_suffix((const uint8_t *)"a", 1), 0x91000061);
    assert_int_equal(token_suffix((const uint8_t *)"abc", 3), 0x83616263);
    assert_int_equal(token_suffix((const uint8_t *)" xabc", 5), 0x33616263);
    for (int a = 0; a < 256; a++) {
        assert_int_equal(context_model_class((const uint8_t[]){(uint8_t)a}, 1), ref_class(a, -1));
        for (int b = 0; b < 256; b++) {
            uint8_t bytes[2] = {(uint8_t)a, (uint8_t)b};
            assert_int_equal(context_model_class(bytes, 2), ref_class(a, b));
        }
    }
}

static void single_stream(void **state)
{
    (void)state;
    for (int u = 1; u <= 64; u *= 4) {
        test_case *t = make_case(1, (const size_t[]){1000}, 300, u, 0);
        fill(t, 40, 30, 30, (uint32_t)u);
        compare(t, false, NULL);
        free_case(t);
    }
}

/* Matches lead into other streams, miss and go on; ragged ends; symbols near the limit. */
static void streams(void **state)
{
    (void)state;
    static const size_t length[MAX_STREAMS] = {700, 1, 699, 333, 17, 700};
    for (int u = 1; u <= 64; u *= 4) {
        test_case *t = make_case(MAX_STREAMS, length, OPS_MAX_VOCAB - 256, u, 0);
        fill(t, 200, 60, 30, 7 + (uint32_t)u);
        for (int s = 0; s < MAX_STREAMS; s++)
            for (int i = 0; i < MAX_STEPS; i++)
                if (t->memory[s][i] < 200) /* spread, else the lowest alone are seen */
                    t->memory[s][i] = t->memory[s][i] * 1307 % (OPS_MAX_VOCAB - 256);
        reference counts;
        compare(t, false, &counts);
        assert_true(counts.abroad > 100);
        assert_true(counts.forgiven > 2);
        free_case(t);
    }
}

/* Rows that nobody asked for say nothing of the states, and those of before are forgotten. */
static void unasked(void **state)
{
    (void)state;
    test_case *t = make_case(3, (const size_t[]){500, 500, 400}, 300, 4, 0);
    fill(t, 30, 60, 30, 11);
    t->unasked = 3;
    compare(t, false, NULL);
    context_model *c;
    answer(*a)[MAX_STEPS] = answers(), (*b)[MAX_STEPS] = answers();
    assert_int_equal(context_model_open(&c, &t->config), GPUZIP_OK);
    context_model_reset(c, 20);
    run(t, c, AHEAD, 20, a);
    context_model_reset(c, 0);
    t->unasked = 0;
    for (size_t step = 0, end; step < 24; step = end) {
        end = context_model_next_update(step, 0, t->config.update_interval);
        ask_interval(t, c, AHEAD, step, end, b);
        if (end < 24)
            context_model_learn(c, end);
    }
    context_model_reset(c, 20);
    t->unasked = 3;
    memset(b, 0, MAX_STREAMS * sizeof *b);
    run(t, c, AHEAD, 20, b);
    assert_memory_equal(a, b, MAX_STREAMS * sizeof *a);
    context_model_close(c);
    free(a);
    free(b);
    free_case(t);
}

/* N-grams of other texts beside learnt contexts: with enough buckets, and with full ones. */
static void ngrams(void **state)
{
    (void)state;
    static const size_t length[] = {900, 31, 700};
    static const struct {
        int vocab;
        uint32_t buckets, interval;
    } cases[] = {{300, 500, 1}, {300, 20, 16}, {4096, 300, 4}, {OPS_MAX_VOCAB - 256, 1, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_case *t = make_case(3, length, cases[i].vocab, (int)cases[i].interval, 0);
        fill(t, 40, 60, 30, (uint32_t)i);
        add_ngrams(t, cases[i].buckets);
        compare(t, false, NULL);
        free_case(t);
    }
}

/* Few buckets for many contexts, and many entries for a bucket. */
static void full_tables(void **state)
{
    (void)state;
    static const size_t length[] = {900, 900, 700};
    for (int bits = 1; bits <= 7; bits += 3) {
        test_case *t = make_case(3, length, 300, 16, bits);
        fill(t, 30, 30, 30, (uint32_t)bits);
        reference counts;
        compare(t, false, &counts);
        free_case(t);
    }
    test_case *t = make_case(3, length, 300, 16, 2); /* places that agree but for one token */
    fill(t, 3, 0, 0, 8);
    compare(t, false, NULL);
    free_case(t);
    t = make_case(3, length, 300, 4, 0);
    fill(t, 12, 0, 30, 5);
    reference counts;
    compare(t, false, &counts);
    assert_true(counts.full > 100 && counts.aged > 100);
    free_case(t);
}

/* With room for all, hashes are as good as the contexts themselves. */
static void without_hashes(void **state)
{
    (void)state;
    static const size_t length[] = {120, 120, 90};
    for (int u = 1; u <= 16; u *= 4) {
        test_case *t = make_case(3, length, 300, u, 18);
        fill(t, 20, 200, 30, 3);
        compare(t, true, NULL);
        free_case(t);
    }
}

static void counts_overflow(void **state)
{
    (void)state;
    test_case *t = make_case(2, (const size_t[]){1500, 1400}, 300, 16, 0);
    fill(t, 2, 0, 0, 9);
    reference counts;
    compare(t, false, &counts);
    assert_true(counts.halved > 5);
    free_case(t);
    t = make_case(1, (const size_t[]){1500}, 300, 4, 0);
    for (int i = 0; i < 10; i++) /* counts 3, 1 and 1 beside that of 0 */
        t->memory[0][2 * i] = (uint32_t[]){7, 7, 7, 8, 9, 0, 0, 0, 0, 0}[i];
    compare(t, false, NULL);
    free_case(t);
}

/* One symbol throughout: every count overflows, the match becomes long, probabilities reach
 * their limit. */
static void zeros(void **state)
{
    (void)state;
    test_case *t = make_case(4, (const size_t[]){800, 800, 800, 20}, 300, 16, 0);
    compare(t, false, NULL);
    free_case(t);
    t = make_case(1, (const size_t[]){1200}, 300, 16, 0);
    compare(t, false, NULL);
    context_model *c;
    answer(*a)[MAX_STEPS] = answers();
    assert_int_equal(context_model_open(&c, &t->config), GPUZIP_OK);
    run(t, c, AHEAD, 0, a);
    assert_int_equal(a[0][1199].candidates, 1);
    assert_int_equal(a[0][1199].candidate[0].symbol, 0);
    assert_int_equal(a[0][1199].candidate[0].order, 6);
    assert_int_equal(a[0][1199].candidate[0].hits, 3);
    assert_true(a[0][1199].candidate[0].feature[5] > 12 * 256);
    context_model_close(c);
    free(a);
    free_case(t);
}

/* A match may lead to the last token of a stream that has ended, and no further. */
static void ends(void **state)
{
    (void)state;
    enum { LENGTH = 20, AGAIN = 30 };
    test_case *t = make_case(2, (const size_t[]){LENGTH, 60}, 300, 4, 0);
    for (uint32_t i = 0; i < 60; i++) {
        t->memory[0][i] = 10 + i;
        t->memory[1][i] = i < AGAIN || i >= AGAIN + 8 ? 100 + i : 10 + LENGTH - 7 + i - AGAIN;
    }
    compare(t, false, NULL);
    free_case(t);
}

/* Escapes and tokens without bytes, which many may follow upon another. */
static void escapes(void **state)
{
    (void)state;
    test_case *t = make_case(2, (const size_t[]){500, 480}, 20, 4, 0);
    fill(t, 276, 300, 0, 2);
    for (int i = 100; i < 200; i++)
        t->memory[0][i] = 10; /* no bytes */
    compare(t, false, NULL);
    free_case(t);
}

/* A reset forgets all counts and all contexts of earlier tokens. */
static void resets(void **state)
{
    (void)state;
    enum { ORIGIN = 301 };
    test_case *t = make_case(3, (const size_t[]){900, 900, 640}, 300, 16, 10);
    fill(t, 30, 60, 30, 4);
    answer(*a)[MAX_STEPS] = answers(), (*b)[MAX_STEPS] = answers();
    context_model *c;
    assert_int_equal(context_model_open(&c, &t->config), GPUZIP_OK);
    run(t, c, AHEAD, 0, a);
    context_model_reset(c, ORIGIN);
    run(t, c, AHEAD, ORIGIN, a);
    context_model_close(c);
    for (int s = 0; s < 3; s++) {
        memmove(t->memory[s], t->memory[s] + ORIGIN, (MAX_STEPS - ORIGIN) * sizeof(uint32_t));
        t->length[s] -= ORIGIN;
    }
    assert_int_equal(context_model_open(&c, &t->config), GPUZIP_OK);
    run(t, c, STEPS, 0, b);
    context_model_close(c);
    for (int s = 0; s < 3; s++)
        assert_memory_equal(&a[s][ORIGIN], &b[s][0], t->length[s] * sizeof(answer));
    free(a);
    free(b);
    free_case(t);
}

/* Tables are sized by the tokens that they may come to hold, up to a limit; the rest by the
 * streams and the steps between updates. */
static void memory(void **state)
{
    (void)state;
    uint64_t bucket = 6 * 32 + 8, all = context_model_bytes(2, 1000, SIZE_MAX, 1, 0);
    assert_true(all >= 4096 * bucket && all < 4096 * bucket + 65536);
    assert_int_equal(all - context_model_bytes(2, 1000, 100, 1, 0), (4096 - 512) * bucket);
    assert_int_equal(context_model_bytes(2, 1000, 100, 1, 12), all);
    all = context_model_bytes(2, (size_t)1 << 30, SIZE_MAX, 1, 0);
    assert_true(all >= ((uint64_t)1 << 20) * bucket && all < ((uint64_t)1 << 20) * bucket + 65536);

    uint64_t step =
        context_model_bytes(2, 1000, SIZE_MAX, 2, 0) - context_model_bytes(2, 1000, SIZE_MAX, 1, 0);
    assert_true(step > 0);
    assert_int_equal(context_model_bytes(2, 1000, SIZE_MAX, 1 << 20, 0),
                     context_model_bytes(2, 1000, SIZE_MAX, 1, 0) + 999 * step);
    assert_int_equal(context_model_bytes(2, 1000, 100, 1 << 20, 0),
                     context_model_bytes(2, 1000, 100, 1, 0) + 99 * step);
    /* more than a size_t of 32 bits: no file can ask for it unnoticed */
    assert_true(context_model_bytes(65536, 256, SIZE_MAX, 256, 0) > (uint64_t)3 << 30);
}

static void prior(void **state)
{
    (void)state;
    for (int i = 0; i < OPS_SETS; i++)
        for (int j = 0; j < OPS_WEIGHTS; j++)
            assert_true(abs(context_prior_builtin.weights[i][j]) <= OPS_WEIGHT_MAX);
    for (int k = 0; k < CONTEXTS; k++)
        for (int i = 1; i < CONTEXT_MODEL_STATES; i++)
            assert_in_range(context_prior_builtin.q[k][i], 1, 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates),         cmocka_unit_test(suffixes),
        cmocka_unit_test(single_stream),   cmocka_unit_test(streams),
        cmocka_unit_test(full_tables),     cmocka_unit_test(without_hashes),
        cmocka_unit_test(counts_overflow), cmocka_unit_test(zeros),
        cmocka_unit_test(escapes),         cmocka_unit_test(resets),
        cmocka_unit_test(memory),          cmocka_unit_test(unasked),
        cmocka_unit_test(prior),           cmocka_unit_test(ends),
        cmocka_unit_test(ngrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
