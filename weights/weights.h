/* weights.h: the model file .gpzm and the importers that make one.
 *
 * A model is integer weights with one scale an output channel, float norms and
 * biases, tables (positions, RoPE), a tokenizer blob (host/tokenizer.h), widths
 * and test vectors; its id is the SHA-256 of the file without its check. weights/FORMAT.md says
 * it byte by byte. Files are hostile input: everything is checked when opened,
 * and after that every pointer, index and float in a weights_model is safe to
 * use (bounds that keep the arithmetic finite: see FORMAT.md).
 */
#ifndef GPUZIP_WEIGHTS_H
#define GPUZIP_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef enum { WEIGHTS_LLAMA = 0, WEIGHTS_GPT2 = 1, WEIGHTS_WPOE = 2 } weights_arch;
typedef enum { WEIGHTS_NORM_RMS = 0, WEIGHTS_NORM_LAYER = 1 } weights_norm; /* = ops_norm_kind */
typedef enum {
    WEIGHTS_ACT_GELU_TANH = 1,
    WEIGHTS_ACT_GELU_ERF = 2,
    WEIGHTS_ACT_SWIGLU = 3
} weights_act; /* = ops_act */

/* Limits of a valid model; see FORMAT.md for those on floats. */
#define WEIGHTS_MAX_LAYERS   256
#define WEIGHTS_MAX_DIM      65536  /* of dim, ffn and heads head_dim */
#define WEIGHTS_MAX_HEAD_DIM 256    /* even */
#define WEIGHTS_MAX_VOCAB    261888 /* 2^18 less 256 escapes */
#define WEIGHTS_MAX_CONTEXT  131072
#define WEIGHTS_ID_BYTES     32
#define WEIGHTS_NGRAM_BUCKET 16        /* entries of a bucket of n-grams */
#define WEIGHTS_MAX_NGRAMS   (1 << 26) /* buckets */

typedef struct {
    weights_arch arch; /* for display; the fields below define the computation */
    weights_norm norm;
    weights_act act;
    bool post_norm; /* x = norm(x + f(x)) instead of x = x + f(norm(x)) */
    bool rope;      /* turns is set; else position is */
    int layers, dim, heads, kv_heads, head_dim, ffn, vocab, context;
    int weight_bits;     /* 8 or 15 */
    int activation_bits; /* 8 or 15 */
    int kv_bits;         /* 8 or 12 */
    int bos;             /* the token that every window begins with */
    float eps;
    float attention_factor; /* log2(e) / sqrt(head_dim), or the model's own */
} weights_config;

/* [n][k] integers (int8_t or int16_t by weight_bits) and [n] scales. */
typedef struct {
    const void *w;
    const float *scale;
    int n, k;
} weights_matrix;

typedef struct {
    const float *gain, *bias; /* [dim]; bias NULL for RMS */
} weights_norm_vectors;

/* bias pointers are NULL where the model has none. */
typedef struct {
    weights_norm_vectors norm1, norm2;
    weights_matrix qkv;  /* n = (heads + 2 kv_heads) head_dim, k = dim; rotate-half order */
    weights_matrix out;  /* n = dim, k = heads head_dim */
    weights_matrix up;   /* n = ffn, or 2 ffn [gate; up] for SWIGLU; k = dim */
    weights_matrix down; /* n = dim, k = ffn */
    const float *qkv_bias, *out_bias, *up_bias, *down_bias; /* [n] */
} weights_layer;

typedef struct weights_model weights_model;
struct weights_model {
    weights_config config;
    char name[64]; /* printable ASCII, NUL-terminated */
    uint8_t id[WEIGHTS_ID_BYTES];
    const void *file; /* its bytes */
    uint64_t file_size;
    bool checked; /* the file holds a check, which is right; older files and imports have none */
    uint64_t parameters;

    weights_matrix embedding; /* n = vocab, k = dim */
    float embedding_factor;   /* embed() uses scale * factor: sqrt(dim) for wpoe, else 1 */
    const float *position;    /* [context][dim], or NULL with RoPE */
    const uint64_t *turns;    /* [head_dim / 2] of rope.h, Q64, or NULL */
    weights_layer *layer;     /* [layers] */
    weights_norm_vectors final_norm;
    weights_matrix head;    /* n = vocab, k = dim; the embedding itself when tied */
    const float *head_bias; /* [vocab] or NULL */

    const void *tokenizer; /* blob of tokenizer.h */
    size_t tokenizer_size;

