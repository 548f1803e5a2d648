/* container.c: the .gpz format, version 2. */
#include <assert.h>
#include <xxhash.h>

#include "container_bytes.h"

/* Not text in any encoding: 0xb7 begins no UTF-8 character, and whoever drops
 * eighth bits or converts line ends destroys it. */
static const uint8_t frame_magic[4] = {0xb7, 'g', '\r', '\n'};

enum {
    FEATURE_WINDOW_SCOPE = 1,
    FEATURE_CONTEXTS = 2,
    FEATURE_BIASES = 4,
    FEATURE_LEARNS_ALPHAS = 8,
    FEATURE_LEARNS_WEIGHTS = 16,
    FEATURES_KNOWN = 31,
    CODED_BODY_MIN = 1 + 1 + 2 * CHECK_BYTES, /* tokens, streams, checks */
    PACKED_BODY_MIN = 1 + 2 * CHECK_BYTES     /* payload, checks */
};

/* -- frame header --------------------------------------------------------- */

static bool frame_is_valid(const container_frame *frame)
{
    const schedule *s = &frame->schedule;
    bool valid = s->window >= 2 && s->window <= SCHEDULE_STEPS_MAX && s->hop >= 0 &&
                 s->hop <= s->window && s->update_interval >= 1 &&
                 s->update_interval <= SCHEDULE_STEPS_MAX &&
                 (!s->window_scope || s->hop == s->window) && frame->experts >= 1 &&
                 frame->experts <= CONTAINER_EXPERTS_MAX &&
                 frame->prior <= (frame->contexts ? CONTAINER_PRIOR_MAX : 0);
    uint32_t most = frame->learns_alphas ? CONTAINER_LEARNT_MAX : CONTAINER_ALPHA_MAX;
    for (int k = 0; valid && k < frame->experts; k++)
        valid = frame->expert[k].alpha <= most &&
                (frame->expert[k].kind == CONTAINER_EXPERT_MODEL ||
                 frame->expert[k].kind == CONTAINER_EXPERT_NAIVE_BAYES);
    return valid;
}

/* Alphas near 1 are the usual ones, so they are sent as the distance from it:
 * 0, -1, 1, -2, 2, .. become 0, 1, 2, 3, 4, .. */
static uint32_t alpha_code(uint32_t alpha)
{
    return alpha < CONTAINER_ALPHA_ONE ? 2 * (CONTAINER_ALPHA_ONE - alpha) - 1
                                       : 2 * (alpha - CONTAINER_ALPHA_ONE);
}

/* Returns an alpha, perhaps not a valid one. code < 2^31. */
static uint32_t alpha_from_code(uint32_t code)
{
    return code & 1 ? CONTAINER_ALPHA_ONE - (code + 1) / 2 : CONTAINER_ALPHA_ONE + code / 2;
}

static uint64_t features_of(const container_frame *frame)
{
    uint64_t features = 0;
    features |= frame->schedule.window_scope ? FEATURE_WINDOW_SCOPE : 0;
    features |= frame->contexts ? FEATURE_CONTEXTS : 0;
    features |= frame->biases ? FEATURE_BIASES : 0;
    features |= frame->learns_alphas ? FEATURE_LEARNS_ALPHAS : 0;
    features |= frame->learns_weights ? FEATURE_LEARNS_WEIGHTS : 0;
    return features;
}

static void put_frame_body(writer *w, const container_frame *frame)
{
    put_varint(w, features_of(frame));
    put_varint(w, (uint64_t)frame->schedule.window);
    put_varint(w, (uint64_t)(frame->schedule.window - frame->schedule.hop));
    put_varint(w, (uint64_t)frame->schedule.update_interval);
    if (frame->contexts)
        put_varint(w, frame->prior);
    put_varint(w, (uint64_t)frame->experts);
    for (int k = 0; k < frame->experts; k++) {
        const container_expert *expert = &frame->expert[k];
        put_varint(w, expert->kind);
        put_varint(w, alpha_code(expert->alpha));
        if (expert->kind == CONTAINER_EXPERT_MODEL)
            put_bytes(w, expert->model_id, CONTAINER_MODEL_BYTES);
    }
}

