/* test_ngrams.c: tables of n-grams hold what plain counting says of the texts they were made from.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ngrams_build.h"

enum { VOCAB = 50, TEXTS = 6, LENGTH = 150, TOKENS = TEXTS * (LENGTH + 1), ORDER_MAX = 5 };

static uint32_t token[TOKENS];

static uint32_t random_below(uint32_t n)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(state >> 4) * n >> 28);
}

/* Texts that share phrases; a few tokens are none of the vocabulary. */
static void make_texts(void)
{
    uint32_t phrase[8][12];
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 12; k++)
            phrase[i][k] = random_below(VOCAB);
    for (int i = 0; i < TOKENS;) {
        uint32_t *of = phrase[random_below(8)], begin = random_below(9);
        for (uint32_t k = begin; k < 12 && i < TOKENS; k++, i++)
            token[i] = i % (LENGTH + 1) == LENGTH ? NGRAMS_BREAK
                       : random_below(9)          ? of[k]
                                                  : random_below(VOCAB + 3);
    }
}

/* Whether the n tokens before i are those before j, all of one text. */
static bool same_context(int i, int j, int n)
{
    for (int k = 1; k <= n; k++)
        if (i - k < 0 || j - k < 0 || token[i - k] == NGRAMS_BREAK || token[i - k] != token[j - k])
            return false;
    return true;
}

typedef struct {
    int count, total; /* of texts; for n = 1 of places */
} counts;

/* Of the context of n tokens before place i with the symbol x, and with all. */
static counts count_plainly(int i, int n, uint32_t x)
{
    counts c = {0};
    for (int j = 0; j < TOKENS; j++) {
        bool first = token[j] < VOCAB && same_context(i, j, n);
        for (int before = j - 1; first && n > 1 && token[before] != NGRAMS_BREAK; before--) {
            first = !(token[before] == token[j] && same_context(i, before, n));
            if (before == 0)
                break;
        }
        c.total += first;
        c.count += first && token[j] == x;
    }
    return c;
}

/* How much likelier x is before place i after n tokens than after one less, in bits, this place
 * left out. */
static double gain_plainly(int i, int n, uint32_t x, double *probability)
{
    double p = 0, longer = 0;
    for (int j = 0; j < TOKENS; j++)
        longer += token[j] == x;
    longer /= TOKENS;
    for (int k = 1; k <= n; k++) {
        counts c = count_plainly(i, k, x);
        if (c.count < 2)
            return -1000;
        p = longer;
        double weight = k == 1 ? 200 : 2;
        longer = (c.count - 1 + weight * p) / (c.total - 1 + weight);
    }
    *probability = longer;
    return log2(longer / p);
}

static uint32_t level_plainly(counts c)
{
    double p = (c.count - 0.5) / (c.total + 0.5), logit = log2(p / (1 - p));
    int level = (int)floor((logit + 6) * 32 / 12);
    return (uint32_t)(level < 0 ? 0 : level > 31 ? 31 : level);
}

/* What a context's symbol saved in all of the texts; < -500 if it was not counted. */
static double worth_plainly(int i, int n, uint32_t x)
{
    double sum = 0, p;
    for (int j = 0; j < TOKENS; j++)
        if (token[j] == x && same_context(i, j, n))
            sum += gain_plainly(j, n, x, &p);
    return sum;
}

