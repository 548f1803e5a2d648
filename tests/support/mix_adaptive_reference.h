/* mix_adaptive_reference.h: ops.h's formulas of mixing that learns, written down plainly, in
 * integers of 128 bits. */
#ifndef GPUZIP_MIX_ADAPTIVE_REFERENCE_H
#define GPUZIP_MIX_ADAPTIVE_REFERENCE_H

#include "mix_adaptive_rows.h"

#define TOTAL (1u << OPS_CDF_BITS)

typedef __int128 wide;

typedef struct {
    ops_adaptive_config config;
    int32_t *bias;
    wide *trust, *expected, *seen; /* [vocab] T, E, N */
    wide alpha[OPS_MAX_EXPERTS], g[OPS_MAX_EXPERTS], h[OPS_MAX_EXPERTS], all_h[OPS_MAX_EXPERTS];
    int32_t weights[OPS_SETS][OPS_WEIGHTS];
    wide gradient[OPS_SETS][OPS_WEIGHTS], curvature[OPS_SETS][OPS_WEIGHTS];
    wide all_curvature[OPS_SETS][OPS_WEIGHTS], majorant[OPS_SETS][OPS_WEIGHTS];
} naive;

/* One row's numbers. */
typedef struct {
    wide *w;                  /* [vocab] as changed */
    wide *l[OPS_MAX_EXPERTS]; /* [vocab] */
    wide *d;                  /* [vocab] */
    wide z, total;
    int set[OPS_CANDIDATES], other[OPS_CANDIDATES];
    wide delta[OPS_CANDIDATES], feature[OPS_CANDIDATES][OPS_WEIGHTS];
} naive_row;

static naive naive_new(const ops_adaptive_config *config)
{
    naive n = {.config = *config};
    size_t vocab = (size_t)config->vocab;
    n.bias = test_array(vocab, sizeof *n.bias);
    n.trust = test_array(vocab, sizeof *n.trust);
    n.expected = test_array(vocab, sizeof *n.expected);
    n.seen = test_array(vocab, sizeof *n.seen);
    for (int k = 0; k < config->experts; k++)
        n.alpha[k] = config->start[k];
    memcpy(n.weights, config->weights, sizeof n.weights);
    return n;
}

static void naive_free(naive *n)
{
    free(n->bias);
    free(n->trust);
    free(n->expected);
    free(n->seen);
}

static wide bound(wide x, wide low, wide high)
{
    return x < low ? low : x > high ? high : x;
}

static wide divide(wide a, wide b) /* floor, b > 0 */
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static wide weight_of(wide d)
{
    return (wide)rintf(det_exp2f((float)(int64_t)d * 0x1p-16f) * 0x1p30f);
}

static wide log2_of(wide n)
{
    int shift = 0;
    while (n >> shift >= (wide)1 << 32)
        shift++;
    return det_log2_q16((uint32_t)(n >> shift)) + shift * 65536;
}

static int candidates_of(const ops_mix *mix, int r)
{
    return mix->candidates && mix->candidates[r] > 0 ? mix->candidates[r] : 0;
}

static naive_row naive_open(const naive *n, const ops_mix *mix, int r)
{
    naive_row row = {0};
    size_t vocab = (size_t)mix->vocab;
    wide max_t = 0, *t = test_array(vocab, sizeof *t);
    row.w = test_array(vocab, sizeof *row.w);
    row.d = test_array(vocab, sizeof *row.d);
    for (int k = 0; k < mix->experts; k++) {
        const ops_expert *expert = &mix->expert[k];
        const float *x = expert->logits ? expert->logits + (size_t)r * expert->stride : NULL;
        float max = -INFINITY;
        row.l[k] = test_array(vocab, sizeof *row.l[k]);
        for (size_t i = 0; x && i < vocab; i++)
            max = fmaxf(max, x[i]);
        for (size_t i = 0; i < vocab; i++) {
            row.l[k][i] = x ? (int64_t)rintf(fmaxf((x[i] - max) * 94548.4609375f, -0x1p24f))
                            : expert->counts[i];
            t[i] += (n->config.alpha ? n->alpha[k] : expert->alpha) * row.l[k][i];
        }
    }
    for (size_t i = 0; i < vocab; i++) {
        t[i] += (wide)(n->config.bias ? n->bias[i] : 0) * 65536;
        max_t = i == 0 || t[i] > max_t ? t[i] : max_t;
    }
    for (size_t i = 0; i < vocab; i++) {
        row.d[i] = bound((t[i] - max_t) >> 16, -40 * 65536, 0);
        row.w[i] = weight_of(row.d[i]);
        row.z += row.w[i];
    }
    wide z = row.z;
    for (int c = 0; c < candidates_of(mix, r); c++) {
        const ops_candidate *x = &mix->candidate[(size_t)r * OPS_CANDIDATES + (size_t)c];
        wide u = row.d[x->symbol], w = row.w[x->symbol], sum = 0;
        wide o = bound((u + 30 * 65536 - log2_of(z - w > 1 ? z - w : 1)) >> 8, -7680, 7680);
        int level = o < -2048 ? 0 : o < -1024 ? 1 : o < -256 ? 2 : o < 512 ? 3 : 4;
        row.set[c] = (x->order * 5 + level) * 3 + x->hits - 1;
        row.other[c] = 120 + x->selector;
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            row.feature[c][j] = j < 8 ? x->feature[j] : j == 8 ? o : 256;
            sum += n->weights[row.set[c]][j] * row.feature[c][j];
            sum += n->weights[row.other[c]][j] * row.feature[c][j];
        }
        row.delta[c] = bound(sum >> 8, -24 * 65536, 24 * 65536);
        row.w[x->symbol] = weight_of(u + row.delta[c]);
        row.z += row.w[x->symbol] - w;
    }
    row.total = row.z + mix->escapes * (row.z >> 20);
    free(t);
    return row;
}

