/* fake_cuda.c: see fake_cuda.h. */
#include "fake_cuda.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ops.h"

#define CONTEXTS_MAX 64

fake_settings fake;

static struct {
    pthread_mutex_t lock;
    ops_context *ctx[CONTEXTS_MAX]; /* that are open; NULL: free */
    int device[CONTEXTS_MAX];
    int calls[FAKE_DEVICES_MAX];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Declared const elsewhere; the CPU's table is copied into it before anyone looks. */
ops ops_cuda;

static int device_of(const ops_context *ctx)
{
    int device = -1;
    for (int i = 0; i < CONTEXTS_MAX; i++)
        if (state.ctx[i] == ctx)
            device = state.device[i];
    return device;
}

int fake_calls(int device)
{
    pthread_mutex_lock(&state.lock);
    int calls = state.calls[device];
    pthread_mutex_unlock(&state.lock);
    return calls;
}

static int fake_devices(void)
{
    return fake.devices;
}

static gpuzip_status fake_describe(int device, ops_device *about)
{
    if (device < 0 || device >= fake.devices)
        return GPUZIP_ERR_DEVICE;
    *about = (ops_device){.capability = 89,
                          .driver = 12000,
                          .runtime = 12000,
                          .memory = fake.claimed,
                          .usable = device != fake.old,
                          .full_speed = device != fake.old};
    snprintf(about->name, sizeof about->name, "Fake %d", device);
    return GPUZIP_OK; /* no id: nothing is remembered */
}

static gpuzip_status fake_open(ops_context **ctx, int device, int threads, const char *isa)
{
    gpuzip_status status = ops_cpu.open(ctx, 0, 1, isa);
    (void)threads;
    if (status != GPUZIP_OK)
        return status;
    pthread_mutex_lock(&state.lock);
    int i = 0;
    while (state.ctx[i])
        i++;
    state.ctx[i] = *ctx;
    state.device[i] = device;
    pthread_mutex_unlock(&state.lock);
    return GPUZIP_OK;
}

static void fake_close(ops_context *ctx)
{
    pthread_mutex_lock(&state.lock);
    for (int i = 0; ctx && i < CONTEXTS_MAX; i++)
        if (state.ctx[i] == ctx)
            state.ctx[i] = NULL;
    pthread_mutex_unlock(&state.lock);
    ops_cpu.close(ctx);
}

static gpuzip_status fake_memory(ops_context *ctx, uint64_t *available, uint64_t *total)
{
    (void)ctx;
    *available = *total = fake.claimed;
    return GPUZIP_OK;
}

static gpuzip_status fake_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots,
                                    int window, int run, int kv_heads, int head_dim, int bits)
{
    size_t bytes = ops_cpu.kv_bytes(layers, slots, window, run, kv_heads, head_dim, bits);
    if (fake.memory && bytes > fake.memory)
        return GPUZIP_ERR_MEMORY;
    return ops_cpu.kv_create(ctx, kv, layers, slots, window, run, kv_heads, head_dim, bits);
}

static gpuzip_status fake_linear(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                                 const float *bias, const float *residual, float *out)
{
    pthread_mutex_lock(&state.lock);
    int device = device_of(ctx), call = ++state.calls[device];
    pthread_mutex_unlock(&state.lock);
    if (fake.fail[device] && call >= fake.fail[device])
        return GPUZIP_ERR_DEVICE; /* and ever after */
    gpuzip_status status = ops_cpu.linear(ctx, q, w, bias, residual, out);
    if (status == GPUZIP_OK && fake.wrong[device] && call >= fake.wrong[device])
        out[0] += (float)(call % 100); /* never twice the same: decoding finds out */
    return status;
}

void fake_begin(fake_settings settings)
{
    fake = settings;
    memset(state.calls, 0, sizeof state.calls);
    ops_cuda = ops_cpu;
    ops_cuda.name = "cuda";
    ops_cuda.devices = fake_devices;
    ops_cuda.describe = fake_describe;
    ops_cuda.open = fake_open;
    ops_cuda.close = fake_close;
    ops_cuda.memory = fake_memory;
    ops_cuda.kv_create = fake_kv_create;
    ops_cuda.linear = fake_linear;
}
