/* mixing.c: the product of experts as an integer distribution, and the learning from coded
 * symbols (kernels/ops.h, "mixing"). The names of sums are those of ops.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

typedef __int128 wide;

typedef struct {
    int64_t G, A, R, all_A; /* all_A: A* */
} weight_sums;

struct mixer {
    mixer_config config;
    size_t symbols; /* vocab and escapes */
    int32_t weights[SETS][SET_WEIGHTS];
    weight_sums sums[SETS][SET_WEIGHTS];
    int64_t *bias, *E, *N, *T; /* [vocab] */
    int64_t alpha[EXPERTS_MAX], g[EXPERTS_MAX], H[EXPERTS_MAX], all_H[EXPERTS_MAX];
    uint32_t *count, *pending; /* [vocab] of Naive Bayes, up to the last update and since it */

    /* the row that mixer_row() formed */
    int32_t *l[EXPERTS_MAX]; /* [vocab] */
    uint64_t *w;             /* [symbols] */
    uint64_t *start;         /* [symbols + 1] */
    uint64_t total;          /* Z' */
    int set[CANDIDATES];     /* the first set of each candidate */
    int64_t F[CANDIDATES][SET_WEIGHTS];
};

mixer *mixer_create(const mixer_config *config)
{
    mixer *m = take(1, sizeof *m);
    size_t vocab = config->vocab;
    m->config = *config;
    m->symbols = vocab + (size_t)config->escapes;
    m->bias = take(vocab, sizeof *m->bias);
    m->E = take(vocab, sizeof *m->E);
    m->N = take(vocab, sizeof *m->N);
    m->T = take(vocab, sizeof *m->T);
    m->count = take(vocab, sizeof *m->count);
    m->pending = take(vocab, sizeof *m->pending);
    for (int k = 0; k < config->experts; k++)
        m->l[k] = take(vocab, sizeof *m->l[k]);
    m->w = take(m->symbols, sizeof *m->w);
    m->start = take(m->symbols + 1, sizeof *m->start);
    mixer_reset(m);
    return m;
}

void mixer_reset(mixer *m)
{
    size_t vocab = m->config.vocab;
    memset(m->bias, 0, vocab * sizeof *m->bias);
    memset(m->E, 0, vocab * sizeof *m->E);
    memset(m->N, 0, vocab * sizeof *m->N);
    memset(m->T, 0, vocab * sizeof *m->T);
    memset(m->count, 0, vocab * sizeof *m->count);
    memset(m->pending, 0, vocab * sizeof *m->pending);
    memset(m->sums, 0, sizeof m->sums);
    for (int k = 0; k < m->config.experts; k++) {
        m->alpha[k] = m->config.alpha[k];
        m->g[k] = m->H[k] = m->all_H[k] = 0;
    }
    if (m->config.contexts)
        memcpy(m->weights, m->config.prior->weights, sizeof m->weights);
}

/* ---- the distribution of a row ----------------------------------------------------------------
 */

