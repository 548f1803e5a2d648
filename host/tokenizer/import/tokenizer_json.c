/* tokenizer_json.c: the importers of Hugging Face's tokenizer.json and of
 * GPT-2's vocab.json with merges.txt. How the pre-tokenizer becomes stages is
 * in tokenizer_pattern.c. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tokenizer_pattern.h"
#include "tokenizer_source.h"
#include "utf8.h"

#define JSON_BYTES_MAX ((size_t)128 << 20)

/* Special tokens that stand before a text, the first that is there counts. */
static const char *const bos_names[] = {
    "<|begin_of_text|>", "<|begin▁of▁sentence|>", "<|bos|>",         "<s>",  "<bos>", "<BOS>",
    "<|startoftext|>",   "<|endoftext|>",         "<|end_of_text|>", "</s>", "<eos>",
};

/* Jansson takes no NUL in a key, but some vocabularies have it as a token. Until
 * import_json_token() another character stands for it, which no token has: the last of Unicode,
 * U+10FFFF. */
#define NUL_CHARACTER "\xf4\x8f\xbf\xbf"
#define NUL_ESCAPE    "\\u0000"

/* Byte-level vocabularies are written with a character a byte: itself if it is
 * printable in Latin-1, else the next of U+0100 ... Fills byte_of[324] with the
 * byte of each of these characters, or -1. */
static void find_byte_characters(int16_t byte_of[324])
{
    int next = 256;
    for (int c = 0; c < 324; c++)
        byte_of[c] = -1;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        byte_of[printable ? b : next++] = (int16_t)b;
    }
}

/* Writes the bytes that a byte-level token's characters stand for, at most
 * size; returns their number, or 0 if it has others. */
static size_t to_bytes(const int16_t byte_of[324], const char *token, size_t size, uint8_t *bytes)
{
    const uint8_t *text = (const uint8_t *)token;
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t length = utf8_char(text + i, size - i);
        uint32_t code = length ? utf8_code(text + i, length) : 324;
        if (code >= 324 || byte_of[code] < 0)
            return 0;
        bytes[used++] = (uint8_t)byte_of[code];
        i += length;
    }
    return used;
}

/* Returns the id that a JSON integer is, or TOKEN_NONE. */
static uint32_t id_of(const json_t *value)
{
    json_int_t id = json_integer_value(value); /* 0 if it is no integer */
    return json_is_integer(value) && id >= 0 && id < TOKEN_VOCAB_MAX ? (uint32_t)id : TOKEN_NONE;
}

/* Whether the added token `id` is special, and thus none that text becomes. */
static void mark_specials(const json_t *added, uint8_t *special, size_t vocab)
{
    size_t i;
    const json_t *token;
    json_array_foreach(added, i, token)
    {
        uint32_t id = id_of(json_object_get(token, "id"));
        if (id < vocab && json_is_true(json_object_get(token, "special")))
            special[id] = 1;
    }
}

/* A token's text; U+10FFFF is NUL, see parse_with_nul(). */
static gpuzip_status import_text_with_nul(importer *im, uint32_t id, const char *name, size_t size)
{
    const char *nul = strstr(name, NUL_CHARACTER);
    if (!nul)
        return size ? import_text(im, id, (const uint8_t *)name, size, 0) : GPUZIP_OK;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    size_t used = 0, character = sizeof NUL_CHARACTER - 1;
    for (size_t i = 0; i < size; used++) {
        bool is_nul = size - i >= character && memcmp(name + i, NUL_CHARACTER, character) == 0;
        bytes[used] = is_nul ? 0 : (uint8_t)name[i];
        i += is_nul ? character : 1;
    }
    gpuzip_status status = import_text(im, id, bytes, used, 0);
    free(bytes);
    return status;
}

static gpuzip_status import_json_token(importer *im, const int16_t byte_of[324], const char *name,
                                       uint32_t id, bool byte_fallback)
{
    size_t size = strlen(name);
    if (im->source.kind == BLOB_KIND_SENTENCEPIECE) {
        int byte = byte_fallback ? import_byte_name((const uint8_t *)name, size) : -1;
        if (byte >= 0)
            return import_byte(im, id, (uint8_t)byte);
        return import_text_with_nul(im, id, name, size);
    }
    uint8_t *bytes = malloc(size + 1);
    if (!bytes)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    size_t used = to_bytes(byte_of, name, size, bytes);
    gpuzip_status status = used ? import_text(im, id, bytes, used, 0) : GPUZIP_OK;
    free(bytes);
    return status;
}

/* Imports the object vocab {"token": id, ...} without the special tokens. */
static gpuzip_status import_json_vocab(importer *im, json_t *vocab, const json_t *added,
                                       bool byte_fallback)
{
    const char *name;
    json_t *value;
    size_t ids = 0;
    if (json_object_size(vocab) == 0)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                     "the vocabulary is no JSON object of tokens");
    json_object_foreach(vocab, name, value)
    {
        uint32_t id = id_of(value);
        if (id == TOKEN_NONE)
            return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                         "the id of token \"%.64s\" is no id", name);
        if (id >= ids)
            ids = id + 1;
    }
    TRY(import_vocab(im, ids));
    int16_t byte_of[324];
    find_byte_characters(byte_of);
    uint8_t *special = calloc(ids, 1);
    if (!special)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    gpuzip_status status = GPUZIP_OK;
    mark_specials(added, special, ids);
    json_object_foreach(vocab, name, value)
    {
        uint32_t id = id_of(value);
        if (!special[id])
            TRY_OUT(import_json_token(im, byte_of, name, id, byte_fallback));
    }

