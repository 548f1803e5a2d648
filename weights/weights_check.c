/* weights_check.c: the bounds on a model's numbers (FORMAT.md, "Bounds").
 *
 * Entries are compared as bit patterns: those of finite binary32 values of one
 * sign are ordered as integers, and NaN and infinity lie above all of them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "weights_format.h"

#define BITS_OF_8    0x41000000u /* 8.0f, the largest scale */
#define BITS_OF_1024 0x44800000u /* 1024.0f, the largest gain, bias or position */

/* Covers every rounding on the way from one bound to the next. */
#define SLACK 1.001

/* The forward pass squares the inputs of norms and cubes those of GELU. */
#define MAX_STREAM    0x1p60 /* residual stream, logits */
#define MAX_PROJECTED 0x1p40 /* queries, keys, values, inputs of an activation */

/* Bounds on a matrix. */
typedef struct {
    double entry; /* max |w[n][k]| scale[n] */
    double gain;  /* max over n of sum over k of |w[n][k]| scale[n] */
    bool valid;
} matrix_bound;

static gpuzip_status check_failed(weights_error *error, const char *reason)
{
    if (error)
        snprintf(error->text, sizeof error->text, "%s", reason);
    return FAIL(GPUZIP_ERR_CORRUPT);
}

/* The largest bit pattern of |v[i]|. */
static uint32_t largest_bits(const float *v, size_t count)
{
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

/* max |v[i]|, or a NaN if an entry is out of bounds. */
static double largest_value(const float *v, size_t count)
{
    uint32_t bits = v ? largest_bits(v, count) : 0;
    float value;
    memcpy(&value, &bits, sizeof value);
    return bits <= BITS_OF_1024 ? (double)value : NAN;
}

/* sum |w|, and the largest |w|. The sum stays below 2^31: k <= 65536. */
static uint32_t sum_row8(const int8_t *w, int k, uint32_t *largest)
{
    uint32_t sum = 0, most = 0;
    for (int i = 0; i < k; i++) {
        uint32_t a = (uint32_t)(w[i] < 0 ? -w[i] : w[i]);
        sum += a;
        most = a > most ? a : most;
    }
    *largest = most;
    return sum;
}

static uint32_t sum_row16(const int16_t *w, int k, uint32_t *largest)
{
    uint32_t sum = 0, most = 0;
    for (int i = 0; i < k; i++) {
        uint32_t a = (uint32_t)(w[i] < 0 ? -w[i] : w[i]);
        sum += a;
        most = a > most ? a : most;
    }
    *largest = most;
    return sum;
}

/* Whatever a matrix learns: all its weights as large as they can be. */
static matrix_bound bound_learnt(const weights_matrix *m, int bits)
{
    matrix_bound b = {.valid = true};
    double most = weights_quant_max(bits);
    for (int n = 0; n < m->n; n++)
        b.entry = fmax(b.entry, most * (double)m->scale[n]);
    b.gain = b.entry * m->k;
    return b;
}

static matrix_bound bound_matrix(const weights_matrix *m, int bits)
{
    matrix_bound b = {.valid = true};
    for (int n = 0; n < m->n && b.valid; n++) {
        uint32_t scale_bits, largest;
        memcpy(&scale_bits, &m->scale[n], sizeof scale_bits);
        size_t row = (size_t)n * (size_t)m->k;
        uint32_t sum = bits == 8 ? sum_row8((const int8_t *)m->w + row, m->k, &largest)
                                 : sum_row16((const int16_t *)m->w + row, m->k, &largest);
        b.valid = scale_bits <= BITS_OF_8 && largest <= (uint32_t)weights_quant_max(bits);
        b.entry = fmax(b.entry, (double)largest * (double)m->scale[n]);
        b.gain = fmax(b.gain, (double)sum * (double)m->scale[n]);
    }
    return b;
}

/* Largest output of a norm: sqrt(dim) is the largest entry of a vector of mean square 1. */
static double bound_norm(const weights_norm_vectors *v, int dim)
{
    return largest_value(v->gain, (size_t)dim) * 2 * sqrt((double)dim) +
           largest_value(v->bias, (size_t)dim);
}

/* Largest output of a linear layer for inputs of at most `in`; NaN if the layer is not valid.
 * learns: whatever its weights become. */
static double bound_linear(const weights_matrix *m, const float *bias, int bits, double in,
                           bool learns)
{
    matrix_bound b = learns ? bound_learnt(m, bits) : bound_matrix(m, bits);
    return b.valid ? SLACK * (b.gain * in) + largest_value(bias, (size_t)m->n) : NAN;
}

/* Bounds the residual stream behind a layer, given the bound before it. */
static gpuzip_status check_layer(const weights_config *c, const weights_layer *l, double *stream,
                                 bool learns, weights_error *error)
{
    int bits = c->weight_bits;
    double norm1 = bound_norm(&l->norm1, c->dim), norm2 = bound_norm(&l->norm2, c->dim);
    double qkv = bound_linear(&l->qkv, l->qkv_bias, bits, c->post_norm ? *stream : norm1, learns);
    /* Rounded probabilities may add up to at most twice their sum. */
    double out = bound_linear(&l->out, l->out_bias, bits, 3 * qkv, learns);
    double middle = *stream + out;
    double up_in = c->post_norm ? norm1 : norm2;
    double up = bound_linear(&l->up, l->up_bias, bits, up_in, learns);
    double act = c->act == WEIGHTS_ACT_SWIGLU ? up * up : up;
    double down = bound_linear(&l->down, l->down_bias, bits, SLACK * act, learns);
    double end = (c->post_norm ? norm1 : middle) + down;
    if (isnan(norm1 + norm2 + qkv + out + up + down))
        return check_failed(error, "a weight, scale, gain or bias is out of bounds");
    if (!(qkv <= MAX_PROJECTED && up <= MAX_PROJECTED && middle <= MAX_STREAM && end <= MAX_STREAM))
        return check_failed(error, "the weights are so large that activations could overflow");
    *stream = SLACK * (c->post_norm ? norm2 : end);
    return GPUZIP_OK;
}

static gpuzip_status check_model(const weights_model *model, bool learns, weights_error *error)
{
    const weights_config *c = &model->config;
    matrix_bound embedding = bound_matrix(&model->embedding, c->weight_bits);
    if (!embedding.valid)
        return check_failed(error, "a weight or scale of the embedding is out of bounds");
    double stream = SLACK * (embedding.entry * (double)model->embedding_factor);
    if (!c->rope) {
        stream += largest_value(model->position, (size_t)c->context * (size_t)c->dim);
        if (isnan(stream))
            return check_failed(error, "a position's vector is out of bounds");
    }
    for (int i = 0; i < c->layers; i++)
        TRY(check_layer(c, &model->layer[i], &stream, learns, error));
    double logits = bound_linear(&model->head, model->head_bias, c->weight_bits,
                                 bound_norm(&model->final_norm, c->dim), false);
    if (!(logits <= MAX_STREAM))
        return check_failed(error, "the head or the final norm is out of bounds");
    for (int i = 0; i < model->tests; i++) {
        if (model->test_token[i] >= (uint32_t)c->vocab)
            return check_failed(error, "a test token is outside the vocabulary");
    }
    return GPUZIP_OK;
}

gpuzip_status weights_check(const weights_model *model, weights_error *error)
{
    return check_model(model, false, error);
}

bool weights_learnable(const weights_model *model)
{
    return check_model(model, true, NULL) == GPUZIP_OK;
}
