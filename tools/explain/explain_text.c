/* explain_text.c: the text of the page, coloured by the cost of its tokens. */
#include "explain_page.h"

#include <math.h>

#define CHUNK_BYTES 4096 /* of text; a browser lays out those in sight alone */

/* Where the colours change, in bits; the script has them from the page. */
static const double steps[] = {0.1, 0.5, 1, 2, 4, 6, 8, 11};
#define STEPS (sizeof steps / sizeof *steps)

/* Rounds like the numbers for the script, so that both choose the same colour. */
static long hundredths_of(double bits)
{
    return lrint(100 * bits);
}

static int colour_of(double bits)
{
    int colour = 0;
    while (colour < (int)STEPS && (double)hundredths_of(bits) >= 100 * steps[colour])
        colour++;
    return colour;
}

/* Writes a token's text. A character that several tokens share is written in the first of them;
 * *character is the end of the last character written. */
static void put_token(FILE *f, const page *p, const page_token *t, size_t *character)
{
    size_t at = (size_t)t->offset, end = at + t->size < p->shown ? at + t->size : p->shown;
    bool written = false;
    if (t->stored)
        fputs(t->packed ? "<i class=\"s p\">" : "<i class=s>", f);
    else
        fprintf(f, "<i class=c%d>", colour_of(t->bits));
    if (at < *character)
        at = *character;
    for (; at < end; written = true) {
        at += html_put_next(f, p->text + at, p->size - at, true);
        *character = at;
    }
    fputs(written ? "</i>" : "<b>&middot;</b></i>", f);
}

/* An array of hundredths. */
static void put_hundredths(FILE *f, const page *p, const char *name, int expert)
{
    fprintf(f, "%s[", name);
    for (size_t i = 0; i < p->tokens; i++) {
        const page_token *t = &p->token[i];
        double bits = expert < 0 ? t->bits : t->expert_bits[expert];
        fprintf(f, "%s%ld", i ? "," : "", hundredths_of(bits));
    }
    fputs("]", f);
}

static void put_numbers(FILE *f, const page *p)
{
    fputs("<script type=\"application/json\" id=\"numbers\">\n{\"steps\":[", f);
    for (size_t i = 0; i < STEPS; i++)
        fprintf(f, "%s%g", i ? "," : "", steps[i]);
    fputs("],\n\"size\":[", f);
    for (size_t i = 0; i < p->tokens; i++)
        fprintf(f, "%s%u", i ? "," : "", (unsigned)p->token[i].size);
    fputs("],\n", f);
    put_hundredths(f, p, "\"bits\":", -1);
    fputs(",\n\"alone\":[", f);
    for (int k = 0; k < p->call->stats.experts; k++)
        put_hundredths(f, p, k ? ",\n" : "\n", k);
    fputs("]}\n</script>\n", f);
}

static void put_legend(FILE *f)
{
    fputs("<p class=legend aria-label=\"Colours\"><span>bits a token:</span> ", f);
    for (size_t i = 0; i <= STEPS; i++) {
        fprintf(f, "<i class=c%zu>", i);
        if (i == 0)
            fprintf(f, "below %g", steps[0]);
        else if (i < STEPS)
            fprintf(f, "%g&ndash;%g", steps[i - 1], steps[i]);
        else
            fprintf(f, "%g and more", steps[i - 1]);
        fputs("</i>", f);
    }
    fputs("</p>\n<p class=\"legend gains\" hidden><span>bits gained by the mix:</span> "
          "<i class=g0>4 and more</i><i class=g1>1&ndash;4</i><i class=g2>0.1&ndash;1</i>"
          "<i class=g3>about 0</i><span>lost:</span> <i class=g4>0.1&ndash;1</i>"
          "<i class=g5>1&ndash;4</i><i class=g6>4 and more</i></p>\n",
          f);
}

static void put_chooser(FILE *f, const page *p)
{
    int experts = p->call->stats.experts;
    fputs("<p class=chooser><label>Colour by <select id=\"by\"><option value=\"c\">the bits that "
          "each token cost</option>",
          f);
    for (int k = 0; k < experts; k++) {
        fprintf(f, "<option value=\"a%d\">the bits with ", k);
        page_put_expert(f, p, k);
        fputs(" alone</option>", f);
    }
    for (int k = 0; k < experts; k++) {
        fprintf(f, "<option value=\"g%d\">the gain of the mix over ", k);
        page_put_expert(f, p, k);
        fputs(" alone</option>", f);
    }
    fputs("</select></label> <span class=hint>Point at a token, or use the arrow keys in the "
          "text.</span></p>\n",
          f);
}

void page_put_tokens(FILE *f, const page *p)
{
    size_t character = 0, chunk = 0;
    fputs("<section><h2>The text, coloured by its cost</h2>\n<p>", f);
    if (p->shown < p->size) {
        fputs("The first ", f);
        html_put_count(f, (double)p->shown);
        fputs(" of ", f);
        html_put_count(f, (double)p->size);
        fputs(" bytes are shown; figures and curves cover the whole file. ", f);
    }
    fputs("Underlined tokens cost 8 bits and more. Small codes stand for bytes other than text, "
          "a dot for a token inside a character that an earlier token shows.</p>\n",
          f);
    put_chooser(f, p);
    put_legend(f);
    fputs("<div id=\"text\" tabindex=\"0\" role=\"group\" aria-label=\"The text; arrow keys go "
          "from token to token\"><div>",
          f);
    for (size_t i = 0; i < p->tokens; i++) {
        const page_token *t = &p->token[i];
        put_token(f, p, t, &character);
        chunk += t->size;
        size_t end = (size_t)t->offset + t->size;
        if (chunk >= CHUNK_BYTES && i + 1 < p->tokens && p->text[end - 1] == '\n') {
            fputs("</div><div>", f);
            chunk = 0;
        }
    }
    fputs("</div></div>\n<div id=\"tip\" hidden></div><p id=\"told\" aria-live=\"polite\"></p>\n",
          f);
    put_numbers(f, p);
    fputs("</section>\n", f);
}
