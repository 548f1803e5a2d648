/* context_model_reference.h: a plain implementation of coder/CONTEXTS.md, with lists and searches
 * in place of bit fields, and tables of n-grams for it. */
#ifndef GPUZIP_CONTEXT_MODEL_REFERENCE_H
#define GPUZIP_CONTEXT_MODEL_REFERENCE_H

#include <math.h>

#include "context_model_case.h"
#include "detmath.h"

/* ---- the reference ------------------------------------------------------ */

/* A whole context, the key of exact slots. */
typedef struct {
    int64_t part[6];
} ref_key;

typedef struct {
    ref_key key;
    uint32_t check;
    int n;
    uint32_t symbol[7];
    int count[7];
} ref_slot;

typedef struct {
    bool runs, missed;
    int stream;
    size_t step, length;
} ref_match;

typedef struct {
    int n;
    uint32_t symbol[16];
    int state[16][CONTEXTS]; /* 0: none */
    int order[16], hits[16], selector[16];
} ref_row;

typedef struct {
    const test_case *t;
    bool exact; /* no hashes: every context has a slot */
    uint64_t mask;
    ref_slot *slot[6];
    int slots[6]; /* exact */
    struct {
        bool there;
        int stream;
        size_t step;
    } * place;
    ref_match match[MAX_STREAMS];
    size_t learnt;
    uint64_t q[CONTEXTS][CONTEXT_MODEL_STATES];
    int n[CONTEXTS][CONTEXT_MODEL_STATES];
    int64_t m[CONTEXTS][CONTEXT_MODEL_STATES], h[CONTEXTS][CONTEXT_MODEL_STATES];
    int abroad, forgiven, full, aged, halved; /* how often, to see that the case has them */
} reference;

static uint64_t ref_mix(uint64_t x)
{
    x = x ^ (x >> 31);
    x = x * UINT64_C(0x9E3779B97F4A7C15);
    x = x ^ (x >> 29);
    x = x * UINT64_C(0xBF58476D1CE4E5B9);
    return x ^ (x >> 32);
}

static int64_t token_before(const reference *r, int s, size_t step, size_t back)
{
    return step >= back ? (int64_t)r->t->memory[s][step - back] : -1;
}

static ref_key key_of(const reference *r, int k, int s, size_t step)
{
    static const int order[6] = {0, 1, 2, 3, 4, 6};
    ref_key key = {{-2, -2, -2, -2, -2, -2}};
    if (k > 0) {
        for (int i = 0; i < order[k]; i++)
            key.part[i] = token_before(r, s, step, (size_t)i + 1);
        return key;
    }
    uint8_t text[12];
    int n = 0;
    for (size_t back = 3; back >= 1; back--) {
        uint8_t bytes[4];
        size_t size = 0;
        if (token_before(r, s, step, back) >= 0)
            size = bytes_of((uint32_t)token_before(r, s, step, back), bytes);
        for (size_t i = 0; i < size; i++)
            text[n++] = bytes[i];
    }
    for (int i = 0; i < 3 && i < n; i++)
        key.part[i] = text[n - 1 - i];
    return key;
}

static uint64_t ref_hash(int k, ref_key key)
{
    static const int order[6] = {0, 1, 2, 3, 4, 6};
    uint64_t h = 0;
    if (k > 0) {
        for (int i = 0; i < order[k]; i++)
            h = ref_mix(key.part[i] < 0 ? h : h + (uint64_t)key.part[i] + 1);
        return h;
    }
    int n = 0;
    for (; n < 3 && key.part[n] >= 0; n++)
        h += (uint64_t)key.part[n] << (8 * n);
    return ref_mix(h + ((uint64_t)n << 24) + (UINT64_C(1) << 32));
}

static bool one_of(int byte, const char *from, const char *to)
{
    for (size_t i = 0; from[i]; i++)
        if (byte >= (uint8_t)from[i] && byte <= (uint8_t)to[i])
            return true;
    return false;
}

/* The class of a byte and the one beside it; -1: none. */
static int ref_class(int a, int b)
{
    bool space = one_of(b, " \t\n\r", " \t\n\r"), digit = one_of(b, "0", "9");
    bool letter = one_of(b, "aA\x80", "zZ\xff");
    if (a < 0)
        return 0;
    if (one_of(a, "\n\r", "\n\r"))
        return 1;
    if (one_of(a, " \t", " \t"))
        return space ? 2 : letter ? 3 : digit ? 4 : 5;
    if (one_of(a, "0", "9"))
        return digit ? 6 : 7;
    if (one_of(a, "a", "z"))
        return one_of(b, "a", "z") ? 8 : 9;
    if (one_of(a, "A\x80", "Z\xff"))
        return one_of(a, "A", "Z") ? 10 : 11;
    return letter ? 12 : digit ? 13 : space || b < 0 ? 15 : 14;
}

