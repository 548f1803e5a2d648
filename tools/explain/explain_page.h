/* explain_page.h: the page of `gpuzip explain`: one HTML file without external resources. All bytes
 * from files are escaped (explain_html.h), and the page's security policy forbids all loads. */
#ifndef EXPLAIN_PAGE_H
#define EXPLAIN_PAGE_H

#include "curve.h"
#include "explain_html.h"
#include "report.h"

#define PAGE_TEXT_MAX ((size_t)512 << 10) /* bytes of text that are shown */
#define PAGE_DEAR_MAX 24

/* A token on the page, or a stored or packed block. */
typedef struct {
    uint64_t offset; /* in the text */
    uint32_t size;   /* bytes; a block may end behind the shown text */
    bool stored;     /* a stored or packed block, not a token */
    bool packed;     /* a packed block */
    float bits;
    float expert_bits[GPUZIP_MAX_EXPERTS];
} page_token;

typedef struct {
    const gpuzip *gz;
    const char *name; /* of the file, any bytes */
    const char *note; /* a sentence on the origin of the figures, or NULL */
    const report_call *call;
    const report_figures *figures;
    const gpuzip_options *options; /* that it was compressed with */
    unsigned adapt;                /* bits of gpuzip_adapt in use */
    const uint8_t *text;           /* [size] all of the file */
    size_t size;
    size_t shown;            /* bytes of it that token[] covers */
    const page_token *token; /* [tokens] */
    size_t tokens;
    const page_token *dear; /* [dears] the most expensive tokens, most expensive first */
    int dears;
    const curve *curve;
} page;

/* Writes the page; the caller tests ferror(f). */
void page_write(FILE *f, const page *p);

/* ---- between the page's own files --------------------------------------- */

/* The coloured text, and its numbers for the script. */
void page_put_tokens(FILE *f, const page *p);

/* The curves of bits per byte and of the alphas. */
void page_put_charts(FILE *f, const page *p);

/* Expert k's name as HTML. */
static inline void page_put_expert(FILE *f, const page *p, int k)
{
    const gpuzip_stats *s = &p->call->stats;
    html_put_name(f, report_expert_name(p->gz, s->expert[k].kind, s->expert[k].model));
}

#endif
