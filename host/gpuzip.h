/* gpuzip.h: lossless text compression with language models. The public API.
 *
 * A .gpz file can be decompressed only with the models that made it, on any
 * machine and any backend: probabilities are computed to the same bits on CPU
 * and GPU. Any input compresses and round-trips, text or not.
 *
 * Sizes are in bytes. Functions write their outputs only when they return
 * GPUZIP_OK. The library does not print, exit or abort on bad input, and the
 * decompressor may be given hostile bytes.
 *
 * Threads: a gpuzip is used by one thread at a time; distinct ones are
 * independent. There is no global state.
 */
#ifndef GPUZIP_H
#define GPUZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpuzip_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 0. version ----------------------------------------------------------- */

/* Returns the library's version, e.g. "0.1.0". */
GPUZIP_API const char *gpuzip_version(void);

/* ---- 1. buffers ---------------------------------------------------------- */

/* Two calls for programs that need no settings. Each opens the built-in model on the best device
 * and closes it again, which takes some tens of milliseconds; a program with many buffers opens a
 * session (2) and calls gpuzip_compress_buffer(). */

/* Returns the bytes that always suffice for compressing `size` bytes, of any content and at any
 * level, with blocks of the level's size. */
GPUZIP_API size_t gpuzip_compress_bound(size_t size);

/* Compresses src[src_size] to dst, which has room for `capacity` bytes, and sets *size to the bytes
 * written. level: GPUZIP_LEVEL_MIN .. GPUZIP_LEVEL_MAX, or 0 for the default. On an error dst has
 * undefined content and *size is unchanged. Errors: ARGUMENT, CAPACITY, MEMORY, DEVICE, SELF_TEST.
 */
GPUZIP_API gpuzip_status gpuzip_compress(void *dst, size_t capacity, size_t *size, const void *src,
                                         size_t src_size, int level);

/* The inverse: one or more frames in src[src_size] to dst. The built-in model must have made them.
 * Errors: CAPACITY, FORMAT, CORRUPT, MODEL, UNSUPPORTED, MEMORY, DEVICE, SELF_TEST. */
GPUZIP_API gpuzip_status gpuzip_decompress(void *dst, size_t capacity, size_t *size,
                                           const void *src, size_t src_size);

/* Sets *size to the bytes that the frames in src[src_size] decompress to, as their ends state; the
 * bytes are hostile until they are decompressed, so compare *size with a limit of your own before
 * allocating. Errors: FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
GPUZIP_API gpuzip_status gpuzip_content_size(const void *src, size_t src_size, uint64_t *size);

/* ---- 2. sessions: devices, models, settings ------------------------------- */

/* An opened set of models, ready on one or more devices. */
typedef struct gpuzip gpuzip;

#define GPUZIP_MAX_THREADS 1024
#define GPUZIP_ERROR_BYTES 512

/* Opens the library with `threads` CPU threads (0: one a core) on a device:
 *     "cpu"                    the CPU
 *     "cuda"                   all usable NVIDIA GPUs; they share the blocks
 *     "cuda:1", "cuda:0,2"     these
 *     "auto"                   as "cuda", or the CPU if no GPU is usable
 *     NULL                     the environment variable GPUZIP_DEVICE, or "auto"
 * If a GPU reports an error later on, the session stops using it and codes its blocks on the
 * CPU, to the same bytes, with a note (gpuzip_set_notes()). The caller owns *gz and releases it
 * with gpuzip_close(), which accepts NULL. On an error, `error` (may be NULL) gets the reason and
 * the devices of this machine. Errors: ARGUMENT (threads, or a malformed device string), MEMORY,
 * DEVICE (absent, or cannot be opened). */
GPUZIP_API gpuzip_status gpuzip_open(gpuzip **gz, const char *device, int threads,
                                     char error[GPUZIP_ERROR_BYTES]);
GPUZIP_API void gpuzip_close(gpuzip *gz);

typedef enum {
    GPUZIP_NOTE_WARNING = 0, /* a device is no longer used; the result is the same */
    GPUZIP_NOTE_DETAIL = 1   /* resources, e.g. how much memory a model takes */
} gpuzip_note;

