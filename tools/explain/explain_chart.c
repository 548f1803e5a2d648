/* explain_chart.c: curves along the file, as SVG and as a table. */
#include "explain_page.h"

#include <math.h>

#define WIDTH  960 /* of the drawing, in its own units */
#define HEIGHT 250
#define LEFT   52 /* of the plot in it */
#define RIGHT  948
#define TOP    10
#define BOTTOM 222

#define FINAL      -1 /* the series of the code itself; others are experts */
#define TABLE_ROWS 16

typedef enum { CHART_BITS, CHART_ALPHAS } chart_kind;

/* A series' value in a bin, or NaN where it has none. */
static double value_of(chart_kind kind, int series, const curve_bin *b)
{
    double sum, n;
    if (kind == CHART_ALPHAS) {
        sum = b->alpha[series];
        n = b->tokens;
    } else {
        sum = series == FINAL ? b->bits : b->expert_bits[series];
        n = series == FINAL ? b->bytes : b->coded_bytes;
    }
    return n > 0 ? sum / n : NAN;
}

static int first_series(chart_kind kind)
{
    return kind == CHART_BITS ? FINAL : 0;
}

/* Whether to draw a series. A single expert without adaptation would repeat the file's line. */
static bool is_drawn(const page *p, chart_kind kind, int series)
{
    return kind == CHART_ALPHAS || series == FINAL || p->call->stats.experts > 1 || p->adapt != 0;
}

static double greatest(const page *p, chart_kind kind)
{
    double most = 0;
    for (int i = 0; i < p->curve->bins; i++)
        for (int k = first_series(kind); k < p->call->stats.experts; k++) {
            double v = is_drawn(p, kind, k) ? value_of(kind, k, &p->curve->bin[i]) : 0;
            most = v > most ? v : most;
        }
    return most;
}

