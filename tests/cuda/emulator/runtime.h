/* runtime.h: between the emulator's runtime API (runtime.cpp) and its blocks and threads
 * (emulator.cpp). */
#ifndef GPUZIP_EMULATOR_RUNTIME_H
#define GPUZIP_EMULATOR_RUNTIME_H

#include <cuda_runtime.h>

/* Runs body() once a thread of the grid; the sizes are in range. */
void emulator_run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body);

/* The next decision of the run's seed. */
uint32_t emulator_draw(void);

/* Fills memory with values that no test expects. */
void emulator_noise(void *memory, size_t bytes);

/* An unsigned number from the environment. */
unsigned long emulator_setting(const char *name, unsigned long otherwise);

/* Bytes of shared memory that a block may have. */
inline size_t emulator_shared_max(void)
{
    int capability = emulator_capability();
    return (size_t)(capability >= 90 ? 227 : capability >= 80 ? 99 : 64) << 10;
}

/* Whether copies read all host memory late. */
inline bool emulator_pageable(void)
{
    return emulator_setting("GPUZIP_EMULATOR_PAGEABLE", 0) != 0;
}

/* Bytes that each device has. */
size_t emulator_memory(void);

#endif
