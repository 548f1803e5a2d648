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

/* Returns the library's version, e.g. "0.1.0". */
GPUZIP_API const char *gpuzip_version(void);

/* ---- devices ------------------------------------------------------------ */

/* Returns what this build can compute with, e.g. "cpu, cuda (75-real 80-real 120)"
 * (backends, and the architectures that CUDA kernels were compiled for). */
GPUZIP_API const char *gpuzip_backends(void);

/* What a device says of itself. */
typedef struct {
    char name[16];       /* what gpuzip_open() calls it: "cpu", "cuda:0" */
    char product[256];   /* the maker's name for it; may hold any bytes */
    int capability;      /* CUDA: 10 * major + minor; else 0 */
    int driver, runtime; /* CUDA: versions, 1000 * major + 10 * minor; else 0 */
    uint64_t memory;     /* bytes in all */
    uint64_t available;  /* bytes to be had now; 0: it does not say */
    bool usable;         /* false: too old for this build */
} gpuzip_device_info;

/* Returns the number of devices: the CPU, then the GPUs that a driver reports. */
GPUZIP_API int gpuzip_count_devices(void);

/* Describes device 0 (the CPU) .. gpuzip_count_devices() - 1; opens it for a moment.
 * Errors: ARGUMENT, DEVICE. */
GPUZIP_API gpuzip_status gpuzip_get_device_info(int device, gpuzip_device_info *info);

/* ---- the handle --------------------------------------------------------- */

/* An opened set of models, ready on one or more devices. */
typedef struct gpuzip gpuzip;

#define GPUZIP_MAX_THREADS 1024
#define GPUZIP_ERROR_BYTES 512

/* Opens the library with `threads` CPU threads (0: one a core) on a device:
 *     "cpu"                    the CPU
 *     "cuda"                   all NVIDIA GPUs of use; they share the blocks
 *     "cuda:1", "cuda:0,2"     these
 *     "auto"                   as "cuda", or the CPU where that is not to be had
 *     NULL                     what the environment's GPUZIP_DEVICE says, or "auto"
 * A GPU that reports an error later on is given up and its blocks are coded on the CPU, to
 * the same bytes; gpuzip_set_notes() tells. The caller owns *gz and releases it with
 * gpuzip_close(), which accepts NULL. On an error, `error` (may be NULL) says what was
 * wrong and which devices there are. Errors: ARGUMENT (threads, or not such a device
 * string), MEMORY, DEVICE (not there, or cannot be opened). */
GPUZIP_API gpuzip_status gpuzip_open(gpuzip **gz, const char *device, int threads,
                                     char error[GPUZIP_ERROR_BYTES]);
GPUZIP_API void gpuzip_close(gpuzip *gz);

typedef enum {
    GPUZIP_NOTE_WARNING = 0, /* a device was given up; the result is the same */
    GPUZIP_NOTE_DETAIL = 1   /* what will be used, e.g. how much memory */
} gpuzip_note;

/* Has gz tell what its caller did not ask for but may want to know: `note` is called with
 * one line of text, in the calling thread, during other calls. NULL: nobody is told. */
GPUZIP_API void gpuzip_set_notes(gpuzip *gz,
                                 void (*note)(void *context, gpuzip_note kind, const char *text),
                                 void *context);

/* Limits the memory that coding may take besides the models' weights, in bytes;
 * 4 GiB at first. Compressing keeps below it by using fewer streams; a file
 * that needs more is refused with MEMORY. 0: no limit. */
GPUZIP_API void gpuzip_set_memory_limit(gpuzip *gz, uint64_t bytes);

/* Returns text on the last error of this handle (which file, which field, what
 * to do), or "" when there is none. Valid until the next call on gz. */
GPUZIP_API const char *gpuzip_error(const gpuzip *gz);

#define GPUZIP_ID_BYTES 32 /* a model's id: SHA-256 of its .gpzm file */

/* Adds a model and tests the device's arithmetic with it: the built-in one when source is NULL,
 * else a .gpzm file, a Hugging Face folder, a llama2.c or llm.c .bin, or a name such as
 * "openai-community/gpt2" that is looked up in the local Hugging Face cache.
 * *model (may be NULL) becomes its index: 0 for the first, then 1, ...
 * Under "auto", GPUs that have no room for it or do not pass the test are given up, with a
 * note. Errors: ARGUMENT (too many), IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY, DEVICE,
 * SELF_TEST. */
GPUZIP_API gpuzip_status gpuzip_add_model(gpuzip *gz, const char *source, int *model);

/* What a model is. Strings live as long as the gpuzip. */
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
} gpuzip_model_info;

GPUZIP_API gpuzip_status gpuzip_get_model_info(const gpuzip *gz, int model,
                                               gpuzip_model_info *info);

