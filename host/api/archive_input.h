/* archive_input.h: a .gpz file read piece by piece through gpuzip_io, for decompressing and
 * listing. */
#ifndef GPUZIP_ARCHIVE_INPUT_H
#define GPUZIP_ARCHIVE_INPUT_H

#include "container.h"
#include "session.h"

/* A window of the input: bytes that were read and not yet used. Zeroed but for io to begin
 * with; its owner frees data. */
typedef struct {
    const gpuzip_io *io;
    uint8_t *data;               /* of malloc() */
    size_t first, end, capacity; /* unused bytes are data[first, end) */
    uint64_t bytes_in;           /* read so far */
    bool ended;                  /* the input has no more */
} archive_input;

/* Reads until `size` unused bytes are in the window or the input ends. Errors: MEMORY, IO. */
gpuzip_status archive_fill(archive_input *in, size_t size);

/* Unused bytes in the window, at most `wanted`. */
size_t archive_have(const archive_input *in, size_t wanted);

/* Reads the frame header that comes next. Sets gz's error text for another version of the
 * format. Errors: FORMAT, CORRUPT, UNSUPPORTED, MEMORY, IO. */
gpuzip_status archive_frame(gpuzip *gz, archive_input *in, container_frame *frame);

/* Reads the beginning of the next block or end mark, and leaves it unused.
 * Errors: CORRUPT, UNSUPPORTED, MEMORY, IO. */
gpuzip_status archive_prefix(archive_input *in, container_prefix *prefix);

/* Reads a frame's end mark of `size` bytes. Errors: CORRUPT, MEMORY, IO. */
gpuzip_status archive_end(archive_input *in, size_t size, container_end *end);

/* Sets *more to whether another frame follows; zero bytes up to the end of the input are padding,
 * as of tapes. Errors: FORMAT (something else follows zeros), MEMORY, IO. */
gpuzip_status archive_more(archive_input *in, bool *more);

/* Skips `size` bytes without holding them all. Errors: CORRUPT (the input ends before), MEMORY,
 * IO. */
gpuzip_status archive_skip(archive_input *in, size_t size);

/* Sets gz's error text for a status that reading an archive gave, unless a text is set
 * already. frames: complete frames before. Returns the status, or CORRUPT where bytes that are
 * no archive follow a frame. */
gpuzip_status archive_fail(gpuzip *gz, gpuzip_status status, uint64_t frames);

#endif
