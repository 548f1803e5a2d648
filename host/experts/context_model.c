/* context_model.c: the tables, the match model, their states; coder/CONTEXTS.md defines them. */
#include "context_model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "context_bucket.h"
#include "detmath.h"
#include "token_hash.h"

#define TABLES        6 /* of the contexts */
#define MATCH         TABLES
#define NGRAMS        (TABLES + 1)
#define PART_STATE    (TABLES + 1)
#define NGRAMS_BEFORE 2  /* n-gram candidates precede those of this table */
#define BATCH         16 /* rows prefetched before the first is read */

#define HASH_BYTES   ((uint64_t)1 << 32)
#define SEEN_MAX     255
#define MATCH_TOKENS 6                      /* tokens that a match needs */
#define MATCH_LOOK   32                     /* tokens compared at most */
#define MATCH_LONG   16                     /* a match of this length may miss once */
#define Q_MIN        ((uint64_t)2147484)    /* 0.0005, Q32 */
#define Q_MAX        ((uint64_t)4294108303) /* 0.9998 */

typedef struct {
    uint32_t stream, step; /* step 0: none */
} place;

typedef struct {
    place at; /* its token is the prediction for `next` */
    uint32_t length;
    bool missed;
    size_t next; /* step */
} match_state;

/* The candidates that were predicted for a row. */
typedef struct {
    uint32_t stamp; /* step + 1; else the row was not predicted */
    int32_t candidates;
    uint32_t symbol[OPS_CANDIDATES];
    uint8_t state[OPS_FEATURES][OPS_CANDIDATES];
} prediction;

/* A state of a context. */
typedef struct {
    uint32_t q;            /* Q32 */
    uint32_t seen;         /* <= SEEN_MAX */
    uint32_t shown, right; /* since the last update: candidates, and correct ones */
} state_stats;

struct context_model {
    context_model_config config;
    size_t origin, learnt;         /* steps */
    bool clear;                    /* the tables are */
    uint32_t mask;                 /* buckets - 1 */
    context_bucket *table[TABLES]; /* [mask + 1] */
    place *places;                 /* [mask + 1] */
    match_state *match;            /* [streams] */
    size_t rows;                   /* steps before an update, times streams */
    prediction *predicted;         /* [rows] */
    state_stats stats[OPS_FEATURES][CONTEXT_MODEL_STATES];
    int16_t feature[OPS_FEATURES][CONTEXT_MODEL_STATES]; /* Q8 */
};

/* ---- memory ------------------------------------------------------------- */

static size_t longest(const context_model_config *config)
{
    size_t most = 0;
    for (int s = 0; s < config->streams; s++)
        most = config->length[s] > most ? config->length[s] : most;
    return most;
}

static int bits_for(uint64_t tokens)
{
    int bits = 1;
    while (bits < CONTEXT_MODEL_MAX_BITS && (uint64_t)1 << bits < 2 * tokens)
        bits++;
    return bits;
}

static int table_bits(const context_model_config *config)
{
    if (config->table_bits)
        return config->table_bits;
    size_t tokens = 0;
    for (int s = 0; s < config->streams; s++)
        tokens += config->length[s] < config->scope ? config->length[s] : config->scope;
    return bits_for(tokens);
}

/* Of a stream, from one update or reset to the next. */
static size_t predictions(size_t longest, size_t scope, int update_interval)
{
    size_t steps = longest < scope ? longest : scope;
    return (size_t)update_interval < steps ? (size_t)update_interval : steps;
}

uint64_t context_model_bytes(size_t streams, size_t longest, size_t scope, int update_interval,
                             int table_bits)
{
    size_t learnt = longest < scope ? longest : scope;
    int bits = table_bits ? table_bits : bits_for((uint64_t)streams * learnt);
    uint64_t buckets = (uint64_t)1 << bits;
    return sizeof(context_model) + buckets * (TABLES * sizeof(context_bucket) + sizeof(place)) +
           streams * (sizeof(match_state) +
                      (uint64_t)predictions(longest, scope, update_interval) * sizeof(prediction));
}

