/* compress.c: from a reader to one .gpz frame, block by block. */
#include <stdlib.h>
#include <string.h>

#include "handle.h"

#define CODING_MEMORY ((uint64_t)2 << 30) /* bytes that compressing takes at most by itself */

/* What a level means. A window longer than a model's context is cut to it. */
typedef struct {
    int window, hop;   /* tokens; hop is a share of the window: window / hop passes a token */
    int stream_tokens; /* a stream is given about as many; 0: one stream a block */
    size_t block_size; /* bytes */
} level_settings;

/* Longer windows first, then re-reading half of them or more, then fewer, longer
 * streams (a stream starts cold). With the built-in model alice29.txt becomes 33,102
 * bytes at level 1, 31,050 at 6 (half as fast) and 31,022 at 9 (a tenth as fast): a
 * model of four layers does not gain from more than half a window of context. Blocks
 * are large so that many streams fill a GPU, and no larger than what a decoder
 * should have to hold. */
static const level_settings levels[GPUZIP_LEVEL_MAX + 1] = {
    [1] = {256, 256, 1024, (size_t)4 << 20},   [2] = {512, 512, 2048, (size_t)4 << 20},
    [3] = {1024, 1024, 4096, (size_t)4 << 20}, [4] = {1024, 768, 4096, (size_t)4 << 20},
    [5] = {1024, 512, 8192, (size_t)8 << 20},  [6] = {1024, 512, 16384, (size_t)8 << 20},
    [7] = {1024, 384, 32768, (size_t)8 << 20}, [8] = {1024, 256, 65536, (size_t)16 << 20},
    [9] = {1024, 128, 0, (size_t)16 << 20},
};

typedef struct {
    gpuzip *gz;
    const gpuzip_io *io;
    lanes *l;
    const tokenizer *t;
    container_hash *hash;
    size_t block_size, stream_tokens, streams; /* streams: what the caller asked for, or 0 */
    bool verify;
    uint8_t *raw;  /* [block_size] */
    uint8_t *code; /* [container_stored_size(block_size)] */
    gpuzip_stats stats;
    engine_costs verify_costs;
} compressor;

/* ---- options ------------------------------------------------------------ */

static uint32_t alpha_q16(double alpha)
{
    return (uint32_t)(alpha * CONTAINER_ALPHA_ONE + 0.5);
}

static gpuzip_status frame_experts(gpuzip *gz, const gpuzip_options *o, container_frame *frame)
{
    static const gpuzip_expert only_model = {GPUZIP_EXPERT_MODEL, 0, 1.0};
    const gpuzip_expert *expert = o->experts ? o->expert : &only_model;
    frame->experts = o->experts ? o->experts : 1;
    if (frame->experts < 0 || frame->experts > GPUZIP_MAX_EXPERTS)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "at most %d experts", GPUZIP_MAX_EXPERTS);
    for (int k = 0; k < frame->experts; k++) {
        container_expert *dst = &frame->expert[k];
        if (!(expert[k].alpha >= 0 && expert[k].alpha <= 15.99))
            return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "alpha must be from 0 to 15.99");
        dst->alpha = alpha_q16(expert[k].alpha);
        if (expert[k].kind == GPUZIP_EXPERT_NAIVE_BAYES) {
            dst->kind = CONTAINER_EXPERT_NAIVE_BAYES;
            continue;
        }
        if (expert[k].model < 0 || expert[k].model >= gz->models)
            return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "no model has been added for expert %d",
                               k + 1);
        dst->kind = CONTAINER_EXPERT_MODEL;
        memcpy(dst->model_id, gz->model[expert[k].model].source.weights->id, CONTAINER_MODEL_BYTES);
    }
    return GPUZIP_OK;
}

