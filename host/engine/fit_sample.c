/* fit_sample.c: samples the rows that fit_alphas() fits, see fit.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "detmath.h"
#include "fit.h"

#define ROWS_MOST    1024         /* more rows change the alphas too little to matter */
#define TOKENS_MOST  16384        /* read by the models, at most */
#define TOKENS_SHARE 4            /* at most 1 of this many tokens, but a window at least */
#define PASS_ROWS    256          /* of a model */
#define LOG2E_SCALED 369.329935f  /* log2(e) FIT_SCALE */
#define LOG_MIN      (-INT16_MAX) /* 2^-128 */

/* A row of the sample. */
typedef struct {
    size_t step;
    int index;
} sample_row;

/* A window of a stream, with the rows [first_row, end_row) among the steps that it codes. */
typedef struct {
    const uint32_t *token; /* of the stream */
    schedule_window steps;
    int first_row, end_row;
} sample_window;

/* The inputs of a sample, and its windows and rows. */
typedef struct {
    const ops *ops;
    ops_context *ctx;
    const engine_config *config;
    const engine_stream *stream; /* [streams], of equal length but for the last */
    int streams;
    int pass_rows;
    sample_window *window; /* [windows] */
    int windows;
    sample_row *row; /* [rows] */
    int rows;
    fit_sample *sample;
} sampler;

/* ---- windows ------------------------------------------------------------- */

/* Sliding windows are sampled as windows that re-read half. */
static schedule sample_schedule(const engine_config *c)
{
    schedule s = c->schedule;
    s.hop = s.hop ? s.hop : (s.window + 1) / 2;
    return s;
}

static size_t count_windows(const sampler *s, size_t stream)
{
    schedule hops = sample_schedule(s->config);
    return schedule_windows(&hops, s->stream[stream].length);
}

/* Window `index` of all streams', one stream after the other. */
static sample_window find_window(const sampler *s, size_t index)
{
    size_t each = count_windows(s, 0), stream = index / each;
    schedule hops = sample_schedule(s->config);
    return (sample_window){
        s->stream[stream].token,
        schedule_window_at(&hops, index % each, s->stream[stream].length),
    };
}

/* Chooses windows at even distances in the block. */
static gpuzip_status choose_windows(sampler *s)
{
    size_t last = (size_t)s->streams - 1, window = (size_t)s->config->schedule.window;
    size_t all = last * count_windows(s, 0) + count_windows(s, last);
    size_t budget = (last * s->stream[0].length + s->stream[last].length) / TOKENS_SHARE;
    size_t wanted = (budget < TOKENS_MOST ? budget : TOKENS_MOST) / window;
    wanted = wanted < 1 ? 1 : wanted > all ? all : wanted;
    s->window = calloc(wanted, sizeof *s->window);
    if (!s->window)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t i = 0; i < wanted; i++)
        s->window[s->windows++] = find_window(s, (2 * i + 1) * all / (2 * wanted));
    return GPUZIP_OK;
}

/* Chooses rows at even distances among the steps that the windows code, as many as fit in memory;
 * never an escape. */
static gpuzip_status choose_rows(sampler *s, size_t memory)
{
    fit_rows *rows = &s->sample->rows;
    size_t row_bytes = (size_t)s->config->experts * (size_t)s->config->vocab * sizeof(int16_t);
    size_t coded = 0, most = memory / row_bytes, at = 0;
    for (int i = 0; i < s->windows; i++)
        coded += s->window[i].steps.end - s->window[i].steps.begin;
    most = most > ROWS_MOST ? ROWS_MOST : most < 1 ? 1 : most;
    most = most > coded ? coded : most;
    s->row = calloc(most, sizeof *s->row);
    s->sample->log = malloc(most * row_bytes);
    s->sample->symbol = malloc(most * sizeof *s->sample->symbol);
    if (!s->row || !s->sample->log || !s->sample->symbol)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < s->windows; i++) {
        sample_window *w = &s->window[i];
        w->first_row = s->rows;
        for (size_t step = w->steps.begin; step < w->steps.end; step++, at++) {
            bool chosen = (at + 1) * most / coded > at * most / coded;
            if (!chosen || w->token[step] >= (uint32_t)s->config->vocab)
                continue;
            s->sample->symbol[s->rows] = (int32_t)w->token[step];
            s->row[s->rows] = (sample_row){step, s->rows};
            s->rows++;
        }
        w->end_row = s->rows;
    }
    *rows = (fit_rows){.experts = s->config->experts,
                       .vocab = s->config->vocab,
                       .rows = s->rows,
                       .log = s->sample->log,
                       .symbol = s->sample->symbol};
    return GPUZIP_OK;
}

