/* bench_main.c: the program gpuzip-bench. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_bounds_report.h"
#include "bench_clock.h"
#include "cores.h"
#include "device.h"
#include "message.h"

static void list_shapes(void)
{
    printf("%-13s %6s %6s %5s %8s %8s %6s %7s %7s %12s %14s\n", "", "layers", "dim", "heads",
           "KV heads", "head dim", "FFN", "vocab", "context", "M parameters", "KV values/token");
    for (int i = 0; bench_shape_at(i); i++) {
        const bench_shape *s = bench_shape_at(i);
        const weights_config *c = &s->config;
        double head = (double)c->vocab * c->dim, att = (double)c->heads * c->head_dim;
        double positions = c->rope ? 0 : (double)c->context * c->dim;
        double layer = c->dim * (2 * att + 2.0 * c->kv_heads * c->head_dim +
                                 (c->act == WEIGHTS_ACT_SWIGLU ? 3.0 : 2.0) * c->ffn);
        printf("%-13s %6d %6d %5d %8d %8d %6d %7d %7d %12.1f %14d\n", s->name, c->layers, c->dim,
               c->heads, c->kv_heads, c->head_dim, c->ffn, c->vocab, c->context,
               (c->layers * layer + (s->tied ? 1 : 2) * head + positions) * 1e-6,
               2 * c->layers * c->kv_heads * c->head_dim);
    }
}

/* Opens the device of the command line. Returns false after an error message. */
static bool open_device(device *d, const bench_args *a, int threads)
{
    device_choice choice;
    char error[GPUZIP_ERROR_BYTES];
    gpuzip_status status = device_choose(&choice, a->device ? a->device : "auto", error);
    if (status != GPUZIP_OK) {
        message_status(NULL, status, error);
        return false;
    }
    status = choice.gpus > 0 ? device_open_gpu(d, choice.index[0]) : device_open_cpu(d, threads);
    if (status != GPUZIP_OK)
        message_status(a->device, status, "");
    return status == GPUZIP_OK;
}

/* Reads the tokens of the file `path` for a model. Returns false after an error message. */
static bool read_text(bench_text *text, const bench_model *m, const char *path)
{
    enum { BYTES_MAX = 64 << 20 };
    uint8_t *bytes = malloc(BYTES_MAX);
    FILE *f = fopen(path, "rb");
    gpuzip_status status = GPUZIP_ERR_IO;
    if (bytes && f) {
        text->bytes = fread(bytes, 1, BYTES_MAX, f);
        if (!ferror(f))
            status = tokenizer_encode(m->t, bytes, text->bytes, &text->token, &text->count);
    }
    if (status != GPUZIP_OK)
        message_status(path, status, f ? "" : strerror(errno));
    if (f)
        fclose(f);
    free(bytes);
    return status == GPUZIP_OK;
}

/* Reports a failed measurement; the others go on. */
static void measured(const char *name, gpuzip_status status)
{
    if (status != GPUZIP_OK)
        message_status(name, status, "");
}

static void bench_one(bench *b, const bench_args *a, const char *name)
{
    bench_model m;
    bench_text text = {0};
    char error[CHECKPOINT_ERROR_BYTES];
    gpuzip_status status = bench_model_open(&m, name, a->random, &a->widths, error);
    if (status != GPUZIP_OK) {
        message_status(name, status, error);
        if (status == GPUZIP_ERR_IO)
            message_raise(EXIT_CODE_MODEL);
        return;
    }
    bench_report_model(b->report, &m);
    if (!a->text || !m.t || read_text(&text, &m, a->text)) {
        if (a->kernels)
            measured(name, bench_kernels(b, &m));
        if (a->whole)
            measured(name, bench_whole(b, &m, &text));
    }
    free(text.token);
    bench_model_close(&m);
}

static void choose_streams(bench *b, const bench_args *a)
{
    static const uint32_t gpu[] = {64, 256, 1024, 4096};
    if (a->stream_counts > 0) {
        memcpy(b->streams, a->streams, sizeof a->streams);
        b->stream_counts = a->stream_counts;
    } else if (b->gpu && !a->quick) {
        memcpy(b->streams, gpu, sizeof gpu);
        b->stream_counts = 4;
    } else {
        b->streams[0] = b->gpu ? 4096 : 64;
        b->stream_counts = 1;
    }
}

static void bench_all(const bench_args *a, const device *d, int threads, FILE *log)
{
    uint64_t total;
    bench b = {.ops = d->ops,
               .ctx = d->ctx,
               .about = d->about,
               .name = d->name,
               .threads = threads,
               .gpu = d->ops != &ops_cpu,
               .quick = a->quick,
               .coding_seconds = a->seconds > 0 ? a->seconds
                                 : a->quick     ? 3
                                                : 20,
               .window = a->window,
               .report = bench_report_open(a->format, log)};
    gpuzip_status status = b.report ? GPUZIP_OK : GPUZIP_ERR_MEMORY;
    b.seconds = b.coding_seconds / 60;
    if (status == GPUZIP_OK)
        status = b.ops->memory(b.ctx, &b.memory, &total);
    if (status == GPUZIP_OK)
        status = bench_find_ceilings(&b);
    if (status != GPUZIP_OK) {
        message_status(d->name, status, "");
    } else {
        bench_check_clock(&b);
        choose_streams(&b, a);
        bench_report_device(b.report, &b);
        for (int i = 0; i < a->models; i++)
            bench_one(&b, a, a->model[i]);
    }
    bench_report_close(b.report);
}

/* Opens the log and the device, and measures. */
static void run(const bench_args *a)
{
    int threads = a->threads > 0 ? a->threads : cores_usable();
    device d = {0};
    (void)setenv("GPUZIP_CUBLAS", "auto", 0); /* chosen before the samples, not between them */
    FILE *log = a->log ? fopen(a->log, "w") : NULL;
    if (a->log && !log) {
        message_error(a->log, "%s", strerror(errno));
        return;
    }
    if (open_device(&d, a, threads)) {
        bench_check_host();
        bench_all(a, &d, threads, log);
    }
    device_close(&d);
    if (log && fclose(log) != 0)
        message_error(a->log, "%s", strerror(errno));
}

int main(int argc, char **argv)
{
    bench_args a;
    message_begin("gpuzip-bench");
    if (bench_args_parse(&a, argc, argv) == BENCH_ARGS_RUN) {
        if (a.list)
            list_shapes();
        else if (a.bounds)
            bench_print_bounds(&a);
        else
            run(&a);
    }
    return (int)message_end();
}
