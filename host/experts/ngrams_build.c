/* ngrams_build.c: see ngrams_build.h. */
#include "ngrams_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "token_hash.h"

#define SYMBOL_BITS (64 - NGRAMS_CONTEXT_BITS)
#define ORDERS      (NGRAMS_SHORT + NGRAMS_ORDERS) /* 1 .. ORDERS - 1 tokens; [0] is not used */
#define PIECE       ((size_t)1 << 17)
#define MIN_COUNT   2
#define DIGIT_BITS  11 /* of the radix sort; an even number of digits */
#define FIRST_BITS  20

/* A context and a symbol. */
typedef struct {
    uint64_t key; /* ngrams_context() << SYMBOL_BITS | symbol */
    uint32_t count, total;
    float gain; /* bits */
} ngram;

/* The frequent n-grams of one length, by ascending key. */
typedef struct {
    ngram *gram; /* [grams] */
    size_t grams;
    size_t *first; /* [2^FIRST_BITS + 1] the first of the key's highest bits */
} ngram_list;

typedef struct {
    const uint32_t *token;
    size_t tokens;
    uint32_t vocab;
    uint32_t *alone; /* [vocab] count of each symbol */
    ngram_list list[ORDERS];
    uint64_t *key, *sorted; /* [tokens] */
} builder;

/* ---- counting ----------------------------------------------------------- */

/* The n-grams seen in the current piece of a text. */
typedef struct {
    uint64_t *key;   /* [2 PIECE] */
    uint32_t *stamp; /* [2 PIECE] of which piece */
    uint32_t piece;
    size_t held;
} seen_set;

static bool add_seen(seen_set *seen, uint64_t key)
{
    size_t mask = 2 * PIECE - 1, at = (size_t)mix64(key) & mask;
    for (; seen->stamp[at] == seen->piece; at = (at + 1) & mask)
        if (seen->key[at] == key)
            return false;
    seen->stamp[at] = seen->piece;
    seen->key[at] = key;
    if (++seen->held == PIECE) {
        seen->piece++;
        seen->held = 0;
    }
    return true;
}

/* Writes the keys (context, next symbol) of all contexts of n tokens. Returns how many. */
static size_t gather_keys(const builder *b, size_t n, seen_set *seen)
{
    size_t keys = 0, start = 0;
    memset(seen->stamp, 0, 2 * PIECE * sizeof *seen->stamp);
    seen->piece = 1;
    seen->held = 0;
    for (size_t i = 0; i < b->tokens; i++) {
        if (b->token[i] == NGRAMS_BREAK) {
            start = i + 1;
            seen->piece++;
            seen->held = 0;
        }
        if (i < start + n || b->token[i] >= b->vocab)
            continue;
        uint64_t key = ngrams_context(b->token + i, n) << SYMBOL_BITS | b->token[i];
        if (n == 1 || add_seen(seen, key)) /* n = 1 is the baseline, not an entry */
            b->key[keys++] = key;
    }
    return keys;
}

static void sort_keys(builder *b, size_t keys)
{
    enum { DIGITS = 1 << DIGIT_BITS };
    for (int shift = 0; shift < 64; shift += DIGIT_BITS) {
        size_t at[DIGITS] = {0}, before = 0;
        for (size_t i = 0; i < keys; i++)
            at[b->key[i] >> shift & (DIGITS - 1)]++;
        for (int d = 0; d < DIGITS; d++) {
            size_t count = at[d];
            at[d] = before;
            before += count;
        }
        for (size_t i = 0; i < keys; i++)
            b->sorted[at[b->key[i] >> shift & (DIGITS - 1)]++] = b->key[i];
        uint64_t *sorted = b->sorted;
        b->sorted = b->key;
        b->key = sorted;
    }
}

static size_t run_length(const uint64_t *key, size_t i, size_t keys, int shift)
{
    size_t end = i + 1;
    while (end < keys && key[end] >> shift == key[i] >> shift)
        end++;
    return end - i;
}

/* Writes the n-grams with MIN_COUNT occurrences to `to`, or only counts them (NULL). */
static size_t keep_frequent(const builder *b, size_t keys, ngram *to)
{
    size_t kept = 0;
    for (size_t i = 0; i < keys;) {
        size_t total = run_length(b->key, i, keys, SYMBOL_BITS);
        for (size_t end = i + total; i < end;) {
            size_t count = run_length(b->key, i, end, 0);
            if (count >= MIN_COUNT) {
                if (to)
                    to[kept] = (ngram){b->key[i], (uint32_t)count, (uint32_t)total, 0};
                kept++;
            }
            i += count;
        }
    }
    return kept;
}

static gpuzip_status make_list(ngram_list *list, const builder *b, size_t keys)
{
    list->grams = keep_frequent(b, keys, NULL);
    list->gram = malloc((list->grams + 1) * sizeof *list->gram);
    list->first = calloc(((size_t)1 << FIRST_BITS) + 1, sizeof *list->first);
    if (!list->gram || !list->first)
        return FAIL(GPUZIP_ERR_MEMORY);
    keep_frequent(b, keys, list->gram);
    for (size_t i = 0; i < list->grams; i++)
        list->first[(list->gram[i].key >> (64 - FIRST_BITS)) + 1]++;
    for (size_t i = 0; i < (size_t)1 << FIRST_BITS; i++)
        list->first[i + 1] += list->first[i];
    return GPUZIP_OK;
}

