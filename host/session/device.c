/* device.c: see device.h. */
#include "device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftest.h"

#ifdef GPUZIP_CUDA
#include "cuda/cuda.h"

static const ops *const gpu = &ops_cuda;
#else
static const ops *const gpu = NULL;
#endif

static int gpu_count(void)
{
    return gpu ? gpu->devices() : 0;
}

/* Describes a GPU; one that says nothing is not usable. */
static ops_device gpu_describe(int index)
{
    ops_device about = {.usable = false};
    if (gpu->describe(index, &about) != GPUZIP_OK)
        about = (ops_device){.usable = false};
    return about;
}

/* ---- enumerating -------------------------------------------------------- */

const char *gpuzip_backends(void)
{
#ifdef GPUZIP_CUDA
    return "cpu, cuda (" GPUZIP_CUDA_ARCHITECTURES ")";
#else
    return "cpu";
#endif
}

int gpuzip_count_devices(void)
{
    return 1 + gpu_count();
}

static uint64_t available_memory(const ops *ops, int index)
{
    ops_context *ctx;
    uint64_t available = 0, total;
    if (ops->open(&ctx, index, 1, NULL) != GPUZIP_OK)
        return 0;
    if (ops->memory(ctx, &available, &total) != GPUZIP_OK)
        available = 0;
    ops->close(ctx);
    return available;
}

gpuzip_status gpuzip_get_device_info(int index, gpuzip_device_info *info)
{
    const ops *ops = index == 0 ? &ops_cpu : gpu;
    int own = index == 0 ? 0 : index - 1; /* among its backend's */
    gpuzip_device_info filled = {.name = "cpu"};
    ops_device about = {.usable = false};
    if (index < 0 || index >= gpuzip_count_devices())
        return FAIL(GPUZIP_ERR_ARGUMENT);
    TRY(ops->describe(own, &about));
    if (index > 0)
        snprintf(filled.name, sizeof filled.name, "%s:%d", ops->name, own);
    memcpy(filled.product, about.name, sizeof filled.product);
    filled.capability = about.capability;
    filled.driver = about.driver;
    filled.runtime = about.runtime;
    filled.usable = about.usable;
    filled.full_speed = about.full_speed;
    filled.memory = about.memory;
    filled.available = about.usable ? available_memory(ops, own) : 0;
    *info = filled;
    return GPUZIP_OK;
}

/* ---- choosing ----------------------------------------------------------- */

/* Sets the error's text, followed by the list of devices, and returns status. */
__attribute__((format(printf, 3, 4))) static gpuzip_status refuse(char error[GPUZIP_ERROR_BYTES],
                                                                  gpuzip_status status,
                                                                  const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int used = vsnprintf(error, GPUZIP_ERROR_BYTES, format, args);
    va_end(args);
    if (status != GPUZIP_ERR_DEVICE)
        return FAIL(status);
    const char *before = "; there is: cpu";
    for (int i = -1; i < gpu_count() && used >= 0 && used < GPUZIP_ERROR_BYTES; i++) {
        size_t room = GPUZIP_ERROR_BYTES - (size_t)used;
        if (i < 0) {
            used += snprintf(error + used, room, "%s", before);
            continue;
        }
        ops_device about = gpu_describe(i);
        used += snprintf(error + used, room, ", %s:%d (%s%s)", gpu->name, i, about.name,
                         about.usable ? "" : ", too old");
    }
    return FAIL(status);
}

static bool choose_usable(device_choice *choice)
{
    for (int i = 0; i < gpu_count() && choice->gpus < DEVICE_GPUS_MAX; i++)
        if (gpu_describe(i).usable)
            choice->index[choice->gpus++] = i;
    return choice->gpus > 0;
}

