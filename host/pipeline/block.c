/* block.c: see block.h. */
#include "block.h"

#include "clock.h"
#include "model_learn.h"
#include "packed.h"
#include "suits.h"

#include <stdlib.h>
#include <string.h>

#define CODING_MEMORY ((uint64_t)2 << 30) /* bytes that compressing takes at most by itself */
#define NOMINAL_ROWS  512                 /* of a pass, for block_coding_bytes() */
#define VERIFY_SHARE  0.6                 /* share of the time, with a verification */

/* Tokens of the largest vocabulary that is taken for one of bytes or other single symbols. A model
 * that has it may well have been trained for data that is not text. */
#define VOCAB_WITHOUT_WORDS 512

/* Tenths of its estimate below which a coded block is not packed as well, to compare. Packing
 * reaches 0.7 to 1.0 of the estimate on all kinds of files but nucleotides with repeats (0.5), and
 * takes up to 2 % of the time of coding on a CPU, but as long as coding on a GPU. Text in English
 * and source code are coded in 0.45 to 0.55 of it, so that they are spared. */
#define BEATS_PACKING_TENTHS 6

/* ---- memory ------------------------------------------------------------- */

static gpuzip_status grow(uint8_t **data, size_t *capacity, size_t size)
{
    if (size <= *capacity)
        return GPUZIP_OK;
    uint8_t *grown = malloc(size);
    if (!grown)
        return FAIL(GPUZIP_ERR_MEMORY);
    free(*data);
    *data = grown;
    *capacity = size;
    return GPUZIP_OK;
}

gpuzip_status block_reserve(block *b, size_t code_size)
{
    return grow(&b->code, &b->code_capacity, code_size);
}

gpuzip_status block_extend(block *b, size_t content_size)
{
    if (content_size <= b->content_capacity)
        return GPUZIP_OK;
    uint8_t *grown = realloc(b->content, content_size);
    if (!grown)
        return FAIL(GPUZIP_ERR_MEMORY);
    b->content = grown;
    b->content_capacity = content_size;
    return GPUZIP_OK;
}

/* Releases the memory held between the first and the last step. */
static void release_work(block *b)
{
    free(b->work.token);
    free(b->work.stream);
    free(b->stream_bytes);
    free(b->verify_tokens);
    free(b->work.measure);
    b->work = (block_work){0};
    b->stream_bytes = NULL;
    b->verify_tokens = NULL;
}

/* Releases the measurements, which live until the block is reused. */
static void release_measures(block *b)
{
    free(b->token);
    free(b->measure);
    b->token = NULL;
    b->measure = NULL;
}

void block_close(block *b)
{
    release_work(b);
    release_measures(b);
    free(b->content);
    free(b->code);
    *b = (block){0};
}

/* Makes it the kind of block that is written; the model's figures are of coded ones. */
static void set_kind(block *b, container_kind kind)
{
    b->kind = kind;
    if (kind != CONTAINER_CODED)
        b->model_bits = b->coder_bits = 0;
}

uint64_t block_bytes(const block_rules *rules, size_t content_size)
{
    /* content, code, and three times four bytes a token; text has three bytes a token */
    uint64_t bytes = 8 * (uint64_t)content_size;
    if (rules->measure)
        bytes +=
            content_size / 3 * sizeof(float) * (uint64_t)ENGINE_MEASURES(rules->config.experts);
    return bytes;
}

uint64_t block_adaptive_bytes(const block_rules *rules, size_t tokens, uint32_t streams)
{
    const engine_config *c = &rules->config;
    uint64_t bytes = 0;
    if (c->bias || c->learn_alpha || c->prior) {
        ops_adaptive_config config = {.vocab = c->vocab,
                                      .experts = c->experts,
                                      .bias = c->bias,
                                      .alpha = c->learn_alpha,
                                      .parts = 1,
                                      .states = 1};
        bytes += ops_cpu.adaptive_bytes(&config);
    }
    if (c->prior) {
        size_t longest = container_stream_length((uint32_t)tokens, streams);
        bytes += context_model_bytes(streams, longest, schedule_scope(&c->schedule, longest),
                                     c->schedule.update_interval, 0);
    }
    return bytes;
}

