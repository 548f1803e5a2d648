/* explain_page.c: the page around the text and the curves: figures, sums, tables. */
#include "explain_page.h"

#include "explain_files.h"

#include <math.h>

#define CONTEXT_BYTES 40 /* on each side of a token in the table of the dearest */

/* ---- the head ----------------------------------------------------------- */

static void put_head(FILE *f, const page *p)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"generator\" content=\"gpuzip\">\n<title>",
          f);
    html_put_name(f, p->name);
    fputs(" &ndash; where the bits went</title>\n<style>\n", f);
    fputs(explain_css, f);
    fputs("</style>\n</head>\n<body>\n<header><h1>", f);
    html_put_name(f, p->name);
    fputs("</h1>\n<p class=lead>", f);
    html_put_count(f, (double)p->figures->original);
    fputs(" bytes become <strong>", f);
    html_put_count(f, (double)p->figures->compressed);
    fprintf(f, "</strong>: <strong>%.3f bits a byte</strong>.</p>\n", p->figures->bits_per_byte);
    if (p->note) {
        fputs("<p>", f);
        html_put_name(f, p->note);
        fputs("</p>\n", f);
    }
    fputs("</header>\n<main>\n", f);
}

/* Begins a card: a figure with its name, and its meaning as a tooltip. */
static void begin_card(FILE *f, const char *name, const char *meaning)
{
    fprintf(f, "<div class=card title=\"%s\"><dt>%s</dt><dd>", meaning, name);
}

/* Ends it with a remark. */
static void end_card(FILE *f, const char *remark)
{
    fprintf(f, " <small>%s</small></dd></div>\n", remark);
}

/* One with places behind the point. */
static void put_card(FILE *f, const char *name, const char *meaning, double value, int places,
                     const char *remark)
{
    begin_card(f, name, meaning);
    fprintf(f, "%.*f", places, fabs(value) * pow(10, places) < 0.5 ? 0 : value);
    end_card(f, remark);
}

static void put_cards(FILE *f, const page *p)
{
    const report_figures *d = p->figures;
    const gpuzip_stats *s = &p->call->stats;
    double tokens = (double)s->tokens;
    char remark[64];
    fputs("<dl class=cards>\n", f);
    put_card(f, "ratio", "compressed / original", 100 * d->ratio, 2, "% of the original");
    begin_card(f, "tokens", "as the models see the text");
    html_put_count(f, tokens);
    snprintf(remark, sizeof remark, "%.2f bytes each",
             tokens > 0 ? (double)s->model_bytes / tokens : 0);
    end_card(f, remark);
    put_card(f, "cost S", "S / tokens", d->model_bits_per_token, 3, "bits a token");
    snprintf(remark, sizeof remark, "1 &minus; S / S<sub>0</sub>, S<sub>0</sub> = %.0f bits",
             d->uniform_bits);
    put_card(f, "saving r", "S_0: all tokens of the vocabulary equally likely", d->saving, 3,
             remark);
    put_card(f, "models |f|", "bytes of the model files", (double)d->model_file_bytes / 1e6, 2,
             "MB, not counted");
    put_card(f, "mean log<sub>2</sub> Z", "of the product of the experts",
             tokens > 0 ? s->log2_z / tokens : 0, 4, "bits a token");
    put_card(f, "information capacity",
             "bits saved a token / log2 of the operations that a token takes",
             d->information_capacity, 3, "bits / log<sub>2</sub> operations");
    put_card(f, "saved per compute", "bits saved / 10^9 operations of the forward passes",
             d->saved_bits_per_gop, 0, "bits a GOP");
    fputs("</dl>\n", f);
}

/* ---- where the bits come from -------------------------------------------- */

/* A line of the sum. A term's bar begins at the sum of the terms before it; whole: the bits of a
 * full bar. */
static void put_term(FILE *f, const page *p, const char *name, double bits, double whole,
                     double *sum)
{
    double size = p->size > 0 ? (double)p->size : 1, after = sum ? *sum + bits : bits;
    double low = !sum ? 0 : after < *sum ? after : *sum;
    bool nothing = fabs(bits) / size < 0.5e-4;
    fprintf(f, "<tr%s><th scope=row>%s</th><td>", sum ? "" : " class=sum", name);
    html_put_count(f, bits);
    fprintf(f,
            "</td><td>%s%.4f</td><td class=bar><span class=\"%s\" style=\"margin-left:%.2f%%;"
            "width:%.2f%%\"></span></td></tr>\n",
            !sum || nothing ? ""
            : bits > 0      ? "+"
                            : "&minus;",
            nothing ? 0 : fabs(bits) / size,
            !sum       ? "whole"
            : bits < 0 ? "less"
                       : "more",
            100 * low / whole, 100 * fabs(bits) / whole);
    if (sum)
        *sum = after;
}