out:
    free(special);
    return status;
}

/* Imports the merge of left[0, left_size) and right; merges of special tokens
 * are left out. `joined` has room for both and a NUL, and may be left itself. */
static gpuzip_status import_json_merge(importer *im, const json_t *vocab, const char *left,
                                       const char *right, char *joined)
{
    uint32_t ids[3] = {id_of(json_object_get(vocab, left)), id_of(json_object_get(vocab, right))};
    size_t left_size = strlen(left);
    memmove(joined, left, left_size);
    memmove(joined + left_size, right, strlen(right) + 1);
    ids[2] = id_of(json_object_get(vocab, joined));
    for (int i = 0; i < 3; i++) {
        if (ids[i] == TOKEN_NONE)
            return tokenizer_import_fail(
                im, GPUZIP_ERR_FORMAT, "a merge makes \"%.64s\": this or a part of it is no token",
                joined);
        const source_token *token = &im->tokens[ids[i]];
        bool fallback = token->byte && im->source.kind == BLOB_KIND_SENTENCEPIECE;
        if (token->size == 0 || fallback)
            return GPUZIP_OK;
    }
    return import_merge(im, ids[0], ids[1]);
}

/* Imports a merge "left right", which is overwritten. */
static gpuzip_status import_merge_line(importer *im, const json_t *vocab, char *line)
{
    char *space = strchr(line, ' ');
    if (!space || strchr(space + 1, ' '))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "the merge \"%.64s\" is not two tokens",
                                     line);
    *space = '\0';
    return import_json_merge(im, vocab, line, space + 1, line);
}

/* Imports one entry of "merges": "left right" or ["left", "right"]. */
static gpuzip_status import_merge_entry(importer *im, const json_t *vocab, const json_t *entry)
{
    const char *left = json_string_value(json_is_array(entry) ? json_array_get(entry, 0) : entry);
    const char *right = json_string_value(json_array_get(entry, 1));
    if (!left || (json_is_array(entry) && (!right || json_array_size(entry) != 2)))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "an entry of \"merges\" is no merge");
    size_t size = strlen(left) + (right ? strlen(right) : 0) + 1;
    char *copy = malloc(size);
    if (!copy)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    gpuzip_status status;
    if (right) {
        status = import_json_merge(im, vocab, left, right, copy);
    } else {
        memcpy(copy, left, size);
        status = import_merge_line(im, vocab, copy);
    }
    free(copy);
    return status;
}

/* The id of the first of bos_names among the added tokens and the vocabulary, or 0. */
static uint32_t find_bos(const json_t *added, const json_t *vocab)
{
    for (size_t n = 0; n < sizeof(bos_names) / sizeof(*bos_names); n++) {
        size_t i;
        const json_t *token;
        uint32_t id = id_of(json_object_get(vocab, bos_names[n]));
        json_array_foreach(added, i, token)
        {
            const char *content = json_string_value(json_object_get(token, "content"));
            if (content && strcmp(content, bos_names[n]) == 0)
                id = id_of(json_object_get(token, "id"));
        }
        if (id != TOKEN_NONE)
            return id;
    }
    return 0;
}

/* Returns whether a string of the model is there and not empty. */
static bool has_text(const json_t *model, const char *key)
{
    return json_string_length(json_object_get(model, key)) > 0;
}

/* Reads the kind, flags and stages. *byte_fallback: "<0x0A>" is a byte. */
static gpuzip_status import_settings(importer *im, pattern_arena *patterns, const json_t *root,
                                     bool *byte_fallback)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT,
                                     "this is no tokenizer.json: it has no \"model\"");
    if (type && strcmp(type, "BPE") != 0)
        return tokenizer_import_fail(im, GPUZIP_ERR_UNSUPPORTED,
                                     "the tokenizer's model is %.32s; only BPE can be imported",
                                     type);
    if (has_text(model, "continuing_subword_prefix") || has_text(model, "end_of_word_suffix"))
        return tokenizer_import_fail(
            im, GPUZIP_ERR_UNSUPPORTED,
            "tokens with a subword prefix or an end-of-word suffix cannot be "
            "imported");
    *byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    if (json_is_true(json_object_get(model, "ignore_merges")))
        im->source.flags |= BLOB_WHOLE;
    return import_pre_tokenizer(im, patterns, json_object_get(root, "normalizer"),
                                json_object_get(root, "pre_tokenizer"));
}