uint64_t block_coding_bytes(const block_rules *rules, size_t tokens, uint32_t streams)
{
    uint64_t bytes = block_adaptive_bytes(rules, tokens, streams);
    for (int k = 0; k < rules->config.experts; k++) {
        if (!rules->model[k])
            continue;
        const weights_config *c = &rules->model[k]->config;
        if (engine_learns(&rules->config, tokens)) {
            model_learner_sizes sizes = {.rows = (int)schedule_weight_rows(streams),
                                         .run = (int)schedule_weight_interval(streams),
                                         .window = rules->config.schedule.window,
                                         .logits = NOMINAL_ROWS};
            bytes += model_learner_bytes(ops_cpu.learn, rules->model[k], &sizes, 1);
        }
        size_t att = (size_t)c->heads * (size_t)c->head_dim;
        bytes += ops_cpu.kv_bytes(c->layers, (int)streams, rules->config.schedule.window, 1,
                                  c->kv_heads, c->head_dim, c->kv_bits);
        bytes += NOMINAL_ROWS * (sizeof(float) * ((size_t)c->vocab + 2 * (size_t)c->dim +
                                                  2 * (size_t)c->ffn + 2 * att));
    }
    return bytes;
}

uint64_t block_needed_bytes(const block_rules *rules, size_t content_size, size_t tokens,
                            uint32_t streams)
{
    return block_bytes(rules, content_size) + block_coding_bytes(rules, tokens, streams);
}

/* Whether coding with so many streams is within the limits. */
static bool is_affordable(const block_rules *rules, const block *b, size_t streams)
{
    uint64_t coding = block_coding_bytes(rules, b->work.tokens, (uint32_t)streams);
    uint64_t limit = rules->memory_limit ? rules->memory_limit : UINT64_MAX;
    return coding <= CODING_MEMORY && coding + block_bytes(rules, b->content_size) <= limit;
}

/* ---- preparing ---------------------------------------------------------- */

/* Streams of a block: the caller's or the level's, fewer if memory is short; 0: not even one is
 * within the limit. */
static uint32_t choose_streams(const block_rules *rules, const block *b)
{
    size_t n = b->work.tokens, wanted = rules->streams;
    if (!wanted)
        wanted = rules->stream_tokens ? (n + rules->stream_tokens - 1) / rules->stream_tokens : 1;
    if (wanted > n)
        wanted = n;
    size_t most = rules->config.learn_weights ? SCHEDULE_WEIGHT_STREAMS : CONTAINER_STREAMS_MAX;
    if (wanted > most)
        wanted = most;
    while (wanted > 1 && !is_affordable(rules, b, wanted))
        wanted = wanted * 7 / 8;
    if (rules->memory_limit &&
        block_needed_bytes(rules, b->content_size, n, (uint32_t)wanted) > rules->memory_limit)
        return 0;
    return container_fit_streams((uint32_t)n, (uint32_t)wanted);
}

/* Whether the model may make the block smaller than packing does. */
static bool may_suit_model(const block_rules *rules, block *b)
{
    if (rules->no_packing || b->content_size < SUITS_BYTES_MIN)
        return true;
    bool words = tokenizer_vocab(rules->t) > VOCAB_WITHOUT_WORDS;
    b->estimate = packed_estimate(b->content, b->content_size, rules->pack_memory);
    return suits_model(b->content, b->content_size, words ? b->work.tokens : 0, b->estimate);
}

