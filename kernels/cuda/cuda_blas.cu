/* cuda_blas.cu: linear layers by way of cuBLAS, for many rows.
 *
 * cuBLAS forms the same s32 products of planes, which are exact, so the bits are those of
 * every other path; a kernel with the same epilogue follows. That costs a trip through memory
 * for the products, so it is worth its while for wide K at best. Whether it is, a context
 * measures when a shape first comes with enough rows; then it compares the two results, too,
 * and never again calls a library that gave other bits.
 *
 * The library is not linked: it is looked for when first needed and may be absent. Loading it
 * takes longer than small files do, so a context thinks of it after WORK_MIN multiply-adds. The
 * environment's GPUZIP_CUBLAS says "off"; "auto": measure from the first call on; or "on":
 * wherever it can be, and an error where there is none. A CUDA graph never holds
 * a call to it, nor its scratch memory.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "linear.cuh"

#define THREADS       256
#define ROWS_AUTO     1024                /* with fewer there is nothing to measure */
#define WORK_MIN      (1LL << 50)         /* seconds of work, even for the fastest device */
#define ROWS_ON       16                  /* the least that cuBLAS is called with */
#define SCRATCH_BYTES ((size_t)128 << 20) /* about; products of as many rows at a time */
#define SLICE_MIN     256                 /* rows at a time, whatever that takes */
#define RUNS          3                   /* of a measurement */
#define SHAPES_MAX    64                  /* remembered */
#define PRODUCT_MIN   256                 /* rows, columns and depth of a measured product */
#define PRODUCT_MAX   8192
#define PRODUCT_MS    0.5f /* that it should take */

/* From cublas_api.h and library_types.h; they are part of the ABI. */
#define CUBLAS_OP_N         0
#define CUBLAS_OP_T         1
#define CUBLAS_GEMM_DEFAULT -1
#define CUBLAS_COMPUTE_32I  72
#define CUDA_R_8I_TYPE      3
#define CUDA_R_32I_TYPE     10

typedef struct cublasContext *cublas_handle;
typedef int (*cublas_create)(cublas_handle *handle);
typedef int (*cublas_destroy)(cublas_handle handle);
typedef int (*cublas_set_stream)(cublas_handle handle, cudaStream_t stream);
typedef int (*cublas_gemm_ex)(cublas_handle handle, int transa, int transb, int m, int n, int k,
                              const void *alpha, const void *a, int a_type, int lda, const void *b,
                              int b_type, int ldb, const void *beta, void *c, int c_type, int ldc,
                              int compute_type, int algorithm);

/* A choice that was made. */
typedef struct {
    int n, k, rows_log2, planes; /* planes: 2 a_planes + w_planes */
    bool blas;
} blas_shape;

struct linear_blas {
    enum { BLAS_OFF, BLAS_AUTO, BLAS_ON } mode;
    long long work; /* multiply-adds still to come before cuBLAS is thought of */
    bool tried;     /* to load the library */
    void *library;  /* and the rest: NULL unless that went well */
    cublas_handle handle;
    cublas_destroy destroy;
    cublas_gemm_ex gemm;
    cudaEvent_t start, end;
    void *scratch;
    size_t scratch_bytes;
    blas_shape shape[SHAPES_MAX];
    int shapes;
};

/* -- kernels ---------------------------------------------------------------------- */

/* sums: [sets][rows][pitch]. */
static __global__ void __launch_bounds__(THREADS)
    linear_blas_kernel(linear_args p, const int *sums, int sets, int pitch)
{
    int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= p.n)
        return;
    size_t set = (size_t)p.rows * pitch;
    float scale = p.w_scale[column], bias = p.bias != NULL ? p.bias[column] : 0.0f;
    for (int row = blockIdx.y; row < p.rows; row += gridDim.y) {
        const int *from = sums + (size_t)row * pitch + column;
        const int sum[3] = {from[0], sets > 1 ? from[set] : 0, sets > 2 ? from[2 * set] : 0};
        float value = sets == 1   ? linear_sum(sum, 1)
                      : sets == 2 ? linear_sum(sum, 2)
                                  : linear_sum(sum, 3);
        linear_store(&p, row, column, value, scale, bias);
    }
}

/* *differ becomes 1 unless a and b, [n], hold the same bits. */
static __global__ void __launch_bounds__(THREADS)
    compare_kernel(const unsigned *a, const unsigned *b, size_t n, int *differ)
{
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS)
        if (a[i] != b[i])
            *differ = 1;
}

/* -- the library ------------------------------------------------------------------- */