/* A round distance of grid lines, for about five of them. */
static double choose_step(double range)
{
    double unit = pow(10, floor(log10(range / 5))), times = range / 5 / unit;
    return unit * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static double x_of(const page *p, double offset)
{
    return LEFT + (RIGHT - LEFT) * offset / (double)p->size;
}

static double y_of(double value, double top)
{
    return BOTTOM - (BOTTOM - TOP) * value / top;
}

static double middle_of(const page *p, int bin)
{
    double begin = (double)bin * (double)p->curve->width, end = begin + (double)p->curve->width;
    return (begin + (end < (double)p->size ? end : (double)p->size)) / 2;
}

static void put_axes(FILE *f, const page *p, double top, double step)
{
    double across = choose_step((double)p->size);
    for (int i = 0; i * step <= top * 1.0001; i++) {
        double y = y_of(i * step, top);
        fprintf(f, "<path class=grid d=\"M%d %.1fH%d\"/><text class=y x=%d y=%.1f>%g</text>\n",
                LEFT, y, RIGHT, LEFT - 8, y + 4, i * step);
    }
    for (int i = 0; i * across <= (double)p->size; i++) {
        fprintf(f, "<text class=x x=%.1f y=%d>", x_of(p, i * across), BOTTOM + 18);
        html_put_count(f, i * across);
        fputs("</text>\n", f);
    }
}

static void put_line(FILE *f, const page *p, chart_kind kind, int series, double top)
{
    bool drawing = false;
    fprintf(f, "<path class=\"line l%d\" d=\"", series + 1);
    for (int i = 0; i < p->curve->bins; i++) {
        double v = value_of(kind, series, &p->curve->bin[i]);
        if (!isnan(v))
            fprintf(f, "%c%.1f %.1f", drawing ? 'L' : 'M', x_of(p, middle_of(p, i)), y_of(v, top));
        drawing = !isnan(v);
    }
    fputs("\"/>\n", f);
}

/* Transparent strips with a tooltip each. */
static void put_strips(FILE *f, const page *p, chart_kind kind)
{
    const curve *c = p->curve;
    for (int i = 0; i < c->bins; i++) {
        double begin = (double)i * (double)c->width, end = begin + (double)c->width;
        if (end > (double)p->size)
            end = (double)p->size;
        fprintf(f, "<rect x=%.1f y=%d width=%.2f height=%d><title>bytes ", x_of(p, begin), TOP,
                x_of(p, end) - x_of(p, begin), BOTTOM - TOP);
        html_put_count(f, begin);
        fputs(" to ", f);
        html_put_count(f, end);
        for (int k = first_series(kind); k < p->call->stats.experts; k++) {
            double v = value_of(kind, k, &c->bin[i]);
            if (!is_drawn(p, kind, k) || isnan(v))
                continue;
            fputs("\n", f);
            if (k == FINAL)
                fputs("the file", f);
            else
                page_put_expert(f, p, k);
            fprintf(f, ": %.3f%s", v, kind == CHART_BITS ? " bits/byte" : "");
        }
        fputs("</title></rect>\n", f);
    }
}

static void put_key(FILE *f, const page *p, chart_kind kind)
{
    fputs("<p class=key>", f);
    for (int k = first_series(kind); k < p->call->stats.experts; k++) {
        if (!is_drawn(p, kind, k))
            continue;
        fprintf(f,
                "<span><svg width=36 height=10 aria-hidden=true><path class=\"line l%d\" "
                "d=\"M0 5H36\"/></svg> ",
                k + 1);
        if (k == FINAL)
            fputs("the file as it is coded", f);
        else
            page_put_expert(f, p, k);
        fputs(k != FINAL && kind == CHART_BITS ? " alone</span> " : "</span> ", f);
    }
    fputs("</p>\n", f);
}

static void put_chart(FILE *f, const page *p, chart_kind kind, const char *label)
{
    double most = greatest(p, kind), step = choose_step(most > 0 ? most : 1);
    double top = step * ceil((most > 0 ? most : 1) / step);
    put_key(f, p, kind);
    fprintf(f, "<svg class=chart viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\">\n", WIDTH,
            HEIGHT, label);
    put_axes(f, p, top, step);
    for (int k = p->call->stats.experts - 1; k >= first_series(kind); k--)
        if (is_drawn(p, kind, k))
            put_line(f, p, kind, k, top);
    put_strips(f, p, kind);
    fputs("</svg>\n", f);
}

static void put_cell(FILE *f, double value)
{
    if (isnan(value))
        fputs("<td>&ndash;</td>", f);
    else
        fprintf(f, "<td>%.3f</td>", value);
}

static void put_table(FILE *f, const page *p)
{
    const curve *c = p->curve;
    int experts = p->call->stats.experts;
    fputs("<details><summary>The curves as a table</summary><div class=scroll><table>\n<tr>"
          "<th>from byte</th><th>bits/byte</th>",
          f);
    for (int k = 0; k < experts; k++) {
        fputs("<th>", f);
        page_put_expert(f, p, k);
        fputs(" alone</th><th>its alpha</th>", f);
    }
    fputs("<th>log2 Z a token</th></tr>\n", f);
    int step = (c->bins + TABLE_ROWS - 1) / TABLE_ROWS;
    for (int first = 0; first < c->bins; first += step) {
        curve_bin sum = {0};
        for (int i = first; i < first + step && i < c->bins; i++)
            curve_add_bin(&sum, &c->bin[i]);
        fputs("<tr><td>", f);
        html_put_count(f, (double)first * (double)c->width);
        fputs("</td>", f);
        put_cell(f, value_of(CHART_BITS, FINAL, &sum));
        for (int k = 0; k < experts; k++) {
            put_cell(f, value_of(CHART_BITS, k, &sum));
            put_cell(f, value_of(CHART_ALPHAS, k, &sum));
        }
        put_cell(f, sum.tokens > 0 ? sum.log2_z / sum.tokens : NAN);
        fputs("</tr>\n", f);
    }
    fputs("</table></div></details>\n", f);
}

void page_put_charts(FILE *f, const page *p)
{
    int experts = p->call->stats.experts;
    if (p->curve->bins == 0)
        return;
    fputs("<section><h2>Along the file</h2>\n<h3>Bits per byte</h3>\n", f);
    put_chart(f, p, CHART_BITS, "Bits per byte along the file; the table below has the numbers");
    fputs("<h3>Alphas</h3>\n", f);
    if (curve_alphas_vary(p->curve, experts)) {
        fputs("<p>The streams of a block are coded in lock-step, so each of them runs through "
              "the same alphas.</p>\n",
              f);
        put_chart(f, p, CHART_ALPHAS, "Alphas along the file; the table below has the numbers");
    } else {
        fputs("<p>They were given and are constant.</p>\n", f);
    }
    put_table(f, p);
    fputs("</section>\n", f);
}