static void put_sum(FILE *f, const page *p)
{
    const gpuzip_stats *s = &p->call->stats;
    double file_bits = 8.0 * (double)p->figures->compressed;
    double sum = s->weighted_bits, whole = sum > file_bits ? sum : file_bits;
    if (s->log2_z > 0)
        whole += s->log2_z;
    fputs("<section><h2>Where the bits come from</h2>\n<div class=scroll><table>\n<tr><th></th>"
          "<th>bits</th><th>a byte</th><th class=bar></th></tr>\n",
          f);
    put_term(f, p, "experts&rsquo; bits, times alpha", sum, whole, NULL);
    put_term(f, p, "log<sub>2</sub> Z, normalising their product", s->log2_z, whole, &sum);
    if (s->bias_gain_bits != 0)
        put_term(f, p, "learnt biases", -s->bias_gain_bits, whole, &sum);
    if (s->context_gain_bits != 0)
        put_term(f, p, "contexts of the file itself", -s->context_gain_bits, whole, &sum);
    if (s->escape_bits != 0)
        put_term(f, p, "bytes that no token stands for", s->escape_bits, whole, &sum);
    if (s->rounding_bits != 0)
        put_term(f, p, "rounding to integer frequencies", s->rounding_bits, whole, &sum);
    put_term(f, p, "cost of the tokens, S", s->model_bits, whole, NULL);
    put_term(f, p, "range coder", s->coder_bits - s->model_bits, whole, &sum);
    put_term(f, p,
             s->stored_blocks + s->packed_blocks ? "headers, checksums, stored and packed blocks"
                                                 : "headers and checksums",
             file_bits - s->coder_bits, whole, &sum);
    put_term(f, p, "the file", file_bits, whole, NULL);
    fputs("</table></div>\n</section>\n", f);
}

/* ---- the experts --------------------------------------------------------- */

static void put_expert_row(FILE *f, const page *p, int k)
{
    const gpuzip_stats *s = &p->call->stats;
    double bytes = s->model_bytes > 0 ? (double)s->model_bytes : 1;
    gpuzip_model_info info;
    fputs("<tr><th scope=row class=name>", f);
    page_put_expert(f, p, k);
    fputs("</th>", f);
    if (s->expert[k].kind == GPUZIP_EXPERT_MODEL &&
        gpuzip_get_model_info(p->gz, s->expert[k].model, &info) == GPUZIP_OK) {
        fputs("<td class=left>", f);
        html_put_name(f, info.architecture);
        fprintf(f, ", %d layers of %d</td><td>", info.layers, info.dim);
        html_put_count(f, (double)info.parameters);
        fputs("</td><td>", f);
        html_put_count(f, (double)info.file_size);
        fputs("</td>", f);
    } else {
        fputs("<td class=left>counts of the file&rsquo;s tokens</td><td>&ndash;</td>"
              "<td>&ndash;</td>",
              f);
    }
    fprintf(f, "<td>%.4f</td><td>%.4f</td><td>%.4f</td><td>%.4f</td></tr>\n",
            s->expert[k].bits / bytes, s->expert[k].bits / (s->tokens ? (double)s->tokens : 1),
            s->expert[k].alpha, s->expert[k].mean_alpha);
}

static void put_experts(FILE *f, const page *p)
{
    const gpuzip_stats *s = &p->call->stats;
    double bytes = s->model_bytes > 0 ? (double)s->model_bytes : 1;
    fputs("<section><h2>The experts</h2>\n<p>The cost with each expert alone, and its weight in "
          "the product.</p>\n<div class=scroll><table>\n<tr><th>expert</th><th class=left>kind</th>"
          "<th>parameters</th><th>bytes of the model</th><th>bits/byte alone</th>"
          "<th>bits/token</th><th>alpha at the end</th><th>mean alpha</th></tr>\n",
          f);
    for (int k = 0; k < s->experts; k++)
        put_expert_row(f, p, k);
    bool contexts = p->adapt & GPUZIP_ADAPT_CONTEXTS, biases = p->adapt & GPUZIP_ADAPT_BIASES;
    fprintf(f, "<tr class=sum><th scope=row>all together</th><td class=left>%s</td><td></td><td>",
            contexts && biases ? "with contexts and biases"
            : contexts         ? "with contexts"
            : biases           ? "with biases"
                               : "");
    html_put_count(f, (double)p->figures->model_file_bytes);
    fprintf(f,
            "</td><td>%.4f</td><td>%.4f</td><td></td><td></td></tr>\n</table></div>\n</section>\n",
            s->model_bits / bytes, p->figures->model_bits_per_token);
}