static void blas_unload(linear_blas *b)
{
    if (b->end != NULL)
        (void)cudaEventDestroy(b->end);
    if (b->start != NULL)
        (void)cudaEventDestroy(b->start);
    if (b->handle != NULL)
        (void)b->destroy(b->handle);
    if (b->library != NULL)
        (void)dlclose(b->library);
    b->end = b->start = NULL;
    b->handle = NULL;
    b->library = NULL;
}

/* Loads the library; b->library tells whether that went well. */
static void blas_load(const ops_context *ctx, linear_blas *b)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12"};
    b->tried = true;
    for (int i = 0; i < 2 && b->library == NULL; i++)
        b->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (b->library == NULL)
        return;
    cublas_create create = (cublas_create)dlsym(b->library, "cublasCreate_v2");
    cublas_set_stream set = (cublas_set_stream)dlsym(b->library, "cublasSetStream_v2");
    b->destroy = (cublas_destroy)dlsym(b->library, "cublasDestroy_v2");
    b->gemm = (cublas_gemm_ex)dlsym(b->library, "cublasGemmEx");
    if (create == NULL || set == NULL || b->destroy == NULL || b->gemm == NULL ||
        create(&b->handle) != 0 || set(b->handle, ctx->stream) != 0 ||
        cudaEventCreate(&b->start) != cudaSuccess || cudaEventCreate(&b->end) != cudaSuccess) {
        (void)cudaGetLastError();
        blas_unload(b);
    }
}

/* *b: the context's, made on the first call. Errors: MEMORY. */
static gpuzip_status blas_of(ops_context *ctx, linear_blas **b)
{
    if (ctx->blas == NULL) {
        linear_blas *made = (linear_blas *)calloc(1, sizeof *made);
        if (made == NULL)
            return FAIL(GPUZIP_ERR_MEMORY);
        const char *mode = getenv("GPUZIP_CUBLAS");
        made->mode = linear_blas::BLAS_AUTO;
        made->work = mode == NULL ? WORK_MIN : 0;
        if (mode != NULL && strcmp(mode, "off") == 0)
            made->mode = linear_blas::BLAS_OFF;
        if (mode != NULL && strcmp(mode, "on") == 0)
            made->mode = linear_blas::BLAS_ON;
        ctx->blas = made;
    }
    *b = ctx->blas;
    return GPUZIP_OK;
}

void linear_blas_close(ops_context *ctx)
{
    if (ctx->blas == NULL)
        return;
    blas_unload(ctx->blas);
    (void)cudaFree(ctx->blas->scratch);
    free(ctx->blas);
    ctx->blas = NULL;
}

/* -- products ---------------------------------------------------------------------- */

/* cuBLAS counts in columns: its C is [rows][pitch] of ours, its A the weights, which are
 * transposed (K runs along a column), its B the rows. pitch: a multiple of 16; the
 * weights have as many rows. False: the library refuses. */
static bool blas_product(const linear_blas *b, const linear_args *p, const int8_t *w,
                         const int8_t *a, int *sums, int pitch, bool add)
{
    const int one = 1, beta = add ? 1 : 0;
    return b->gemm(b->handle, CUBLAS_OP_T, CUBLAS_OP_N, pitch, p->rows, p->pitch, &one, w,
                   CUDA_R_8I_TYPE, p->pitch, a, CUDA_R_8I_TYPE, p->pitch, &beta, sums,
                   CUDA_R_32I_TYPE, pitch, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT) == 0;
}

/* The same rows through cuBLAS; sums: scratch, [sets][p->rows][pitch]. Errors: DEVICE. */
static gpuzip_status blas_linear(const ops_context *ctx, const linear_blas *b, const linear_args *p,
                                 int a_planes, int w_planes, int *sums, int pitch)
{
    size_t set = (size_t)p->rows * pitch;
    for (int pw = 0; pw < w_planes; pw++)
        for (int pa = 0; pa < a_planes; pa++) {
            bool second = pw == 1 && pa + 1 < a_planes; /* hi * lo, after lo * hi */
            if (!blas_product(b, p, p->w[pw], p->a[pa], sums + (pa + pw) * set, pitch, second))
                return FAIL(GPUZIP_ERR_DEVICE);
        }
    dim3 grid(ceil_div(p->n, THREADS), min(p->rows, 65535));
    LAUNCH(linear_blas_kernel, grid, THREADS, 0, ctx->stream, *p, (const int *)sums,
           a_planes + w_planes - 1, pitch);
    return cuda_launched();
}

/* -- choosing ---------------------------------------------------------------------- */

