/* ngrams.c: see ngrams.h. */
#include "ngrams.h"

#include "token_hash.h"

#define LEVEL_BITS 5

static uint32_t symbol_bits(uint32_t vocab)
{
    uint32_t bits = 1;
    while ((vocab - 1) >> bits)
        bits++;
    return bits;
}

uint32_t ngrams_bucket(const ngrams_table *table, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * table->buckets >> 32);
}

static const uint32_t *bucket_of(const ngrams_table *table, uint64_t hash)
{
    return table->entry + (size_t)ngrams_bucket(table, hash) * NGRAMS_BUCKET;
}

uint32_t ngrams_entry(const ngrams_table *table, uint64_t hash, uint32_t symbol, uint32_t level)
{
    return (uint32_t)hash << (LEVEL_BITS + symbol_bits(table->vocab)) | symbol << LEVEL_BITS |
           level;
}

#define CONTEXT_SHIFT (64 - NGRAMS_CONTEXT_BITS)

uint64_t ngrams_context(const uint32_t *end, size_t n)
{
    uint64_t h = 0;
    for (size_t i = 1; i <= n; i++)
        h = mix64_token(h, end[-(ptrdiff_t)i]);
    return h >> CONTEXT_SHIFT;
}

uint64_t ngrams_hash(uint64_t context, size_t n)
{
    return mix64(context + ((uint64_t)n << 48));
}

void ngrams_look(const ngrams_table *table, const uint32_t *end, size_t there,
                 uint64_t hash[NGRAMS_ORDERS])
{
    uint64_t h = 0;
    for (size_t n = 1; n < NGRAMS_SHORT + NGRAMS_ORDERS; n++) {
        if (n <= there)
            h = mix64_token(h, end[-(ptrdiff_t)n]);
        if (n < NGRAMS_SHORT)
            continue;
        uint64_t *to = &hash[n - NGRAMS_SHORT];
        *to = n <= there ? ngrams_hash(h >> CONTEXT_SHIFT, n) : 0;
        __builtin_prefetch(bucket_of(table, *to));
    }
}

int ngrams_find(const ngrams_table *table, const uint64_t hash[NGRAMS_ORDERS],
                uint32_t symbol[NGRAMS_FOUND], uint8_t state[NGRAMS_FOUND], uint8_t *other)
{
    uint32_t bits = symbol_bits(table->vocab);
    int found = 0;
    *other = 0;
    for (int i = NGRAMS_ORDERS - 1; i >= 0; i--) {
        if (!hash[i])
            continue;
        const uint32_t *entry = bucket_of(table, hash[i]);
        uint32_t wanted = ngrams_entry(table, hash[i], 0, 0) >> (LEVEL_BITS + bits);
        for (int e = 0; e < NGRAMS_BUCKET && entry[e]; e++) {
            uint32_t x = entry[e] >> LEVEL_BITS & (((uint32_t)1 << bits) - 1);
            if (entry[e] >> (LEVEL_BITS + bits) != wanted || x >= table->vocab)
                continue;
            if (!*other)
                *other = (uint8_t)(1 + NGRAMS_ORDERS * NGRAMS_LEVELS + i);
            int k = 0;
            while (k < found && symbol[k] != x)
                k++;
            if (k < found || found == NGRAMS_FOUND)
                continue;
            symbol[found] = x;
            state[found++] =
                (uint8_t)(1 + NGRAMS_LEVELS * i + (int)(entry[e] & (NGRAMS_LEVELS - 1)));
        }
    }
    return found;
}
