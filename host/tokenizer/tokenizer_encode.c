/* tokenizer_encode.c: text to ids, as tokenizer_blob.h defines them.
 *
 * A text goes down through: runs of well-formed UTF-8, one split() a stage,
 * add_piece(), add_part() with its cache, merge_symbols(). */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_internal.h"

/* Limits of one match; beyond them the rest of the text is left unsplit, which
 * costs compression but never a byte. Patterns come from files, and a malicious
 * one can still be slow: the JIT does not count every step. Only the encoder
 * runs them. */
#define MATCH_STEPS_MAX    10000000
#define MATCH_HEAP_KIB_MAX 65536
#define MATCH_STACK_BYTES  32768
#define MATCH_STACK_MAX    ((size_t)1 << 20)

/* Words come again and again: a cache line for each of the last ones. */
#define CACHE_PIECE_BYTES 30
#define CACHE_WHOLE       0x80 /* the piece would have been taken whole if it were a token */
#define CACHE_IDS         8
#define CACHE_LINES_MAX   16384

typedef struct {
    uint8_t tag;   /* bytes of the piece (0: an empty line) | CACHE_WHOLE */
    uint8_t count; /* of its ids */
    uint8_t piece[CACHE_PIECE_BYTES];
    uint32_t ids[CACHE_IDS];
} cache_line;

typedef struct {
    const tokenizer *t;
    uint32_t *ids; /* room for one for each byte still to come */
    size_t count;
    cache_line *cache; /* [cache_mask + 1] */
    uint32_t cache_mask;
    merge_scratch scratch;
    pcre2_match_data *match;
    pcre2_match_context *match_context;
    pcre2_jit_stack *match_stack;
    bool unsplit; /* a match failed: split no more */
} encoder;

/* Writes the symbols that a piece begins as; returns their number, <= size. */
static size_t begin_symbols(const tokenizer *t, const uint8_t *piece, size_t size,
                            uint32_t *symbols)
{
    if (t->kind == BLOB_KIND_BPE) {
        for (size_t i = 0; i < size; i++)
            symbols[i] = t->byte_id[piece[i]];
        return size;
    }
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        if (piece[i] < 0x80) {
            symbols[count++] = t->ascii_id[piece[i++]];
            continue;
        }
        size_t length = utf8_char(piece + i, size - i);
        uint32_t id = token_table_find(&t->table, piece + i, length);
        if (id != TOKEN_NONE) {
            symbols[count++] = id;
        } else {
            for (size_t k = 0; k < length; k++)
                symbols[count++] = t->byte_id[piece[i + k]];
        }
        i += length;
    }
    return count;
}

/* Adds the ids of part[0, size); if `whole`, its own one should it be a token. */
static gpuzip_status merge_part(encoder *e, const uint8_t *part, size_t size, bool whole)
{
    uint32_t *symbols = e->ids + e->count;
    uint32_t id = whole ? token_table_find(&e->t->table, part, size) : TOKEN_NONE;
    if (id != TOKEN_NONE) {
        symbols[0] = id;
        e->count++;
        return GPUZIP_OK;
    }
    size_t count = begin_symbols(e->t, part, size, symbols);
    TRY(merge_symbols(&e->t->merges, &e->scratch, symbols, &count));
    e->count += count;
    return GPUZIP_OK;
}

static uint32_t cache_home(const encoder *e, const uint8_t *part, size_t size)
{
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ part[i]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(hash >> 40) & e->cache_mask;
}

/* The same, size > 0, with the cache. */
static gpuzip_status add_part(encoder *e, const uint8_t *part, size_t size, bool whole)
{
    if (size > CACHE_PIECE_BYTES)
        return merge_part(e, part, size, whole);
    uint8_t tag = (uint8_t)(size | (whole ? CACHE_WHOLE : 0));
    cache_line *line = &e->cache[cache_home(e, part, size)];
    uint32_t *ids = e->ids + e->count;
    if (line->tag == tag && memcmp(line->piece, part, size) == 0) {
        for (size_t i = 0; i < line->count; i++)
            ids[i] = line->ids[i];
        e->count += line->count;
        return GPUZIP_OK;
    }
    size_t before = e->count;
    TRY(merge_part(e, part, size, whole));
    size_t added = e->count - before;
    if (added <= CACHE_IDS) {
        line->tag = tag;
        line->count = (uint8_t)added;
        memcpy(line->piece, part, size);
        memcpy(line->ids, ids, added * sizeof(*ids));
    }
    return GPUZIP_OK;
}

/* Adds the ids of a piece. A long one (SentencePiece's, without stages, is the
 * whole text) is cut where no token reaches across. */
static gpuzip_status add_piece(encoder *e, const uint8_t *piece, size_t size)
{
    bool whole = (e->t->flags & BLOB_WHOLE) != 0;
    size_t start = 0;
    if (size > CACHE_PIECE_BYTES &&
        !(whole && token_table_find(&e->t->table, piece, size) != TOKEN_NONE)) {
        whole = false;
        for (size_t i = 1; i < size; i++) {
            if (tokenizer_symbol_begins(e->t, piece[i]) &&
                !tokenizer_joined(e->t, piece[i - 1], piece[i])) {
                TRY(add_part(e, piece + start, i - start, false));
                start = i;
            }
        }
    }
    return size > start ? add_part(e, piece + start, size - start, whole) : GPUZIP_OK;
}

static gpuzip_status split(encoder *e, int stage, const uint8_t *text, size_t size);

/* Puts the parts of a text together as the behaviour of the stage wants it. */
typedef struct {
    encoder *e;
    int stage;
    const uint8_t *text;
    size_t start, end; /* of the piece that may still grow */
    bool is_match;     /* the sort of its last part */
} splitter;

