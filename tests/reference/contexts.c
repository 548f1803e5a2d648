/* contexts.c: the bytes of tokens (host/tokenizer/tokenizer_blob.h) and the context models
 * (coder/CONTEXTS.md), whose sections the comments name. */
#include <string.h>

#include "reference.h"

/* ---- tokens -----------------------------------------------------------------------------------
 */

static const uint8_t *blob_at, *blob_end;

static const uint8_t *blob_take(size_t bytes)
{
    if (bytes > (size_t)(blob_end - blob_at))
        fail("the tokenizer blob is too short");
    blob_at += bytes;
    return blob_at - bytes;
}

static uint32_t blob_number(size_t bytes)
{
    uint32_t x = 0;
    memcpy(&x, blob_take(bytes), bytes);
    return x;
}

/* The id of a token of these bytes, or vocab. */
static uint32_t token_of(const token_bytes *t, uint32_t vocab, const uint8_t *bytes, uint32_t size)
{
    uint32_t id = 0;
    while (id < vocab && !(t[id].size == size && memcmp(t[id].bytes, bytes, size) == 0))
        id++;
    return id;
}

/* Merges give tokens of class 2 their bytes. */
static void read_merges(token_bytes *t, const uint8_t *class, uint32_t vocab)
{
    uint32_t next = 0, count = blob_number(4);
    size_t width = vocab > 65536 ? 3 : 2;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t left = blob_number(width), right = blob_number(width);
        if (left >= vocab || right >= vocab || !t[left].size || !t[right].size)
            fail("a merge of no token");
        uint32_t size = t[left].size + t[right].size;
        uint8_t *bytes = take(size, 1);
        memcpy(bytes, t[left].bytes, t[left].size);
        memcpy(bytes + t[left].size, t[right].bytes, t[right].size);
        if (token_of(t, vocab, bytes, size) < vocab)
            continue;
        while (next < vocab && class[next] != 2)
            next++;
        if (next == vocab)
            fail("a merge without a product");
        t[next++] = (token_bytes){bytes, size};
    }
}

static void read_tokens(token_bytes *t, uint32_t vocab, int flags, bool *byte)
{
    uint8_t *class = take(vocab, 1);
    uint32_t runs = blob_number(4), id = 0;
    while (runs-- > 0) {
        uint32_t run = blob_number(4);
        if (run / 4 > vocab - id)
            fail("too many tokens");
        memset(class + id, (int)(run % 4), run / 4);
        id += run / 4;
    }
    for (id = 0; id < vocab; id++) {
        if (class[id] == 1) {
            t[id].size = blob_number(2);
            t[id].bytes = blob_take(t[id].size);
        } else if (class[id] == 3) {
            t[id] = (token_bytes){blob_take(1), 1};
            byte[t[id].bytes[0]] = true;
        }
    }
    if (!(flags & 4))
        read_merges(t, class, vocab);
}

void tokenizer_read(tokenizer *t, const uint8_t *blob, size_t size, uint32_t vocab)
{
    static uint8_t value[256];
    blob_at = blob, blob_end = blob + size;
    if (memcmp(blob_take(4), "GTOK", 4) != 0 || blob_number(1) != 1)
        fail("no tokenizer blob of version 1");
    int kind = (int)blob_number(1), flags = (int)blob_number(1), stages = (int)blob_number(1);
    uint32_t count = blob_number(4);
    blob_number(4); /* bos */
    uint32_t most = count > vocab ? count : vocab;
    bool byte[256] = {false};
    t->token = take((size_t)most + 256, sizeof *t->token);
    t->vocab = vocab;
    t->prefix = flags & 2;
    t->escapes = 0;
    for (int i = 0; i < 256; i++)
        value[i] = (uint8_t)i;
    for (int i = 0; i < 256 && kind == 0; i++)
        t->token[i] = (token_bytes){value + i, 1};
    while (stages-- > 0) {
        blob_number(1);
        blob_take(blob_number(2));
    }
    if (kind == 0)
        return;
    read_tokens(t->token, count, flags, byte);
    for (int i = 0; i < 256; i++)
        if (!byte[i])
            t->escapes = 256;
    for (int i = 0; i < t->escapes; i++)
        t->token[vocab + (uint32_t)i] = (token_bytes){value + i, 1};
}

