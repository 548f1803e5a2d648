/* mix_adaptive_rows.h: random rows of a mix with candidates, for tests of mixing that learns, and
 * an adaptive state read back. */
#ifndef GPUZIP_MIX_ADAPTIVE_ROWS_H
#define GPUZIP_MIX_ADAPTIVE_ROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "detmath.h"
#include "test_kernels.h"

#define ROWS 12
#define ONE  65536

/* -- rows -------------------------------------------------------------------------------- */

/* Rows of a mix, its experts the logits of some models and counts last. */
typedef struct {
    int vocab, escapes, models, counted, rows;
    bool hostile;
    float *logits[2];     /* [rows][vocab] */
    int32_t *counts;      /* [vocab] */
    int32_t symbol[ROWS]; /* coded */
    int32_t candidates[ROWS];
    ops_candidate candidate[ROWS][OPS_CANDIDATES];
} sample;

static const struct {
    int vocab, escapes, models, counted;
    bool bias, alpha, hostile;
} cases[] = {
    {4096, 256, 1, 0, true, true, false}, {700, 0, 2, 1, true, true, false},
    {513, 256, 1, 1, false, true, false}, {300, 0, 1, 0, true, false, false},
    {1000, 256, 1, 0, true, true, true},  {1, 256, 1, 0, true, true, true},
    {20, 0, 1, 1, true, true, true},      {256, 0, 1, 0, false, false, true},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static sample sample_new(int c, bool hostile)
{
    sample s = {cases[c].vocab, cases[c].escapes, cases[c].models, cases[c].counted, ROWS, hostile};
    for (int k = 0; k < s.models; k++)
        s.logits[k] = test_array((size_t)ROWS * (size_t)s.vocab, sizeof(float));
    s.counts = test_array((size_t)s.vocab, sizeof *s.counts);
    return s;
}

static void sample_free(sample *s)
{
    free(s->logits[0]);
    free(s->logits[1]);
    free(s->counts);
}

static void draw_candidates(sample *s, test_random *random, int r)
{
    int most = s->vocab < OPS_CANDIDATES ? s->vocab : OPS_CANDIDATES;
    int n = s->hostile ? most : (int)random_below(random, (uint32_t)most + 1);
    int32_t first = (int32_t)random_below(random, (uint32_t)(s->vocab - n) + 1);
    s->candidates[r] = r == 5 ? -1 : n;
    for (int c = 0; c < n; c++) {
        ops_candidate *x = &s->candidate[r][c];
        x->symbol = first + (c + r) % n; /* in no order */
        x->order = (uint8_t)random_below(random, OPS_FEATURES);
        x->hits = (uint8_t)(1 + random_below(random, 3));
        x->selector =
            (uint8_t)(random_below(random, 2) ? OPS_SELECTOR_SETS - 1 : random_bits(random));
        for (int k = 0; k < OPS_FEATURES; k++) {
            int16_t f = (int16_t)(random_normal(random) * 1000);
            if (s->hostile)
                f = random_below(random, 2) ? OPS_FEATURE_MAX : -OPS_FEATURE_MAX;
            x->feature[k] = f;
        }
    }
}

/* Logits, candidates and symbols anew. */
static void draw(sample *s, test_random *random)
{
    for (int k = 0; k < s->models; k++)
        for (int i = 0; i < ROWS * s->vocab; i++) {
            float rank = 1 + (float)random_below(random, (uint32_t)s->vocab);
            s->logits[k][i] = -logf(rank) * (float)(1 + i % 3) + random_normal(random);
            if (s->hostile && random_below(random, 8) == 0)
                s->logits[k][i] = random_below(random, 2) ? 1e30f : -1e30f;
        }
    for (int i = 0; i < s->vocab; i++)
        s->counts[i] = s->hostile ? 32 * ONE - 1 : det_log2_q16(1 + random_bits(random) % 5000);
    for (int r = 0; r < ROWS; r++) {
        draw_candidates(s, random, r);
        s->symbol[r] = (int32_t)random_below(random, (uint32_t)(s->vocab + s->escapes));
        if (r % 2 && s->candidates[r] > 0)
            s->symbol[r] = s->candidate[r][0].symbol;
    }
}

static void draw_weights(test_random *random, bool hostile, int32_t *w)
{
    for (int i = 0; i < OPS_SETS * OPS_WEIGHTS; i++) {
        w[i] = (int32_t)(random_normal(random) * 10000);
        if (hostile)
            w[i] = random_below(random, 2) ? OPS_WEIGHT_MAX : -OPS_WEIGHT_MAX;
    }
}

static ops_adaptive_config config_of(int c, const int32_t *weights, int parts)
{
    ops_adaptive_config config = {.vocab = cases[c].vocab,
                                  .experts = cases[c].models + cases[c].counted,
                                  .bias = cases[c].bias,
                                  .alpha = cases[c].alpha,
                                  .weights = weights,
                                  .parts = parts,
                                  .states = 1};
    for (int k = 0; k < config.experts; k++) /* without .alpha nobody looks at it */
        config.start[k] = !config.alpha ? 777 : k == 0 ? ONE : 20000;
    return config;
}

static ops_mix mix_of(const sample *s, ops_adaptive *adaptive)
{
    ops_mix mix = {.experts = s->models + s->counted, .vocab = s->vocab, .escapes = s->escapes};
    for (int k = 0; k < mix.experts; k++) {
        mix.expert[k].alpha = k == 0 ? ONE : 20000;
        if (k < s->models) {
            mix.expert[k].logits = s->logits[k];
            mix.expert[k].stride = (size_t)s->vocab;
        } else {
            mix.expert[k].counts = s->counts;
        }
    }
    mix.adaptive = adaptive;
    mix.candidate = s->candidate[0];
    mix.candidates = s->candidates;
    return mix;
}

/* -- an adaptive state ------------------------------------------------------------------- */

/* Everything that a state has learnt. */
typedef struct {
    int32_t *bias; /* [vocab]; the caller frees it */
    uint32_t alpha[OPS_MAX_EXPERTS];
    int32_t weights[OPS_SETS][OPS_WEIGHTS];
} learnt;

static learnt learnt_in(ops_context *ctx, const ops_adaptive *a, int state, int vocab)
{
    learnt l = {.bias = test_array((size_t)vocab, sizeof *l.bias)};
    assert_int_equal(ops_cpu.adaptive_read(ctx, a, state, l.bias, l.alpha, l.weights[0]),
                     GPUZIP_OK);
    return l;
}

static learnt learnt_of(ops_context *ctx, const ops_adaptive *a, int vocab)
{
    return learnt_in(ctx, a, 0, vocab);
}

#endif
