/* token_stats.c: see token_stats.h. In the order of the file, so that sums depend on no device and
 * no number of threads. */
#include "token_stats.h"

#include <math.h>

/* Bits of an escape, and the cost of the escapes' share of the CDF at other tokens; see ops.h. */
static double escape_bits(int escapes)
{
    return 20 + log2(1 + escapes * 0x1p-20);
}

static double room_bits(int escapes)
{
    return log2(1 + escapes * 0x1p-20);
}

void token_stats_begin(token_stats *m, gpuzip_stats *stats, const coding_plan *plan)
{
    m->config = plan->config;
    m->t = plan->t;
    stats->experts = plan->config.experts;
    for (int k = 0; k < stats->experts; k++) {
        stats->expert[k].kind = plan->config.expert[k].kind;
        stats->expert[k].model = plan->model[k];
    }
}

/* Adds a token to the statistics, and makes *told of it but for its place and bytes. */
static void add_token(const token_stats *m, gpuzip_stats *stats, uint32_t token,
                      const float *measure, gpuzip_token *told)
{
    const engine_config *c = &m->config;
    bool known = token < (uint32_t)c->vocab;
    double bits = measure[ENGINE_MEASURE_BITS], room = room_bits(c->escapes), dense;
    *told = (gpuzip_token){.bits = bits, .log2_z = measure[ENGINE_MEASURE_LOG2_Z]};
    dense = told->log2_z;
    for (int k = 0; k < c->experts; k++) {
        double own = measure[ENGINE_MEASURE_EXPERT(k)];
        double alpha = measure[ENGINE_MEASURE_ALPHA(k, c->experts)];
        told->expert_bits[k] = known ? own + room : escape_bits(c->escapes);
        told->alpha[k] = alpha;
        stats->expert[k].bits += told->expert_bits[k];
        stats->expert[k].mean_alpha += alpha; /* see token_stats_add() */
        stats->weighted_bits += alpha * own;
        dense += alpha * own;
    }
    stats->log2_z += told->log2_z;
    stats->escapes += !known;
    stats->escape_bits += known ? room : bits;
    if (!known)
        return;
    double biased = measure[ENGINE_MEASURE_BIASED], gain = biased + room - bits;
    stats->bias_gain_bits += dense - biased;
    if (c->prior)
        stats->context_gain_bits += gain;
    else
        stats->rounding_bits -= gain;
}

static void add_tokens(const token_stats *m, gpuzip_stats *stats, const gpuzip_io *io,
                       const block *b, const float *measure)
{
    const engine_config *c = &m->config;
    size_t at = 0, skip = tokenizer_prefix_bytes(m->t);
    for (size_t i = 0; i < b->tokens; i++, measure += ENGINE_MEASURES(c->experts)) {
        gpuzip_token told;
        const uint8_t *bytes;
        size_t size = 0;
        add_token(m, stats, b->token[i], measure, &told);
        (void)tokenizer_token_bytes(m->t, b->token[i], &bytes, &size); /* it made the token */
        size_t cut = size < skip ? size : skip;
        skip -= cut;
        told.offset = m->offset + at;
        told.bytes = b->content + at;
        told.size = size - cut;
        at += told.size;
        if (io->observe)
            io->observe(io->context, &told);
    }
}

/* The alphas after the block: those of the last step, which its first stream has. */
static void end_alphas(const token_stats *m, gpuzip_stats *stats, const block *b)
{
    size_t last = container_stream_length((uint32_t)b->tokens, b->streams) - 1;
    int experts = m->config.experts;
    for (int k = 0; k < experts; k++)
        stats->expert[k].alpha =
            b->measure[last * ENGINE_MEASURES(experts) + ENGINE_MEASURE_ALPHA(k, experts)];
}

void token_stats_add(token_stats *m, gpuzip_stats *stats, const gpuzip_io *io, const block *b)
{
    if (!stats->experts)
        return;
    if (b->kind != CONTAINER_CODED && io->observe) {
        gpuzip_token told = {.offset = m->offset,
                             .bytes = b->content,
                             .size = b->content_size,
                             .stored = true,
                             .packed = b->kind == CONTAINER_PACKED,
                             .bits = 8.0 * (double)b->code_size};
        io->observe(io->context, &told);
    }
    if (b->kind == CONTAINER_CODED) {
        double before = (double)(stats->tokens - b->tokens), after = (double)stats->tokens;
        for (int k = 0; k < stats->experts; k++)
            stats->expert[k].mean_alpha *= before;
        add_tokens(m, stats, io, b, b->measure);
        for (int k = 0; k < stats->experts; k++)
            stats->expert[k].mean_alpha /= after;
        end_alphas(m, stats, b);
    }
    m->offset += b->content_size;
}
