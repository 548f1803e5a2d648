/* bench_coding.c: a model as a whole: one large pass, then streams encoded and decoded.
 *
 * The floor of a pass and of encoding is the linear layers' operations at the device's best
 * int8 rate; that of decoding is, step by step, the larger of the same and of reading the
 * weights and every stream's cache at the rate of a copy. Attention, norms, mixing and range
 * coding have no time of their own in either.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "clock.h"
#include "engine_mt.h"
#include "message.h"

/* ---- one pass ------------------------------------------------------------ */

typedef struct {
    model_state *s;
    ops_batch batch;
} pass_job;

static gpuzip_status call_pass(void *job, int i)
{
    pass_job *p = job;
    const float *logits;
    (void)i;
    TRY(model_forward(p->s, &p->batch));
    return model_logits(p->s, 0, p->batch.rows, &logits);
}

/* Windows from their first position on, logits of all rows. */
static gpuzip_status time_pass(bench *b, const model *m, int slots, int positions)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_model *w = model_weights(m);
    size_t rows = (size_t)slots * (size_t)positions;
    bench_time time;
    double forward, extend;
    char shape[64];
    pass_job p = {.batch = {.rows = (int)rows}};
    bench_pool pool = {.b = b};
    int32_t *host = malloc(rows * 3 * sizeof *host), *batch;
    if (!host)
        return FAIL(GPUZIP_ERR_MEMORY);
    bench_noise(host, rows * sizeof *host, 1);
    for (size_t r = 0; r < rows; r++) {
        host[r] = (int32_t)((uint32_t)host[r] % (uint32_t)w->config.vocab);
        host[rows + r] = (int32_t)(r / (size_t)positions);
        host[2 * rows + r] = (int32_t)(r % (size_t)positions);
    }
    TRY_OUT(bench_take_copy(&pool, &batch, host, rows * 3 * sizeof *host));
    p.batch.token = batch;
    p.batch.slot = batch + rows;
    p.batch.pos = batch + 2 * rows;
    snprintf(shape, sizeof shape, "%d x %d", slots, positions);
    model_sizes sizes = {
        .slots = slots, .window = positions, .max_rows = (int)rows, .max_logits = (int)rows};
    TRY_OUT(model_state_open(&p.s, m, b->ctx, &sizes));
    TRY_OUT(model_set_positions(p.s, 0, positions));
    TRY_OUT(bench_measure(b, "forward pass", call_pass, &p, &time));
    model_row_ops(m, &forward, &extend);
    bench_report_row(b, &(bench_row){.name = "forward pass",
                                     .shape = shape,
                                     .rows = (int)rows,
                                     .context = (positions + 1) / 2,
                                     .time = time,
                                     .operations = forward * (double)rows,
                                     .tokens = (double)rows});
out:
    model_state_close(p.s);
    bench_release(&pool);
    free(host);
    return status;
}

static gpuzip_status bench_pass(bench *b, const model *m)
{
    const weights_config *c = &model_weights(m)->config;
    int context = c->context < 1024 ? c->context : 1024;
    if (!b->gpu)
        return time_pass(b, m, 1, context / 4);
    for (int slots = b->quick ? 8 : 2; slots <= 32; slots *= b->quick ? 4 : 2) {
        size_t rows = (size_t)slots * (size_t)context;
        if (rows * (size_t)c->vocab * sizeof(float) > b->memory / 2)
            break;
        TRY(time_pass(b, m, slots, context));
    }
    return GPUZIP_OK;
}

/* ---- coding -------------------------------------------------------------- */

/* A run over some steps of some streams, and when each step was done. */
typedef struct {
    bench *b;
    const model *m;
    engine_mt *mt;
    int window, hop; /* hop 0: sliding */
    uint32_t streams;
    size_t steps;     /* of every stream */
    double *done;     /* [steps + 1] seconds after the start, 0 where nobody looked */
    size_t last;      /* the last step that was done */
    double start;     /* of the run */
    double limit;     /* seconds after which it is cancelled; 0: none */
    uint32_t *token;  /* [streams * steps] */
    double text_rate; /* bytes of text a token; 0: the tokens are not of a text */
} coding_run;

