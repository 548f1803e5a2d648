/* bench_report.c: see bench_report.h. */
#include "bench_report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gpuzip.h"
#include "message.h"
#include "report.h"

/* The table of the last line; a new table begins with the names of its columns. */
typedef enum { PART_NONE, PART_ROWS, PART_CODING } report_part;

struct bench_report {
    bench_format format;
    FILE *log; /* for JSON lines besides the output; NULL: none */
    report_part part;
    const bench_model *model;
    const bench *b;
};

bench_report *bench_report_open(bench_format format, FILE *log)
{
    bench_report *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->format = format;
    r->log = log;
    return r;
}

void bench_report_close(bench_report *r)
{
    free(r);
}

/* ---- text --------------------------------------------------------------- */

/* A number with three digits or more, in 7 columns. */
static void put_number(double value)
{
    printf(" %7.*f", value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3, value);
}

static void put_nothing(void)
{
    printf(" %7s", "-");
}

/* Microseconds to seconds, in 10 columns. */
static void put_time(double seconds)
{
    static const char *const unit[] = {"us", "ms", "s "};
    int i = 0;
    double value = seconds * 1e6;
    for (; i < 2 && value >= 1000; i++)
        value *= 1e-3;
    printf(" %7.*f %s", value >= 100 ? 1 : 2, value, unit[i]);
}

static void put_rate(const char *name, double rate, double unit, const char *label)
{
    double value = rate / unit;
    printf("%s %.*f %s", name, value >= 100 ? 0 : value >= 10 ? 1 : 3, value, label);
}

static void put_device(const bench *b)
{
    const ops_device *d = &b->about;
    printf("gpuzip-bench %s\ndevice     %s: ", gpuzip_version(), b->name);
    message_put(stdout, d->name);
    if (b->gpu)
        printf(", compute capability %d.%d, driver %d.%d, runtime %d.%d, %.1f GiB",
               d->capability / 10, d->capability % 10, d->driver / 1000, d->driver % 1000 / 10,
               d->runtime / 1000, d->runtime % 1000 / 10, (double)d->memory / 0x1p30);
    if (b->clock > 0)
        printf(", %u of %u MHz", b->clock, b->clock_max);
    printf(", %d CPU thread%s\nceilings   ", b->threads, b->threads == 1 ? "" : "s");
    put_rate("int8 products", b->ceilings.products, 1e12, "TOP/s");
    if (b->ceilings.library > 0)
        put_rate(", cuBLAS int8", b->ceilings.library, 1e12, "TOP/s");
    put_rate(", linear() on one plane", b->ceilings.gemm, 1e12, "TOP/s");
    put_rate(", copy", b->ceilings.copy, 1e9, "GB/s");
    printf("\n");
}

static void put_model(const bench_model *m)
{
    const weights_config *c = &m->weights->config;
    printf("\n");
    message_put(stdout, m->name);
    printf(": %s weights, %.1f M parameters; bits: weights %d, activations %d, KV cache %d\n",
           m->random ? "random" : "real", (double)m->weights->parameters / 1e6, c->weight_bits,
           c->activation_bits, c->kv_bits);
}

static void begin_part(bench_report *r, report_part part)
{
    if (r->part == part)
        return;
    r->part = part;
    if (part == PART_ROWS)
        printf("%-18s %-20s %10s %5s %7s %7s %8s\n", "", "shape", "time", "+-", "TOP/s", "GB/s",
               "of floor");
    else
        printf("%-8s %7s %6s %7s %9s %7s %9s %8s  %s\n", "", "streams", "steps", "context",
               "token/s", "MB/s", "floor", "of floor", "time: forward, mix, coder, waiting");
}

static void put_row(const bench *b, const bench_row *row)
{
    const char *bound;
    double floor = bench_floor(b, row->operations, row->bytes, &bound);
    begin_part(b->report, PART_ROWS);
    printf("%-18s %-20s", row->name, row->shape);
    put_time(row->time.median);
    printf(" %3.0f %%", 100 * row->time.spread);
    row->operations > 0 ? put_number(row->operations / row->time.median * 1e-12) : put_nothing();
    row->bytes > 0 ? put_number(row->bytes / row->time.median * 1e-9) : put_nothing();
    if (floor > row->time.median) /* faster than memory: it was not read from there */
        printf("  %6s  %s", "cached", bound);
    else
        printf("  %4.0f %%  %s", 100 * floor / row->time.median, bound);
    if (row->tokens > 0)
        printf(", %.0f token/s", row->tokens / row->time.median);
    printf("\n");
}

