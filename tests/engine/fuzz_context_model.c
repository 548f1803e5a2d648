/* fuzz_context_model.c: for any tokens, context models propose the same candidates step by step as
 * it was ahead, keeps its promises, and nothing is read that is not there.
 *
 * Bytes: streams, update interval, bits of tables, buckets of n-grams, then their entries (of the
 * right form or not), then tokens for one stream after another. */
#include <stdlib.h>
#include <string.h>

#include "context_model.h"

enum { VOCAB = 12, SYMBOLS = 20, MAX_STREAMS = 4, MAX_TOKENS = 4096, MAX_BUCKETS = 3 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

typedef struct {
    int32_t candidates;
    ops_candidate candidate[OPS_CANDIDATES];
} answer;

/* Asks for a row and keeps the answer, or compares it with the kept one. */
static void ask(context_model *c, int stream, size_t step, answer *kept, bool compare)
{
    context_model_row row = {stream, (uint32_t)step};
    answer a;
    memset(&a, 0, sizeof a);
    context_model_predict(c, &row, 1, &a.candidate, &a.candidates);
    require(a.candidates >= 0 && a.candidates <= OPS_CANDIDATES);
    for (int i = 0; i < a.candidates; i++) {
        const ops_candidate *x = &a.candidate[i];
        require(x->symbol >= 0 && x->symbol < VOCAB && x->order < OPS_FEATURES);
        require(x->hits >= 1 && x->hits <= 3);
        for (int k = 0; k < OPS_FEATURES; k++)
            require(abs(x->feature[k]) <= OPS_FEATURE_MAX);
        for (int j = 0; j < i; j++)
            require(a.candidate[j].symbol != x->symbol);
    }
    if (compare)
        require(memcmp(&a, kept, sizeof a) == 0);
    else
        *kept = a;
}

static void run(context_model *c, const context_model_config *config, answer *kept[], bool by_step)
{
    size_t steps = 0;
    for (int s = 0; s < config->streams; s++)
        steps = config->length[s] > steps ? config->length[s] : steps;
    for (size_t first = 0; first < steps;) {
        size_t end = context_model_next_update(first, 0, config->update_interval);
        if (by_step) {
            for (size_t step = first; step < end; step++)
                for (int s = 0; s < config->streams; s++)
                    if (step < config->length[s])
                        ask(c, s, step, &kept[s][step], true);
        } else {
            for (int s = config->streams - 1; s >= 0; s--)
                for (size_t step = first; step < end && step < config->length[s]; step++)
                    ask(c, s, step, &kept[s][step], false);
        }
        context_model_learn(c, end);
        first = end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "abcabdaab abc abd";
    uint32_t suffix[SYMBOLS], *memory[MAX_STREAMS] = {0};
    const uint32_t *token[MAX_STREAMS];
    size_t length[MAX_STREAMS];
    answer *kept[MAX_STREAMS] = {0};
    context_model *c;
    if (size < 5 || size > MAX_TOKENS)
        return 0;
    int streams = 1 + data[0] % MAX_STREAMS;
    for (int i = 0; i < SYMBOLS; i++)
        suffix[i] = token_suffix((const uint8_t *)text, (size_t)i % sizeof text);
    context_model_config config = {.vocab = VOCAB,
                                   .symbols = SYMBOLS,
                                   .token_suffix = suffix,
                                   .prior = &context_prior_builtin,
                                   .streams = streams,
                                   .token = token,
                                   .length = length,
                                   .scope = SIZE_MAX,
                                   .update_interval = 1 + data[1] % 40,
                                   .table_bits = data[2] % 8};
    uint32_t entry[MAX_BUCKETS * NGRAMS_BUCKET] = {0};
    config.ngrams = (ngrams_table){entry, data[3] % (MAX_BUCKETS + 1), VOCAB};
    bool raw = data[3] & 128;
    data += 4;
    size -= 4;
    for (size_t i = 0; i + 8 < size && i / 8 < config.ngrams.buckets * NGRAMS_BUCKET; i += 8) {
        uint32_t tokens[5];
        memcpy(&entry[i / 8], data + i, sizeof *entry);
        for (size_t k = 0; k < 5; k++)
            tokens[k] = data[i + k] % SYMBOLS;
        uint64_t hash =
            ngrams_hash(ngrams_context(tokens + 5, 2 + data[i + 5] % 4), 2 + data[i + 5] % 4);
        if (!raw)
            entry[i / 8] = ngrams_entry(&config.ngrams, hash, data[i + 6] % 16, data[i + 7] % 32);
    }
    for (int s = 0; s < streams; s++) { /* the last is shorter, and each of its exact size */
        size_t each = (size + (size_t)streams - 1) / (size_t)streams, from = (size_t)s * each;
        length[s] = from >= size ? 0 : size - from < each ? size - from : each;
        memory[s] = malloc(length[s] * sizeof **memory);
        kept[s] = malloc(length[s] * sizeof **kept);
        require((memory[s] && kept[s]) || !length[s]);
        for (size_t i = 0; i < length[s]; i++)
            memory[s][i] = data[from + i] % SYMBOLS;
        token[s] = memory[s];
    }
    require(context_model_open(&c, &config) == GPUZIP_OK);
    run(c, &config, kept, false);
    context_model_reset(c, 0);
    run(c, &config, kept, true);
    context_model_close(c);
    for (int s = 0; s < streams; s++) {
        free(memory[s]);
        free(kept[s]);
    }
    return 0;
}