static int on_step(void *context, size_t done, size_t steps)
{
    coding_run *run = context;
    double now = clock_seconds() - run->start;
    (void)steps;
    if (done <= run->steps)
        run->done[done] = now;
    run->last = done;
    return run->limit > 0 && now > run->limit && done < run->steps;
}

/* The positions to which step t attends. */
static size_t context_of(const coding_run *run, size_t t)
{
    size_t w = (size_t)run->window, h = (size_t)run->hop;
    return t < w ? t + 1 : h == 0 ? w + 1 : w - h + (t - w) % h + 1;
}

/* The steps [first, end) to time. Encoding: all, because passes are queued ahead. Decoding: steps
 * behind the first window, whole hops of them, if there are any; else the same positions of the
 * first window, but without the re-reading; else all. */
static void choose_section(const coding_run *run, bool decode, size_t *first, size_t *end)
{
    size_t w = (size_t)run->window, h = (size_t)run->hop;
    *first = 0;
    *end = run->last;
    if (decode && h == 0 && run->last >= w + 16) {
        *first = w;
    } else if (decode && h > 0 && run->last >= w + h) {
        *first = w;
        *end = w + (run->last - w) / h * h;
    } else if (decode && h > 0 && h < w && run->last >= w - h + 16) {
        *first = w - h;
    }
    while (*first > 0 && run->done[*first] <= 0) /* no time was taken after that step */
        --*first;
}

/* The least seconds of the steps [first, end) at the device's ceilings. */
static double coding_floor(const coding_run *run, bool decode, size_t first, size_t end,
                           double *operations, double *context, const char **bound)
{
    const weights_model *w = model_weights(run->m);
    const weights_config *c = &w->config;
    const bench *b = run->b;
    double forward, extend, seconds = 0, longest = 0;
    double cache = (double)b->ops->kv_bytes(c->layers, (int)run->streams, run->window, 1,
                                            c->kv_heads, c->head_dim, c->kv_bits) /
                   run->window; /* of one position of every stream */
    model_row_ops(run->m, &forward, &extend);
    *operations = *context = 0;
    *bound = "int8";
    for (size_t t = first; t < end; t++) {
        const char *which;
        double read = (double)context_of(run, t);
        double ops = run->streams * (forward + read * model_position_ops(run->m)), again = 0;
        double bytes = decode ? cache * read + (double)w->file_size : 0;
        if (run->hop && t >= (size_t)run->window &&
            (t - (size_t)run->window) % (size_t)run->hop == 0)
            again = run->streams * (run->window - run->hop) *
                    (extend + (double)(run->window - run->hop) / 2 * model_position_ops(run->m));
        double step = bench_floor(b, ops, bytes, &which);
        seconds += step + bench_floor(b, again, 0, &(const char *){NULL});
        if (step > longest) {
            longest = step;
            *bound = which;
        }
        *operations += ops + again;
        *context += read / (double)(end - first);
    }
    return seconds;
}

static void report_run(const coding_run *run, bool decode, double total, const engine_costs *costs)
{
    size_t first, end;
    bench_coding_row row = {.name = decode ? "decode" : "encode", .streams = run->streams};
    choose_section(run, decode, &first, &end);
    row.steps = end - first;
    row.seconds = run->done[end] - run->done[first];
    row.tokens = (double)run->streams * (double)row.steps;
    row.bytes = row.tokens * run->text_rate;
    row.floor_seconds =
        coding_floor(run, decode, first, end, &row.operations, &row.context, &row.bound);
    /* The costs are of the whole run. */
    row.forward = costs->seconds[GPUZIP_PHASE_FORWARD] / total * row.seconds;
    row.mix = costs->seconds[GPUZIP_PHASE_MIX] / total * row.seconds;
    row.coder = costs->seconds[GPUZIP_PHASE_CODER] / total * row.seconds;
    row.bits = costs->model_bits / ((double)run->streams * (double)run->last);
    bench_report_coding(run->b, &row);
}