static double waiting(const bench_coding_row *row)
{
    double rest = row->seconds - row->forward - row->mix - row->coder;
    return rest > 0 ? rest : 0;
}

static void put_coding(const bench *b, const bench_coding_row *row)
{
    double part = 100 / row->seconds;
    begin_part(b->report, PART_CODING);
    printf("%-8s %7u %6zu %7.0f %9.0f", row->name, row->streams, row->steps, row->context,
           row->tokens / row->seconds);
    row->bytes > 0 ? put_number(row->bytes / row->seconds * 1e-6) : put_nothing();
    printf(" %9.0f %5.0f %%    %.1f %%, %.1f %%, %.1f %%, %.1f %%  (%s)\n",
           row->tokens / row->floor_seconds, 100 * row->floor_seconds / row->seconds,
           part * row->forward, part * row->mix, part * row->coder, part * waiting(row),
           row->bound);
}

/* ---- JSON and CSV ------------------------------------------------------- */

/* Bits of weights, activations and KV cache. */
static const char *write_bits(char text[16], const bench_model *m)
{
    const weights_config *c = &m->weights->config;
    snprintf(text, 16, "%d/%d/%d", c->weight_bits, c->activation_bits, c->kv_bits);
    return text;
}

/* The members that each line of a model begins with. */
static json_t *json_line(const bench_report *r, const char *type)
{
    char bits[16];
    return json_pack("{ss so ss so ss ss}", "type", type, "device",
                     report_json_string(r->b->about.name), "backend", r->b->ops->name, "model",
                     report_json_string(r->model->name), "weights",
                     r->model->random ? "random" : "real", "bits", write_bits(bits, r->model));
}

/* Prints the members of both objects as one object and releases them. */
static void print_json(FILE *to, json_t *line, json_t *rest)
{
    if (line && rest)
        json_object_update(line, rest);
    json_decref(rest);
    report_print_json(to, line);
    fflush(to); /* an interrupted run keeps its results */
}

static void json_device(FILE *to, const bench *b)
{
    const ops_device *d = &b->about;
    report_print_json(
        to, json_pack("{ss ss so ss si si si si si sI si sf sf sf sf}", "type", "device", "version",
                      gpuzip_version(), "device", report_json_string(d->name), "backend",
                      b->ops->name, "capability", d->capability, "driver", d->driver, "runtime",
                      d->runtime, "clock_mhz", (int)b->clock, "clock_max_mhz", (int)b->clock_max,
                      "memory", (json_int_t)d->memory, "threads", b->threads,
                      "int8_products_per_second", b->ceilings.products, "int8_library_per_second",
                      b->ceilings.library, "int8_gemm_per_second", b->ceilings.gemm,
                      "copy_bytes_per_second", b->ceilings.copy));
}

static void json_row(FILE *to, const bench *b, const bench_row *row)
{
    const char *bound;
    double floor = bench_floor(b, row->operations, row->bytes, &bound);
    print_json(to, json_line(b->report, "kernel"),
               json_pack("{ss ss si si sf sf si si sf sf sf sf ss}", "name", row->name, "shape",
                         row->shape, "rows", row->rows, "context", row->context, "seconds",
                         row->time.median, "spread", row->time.spread, "samples", row->time.samples,
                         "calls", row->time.calls, "operations", row->operations, "bytes",
                         row->bytes, "tokens", row->tokens, "floor_seconds", floor, "bound",
                         bound));
}

