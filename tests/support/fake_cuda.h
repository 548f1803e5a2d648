/* fake_cuda.h: GPUs that are the CPU in disguise, and break as they are told: what the library
 * does with devices is tested at the CPU's speed. It takes the place of ops_cuda. */
#ifndef GPUZIP_FAKE_CUDA_H
#define GPUZIP_FAKE_CUDA_H

#include <stdint.h>

#define FAKE_DEVICES_MAX 4

/* Set before devices are opened; calls are counted from then on. */
typedef struct {
    int devices;
    int old;                     /* this one is too old to be used; -1: none */
    uint64_t memory;             /* bytes of a KV cache that there is room for; 0: any */
    uint64_t claimed;            /* bytes that a device says are free */
    int fail[FAKE_DEVICES_MAX];  /* the call of linear() at which a device breaks; 0: never */
    int wrong[FAKE_DEVICES_MAX]; /* from this call of linear() on it computes wrongly; 0: never */
} fake_settings;

extern fake_settings fake;

/* Forgets all calls and makes every device whole. */
void fake_begin(fake_settings settings);

/* The calls of linear() on a device so far. */
int fake_calls(int device);

#endif