static int ref_selector(const reference *r, int s, size_t step, uint32_t symbol)
{
    ref_key before = key_of(r, 0, s, step); /* -2: none */
    uint8_t bytes[4];
    size_t n = bytes_of(symbol, bytes);
    return 16 * ref_class((int)before.part[0], (int)before.part[1]) +
           ref_class(n > 0 ? bytes[0] : -1, n > 1 ? bytes[1] : -1);
}

/* ---- n-grams ------------------------------------------------------------ */

/* Where the context of n tokens before a step is looked for. */
static test_gram gram_of(const test_case *t, int n, int s, size_t step)
{
    uint64_t h = 0;
    for (int i = 1; i <= n; i++)
        h = ref_mix(h + t->memory[s][step - (size_t)i] + 1);
    h = ref_mix((h >> 18) + ((uint64_t)n << 48));
    int bits = 0;
    while (1 << bits < t->config.vocab)
        bits++;
    return (test_gram){.n = n,
                       .bucket = (uint32_t)((h >> 32) * t->config.ngrams.buckets >> 32),
                       .check = (uint32_t)(h & ((UINT64_C(1) << (27 - bits)) - 1))};
}

/* A table of contexts of the case's own tokens, with their next symbols or others; some symbols
 * are none. Few buckets overflow. */
static void add_ngrams(test_case *t, uint32_t buckets)
{
    int bits = 0, held;
    while (1 << bits < t->config.vocab)
        bits++;
    assert_non_null(t->entry = calloc((size_t)buckets * NGRAMS_BUCKET, sizeof *t->entry));
    t->config.ngrams = (ngrams_table){t->entry, buckets, (uint32_t)t->config.vocab};
    for (int i = 0; i < MAX_GRAMS; i++) {
        int n = 2 + (int)random_below(4), s = (int)random_below((uint32_t)t->config.streams);
        size_t step = random_below(MAX_STEPS);
        if (step < (size_t)n || step >= t->length[s])
            continue;
        test_gram g = gram_of(t, n, s, step);
        g.symbol =
            random_below(3) ? t->memory[s][step] : t->memory[s][random_below((uint32_t)step)];
        g.symbol = random_below(20) ? g.symbol : (1u << bits) - 1;
        g.symbol &= (1u << bits) - 1;
        g.level = random_below(32);
        uint32_t *bucket = t->entry + (size_t)g.bucket * NGRAMS_BUCKET;
        uint32_t entry = g.level + 32 * (g.symbol + (g.check << bits));
        for (held = 0; held < NGRAMS_BUCKET && bucket[held]; held++)
            ;
        if (!entry || held == NGRAMS_BUCKET)
            continue;
        bucket[held] = entry;
        t->gram[t->grams++] = g;
    }
}

/* The slot of a context, or NULL; made if `make`. */
static ref_slot *ref_find(reference *r, int k, int s, size_t step, bool make)
{
    ref_key key = key_of(r, k, s, step);
    if (r->exact) {
        for (int i = 0; i < r->slots[k]; i++)
            if (memcmp(&r->slot[k][i].key, &key, sizeof key) == 0)
                return &r->slot[k][i];
        if (!make)
            return NULL;
        assert_true(r->slots[k] < MAX_SLOTS);
        r->slot[k][r->slots[k]].key = key;
        return &r->slot[k][r->slots[k]++];
    }
    uint64_t h = ref_hash(k, key);
    ref_slot *slot = &r->slot[k][h & r->mask];
    if (slot->n && slot->check != h >> 32) {
        if (!make)
            return NULL;
        slot->n = 0;
    }
    slot->check = (uint32_t)(h >> 32);
    return slot->n || make ? slot : NULL;
}

static void ref_learn(reference *r, ref_slot *slot, uint32_t x)
{
    int at = -1, count = 1;
    for (int i = 0; i < slot->n; i++)
        if (slot->symbol[i] == x)
            at = i;
    if (at >= 0) {
        count = slot->count[at] + 1;
        if (count == 251) {
            count = 125;
            for (int i = 0; i < slot->n; i++)
                if (i != at && slot->count[i] > 1) {
                    slot->count[i] /= 2;
                    r->halved++;
                }
        }
    } else {
        if (slot->n < 7) {
            at = slot->n++;
        } else {
            r->full++;
            at = 1;
            for (int i = 2; i < 7; i++)
                if (slot->count[i] <= slot->count[at])
                    at = i;
        }
        for (int i = 0; i < slot->n; i++)
            if (i != at && slot->count[i] > 2) {
                r->aged += slot->count[i] > 3;
                slot->count[i] -= slot->count[i] / 4;
            }
    }
    memmove(slot->symbol + 1, slot->symbol, (size_t)at * sizeof *slot->symbol);
    memmove(slot->count + 1, slot->count, (size_t)at * sizeof *slot->count);
    slot->symbol[0] = x;
    slot->count[0] = count;
}

