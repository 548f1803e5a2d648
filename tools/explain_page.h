/* explain_page.h: the page that `gpuzip explain` writes: one HTML file that needs nothing else.
 * What it shows comes from files: all of it is escaped, and the page forbids itself to load
 * anything. */
#ifndef EXPLAIN_PAGE_H
#define EXPLAIN_PAGE_H

#include "curve.h"
#include "report.h"

#define PAGE_TEXT_MAX ((size_t)512 << 10) /* bytes of text that are shown */
#define PAGE_DEAR_MAX 24

/* A token that is shown, or a block that is stored or packed. */
typedef struct {
    uint64_t offset; /* in the text */
    uint32_t size;   /* bytes; such a block may end behind what is shown */
    bool stored;     /* no token but such a block */
    bool packed;     /* that is packed */
    float bits;
    float expert_bits[GPUZIP_MAX_EXPERTS];
} page_token;

typedef struct {
    const gpuzip *gz;
    const char *name; /* of the file, any bytes */
    const char *note; /* a sentence on how the figures came about, or NULL */
    const report_call *call;
    const report_figures *figures;
    const gpuzip_options *options; /* that it was compressed with */
    unsigned adapt;                /* what of gpuzip_adapt did */
    const uint8_t *text;           /* [size] all of the file */
    size_t size;
    size_t shown;            /* bytes of it that token[] covers */
    const page_token *token; /* [tokens] */
    size_t tokens;
    const page_token *dear; /* [dears] those that cost most, dearest first */
    int dears;
    const curve *curve;
} page;

/* Writes the page; ferror(f) tells whether it could be. */
void page_write(FILE *f, const page *p);

/* ---- between the page's own files --------------------------------------- */

/* size bytes of text for a human, as HTML: what is no valid UTF-8, controls and what could turn
 * the direction of the page as small codes. */
void page_put_text(FILE *f, const uint8_t *text, size_t size);

/* The same for a string. */
void page_put_name(FILE *f, const char *name);

/* An integer with commas: 1,234,567. */
void page_put_count(FILE *f, double count);

/* The coloured text, and its numbers for the script. */
void page_put_tokens(FILE *f, const page *p);

/* The curves of bits per byte and of the alphas. */
void page_put_charts(FILE *f, const page *p);

/* An expert's name as HTML. */
void page_put_expert(FILE *f, const page *p, int k);

#endif
