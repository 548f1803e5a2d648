/* weights_format.h: the layout of a .gpzm file (FORMAT.md), for the files of this layer. */
#ifndef GPUZIP_WEIGHTS_FORMAT_H
#define GPUZIP_WEIGHTS_FORMAT_H

#include "weights.h"

/* Tensors are used where they lie in the file. */
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a .gpzm file is little-endian and used in place: this needs a little-endian machine"
#endif

#define FORMAT_VERSION       2u
#define FORMAT_HEADER        192u /* bytes, a multiple of FORMAT_ALIGN */
#define FORMAT_ALIGN         64u  /* of every section */
#define FORMAT_MAX_TOKENIZER ((uint64_t)1 << 26)

/* Bits of the header's flags. */
enum {
    FORMAT_POST_NORM = 1 << 0,
    FORMAT_ROPE = 1 << 1,
    FORMAT_TIED = 1 << 2, /* the head is the embedding */
    FORMAT_QKV_BIAS = 1 << 3,
    FORMAT_OUT_BIAS = 1 << 4,
    FORMAT_UP_BIAS = 1 << 5,
    FORMAT_DOWN_BIAS = 1 << 6,
    FORMAT_HEAD_BIAS = 1 << 7,
    FORMAT_NAMELESS_ID = 1 << 8, /* the name does not count for the id */
    FORMAT_ALL_FLAGS = (1 << 9) - 1
};

/* Reads and checks a header of size bytes into *model (config, name, tests,
 * test_hash, ngram_buckets, tokenizer_size, embedding_factor, file_size; pointers
 * are not touched) and *flags. Does not look at the rest of the file.
 * Errors: FORMAT, CORRUPT, UNSUPPORTED. */
gpuzip_status format_read_header(weights_model *model, uint32_t *flags, const uint8_t *data,
                                 size_t size);

/* Writes the header of *model, FORMAT_HEADER bytes. */
void format_write_header(uint8_t *data, const weights_model *model, uint32_t flags);

/* Returns the check of a file of size bytes, at least FORMAT_HEADER, whatever check it holds. */
uint64_t format_compute_check(const uint8_t *data, size_t size);

/* Whether a file's check is that of its bytes, or 0: it has none. Reads the whole file, at
 * about 10 GB/s. */
bool format_check_valid(const uint8_t *data, size_t size);

/* Whether a file, FORMAT_HEADER bytes or more, has a check. */
bool format_is_checked(const uint8_t *data);

/* Gives the header of a file with its check. false, if the bytes are no model file's. */
bool format_seal(uint8_t header[FORMAT_HEADER], const uint8_t *data, size_t size);

/* The SHA-256 of a file without its check and, by a flag, its name. */
void format_compute_id(uint8_t id[WEIGHTS_ID_BYTES], const uint8_t *data, size_t size);

/* Checks the fields of a header: ranges and consistency. */
bool format_config_valid(const weights_model *model, uint32_t flags);

/* Gives every pointer of *model its place in a file that begins at base, in the
 * order of FORMAT.md; layer must be allocated, [config.layers], and the header's
 * fields must be valid. Also sets parameters. Returns the file's size in bytes.
 * With base NULL it only measures (pointers become NULL). */
uint64_t format_layout(weights_model *model, uint32_t flags, const uint8_t *base);

/* Whether the pad after every section is zero, for a model laid out over base. */
bool format_pad_is_zero(weights_model *model, uint32_t flags, const uint8_t *base);

/* Checks every entry of every tensor, and that no intermediate of the forward
 * pass can overflow (FORMAT.md, "Bounds"). error may be NULL. Errors: CORRUPT. */
gpuzip_status weights_check(const weights_model *model, weights_error *error);

/* The largest magnitude of a weight: 127 for 8 bits, 16256 for 15. */
int weights_quant_max(int bits);

#endif
