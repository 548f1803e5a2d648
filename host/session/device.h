/* device.h: devices to compute on, and models loaded there. */
#ifndef GPUZIP_DEVICE_H
#define GPUZIP_DEVICE_H

#include "gpuzip.h"
#include "model.h"

#define DEVICE_GPUS_MAX   16 /* used at the same time */
#define DEVICE_NAME_BYTES 16

/* A device in use. */
typedef struct {
    const ops *ops;
    ops_context *ctx;             /* NULL: not opened */
    char name[DEVICE_NAME_BYTES]; /* "cpu", "cuda:0" */
    ops_device about;
    model *model[GPUZIP_MAX_MODELS]; /* by the session's index; NULL: not loaded here */
    bool lost;                       /* it reported a lasting error: do not use it again */
} device;

/* The meaning of a device string. */
typedef struct {
    bool automatic;             /* "auto" */
    int gpus;                   /* 0: the CPU */
    int index[DEVICE_GPUS_MAX]; /* [gpus] among the backend's devices, each once */
} device_choice;

/* Reads a device string (gpuzip_open()). Chooses usable devices alone.
 * Errors: ARGUMENT (malformed), DEVICE (absent); error lists the devices of this machine. */
gpuzip_status device_choose(device_choice *choice, const char *text,
                            char error[GPUZIP_ERROR_BYTES]);

/* Opens the CPU, or the GPU of that index. threads: the CPU's. The caller releases *d
 * with device_close(), which accepts a zeroed one; models are closed with it.
 * Errors: MEMORY, DEVICE. */
gpuzip_status device_open_cpu(device *d, int threads);
gpuzip_status device_open_gpu(device *d, int index);
void device_close(device *d);

/* Bytes of a device's memory that weights take there, about. */
uint64_t device_weights_bytes(const weights_model *weights);

/* Prepares weights as model[index] and tests the device with them (selftest.h).
 * Errors: MEMORY, DEVICE, SELF_TEST. */
gpuzip_status device_load(device *d, int index, const weights_model *weights);
void device_unload(device *d, int index);

#endif
