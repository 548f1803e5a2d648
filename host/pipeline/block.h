/* block.h: one block on its way through compression or decompression: everything but its
 * reading and writing.
 *
 * Three steps: block_prepare() and block_finish() are the host's, for any number of blocks
 * in as many threads at once; block_code() between them is a device's, for several blocks
 * together. What comes out depends on neither.
 */
#ifndef GPUZIP_BLOCK_H
#define GPUZIP_BLOCK_H

#include "container.h"
#include "lanes.h"
#include "tokenizer.h"

/* What holds for all blocks of a frame. */
typedef struct {
    bool decode;
    bool verify;  /* decode what was encoded again */
    bool measure; /* encoding: measure every token */
    const tokenizer *t;
    engine_config config;                           /* of no device */
    const weights_model *model[GPUZIP_MAX_EXPERTS]; /* of config's experts, or NULL */
    uint64_t memory_limit;                          /* bytes that coding may take; 0: none */
    uint64_t pack_memory; /* encoding: bytes that packing a block may take; 0: no limit */
    bool no_packing;      /* encoding: blocks are coded or stored */
    size_t stream_tokens; /* encoding: a stream is given about as many; 0: one stream a block */
    size_t streams;       /* encoding: what the caller asked for, or 0 */
} block_rules;

/* A block's tokens, and a byte string a stream. */
typedef struct {
    uint32_t *token; /* [tokens] */
    size_t tokens;
    container_stream *stream; /* [streams] */
    uint32_t streams;
    float *measure; /* [tokens][ENGINE_MEASURES(experts)] or NULL */
} block_work;

/* Buffers are kept for the next block in the same place. */
typedef struct {
    uint8_t *raw; /* [raw_size] content: read by the encoder, made by the decoder */
    size_t raw_size, raw_capacity;
    uint8_t *code; /* [code_size] the same as a block of a .gpz file, and vice versa */
    size_t code_size, code_capacity;
    container_block coded; /* the decoder's: code, read */
    container_kind kind;   /* encoding: CODED until it is clear that the model does not suit the
                              content; decoding: as read. A device has to do with CODED alone */
    size_t estimate;       /* encoding: packed_estimate() of the content; 0: not made */
    gpuzip_status status;  /* the last step's */

    /* From block_prepare() to block_finish(); the numbers stay. */
    block_work work;       /* owned */
    uint8_t *stream_bytes; /* the encoder's streams */
    uint32_t *again;       /* [work.tokens] decoded from them, or NULL */
    size_t tokens;         /* of the coded block */
    uint32_t streams;      /* likewise */
    uint32_t *token;       /* [tokens] of a measured block that was coded, or NULL */
    float *measure;        /* [tokens][ENGINE_MEASURES(experts)] likewise */
    double seconds_tokenizer, coder_bits;
    double model_bits; /* -log2(freq / 2^30) of its tokens; 0 if it is not coded */
} block;

/* What coding some blocks together cost. */
typedef struct {
    engine_costs engine; /* without the verification */
    double seconds_verify;
    int blocks; /* of the batch */
} block_costs;

/* Makes room for code of so many bytes. Errors: MEMORY. */
gpuzip_status block_reserve(block *b, size_t code_size);

/* Makes room for content of so many bytes; what is there is kept. Errors: MEMORY. */
gpuzip_status block_extend(block *b, size_t raw_size);

/* Releases all that the block holds. */
void block_close(block *b);

/* Bytes of memory that a block of so much content holds at most while it is worked on,
 * for text; content of very short tokens takes up to twice as much. */
uint64_t block_bytes(const block_rules *rules, size_t raw_size);

/* Bytes of memory that coding a block takes by the file format's nature: the caches of its
 * streams, the rows of a pass and what adapts. The same on every device, for what is
 * compressed must not depend on it; block_code() takes about as much. */
uint64_t block_coding_bytes(const block_rules *rules, size_t tokens, uint32_t streams);

/* Encoding: cuts raw into tokens and streams, unless it is clear that the model does not suit
 * the content. Decoding: finds the streams of b->coded. Errors (also in b->status): MEMORY. */
gpuzip_status block_prepare(const block_rules *rules, block *b);

/* Codes b[n], n >= 1, as one batch, all of them CODED; one that does not become
 * smaller is STORED then. A block's own
 * status tells CORRUPT, or SELF_TEST where the verification failed; then the others are
 * coded still and the status is OK. The costs are set. Errors: MEMORY, DEVICE, CANCELLED. */
gpuzip_status block_code(const block_rules *rules, lanes *l, block *const *b, int n,
                         block_costs *costs, const engine_progress *progress);

/* Writes the streams of a block that is prepared to stream[b->work.streams]. */
void block_streams(const block_rules *rules, const block *b, engine_stream *stream);

/* Encoding: writes code, as the kind of block that is smallest, and compares what it holds with
 * raw. Decoding: writes raw of a coded block. Errors (also in b->status): SELF_TEST, CORRUPT,
 * MEMORY. */
gpuzip_status block_finish(const block_rules *rules, block *b);

/* Decoding: writes raw of b->coded, a packed block; takes packed_unpack_bytes() beside it.
 * Errors: CORRUPT, MEMORY. */
gpuzip_status block_unpack(block *b);

#endif