/* The level's settings with the caller's over them. */
static gpuzip_status frame_settings(gpuzip *gz, const gpuzip_options *o, container_frame *frame,
                                    level_settings *settings)
{
    int level = o->level ? o->level : GPUZIP_LEVEL_DEFAULT;
    int context = CONTAINER_STEPS_MAX;
    if (level < GPUZIP_LEVEL_MIN || level > GPUZIP_LEVEL_MAX)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "levels go from %d to %d", GPUZIP_LEVEL_MIN,
                           GPUZIP_LEVEL_MAX);
    *settings = levels[level];
    for (int k = 0; k < (o->experts ? o->experts : 1); k++) {
        int index = o->experts ? o->expert[k].model : 0;
        if (o->experts && o->expert[k].kind != GPUZIP_EXPERT_MODEL)
            continue;
        if (gz->model[index].source.weights->config.context < context)
            context = gz->model[index].source.weights->config.context;
    }
    int hops = settings->window / settings->hop; /* the ratio stays when the window is cut */
    int window = o->window ? o->window : settings->window < context ? settings->window : context;
    int hop = o->hop ? o->hop
              : window == settings->window && !o->window_scope
                  ? settings->hop
                  : (o->window_scope ? window : (window + hops - 1) / hops);
    if (window < 2 || window > context)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "the window must be from 2 to %d tokens",
                           context);
    if (hop < 1 || hop > window)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "the hop must be from 1 to the window (%d)",
                           window);
    if (o->window_scope && hop != window)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "window scope needs a hop equal to the window");
    if (o->block_size > GPUZIP_BLOCK_MAX)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "a block has at most %zu bytes",
                           GPUZIP_BLOCK_MAX);
    if (o->update_interval < 0 || o->update_interval > (int)CONTAINER_STEPS_MAX)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "the update interval must be from 1 to %u",
                           CONTAINER_STEPS_MAX);
    if (o->streams < 0 || o->streams > (int)CONTAINER_STREAMS_MAX)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "a block has from 1 to %u streams",
                           CONTAINER_STREAMS_MAX);
    if (o->block_size)
        settings->block_size = o->block_size;
    frame->window = (uint32_t)window;
    frame->hop = (uint32_t)hop;
    frame->update_interval = o->update_interval ? (uint32_t)o->update_interval : 1;
    frame->window_scope = o->window_scope;
    return GPUZIP_OK;
}

/* ---- blocks ------------------------------------------------------------- */

static gpuzip_status write_bytes(compressor *c, const uint8_t *data, size_t size)
{
    if (c->io->write && c->io->write(c->io->context, data, size))
        return handle_fail(c->gz, GPUZIP_ERR_IO, "writing failed");
    c->stats.bytes_out += size;
    return GPUZIP_OK;
}

/* Fills raw[0, block_size) as far as the input goes. */
static gpuzip_status read_block(compressor *c, size_t *size)
{
    size_t have = 0, got;
    while (have < c->block_size) {
        if (c->io->read(c->io->context, c->raw + have, c->block_size - have, &got))
            return handle_fail(c->gz, GPUZIP_ERR_IO, "reading failed");
        if (!got)
            break;
        have += got;
    }
    *size = have;
    return GPUZIP_OK;
}

/* How many streams a block of n tokens gets: what the level or the caller wants,
 * less where memory is short. */
static uint32_t choose_streams(const compressor *c, size_t n)
{
    uint64_t limit = c->gz->memory_limit;
    size_t wanted = c->streams;
    if (!wanted)
        wanted = c->stream_tokens ? (n + c->stream_tokens - 1) / c->stream_tokens : 1;
    if (!limit || limit > CODING_MEMORY)
        limit = CODING_MEMORY;
    if (wanted > n)
        wanted = n;
    if (wanted > CONTAINER_STREAMS_MAX)
        wanted = CONTAINER_STREAMS_MAX;
    while (wanted > 1 && lanes_bytes(c->l, (uint32_t)wanted) > limit)
        wanted = wanted * 7 / 8;
    return container_fit_streams((uint32_t)n, (uint32_t)wanted);
}

/* Decodes what was just encoded and compares. */
static gpuzip_status verify_block(compressor *c, size_t raw_size, size_t code_size,
                                  handle_progress *progress)
{
    container_block block;
    uint8_t *raw = NULL;
    double start = engine_seconds();
    engine_progress steps = {handle_step, progress};
    progress->done = progress->share;
    progress->share = 1 - progress->share;
    TRY(container_read_block(&block, c->code, code_size));
    gpuzip_status status =
        handle_decode_block(c->gz, c->l, c->t, &block, &raw, &c->verify_costs, &steps);
    if (status == GPUZIP_ERR_CORRUPT || (status == GPUZIP_OK && memcmp(raw, c->raw, raw_size) != 0))
        status = handle_fail(c->gz, GPUZIP_ERR_SELF_TEST,
                             "a block did not decode to what it was made from: this machine "
                             "computes wrongly, or gpuzip has a defect; nothing was lost");
    free(raw);
    c->stats.seconds_verify += engine_seconds() - start;
    return status;
}

