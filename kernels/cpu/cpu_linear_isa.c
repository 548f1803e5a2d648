/* cpu_linear_isa.c: the inner loops of linear(), for the instruction set that this
 * compilation is for. cpu_linear.h has the layouts and why the sums are exact. */
#include "cpu_isa.h"
#include "cpu_linear.h"
#include "cpu_simd.h"

#if defined(__AVX512BW__)
#define VECS 4 /* 6 operands x 64 channels: 24 of 32 registers hold sums */
#else
#define VECS 1 /* 6 operands x 16 channels: 12 of 16 ymm hold sums */
#endif
#define PANEL (16 * VECS)

#if defined(__AVX512VNNI__)
#define STEP 4

CPU_INLINE i32x16 load_weights(const int8_t *w)
{
    return i32x16_load(w);
}

CPU_INLINE i32x16 multiply_add(i32x16 acc, i32x16 w, i32x16 a)
{
    return i32x16_dot_u8s8(acc, w, a);
}

static void prepare(const linear_job *job, int row)
{
    size_t at = (size_t)row * job->pitch;
    for (int c = 0; c < job->chunks; c++) {
        int begin = c * LINEAR_CHUNK;
        int end = job->q->dim - begin < LINEAR_CHUNK ? job->q->dim : begin + LINEAR_CHUNK;
        int32_t hi = 0, lo = 0;
        for (int i = begin; i < end; i++)
            hi += job->q->hi[at + i];
        if (job->planes == 2)
            for (int i = begin; i < end; i++)
                lo += job->q->lo[at + i];
        job->offset[(size_t)row * job->chunks + c] = 128 * (job->planes == 2 ? 128 * hi + lo : hi);
    }
}

#else
#define STEP 2

CPU_INLINE i32x16 load_weights(const int8_t *w)
{
    return i32x16_widen(w);
}

CPU_INLINE i32x16 multiply_add(i32x16 acc, i32x16 w, i32x16 a)
{
    return i32x16_dot(acc, w, a);
}

static void prepare(const linear_job *job, int row)
{
    int16_t *wide = (int16_t *)(job->wide + (size_t)row * job->pitch);
    size_t pitch = OPS_PITCH(job->q->dim), at = (size_t)row * pitch;
    for (size_t i = 0; i < pitch; i++)
        wide[i] = job->q->hi[at + i];
    if (job->q->bits == 15)
        for (size_t i = 0; i < pitch; i++)
            wide[i] = (int16_t)(128 * wide[i] + job->q->lo[at + i]);
}
#endif

/* sum[o][c] = the products of operand a[o] and the panel's channel c, over `steps` steps. */
CPU_INLINE void sum_products(int32_t sum[][PANEL], const int8_t *const *a, const int8_t *w,
                             int steps, const int operands)
{
    i32x16 acc[LINEAR_ROWS][VECS];
    CPU_UNROLL
    for (int o = 0; o < operands; o++) {
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            acc[o][v] = i32x16_zero();
    }
    for (int s = 0; s < steps; s++) {
        i32x16 wv[VECS];
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            wv[v] = load_weights(w + ((size_t)s * VECS + v) * 16 * STEP);
        CPU_UNROLL
        for (int o = 0; o < operands; o++) {
            i32x16 x = i32x16_repeat(a[o] + 4 * (size_t)s);
            CPU_UNROLL
            for (int v = 0; v < VECS; v++)
                acc[o][v] = multiply_add(acc[o][v], wv[v], x);
        }
    }
    CPU_UNROLL
    for (int o = 0; o < operands; o++) {
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            i32x16_store(&sum[o][16 * v], acc[o][v]);
    }
}

/* Turns the sums of s8 operands, planes a row, into the totals of rows, one a row. Only
 * plane 0 of the weights is stored as w + 128. */
static void join_operands(const linear_job *job, int plane, int chunk, int row, int rows,
                          int32_t sum[][PANEL])
{
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)(row + r) * job->chunks + chunk;
        uint32_t offset = plane == 0 ? (uint32_t)job->offset[at] : 0;
        if (job->planes == 2)
            for (int c = 0; c < PANEL; c++)
                sum[r][c] =
                    (int32_t)(128 * (uint32_t)sum[2 * r][c] + (uint32_t)sum[2 * r + 1][c] - offset);
        else
            for (int c = 0; c < PANEL; c++)
                sum[r][c] = (int32_t)((uint32_t)sum[r][c] - offset);
    }
}

/* sum[r] = the exact totals of row `row + r` over one chunk and one plane of weights.
 * sum has room for LINEAR_ROWS operands. */
