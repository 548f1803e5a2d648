/* context_bucket.h: the symbols seen after one context; coder/CONTEXTS.md, section 3. */
#ifndef GPUZIP_CONTEXT_BUCKET_H
#define GPUZIP_CONTEXT_BUCKET_H

#include <stdint.h>

#define CONTEXT_BUCKET_ENTRIES 7

typedef struct {
    uint32_t check;
    uint32_t entry[CONTEXT_BUCKET_ENTRIES]; /* symbol << 8 | count, the last seen first; 0: free */
} context_bucket;

/* Counts the symbol after the context with this check. */
void context_bucket_learn(context_bucket *bucket, uint32_t check, uint32_t symbol);

#endif
