/* container.h: the .gpz format, version 2. FORMAT.md defines it byte by byte.
 *
 * A file is one or more frames: a frame header, blocks, an end mark. Here they
 * are written to and read from memory, without any input, output or allocation.
 *
 * To read a frame from a file or a pipe:
 *     fetch CONTAINER_FRAME_PREFIX bytes, container_peek_frame() gives the
 *     header's size; fetch the rest of it, container_read_frame(); then, until
 *     the end mark, fetch CONTAINER_BLOCK_PREFIX bytes, container_peek_block()
 *     gives the kind and size; fetch the rest (or skip it, to list a file), and
 *     container_read_block() or container_read_end().
 * A whole frame always has that many bytes there. Where the input ends sooner,
 * call the function with the fewer bytes there are: it returns CORRUPT (or
 * FORMAT if they are not the beginning of a frame).
 *
 * Any bytes may be read. Outputs are written only on success.
 * FORMAT: not a .gpz file. CORRUPT: truncated or changed. UNSUPPORTED: intact,
 * but of another version of the format, see container_frame_version(), or with a
 * feature that this one lacks. CAPACITY: the buffer is too small. ARGUMENT: a
 * value is out of the range given here.
 */
#ifndef GPUZIP_CONTAINER_H
#define GPUZIP_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule.h"
#include "status.h"

#define CONTAINER_VERSION     2
#define CONTAINER_RAW_MAX     ((uint32_t)1 << 24) /* bytes of content a block */
#define CONTAINER_STREAMS_MAX 65536u
#define CONTAINER_EXPERTS_MAX 8
#define CONTAINER_ALPHA_MAX   (((uint32_t)1 << 20) - 1)
#define CONTAINER_ALPHA_ONE   ((uint32_t)1 << 16)
#define CONTAINER_LEARNT_MAX  ((uint32_t)1 << 17) /* of an alpha that is learnt */
#define CONTAINER_PRIOR_MAX   0u
#define CONTAINER_MODEL_BYTES 8

#define CONTAINER_FRAME_PREFIX 7    /* bytes that tell the size of a frame header */
#define CONTAINER_FRAME_MAX    4096 /* bytes of a frame header that may be read */
#define CONTAINER_FRAME_BOUND  128  /* bytes of any that container_write_frame() writes */
#define CONTAINER_BLOCK_PREFIX 10   /* bytes that hold a block's kind and size */
#define CONTAINER_END_MAX      18   /* bytes of an end mark */
#define CONTAINER_SIZE_MAX     (((uint64_t)1 << 63) - 1) /* bytes of content a frame */
#define CONTAINER_INDEX_BLOCKS 480                 /* blocks that an index frame lists at most */
#define CONTAINER_INDEX_MAX    4106                /* bytes of an index frame */
#define CONTAINER_PIECES_MAX   ((uint32_t)1 << 24) /* index frames of a frame */

/* Values are part of the format. */
typedef enum {
    CONTAINER_EXPERT_MODEL = 0,      /* a language model */
    CONTAINER_EXPERT_NAIVE_BAYES = 1 /* unigram counts */
} container_expert_kind;

typedef struct {
    container_expert_kind kind;
    uint32_t alpha;                          /* weight, Q16, 0 .. CONTAINER_ALPHA_MAX */
    uint8_t model_id[CONTAINER_MODEL_BYTES]; /* EXPERT_MODEL: the first bytes of its SHA-256 */
} container_expert;

/* The settings that all blocks of a frame share. */
typedef struct {
    schedule schedule;
    bool contexts;       /* context models propose candidates */
    bool biases;         /* the mixing learns a bias a symbol */
    bool learns_alphas;  /* and the experts' alphas, each <= CONTAINER_LEARNT_MAX */
    bool learns_weights; /* the language models' matrices learn; blocks have at most
                            SCHEDULE_WEIGHT_STREAMS streams */
    bool is_index;       /* has an index record (reading; ignored by container_write_frame()) */
    uint32_t prior;      /* with contexts: id of their start values, 0 .. CONTAINER_PRIOR_MAX */
    int experts;         /* 1 .. CONTAINER_EXPERTS_MAX */
    container_expert expert[CONTAINER_EXPERTS_MAX];
} container_frame;

/* Values are part of the format. */
typedef enum {
    CONTAINER_END = 0,    /* the end mark */
    CONTAINER_STORED = 1, /* content as it is */
    CONTAINER_CODED = 2,  /* content as range-coded tokens */
    CONTAINER_PACKED = 3  /* content as a general codec packed it */
} container_kind;

