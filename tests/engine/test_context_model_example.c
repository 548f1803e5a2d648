/* test_context_model_example.c: compares the numbers in the worked example of coder/CONTEXTS.md
 * (section 10), and the hash of the prior (section 8), with the context models. It reads them from
 * the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "context_bucket.h"
#include "context_model.h"
#include "detmath.h"
#include "token_hash.h"

enum { STEPS = 17, VOCAB = 256, TABLE_BITS = 6, LINE_BYTES = 512, CONTEXT_MODELS = 8 };

static const char text[STEPS + 1] = "to be or to be or";

/* ---- the page ----------------------------------------------------------- */

static FILE *page;

static int open_page(void **state)
{
    (void)state;
    page = fopen(GPUZIP_CONTEXTS_PAGE, "r");
    return page ? 0 : -1;
}

static int close_page(void **state)
{
    (void)state;
    return fclose(page);
}

/* Goes to the line that begins with `start` in section 10, and returns it. */
static const char *find_line(const char *start)
{
    static char line[LINE_BYTES];
    bool in_example = false;
    rewind(page);
    while (fgets(line, sizeof line, page)) {
        in_example |= strncmp(line, "## 10.", 6) == 0;
        if (in_example && strncmp(line, start, strlen(start)) == 0)
            return line;
    }
    fail_msg("section 10 has no line \"%s...\"", start);
    return NULL;
}

/* The next line of the table that find_line() found the head of, or NULL at its end. */
static const char *next_line(void)
{
    static char line[LINE_BYTES];
    do {
        if (!fgets(line, sizeof line, page) || line[0] != '|')
            return NULL;
    } while (strncmp(line, "|---", 4) == 0);
    return line;
}

/* Reads `count` integers. */
static void read_integers(const char *from, int *value, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        value[i] = (int)strtol(from, &end, 10);
        assert_true(end > from);
        from = end;
    }
}

/* ---- the run ------------------------------------------------------------- */

/* The example's block: predictions for each step, and all states after the update of each step. */
typedef struct {
    uint32_t token[STEPS];
    ops_candidate candidate[STEPS][OPS_CANDIDATES];
    int32_t candidates[STEPS];
    uint16_t q[STEPS][OPS_FEATURES][CONTEXT_MODEL_STATES];
    uint8_t seen[STEPS][OPS_FEATURES][CONTEXT_MODEL_STATES];
} example;

static void run_example(example *e)
{
    uint32_t suffix[VOCAB];
    const uint32_t *token = e->token;
    size_t length = STEPS;
    context_model *c;
    for (int i = 0; i < VOCAB; i++)
        suffix[i] = token_suffix(&(uint8_t){(uint8_t)i}, 1);
    for (int t = 0; t < STEPS; t++)
        e->token[t] = (uint8_t)text[t];
    context_model_config config = {.vocab = VOCAB,
                                   .symbols = VOCAB,
                                   .token_suffix = suffix,
                                   .prior = &context_prior_builtin,
                                   .streams = 1,
                                   .token = &token,
                                   .length = &length,
                                   .scope = SIZE_MAX,
                                   .update_interval = 16};
    assert_int_equal(context_model_open(&c, &config), GPUZIP_OK);
    for (size_t t = 0; t < STEPS; t++) {
        context_model_predict(c, &(context_model_row){0, (uint32_t)t}, 1, &e->candidate[t],
                              &e->candidates[t]);
        if (context_model_next_update(t, 0, config.update_interval) == t + 1)
            context_model_learn(c, t + 1);
        context_model_read(c, e->q[t], e->seen[t]);
    }
    context_model_close(c);
}

/* Section 5's feature of a state with this probability, Q32. */
static int feature_of(uint64_t q)
{
    int32_t yes = det_log2_q16((uint32_t)q), no = det_log2_q16((uint32_t)(((uint64_t)1 << 32) - q));
    return (yes - no + 128) >> 8;
}

/* ---- the prior ------------------------------------------------------------ */

