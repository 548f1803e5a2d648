/* decoding.h: a file being decompressed: its blocks and ends put under way, written in order. */
#ifndef GPUZIP_DECODING_H
#define GPUZIP_DECODING_H

#include "archive_input.h"
#include "coding_file.h"
#include "salvage_index.h"

typedef struct {
    coding_file f;
    archive_input in;
    uint64_t begin, end;  /* offsets in the content: this part of it is written */
    uint64_t read_at;     /* offset of the content of the next block to be read */
    uint64_t write_at;    /* and to be written */
    bool begun;           /* a block was read, so that write_at is known */
    uint64_t frame_bytes; /* of a frame's content written, zeros for lost bytes included */
    uint64_t frames;      /* read whole */
    bool recognised;      /* salvaging: an intact part of an archive was found */
    salvage_index index;  /* salvaging: of the frame being read */
    bool frame_damaged;   /* the frame being written lost bytes: its hash cannot fit */
    bool frame_inexact;   /* nobody knows how many */
    bool damaged;         /* bytes were lost, and io.lost was told */
} decoding;

/* Puts a block of `size` bytes that is whole in the input under way, and uses it up; d->read_at
 * becomes its successor's. *read is what container_read_block() gives for it. A coded one needs the
 * frame's models. Errors: CORRUPT (a packed block with a check that fits), MODEL, UNSUPPORTED,
 * MEMORY, DEVICE and so on, and those of writing earlier blocks. */
gpuzip_status decoding_block(decoding *d, const container_frame *frame, const container_block *read,
                             size_t size);

/* Ends a frame of which some blocks were left out. */
void decoding_end_part(decoding *d);

/* Puts the end of a frame under way. Errors: those of writing earlier blocks. */
gpuzip_status decoding_end(decoding *d, const container_end *end);

/* Puts a gap under way: `size` lost bytes of content, at most CONTAINER_RAW_MAX, in whose place
 * zeros are written; 0: nobody knows how many. Needs io.lost. Errors: those of writing earlier
 * blocks. */
gpuzip_status decoding_gap(decoding *d, uint32_t size);

#endif
