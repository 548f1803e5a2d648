/* mix_adaptive.cuh: candidates of a row, and the row's contributions to the sums of an update.
 * Sums over the vocabulary use the weights without candidates; a correction for each
 * candidate's symbol follows.
 */
#ifndef GPUZIP_MIX_ADAPTIVE_CUH
#define GPUZIP_MIX_ADAPTIVE_CUH

#include "mix.cuh"

/* A row's candidates; shared. */
typedef struct {
    int count;
    int symbol[OPS_CANDIDATES];
    int set[OPS_CANDIDATES], other[OPS_CANDIDATES]; /* of weights */
    int logit[OPS_CANDIDATES];                      /* o */
    int norm[OPS_CANDIDATES];                       /* sum |F[j]| */
    unsigned old[OPS_CANDIDATES];                   /* w without candidates */
    unsigned long long now[OPS_CANDIDATES];         /* w' */
    int p[OPS_CANDIDATES];                          /* p of w' */
} mix_changes;

static __device__ __forceinline__ const ops_candidate *row_candidate(const mix_args *p, int c)
{
    return &p->mix.candidate[(size_t)blockIdx.x * OPS_CANDIDATES + c];
}

/* F[j] of candidate c. */
static __device__ __forceinline__ int candidate_input(const mix_args *p, const mix_changes *ch,
                                                      int c, int j)
{
    if (j < OPS_FEATURES)
        return row_candidate(p, c)->feature[j];
    return j == OPS_FEATURES ? ch->logit[c] : MIX_CONSTANT;
}

template <mix_kind KIND>
static __device__ void change_one(const mix_args *p, const mix_row *row, mix_changes *ch,
                                  mix_source from, int c, unsigned long long z)
{
    const ops_candidate *x = row_candidate(p, c);
    int d = mix_depth<KIND>(p, row, from, x->symbol);
    unsigned w = mix_weight_of(d);
    int logit = mix_logit_of(d, w, z), set = mix_set_of(x->order, x->hits, logit);
    ch->symbol[c] = x->symbol;
    ch->logit[c] = logit;
    ch->set[c] = set;
    ch->other[c] = mix_other_set_of(x->selector);
    ch->old[c] = w;

    const int32_t *weights = state_at(&p->adaptive, from.state).weights;
    const int32_t *weight = weights + set * OPS_WEIGHTS;
    const int32_t *other = weights + ch->other[c] * OPS_WEIGHTS;
    long long sum = 0;
    int norm = 0;
    for (int j = 0; j < OPS_WEIGHTS; j++) {
        int f = candidate_input(p, ch, c, j);
        sum += (long long)(weight[j] + other[j]) * f;
        norm += abs(f);
    }
    ch->norm[c] = norm;
    ch->now[c] = mix_changed_weight_of(d, sum);
}

/* Fills in *ch (shared) for a row of weights that sum to z; the whole block calls it. */
template <mix_kind KIND>
static __device__ void mix_change(const mix_args *p, const mix_row *row, mix_changes *ch,
                                  mix_source from, unsigned long long z)
{
    int count = p->mix.candidates != NULL ? p->mix.candidates[blockIdx.x] : 0;
    if (threadIdx.x == 0)
        ch->count = max(count, 0);
    if ((int)threadIdx.x < count)
        change_one<KIND>(p, row, ch, from, threadIdx.x, z);
    __syncthreads();
}

/* The change of C[i] by candidates. */
static __device__ __forceinline__ unsigned long long changes_before(const mix_changes *ch, int i)
{
    unsigned long long sum = 0;
    for (int c = 0; c < ch->count; c++)
        sum += ch->symbol[c] < i ? ch->now[c] - ch->old[c] : 0;
    return sum;
}

/* w[i] of ops.h, w without candidates. */
static __device__ __forceinline__ unsigned long long changed_weight(const mix_changes *ch, int i,
                                                                    unsigned w)
{
    unsigned long long changed = w;
    for (int c = 0; c < ch->count; c++)
        changed = ch->symbol[c] == i ? ch->now[c] : changed;
    return changed;
}

/* -- sums ------------------------------------------------------------------------ */

/* p of a weight without candidates; one that was changed is put right later, and only must
 * be in range. */
static __device__ __forceinline__ int probability(unsigned w, float inv)
{
    float weight = (float)(int)w;
    return weight * inv < (float)MIX_P_ONE ? mix_probability_of(weight, inv) : MIX_P_ONE;
}

static __device__ __forceinline__ void add_s64(unsigned long long *sum, long long x)
{
    atomicAdd(sum, (unsigned long long)x);
}

/* Subtracts the candidates' symbols from the sums for expert k and adds the rest to the adaptive
 * state; called by the first warp. */
