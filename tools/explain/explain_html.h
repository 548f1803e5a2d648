/* explain_html.h: escaping. Bytes of a file or of its name enter the page through these functions
 * alone. */
#ifndef EXPLAIN_HTML_H
#define EXPLAIN_HTML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Writes size bytes of text as HTML. Bytes outside valid UTF-8, control characters and characters
 * that change the direction of writing appear as short codes such as <b>ESC</b>. */
void html_put_text(FILE *f, const uint8_t *text, size_t size);

/* Writes the first character of text[0, size), size > 0, in the same way, and returns its bytes.
 * lines: line feeds and tabs also take effect. */
size_t html_put_next(FILE *f, const uint8_t *text, size_t size, bool lines);

/* html_put_text() for a string. */
void html_put_name(FILE *f, const char *name);

/* Writes an integer with commas: 1,234,567. */
void html_put_count(FILE *f, double count);

#endif
