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
    int pitch;    /* bytes */
    int stages;   /* of linear_kernel's pipeline, 2 or 3 */
    bool vectors; /* whether rows of bias, residual, w_scale and out are whole float4s */
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

/* The same without 64 bits, whose conversion takes up to 16 times as long as others where there is
 * no wgmma: the sum is high * 2^(7 sets + 5) + low, both exact in a float, and fmaf() rounds once.
 * |high| <= 2^23: a set is below 2^31, the first below 2^30. */
static __device__ __forceinline__ float linear_sum_split(const int *sums, int sets)
{
    if (sets == 1)
        return (float)sums[0];
    int top = sums[0] + ((sets == 2 ? sums[1] : sums[1] + (sums[2] >> 7)) >> 7);
    unsigned low = (unsigned)sums[0];
    for (int s = 1; s < sets; s++)
        low = low * 128 + (unsigned)sums[s];
    if (sets == 2)
        return fmaf((float)(top >> 12), 0x1p19f, (float)(int)(low & ((1 << 19) - 1)));
    return fmaf((float)(top >> 7), 0x1p21f, (float)(int)(low & ((1 << 21) - 1)));
}

/* One element of the output. a_scale: of the row; scale, bias: of the column; before: of the
 * residual. bias and before are used only if there are such. */
static __device__ __forceinline__ float linear_value(const linear_args *p, float sum, float a_scale,
                                                     float scale, float bias, float before)
{
    float value = (sum * a_scale) * scale;
    if (p->bias != NULL)
        value = value + bias;
    return p->residual != NULL ? before + value : value;
}

/* Writes one element. */
static __device__ __forceinline__ void linear_store(const linear_args *p, int row, int column,
                                                    float sum, float scale, float bias)
{
    size_t at = (size_t)row * p->n + column;
    float before = p->residual != NULL ? p->residual[at] : 0.0f;
    p->out[at] = linear_value(p, sum, p->a_scale[row], scale, bias, before);
}

/* A warp's part of the output is 16 rows by some columns. Products leave it so: lane 4 g + t has,
 * of columns 8 j + 2t and 8 j + 2t + 1, rows g in sum[4 j] and sum[4 j + 1], rows g + 8 in the next
 * two. a_scale: of rows g and g + 8. */

/* The scales of the lane's two rows; those of rows that are not there are arbitrary. */
static __device__ __forceinline__ void row_scales(const linear_args *p, int first_row,
                                                  float a_scale[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++)
        a_scale[h] = p->a_scale[min(first_row + ((int)threadIdx.x & 31) / 4 + h * 8, p->rows - 1)];
}

/* Where rows are whole vectors of 16 bytes, neighbouring lanes exchange halves of two fragments, so
 * that each has four columns of one of them: the first of these. */
static __device__ __forceinline__ int vector_column(int first_column)
{
    return first_column + (threadIdx.x & 1) * 8 + (threadIdx.x >> 1 & 1) * 4;
}

/* Reads the lane's vectors of the residual for 16 columns. Done ahead of their use: no load may
 * pass a store that might change it. */
static __device__ __forceinline__ void load_vectors(const linear_args *p, float4 before[2],
                                                    int first_row, int first_column)
{
    int row = first_row + ((threadIdx.x & 31) >> 2);
    int c = min(vector_column(first_column), p->n - 4);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        before[h] = {0, 0, 0, 0}; /* else the last value would keep its registers */
        if (p->residual != NULL)
            before[h] =
                *(const float4 *)(p->residual + (size_t)min(row + h * 8, p->rows - 1) * p->n + c);
    }
}