/* Bytes of the optional record with its type and its size; 0: no record. */
static size_t whole_record(size_t record_size)
{
    return record_size ? varint_size(RECORD_INDEX) + varint_size(record_size) + record_size : 0;
}

size_t container_head_size(const container_frame *frame, size_t record_size)
{
    writer body = {0};
    put_frame_body(&body, frame);
    size_t rest = body.size + whole_record(record_size) + CHECK_BYTES;
    return sizeof frame_magic + 1 + varint_size(rest) + rest;
}

gpuzip_status container_write_head(uint8_t *dst, size_t capacity, size_t *size,
                                   const container_frame *frame, const uint8_t *record,
                                   size_t record_size)
{
    if (!frame_is_valid(frame))
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer body = {0};
    put_frame_body(&body, frame);

    writer w = {.dst = dst, .capacity = capacity};
    put_bytes(&w, frame_magic, sizeof frame_magic);
    put_byte(&w, CONTAINER_VERSION);
    put_varint(&w, body.size + whole_record(record_size) + CHECK_BYTES);
    put_frame_body(&w, frame);
    if (record_size) {
        put_varint(&w, RECORD_INDEX);
        put_varint(&w, record_size);
        put_bytes(&w, record, record_size);
    }
    return put_check(&w, size);
}

gpuzip_status container_write_frame(uint8_t *dst, size_t capacity, size_t *size,
                                    const container_frame *frame)
{
    return container_write_head(dst, capacity, size, frame, NULL, 0);
}

gpuzip_status container_peek_frame(const uint8_t *src, size_t size, size_t *frame_size)
{
    size_t magic_size = size < sizeof frame_magic ? size : sizeof frame_magic;
    if (size == 0 || memcmp(src, frame_magic, magic_size) != 0)
        return FAIL(GPUZIP_ERR_FORMAT);

    reader r = {.src = src, .size = size};
    take_bytes(&r, sizeof frame_magic + 1);
    size_t body_size = take_varint(&r, 0, CONTAINER_FRAME_MAX);
    if (r.bad)
        return FAIL(GPUZIP_ERR_CORRUPT);
    size_t whole = (size_t)(r.src - src) + body_size;
    if (whole <= CONTAINER_FRAME_PREFIX || whole > CONTAINER_FRAME_MAX)
        return FAIL(GPUZIP_ERR_CORRUPT);
    *frame_size = whole;
    return GPUZIP_OK;
}

static gpuzip_status take_experts(reader *r, container_frame *frame)
{
    frame->experts = (int)take_varint(r, 1, CONTAINER_EXPERTS_MAX);
    for (int k = 0; k < frame->experts; k++) {
        container_expert *expert = &frame->expert[k];
        uint64_t kind = take_varint(r, 0, UINT32_MAX);
        if (kind > CONTAINER_EXPERT_NAIVE_BAYES)
            return FAIL(GPUZIP_ERR_UNSUPPORTED);
        expert->kind = (container_expert_kind)kind;
        expert->alpha = alpha_from_code((uint32_t)take_varint(r, 0, INT32_MAX));
        if (expert->kind == CONTAINER_EXPERT_MODEL) {
            const uint8_t *id = take_bytes(r, CONTAINER_MODEL_BYTES);
            if (id)
                memcpy(expert->model_id, id, CONTAINER_MODEL_BYTES);
        }
    }
    return GPUZIP_OK;
}

int container_frame_version(const uint8_t *src)
{
    return src[sizeof frame_magic];
}

/* Takes the optional records, of which only the index is known. */
static void take_records(reader *r, container_frame *frame, reader *index)
{
    while (r->size > 0 && !r->bad) {
        uint64_t type = take_varint(r, 0, UINT32_MAX);
        size_t size = take_varint(r, 0, CONTAINER_FRAME_MAX);
        const uint8_t *content = take_bytes(r, size);
        if (type != RECORD_INDEX || !content)
            continue;
        frame->is_index = true;
        *index = (reader){.src = content, .size = size};
    }
}

