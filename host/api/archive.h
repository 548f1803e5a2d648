/* archive.h: an archive that is read in any order: the table of its frames and blocks.
 *
 * archive_table.c makes the table from the indexes at the ends of frames, as far as there are any
 * from the end of the archive on, and from the headers of the frames and blocks before. An index
 * may lie: archive_verify() compares it with the headers.
 */
#ifndef GPUZIP_ARCHIVE_H
#define GPUZIP_ARCHIVE_H

#include "archive_input.h"

typedef struct {
    uint64_t at;      /* of its first byte in the archive */
    uint64_t content; /* of its first byte in the content */
    uint32_t size, raw_size;
    container_kind kind;
    uint32_t frame; /* index */
} archive_block;

typedef struct {
    uint64_t at, content; /* as of a block */
    uint64_t raw_size;    /* bytes of content */
    uint64_t end_at;      /* of its end mark */
    uint32_t head_size;
} archive_frame_place;

/* The archive as gpuzip_io reads it: on from a place that may be changed. */
typedef struct {
    const gpuzip_source *source;
    uint64_t at;
} archive_reader;

struct gpuzip_archive {
    gpuzip_source source;
    archive_frame_place *frame; /* [frames] of [frame_room]; index frames are left out */
    size_t frames, frame_room;
    archive_block *block; /* [blocks] of [block_room] */
    size_t blocks, block_room;
    uint64_t size; /* bytes of content */

    /* How far the table was compared with the headers. */
    size_t frames_known, blocks_known;

    uint8_t *cache; /* [cache_room] content of the block number `cached` */
    size_t cache_room, cached;
    bool has_cached;
};

/* Makes the table of a zeroed a but for its source. The caller releases it, also after an error.
 * Errors: FORMAT, CORRUPT, UNSUPPORTED, MEMORY, IO. */
gpuzip_status archive_make_table(gpuzip *gz, gpuzip_archive *a);

/* Compares the table with the archive's headers up to block i. Errors: CORRUPT, MEMORY, IO, with
 * gz's error text set. */
gpuzip_status archive_verify(gpuzip *gz, gpuzip_archive *a, size_t i);

/* Returns the block that has the byte `offset` < a->size of the content. */
size_t archive_find(const gpuzip_archive *a, uint64_t offset);

/* Makes `in` read the archive through *reader and *io, from a place on. *in is zeroed, or was made
 * by this function; its owner frees in->data. */
void archive_go(archive_input *in, archive_reader *reader, gpuzip_io *io, uint64_t at);

#endif
