/* learn_weights.c: what weights that learn while coding save on a text, for the model alone.
 *
 *     learn_weights [-m MODEL.gpzm] [-w WINDOW] [-T THREADS] [-i ISA] TEXT [STREAMS [STEPS [RATE]]]
 *
 * Cuts the text's tokens into streams of equal length, which advance together through the built-in
 * or another model that slides, and takes a step of learning after every STEPS positions; RATE: of
 * the mean gradient, as the float32 study counts it; 0: none; -1: model_learning_rate()'s. Prints
 * the bytes of the model alone (the sum of -log2 of its probabilities), the time of forward passes
 * and steps, their ratio, and a hash of the weights. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "builtin.h"
#include "clock.h"
#include "model_learn.h"
#include "tokenizer.h"

typedef struct {
    int streams, steps, window, threads;
    float rate;
    const char *isa, *model, *text;
} settings;

typedef struct {
    const settings *set;
    const weights_model *w;
    ops_context *ctx;
    model *m;
    model_state *s;
    model_learner *l;
    const uint32_t *ids;
    size_t count, length;               /* tokens; of a stream */
    int32_t *token, *slot, *pos, *next; /* [streams * steps] */
    double bits, forward_seconds, step_seconds;
} run;

static void check(gpuzip_status status)
{
    if (status == GPUZIP_OK)
        return;
    fprintf(stderr, "learn_weights: error %d\n", (int)status);
    exit(1);
}

/* The token of a stream at a position: bos before the first, -1 behind the last. */
static int32_t token_at(const run *r, size_t stream, ptrdiff_t at)
{
    size_t i = stream * r->length + (size_t)at;
    if (at < 0)
        return r->w->config.bos;
    return (size_t)at < r->length && i < r->count ? (int32_t)r->ids[i] : -1;
}

static double row_bits(const float *x, int vocab, int32_t next)
{
    double max = x[0], sum = 0;
    for (int i = 1; i < vocab; i++)
        max = x[i] > max ? x[i] : max;
    for (int i = 0; i < vocab; i++)
        sum += (double)expf((float)(x[i] - max));
    return (log(sum) + max - x[next]) / log(2);
}

static void step(run *r, size_t t, int steps)
{
    int rows = 0, vocab = r->w->config.vocab, targets = 0;
    for (int s = 0; s < r->set->streams; s++) {
        for (int u = 0; u < steps; u++, rows++) {
            int32_t token = token_at(r, (size_t)s, (ptrdiff_t)t + u - 1);
            r->token[rows] = token < 0 ? r->w->config.bos : token;
            r->slot[rows] = s;
            r->pos[rows] = (int32_t)t + u;
            r->next[rows] = token_at(r, (size_t)s, (ptrdiff_t)t + u);
            if (r->next[rows] >= vocab)
                r->next[rows] = -1;
            targets += r->next[rows] >= 0;
        }
    }
    ops_batch batch = {r->token, r->slot, r->pos, rows, 0};
    double begin = clock_seconds();
    const float *logits;
    check(model_set_positions(r->s, t, steps));
    check(model_forward(r->s, &batch));
    check(model_logits(r->s, 0, rows, &logits));
    double end = clock_seconds();
    r->forward_seconds += end - begin;
    for (int i = 0; i < rows; i++)
        if (r->next[i] >= 0)
            r->bits += row_bits(logits + (size_t)i * (size_t)vocab, vocab, r->next[i]);
    begin = clock_seconds();
    if (r->l) {
        float rate = r->set->rate < 0 ? model_learning_rate(targets)
                                      : r->set->rate / (float)(targets ? targets : 1);
        check(model_learner_step(r->l, r->s, &batch, r->next, rate));
    }
    r->step_seconds += clock_seconds() - begin;
}

/* A hash of all master weights. */
static uint64_t hash_weights(const run *r)
{
    uint64_t hash = 0;
    const weights_layer *w = r->w->layer;
    const weights_matrix *matrix[] = {&w->qkv, &w->out, &w->up, &w->down};
    for (int i = 0; i < 4 * r->w->config.layers; i++) {
        const weights_matrix *m = matrix[i % 4];
        size_t bytes = (size_t)m->n * (size_t)m->k * sizeof(int32_t);
        int32_t *master = malloc(bytes);
        check(master ? model_learner_read(r->l, i / 4, i % 4, master) : GPUZIP_ERR_MEMORY);
        hash = XXH3_64bits_withSeed(master, bytes, hash);
        free(master);
    }
    return hash;
}

