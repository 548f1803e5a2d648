/* rangecoder.c: the range coder.
 *
 * The coder narrows an interval [low, low + range) of [0, 1) symbol by symbol,
 * and the stream is the shortest byte string in it, read as a fraction in base
 * 256. Both ends keep a window of 64 bits of that fraction. Whenever range falls
 * below 2^56 the window moves by a byte, so range >= 2^56 between symbols.
 *
 *     unit = range >> 30 >= 2^26     so rounding unit down loses less than a
 *                                    part in 2^26 of the interval
 *     range >= unit >= 2^26          after a symbol, so the window then moves by
 *                                    at most 4 bytes: no loop is needed
 *
 * The encoder's low may pass 2^64; the carry then runs into the bytes already
 * written. It cannot run out at the front, for low + range never grows.
 */
#include <assert.h>

#include "rangecoder.h"

/* The first interval; the whole of [0, 1) would need a 65th bit. */
#define RANGE_MAX UINT64_MAX

/* Returns the width of a symbol. The last one also gets the range mod 2^30 that
 * is left over, so that every byte string decodes to something. */
static uint64_t symbol_width(uint64_t range, uint32_t start, uint32_t freq)
{
    uint64_t unit = range >> RC_BITS;
    return start + freq == RC_TOTAL ? range - unit * start : unit * freq;
}

/* Returns how many bytes (0 .. 4) the window moves to bring range to >= 2^56. */
static unsigned renorm_bytes(uint64_t range)
{
    return (unsigned)__builtin_clzll(range) / 8;
}

/* Returns the distance from low to the value at which the stream ends: the next
 * multiple of 2^64, which needs no further byte, or if the interval has none the
 * next multiple of 2^56, which needs one (and is there, since range >= 2^56). */
static uint64_t end_offset(uint64_t low, uint64_t range)
{
    uint64_t offset = 0 - low;
    return offset < range ? offset : offset & (((uint64_t)1 << 56) - 1);
}

void rc_encode_begin(rc_encoder *rc, uint8_t *out, size_t capacity)
{
    *rc = (rc_encoder){.range = RANGE_MAX, .out = out, .capacity = capacity};
}

static void add_to_low(rc_encoder *rc, uint64_t offset)
{
    rc->low += offset;
    if (rc->low >= offset)
        return;
    for (size_t i = rc->size; i > 0 && ++rc->out[i - 1] == 0;)
        i--;
}

/* Moves the `bytes` (0 .. 4) high bytes of low to the buffer. */
static void write_bytes(rc_encoder *rc, unsigned bytes)
{
    if (rc->capacity - rc->size >= 4) {
        /* Always storing 4 and keeping some has no branch to mispredict. */
        uint8_t *out = rc->out + rc->size;
        out[0] = (uint8_t)(rc->low >> 56);
        out[1] = (uint8_t)(rc->low >> 48);
        out[2] = (uint8_t)(rc->low >> 40);
        out[3] = (uint8_t)(rc->low >> 32);
        rc->size += bytes;
        rc->low <<= 8 * bytes;
        return;
    }
    for (; bytes > 0; bytes--) {
        rc->overflow |= rc->size == rc->capacity;
        if (!rc->overflow)
            rc->out[rc->size++] = (uint8_t)(rc->low >> 56);
        rc->low <<= 8;
    }
}

void rc_encode(rc_encoder *rc, uint32_t start, uint32_t freq)
{
    assert(freq > 0 && freq <= RC_TOTAL && start <= RC_TOTAL - freq);
    uint64_t width = symbol_width(rc->range, start, freq);
    unsigned bytes = renorm_bytes(width);
    add_to_low(rc, (rc->range >> RC_BITS) * start);
    write_bytes(rc, bytes);
    rc->range = width << (8 * bytes);
}

bool rc_encode_end(rc_encoder *rc, size_t *size)
{
    add_to_low(rc, end_offset(rc->low, rc->range));
    if (rc->low != 0)
        write_bytes(rc, 1);
    if (rc->overflow)
        return false;
    while (rc->size > 0 && rc->out[rc->size - 1] == 0)
        rc->size--;
    *size = rc->size;
    return true;
}

/* Returns the 64 bits of the stream that end before byte pos >= 8. */
static uint64_t read_window(const rc_decoder *rc, size_t pos)
{
    uint64_t window = 0;
    for (size_t i = pos - 8; i < pos; i++)
        window = window << 8 | (i < rc->size ? rc->in[i] : 0);
    return window;
}

void rc_decode_begin(rc_decoder *rc, const uint8_t *in, size_t size)
{
    *rc = (rc_decoder){.range = RANGE_MAX, .in = in, .pos = 8, .size = size};
    rc->code = read_window(rc, 8);
    if (rc->code == RANGE_MAX) /* no encoder writes that; rc_decode_end() says so */
        rc->code--;
}

uint32_t rc_decode_target(const rc_decoder *rc)
{
    uint64_t target = rc->code / (rc->range >> RC_BITS);
    return target < RC_TOTAL ? (uint32_t)target : RC_TOTAL - 1;
}

void rc_decode_advance(rc_decoder *rc, uint32_t start, uint32_t freq)
{
    assert(freq > 0 && freq <= RC_TOTAL && start <= RC_TOTAL - freq);
    uint64_t width = symbol_width(rc->range, start, freq);
    unsigned bytes = renorm_bytes(width);
    rc->code -= (rc->range >> RC_BITS) * start;
    rc->range = width << (8 * bytes);
    if (rc->pos < rc->size && rc->size - rc->pos >= 4) {
        const uint8_t *in = rc->in + rc->pos;
        uint64_t next =
            (uint64_t)in[0] << 24 | (uint64_t)in[1] << 16 | (uint64_t)in[2] << 8 | in[3];
        rc->code = rc->code << (8 * bytes) | next >> (32 - 8 * bytes);
        rc->pos += bytes;
        return;
    }
    for (; bytes > 0; bytes--, rc->pos++)
        rc->code = rc->code << 8 | (rc->pos < rc->size ? rc->in[rc->pos] : 0);
}

bool rc_decode_end(const rc_decoder *rc)
{
    /* The window less code is the encoder's low, from which follows where it
     * ended. Equality there and no byte after it leave one possible stream. */
    uint64_t low = read_window(rc, rc->pos) - rc->code;
    return rc->size <= rc->pos && (rc->size == 0 || rc->in[rc->size - 1] != 0) &&
           read_window(rc, 8) != RANGE_MAX && rc->code == end_offset(low, rc->range);
}
