/* builtin.h: the model file that is compiled into the program. */
#ifndef GPUZIP_BUILTIN_H
#define GPUZIP_BUILTIN_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t builtin_model[]; /* a .gpzm, 64-byte aligned */
extern const size_t builtin_model_size;

#endif
