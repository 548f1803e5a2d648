/* linear.cuh: shared by the paths of linear(): the matrix, a call's arguments, and the
 * epilogue, one for all of them.
 *
 * Rows and weights come as one or two s8 planes (hi alone, or 128 hi + lo). Each
 * pair of planes is an exact s32 product; pairs of the same weight share an
 * accumulator: 1, 2 or 3 of them ("sets"), set s counting 128^(sets - 1 - s). The
 * worst is hi*lo + lo*hi of OPS_MAX_DIM columns: 2 * 127 * 127 * 65536 < 2^31.
 */
#ifndef GPUZIP_LINEAR_CUH
#define GPUZIP_LINEAR_CUH

#include "context.cuh"
#include "ptx_hopper.cuh"

#define STORE_COLUMNS 32  /* that store_rows() takes, of 16 rows */
#define WEIGHT_ROWS   128 /* a matrix's rows in memory are a multiple */

struct ops_matrix {
    int8_t *plane[2]; /* [n_padded][pitch], zero beyond n and k; plane[1] for 15 bits */
    float *scale;     /* [n] */
    int n, k;
    int bits;                  /* 8 or 15 */
    size_t pitch;              /* OPS_PITCH(k) */
    tensor_map map[2];         /* of the planes, for linear_hopper() */
    tensor_map_encoder encode; /* NULL: not for linear_hopper() */
};

typedef struct {
    const int8_t *a[2];    /* [rows][pitch] */
    const int8_t *w[2];    /* [n padded to WEIGHT_ROWS][pitch] */
    const float *a_scale;  /* [rows] */
    const float *w_scale;  /* [n] */
    const float *bias;     /* [n] or NULL */
    const float *residual; /* [rows][n] or NULL; may be out */
    float *out;            /* [rows][n] */
    int rows, n;
    int pitch;  /* bytes */
    int stages; /* of linear_kernel's pipeline, 2 or 3 */
} linear_args;

/* -- paths ---------------------------------------------------------------------- */

/* cuda_linear.cu: mma.sync, any device and any shape. Planes: 1 or 2. */
gpuzip_status linear_mma(const ops_context *ctx, const linear_args *p, int a_planes, int w_planes);

/* cuda_linear_hopper.cu: wgmma, for capability 9.0. */

/* Whether this device and this build have the instructions. */
bool linear_hopper_built(const ops_context *ctx);
/* Fills in m->map and m->encode, where this device and this build have linear_hopper(). */
void linear_hopper_prepare(ops_context *ctx, ops_matrix *m);
/* Whether linear_hopper() takes so many rows of m; else they are linear_mma()'s. */
bool linear_hopper_takes(const ops_matrix *m, int rows);
gpuzip_status linear_hopper(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                            int a_planes, int w_planes);

/* cuda_linear.cu: linear_hopper() if it takes the call, else linear_mma(). */
gpuzip_status linear_own(const ops_context *ctx, const ops_matrix *m, const linear_args *p,
                         int a_planes, int w_planes);

/* cuda_blas.cu: cuBLAS, for the first *done rows of p, 0 of them if it is not for this call.
 * Errors: MEMORY, DEVICE. */
gpuzip_status linear_blas_run(ops_context *ctx, const ops_matrix *m, const linear_args *p,
                              int a_planes, int w_planes, int *done);
/* Rows first .. first + rows - 1 of p. */
linear_args linear_rows(const linear_args *p, int first, int rows);

/* -- the epilogue ---------------------------------------------------------------- */

/* The exact sum of one element, rounded once. sums: [sets]; opaque, or else they are kept in 64
 * bits from the start, which takes twice the registers. */
static __device__ __forceinline__ float linear_sum(const int *sums, int sets)
{
    long long sum = 0;
#pragma unroll
    for (int s = 0; s < sets; s++)
        sum = sum * 128 + opaque(sums[s]);
    return (float)sum;
}

/* Writes one element; scale, bias: of the column (bias is read only if there is one). */
static __device__ __forceinline__ void linear_store(const linear_args *p, int row, int column,
                                                    float sum, float scale, float bias)
{
    size_t at = (size_t)row * p->n + column;
    float value = (sum * p->a_scale[row]) * scale;
    if (p->bias != NULL)
        value = value + bias;
    if (p->residual != NULL)
        value = p->residual[at] + value;
    p->out[at] = value;
}

/* Writes 16 rows by STORE_COLUMNS of a warp, by way of staged[16][STORE_COLUMNS] in shared
 * memory: so a lane has one column, and the warp writes whole lines. sum: as the products
 * leave it: lane 4 g + t has, of columns 8 j + 2t and 8 j + 2t + 1, rows g in sum[4 j] and
 * sum[4 j + 1], rows g + 8 in the next two. */
static __device__ __forceinline__ void store_rows(const linear_args *p, const float sum[16],
                                                  float *staged, int first_row, int first_column)
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, column = first_column + lane;
    __syncwarp(); /* wait for reads of the previous stage */
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int row = g + (i >> 1 & 1) * 8;
        /* Rows would fall on the same banks; exchanging columns spreads them. */
        int at = ((i >> 2) * 8 + t * 2 + (i & 1)) ^ ((row & 3) * 8);
        staged[row * STORE_COLUMNS + at] = sum[i];
    }
    __syncwarp();
    if (column >= p->n)
        return;
    float scale = p->w_scale[column], bias = p->bias != NULL ? p->bias[column] : 0.0f;
#pragma unroll 4
    for (int row = 0; row < min(16, p->rows - first_row); row++)
        linear_store(p, first_row + row, column,
                     staged[row * STORE_COLUMNS + (lane ^ ((row & 3) * 8))], scale, bias);
}

#endif