/* "N" or "N,N,...". */
static gpuzip_status choose_listed(device_choice *choice, const char *text, const char *list,
                                   char error[GPUZIP_ERROR_BYTES])
{
    for (const char *at = list;; at++) {
        char *end;
        unsigned long index = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
        if (*at < '0' || *at > '9' || (*end && *end != ','))
            return refuse(error, GPUZIP_ERR_ARGUMENT,
                          "a list of devices looks like 'cuda:0' or 'cuda:0,2', not '%s'", text);
        if (index >= (unsigned long)gpu_count())
            return refuse(error, GPUZIP_ERR_DEVICE, "no device 'cuda:%lu'", index);
        if (!gpu_describe((int)index).usable)
            return refuse(error, GPUZIP_ERR_DEVICE, "'cuda:%lu' is too old", index);
        for (int i = 0; i < choice->gpus; i++)
            if (choice->index[i] == (int)index)
                return refuse(error, GPUZIP_ERR_ARGUMENT, "'%s' names a device twice", text);
        if (choice->gpus == DEVICE_GPUS_MAX)
            return refuse(error, GPUZIP_ERR_ARGUMENT, "at most %d devices at once",
                          DEVICE_GPUS_MAX);
        choice->index[choice->gpus++] = (int)index;
        if (!*end)
            return GPUZIP_OK;
        at = end;
    }
}

gpuzip_status device_choose(device_choice *choice, const char *text, char error[GPUZIP_ERROR_BYTES])
{
    device_choice chosen = {.automatic = strcmp(text, "auto") == 0};
    if (chosen.automatic) {
        choose_usable(&chosen);
    } else if (strncmp(text, "cuda", 4) == 0 && (text[4] == '\0' || text[4] == ':')) {
        if (!gpu)
            return refuse(error, GPUZIP_ERR_DEVICE, "this gpuzip was built without CUDA");
        if (text[4])
            TRY(choose_listed(&chosen, text, text + 5, error));
        else if (!choose_usable(&chosen))
            return refuse(error, GPUZIP_ERR_DEVICE, "no NVIDIA GPU of use, or no driver for it");
    } else if (strcmp(text, "cpu") != 0) {
        return refuse(error, GPUZIP_ERR_ARGUMENT,
                      "a device is 'auto', 'cpu', 'cuda' or 'cuda:N', not '%s'", text);
    }
    *choice = chosen;
    return GPUZIP_OK;
}

/* ---- opening ------------------------------------------------------------ */

gpuzip_status device_open_cpu(device *d, int threads)
{
    device opened = {.ops = &ops_cpu, .name = "cpu"};
    TRY(ops_cpu.describe(0, &opened.about));
    TRY(ops_cpu.open(&opened.ctx, 0, threads, NULL));
    *d = opened;
    return GPUZIP_OK;
}

gpuzip_status device_open_gpu(device *d, int index)
{
    device opened = {.ops = gpu};
    TRY(gpu->describe(index, &opened.about));
    snprintf(opened.name, sizeof opened.name, "%s:%d", gpu->name, index);
    TRY(gpu->open(&opened.ctx, index, 0, NULL));
    *d = opened;
    return GPUZIP_OK;
}

void device_close(device *d)
{
    if (!d->ctx)
        return;
    for (int i = 0; i < GPUZIP_MAX_MODELS; i++)
        model_close(d->model[i]);
    d->ops->close(d->ctx);
    *d = (device){0};
}

static uint64_t matrix_bytes(const weights_matrix *m, int planes)
{
    return (uint64_t)m->n * (OPS_PITCH(m->k) * (uint64_t)planes + sizeof(float));
}

uint64_t device_weights_bytes(const weights_model *w)
{
    const weights_config *c = &w->config;
    uint64_t vectors = 4 * (uint64_t)c->dim, context = (uint64_t)c->context;
    int planes = c->weight_bits == 15 ? 2 : 1;
    uint64_t bytes = matrix_bytes(&w->head, planes) +
                     (uint64_t)c->vocab * ((uint64_t)c->dim * sizeof(int16_t) + sizeof(float));
    for (int i = 0; i < c->layers; i++) {
        const weights_layer *l = &w->layer[i];
        bytes += matrix_bytes(&l->qkv, planes) + matrix_bytes(&l->out, planes) +
                 matrix_bytes(&l->up, planes) + matrix_bytes(&l->down, planes) +
                 vectors * sizeof(float);
    }
    if (w->position)
        bytes += context * (uint64_t)c->dim * sizeof(float);
    return bytes;
}

gpuzip_status device_load(device *d, int index, const weights_model *weights)
{
    model *m = NULL;
    TRY(model_open(&m, d->ops, d->ctx, weights));
    gpuzip_status status = selftest_run(d, m);
    if (status != GPUZIP_OK) {
        model_close(m);
        return FAIL(status);
    }
    d->model[index] = m;
    return GPUZIP_OK;
}

void device_unload(device *d, int index)
{
    model_close(d->model[index]);
    d->model[index] = NULL;
}