/* Encodes raw[0, raw_size) to code; *code_size stays 0 if it must be stored. */
static gpuzip_status encode_block(compressor *c, size_t raw_size, size_t *code_size)
{
    gpuzip_status status = GPUZIP_OK;
    engine_block block = {0};
    uint8_t *buffer = NULL;
    double start = engine_seconds();
    handle_progress progress = {.gz = c->gz,
                                .io = c->io,
                                .bytes_in = c->stats.bytes_in - raw_size,
                                .bytes_out = c->stats.bytes_out,
                                .share = c->verify ? 0.4 : 1, /* decoding takes longer */
                                .block_bytes = (double)raw_size};
    engine_progress steps = {handle_step, &progress};
    engine_costs costs = {0};
    bool coded = false;
    TRY_OUT(tokenizer_encode(c->t, c->raw, raw_size, &block.token, &block.tokens));
    c->stats.seconds_tokenizer += engine_seconds() - start;
    if (block.tokens > raw_size + 1) /* the container takes no more */
        goto out;
    block.streams = choose_streams(c, block.tokens);
    TRY_OUT(lanes_encode(c->l, &block, &buffer, &costs, &steps));
    uint32_t size = (uint32_t)raw_size, tokens = (uint32_t)block.tokens;
    size_t room = container_stored_size(size);
    if (container_coded_size(size, tokens, block.stream, block.streams) >= room)
        goto out;
    TRY_OUT(container_write_coded(c->code, room, code_size, c->raw, size, tokens, block.stream,
                                  block.streams));
    if (c->verify)
        TRY_OUT(verify_block(c, raw_size, *code_size, &progress));
    c->stats.tokens += block.tokens;
    c->stats.model_bytes += raw_size;
    coded = true;
    for (uint32_t s = 0; s < block.streams; s++)
        c->stats.coder_bits += 8.0 * (double)block.stream[s].size;
out:
    if (!coded)
        costs.model_bits = 0; /* what is stored does not count */
    handle_add_costs(&c->stats, &costs);
    free(block.stream);
    free(buffer);
    free(block.token);
    return status;
}

static gpuzip_status compress_block(compressor *c, size_t raw_size)
{
    size_t code_size = 0;
    c->stats.bytes_in += raw_size;
    container_hash_add(c->hash, c->raw, raw_size);
    TRY(encode_block(c, raw_size, &code_size));
    if (!code_size) {
        TRY(container_write_stored(c->code, container_stored_size((uint32_t)raw_size), &code_size,
                                   c->raw, (uint32_t)raw_size));
        c->stats.stored_blocks++;
    }
    c->stats.blocks++;
    TRY(write_bytes(c, c->code, code_size));
    if (handle_tell(c->io, c->stats.bytes_in, c->stats.bytes_out))
        return FAIL(GPUZIP_ERR_CANCELLED);
    return GPUZIP_OK;
}

static gpuzip_status compress_frame(compressor *c, const container_frame *frame)
{
    uint8_t head[CONTAINER_FRAME_BOUND], tail[CONTAINER_END_MAX];
    size_t size;
    TRY(container_write_frame(head, sizeof head, &size, frame));
    TRY(write_bytes(c, head, size));
    for (;;) {
        TRY(read_block(c, &size));
        if (!size)
            break;
        TRY(compress_block(c, size));
        if (size < c->block_size)
            break;
    }
    container_end end = {c->stats.bytes_in, container_hash_value(c->hash)};
    TRY(container_write_end(tail, sizeof tail, &size, &end));
    return write_bytes(c, tail, size);
}

gpuzip_status gpuzip_compress(gpuzip *gz, const gpuzip_options *options, const gpuzip_io *io,
                              gpuzip_stats *stats)
{
    gpuzip_status status = GPUZIP_OK;
    static const gpuzip_options defaults;
    const gpuzip_options *o = options ? options : &defaults;
    container_frame frame = {0};
    handle_plan plan;
    level_settings settings = {0};
    compressor c = {.gz = gz, .io = io, .verify = !o->no_verify};
    gz->error[0] = '\0';
    TRY_OUT(frame_experts(gz, o, &frame));
    TRY_OUT(frame_settings(gz, o, &frame, &settings));
    TRY_OUT(handle_plan_frame(gz, &frame, &plan));
    c.t = plan.t;
    const device *d = gz->gpus ? &gz->gpu[0] : &gz->cpu;
    engine_config config = handle_plan_on(&plan, d);
    TRY_OUT(lanes_open(&c.l, d->ops, d->ctx, &config, gz->threads));
    TRY_OUT(container_hash_open(&c.hash));
    c.block_size = settings.block_size;
    c.stream_tokens = (size_t)settings.stream_tokens;
    c.streams = (size_t)o->streams;
    c.raw = malloc(c.block_size);
    c.code = malloc(container_stored_size((uint32_t)c.block_size));
    if (!c.raw || !c.code) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(compress_frame(&c, &frame));
    if (stats)
        *stats = c.stats;
out:
    free(c.raw);
    free(c.code);
    container_hash_close(c.hash);
    lanes_close(c.l);
    return status;
}
