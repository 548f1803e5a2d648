/* tokenizer_import.h: other projects' tokenizer files to tokenizer blobs.
 *
 * Files come from anywhere: they may be hostile. The same file gives the same
 * blob, byte for byte, on every machine. Normalizers (NFC, removal of extra
 * white space) and splits that drop text are read but not obeyed, since a text
 * must come back as it was; added tokens are never made from text.
 *
 * All functions: *blob becomes *blob_size bytes that the caller frees. `bos`
 * is the id that stands before a text (the model's configuration knows:
 * bos_token_id, else eos_token_id), or TOKENIZER_BOS_AUTO: the file's
 * own value, else 0. On an error, `error` gets a printable sentence with the reason
 * and a remedy, ended by NUL; else it is unchanged.
 *
 * Errors of all: FORMAT (not such a file), UNSUPPORTED (a feature that gpuzip
 * lacks), MEMORY.
 */
#ifndef GPUZIP_TOKENIZER_IMPORT_H
#define GPUZIP_TOKENIZER_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpuzip_status.h"

#define TOKENIZER_BOS_AUTO    UINT32_MAX
#define TOKENIZER_ERROR_BYTES 256 /* capacity of every `error` */

/* Hugging Face tokenizer.json with a BPE model, byte-level (GPT-2, Llama 3) or
 * with SentencePiece's manners (Llama 2). */
gpuzip_status tokenizer_import_json(const void *json, size_t size, uint32_t bos, void **blob,
                                    size_t *blob_size, char error[TOKENIZER_ERROR_BYTES]);

/* GPT-2's pair of files, vocab.json and merges.txt; its pattern is assumed. */
gpuzip_status tokenizer_import_gpt2(const void *vocab_json, size_t vocab_size,
                                    const void *merges_txt, size_t merges_size, uint32_t bos,
                                    void **blob, size_t *blob_size,
                                    char error[TOKENIZER_ERROR_BYTES]);

/* SentencePiece tokenizer.model of type BPE, with or without byte fallback. */
gpuzip_status tokenizer_import_sentencepiece(const void *model, size_t size, uint32_t bos,
                                             void **blob, size_t *blob_size,
                                             char error[TOKENIZER_ERROR_BYTES]);

/* llama2.c tokenizer.bin; vocab, the number of its tokens, is not in the file:
 * it is the model's. */
gpuzip_status tokenizer_import_llama2c(const void *bin, size_t size, uint32_t vocab, uint32_t bos,
                                       void **blob, size_t *blob_size,
                                       char error[TOKENIZER_ERROR_BYTES]);

/* No file at all: the id of a byte is its value. */
gpuzip_status tokenizer_import_bytes(uint32_t bos, void **blob, size_t *blob_size,
                                     char error[TOKENIZER_ERROR_BYTES]);

#endif
