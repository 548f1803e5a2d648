/* session.c: see session.h. */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context_model.h"
#include "cores.h"
#include "model_path.h"

/* Enough for the default level on a GPU; a desktop machine has it to spare. */
#define MEMORY_LIMIT_DEFAULT ((uint64_t)4 << 30)

gpuzip_status session_fail(gpuzip *gz, gpuzip_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(gz->error, sizeof gz->error, format, args);
    va_end(args);
    return FAIL(status);
}

void session_note(const gpuzip *gz, gpuzip_note kind, const char *format, ...)
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

void session_warn(gpuzip *gz)
{
    if (gz->error[0])
        session_note(gz, GPUZIP_NOTE_WARNING, "%s", gz->error);
    gz->error[0] = '\0';
}

/* ---- opening ------------------------------------------------------------ */

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

gpuzip_status session_open(gpuzip **out, const device_choice *choice, int threads,
                           char error[GPUZIP_ERROR_BYTES])
{
    gpuzip_status status = GPUZIP_OK;
    gpuzip *gz = calloc(1, sizeof *gz);
    if (!gz)
        return FAIL(GPUZIP_ERR_MEMORY);
    gz->threads = threads ? threads : cores_usable();
    gz->memory_limit = MEMORY_LIMIT_DEFAULT;
    TRY_OUT(open_devices(gz, choice, error));
    *out = gz;
    gz = NULL;
out:
    session_close(gz);
    return status;
}

static void close_model(session_model *m)
{
    tokenizer_close(m->t);
    free(m->suffix);
    free(m->given);
    checkpoint_close(&m->file);
    *m = (session_model){0};
}

void session_close(gpuzip *gz)
{
    if (!gz)
        return;
    device_close(&gz->cpu);
    for (int i = 0; i < gz->gpus; i++)
        device_close(&gz->gpu[i]);
    for (int i = 0; i < gz->models; i++)
        close_model(&gz->model[i]);
    free(gz);
}

/* ---- models ------------------------------------------------------------- */

gpuzip_status session_fail_load(gpuzip *gz, gpuzip_status status, const device *d,
                                const char *model)
{
    if (status == GPUZIP_ERR_SELF_TEST)
        return session_fail(gz, status,
                            "%s: the arithmetic of device '%s' does not give the model file's test "
                            "vectors; files made here would not decode elsewhere",
                            model, d->name);
    if (status == GPUZIP_ERR_CORRUPT)
        return session_fail(gz, status,
                            "%s: the model file is damaged: it holds no check, and its test "
                            "vectors are wrong; get or import it anew",
                            model);
    if (status == GPUZIP_ERR_MEMORY)
        return session_fail(gz, status, "%s: no room for its weights on device '%s'", model,
                            d->name);
    return session_fail(gz, status, "%s: device '%s' reported an error", model, d->name);
}

gpuzip_status session_cpu(gpuzip *gz, device **cpu)
{
    if (!gz->cpu.ctx)
        TRY(device_open_cpu(&gz->cpu, gz->threads));
    for (int i = 0; i < gz->models; i++)
        if (!gz->cpu.model[i])
            TRY(device_load(&gz->cpu, i, gz->model[i].file.weights));
    *cpu = &gz->cpu;
    return GPUZIP_OK;
}