template <mix_kind KIND>
static __device__ void add_alpha(const mix_args *p, const adaptive_state *s, const mix_row *row,
                                 const mix_changes *ch, mix_source from, int k, int coded,
                                 mix_moments m)
{
    int c = threadIdx.x;
    long long a = 0, v = 0, pc = 0;
    if (c < ch->count) {
        a = mix_coarse_weight_of(ch->old[c]);
        v = mix_coarse_log_of(mix_expert_log<KIND>(p, row, k, from, ch->symbol[c]));
        pc = ch->p[c];
    }
    m.s0 -= warp_sum(a);
    m.s1 -= warp_sum(a * v);
    m.s2 -= warp_sum(a * v * v);
    m.p0 = warp_sum(pc);
    m.p1 = warp_sum(pc * v);
    m.p2 = warp_sum(pc * v * v);
    if (c == 0) {
        mix_alpha_slope slope = mix_alpha_slope_of(m, mix_expert_log<KIND>(p, row, k, from, coded));
        add_s64(&s->g[k], slope.g);
        add_s64(&s->h[k], slope.h);
    }
}

/* One pass over the vocabulary: E if `expected`, and the sums for expert k if alpha. */
template <mix_kind KIND>
static __device__ void add_symbols(const mix_args *p, const adaptive_state *s, mix_row *row,
                                   const mix_changes *ch, mix_source from, int k, int coded,
                                   float inv, bool expected, bool alpha)
{
    mix_moments m = {0, 0, 0, 0, 0, 0};
    for (int i = threadIdx.x; i < p->mix.vocab; i += THREADS) {
        unsigned w = mix_weight<KIND>(p, row, from, i);
        int pi = expected ? probability(w, inv) : 0;
        if (pi != 0)
            add_s64(&s->expected[i], pi);
        if (alpha) {
            long long a = mix_coarse_weight_of(w);
            int v = mix_coarse_log_of(mix_expert_log<KIND>(p, row, k, from, i));
            m.s0 += a;
            m.s1 += a * v;
            m.s2 += a * (v * v);
        }
    }
    if (!alpha)
        return;
    m.s0 = block_sum(m.s0, row->scratch);
    m.s1 = block_sum(m.s1, row->scratch);
    m.s2 = block_sum(m.s2, row->scratch);
    if (threadIdx.x < 32)
        add_alpha<KIND>(p, s, row, ch, from, k, coded, m);
}

/* G, A and R of a candidate's sets, for one j of F. */
static __device__ void add_weight(const mix_args *p, const adaptive_state *s, const mix_changes *ch,
                                  int coded, int c, int j)
{
    mix_error error = mix_error_of(ch->p[c], ch->symbol[c] == coded);
    mix_slope slope = mix_slope_of(error, candidate_input(p, ch, c, j), ch->norm[c]);
    int at[2] = {ch->set[c] * OPS_WEIGHTS + j, ch->other[c] * OPS_WEIGHTS + j};
    for (int i = 0; i < 2; i++) {
        add_s64(&s->gradient[at[i]], slope.gradient);
        add_s64(&s->curvature[at[i]], slope.curvature);
        add_s64(&s->majorant[at[i]], slope.majorant);
    }
}

/* Adds the row, whose symbol is `coded`, to the sums; total is Z' of ops.h. The whole block
 * calls it. */
template <mix_kind KIND>
static __device__ void mix_add(const mix_args *p, mix_row *row, mix_changes *ch, mix_source from,
                               int coded, unsigned long long total)
{
    if (p->mix.candidates != NULL && p->mix.candidates[blockIdx.x] < 0)
        return;
    adaptive_state s = state_at(&p->adaptive, from.state);
    int thread = threadIdx.x;
    float inv = mix_inverse_of(total);
    if (thread < ch->count) {
        int pc = mix_probability_of((float)ch->now[thread], inv);
        ch->p[thread] = pc;
        if (s.bias != NULL)
            add_s64(&s.expected[ch->symbol[thread]], pc - probability(ch->old[thread], inv));
    }
    if (thread == 0 && s.bias != NULL && coded < p->mix.vocab)
        atomicAdd(&s.seen[coded], 1u);
    __syncthreads();
    if (thread < ch->count * OPS_WEIGHTS)
        add_weight(p, &s, ch, coded, thread / OPS_WEIGHTS, thread % OPS_WEIGHTS);

    bool bias = s.bias != NULL, alpha = s.alpha != NULL && coded < p->mix.vocab;
    if (bias || alpha)
        add_symbols<KIND>(p, &s, row, ch, from, 0, coded, inv, bias, alpha);
    for (int k = 1; KIND == ADAPTIVE && alpha && k < p->mix.experts; k++)
        add_symbols<KIND>(p, &s, row, ch, from, k, coded, inv, false, true);
}

#endif
