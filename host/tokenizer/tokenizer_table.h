/* tokenizer_table.h: the two tables that tokenizers are made of: the bytes of
 * every token (with a way back from bytes to ids), and the merges.
 *
 * Both are hash tables with open addressing over data from hostile files, so
 * adding gives up when keys crowd together: with the loads used here no honest
 * file comes near the limit on probes.
 */
#ifndef GPUZIP_TOKENIZER_TABLE_H
#define GPUZIP_TOKENIZER_TABLE_H

#include "status.h"

#define TOKEN_NONE UINT32_MAX /* no id, no merge, no rank */

#define TOKEN_VOCAB_MAX       (1u << 21) /* ids of a tokenizer */
#define TOKEN_TOTAL_BYTES_MAX (1u << 24) /* bytes of all tokens of a tokenizer */
#define TOKEN_MERGES_MAX      (1u << 22) /* merges of a tokenizer */

/* The tokens of a vocabulary. */
typedef struct {
    uint32_t vocab;
    uint32_t *start; /* [vocab] offset of the token in bytes */
    uint16_t *size;  /* [vocab] 0 .. TOKENIZER_TOKEN_BYTES_MAX; 0: stands for nothing */
    uint8_t *bytes;  /* [capacity] */
    size_t used, capacity;
    uint32_t *slots; /* [mask + 1] ids of indexed tokens, or TOKEN_NONE */
    uint32_t mask;
} token_table;

/* Makes a table of vocab <= TOKEN_VOCAB_MAX tokens without bytes.
 * Errors: MEMORY; the table may be closed then, too. */
gpuzip_status token_table_open(token_table *table, uint32_t vocab);
void token_table_close(token_table *table);

/* Gives a token, which had none, its bytes (not part of the table). `indexed`
 * ones can be found by them.
 * Errors: FORMAT (empty, too long, too many bytes in all, or the bytes are
 * those of another indexed token), MEMORY. */
gpuzip_status token_table_set(token_table *table, uint32_t id, const uint8_t *bytes, size_t size,
                              bool indexed);

/* The same with the bytes of two other tokens, left's and then right's; indexed. */
gpuzip_status token_table_join(token_table *table, uint32_t id, uint32_t left, uint32_t right);

/* Returns the indexed token with these bytes, or TOKEN_NONE. */
uint32_t token_table_find(const token_table *table, const uint8_t *bytes, size_t size);

/* Returns the indexed token whose bytes are those of left and then of right. */
uint32_t token_table_find_joined(const token_table *table, uint32_t left, uint32_t right);

typedef struct {
    uint32_t left, right; /* the pair of ids; left is TOKEN_NONE in an empty slot */
    uint32_t rank;        /* pairs of lower rank are merged first, then leftmost */
    uint32_t result;      /* the id that replaces them */
} merge;

typedef struct {
    merge *slots; /* [mask + 1] */
    uint32_t mask, count, limit;
} merge_table;

/* Makes a table for up to `limit` <= TOKEN_MERGES_MAX merges. Errors: MEMORY. */
gpuzip_status merge_table_open(merge_table *table, size_t limit);
void merge_table_close(merge_table *table);

/* Errors: FORMAT (the pair is there already, the table is full, or keys crowd). */
gpuzip_status merge_table_add(merge_table *table, merge added);

/* Returns where a pair would be looked for first. */
static inline uint32_t merge_table_home(const merge_table *table, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32 ^ key >> 15) & table->mask;
}

/* Returns the slot of a pair's merge, or TOKEN_NONE. left is not TOKEN_NONE. */
static inline uint32_t merge_table_find(const merge_table *table, uint32_t left, uint32_t right)
{
    uint32_t slot = merge_table_home(table, left, right);
    for (;;) {
        const merge *m = &table->slots[slot];
        if (m->left == left && m->right == right)
            return slot;
        if (m->left == TOKEN_NONE)
            return TOKEN_NONE;
        slot = (slot + 1) & table->mask;
    }
}

#endif
