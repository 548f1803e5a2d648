/* import.h: shared by the importers: a checkpoint as views into mapped files, and the function
 * that turns it into a model file. */
#ifndef GPUZIP_IMPORT_H
#define GPUZIP_IMPORT_H

#include <jansson.h>

#include "rope.h"
#include "safetensors.h"
#include "weights_format.h"

#define IMPORT_CONTEXT    8192 /* positions kept by default */
#define IMPORT_MAX_SHARDS 1024

typedef enum { IMPORT_F32, IMPORT_F16, IMPORT_BF16 } import_type;

/* A matrix where it lies in the checkpoint; a vector [n] is a matrix [n][1]. */
typedef struct {
    const uint8_t *data; /* [rows][cols] little-endian numbers, not aligned */
    import_type type;
    int rows, cols;
    bool transposed;      /* data is [cols][rows] */
    int interleaved_head; /* 0, or head_dim: RoPE pairs are rows 2i and 2i + 1 of a head */
} import_view;

/* Up to three views, one above the other. */
typedef struct {
    import_view view[3];
    int views; /* 0: absent */
} import_tensor;

typedef struct {
    import_tensor norm1_gain, norm1_bias, norm2_gain, norm2_bias;
    import_tensor qkv, out, up, down;
    import_tensor qkv_bias, out_bias, up_bias, down_bias;
} import_layer;

/* config and flags (weights_format.h) tell which parts are present. */
typedef struct {
    weights_config config; /* context as the source says; widths, bos, attention_factor unset */
    uint32_t flags;
    float embedding_factor;
    char name[64]; /* the source's own, printable; or "" */
    rope_config rope;
    import_tensor embedding, position; /* position: at least context rows */
    import_tensor final_gain, final_bias, head, head_bias;
    import_layer *layer; /* [config.layers], malloc'd */
} import_checkpoint;

/* The shards of a Hugging Face folder. */
typedef struct {
    safetensors *shard; /* [shards] */
    int shards;
    /* Which shard holds a tensor: its name -> index (JSON integer); NULL: the only one. */
    json_t *shard_of;
} import_shards;

/* Writes a message, printable ASCII only; returns status. */
gpuzip_status import_fail(weights_error *error, gpuzip_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies text to name[64]: its last path component, printable ASCII, cut to fit. */
void import_set_name(char name[64], const char *text);

/* Parsers: fill *c, whose layer the caller frees, also after a failure; they do not
 * touch tensor data. Errors: FORMAT, CORRUPT, UNSUPPORTED, MEMORY. */
gpuzip_status import_read_hf(import_checkpoint *c, const json_t *config, const import_shards *s,
                             weights_error *error);
gpuzip_status import_read_llama2c(import_checkpoint *c, const uint8_t *data, size_t size,
                                  weights_error *error);
gpuzip_status import_read_llmc(import_checkpoint *c, const uint8_t *data, size_t size,
                               weights_error *error);

/* The result of weights_probe(), from the same bytes. */
gpuzip_status import_probe_hf(weights_source *source, const json_t *config, weights_error *error);
/* llama2.c and llm.c files begin with 32-bit integers. Errors: FORMAT, UNSUPPORTED. */
gpuzip_status import_probe_bin(weights_source *source, const uint8_t *data, size_t size,
                               weights_error *error);

/* Quantises a checkpoint into the bytes of a .gpzm; otherwise as weights_import(). */
gpuzip_status import_build(void **data, size_t *size, const import_checkpoint *c,
                           const weights_import_options *options, const void *tokenizer,
                           size_t tokenizer_size, uint32_t bos, weights_error *error);

#endif