static void naive_close(naive_row *row)
{
    for (int k = 0; k < OPS_MAX_EXPERTS; k++)
        free(row->l[k]);
    free(row->w);
    free(row->d);
}

static void naive_cdf(const naive_row *row, const ops_mix *mix, uint32_t *start)
{
    int symbols = mix->vocab + mix->escapes, h = 0;
    wide c = 0;
    while (row->total >> h >= (wide)1 << 34)
        h++;
    for (int i = 0; i <= symbols; i++) {
        start[i] =
            (uint32_t)((c >> h) * (TOTAL - (uint32_t)symbols) / (row->total >> h)) + (uint32_t)i;
        c += i < mix->vocab ? row->w[i] : row->z >> 20;
    }
}

static wide probability(const naive_row *row, int i)
{
    float inv = 0x1p20f / (float)(uint64_t)row->total;
    return (wide)rintf((float)(uint64_t)row->w[i] * inv);
}

static void naive_add_alpha(naive *n, const naive_row *row, const ops_mix *mix, int r, int k, int y)
{
    wide s0 = 0, s1 = 0, s2 = 0, rest = 1 << 20, p1 = 0, p2 = 0;
    for (int i = 0; i < mix->vocab; i++) {
        wide v = row->l[k][i] >> 12, a = row->w[i] >> 10, p = probability(row, i);
        bool candidate = false;
        for (int c = 0; c < candidates_of(mix, r); c++)
            candidate |= mix->candidate[(size_t)r * OPS_CANDIDATES + (size_t)c].symbol == i;
        if (candidate) {
            rest -= p;
            p1 += p * v;
            p2 += p * v * v;
        } else {
            s0 += a;
            s1 += a * v;
            s2 += a * v * v;
        }
    }
    assert_true(s2 <= (wide)1 << 62);
    wide m1 = (rest * (s0 ? divide(s1 * 256, s0) : 0) + 256 * p1) >> 20;
    wide m2 = (rest * (s0 ? divide(s2, s0) : 0) + p2) >> 20;
    wide variance = m2 - (m1 * m1 >> 16);
    n->g[k] += (row->l[k][y] >> 12) * 256 - m1;
    n->h[k] += variance > 0 ? variance : 0;
}

static void naive_add(naive *n, const naive_row *row, const ops_mix *mix, int r, int y)
{
    for (int i = 0; i < mix->vocab; i++)
        n->expected[i] += probability(row, i);
    if (y < mix->vocab)
        n->seen[y]++;
    for (int c = 0; c < candidates_of(mix, r); c++) {
        int x = mix->candidate[(size_t)r * OPS_CANDIDATES + (size_t)c].symbol;
        wide q = (probability(row, x) + 8) >> 4, e = (x == y ? 65536 : 0) - q, sum = 0;
        for (int j = 0; j < OPS_WEIGHTS; j++)
            sum += row->feature[c][j] < 0 ? -row->feature[c][j] : row->feature[c][j];
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            wide f = row->feature[c][j];
            for (int i = 0; i < 2; i++) {
                int set = i ? row->other[c] : row->set[c];
                n->gradient[set][j] += e * f;
                n->curvature[set][j] += (q * (65536 - q) >> 16) * (f * f >> 8);
                n->majorant[set][j] +=
                    (((e < 0 ? -e : e) + 8) >> 4) * ((f < 0 ? -f : f) * sum >> 8);
            }
        }
    }
    for (int k = 0; y < mix->vocab && k < mix->experts; k++)
        naive_add_alpha(n, row, mix, r, k, y);
}

static void naive_learn(naive *n)
{
    for (int i = 0; i < n->config.vocab; i++) {
        wide came = n->seen[i] << 20, expected = n->expected[i];
        wide pseudo = 2 * (n->trust[i] + expected + (2 << 20));
        float step = (float)(int64_t)(came - expected) * 189096.921875f;
        step = rintf(step / (float)(int64_t)(came + expected + pseudo));
        n->bias[i] = (int32_t)bound(n->bias[i] + (wide)step, -OPS_BIAS_MAX, OPS_BIAS_MAX);
        n->trust[i] = bound(n->trust[i] + expected, 0, 60 << 20);
        n->expected[i] = n->seen[i] = 0;
    }
    for (int s = 0; s < OPS_SETS; s++)
        for (int j = 0; j < OPS_WEIGHTS; j++) {
            n->all_curvature[s][j] += n->curvature[s][j];
            wide d = bound((600 << 8) + (n->all_curvature[s][j] >> 16), 0, 4000 << 8);
            d += 16 * (n->curvature[s][j] >> 16);
            if (d < 3 * (n->majorant[s][j] >> 12))
                d = 3 * (n->majorant[s][j] >> 12);
            wide w = n->weights[s][j] + divide(4 * n->gradient[s][j] + d, 2 * d);
            n->weights[s][j] = (int32_t)bound(w, -OPS_WEIGHT_MAX, OPS_WEIGHT_MAX);
            n->gradient[s][j] = n->curvature[s][j] = n->majorant[s][j] = 0;
        }
    for (int k = 0; k < n->config.experts; k++) {
        n->all_h[k] += n->h[k];
        wide d = (200 << 8) + (123 * (n->all_h[k] + (n->config.experts - 1) * n->h[k]) >> 8);
        wide step = bound(divide(2 * (n->g[k] * 4096) + d, 2 * d), -16384, 16384);
        n->alpha[k] = bound(n->alpha[k] + step, n->config.start[k] / 5, 1 << 17);
        n->g[k] = n->h[k] = 0;
    }
}

#endif
