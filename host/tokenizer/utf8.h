/* utf8.h: where well-formed UTF-8 is (Unicode 15, table 3-7: no overlong forms,
 * no surrogates, nothing above U+10FFFF). */
#ifndef GPUZIP_UTF8_H
#define GPUZIP_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Returns the bytes, 1 .. 4, of the well-formed character that text[0, size)
 * begins with, or 0 if it begins with none. */
size_t utf8_char(const uint8_t *text, size_t size);

/* Returns the length in bytes of the longest well-formed beginning of
 * text[0, size). */
size_t utf8_run(const uint8_t *text, size_t size);

/* Returns the code point of a well-formed character of size bytes, 1 .. 4. */
uint32_t utf8_code(const uint8_t *text, size_t size);

/* Returns whether a byte of well-formed text begins a character. */
static inline int utf8_begins(uint8_t byte)
{
    return (byte & 0xC0) != 0x80;
}

#endif