/* Sets the callback for notes: gz calls it with one line of text, in the calling thread, during
 * other calls. NULL: no notes. */
GPUZIP_API void gpuzip_set_notes(gpuzip *gz,
                                 void (*note)(void *context, gpuzip_note kind, const char *text),
                                 void *context);

/* Limits the memory of coding, in bytes, without the models' weights. The default is 4 GiB; 0: no
 * limit. The compressor takes fewer streams to keep below it; the decompressor refuses a file
 * that needs more, with MEMORY. */
GPUZIP_API void gpuzip_set_memory_limit(gpuzip *gz, uint64_t bytes);

/* Returns a description of the last call's error (which file, which field, how to repair it), or
 * "" if it had none. Valid until the next call on gz. */
GPUZIP_API const char *gpuzip_error(const gpuzip *gz);

#define GPUZIP_ID_BYTES 32 /* a model's id: a SHA-256 of its .gpzm file, see weights/FORMAT.md */

/* Adds a model and tests the device's arithmetic with it: the built-in one when source is NULL,
 * else a .gpzm file, a Hugging Face folder, a llama2.c or llm.c .bin, or a name such as
 * "openai-community/gpt2" that is looked up in the local Hugging Face cache.
 * *model (may be NULL) becomes its index: 0 for the first, then 1, ...
 * Under "auto", GPUs that have no room for it or do not pass the test are given up, with a
 * note. Errors: ARGUMENT (too many), IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY, DEVICE,
 * SELF_TEST. */
GPUZIP_API gpuzip_status gpuzip_add_model(gpuzip *gz, const char *source, int *model);

#define GPUZIP_PATH_BYTES 4096 /* of a path with its NUL */

/* Writes the path of the file or folder that gpuzip_add_model() opens for source (not NULL) to
 * path; false, with errno, where there is none (ENOENT) or it cannot be examined. */
GPUZIP_API bool gpuzip_find_model(const char *source, char path[GPUZIP_PATH_BYTES]);

#define GPUZIP_MAX_MODELS  16
#define GPUZIP_MAX_EXPERTS 8

typedef enum {
    GPUZIP_EXPERT_MODEL = 0,      /* a language model */
    GPUZIP_EXPERT_NAIVE_BAYES = 1 /* unigram counts with Laplace smoothing */
} gpuzip_expert_kind;

/* One factor p^alpha of the product of experts. */
typedef struct {
    gpuzip_expert_kind kind;
    int model;    /* index from gpuzip_add_model(), for EXPERT_MODEL */
    double alpha; /* weight, 0 .. 15.99; kept to 1/65536 */
} gpuzip_expert;

/* Adaptive parts, which encoder and decoder update identically from the tokens coded. Bit flags. */
typedef enum {
    GPUZIP_ADAPT_NONE = 0,
    GPUZIP_ADAPT_CONTEXTS = 1, /* context models and a match model propose candidate tokens */
    GPUZIP_ADAPT_BIASES = 2,   /* a learnt bias for each token */
    GPUZIP_ADAPT_ALPHAS = 4,   /* learnt alphas, which begin at the given ones (at most 2) */
    GPUZIP_ADAPT_WEIGHTS = 8,  /* the language models' matrices learn from each block; slow, and on
                                  CPUs only */
    GPUZIP_ADAPT_ALL = 15,
    GPUZIP_ADAPT_DEFAULT = 16 /* of the level: all at level 9, all but WEIGHTS below */
} gpuzip_adapt;

/* Whether to write an index of blocks behind a frame; gpuzip_archive_open() has use for it. It
 * takes 60 to 80 bytes and 3 to 8 more a block. */
typedef enum {
    GPUZIP_INDEX_AUTO = 0, /* if the frame has two blocks or more */
    GPUZIP_INDEX_NEVER = 1,
    GPUZIP_INDEX_ALWAYS = 2
} gpuzip_index;