/* ---- objects (section 1) ----------------------------------------------------------------------
 */

enum { ENTRIES = 7, COUNT_MAX = 250, MATCH_LEAST = 6, MATCH_MOST = 32, MATCH_LONG = 16 };

typedef struct {
    uint32_t check;
    int used; /* 0 .. ENTRIES */
    uint32_t symbol[ENTRIES];
    int count[ENTRIES]; /* the last used first */
} bucket;

typedef struct {
    bool there;
    uint32_t stream, step;
} position;

typedef struct {
    position at; /* not there: no match */
    uint32_t length;
    bool missed;
} match;

struct contexts {
    const prior *prior;
    const tokenizer *tokenizer;
    const stream_tokens *tokens;
    const model *ngrams; /* or NULL */
    uint32_t buckets;    /* 2^bits */
    bucket *table[6];    /* [buckets] */
    position *matches;   /* [buckets] */
    match *match;        /* [streams] */
    uint64_t q[MODELS][STATES], n[MODELS][STATES];
    uint64_t seen[MODELS][STATES], coded[MODELS][STATES]; /* since the last update */
    uint32_t origin, end;                                 /* o and e of section 2 */
};

static const uint32_t order_of[6] = {0, 1, 2, 3, 4, 6}; /* tokens of table k's context */

contexts *contexts_create(const prior *start, const tokenizer *t, const stream_tokens *tokens,
                          uint32_t window, const model *ngrams)
{
    contexts *c = take(1, sizeof *c);
    uint64_t sum = 0;
    for (uint32_t s = 0; s < tokens->streams; s++)
        sum += window && tokens->length[s] > window ? window : tokens->length[s];
    c->buckets = 2;
    while (c->buckets < 2 * sum && c->buckets < 1u << 20)
        c->buckets *= 2;
    c->prior = start, c->tokenizer = t, c->tokens = tokens, c->ngrams = ngrams;
    for (int k = 0; k < 6; k++)
        c->table[k] = take(c->buckets, sizeof(bucket));
    c->matches = take(c->buckets, sizeof(position));
    c->match = take(tokens->streams, sizeof(match));
    contexts_reset(c, 0);
    return c;
}

static uint64_t limit_q(uint64_t q)
{
    return q < 2147484 ? 2147484 : q > 4294108303 ? 4294108303 : q;
}

void contexts_reset(contexts *c, uint32_t step)
{
    for (int k = 0; k < 6; k++)
        memset(c->table[k], 0, c->buckets * sizeof(bucket));
    memset(c->matches, 0, c->buckets * sizeof(position));
    memset(c->match, 0, c->tokens->streams * sizeof(match));
    memset(c->n, 0, sizeof c->n);
    memset(c->seen, 0, sizeof c->seen);
    memset(c->coded, 0, sizeof c->coded);
    for (int k = 0; k < MODELS; k++)
        for (int i = 0; i < STATES; i++)
            c->q[k][i] = limit_q((uint64_t)c->prior->q[k][i] << 16);
    c->origin = c->end = step;
}

/* ---- hashes (section 3) -----------------------------------------------------------------------
 */

static uint64_t mix64(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
    return x ^ (x >> 32);
}

/* The hash of the n tokens before row (s, t). */
static uint64_t hash_tokens(const contexts *c, uint32_t s, uint32_t t, uint32_t n)
{
    uint64_t h = 0;
    for (uint32_t i = 1; i <= n; i++)
        h = mix64(t >= c->origin + i ? h + c->tokens->token[s][t - i] + 1 : h);
    return h;
}

/* The last bytes of the last 3 tokens before row (s, t), the newest first, at most 3; returns how
 * many. */
static int last_bytes(const contexts *c, uint32_t s, uint32_t t, uint8_t b[3])
{
    int m = 0;
    b[0] = b[1] = b[2] = 0;
    for (uint32_t i = 1; i <= 3 && t >= c->origin + i; i++) {
        token_bytes x = c->tokenizer->token[c->tokens->token[s][t - i]];
        for (uint32_t j = x.size; j > 0 && m < 3; j--)
            b[m++] = x.bytes[j - 1];
    }
    return m;
}

