/* context_model_case.h: blocks of tokens for tests of context models. */
#ifndef GPUZIP_CONTEXT_MODEL_CASE_H
#define GPUZIP_CONTEXT_MODEL_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "context_model.h"

enum {
    MAX_STREAMS = 6,
    MAX_STEPS = 1500,
    MAX_ROWS = MAX_STREAMS * MAX_STEPS,
    MAX_SLOTS = 1 << 12, /* of the reference */
    MAX_PENDING = 16 * MAX_STREAMS * 16 * 7,
    CONTEXTS = 8,
    MAX_GRAMS = 3000
};

/* ---- the data of a case ------------------------------------------------- */

/* An entry of a table of n-grams, apart. */
typedef struct {
    int n;
    uint32_t bucket, check, symbol, level;
} test_gram;

typedef struct {
    context_model_config config;
    uint32_t *token_suffix;
    uint32_t *entry; /* of the n-grams, NULL: none */
    test_gram gram[MAX_GRAMS];
    int grams;
    uint32_t memory[MAX_STREAMS][MAX_STEPS];
    const uint32_t *token[MAX_STREAMS];
    size_t length[MAX_STREAMS];
    uint32_t unasked; /* one row in so many is not asked for; 0: none */
} test_case;

static bool asked(const test_case *t, int s, size_t step)
{
    return !t->unasked || ((size_t)s * 5 + step) * 7 % 31 % t->unasked != 0;
}

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(random_state >> 4) * n >> 28);
}

/* Bytes of a symbol, so that different ones may end alike: 0 to 4 of them. */
static size_t bytes_of(uint32_t symbol, uint8_t bytes[4])
{
    size_t n = symbol % 11 == 10 ? 0 : 1 + symbol % 4;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t) "abcR7 7\n.\xc3,\t\r5"[(symbol >> i) % 3 + symbol / 16 % 5 * 3];
    return n;
}

/* Tokens of which many repeat earlier ones of some stream, now and then with a flaw. `fresh`:
 * symbols to draw from; repeat: copies begun in 3,000 steps; strange: one in so many that are no
 * copies is any symbol, escapes too; 0: none. */
static void fill(test_case *t, uint32_t fresh, uint32_t repeat, uint32_t strange, uint32_t seed)
{
    random_state = seed;
    size_t left[MAX_STREAMS] = {0}, at[MAX_STREAMS] = {0};
    int from[MAX_STREAMS] = {0};
    for (size_t step = 0; step < MAX_STEPS; step++)
        for (int s = 0; s < t->config.streams; s++) {
            uint32_t x = random_below(fresh);
            if (!left[s] && step > 1 && random_below(3000) < repeat) {
                from[s] = (int)random_below((uint32_t)t->config.streams);
                at[s] = random_below((uint32_t)step - 1);
                left[s] = 100;
            }
            if (left[s]) {
                left[s]--;
                if (random_below(50))
                    x = t->memory[from[s]][at[s]];
                if (++at[s] == step)
                    left[s] = 0;
            } else if (strange && random_below(strange) == 0) {
                x = random_below((uint32_t)t->config.symbols);
            }
            t->memory[s][step] = x;
        }
}

static test_case *make_case(int streams, const size_t *length, int vocab, int update_interval,
                            int table_bits)
{
    test_case *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->token_suffix = calloc((size_t)vocab + 256, sizeof *t->token_suffix);
    assert_non_null(t->token_suffix);
    for (int i = 0; i < vocab + 256; i++) {
        uint8_t bytes[4];
        t->token_suffix[i] = token_suffix(bytes, bytes_of((uint32_t)i, bytes));
    }
    for (int s = 0; s < streams; s++) {
        t->token[s] = t->memory[s];
        t->length[s] = length[s];
    }
    t->config = (context_model_config){.vocab = vocab,
                                       .symbols = vocab + 256,
                                       .token_suffix = t->token_suffix,
                                       .prior = &context_prior_builtin,
                                       .streams = streams,
                                       .token = t->token,
                                       .length = t->length,
                                       .scope = MAX_STEPS,
                                       .update_interval = update_interval,
                                       .table_bits = table_bits};
    return t;
}

static void free_case(test_case *t)
{
    free(t->token_suffix);
    free(t->entry);
    free(t);
}

#endif
