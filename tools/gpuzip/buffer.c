/* buffer.c: see buffer.h. */
#include "buffer.h"

#include "message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool buffer_reserve(buffer *b, size_t size)
{
    if (size <= b->capacity - b->size)
        return true;
    if (size > SIZE_MAX / 2 - b->capacity)
        return false;
    size_t capacity = 2 * (b->capacity + size);
    uint8_t *data = realloc(b->data, capacity);
    if (!data)
        return false;
    b->data = data;
    b->capacity = capacity;
    return true;
}

bool buffer_read_source(buffer *b, file_source *source)
{
    for (size_t got = 1; got > 0; b->size += got) {
        if (!buffer_reserve(b, FILE_BUFFER_SIZE)) {
            message_error(source->name, "%s", strerror(ENOMEM));
            return false;
        }
        if (file_read(source, b->data + b->size, FILE_BUFFER_SIZE, &got) != 0)
            return false;
    }
    return true;
}

int buffer_on_read(void *context, void *data, size_t size, size_t *got)
{
    buffer_io *io = context;
    size_t left = io->from->size - io->at;
    *got = size < left ? size : left;
    if (*got > 0)
        memcpy(data, io->from->data + io->at, *got);
    io->at += *got;
    return 0;
}

int buffer_on_write(void *context, const void *data, size_t size)
{
    buffer *to = ((buffer_io *)context)->to;
    if (!buffer_reserve(to, size))
        return -1;
    memcpy(to->data + to->size, data, size);
    to->size += size;
    return 0;
}
