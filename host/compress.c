/* compress.c: from a reader to one .gpz frame, block by block. */
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

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

#define UPDATE_INTERVAL                                                                            \
    16 /* of mixing that learns: as good as 1 on text, and encodes in parallel */

typedef struct {
    gpuzip *gz;
    const gpuzip_io *io;
    pipeline *p;
    container_hash *hash;
    size_t block_size;
    gpuzip_stats stats;
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
        if (o->learn_alphas && dst->alpha > CONTAINER_LEARNT_MAX)
            return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "alphas that are learnt are at most 2");
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
    bool mixing_learns = o->contexts || o->biases || o->learn_alphas;
    frame->update_interval = o->update_interval ? (uint32_t)o->update_interval
                             : mixing_learns    ? UPDATE_INTERVAL
                                                : 1;
    frame->window_scope = o->window_scope;
    frame->contexts = o->contexts;
    frame->biases = o->biases;
    frame->learns_alphas = o->learn_alphas;
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

/* Fills the block's raw[0, block_size) as far as the input goes. */
static gpuzip_status read_block(compressor *c, block *b)
{
    size_t have = 0, got;
    TRY(block_reserve(b, c->block_size, 0));
    while (have < c->block_size) {
        if (c->io->read(c->io->context, b->raw + have, c->block_size - have, &got))
            return handle_fail(c->gz, GPUZIP_ERR_IO, "reading failed");
        if (!got)
            break;
        have += got;
    }
    b->raw_size = have;
    return GPUZIP_OK;
}

/* Reads and submits blocks as long as there is room; *ended: the input has. */
static gpuzip_status read_ahead(compressor *c, bool *ended)
{
    block *b;
    while (!*ended && (b = pipeline_next(c->p, c->block_size)) != NULL) {
        TRY(read_block(c, b));
        *ended = b->raw_size < c->block_size;
        if (!b->raw_size)
            break;
        c->stats.bytes_in += b->raw_size;
        container_hash_add(c->hash, b->raw, b->raw_size);
        pipeline_submit(c->p, b->raw_size);
    }
    return GPUZIP_OK;
}

static gpuzip_status write_block(compressor *c, const block *b)
{
    c->stats.seconds_tokenizer += b->seconds_tokenizer;
    c->stats.blocks++;
    if (b->stored) {
        c->stats.stored_blocks++;
    } else {
        c->stats.tokens += b->tokens;
        c->stats.model_bytes += b->raw_size;
        c->stats.coder_bits += b->coder_bits;
    }
    return write_bytes(c, b->code, b->code_size);
}

static gpuzip_status compress_blocks(compressor *c)
{
    bool ended = false;
    for (;;) {
        block *b;
        TRY(read_ahead(c, &ended));
        TRY(pipeline_take(c->p, &b));
        if (!b)
            return GPUZIP_OK;
        TRY(write_block(c, b));
        if (handle_tell(c->io, pipeline_input(c->p), c->stats.bytes_out))
            return FAIL(GPUZIP_ERR_CANCELLED);
    }
}

static gpuzip_status compress_frame(compressor *c, const container_frame *frame)
{
    uint8_t head[CONTAINER_FRAME_BOUND], tail[CONTAINER_END_MAX];
    size_t size;
    TRY(container_write_frame(head, sizeof head, &size, frame));
    TRY(write_bytes(c, head, size));
    TRY(compress_blocks(c));
    container_end end = {c->stats.bytes_in, container_hash_value(c->hash)};
    TRY(container_write_end(tail, sizeof tail, &size, &end));
    return write_bytes(c, tail, size);
}

/* Says in words what went wrong, where nobody has. */
static gpuzip_status explain(gpuzip *gz, gpuzip_status status)
{
    if (status != GPUZIP_ERR_SELF_TEST || gz->error[0])
        return status;
    return handle_fail(gz, status,
                       "a block did not decode to what it was made from: this machine "
                       "computes wrongly, or gpuzip has a defect; nothing was lost");
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
    compressor c = {.gz = gz, .io = io};
    gz->error[0] = '\0';
    TRY_OUT(frame_experts(gz, o, &frame));
    TRY_OUT(frame_settings(gz, o, &frame, &settings));
    TRY_OUT(handle_plan_frame(gz, &frame, &plan));
    block_rules rules = handle_rules(gz, &plan);
    rules.verify = !o->no_verify;
    rules.stream_tokens = (size_t)settings.stream_tokens;
    rules.streams = (size_t)o->streams;
    TRY_OUT(handle_check_memory(gz, &rules, 1));
    c.block_size = settings.block_size;
    TRY_OUT(pipeline_open(&c.p, gz, &plan, &rules, c.block_size, io, &c.stats));
    TRY_OUT(container_hash_open(&c.hash));
    TRY_OUT(compress_frame(&c, &frame));
    if (stats)
        *stats = c.stats;
out:
    container_hash_close(c.hash);
    pipeline_close(c.p);
    return explain(gz, status);
}
