/* reference.c: a .gpz file (coder/FORMAT.md, whose sections the comments name) to its content.
 *
 *     reference PRIOR MODEL... FILE       writes the content of FILE to stdout
 *
 * PRIOR: host/experts/context_prior.c, of which the numbers are read. MODEL: .gpzm files, in any
 * order. Exit code 1, with a message, where FILE does not decode. */
#include <lzma.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "reference.h"

enum {
    SCOPE = 1,
    CONTEXTS = 2,
    BIASES = 4,
    ALPHAS = 8,
    WEIGHTS = 16,
    EACH_STEP = 16,
    LEARN_TOKENS = 4096, /* of a block from which the weights learn, at least */
    LEARN_ROWS = 128,    /* of a step of the weights, about */
    RAW_MAX = 1 << 24
};

/* ---- helpers ----------------------------------------------------------------------------------
 */

_Noreturn void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("reference: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

typedef union block_of_memory {
    union block_of_memory *before;
    max_align_t alignment;
} block_of_memory;

static block_of_memory *newest;

void *take(size_t count, size_t size)
{
    block_of_memory *b = calloc(1, sizeof *b + count * size);
    if (!b)
        fail("no memory");
    b->before = newest;
    newest = b;
    return b + 1;
}

void *mark(void)
{
    return newest;
}

void release(void *mark)
{
    while (newest != mark) {
        block_of_memory *before = newest->before;
        free(newest);
        newest = before;
    }
}

uint8_t *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END))
        fail("%s: cannot read", path);
    *size = (size_t)ftell(f);
    uint8_t *data = take(*size + 1, 1);
    rewind(f);
    if (fread(data, 1, *size, f) != *size)
        fail("%s: cannot read", path);
    fclose(f);
    return data;
}

void sha256(const void *data, size_t size, uint8_t hash[32])
{
    SHA256(data, size, hash);
}

int32_t log2_q16(uint64_t n)
{
    int shift = 0;
    while (n >> shift >= (uint64_t)1 << 32)
        shift++;
    n >>= shift;
    int32_t log = 31;
    for (n <<= 32; n < (uint64_t)1 << 63; n <<= 1)
        log--;
    for (int bit = 0; bit < 16; bit++) {
        n = (uint64_t)((unsigned __int128)n * n >> 64); /* Q62, in [1, 4) */
        bool two = n >= (uint64_t)1 << 63;
        n = two ? n : n << 1;
        log = 2 * log + two;
    }
    return log + shift * 65536;
}

/* ---- the file (sections 1 to 3) ---------------------------------------------------------------
 */

typedef struct {
    const uint8_t *at, *end;
} reader;

static const uint8_t *get(reader *r, uint64_t bytes)
{
    if (bytes > (uint64_t)(r->end - r->at))
        fail("the file ends too early");
    r->at += bytes;
    return r->at - bytes;
}

static uint64_t get_varint(reader *r, uint64_t low, uint64_t high)
{
    uint64_t x = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *get(r, 1);
        if (shift > 56 || (byte == 0 && shift > 0))
            fail("a number in too many bytes");
        x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    if (x < low || x > high)
        fail("a number out of range");
    return x;
}

static uint64_t get_fixed(reader *r, size_t bytes)
{
    uint64_t x = 0;
    memcpy(&x, get(r, bytes), bytes);
    return x;
}

/* The next field must be the check of the bytes from begin on. */
static void get_check(reader *r, const uint8_t *begin)
{
    uint32_t check = (uint32_t)XXH3_64bits(begin, (size_t)(r->at - begin));
    if (get_fixed(r, 4) != check)
        fail("a wrong check");
}

typedef struct {
    uint64_t features;
    uint32_t window, hop, update;
    mixer_config mixer;
    const model *model[EXPERTS_MAX]; /* NULL: Naive Bayes */
    const model *ngrams;             /* the model whose n-grams are in use, or NULL */
    tokenizer tokenizer;
    bool is_index;
} frame;

enum { LISTED = 480, BLOCKS = 2 * LISTED };

/* The last frame that is no index: bytes of its header; 4 * size + kind and raw size of blocks. */
static struct {
    uint64_t head, blocks, block[BLOCKS], raw[BLOCKS];
} last;