/* Notes how much of a GPU's memory a model's weights take. */
static void note_weights(const gpuzip *gz, const device *d, const weights_model *weights)
{
    uint64_t available, total;
    if (d->ops->memory(d->ctx, &available, &total) == GPUZIP_OK)
        session_note(gz, GPUZIP_NOTE_DETAIL,
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
            status = device_load(&gz->gpu[i], gz->models, weights);
        }
        if (status == GPUZIP_OK || !gz->automatic) {
            if (status != GPUZIP_OK)
                return session_fail_load(gz, status, &gz->gpu[i], name);
            if (kept != i)
                gz->gpu[kept] = gz->gpu[i];
            kept++;
            continue;
        }
        session_fail_load(gz, status, &gz->gpu[i], name);
        session_note(gz, GPUZIP_NOTE_WARNING, "%s; %s", gz->error,
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
    device_unload(&gz->cpu, index);
    for (int i = 0; i < gz->gpus; i++)
        device_unload(&gz->gpu[i], index);
}

/* Adds m, which becomes the handle's, and makes it ready where it will be used. */
static gpuzip_status place(gpuzip *gz, const session_model *m, const char *name)
{
    device *cpu;
    const weights_model *weights = m->file.weights;
    gpuzip_status status = place_on_gpus(gz, weights, name);
    gz->model[gz->models++] = *m;
    if (status == GPUZIP_OK && !gz->gpus) {
        status = session_cpu(gz, &cpu);
        if (status != GPUZIP_OK)
            session_fail_load(gz, status, &gz->cpu, name);
    }
    if (status == GPUZIP_OK)
        return GPUZIP_OK;
    gz->models--;
    displace(gz, gz->models);
    gz->model[gz->models] = (session_model){0};
    return FAIL(status);
}

/* Tokens that are never made have no bytes. Errors: MEMORY. */
static gpuzip_status make_suffixes(session_model *m)
{
    uint32_t symbols = (uint32_t)m->file.weights->config.vocab + tokenizer_escapes(m->t);
    m->suffix = calloc(symbols, sizeof *m->suffix);
    if (!m->suffix)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (uint32_t id = 0; id < symbols; id++) {
        const uint8_t *bytes;
        size_t size;
        if (tokenizer_token_bytes(m->t, id, &bytes, &size) == GPUZIP_OK)
            m->suffix[id] = token_suffix(bytes, size);
    }
    return GPUZIP_OK;
}

gpuzip_status session_add_model(gpuzip *gz, const char *name, int *index)
{
    gpuzip_status status = GPUZIP_OK;
    session_model m = {0};
    const char *shown = name ? name : "the built-in model";
    if (gz->models == GPUZIP_MAX_MODELS)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "more than %d models", GPUZIP_MAX_MODELS);
    m.given = strdup(shown);
    if (!m.given) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    TRY_OUT(checkpoint_open(&m.file, name, NULL, gz->error));
    session_warn(gz);
    const weights_model *w = m.file.weights;
    status = tokenizer_open(&m.t, w->tokenizer, w->tokenizer_size, (uint32_t)w->config.vocab);
    if (status != GPUZIP_OK) {
        session_fail(gz, status, "%s: its tokenizer is damaged", shown);
        goto out;
    }
    TRY_OUT(make_suffixes(&m));
    TRY_OUT(place(gz, &m, shown));
    if (index)
        *index = gz->models - 1;
    m = (session_model){0};
out:
    close_model(&m);
    return status;
}

gpuzip_status session_fetch_model(gpuzip *gz, const uint8_t *id, size_t bytes)
{
    char digits[2 * WEIGHTS_ID_BYTES + 1], path[GPUZIP_PATH_BYTES];
    for (size_t i = 0; i < bytes; i++)
        snprintf(digits + 2 * i, 3, "%02x", id[i]);
    if (gz->models == GPUZIP_MAX_MODELS || !model_path_find(path, digits))
        return FAIL(GPUZIP_ERR_MODEL);
    TRY(session_add_model(gz, path, NULL));
    if (session_find_model(gz, id, bytes))
        return GPUZIP_OK;
    return session_fail(gz, GPUZIP_ERR_MODEL, "%s: its id is another than its name says", path);
}

const session_model *session_find_model(const gpuzip *gz, const uint8_t *id, size_t bytes)
{
    for (int i = 0; i < gz->models; i++)
        if (memcmp(gz->model[i].file.weights->id, id, bytes) == 0)
            return &gz->model[i];
    return NULL;
}
