/* cuda_device.cu: which devices there are. */
#include <stdio.h>
#include <string.h>

#include "context.cuh"

int cuda_devices(void)
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) == cudaSuccess)
        return devices;
    (void)cudaGetLastError(); /* no driver, or none new enough: no devices */
    return 0;
}

/* The products of 9.0 are compiled for 90a alone: a build for 90 has half of their speed. */
#if defined(GPUZIP_CUDA_90A) || !defined(__CUDACC__)
#define HOPPER_BUILT true
#else
#define HOPPER_BUILT false
#endif

gpuzip_status cuda_describe(int device, ops_device *about)
{
    cudaDeviceProp properties;
    ops_device filled = {};
    if (device < 0 || device >= cuda_devices())
        return FAIL(GPUZIP_ERR_DEVICE);
    TRY(cuda_status(cudaGetDeviceProperties(&properties, device)));
    TRY(cuda_status(cudaDriverGetVersion(&filled.driver)));
    TRY(cuda_status(cudaRuntimeGetVersion(&filled.runtime)));
    snprintf(filled.name, sizeof filled.name, "%s", properties.name);
    static_assert(sizeof filled.id == sizeof properties.uuid, "a UUID has 16 bytes");
    memcpy(filled.id, &properties.uuid, sizeof filled.id);
    filled.capability = 10 * properties.major + properties.minor;
    filled.memory = properties.totalGlobalMem;
    filled.usable = filled.capability >= CUDA_CAPABILITY_MIN;
    filled.full_speed = filled.usable && (filled.capability != 90 || HOPPER_BUILT);
    *about = filled;
    return GPUZIP_OK;
}
