/* fit.c: see fit.h. Newton's method within a box. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fit.h"

#define EXPERTS  GPUZIP_MAX_EXPERTS
#define LANES    8  /* independent partial sums, for SIMD */
#define GROUPS   32 /* groups of rows, each summed by one thread */
#define LN2      0.693147180559945309
#define STEPS    50   /* at most; a few suffice */
#define ENOUGH   1e-6 /* bits a symbol: the least predicted gain of a step */
#define SMALLEST 1e-6 /* of a step, in Newton's steps */
#define NEAR     1e-6 /* to an end of the range: at it */

/* F with its derivatives, or its sums over some rows. */
typedef struct {
    double bits;
    double gradient[EXPERTS];
    double curvature[EXPERTS][EXPERTS];
} moments;

/* ---- sums over a row ----------------------------------------------------- */

/* 2^x for x <= 0, error below 1e-8; uses + - * / only, so that it is the same on every machine. */
static inline double exp2_below(double x)
{
    double bounded = x > -1000 ? x : -1000;
    int n = (int)(bounded - 0.5);
    double y = (bounded - n) * LN2; /* |y| <= ln(2) / 2 */
    double e = 1 + y * (1.0 / 7);
    e = 1 + y * (1.0 / 6) * e;
    e = 1 + y * (1.0 / 5) * e;
    e = 1 + y * (1.0 / 4) * e;
    e = 1 + y * (1.0 / 3) * e;
    e = 1 + y * (1.0 / 2) * e;
    e = 1 + y * e;
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* t[i] = sum_k alpha_k log2 p_k(i); returns the greatest. */
static double join(double *t, const int16_t *log, int experts, int vocab, const double *alpha)
{
    for (int i = 0; i < vocab; i++)
        t[i] = 0;
    for (int k = 0; k < experts; k++, log += vocab) {
        double factor = alpha[k] / FIT_SCALE;
        for (int i = 0; i < vocab; i++)
            t[i] += factor * log[i];
    }
    double most = t[0];
    for (int i = 1; i < vocab; i++)
        most = t[i] > most ? t[i] : most;
    return most;
}

static double add_lanes(const double lane[LANES])
{
    double sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

/* sum_i w[i] x[i] */
static double weigh(const double *w, const int16_t *x, int n)
{
    double lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += w[i + j] * x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += w[i] * x[i];
    return add_lanes(lane);
}

/* sum_i w[i] x[i] y[i] */
static double weigh_product(const double *w, const int16_t *x, const int16_t *y, int n)
{
    double lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += w[i + j] * (x[i + j] * y[i + j]);
    for (int j = 0; i < n; i++, j++)
        lane[j] += w[i] * (x[i] * y[i]);
    return add_lanes(lane);
}

/* Turns t into 2^(t - most), and returns their sum. */
static double raise_all(double *t, int n, double most)
{
    double lane[LANES] = {0};
    int i = 0;
    for (; i < n; i++)
        t[i] = exp2_below(t[i] - most);
    for (i = 0; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += t[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += t[i];
    return add_lanes(lane);
}

/* Adds row r to the sums. w: [vocab] scratch. The derivative of log2 Z by alpha_k is the mean of
 * log2 p_k under the product, the second by alpha_j as well ln 2 times their covariance. */
static void add_row(moments *sum, const fit_rows *rows, int r, const double *alpha, double *w)
{
    int experts = rows->experts, vocab = rows->vocab;
    const int16_t *log = rows->log + (size_t)r * (size_t)experts * (size_t)vocab;
    double most = join(w, log, experts, vocab, alpha);
    double z = raise_all(w, vocab, most), mean[EXPERTS];
    sum->bits += most + log2(z);
    for (int k = 0; k < experts; k++) {
        const int16_t *own = log + (size_t)k * (size_t)vocab;
        double seen = own[rows->symbol[r]];
        mean[k] = weigh(w, own, vocab) / z;
        sum->bits -= alpha[k] * seen / FIT_SCALE;
        sum->gradient[k] += (mean[k] - seen) / FIT_SCALE;
        for (int j = 0; j <= k; j++) {
            double both = weigh_product(w, own, log + (size_t)j * (size_t)vocab, vocab) / z;
            sum->curvature[k][j] += LN2 * (both - mean[k] * mean[j]) / (FIT_SCALE * FIT_SCALE);
        }
    }
}

/* The threads' sums. */
typedef struct {
    const fit_rows *rows;
    const double *alpha;
    double *scratch; /* [GROUPS][vocab] */
    moments *sum;    /* [GROUPS] */
} fit_job;

static void add_group(const void *of, int g, int worker)
{
    const fit_job *job = of;
    (void)worker;
    job->sum[g] = (moments){0};
    for (int r = g; r < job->rows->rows; r += GROUPS)
        add_row(&job->sum[g], job->rows, r, job->alpha,
                job->scratch + (size_t)g * (size_t)job->rows->vocab);
}

/* F and its derivatives. scratch: [GROUPS][vocab]. */
static void evaluate(moments *out, const fit_rows *rows, const double *alpha, pool *threads,
                     double *scratch)
{
    moments sum[GROUPS], all = {0};
    pool_run(threads, pool_threads(threads), GROUPS, add_group,
             &(fit_job){rows, alpha, scratch, sum});
    for (int g = 0; g < GROUPS; g++) {
        all.bits += sum[g].bits / rows->rows;
        for (int k = 0; k < rows->experts; k++) {
            all.gradient[k] += sum[g].gradient[k] / rows->rows;
            for (int j = 0; j <= k; j++)
                all.curvature[k][j] += sum[g].curvature[k][j] / rows->rows;
        }
    }
    *out = all;
}

/* ---- the minimum --------------------------------------------------------- */

/* Solves curvature * x = -gradient for own[n] of the experts, by Cholesky's decomposition.
 * Experts that agree make the matrix singular, which the ridge mends. */
static void solve(const moments *m, const int *own, int n, double *x)
{
    double l[EXPERTS][EXPERTS] = {{0}};
    for (int a = 0; a < n; a++) {
        for (int b = 0; b <= a; b++) {
            double rest = m->curvature[own[a]][own[b]];
            if (a == b)
                rest += 1e-6 * rest + 1e-9;
            for (int c = 0; c < b; c++)
                rest -= l[a][c] * l[b][c];
            l[a][b] = a == b ? sqrt(rest > 1e-12 ? rest : 1e-12) : rest / l[b][b];
        }
        x[a] = -m->gradient[own[a]];
        for (int c = 0; c < a; c++)
            x[a] -= l[a][c] * x[c];
        x[a] /= l[a][a];
    }
    for (int a = n - 1; a >= 0; a--) {
        for (int c = a + 1; c < n; c++)
            x[a] -= l[c][a] * x[c];
        x[a] /= l[a][a];
    }
}

/* Newton's step; alphas at a bound beyond which F falls stay there. Returns the gain that the
 * quadratic model predicts. */
static double find_step(const moments *m, const double *alpha, double most, int experts,
                        double *step)
{
    double x[EXPERTS], gain = 0;
    int own[EXPERTS], n = 0;
    for (int k = 0; k < experts; k++) {
        step[k] = 0;
        if (!(alpha[k] < NEAR && m->gradient[k] > 0) &&
            !(alpha[k] > most - NEAR && m->gradient[k] < 0))
            own[n++] = k;
    }
    solve(m, own, n, x);
    for (int a = 0; a < n; a++) {
        step[own[a]] = x[a];
        gain -= 0.5 * m->gradient[own[a]] * x[a];
    }
    return gain;
}

static double within(double alpha, double most)
{
    return fmin(fmax(alpha, 0), most);
}

gpuzip_status fit_alphas(const fit_rows *rows, double most, int threads, double *out, double *bits)
{
    double alpha[EXPERTS], tried[EXPERTS], step[EXPERTS];
    double *scratch = malloc(GROUPS * (size_t)rows->vocab * sizeof *scratch);
    pool *shared = NULL;
    moments now, next;
    int experts = rows->experts;
    bool gained = true;
    if (!scratch || pool_open(&shared, threads) != GPUZIP_OK) {
        free(scratch);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    for (int k = 0; k < experts; k++)
        alpha[k] = 1.0 / experts;
    evaluate(&now, rows, alpha, shared, scratch);
    for (int i = 0; i < STEPS && gained; i++) {
        double gain = find_step(&now, alpha, most, experts, step);
        gained = false;
        for (double size = 1; gain > ENOUGH && size > SMALLEST && !gained; size /= 2) {
            for (int k = 0; k < experts; k++)
                tried[k] = within(alpha[k] + size * step[k], most);
            evaluate(&next, rows, tried, shared, scratch);
            gained = next.bits < now.bits;
        }
        if (gained) {
            memcpy(alpha, tried, sizeof alpha);
            now = next;
        }
    }
    pool_close(shared);
    free(scratch);
    memcpy(out, alpha, (size_t)experts * sizeof *alpha);
    *bits = now.bits;
    return GPUZIP_OK;
}
