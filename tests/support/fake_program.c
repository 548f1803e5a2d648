/* Gives the program over the fake backend as many GPUs as GPUZIP_FAKE_DEVICES says, or one. */
#include <stdlib.h>

#include "fake_cuda.h"

__attribute__((constructor)) static void set_up(void)
{
    const char *devices = getenv("GPUZIP_FAKE_DEVICES");
    fake_begin((fake_settings){
        .devices = devices ? atoi(devices) : 1, .old = -1, .claimed = (uint64_t)1 << 30});
}
