/* tokenizer.h: text to token ids and back, without loss.
 *
 * The law: decode(encode(x)) == x for every byte string x, whatever it holds:
 * NUL, invalid UTF-8, U+2581, the text of a special token. Nothing is
 * normalised away; text outside the vocabulary is coded byte by byte.
 * Special tokens (BOS and the like) are never made from text. On valid UTF-8
 * that the reference tokenizer would not normalise, the ids are the
 * reference's.
 *
 * Ids. A model has `vocab` ids, at least as many as its tokenizer (the rest is
 * padding that no text makes). A vocabulary that lacks tokens for single bytes
 * gets 256 escapes after the model's ids:
 *
 *     [0, tokenizer_vocab)             the tokenizer's tokens
 *     [tokenizer_vocab, vocab)         padding of the model; never made
 *     [vocab, vocab + escapes)         id vocab + b stands for the byte b
 *
 * so tokenizer_encode() makes ids below vocab + tokenizer_escapes(t).
 *
 * A tokenizer is opened from a blob (tokenizer_blob.h has its layout),
 * which the importers of tokenizer_import.h make and a .gpzm file carries.
 * Blobs may be hostile: any blob that opens round-trips.
 *
 * Threads: an open tokenizer is never written to; any number of threads may
 * use one at the same time. There is no global state.
 */
#ifndef GPUZIP_TOKENIZER_H
#define GPUZIP_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpuzip_status.h"

typedef struct tokenizer tokenizer;

/* The most bytes that one token stands for. */
#define TOKENIZER_TOKEN_BYTES_MAX 512u

/* The most bytes that one call of tokenizer_encode() takes. */
#define TOKENIZER_TEXT_BYTES_MAX ((size_t)1 << 30)

/* Opens the tokenizer that blob[0, size) describes, for a model with `vocab`
 * ids (0: as many as the tokenizer has). The blob is not needed afterwards.
 * The caller owns *t and releases it with tokenizer_close(), which accepts
 * NULL. Errors: FORMAT (not a blob, or vocab is too small for it), CORRUPT
 * (truncated), UNSUPPORTED (a newer version), MEMORY. */
gpuzip_status tokenizer_open(tokenizer **t, const void *blob, size_t size, uint32_t vocab);
void tokenizer_close(tokenizer *t);

/* Returns "byte-level BPE", "SentencePiece BPE" or "bytes". */
const char *tokenizer_name(const tokenizer *t);

/* Returns the number of ids of the tokenizer itself, >= 1. */
uint32_t tokenizer_vocab(const tokenizer *t);

/* Returns 0 when every byte has a token, else 256; see above. */
uint32_t tokenizer_escapes(const tokenizer *t);

/* Returns the id that stands before the first token of a text: BOS, else EOS,
 * else 0. It is below tokenizer_vocab(t). */
uint32_t tokenizer_bos(const tokenizer *t);

/* Returns how many bytes at the start of the concatenated bytes of a text's
 * tokens do not belong to the text: 1 when the tokenizer puts a space before
 * every text (SentencePiece's dummy prefix), else 0. */
size_t tokenizer_prefix_bytes(const tokenizer *t);

/* Encodes text[0, size): (*ids)[0, *count), at most size + 1 of them and none
 * for an empty text; no BOS is put before them. The caller frees *ids, which
 * is never NULL on success. Linear in size but for pieces that the splitting
 * pattern leaves long (n log n in their length).
 * Errors: ARGUMENT (size > TOKENIZER_TEXT_BYTES_MAX), MEMORY. */
gpuzip_status tokenizer_encode(const tokenizer *t, const uint8_t *text, size_t size, uint32_t **ids,
                               size_t *count);

/* Points *bytes at the *size bytes, 1 .. TOKENIZER_TOKEN_BYTES_MAX, that a
 * token stands for; they live as long as t. A text is the concatenation of its
 * tokens' bytes without the first tokenizer_prefix_bytes(t).
 * Errors: CORRUPT (the id is none that tokenizer_encode() makes). */
gpuzip_status tokenizer_token_bytes(const tokenizer *t, uint32_t id, const uint8_t **bytes,
                                    size_t *size);

/* The inverse of tokenizer_encode(): the text is (*text)[0, *size), without
 * the prefix. The caller frees *text, which is never NULL on success.
 * Errors: CORRUPT (as tokenizer_token_bytes()), MEMORY. */
gpuzip_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, size_t count,
                               uint8_t **text, size_t *size);

#endif