#define GPUZIP_LEVEL_MIN     1
#define GPUZIP_LEVEL_MAX     9
#define GPUZIP_LEVEL_DEFAULT 6

/* How to compress. gpuzip_init_options() fills in the defaults; NULL options mean them. Where a
 * comment names no meaning of 0, it stands for the setting of the level. */
typedef struct {
    int level;           /* 1 (fast) .. 9 (small); 0: the default */
    int window;          /* tokens of context, 2 .. the models' */
    int hop;             /* tokens from a window to the next, 1 .. window; 0: windows slide, if all
                            models have rotary positions */
    int streams;         /* streams a block */
    int update_interval; /* steps between adaptive updates; 0: 16, or 1 with Naive Bayes alone */
    bool window_scope;   /* adaptive state is reset at every window (needs hop == window) */
    unsigned adapt;      /* bits of gpuzip_adapt, or GPUZIP_ADAPT_DEFAULT */
    size_t block_size;   /* bytes of input a block, at most GPUZIP_BLOCK_MAX */
    int experts;         /* 0: model 0 alone with alpha 1 */
    gpuzip_expert expert[GPUZIP_MAX_EXPERTS];
    bool fit_alphas; /* replace the given alphas by those that code the first 1 MiB best, without
                        contexts and biases */
    bool no_verify;  /* do not decode each block after compressing it */
    bool no_packing; /* code every block with the experts, or store it; never pack it with LZMA2
                        or zstd */
    bool measure;    /* fill in the experts' part of gpuzip_stats; costs time, not bytes */
    gpuzip_index index;
} gpuzip_options;

#define GPUZIP_BLOCK_MAX ((size_t)16 << 20)

/* Sets the defaults: zeroes, but for adapt, which is GPUZIP_ADAPT_DEFAULT. */
GPUZIP_API void gpuzip_init_options(gpuzip_options *options);

/* Like gpuzip_compress() and gpuzip_decompress(), with a session's devices and models. options may
 * be NULL. Errors: as those two; gpuzip_error() has a text. */
GPUZIP_API gpuzip_status gpuzip_compress_buffer(gpuzip *gz, const gpuzip_options *options,
                                                void *dst, size_t capacity, size_t *size,
                                                const void *src, size_t src_size);
GPUZIP_API gpuzip_status gpuzip_decompress_buffer(gpuzip *gz, void *dst, size_t capacity,
                                                  size_t *size, const void *src, size_t src_size);

/* ---- 3. streams of bytes -------------------------------------------------- */

struct gpuzip_stats;
struct gpuzip_token;

/* Where bytes come from and go to. Each callback gets `context` first. */
typedef struct {
    void *context;
    /* Reads up to size bytes into data; *got = 0 means the end.
     * Returns nonzero on failure (the call then ends with IO). */
    int (*read)(void *context, void *data, size_t size, size_t *got);
    /* Writes size bytes; returns nonzero on failure. May be NULL: discard. */
    int (*write)(void *context, const void *data, size_t size);
    /* Called several times a second with the bytes read and written so far. Returns
     * nonzero to cancel. May be NULL. */
    int (*progress)(void *context, uint64_t bytes_in, uint64_t bytes_out);
    /* gpuzip_begin_*() only: called once, when the whole file has been written or has failed.
     * stats: NULL unless status is OK. During the call gpuzip_error() describes this file's
     * error. May be NULL. */
    void (*ended)(void *context, gpuzip_status status, const struct gpuzip_stats *stats);
    /* Compressing only: called for every token, in order, as blocks are written; implies
     * options.measure. May be NULL. */
    void (*observe)(void *context, const struct gpuzip_token *token);
    /* Decompressing only: go on behind damage. Called for each range [offset, offset + size) of
     * the original that is lost, in order; zeros are written in its place. size 0: some bytes,
     * nobody knows how many, are lost before this offset of the output, and none are written.
     * The call then ends with CORRUPT; not where all that is damaged are indexes of blocks, which
     * gpuzip_stats counts. NULL: stop at the first damage. */
    void (*lost)(void *context, uint64_t offset, uint64_t size);
} gpuzip_io;