static int16_t *row_log(const sampler *s, int row, int k)
{
    size_t at = (size_t)row * (size_t)s->config->experts + (size_t)k;
    return s->sample->log + at * (size_t)s->config->vocab;
}

/* ---- models -------------------------------------------------------------- */

/* Memory for the passes of a model. */
typedef struct {
    model_state *state;
    int32_t *device_rows, *rows; /* [3][pass_rows] tokens, slots, positions */
    float *logits;               /* [vocab], on the host */
} reader;

static void keep_logits(int16_t *log, const float *logits, int vocab)
{
    float most = logits[0];
    for (int i = 1; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < vocab; i++) {
        float x = (logits[i] - most) * LOG2E_SCALED;
        log[i] = x > LOG_MIN ? (int16_t)(x - 0.5f) : LOG_MIN;
    }
}

/* Runs the model over the steps [t, end) of a window, and stores the logits of the sampled rows
 * from *row on. */
static gpuzip_status read_steps(sampler *s, int k, reader *in, const sample_window *w, size_t t,
                                size_t end, int *row)
{
    size_t vocab = (size_t)s->config->vocab;
    int n = (int)(end - t);
    const float *logits;
    for (int r = 0; r < n; r++) {
        size_t step = t + (size_t)r;
        uint32_t before = step == w->steps.base ? UINT32_MAX : w->token[step - 1];
        uint32_t bos = (uint32_t)model_weights(s->config->expert[k].m)->config.bos;
        in->rows[r] = (int32_t)(before < vocab ? before : bos);
        in->rows[s->pass_rows + r] = 0;
        in->rows[2 * s->pass_rows + r] = (int32_t)(step - w->steps.base);
    }
    ops_batch batch = {in->device_rows, in->device_rows + s->pass_rows,
                       in->device_rows + 2 * s->pass_rows, n, 0};
    size_t bytes = 3 * (size_t)s->pass_rows * sizeof *in->rows;
    TRY(s->ops->upload(s->ctx, in->device_rows, in->rows, bytes));
    if (*row == w->end_row || s->row[*row].step >= end)
        return model_extend(in->state, &batch);
    TRY(model_forward(in->state, &batch));
    for (; *row < w->end_row && s->row[*row].step < end; ++*row) {
        TRY(model_logits(in->state, (int)(s->row[*row].step - t), 1, &logits));
        TRY(s->ops->download(s->ctx, in->logits, logits, vocab * sizeof *in->logits));
        keep_logits(row_log(s, *row, k), in->logits, (int)vocab);
    }
    return GPUZIP_OK;
}

static gpuzip_status read_model(sampler *s, int k)
{
    gpuzip_status status = GPUZIP_OK;
    reader in = {0};
    size_t pass = (size_t)s->pass_rows, bytes = 3 * pass * sizeof *in.rows;
    in.rows = calloc(1, bytes);
    in.logits = malloc((size_t)s->config->vocab * sizeof *in.logits);
    if (!in.rows || !in.logits) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(s->ops->alloc(s->ctx, (void **)&in.device_rows, bytes));
    model_sizes sizes = {.slots = 1,
                         .window = s->config->schedule.window,
                         .max_rows = s->pass_rows,
                         .max_logits = 1};
    TRY_OUT(model_state_open(&in.state, s->config->expert[k].m, s->ctx, &sizes));
    TRY_OUT(model_set_positions(in.state, 0, s->config->schedule.window));
    for (int i = 0; i < s->windows; i++) {
        const sample_window *w = &s->window[i];
        int row = w->first_row;
        for (size_t t = w->steps.base; row < w->end_row; t += pass)
            TRY_OUT(read_steps(s, k, &in, w, t, t + pass < w->steps.end ? t + pass : w->steps.end,
                               &row));
    }
out:
    if (status != GPUZIP_OK)
        (void)s->ops->sync(s->ctx);
    model_state_close(in.state);
    s->ops->release(s->ctx, in.device_rows);
    free(in.logits);
    free(in.rows);
    return status;
}