/* Compares an index (section 7), whose frame has `size` bytes, with that frame. */
static void check_index(reader *r, uint64_t size)
{
    uint64_t at = LISTED * get_varint(r, 0, (1 << 24) - 1), before = 0,
             head = get_varint(r, 8, 4096);
    for (uint64_t n = get_varint(r, 0, LISTED); n > 0; n--, at++) {
        uint64_t block = get_varint(r, 5, INT64_MAX), raw = get_varint(r, 0, RAW_MAX);
        bool repeated = raw == before;
        before = raw ? raw : before;
        if (repeated || at >= last.blocks || block != last.block[at] || before != last.raw[at])
            fail("an index lists other blocks");
    }
    if (head != last.head || get_fixed(r, 2) != size || r->at != r->end)
        fail("an index of another frame, or its frame has another size");
}

static const model *find_model(const model *models, int count, const uint8_t *id)
{
    for (int i = 0; i < count; i++)
        if (memcmp(models[i].id, id, 8) == 0)
            return &models[i];
    fail("a model is missing");
}

static void read_experts(frame *f, reader *r, const model *models, int count)
{
    const model *first = NULL;
    mixer_config *c = &f->mixer;
    c->experts = (int)get_varint(r, 1, EXPERTS_MAX);
    for (int k = 0; k < c->experts; k++) {
        c->naive_bayes[k] = get_varint(r, 0, 1);
        int64_t code = (int64_t)get_varint(r, 0, 1 << 21);
        c->alpha[k] = 65536 + (code % 2 ? -(code + 1) / 2 : code / 2);
        if (c->alpha[k] < 0 || c->alpha[k] > (c->alphas ? 1 << 17 : (1 << 20) - 1))
            fail("an alpha out of range");
        if (c->naive_bayes[k])
            continue;
        f->model[k] = find_model(models, count, get(r, 8));
        first = first ? first : f->model[k];
        if (!f->ngrams && f->model[k]->buckets)
            f->ngrams = f->model[k];
        if (f->window > (uint32_t)f->model[k]->context)
            fail("a window larger than the model's context");
    }
    if (!first)
        fail("no language model");
    tokenizer_read(&f->tokenizer, first->tokenizer, first->tokenizer_size, (uint32_t)first->vocab);
    c->vocab = f->tokenizer.vocab;
    c->escapes = f->tokenizer.escapes;
}

static void read_frame(frame *f, reader *r, const model *models, int count, const prior *prior)
{
    const uint8_t *begin = r->at;
    *f = (frame){0};
    if (memcmp(get(r, 4), "\xb7\x67\x0d\x0a", 4) != 0 || *get(r, 1) != 2)
        fail("not a frame of version 2");
    uint64_t rest = get_varint(r, 0, 4096);
    reader header = {r->at, r->at + rest - 4};
    get(r, rest - 4);
    get_check(r, begin);

    f->features = get_varint(&header, 0, 31);
    f->window = (uint32_t)get_varint(&header, 2, 1 << 20);
    f->hop = f->window - (uint32_t)get_varint(&header, 0, f->window);
    f->update = (uint32_t)get_varint(&header, 1, 1 << 20);
    if ((f->features & SCOPE) && f->hop != f->window)
        fail("window scope with windows that overlap");
    if (f->features & CONTEXTS)
        get_varint(&header, 0, 0);
    f->mixer.contexts = f->features & CONTEXTS;
    f->mixer.biases = f->features & BIASES;
    f->mixer.alphas = f->features & ALPHAS;
    f->mixer.prior = prior;
    read_experts(f, &header, models, count);
    while (header.at < header.end) {
        f->is_index = get_varint(&header, 0, INT64_MAX) == 1; /* it is the last record */
        uint64_t size = get_varint(&header, 0, 4096);
        reader record = {header.at, header.at + size};
        if (get(&header, size) && f->is_index)
            check_index(&record, (uint64_t)(r->at - begin) + 10);
    }
    if (!f->is_index)
        last.head = (uint64_t)(r->at - begin), last.blocks = 0;
}

/* ---- a coded block (section 4) ----------------------------------------------------------------
 */

typedef struct {
    const frame *frame;
    stream_tokens tokens;
    range_decoder *decoder;      /* [streams] */
    cache (*cache)[EXPERTS_MAX]; /* [streams] */
    float *logits[EXPERTS_MAX];  /* [vocab] */
    contexts *contexts;          /* or NULL */
    mixer *mixer;
    learner *learner[EXPERTS_MAX]; /* of the models; NULL: their weights do not learn */
    uint32_t learn; /* steps between two steps of the weights; 0: they do not learn */
} coding;

