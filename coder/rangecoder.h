/* rangecoder.h: a range coder for integer distributions over large alphabets.
 *
 * A symbol is an interval [start, start + freq) of [0, 2^RC_BITS). The coder
 * spends log2(2^RC_BITS / freq) bits on it; the loss is below 2^-25 bits a
 * symbol plus one byte a stream: a stream of b bits of symbols has at most
 * b / 8 + 1 bytes, and none at all if zeros alone would say it. It holds no
 * model and no floats. FORMAT.md defines the stream.
 *
 * Errors are sticky, so hot loops test nothing: coding past the end of the
 * buffer is harmless, remembered, and reported once by rc_encode_end() or
 * rc_decode_end(). The decoder accepts any bytes whatever: it never reads
 * outside the buffer, and every call ends.
 *
 * Ownership: buffers belong to the caller and must outlive the coder.
 * Threads: a coder is used by one thread at a time; there is no global state.
 */
#ifndef GPUZIP_RANGECODER_H
#define GPUZIP_RANGECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RC_BITS  30u             /* frequencies of a distribution sum to 2^RC_BITS */
#define RC_TOTAL (1u << RC_BITS) /* the end of the last symbol */

typedef struct {
    uint64_t low;          /* low end of the interval, less the bytes already written */
    uint64_t range;        /* its width; >= 2^56 between calls */
    uint8_t *out;          /* [capacity] */
    size_t size, capacity; /* bytes written, bytes available */
    bool overflow;         /* a byte did not fit; nothing is written from then on */
} rc_encoder;

typedef struct {
    uint64_t code;     /* the stream's value less the low end; < range */
    uint64_t range;    /* as the encoder's */
    const uint8_t *in; /* [size] */
    size_t pos, size;  /* bytes consumed, bytes there; beyond size all bytes read as zero */
} rc_decoder;

/* Begins a stream in out[0, capacity). 4 bytes a symbol and one more always
 * suffice. out may be NULL if capacity is 0. */
void rc_encode_begin(rc_encoder *rc, uint8_t *out, size_t capacity);

/* Requires freq > 0 and start + freq <= RC_TOTAL. */
void rc_encode(rc_encoder *rc, uint32_t start, uint32_t freq);

/* Ends the stream and writes its size in bytes to *size; it may be 0. Returns
 * false, with *size untouched, if the bytes (trailing zeros included, which are
 * dropped only here) did not fit. out[*size, capacity) holds no meaning. */
bool rc_encode_end(rc_encoder *rc, size_t *size);

/* Begins to decode the stream in[0, size). in may be NULL if size is 0. */
void rc_decode_begin(rc_decoder *rc, const uint8_t *in, size_t size);

/* Returns a point in [0, RC_TOTAL): the next symbol is the one whose interval
 * holds it. Changes nothing. */
uint32_t rc_decode_target(const rc_decoder *rc);

/* Goes past the symbol [start, start + freq), which must hold the target. */
void rc_decode_advance(rc_decoder *rc, uint32_t start, uint32_t freq);

/* Returns true if in[0, size) equals, to the byte, an encoder's output for the
 * decoded symbols. (This doesn't prove that the symbols are the original ones: every
 * byte string decodes to some symbols. A checksum must prove that.) */
bool rc_decode_end(const rc_decoder *rc);

#endif
