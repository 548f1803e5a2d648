/* gpuzip.c: the handle: opening, models, errors. compress.c and decompress.c do the rest. */
#include "gpuzip.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"

#define MEMORY_LIMIT_DEFAULT ((uint64_t)4 << 30)

const char *gpuzip_status_name(gpuzip_status status)
{
    switch (status) {
    case GPUZIP_OK:
        return "ok";
    case GPUZIP_ERR_ARGUMENT:
        return "invalid argument";
    case GPUZIP_ERR_MEMORY:
        return "not enough memory";
    case GPUZIP_ERR_IO:
        return "input or output failed";
    case GPUZIP_ERR_CAPACITY:
        return "buffer too small";
    case GPUZIP_ERR_FORMAT:
        return "unknown file format";
    case GPUZIP_ERR_CORRUPT:
        return "corrupt data";
    case GPUZIP_ERR_MODEL:
        return "model missing";
    case GPUZIP_ERR_DEVICE:
        return "device failed";
    case GPUZIP_ERR_SELF_TEST:
        return "self-test failed";
    case GPUZIP_ERR_UNSUPPORTED:
        return "unsupported feature";
    case GPUZIP_ERR_CANCELLED:
        return "cancelled";
    }
    return "unknown status";
}

const char *gpuzip_version(void)
{
    return GPUZIP_VERSION;
}

gpuzip_status handle_fail(gpuzip *gz, gpuzip_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(gz->error, sizeof gz->error, format, args);
    va_end(args);
    return FAIL(status);
}

static void close_model(handle_model *m)
{
    tokenizer_close(m->t);
    free(m->tail);
    free(m->given);
    source_close(&m->source);
    *m = (handle_model){0};
}

/* Cores that this process may run on. */
static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return CPU_COUNT(&set);
}

static gpuzip_status open_devices(gpuzip *gz, const device_choice *choice,
                                  char error[GPUZIP_ERROR_BYTES])
{
    gz->automatic = choice->automatic;
    for (int i = 0; i < choice->gpus; i++) {
        gpuzip_status status = device_open_gpu(&gz->gpu[gz->gpus], choice->index[i]);
        if (status == GPUZIP_OK) {
            gz->gpus++;
        } else if (!choice->automatic) {
            snprintf(error, GPUZIP_ERROR_BYTES, "device 'cuda:%d' cannot be opened",
                     choice->index[i]);
            return FAIL(status);
        }
    }
    return gz->gpus ? GPUZIP_OK : device_open_cpu(&gz->cpu, gz->threads);
}

gpuzip_status gpuzip_open(gpuzip **out, const char *text, int threads,
                          char error[GPUZIP_ERROR_BYTES])
{
    gpuzip_status status = GPUZIP_OK;
    char unheard[GPUZIP_ERROR_BYTES];
    device_choice choice;
    gpuzip *gz = NULL;
    if (!error)
        error = unheard;
    error[0] = '\0';
    if (threads < 0 || threads > GPUZIP_MAX_THREADS) {
        snprintf(error, GPUZIP_ERROR_BYTES, "there may be from 0 to %d threads",
                 GPUZIP_MAX_THREADS);
        return FAIL(GPUZIP_ERR_ARGUMENT);
    }
    if (!text)
        text = getenv("GPUZIP_DEVICE");
    TRY(device_choose(&choice, text && *text ? text : "auto", error));
    gz = calloc(1, sizeof *gz);
    if (!gz)
        return FAIL(GPUZIP_ERR_MEMORY);
    gz->threads = threads ? threads : usable_cores();
    gz->memory_limit = MEMORY_LIMIT_DEFAULT;
    TRY_OUT(open_devices(gz, &choice, error));
    *out = gz;
    gz = NULL;
out:
    gpuzip_close(gz);
    return status;
}

void gpuzip_close(gpuzip *gz)
{
    if (!gz)
        return;
    gpuzip_finish(gz);
    device_close(&gz->cpu);
    for (int i = 0; i < gz->gpus; i++)
        device_close(&gz->gpu[i]);
    for (int i = 0; i < gz->models; i++)
        close_model(&gz->model[i]);
    free(gz);
}

void gpuzip_set_notes(gpuzip *gz, void (*note)(void *context, gpuzip_note kind, const char *text),
                      void *context)
{
    gz->note = note;
    gz->note_context = context;
}

void handle_note(const gpuzip *gz, gpuzip_note kind, const char *format, ...)
{
    char text[GPUZIP_ERROR_BYTES];
    va_list args;
    if (!gz->note)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gz->note(gz->note_context, kind, text);
}