/* Adds the part [end of the last, end), a match or the gap between two. */
static gpuzip_status splitter_add(splitter *s, size_t end, bool is_match)
{
    uint8_t behaviour = s->e->t->stage[s->stage].behaviour;
    if (behaviour & BLOB_INVERT)
        is_match = !is_match;
    bool grows = false;
    switch (behaviour & ~BLOB_INVERT) {
    case BLOB_JOINED:
        grows = is_match == s->is_match;
        break;
    case BLOB_PREVIOUS:
        grows = is_match && !s->is_match;
        break;
    case BLOB_NEXT:
        grows = !is_match && s->is_match;
        break;
    default: /* BLOB_ISOLATED */
        break;
    }
    if (!grows) {
        TRY(split(s->e, s->stage + 1, s->text + s->start, s->end - s->start));
        s->start = s->end;
    }
    s->end = end;
    s->is_match = is_match;
    return GPUZIP_OK;
}

/* Adds the ids of a text that the stages before `stage` left whole. */
static gpuzip_status split(encoder *e, int stage, const uint8_t *text, size_t size)
{
    if (stage == e->t->stages || e->unsplit || size == 0)
        return add_piece(e, text, size);
    splitter s = {.e = e, .stage = stage, .text = text};
    const pcre2_code *code = e->t->stage[stage].code;
    const size_t *range = pcre2_get_ovector_pointer(e->match);
    size_t from = 0;
    size_t done = 0; /* end of the last match */
    bool matched = false;
    while (from <= size) {
        int found =
            pcre2_match(code, text, size, from, PCRE2_NO_UTF_CHECK, e->match, e->match_context);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0 || range[0] < from || range[1] < range[0]) {
            e->unsplit = true;
            break;
        }
        size_t start = range[0], end = range[1];
        if (start == end && matched && end == done) {
            /* An empty match at the end of the last one: look one character on. */
            from += size - from ? utf8_char(text + from, size - from) : 1;
            continue;
        }
        if (start > done)
            TRY(splitter_add(&s, start, false));
        TRY(splitter_add(&s, end, true));
        from = done = end;
        matched = true;
    }
    if (size > done)
        TRY(splitter_add(&s, size, false));
    return split(e, stage + 1, text + s.start, s.end - s.start);
}

/* Adds the ids of any bytes. */
static gpuzip_status add_text(encoder *e, const uint8_t *text, size_t size)
{
    bool is_text = e->t->kind != BLOB_KIND_BYTES;
    for (size_t pos = 0; pos < size;) {
        if (is_text) {
            size_t run = utf8_run(text + pos, size - pos);
            TRY(split(e, 0, text + pos, run));
            pos += run;
        }
        for (; pos < size && !(is_text && utf8_char(text + pos, size - pos)); pos++)
            e->ids[e->count++] = e->t->byte_id[text[pos]];
    }
    return GPUZIP_OK;
}

/* Allocates the encoder's memory for a text of size bytes. Errors: MEMORY;
 * encoder_free() is right then, too. */
static gpuzip_status encoder_init(encoder *e, const tokenizer *t, size_t size)
{
    *e = (encoder){.t = t};
    uint32_t lines = 64;
    while (lines < CACHE_LINES_MAX && lines < size / 8)
        lines *= 2;
    e->cache_mask = lines - 1;
    e->cache = calloc(lines, sizeof(*e->cache));
    e->ids = malloc((size + 1) * sizeof(*e->ids));
    if (!e->cache || !e->ids)
        return FAIL(GPUZIP_ERR_MEMORY);
    if (t->stages == 0)
        return GPUZIP_OK;
    e->match = pcre2_match_data_create(1, NULL);
    e->match_context = pcre2_match_context_create(NULL);
    if (!e->match || !e->match_context)
        return FAIL(GPUZIP_ERR_MEMORY);
    pcre2_set_match_limit(e->match_context, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(e->match_context, MATCH_HEAP_KIB_MAX);
    /* NULL where there is no JIT; its own small stack does then as well. */
    e->match_stack = pcre2_jit_stack_create(MATCH_STACK_BYTES, MATCH_STACK_MAX, NULL);
    if (e->match_stack)
        pcre2_jit_stack_assign(e->match_context, NULL, e->match_stack);
    return GPUZIP_OK;
}

static void encoder_free(encoder *e)
{
    pcre2_jit_stack_free(e->match_stack);
    pcre2_match_context_free(e->match_context);
    pcre2_match_data_free(e->match);
    merge_scratch_free(&e->scratch);
    free(e->ids);
    free(e->cache);
}

gpuzip_status tokenizer_encode(const tokenizer *t, const uint8_t *text, size_t size, uint32_t **ids,
                               size_t *count)
{
    if (size > TOKENIZER_TEXT_BYTES_MAX)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    gpuzip_status status = GPUZIP_OK;
    encoder e;
    uint8_t *prefixed = NULL;
    TRY_OUT(encoder_init(&e, t, size));
    if (size > 0 && tokenizer_prefix_bytes(t) == 1) {
        prefixed = malloc(size + 1);
        if (!prefixed) {
            status = FAIL(GPUZIP_ERR_MEMORY);
            goto out;
        }
        prefixed[0] = ' ';
        memcpy(prefixed + 1, text, size);
        text = prefixed;
        size++;
    }
    TRY_OUT(add_text(&e, text, size));
    uint32_t *shrunk = realloc(e.ids, (e.count ? e.count : 1) * sizeof(*e.ids));
    *ids = shrunk ? shrunk : e.ids;
    *count = e.count;
    e.ids = NULL;

out:
    encoder_free(&e);
    free(prefixed);
    return status;
}