static gpuzip_status count(builder *b)
{
    gpuzip_status status = GPUZIP_OK;
    seen_set seen = {.key = malloc(2 * PIECE * sizeof *seen.key),
                     .stamp = malloc(2 * PIECE * sizeof *seen.stamp)};
    if (!seen.key || !seen.stamp)
        TRY_OUT(GPUZIP_ERR_MEMORY);
    for (size_t i = 0; i < b->tokens; i++)
        if (b->token[i] < b->vocab)
            b->alone[b->token[i]]++;
    for (size_t n = 1; n < ORDERS; n++) {
        size_t keys = gather_keys(b, n, &seen);
        sort_keys(b, keys);
        TRY_OUT(make_list(&b->list[n], b, keys));
    }
out:
    free(seen.key);
    free(seen.stamp);
    return status;
}

/* ---- worth -------------------------------------------------------------- */

static ngram *find(const ngram_list *list, uint64_t key)
{
    size_t low = list->first[key >> (64 - FIRST_BITS)];
    size_t high = list->first[(key >> (64 - FIRST_BITS)) + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->gram[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->grams && list->gram[low].key == key ? &list->gram[low] : NULL;
}

/* Sums each n-gram's gain: the bits it would have saved at its occurrences. p after a context mixes
 * p after the next shorter one, as weight[n] occurrences, with the other occurrences' counts. */
static void weigh(builder *b)
{
    static const double weight[ORDERS] = {0, 200, 2, 2, 2, 2};
    size_t start = 0;
    for (size_t i = 0; i < b->tokens; i++) {
        if (b->token[i] == NGRAMS_BREAK)
            start = i + 1;
        if (b->token[i] >= b->vocab)
            continue;
        double p = (double)b->alone[b->token[i]] / (double)b->tokens;
        for (size_t n = 1; n < ORDERS && i >= start + n; n++) {
            ngram *g =
                find(&b->list[n], ngrams_context(b->token + i, n) << SYMBOL_BITS | b->token[i]);
            if (!g)
                break;
            double longer = (g->count - 1 + weight[n] * p) / (g->total - 1 + weight[n]);
            g->gain += (float)log2(longer / p);
            p = longer;
        }
    }
}

/* ---- the table ---------------------------------------------------------- */

typedef struct {
    uint32_t entry;
    float gain;
} rated;

/* The logit of its probability, log2(p / (1 - p)) from -6 to 6. */
static uint32_t level_of(const ngram *g)
{
    double level = (log2((g->count - 0.5) / (g->total - g->count + 1.0)) + 6) / 12 * NGRAMS_LEVELS;
    return level < 0 ? 0 : level >= NGRAMS_LEVELS ? NGRAMS_LEVELS - 1 : (uint32_t)level;
}

static int by_gain(const void *a, const void *b)
{
    const rated *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain < y->gain ? 1 : -1;
    return x->entry < y->entry ? 1 : x->entry > y->entry ? -1 : 0;
}

/* Puts an entry into its bucket; a full bucket loses its worst entry. */
static void place(rated *bucket, rated new)
{
    rated *worst = bucket;
    for (int e = 0; e < NGRAMS_BUCKET; e++)
        if (by_gain(&bucket[e], worst) > 0)
            worst = &bucket[e];
    if (by_gain(&new, worst) < 0)
        *worst = new;
}

static gpuzip_status fill_table(const builder *b, uint32_t *entry, uint32_t buckets)
{
    ngrams_table table = {entry, buckets, b->vocab};
    rated *best = calloc((size_t)buckets * NGRAMS_BUCKET, sizeof *best);
    if (!best)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t n = NGRAMS_SHORT; n < ORDERS; n++)
        for (size_t i = 0; i < b->list[n].grams; i++) {
            const ngram *g = &b->list[n].gram[i];
            uint64_t hash = ngrams_hash(g->key >> SYMBOL_BITS, n);
            uint32_t symbol = (uint32_t)(g->key & (((uint64_t)1 << SYMBOL_BITS) - 1));
            rated new = {ngrams_entry(&table, hash, symbol, level_of(g)), g->gain};
            if (g->gain > 0 && new.entry)
                place(best + (size_t)ngrams_bucket(&table, hash) * NGRAMS_BUCKET, new);
        }
    for (uint32_t i = 0; i < buckets; i++) {
        rated *bucket = best + (size_t)i * NGRAMS_BUCKET;
        qsort(bucket, NGRAMS_BUCKET, sizeof *bucket, by_gain);
        for (int e = 0; e < NGRAMS_BUCKET; e++)
            entry[(size_t)i * NGRAMS_BUCKET + (size_t)e] = bucket[e].entry;
    }
    free(best);
    return GPUZIP_OK;
}

gpuzip_status ngrams_build(uint32_t *entry, uint32_t buckets, uint32_t vocab, const uint32_t *token,
                           size_t tokens)
{
    gpuzip_status status = GPUZIP_OK;
    builder b = {.token = token,
                 .tokens = tokens,
                 .vocab = vocab,
                 .alone = calloc(vocab, sizeof *b.alone),
                 .key = malloc((tokens + 1) * sizeof *b.key),
                 .sorted = malloc((tokens + 1) * sizeof *b.sorted)};
    if (!b.alone || !b.key || !b.sorted)
        TRY_OUT(GPUZIP_ERR_MEMORY);
    TRY_OUT(count(&b));
    free(b.key);
    free(b.sorted);
    b.key = b.sorted = NULL;
    weigh(&b);
    status = fill_table(&b, entry, buckets);
out:
    for (size_t n = 1; n < ORDERS; n++) {
        free(b.list[n].gram);
        free(b.list[n].first);
    }
    free(b.alone);
    free(b.key);
    free(b.sorted);
    return status;
}
