/* cpu_trainable_isa.c: the inner loops of trainable_step(), for the instruction set that this
 * compilation is for. */
#include "cpu_trainable.h"

#include <stdlib.h>

#include "cpu/cpu_isa.h"
#include "cpu/cpu_row_math.h"

#if defined(__AVX512BW__)
#define VECS 4 /* 4 channels x 64 columns: 16 of 32 registers hold sums */
#else
#define VECS 1
#endif
#define PANEL    (16 * VECS) /* of cpu_linear_isa.c */
#define CHANNELS TRAINABLE_CHANNELS
#define ERRORS   TRAINABLE_ERRORS

/* WORD(v, i): the value v as row i of a word. */
#if defined(__AVX512VNNI__)
#define WORD_ROWS   4
#define STEP        4
#define WORD(v, i)  ((uint32_t)(uint8_t)(v) << (8 * (i)))
#define INPUT_FLIP  128 /* inputs are stored as x + 128, for VNNI multiplies u8 by s8 */
#define WEIGHT_FLIP 128 /* of plane 0 */
#else
#define WORD_ROWS   2
#define STEP        2
#define WORD(v, i)  ((uint32_t)(uint16_t)(v) << (16 * (i)))
#define INPUT_FLIP  0
#define WEIGHT_FLIP 0
#endif

CPU_INLINE i32x16 multiply_add(i32x16 acc, i32x16 x, i32x16 z)
{
#if defined(__AVX512VNNI__)
    return i32x16_dot_u8s8(acc, x, z);
#else
    return i32x16_dot(acc, x, z);
#endif
}

CPU_INLINE float clamp(float x, float most)
{
    x = x < most ? x : most;
    return x > -most ? x : -most;
}

/* z[c] = the errors of row `row` for the channels of a panel, 0 beyond the last. */
CPU_INLINE void load_errors(const trainable_job *job, int panel, int row, float z[ERRORS])
{
    int first = panel * ERRORS, n = job->t->n;
    const float *dy = job->dy + (size_t)row * n + first;
    float scale = job->x->scale[row];
    if (n - first >= ERRORS) {
#pragma omp simd
        for (int c = 0; c < ERRORS; c++)
            z[c] = clamp(dy[c], OPS_ERROR_MAX) * scale;
        return;
    }
#pragma omp simd
    for (int c = 0; c < ERRORS; c++)
        z[c] = first + c < n ? clamp(dy[c], OPS_ERROR_MAX) * scale : 0;
}

/* The factors of a panel from the largest errors of its channels; inv: 127 over these, or 0. */
static void find_factors(const trainable_job *job, int panel, const int32_t max[ERRORS],
                         float inv[ERRORS])
{
    for (int c = 0; c < ERRORS; c++) {
        int n = panel * ERRORS + c;
        float most = det_bits_float((uint32_t)max[c]), factor = 0;
        inv[c] = 0;
        if (most >= TINY) {
            float scale = job->t->w->scale[n], unit = job->x->bits == 15 ? 128 : 1;
            inv[c] = OPS_Q8_MAX / most;
            if (scale >= 0x1p-60f)
                factor = (((most / OPS_Q8_MAX) * unit) * job->rate) * (0x1p16f / scale);
        }
        job->factor[n] = factor < 0x1p90f ? factor : 0x1p90f;
    }
}

static void pack_errors(const trainable_job *job, int panel)
{
    int rows = job->x->rows;
    uint32_t *out = job->z + (size_t)panel * job->words * ERRORS;
    int32_t max[ERRORS] = {0}, sum[ERRORS] = {0};
    float inv[ERRORS], z[ERRORS];
    for (int r = 0; r < rows; r++) {
        load_errors(job, panel, r, z);
#pragma omp simd
        for (int c = 0; c < ERRORS; c++) {
            int32_t bits = (int32_t)(det_float_bits(z[c]) & 0x7fffffff);
            max[c] = bits > max[c] ? bits : max[c];
        }
    }
    find_factors(job, panel, max, inv);
    for (int w = 0; w < job->words; w++, out += ERRORS) {
        uint32_t word[ERRORS] = {0};
        for (int i = 0; i < WORD_ROWS && w * WORD_ROWS + i < rows; i++) {
            load_errors(job, panel, w * WORD_ROWS + i, z);
#pragma omp simd
            for (int c = 0; c < ERRORS; c++) {
                int32_t q = det_rint_s32(z[c] * inv[c]);
                sum[c] += q;
                word[c] |= WORD(q, i);
            }
        }
        memcpy(out, word, sizeof word);
    }
    memcpy(job->sum + (size_t)panel * ERRORS, sum, sizeof sum);
}