static uint64_t ref_place(const reference *r, int s, size_t step)
{
    return ref_hash(5, key_of(r, 5, s, step)) & r->mask;
}

/* The last place that was remembered for the 6 tokens before a step. */
static bool ref_look(const reference *r, int s, size_t step, int *stream, size_t *at)
{
    if (!r->exact) {
        uint64_t i = ref_place(r, s, step);
        *stream = r->place[i].stream;
        *at = r->place[i].step;
        return r->place[i].there;
    }
    for (size_t u = r->learnt; u >= 6; u--)
        for (int v = r->t->config.streams - 1; v >= 0; v--)
            if (u < r->t->length[v] &&
                memcmp(r->t->memory[v] + u - 6, r->t->memory[s] + step - 6, 24) == 0) {
                *stream = v;
                *at = u;
                return true;
            }
    return false;
}

/* Moves a stream's match over its token at `step`. */
static void ref_follow(reference *r, int s, size_t step)
{
    ref_match *m = &r->match[s];
    if (m->runs && m->stream != s && m->step >= r->learnt)
        *m = (ref_match){0};
    if (m->runs) {
        bool comes = r->t->memory[m->stream][m->step] == r->t->memory[s][step];
        r->abroad += comes && m->stream != s;
        if (comes && ++m->length == 16 && m->missed) {
            m->missed = false;
            r->forgiven++;
        }
        if (!comes && (m->length < 16 || m->missed)) {
            *m = (ref_match){0};
        } else {
            if (!comes) {
                m->missed = true;
                m->length = 0;
            }
            if (++m->step >= r->t->length[m->stream])
                *m = (ref_match){0};
        }
    }
    int stream;
    size_t at, n = 0;
    if (m->length >= 6 || step + 1 < 6 || !ref_look(r, s, step + 1, &stream, &at) ||
        (stream != s && at >= r->learnt))
        return;
    while (n < 32 && n < at && n < step + 1 &&
           r->t->memory[stream][at - 1 - n] == r->t->memory[s][step - n])
        n++;
    if (n >= 6 && n > m->length)
        *m = (ref_match){true, false, stream, at, n};
}

static void ref_candidate(ref_row *row, int k, uint32_t symbol, int state)
{
    int i = 0;
    while (i < row->n && row->symbol[i] != symbol)
        i++;
    if (i == 16)
        return;
    if (i == row->n) {
        row->n++;
        row->symbol[i] = symbol;
        row->order[i] = k;
    }
    row->state[i][k] = state;
    row->hits[i]++;
}

static int bucket(int value, const int *most, int n)
{
    int b = 0;
    while (b < n && value > most[b])
        b++;
    return b;
}

static void ref_predict(reference *r, int s, size_t step, ref_row *row)
{
    const ref_match *m = &r->match[s];
    memset(row, 0, sizeof *row);
    if (m->runs && (m->stream == s || m->step < r->learnt)) {
        static const int length[6] = {15, 23, 31, 63, 127, 511};
        int b = bucket((int)m->length, length, 6);
        int state = m->missed ? 24 + (m->length / 2 > 4 ? 4 : (int)m->length / 2)
                    : b       ? 15 + b
                              : (int)m->length;
        uint32_t x = r->t->memory[m->stream][m->step];
        if (x < (uint32_t)r->t->config.vocab)
            ref_candidate(row, 6, x, state);
    }
    ref_row grams = {0};
    int other = 0;
    for (int n = 5; n >= 2; n--) {
        test_gram here = {0};
        if (r->t->config.ngrams.buckets && step >= (size_t)n)
            here = gram_of(r->t, n, s, step);
        for (int i = 0; here.n && i < r->t->grams; i++) {
            const test_gram *g = &r->t->gram[i];
            if (g->bucket != here.bucket || g->check != here.check ||
                g->symbol >= (uint32_t)r->t->config.vocab)
                continue;
            other = other ? other : 127 + n;
            bool found = false; /* after a longer one */
            for (int k = 0; k < grams.n; k++)
                found |= grams.symbol[k] == g->symbol;
            if (!found)
                ref_candidate(&grams, 7, g->symbol, 1 + 32 * (n - 2) + (int)g->level);
        }
    }
    for (int k = 5; k >= 0; k--) {
        for (int i = 0; k == 2 && i < grams.n; i++)
            ref_candidate(row, 7, grams.symbol[i], grams.state[i][7]);
        static const int count[6] = {1, 2, 3, 5, 9, 20}, other[3] = {0, 2, 6};
        const ref_slot *slot = ref_find(r, k, s, step, false);
        int total = 0;
        for (int i = 0; slot && i < slot->n; i++)
            total += slot->count[i];
        for (int i = 0; slot && i < slot->n; i++)
            ref_candidate(row, k, slot->symbol[i],
                          1 + 8 * bucket(slot->count[i], count, 6) +
                              2 * bucket(total - slot->count[i], other, 3) + (i == 0));
    }
    for (int k = 5; k >= 0; k--) {
        static const int most[3] = {1, 4, 12};
        const ref_slot *slot = ref_find(r, k, s, step, false);
        int total = 0;
        for (int i = 0; slot && i < slot->n; i++)
            total += slot->count[i];
        for (int i = 0; i < row->n; i++)
            if (slot && !row->state[i][k])
                row->state[i][k] = 57 + bucket(total, most, 3);
    }
    for (int i = 0; i < row->n; i++)
        if (!row->state[i][7])
            row->state[i][7] = other;
    for (int i = 0; i < row->n; i++)
        row->selector[i] = ref_selector(r, s, step, row->symbol[i]);
    for (int i = 0; i < row->n && asked(r->t, s, step); i++)
        for (int k = 0; k < CONTEXTS; k++)
            if (row->state[i][k]) {
                r->m[k][row->state[i][k]]++;
                r->h[k][row->state[i][k]] += row->symbol[i] == r->t->memory[s][step];
            }
}

