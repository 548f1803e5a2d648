/* curve.c: see curve.h. */
#include "curve.h"

#include <math.h>
#include <string.h>

#define ALPHA_STEP 1e-4 /* smaller changes don't count: the text shows 4 decimals */

void curve_begin(curve *c)
{
    memset(c, 0, sizeof *c);
    c->width = CURVE_WIDTH;
}

void curve_add_bin(curve_bin *sum, const curve_bin *b)
{
    sum->bytes += b->bytes;
    sum->bits += b->bits;
    sum->tokens += b->tokens;
    sum->coded_bytes += b->coded_bytes;
    sum->log2_z += b->log2_z;
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++) {
        sum->expert_bits[k] += b->expert_bits[k];
        sum->alpha[k] += b->alpha[k];
    }
}

/* Joins pairs of bins. */
static void widen(curve *c)
{
    for (int i = 0; i < CURVE_BINS / 2; i++) {
        curve_bin both = c->bin[2 * i];
        curve_add_bin(&both, &c->bin[2 * i + 1]);
        c->bin[i] = both;
    }
    memset(c->bin + CURVE_BINS / 2, 0, sizeof c->bin / 2);
    c->bins = (c->bins + 1) / 2;
    c->width *= 2;
}

/* The bin of a byte. */
static curve_bin *find(curve *c, uint64_t offset)
{
    while (offset / c->width >= CURVE_BINS)
        widen(c);
    int i = (int)(offset / c->width);
    if (i >= c->bins)
        c->bins = i + 1;
    return &c->bin[i];
}

static void add_stored(curve *c, const gpuzip_token *token)
{
    double bits = token->bits / (double)token->size;
    (void)find(c, token->offset + token->size - 1);
    for (uint64_t at = token->offset, end = at + token->size; at < end;) {
        uint64_t next = (at / c->width + 1) * c->width;
        curve_bin *b = find(c, at);
        double bytes = (double)((next < end ? next : end) - at);
        b->bytes += bytes;
        b->bits += bits * bytes;
        at = next;
    }
}

void curve_add(curve *c, const gpuzip_token *token)
{
    if (token->stored) {
        add_stored(c, token);
        return;
    }
    curve_bin *b = find(c, token->offset);
    b->bytes += (double)token->size;
    b->bits += token->bits;
    b->coded_bytes += (double)token->size;
    b->tokens++;
    b->log2_z += token->log2_z;
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++) {
        b->expert_bits[k] += token->expert_bits[k];
        b->alpha[k] += token->alpha[k];
    }
}

bool curve_alphas_vary(const curve *c, int experts)
{
    const curve_bin *first = NULL;
    for (int i = 0; i < c->bins; i++) {
        const curve_bin *b = &c->bin[i];
        if (b->tokens == 0)
            continue;
        first = first ? first : b;
        for (int k = 0; k < experts; k++)
            if (fabs(b->alpha[k] / b->tokens - first->alpha[k] / first->tokens) > ALPHA_STEP)
                return true;
    }
    return false;
}