static gpuzip_status prepare_encoding(const block_rules *rules, block *b)
{
    block_work *work = &b->work;
    double start = clock_seconds();
    b->kind = CONTAINER_CODED;
    TRY(tokenizer_encode(rules->t, b->content, b->content_size, &work->token, &work->tokens));
    b->seconds_tokenizer = clock_seconds() - start;
    if (work->tokens > b->content_size + 1 || /* the container takes no more */
        !may_suit_model(rules, b)) {
        b->kind = CONTAINER_PACKED;
        return GPUZIP_OK;
    }
    work->streams = choose_streams(rules, b);
    if (!work->streams) { /* the limit is too short for its many tokens */
        b->kind = CONTAINER_PACKED;
        return GPUZIP_OK;
    }
    if (rules->measure) {
        size_t numbers = ENGINE_MEASURES((size_t)rules->config.experts);
        work->measure = calloc(work->tokens, numbers * sizeof *work->measure);
        if (!work->measure)
            return FAIL(GPUZIP_ERR_MEMORY);
    }
    return engine_make_room(&work->stream, &b->stream_bytes, work->tokens, work->streams);
}

static gpuzip_status prepare_decoding(const block_rules *rules, block *b)
{
    block_work *work = &b->work;
    if (b->kind != CONTAINER_CODED)
        return GPUZIP_OK;
    if (rules->config.learn_weights && b->coded.streams > SCHEDULE_WEIGHT_STREAMS)
        return FAIL(GPUZIP_ERR_CORRUPT);
    work->tokens = b->coded.tokens;
    work->streams = b->coded.streams;
    work->stream = calloc(work->streams, sizeof *work->stream);
    work->token = malloc(work->tokens * sizeof *work->token);
    if (!work->stream || !work->token)
        return FAIL(GPUZIP_ERR_MEMORY);
    container_read_streams(&b->coded, work->stream);
    return GPUZIP_OK;
}

gpuzip_status block_prepare(const block_rules *rules, block *b)
{
    release_measures(b);
    b->seconds_tokenizer = b->coder_bits = b->model_bits = 0;
    b->estimate = 0;
    b->status = rules->decode ? prepare_decoding(rules, b) : prepare_encoding(rules, b);
    if (b->status != GPUZIP_OK || b->kind != CONTAINER_CODED)
        release_work(b);
    return b->status;
}

/* ---- coding ------------------------------------------------------------- */

/* A progress that is a part of another one. */
typedef struct {
    const engine_progress *whole;
    double begin, share;
} partial;

#define PARTIAL_STEPS 1000

static int partial_step(void *context, size_t done, size_t steps)
{
    const partial *p = context;
    double at = p->begin + p->share * (double)done / (double)steps;
    return p->whole->step(p->whole->context, (size_t)(at * PARTIAL_STEPS), PARTIAL_STEPS);
}

void block_streams(const block_rules *rules, const block *b, engine_stream *stream)
{
    const block_work *work = &b->work;
    engine_cut(stream, work->streams, 0, work->token, work->tokens, work->stream, work->measure,
               rules->config.experts);
}

/* Writes the streams of all coded blocks to stream[]; block i has the adaptive state i. With
 * `verifies`, decoding goes to b->verify_tokens. Returns the number of streams. */
static int gather(const block_rules *rules, block *const *b, int n, bool verifies,
                  engine_stream *stream)
{
    int streams = 0;
    for (int i = 0, state = 0; i < n; i++) {
        const block_work *work = &b[i]->work;
        if (b[i]->kind != CONTAINER_CODED)
            continue;
        engine_cut(stream + streams, work->streams, state++,
                   verifies ? b[i]->verify_tokens : work->token, work->tokens, work->stream,
                   verifies ? NULL : work->measure, rules->config.experts);
        streams += (int)work->streams;
    }
    return streams;
}

/* Copies the streams' bits and statuses back to their blocks. */
static void spread(block *const *b, int n, const engine_stream *stream)
{
    for (int i = 0; i < n; i++) {
        if (b[i]->kind != CONTAINER_CODED)
            continue;
        b[i]->model_bits = 0;
        for (uint32_t s = 0; s < b[i]->work.streams; s++, stream++) {
            b[i]->model_bits += stream->bits;
            if (stream->status != GPUZIP_OK)
                b[i]->status = stream->status;
        }
    }
}