/* ---- the dearest tokens -------------------------------------------------- */

static void put_dear(FILE *f, const page *p)
{
    int experts = p->call->stats.experts;
    if (p->dears == 0)
        return;
    fputs("<section><h2>The dearest tokens</h2>\n<div class=scroll><table>\n<tr><th>bits</th>"
          "<th>at byte</th><th class=left>token, in its place</th>",
          f);
    for (int k = 0; k < experts; k++) {
        fputs("<th>", f);
        page_put_expert(f, p, k);
        fputs(" alone</th>", f);
    }
    fputs("</tr>\n", f);
    for (int i = 0; i < p->dears; i++) {
        const page_token *t = &p->dear[i];
        size_t at = (size_t)t->offset, before = at < CONTEXT_BYTES ? at : CONTEXT_BYTES;
        size_t left = p->size - at - t->size, after = left < CONTEXT_BYTES ? left : CONTEXT_BYTES;
        /* whole characters */
        while (before > 0 && (p->text[at - before] & 0xc0) == 0x80)
            before--;
        while (after > 0 && at + t->size + after < p->size &&
               (p->text[at + t->size + after] & 0xc0) == 0x80)
            after--;
        fprintf(f, "<tr><td>%.2f</td><td>", t->bits);
        html_put_count(f, (double)at);
        fputs("</td><td class=place>", f);
        html_put_text(f, p->text + at - before, before);
        fputs("<mark>", f);
        html_put_text(f, p->text + at, t->size);
        fputs("</mark>", f);
        html_put_text(f, p->text + at + t->size, after);
        fputs("</td>", f);
        for (int k = 0; k < experts; k++)
            fprintf(f, "<td>%.2f</td>", t->expert_bits[k]);
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n</section>\n", f);
}

/* ---- the end ------------------------------------------------------------- */

static void put_foot(FILE *f, const page *p)
{
    const gpuzip_stats *s = &p->call->stats;
    fputs(
        "</main>\n<footer><details><summary>Definitions</summary>\n"
        "<p>Bits are &minus;log<sub>2</sub> of the probability that a token had. With the "
        "experts&rsquo; probabilities p<sub>k</sub> and weights &alpha;<sub>k</sub> it is "
        "&pi; = &prod; p<sub>k</sub><sup>&alpha;<sub>k</sub></sup> / Z, so that S = &sum; "
        "&alpha;<sub>k</sub> S<sub>k</sub> + &sum; log<sub>2</sub> Z minus the gains of biases and "
        "context models. An expert&rsquo;s bits are its cost alone, with alpha 1.</p>\n"
        "<p>S<sub>0</sub> = tokens &times; log<sub>2</sub> vocabulary; r = 1 &minus; S / "
        "S<sub>0</sub>. Information capacity (arXiv:2511.08066, its bias being 0) = (8 &times; "
        "bytes "
        "&minus; S) / tokens / log<sub>2</sub> N; N are the operations of the linear layers for a "
        "token, 2 for each multiply-add",
        f);
    if (p->figures->token_ops > 0) {
        fputs(", here ", f);
        html_put_count(f, p->figures->token_ops);
    }
    fputs(". Saved per compute = (8 &times; bytes &minus; S) / 10<sup>9</sup> operations that the "
          "forward passes took, windows that were read again included.</p></details>\n<p>",
          f);
    fprintf(f, "gpuzip %s: ", gpuzip_version());
    html_put_count(f, (double)s->blocks);
    fprintf(f, " %s, of which stored %llu, packed %llu.", s->blocks == 1 ? "block" : "blocks",
            (unsigned long long)s->stored_blocks, (unsigned long long)s->packed_blocks);
    if (p->options->window)
        fprintf(f, p->options->hop ? " Window %d, hop %d." : " Sliding window of %d tokens.",
                p->options->window, p->options->hop);
    else
        fprintf(f, " Level %d.", p->options->level ? p->options->level : GPUZIP_LEVEL_DEFAULT);
    fputs(" This page needs no network and loads nothing.</p></footer>\n<script>\n", f);
    fputs(explain_js, f);
    fputs("</script>\n</body>\n</html>\n", f);
}

void page_write(FILE *f, const page *p)
{
    put_head(f, p);
    put_cards(f, p);
    if (p->call->stats.tokens > 0) {
        put_sum(f, p);
        put_experts(f, p);
    }
    page_put_charts(f, p);
    page_put_tokens(f, p);
    put_dear(f, p);
    put_foot(f, p);
}
