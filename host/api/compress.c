/* compress.c: from a reader to one .gpz frame, block by block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coding_file.h"
#include "fit.h"
#include "token_stats.h"

/* The settings of a level. A window longer than a model's context is cut to it. */
typedef struct {
    int sliding;       /* tokens of a sliding window */
    int window, hop;   /* tokens, for models that cannot slide; hop is a share of the window: window
                          / hop passes a token */
    int stream_tokens; /* a stream is given about as many; 0: one stream a block */
    size_t block_size; /* bytes */
} level_settings;

/* Windows grow up to 512 tokens: a model of four layers gains less than 0.1 % from more
 * (alice29.txt at level 6: 27,437 bytes with 64 tokens, 27,115 with 128, 26,918 with 256, 26,818
 * with 512, 26,827 with 1,024). Streams become fewer and longer, since each starts cold; they are
 * what a decoder computes at a time. tools/README.md has the table of sizes and times
 * (tests/reproduce/levels.sh). Hops re-read half of a window from level 5 on, and more above.
 * Blocks are large so that many streams fill a GPU, but small enough for a decoder with little
 * memory. */
static const level_settings levels[GPUZIP_LEVEL_MAX + 1] = {
    [1] = {64, 256, 256, 1024, (size_t)4 << 20},    [2] = {128, 512, 512, 2048, (size_t)4 << 20},
    [3] = {256, 1024, 1024, 4096, (size_t)4 << 20}, [4] = {256, 1024, 768, 8192, (size_t)4 << 20},
    [5] = {512, 1024, 512, 8192, (size_t)8 << 20},  [6] = {512, 1024, 512, 16384, (size_t)8 << 20},
    [7] = {512, 1024, 384, 32768, (size_t)8 << 20}, [8] = {512, 1024, 256, 16384, (size_t)16 << 20},
    [9] = {512, 1024, 128, 0, (size_t)16 << 20},
};

/* U of adaptive mixing, in steps. 1 to 16 give the same size within 0.1 %, 64 takes 0.1 to 0.9 %
 * more (weights/train/README.md, "Streams and updates"), and the encoder's passes grow with it. */
#define UPDATE_INTERVAL 16

/* The weights learn from this level on: files of 100 KB are 1 % smaller, of 1 MB 3 %, and take
 * three to four times as long. Level 8 has as many streams as level 6, so that a decoder computes
 * several rows at a time. */
#define WEIGHTS_LEVEL 8

/* A file being compressed. */
typedef struct {
    coding_file f;
    container_frame frame;
    uint8_t head[CONTAINER_FRAME_BOUND]; /* [head_size] the frame's header */
    size_t head_size;
    bool head_written; /* it is written first */
    gpuzip_index index;
    container_entry *entry; /* [entries] of [room] the blocks written, for the index */
    size_t entries, room;
    token_stats measured;
} compressor;

void gpuzip_init_options(gpuzip_options *options)
{
    *options = (gpuzip_options){.adapt = GPUZIP_ADAPT_DEFAULT};
}

size_t gpuzip_block_size(const gpuzip_options *options)
{
    int level = options && options->level ? options->level : GPUZIP_LEVEL_DEFAULT;
    if (level < GPUZIP_LEVEL_MIN || level > GPUZIP_LEVEL_MAX)
        return 0;
    return options && options->block_size ? options->block_size : levels[level].block_size;
}

/* ---- options ------------------------------------------------------------ */

static uint32_t alpha_q16(double alpha)
{
    return (uint32_t)(alpha * CONTAINER_ALPHA_ONE + 0.5);
}

static int level_of(const gpuzip_options *o)
{
    return o->level ? o->level : GPUZIP_LEVEL_DEFAULT;
}

/* The bits of gpuzip_adapt that the options ask for. */
static unsigned adaptive_parts(const gpuzip_options *o)
{
    unsigned weights = level_of(o) >= WEIGHTS_LEVEL ? 0 : GPUZIP_ADAPT_WEIGHTS;
    return o->adapt == GPUZIP_ADAPT_DEFAULT ? GPUZIP_ADAPT_ALL & ~weights : o->adapt;
}

