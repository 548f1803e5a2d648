/* safetensors.h: reads the safetensors format: u64 header size, JSON header, data.
 *
 * Files are hostile input. Only tensors that are asked for are checked. */
#ifndef GPUZIP_SAFETENSORS_H
#define GPUZIP_SAFETENSORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define SAFETENSORS_MAX_HEADER ((size_t)4 << 20) /* bytes; the format allows 100 MB */
#define SAFETENSORS_MAX_RANK   8

typedef struct {
    json_t *header;
    const uint8_t *data; /* [size], behind the header */
    size_t size;
    size_t header_size; /* bytes of JSON */
} safetensors;

typedef struct {
    const char *dtype;   /* as in the header, e.g. "BF16"; lives as long as the safetensors */
    const uint8_t *data; /* [size], not aligned */
    size_t size;
    uint64_t dim[SAFETENSORS_MAX_RANK];
    int rank;
} safetensors_tensor;

/* Parses bytes that must outlive *s; released with safetensors_close(), which
 * accepts a zeroed one. Errors: FORMAT (not safetensors), UNSUPPORTED (header too
 * long). */
gpuzip_status safetensors_open_memory(safetensors *s, const uint8_t *data, size_t size);
/* Says why safetensors_open_memory() refuses data as FORMAT. */
void safetensors_why_not(char why[JSON_ERROR_TEXT_LENGTH], const uint8_t *data, size_t size);

void safetensors_close(safetensors *s);

/* Finds a tensor. Errors: ARGUMENT (no such name), CORRUPT (its entry is malformed
 * or outside the file). The size is not compared with shape and dtype. */
gpuzip_status safetensors_find(const safetensors *s, const char *name, safetensors_tensor *t);

#endif
