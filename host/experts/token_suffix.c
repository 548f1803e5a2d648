/* token_suffix.c: the last bytes and the class of a token, for the context models. */
#include "context_model.h"

typedef enum { NONE, LINE, BLANK, DIGIT, LOWER, UPPER, HIGH, OTHER, GROUPS } group;

static group group_of(uint8_t byte)
{
    if (byte == '\n' || byte == '\r')
        return LINE;
    if (byte == ' ' || byte == '\t')
        return BLANK;
    if (byte >= '0' && byte <= '9')
        return DIGIT;
    if (byte >= 'a' && byte <= 'z')
        return LOWER;
    if (byte >= 'A' && byte <= 'Z')
        return UPPER;
    return byte > 127 ? HIGH : OTHER;
}

uint32_t context_model_class(const uint8_t *bytes, size_t n)
{
    static const uint8_t class_of[GROUPS][GROUPS] = {
        [NONE] = {0},
        [LINE] = {1, 1, 1, 1, 1, 1, 1, 1},
        [BLANK] = {5, 2, 2, 4, 3, 3, 3, 5},
        [DIGIT] = {7, 7, 7, 6, 7, 7, 7, 7},
        [LOWER] = {9, 9, 9, 9, 8, 9, 9, 9},
        [UPPER] = {10, 10, 10, 10, 10, 10, 10, 10},
        [HIGH] = {11, 11, 11, 11, 11, 11, 11, 11},
        [OTHER] = {15, 15, 15, 13, 12, 12, 12, 14},
    };
    return class_of[n > 0 ? group_of(bytes[0]) : NONE][n > 1 ? group_of(bytes[1]) : NONE];
}

uint32_t token_suffix(const uint8_t *bytes, size_t size)
{
    uint32_t n = size < 3 ? (uint32_t)size : 3;
    uint32_t suffix = context_model_class(bytes, size) << 28 | n << 24;
    for (uint32_t i = 0; i < n; i++)
        suffix |= (uint32_t)bytes[size - 1 - i] << 8 * i;
    return suffix;
}
