/* utf8.c: see utf8.h. */
#include "utf8.h"

#include <string.h>

size_t utf8_char(const uint8_t *text, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    /* The range of the second byte excludes overlong forms (E0, F0), surrogates
     * (ED) and values above U+10FFFF (F4). */
    uint8_t low = 0x80, high = 0xBF;
    size_t length;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (size < length || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (utf8_begins(text[i]))
            return 0;
    return length;
}

size_t utf8_run(const uint8_t *text, size_t size)
{
    size_t pos = 0;
    while (pos < size) {
        uint64_t eight;
        if (size - pos >= sizeof(eight)) {
            memcpy(&eight, text + pos, sizeof(eight));
            if ((eight & 0x8080808080808080u) == 0) {
                pos += sizeof(eight);
                continue;
            }
        }
        size_t length = utf8_char(text + pos, size - pos);
        if (length == 0)
            break;
        pos += length;
    }
    return pos;
}

uint32_t utf8_code(const uint8_t *text, size_t size)
{
    static const uint8_t lead_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = text[0] & lead_mask[size];
    for (size_t i = 1; i < size; i++)
        code = code << 6 | (text[i] & 0x3F);
    return code;
}
