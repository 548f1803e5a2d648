/* emulator.h: for tests, what the emulated devices can be told and asked. */
#ifndef GPUZIP_EMULATOR_H
#define GPUZIP_EMULATOR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Gives every device so many bytes; 0: as many as the host has. */
void emulator_set_memory(size_t bytes);

/* The launch-th kernel that runs from now on (1: the next) breaks its device for good; 0:
 * none does, and all devices are whole again. */
void emulator_set_failure(unsigned long launch);

/* Whether graphs can be recorded; if not, every recording fails. */
void emulator_set_graphs(int possible);

/* Bytes of all devices' memory, and of page-locked host memory, that are taken. */
size_t emulator_device_bytes(void);
size_t emulator_host_bytes(void);

/* Kernels run, and graphs launched, since the program began. */
unsigned long emulator_kernels(void);
unsigned long emulator_graphs(void);

#ifdef __cplusplus
}
#endif
#endif