static int64_t limit(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* w of a logarithm, Q16. */
static uint64_t weight_of(int64_t d)
{
    return (uint64_t)rintf(power_of_2((float)d * 0x1p-16f) * 0x1p30f);
}

/* Logarithms l of an expert. */
static void expert_row(mixer *m, int k, const float *logits)
{
    uint32_t vocab = m->config.vocab;
    if (m->config.naive_bayes[k]) {
        for (uint32_t i = 0; i < vocab; i++)
            m->l[k][i] = log2_q16((uint64_t)m->count[i] + 1);
        return;
    }
    float max = logits[0];
    for (uint32_t i = 1; i < vocab; i++)
        max = fmaxf(max, logits[i]);
    for (uint32_t i = 0; i < vocab; i++)
        m->l[k][i] = (int32_t)rintf(fmaxf((logits[i] - max) * 94548.4609375f, -0x1p24f));
}

/* A candidate's new weight in place of w[x]; Z: the sum of all weights before any changes. */
static uint64_t candidate_weight(mixer *m, int i, const candidate *x, int64_t u, uint64_t Z)
{
    uint64_t w = m->w[x->symbol], rest = Z - w < 1 ? 1 : Z - w;
    int64_t o = limit((u + 30 * 65536 - log2_q16(rest)) >> 8, -7680, 7680), delta = 0;
    int level = o < -2048 ? 0 : o < -1024 ? 1 : o < -256 ? 2 : o < 512 ? 3 : 4;
    m->set[i] = (x->order * 5 + level) * 3 + x->hits - 1;
    for (int k = 0; k < MODELS; k++)
        m->F[i][k] = x->feature[k];
    m->F[i][8] = o;
    m->F[i][9] = 256;
    for (int j = 0; j < SET_WEIGHTS; j++) {
        int64_t both = m->weights[m->set[i]][j] + (int64_t)m->weights[120 + x->selector][j];
        delta += both * m->F[i][j];
    }
    return weight_of(u + limit(delta >> 8, -24 * 65536, 24 * 65536));
}

void mixer_row(mixer *m, float *const *logits, const candidate *row, int count)
{
    uint32_t vocab = m->config.vocab;
    void *scratch = mark();
    int64_t *t = take(vocab, sizeof *t), max = INT64_MIN;
    uint64_t Z = 0, changed[CANDIDATES], M = ((uint64_t)1 << 30) - m->symbols, sum = 0;
    for (int k = 0; k < m->config.experts; k++)
        expert_row(m, k, logits[k]);
    for (uint32_t i = 0; i < vocab; i++) {
        t[i] = m->bias[i] * 65536;
        for (int k = 0; k < m->config.experts; k++)
            t[i] += m->alpha[k] * m->l[k][i];
        max = t[i] > max ? t[i] : max;
    }
    for (uint32_t i = 0; i < vocab; i++) {
        t[i] = limit((t[i] - max) >> 16, -40 * 65536, 0);
        m->w[i] = weight_of(t[i]);
        Z += m->w[i];
    }
    for (int i = 0; i < count; i++)
        changed[i] = candidate_weight(m, i, &row[i], t[row[i].symbol], Z);
    for (int i = 0; i < count; i++) {
        Z += changed[i] - m->w[row[i].symbol];
        m->w[row[i].symbol] = changed[i];
    }
    release(scratch);

    for (size_t i = vocab; i < m->symbols; i++)
        m->w[i] = Z >> 20;
    m->total = Z + (uint64_t)m->config.escapes * (Z >> 20);
    int h = 0;
    while (m->total >> h >= (uint64_t)1 << 34)
        h++;
    for (size_t i = 0; i <= m->symbols; i++) {
        m->start[i] = ((sum >> h) * M) / (m->total >> h) + i;
        sum += i < m->symbols ? m->w[i] : 0;
    }
}

uint32_t mixer_find(const mixer *m, uint32_t target, uint64_t *start, uint64_t *freq)
{
    uint32_t x = 0;
    while (m->start[x + 1] <= target)
        x++;
    *start = m->start[x];
    *freq = m->start[x + 1] - m->start[x];
    return x;
}

/* ---- sums -------------------------------------------------------------------------------------
 */

/* p(i), Q20 */
static int64_t probability(const mixer *m, uint32_t i)
{
    float inv = 0x1p20f / (float)m->total;
    return (int64_t)rintf((float)m->w[i] * inv);
}

static void add_weights(mixer *m, uint32_t y, const candidate *x, int i)
{
    int64_t q = (probability(m, x->symbol) + 8) >> 4, sum = 0;
    int64_t e = (x->symbol == y ? 65536 : 0) - q;
    for (int j = 0; j < SET_WEIGHTS; j++)
        sum += llabs(m->F[i][j]);
    for (int set = m->set[i], n = 0; n < 2; set = 120 + x->selector, n++)
        for (int j = 0; j < SET_WEIGHTS; j++) {
            int64_t F = m->F[i][j];
            m->sums[set][j].G += e * F;
            m->sums[set][j].A += ((q * (65536 - q)) >> 16) * (F * F >> 8);
            m->sums[set][j].R += ((llabs(e) + 8) >> 4) * (llabs(F) * sum >> 8);
        }
}

static wide floor_div(wide a, wide b)
{
    return a / b - (a % b < 0);
}

static void add_alpha(mixer *m, int k, uint32_t y, const candidate *row, int count)
{
    wide S0 = 0, S1 = 0, S2 = 0, R = 1 << 20, p1 = 0, p2 = 0;
    for (uint32_t i = 0; i < m->config.vocab; i++) {
        bool proposed = false;
        for (int j = 0; j < count; j++)
            proposed = proposed || row[j].symbol == i;
        int64_t v = m->l[k][i] >> 12, a = (int64_t)(m->w[i] >> 10), p = probability(m, i);
        if (proposed) {
            R -= p;
            p1 += p * v;
            p2 += p * v * v;
        } else {
            S0 += a;
            S1 += (wide)a * v;
            S2 += (wide)a * v * v;
        }
    }
    wide M1 = S0 ? floor_div(S1 * 256, S0) : 0, M2 = S0 ? floor_div(S2, S0) : 0;
    wide m1 = (R * M1 + 256 * p1) >> 20, m2 = (R * M2 + p2) >> 20, H = m2 - (m1 * m1 >> 16);
    m->g[k] += (m->l[k][y] >> 12) * 256 - (int64_t)m1;
    m->H[k] += H > 0 ? (int64_t)H : 0;
}

void mixer_add(mixer *m, uint32_t y, const candidate *row, int count)
{
    uint32_t vocab = m->config.vocab;
    if (m->config.biases)
        for (uint32_t i = 0; i < vocab; i++)
            m->E[i] += probability(m, i);
    for (int i = 0; i < count; i++)
        add_weights(m, y, &row[i], i);
    if (y >= vocab)
        return;
    m->N[y]++;
    m->pending[y]++;
    for (int k = 0; k < m->config.experts && m->config.alphas; k++)
        add_alpha(m, k, y, row, count);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void step_bias(mixer *m, uint32_t i)
{
    const int64_t one = 1 << 20;
    int64_t E = m->E[i], N = m->N[i] * one, K = 2 * (m->T[i] + E + 2 * one);
    float step = ((float)(N - E) * 189096.921875f) / (float)(N + E + K);
    m->T[i] = limit(m->T[i] + E, 0, 60 * one);
    m->bias[i] = limit(m->bias[i] + (int64_t)rintf(step), -(1 << 19), 1 << 19);
    m->E[i] = m->N[i] = 0;
}

static void step_weight(weight_sums *s, int32_t *weight)
{
    s->all_A += s->A;
    int64_t D = limit(600 * 256 + (s->all_A >> 16), 0, 4000 * 256) + 16 * (s->A >> 16);
    if (D < 3 * (s->R >> 12))
        D = 3 * (s->R >> 12);
    int64_t step = (int64_t)floor_div(4 * (wide)s->G + D, 2 * (wide)D);
    *weight = (int32_t)limit(*weight + step, -(1 << 22), 1 << 22);
    s->G = s->A = s->R = 0;
}

static void step_alpha(mixer *m, int k)
{
    int64_t K = m->config.experts, start = m->config.alpha[k];
    m->all_H[k] += m->H[k];
    int64_t D = 200 * 256 + ((123 * (m->all_H[k] + (K - 1) * m->H[k])) >> 8);
    int64_t step = (int64_t)floor_div(2 * ((wide)m->g[k] * 4096) + D, 2 * (wide)D);
    m->alpha[k] = limit(m->alpha[k] + limit(step, -(1 << 14), 1 << 14), start / 5, 1 << 17);
    m->g[k] = m->H[k] = 0;
}

void mixer_learn(mixer *m)
{
    for (uint32_t i = 0; i < m->config.vocab; i++) {
        m->count[i] += m->pending[i];
        m->pending[i] = 0;
        if (m->config.biases)
            step_bias(m, i);
    }
    for (int set = 0; set < SETS && m->config.contexts; set++)
        for (int j = 0; j < SET_WEIGHTS; j++)
            step_weight(&m->sums[set][j], &m->weights[set][j]);
    for (int k = 0; k < m->config.experts && m->config.alphas; k++)
        step_alpha(m, k);
}