static gpuzip_status import_tokenizer(importer *im, pattern_arena *patterns, const json_t *root,
                                      uint32_t *bos)
{
    bool byte_fallback = false;
    TRY(import_settings(im, patterns, root, &byte_fallback));
    const json_t *added = json_object_get(root, "added_tokens");
    const json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    TRY(import_json_vocab(im, vocab, added, byte_fallback));
    if (!json_is_array(merges))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "the tokenizer has no list \"merges\"");
    size_t i;
    const json_t *entry;
    json_array_foreach(merges, i, entry) TRY(import_merge_entry(im, vocab, entry));
    if (*bos == TOKENIZER_BOS_AUTO)
        *bos = find_bos(added, vocab);
    return GPUZIP_OK;
}

/* Parses JSON in which "\\u0000" may stand. */
static json_t *parse_with_nul(const char *json, size_t size, json_error_t *error)
{
    if (!memmem(json, size, NUL_ESCAPE, sizeof NUL_ESCAPE - 1) ||
        memmem(json, size, NUL_CHARACTER, sizeof NUL_CHARACTER - 1))
        return json_loadb(json, size, 0, error);
    char *copy = malloc(size);
    size_t used = 0;
    *error = (json_error_t){.text = "not enough memory"};
    if (!copy)
        return NULL;
    for (size_t i = 0; i < size; i++) {
        size_t left = size - i;
        if (left >= sizeof NUL_ESCAPE - 1 &&
            memcmp(json + i, NUL_ESCAPE, sizeof NUL_ESCAPE - 1) == 0) {
            memcpy(copy + used, NUL_CHARACTER, sizeof NUL_CHARACTER - 1);
            used += sizeof NUL_CHARACTER - 1;
            i += sizeof NUL_ESCAPE - 2;
            continue;
        }
        if (json[i] == '\\' && left > 1) /* the next character is no escape's begin */
            copy[used++] = json[i++];
        copy[used++] = json[i];
    }
    json_t *parsed = json_loadb(copy, used, 0, error);
    free(copy);
    return parsed;
}

/* Parses JSON that must be an object; the caller releases *root. */
static gpuzip_status load(importer *im, const void *json, size_t size, json_t **root)
{
    json_error_t error;
    if (size > JSON_BYTES_MAX)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "the file is larger than %zu MiB",
                                     JSON_BYTES_MAX >> 20);
    *root = parse_with_nul(json, size, &error);
    if (!*root && json_error_code(&error) == json_error_out_of_memory)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    if (!*root)
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "this is no JSON: line %d: %s",
                                     error.line, error.text);
    return GPUZIP_OK;
}

gpuzip_status tokenizer_import_json(const void *json, size_t size, uint32_t bos, void **blob,
                                    size_t *blob_size, char error[TOKENIZER_ERROR_BYTES])
{
    json_t *root = NULL;
    pattern_arena patterns = {0};
    importer im;
    gpuzip_status status = GPUZIP_OK;
    TRY_OUT(import_begin(&im, size, error));
    TRY_OUT(load(&im, json, size, &root));
    TRY_OUT(import_tokenizer(&im, &patterns, root, &bos));
    TRY_OUT(import_write(&im, bos, blob, blob_size));

out:
    json_decref(root);
    pattern_arena_free(&patterns);
    import_end(&im);
    return status;
}

/* Imports the lines of merges.txt; the first may be "#version: 0.2". */
static gpuzip_status import_merges_txt(importer *im, const json_t *vocab, const char *text,
                                       size_t size)
{
    gpuzip_status status = GPUZIP_OK;
    char *copy = malloc(size + 1);
    if (!copy)
        return tokenizer_import_fail(im, GPUZIP_ERR_MEMORY, "out of memory");
    memcpy(copy, text, size);
    copy[size] = '\0';
    for (char *line = copy, *next; line < copy + size; line = next) {
        char *end = memchr(line, '\n', (size_t)(copy + size - line));
        if (!end)
            end = copy + size;
        next = end + 1;
        if (end > line && end[-1] == '\r')
            end--;
        *end = '\0';
        bool version = line == copy && strncmp(line, "#version", 8) == 0;
        if (end > line && !version)
            TRY_OUT(import_merge_line(im, vocab, line));
    }

out:
    free(copy);
    return status;
}

gpuzip_status tokenizer_import_gpt2(const void *vocab_json, size_t vocab_size,
                                    const void *merges_txt, size_t merges_size, uint32_t bos,
                                    void **blob, size_t *blob_size,
                                    char error[TOKENIZER_ERROR_BYTES])
{
    json_t *vocab = NULL;
    importer im;
    gpuzip_status status = GPUZIP_OK;
    TRY_OUT(import_begin(&im, vocab_size, error));
    im.source.kind = BLOB_KIND_BPE;
    TRY_OUT(import_stage(&im, BLOB_ISOLATED, PATTERN_GPT2, strlen(PATTERN_GPT2)));
    TRY_OUT(load(&im, vocab_json, vocab_size, &vocab));
    TRY_OUT(import_json_vocab(&im, vocab, NULL, false));
    TRY_OUT(import_merges_txt(&im, vocab, merges_txt, merges_size));
    if (bos == TOKENIZER_BOS_AUTO)
        bos = find_bos(NULL, vocab);
    TRY_OUT(import_write(&im, bos, blob, blob_size));

out:
    json_decref(vocab);
    import_end(&im);
    return status;
}
