/* contexts_slot.h: the symbols seen after one context; coder/CONTEXTS.md, section 3. */
#ifndef GPUZIP_CONTEXTS_SLOT_H
#define GPUZIP_CONTEXTS_SLOT_H

#include <stdint.h>

#define CONTEXTS_ENTRIES 7

typedef struct {
    uint32_t check;
    uint32_t entry[CONTEXTS_ENTRIES]; /* symbol << 8 | count, the last seen first; 0: free */
} contexts_slot;

/* Counts the symbol after the context with this check. */
void contexts_slot_learn(contexts_slot *slot, uint32_t check, uint32_t symbol);

#endif