static gpuzip_status frame_experts(gpuzip *gz, const gpuzip_options *o, container_frame *frame)
{
    static const gpuzip_expert only_model = {GPUZIP_EXPERT_MODEL, 0, 1.0};
    const gpuzip_expert *expert = o->experts ? o->expert : &only_model;
    frame->experts = o->experts ? o->experts : 1;
    if (frame->experts < 0 || frame->experts > GPUZIP_MAX_EXPERTS)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "at most %d experts", GPUZIP_MAX_EXPERTS);
    for (int k = 0; k < frame->experts; k++) {
        container_expert *dst = &frame->expert[k];
        if (!(expert[k].alpha >= 0 && expert[k].alpha <= 15.99))
            return session_fail(gz, GPUZIP_ERR_ARGUMENT, "alpha must be from 0 to 15.99");
        dst->alpha = alpha_q16(expert[k].alpha);
        if (adaptive_parts(o) & GPUZIP_ADAPT_ALPHAS && dst->alpha > CONTAINER_LEARNT_MAX)
            return session_fail(gz, GPUZIP_ERR_ARGUMENT, "alphas that are learnt are at most 2");
        if (expert[k].kind == GPUZIP_EXPERT_NAIVE_BAYES) {
            dst->kind = CONTAINER_EXPERT_NAIVE_BAYES;
            continue;
        }
        if (expert[k].model < 0 || expert[k].model >= gz->models)
            return session_fail(gz, GPUZIP_ERR_ARGUMENT, "no model has been added for expert %d",
                                k + 1);
        dst->kind = CONTAINER_EXPERT_MODEL;
        memcpy(dst->model_id, gz->model[expert[k].model].file.weights->id, CONTAINER_MODEL_BYTES);
    }
    return GPUZIP_OK;
}

/* The level's settings with the caller's over them. */
static gpuzip_status frame_settings(gpuzip *gz, const gpuzip_options *o, container_frame *frame,
                                    level_settings *settings)
{
    int level = level_of(o);
    int context = SCHEDULE_STEPS_MAX;
    unsigned adapt = adaptive_parts(o);
    bool slides = o->hop == 0 && !o->window_scope;
    if (level < GPUZIP_LEVEL_MIN || level > GPUZIP_LEVEL_MAX)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "levels go from %d to %d", GPUZIP_LEVEL_MIN,
                            GPUZIP_LEVEL_MAX);
    *settings = levels[level];
    for (int k = 0; k < (o->experts ? o->experts : 1); k++) {
        int index = o->experts ? o->expert[k].model : 0;
        if (o->experts && o->expert[k].kind != GPUZIP_EXPERT_MODEL)
            continue;
        const weights_model *w = gz->model[index].file.weights;
        context = w->config.context < context ? w->config.context : context;
        if (adapt & GPUZIP_ADAPT_WEIGHTS && !weights_learnable(w)) {
            if (o->adapt != GPUZIP_ADAPT_DEFAULT)
                return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                                    "the weights of model '%s' are too large to learn; "
                                    "leave weights out of --adapt",
                                    w->name);
            adapt &= ~(unsigned)GPUZIP_ADAPT_WEIGHTS;
        }
        slides &= model_slides(w);
    }
    int hops = settings->window / settings->hop; /* the ratio stays when the window is cut */
    int usual = slides ? settings->sliding : settings->window;
    int window = o->window ? o->window : usual < context ? usual : context;
    int hop = o->hop                       ? o->hop
              : o->window_scope            ? window
              : window == settings->window ? settings->hop
                                           : (window + hops - 1) / hops;
    if (window < 2 || window > context)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "the window must be from 2 to %d tokens",
                            context);
    if (hop < 1 || hop > window)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "the hop must be from 1 to the window (%d)",
                            window);
    if (o->window_scope && hop != window)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT,
                            "window scope needs a hop equal to the window");
    if (adapt & ~(unsigned)GPUZIP_ADAPT_ALL)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "unknown bits in the options' adapt");
    if (o->block_size > GPUZIP_BLOCK_MAX)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "a block has at most %zu bytes",
                            GPUZIP_BLOCK_MAX);
    if (o->update_interval < 0 || o->update_interval > SCHEDULE_STEPS_MAX)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "the update interval must be from 1 to %d",
                            SCHEDULE_STEPS_MAX);
    if (o->streams < 0 || o->streams > (int)CONTAINER_STREAMS_MAX)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "a block has from 1 to %u streams",
                            CONTAINER_STREAMS_MAX);
    if ((unsigned)o->index > GPUZIP_INDEX_ALWAYS)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "unknown value of the options' index");
    if (o->block_size)
        settings->block_size = o->block_size;
    frame->schedule = (schedule){.window = window,
                                 .hop = slides ? 0 : hop,
                                 .update_interval = o->update_interval ? o->update_interval
                                                    : adapt            ? UPDATE_INTERVAL
                                                                       : 1,
                                 .window_scope = o->window_scope};
    frame->contexts = adapt & GPUZIP_ADAPT_CONTEXTS;
    frame->biases = adapt & GPUZIP_ADAPT_BIASES;
    frame->learns_alphas = adapt & GPUZIP_ADAPT_ALPHAS;
    frame->learns_weights = adapt & GPUZIP_ADAPT_WEIGHTS;
    return GPUZIP_OK;
}