/* The hash of table k's context. */
static uint64_t hash_of(const contexts *c, int k, uint32_t s, uint32_t t)
{
    if (k > 0)
        return hash_tokens(c, s, t, order_of[k]);
    uint8_t b[3];
    uint64_t m = (uint64_t)last_bytes(c, s, t, b);
    return mix64(((uint64_t)1 << 32) + (m << 24) + b[0] + ((uint64_t)b[1] << 8) +
                 ((uint64_t)b[2] << 16));
}

/* ---- the updates of tables and matches (sections 3 and 4) -------------------------------------
 */

static void bucket_learn(bucket *b, uint32_t check, uint32_t x)
{
    if (b->check != check)
        *b = (bucket){.check = check};
    int at = 0, count = 1;
    while (at < b->used && b->symbol[at] != x)
        at++;
    if (at < b->used && b->count[at] < COUNT_MAX) {
        count = b->count[at] + 1;
    } else if (at < b->used) {
        count = COUNT_MAX / 2;
        for (int i = 0; i < b->used; i++)
            b->count[i] = b->count[i] < 2 ? 1 : b->count[i] / 2;
    } else {
        if (b->used < ENTRIES) {
            b->used++;
        } else {
            at = 1;
            for (int i = 2; i < ENTRIES; i++)
                if (b->count[i] <= b->count[at])
                    at = i;
        }
        for (int i = 0; i < b->used; i++)
            if (b->count[i] > 2)
                b->count[i] -= b->count[i] / 4;
    }
    for (; at > 0; at--) {
        b->symbol[at] = b->symbol[at - 1];
        b->count[at] = b->count[at - 1];
    }
    b->symbol[0] = x;
    b->count[0] = count;
}

void contexts_update(contexts *c, uint32_t end)
{
    const stream_tokens *all = c->tokens;
    for (uint32_t t = c->end; t < end; t++)
        for (uint32_t s = 0; s < all->streams; s++) {
            if (t >= all->length[s] || all->token[s][t] >= c->tokenizer->vocab)
                continue;
            for (int k = 0; k < 6; k++) {
                uint64_t h = hash_of(c, k, s, t);
                bucket_learn(&c->table[k][h % c->buckets], (uint32_t)(h >> 32), all->token[s][t]);
            }
        }
    for (uint32_t u = c->end + 1; u <= end; u++)
        for (uint32_t r = 0; r < all->streams; r++)
            if (u < all->length[r] && u - c->origin >= MATCH_LEAST)
                c->matches[hash_tokens(c, r, u, 6) % c->buckets] = (position){true, r, u};
    for (int k = 0; k < MODELS; k++)
        for (int i = 0; i < STATES; i++) {
            uint64_t m = c->seen[k][i], *n = &c->n[k][i];
            if (m == 0)
                continue;
            uint64_t sum = (*n + 5) * c->q[k][i] + (c->coded[k][i] << 32);
            c->q[k][i] = limit_q(sum / (*n + 5 + m));
            *n = *n + m < 255 ? *n + m : 255;
            c->seen[k][i] = c->coded[k][i] = 0;
        }
    c->end = end;
}

/* ---- the match model (section 4) --------------------------------------------------------------
 */

static bool known(const contexts *c, position at, uint32_t s)
{
    return at.there && (at.stream == s || at.step < c->end);
}

static uint32_t token_at(const contexts *c, position at)
{
    return c->tokens->token[at.stream][at.step];
}

/* Tokens that agree before a position and before (s, t). */
static uint32_t agreement(const contexts *c, position at, uint32_t s, uint32_t t)
{
    uint32_t most = (at.step < t ? at.step : t) - c->origin, n = 0;
    if (most > MATCH_MOST)
        most = MATCH_MOST;
    while (n < most &&
           c->tokens->token[at.stream][at.step - n - 1] == c->tokens->token[s][t - n - 1])
        n++;
    return n;
}

