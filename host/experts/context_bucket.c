/* context_bucket.c: see context_bucket.h. */
#include "context_bucket.h"

#include <assert.h>

#define COUNT_MAX 250

static_assert(sizeof(context_bucket) == 32, "two in a cache line");

void context_bucket_learn(context_bucket *bucket, uint32_t check, uint32_t symbol)
{
    if (bucket->check != check)
        *bucket = (context_bucket){.check = check};
    uint32_t *entry = bucket->entry;
    int at = 0;
    while (at < CONTEXT_BUCKET_ENTRIES && entry[at] && entry[at] >> 8 != symbol)
        at++;
    uint32_t count = 1;
    if (at < CONTEXT_BUCKET_ENTRIES && entry[at]) {
        count = (entry[at] & 255) + 1;
        if (count > COUNT_MAX) {
            count = COUNT_MAX / 2;
            for (int e = 0; e < CONTEXT_BUCKET_ENTRIES; e++)
                if ((entry[e] & 255) > 1)
                    entry[e] -= (entry[e] & 255) - (entry[e] & 255) / 2;
        }
    } else {
        if (at == CONTEXT_BUCKET_ENTRIES) {
            at = CONTEXT_BUCKET_ENTRIES - 1;
            for (int e = CONTEXT_BUCKET_ENTRIES - 2; e >= 1; e--)
                if ((entry[e] & 255) < (entry[at] & 255))
                    at = e;
        }
        for (int e = 0; e < CONTEXT_BUCKET_ENTRIES; e++)
            if ((entry[e] & 255) > 2)
                entry[e] -= (entry[e] & 255) / 4;
    }
    for (; at > 0; at--)
        entry[at] = entry[at - 1];
    entry[0] = symbol << 8 | count;
}