static void pack_inputs(const trainable_job *job, int panel)
{
    const ops_qrows *x = job->x;
    size_t pitch = OPS_PITCH(x->dim), first = (size_t)panel * PANEL;
    uint32_t *out = job->xw + first * job->words;
    for (int w = 0; w < job->words; w++, out += PANEL) {
        uint32_t word[PANEL] = {0};
        for (int i = 0; i < WORD_ROWS && w * WORD_ROWS + i < x->rows; i++) {
            size_t at = (size_t)(w * WORD_ROWS + i) * pitch + first;
            const int8_t *hi = x->hi + at, *lo = x->lo ? x->lo + at : NULL;
            if (lo)
#pragma omp simd
                for (int c = 0; c < PANEL; c++)
                    word[c] |= WORD(hi[c] + (lo[c] >> 6) + INPUT_FLIP, i);
            else
#pragma omp simd
                for (int c = 0; c < PANEL; c++)
                    word[c] |= WORD(hi[c] + INPUT_FLIP, i);
        }
        memcpy(out, word, sizeof word);
    }
}

/* sum[i][c] = over the rows, channel n + i's errors times column c of the panel. */
static void multiply_tile(const trainable_job *job, int panel, int n, int32_t sum[][PANEL])
{
    const uint32_t *z = job->z + (size_t)(n / ERRORS) * job->words * ERRORS + (size_t)(n % ERRORS);
    const uint32_t *x = job->xw + (size_t)panel * PANEL * job->words;
    i32x16 acc[CHANNELS][VECS];
    CPU_UNROLL
    for (int i = 0; i < CHANNELS; i++) {
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            acc[i][v] = i32x16_zero();
    }
    for (int w = 0; w < job->words; w++, x += PANEL, z += ERRORS) {
        i32x16 xv[VECS];
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            xv[v] = i32x16_load(x + 16 * v);
        CPU_UNROLL
        for (int i = 0; i < CHANNELS; i++) {
            i32x16 zv = i32x16_repeat(z + i);
            CPU_UNROLL
            for (int v = 0; v < VECS; v++)
                acc[i][v] = multiply_add(acc[i][v], xv[v], zv);
        }
    }
    CPU_UNROLL
    for (int i = 0; i < CHANNELS; i++) {
        CPU_UNROLL
        for (int v = 0; v < VECS; v++)
            i32x16_store(&sum[i][16 * v], acc[i][v]);
    }
}

/* The working copy of one channel's master weights in a panel of columns, before its planes. */
CPU_INLINE void round_weights(const int32_t *master, int n, int panel, int32_t w[PANEL])
{
    uint32_t first = (uint32_t)n * OPS_DITHER_N + (uint32_t)panel * PANEL * OPS_DITHER_K;
#pragma omp simd
    for (int c = 0; c < PANEL; c++)
        w[c] = (master[c] + (int32_t)((first + (uint32_t)c * OPS_DITHER_K) & 65535)) >>
               OPS_MASTER_BITS;
}

/* Writes CHANNELS channels of one plane of a panel of columns, whose low 8 bits are in w, to the
 * working copy for linear(). */
