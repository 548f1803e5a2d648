/* tokenizer_pattern.h: from tokenizer.json's normalizer and pre-tokenizer to
 * the stages of a blob. */
#ifndef GPUZIP_TOKENIZER_PATTERN_H
#define GPUZIP_TOKENIZER_PATTERN_H

#include <jansson.h>

#include "tokenizer_source.h"

/* GPT-2's pattern, which every ByteLevel pre-tokenizer uses unless told not to,
 * as pattern_translate() would write it. */
#define PATTERN_SPACES "\\t-\\r\\x{85}\\p{Z}"
#define PATTERN_GPT2                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" PATTERN_SPACES "\\p{L}\\p{N}]+"             \
    "|[" PATTERN_SPACES "]+(?![^" PATTERN_SPACES "])|[" PATTERN_SPACES "]+"

/* Patterns that were made here; zero at first. They live as long as the stages. */
typedef struct {
    char *pattern[BLOB_STAGES_MAX];
    int patterns;
} pattern_arena;

void pattern_arena_free(pattern_arena *patterns);

/* Sets source.kind and adds source.flags and stages to im. Either JSON value
 * may be NULL. Errors: FORMAT, UNSUPPORTED, MEMORY. */
gpuzip_status import_pre_tokenizer(importer *im, pattern_arena *patterns, const json_t *normalizer,
                                   const json_t *pre_tokenizer);

#endif
