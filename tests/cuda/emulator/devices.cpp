/* devices.cpp: the properties of the emulated devices. */
#include <stdio.h>

#include "runtime.h"

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || device < 0 || device >= devices)
        return cudaErrorInvalidDevice;
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "Emulated device %d", device);
    snprintf(properties->uuid.bytes, sizeof properties->uuid.bytes, "emulator %u", device & 0xffu);
    properties->totalGlobalMem = emulator_memory();
    properties->major = emulator_capability() / 10;
    properties->minor = emulator_capability() % 10;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || device < 0 || device >= devices)
        return cudaErrorInvalidDevice;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = (int)emulator_setting("GPUZIP_EMULATOR_PROCESSORS", 2);
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = emulator_capability() / 10;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = emulator_capability() % 10;
        return cudaSuccess;
    case cudaDevAttrPageableMemoryAccess:
        *value = emulator_pageable();
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)emulator_shared_max();
        return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 12000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 12000;
    return cudaSuccess;
}