/* Reads everything from io, writes one .gpz frame. stats may be NULL.
 * Errors: ARGUMENT, IO, MEMORY, DEVICE, SELF_TEST (verification failed), CANCELLED. */
GPUZIP_API gpuzip_status gpuzip_compress_stream(gpuzip *gz, const gpuzip_options *options,
                                                const gpuzip_io *io, struct gpuzip_stats *stats);

/* Reads one or more concatenated frames to the end of the input, writes the
 * original bytes. Zero bytes after the last frame are skipped. Blocks are written when their
 * checksums have been verified; on an error the bytes written so far are a correct beginning.
 * Errors: IO, FORMAT, CORRUPT, MODEL, UNSUPPORTED, MEMORY, DEVICE, CANCELLED. */
GPUZIP_API gpuzip_status gpuzip_decompress_stream(gpuzip *gz, const gpuzip_io *io,
                                                  struct gpuzip_stats *stats);

/* The same for a part of the content alone: at most `length` bytes from `offset` on. Blocks outside
 * it are read, if they come before it, but not decoded. With ARGUMENT as a further error: the
 * content ends before offset. */
GPUZIP_API gpuzip_status gpuzip_decompress_range(gpuzip *gz, const gpuzip_io *io, uint64_t offset,
                                                 uint64_t length, struct gpuzip_stats *stats);

/* ---- 4. archives in any order --------------------------------------------- */

/* Where the bytes of an archive are. read_at() reads up to size bytes at an offset into data; *got
 * = 0 means the end. It returns nonzero on failure (the call then ends with IO). */
typedef struct {
    void *context;
    int (*read_at)(void *context, uint64_t offset, void *data, size_t size, size_t *got);
    uint64_t size; /* bytes of the archive */
} gpuzip_source;

/* An archive of one or more frames whose blocks can be decoded one by one. Calls for different
 * archives may share a gz, one after the other. */
typedef struct gpuzip_archive gpuzip_archive;

/* Finds the archive's blocks: from the indexes at the ends of its frames, and where there are none
 * from the header of each block. Nothing is decoded, and no model is needed. The caller owns
 * *archive and releases it with gpuzip_archive_close(), which accepts NULL; *source is copied.
 * Errors: IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
GPUZIP_API gpuzip_status gpuzip_archive_open(gpuzip_archive **archive, gpuzip *gz,
                                             const gpuzip_source *source);
GPUZIP_API void gpuzip_archive_close(gpuzip_archive *archive);

/* Returns the bytes of the content, and the number of blocks; as the archive claims. */
GPUZIP_API uint64_t gpuzip_archive_size(const gpuzip_archive *archive);
GPUZIP_API uint64_t gpuzip_archive_blocks(const gpuzip_archive *archive);

typedef enum {
    GPUZIP_BLOCK_STORED = 1, /* content as it is */
    GPUZIP_BLOCK_CODED = 2,  /* with the model */
    GPUZIP_BLOCK_PACKED = 3  /* by LZMA2 or zstd */
} gpuzip_block_kind;

typedef struct {
    gpuzip_block_kind kind;
    uint64_t frame;          /* number of its frame, from 0 */
    uint64_t offset;         /* of the block in the archive */
    uint64_t content_offset; /* of its first byte in the content */
    uint32_t size, content_size;
} gpuzip_block;

/* Describes block number 0 .. gpuzip_archive_blocks() - 1. Errors: ARGUMENT. */
GPUZIP_API gpuzip_status gpuzip_archive_block(const gpuzip_archive *archive, uint64_t block,
                                              gpuzip_block *info);

/* Reads `size` bytes of the content at `offset` into data; *got is less only at the content's end.
 * Decodes the blocks that have a part of them, but for the one that was decoded last. Before a
 * block is decoded, the headers of all blocks up to it are compared with the index, once an
 * archive: about 10 bytes are read of each. Errors: as gpuzip_decompress_stream(). */