static gpuzip_status decode(const block_rules *rules, engine_mt *mt, block *const *b, int n,
                            engine_stream *stream, engine_costs *costs,
                            const engine_progress *progress)
{
    int streams = gather(rules, b, n, !rules->decode, stream);
    gpuzip_status status =
        streams ? engine_mt_decode(mt, stream, streams, costs, progress) : GPUZIP_OK;
    if (status != GPUZIP_OK && status != GPUZIP_ERR_CORRUPT)
        return FAIL(status);
    spread(b, n, stream);
    return GPUZIP_OK;
}

/* Which blocks became smaller: the others will be packed or stored, and do not count. */
static void judge(block *const *b, int n)
{
    for (int i = 0; i < n; i++) {
        const block_work *work = &b[i]->work;
        uint32_t content_size = (uint32_t)b[i]->content_size;
        b[i]->coder_bits = 0;
        for (uint32_t s = 0; s < work->streams; s++)
            b[i]->coder_bits += 8.0 * (double)work->stream[s].size;
        if (container_coded_size(content_size, (uint32_t)work->tokens, work->stream,
                                 work->streams) >= container_stored_size(content_size))
            set_kind(b[i], CONTAINER_STORED);
    }
}

static gpuzip_status verify(const block_rules *rules, engine_mt *mt, block *const *b, int n,
                            engine_stream *stream, const engine_progress *progress)
{
    engine_costs costs = {0};
    for (int i = 0; i < n; i++) {
        if (b[i]->kind != CONTAINER_CODED)
            continue;
        b[i]->verify_tokens = malloc(b[i]->work.tokens * sizeof *b[i]->verify_tokens);
        if (!b[i]->verify_tokens)
            return FAIL(GPUZIP_ERR_MEMORY);
    }
    TRY(decode(rules, mt, b, n, stream, &costs, progress));
    for (int i = 0; i < n; i++)
        if (b[i]->kind == CONTAINER_CODED &&
            (b[i]->status != GPUZIP_OK ||
             memcmp(b[i]->verify_tokens, b[i]->work.token,
                    b[i]->work.tokens * sizeof *b[i]->verify_tokens) != 0))
            b[i]->status = FAIL(GPUZIP_ERR_SELF_TEST);
    return GPUZIP_OK;
}

static gpuzip_status encode(const block_rules *rules, engine_mt *mt, block *const *b, int n,
                            engine_stream *stream, block_costs *costs,
                            const engine_progress *progress)
{
    double share = rules->verify ? 1 - VERIFY_SHARE : 1;
    partial first = {progress, 0, share}, second = {progress, share, 1 - share};
    engine_progress encoding = {partial_step, &first}, verifying = {partial_step, &second};
    int streams = gather(rules, b, n, false, stream);
    TRY(engine_mt_encode(mt, stream, streams, &costs->engine, progress ? &encoding : NULL));
    spread(b, n, stream);
    judge(b, n);
    if (!rules->verify)
        return GPUZIP_OK;
    double start = clock_seconds();
    TRY(verify(rules, mt, b, n, stream, progress ? &verifying : NULL));
    costs->engine.seconds[GPUZIP_PHASE_VERIFY] = clock_seconds() - start;
    return GPUZIP_OK;
}

gpuzip_status block_code(const block_rules *rules, engine_mt *mt, block *const *b, int n,
                         block_costs *out, const engine_progress *progress)
{
    gpuzip_status status = GPUZIP_OK;
    block_costs costs = {0};
    size_t streams = 0;
    for (int i = 0; i < n; i++)
        streams += b[i]->work.streams;
    engine_stream *stream = calloc(streams, sizeof *stream);
    if (!stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    costs.blocks = n;
    for (int i = 0; i < n; i++) { /* it may have been tried before */
        b[i]->kind = CONTAINER_CODED;
        b[i]->status = GPUZIP_OK;
        free(b[i]->verify_tokens);
        b[i]->verify_tokens = NULL;
    }
    TRY_OUT(rules->decode ? decode(rules, mt, b, n, stream, &costs.engine, progress)
                          : encode(rules, mt, b, n, stream, &costs, progress));
    *out = costs;
out:
    free(stream);
    return status;
}

/* ---- finishing ---------------------------------------------------------- */

/* Joins the tokens' bytes into content[0, content_size); CORRUPT if they do not fill it exactly. */
static gpuzip_status join_tokens(const tokenizer *t, const uint32_t *token, size_t n,
                                 uint8_t *content, size_t content_size)
{
    size_t used = 0, skip = tokenizer_prefix_bytes(t);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes;
        size_t size;
        TRY(tokenizer_token_bytes(t, token[i], &bytes, &size));
        size_t cut = size < skip ? size : skip;
        skip -= cut;
        if (size - cut > content_size - used)
            return FAIL(GPUZIP_ERR_CORRUPT);
        memcpy(content + used, bytes + cut, size - cut);
        used += size - cut;
    }
    return used == content_size ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT);
}

