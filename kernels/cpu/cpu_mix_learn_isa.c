/* cpu_mix_learn_isa.c: candidates, and the rows' contributions to the sums of an update; compiled
 * once a level of instruction set. ops.h has the formulas and the bounds. */
#include <stdlib.h>
#include <string.h>

#include "cpu_mix.h"
#include "mixmath.h"

/* ---- candidates ----------------------------------------------------------- */

static void change_one(const cpu_mix_row *row, cpu_mix_change *change, const ops_candidate *c,
                       uint64_t z)
{
    int x = c->symbol;
    /* t is an integer, |t| < 2^48 */
    int32_t d = mix_depth_of((int64_t)row->scratch->t[x], (int64_t)row->max_t);
    int32_t logit = mix_logit_of(d, row->scratch->w[x], z);
    change->symbol = x;
    change->set = mix_set_of(c->order, c->hits, logit);
    change->other = mix_other_set_of(c->selector);
    for (int j = 0; j < OPS_FEATURES; j++)
        change->feature[j] = c->feature[j];
    change->feature[OPS_FEATURES] = logit;
    change->feature[OPS_FEATURES + 1] = MIX_CONSTANT;
    for (int k = 0; row->learns_alpha && k < row->mix->experts; k++)
        change->log[k] = row->logits[k] ? row->scratch->log[k][x] : row->counts[k][x];

    const int32_t *weight = row->state->weights[change->set];
    const int32_t *other = row->state->weights[change->other];
    int64_t sum = 0;
    for (int j = 0; j < OPS_WEIGHTS; j++)
        sum += (int64_t)(weight[j] + other[j]) * change->feature[j];
    change->w = mix_changed_weight_of(d, sum);
}

static void learn_change(cpu_mix_row *row, const ops_candidate *candidate, int n, uint64_t z)
{
    for (int c = 0; c < n; c++)
        change_one(row, &row->change[c], &candidate[c], z);
    row->changes = n;
    for (int c = 0; c < n; c++) { /* all have seen the weights as they were */
        const cpu_mix_change *change = &row->change[c];
        uint32_t *w = &row->scratch->w[change->symbol];
        int64_t a = mix_coarse_weight_of(*w);
        row->sum[change->symbol / MIX_TILE] += change->w - *w;
        *w = 0;
        row->s0 -= a;
        for (int k = 0; row->learns_alpha && k < row->mix->experts; k++) {
            int64_t v = mix_coarse_log_of(change->log[k]);
            row->s1[k] -= a * v;
            row->s2[k] -= a * v * v;
        }
    }
}

/* ---- sums ----------------------------------------------------------------- */

/* p(i) of ops.h of all weights but the candidates'. */
static void add_expected(uint32_t *recent, const uint32_t *w, int vocab, float inv)
{
#pragma omp simd
    for (int i = 0; i < vocab; i++)
        recent[i] += (uint32_t)mix_probability_of((float)(int32_t)w[i], inv);
}

static void flush_expected(cpu_mix_sums *sums, int vocab)
{
#pragma omp simd
    for (int i = 0; i < vocab; i++)
        sums->expected[i] += sums->recent[i];
    memset(sums->recent, 0, (size_t)vocab * sizeof *sums->recent);
    sums->recent_rows = 0;
}

static void add_bias(cpu_mix_row *row, int coded, const int32_t *p, float inv)
{
    cpu_mix_sums *sums = row->sums;
    int vocab = row->mix->vocab;
    if (sums->recent_rows == MIX_RECENT_MAX)
        flush_expected(sums, vocab);
    sums->recent_rows++;
    add_expected(sums->recent, row->scratch->w, vocab, inv);
    for (int c = 0; c < row->changes; c++)
        sums->recent[row->change[c].symbol] += (uint32_t)p[c];
    if (coded < vocab)
        sums->seen[coded]++;
}

static void add_weights(const cpu_mix_row *row, int coded, const int32_t *p)
{
    cpu_mix_sums *sums = row->sums;
    for (int c = 0; c < row->changes; c++) {
        const cpu_mix_change *change = &row->change[c];
        mix_error error = mix_error_of(p[c], change->symbol == coded);
        int64_t norm = 0;
        for (int j = 0; j < OPS_WEIGHTS; j++)
            norm += abs(change->feature[j]);
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            mix_slope slope = mix_slope_of(error, change->feature[j], norm);
            sums->gradient[change->set][j] += slope.gradient;
            sums->gradient[change->other][j] += slope.gradient;
            sums->curvature[change->set][j] += slope.curvature;
            sums->curvature[change->other][j] += slope.curvature;
            sums->majorant[change->set][j] += slope.majorant;
            sums->majorant[change->other][j] += slope.majorant;
        }
    }
}

static void add_alpha(cpu_mix_row *row, int k, int coded, const int32_t *p)
{
    mix_moments m = {row->s0, row->s1[k], row->s2[k], 0, 0, 0};
    for (int c = 0; c < row->changes; c++) {
        int64_t v = mix_coarse_log_of(row->change[c].log[k]);
        m.p0 += p[c];
        m.p1 += p[c] * v;
        m.p2 += p[c] * v * v;
    }
    const int32_t *log = row->logits[k] ? row->scratch->log[k] : row->counts[k];
    mix_alpha_slope slope = mix_alpha_slope_of(m, log[coded]);
    row->sums->g[k] += slope.g;
    row->sums->h[k] += slope.h;
}

static void learn_add(cpu_mix_row *row, int coded, uint64_t total)
{
    int32_t p[OPS_CANDIDATES];
    float inv = mix_inverse_of(total);
    row->sums->used = true;
    for (int c = 0; c < row->changes; c++)
        p[c] = mix_probability_of((float)row->change[c].w, inv);
    if (row->bias)
        add_bias(row, coded, p, inv);
    add_weights(row, coded, p);
    for (int k = 0; row->learns_alpha && coded < row->mix->vocab && k < row->mix->experts; k++)
        add_alpha(row, k, coded, p);
}

/* ---- learning ------------------------------------------------------------- */

static void learn_step_bias(int32_t *bias, uint32_t *trust, const int64_t *expected,
                            const uint32_t *seen, int vocab)
{
#pragma omp simd
    for (int i = 0; i < vocab; i++)
        bias[i] = mix_step_bias(bias[i], &trust[i], seen[i], expected[i]);
}

const cpu_mix_learn_table CPU_ISA(cpu_mix_learn) = {learn_change, learn_add, learn_step_bias};