GPUZIP_API gpuzip_status gpuzip_archive_read(gpuzip *gz, gpuzip_archive *archive, uint64_t offset,
                                             void *data, size_t size, size_t *got);

/* Writes `length` bytes of the content from `offset` on, or as many as there are, to io->write;
 * blocks share batches. io->read is not used; stats may be NULL. Errors: as
 * gpuzip_decompress_stream(), and ARGUMENT if offset is behind the content's end. */
GPUZIP_API gpuzip_status gpuzip_archive_extract(gpuzip *gz, gpuzip_archive *archive,
                                                uint64_t offset, uint64_t length,
                                                const gpuzip_io *io, struct gpuzip_stats *stats);

/* Shares: cut at the borders of blocks, into parts of as many blocks as possible is equal. Part 1
 * is the first. An empty part has length 0. */
#define GPUZIP_MAX_PARTS 1000000

/* The share number `part` of an archive's content. Errors: ARGUMENT. */
GPUZIP_API gpuzip_status gpuzip_archive_part(const gpuzip_archive *archive, int part, int parts,
                                             uint64_t *offset, uint64_t *length);

/* The share of `size` bytes that are to be compressed with blocks of block_size bytes; see
 * gpuzip_block_size(). Archives of all parts, joined in order, are an archive of the whole.
 * Errors: ARGUMENT. */
GPUZIP_API gpuzip_status gpuzip_input_part(uint64_t size, size_t block_size, int part, int parts,
                                           uint64_t *offset, uint64_t *length);

/* Returns the bytes of content a block of these options; 0: no such level. */
GPUZIP_API size_t gpuzip_block_size(const gpuzip_options *options);

/* ---- 5. many files -------------------------------------------------------- */

/* The same for several files, whose blocks share batches, so that many small files keep a device
 * as busy as one large file. A call reads its file to the end and may leave its last blocks in
 * work; later calls write them and call io->ended. Files are written, and end, in the order of
 * the calls, each with the same bytes as alone; an error ends its own file alone. *io is copied;
 * its context must stay valid until io->ended has returned. The cost of a batch is divided among
 * the stats of its files. The callbacks may call only functions that take gz as const. */
GPUZIP_API void gpuzip_begin_compress(gpuzip *gz, const gpuzip_options *options,
                                      const gpuzip_io *io);
GPUZIP_API void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io);

/* Completes the files in work and releases their memory. gpuzip_close(), gpuzip_add_model() and
 * the calls for a single stream or buffer do so, too. */
GPUZIP_API void gpuzip_finish(gpuzip *gz);

/* ---- 6. information ------------------------------------------------------- */

/* A compressed token. Bits are -log2 of probabilities. */
typedef struct gpuzip_token {
    uint64_t offset;      /* of its first byte in the input */
    const uint8_t *bytes; /* [size], valid during the call */
    size_t size;          /* 0: the space that some tokenizers put before a text */
    bool stored;          /* not a token but a whole block, stored or packed; then the fields below
                             are 0, but for packed and bits */
    bool packed;          /* that block is packed */
    double bits;          /* its cost; of such a block: 8 * its bytes in the file */
    double log2_z;        /* see gpuzip_stats */
    double expert_bits[GPUZIP_MAX_EXPERTS]; /* its cost with this expert alone */
    double alpha[GPUZIP_MAX_EXPERTS];       /* the experts' weights for it */
} gpuzip_token;

/* Phases of a call, by whose time the statistics tell. */
typedef enum {
    GPUZIP_PHASE_TOKENIZER,
    GPUZIP_PHASE_FORWARD, /* the language models */
    GPUZIP_PHASE_CONTEXTS,
    GPUZIP_PHASE_WEIGHTS, /* that learn */
    GPUZIP_PHASE_MIX,
    GPUZIP_PHASE_CODER,
    GPUZIP_PHASE_VERIFY,
    GPUZIP_PHASE_MEASURE, /* of options.measure */
    GPUZIP_PHASES
} gpuzip_phase;