void gpuzip_set_memory_limit(gpuzip *gz, uint64_t bytes)
{
    gz->memory_limit = bytes;
}

const char *gpuzip_error(const gpuzip *gz)
{
    return gz->error;
}

/* ---- models ------------------------------------------------------------- */

gpuzip_status handle_fail_place(gpuzip *gz, gpuzip_status status, const device *d,
                                const char *model)
{
    if (status == GPUZIP_ERR_SELF_TEST)
        return handle_fail(gz, status,
                           "%s: the arithmetic of device '%s' does not give the model file's test "
                           "vectors; files made here would not decode elsewhere",
                           model, d->name);
    if (status == GPUZIP_ERR_MEMORY)
        return handle_fail(gz, status, "%s: no room for its weights on device '%s'", model,
                           d->name);
    return handle_fail(gz, status, "%s: device '%s' reported an error", model, d->name);
}

gpuzip_status handle_cpu(gpuzip *gz, device **cpu)
{
    if (!gz->cpu.ctx)
        TRY(device_open_cpu(&gz->cpu, gz->threads));
    for (int i = 0; i < gz->models; i++)
        if (!gz->cpu.model[i])
            TRY(device_place(&gz->cpu, i, gz->model[i].source.weights));
    *cpu = &gz->cpu;
    return GPUZIP_OK;
}

/* Tells what a model will take of a GPU's memory. */
static void note_weights(const gpuzip *gz, const device *d, const weights_model *weights)
{
    uint64_t available, total;
    if (d->ops->memory(d->ctx, &available, &total) == GPUZIP_OK)
        handle_note(gz, GPUZIP_NOTE_DETAIL,
                    "%s: the weights of '%s' need %.1f MiB; free are %.1f of %.1f", d->name,
                    weights->name, (double)device_weights_bytes(weights) / (1 << 20),
                    (double)available / (1 << 20), (double)total / (1 << 20));
}

/* Places the model that stands behind the last one on every GPU. Where nobody named the
 * GPUs, those that do not take it are given up. */
static gpuzip_status place_on_gpus(gpuzip *gz, const weights_model *weights, const char *name)
{
    int kept = 0;
    for (int i = 0; i < gz->gpus; i++) {
        gpuzip_status status = GPUZIP_OK;
        if (!gz->gpu[i].lost) {
            note_weights(gz, &gz->gpu[i], weights);
            status = device_place(&gz->gpu[i], gz->models, weights);
        }
        if (status == GPUZIP_OK || !gz->automatic) {
            if (status != GPUZIP_OK)
                return handle_fail_place(gz, status, &gz->gpu[i], name);
            if (kept != i)
                gz->gpu[kept] = gz->gpu[i];
            kept++;
            continue;
        }
        handle_fail_place(gz, status, &gz->gpu[i], name);
        handle_note(gz, GPUZIP_NOTE_WARNING, "%s; %s", gz->error,
                    gz->gpus > 1 ? "doing without it" : "using the CPU");
        gz->error[0] = '\0';
        device_close(&gz->gpu[i]);
    }
    for (int i = kept; i < gz->gpus; i++)
        gz->gpu[i] = (device){0}; /* closed, or moved down */
    gz->gpus = kept;
    return GPUZIP_OK;
}

static void displace(gpuzip *gz, int index)
{
    device_displace(&gz->cpu, index);
    for (int i = 0; i < gz->gpus; i++)
        device_displace(&gz->gpu[i], index);
}

/* Adds m, which becomes the handle's, and makes it ready where it will be used. */
static gpuzip_status place(gpuzip *gz, const handle_model *m, const char *name)
{
    device *cpu;
    const weights_model *weights = m->source.weights;
    gpuzip_status status = place_on_gpus(gz, weights, name);
    gz->model[gz->models++] = *m;
    if (status == GPUZIP_OK && !gz->gpus) {
        status = handle_cpu(gz, &cpu);
        if (status != GPUZIP_OK)
            handle_fail_place(gz, status, &gz->cpu, name);
    }
    if (status == GPUZIP_OK)
        return GPUZIP_OK;
    gz->models--;
    displace(gz, gz->models);
    gz->model[gz->models] = (handle_model){0};
    return FAIL(status);
}

/* Tokens that are never made have no bytes. Errors: MEMORY. */
static gpuzip_status find_tails(handle_model *m)
{
    uint32_t symbols = (uint32_t)m->source.weights->config.vocab + tokenizer_escapes(m->t);
    m->tail = calloc(symbols, sizeof *m->tail);
    if (!m->tail)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (uint32_t id = 0; id < symbols; id++) {
        const uint8_t *bytes;
        size_t size;
        if (tokenizer_token_bytes(m->t, id, &bytes, &size) == GPUZIP_OK)
            m->tail[id] = contexts_tail(bytes, size);
    }
    return GPUZIP_OK;
}