/* Tokens, and a byte string a stream. */
typedef struct {
    uint32_t *token; /* [tokens] */
    size_t tokens;
    container_stream *stream; /* [streams] */
    uint32_t streams;
} bench_block;

/* Encodes the tokens, or decodes into them. Cancelled is as good as done. */
static gpuzip_status time_run(coding_run *run, bool decode, bench_block *block, double *total,
                              engine_costs *costs)
{
    engine_progress progress = {on_step, run};
    memset(run->done, 0, (run->steps + 1) * sizeof *run->done);
    run->last = 0;
    *costs = (engine_costs){0};
    run->start = clock_seconds();
    int streams = (int)block->streams;
    engine_stream *stream = calloc(block->streams, sizeof *stream);
    if (!stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    engine_cut(stream, block->streams, 0, block->token, block->tokens, block->stream, NULL, 1);
    gpuzip_status status = decode ? engine_mt_decode(run->mt, stream, streams, costs, &progress)
                                  : engine_mt_encode(run->mt, stream, streams, costs, &progress);
    *total = clock_seconds() - run->start;
    free(stream);
    if (status == GPUZIP_OK)
        run->done[run->last] = *total; /* includes all queued work */
    return status == GPUZIP_ERR_CANCELLED && run->last > 0 ? GPUZIP_OK : status;
}

static bench_block block_of(const coding_run *run, size_t steps)
{
    size_t tokens = run->streams * steps;
    return (bench_block){.token = run->token,
                         .tokens = tokens,
                         .streams = container_fit_streams((uint32_t)tokens, run->streams)};
}

/* Both directions over run->steps steps, and whether the same tokens came out. */
static gpuzip_status time_both(coding_run *run, double limit)
{
    gpuzip_status status = GPUZIP_OK;
    bench_block block = block_of(run, run->steps);
    engine_costs costs;
    uint8_t *buffer = NULL;
    double total;
    uint32_t *decoded = calloc(block.tokens, sizeof *decoded);
    if (!decoded) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(engine_make_room(&block.stream, &buffer, block.tokens, block.streams));
    run->limit = 0;
    TRY_OUT(time_run(run, false, &block, &total, &costs));
    report_run(run, false, total, &costs);
    block.token = decoded;
    run->limit = limit;
    TRY_OUT(time_run(run, true, &block, &total, &costs));
    report_run(run, true, total, &costs);
    /* Where it was cancelled, all that is sure is how far the first stream came. */
    size_t known = run->last >= run->steps ? block.tokens : run->last;
    if (memcmp(decoded, run->token, known * sizeof *decoded) != 0) {
        message_error(NULL, "%u streams were decoded to other tokens than were encoded",
                      run->streams);
        status = FAIL(GPUZIP_ERR_SELF_TEST);
    }
out:
    free(block.stream);
    free(buffer);
    free(decoded);
    return status;
}

/* Tokens a second of encoding, of a run so short that only its order counts. */
static gpuzip_status estimate_rate(coding_run *run, double *rate)
{
    enum { STEPS = 8 };
    run->steps = STEPS;
    run->limit = 0;
    for (int i = 0; i < 2; i++) { /* the first takes memory */
        bench_block block = block_of(run, STEPS);
        engine_costs costs;
        uint8_t *buffer = NULL;
        double total = 1;
        gpuzip_status status =
            engine_make_room(&block.stream, &buffer, block.tokens, block.streams);
        if (status == GPUZIP_OK)
            status = time_run(run, false, &block, &total, &costs);
        free(block.stream);
        free(buffer);
        TRY(status);
        *rate = (double)block.tokens / total;
    }
    return GPUZIP_OK;
}

/* Fills run->token[streams * steps], each stream from elsewhere in the text. */
static void set_tokens(coding_run *run, size_t steps, const bench_text *text, int vocab)
{
    for (size_t s = 0; s < run->streams; s++) {
        uint32_t *token = run->token + s * steps;
        if (text->count == 0) {
            bench_noise(token, steps * sizeof *token, s + 1);
            for (size_t t = 0; t < steps; t++)
                token[t] %= (uint32_t)vocab;
            continue;
        }
        size_t at = text->count / run->streams * s;
        for (size_t t = 0; t < steps; t++)
            token[t] = text->token[(at + t) % text->count];
    }
}

static gpuzip_status bench_streams(bench *b, const model *m, engine_mt *mt, const bench_text *text,
                                   const engine_config *c, uint32_t streams)
{
    gpuzip_status status = GPUZIP_OK;
    size_t window = (size_t)c->schedule.window, hop = (size_t)c->schedule.hop;
    size_t most = window + (hop ? 2 * hop : window);
    double rate = 0;
    char shape[64];
    coding_run run = {.b = b,
                      .m = m,
                      .mt = mt,
                      .window = c->schedule.window,
                      .hop = c->schedule.hop,
                      .streams = streams,
                      .done = calloc(most + 1, sizeof *run.done),
                      .token = calloc((size_t)streams * most, sizeof *run.token),
                      .text_rate = text->count ? (double)text->bytes / (double)text->count : 0};
    snprintf(shape, sizeof shape, "%u streams", streams);
    if (!run.done || !run.token) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    set_tokens(&run, 8, text, c->vocab);
    TRY_OUT(estimate_rate(&run, &rate));
    double affordable = rate * b->coding_seconds / streams;
    run.steps = affordable < 16 ? 16 : affordable < (double)most ? (size_t)affordable : most;
    if (hop && run.steps >= window) /* whole windows */
        run.steps -= (run.steps - window) % hop;
    set_tokens(&run, run.steps, text, c->vocab);
    TRY_OUT(time_both(&run, b->coding_seconds));
out:
    if (status == GPUZIP_ERR_MEMORY) {
        bench_report_skip(b, "coding", shape, "needs more memory");
        status = GPUZIP_OK;
    }
    free(run.token);
    free(run.done);
    return status;
}

/* Reduces *streams to fit the memory, with a reserve for the driver. */
static gpuzip_status fit_streams(bench *b, const engine_mt *mt, uint32_t *streams)
{
    uint64_t total, wanted = *streams;
    char shape[64];
    TRY(b->ops->memory(b->ctx, &b->memory, &total));
    while (*streams > 1 && engine_mt_bytes(mt, *streams, 1) > b->memory - b->memory / 32)
        *streams = *streams * 7 / 8;
    if (*streams < wanted) {
        snprintf(shape, sizeof shape, "%llu streams", (unsigned long long)wanted);
        bench_report_skip(b, "coding", shape, "need more memory; as many as fit:");
    }
    return GPUZIP_OK;
}

gpuzip_status bench_whole(bench *b, const bench_model *bm, const bench_text *text)
{
    gpuzip_status status = GPUZIP_OK;
    const weights_config *c = &bm->weights->config;
    model *m = NULL;
    engine_mt *mt = NULL;
    engine_config config = {.schedule.update_interval = 1,
                            .escapes = bm->t ? (int)tokenizer_escapes(bm->t) : 0,
                            .vocab = c->vocab,
                            .experts = 1};
    config.schedule.window = b->window && b->window <= c->context ? b->window
                             : c->context < 1024                  ? c->context
                                                                  : 1024;
    config.schedule.hop = model_slides(bm->weights) ? 0 : (config.schedule.window + 1) / 2;
    TRY_OUT(model_open(&m, b->ops, b->ctx, bm->weights));
    TRY_OUT(bench_pass(b, m));
    config.expert[0] = (engine_expert){GPUZIP_EXPERT_MODEL, m, CONTAINER_ALPHA_ONE};
    for (int i = 0; i < b->stream_counts; i++) {
        /* A new one each time: an engine keeps the memory of its largest block. */
        TRY_OUT(engine_mt_open(&mt, b->ops, b->ctx, &config, b->threads, 0));
        uint32_t streams = b->streams[i];
        TRY_OUT(fit_streams(b, mt, &streams));
        TRY_OUT(bench_streams(b, m, mt, text, &config, streams));
        engine_mt_close(mt);
        mt = NULL;
    }
out:
    engine_mt_close(mt);
    model_close(m);
    return status;
}
