/* cuda.h: the emulator's twin of the driver's header: tensor maps, of which the kernels
 * use planes of bytes. */
#ifndef GPUZIP_EMULATOR_CUDA_H
#define GPUZIP_EMULATOR_CUDA_H

#include <stdint.h>

typedef enum { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 } CUresult;
typedef uint32_t cuuint32_t;
typedef uint64_t cuuint64_t;

/* Opaque to the code under test, 64-byte aligned, 128 bytes as the real one. */
struct alignas(64) CUtensorMap {
    const unsigned char *plane;
    uint64_t size[2], pitch; /* bytes a row, rows; bytes from row to row */
    uint32_t box[2];
    int swizzle;
    unsigned char unused[64];
};
static_assert(sizeof(CUtensorMap) == 128, "as the driver's");

typedef enum { CU_TENSOR_MAP_DATA_TYPE_UINT8 = 0 } CUtensorMapDataType;
typedef enum { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 } CUtensorMapInterleave;
typedef enum { CU_TENSOR_MAP_SWIZZLE_NONE = 0, CU_TENSOR_MAP_SWIZZLE_128B = 3 } CUtensorMapSwizzle;
typedef enum { CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2 } CUtensorMapL2promotion;
typedef enum { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 } CUtensorMapFloatOOBfill;

#endif
