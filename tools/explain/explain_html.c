/* explain_html.c: see explain_html.h. */
#include "explain_html.h"

#include <math.h>
#include <string.h>

/* The size of the UTF-8 character at text[0, size), which becomes *code, or 0 if there is none. */
static size_t read_character(const uint8_t *text, size_t size, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = text[0];
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (n == 0 || n > size || first > 0xf4)
        return 0;
    uint32_t c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (text[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *code = c;
    return n;
}

/* Whether a character shows nothing, or changes how its neighbours show. */
static bool is_hidden(uint32_t c)
{
    static const uint32_t range[][2] = {{0x80, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
                                        {0x180e, 0x180e}, {0x200b, 0x200b}, {0x200e, 0x200f},
                                        {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfdd0, 0xfdef},
                                        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (c >= range[i][0] && c <= range[i][1])
            return true;
    return (c & 0xfffe) == 0xfffe;
}

/* Writes a character of n bytes. lines: newlines and tabs are such. */
static void put_character(FILE *f, const uint8_t *bytes, size_t n, uint32_t c, bool lines)
{
    static const char *const control[] = {"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL",
                                          "BS",  "TAB", "LF",  "VT",  "FF",  "CR",  "SO",  "SI",
                                          "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB",
                                          "CAN", "EM",  "SUB", "ESC", "FS",  "GS",  "RS",  "US"};
    if (c == '<')
        fputs("&lt;", f);
    else if (c == '>')
        fputs("&gt;", f);
    else if (c == '&')
        fputs("&amp;", f);
    else if (c == '"')
        fputs("&quot;", f);
    else if (c == '\'')
        fputs("&#39;", f);
    else if (c == '\n')
        fputs(lines ? "<b>&#8629;</b>\n" : "<b>&#8629;</b>", f);
    else if (c == '\t' && lines)
        fputc('\t', f);
    else if (c < 0x20 || c == 0x7f)
        fprintf(f, "<b>%s</b>", c == 0x7f ? "DEL" : control[c]);
    else if (is_hidden(c))
        fprintf(f, "<b>U+%04X</b>", (unsigned)c);
    else
        fwrite(bytes, 1, n, f);
}

size_t html_put_next(FILE *f, const uint8_t *text, size_t size, bool lines)
{
    uint32_t c;
    size_t n = read_character(text, size, &c);
    if (n > 0) {
        put_character(f, text, n, c, lines);
        return n;
    }
    fprintf(f, "<b>%02X</b>", text[0]);
    return 1;
}

void html_put_text(FILE *f, const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size;)
        at += html_put_next(f, text + at, size - at, false);
}

void html_put_name(FILE *f, const char *name)
{
    html_put_text(f, (const uint8_t *)name, strlen(name));
}

void html_put_count(FILE *f, double count)
{
    char digits[400];
    int n = snprintf(digits, sizeof digits, "%.0f", fabs(count));
    if (count <= -0.5)
        fputs("&minus;", f);
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            fputc(',', f);
        fputc(digits[i], f);
    }
}