static void json_coding(FILE *to, const bench *b, const bench_coding_row *row)
{
    print_json(to, json_line(b->report, "coding"),
               json_pack("{ss sI sI sf sf sf sf sf sf sf sf sf ss sf}", "name", row->name,
                         "streams", (json_int_t)row->streams, "steps", (json_int_t)row->steps,
                         "context", row->context, "tokens", row->tokens, "bytes", row->bytes,
                         "seconds", row->seconds, "forward", row->forward, "mix", row->mix, "coder",
                         row->coder, "operations", row->operations, "floor_seconds",
                         row->floor_seconds, "bound", row->bound, "bits_per_token", row->bits));
}

static void put_csv_text(const char *text)
{
    putchar('"');
    char *shown = message_printable(text);
    for (const char *p = shown ? shown : ""; *p; p++) {
        if (*p == '"')
            putchar('"');
        putchar(*p);
    }
    free(shown);
    putchar('"');
}

/* type, device, model, weights and bits of a line. */
static void csv_line(const bench_report *r, const char *type)
{
    char bits[16];
    printf("%s,", type);
    put_csv_text(r->b->about.name);
    putchar(',');
    put_csv_text(r->model->name);
    printf(",%s,%s", r->model->random ? "random" : "real", write_bits(bits, r->model));
}

static void csv_row(const bench *b, const bench_row *row)
{
    const char *bound;
    double floor = bench_floor(b, row->operations, row->bytes, &bound);
    csv_line(b->report, "kernel");
    printf(",%s,%s,%d,,%d,%.0f,,%.9g,%.4f,%.6g,%.6g,%.9g,%s,,,\n", row->name, row->shape, row->rows,
           row->context, row->tokens, row->time.median, row->time.spread, row->operations,
           row->bytes, floor, bound);
}

static void csv_coding(const bench *b, const bench_coding_row *row)
{
    csv_line(b->report, "coding");
    printf(",%s,,%u,%zu,%.1f,%.0f,%.0f,%.9g,,%.6g,,%.9g,%s,%.6g,%.6g,%.6g\n", row->name,
           row->streams, row->steps, row->context, row->tokens, row->bytes, row->seconds,
           row->operations, row->floor_seconds, row->bound, row->forward, row->mix, row->coder);
}

static void json_skip(FILE *to, const bench_report *r, const char *name, const char *shape,
                      const char *why)
{
    print_json(to, json_line(r, "skipped"),
               json_pack("{ss ss ss}", "name", name, "shape", shape, "why", why));
}

/* ---- all of them -------------------------------------------------------- */

void bench_report_device(bench_report *r, const bench *b)
{
    r->b = b;
    if (r->format == BENCH_TEXT)
        put_device(b);
    else if (r->format == BENCH_JSON)
        json_device(stdout, b);
    else
        printf("type,device,model,weights,bits,name,shape,rows,steps,context,tokens,text_bytes,"
               "seconds,"
               "spread,operations,bytes,floor_seconds,bound,forward,mix,coder\n");
    if (r->log)
        json_device(r->log, b);
    message_flush();
}

void bench_report_model(bench_report *r, const bench_model *m)
{
    r->model = m;
    r->part = PART_NONE;
    if (r->format == BENCH_TEXT)
        put_model(m);
    message_flush();
}

void bench_report_row(const bench *b, const bench_row *row)
{
    const bench_report *r = b->report;
    if (r->format == BENCH_TEXT)
        put_row(b, row);
    else if (r->format == BENCH_JSON)
        json_row(stdout, b, row);
    else
        csv_row(b, row);
    if (r->log)
        json_row(r->log, b, row);
    message_flush();
}

void bench_report_coding(const bench *b, const bench_coding_row *row)
{
    const bench_report *r = b->report;
    if (r->format == BENCH_TEXT)
        put_coding(b, row);
    else if (r->format == BENCH_JSON)
        json_coding(stdout, b, row);
    else
        csv_coding(b, row);
    if (r->log)
        json_coding(r->log, b, row);
    message_flush();
}

void bench_report_skip(const bench *b, const char *name, const char *shape, const char *why)
{
    const bench_report *r = b->report;
    if (r->format == BENCH_TEXT)
        printf("%-18s %-20s %s\n", name, shape, why);
    else if (r->format == BENCH_JSON)
        json_skip(stdout, r, name, shape, why);
    if (r->log)
        json_skip(r->log, r, name, shape, why);
    message_flush();
}