gpuzip_status gpuzip_add_model(gpuzip *gz, const char *name, int *index)
{
    gpuzip_status status = GPUZIP_OK;
    handle_model m = {0};
    const char *shown = name ? name : "the built-in model";
    gpuzip_finish(gz);
    gz->error[0] = '\0';
    if (gz->models == GPUZIP_MAX_MODELS)
        return handle_fail(gz, GPUZIP_ERR_ARGUMENT, "more than %d models", GPUZIP_MAX_MODELS);
    m.given = strdup(shown);
    if (!m.given) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(source_open(&m.source, name, NULL, gz->error));
    const weights_model *w = m.source.weights;
    status = tokenizer_open(&m.t, w->tokenizer, w->tokenizer_size, (uint32_t)w->config.vocab);
    if (status != GPUZIP_OK) {
        handle_fail(gz, status, "%s: its tokenizer is damaged", shown);
        goto out;
    }
    TRY_OUT(find_tails(&m));
    TRY_OUT(place(gz, &m, shown));
    if (index)
        *index = gz->models - 1;
    m = (handle_model){0};
out:
    close_model(&m);
    return status;
}

static const char *architecture_name(weights_arch arch)
{
    switch (arch) {
    case WEIGHTS_LLAMA:
        return "llama";
    case WEIGHTS_GPT2:
        return "gpt2";
    case WEIGHTS_WPOE:
        return "wpoe";
    }
    return "unknown";
}

gpuzip_status gpuzip_get_model_info(const gpuzip *gz, int index, gpuzip_model_info *info)
{
    if (index < 0 || index >= gz->models)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    const handle_model *m = &gz->model[index];
    const weights_model *w = m->source.weights;
    const weights_config *c = &w->config;
    gpuzip_model_info filled = {
        .name = w->name,
        .architecture = architecture_name(c->arch),
        .tokenizer = tokenizer_name(m->t),
        .layers = c->layers,
        .dim = c->dim,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = c->head_dim,
        .ffn = c->ffn,
        .vocab = c->vocab,
        .context = c->context,
        .weight_bits = c->weight_bits,
        .activation_bits = c->activation_bits,
        .kv_bits = c->kv_bits,
        .parameters = w->parameters,
        .token_ops = model_token_ops(w),
        .file_size = w->file_size,
        .ngram_size = (uint64_t)w->ngram_buckets * NGRAMS_BUCKET * sizeof *w->ngrams,
    };
    memcpy(filled.id, w->id, sizeof filled.id);
    *info = filled;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_import_model(gpuzip *gz, const char *name, const char *dst_path,
                                  const gpuzip_import_options *options)
{
    void *data;
    size_t size;
    gz->error[0] = '\0';
    TRY(source_import(&data, &size, name, options, gz->error));
    gpuzip_status status = weights_write(dst_path, data, size);
    if (status != GPUZIP_OK)
        handle_fail(gz, status, "%s: cannot be written", dst_path);
    free(data);
    return status;
}

gpuzip_status gpuzip_measure_peak(gpuzip *gz, double *ops_per_second)
{
    double sum = 0;
    gz->error[0] = '\0';
    for (int i = 0; i < (gz->gpus ? gz->gpus : 1); i++) {
        const device *d = gz->gpus ? &gz->gpu[i] : &gz->cpu;
        double peak;
        TRY(d->ops->measure_peak(d->ctx, &peak));
        sum += peak;
    }
    *ops_per_second = sum;
    return GPUZIP_OK;
}

/* ---- from a frame's experts to an engine's ------------------------------- */

const handle_model *handle_find_model(const gpuzip *gz, const uint8_t id[CONTAINER_MODEL_BYTES])
{
    for (int i = 0; i < gz->models; i++)
        if (memcmp(gz->model[i].source.weights->id, id, CONTAINER_MODEL_BYTES) == 0)
            return &gz->model[i];
    return NULL;
}

static gpuzip_status fail_no_model(gpuzip *gz, const uint8_t id[CONTAINER_MODEL_BYTES])
{
    char hex[2 * CONTAINER_MODEL_BYTES + 1];
    for (int i = 0; i < CONTAINER_MODEL_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    return handle_fail(gz, GPUZIP_ERR_MODEL,
                       "compressed with the model %s..., which is not here; name it with --model",
                       hex);
}

static bool same_tokenizer(const handle_model *a, const handle_model *b)
{
    const weights_model *x = a->source.weights, *y = b->source.weights;
    return x->config.vocab == y->config.vocab && x->tokenizer_size == y->tokenizer_size &&
           memcmp(x->tokenizer, y->tokenizer, x->tokenizer_size) == 0;
}

gpuzip_status handle_plan_frame(gpuzip *gz, const container_frame *frame, handle_plan *plan)
{
    const handle_model *first = NULL;
    handle_plan made = {0};
    engine_config c = {.window = (int)frame->window,
                       .hop = (int)frame->hop,
                       .update_interval = (int)frame->update_interval,
                       .window_scope = frame->window_scope,
                       .bias = frame->biases,
                       .learn_alpha = frame->learns_alphas,
                       .prior = frame->contexts ? &contexts_prior_builtin : NULL,
                       .experts = frame->experts};
    for (int k = 0; k < frame->experts; k++) {
        const container_expert *expert = &frame->expert[k];
        c.expert[k].alpha = expert->alpha;
        if (expert->kind == CONTAINER_EXPERT_NAIVE_BAYES) {
            c.expert[k].kind = GPUZIP_EXPERT_NAIVE_BAYES;
            continue;
        }
        const handle_model *m = handle_find_model(gz, expert->model_id);
        if (!m)
            return fail_no_model(gz, expert->model_id);
        if (first && !same_tokenizer(first, m))
            return handle_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                               "'%s' and '%s' have different tokenizers; models that work "
                               "together must share one",
                               first->given, m->given);
        if (c.window > m->source.weights->config.context)
            return handle_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                               "a window of %d tokens is more than the %d that model '%s' knows",
                               c.window, m->source.weights->config.context,
                               m->source.weights->name);
        c.expert[k].kind = GPUZIP_EXPERT_MODEL;
        made.model[k] = (int)(m - gz->model);
        if (!first)
            first = m;
        if (!c.ngrams.buckets) /* the first that has some */
            c.ngrams = model_ngrams(m->source.weights);
    }
    if (!first)
        return handle_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                           "no language model among the experts: nothing names the vocabulary");
    c.vocab = first->source.weights->config.vocab;
    c.escapes = (int)tokenizer_escapes(first->t);
    c.tail = first->tail;
    made.config = c;
    made.t = first->t;
    *plan = made;
    return GPUZIP_OK;
}