CPU_INLINE void pack_channels(const ops_trainable *t, int plane, int panel, int n,
                              int32_t w[][PANEL])
{
    const ops_matrix *m = t->w;
    size_t at = ((size_t)plane * (size_t)m->panels + (size_t)(n / PANEL)) * (size_t)m->steps;
    int first = panel * PANEL / STEP;
    int steps = m->steps - first < PANEL / STEP ? m->steps - first : PANEL / STEP;
    int8_t *dst = m->w + ((at + (size_t)first) * PANEL + (size_t)(n % PANEL)) * STEP;
    int8_t bytes[CHANNELS][PANEL];
    for (int i = 0; i < CHANNELS; i++)
#pragma omp simd
        for (int c = 0; c < PANEL; c++)
            bytes[i][c] = (int8_t)w[i][c];
    /* Channels beyond the last are pad. */
    for (int s = 0; s < steps; s++)
        for (int i = 0; i < CHANNELS; i++)
            memcpy(dst + (s * PANEL + i) * STEP, &bytes[i][s * STEP], STEP);
}

/* The same to the transpose. */
CPU_INLINE void pack_columns(const ops_trainable *t, int plane, int panel, int n,
                             int32_t w[][PANEL])
{
    const ops_matrix *m = t->back;
    size_t at = ((size_t)plane * (size_t)m->panels + (size_t)panel) * (size_t)m->steps;
    for (int i = 0; i < CHANNELS && n + i < STEP * m->steps; i += STEP) {
        int8_t *dst = m->w + (at + (size_t)((n + i) / STEP)) * PANEL * STEP;
#if STEP == 4
        uint32_t word[PANEL];
#pragma omp simd
        for (int c = 0; c < PANEL; c++)
            word[c] = (uint32_t)(w[i][c] & 255) | (uint32_t)(w[i + 1][c] & 255) << 8 |
                      (uint32_t)(w[i + 2][c] & 255) << 16 | (uint32_t)w[i + 3][c] << 24;
#else
        uint16_t word[PANEL];
#pragma omp simd
        for (int c = 0; c < PANEL; c++)
            word[c] = (uint16_t)((w[i][c] & 255) | (w[i + 1][c] & 255) << 8);
#endif
        memcpy(dst, word, sizeof word);
    }
}

static void write_tile(ops_trainable *t, int panel, int n)
{
    int32_t w[CHANNELS][PANEL], plane[CHANNELS][PANEL];
    for (int i = 0; i < CHANNELS; i++)
        round_weights(t->master + (size_t)(n + i) * t->pitch + (size_t)panel * PANEL, n + i, panel,
                      w[i]);
    for (int p = 0; p < t->planes; p++) {
        int shift = t->planes == 2 && p == 0 ? 7 : 0, mask = p == 1 ? 127 : 255;
        for (int i = 0; i < CHANNELS; i++)
#pragma omp simd
            for (int c = 0; c < PANEL; c++)
                plane[i][c] = (w[i][c] >> shift & mask) ^ (p == 0 ? WEIGHT_FLIP : 0);
        pack_channels(t, p, panel, n, plane);
        pack_columns(t, p, panel, n, plane);
    }
}

static void update(const trainable_job *job, int panel, int n, int end)
{
    ops_trainable *t = job->t;
    int32_t most = (t->planes == 2 ? OPS_Q15_MAX : OPS_Q8_MAX) * (1 << OPS_MASTER_BITS);
    float farthest = t->planes == 2 ? 128 * OPS_STEP_MAX : OPS_STEP_MAX;
    int32_t sum[CHANNELS][PANEL];
    for (; n < end; n += CHANNELS) {
        multiply_tile(job, panel, n, sum);
        for (int i = 0; i < CHANNELS; i++) {
            int32_t *master = t->master + (size_t)(n + i) * t->pitch + (size_t)panel * PANEL;
            int32_t excess = INPUT_FLIP * job->sum[n + i];
            float factor = job->factor[n + i];
#pragma omp simd
            for (int c = 0; c < PANEL; c++) {
                float step = clamp((float)(sum[i][c] - excess) * factor, farthest);
                int32_t m = master[c] - det_rint_s32(step);
                m = m < most ? m : most;
                master[c] = m > -most ? m : -most;
            }
        }
        write_tile(t, panel, n);
    }
}

static void write(ops_trainable *t, int panel, int n, int end)
{
    for (; n < end; n += CHANNELS)
        write_tile(t, panel, n);
}

const trainable_path CPU_ISA(trainable_path) = {WORD_ROWS, pack_errors, pack_inputs, update, write};