/* Runs one of the paths; out and residual are p's. */
static gpuzip_status run_path(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                              int a_planes, int w_planes, bool blas, int *sums, int pitch)
{
    if (blas)
        return blas_linear(ctx, ctx->blas, p, a_planes, w_planes, sums, pitch);
    return linear_own(ctx, m, p, a_planes, w_planes);
}

/* *blas: whether cuBLAS is the faster for p and gives the same bits. spare: scratch,
 * 2 [p->rows][p->n] floats and an int. */
static gpuzip_status measure(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                             int a_planes, int w_planes, int *sums, int pitch, float *spare,
                             bool *blas)
{
    size_t elements = (size_t)p->rows * p->n;
    int *differ = (int *)(spare + 2 * elements), differs = 0;
    float ms[2] = {0.0f, 0.0f};
    linear_args q = *p;
    q.residual = NULL;
    for (int path = 0; path < 2; path++) {
        q.out = spare + path * elements;
        /* Once to warm up. */
        for (int run = 0; run <= RUNS; run++) {
            if (run == 1)
                TRY(cuda_status(cudaEventRecord(ctx->blas->start, ctx->stream)));
            TRY(run_path(ctx, m, &q, a_planes, w_planes, path == 1, sums, pitch));
        }
        TRY(cuda_status(cudaEventRecord(ctx->blas->end, ctx->stream)));
        TRY(cuda_status(cudaEventSynchronize(ctx->blas->end)));
        TRY(cuda_status(cudaEventElapsedTime(&ms[path], ctx->blas->start, ctx->blas->end)));
    }
    TRY(cuda_status(cudaMemsetAsync(differ, 0, sizeof *differ, ctx->stream)));
    LAUNCH(compare_kernel, 4 * (unsigned)ctx->processors, THREADS, 0, ctx->stream,
           (const unsigned *)spare, (const unsigned *)(spare + elements), elements, differ);
    TRY(cuda_launched());
    TRY(cuda_download((ops_context *)ctx, &differs, differ, sizeof differs));
    *blas = ms[1] < ms[0] && differs == 0;
    return GPUZIP_OK;
}

/* Whether p goes through cuBLAS. p->rows: of a slice. */
static bool choose(const ops_context *ctx, const ops_matrix *m, const linear_args *p, int a_planes,
                   int w_planes, int *sums, int pitch, float *spare)
{
    linear_blas *b = ctx->blas;
    blas_shape shape = {p->n, p->pitch, 0, 2 * a_planes + w_planes, false};
    while (p->rows >> shape.rows_log2 > 1)
        shape.rows_log2++;
    for (int i = 0; i < b->shapes; i++) {
        const blas_shape *s = &b->shape[i];
        if (s->n == shape.n && s->k == shape.k && s->rows_log2 == shape.rows_log2 &&
            s->planes == shape.planes)
            return s->blas;
    }
    if (b->shapes == SHAPES_MAX)
        return false;
    /* On failure cuBLAS is not chosen; a lasting error recurs in the next call. */
    if (measure(ctx, m, p, a_planes, w_planes, sums, pitch, spare, &shape.blas) != GPUZIP_OK)
        shape.blas = false;
    b->shape[b->shapes++] = shape;
    return shape.blas;
}

/* Makes b->scratch at least so large. */
static bool blas_scratch(ops_context *ctx, linear_blas *b, size_t bytes)
{
    if (bytes <= b->scratch_bytes)
        return true;
    (void)cudaFree(b->scratch); /* waits for those who use it */
    b->scratch = NULL;
    b->scratch_bytes = 0;
    if (cuda_alloc(ctx, &b->scratch, bytes) != GPUZIP_OK)
        return false;
    b->scratch_bytes = bytes;
    return true;
}

linear_args linear_rows(const linear_args *p, int first, int rows)
{
    linear_args q = *p;
    for (int i = 0; i < 2; i++)
        q.a[i] = p->a[i] != NULL ? p->a[i] + (size_t)first * p->pitch : NULL;
    q.a_scale += first;
    q.out += (size_t)first * p->n;
    if (q.residual != NULL)
        q.residual += (size_t)first * p->n;
    q.rows = rows;
    return q;
}