    /* Test vectors: the forward pass over test_token, from position 0, must give
     * logits whose XXH3-64 (over the rows' float bits, little-endian) is
     * test_hash; tests 0 when the file has none. */
    const uint32_t *test_token; /* [tests] */
    int tests;
    uint64_t test_hash;

    /* n-grams of other texts (ngrams.h): [ngram_buckets][WEIGHTS_NGRAM_BUCKET], or NULL and 0. Any
     * bits are valid. */
    const uint32_t *ngrams;
    uint32_t ngram_buckets;
};

/* Opens a .gpzm. weights_open_memory() does not copy: data must outlive the
 * model and be 64-byte aligned. *model is released with weights_close(), which
 * accepts NULL. A file of more than 256 MB is mapped and must not be shortened while it is open
 * (a reader of mapped pages then gets SIGBUS); replacing it by rename, as weights_write()
 * does, is safe. Errors: ARGUMENT (not aligned), IO, FORMAT, CORRUPT,
 * UNSUPPORTED, MEMORY. */
gpuzip_status weights_open(weights_model **model, const char *path);
gpuzip_status weights_open_memory(weights_model **model, const void *data, size_t size);
void weights_close(weights_model *model);

/* Whether the attention and MLP matrices may learn: the arithmetic stays finite even if each of
 * their weights becomes the largest of its width. */
bool weights_learnable(const weights_model *model);

/* Names the file and the field at fault, and a remedy; printable. */
typedef struct {
    char text[512];
} weights_error;

/* Options of an import. */
typedef struct {
    int weight_bits, activation_bits, kv_bits; /* 0: the default */
    const char *name;                          /* NULL: from the source */
    int context;                               /* most positions to keep; 0: 8192 */
} weights_import_options;

/* The kind of a checkpoint. */
typedef enum {
    WEIGHTS_SOURCE_GPZM = 0,         /* already a model file */
    WEIGHTS_SOURCE_HUGGING_FACE = 1, /* a folder */
    WEIGHTS_SOURCE_LLAMA2C = 2,
    WEIGHTS_SOURCE_LLMC = 3
} weights_source_kind;

typedef struct {
    weights_source_kind kind;
    int vocab;       /* the model's */
    int64_t bos;     /* the id that begins a text by the source's configuration: bos_token_id,
                        else eos_token_id (a list: its first); llama2.c: 1; llm.c: the last
                        token; -1: unknown. Not checked against vocab */
    bool byte_vocab; /* no tokenizer: ids are bytes (the wPoE models) */
} weights_source;

/* Finds the kind of a checkpoint from its content (of a .gpzm only the kind: vocab is 0,
 * bos -1).
 * Errors: IO, FORMAT, UNSUPPORTED (*error says why), MEMORY. */
gpuzip_status weights_probe(weights_source *source, const char *path, weights_error *error);

/* Reads a checkpoint: a Hugging Face folder, a llama2.c .bin, an llm.c .bin.
 * Gives the bytes of a .gpzm without test vectors in *data (malloc'd, 64-byte
 * aligned, *size bytes; the caller frees). The same checkpoint gives the same
 * bytes on any machine. `tokenizer` is the blob of tokenizer_import() for the
 * same source, bos (in [0, vocab)) the token every window begins with.
 * Errors: IO, FORMAT, CORRUPT, UNSUPPORTED, MEMORY; *error says why. */
gpuzip_status weights_import(void **data, size_t *size, const char *source,
                             const weights_import_options *options, const void *tokenizer,
                             size_t tokenizer_size, uint32_t bos, weights_error *error);

/* Adds test vectors to the bytes of a .gpzm that has none, and no n-grams; *data (malloc'd,
 * as from weights_import()) may move. 0 < tests <= context; tokens < vocab.
 * Errors: ARGUMENT, MEMORY; CORRUPT and the like if *data is no model. */
gpuzip_status weights_set_test(void **data, size_t *size, const uint32_t *token, int tests,
                               uint64_t hash);

/* Adds n-grams, [buckets][WEIGHTS_NGRAM_BUCKET], buckets > 0, in place of those that the model has.
 * Otherwise as weights_set_test(). */
gpuzip_status weights_set_ngrams(void **data, size_t *size, const uint32_t *ngrams,
                                 uint32_t buckets);

/* Writes bytes to path through a temporary file beside it; those of a .gpzm get their check.
 * Errors: IO. */
gpuzip_status weights_write(const char *path, const void *data, size_t size);

#endif