/* Results of a call. Cross-entropies are in bits, summed over the coded tokens. */
typedef struct gpuzip_stats {
    uint64_t bytes_in, bytes_out;
    uint64_t blocks;          /* coded, stored and packed ones */
    uint64_t stored_blocks;   /* content copied */
    uint64_t packed_blocks;   /* packed by LZMA2 or zstd, whose result was smaller */
    uint64_t damaged_indexes; /* decompressing with io.lost: index frames that were damaged, without
                                 any loss of content */
    uint64_t tokens;          /* coded with the model (other blocks have none) */
    uint64_t model_bytes;     /* raw bytes of the blocks coded with the model */
    int batch_blocks;         /* of the largest batch that had a block of this file, the others'
                                 blocks included */
    double model_bits;        /* sum of -log2(freq / 2^30) over the tokens */
    double coder_bits;        /* bits of the range coder's output for them */
    double seconds[GPUZIP_PHASES];
    double forward_ops; /* s8 multiply-adds times 2 of the linear layers and of attention */

    /* With options.measure, sums over the tokens. For each the product of experts is
     * pi = prod p_k^alpha_k / Z, so that -log2 pi = sum alpha_k (-log2 p_k) + log2 Z, and
     *     model_bits = weighted_bits + log2_z - bias_gain_bits - context_gain_bits
     *                  + rounding_bits + escape_bits
     * Escapes stand for bytes that no expert knows; the others' terms leave them out. */
    int experts; /* measured; 0: without options.measure */
    struct {
        gpuzip_expert_kind kind;
        int model;
        double bits;       /* with this expert alone and alpha 1, escapes included */
        double alpha;      /* at the end of the last block */
        double mean_alpha; /* over the tokens */
    } expert[GPUZIP_MAX_EXPERTS];
    double weighted_bits;                     /* sum alpha_k (-log2 p_k) */
    double log2_z;                            /* <= 0 where alphas sum to 1 */
    double bias_gain_bits, context_gain_bits; /* the latter includes the cost of rounding */
    double rounding_bits;                     /* without contexts: of frequencies to integers */
    uint64_t escapes;
    double escape_bits; /* their cost, and that of their share of the CDF at other tokens */
} gpuzip_stats;

/* Returns the backends of this build, and the architectures of its CUDA kernels, e.g. "cpu, cuda
 * (75-real 80-real 120)". */
GPUZIP_API const char *gpuzip_backends(void);

/* A device's description. */
typedef struct {
    char name[16];       /* its name in gpuzip_open(): "cpu", "cuda:0" */
    char product[256];   /* the maker's name for it; may hold any bytes */
    int capability;      /* CUDA: 10 * major + minor; else 0 */
    int driver, runtime; /* CUDA: versions, 1000 * major + 10 * minor; else 0 */
    uint64_t memory;     /* bytes in all */
    uint64_t available;  /* bytes to be had now; 0: it does not say */
    bool usable;         /* false: too old for this build */
    bool full_speed;     /* false: this build lacks the device's fastest instructions */
} gpuzip_device_info;

/* Returns the number of devices: the CPU, then the GPUs that a driver reports. */
GPUZIP_API int gpuzip_count_devices(void);

/* Describes device 0 (the CPU) .. gpuzip_count_devices() - 1; opens it for a moment.
 * Errors: ARGUMENT, DEVICE. */
GPUZIP_API gpuzip_status gpuzip_get_device_info(int device, gpuzip_device_info *info);

/* A model's description. Strings are valid until gpuzip_close(). */
typedef struct {
    uint8_t id[GPUZIP_ID_BYTES];
    const char *name;         /* from the file; printable */
    const char *architecture; /* "llama", "gpt2", "wpoe" */
    const char *tokenizer;    /* "byte-level BPE", "SentencePiece BPE", "bytes" */
    int layers, dim, heads, kv_heads, head_dim, ffn, vocab, context;
    int weight_bits, activation_bits, kv_bits;
    uint64_t parameters; /* weights, biases and norms; tables not counted */
    double token_ops;    /* 2 for every multiply-add of the linear layers for a token */
    uint64_t file_size;  /* bytes of the .gpzm */
    uint64_t ngram_size; /* of these its n-grams of other texts; 0: none */
    uint64_t memory;     /* bytes that it takes on a CPU besides its file */
} gpuzip_model_info;

