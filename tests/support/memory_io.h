/* memory_io.h: a gpuzip_io between buffers, that reads and writes in odd portions. */
#ifndef GPUZIP_MEMORY_IO_H
#define GPUZIP_MEMORY_IO_H

#include <stdlib.h>
#include <string.h>

#include "gpuzip.h"

typedef struct {
    const uint8_t *in;
    size_t in_size, in_pos;
    size_t portion; /* the most bytes a read gives; 0: any number */
    uint8_t *out;   /* malloc'd */
    size_t out_size, out_capacity;
    int cancel_after; /* progress calls; 0: never */
    int told;
} memory_io;

static int memory_read(void *context, void *data, size_t size, size_t *got)
{
    memory_io *m = context;
    size_t n = m->in_size - m->in_pos;
    n = n < size ? n : size;
    if (m->portion && n > m->portion)
        n = m->portion;
    if (n)
        memcpy(data, m->in + m->in_pos, n);
    m->in_pos += n;
    *got = n;
    return 0;
}

static int memory_write(void *context, const void *data, size_t size)
{
    memory_io *m = context;
    if (m->out_size + size > m->out_capacity) {
        size_t capacity = 2 * (m->out_size + size);
        uint8_t *grown = realloc(m->out, capacity);
        if (!grown)
            return -1;
        m->out = grown;
        m->out_capacity = capacity;
    }
    memcpy(m->out + m->out_size, data, size);
    m->out_size += size;
    return 0;
}

static int memory_progress(void *context, uint64_t bytes_in, uint64_t bytes_out)
{
    memory_io *m = context;
    (void)bytes_in;
    (void)bytes_out;
    return ++m->told == m->cancel_after;
}

static inline gpuzip_io memory_callbacks(memory_io *m)
{
    return (gpuzip_io){m, memory_read, memory_write, memory_progress};
}

#endif
