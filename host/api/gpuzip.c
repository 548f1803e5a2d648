/* gpuzip.c: the handle: opening, models, errors. compress.c and decompress.c do the rest. */
#include "gpuzip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

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

gpuzip_status gpuzip_open(gpuzip **out, const char *text, int threads,
                          char error[GPUZIP_ERROR_BYTES])
{
    char unheard[GPUZIP_ERROR_BYTES];
    device_choice choice;
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
    return session_open(out, &choice, threads, error);
}

void gpuzip_close(gpuzip *gz)
{
    if (!gz)
        return;
    gpuzip_finish(gz);
    session_close(gz);
}

void gpuzip_finish(gpuzip *gz)
{
    if (!gz->p)
        return;
    pipeline_drain(gz->p);
    pipeline_close(gz->p);
    gz->p = NULL;
}

void gpuzip_set_notes(gpuzip *gz, void (*note)(void *context, gpuzip_note kind, const char *text),
                      void *context)
{
    gz->note = note;
    gz->note_context = context;
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

gpuzip_status gpuzip_add_model(gpuzip *gz, const char *name, int *index)
{
    gpuzip_finish(gz); /* files under way use the models as they are */
    gz->error[0] = '\0';
    return session_add_model(gz, name, index);
}

bool gpuzip_find_model(const char *source, char path[GPUZIP_PATH_BYTES])
{
    return checkpoint_find(path, source);
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
    const session_model *m = &gz->model[index];
    const weights_model *w = m->file.weights;
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
        .memory = device_weights_bytes(w),
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
    TRY(checkpoint_import(&data, &size, name, options, gz->error));
    session_warn(gz);
    gpuzip_status status = weights_write(dst_path, data, size);
    if (status != GPUZIP_OK)
        session_fail(gz, status, "%s: cannot be written: %s", dst_path, strerror(errno));
    free(data);
    return status;
}

gpuzip_status gpuzip_export_model(gpuzip *gz, int model, const char *dst_path)
{
    gz->error[0] = '\0';
    if (model < 0 || model >= gz->models)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    const weights_model *w = gz->model[model].file.weights;
    gpuzip_status status = weights_write(dst_path, w->file, w->file_size);
    if (status != GPUZIP_OK)
        session_fail(gz, status, "%s: cannot be written: %s", dst_path, strerror(errno));
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