/* Runs the models at position p of stream s's window that begins at step `begin`. */
static void run_models(coding *c, uint32_t s, uint32_t begin, uint32_t p, bool wanted)
{
    const frame *f = c->frame;
    for (int k = 0; k < f->mixer.experts; k++) {
        const model *m = f->model[k];
        if (!m)
            continue;
        uint32_t token = p ? c->tokens.token[s][begin + p - 1] : m->bos;
        if (token >= f->mixer.vocab) /* byte fallback */
            token = m->bos;
        trace *t = wanted && c->learn ? learner_row(c->learner[k], s, p) : NULL;
        forward(c->learn ? learner_model(c->learner[k]) : m, &c->cache[s][k], token, p, f->window,
                t, wanted ? c->logits[k] : NULL);
    }
}

/* The models' distributions for row (s, t). */
static void predict(coding *c, uint32_t s, uint32_t t)
{
    uint32_t window = c->frame->window, hop = c->frame->hop, begin = 0;
    if (hop && t >= window) {
        begin = ((t - window) / hop + 1) * hop;
        if (t - begin == window - hop) /* the window's first own step */
            for (uint32_t p = 0; p < window - hop; p++)
                run_models(c, s, begin, p, false);
    }
    run_models(c, s, begin, t - begin, true);
}

static void decode_token(coding *c, uint32_t s, uint32_t t)
{
    candidate row[CANDIDATES];
    uint64_t start, freq;
    predict(c, s, t);
    int count = c->contexts ? contexts_gather(c->contexts, s, t, row) : 0;
    mixer_row(c->mixer, c->logits, row, count);
    uint32_t x = mixer_find(c->mixer, range_target(&c->decoder[s]), &start, &freq);
    range_narrow(&c->decoder[s], start, freq);
    c->tokens.token[s][t] = x;
    mixer_add(c->mixer, x, row, count);
    for (int k = 0; k < c->frame->mixer.experts && c->learn; k++)
        if (c->learner[k])
            learner_target(c->learner[k], x);
    if (c->contexts)
        contexts_coded(c->contexts, s, t, row, count);
}

/* After step t: the weights learn if it is time. A reset is at `origin`. */
static void learn_weights(coding *c, uint32_t t, uint32_t origin)
{
    uint32_t window = c->frame->window, hop = c->frame->hop, end = t + 1;
    bool ends = hop && end >= window && (end - window) % hop == 0;
    if (!c->learn || (!ends && (end - origin) % c->learn != 0))
        return;
    for (int k = 0; k < c->frame->mixer.experts; k++)
        if (c->learner[k])
            learner_step(c->learner[k], &c->cache[0][k], EXPERTS_MAX, window);
}

/* All steps, with updates where they are due. */
static void decode_steps(coding *c)
{
    const frame *f = c->frame;
    uint32_t origin = 0;
    for (uint32_t t = 0; t < c->tokens.length[0]; t++) {
        if (t > 0 && (f->features & SCOPE) && t % f->window == 0) {
            origin = t;
            mixer_reset(c->mixer);
            if (c->contexts)
                contexts_reset(c->contexts, t);
            for (int k = 0; k < f->mixer.experts; k++)
                if (c->learner[k])
                    learner_reset(c->learner[k]);
        }
        for (uint32_t s = 0; s < c->tokens.streams; s++)
            if (t < c->tokens.length[s])
                decode_token(c, s, t);
        learn_weights(c, t, origin);
        if (t - origin >= EACH_STEP && (t + 1 - origin) % f->update != 0)
            continue;
        mixer_learn(c->mixer);
        if (c->contexts)
            contexts_update(c->contexts, t + 1);
    }
    for (uint32_t s = 0; s < c->tokens.streams; s++)
        range_end(&c->decoder[s]);
}