gpuzip_status container_read_head(container_frame *frame, const uint8_t *src, size_t size,
                                  reader *index)
{
    size_t frame_size;
    TRY(container_peek_frame(src, size, &frame_size));
    if (size != frame_size || !strip_check(src, &size))
        return FAIL(GPUZIP_ERR_CORRUPT);
    if (container_frame_version(src) != CONTAINER_VERSION)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);

    reader r = {.src = src, .size = size};
    take_bytes(&r, sizeof frame_magic + 1);
    take_varint(&r, 0, CONTAINER_FRAME_MAX);

    uint64_t features = take_varint(&r, 0, CONTAINER_SIZE_MAX);
    if (features & ~(uint64_t)FEATURES_KNOWN)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    container_frame parsed = {.schedule.window_scope = features & FEATURE_WINDOW_SCOPE,
                              .contexts = features & FEATURE_CONTEXTS,
                              .biases = features & FEATURE_BIASES,
                              .learns_alphas = features & FEATURE_LEARNS_ALPHAS,
                              .learns_weights = features & FEATURE_LEARNS_WEIGHTS};
    schedule *s = &parsed.schedule;
    s->window = (int)take_varint(&r, 2, SCHEDULE_STEPS_MAX);
    s->hop = s->window - (int)take_varint(&r, 0, (uint64_t)s->window);
    s->update_interval = (int)take_varint(&r, 1, SCHEDULE_STEPS_MAX);
    if (parsed.contexts)
        parsed.prior = (uint32_t)take_varint(&r, 0, UINT32_MAX);
    if (parsed.prior > CONTAINER_PRIOR_MAX)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    TRY(take_experts(&r, &parsed));

    take_records(&r, &parsed, index);
    if (r.bad || !frame_is_valid(&parsed))
        return FAIL(GPUZIP_ERR_CORRUPT);
    *frame = parsed;
    return GPUZIP_OK;
}

gpuzip_status container_read_frame(container_frame *frame, const uint8_t *src, size_t size)
{
    reader index;
    return container_read_head(frame, src, size, &index);
}

/* -- blocks --------------------------------------------------------------- */

uint32_t container_stream_length(uint32_t tokens, uint32_t streams)
{
    assert(tokens >= 1 && streams >= 1);
    return (tokens - 1) / streams + 1;
}

uint32_t container_fit_streams(uint32_t tokens, uint32_t wanted)
{
    /* The result has the same stream length as `wanted`, so fitting again changes nothing. */
    return container_stream_length(tokens, container_stream_length(tokens, wanted));
}

size_t container_stored_size(uint32_t raw_size)
{
    return 1 + varint_size(raw_size) + raw_size + CHECK_BYTES;
}

/* Returns the bytes of a coded block after its body's size, its check included. */
static size_t coded_body_size(uint32_t tokens, const container_stream *stream, uint32_t streams)
{
    size_t size = varint_size(tokens) + varint_size(streams) + 2 * CHECK_BYTES;
    for (uint32_t s = 0; s < streams; s++)
        size += stream[s].size + (s + 1 < streams ? varint_size(stream[s].size) : 0);
    return size;
}

size_t container_coded_size(uint32_t raw_size, uint32_t tokens, const container_stream *stream,
                            uint32_t streams)
{
    size_t body_size = coded_body_size(tokens, stream, streams);
    return 1 + varint_size(raw_size) + varint_size(body_size) + body_size;
}

size_t container_packed_size(uint32_t raw_size, size_t payload_size)
{
    size_t body_size = payload_size + 2 * CHECK_BYTES;
    return 1 + varint_size(raw_size) + varint_size(body_size) + body_size;
}

gpuzip_status container_write_stored(uint8_t *dst, size_t capacity, size_t *size,
                                     const uint8_t *raw, uint32_t raw_size)
{
    if (raw_size < 1 || raw_size > CONTAINER_RAW_MAX)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer w = {.dst = dst, .capacity = capacity};
    put_byte(&w, CONTAINER_STORED);
    put_varint(&w, raw_size);
    put_bytes(&w, raw, raw_size);
    return put_check(&w, size);
}