GPUZIP_API gpuzip_status gpuzip_get_model_info(const gpuzip *gz, int model,
                                               gpuzip_model_info *info);

/* The headers of a .gpz file. */
typedef struct {
    uint64_t frames, blocks, stored_blocks, packed_blocks; /* indexes are not counted */
    uint64_t size;            /* bytes of the original; claimed, verified only by decoding */
    uint64_t compressed_size; /* bytes of the file */
    uint64_t index_size;      /* bytes of these that are indexes of blocks */
    int version;
    int window, hop; /* of the first frame, as all below; hop 0: sliding */
    int update_interval;
    bool window_scope;
    size_t block_size; /* bytes of its first block's original; 0: there is none */
    int streams;       /* of its first coded block; 0: there is none */
    bool contexts, biases, learn_alphas, learn_weights;
    int experts;
    struct {
        gpuzip_expert_kind kind;
        double alpha;
        uint8_t model_id[8]; /* the first bytes of the model's id */
    } expert[GPUZIP_MAX_EXPERTS];
    bool model_known; /* every model of every frame has been added */
} gpuzip_info;

/* Reads the headers of a .gpz file, skipping the payloads; needs no model.
 * io->write is not used. Errors: IO, FORMAT, CORRUPT, UNSUPPORTED. */
GPUZIP_API gpuzip_status gpuzip_peek(gpuzip *gz, const gpuzip_io *io, gpuzip_info *info);

/* Measures the int8 multiply-add peak of gz's devices, summed, with the fastest
 * instructions that their linear layers use (a CPU: on all of gz's threads), in operations
 * (2 a multiply-add) a second. Errors: MEMORY, DEVICE. */
GPUZIP_API gpuzip_status gpuzip_measure_peak(gpuzip *gz, double *ops_per_second);

/* ---- 7. making models ----------------------------------------------------- */

/* How to import. Zeroes mean the default. */
typedef struct {
    const char *tokenizer; /* path; NULL: found beside the checkpoint */
    const char *name;      /* NULL: the source's */
    int weight_bits;       /* 8 or 15; 0: 15 below 32 M parameters, else 8 */
    int activation_bits;   /* 8 or 15; 0: 15 */
    int kv_bits;           /* 8 or 12; 0: 12 */
} gpuzip_import_options;

/* Converts a checkpoint (as in gpuzip_add_model()) to the model file dst_path;
 * an existing file is replaced only on success: until then the new one is
 * dst_path.PID-0.part (-1 where that exists, and so on). options may be NULL.
 * Errors: ARGUMENT, IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
GPUZIP_API gpuzip_status gpuzip_import_model(gpuzip *gz, const char *source, const char *dst_path,
                                             const gpuzip_import_options *options);

/* Writes model number `model` of the session to the model file dst_path, for instance the built-in
 * one, so that its archives can be decompressed where the library holds another. Its id stays.
 * An existing file is replaced only on success, as by gpuzip_import_model(). Errors: ARGUMENT, IO.
 */
GPUZIP_API gpuzip_status gpuzip_export_model(gpuzip *gz, int model, const char *dst_path);

/* Adds n-gram statistics of sample texts to a model: writes the model file dst_path, a copy of
 * model number `model` with `bytes` (64 to 2^32) of n-grams of the files text[0, texts), which
 * replace earlier ones. NUL bytes separate texts within a file; n-grams of one text alone are not
 * counted. Takes about 30 bytes of memory a token, up to 80 for very repetitive texts. An existing
 * file is replaced only on success, as by gpuzip_import_model(). Errors: ARGUMENT, IO, MEMORY. */
GPUZIP_API gpuzip_status gpuzip_learn_texts(gpuzip *gz, int model, const char *const *text,
                                            int texts, uint64_t bytes, const char *dst_path);

#ifdef __cplusplus
}
#endif

#endif
