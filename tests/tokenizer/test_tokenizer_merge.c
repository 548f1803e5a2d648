/* test_tokenizer_merge.c: merging against the plainest way to do it, on random
 * merges; both the loop for few symbols and the heap for many. */
#include "test_tokenizer_support.h"

#include "tokenizer_internal.h"

#define SYMBOLS 12 /* ids in use: few, so that merges meet again and again */

/* Looks at all pairs for each single merge. Returns the symbols left. */
static size_t merge_plainly(const merge_table *table, uint32_t *symbols, size_t count)
{
    for (;;) {
        const merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            uint32_t slot = merge_table_find(table, symbols[i], symbols[i + 1]);
            if (slot == TOKEN_NONE || (best && table->slots[slot].rank >= best->rank))
                continue;
            best = &table->slots[slot];
            at = i;
        }
        if (!best)
            return count;
        symbols[at] = best->result;
        memmove(symbols + at + 1, symbols + at + 2, (count - at - 2) * sizeof(*symbols));
        count--;
    }
}

/* Merges of random pairs; if `ties`, several have the same rank. */
static void make_merges(merge_table *table, uint64_t *state, bool ties)
{
    uint32_t merges = 4 + test_random(state) % 60;
    assert_int_equal(merge_table_open(table, merges), GPUZIP_OK);
    for (uint32_t i = 0; i < merges; i++) {
        merge m = {.left = test_random(state) % SYMBOLS,
                   .right = test_random(state) % SYMBOLS,
                   .rank = ties ? test_random(state) % 8 : i,
                   .result = test_random(state) % SYMBOLS};
        (void)merge_table_add(table, m); /* a pair that is there already stays */
    }
}

static void merges_like_the_plain_way(void **state)
{
    (void)state;
    uint64_t random = 3;
    merge_scratch scratch = {0};
    uint32_t symbols[400], expected[400];
    for (int round = 0; round < 3000; round++) {
        merge_table table;
        make_merges(&table, &random, round % 2 == 1);
        size_t count = test_random(&random) % (round % 3 ? 60 : 400);
        for (size_t i = 0; i < count; i++)
            symbols[i] = expected[i] = test_random(&random) % SYMBOLS;
        size_t expected_count = merge_plainly(&table, expected, count);
        assert_int_equal(merge_symbols(&table, &scratch, symbols, &count), GPUZIP_OK);
        assert_int_equal(count, expected_count);
        assert_memory_equal(symbols, expected, count * sizeof(*symbols));
        merge_table_close(&table);
    }
    merge_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_like_the_plain_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