gpuzip_status container_write_coded(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                                    uint32_t raw_size, uint32_t tokens,
                                    const container_stream *stream, uint32_t streams)
{
    if (raw_size < 1 || raw_size > CONTAINER_RAW_MAX || tokens < 1 || tokens > raw_size + 1 ||
        streams < 1 || streams > CONTAINER_STREAMS_MAX ||
        streams != container_fit_streams(tokens, streams) ||
        container_coded_size(raw_size, tokens, stream, streams) >= container_stored_size(raw_size))
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer w = {.dst = dst, .capacity = capacity};
    put_byte(&w, CONTAINER_CODED);
    put_varint(&w, raw_size);
    put_varint(&w, coded_body_size(tokens, stream, streams));
    put_varint(&w, tokens);
    put_varint(&w, streams);
    for (uint32_t s = 0; s + 1 < streams; s++)
        put_varint(&w, stream[s].size);
    put_fixed(&w, container_check(raw, raw_size), CHECK_BYTES);
    for (uint32_t s = 0; s < streams; s++)
        put_bytes(&w, stream[s].data, stream[s].size);
    return put_check(&w, size);
}

gpuzip_status container_write_packed(uint8_t *dst, size_t capacity, size_t *size,
                                     const uint8_t *raw, uint32_t raw_size, const uint8_t *payload,
                                     size_t payload_size)
{
    if (raw_size < 1 || raw_size > CONTAINER_RAW_MAX || payload_size < 1 ||
        payload_size > raw_size ||
        container_packed_size(raw_size, payload_size) >= container_stored_size(raw_size))
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer w = {.dst = dst, .capacity = capacity};
    put_byte(&w, CONTAINER_PACKED);
    put_varint(&w, raw_size);
    put_varint(&w, payload_size + 2 * CHECK_BYTES);
    put_fixed(&w, container_check(raw, raw_size), CHECK_BYTES);
    put_bytes(&w, payload, payload_size);
    return put_check(&w, size);
}

/* Takes the beginning of a block or end mark; r continues behind it. */
static void take_prefix(reader *r, container_prefix *prefix)
{
    const uint8_t *begin = r->src;
    uint64_t kind = take_fixed(r, 1);
    size_t rest;
    if (kind == CONTAINER_END) {
        take_varint(r, 0, CONTAINER_SIZE_MAX);
        *prefix = (container_prefix){.kind = CONTAINER_END};
        rest = HASH_BYTES;
    } else {
        uint32_t raw_size = (uint32_t)take_varint(r, 1, CONTAINER_RAW_MAX);
        rest = kind == CONTAINER_STORED
                   ? raw_size + CHECK_BYTES
                   : take_varint(r, kind == CONTAINER_CODED ? CODED_BODY_MIN : PACKED_BODY_MIN,
                                 container_stored_size(raw_size));
        *prefix = (container_prefix){.kind = (container_kind)kind, .raw_size = raw_size};
    }
    prefix->size = (size_t)(r->src - begin) + rest;
    /* A coded or packed block is smaller than a stored one; this bounds a reader's memory. */
    if (kind > CONTAINER_PACKED || ((kind == CONTAINER_CODED || kind == CONTAINER_PACKED) &&
                                    prefix->size >= container_stored_size(prefix->raw_size)))
        r->bad = true;
}

gpuzip_status container_peek_block(container_prefix *prefix, const uint8_t *src, size_t size)
{
    reader r = {.src = src, .size = size};
    container_prefix parsed;
    take_prefix(&r, &parsed);
    if (r.bad)
        return FAIL(GPUZIP_ERR_CORRUPT);
    *prefix = parsed;
    return GPUZIP_OK;
}

/* Reads a coded block from behind its prefix up to its check. */
static void take_coded_body(reader *r, container_block *block)
{
    block->tokens = (uint32_t)take_varint(r, 1, (uint64_t)block->raw_size + 1);
    block->streams = (uint32_t)take_varint(r, 1, CONTAINER_STREAMS_MAX);
    if (block->streams != container_fit_streams(block->tokens, block->streams))
        r->bad = true;
    block->table = r->src;
    size_t table_total = 0;
    for (uint32_t s = 0; s + 1 < block->streams && !r->bad; s++)
        table_total += take_varint(r, 0, CONTAINER_RAW_MAX);
    block->content_check = (uint32_t)take_fixed(r, CHECK_BYTES);
    if (table_total > r->size)
        r->bad = true;
}

