/* decompressor.h: a file being decompressed, whole or in part; for decompress.c and archive.c. */
#ifndef GPUZIP_DECOMPRESSOR_H
#define GPUZIP_DECOMPRESSOR_H

#include "archive_input.h"
#include "coding_file.h"

typedef struct {
    coding_file f;
    archive_input in;
    uint64_t begin, end;  /* offsets in the content: this part of it is written */
    uint64_t read_at;     /* offset of the content of the next block to be read */
    uint64_t write_at;    /* and to be written */
    bool begun;           /* a block was read, so that write_at is known */
    uint64_t frame_bytes; /* of a frame's content written */
    uint64_t frames;      /* read whole */
} decompressor;

/* Begins a file; its input is d->in, which reads io, and its range is everything. The caller goes
 * on to decompressor_end(). Errors: NULL; `ended` has been called. */
decompressor *decompressor_open(gpuzip *gz, const gpuzip_io *io,
                                void (*ended)(void *, gpuzip_status, const gpuzip_stats *),
                                void *context);

/* Limits the output to `length` bytes from `offset` on, both of any value. */
static inline void decompressor_set_range(decompressor *d, uint64_t offset, uint64_t length)
{
    d->begin = offset;
    d->end = length < UINT64_MAX - offset ? offset + length : UINT64_MAX;
}

/* Reads the block of `size` bytes that comes next in d->in, and puts it under way. Errors: CORRUPT,
 * MODEL, UNSUPPORTED, MEMORY, DEVICE, SELF_TEST, IO, and those of writing earlier blocks. */
gpuzip_status decompressor_read_block(decompressor *d, const container_frame *frame, size_t size);

/* Ends a frame of which some blocks were left out. */
void decompressor_end_part(decompressor *d);

/* Sets the error text for a range behind the content's `size` bytes; returns ARGUMENT. */
gpuzip_status decompressor_fail_range(decompressor *d, uint64_t size);

/* Ends reading with this status. When all is written `ended` is called, and d is released. */
void decompressor_end(decompressor *d, gpuzip_status status);

#endif
