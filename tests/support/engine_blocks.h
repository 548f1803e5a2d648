/* engine_blocks.h: blocks of tokens for tests of the engine, coded as one batch of streams. */
#ifndef ENGINE_BLOCKS_H
#define ENGINE_BLOCKS_H

#include <stdlib.h>

#include "engine_mt.h"

typedef struct {
    uint32_t *token;
    size_t tokens;
    container_stream *stream; /* [streams] */
    uint32_t streams;
    gpuzip_status status; /* of decoding: the worst of its streams */
    float *measure;       /* [tokens][ENGINE_MEASURES(experts)] or NULL */
    int experts;
} text_block;

/* The streams of block[blocks]; block i has the adaptive state i. The caller frees them. */
static inline engine_stream *blocks_cut(const text_block *block, int blocks, int *streams)
{
    *streams = 0;
    for (int i = 0; i < blocks; i++)
        *streams += (int)block[i].streams;
    engine_stream *stream = calloc((size_t)*streams, sizeof *stream), *next = stream;
    for (int i = 0; i < blocks; next += block[i++].streams)
        engine_cut(next, block[i].streams, i, block[i].token, block[i].tokens, block[i].stream,
                   block[i].measure, block[i].experts);
    return stream;
}

static inline void blocks_take(text_block *block, int blocks, const engine_stream *stream)
{
    for (int i = 0; i < blocks; i++) {
        block[i].status = GPUZIP_OK;
        for (uint32_t s = 0; s < block[i].streams; s++, stream++)
            if (stream->status != GPUZIP_OK)
                block[i].status = stream->status;
    }
}

/* engine_encode() and so on, of all streams of the blocks. */
#define BLOCKS_FUNCTION(name, coder, function)                                                     \
    static inline gpuzip_status name(coder *c, text_block *block, int blocks, engine_costs *costs, \
                                     const engine_progress *progress)                              \
    {                                                                                              \
        int streams;                                                                               \
        engine_stream *stream = blocks_cut(block, blocks, &streams);                               \
        gpuzip_status status = function(c, stream, streams, costs, progress);                      \
        if (status == GPUZIP_OK || status == GPUZIP_ERR_CORRUPT)                                   \
            blocks_take(block, blocks, stream);                                                    \
        free(stream);                                                                              \
        return status;                                                                             \
    }
BLOCKS_FUNCTION(engine_encode_blocks, engine, engine_encode)
BLOCKS_FUNCTION(engine_decode_blocks, engine, engine_decode)
BLOCKS_FUNCTION(engine_mt_encode_blocks, engine_mt, engine_mt_encode)
BLOCKS_FUNCTION(engine_mt_decode_blocks, engine_mt, engine_mt_decode)

#endif