static uint8_t *put_little_endian(uint8_t *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

static void the_prior(void **state)
{
    static uint8_t bytes[2 * OPS_FEATURES * CONTEXT_MODEL_STATES + 4 * OPS_SETS * OPS_WEIGHTS];
    const context_prior *prior = &context_prior_builtin;
    uint8_t *at = bytes, hash[SHA256_DIGEST_LENGTH];
    char line[LINE_BYTES], hex[2 * SHA256_DIGEST_LENGTH + 1];
    bool found = false;
    (void)state;
    for (int k = 0; k < OPS_FEATURES; k++)
        for (int i = 0; i < CONTEXT_MODEL_STATES; i++)
            at = put_little_endian(at, prior->q[k][i], 2);
    for (int i = 0; i < OPS_SETS; i++)
        for (int k = 0; k < OPS_WEIGHTS; k++)
            at = put_little_endian(at, (uint32_t)prior->weights[i][k], 4);
    assert_int_equal(at - bytes, 17168); /* as the page says */
    SHA256(bytes, sizeof bytes, hash);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        sprintf(hex + 2 * i, "%02x", hash[i]);
    rewind(page);
    while (fgets(line, sizeof line, page))
        found |= strstr(line, hex) != NULL;
    if (!found)
        fail_msg("the page has another SHA-256 than %s", hex);
}

/* ---- tests ---------------------------------------------------------------- */

static uint64_t hash_before(int step, int n)
{
    uint64_t h = 0;
    for (int i = 1; i <= n; i++)
        h = step >= i ? mix64_token(h, (uint8_t)text[step - i]) : mix64_none(h);
    return h;
}

static void hashes(void **state)
{
    static const int tokens[] = {0, 1, 2, 3, 4, 6};
    int seen = 0;
    (void)state;
    find_line("| k | input");
    for (const char *line; (line = next_line()); seen++) {
        int k, index;
        unsigned high, low, check;
        uint64_t bytes = ((uint64_t)1 << 32) + ((uint64_t)3 << 24) + 0x626520;
        assert_int_equal(
            sscanf(line, "| %d |%*[^|]| `%8x %8x` | %d | `%8x`", &k, &high, &low, &index, &check),
            5);
        assert_int_equal(k, seen);
        uint64_t h = k == 0 ? mix64(bytes) : hash_before(15, tokens[k]);
        assert_int_equal((uint64_t)high << 32 | low, h);
        assert_int_equal(index, h & ((1 << TABLE_BITS) - 1));
        assert_int_equal(check, h >> 32);
    }
    assert_int_equal(seen, 6);
    const char *line = find_line("The hash of 6 tokens before row 1");
    unsigned high, low;
    assert_int_equal(sscanf(strchr(line, '`'), "`%8x %8x`", &high, &low), 2);
    assert_int_equal((uint64_t)high << 32 | low, hash_before(1, 6));
}

static void a_bucket(void **state)
{
    context_bucket bucket = {0};
    uint64_t h = hash_before(3, 1); /* the blank */
    int learnt = 0, seen = 0;
    (void)state;
    find_line("| after step | token | entries");
    for (const char *line; (line = next_line()); seen++) {
        int after;
        char token, expected[64], found[64] = "";
        assert_int_equal(sscanf(line, "| %d | %c | `%63[^`]`", &after, &token, expected), 3);
        assert_int_equal(token, text[after]);
        for (; learnt <= after; learnt++)
            if (learnt > 0 && text[learnt - 1] == ' ')
                context_bucket_learn(&bucket, (uint32_t)(h >> 32), (uint8_t)text[learnt]);
        for (int i = 0; i < CONTEXT_BUCKET_ENTRIES && bucket.entry[i]; i++)
            sprintf(found + strlen(found), "%s%c:%u", i ? " " : "", (char)(bucket.entry[i] >> 8),
                    (unsigned)(bucket.entry[i] & 255));
        assert_string_equal(found, expected);
    }
    assert_int_equal(seen, 4);
}

static void candidates_of_row_15(void **state)
{
    enum { ROW = 15 };
    example *e = calloc(1, sizeof *e);
    int seen = 0;
    (void)state;
    assert_non_null(e);
    run_example(e);
    find_line("| x | states | features");
    for (const char *line; (line = next_line()); seen++) {
        const ops_candidate *c = &e->candidate[ROW][seen];
        char symbol, states[64], features[128];
        int order, hits, selector, state_of[CONTEXT_MODELS], feature[CONTEXT_MODELS];
        assert_int_equal(sscanf(line, "| %c | %63[^|]| %127[^|]| %d | %d | %d", &symbol, states,
                                features, &order, &hits, &selector),
                         6);
        read_integers(states, state_of, CONTEXT_MODELS);
        read_integers(features, feature, CONTEXT_MODELS);
        assert_true(seen < e->candidates[ROW]);
        assert_int_equal(symbol, c->symbol);
        assert_int_equal(order, c->order);
        assert_int_equal(hits, c->hits);
        assert_int_equal(selector, c->selector);
        for (int k = 0; k < CONTEXT_MODELS; k++) {
            assert_int_equal(feature[k], c->feature[k]);
            /* The state that the page names has this feature; context_model_read() gives 16 bits.
             */
            uint64_t q = (uint64_t)e->q[ROW - 1][k][state_of[k]] << 16;
            if (state_of[k] == 0)
                assert_int_equal(feature[k], 0);
            else
                assert_in_range(feature_of(q) - feature[k] + 2, 0, 2 + 2);
        }
    }
    assert_int_equal(seen, e->candidates[ROW]);
    free(e);
}

static void a_state_s_probability(void **state)
{
    example *e = calloc(1, sizeof *e);
    int rows = 0, last = 0;
    (void)state;
    assert_non_null(e);
    run_example(e);
    find_line("| after step | n before");
    for (const char *line; (line = next_line()); rows++) {
        int after, before, coded, feature;
        unsigned long long q;
        assert_int_equal(
            sscanf(line, "| %d | %d | %d | %llu | %d", &after, &before, &coded, &q, &feature), 5);
        assert_int_equal(e->q[after][1][2], q >> 16);
        assert_int_equal(e->seen[after][1][2], before + 1);
        assert_int_equal(feature, feature_of(q));
        for (int t = last; t < after; t++) /* and not before */
            assert_int_equal(e->seen[t][1][2], before);
        last = after;
    }
    assert_int_equal(rows, 5);
    const char *line = find_line("q = floor(5 * 114556928 / 7)");
    unsigned long long q;
    int before, after;
    assert_int_equal(sscanf(line,
                            "q = floor(5 * 114556928 / 7) = %llu, feature %d before, %d after", &q,
                            &before, &after),
                     3);
    assert_int_equal(q, 5 * 114556928ull / 7);
    assert_int_equal(e->q[12][0][57], q >> 16);
    assert_int_equal(e->seen[12][0][57], 2);
    assert_int_equal(before, feature_of(114556928));
    assert_int_equal(after, feature_of(q));
    free(e);
}

static void an_n_gram(void **state)
{
    const ngrams_table table = {.buckets = 1000, .vocab = VOCAB};
    uint32_t context[] = {'e', ' '};
    unsigned long long short_hash;
    unsigned high, low, bucket, check, entry;
    (void)state;
    const char *line = strstr(find_line("**An n-gram**"), "h >> 18 = ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "h >> 18 = 0x%llx", &short_hash), 1);
    line = find_line("H = `");
    assert_int_equal(
        sscanf(line, "H = `%8x %8x`, bucket %u, check 0x%x", &high, &low, &bucket, &check), 4);
    uint64_t h = ngrams_context(context + 2, 2), hash = ngrams_hash(h, 2);
    assert_int_equal(h, short_hash);
    assert_int_equal(hash, (uint64_t)high << 32 | low);
    assert_int_equal(ngrams_bucket(&table, hash), bucket);
    assert_int_equal(hash & ((1 << 19) - 1), check);
    line = strstr(line, "is `");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "is `%8x`", &entry), 1);
    assert_int_equal(ngrams_entry(&table, hash, 'o', 20), entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prior),
        cmocka_unit_test(hashes),
        cmocka_unit_test(a_bucket),
        cmocka_unit_test(candidates_of_row_15),
        cmocka_unit_test(a_state_s_probability),
        cmocka_unit_test(an_n_gram),
    };
    return cmocka_run_group_tests(tests, open_page, close_page);
}