gpuzip_status context_model_open(context_model **c, const context_model_config *config)
{
    assert(config->streams >= 1 && config->update_interval >= 1 && longest(config) <= UINT32_MAX &&
           config->symbols >= config->vocab);
    gpuzip_status status = GPUZIP_OK;
    context_model *made = calloc(1, sizeof *made);
    if (!made)
        return FAIL(GPUZIP_ERR_MEMORY);
    made->config = *config;
    made->mask = ((uint32_t)1 << table_bits(config)) - 1;
    made->rows = predictions(longest(config), config->scope, config->update_interval) *
                 (size_t)config->streams;
    size_t buckets = (size_t)made->mask + 1;
    bool whole = true;
    for (int k = 0; k < TABLES; k++) /* aligned so that no bucket lies in two cache lines */
        whole &= (made->table[k] = aligned_alloc(64, buckets * sizeof(context_bucket))) != NULL;
    made->places = malloc(buckets * sizeof *made->places);
    made->match = malloc((size_t)config->streams * sizeof *made->match);
    made->predicted = calloc(made->rows + 1, sizeof *made->predicted);
    if (!whole || !made->places || !made->match || !made->predicted)
        TRY_OUT(GPUZIP_ERR_MEMORY);
    context_model_reset(made, 0);
    *c = made;
    made = NULL;

out:
    context_model_close(made);
    return status;
}

void context_model_close(context_model *c)
{
    if (!c)
        return;
    for (int k = 0; k < TABLES; k++)
        free(c->table[k]);
    free(c->places);
    free(c->match);
    free(c->predicted);
    free(c);
}

/* log2(q / (1 - q)), Q8. */
static int16_t logit(uint32_t q)
{
    return (int16_t)((det_log2_q16(q) - det_log2_q16(0u - q) + 128) >> 8);
}

static void set_q(context_model *c, int k, int state, uint64_t q)
{
    q = q < Q_MIN ? Q_MIN : q > Q_MAX ? Q_MAX : q;
    c->stats[k][state].q = (uint32_t)q;
    c->feature[k][state] = logit((uint32_t)q);
}

void context_model_reset(context_model *c, size_t step)
{
    size_t buckets = (size_t)c->mask + 1;
    c->origin = c->learnt = step;
    for (int k = 0; k < TABLES && !c->clear; k++)
        memset(c->table[k], 0, buckets * sizeof(context_bucket));
    if (!c->clear)
        memset(c->places, 0, buckets * sizeof *c->places);
    c->clear = true;
    for (int s = 0; s < c->config.streams; s++)
        c->match[s] = (match_state){.next = step};
    for (size_t r = 0; r < c->rows; r++)
        c->predicted[r].stamp = 0;
    memset(c->stats, 0, sizeof c->stats);
    for (int k = 0; k < OPS_FEATURES; k++)
        for (int state = 1; state < CONTEXT_MODEL_STATES; state++)
            set_q(c, k, state, (uint64_t)c->config.prior->q[k][state] << 16);
}

static prediction *predicted_row(const context_model *c, int stream, size_t step)
{
    return c->predicted + (step - c->learnt) * (size_t)c->config.streams + (size_t)stream;
}

/* ---- hashes ------------------------------------------------------------- */

/* Of the n tokens before a step. */
static uint64_t hash_tokens(const context_model *c, int stream, size_t step, int n)
{
    const uint32_t *token = c->config.token[stream] + step;
    int there = step - c->origin < (size_t)n ? (int)(step - c->origin) : n;
    uint64_t h = 0;
    for (int i = 1; i <= there; i++)
        h = mix64_token(h, token[-i]);
    for (int i = there; i < n; i++)
        h = mix64_none(h);
    return h;
}

