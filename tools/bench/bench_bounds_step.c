/* bench_bounds_step.c: the kernels of a forward pass, and of steps that code with it. */
#include <math.h>
#include <stdio.h>

#include "bench_bounds.h"

/* As the CUDA backend's ops has them. */
#define PASS_ROWS    16384
#define LOGITS_BYTES (512.0 * (1 << 20))

#define SLIDING_RUN 64 /* rows of a stream in an encoder's pass: 256 streams */

static void add(bounds_step *s, const bounds_model *m, const char *name, const char *shape,
                double calls, bounds_work work)
{
    bounds_part *p = &s->part[s->parts++];
    *p = (bounds_part){.name = name, .calls = calls, .work = work};
    snprintf(p->shape, sizeof p->shape, "%s", shape);
    p->time = bounds_time_of(m->device, &work);
    s->seconds += calls * p->time.seconds[p->time.binding];
    s->by[p->time.binding] += calls * p->time.seconds[p->time.binding];
}

static void add_linear(bounds_step *s, const bounds_model *m, const char *name, double calls,
                       int rows, int n, int k, bool residual)
{
    char shape[48];
    snprintf(shape, sizeof shape, "%d x %d x %d", rows, n, k);
    add(s, m, name, shape, calls, bounds_linear(m, rows, n, k, residual));
}

static void add_rows(bounds_step *s, const bounds_model *m, const char *name, double calls,
                     int rows, int dim, bounds_work work)
{
    char shape[48];
    snprintf(shape, sizeof shape, "%d x %d", rows, dim);
    add(s, m, name, shape, calls, work);
}

/* All layers of a pass of slots x run rows that see `positions` positions on average. */
static void add_layers(bounds_step *s, const bounds_model *m, int slots, int run, double positions)
{
    const weights_config *c = &m->config;
    int rows = slots * run, att = c->heads * c->head_dim, layers = c->layers;
    bool gated = c->act == WEIGHTS_ACT_SWIGLU;
    char shape[48];
    add_rows(s, m, "embed", 1, rows, c->dim, bounds_embed(m, rows));
    add_rows(s, m, "norm", 2 * layers + 1, rows, c->dim, bounds_norm(m, rows));
    add_linear(s, m, "linear qkv", layers, rows, att + 2 * c->kv_heads * c->head_dim, c->dim,
               false);
    add_rows(s, m, "qkv", layers, rows, c->heads + 2 * c->kv_heads, bounds_qkv(m, rows));
    snprintf(shape, sizeof shape, "%d x %d of %.0f", slots, run, positions);
    if (run == 1)
        add(s, m, "attention, decode", shape, layers, bounds_attend(m, rows, positions));
    else
        add(s, m, "attention, prefill", shape, layers, bounds_prefill(m, slots, run, positions));
    add_rows(s, m, "quantize", layers, rows, att, bounds_quantize(m, rows, att));
    add_linear(s, m, "linear out", layers, rows, c->dim, att, true);
    add_linear(s, m, "linear up", layers, rows, c->ffn * (gated ? 2 : 1), c->dim, false);
    add_rows(s, m, gated ? "quantize SwiGLU" : "quantize GELU", layers, rows, c->ffn,
             bounds_activate(m, rows));
    add_linear(s, m, "linear down", layers, rows, c->dim, c->ffn, true);
}

/* Logits and mixing of so many rows, as many at a time as the logits' memory holds. */
static void add_head(bounds_step *s, const bounds_model *m, int rows, bool decode)
{
    int vocab = m->config.vocab, most = (int)(LOGITS_BYTES / sizeof(float) / vocab);
    int some = rows < most ? rows : most;
    double calls = (double)rows / some;
    add_linear(s, m, "linear head", calls, some, vocab, m->config.dim, false);
    add_rows(s, m, decode ? "mix, decode" : "mix, encode", calls, some, vocab,
             bounds_mix(m, some, decode, true));
}

/* Bytes of a cache of so many positions. */
static double cache_bytes(const bounds_model *m, double positions)
{
    const weights_config *c = &m->config;
    return positions * c->layers * c->kv_heads * (c->head_dim * (c->kv_bits > 8 ? 4.0 : 2.0) + 8);
}

bounds_step bounds_encode(const bounds_model *m, int window)
{
    bounds_step s = {0};
    bool slides = m->config.rope;
    int run = slides ? SLIDING_RUN : window, slots = PASS_ROWS / run > 0 ? PASS_ROWS / run : 1;
    int rows = slots * run, coded = slides ? rows : rows / 2;
    s.tokens = coded;
    s.cache = cache_bytes(m, (double)slots * window);
    add_layers(&s, m, slots, run, slides ? window : (window + 1) / 2.0);
    add_head(&s, m, coded, false);
    return s;
}

bounds_step bounds_decode(const bounds_model *m, int streams, int window)
{
    bounds_step s = {0}, again = {0};
    bool slides = m->config.rope;
    int half = window / 2 > 0 ? window / 2 : 1, slots = PASS_ROWS / half > 0 ? PASS_ROWS / half : 1;
    s.tokens = streams;
    s.cache = cache_bytes(m, (double)streams * window);
    add_layers(&s, m, streams, 1, slides ? window : window * 0.75);
    add_head(&s, m, streams, true);
    if (slides)
        return s;
    /* The first half of each window is read again: a row a stream and step, in passes. */
    add_layers(&again, m, slots, half, (half + 1) / 2.0);
    bounds_part *p = &s.part[s.parts++];
    double share = (double)streams / (slots * half);
    *p = (bounds_part){.name = "reading again", .calls = share};
    snprintf(p->shape, sizeof p->shape, "%d x %d", slots, half);
    for (int i = 0; i < BOUNDS_RESOURCES; i++) {
        p->time.seconds[i] = again.by[i];
        s.by[i] += share * again.by[i];
    }
    s.seconds += share * again.seconds;
    return s;
}
