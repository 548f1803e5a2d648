/* engine.c: windows, streams and steps: which rows a pass holds, and what is
 * done with the distributions that come out. */
#include "engine.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rangecoder.h"

/* Rows of a pass, and the most memory that its logits may take. Larger passes
 * no longer gain on a CPU: the activations leave the cache. */
#define PASS_ROWS_MAX 512
#define LOGITS_BYTES  ((size_t)256 << 20)

struct engine {
    const ops *ops;
    ops_context *ctx;
    engine_config config;
    int pass_rows;                          /* the most rows of a pass */
    model_state *state[GPUZIP_MAX_EXPERTS]; /* of the models; NULL for others */
    int slots;                              /* streams that the states hold; 0: none yet */
    uint32_t *count[GPUZIP_MAX_EXPERTS];    /* device, Naive Bayes: [vocab] */
    int32_t *count_log[GPUZIP_MAX_EXPERTS]; /* device, [vocab] log2(count + 1), Q16 */
    bool adaptive;                          /* some expert learns */
    int32_t *pending;                       /* tokens seen since the last update */
    size_t pending_count, pending_capacity;

    /* One pass, on the host: its rows, then what is mixed of them. */
    int32_t *token, *slot, *pos;               /* [pass_rows] */
    int32_t *row, *symbol;                     /* [pass_rows], step by step */
    uint32_t *target;                          /* [pass_rows] */
    ops_interval *interval;                    /* [pass_rows] */
    ops_symbol *found;                         /* [pass_rows] */
    void *device_row, *device_in, *device_out; /* the same on the device */
};

/* A stream of some block. */
typedef struct {
    uint32_t *token; /* [length]; the decoder fills it in */
    size_t length;
    container_stream *code;
    engine_block *block;
    uint32_t order; /* among the streams of all blocks */
} job_stream;

/* Streams being coded. Longer ones come first, so that those which still have a token
 * at some step are the first ones; stream s has slot s. */
typedef struct {
    engine *e;
    job_stream *stream; /* [streams] */
    int streams;
    size_t steps; /* of the longest */
    bool decode;
    rc_encoder *encoder; /* [streams] */
    rc_decoder *decoder; /* [streams] */
    engine_costs *costs;
} block_job;

double engine_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* ---- opening ------------------------------------------------------------ */

static gpuzip_status open_counts(engine *e, int k)
{
    size_t bytes = (size_t)e->config.vocab * sizeof(uint32_t);
    e->adaptive = true;
    TRY(e->ops->alloc(e->ctx, (void **)&e->count[k], bytes));
    return e->ops->alloc(e->ctx, (void **)&e->count_log[k], bytes);
}

gpuzip_status engine_open(engine **out, const ops *ops, ops_context *ctx,
                          const engine_config *config)
{
    gpuzip_status status = GPUZIP_OK;
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return FAIL(GPUZIP_ERR_MEMORY);
    e->ops = ops;
    e->ctx = ctx;
    e->config = *config;
    size_t by_logits = LOGITS_BYTES / ((size_t)config->vocab * sizeof(float));
    e->pass_rows = by_logits < PASS_ROWS_MAX ? (int)by_logits : PASS_ROWS_MAX;

    size_t rows = (size_t)e->pass_rows;
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind == GPUZIP_EXPERT_NAIVE_BAYES)
            TRY_OUT(open_counts(e, k));
    e->token = calloc(rows, sizeof *e->token);
    e->slot = calloc(rows, sizeof *e->slot);
    e->pos = calloc(rows, sizeof *e->pos);
    e->row = calloc(rows, sizeof *e->row);
    e->symbol = calloc(rows, sizeof *e->symbol);
    e->target = calloc(rows, sizeof *e->target);
    e->interval = calloc(rows, sizeof *e->interval);
    e->found = calloc(rows, sizeof *e->found);
    if (!e->token || !e->slot || !e->pos || !e->row || !e->symbol || !e->target || !e->interval ||
        !e->found) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(ops->alloc(ctx, &e->device_row, rows * sizeof(int32_t)));
    TRY_OUT(ops->alloc(ctx, &e->device_in, rows * sizeof(int32_t)));
    TRY_OUT(ops->alloc(ctx, &e->device_out, rows * sizeof(ops_symbol)));
    *out = e;
    e = NULL;