/* The last bytes before a step, as bits 0 .. 25 of token_suffix(). */
static uint32_t bytes_before(const context_model *c, int stream, size_t step)
{
    const uint32_t *token = c->config.token[stream] + step;
    uint32_t bytes = 0, n = 0;
    for (size_t i = 1; i <= 3 && i <= step - c->origin && n < 3; i++) {
        uint32_t suffix = c->config.token_suffix[token[-(ptrdiff_t)i]];
        bytes |= (suffix & 0xffffff) << 8 * n;
        n += suffix >> 24 & 3;
    }
    n = n < 3 ? n : 3;
    return n << 24 | (bytes & 0xffffff);
}

/* Hash of table k's context before a step. */
static uint64_t hash_context(const context_model *c, int k, int stream, size_t step)
{
    static const int tokens[TABLES] = {0, 1, 2, 3, 4, 6};
    return k == 0 ? mix64(HASH_BYTES | bytes_before(c, stream, step))
                  : hash_tokens(c, stream, step, tokens[k]);
}

static context_bucket *bucket_of(const context_model *c, int k, uint64_t hash)
{
    return &c->table[k][hash & c->mask];
}

static place *place_of(const context_model *c, int stream, size_t step)
{
    return &c->places[hash_tokens(c, stream, step, MATCH_TOKENS) & c->mask];
}

/* ---- the match model ---------------------------------------------------- */

/* Whether a place may be followed from a stream: its token is known to all. */
static bool place_known(const context_model *c, place at, int stream)
{
    return at.stream == (uint32_t)stream || at.step < c->learnt;
}

/* How many tokens before a place and before a step of a stream agree, up to MATCH_LOOK. */
static uint32_t agreement(const context_model *c, place at, int stream, size_t step)
{
    const uint32_t *there = c->config.token[at.stream] + at.step;
    const uint32_t *here = c->config.token[stream] + step;
    size_t most = (at.step < step ? at.step : step) - c->origin;
    most = most < MATCH_LOOK ? most : MATCH_LOOK;
    uint32_t n = 0;
    while (n < most && there[-(ptrdiff_t)n - 1] == here[-(ptrdiff_t)n - 1])
        n++;
    return n;
}

static void match_drop(match_state *m)
{
    m->at.step = 0;
    m->length = 0;
    m->missed = false;
}

/* Follows a stream past its step m->next, to which all was known before. */
static void match_step(const context_model *c, match_state *m, int stream)
{
    size_t step = m->next++;
    if (m->at.step && !place_known(c, m->at, stream))
        match_drop(m);
    if (m->at.step) {
        if (c->config.token[m->at.stream][m->at.step] == c->config.token[stream][step]) {
            m->length++;
            m->missed &= m->length < MATCH_LONG;
            m->at.step++;
        } else if (m->length >= MATCH_LONG) { /* not missed, then */
            m->length = 0;
            m->missed = true;
            m->at.step++;
        } else {
            match_drop(m);
        }
        if (m->at.step && m->at.step == c->config.length[m->at.stream])
            match_drop(m);
    }
    if (m->length >= MATCH_TOKENS || step + 1 - c->origin < MATCH_TOKENS)
        return;
    place found = *place_of(c, stream, step + 1);
    if (!found.step || !place_known(c, found, stream))
        return;
    uint32_t length = agreement(c, found, stream, step + 1);
    if (length >= MATCH_TOKENS) {
        m->at = found;
        m->length = length;
        m->missed = false;
    }
}

static void match_follow(context_model *c, int stream, size_t step)
{
    match_state *m = &c->match[stream];
    while (m->next < step)
        match_step(c, m, stream);
}

static uint8_t match_level(const match_state *m)
{
    uint32_t n = m->length;
    if (m->missed)
        return (uint8_t)(24 + (n < 8 ? n / 2 : 4));
    return (uint8_t)(n < 16    ? n
                     : n < 24  ? 16
                     : n < 32  ? 17
                     : n < 64  ? 18
                     : n < 128 ? 19
                     : n < 512 ? 20
                               : 21);
}