/* ---- fitting ------------------------------------------------------------ */

#define FIT_BYTES  ((size_t)1 << 20)  /* of input that alphas are fitted to */
#define FIT_MEMORY ((size_t)64 << 20) /* bytes of a sample's rows */

/* A file's input, of which some was read ahead. */
typedef struct {
    const gpuzip_io *io;
    uint8_t *ahead; /* [ahead_size], of which ahead_used are taken */
    size_t ahead_size, ahead_used;
} input;

static gpuzip_status read_io(gpuzip *gz, const gpuzip_io *io, uint8_t *data, size_t size,
                             size_t *got)
{
    if (io->read(io->context, data, size, got))
        return session_fail(gz, GPUZIP_ERR_IO, "reading failed");
    return GPUZIP_OK;
}

static gpuzip_status read_input(gpuzip *gz, input *in, uint8_t *data, size_t size, size_t *got)
{
    size_t left = in->ahead_size - in->ahead_used;
    if (!left)
        return read_io(gz, in->io, data, size, got);
    *got = size < left ? size : left;
    memcpy(data, in->ahead + in->ahead_used, *got);
    in->ahead_used += *got;
    return GPUZIP_OK;
}

/* Reads up to size bytes ahead. */
static gpuzip_status read_ahead(gpuzip *gz, input *in, size_t size)
{
    size_t got = 1;
    in->ahead = malloc(size);
    if (!in->ahead)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (; in->ahead_size < size && got; in->ahead_size += got)
        TRY(read_io(gz, in->io, in->ahead + in->ahead_size, size - in->ahead_size, &got));
    return GPUZIP_OK;
}

static gpuzip_status sample_on(const gpuzip *gz, const device *d, const coding_plan *plan,
                               const engine_stream *stream, int streams, fit_sample *sample)
{
    engine_config config = plan_config_on(plan, d);
    size_t memory = FIT_MEMORY;
    if (gz->memory_limit && gz->memory_limit / 8 < memory)
        memory = (size_t)gz->memory_limit / 8;
    return fit_sample_take(sample, d->ops, d->ctx, &config, stream, streams, memory);
}

/* Takes a sample on the first GPU that is of use, or else on the CPU. None may be in use. */
static gpuzip_status take_sample(gpuzip *gz, const coding_plan *plan, const engine_stream *stream,
                                 int streams, fit_sample *sample)
{
    device *cpu;
    for (int i = 0; i < gz->gpus; i++)
        if (!gz->gpu[i].lost &&
            sample_on(gz, &gz->gpu[i], plan, stream, streams, sample) == GPUZIP_OK)
            return GPUZIP_OK;
    TRY(session_cpu(gz, &cpu));
    return sample_on(gz, cpu, plan, stream, streams, sample);
}

