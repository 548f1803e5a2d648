/* import_rows.c: see import_rows.h. */
#include "import_rows.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

/* The same checkpoint must give the same bytes: binary32 operations that round once. */
#if FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)
#error "this needs binary32 arithmetic without excess precision, and no fast-math"
#endif

static uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Every binary16 is a binary32. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    if (exponent == 0) /* zero and subnormals: fraction * 2^-24 */
        return float_of(sign) + (sign ? -0x1p-24f : 0x1p-24f) * (float)fraction;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000u | fraction << 13);
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

/* dst[i * stride] = src[i], for count numbers. */
static void convert(float *dst, size_t stride, const uint8_t *src, size_t count, import_type type)
{
    switch (type) {
    case IMPORT_F32:
        for (size_t i = 0; i < count; i++)
            memcpy(&dst[i * stride], src + 4 * i, sizeof(float));
        break;
    case IMPORT_F16:
        for (size_t i = 0; i < count; i++)
            dst[i * stride] = half_to_float(load16(src + 2 * i));
        break;
    case IMPORT_BF16:
        for (size_t i = 0; i < count; i++)
            dst[i * stride] = float_of((uint32_t)load16(src + 2 * i) << 16);
        break;
    }
}

/* The row of a view that becomes row i: within a head, pairs (2i, 2i + 1) become
 * (i, i + head_dim / 2). */
static int source_row(const import_view *v, int i)
{
    int head_dim = v->interleaved_head;
    if (head_dim == 0)
        return i;
    int in_head = i % head_dim, half = head_dim / 2;
    return i - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

static void read_view(const import_view *v, int row, int count, float *out)
{
    size_t rows = (size_t)v->rows, cols = (size_t)v->cols;
    size_t width = v->type == IMPORT_F32 ? 4 : 2;
    if (v->transposed) {
        for (size_t j = 0; j < cols; j++)
            convert(out + j, cols, v->data + (j * rows + (size_t)row) * width, (size_t)count,
                    v->type);
        return;
    }
    for (int i = 0; i < count; i++)
        convert(out + (size_t)i * cols, 1, v->data + (size_t)source_row(v, row + i) * cols * width,
                cols, v->type);
}

int import_rows(const import_tensor *t)
{
    int rows = 0;
    for (int i = 0; i < t->views; i++)
        rows += t->view[i].rows;
    return rows;
}

void import_read_rows(const import_tensor *t, int row, int count, float *out)
{
    assert(row >= 0 && count <= IMPORT_BLOCK_ROWS && row + count <= import_rows(t));
    for (int i = 0; i < t->views && count > 0; i++) {
        const import_view *v = &t->view[i];
        int here = v->rows - row < count ? v->rows - row : count;
        if (here > 0) {
            read_view(v, row, here, out);
            out += (size_t)here * (size_t)v->cols;
            count -= here;
            row += here;
        }
        row -= v->rows;
    }
}

bool import_quantize_row(void *w, float *scale, const float *x, int k, int bits)
{
    /* As integers, magnitudes have the order of their values. */
    uint32_t most = 0;
    for (int i = 0; i < k; i++) {
        uint32_t magnitude;
        memcpy(&magnitude, &x[i], sizeof magnitude);
        magnitude &= 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    float amax = float_of(most), qmax = (float)weights_quant_max(bits);
    if (!isfinite(amax))
        return false;
    /* Otherwise a subnormal scale could make quotients larger than qmax. */
    float unit = amax < 0x1p-100f ? 0.0f : amax / qmax;
    int8_t *w8 = w;
    int16_t *w15 = w;
    for (int i = 0; i < k; i++) {
        float q = unit > 0 ? rintf(x[i] / unit) : 0.0f;
        if (bits == 8)
            w8[i] = (int8_t)q;
        else
            w15[i] = (int16_t)q;
    }
    *scale = unit;
    return true;
}