/* ---- prediction --------------------------------------------------------- */

#define FIND_BITS 6

/* The candidates of a row, as they are gathered. */
typedef struct {
    prediction *p;
    uint8_t order[OPS_CANDIDATES], hits[OPS_CANDIDATES];
    uint8_t find[1 << FIND_BITS]; /* by a hash of the symbol: its index + 1 */
} gathering;

/* Notes that context k holds a symbol in some state. The first one to hold it proposes it. */
static void gather(gathering *g, int k, uint32_t symbol, uint8_t state)
{
    prediction *p = g->p;
    uint32_t h = symbol * 0x9E3779B1u >> (32 - FIND_BITS);
    while (g->find[h] && p->symbol[g->find[h] - 1] != symbol)
        h = (h + 1) % (1 << FIND_BITS);
    if (!g->find[h]) {
        if (p->candidates == OPS_CANDIDATES)
            return;
        p->symbol[p->candidates] = symbol;
        g->order[p->candidates] = (uint8_t)k;
        g->hits[p->candidates] = 0;
        g->find[h] = (uint8_t)++p->candidates;
    }
    int i = g->find[h] - 1;
    p->state[k][i] = state;
    g->hits[i]++;
}

/* 0 .. 6. */
static uint8_t count_level(uint32_t count)
{
    static const uint8_t small[4] = {0, 0, 1, 2};
    return count < 4 ? small[count] : (uint8_t)(3 + (count > 5) + (count > 9) + (count > 20));
}

static void gather_bucket(gathering *g, int k, const context_bucket *bucket, uint32_t check)
{
    if (bucket->check != check || !bucket->entry[0]) {
        memset(g->p->state[k], 0, OPS_CANDIDATES);
        return;
    }
    uint32_t total = 0;
    for (int e = 0; e < CONTEXT_BUCKET_ENTRIES; e++)
        total += bucket->entry[e] & 255;
    memset(g->p->state[k], 57 + (total > 1) + (total > 4) + (total > 12), OPS_CANDIDATES);
    for (int e = 0; e < CONTEXT_BUCKET_ENTRIES && bucket->entry[e]; e++) {
        uint32_t count = bucket->entry[e] & 255, others = total - count;
        int level = (others > 0) + (others > 2) + (others > 6);
        gather(g, k, bucket->entry[e] >> 8,
               (uint8_t)(1 + 8 * count_level(count) + 2 * level + (e == 0)));
    }
}

static void gather_match(gathering *g, const context_model *c, int stream)
{
    const match_state *m = &c->match[stream];
    memset(g->p->state[MATCH], 0, OPS_CANDIDATES);
    if (!m->at.step || !place_known(c, m->at, stream))
        return;
    uint32_t symbol = c->config.token[m->at.stream][m->at.step];
    if (symbol < (uint32_t)c->config.vocab)
        gather(g, MATCH, symbol, match_level(m));
}

static void gather_ngrams(gathering *g, const context_model *c, const uint64_t hash[NGRAMS_ORDERS])
{
    uint32_t symbol[NGRAMS_FOUND];
    uint8_t state[NGRAMS_FOUND], other = 0;
    int found = 0;
    if (c->config.ngrams.buckets)
        found = ngrams_find(&c->config.ngrams, hash, symbol, state, &other);
    memset(g->p->state[NGRAMS], other, OPS_CANDIDATES);
    for (int i = 0; i < found; i++)
        gather(g, NGRAMS, symbol[i], state[i]);
}

/* 16 times the class of the bytes before a row. */
static uint8_t selector_of_row(const context_model *c, context_model_row row)
{
    uint32_t before = bytes_before(c, row.stream, row.step);
    uint8_t bytes[2] = {(uint8_t)before, (uint8_t)(before >> 8)};
    return (uint8_t)(16 * context_model_class(bytes, before >> 24));
}