out:
    engine_close(e);
    return status;
}

static void close_states(engine *e)
{
    for (int k = 0; k < e->config.experts; k++) {
        model_state_close(e->state[k]);
        e->state[k] = NULL;
    }
    e->slots = 0;
}

void engine_close(engine *e)
{
    if (!e)
        return;
    close_states(e);
    for (int k = 0; k < e->config.experts; k++) {
        e->ops->release(e->ctx, e->count[k]);
        e->ops->release(e->ctx, e->count_log[k]);
    }
    e->ops->release(e->ctx, e->device_row);
    e->ops->release(e->ctx, e->device_in);
    e->ops->release(e->ctx, e->device_out);
    free(e->pending);
    free(e->token);
    free(e->slot);
    free(e->pos);
    free(e->row);
    free(e->symbol);
    free(e->target);
    free(e->interval);
    free(e->found);
    free(e);
}

size_t engine_bytes(const engine *e, int streams)
{
    size_t bytes = 0;
    for (int k = 0; k < e->config.experts; k++)
        if (e->config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            bytes += model_state_bytes(e->config.expert[k].m, streams, e->config.window,
                                       e->pass_rows, e->pass_rows);
    return bytes;
}

/* Makes room for `streams` streams; what an earlier block needed is kept. */
static gpuzip_status reserve_states(engine *e, int streams)
{
    if (streams <= e->slots)
        return GPUZIP_OK;
    close_states(e);
    for (int k = 0; k < e->config.experts; k++)
        if (e->config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            TRY(model_state_open(&e->state[k], e->config.expert[k].m, e->ctx, streams,
                                 e->config.window, e->pass_rows, e->pass_rows));
    e->slots = streams;
    return GPUZIP_OK;
}

/* ---- adaptive experts --------------------------------------------------- */

static gpuzip_status forget(engine *e)
{
    size_t bytes = (size_t)e->config.vocab * sizeof(uint32_t);
    void *zeros = calloc(1, bytes);
    gpuzip_status status = zeros ? GPUZIP_OK : FAIL(GPUZIP_ERR_MEMORY);
    for (int k = 0; status == GPUZIP_OK && k < e->config.experts; k++) {
        if (!e->count[k])
            continue;
        status = e->ops->upload(e->ctx, e->count[k], zeros, bytes);
        if (status == GPUZIP_OK)
            status = e->ops->upload(e->ctx, e->count_log[k], zeros, bytes); /* log2(1) = 0 */
    }
    e->pending_count = 0;
    free(zeros);
    return status;
}

/* Remembers the symbols just coded, to be learned at the next update. */
static gpuzip_status remember(engine *e, int n)
{
    size_t needed = e->pending_count + (size_t)n;
    if (needed > e->pending_capacity) {
        size_t capacity = needed * 2;
        int32_t *grown = realloc(e->pending, capacity * sizeof *grown);
        if (!grown)
            return FAIL(GPUZIP_ERR_MEMORY);
        e->pending = grown;
        e->pending_capacity = capacity;
    }
    memcpy(e->pending + e->pending_count, e->symbol, (size_t)n * sizeof *e->symbol);
    e->pending_count = needed;
    return GPUZIP_OK;
}

static gpuzip_status learn(engine *e)
{
    for (size_t first = 0; first < e->pending_count; first += (size_t)e->pass_rows) {
        size_t n = e->pending_count - first;
        if (n > (size_t)e->pass_rows)
            n = (size_t)e->pass_rows;
        TRY(e->ops->upload(e->ctx, e->device_in, e->pending + first, n * sizeof(int32_t)));
        for (int k = 0; k < e->config.experts; k++)
            if (e->count[k])
                TRY(e->ops->count_add(e->ctx, e->count[k], e->count_log[k], e->config.vocab,
                                      e->device_in, (int)n));
    }
    e->pending_count = 0;
    return GPUZIP_OK;
}

/* ---- one pass ----------------------------------------------------------- */

/* How many of the steps [t, t + steps) stream s has. */
static int stream_steps(const block_job *job, int s, size_t t, int steps)
{
    size_t length = job->stream[s].length;
    if (length <= t)
        return 0;
    return length - t < (size_t)steps ? (int)(length - t) : steps;
}

/* What the model reads for a token: escapes are unknown to it. */
static int32_t input_token(const engine *e, const model *m, uint32_t token)
{
    return token < (uint32_t)e->config.vocab ? (int32_t)token
                                             : (int32_t)model_weights(m)->config.bos;
}

/* Runs every model over the steps [t, t + steps) of streams [s0, s1), whose
 * window begins at step `base`. Row numbers go stream by stream. Without logits the rows
 * are only read into the cache. */
static gpuzip_status run_models(block_job *job, int s0, int s1, size_t base, size_t t, int steps,
                                const float *logits[GPUZIP_MAX_EXPERTS])
{
    engine *e = job->e;
    double start = engine_seconds();
    for (int k = 0; k < e->config.experts; k++) {
        const model *m = e->config.expert[k].m;
        ops_batch batch = {e->token, e->slot, e->pos, 0};
        if (e->config.expert[k].kind != GPUZIP_EXPERT_MODEL)
            continue;
        for (int s = s0; s < s1; s++) {
            const uint32_t *token = job->stream[s].token;
            int n = stream_steps(job, s, t, steps);
            for (int i = 0; i < n; i++, batch.rows++) {
                size_t step = t + (size_t)i;
                e->token[batch.rows] = step == base ? model_weights(m)->config.bos
                                                    : input_token(e, m, token[step - 1]);
                e->slot[batch.rows] = s;
                e->pos[batch.rows] = (int32_t)(step - base);
            }
        }
        assert(batch.rows > 0 && batch.rows <= e->pass_rows);
        double forward_ops, extend_ops;
        model_row_ops(m, &forward_ops, &extend_ops);
        job->costs->forward_ops += batch.rows * (logits ? forward_ops : extend_ops);
        if (!logits) {
            TRY(model_extend(e->state[k], &batch));
            continue;
        }
        TRY(model_forward(e->state[k], &batch));
        TRY(model_logits(e->state[k], 0, batch.rows, &logits[k]));
    }
    job->costs->seconds_forward += engine_seconds() - start;
    return GPUZIP_OK;
}

/* The experts as mix_encode() and mix_decode() want them. */
static ops_mix mix_of(const engine *e, const float *const logits[GPUZIP_MAX_EXPERTS])
{
    ops_mix mix = {.experts = e->config.experts,
                   .vocab = e->config.vocab,
                   .escapes = e->config.escapes,
                   .row = e->device_row};
    for (int k = 0; k < e->config.experts; k++) {
        mix.expert[k].alpha = e->config.expert[k].alpha;
        if (e->config.expert[k].kind == GPUZIP_EXPERT_MODEL) {
            mix.expert[k].logits = logits[k];
            mix.expert[k].stride = model_logits_stride(e->config.expert[k].m);
        } else {
            mix.expert[k].counts = e->count_log[k];
        }
    }
    return mix;
}

/* For the statistics; nothing coded depends on it. */
static void count_bits(block_job *job, uint32_t freq)
{
    job->costs->model_bits += OPS_CDF_BITS - log2((double)freq);
}

/* Mixed row r belongs to stream e->slot[e->row[r]]. */
static gpuzip_status encode_rows(block_job *job, const ops_mix *mix, int rows)
{
    engine *e = job->e;
    double start = engine_seconds();
    TRY(e->ops->upload(e->ctx, e->device_in, e->symbol, (size_t)rows * sizeof *e->symbol));
    TRY(e->ops->mix_encode(e->ctx, mix, rows, e->device_in, e->device_out));
    TRY(e->ops->download(e->ctx, e->interval, e->device_out, (size_t)rows * sizeof *e->interval));
    double mixed = engine_seconds();
    for (int r = 0; r < rows; r++) {
        ops_interval interval = e->interval[r];
        rc_encode(&job->encoder[e->slot[e->row[r]]], interval.start, interval.freq);
        count_bits(job, interval.freq);
    }
    job->costs->seconds_mix += mixed - start;
    job->costs->seconds_coder += engine_seconds() - mixed;
    return GPUZIP_OK;
}

static gpuzip_status decode_rows(block_job *job, const ops_mix *mix, int rows, size_t t)
{
    engine *e = job->e;
    double start = engine_seconds();
    for (int r = 0; r < rows; r++)
        e->target[r] = rc_decode_target(&job->decoder[e->slot[e->row[r]]]);
    double targets = engine_seconds();
    TRY(e->ops->upload(e->ctx, e->device_in, e->target, (size_t)rows * sizeof *e->target));
    TRY(e->ops->mix_decode(e->ctx, mix, rows, e->device_in, e->device_out));
    TRY(e->ops->download(e->ctx, e->found, e->device_out, (size_t)rows * sizeof *e->found));
    double mixed = engine_seconds();
    for (int r = 0; r < rows; r++) {
        int s = e->slot[e->row[r]];
        rc_decode_advance(&job->decoder[s], e->found[r].start, e->found[r].freq);
        e->symbol[r] = e->found[r].symbol;
        job->stream[s].token[t] = (uint32_t)e->found[r].symbol;
        count_bits(job, e->found[r].freq);
    }
    job->costs->seconds_mix += mixed - targets;
    job->costs->seconds_coder += targets - start + engine_seconds() - mixed;
    return GPUZIP_OK;
}

/* The end of the streams that still have a token at step t. */
static int active_end(const block_job *job, size_t t)
{
    int end = job->streams;
    while (end > 0 && job->stream[end - 1].length <= t)
        end--;
    return end;
}

/* Codes the steps [t, t + steps) of streams [s0, s1). Without adaptive experts
 * all rows are mixed at once; with them, up to each update. Either way rows go
 * step by step, so each stream's tokens come in order. */
static gpuzip_status code_steps(block_job *job, int s0, int s1, size_t base, size_t t, int steps)
{
    engine *e = job->e;
    const float *logits[GPUZIP_MAX_EXPERTS] = {NULL};
    TRY(run_models(job, s0, s1, base, t, steps, logits));
    ops_mix mix = mix_of(e, logits);
    for (int done = 0; done < steps;) {
        size_t step = t + (size_t)done;
        int group = steps - done;
        int to_update = e->config.update_interval - (int)(step % (size_t)e->config.update_interval);
        if (e->adaptive && group > to_update)
            group = to_update;
        int rows = 0;
        for (int i = done; i < done + group; i++) {
            int row = i;
            for (int s = s0; s < s1; s++) {
                int n = stream_steps(job, s, t, steps);
                if (i < n) {
                    e->row[rows] = row;
                    e->symbol[rows++] = (int32_t)job->stream[s].token[t + (size_t)i];
                }
                row += n;
            }
        }
        TRY(e->ops->upload(e->ctx, e->device_row, e->row, (size_t)rows * sizeof *e->row));
        if (job->decode)
            TRY(decode_rows(job, &mix, rows, step));
        else
            TRY(encode_rows(job, &mix, rows));
        done += group;
        if (!e->adaptive)
            continue;
        TRY(remember(e, rows));
        /* With several groups of streams a step ends with the last of them. */
        if (group == to_update && s1 == active_end(job, t))
            TRY(learn(e));
    }
    return GPUZIP_OK;
}

/* ---- a block ------------------------------------------------------------ */

/* Reads the steps [t, end) of a window again, to have them in the cache. */
static gpuzip_status read_again(block_job *job, size_t base, size_t end)
{
    int active = active_end(job, end);
    int pass_rows = job->e->pass_rows;
    for (size_t t = base; t < end;) {
        int steps = active < pass_rows ? pass_rows / active : 1;
        if ((size_t)steps > end - t)
            steps = (int)(end - t);
        for (int s = 0; s < active; s += pass_rows / steps) {
            int last = s + pass_rows / steps < active ? s + pass_rows / steps : active;
            TRY(run_models(job, s, last, base, t, steps, NULL));
        }
        t += (size_t)steps;
    }
    return GPUZIP_OK;
}

/* Codes the steps [t, end) of a window. */
static gpuzip_status code_window(block_job *job, size_t base, size_t t, size_t end,
                                 const engine_progress *progress)
{
    int pass_rows = job->e->pass_rows;
    while (t < end) {
        int active = active_end(job, t);
        int steps = job->decode || active > pass_rows ? 1 : pass_rows / active;
        if ((size_t)steps > end - t)
            steps = (int)(end - t);
        for (int s = 0; s < active; s += pass_rows / steps) {
            int last = s + pass_rows / steps < active ? s + pass_rows / steps : active;
            TRY(code_steps(job, s, last, base, t, steps));
        }
        t += (size_t)steps;
        if (progress && progress->step(progress->context, t, job->steps))
            return FAIL(GPUZIP_ERR_CANCELLED);
    }
    return GPUZIP_OK;
}

static gpuzip_status code_block(block_job *job, const engine_progress *progress)
{
    const engine_config *c = &job->e->config;
    size_t window = (size_t)c->window, hop = (size_t)c->hop;
    size_t t = 0;
    TRY(reserve_states(job->e, job->streams));
    TRY(forget(job->e));
    for (size_t base = 0; t < job->steps; base += hop) {
        size_t end = base + window < job->steps ? base + window : job->steps;
        if (c->window_scope)
            TRY(forget(job->e));
        TRY(read_again(job, base, t));
        TRY(code_window(job, base, t, end, progress));
        t = end;
    }
    return GPUZIP_OK;
}

/* Longer streams first; else as they stand. */
static int compare_streams(const void *a, const void *b)
{
    const job_stream *x = a, *y = b;
    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Gathers the streams [first, end) of the blocks in *job. Errors: MEMORY. */
static gpuzip_status begin_job(block_job *job, engine *e, engine_block *block, int blocks,
                               uint32_t first, uint32_t end, engine_costs *costs)
{
    assert(first < end && blocks >= 1 && (!e->adaptive || blocks == 1));
    *job = (block_job){.e = e, .costs = costs};
    job->stream = calloc(end - first, sizeof *job->stream);
    if (!job->stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    uint32_t order = 0;
    for (int b = 0; b < blocks; b++) {
        size_t length = container_stream_length((uint32_t)block[b].tokens, block[b].streams);
        for (uint32_t s = 0; s < block[b].streams; s++, order++) {
            size_t at = s * length, left = block[b].tokens - at;
            if (order < first || order >= end)
                continue;
            job->stream[job->streams++] =
                (job_stream){block[b].token + at, left < length ? left : length,
                             &block[b].stream[s], &block[b], order};
        }
    }
    assert(job->streams == (int)(end - first));
    assert(!e->adaptive || end - first == block->streams);
    qsort(job->stream, (size_t)job->streams, sizeof *job->stream, compare_streams);
    job->steps = job->stream[0].length;
    return GPUZIP_OK;
}

gpuzip_status engine_encode(engine *e, engine_block *block, int blocks, uint32_t first,
                            uint32_t end, engine_costs *costs, const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    block_job job;
    TRY_OUT(begin_job(&job, e, block, blocks, first, end, costs));
    job.encoder = calloc(end - first, sizeof *job.encoder);
    if (!job.encoder) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int s = 0; s < job.streams; s++)
        rc_encode_begin(&job.encoder[s], (uint8_t *)job.stream[s].code->data,
                        ENGINE_STREAM_BOUND(job.stream[s].length));
    TRY_OUT(code_block(&job, progress));
    for (int s = 0; s < job.streams; s++) {
        bool fits = rc_encode_end(&job.encoder[s], &job.stream[s].code->size);
        assert(fits);
        (void)fits;
    }
out:
    free(job.encoder);
    free(job.stream);
    return status;
}

gpuzip_status engine_decode(engine *e, engine_block *block, int blocks, uint32_t first,
                            uint32_t end, engine_costs *costs, const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    block_job job;
    TRY_OUT(begin_job(&job, e, block, blocks, first, end, costs));
    job.decode = true;
    job.decoder = calloc(end - first, sizeof *job.decoder);
    if (!job.decoder) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    for (int s = 0; s < job.streams; s++)
        rc_decode_begin(&job.decoder[s], job.stream[s].code->data, job.stream[s].code->size);
    TRY_OUT(code_block(&job, progress));
    for (int s = 0; s < job.streams; s++)
        job.stream[s].block->status = GPUZIP_OK;
    for (int s = 0; s < job.streams; s++)
        if (!rc_decode_end(&job.decoder[s]))
            status = job.stream[s].block->status = FAIL(GPUZIP_ERR_CORRUPT);
out:
    free(job.decoder);
    free(job.stream);
    return status;
}
