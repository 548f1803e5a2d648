/* ptx_hopper_emulated.h: the twins of the wrappers in kernels/cuda/ptx_hopper.cuh; hopper.cpp
 * has their bodies.
 *
 * Stricter than the hardware. A barrier in use must have been initialised and fenced; it
 * fails on an arrival too many and on bytes that no phase expects. A copy happens at any
 * time up to when nothing else can run. A product reads its tiles at any time up to the wait
 * that covers it, thread by thread, and until then its accumulators hold noise. A fence is
 * due after every wait. All warps of a warpgroup must issue the same products.
 */
#ifndef GPUZIP_PTX_HOPPER_EMULATED_H
#define GPUZIP_PTX_HOPPER_EMULATED_H

#include <cuda.h>

#include "ptx_emulated.h"

#define HAVE_HOPPER 1

/* A pointer into dynamic shared memory as the hardware's 18-bit address. */
unsigned shared_address(const void *p);

void mbarrier_init(uint64_t *barrier, unsigned count);
void mbarrier_init_fence(void);
/* The emulator has one way to memory. */
static inline void proxy_fence(void)
{
}

void mbarrier_arrive(uint64_t *barrier);
void mbarrier_arrive_expect(uint64_t *barrier, unsigned bytes);
void mbarrier_wait(uint64_t *barrier, unsigned parity);
void tile_load(unsigned tile, const CUtensorMap *map, int k, int row, uint64_t *barrier);

void wgmma_fence(void);
void wgmma_commit(void);
void emulator_wgmma(int *c, int n, uint64_t a, uint64_t b, bool accumulate);
void emulator_wgmma_wait(int groups);
void emulator_wgmma_result(const int *c);

template <int N> static inline void wgmma_s8(int *c, uint64_t a, uint64_t b, int accumulate)
{
    static_assert(N % 16 == 0 && N <= 256, "a shape that there is");
    emulator_wgmma(c, N, a, b, accumulate != 0);
}

template <int GROUPS> static inline void wgmma_wait(void)
{
    emulator_wgmma_wait(GROUPS);
}

template <int N> static inline void wgmma_result(int *c)
{
    emulator_wgmma_result(c);
}

template <int REGISTERS> static inline void registers_reduce(void)
{
    static_assert(REGISTERS >= 24 && REGISTERS <= 256 && REGISTERS % 8 == 0, "a legal number");
    (void)emulator_exchange(EMULATOR_REGISTERS, 0xffffffff, NULL, 0);
}

template <int REGISTERS> static inline void registers_raise(void)
{
    registers_reduce<REGISTERS>();
}

#endif