/* Where a row's contexts are looked for. */
typedef struct {
    uint64_t table[TABLES], ngrams[NGRAMS_ORDERS];
} row_hashes;

static int32_t predict_row(context_model *c, context_model_row row, const row_hashes *hash,
                           ops_candidate *candidate)
{
    gathering g = {.p = predicted_row(c, row.stream, row.step)};
    uint8_t selector = selector_of_row(c, row);
    g.p->stamp = row.step + 1;
    g.p->candidates = 0;
    match_follow(c, row.stream, row.step);
    gather_match(&g, c, row.stream);
    for (int k = TABLES - 1; k >= 0; k--) {
        if (k == NGRAMS_BEFORE)
            gather_ngrams(&g, c, hash->ngrams);
        gather_bucket(&g, k, bucket_of(c, k, hash->table[k]), (uint32_t)(hash->table[k] >> 32));
    }
    for (int i = 0; i < g.p->candidates; i++) {
        candidate[i].symbol = (int32_t)g.p->symbol[i];
        for (int k = 0; k < OPS_FEATURES; k++)
            candidate[i].feature[k] = c->feature[k][g.p->state[k][i]];
        candidate[i].order = g.order[i];
        candidate[i].hits = g.hits[i] < 3 ? g.hits[i] : 3;
        candidate[i].selector = selector | (uint8_t)(c->config.token_suffix[g.p->symbol[i]] >> 28);
    }
    return g.p->candidates;
}

/* Hashes a row's contexts and prefetches their buckets. */
static void begin_row(const context_model *c, context_model_row r, row_hashes *hash)
{
    assert(r.step >= c->learnt && r.step - c->learnt < (size_t)c->config.update_interval);
    for (int k = 0; k < TABLES; k++) {
        hash->table[k] = hash_context(c, k, r.stream, r.step);
        __builtin_prefetch(bucket_of(c, k, hash->table[k]));
    }
    if (c->config.ngrams.buckets)
        ngrams_look(&c->config.ngrams, c->config.token[r.stream] + r.step, r.step - c->origin,
                    hash->ngrams);
    if (!c->match[r.stream].at.step)
        __builtin_prefetch(place_of(c, r.stream, r.step));
}

void context_model_predict_part(int part, int parts, const context_model_query *query, int rows,
                                ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates)
{
    row_hashes hash[BATCH];
    int at[BATCH];
    for (int next = 0; next < rows;) {
        int n = 0;
        for (; next < rows && n < BATCH; next++) {
            if (query[next].key % parts != part)
                continue;
            begin_row(query[next].of, query[next].row, &hash[n]);
            at[n++] = next;
        }
        for (int i = 0; i < n; i++) {
            const context_model_query *q = &query[at[i]];
            candidates[at[i]] = predict_row(q->of, q->row, &hash[i], candidate[at[i]]);
        }
    }
}

void context_model_predict(context_model *c, const context_model_row *row, int rows,
                           ops_candidate (*candidate)[OPS_CANDIDATES], int32_t *candidates)
{
    for (int first = 0; first < rows; first += BATCH) {
        context_model_query query[BATCH];
        int n = rows - first < BATCH ? rows - first : BATCH;
        for (int i = 0; i < n; i++)
            query[i] = (context_model_query){c, row[first + i], 0};
        context_model_predict_part(0, 1, query, n, candidate + first, candidates + first);
    }
}

/* ---- learning ----------------------------------------------------------- */