static void coding_open(coding *c, const frame *f, uint32_t n, uint32_t streams)
{
    uint32_t each = (n + streams - 1) / streams;
    if (streams != (n + each - 1) / each)
        fail("empty streams");
    *c = (coding){.frame = f, .tokens.streams = streams};
    c->tokens.token = take(streams, sizeof *c->tokens.token);
    c->tokens.length = take(streams, sizeof *c->tokens.length);
    c->decoder = take(streams, sizeof *c->decoder);
    c->cache = take(streams, sizeof *c->cache);
    for (uint32_t s = 0; s < streams; s++) {
        uint32_t rest = n - s * each;
        c->tokens.length[s] = rest < each ? rest : each;
        c->tokens.token[s] = take(each, sizeof(uint32_t));
        for (int k = 0; k < f->mixer.experts; k++)
            if (f->model[k])
                cache_create(&c->cache[s][k], f->model[k], f->hop ? f->window : each);
    }
    for (int k = 0; k < f->mixer.experts; k++)
        c->logits[k] = take(f->mixer.vocab, sizeof(float));
    c->mixer = mixer_create(&f->mixer);
    if ((f->features & WEIGHTS) && n >= LEARN_TOKENS) {
        if (streams > 1024)
            fail("too many streams for weights that learn");
        c->learn = (LEARN_ROWS + streams - 1) / streams;
        for (int k = 0; k < f->mixer.experts; k++)
            if (f->model[k])
                c->learner[k] = learner_create(f->model[k], c->learn * streams);
    }
    if (f->features & CONTEXTS)
        c->contexts = contexts_create(f->mixer.prior, &f->tokenizer, &c->tokens,
                                      f->features & SCOPE ? f->window : 0, f->ngrams);
}

/* The bytes of all tokens to content [raw]. */
static void write_tokens(const coding *c, uint8_t *content, size_t raw)
{
    const tokenizer *t = &c->frame->tokenizer;
    size_t at = 0;
    bool space = t->prefix; /* still to be dropped */
    for (uint32_t s = 0; s < c->tokens.streams; s++)
        for (uint32_t i = 0; i < c->tokens.length[s]; i++) {
            token_bytes x = t->token[c->tokens.token[s][i]];
            for (uint32_t j = 0; j < x.size; j++, space = false) {
                if (space && x.bytes[j] == ' ')
                    continue;
                if (at == raw)
                    fail("more bytes than the block has");
                content[at++] = x.bytes[j];
            }
        }
    if (at != raw)
        fail("fewer bytes than the block has");
}

static void decode_block(const frame *f, reader *r, uint8_t *content, size_t raw)
{
    coding c;
    uint32_t n = (uint32_t)get_varint(r, 1, raw + 1);
    uint32_t streams = (uint32_t)get_varint(r, 1, 65536);
    coding_open(&c, f, n, streams);
    uint64_t *size = take(streams, sizeof *size);
    for (uint32_t s = 0; s + 1 < streams; s++)
        size[s] = get_varint(r, 0, RAW_MAX);
    uint32_t check = (uint32_t)get_fixed(r, 4);
    for (uint32_t s = 0; s < streams; s++) {
        if (s + 1 == streams)
            size[s] = (uint64_t)(r->end - r->at);
        range_begin(&c.decoder[s], get(r, size[s]), size[s]);
    }
    decode_steps(&c);
    write_tokens(&c, content, raw);
    if ((uint32_t)XXH3_64bits(content, raw) != check)
        fail("wrong content");
}

/* ---- packed blocks (section 4.3) --------------------------------------------------------------
 */

static void unpack_lzma2(const uint8_t *data, size_t size, uint8_t *content, size_t raw)
{
    lzma_options_lzma options;
    size_t in = 0, out = 0;
    lzma_lzma_preset(&options, LZMA_PRESET_DEFAULT);
    options.dict_size = raw < 4096 ? 4096 : (uint32_t)raw;
    lzma_filter filters[2] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    if (lzma_raw_buffer_decode(filters, NULL, data, &in, size, content, &out, raw) != LZMA_OK ||
        in != size || out != raw)
        fail("LZMA2 does not decode");
}

static void unpack(reader *r, uint8_t *content, size_t raw)
{
    uint32_t check = (uint32_t)get_fixed(r, 4);
    uint8_t form = *get(r, 1);
    size_t size = (size_t)(r->end - r->at);
    const uint8_t *data = get(r, size);
    if (form == 0)
        unpack_lzma2(data, size, content, raw);
    else if (form != 1 || ZSTD_findFrameCompressedSize(data, size) != size ||
             ZSTD_decompress(content, raw, data, size) != raw)
        fail("zstd does not decode");
    if ((uint32_t)XXH3_64bits(content, raw) != check)
        fail("wrong content");
}

