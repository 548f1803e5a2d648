/* bench_bounds_report.c: see bench_bounds_report.h. */
#include "bench_bounds_report.h"

#include <stdio.h>
#include <string.h>

#include "bench_bounds.h"
#include "message.h"

#define WINDOW 1024 /* positions, if none are given and the model has as many */

static const char *const resources[BOUNDS_RESOURCES] = {"issue", "tensor", "pipes",  "shared",
                                                        "L2",    "DRAM",   "latency"};

/* A step to print. */
typedef struct {
    const char *model;
    const bounds_model *m;
    const char *coding; /* "encode", "decode" */
    int streams;        /* of a decoder's step; 0: an encoder's pass */
    int window;
} bounds_title;

/* A part's bound. That of several kernels is the sum of their own, which no resource has alone. */
static double part_seconds(const bounds_part *p)
{
    double sum = 0;
    if (p->work.blocks > 0)
        return p->time.seconds[p->time.binding];
    for (int i = 0; i < BOUNDS_RESOURCES; i++)
        sum += p->time.seconds[i];
    return sum;
}

static bounds_resource largest(const double seconds[BOUNDS_RESOURCES])
{
    bounds_resource at = BOUNDS_ISSUE;
    for (int i = 1; i < BOUNDS_RESOURCES; i++)
        if (seconds[i] > seconds[at])
            at = (bounds_resource)i;
    return at;
}

static void print_json(const bounds_title *t, const bounds_step *s)
{
    const char *device = t->m->device->name;
    for (int i = 0; i < s->parts; i++) {
        const bounds_part *p = &s->part[i];
        printf("{\"type\": \"bound\", \"device\": \"%s\", \"model\": \"%s\", \"step\": \"%s\", "
               "\"streams\": %d, \"name\": \"%s\", \"shape\": \"%s\", \"calls\": %.6g",
               device, t->model, t->coding, t->streams, p->name, p->shape, p->calls);
        for (int r = 0; r < BOUNDS_RESOURCES; r++)
            printf(", \"%s\": %.6g", resources[r], p->time.seconds[r]);
        printf(", \"seconds\": %.6g, \"binding\": \"%s\"}\n", part_seconds(p),
               resources[largest(p->time.seconds)]);
    }
    printf("{\"type\": \"bound step\", \"device\": \"%s\", \"model\": \"%s\", \"step\": \"%s\", "
           "\"streams\": %d, \"tokens\": %.0f, \"cache_bytes\": %.0f, \"seconds\": %.6g, "
           "\"binding\": \"%s\"}\n",
           device, t->model, t->coding, t->streams, s->tokens, s->cache, s->seconds,
           resources[largest(s->by)]);
}

static void print_table(const bounds_title *t, const bounds_step *s)
{
    printf("\n### %s, %s", t->model, t->coding);
    if (t->streams > 0)
        printf(", %d streams", t->streams);
    printf(", window %d\n\n", t->window);
    printf("KV cache %.3f GB%s\n\n", s->cache * 1e-9,
           s->cache + t->m->weight_bytes > t->m->device->memory ? ": more than the device holds"
                                                                : "");
    printf(
        "| kernel | shape | calls | issue | tensor | pipes | shared | L2 | DRAM | latency | "
        "bound us | by | of the step |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|\n");
    for (int i = 0; i < s->parts; i++) {
        const bounds_part *p = &s->part[i];
        printf("| %s | %s | %.4g |", p->name, p->shape, p->calls);
        for (int r = 0; r < BOUNDS_RESOURCES; r++)
            printf(" %.2f |", p->time.seconds[r] * 1e6);
        printf(" %.2f | %s | %.1f %% |\n", part_seconds(p) * 1e6,
               resources[largest(p->time.seconds)], 100 * p->calls * part_seconds(p) / s->seconds);
    }
    printf("\nThe step: %.1f us for %.0f tokens, %.4g token/s at most; bound by", s->seconds * 1e6,
           s->tokens, s->tokens / s->seconds);
    for (int r = 0; r < BOUNDS_RESOURCES; r++)
        if (s->by[r] > 0.005 * s->seconds)
            printf(" %s %.0f %%", resources[r], 100 * s->by[r] / s->seconds);
    printf(".\n");
}

static void print_step(const bench_args *a, const bounds_title *t, const bounds_step *s)
{
    (a->format == BENCH_JSON ? print_json : print_table)(t, s);
}

static void print_model(const bench_args *a, const char *name, const bounds_model *m)
{
    static const uint32_t usual[] = {1, 64, 256, 1024, 4096};
    int counts = a->stream_counts > 0 ? a->stream_counts : 5;
    int context = m->config.context, window = a->window > 0 ? a->window : WINDOW;
    bounds_title t = {.model = name, .m = m, .coding = "encode"};
    t.window = window < context ? window : context;
    bounds_step step = bounds_encode(m, t.window);
    print_step(a, &t, &step);
    t.coding = "decode";
    for (int i = 0; i < counts; i++) {
        t.streams = (int)(a->stream_counts > 0 ? a->streams : usual)[i];
        step = bounds_decode(m, t.streams, t.window);
        print_step(a, &t, &step);
    }
}

/* The configuration of a model, of which shapes need no weights. Returns false after an error
 * message. */
static bool read_config(const bench_args *a, const char *name, weights_config *config)
{
    bench_model m;
    char error[CHECKPOINT_ERROR_BYTES];
    for (int i = 0; bench_shape_at(i); i++)
        if (strcmp(bench_shape_at(i)->name, name) == 0) {
            *config = bench_shape_at(i)->config;
            config->weight_bits = a->widths.weight_bits ? a->widths.weight_bits : 8;
            config->activation_bits = a->widths.activation_bits ? a->widths.activation_bits : 15;
            config->kv_bits = a->widths.kv_bits ? a->widths.kv_bits : 12;
            return true;
        }
    gpuzip_status status = bench_model_open(&m, name, false, &a->widths, error);
    if (status != GPUZIP_OK) {
        message_status(name, status, error);
        if (status == GPUZIP_ERR_IO)
            message_raise(EXIT_CODE_MODEL);
        return false;
    }
    *config = m.weights->config;
    bench_model_close(&m);
    return true;
}

void bench_print_bounds(const bench_args *a)
{
    const bounds_device *d = bounds_device_named(a->bounds);
    if (a->format != BENCH_JSON)
        printf(
            "# Lower bounds on an %s\n\n"
            "A model, not a measurement: work counted in the kernels' code, divided by rates of "
            "the device.\nTimes in microseconds of one call; a kernel is no faster than its "
            "largest. Steps are sums over\ntheir kernels, with adaptive mixing, without the "
            "host's part, copies over PCIe and context models; the\ncolumns of \"reading again\" "
            "add up its kernels' bounds by the resource that binds each.\n",
            d->title);
    for (int i = 0; i < a->models; i++) {
        weights_config config;
        if (!read_config(a, a->model[i], &config))
            continue;
        bounds_model m = bounds_model_of(d, &config);
        print_model(a, a->model[i], &m);
    }
}