static void sum_chunk(const linear_job *job, int plane, int panel, int chunk, int row, int rows,
                      int32_t sum[][PANEL])
{
    const ops_matrix *m = job->w;
    size_t column = (size_t)chunk * LINEAR_CHUNK;
    const int8_t *a[LINEAR_ROWS];
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)(row + r) * job->pitch;
        if (job->wide) {
            a[r] = job->wide + at + 2 * column;
        } else {
            a[r * job->planes] = job->q->hi + at + column;
            if (job->planes == 2)
                a[2 * r + 1] = job->q->lo + at + column;
        }
    }
    int first = (int)(column / STEP), steps = m->steps - first;
    if (steps > LINEAR_CHUNK / STEP)
        steps = LINEAR_CHUNK / STEP;
    const int8_t *w =
        m->w + (((size_t)plane * m->panels + panel) * m->steps + first) * PANEL * STEP;
    switch (rows * job->planes) {
    case 1:
        sum_products(sum, a, w, steps, 1);
        break;
    case 2:
        sum_products(sum, a, w, steps, 2);
        break;
    case 3:
        sum_products(sum, a, w, steps, 3);
        break;
    case 4:
        sum_products(sum, a, w, steps, 4);
        break;
    case 5:
        sum_products(sum, a, w, steps, 5);
        break;
    default:
        sum_products(sum, a, w, steps, LINEAR_ROWS);
        break;
    }
    if (!job->wide)
        join_operands(job, plane, chunk, row, rows, sum);
}

/* Scales the totals y, adds bias and residual and writes them out. */
static void finish_row(const linear_job *job, int panel, int row, float y[PANEL])
{
    const ops_matrix *m = job->w;
    int first = panel * PANEL;
    int channels = m->n - first < PANEL ? m->n - first : PANEL;
    const float *scale = m->scale + first;
    size_t at = (size_t)row * m->n + first;
    float row_scale = job->q->scale[row];
    for (int c = 0; c < PANEL; c++)
        y[c] = (y[c] * row_scale) * scale[c];
    if (job->bias)
        for (int c = 0; c < channels; c++)
            y[c] += job->bias[first + c];
    if (job->residual)
        for (int c = 0; c < channels; c++)
            y[c] = job->residual[at + c] + y[c];
    memcpy(job->out + at, y, (size_t)channels * sizeof *y);
}

static void run_tile(const linear_job *job, int panel, int row, int rows)
{
    int32_t sum[LINEAR_ROWS][PANEL];
    float y[PANEL];
    if (job->chunks == 1 && job->w->planes == 1) {
        sum_chunk(job, 0, panel, 0, row, rows, sum);
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < PANEL; c++)
                y[c] = (float)sum[r][c];
            finish_row(job, panel, row + r, y);
        }
        return;
    }
    double total[LINEAR_ROWS][PANEL] = {0};
    for (int plane = 0; plane < job->w->planes; plane++) {
        /* 15-bit weights are 128 * plane 0 + plane 1. */
        double unit = job->w->planes == 2 && plane == 0 ? 128 : 1;
        for (int chunk = 0; chunk < job->chunks; chunk++) {
            sum_chunk(job, plane, panel, chunk, row, rows, sum);
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < PANEL; c++)
                    total[r][c] += unit * sum[r][c];
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < PANEL; c++)
            y[c] = (float)total[r][c];
        finish_row(job, panel, row + r, y);
    }
}

static void run(const linear_job *job, int panel, int row, int rows)
{
    int tile = LINEAR_ROWS / job->planes;
    for (int r = 0; r < rows; r += tile)
        run_tile(job, panel, row + r, rows - r < tile ? rows - r : tile);
}

static long spin(long rounds)
{
    enum { SUMS = 4 }; /* few enough that nothing is spilled, enough to hide latencies */
    i32x16 acc[SUMS][VECS], x = i32x16_zero(), w[VECS];
    CPU_UNROLL
    for (int v = 0; v < VECS; v++) {
        w[v] = x;
        i32x16_opaque(&w[v]);
        CPU_UNROLL
        for (int o = 0; o < SUMS; o++)
            acc[o][v] = x;
    }
    while (rounds-- > 0) {
        CPU_UNROLL
        for (int o = 0; o < SUMS; o++) {
            /* Else products that cannot differ would be formed once. */
            i32x16_opaque(&x);
            CPU_UNROLL
            for (int v = 0; v < VECS; v++)
                acc[o][v] = multiply_add(acc[o][v], w[v], x);
        }
    }
    CPU_UNROLL
    for (int o = 0; o < SUMS; o++) {
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            i32x16_opaque(&acc[o][v]);
    }
    return (long)SUMS * PANEL * STEP;
}

const linear_path CPU_ISA(linear_path) = {
    .panel = PANEL,
    .step = STEP,
    .wide = STEP == 2,
    .offset = STEP == 4 ? -128 : 0,
    .prepare = prepare,
    .run = run,
    .spin = spin,
};
