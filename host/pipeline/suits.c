/* suits.c: see suits.h. The constants were chosen with tests/kinds: 60 kinds of files in four
 * sizes. All arithmetic is integer: the same on every machine. */
#include "suits.h"

#include "detmath.h"
#include "utf8.h"

/* Content is random if the estimate is within 1/64 of its size. */
#define RANDOM_SHARE 64

/* Content without words is a long run, or near to it, if the estimate is below 1/200 of its size
 * and 64 bytes, of which a run needs 60 for headers and its beginning: a model could save at most
 * so much, and would take as long as for other content. */
#define RUN_SHARE 200
#define RUN_BYTES 64

/* Tokens of text stand for 1.5 to 4 bytes, of languages that the tokenizer does not know for 1.1
 * or more, of bytes in which it finds next to no words for less than 1.3. In hundredths. */
#define TOKEN_BYTES_NONE 130

/* Binary: at least 1/16 of the bytes are control characters that no text has, of at least 10
 * values each of which makes up 1/1024. (UTF-16 of western languages and formats that part fields
 * by a control character have few values.) */
#define CONTROL_SHARE       16
#define CONTROL_VALUES      10
#define CONTROL_VALUE_SHARE 1024

/* Noise: single bytes spread evenly, such as base64, in which the codec finds no repetition: its
 * estimate is not below the entropy of single bytes. Below 5 bits a byte (hexadecimal,
 * nucleotides, digits) the contexts of the model may still win; well-formed UTF-8 of more than one
 * byte a character is a language. In sixteenths of a bit. */
#define NOISE_ENTROPY (5 * 16)
#define UTF8_SHARE    8 /* of the bytes belong to such characters, at least */

/* Statistics of a content. */
typedef struct {
    uint32_t count[256]; /* of each byte */
    size_t wide;         /* bytes of characters of 2 bytes or more in well-formed UTF-8 */
} bytes_counted;

static void count_bytes(bytes_counted *c, const uint8_t *raw, size_t size)
{
    *c = (bytes_counted){0};
    for (size_t i = 0; i < size; i++)
        c->count[raw[i]]++;
    for (size_t i = 0; i < size;) {
        size_t length = utf8_char(raw + i, size - i);
        if (length > 1)
            c->wide += length;
        i += length ? length : 1;
    }
}

/* Returns the order-0 entropy of the bytes, in bits. */
static uint64_t entropy_bits(const bytes_counted *c, size_t size)
{
    uint64_t bits = 0; /* Q16: below 2^24 * 24 * 2^16 */
    int32_t whole = det_log2_q16((uint32_t)size);
    for (int i = 0; i < 256; i++)
        if (c->count[i])
            bits += (uint64_t)c->count[i] * (uint32_t)(whole - det_log2_q16(c->count[i]));
    return bits >> 16;
}

/* Whether no text has this character; backspace to carriage return and escape are in logs. */
static bool is_control(int byte)
{
    return (byte < 32 && !(byte >= 8 && byte <= 13) && byte != 27) || byte == 127;
}

static bool is_binary(const bytes_counted *c, size_t size)
{
    size_t controls = 0, values = 0;
    for (int i = 0; i < 128; i++) {
        if (!is_control(i))
            continue;
        controls += c->count[i];
        values += (uint64_t)c->count[i] * CONTROL_VALUE_SHARE >= size;
    }
    return controls >= size / CONTROL_SHARE && values >= CONTROL_VALUES;
}

static bool is_noise(const bytes_counted *c, size_t size, size_t estimate)
{
    uint64_t bits = entropy_bits(c, size);
    return 16 * bits >= (uint64_t)NOISE_ENTROPY * size && 8 * (uint64_t)estimate >= bits &&
           c->wide < size / UTF8_SHARE;
}

bool suits_model(const uint8_t *raw, size_t size, size_t tokens, size_t estimate)
{
    bytes_counted c;
    if (estimate >= size - size / RANDOM_SHARE)
        return false;
    if (!tokens || 100 * (uint64_t)size >= TOKEN_BYTES_NONE * (uint64_t)tokens)
        return true;
    if (estimate < size / RUN_SHARE + RUN_BYTES)
        return false;
    count_bytes(&c, raw, size);
    return !is_binary(&c, size) && !is_noise(&c, size, estimate);
}
