/* buffer.h: bytes in memory, as the library's callbacks and the program's files see them. */
#ifndef BUFFER_H
#define BUFFER_H

#include "file_io.h"

/* data[0, size) of data[0, capacity). All zero at first; the owner frees data. */
typedef struct {
    uint8_t *data;
    size_t size, capacity;
} buffer;

/* Makes room for size more bytes; false when memory is short. */
bool buffer_reserve(buffer *b, size_t size);

/* Reads all of an open source. Returns false after telling the user. */
bool buffer_read_source(buffer *b, file_source *source);

/* The context of the callbacks below, or its first member. */
typedef struct {
    const buffer *from;
    size_t at; /* bytes of from->data that were read */
    buffer *to;
} buffer_io;

/* gpuzip_io's read and write. */
int buffer_on_read(void *context, void *data, size_t size, size_t *got);
int buffer_on_write(void *context, const void *data, size_t size);

#endif