gpuzip_status linear_blas_run(ops_context *ctx, const ops_matrix *m, const linear_args *p,
                              int a_planes, int w_planes, int *done)
{
    linear_blas *b = NULL;
    cudaStreamCaptureStatus capture;
    int rows = p->rows / 16 * 16, pitch = (p->n + 15) / 16 * 16, sets = a_planes + w_planes - 1;
    *done = 0;
    TRY(blas_of(ctx, &b));
    if (b->mode == linear_blas::BLAS_OFF ||
        rows < (b->mode == linear_blas::BLAS_ON ? ROWS_ON : ROWS_AUTO))
        return GPUZIP_OK;
    TRY(cuda_status(cudaStreamIsCapturing(ctx->stream, &capture)));
    if (capture != cudaStreamCaptureStatusNone)
        return GPUZIP_OK;
    if (b->work > 0) {
        b->work -= (long long)p->rows * p->n * p->pitch * (a_planes * w_planes);
        return GPUZIP_OK;
    }
    if (!b->tried)
        blas_load(ctx, b);
    if (b->library == NULL)
        return b->mode == linear_blas::BLAS_ON ? FAIL(GPUZIP_ERR_DEVICE) : GPUZIP_OK;

    /* The products of a slice, and for measuring two results. */
    size_t row_bytes = (size_t)(sets + 2) * pitch * sizeof(int);
    int slice = (int)(SCRATCH_BYTES / row_bytes) / 16 * 16;
    slice = min(max(slice, SLICE_MIN), rows);
    if (!blas_scratch(ctx, b, slice * row_bytes + sizeof(int)))
        return b->mode == linear_blas::BLAS_ON ? FAIL(GPUZIP_ERR_MEMORY) : GPUZIP_OK;
    int *sums = (int *)b->scratch;
    float *spare = (float *)(sums + (size_t)sets * slice * pitch);
    linear_args first = linear_rows(p, 0, slice);
    if (b->mode == linear_blas::BLAS_AUTO &&
        !choose(ctx, m, &first, a_planes, w_planes, sums, pitch, spare))
        return GPUZIP_OK;
    for (int row = 0; row < rows; row += slice) {
        linear_args part = linear_rows(p, row, min(slice, rows - row));
        TRY(blas_linear(ctx, b, &part, a_planes, w_planes, sums, pitch));
    }
    *done = rows;
    return GPUZIP_OK;
}

/* -- measurement -------------------------------------------------------------------- */

/* Milliseconds of the fastest of several products of [dim][dim] noise by itself; memory:
 * [dim][dim] int8_t, then as many int. */
static gpuzip_status time_product(ops_context *ctx, const linear_blas *b, void *memory, int dim,
                                  float *best)
{
    gpuzip_status status = GPUZIP_OK;
    size_t count = (size_t)dim * dim;
    int8_t *noise = (int8_t *)malloc(count), *operand = (int8_t *)memory;
    uint32_t random = 1;
    linear_args p = {};
    p.rows = p.pitch = dim;
    if (noise == NULL)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        noise[i] = (int8_t)((int)(random >> 24) % 255 - 127);
    }
    TRY_OUT(cuda_upload(ctx, operand, noise, count));
    for (int run = 0; run <= RUNS; run++) {
        float ms = 0.0f;
        TRY_OUT(cuda_status(cudaEventRecord(b->start, ctx->stream)));
        if (!blas_product(b, &p, operand, operand, (int *)(operand + count), dim, false)) {
            status = FAIL(GPUZIP_ERR_DEVICE);
            goto out;
        }
        TRY_OUT(cuda_status(cudaEventRecord(b->end, ctx->stream)));
        TRY_OUT(cuda_status(cudaEventSynchronize(b->end)));
        TRY_OUT(cuda_status(cudaEventElapsedTime(&ms, b->start, b->end)));
        *best = run <= 1 || ms < *best ? ms : *best; /* the first warms up */
    }
out:
    free(noise);
    return status;
}

gpuzip_status cuda_measure_product(ops_context *ctx, double *ops_per_second)
{
    linear_blas *b = NULL;
    double rate = 0.0;
    float ms = 0.0f;
    TRY(cuda_enter(ctx));
    TRY(blas_of(ctx, &b));
    if (!b->tried)
        blas_load(ctx, b);
    /* Larger until it takes long enough. */
    for (int dim = PRODUCT_MIN; b->library != NULL && dim <= PRODUCT_MAX && ms < PRODUCT_MS;
         dim *= 2) {
        void *memory = NULL;
        TRY(cuda_alloc(ctx, &memory, (size_t)dim * dim * (sizeof(int8_t) + sizeof(int))));
        gpuzip_status status = time_product(ctx, b, memory, dim, &ms);
        cuda_release(ctx, memory);
        TRY(status);
        rate = 2.0 * dim * dim * dim / (ms * 1e-3);
    }
    *ops_per_second = rate;
    return GPUZIP_OK;
}
