/* bench_cuda.c: what the CUDA kernels reach on this device, on the shapes of GPT-2 124M.
 *
 *   bench_cuda [SLOTS]     decoding streams, default 1024
 *
 * Not a test. Linear layers are compared with the peak of the same instructions in the
 * same run (measure_peak), everything else is given in GB/s of what it must read and write.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cuda/cuda.h"

#define DIM      768
#define HEADS    12
#define HEAD_DIM 64
#define VOCAB    50257
#define CONTEXT  1024
#define ROWS     8192 /* of a prefill */
#define SECONDS  0.3  /* of a measurement */

static const ops *const cuda = &ops_cuda;
static ops_context *ctx;

static void check(gpuzip_status status, const char *what)
{
    if (status != GPUZIP_OK) {
        fprintf(stderr, "bench_cuda: %s: %s\n", what,
                status == GPUZIP_ERR_MEMORY ? "not enough memory" : "the device failed");
        exit(1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Zeroed device memory, never released. */
static void *device(size_t bytes)
{
    void *p = NULL;
    check(cuda->alloc(ctx, &p, bytes), "memory");
    return p;
}

/* Runs call again and again, after once to warm up; seconds[0] = of one. */
#define TIME(seconds, call)                                                                        \
    do {                                                                                           \
        check((call), #call);                                                                      \
        check(cuda->sync(ctx), #call);                                                             \
        int runs_ = 0;                                                                             \
        double start_ = now();                                                                     \
        do {                                                                                       \
            for (int i_ = 0; i_ < 8; i_++, runs_++)                                                \
                check((call), #call);                                                              \
            check(cuda->sync(ctx), #call);                                                         \
        } while (now() - start_ < SECONDS);                                                        \
        (seconds) = (now() - start_) / runs_;                                                      \
    } while (0)

static ops_qrows rows_of(int rows, int dim)
{
    size_t plane = (size_t)rows * OPS_PITCH(dim);
    return (ops_qrows){device(plane), device(plane), device((size_t)rows * 4), rows, dim, 15};
}

static void bench_linear(int rows, int n, int k, double peak)
{
    int8_t *w = calloc((size_t)n, (size_t)k);
    float *scale = calloc((size_t)n, sizeof *scale);
    ops_matrix *m = NULL;
    double seconds;
    if (!w || !scale)
        exit(1);
    check(cuda->matrix_create(ctx, &m, &(ops_weights){w, scale, n, k, 8}), "matrix");
    ops_qrows q = rows_of(rows, k);
    float *out = device((size_t)rows * (size_t)n * sizeof *out);
    TIME(seconds, cuda->linear(ctx, &q, m, NULL, NULL, out));
    double rate = 2.0 * 2.0 * rows * n * k / seconds; /* two planes */
    printf("linear %5d x %5d x %4d    %9.1f us  %7.1f TOP/s  %5.1f %% of the peak\n", rows, n, k,
           seconds * 1e6, rate * 1e-12, 100.0 * rate / peak);
    cuda->release(ctx, out);
    cuda->release(ctx, q.hi);
    cuda->release(ctx, q.lo);
    cuda->release(ctx, q.scale);
    cuda->matrix_destroy(ctx, m);
    free(scale);
    free(w);
}

static void print_bytes(const char *what, double seconds, double bytes)
{
    printf("%-28s %9.1f us  %7.1f GB/s\n", what, seconds * 1e6, bytes / seconds * 1e-9);
}

static void bench_rows(void)
{
    double seconds, elements = (double)ROWS * DIM;
    float *x = device(sizeof(float) * ROWS * DIM * 4), *gain = device(sizeof(float) * DIM);
    ops_qrows q = rows_of(ROWS, DIM), wide = rows_of(ROWS, 4 * DIM);
    TIME(seconds, cuda->norm(ctx, OPS_NORM_LAYER, x, gain, gain, 1e-5f, NULL, &q));
    print_bytes("norm", seconds, elements * 6);
    TIME(seconds, cuda->quantize(ctx, OPS_ACT_GELU_TANH, x, &wide));
    print_bytes("quantize, GELU", seconds, 4 * elements * 6);
}

/* rows rows a slot, the last of them at CONTEXT - 1. */
static void bench_attention(const char *what, int slots, int rows)
{
    ops_kv *kv = NULL;
    size_t total = (size_t)slots * (size_t)rows, queries = total * HEADS;
    int32_t *slot = malloc(total * 4), *pos = malloc(total * 4);
    double seconds, positions = 0;
    if (!slot || !pos)
        exit(1);
    for (size_t r = 0; r < total; r++) {
        slot[r] = (int32_t)(r / (size_t)rows);
        pos[r] = CONTEXT - rows + (int32_t)(r % (size_t)rows);
        positions += pos[r] + 1;
    }
    check(cuda->kv_create(ctx, &kv, 1, slots, CONTEXT, HEADS, HEAD_DIM, 12), "cache");
    ops_batch batch = {NULL, device(total * 4), device(total * 4), (int)total};
    check(cuda->upload(ctx, (void *)batch.slot, slot, total * 4), "upload");
    check(cuda->upload(ctx, (void *)batch.pos, pos, total * 4), "upload");
    float *x = device(queries * 3 * HEAD_DIM * 4), *scale = device(queries * 4);
    int16_t *q = device(queries * HEAD_DIM * 2);
    TIME(seconds, cuda->qkv(ctx, &batch, x, HEADS, NULL, NULL, q, scale, kv, 0));
    print_bytes("qkv", seconds, (double)queries * HEAD_DIM * (12 + 6));
    TIME(seconds, cuda->attention(ctx, &batch, q, scale, HEADS, 0.18f, kv, 0, x));
    /* Of keys and values what every row sees, as if none were shared. */
    print_bytes(what, seconds, positions * HEADS * (HEAD_DIM * 4 + 8));
    printf("%28s %9.3f M rows/s\n", "", (double)total / seconds * 1e-6);
    cuda->release(ctx, q);
    cuda->release(ctx, scale);
    cuda->release(ctx, x);
    cuda->release(ctx, (void *)batch.pos);
    cuda->release(ctx, (void *)batch.slot);
    cuda->kv_destroy(ctx, kv);
    free(pos);
    free(slot);
}

static void bench_mix(int rows)
{
    double seconds;
    ops_mix mix = {.experts = 1, .vocab = VOCAB, .escapes = 256};
    float *logits = device((size_t)rows * VOCAB * sizeof *logits);
    mix.expert[0] = (ops_expert){.logits = logits, .stride = VOCAB, .alpha = 65536};
    int32_t *symbol = device((size_t)rows * 4);
    ops_symbol *found = device((size_t)rows * sizeof *found);
    ops_interval *interval = device((size_t)rows * sizeof *interval);
    TIME(seconds, cuda->mix_encode(ctx, &mix, rows, symbol, interval));
    print_bytes("mix_encode", seconds, 4.0 * rows * VOCAB);
    TIME(seconds, cuda->mix_decode(ctx, &mix, rows, (uint32_t *)symbol, found));
    print_bytes("mix_decode", seconds, 4.0 * rows * VOCAB);
}

int main(int argc, char **argv)
{
    static const int shape[][2] = {
        {3 * DIM, DIM}, {DIM, DIM}, {4 * DIM, DIM}, {DIM, 4 * DIM}, {VOCAB, DIM}};
    int slots = argc > 1 ? atoi(argv[1]) : 1024;
    double peak = 0;
    check(cuda->open(&ctx, 0, 0, NULL), "open");
    check(cuda->measure_peak(ctx, &peak), "peak");
    printf("peak of the s8 products       %28.1f TOP/s\n", peak * 1e-12);
    for (int rows = 16; rows <= ROWS; rows *= 8)
        for (int i = 0; i < 5; i++)
            bench_linear(rows, shape[i][0], shape[i][1], peak);
    bench_rows();
    bench_attention("attention, prefill", 16, 512);
    bench_attention("attention, decode", slots > 0 ? slots : 1, 1);
    bench_mix(2048);
    cuda->close(ctx);
    return 0;
}