/* Moves the match of stream s past step t, where its token is x. */
static void match_move(contexts *c, uint32_t s, uint32_t t)
{
    match *m = &c->match[s];
    if (m->at.there) {
        if (token_at(c, m->at) == c->tokens->token[s][t]) {
            m->length++;
            m->missed = m->missed && m->length < MATCH_LONG;
        } else if (m->length >= MATCH_LONG) {
            m->length = 0;
            m->missed = true;
        } else {
            m->at.there = false;
        }
        m->at.step++;
        if (m->at.step >= c->tokens->length[m->at.stream])
            m->at.there = false;
    }
    if ((m->at.there && m->length >= MATCH_LEAST) || t + 1 - c->origin < MATCH_LEAST)
        return;
    position at = c->matches[hash_tokens(c, s, t + 1, 6) % c->buckets];
    if (!known(c, at, s))
        return;
    uint32_t agree = agreement(c, at, s, t + 1);
    if (agree >= MATCH_LEAST)
        *m = (match){at, agree, false};
}

void contexts_coded(contexts *c, uint32_t s, uint32_t t, const candidate *row, int count)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < MODELS; k++) {
            c->seen[k][row[i].state[k]]++;
            c->coded[k][row[i].state[k]] += row[i].symbol == c->tokens->token[s][t];
        }
    match_move(c, s, t);
}

/* ---- n-grams (section 5) ----------------------------------------------------------------------
 */

typedef struct {
    uint32_t symbol[CANDIDATES];
    int state[CANDIDATES];
    int count;
    int other; /* state of symbols that are not in the list */
} ngram_list;

static void list_ngrams(const contexts *c, uint32_t s, uint32_t t, ngram_list *list)
{
    *list = (ngram_list){.count = 0};
    if (!c->ngrams)
        return;
    int b = 0;
    while ((c->tokenizer->vocab - 1) >> b)
        b++;
    for (uint32_t n = 5; n >= 2; n--) {
        if (t - c->origin < n)
            continue;
        uint64_t h = mix64((hash_tokens(c, s, t, n) >> 18) + ((uint64_t)n << 48));
        const uint32_t *entry = c->ngrams->ngrams + ((h >> 32) * c->ngrams->buckets >> 32) * 16;
        uint32_t check = (uint32_t)h & ((1u << (27 - b)) - 1);
        for (int i = 0; i < 16 && entry[i] != 0; i++) {
            uint32_t symbol = entry[i] >> 5 & ((1u << b) - 1);
            if (entry[i] >> (5 + b) != check || symbol >= c->tokenizer->vocab)
                continue;
            if (list->other == 0)
                list->other = 127 + (int)n;
            int at = 0;
            while (at < list->count && list->symbol[at] != symbol)
                at++;
            if (at < list->count || at == CANDIDATES)
                continue;
            list->symbol[at] = symbol;
            list->state[at] = 1 + 32 * ((int)n - 2) + (int)(entry[i] & 31);
            list->count++;
        }
    }
}

/* ---- states, features and weight sets (sections 5 and 7) --------------------------------------
 */

/* The number of bounds [n], ascending, that x exceeds. */
static int level_of(uint32_t x, const uint32_t *bound, int n)
{
    int level = 0;
    while (level < n && x > bound[level])
        level++;
    return level;
}

/* The state of symbol x in a bucket, or NULL; *held: it is there. */
static int table_state(const bucket *b, uint32_t x, bool *held)
{
    static const uint32_t counts[6] = {1, 2, 3, 5, 9, 20}, others[3] = {0, 2, 6};
    static const uint32_t totals[3] = {1, 4, 12};
    uint32_t total = 0;
    int at = -1;
    *held = false;
    if (!b)
        return 0;
    for (int i = 0; i < b->used; i++) {
        total += (uint32_t)b->count[i];
        if (b->symbol[i] == x)
            at = i;
    }
    if (at < 0)
        return 57 + level_of(total, totals, 3);
    *held = true;
    uint32_t count = (uint32_t)b->count[at];
    return 1 + 8 * level_of(count, counts, 6) + 2 * level_of(total - count, others, 3) + (at == 0);
}

static int match_state(const match *m)
{
    static const uint32_t lengths[5] = {23, 31, 63, 127, 511};
    static const uint32_t missed[4] = {1, 3, 5, 7};
    if (m->missed)
        return 24 + level_of(m->length, missed, 4);
    return m->length < MATCH_LONG ? (int)m->length : 16 + level_of(m->length, lengths, 5);
}

