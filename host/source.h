/* source.h: from what a user names as a model to an opened one. */
#ifndef GPUZIP_SOURCE_H
#define GPUZIP_SOURCE_H

#include "ops.h"
#include "weights.h"

#define SOURCE_ERROR_BYTES GPUZIP_ERROR_BYTES

/* A model file in memory or on disk. */
typedef struct {
    weights_model *weights;
    void *data; /* the bytes that weights points into, when they were imported; else NULL */
} source;

/* Opens the built-in model (name NULL), a .gpzm file, or a checkpoint, which is
 * imported in memory: a Hugging Face folder, a llama2.c or llm.c .bin, or the
 * name of a model in the local Hugging Face cache. Released with
 * source_close(). options may be NULL. On an error, `error` says what was wrong.
 * Errors: IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
gpuzip_status source_open(source *s, const char *name, const gpuzip_import_options *options,
                          char error[SOURCE_ERROR_BYTES]);
void source_close(source *s);

/* Imports a checkpoint and gives the bytes of its .gpzm, test vectors included;
 * the caller frees *data. Errors: as source_open(); ARGUMENT for a .gpzm. */
gpuzip_status source_import(void **data, size_t *size, const char *name,
                            const gpuzip_import_options *options, char error[SOURCE_ERROR_BYTES]);

#endif