static uint8_t *read_text(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *text = malloc((size_t)1 << 26);
    if (!f || !text) {
        fprintf(stderr, "learn_weights: cannot read %s\n", path);
        exit(1);
    }
    *size = fread(text, 1, (size_t)1 << 26, f);
    fclose(f);
    return text;
}

static settings parse(int argc, char **argv)
{
    settings set = {.window = 512, .threads = 1};
    for (int c; (c = getopt(argc, argv, "+m:w:T:i:")) != -1;) {
        if (c == 'm')
            set.model = optarg;
        else if (c == 'w')
            set.window = atoi(optarg);
        else if (c == 'T')
            set.threads = atoi(optarg);
        else if (c == 'i')
            set.isa = optarg;
        else
            exit(2);
    }
    int given = argc - optind;
    if (given >= 1)
        set.text = argv[optind];
    set.streams = given > 1 ? atoi(argv[optind + 1]) : 1;
    set.steps = given > 2 ? atoi(argv[optind + 2]) : 128;
    set.rate = given > 3 ? (float)atof(argv[optind + 3]) : -1;
    if (!set.text || set.streams < 1 || set.steps < 1 || set.window < 1) {
        fprintf(stderr, "usage: learn_weights [-m MODEL] [-w WINDOW] [-T THREADS] [-i ISA] TEXT "
                        "[STREAMS [STEPS [RATE]]]\n");
        exit(2);
    }
    return set;
}

int main(int argc, char **argv)
{
    settings set = parse(argc, argv);
    size_t size, rows = (size_t)set.streams * (size_t)set.steps;
    uint8_t *text = read_text(set.text, &size);
    weights_model *w;
    tokenizer *t;
    uint32_t *ids;
    run r = {.set = &set};
    check(set.model ? weights_open(&w, set.model)
                    : weights_open_memory(&w, builtin_model, builtin_model_size));
    check(tokenizer_open(&t, w->tokenizer, w->tokenizer_size, (uint32_t)w->config.vocab));
    check(tokenizer_encode(t, text, size, &ids, &r.count));
    r.w = w;
    r.ids = ids;
    r.length = (r.count + (size_t)set.streams - 1) / (size_t)set.streams;
    check(ops_cpu.open(&r.ctx, 0, set.threads, set.isa));
    check(model_open(&r.m, &ops_cpu, r.ctx, w));
    if (!model_slides(w) || !model_learns(r.m)) {
        fprintf(stderr, "learn_weights: not a model that slides and learns\n");
        return 1;
    }
    check(model_prepare_learning(r.m));
    model_sizes sizes = {.slots = set.streams,
                         .window = set.window,
                         .run = set.steps,
                         .max_rows = (int)rows,
                         .max_logits = (int)rows};
    check(model_state_open(&r.s, r.m, r.ctx, &sizes));
    if (set.rate != 0) {
        model_learner_sizes learner = {
            .rows = (int)rows, .run = set.steps, .window = set.window, .logits = (int)rows};
        check(model_learner_open(&r.l, r.m, r.ctx, &learner));
        model_state_learn(r.s, r.l);
    }
    int32_t *memory = malloc(4 * rows * sizeof *memory);
    check(memory ? GPUZIP_OK : GPUZIP_ERR_MEMORY);
    r.token = memory;
    r.slot = memory + rows;
    r.pos = memory + 2 * rows;
    r.next = memory + 3 * rows;
    for (size_t at = 0; at < r.length; at += (size_t)set.steps)
        step(&r, at, r.length - at < (size_t)set.steps ? (int)(r.length - at) : set.steps);
    printf("%s: %zu tokens, %d x %d, rate %g: %.0f bytes; forward %.2f s, steps %.2f s (%.2f)",
           set.text, r.count, set.streams, set.steps, (double)set.rate, r.bits / 8,
           r.forward_seconds, r.step_seconds, r.step_seconds / r.forward_seconds);
    if (r.l)
        printf(", weights %016llx", (unsigned long long)hash_weights(&r));
    printf("\n");
    model_learner_close(r.l);
    model_state_close(r.s);
    model_close(r.m);
    ops_cpu.close(r.ctx);
    tokenizer_close(t);
    weights_close(w);
    free(memory);
    free(ids);
    free(text);
    return 0;
}