/* Class of byte b [0] with its neighbour b [1], n of which are there. */
static int class_of(const uint8_t *b, int n)
{
    enum { NONE, FEED, BLANK, DIGIT, SMALL, LARGE, HIGH, OTHER };
    static const int table[8][8] = {
        {0, 0, 0, 0, 0, 0, 0, 0},         {1, 1, 1, 1, 1, 1, 1, 1},
        {5, 2, 2, 4, 3, 3, 3, 5},         {7, 7, 7, 6, 7, 7, 7, 7},
        {9, 9, 9, 9, 8, 9, 9, 9},         {10, 10, 10, 10, 10, 10, 10, 10},
        {11, 11, 11, 11, 11, 11, 11, 11}, {15, 15, 15, 13, 12, 12, 12, 14}};
    int group[2] = {NONE, NONE};
    for (int i = 0; i < 2 && i < n; i++)
        group[i] = b[i] == '\n' || b[i] == '\r'  ? FEED
                   : b[i] == ' ' || b[i] == '\t' ? BLANK
                   : b[i] >= '0' && b[i] <= '9'  ? DIGIT
                   : b[i] >= 'a' && b[i] <= 'z'  ? SMALL
                   : b[i] >= 'A' && b[i] <= 'Z'  ? LARGE
                   : b[i] > 127                  ? HIGH
                                                 : OTHER;
    return table[group[0]][group[1]];
}

static int feature_of(const contexts *c, int k, int state)
{
    uint64_t q = c->q[k][state];
    if (state == 0)
        return 0;
    return (log2_q16(q) - log2_q16(((uint64_t)1 << 32) - q) + 128) >> 8;
}

/* ---- candidates (section 6) -------------------------------------------------------------------
 */

static int propose(candidate *out, int count, uint32_t symbol, int k)
{
    for (int i = 0; i < count; i++)
        if (out[i].symbol == symbol)
            return count;
    if (count == CANDIDATES)
        return count;
    out[count] = (candidate){.symbol = symbol, .order = k};
    return count + 1;
}

int contexts_gather(contexts *c, uint32_t s, uint32_t t, candidate *out)
{
    static const int gathering[8] = {6, 5, 4, 3, 7, 2, 1, 0};
    const bucket *found[6];
    ngram_list list;
    match *m = &c->match[s];
    uint32_t expected = UINT32_MAX;
    int count = 0;
    if (m->at.there && !known(c, m->at, s))
        m->at.there = false;
    if (m->at.there)
        expected = token_at(c, m->at);
    for (int k = 0; k < 6; k++) {
        uint64_t h = hash_of(c, k, s, t);
        bucket *b = &c->table[k][h % c->buckets];
        found[k] = b->used && b->check == (uint32_t)(h >> 32) ? b : NULL;
    }
    list_ngrams(c, s, t, &list);

    for (int g = 0; g < 8; g++) {
        int k = gathering[g];
        if (k == 6 && expected < c->tokenizer->vocab)
            count = propose(out, count, expected, k);
        for (int i = 0; k == 7 && i < list.count; i++)
            count = propose(out, count, list.symbol[i], k);
        for (int i = 0; k < 6 && found[k] && i < found[k]->used; i++)
            count = propose(out, count, found[k]->symbol[i], k);
    }

    uint8_t last[3];
    int row_class = class_of(last, last_bytes(c, s, t, last));
    for (int i = 0; i < count; i++) {
        candidate *x = &out[i];
        bool held;
        for (int k = 0; k < 6; k++) {
            x->state[k] = table_state(found[k], x->symbol, &held);
            x->hits += held;
        }
        x->state[6] = x->symbol == expected ? match_state(m) : 0;
        x->hits += x->symbol == expected;
        x->state[7] = list.other;
        for (int j = 0; j < list.count; j++)
            if (list.symbol[j] == x->symbol) {
                x->state[7] = list.state[j];
                x->hits++;
            }
        x->hits = x->hits > 3 ? 3 : x->hits;
        for (int k = 0; k < MODELS; k++)
            x->feature[k] = feature_of(c, k, x->state[k]);
        token_bytes bytes = c->tokenizer->token[x->symbol];
        x->selector = 16 * row_class + class_of(bytes.bytes, (int)bytes.size);
    }
    return count;
}
