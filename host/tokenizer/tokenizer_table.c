/* tokenizer_table.c: see tokenizer_table.h. */
#include "tokenizer_table.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

#define PROBES_MAX 1000 /* at a load of 1/2, honest keys need some dozens at most */

/* Returns the smallest power of two that is at least twice count, at least 16. */
static uint32_t slots_for(size_t count)
{
    uint32_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

gpuzip_status token_table_open(token_table *table, uint32_t vocab)
{
    uint32_t slots = slots_for(vocab);
    *table = (token_table){.vocab = vocab, .mask = slots - 1, .capacity = 4096};
    table->bytes = malloc(table->capacity);
    table->start = calloc(vocab, sizeof(*table->start));
    table->size = calloc(vocab, sizeof(*table->size));
    table->slots = malloc(slots * sizeof(*table->slots));
    if (!table->bytes || !table->start || !table->size || !table->slots)
        return FAIL(GPUZIP_ERR_MEMORY);
    memset(table->slots, 0xFF, slots * sizeof(*table->slots)); /* TOKEN_NONE */
    return GPUZIP_OK;
}

void token_table_close(token_table *table)
{
    free(table->start);
    free(table->size);
    free(table->bytes);
    free(table->slots);
    *table = (token_table){0};
}

/* FNV-1a, continued over the parts of a token. */
#define HASH_BEGIN 0xCBF29CE484222325u

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

static uint32_t hash_home(const token_table *table, uint64_t hash)
{
    return (uint32_t)(hash >> 32 ^ hash) & table->mask;
}

/* Returns the slot that holds the token left + right, or the empty one where it
 * would go; TOKEN_NONE after too many probes. */
static uint32_t find_slot(const token_table *table, const uint8_t *left, size_t left_size,
                          const uint8_t *right, size_t right_size)
{
    uint64_t hash = hash_bytes(hash_bytes(HASH_BEGIN, left, left_size), right, right_size);
    uint32_t slot = hash_home(table, hash);
    for (int probe = 0; probe < PROBES_MAX; probe++) {
        uint32_t id = table->slots[slot];
        if (id == TOKEN_NONE)
            return slot;
        const uint8_t *bytes = table->bytes + table->start[id];
        if (table->size[id] == left_size + right_size && memcmp(bytes, left, left_size) == 0 &&
            memcmp(bytes + left_size, right, right_size) == 0)
            return slot;
        slot = (slot + 1) & table->mask;
    }
    return TOKEN_NONE;
}

/* Makes room for size more bytes. */
static gpuzip_status reserve(token_table *table, size_t size)
{
    if (size > TOKEN_TOTAL_BYTES_MAX - table->used)
        return FAIL(GPUZIP_ERR_FORMAT);
    size_t needed = table->used + size;
    if (needed <= table->capacity)
        return GPUZIP_OK;
    size_t capacity = table->capacity;
    while (capacity < needed)
        capacity *= 2;
    uint8_t *bytes = realloc(table->bytes, capacity);
    if (!bytes)
        return FAIL(GPUZIP_ERR_MEMORY);
    table->bytes = bytes;
    table->capacity = capacity;
    return GPUZIP_OK;
}

/* Gives the last size bytes of the table, not yet counted as used, to a token. */
static gpuzip_status take(token_table *table, uint32_t id, size_t size, bool indexed)
{
    const uint8_t *bytes = table->bytes + table->used;
    if (indexed) {
        uint32_t slot = find_slot(table, bytes, size, bytes, 0);
        if (slot == TOKEN_NONE || table->slots[slot] != TOKEN_NONE)
            return FAIL(GPUZIP_ERR_FORMAT);
        table->slots[slot] = id;
    }
    table->start[id] = (uint32_t)table->used;
    table->size[id] = (uint16_t)size;
    table->used += size;
    return GPUZIP_OK;
}

gpuzip_status token_table_set(token_table *table, uint32_t id, const uint8_t *bytes, size_t size,
                              bool indexed)
{
    if (size == 0 || size > TOKENIZER_TOKEN_BYTES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    TRY(reserve(table, size));
    memcpy(table->bytes + table->used, bytes, size);
    return take(table, id, size, indexed);
}

gpuzip_status token_table_join(token_table *table, uint32_t id, uint32_t left, uint32_t right)
{
    size_t left_size = table->size[left], right_size = table->size[right];
    size_t size = left_size + right_size;
    if (size > TOKENIZER_TOKEN_BYTES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    TRY(reserve(table, size));
    uint8_t *bytes = table->bytes + table->used;
    memcpy(bytes, table->bytes + table->start[left], left_size);
    memcpy(bytes + left_size, table->bytes + table->start[right], right_size);
    return take(table, id, size, true);
}

uint32_t token_table_find(const token_table *table, const uint8_t *bytes, size_t size)
{
    if (size > TOKENIZER_TOKEN_BYTES_MAX)
        return TOKEN_NONE;
    uint32_t slot = find_slot(table, bytes, size, bytes, 0);
    return slot == TOKEN_NONE ? TOKEN_NONE : table->slots[slot];
}

uint32_t token_table_find_joined(const token_table *table, uint32_t left, uint32_t right)
{
    uint32_t slot = find_slot(table, table->bytes + table->start[left], table->size[left],
                              table->bytes + table->start[right], table->size[right]);
    return slot == TOKEN_NONE ? TOKEN_NONE : table->slots[slot];
}

gpuzip_status merge_table_open(merge_table *table, size_t limit)
{
    uint32_t slots = slots_for(limit);
    *table = (merge_table){.mask = slots - 1, .limit = (uint32_t)limit};
    table->slots = malloc(slots * sizeof(*table->slots));
    if (!table->slots)
        return FAIL(GPUZIP_ERR_MEMORY);
    memset(table->slots, 0xFF, slots * sizeof(*table->slots)); /* left: TOKEN_NONE */
    return GPUZIP_OK;
}

void merge_table_close(merge_table *table)
{
    free(table->slots);
    *table = (merge_table){0};
}

gpuzip_status merge_table_add(merge_table *table, merge added)
{
    if (table->count == table->limit)
        return FAIL(GPUZIP_ERR_FORMAT);
    uint32_t slot = merge_table_home(table, added.left, added.right);
    for (int probe = 0; probe < PROBES_MAX; probe++) {
        merge *m = &table->slots[slot];
        if (m->left == TOKEN_NONE) {
            *m = added;
            table->count++;
            return GPUZIP_OK;
        }
        if (m->left == added.left && m->right == added.right)
            break;
        slot = (slot + 1) & table->mask;
    }
    return FAIL(GPUZIP_ERR_FORMAT);
}