/* How to import. Zeroes mean the default. */
typedef struct {
    const char *tokenizer; /* path; NULL: found beside the checkpoint */
    const char *name;      /* NULL: the source's */
    int weight_bits;       /* 8 or 15; 0: 15 below 32 M parameters, else 8 */
    int activation_bits;   /* 8 or 15; 0: 15 */
    int kv_bits;           /* 8 or 12; 0: 12 */
} gpuzip_import_options;

/* Converts a checkpoint (as in gpuzip_add_model()) to the model file dst_path;
 * an existing file is replaced only on success. options may be NULL.
 * Errors: ARGUMENT, IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
GPUZIP_API gpuzip_status gpuzip_import_model(gpuzip *gz, const char *source, const char *dst_path,
                                             const gpuzip_import_options *options);

/* Has a model learn what follows what in texts like those it is to compress: writes the model
 * file dst_path, which is model number `model` with `bytes` (64 to 2^32) of n-grams of the text
 * files text[0, texts) in place of those it may have. NUL bytes part the texts in a file; n-grams
 * that come in one of them alone do not count. Takes some 30 bytes of memory a token, of very
 * repetitive texts up to 80. An existing file is replaced only on success. Errors: ARGUMENT, IO,
 * MEMORY. */
GPUZIP_API gpuzip_status gpuzip_learn_texts(gpuzip *gz, int model, const char *const *text,
                                            int texts, uint64_t bytes, const char *dst_path);

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

/* What learns from the file itself, on both sides alike. Bits. */
typedef enum {
    GPUZIP_ADAPT_CONTEXTS = 1, /* contexts of tokens and a match model propose what comes */
    GPUZIP_ADAPT_BIASES = 2,   /* a bias a token is learnt */
    GPUZIP_ADAPT_ALPHAS = 4,   /* the experts' alphas are learnt, from those given, at most 2 */
    GPUZIP_ADAPT_ALL = 7,
    GPUZIP_ADAPT_NONE = 8 /* nothing does; alone */
} gpuzip_adapt;

#define GPUZIP_LEVEL_MIN     1
#define GPUZIP_LEVEL_MAX     9
#define GPUZIP_LEVEL_DEFAULT 6

/* How to compress. Zeroes mean: what the level says. */
typedef struct {
    int level;           /* 1 (fast) .. 9 (small); 0: the default */
    int window;          /* tokens a window predicts, 2 .. context */
    int hop;             /* tokens from a window to the next, 1 .. window */
    int streams;         /* streams a block */
    int update_interval; /* steps between updates of what adapts; 0: 16, or 1 with counts alone */
    bool window_scope;   /* what adapts forgets at every window (needs hop == window) */
    unsigned adapt;      /* bits of gpuzip_adapt; 0: all of them, at every level */
    size_t block_size;   /* bytes of input a block, at most GPUZIP_BLOCK_MAX */
    int experts;         /* 0: model 0 alone with alpha 1 */
    gpuzip_expert expert[GPUZIP_MAX_EXPERTS];
    bool fit_alphas; /* the alphas that suit the beginning of the file best (with what else
                        adapts left aside) take the place of those given */
    bool no_verify;  /* do not decode every block again after compressing it */
    bool no_packing; /* code every block with the experts, or store it: for data of a kind that
                        the models are made for, and to see what they do with others */
    bool measure;    /* what gpuzip_stats says of every expert; takes time. The file is the same */
} gpuzip_options;

#define GPUZIP_BLOCK_MAX ((size_t)16 << 20)

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
    /* Told from time to time how many bytes were read and written. Returns
     * nonzero to cancel. May be NULL. */
    int (*progress)(void *context, uint64_t bytes_in, uint64_t bytes_out);
    /* gpuzip_begin_*() only: told once how the file ended, when all of it has been written or
     * it has failed. stats: NULL unless status is OK. gpuzip_error() has its text meanwhile.
     * May be NULL. */
    void (*ended)(void *context, gpuzip_status status, const struct gpuzip_stats *stats);
    /* Compressing only: told of every token, in order, as blocks are written, and what is in
     * options.measure is measured. May be NULL. */
    void (*observe)(void *context, const struct gpuzip_token *token);
} gpuzip_io;

/* A token that was compressed. Bits are -log2 of probabilities. */
typedef struct gpuzip_token {
    uint64_t offset;      /* of its first byte in the input */
    const uint8_t *bytes; /* [size], valid during the call */
    size_t size;          /* 0: a space before the text, that a tokenizer put there */
    bool stored;          /* no token but a block that is stored or packed; nothing below was
                             measured */
    bool packed;          /* it is packed */
    double bits;          /* that it cost; of such a block: 8 * its bytes in the file */
    double log2_z;        /* see gpuzip_stats */
    double expert_bits[GPUZIP_MAX_EXPERTS]; /* that it would cost with this expert alone */
    double alpha[GPUZIP_MAX_EXPERTS];       /* the experts' weights for it */
} gpuzip_token;

