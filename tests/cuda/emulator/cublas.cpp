/* cublas.cpp: the twin of cuBLAS, for s8 products. It takes what cuBLAS documents to be fast on
 * tensor cores and nothing else: "TN", every pointer, size and leading dimension a multiple of
 * 16; whatever else is asked for prints a line and aborts. The product is a kernel in the
 * handle's stream, as the real one's is. With GPUZIP_EMULATOR_CUBLAS=wrong in the environment there
 * is no product, which is quick. */
#include <dlfcn.h>
#include <stdlib.h>

#include "ptx_emulated.h"

namespace
{

const int OK = 0, OP_N = 0, OP_T = 1, TYPE_8I = 3, TYPE_32I = 10, COMPUTE_32I = 72;

struct handle {
    cudaStream_t stream;
};

struct gemm {
    int m, n, k;
    const signed char *a, *b; /* [m][lda], [n][ldb] */
    int lda, ldb, beta;
    int *c; /* [n][ldc] */
    int ldc;
};

__attribute__((no_sanitize("address", "undefined"))) int dot(const signed char *a,
                                                             const signed char *b, int k)
{
    int sum = 0;
    for (int i = 0; i < k; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Looks at the ends of what dot() reads, for the sanitizer's sake. */
void touch(const signed char *row, int k)
{
    volatile signed char sink = row[0];
    sink = row[k - 1];
    (void)sink;
}

void gemm_kernel(gemm g)
{
    for (int m = 0; m < g.m; m++)
        touch(g.a + (size_t)m * g.lda, g.k);
    for (int n = 0; n < g.n; n++) {
        const signed char *row = g.b + (size_t)n * g.ldb;
        touch(row, g.k);
        for (int m = 0; m < g.m; m++) {
            int *to = &g.c[(size_t)n * g.ldc + m];
            *to = dot(g.a + (size_t)m * g.lda, row, g.k) + (g.beta != 0 ? g.beta * *to : 0);
        }
    }
}

int create(handle **h)
{
    *h = new handle();
    return OK;
}

int destroy(handle *h)
{
    delete h;
    return OK;
}

int set_stream(handle *h, cudaStream_t stream)
{
    h->stream = stream;
    return OK;
}

int gemm_ex(handle *h, int transa, int transb, int m, int n, int k, const void *alpha,
            const void *a, int a_type, int lda, const void *b, int b_type, int ldb,
            const void *beta, void *c, int c_type, int ldc, int compute, int algorithm)
{
    if (transa != OP_T || transb != OP_N || a_type != TYPE_8I || b_type != TYPE_8I ||
        c_type != TYPE_32I || compute != COMPUTE_32I || algorithm != -1)
        emulator_fail("cublasGemmEx: not the s8 product of a transposed and a plain matrix");
    if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) & 15)
        emulator_fail("cublasGemmEx: a matrix is not aligned to 16 bytes");
    if (m <= 0 || n <= 0 || k <= 0 || (m | n | k | lda | ldb | ldc) % 16 != 0)
        emulator_fail("cublasGemmEx: a size that is not a multiple of 16");
    if (lda < k || ldb < k || ldc < m)
        emulator_fail("cublasGemmEx: a leading dimension that is too small");
    gemm g = {m,
              n,
              k,
              (const signed char *)a,
              (const signed char *)b,
              lda,
              ldb,
              *(const int *)beta,
              (int *)c,
              ldc};
    if (*(const int *)alpha != 1 || (g.beta != 0 && g.beta != 1))
        emulator_fail("cublasGemmEx: alpha or beta other than those in use");
    cudaStreamCaptureStatus capture;
    if (cudaStreamIsCapturing(h->stream, &capture) != cudaSuccess ||
        capture != cudaStreamCaptureStatusNone)
        emulator_fail("cublasGemmEx: called while its stream records");
    const char *sums = getenv("GPUZIP_EMULATOR_CUBLAS");
    if (sums == NULL || strcmp(sums, "wrong") != 0)
        LAUNCH(gemm_kernel, 1, 1, 0, h->stream, g);
    return OK;
}

} // namespace

void *emulator_dlopen(const char *name, int)
{
    static int library;
    return strcmp(name, "libcublas.so.12") == 0 ? &library : NULL;
}

void *emulator_dlsym(void *, const char *symbol)
{
    static const struct {
        const char *name;
        void *function;
    } symbols[] = {{"cublasCreate_v2", (void *)create},
                   {"cublasDestroy_v2", (void *)destroy},
                   {"cublasSetStream_v2", (void *)set_stream},
                   {"cublasGemmEx", (void *)gemm_ex}};
    for (const auto &s : symbols)
        if (strcmp(s.name, symbol) == 0)
            return s.function;
    return NULL;
}

int emulator_dlclose(void *)
{
    return 0;
}