/* Whether a reader of b->code finds the streams that were decoded again, and whether
 * these give the content. */
static gpuzip_status check_code(const block_rules *rules, const block *b)
{
    gpuzip_status status = GPUZIP_OK;
    container_block coded;
    container_stream *stream = calloc(b->work.streams, sizeof *stream);
    uint8_t *decoded = malloc(b->content_size);
    if (!stream || !decoded) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    status = container_read_block(&coded, b->code, b->code_size);
    if (status == GPUZIP_OK &&
        (coded.tokens != b->work.tokens || coded.streams != b->work.streams ||
         coded.raw_size != b->content_size))
        status = FAIL(GPUZIP_ERR_CORRUPT);
    if (status == GPUZIP_OK)
        container_read_streams(&coded, stream);
    for (uint32_t s = 0; status == GPUZIP_OK && s < b->work.streams; s++)
        if (stream[s].size != b->work.stream[s].size ||
            memcmp(stream[s].data, b->work.stream[s].data, stream[s].size) != 0)
            status = FAIL(GPUZIP_ERR_CORRUPT);
    if (status == GPUZIP_OK)
        status = join_tokens(rules->t, b->verify_tokens, b->work.tokens, decoded, b->content_size);
    if (status == GPUZIP_OK && memcmp(decoded, b->content, b->content_size) != 0)
        status = FAIL(GPUZIP_ERR_CORRUPT);
    if (status != GPUZIP_OK)
        status = FAIL(GPUZIP_ERR_SELF_TEST);
out:
    free(decoded);
    free(stream);
    return status;
}

/* Parses b->code as a reader does, unpacks it to separate memory and compares it with the content.
 */
static gpuzip_status check_packed(const block *b)
{
    gpuzip_status status = GPUZIP_OK;
    container_block packed;
    uint8_t *decoded = malloc(b->content_size);
    if (!decoded)
        return FAIL(GPUZIP_ERR_MEMORY);
    status = container_read_block(&packed, b->code, b->code_size);
    if (status == GPUZIP_OK &&
        (packed.kind != CONTAINER_PACKED || packed.raw_size != b->content_size))
        status = FAIL(GPUZIP_ERR_CORRUPT);
    if (status == GPUZIP_OK)
        status = packed_unpack(decoded, b->content_size, packed.payload, packed.payload_size);
    if (status == GPUZIP_OK && memcmp(decoded, b->content, b->content_size) != 0)
        status = FAIL(GPUZIP_ERR_CORRUPT);
    if (status != GPUZIP_OK && status != GPUZIP_ERR_MEMORY)
        status = FAIL(GPUZIP_ERR_SELF_TEST);
    free(decoded);
    return status;
}

/* Whether packing cannot make the block smaller than `coded` bytes, as far as its estimate says. */
static bool beats_packing(const block *b, size_t coded)
{
    return b->estimate && coded < b->estimate * BEATS_PACKING_TENTHS / 10;
}

/* Bytes that packing a block may take: those of a coded one are still in use. */
static uint64_t packing_memory(const block_rules *rules, const block *b)
{
    uint64_t most = rules->pack_memory, left = rules->memory_limit;
    if (!left || b->kind != CONTAINER_CODED)
        return most;
    uint64_t needed = block_needed_bytes(rules, b->content_size, b->work.tokens, b->work.streams);
    left = left > needed ? left - needed : 1;
    return left < most ? left : most;
}