/* What a call did. Cross-entropies are in bits over the coded tokens. */
typedef struct gpuzip_stats {
    uint64_t bytes_in, bytes_out;
    uint64_t blocks;        /* coded, stored and packed ones */
    uint64_t stored_blocks; /* as they are */
    uint64_t packed_blocks; /* packed by a general codec, which suited them better than the model */
    uint64_t tokens;        /* coded with the model (other blocks have none) */
    uint64_t model_bytes;   /* raw bytes of the blocks coded with the model */
    double model_bits;      /* sum of -log2(freq / 2^30) over the tokens */
    double coder_bits;      /* bits that the range coder wrote for them */
    double seconds_tokenizer, seconds_forward, seconds_contexts, seconds_mix, seconds_coder,
        seconds_verify;
    double forward_ops; /* s8 multiply-adds times 2 that the linear layers needed */

    /* With options.measure, sums over the tokens. For each the product of experts is
     * pi = prod p_k^alpha_k / Z, so that -log2 pi = sum alpha_k (-log2 p_k) + log2 Z, and
     *     model_bits = weighted_bits + log2_z - bias_gain_bits - context_gain_bits
     *                  + rounding_bits + escape_bits
     * Escapes stand for bytes that no expert knows; the others' terms leave them out. */
    double seconds_measure;
    int experts; /* that were measured; 0: nothing was */
    struct {
        gpuzip_expert_kind kind;
        int model;
        double bits;       /* with this expert alone and alpha 1, escapes included */
        double alpha;      /* at the end of the last block */
        double mean_alpha; /* over the tokens */
    } expert[GPUZIP_MAX_EXPERTS];
    double weighted_bits;                     /* sum alpha_k (-log2 p_k) */
    double log2_z;                            /* <= 0 where alphas sum to 1 */
    double bias_gain_bits, context_gain_bits; /* the latter with what rounding costs */
    double rounding_bits;                     /* without contexts: of frequencies to integers */
    uint64_t escapes;
    double escape_bits; /* what they cost, and room for them at every other token */
} gpuzip_stats;

/* Reads everything from io, writes one .gpz frame. stats may be NULL.
 * Errors: ARGUMENT, IO, MEMORY, DEVICE, SELF_TEST (verification failed), CANCELLED. */
GPUZIP_API gpuzip_status gpuzip_compress(gpuzip *gz, const gpuzip_options *options,
                                         const gpuzip_io *io, gpuzip_stats *stats);

/* Reads one or more concatenated frames to the end of the input, writes the
 * original bytes. Bytes are written as blocks are verified; on an error what
 * was written so far is a correct beginning.
 * Errors: IO, FORMAT, CORRUPT, MODEL, UNSUPPORTED, MEMORY, DEVICE, CANCELLED. */
GPUZIP_API gpuzip_status gpuzip_decompress(gpuzip *gz, const gpuzip_io *io, gpuzip_stats *stats);

/* The same for several files, whose blocks share the devices: many small ones keep a GPU as
 * busy as a large one. A call reads its file to the end and may leave the last blocks under
 * way; they are written, and its end is told, during later calls. Files are written and end
 * in the order in which they began, each as if it had been alone; what goes wrong with one
 * ends that one alone. On the CPU each ends within its own call. *io is copied; its context
 * must last until the end. What several files did together is shared out among their stats.
 * The callbacks call nothing on gz but what takes it as const. */
GPUZIP_API void gpuzip_begin_compress(gpuzip *gz, const gpuzip_options *options,
                                      const gpuzip_io *io);
GPUZIP_API void gpuzip_begin_decompress(gpuzip *gz, const gpuzip_io *io);

/* Ends the files that are under way, and releases what they needed. So do gpuzip_close(),
 * gpuzip_add_model() and the calls for a file alone. */
GPUZIP_API void gpuzip_finish(gpuzip *gz);

/* What a .gpz file says of itself. */
typedef struct {
    uint64_t frames, blocks, stored_blocks, packed_blocks;
    uint64_t size;            /* bytes of the original; claimed, verified only by decoding */
    uint64_t compressed_size; /* bytes of the file */
    int version;
    int window, hop; /* of the first frame, as all below */
    int update_interval;
    bool window_scope;
    size_t block_size; /* bytes of its first block's original; 0: there is none */
    int streams;       /* of its first coded block; 0: there is none */
    bool contexts, biases, learn_alphas;
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

#ifdef __cplusplus
}
#endif
#endif