gpuzip_status container_read_block(container_block *block, const uint8_t *src, size_t size)
{
    reader r = {.src = src, .size = size};
    container_prefix prefix;
    take_prefix(&r, &prefix);
    if (r.bad)
        return FAIL(GPUZIP_ERR_CORRUPT);
    if (prefix.kind == CONTAINER_END)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    if (size != prefix.size || !strip_check(src, &size))
        return FAIL(GPUZIP_ERR_CORRUPT);

    r.size -= CHECK_BYTES;
    container_block parsed = {.kind = prefix.kind, .raw_size = prefix.raw_size};
    if (parsed.kind == CONTAINER_CODED)
        take_coded_body(&r, &parsed);
    if (parsed.kind == CONTAINER_PACKED)
        parsed.content_check = (uint32_t)take_fixed(&r, CHECK_BYTES);
    if (r.bad)
        return FAIL(GPUZIP_ERR_CORRUPT);
    parsed.payload = r.src;
    parsed.payload_size = r.size;
    *block = parsed;
    return GPUZIP_OK;
}

void container_read_streams(const container_block *block, container_stream *stream)
{
    assert(block->kind == CONTAINER_CODED);
    reader table = {.src = block->table, .size = (size_t)(block->payload - block->table)};
    reader payload = {.src = block->payload, .size = block->payload_size};
    for (uint32_t s = 0; s < block->streams; s++) {
        size_t size =
            s + 1 < block->streams ? take_varint(&table, 0, CONTAINER_RAW_MAX) : payload.size;
        stream[s] = (container_stream){.data = take_bytes(&payload, size), .size = size};
    }
    assert(!table.bad && !payload.bad);
}

/* -- end mark ------------------------------------------------------------- */

gpuzip_status container_write_end(uint8_t *dst, size_t capacity, size_t *size,
                                  const container_end *end)
{
    if (end->raw_size > CONTAINER_SIZE_MAX)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    writer w = {.dst = dst, .capacity = capacity};
    put_byte(&w, CONTAINER_END);
    put_varint(&w, end->raw_size);
    put_fixed(&w, end->content_hash, HASH_BYTES);
    if (w.size > capacity)
        return FAIL(GPUZIP_ERR_CAPACITY);
    *size = w.size;
    return GPUZIP_OK;
}

gpuzip_status container_read_end(container_end *end, const uint8_t *src, size_t size)
{
    reader r = {.src = src, .size = size};
    container_end parsed;
    if (take_fixed(&r, 1) != CONTAINER_END)
        return FAIL(GPUZIP_ERR_CORRUPT);
    parsed.raw_size = take_varint(&r, 0, CONTAINER_SIZE_MAX);
    parsed.content_hash = take_fixed(&r, HASH_BYTES);
    if (r.bad || r.size > 0)
        return FAIL(GPUZIP_ERR_CORRUPT);
    *end = parsed;
    return GPUZIP_OK;
}

/* -- checksums ------------------------------------------------------------ */

uint32_t container_check(const uint8_t *data, size_t size)
{
    return (uint32_t)XXH3_64bits(data, size);
}

/* container_hash is XXH3's own state; the name keeps xxhash.h out of the header. */
gpuzip_status container_hash_open(container_hash **hash)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return FAIL(GPUZIP_ERR_MEMORY);
    XXH3_64bits_reset(state);
    *hash = (container_hash *)state;
    return GPUZIP_OK;
}

void container_hash_close(container_hash *hash)
{
    XXH3_freeState((XXH3_state_t *)hash);
}

void container_hash_reset(container_hash *hash)
{
    XXH3_64bits_reset((XXH3_state_t *)hash);
}

void container_hash_add(container_hash *hash, const uint8_t *data, size_t size)
{
    XXH3_64bits_update((XXH3_state_t *)hash, data, size);
}

uint64_t container_hash_value(const container_hash *hash)
{
    return XXH3_64bits_digest((const XXH3_state_t *)hash);
}
