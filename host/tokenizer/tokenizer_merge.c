/* tokenizer_merge.c: byte-pair merging. Few symbols are merged by looking for
 * the best pair again and again; many with a heap, so that no input takes more
 * than n log n steps. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

#define FEW_SYMBOLS 48 /* above, the heap is faster (measured on English text) */

struct merge_node {
    uint32_t id;
    uint32_t previous, next; /* neighbours that are alive; next is count at the end */
    uint32_t slot;           /* of the merge with next, or TOKEN_NONE */
};

void merge_scratch_free(merge_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (merge_scratch){0};
}

/* 2 <= count <= FEW_SYMBOLS. Returns the symbols left. */
static size_t merge_few(const merge_table *table, uint32_t *symbols, size_t count)
{
    uint32_t slots[FEW_SYMBOLS]; /* [count - 1] of the merge of symbols i and i + 1 */
    for (size_t i = 0; i + 1 < count; i++)
        slots[i] = merge_table_find(table, symbols[i], symbols[i + 1]);
    for (;;) {
        uint32_t best_rank = TOKEN_NONE;
        size_t best = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            if (slots[i] != TOKEN_NONE && table->slots[slots[i]].rank < best_rank) {
                best_rank = table->slots[slots[i]].rank;
                best = i;
            }
        }
        if (best_rank == TOKEN_NONE)
            return count;
        symbols[best] = table->slots[slots[best]].result;
        count--;
        memmove(symbols + best + 1, symbols + best + 2, (count - best - 1) * sizeof(*symbols));
        if (best + 1 < count) {
            memmove(slots + best + 1, slots + best + 2, (count - best - 2) * sizeof(*slots));
            slots[best] = merge_table_find(table, symbols[best], symbols[best + 1]);
        }
        if (best > 0)
            slots[best - 1] = merge_table_find(table, symbols[best - 1], symbols[best]);
    }
}

/* The heap holds (rank << 32 | position of the left symbol), the least first.
 * An entry is stale when the pair there has another rank by now. */
static void heap_sift_down(uint64_t *heap, size_t size, size_t at)
{
    uint64_t key = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size)
            break;
        if (child + 1 < size && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

static gpuzip_status heap_push(merge_scratch *scratch, uint64_t key)
{
    if (scratch->heap_size == scratch->heap_capacity) {
        size_t capacity = 2 * scratch->heap_capacity;
        uint64_t *heap = realloc(scratch->heap, capacity * sizeof(*heap));
        if (!heap)
            return FAIL(GPUZIP_ERR_MEMORY);
        scratch->heap = heap;
        scratch->heap_capacity = capacity;
    }
    size_t at = scratch->heap_size++;
    while (at > 0 && scratch->heap[(at - 1) / 2] > key) {
        scratch->heap[at] = scratch->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    scratch->heap[at] = key;
    return GPUZIP_OK;
}

static uint64_t heap_pop(merge_scratch *scratch)
{
    uint64_t top = scratch->heap[0];
    scratch->heap[0] = scratch->heap[--scratch->heap_size];
    if (scratch->heap_size > 1)
        heap_sift_down(scratch->heap, scratch->heap_size, 0);
    return top;
}

static gpuzip_status scratch_reserve(merge_scratch *scratch, size_t count)
{
    if (count > scratch->node_capacity) {
        struct merge_node *nodes = realloc(scratch->nodes, count * sizeof(*nodes));
        if (!nodes)
            return FAIL(GPUZIP_ERR_MEMORY);
        scratch->nodes = nodes;
        scratch->node_capacity = count;
    }
    if (count > scratch->heap_capacity) {
        uint64_t *heap = realloc(scratch->heap, count * sizeof(*heap));
        if (!heap)
            return FAIL(GPUZIP_ERR_MEMORY);
        scratch->heap = heap;
        scratch->heap_capacity = count;
    }
    return GPUZIP_OK;
}

/* Looks for the merge of the node at `left` and the next. */
static gpuzip_status find_pair(const merge_table *table, merge_scratch *scratch, uint32_t left,
                               size_t count)
{
    struct merge_node *node = &scratch->nodes[left];
    node->slot = node->next < count
                     ? merge_table_find(table, node->id, scratch->nodes[node->next].id)
                     : TOKEN_NONE;
    if (node->slot == TOKEN_NONE)
        return GPUZIP_OK;
    return heap_push(scratch, (uint64_t)table->slots[node->slot].rank << 32 | left);
}

/* Fills the nodes and the heap. count <= 2^30 + 1 fits positions of 32 bits. */
static void begin_many(const merge_table *table, merge_scratch *scratch, const uint32_t *symbols,
                       size_t count)
{
    size_t keys = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct merge_node node = {
            .id = symbols[i], .previous = i - 1, .next = i + 1, .slot = TOKEN_NONE};
        if (i + 1 < count)
            node.slot = merge_table_find(table, symbols[i], symbols[i + 1]);
        if (node.slot != TOKEN_NONE)
            scratch->heap[keys++] = (uint64_t)table->slots[node.slot].rank << 32 | i;
        scratch->nodes[i] = node;
    }
    scratch->heap_size = keys;
    for (size_t i = keys / 2; i-- > 0;)
        heap_sift_down(scratch->heap, keys, i);
}

static gpuzip_status merge_many(const merge_table *table, merge_scratch *scratch, uint32_t *symbols,
                                size_t *count)
{
    TRY(scratch_reserve(scratch, *count));
    begin_many(table, scratch, symbols, *count);
    struct merge_node *nodes = scratch->nodes;
    while (scratch->heap_size > 0) {
        uint64_t key = heap_pop(scratch);
        uint32_t left = (uint32_t)key;
        uint32_t slot = nodes[left].slot;
        if (slot == TOKEN_NONE || table->slots[slot].rank != key >> 32)
            continue;
        struct merge_node *right = &nodes[nodes[left].next];
        nodes[left].id = table->slots[slot].result;
        nodes[left].next = right->next;
        if (right->next < *count)
            nodes[right->next].previous = left;
        right->slot = TOKEN_NONE; /* its entry in the heap is stale */
        TRY(find_pair(table, scratch, left, *count));
        if (left > 0)
            TRY(find_pair(table, scratch, nodes[left].previous, *count));
    }
    size_t left = 0;
    for (uint32_t i = 0; i < *count; i = nodes[i].next)
        symbols[left++] = nodes[i].id;
    *count = left;
    return GPUZIP_OK;
}

gpuzip_status merge_symbols(const merge_table *table, merge_scratch *scratch, uint32_t *symbols,
                            size_t *count)
{
    if (*count < 2)
        return GPUZIP_OK;
    if (*count > FEW_SYMBOLS)
        return merge_many(table, scratch, symbols, count);
    *count = merge_few(table, symbols, *count);
    return GPUZIP_OK;
}
