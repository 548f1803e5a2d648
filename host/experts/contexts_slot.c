/* contexts_slot.c: see contexts_slot.h. */
#include "contexts_slot.h"

#include <assert.h>

#define COUNT_MAX 250

static_assert(sizeof(contexts_slot) == 32, "two in a cache line");

void contexts_slot_learn(contexts_slot *slot, uint32_t check, uint32_t symbol)
{
    if (slot->check != check)
        *slot = (contexts_slot){.check = check};
    uint32_t *entry = slot->entry;
    int at = 0;
    while (at < CONTEXTS_ENTRIES && entry[at] && entry[at] >> 8 != symbol)
        at++;
    uint32_t count = 1;
    if (at < CONTEXTS_ENTRIES && entry[at]) {
        count = (entry[at] & 255) + 1;
        if (count > COUNT_MAX) {
            count = COUNT_MAX / 2;
            for (int e = 0; e < CONTEXTS_ENTRIES; e++)
                if ((entry[e] & 255) > 1)
                    entry[e] -= (entry[e] & 255) - (entry[e] & 255) / 2;
        }
    } else {
        if (at == CONTEXTS_ENTRIES) {
            at = CONTEXTS_ENTRIES - 1;
            for (int e = CONTEXTS_ENTRIES - 2; e >= 1; e--)
                if ((entry[e] & 255) < (entry[at] & 255))
                    at = e;
        }
        for (int e = 0; e < CONTEXTS_ENTRIES; e++)
            if ((entry[e] & 255) > 2)
                entry[e] -= (entry[e] & 255) / 4;
    }
    for (; at > 0; at--)
        entry[at] = entry[at - 1];
    entry[0] = symbol << 8 | count;
}