/* ---- the program ------------------------------------------------------------------------------
 */

/* Decodes a frame's blocks, up to its end mark. */
static void decode_blocks(const frame *f, reader *r)
{
    XXH3_state_t *hash = XXH3_createState();
    uint64_t total = 0;
    XXH3_64bits_reset(hash);
    for (;;) {
        const uint8_t *begin = r->at;
        uint8_t kind = *get(r, 1);
        if (kind == 0)
            break;
        size_t raw = (size_t)get_varint(r, 1, RAW_MAX);
        void *block_mark = mark();
        uint8_t *content = take(raw, 1);
        if (kind == 1) {
            memcpy(content, get(r, raw), raw);
        } else if (kind == 2 || kind == 3) {
            uint64_t rest = get_varint(r, 9, RAW_MAX);
            reader inner = {r->at, r->at + rest - 4};
            get(r, rest - 4);
            if (kind == 2)
                decode_block(f, &inner, content, raw);
            else
                unpack(&inner, content, raw);
        } else {
            fail("an unknown kind of block");
        }
        get_check(r, begin);
        if (f->is_index || last.blocks == BLOCKS)
            fail("an index with content, or too many blocks for this program");
        last.block[last.blocks] = 4 * (uint64_t)(r->at - begin) + kind;
        last.raw[last.blocks++] = raw;
        XXH3_64bits_update(hash, content, raw);
        total += raw;
        fwrite(content, 1, raw, stdout);
        release(block_mark);
    }
    if (get_varint(r, 0, INT64_MAX) != total || get_fixed(r, 8) != XXH3_64bits_digest(hash))
        fail("the end mark has another content");
    XXH3_freeState(hash);
}

/* The numbers of the table context_prior_builtin in a C source file, comments skipped, with the
 * SHA-256 that CONTEXTS.md, section 8, states. */
static void read_prior(prior *p, const char *path)
{
    static const char wanted[] = "61fbaeb913284081fca587d3ac78338227a20a91225cc898440b943183172d76";
    enum { Q = MODELS * STATES, WEIGHTS = SETS * SET_WEIGHTS };
    size_t size;
    char *text = (char *)read_file(path, &size), *at = strstr(text, "context_prior_builtin = {");
    uint8_t hash[32], bytes[Q * 2 + WEIGHTS * 4];
    char hex[65];
    int count = 0;
    while (at && *at && count < Q + WEIGHTS) {
        if (at[0] == '/' && at[1] == '*') {
            at = strstr(at, "*/");
        } else if (*at == '-' || (*at >= '0' && *at <= '9')) {
            long x = strtol(at, &at, 10);
            if (count < Q)
                p->q[count / STATES][count % STATES] = (uint16_t)x;
            else
                p->weights[(count - Q) / SET_WEIGHTS][(count - Q) % SET_WEIGHTS] = (int32_t)x;
            count++;
        } else {
            at++;
        }
    }
    memcpy(bytes, p->q, sizeof p->q);
    memcpy(bytes + sizeof p->q, p->weights, sizeof p->weights);
    sha256(bytes, sizeof bytes, hash);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    if (strcmp(hex, wanted) != 0)
        fail("%s: another prior", path);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        fail("usage: reference PRIOR MODEL... FILE");
    static prior start;
    int count = argc - 3;
    model *models = take((size_t)count, sizeof *models);
    read_prior(&start, argv[1]);
    for (int i = 0; i < count; i++)
        model_read(&models[i], argv[2 + i]);
    size_t size;
    const uint8_t *file = read_file(argv[argc - 1], &size);
    reader r = {file, file + size};
    do {
        void *frame_mark = mark();
        frame f;
        read_frame(&f, &r, models, count, &start);
        decode_blocks(&f, &r);
        release(frame_mark);
        const uint8_t *padding = r.at; /* zeros, up to the end */
        while (padding < r.end && *padding == 0)
            padding++;
        if (padding == r.end)
            r.at = r.end;
    } while (r.at < r.end);
    if (fflush(stdout) != 0 || ferror(stdout))
        fail("cannot write");
    release(NULL);
    return 0;
}