static void holds_what_was_counted(void **state)
{
    (void)state;
    enum { BUCKETS = 64 };
    static uint32_t entry[BUCKETS * NGRAMS_BUCKET];
    ngrams_table table = {entry, BUCKETS, VOCAB};
    make_texts();
    assert_int_equal(ngrams_build(entry, BUCKETS, VOCAB, token, TOKENS), GPUZIP_OK);
    int checked = 0, missing = 0;
    for (int i = 0; i < TOKENS; i++) {
        int there = 0;
        while (there < ORDER_MAX && i - there > 0 && token[i - there - 1] != NGRAMS_BREAK)
            there++;
        uint64_t hash[NGRAMS_ORDERS];
        uint32_t symbol[NGRAMS_FOUND];
        uint8_t level[NGRAMS_FOUND], other;
        ngrams_look(&table, token + i, (size_t)there, hash);
        int found = ngrams_find(&table, hash, symbol, level, &other);
        assert_true(found <= NGRAMS_FOUND && (found > 0) == (other > 0));
        for (int f = 0; f < found; f++) {
            int n = NGRAMS_SHORT + (level[f] - 1) / NGRAMS_LEVELS;
            assert_true(n <= there &&
                        n <= NGRAMS_SHORT + other - 1 - NGRAMS_ORDERS * NGRAMS_LEVELS);
            assert_int_equal((level[f] - 1) % NGRAMS_LEVELS,
                             level_plainly(count_plainly(i, n, symbol[f])));
            assert_true(worth_plainly(i, n, symbol[f]) > -0.01);
            checked++;
        }
        for (int n = NGRAMS_SHORT; n <= there && token[i] < VOCAB; n++) {
            if (worth_plainly(i, n, token[i]) < 0.01)
                continue;
            int f = 0;
            while (f < found && symbol[f] != token[i])
                f++;
            missing += f == found;
        }
    }
    assert_true(checked > 500);
    assert_int_equal(missing, 0);
}

/* A small table keeps the best: nothing that it dropped was worth more than what it holds. */
static void keeps_the_best(void **state)
{
    (void)state;
    static uint32_t all[64 * NGRAMS_BUCKET], best[NGRAMS_BUCKET];
    make_texts();
    assert_int_equal(ngrams_build(all, 64, VOCAB, token, TOKENS), GPUZIP_OK);
    assert_int_equal(ngrams_build(best, 1, VOCAB, token, TOKENS), GPUZIP_OK);
    int many = 0;
    for (int i = 0; i < 64 * NGRAMS_BUCKET; i++)
        many += all[i] != 0;
    assert_true(many > 2 * NGRAMS_BUCKET);
    ngrams_table table = {best, 1, VOCAB};
    double least = 1e9, most_dropped = 0;
    for (int i = 0; i < TOKENS; i++)
        for (int n = NGRAMS_SHORT; n <= ORDER_MAX && token[i] < VOCAB && same_context(i, i, n);
             n++) {
            uint64_t hash = ngrams_hash(ngrams_context(token + i, (size_t)n), (size_t)n);
            uint32_t entry = ngrams_entry(&table, hash, token[i], 0);
            double worth = worth_plainly(i, n, token[i]);
            int e = 0;
            while (e < NGRAMS_BUCKET && best[e] - (best[e] & 31) != entry)
                e++;
            if (e < NGRAMS_BUCKET && worth < least)
                least = worth;
            if (e == NGRAMS_BUCKET && worth > most_dropped)
                most_dropped = worth;
        }
    assert_true(least > 0 && least < 1e9 && most_dropped > 0);
    assert_true(most_dropped <= least + 0.01);
}

static void nothing_to_count(void **state)
{
    (void)state;
    uint32_t entry[2 * NGRAMS_BUCKET], zero[2 * NGRAMS_BUCKET] = {0};
    static const uint32_t once[] = {1, 2, 3, 4, NGRAMS_BREAK, NGRAMS_BREAK, 9, 9, 9, 9};
    assert_int_equal(ngrams_build(entry, 2, VOCAB, once, 0), GPUZIP_OK);
    assert_memory_equal(entry, zero, sizeof entry);
    assert_int_equal(ngrams_build(entry, 2, VOCAB, once, sizeof once / sizeof *once), GPUZIP_OK);
    assert_memory_equal(entry, zero, sizeof entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_was_counted),
        cmocka_unit_test(keeps_the_best),
        cmocka_unit_test(nothing_to_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
