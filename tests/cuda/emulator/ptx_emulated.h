/* ptx_emulated.h: the twins of the wrappers in kernels/cuda/ptx.cuh, with the
 * fragment layouts of the PTX manual ("Matrix Fragments for mma.m16n8k32", and
 * for ldmatrix). */
#ifndef GPUZIP_PTX_EMULATED_H
#define GPUZIP_PTX_EMULATED_H

#include <cuda_runtime.h>

#define LAUNCH(kernel, grid, block, shared, stream, ...)                                           \
    emulator_launch((grid), (block), (shared), (stream), (kernel), __VA_ARGS__)

#define DYNAMIC_SHARED(name) unsigned char *name = (unsigned char *)emulator_shared()

#define SHARED_BEGINS(name) emulator_shared_begins(&(name), sizeof(name))

#define HAVE_AMPERE (emulator_capability() >= 80)

static inline int opaque(int x)
{
    return x;
}

/* A copy may happen at any time from now to the wait: the seed decides. */
void emulator_copy_async(void *dst, const void *src, size_t dst_bytes, size_t src_bytes);
void emulator_copy_commit(void);
void emulator_copy_wait(int groups);

static inline void cp_async_16(void *dst, const void *src, bool present)
{
    if (((uintptr_t)dst | (uintptr_t)src) & 15)
        emulator_fail("cp_async_16: not aligned to 16 bytes");
    emulator_copy_async(dst, src, 16, present ? 16 : 0);
}

/* Stricter than the hardware: there must be memory. */
static inline void prefetch_l2(const void *p)
{
    (void)*(const volatile unsigned char *)p;
}

static inline void cp_async_commit(void)
{
    emulator_copy_commit();
}

template <int GROUPS> static inline void cp_async_wait(void)
{
    emulator_copy_wait(GROUPS);
}

/* Lane 8 m + r gives the address of row r of matrix m; lane l receives bytes
 * 4 (l % 4) .. + 3 of row l / 4 of each of the four matrices. */
static inline void ldmatrix_x4(unsigned r[4], const void *row)
{
    if ((uintptr_t)row & 15)
        emulator_fail("ldmatrix_x4: a row is not aligned to 16 bytes");
    const emulator_slot *slots = emulator_exchange(EMULATOR_LDMATRIX, 0xffffffff, &row, sizeof row);
    int lane = emulator_lane();
    for (int m = 0; m < 4; m++) {
        const unsigned char *from =
            emulator_from<const unsigned char *>(slots, 8 * m + lane / 4) + 4 * (lane % 4);
        memcpy(&r[m], from, 4);
    }
}

static inline void mma_s8_k32(int c[4], const unsigned a[4], unsigned b0, unsigned b1)
{
    const unsigned deposit[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const emulator_slot *slots =
        emulator_exchange(EMULATOR_MMA_K32, 0xffffffff, deposit, sizeof deposit);
    int g = emulator_lane() / 4, t = emulator_lane() % 4;
    for (int k = 0; k < 32; k++) {
        /* Column k of A lies in lanes t = k % 16 / 4, as does row k of B. */
        int from = k % 16 / 4, half = k / 16, byte = k % 4;
        const signed char *row = (const signed char *)slots[4 * g + from].bytes;
        const signed char *left = (const signed char *)slots[4 * (2 * t) + from].bytes;
        const signed char *right = (const signed char *)slots[4 * (2 * t + 1) + from].bytes;
        int low = row[8 * half + byte], high = row[8 * half + 4 + byte];
        int b_left = left[16 + 4 * half + byte], b_right = right[16 + 4 * half + byte];
        c[0] += low * b_left;
        c[1] += low * b_right;
        c[2] += high * b_left;
        c[3] += high * b_right;
    }
}

static inline void mma_s8_k16(int c[2], unsigned a, unsigned b)
{
    const unsigned deposit[2] = {a, b};
    const emulator_slot *slots =
        emulator_exchange(EMULATOR_MMA_K16, 0xffffffff, deposit, sizeof deposit);
    int g = emulator_lane() / 4, t = emulator_lane() % 4;
    for (int k = 0; k < 16; k++) {
        const signed char *row = (const signed char *)slots[4 * g + k / 4].bytes;
        const signed char *left = (const signed char *)slots[4 * (2 * t) + k / 4].bytes;
        const signed char *right = (const signed char *)slots[4 * (2 * t + 1) + k / 4].bytes;
        c[0] += row[k % 4] * left[4 + k % 4];
        c[1] += row[k % 4] * right[4 + k % 4];
    }
}

#endif