/* Packs the content into *packed[*size], which the caller frees; NULL if the block does not get
 * smaller than `limit` bytes thereby. */
static gpuzip_status pack(const block_rules *rules, const block *b, size_t limit, uint8_t **packed,
                          size_t *size)
{
    size_t content_size = b->content_size;
    uint8_t *made = malloc(content_size);
    *packed = NULL;
    if (!made)
        return FAIL(GPUZIP_ERR_MEMORY);
    gpuzip_status status =
        packed_pack(made, content_size, size, b->content, content_size, packing_memory(rules, b));
    if (status == GPUZIP_OK && container_packed_size((uint32_t)content_size, *size) < limit)
        *packed = made;
    else
        free(made);
    return status == GPUZIP_ERR_CAPACITY ? GPUZIP_OK : status;
}

static gpuzip_status finish_encoding(const block_rules *rules, block *b)
{
    uint32_t content_size = (uint32_t)b->content_size;
    size_t room = container_stored_size(content_size), best = room, packed_size = 0;
    uint8_t *packed = NULL;
    TRY(grow(&b->code, &b->code_capacity, room));
    if (b->kind == CONTAINER_CODED)
        best = container_coded_size(content_size, (uint32_t)b->work.tokens, b->work.stream,
                                    b->work.streams);
    if (!rules->no_packing && !(b->kind == CONTAINER_CODED && beats_packing(b, best)))
        TRY(pack(rules, b, best, &packed, &packed_size));
    if (packed) {
        set_kind(b, CONTAINER_PACKED);
        gpuzip_status status = container_write_packed(b->code, room, &b->code_size, b->content,
                                                      content_size, packed, packed_size);
        free(packed);
        TRY(status);
        return rules->verify ? check_packed(b) : GPUZIP_OK;
    }
    if (b->kind != CONTAINER_CODED) {
        set_kind(b, CONTAINER_STORED);
        return container_write_stored(b->code, room, &b->code_size, b->content, content_size);
    }
    TRY(container_write_coded(b->code, room, &b->code_size, b->content, content_size,
                              (uint32_t)b->work.tokens, b->work.stream, b->work.streams));
    return rules->verify ? check_code(rules, b) : GPUZIP_OK;
}

gpuzip_status block_unpack(block *b)
{
    const container_block *packed = &b->coded;
    TRY(block_extend(b, packed->raw_size));
    TRY(packed_unpack(b->content, packed->raw_size, packed->payload, packed->payload_size));
    if (container_check(b->content, packed->raw_size) != packed->content_check)
        return FAIL(GPUZIP_ERR_CORRUPT);
    b->content_size = packed->raw_size;
    return GPUZIP_OK;
}

static gpuzip_status finish_decoding(const block_rules *rules, block *b)
{
    const container_block *coded = &b->coded;
    if (b->kind != CONTAINER_CODED)
        return GPUZIP_OK;
    TRY(grow(&b->content, &b->content_capacity, coded->raw_size));
    TRY(join_tokens(rules->t, b->work.token, b->work.tokens, b->content, coded->raw_size));
    if (container_check(b->content, coded->raw_size) != coded->content_check)
        return FAIL(GPUZIP_ERR_CORRUPT);
    b->content_size = coded->raw_size;
    return GPUZIP_OK;
}

gpuzip_status block_finish(const block_rules *rules, block *b)
{
    if (b->status == GPUZIP_OK)
        b->status = rules->decode ? finish_decoding(rules, b) : finish_encoding(rules, b);
    b->tokens = b->kind == CONTAINER_CODED ? b->work.tokens : 0;
    b->streams = b->kind == CONTAINER_CODED ? b->work.streams : 0;
    if (b->status == GPUZIP_OK && b->kind == CONTAINER_CODED && b->work.measure) {
        b->token = b->work.token;
        b->measure = b->work.measure;
        b->work.token = NULL;
        b->work.measure = NULL;
    }
    release_work(b);
    return b->status;
}