static void ref_update(reference *r, size_t end)
{
    const test_case *t = r->t;
    for (size_t step = r->learnt; step < end; step++)
        for (int s = 0; s < t->config.streams; s++) {
            if (step >= t->length[s])
                continue;
            for (int k = 0; k < 6; k++)
                if (t->memory[s][step] < (uint32_t)t->config.vocab)
                    ref_learn(r, ref_find(r, k, s, step, true), t->memory[s][step]);
            if (!r->exact && step + 1 < t->length[s] && step + 1 >= 6) {
                uint64_t i = ref_place(r, s, step + 1);
                r->place[i].there = true;
                r->place[i].stream = s;
                r->place[i].step = step + 1;
            }
        }
    for (int k = 0; k < CONTEXTS; k++)
        for (int i = 1; i < CONTEXT_MODEL_STATES; i++) {
            uint64_t m = (uint64_t)r->m[k][i], h = (uint64_t)r->h[k][i], n = (uint64_t)r->n[k][i];
            if (!m)
                continue;
            uint64_t q = ((n + 5) * r->q[k][i] + h * (UINT64_C(1) << 32)) / (n + 5 + m);
            r->q[k][i] = q < 2147484 ? 2147484 : q > 4294108303 ? 4294108303 : q;
            r->n[k][i] = n + m > 255 ? 255 : (int)(n + m);
            r->m[k][i] = r->h[k][i] = 0;
        }
    r->learnt = end;
}

static int ref_feature(const reference *r, int k, int state)
{
    if (!state)
        return 0;
    uint64_t q = r->q[k][state];
    int f =
        (det_log2_q16((uint32_t)q) - det_log2_q16((uint32_t)((UINT64_C(1) << 32) - q)) + 128) >> 8;
    double p = (double)q / 4294967296.0;
    assert_true(fabs(log2(p / (1 - p)) * 256 - f) < 0.6);
    return f;
}

static reference *ref_open(const test_case *t, bool exact)
{
    reference *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->t = t;
    r->exact = exact;
    size_t slots = MAX_SLOTS, tokens = 0;
    for (int s = 0; s < t->config.streams; s++)
        tokens += t->length[s];
    if (!exact) {
        slots = (size_t)1 << t->config.table_bits;
        for (slots = t->config.table_bits ? slots : 2; !t->config.table_bits && slots < 2 * tokens;)
            slots *= 2;
    }
    r->mask = slots - 1;
    for (int k = 0; k < 6; k++)
        assert_non_null(r->slot[k] = calloc(slots, sizeof *r->slot[k]));
    assert_non_null(r->place = calloc(slots, sizeof *r->place));
    for (int k = 0; k < CONTEXTS; k++)
        for (int i = 0; i < CONTEXT_MODEL_STATES; i++) {
            uint64_t q = (uint64_t)t->config.prior->q[k][i] << 16;
            r->q[k][i] = q < 2147484 ? 2147484 : q > 4294108303 ? 4294108303 : q;
        }
    return r;
}

static void ref_close(reference *r)
{
    for (int k = 0; k < 6; k++)
        free(r->slot[k]);
    free(r->place);
    free(r);
}

#endif
