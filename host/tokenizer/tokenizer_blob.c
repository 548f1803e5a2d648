/* tokenizer_blob.c: the writer of blobs. */
#include "tokenizer_blob.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "tokenizer_table.h"
#include "utf8.h"

/* Bytes under construction. A failed allocation is remembered. */
typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed;
} buffer;

static void put(buffer *b, const void *bytes, size_t size)
{
    if (b->failed)
        return;
    if (size > b->capacity - b->size) {
        size_t capacity = 2 * (b->capacity + size);
        uint8_t *grown = realloc(b->bytes, capacity);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->bytes = grown;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

/* Puts the lowest `bytes` bytes of value, 1 .. 4. */
static void put_integer(buffer *b, uint32_t value, int bytes)
{
    uint8_t le[4];
    for (int i = 0; i < bytes; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    put(b, le, (size_t)bytes);
}

/* The state of writing a source. */
typedef struct {
    const blob_source *source;
    token_table table;
    uint8_t *classes;  /* [vocab] */
    uint32_t *results; /* [merges] the id that a merge makes; TOKEN_NONE: left out */
    uint32_t merges;   /* not left out */
    uint32_t vocab;    /* of the blob */
} writer;

static gpuzip_status fill_table(writer *w)
{
    const blob_source *s = w->source;
    bool seen[256] = {false}; /* bytes; the table knows the texts */
    TRY(token_table_open(&w->table, s->vocab));
    for (uint32_t id = 0; id < s->vocab; id++) {
        const source_token *token = &s->tokens[id];
        if (token->byte && seen[token->bytes[0]])
            return FAIL(GPUZIP_ERR_FORMAT);
        if (token->byte)
            seen[token->bytes[0]] = true;
        if (token->size > 0)
            TRY(token_table_set(&w->table, id, token->bytes, token->size, !token->byte));
    }
    return GPUZIP_OK;
}

/* Returns whether a token can be part of a merge. */
static bool is_mergeable(const blob_source *s, uint32_t id)
{
    return id < s->vocab && s->tokens[id].size > 0 &&
           (s->kind == BLOB_KIND_BPE || !s->tokens[id].byte);
}

/* Leaves out all but the last of equal merges and finds the results. */
static gpuzip_status find_results(writer *w)
{
    const blob_source *s = w->source;
    gpuzip_status status = GPUZIP_OK;
    merge_table seen = {0};
    TRY_OUT(merge_table_open(&seen, s->merges));
    for (size_t i = s->merges; i-- > 0;) {
        merge m = {.left = s->merge[i][0], .right = s->merge[i][1]};
        w->results[i] = TOKEN_NONE;
        if (!is_mergeable(s, m.left) || !is_mergeable(s, m.right)) {
            status = FAIL(GPUZIP_ERR_FORMAT);
            goto out;
        }
        if (merge_table_find(&seen, m.left, m.right) != TOKEN_NONE)
            continue;
        TRY_OUT(merge_table_add(&seen, m));
        w->results[i] = token_table_find_joined(&w->table, m.left, m.right);
        if (w->results[i] == TOKEN_NONE) {
            status = FAIL(GPUZIP_ERR_FORMAT);
            goto out;
        }
        w->merges++;
    }

out:
    merge_table_close(&seen);
    return status;
}

/* Classes for stored merges. A result is a product if its turn comes when the
 * reader will give out its id; everything else that text can become is stored. */
static void classify_by_merges(writer *w)
{
    const blob_source *s = w->source;
    uint32_t next_product = 0;
    for (size_t i = 0; i < s->merges; i++) {
        if (w->results[i] == TOKEN_NONE)
            continue;
        for (int side = 0; side < 2; side++)
            if (w->classes[s->merge[i][side]] == BLOB_NO_TOKEN)
                w->classes[s->merge[i][side]] = BLOB_TEXT;
        uint32_t result = w->results[i];
        if (w->classes[result] != BLOB_NO_TOKEN)
            continue;
        if (result >= next_product) {
            w->classes[result] = BLOB_PRODUCT;
            next_product = result + 1;
        } else {
            w->classes[result] = BLOB_TEXT;
        }
    }
}

/* Returns whether a token is a single character, as SentencePiece begins with. */
static bool is_character(const source_token *token)
{
    return utf8_char(token->bytes, token->size) == token->size;
}

static void classify(writer *w)
{
    const blob_source *s = w->source;
    bool all = (s->flags & (BLOB_WHOLE | BLOB_RANKED)) != 0;
    for (uint32_t id = 0; id < s->vocab; id++)
        if (s->tokens[id].byte && s->tokens[id].size > 0)
            w->classes[id] = BLOB_BYTE;
    classify_by_merges(w);
    w->vocab = s->bos + 1;
    for (uint32_t id = 0; id < s->vocab; id++) {
        const source_token *token = &s->tokens[id];
        if (token->size > 0 && w->classes[id] == BLOB_NO_TOKEN &&
            (all || (s->kind == BLOB_KIND_SENTENCEPIECE && is_character(token))))
            w->classes[id] = BLOB_TEXT;
        if (w->classes[id] != BLOB_NO_TOKEN && id >= w->vocab)
            w->vocab = id + 1;
    }
}

static uint8_t class_of(const writer *w, uint32_t id)
{
    return id < w->source->vocab ? w->classes[id] : BLOB_NO_TOKEN;
}

static void put_tokens(const writer *w, buffer *b)
{
    size_t runs_at = b->size;
    uint32_t runs = 0;
    put_integer(b, 0, 4);
    for (uint32_t id = 0; id < w->vocab;) {
        uint8_t class = class_of(w, id);
        uint32_t count = 1;
        while (id + count < w->vocab && class_of(w, id + count) == class)
            count++;
        put_integer(b, count << 2 | class, 4);
        id += count;
        runs++;
    }
    if (!b->failed)
        for (int i = 0; i < 4; i++)
            b->bytes[runs_at + (size_t)i] = (uint8_t)(runs >> 8 * i);
    for (uint32_t id = 0; id < w->vocab; id++) {
        uint8_t class = class_of(w, id);
        if (class == BLOB_TEXT)
            put_integer(b, w->source->tokens[id].size, 2);
        if (class == BLOB_TEXT || class == BLOB_BYTE)
            put(b, w->source->tokens[id].bytes, w->source->tokens[id].size);
    }
}

static void put_merges(const writer *w, buffer *b)
{
    int width = w->vocab > 65536 ? 3 : 2;
    put_integer(b, w->merges, 4);
    for (size_t i = 0; i < w->source->merges; i++) {
        if (w->results[i] == TOKEN_NONE)
            continue;
        put_integer(b, w->source->merge[i][0], width);
        put_integer(b, w->source->merge[i][1], width);
    }
}

typedef struct {
    float score;
    uint32_t id;
    uint32_t rank;
} scored;

static int compare_scores(const void *a, const void *b)
{
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = ((const scored *)a)->id, y = ((const scored *)b)->id;
    return (x > y) - (x < y);
}

/* Ranks the texts of several characters: *count of them, by id. The rank is the
 * number of different higher scores. *by_id: they rank as their ids do. */
static gpuzip_status rank_texts(const writer *w, scored **texts, size_t *count, bool *by_id)
{
    size_t used = 0;
    scored *list = malloc(w->vocab * sizeof(*list));
    if (!list)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (uint32_t id = 0; id < w->vocab; id++)
        if (class_of(w, id) == BLOB_TEXT && !is_character(&w->source->tokens[id]))
            list[used++] = (scored){.score = w->source->tokens[id].score, .id = id};
    qsort(list, used, sizeof(*list), compare_scores);
    for (size_t i = 1; i < used; i++)
        list[i].rank = list[i - 1].rank + (list[i].score < list[i - 1].score);
    qsort(list, used, sizeof(*list), compare_ids);
    *by_id = true;
    for (size_t i = 1; i < used; i++)
        *by_id = *by_id && list[i].rank > list[i - 1].rank;
    *texts = list;
    *count = used;
    return GPUZIP_OK;
}

static gpuzip_status put_blob(const writer *w, buffer *b)
{
    const blob_source *s = w->source;
    scored *texts = NULL;
    size_t count = 0;
    bool by_id = true;
    if (s->flags & BLOB_RANKED)
        TRY(rank_texts(w, &texts, &count, &by_id));
    put(b, BLOB_MAGIC, 4);
    put_integer(b, BLOB_VERSION, 1);
    put_integer(b, s->kind, 1);
    put_integer(b, s->flags | (by_id ? 0u : BLOB_RANKS), 1);
    put_integer(b, (uint32_t)s->stages, 1);
    put_integer(b, w->vocab, 4);
    put_integer(b, s->bos, 4);
    if (s->kind != BLOB_KIND_BYTES) {
        for (int i = 0; i < s->stages; i++) {
            put_integer(b, s->stage[i].behaviour, 1);
            put_integer(b, s->stage[i].size, 2);
            put(b, s->stage[i].pattern, s->stage[i].size);
        }
        put_tokens(w, b);
        if (!(s->flags & BLOB_RANKED))
            put_merges(w, b);
        for (size_t i = 0; i < count && !by_id; i++)
            put_integer(b, texts[i].rank, 4);
    }
    free(texts);
    return b->failed ? FAIL(GPUZIP_ERR_MEMORY) : GPUZIP_OK;
}

gpuzip_status blob_write(const blob_source *source, void **blob, size_t *size)
{
    if (source->bos >= TOKEN_VOCAB_MAX || source->vocab > TOKEN_VOCAB_MAX ||
        source->merges > TOKEN_MERGES_MAX)
        return FAIL(GPUZIP_ERR_FORMAT);
    gpuzip_status status = GPUZIP_OK;
    writer w = {.source = source};
    buffer b = {0};
    w.classes = calloc(source->vocab ? source->vocab : 1, 1);
    w.results = malloc((source->merges + 1) * sizeof(*w.results));
    if (!w.classes || !w.results) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    if (source->kind == BLOB_KIND_BYTES) {
        w.vocab = source->bos < 256 ? 256 : source->bos + 1;
    } else {
        TRY_OUT(fill_table(&w));
        TRY_OUT(find_results(&w));
        classify(&w);
    }
    TRY_OUT(put_blob(&w, &b));
    *blob = b.bytes;
    *size = b.size;
    b.bytes = NULL;

out:
    free(b.bytes);
    free(w.results);
    free(w.classes);
    token_table_close(&w.table);
    return status;
}