/* One range coder's bytes. */
typedef struct {
    const uint8_t *data; /* [size]; may be NULL if size is 0 */
    size_t size;
} container_stream;

/* A block that has been read. Pointers point into the source. */
typedef struct {
    container_kind kind;
    uint32_t raw_size;      /* bytes of content, 1 .. CONTAINER_RAW_MAX */
    const uint8_t *payload; /* [payload_size] stored: the content; coded: the streams; packed: the
                               codec's output, 1 byte or more */
    size_t payload_size;
    uint32_t tokens;        /* coded: 1 .. raw_size + 1 */
    uint32_t streams;       /* coded: 1 .. CONTAINER_STREAMS_MAX, see container_fit_streams() */
    uint32_t content_check; /* coded, packed: container_check() of the content */
    const uint8_t *table;   /* coded: the streams' sizes, for container_read_streams() */
} container_block;

typedef struct {
    uint64_t raw_size;     /* bytes of content of all blocks, 0 .. CONTAINER_SIZE_MAX */
    uint64_t content_hash; /* container_hash_value() of the content of all blocks in order */
} container_end;

/* -- frame header --------------------------------------------------------- */

/* Writes a frame header to dst and its size to *size. A capacity of
 * CONTAINER_FRAME_BOUND suffices. Errors: ARGUMENT, CAPACITY. */
gpuzip_status container_write_frame(uint8_t *dst, size_t capacity, size_t *size,
                                    const container_frame *frame);

/* Finds the size of the frame header (more than CONTAINER_FRAME_PREFIX, at most
 * CONTAINER_FRAME_MAX) that begins at src. size: CONTAINER_FRAME_PREFIX or more,
 * less only where the input ends. Errors: FORMAT, CORRUPT. */
gpuzip_status container_peek_frame(const uint8_t *src, size_t size, size_t *frame_size);

/* Reads a whole frame header; size: from container_peek_frame(), or less where the
 * input ends. Errors: FORMAT, CORRUPT, UNSUPPORTED. */
gpuzip_status container_read_frame(container_frame *frame, const uint8_t *src, size_t size);

/* Returns the version (0 .. 255) of a frame header that container_read_frame() read, or found
 * UNSUPPORTED. src: [CONTAINER_FRAME_PREFIX or more]. */
int container_frame_version(const uint8_t *src);

/* -- blocks --------------------------------------------------------------- */

/* Returns the size in bytes of a stored block. raw_size: 1 .. CONTAINER_RAW_MAX. */
size_t container_stored_size(uint32_t raw_size);

/* Returns the size in bytes of a coded block. If it is not below
 * container_stored_size(), or tokens > raw_size + 1, the content must be stored. */
size_t container_coded_size(uint32_t raw_size, uint32_t tokens, const container_stream *stream,
                            uint32_t streams);

/* Returns the size in bytes of a packed block. If it is not below container_stored_size(), the
 * content must not be packed. */
size_t container_packed_size(uint32_t raw_size, size_t payload_size);

/* Writes raw[0, raw_size) as a stored block. A capacity of
 * container_stored_size(raw_size) suffices. Errors: ARGUMENT, CAPACITY. */
gpuzip_status container_write_stored(uint8_t *dst, size_t capacity, size_t *size,
                                     const uint8_t *raw, uint32_t raw_size);

/* Writes stream[0, streams) as a coded block of tokens 1 .. raw_size + 1 that stand
 * for raw[0, raw_size). streams is a value of container_fit_streams().
 * Errors: ARGUMENT (also if it must be stored), CAPACITY. */
gpuzip_status container_write_coded(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                                    uint32_t raw_size, uint32_t tokens,
                                    const container_stream *stream, uint32_t streams);

/* Writes payload[0, payload_size), which stands for raw[0, raw_size), as a packed block.
 * Errors: ARGUMENT (also if it must not be packed), CAPACITY. */
gpuzip_status container_write_packed(uint8_t *dst, size_t capacity, size_t *size,
                                     const uint8_t *raw, uint32_t raw_size, const uint8_t *payload,
                                     size_t payload_size);

/* The beginning of a block or end mark. */
typedef struct {
    container_kind kind;
    uint32_t raw_size; /* bytes of content, as yet unchecked; 0 for the end mark */
    size_t size;       /* bytes of the whole: at most container_stored_size(raw_size) for a block,
                          CONTAINER_END_MAX for the end mark. A stored block may be shorter than
                          CONTAINER_BLOCK_PREFIX; bytes fetched beyond it belong to its successor. */
} container_prefix;