static void learn_table(context_model *c, int k, size_t end)
{
    struct {
        uint64_t hash;
        uint32_t symbol;
    } batch[BATCH];
    int n = 0;
    for (size_t step = c->learnt; step < end; step++) {
        for (int s = 0; s < c->config.streams; s++) {
            if (step >= c->config.length[s] ||
                c->config.token[s][step] >= (uint32_t)c->config.vocab)
                continue;
            uint64_t hash = hash_context(c, k, s, step);
            __builtin_prefetch(bucket_of(c, k, hash), 1);
            batch[n].hash = hash;
            batch[n++].symbol = c->config.token[s][step];
            if (n < BATCH)
                continue;
            for (int i = 0; i < BATCH; i++)
                context_bucket_learn(bucket_of(c, k, batch[i].hash),
                                     (uint32_t)(batch[i].hash >> 32), batch[i].symbol);
            n = 0;
        }
    }
    for (int i = 0; i < n; i++)
        context_bucket_learn(bucket_of(c, k, batch[i].hash), (uint32_t)(batch[i].hash >> 32),
                             batch[i].symbol);
}

static void learn_places(context_model *c, size_t end)
{
    /* Match against the state before this update first, or each stream would find itself. */
    for (int s = 0; s < c->config.streams; s++)
        match_follow(c, s, end < c->config.length[s] ? end : c->config.length[s]);
    for (size_t step = c->learnt + 1; step <= end; step++)
        for (int s = 0; s < c->config.streams; s++)
            if (step < c->config.length[s] && step - c->origin >= MATCH_TOKENS)
                *place_of(c, s, step) = (place){(uint32_t)s, (uint32_t)step};
}

/* Counts the candidates of a row in their states. */
static void count_states(context_model *c, const prediction *p, uint32_t coded)
{
    int right = 0;
    while (right < p->candidates && p->symbol[right] != coded)
        right++;
    for (int k = 0; k < OPS_FEATURES; k++) {
        for (int i = 0; i < p->candidates; i++)
            c->stats[k][p->state[k][i]].shown++;
        if (right < p->candidates)
            c->stats[k][p->state[k][right]].right++;
    }
}

static void learn_states(context_model *c, size_t end)
{
    for (size_t step = c->learnt; step < end; step++)
        for (int s = 0; s < c->config.streams; s++)
            if (step < c->config.length[s]) {
                const prediction *p = predicted_row(c, s, step);
                if (p->stamp == (uint32_t)step + 1)
                    count_states(c, p, c->config.token[s][step]);
            }
    for (int k = 0; k < OPS_FEATURES; k++) {
        for (int state = 1; state < CONTEXT_MODEL_STATES; state++) {
            state_stats *t = &c->stats[k][state];
            if (!t->shown)
                continue;
            uint64_t weight = t->seen + 5;
            set_q(c, k, state, (weight * t->q + ((uint64_t)t->right << 32)) / (weight + t->shown));
            t->seen = t->shown < SEEN_MAX - t->seen ? t->seen + t->shown : SEEN_MAX;
            t->shown = t->right = 0;
        }
    }
}

void context_model_learn_part(context_model *c, int part, size_t end)
{
    assert(end > c->learnt && end - c->learnt <= (size_t)c->config.update_interval);
    if (part < TABLES)
        learn_table(c, part, end);
    else if (part == MATCH)
        learn_places(c, end);
    else
        learn_states(c, end);
}

void context_model_learn_end(context_model *c, size_t end)
{
    c->learnt = end;
    c->clear = false;
}

void context_model_learn(context_model *c, size_t end)
{
    for (int part = 0; part < CONTEXT_MODEL_PARTS; part++)
        context_model_learn_part(c, part, end);
    context_model_learn_end(c, end);
}

void context_model_read(const context_model *c, uint16_t q[OPS_FEATURES][CONTEXT_MODEL_STATES],
                        uint8_t seen[OPS_FEATURES][CONTEXT_MODEL_STATES])
{
    for (int k = 0; k < OPS_FEATURES; k++) {
        for (int state = 0; state < CONTEXT_MODEL_STATES; state++) {
            q[k][state] = (uint16_t)(c->stats[k][state].q >> 16);
            seen[k][state] = (uint8_t)c->stats[k][state].seen;
        }
    }
}
