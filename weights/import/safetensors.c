/* safetensors.c: see safetensors.h. */
#include "safetensors.h"

#include <stdio.h>
#include <string.h>

/* Of data of at least 8 bytes. */
static uint64_t read_header_size(const uint8_t *data)
{
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--)
        size = size << 8 | data[i];
    return size;
}

void safetensors_why_not(char why[JSON_ERROR_TEXT_LENGTH], const uint8_t *data, size_t size)
{
    json_error_t error = {.text = "its header is no JSON object"};
    uint64_t header_size = size < 8 ? 0 : read_header_size(data);
    if (size < 8 || header_size > size - 8)
        snprintf(error.text, sizeof error.text, "it is shorter than its header");
    else if (header_size >= 2 && data[8] == '{')
        json_decref(json_loadb((const char *)data + 8, (size_t)header_size, JSON_REJECT_DUPLICATES,
                               &error));
    memcpy(why, error.text, JSON_ERROR_TEXT_LENGTH);
}

gpuzip_status safetensors_open_memory(safetensors *s, const uint8_t *data, size_t size)
{
    if (size < 8)
        return FAIL(GPUZIP_ERR_FORMAT);
    uint64_t header_size = read_header_size(data);
    if (header_size > size - 8 || header_size < 2 || data[8] != '{')
        return FAIL(GPUZIP_ERR_FORMAT);
    if (header_size > SAFETENSORS_MAX_HEADER)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    size_t n = (size_t)header_size;
    json_t *header = json_loadb((const char *)data + 8, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(header)) {
        json_decref(header);
        return FAIL(GPUZIP_ERR_FORMAT);
    }
    *s = (safetensors){header, data + 8 + n, size - 8 - n, n};
    return GPUZIP_OK;
}

void safetensors_close(safetensors *s)
{
    json_decref(s->header);
    *s = (safetensors){0};
}

/* Reads a JSON integer in [0, most]. */
static bool read_size(const json_t *value, uint64_t most, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > most)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

gpuzip_status safetensors_find(const safetensors *s, const char *name, safetensors_tensor *t)
{
    const json_t *entry = json_object_get(s->header, name);
    if (!entry)
        return GPUZIP_ERR_ARGUMENT;
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    uint64_t begin, end;
    if (!dtype || !json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_RANK ||
        json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 1), s->size, &end) ||
        !read_size(json_array_get(offsets, 0), end, &begin))
        return FAIL(GPUZIP_ERR_CORRUPT);
    safetensors_tensor found = {.dtype = dtype,
                                .data = s->data + begin,
                                .size = (size_t)(end - begin),
                                .rank = (int)json_array_size(shape)};
    for (int i = 0; i < found.rank; i++) {
        if (!read_size(json_array_get(shape, (size_t)i), UINT32_MAX, &found.dim[i]))
            return FAIL(GPUZIP_ERR_CORRUPT);
    }
    *t = found;
    return GPUZIP_OK;
}
