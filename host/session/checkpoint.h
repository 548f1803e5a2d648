/* checkpoint.h: from the name that a user gives for a model to an opened model file. */
#ifndef GPUZIP_CHECKPOINT_H
#define GPUZIP_CHECKPOINT_H

#include "gpuzip.h"
#include "ops.h"
#include "weights.h"

#define CHECKPOINT_ERROR_BYTES GPUZIP_ERROR_BYTES

/* Writes the path of a model file or checkpoint of that name, which may be in the local Hugging
 * Face cache; false, with errno, where there is none (ENOENT) or it cannot be examined. */
bool checkpoint_find(char path[GPUZIP_PATH_BYTES], const char *name);

/* A model file in memory or on disk. */
typedef struct {
    weights_model *weights;
    void *data; /* the bytes that weights points into, when they were imported; else NULL */
} checkpoint;

/* Opens the built-in model (name NULL), a .gpzm file, or a checkpoint, which is
 * imported in memory: a Hugging Face folder, a llama2.c or llm.c .bin, or the
 * name of a model in the local Hugging Face cache. Released with
 * checkpoint_close(). options may be NULL. On an error, `error` gets the reason, on success a
 * warning or "".
 * Errors: IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
gpuzip_status checkpoint_open(checkpoint *s, const char *name, const gpuzip_import_options *options,
                              char error[CHECKPOINT_ERROR_BYTES]);
void checkpoint_close(checkpoint *s);

/* Imports a checkpoint and gives the bytes of its .gpzm, test vectors included;
 * the caller frees *data. `error` and errors: as checkpoint_open(); ARGUMENT for a .gpzm. */
gpuzip_status checkpoint_import(void **data, size_t *size, const char *name,
                                const gpuzip_import_options *options,
                                char error[CHECKPOINT_ERROR_BYTES]);

#endif