/* ---- Naive Bayes --------------------------------------------------------- */

static int compare_steps(const void *a, const void *b)
{
    const sample_row *x = a, *y = b;
    return x->step < y->step ? -1 : x->step > y->step;
}

/* Counts the tokens of the steps [t, end) of all streams. */
static void count_steps(const sampler *s, size_t t, size_t end, uint32_t *count, int16_t *log)
{
    for (int i = 0; i < s->streams; i++) {
        const uint32_t *token = s->stream[i].token;
        size_t length = s->stream[i].length;
        for (size_t step = t; step < end && step < length; step++) {
            if (token[step] >= (uint32_t)s->config->vocab)
                continue;
            uint32_t n = ++count[token[step]];
            log[token[step]] = (int16_t)((det_log2_q16(n + 1) + 128) >> 8);
        }
    }
}

/* Stores the counts before each sampled row; sorts the rows by step. */
static gpuzip_status count_tokens(sampler *s, int k)
{
    size_t vocab = (size_t)s->config->vocab, origin = 0, end;
    uint32_t *count = calloc(vocab, sizeof *count);
    int16_t *log = calloc(vocab, sizeof *log); /* log2(1) = 0 */
    int row = 0;
    if (!count || !log) {
        free(count);
        free(log);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    qsort(s->row, (size_t)s->rows, sizeof *s->row, compare_steps);
    for (size_t t = 0; row < s->rows; t = end) {
        if (s->config->schedule.window_scope && t == origin + (size_t)s->config->schedule.window) {
            origin = t;
            memset(count, 0, vocab * sizeof *count);
            memset(log, 0, vocab * sizeof *log);
        }
        end = context_model_next_update(t, origin, s->config->schedule.update_interval);
        if (s->config->schedule.window_scope && end > origin + (size_t)s->config->schedule.window)
            end = origin + (size_t)s->config->schedule.window;
        for (; row < s->rows && s->row[row].step < end; row++)
            memcpy(row_log(s, s->row[row].index, k), log, vocab * sizeof *log);
        count_steps(s, t, end, count, log);
    }
    free(log);
    free(count);
    return GPUZIP_OK;
}

/* ---- all ----------------------------------------------------------------- */

gpuzip_status fit_sample_take(fit_sample *out, const ops *ops, ops_context *ctx,
                              const engine_config *config, const engine_stream *stream, int streams,
                              size_t memory)
{
    gpuzip_status status = GPUZIP_OK;
    fit_sample sample = {0};
    sampler s = {.ops = ops,
                 .ctx = ctx,
                 .config = config,
                 .stream = stream,
                 .streams = streams,
                 .sample = &sample};
    s.pass_rows = config->pass_rows ? config->pass_rows : PASS_ROWS;
    TRY_OUT(choose_windows(&s));
    TRY_OUT(choose_rows(&s, memory));
    for (int k = 0; k < config->experts; k++) /* in the order of the rows */
        if (config->expert[k].kind == GPUZIP_EXPERT_MODEL)
            TRY_OUT(read_model(&s, k));
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind == GPUZIP_EXPERT_NAIVE_BAYES)
            TRY_OUT(count_tokens(&s, k));
    *out = sample;
    sample = (fit_sample){0};
out:
    fit_sample_close(&sample);
    free(s.row);
    free(s.window);
    return status;
}

void fit_sample_close(fit_sample *sample)
{
    free(sample->log);
    free(sample->symbol);
    *sample = (fit_sample){0};
}
