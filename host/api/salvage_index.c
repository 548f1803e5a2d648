/* salvage_index.c: see salvage_index.h. */
#include "salvage_index.h"

#include <stdlib.h>

#include "status.h"

#define ROOM_FIRST 64 /* entries; doubled as needed */

void salvage_index_begin(salvage_index *x, const container_frame *frame, size_t head_size)
{
    if (head_size)
        x->frame = *frame;
    x->head_size = head_size;
    x->entries = 0;
    x->piece = 0;
}

gpuzip_status salvage_index_add(salvage_index *x, const container_block *block, size_t size)
{
    if (x->head_size == 0)
        return GPUZIP_OK;
    if (x->entries == x->room) {
        size_t room = x->room ? 2 * x->room : ROOM_FIRST;
        container_entry *grown = realloc(x->entry, room * sizeof *grown);
        if (!grown)
            return FAIL(GPUZIP_ERR_MEMORY);
        x->entry = grown;
        x->room = room;
    }
    x->entry[x->entries++] =
        (container_entry){.kind = block->kind, .raw_size = block->raw_size, .size = (uint32_t)size};
    return GPUZIP_OK;
}

/* Another frame may begin with the same settings, so more than half of the bytes behind them must
 * be the index's. */
static bool is_similar(const uint8_t *index, const uint8_t *bytes, size_t size, size_t settings)
{
    size_t equal = 0;
    for (size_t i = settings; i < size; i++)
        equal += index[i] == bytes[i];
    return 2 * equal > size - settings;
}

size_t salvage_index_match(const salvage_index *x, const uint8_t *bytes, size_t have)
{
    uint8_t index[CONTAINER_INDEX_MAX];
    size_t size, first = (size_t)x->piece * CONTAINER_INDEX_BLOCKS;
    if (x->head_size == 0 || first >= x->entries)
        return 0;
    size_t blocks = x->entries - first;
    if (blocks > CONTAINER_INDEX_BLOCKS)
        blocks = CONTAINER_INDEX_BLOCKS;
    if (container_write_index(index, sizeof index, &size, &x->frame, x->piece, x->head_size,
                              x->entry + first, (uint32_t)blocks) != GPUZIP_OK)
        return 0;
    if (have < size || !is_similar(index, bytes, size, x->head_size))
        return 0;
    return size;
}
