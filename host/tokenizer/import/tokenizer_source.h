/* tokenizer_source.h: a blob_source that the importers fill. */
#ifndef GPUZIP_TOKENIZER_SOURCE_H
#define GPUZIP_TOKENIZER_SOURCE_H

#include "tokenizer_blob.h"
#include "tokenizer_import.h"
#include "tokenizer_table.h"

typedef struct {
    blob_source source;   /* its arrays are those below */
    source_token *tokens; /* [source.vocab] */
    size_t merge_capacity;
    uint8_t *arena; /* [capacity] bytes of tokens and patterns */
    size_t used, capacity;
    char *error; /* [TOKENIZER_ERROR_BYTES] */
} importer;

/* Puts a sentence into im->error, unprintable bytes as '?'; returns status. */
gpuzip_status tokenizer_import_fail(importer *im, gpuzip_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The patterns of stages. capacity: the bytes that all tokens and patterns
 * together will need. Errors: MEMORY. import_end() is right in any case. */
gpuzip_status import_begin(importer *im, size_t capacity, char *error);
void import_end(importer *im);

/* Makes room for vocab tokens, none of which stands for anything yet.
 * Errors: FORMAT (vocab is 0 or too large), MEMORY. */
gpuzip_status import_vocab(importer *im, size_t vocab);

/* Sets a token that stands for text: bytes as they are (byte-level), or UTF-8
 * in which U+2581 is a space (SentencePiece; source.kind says). Byte-level
 * tokens of one byte stand for bytes. Errors: FORMAT (no such id, it is set
 * already, not UTF-8), UNSUPPORTED (too long). */
gpuzip_status import_text(importer *im, size_t id, const uint8_t *bytes, size_t size, float score);

/* Sets a token that stands for a byte. Errors: FORMAT, as import_text(). */
gpuzip_status import_byte(importer *im, size_t id, uint8_t byte);

/* Returns the value of a text "<0x0A>" with two upper-case digits, or -1. */
int import_byte_name(const uint8_t *text, size_t size);

/* Adds a merge. Errors: FORMAT (too many), MEMORY. */
gpuzip_status import_merge(importer *im, uint32_t left, uint32_t right);

/* Adds a stage; the pattern must outlive im.
 * Errors: UNSUPPORTED (too many, too long, or PCRE2 cannot compile it). */
gpuzip_status import_stage(importer *im, uint8_t behaviour, const char *pattern, size_t size);

/* Writes the blob. Errors: FORMAT, MEMORY. */
gpuzip_status import_write(importer *im, uint32_t bos, void **blob, size_t *blob_size);

#endif
