/* cpu_mix_learn_isa.c: candidates, and the rows' contributions to the sums of an update; compiled
 * once a level of instruction set. ops.h has the formulas and the bounds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_mix.h"
#include "mixmath.h"

#define LOG2E_Q16      94548.4609375f /* log2(e) * 2^16 */
#define WEIGHT_MIN_LOG (-40 * (1 << 16))
#define LOGIT_MAX      7680             /* Q8: 30 bits */
#define DELTA_MAX      (24 * (1 << 16)) /* Q16 */

/* ---- candidates ----------------------------------------------------------- */

/* d[i] of ops.h, of a row that is kept. */
static int32_t log_weight(const cpu_mix_row *row, int i)
{
    double d = floor((row->scratch->t[i] - row->max_t) * 0x1p-16); /* integers below 2^53 */
    return d > WEIGHT_MIN_LOG ? (int32_t)d : WEIGHT_MIN_LOG;
}

static int level_of(int32_t logit)
{
    return (logit >= -2048) + (logit >= -1024) + (logit >= -256) + (logit >= 512);
}

/* The logit of a symbol of weight w = w(d), of weights that sum to z. */
static int32_t logit_of(int32_t d, uint64_t w, uint64_t z)
{
    uint64_t others = z > w ? z - w : 1;
    int32_t logit = (d + 30 * 65536 - det_log2_u64_q16(others)) >> 8;
    return (int32_t)mix_clamp(logit, -LOGIT_MAX, LOGIT_MAX);
}

static void change_one(const cpu_mix_row *row, cpu_mix_change *change, const ops_candidate *c,
                       uint64_t z)
{
    int x = c->symbol;
    int32_t d = log_weight(row, x), logit = logit_of(d, row->scratch->w[x], z);
    change->symbol = x;
    change->set = (c->order * 5 + level_of(logit)) * 3 + c->hits - 1;
    change->other = OPS_ORDER_SETS + c->selector;
    for (int j = 0; j < OPS_FEATURES; j++)
        change->feature[j] = c->feature[j];
    change->feature[OPS_FEATURES] = logit;
    change->feature[OPS_FEATURES + 1] = 256;
    for (int k = 0; row->learns_alpha && k < row->mix->experts; k++)
        change->log[k] = row->logits[k] ? row->scratch->log[k][x] : row->counts[k][x];

    const int32_t *weight = row->state->weights[change->set];
    const int32_t *other = row->state->weights[change->other];
    int64_t delta = 0;
    for (int j = 0; j < OPS_WEIGHTS; j++)
        delta += (int64_t)(weight[j] + other[j]) * change->feature[j];
    float log = (float)(d + (int32_t)mix_clamp(delta >> 8, -DELTA_MAX, DELTA_MAX));
    change->w = (uint64_t)rintf(det_exp2f(log * 0x1p-16f) * 0x1p30f);
}

static void learn_change(cpu_mix_row *row, const ops_candidate *candidate, int n, uint64_t z)
{
    for (int c = 0; c < n; c++)
        change_one(row, &row->change[c], &candidate[c], z);
    row->changes = n;
    for (int c = 0; c < n; c++) { /* all have seen the weights as they were */
        const cpu_mix_change *change = &row->change[c];
        uint32_t *w = &row->scratch->w[change->symbol];
        int64_t a = *w >> 10;
        row->sum[change->symbol / MIX_TILE] += change->w - *w;
        *w = 0;
        row->s0 -= a;
        for (int k = 0; row->learns_alpha && k < row->mix->experts; k++) {
            int64_t v = change->log[k] >> 12;
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
        recent[i] += (uint32_t)det_rint_s32((float)(int32_t)w[i] * inv);
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
        int64_t q = (p[c] + 8) >> 4, error = (change->symbol == coded ? 65536 : 0) - q;
        int64_t variance = (q * (65536 - q)) >> 16, size = ((error < 0 ? -error : error) + 8) >> 4;
        int64_t norm = 0;
        for (int j = 0; j < OPS_WEIGHTS; j++)
            norm += abs(change->feature[j]);
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            int64_t f = change->feature[j], slope = error * f, bend = variance * (f * f >> 8);
            int64_t most = size * ((f < 0 ? -f : f) * norm >> 8);
            sums->gradient[change->set][j] += slope;
            sums->gradient[change->other][j] += slope;
            sums->curvature[change->set][j] += bend;
            sums->curvature[change->other][j] += bend;
            sums->majorant[change->set][j] += most;
            sums->majorant[change->other][j] += most;
        }
    }
}

static void add_alpha(cpu_mix_row *row, int k, int coded, const int32_t *p)
{
    int64_t mean1 = row->s0 ? mix_floor_div(row->s1[k] * 256, row->s0) : 0;
    int64_t mean2 = row->s0 ? mix_floor_div(row->s2[k], row->s0) : 0;
    int64_t rest = MIX_P_ONE, sum1 = 0, sum2 = 0;
    for (int c = 0; c < row->changes; c++) {
        int64_t v = row->change[c].log[k] >> 12;
        rest -= p[c];
        sum1 += p[c] * v;
        sum2 += p[c] * v * v;
    }
    int64_t m1 = (rest * mean1 + sum1 * 256) >> 20;
    int64_t m2 = (rest * mean2 + sum2) >> 20;
    int64_t variance = m2 - (m1 * m1 >> 16);
    const int32_t *log = row->logits[k] ? row->scratch->log[k] : row->counts[k];
    row->sums->g[k] += (int64_t)(log[coded] >> 12) * 256 - m1;
    row->sums->h[k] += variance > 0 ? variance : 0;
}

static void learn_add(cpu_mix_row *row, int coded, uint64_t total)
{
    int32_t p[OPS_CANDIDATES];
    float inv = 0x1p20f / (float)total;
    row->sums->used = true;
    for (int c = 0; c < row->changes; c++)
        p[c] = det_rint_s32((float)row->change[c].w * inv);
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
