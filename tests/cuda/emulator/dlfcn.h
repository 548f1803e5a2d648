/* dlfcn.h: the emulator's twin of the C library's header: the one library that the kernels
 * load is cuBLAS, and cublas.cpp is that. */
#ifndef GPUZIP_EMULATOR_DLFCN_H
#define GPUZIP_EMULATOR_DLFCN_H

#define RTLD_LOCAL 0
#define RTLD_NOW   2

#define dlopen  emulator_dlopen
#define dlsym   emulator_dlsym
#define dlclose emulator_dlclose

void *emulator_dlopen(const char *name, int flags);
void *emulator_dlsym(void *library, const char *symbol);
int emulator_dlclose(void *library);

#endif
