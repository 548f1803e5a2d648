/* quant.cuh: ops.h's QUANT_ROW, element by element. */
#ifndef GPUZIP_QUANT_CUH
#define GPUZIP_QUANT_CUH

#include "detmath.h"
#include "ops.h"

/* A row whose maximum is below this counts as zero. */
#define TINY 0x1p-100f

/* How a row is quantised. */
typedef struct {
    float inv, scale; /* both 0 for a zero row */
} quant;

/* amax: the maximum of |x| over the row; qmax: the largest integer. */
static __device__ __forceinline__ quant quant_of(float amax, float qmax)
{
    quant z = {0.0f, 0.0f};
    if (amax >= TINY) {
        z.inv = qmax / amax;
        z.scale = amax / qmax;
    }
    return z;
}

static __device__ __forceinline__ int quant_apply(quant z, float x)
{
    return z.inv == 0.0f ? 0 : det_rint_s32(x * z.inv);
}

/* Writes q at an index of a row's planes; lo is NULL for 8-bit rows. */
static __device__ __forceinline__ void quant_store(int8_t *hi, int8_t *lo, size_t at, int q)
{
    hi[at] = (int8_t)(lo != NULL ? q >> 7 : q);
    if (lo != NULL)
        lo[at] = (int8_t)(q & 127);
}

#endif