engine_config handle_plan_on(const handle_plan *plan, const device *d)
{
    engine_config config = plan->config;
    for (int k = 0; k < config.experts; k++)
        if (config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            config.expert[k].m = d->model[plan->model[k]];
    return config;
}

block_rules handle_rules(const gpuzip *gz, const handle_plan *plan)
{
    block_rules rules = {.t = plan->t, .config = plan->config, .memory_limit = gz->memory_limit};
    const engine_config *c = &plan->config;
    rules.adaptive = c->bias || c->learn_alpha || c->prior;
    for (int k = 0; k < plan->config.experts; k++) {
        if (plan->config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            rules.model[k] = gz->model[plan->model[k]].source.weights;
        else
            rules.adaptive = true;
    }
    return rules;
}

gpuzip_status handle_check_memory(gpuzip *gz, const block_rules *rules, size_t tokens,
                                  uint32_t streams)
{
    uint64_t needed = block_coding_bytes(rules, tokens, streams);
    if (!gz->memory_limit || needed <= gz->memory_limit)
        return GPUZIP_OK;
    return handle_fail(gz, GPUZIP_ERR_MEMORY,
                       "a block of %u streams needs %llu MiB, more than the limit of %llu MiB; "
                       "raise it with --memory",
                       streams, (unsigned long long)(needed >> 20),
                       (unsigned long long)(gz->memory_limit >> 20));
}

void handle_add_costs(gpuzip_stats *stats, const engine_costs *costs)
{
    stats->model_bits += costs->model_bits;
    stats->seconds_forward += costs->seconds_forward;
    stats->seconds_contexts += costs->seconds_contexts;
    stats->seconds_mix += costs->seconds_mix;
    stats->seconds_coder += costs->seconds_coder;
    stats->seconds_measure += costs->seconds_measure;
    stats->forward_ops += costs->forward_ops;
}

/* ---- progress ----------------------------------------------------------- */

int handle_tell(const gpuzip_io *io, uint64_t bytes_in, uint64_t bytes_out)
{
    return io->progress ? io->progress(io->context, bytes_in, bytes_out) : 0;
}