/* Writes 16 columns. before: of load_vectors(). */
static __device__ __forceinline__ void store_vectors(const linear_args *p, const float sum[8],
                                                     const float a_scale[2], const float4 before[2],
                                                     int first_row, int first_column)
{
    bool odd = threadIdx.x & 1;
    int column = vector_column(first_column), c = min(column, p->n - 4);
    float4 scale = *(const float4 *)(p->w_scale + c), bias = {0, 0, 0, 0};
    if (p->bias != NULL)
        bias = *(const float4 *)(p->bias + c);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float *left = &sum[h * 2], *right = left + 4;
        float one = __shfl_xor_sync(0xffffffff, odd ? left[0] : right[0], 1);
        float two = __shfl_xor_sync(0xffffffff, odd ? left[1] : right[1], 1);
        float4 v = {odd ? one : left[0], odd ? two : left[1], odd ? right[0] : one,
                    odd ? right[1] : two};
        v.x = linear_value(p, v.x, a_scale[h], scale.x, bias.x, before[h].x);
        v.y = linear_value(p, v.y, a_scale[h], scale.y, bias.y, before[h].y);
        v.z = linear_value(p, v.z, a_scale[h], scale.z, bias.z, before[h].z);
        v.w = linear_value(p, v.w, a_scale[h], scale.w, bias.w, before[h].w);
        int row = first_row + ((threadIdx.x & 31) >> 2) + h * 8;
        if (row < p->rows && column < p->n)
            *(float4 *)(p->out + (size_t)row * p->n + column) = v;
    }
}

/* Writes STORE_COLUMNS for any n, by way of staged[16][STORE_COLUMNS] in shared memory: so a lane
 * has one column, and the warp writes whole lines. */
static __device__ __forceinline__ void store_lines(const linear_args *p, const float sum[16],
                                                   const float a_scale[2], float *staged,
                                                   int first_row, int first_column)
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
    int c = min(column, p->n - 1);
    float scale = p->w_scale[c], bias = p->bias != NULL ? p->bias[c] : 0.0f;
#pragma unroll 1
    for (int first = 0; first < 16; first += 2) { /* loads of two rows before their stores */
        float of_row[2], before[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first + i;
            of_row[i] = __shfl_sync(0xffffffff, first < 8 ? a_scale[0] : a_scale[1], (row & 7) * 4);
            if (p->residual != NULL)
                before[i] = p->residual[(size_t)min(first_row + row, p->rows - 1) * p->n + c];
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first + i;
            float sum = staged[row * STORE_COLUMNS + (lane ^ ((row & 3) * 8))];
            if (first_row + row < p->rows && column < p->n)
                p->out[(size_t)(first_row + row) * p->n + column] =
                    linear_value(p, sum, of_row[i], scale, bias, before[i]);
        }
    }
}

/* Writes STORE_COLUMNS, with before[0] of load_vectors() for the first 16 of them. last: no columns
 * follow, of which else before[0] is read. AHEAD: whether a vector is read one step ahead. */
template <bool AHEAD>
static __device__ __forceinline__ void store_steps(const linear_args *p, const float sum[16],
                                                   const float a_scale[2], float4 before[2][2],
                                                   int first_row, int first_column, bool last)
{
#pragma unroll
    for (int step = 0; step < 2; step++) {
        int column = first_column + step * 16;
        if (!AHEAD)
            load_vectors(p, before[step], first_row, column);
        else if (step == 0 || !last)
            load_vectors(p, before[step ^ 1], first_row, column + 16);
        store_vectors(p, sum + step * 8, a_scale, before[step], first_row, column);
    }
}

/* Writes COLUMNS. staged: for store_lines(). VECTORS: p->vectors. */
template <int SETS, int COLUMNS, bool VECTORS, float (*SUM)(const int *, int)>
static __device__ __forceinline__ void store_rows(const linear_args *p,
                                                  const int acc[SETS][COLUMNS / 2], float *staged,
                                                  int first_row, int first_column)
{
    const bool ahead = SETS < 3 && SETS * COLUMNS < 384; /* with more, registers would spill */
    float a_scale[2];
    float4 before[2][2];
    row_scales(p, first_row, a_scale);
    if (VECTORS && ahead)
        load_vectors(p, before[0], first_row, first_column);
#pragma unroll
    for (int c = 0; c < COLUMNS; c += STORE_COLUMNS) {
        float sum[16];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            int sums[SETS];
#pragma unroll
            for (int s = 0; s < SETS; s++)
                sums[s] = acc[s][c / 2 + i];
            sum[i] = SUM(sums, SETS);
        }
        if constexpr (VECTORS)
            store_steps<ahead>(p, sum, a_scale, before, first_row, first_column + c,
                               c + STORE_COLUMNS == COLUMNS);
        else
            store_lines(p, sum, a_scale, staged, first_row, first_column + c);
    }
}

#endif
