/* salvage_index.h: whether damaged bytes behind a frame are its index, which has no content. */
#ifndef GPUZIP_SALVAGE_INDEX_H
#define GPUZIP_SALVAGE_INDEX_H

#include "container.h"

/* The blocks of the frame read last, from which its index can be made anew. Zeroed to begin with;
 * its owner frees entry. */
typedef struct {
    container_frame frame;  /* its settings */
    size_t head_size;       /* bytes of its header; 0: unknown, or blocks of it are lost */
    container_entry *entry; /* [entries] of [room] its blocks, 12 bytes each */
    size_t entries, room;
    uint32_t piece; /* index frames passed behind it */
} salvage_index;

/* Forgets the frame; a new one begins with this header of head_size bytes, or with head_size 0 an
 * unknown one, which no index will fit. */
void salvage_index_begin(salvage_index *x, const container_frame *frame, size_t head_size);

/* Notes an intact block of `size` bytes. Errors: MEMORY. */
gpuzip_status salvage_index_add(salvage_index *x, const container_block *block, size_t size);

/* Returns the size of the next index frame if it stands at bytes[0, have), although it may be
 * damaged; 0 if something else may have been there, or if the input ends within it: nobody knows
 * how much was cut off. have: CONTAINER_INDEX_MAX or more, less only where the input ends. */
size_t salvage_index_match(const salvage_index *x, const uint8_t *bytes, size_t have);

#endif