static gpuzip_status sample_block(gpuzip *gz, const coding_plan *plan, const block_rules *rules,
                                  const block *b, fit_sample *sample)
{
    engine_stream *stream = calloc(b->work.streams, sizeof *stream);
    if (!stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    block_streams(rules, b, stream);
    gpuzip_status status = take_sample(gz, plan, stream, (int)b->work.streams, sample);
    free(stream);
    return status;
}

static void note_fit(const gpuzip *gz, const fit_sample *sample, const double *alpha, double bits)
{
    char text[GPUZIP_MAX_EXPERTS * 16] = "";
    for (int k = 0, used = 0; k < sample->rows.experts; k++)
        used +=
            snprintf(text + used, sizeof text - (size_t)used, "%s%.3f", k ? ", " : "", alpha[k]);
    session_note(gz, GPUZIP_NOTE_DETAIL, "alphas %s: %.3f bits a token, of %d tokens", text, bits,
                 sample->rows.rows);
}

/* Sets the frame's alphas to those that code the beginning of the input best. */
static gpuzip_status fit_frame(gpuzip *gz, input *in, const block_rules *rules, size_t block_size,
                               const coding_plan *plan, container_frame *frame)
{
    gpuzip_status status = GPUZIP_OK;
    uint32_t most = frame->learns_alphas ? CONTAINER_LEARNT_MAX : CONTAINER_ALPHA_MAX;
    double alpha[GPUZIP_MAX_EXPERTS], bits;
    fit_sample sample = {0};
    block b = {0};
    pipeline_drain(gz->p); /* the devices must be free */
    TRY(read_ahead(gz, in, block_size < FIT_BYTES ? block_size : FIT_BYTES));
    if (in->ahead_size == 0)
        return GPUZIP_OK;
    TRY_OUT(block_extend(&b, in->ahead_size));
    memcpy(b.content, in->ahead, in->ahead_size);
    b.content_size = in->ahead_size;
    TRY_OUT(block_prepare(rules, &b));
    if (b.kind == CONTAINER_CODED)
        TRY_OUT(sample_block(gz, plan, rules, &b, &sample));
    if (sample.rows.rows > 0) {
        TRY_OUT(fit_alphas(&sample.rows, (double)most / CONTAINER_ALPHA_ONE, gz->threads, alpha,
                           &bits));
        note_fit(gz, &sample, alpha, bits);
        for (int k = 0; k < frame->experts; k++)
            frame->expert[k].alpha = alpha_q16(alpha[k]);
    }
out:
    fit_sample_close(&sample);
    block_close(&b);
    return status;
}

/* ---- writing: in the order of the file ----------------------------------- */

/* Writes bytes, the first time after the frame's header. */
static gpuzip_status write_bytes(compressor *c, const uint8_t *data, size_t size)
{
    const gpuzip_io *io = &c->f.way.io;
    size_t head_size = c->head_written ? 0 : c->head_size;
    c->head_written = true;
    if (io->write && ((head_size && io->write(io->context, c->head, head_size)) ||
                      io->write(io->context, data, size)))
        return session_fail(c->f.gz, GPUZIP_ERR_IO, "writing failed");
    c->f.way.stats.bytes_out += head_size + size;
    return GPUZIP_OK;
}

/* Notes a block for the index. */
static gpuzip_status add_entry(compressor *c, const block *b)
{
    if (c->index == GPUZIP_INDEX_NEVER)
        return GPUZIP_OK;
    if (c->entries == c->room) {
        size_t room = 2 * c->room + 16;
        container_entry *grown = realloc(c->entry, room * sizeof *grown);
        if (!grown)
            return FAIL(GPUZIP_ERR_MEMORY);
        c->entry = grown;
        c->room = room;
    }
    c->entry[c->entries++] =
        (container_entry){b->kind, (uint32_t)b->content_size, (uint32_t)b->code_size};
    return GPUZIP_OK;
}

/* Writes the index frames behind the frame; none for a single block, unless they are wanted. */
static gpuzip_status write_index(compressor *c)
{
    uint8_t frame[CONTAINER_INDEX_MAX];
    uint32_t piece = 0;
    size_t first = 0, size;
    if (c->index == GPUZIP_INDEX_NEVER || (c->index == GPUZIP_INDEX_AUTO && c->entries < 2))
        return GPUZIP_OK;
    do {
        size_t blocks = c->entries - first;
        if (blocks > CONTAINER_INDEX_BLOCKS)
            blocks = CONTAINER_INDEX_BLOCKS;
        TRY(container_write_index(frame, sizeof frame, &size, &c->frame, piece++, c->head_size,
                                  first ? c->entry + first : c->entry, (uint32_t)blocks));
        TRY(write_bytes(c, frame, size));
        first += blocks;
    } while (first < c->entries);
    return GPUZIP_OK;
}

static void block_done(pipeline_job *job)
{
    compressor *c = job->file->owner;
    const block *b = &job->b;
    gpuzip_stats *stats = &c->f.way.stats;
    if (!coding_may_write(&c->f, job))
        return;
    stats->seconds[GPUZIP_PHASE_TOKENIZER] += b->seconds_tokenizer;
    stats->blocks++;
    stats->stored_blocks += b->kind == CONTAINER_STORED;
    stats->packed_blocks += b->kind == CONTAINER_PACKED;
    if (b->kind == CONTAINER_CODED) {
        stats->tokens += b->tokens;
        stats->model_bytes += b->content_size;
        stats->coder_bits += b->coder_bits;
    }
    token_stats_add(&c->measured, stats, &c->f.way.io, b);
    gpuzip_status status = write_bytes(c, b->code, b->code_size);
    coding_wrote(&c->f, job, status == GPUZIP_OK ? add_entry(c, b) : status);
}

static void frame_done(pipeline_job *job)
{
    compressor *c = job->file->owner;
    uint8_t end[CONTAINER_END_MAX];
    size_t size;
    if (!coding_may_write(&c->f, job))
        return;
    gpuzip_status status = container_write_end(end, sizeof end, &size, &job->end);
    if (status == GPUZIP_OK)
        status = write_bytes(c, end, size);
    if (status == GPUZIP_OK)
        status = write_index(c);
    coding_wrote(&c->f, job, status);
}

static void file_done(pipeline_job *job)
{
    compressor *c = job->file->owner;
    gpuzip_status status = coding_outcome_of(&c->f);
    if (status == GPUZIP_ERR_SELF_TEST && !c->f.gz->error[0])
        session_fail(c->f.gz, status,
                     "a block did not decode to its original: this machine computes wrongly, or "
                     "gpuzip has a defect; nothing was lost");
    coding_end(&c->f, status);
    free(c->entry);
    free(c);
}

/* ---- reading ------------------------------------------------------------ */

#define READ_FIRST ((size_t)64 << 10) /* bytes of room for a block of a file that may be short */

/* Fills the block's content[0, block_size) as far as the input goes. */
static gpuzip_status read_block(gpuzip *gz, input *in, block *b, size_t block_size)
{
    size_t have = 0, got = 1;
    while (have < block_size && got) {
        size_t room = 2 * have > READ_FIRST ? 2 * have : READ_FIRST;
        TRY(block_extend(b, room < block_size ? room : block_size));
        size_t wanted = b->content_capacity < block_size ? b->content_capacity : block_size;
        for (; have < wanted && got; have += got)
            TRY(read_input(gz, in, b->content + have, wanted - have, &got));
    }
    b->content_size = have;
    return GPUZIP_OK;
}

static gpuzip_status read_blocks(compressor *c, input *in, size_t block_size)
{
    coding_file *f = &c->f;
    bool ended = false;
    while (!ended) {
        block *b;
        TRY(coding_next(f, block_size, &b));
        TRY(read_block(f->gz, in, b, block_size));
        ended = b->content_size < block_size;
        if (!b->content_size)
            break;
        f->way.stats.bytes_in += b->content_size;
        container_hash_add(f->hash, b->content, b->content_size);
        pipeline_submit(f->gz->p, &f->way, block_done, b->content_size, b->content_size);
    }
    return GPUZIP_OK;
}

/* The share of the memory limit that packing a block may take. Without GPUs one block is packed at
 * a time, and three quarters remain for the block itself; with GPUs up to 8 threads pack at the
 * same time, in half of the limit. */
#define PACK_SHARE     4
#define PACK_SHARE_GPU 16

/* Everything that is the same for all blocks. */
static gpuzip_status plan_file(gpuzip *gz, const gpuzip_options *o, const container_frame *frame,
                               const level_settings *settings, coding_plan *plan,
                               block_rules *rules)
{
    TRY(plan_frame(gz, frame, plan));
    *rules = plan_rules(gz, plan);
    rules->verify = !o->no_verify;
    rules->no_packing = o->no_packing;
    rules->pack_memory = gz->memory_limit / (gz->gpus ? PACK_SHARE_GPU : PACK_SHARE);
    rules->stream_tokens = (size_t)settings->stream_tokens;
    rules->streams = (size_t)o->streams;
    return plan_check_memory(gz, rules, 1, 1, 1);
}

/* Bytes of a token of text that coding under a limit reckons with; content with shorter ones may
 * be packed instead. English has 3. */
#define TOKEN_BYTES     2
#define BLOCK_SHORTENED 4096 /* the least bytes of a block for a limit's sake */

/* The block size of the settings, or less if the limit of memory asks for it. */
static size_t affordable_block(const block_rules *rules, size_t size)
{
    while (rules->memory_limit && size > BLOCK_SHORTENED &&
           block_needed_bytes(rules, size, size / TOKEN_BYTES, 1) > rules->memory_limit)
        size -= size / 8;
    return size;
}

/* Reads the file and submits its blocks and the end of its frame. */
static gpuzip_status read_file(compressor *c, const gpuzip_options *options)
{
    gpuzip_options defaults;
    gpuzip_status status = GPUZIP_OK;
    const gpuzip_options *o = options ? options : &defaults;
    container_frame frame = {0};
    coding_file *f = &c->f;
    gpuzip *gz = f->gz;
    input in = {.io = &f->way.io};
    coding_plan plan;
    block_rules rules;
    level_settings settings = {0};
    gpuzip_init_options(&defaults);
    TRY(frame_experts(gz, o, &frame));
    TRY(frame_settings(gz, o, &frame, &settings));
    TRY(plan_file(gz, o, &frame, &settings, &plan, &rules));
    if (o->fit_alphas) {
        TRY_OUT(fit_frame(gz, &in, &rules, settings.block_size, &plan, &frame));
        TRY_OUT(plan_file(gz, o, &frame, &settings, &plan, &rules));
    }
    rules.measure = o->measure || f->way.io.observe;
    if (rules.measure)
        token_stats_begin(&c->measured, &f->way.stats, &plan);
    TRY_OUT(pipeline_prepare(gz->p, &plan, &rules));
    TRY_OUT(coding_status(f));
    TRY_OUT(container_write_frame(c->head, sizeof c->head, &c->head_size, &frame));
    c->frame = frame;
    c->index = o->index;
    TRY_OUT(read_blocks(c, &in, affordable_block(&rules, settings.block_size)));
    container_end end = {f->way.stats.bytes_in, container_hash_value(f->hash)};
    pipeline_submit_end(gz->p, &f->way, frame_done, &end);
    status = coding_status(f);
out:
    free(in.ahead);
    return status;
}

/* ---- a file, from reading to its end -------------------------------------- */

static void compress(gpuzip *gz, const gpuzip_options *options, const gpuzip_io *io,
                     void (*ended)(void *, gpuzip_status, const gpuzip_stats *), void *context)
{
    compressor *c = calloc(1, sizeof *c);
    if (!c) {
        gz->error[0] = '\0';
        if (ended)
            ended(context, FAIL(GPUZIP_ERR_MEMORY), NULL);
        return;
    }
    if (coding_open(&c->f, gz, io, c, ended, context) != GPUZIP_OK) {
        free(c);
        return;
    }
    coding_read_all(&c->f, read_file(c, options), file_done);
}

gpuzip_status gpuzip_compress_stream(gpuzip *gz, const gpuzip_options *options, const gpuzip_io *io,
                                     gpuzip_stats *stats)
{
    coding_outcome outcome = {.stats = stats};
    compress(gz, options, io, coding_keep_outcome, &outcome);
    gpuzip_finish(gz);
    return outcome.status;
}

void gpuzip_begin_compress(gpuzip *gz, const gpuzip_options *options, const gpuzip_io *io)
{
    compress(gz, options, io, io->ended, io->context);
}