/* Reads the beginning of a block or end mark at src. size: CONTAINER_BLOCK_PREFIX
 * or more, less only where the input ends. Errors: CORRUPT. */
gpuzip_status container_peek_block(container_prefix *prefix, const uint8_t *src, size_t size);

/* Reads a whole block (ARGUMENT for an end mark); size: from container_peek_block(), or less where
 * the input ends. Verifies all bytes, so that a decoder sees an encoder's bytes unchanged.
 * Errors: ARGUMENT, CORRUPT. */
gpuzip_status container_read_block(container_block *block, const uint8_t *src, size_t size);

/* Finds the streams of a coded block that container_read_block() returned;
 * stream: [block->streams]. */
void container_read_streams(const container_block *block, container_stream *stream);

/* Returns how many streams to use where `wanted` (1 .. CONTAINER_STREAMS_MAX) are
 * wanted for so many tokens (>= 1): at most wanted, and none is empty. */
uint32_t container_fit_streams(uint32_t tokens, uint32_t wanted);

/* Returns L: stream s holds the tokens [s L, min((s + 1) L, tokens)). */
uint32_t container_stream_length(uint32_t tokens, uint32_t streams);

/* -- end mark ------------------------------------------------------------- */

/* A capacity of CONTAINER_END_MAX suffices. Errors: ARGUMENT, CAPACITY. */
gpuzip_status container_write_end(uint8_t *dst, size_t capacity, size_t *size,
                                  const container_end *end);

/* Reads an end mark; size: from container_peek_block(), or less where the input
 * ends. An end mark has no check of its own: its reader must compare both
 * fields with the content (a lister compares raw_size). Errors: CORRUPT. */
gpuzip_status container_read_end(container_end *end, const uint8_t *src, size_t size);

/* -- index ---------------------------------------------------------------- */

/* A block as an index lists it. */
typedef struct {
    container_kind kind;
    uint32_t raw_size; /* bytes of content, 1 .. CONTAINER_RAW_MAX */
    uint32_t size;     /* bytes of the block */
} container_entry;

/* An index frame: it stands behind the frame whose blocks it lists, has that frame's settings and
 * no content, so that a reader without use for it skips it. A frame of more than
 * CONTAINER_INDEX_BLOCKS blocks has several, one behind the other, of which all but the last list
 * as many. */
typedef struct {
    uint32_t piece;     /* number of this one, from 0 */
    uint32_t head_size; /* bytes of the header of the frame whose blocks it lists */
    uint32_t blocks;    /* in entry[] */
    container_entry entry[CONTAINER_INDEX_BLOCKS]; /* [blocks] */
    size_t size;                                   /* bytes of the index frame */
} container_index;

/* Writes index frame number `piece` for a frame with these settings, whose header has head_size
 * bytes; it lists entry[0, blocks). A capacity of CONTAINER_INDEX_MAX suffices. Errors: ARGUMENT,
 * CAPACITY. */
gpuzip_status container_write_index(uint8_t *dst, size_t capacity, size_t *size,
                                    const container_frame *frame, uint32_t piece, size_t head_size,
                                    const container_entry *entry, uint32_t blocks);

/* Reads the index frame that ends at src + size; its first bytes may belong to its predecessors.
 * size: CONTAINER_INDEX_MAX, less only where the file has no more before it. Whether the blocks are
 * as it says is for the caller to compare. Errors: FORMAT (no index frame ends there), CORRUPT. */
gpuzip_status container_read_index(container_index *index, const uint8_t *src, size_t size);

/* Returns the size in bytes of the end mark of a frame of raw_size bytes of content. */
size_t container_end_size(uint64_t raw_size);

/* -- checksums ------------------------------------------------------------ */

/* Returns the low 32 bits of XXH3-64 of data[0, size). */
uint32_t container_check(const uint8_t *data, size_t size);

/* XXH3-64 of content that comes in pieces. */
typedef struct container_hash container_hash;

/* The caller owns *hash and releases it with container_hash_close(), which
 * accepts NULL. Errors: MEMORY. */
gpuzip_status container_hash_open(container_hash **hash);
void container_hash_close(container_hash *hash);

/* Begins again with no content. */
void container_hash_reset(container_hash *hash);
void container_hash_add(container_hash *hash, const uint8_t *data, size_t size);

/* Returns the hash of the content so far; more may be added. */
uint64_t container_hash_value(const container_hash *hash);

#endif
