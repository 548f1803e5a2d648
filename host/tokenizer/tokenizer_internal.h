/* tokenizer_internal.h: an open tokenizer, as its sources share it. */
#ifndef GPUZIP_TOKENIZER_INTERNAL_H
#define GPUZIP_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tokenizer.h"
#include "tokenizer_blob.h"
#include "tokenizer_table.h"
#include "utf8.h"

typedef struct {
    pcre2_code *code; /* compiled for the JIT where there is one */
    uint8_t behaviour;
} tokenizer_stage;

struct tokenizer {
    uint8_t kind, flags;
    uint32_t model_vocab; /* >= table.vocab; escapes start here */
    uint32_t bos;
    uint32_t escapes; /* 0 or 256 */
    token_table table;
    merge_table merges;
    uint32_t byte_id[256];  /* the token of a byte, or its escape */
    uint32_t ascii_id[128]; /* SentencePiece: the text token of a character, or byte_id */
    uint8_t byte[256];      /* byte[b] = b: the text of an escape */
    int stages;
    tokenizer_stage stage[BLOB_STAGES_MAX];
    /* Bit b of joined[a]: some token of several symbols holds the byte b, first
     * of a symbol, after the byte a. Between other bytes a piece may be cut
     * without changing its tokens. */
    uint32_t joined[256][8];
};

/* Returns whether a symbol of t begins with a byte of a piece. */
static inline bool tokenizer_symbol_begins(const tokenizer *t, uint8_t byte)
{
    return t->kind != BLOB_KIND_SENTENCEPIECE || utf8_begins(byte);
}

static inline bool tokenizer_joined(const tokenizer *t, uint8_t before, uint8_t byte)
{
    return t->joined[before][byte >> 5] >> (byte & 31) & 1;
}

/* Memory for merging, kept between calls; all zero at first. */
typedef struct {
    struct merge_node *nodes; /* [node_capacity] */
    size_t node_capacity;
    uint64_t *heap; /* [heap_capacity] */
    size_t heap_capacity, heap_size;
} merge_scratch;

void merge_scratch_free(merge_scratch *scratch);

/* Merges symbols[0, *count), in place. count <= 2^30 + 1. Errors: MEMORY, with the symbols
 * as they were. */
gpuzip_status merge_symbols(const merge_table *table, merge_scratch *scratch, uint32_t *symbols,
                            size_t *count);

/* Reads the part of a blob after its header, blob[BLOB_HEADER_BYTES, size), into t,
 * whose kind, flags, stages (none yet compiled) and table (still empty) are set.
 * Errors: FORMAT, CORRUPT, MEMORY. */
gpuzip_status blob_read_tables(tokenizer *t, int stages, const uint8_t *blob, size_t size);

#endif
