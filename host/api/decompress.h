/* decompress.h: decompressing a file or a part of it; for archive.c. */
#ifndef GPUZIP_DECOMPRESS_H
#define GPUZIP_DECOMPRESS_H

#include "decoding.h"

/* Begins a file; its input is d->in, which reads io, and its range is everything. The caller goes
 * on to decompress_end(). Errors: NULL; `ended` has been called. */
decoding *decompress_open(gpuzip *gz, const gpuzip_io *io,
                          void (*ended)(void *, gpuzip_status, const gpuzip_stats *),
                          void *context);

/* Limits the output to `length` bytes from `offset` on, both of any value. */
static inline void decompress_set_range(decoding *d, uint64_t offset, uint64_t length)
{
    d->begin = offset;
    d->end = length < UINT64_MAX - offset ? offset + length : UINT64_MAX;
}

/* Reads the block of `size` bytes that comes next in d->in, and puts it under way. Errors: IO, and
 * those of decoding_block(). */
gpuzip_status decompress_block(decoding *d, const container_frame *frame, size_t size);

/* Sets the error text for a range behind the content's `size` bytes; returns ARGUMENT. */
gpuzip_status decompress_fail_range(decoding *d, uint64_t size);

/* Ends reading with this status. When all is written `ended` is called, and d is released. */
void decompress_end(decoding *d, gpuzip_status status);

#endif
