/* block.h: compression and decompression of one block, without reading and writing files.
 *
 * Three steps: block_prepare() and block_finish() run on the host, for any number of blocks
 * in as many threads at once; block_code() between them runs on a device, for a batch of
 * blocks. The output depends on neither threads nor batches.
 */
#ifndef GPUZIP_BLOCK_H
#define GPUZIP_BLOCK_H

#include "container.h"
#include "engine_mt.h"
#include "tokenizer.h"

/* Settings of all blocks of a frame. */
typedef struct {
    bool decode;
    bool verify;  /* decode each encoded block and compare */
    bool measure; /* encoding: measure every token */
    const tokenizer *t;
    engine_config config;                           /* not bound to a device */
    const weights_model *model[GPUZIP_MAX_EXPERTS]; /* of config's experts, or NULL */
    uint64_t memory_limit;                          /* bytes that coding may take; 0: none */
    uint64_t pack_memory; /* encoding: bytes that packing a block may take; 0: no limit */
    bool no_packing;      /* encoding: blocks are coded or stored */
    size_t stream_tokens; /* encoding: tokens a stream, about; 0: one stream a block */
    size_t streams;       /* encoding: the caller's streams a block, or 0 */
} block_rules;

/* A block's tokens, and a byte string a stream. */
typedef struct {
    uint32_t *token; /* [tokens] */
    size_t tokens;
    container_stream *stream; /* [streams] */
    uint32_t streams;
    float *measure; /* [tokens][ENGINE_MEASURES(experts)] or NULL */
} block_work;

/* Buffers are reused for the next block in the same place. */
typedef struct {
    uint8_t *content; /* [content_size] read by the encoder, made by the decoder */
    size_t content_size, content_capacity;
    uint8_t *code; /* [code_size] the same as a block of a .gpz file, and vice versa */
    size_t code_size, code_capacity;
    container_block coded; /* the decoder's: code, read */
    container_kind kind;   /* encoding: CODED until the model is known not to suit the
                              content; decoding: as read. Devices process only CODED */
    size_t estimate;       /* encoding: packed_estimate() of the content; 0: not made */
    gpuzip_status status;  /* the last step's */

    /* Memory held from block_prepare() to block_finish(); the numbers stay. */
    block_work work;         /* owned */
    uint8_t *stream_bytes;   /* the encoder's streams */
    uint32_t *verify_tokens; /* [work.tokens] decoded from them, or NULL */
    size_t tokens;           /* of the coded block */
    uint32_t streams;        /* likewise */
    uint32_t *token;         /* [tokens] of a measured block that was coded, or NULL */
    float *measure;          /* [tokens][ENGINE_MEASURES(experts)] likewise */
    double seconds_tokenizer, coder_bits;
    double model_bits; /* -log2(freq / 2^30) of its tokens; 0 if it is not coded */
} block;

/* Costs of a batch of blocks. */
typedef struct {
    engine_costs engine; /* of the verification only its seconds */
    int blocks;          /* of the batch */
} block_costs;

/* Grows code to so many bytes. Errors: MEMORY. */
gpuzip_status block_reserve(block *b, size_t code_size);

/* Grows content to so many bytes and keeps those in it. Errors: MEMORY. */
gpuzip_status block_extend(block *b, size_t content_size);

/* Releases the block's memory. */
void block_close(block *b);

/* The most memory, in bytes, of a block of content_size bytes in progress, for text; content of
 * very short tokens takes up to twice as much. */
uint64_t block_bytes(const block_rules *rules, size_t content_size);

/* Nominal memory, in bytes, for coding a block: the KV caches of its streams, the rows of a pass
 * and the adaptive state. The same on every device, since compressed bytes depend on it;
 * block_code() takes about as much. */
uint64_t block_coding_bytes(const block_rules *rules, size_t tokens, uint32_t streams);

/* Of these the adaptive state's part, which each block of a batch takes. */
uint64_t block_adaptive_bytes(const block_rules *rules, size_t tokens, uint32_t streams);

/* Nominal memory, in bytes, for a block and its coding. */
uint64_t block_needed_bytes(const block_rules *rules, size_t content_size, size_t tokens,
                            uint32_t streams);

/* Encoding: cuts content into tokens and streams, unless the model clearly does not suit it or
 * coding needs more memory than the limit.
 * Decoding: finds the streams of b->coded. Errors (also in b->status): MEMORY. */
gpuzip_status block_prepare(const block_rules *rules, block *b);

/* Codes b[n], n >= 1, all of them CODED, as one batch; a block that does not shrink becomes STORED.
 * Sets a block's own status to CORRUPT, or to SELF_TEST if its verification failed; the others are
 * still coded and OK is returned. Sets *costs. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status block_code(const block_rules *rules, engine_mt *mt, block *const *b, int n,
                         block_costs *costs, const engine_progress *progress);

/* Writes the streams of a prepared block to stream[b->work.streams]. */
void block_streams(const block_rules *rules, const block *b, engine_stream *stream);

/* Encoding: writes code as the smallest kind of block; with rules->verify reads it back and
 * compares it with content. Decoding: writes content of a coded block. Errors (also in b->status):
 * SELF_TEST, CORRUPT, MEMORY. */
gpuzip_status block_finish(const block_rules *rules, block *b);

/* Decoding: writes content of b->coded, a packed block; takes packed_unpack_bytes() of memory
 * besides. Errors: CORRUPT, MEMORY. */
gpuzip_status block_unpack(block *b);

#endif
