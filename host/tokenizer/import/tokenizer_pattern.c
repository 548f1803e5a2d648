/* tokenizer_pattern.c: see tokenizer_pattern.h. */
#include "tokenizer_pattern.h"

#include <stdlib.h>
#include <string.h>

#define SEQUENCE_DEPTH_MAX 8

/* The settings of the normalizers and pre-tokenizers read so far. */
typedef struct {
    importer *im;
    pattern_arena *patterns;
    bool byte_level;    /* a ByteLevel pre-tokenizer is there */
    bool sentencepiece; /* spaces become U+2581 */
    bool replaced;      /* they became it before pre-tokenization */
} settings;

void pattern_arena_free(pattern_arena *patterns)
{
    for (int i = 0; i < patterns->patterns; i++)
        free(patterns->pattern[i]);
}

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

static bool is_type(const json_t *object, const char *type)
{
    return strcmp(type_of(object), type) == 0;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Adds a stage whose pattern, ended by NUL, is allocated; takes it over. */
static gpuzip_status add_stage(settings *s, uint8_t behaviour, char *pattern)
{
    if (!pattern)
        return tokenizer_import_fail(s->im, GPUZIP_ERR_MEMORY, "out of memory");
    if (s->patterns->patterns == BLOB_STAGES_MAX) {
        free(pattern);
        return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                     "the pre-tokenizer has over %d steps", BLOB_STAGES_MAX);
    }
    s->patterns->pattern[s->patterns->patterns++] = pattern;
    return import_stage(s->im, behaviour, pattern, strlen(pattern));
}

/* The reference's patterns are Oniguruma's (Ruby syntax). These escapes mean
 * something else there than to PCRE2, which counts U+180E as a space, no marks
 * as parts of words, and horizontal spaces as \h. */
static const struct {
    char escape;
    const char *outside, *inside; /* of brackets; NULL: as it is */
} translations[] = {
    {'s', "[" PATTERN_SPACES "]", PATTERN_SPACES},
    {'S', "[^" PATTERN_SPACES "]", NULL},
    {'w', "[\\p{L}\\p{M}\\p{N}\\p{Pc}]", "\\p{L}\\p{M}\\p{N}\\p{Pc}"},
    {'W', "[^\\p{L}\\p{M}\\p{N}\\p{Pc}]", NULL},
    {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
};

#define TRANSLATION_BYTES_MAX 32 /* of an escape of two bytes */

/* Returns the replacement of the escape, or NULL. */
static const char *translate_escape(char escape, bool inside)
{
    for (size_t i = 0; i < sizeof(translations) / sizeof(*translations); i++)
        if (translations[i].escape == escape)
            return inside ? translations[i].inside : translations[i].outside;
    return NULL;
}

/* Says which construct of a pattern PCRE2 reads otherwise than Oniguruma with Ruby's syntax, which
 * the tokenizers' authors use; NULL: none. */
static const char *find_foreign(const char *pattern)
{
    bool inside = false, counted = false; /* within [...]; behind {n,m} */
    for (const char *c = pattern; *c; c++) {
        bool was_counted = counted;
        counted = false;
        if (*c == '\\' && c[1]) {
            c++;
            if ((*c == 'p' || *c == 'P' || *c == 'x') && c[1] == '{' && strchr(c, '}'))
                c = strchr(c, '}');
        } else if (inside) {
            if (c[0] == '&' && c[1] == '&')
                return "an intersection of classes (&&)";
            if (c[0] == '[' && c[1] != ':')
                return "a class within a class";
            if (c[0] == '[') /* [:alpha:] */
                c = strstr(c, ":]") ? strstr(c, ":]") + 1 : c;
            else if (*c == ']')
                inside = false;
        } else if (*c == '[') {
            inside = true;
            c += c[1] == '^';
        } else if (*c == '}') {
            counted = true;
        } else if (*c == '+' && was_counted) {
            return "a repeated count ({n,m}+)";
        }
    }
    return NULL;
}

/* Returns an allocated pattern for PCRE2, or NULL without memory. */
static char *pattern_translate(const char *pattern)
{
    char *translated = malloc(strlen(pattern) * (TRANSLATION_BYTES_MAX / 2) + 1);
    if (!translated)
        return NULL;
    size_t used = 0;
    bool inside = false;
    for (const char *c = pattern; *c; c++) {
        if (*c == '\\' && c[1]) {
            c++;
            const char *replacement = translate_escape(*c, inside);
            if (replacement) {
                memcpy(translated + used, replacement, strlen(replacement));
                used += strlen(replacement);
                continue;
            }
            translated[used++] = '\\';
        } else if (*c == '[') {
            inside = true;
        } else if (*c == ']') {
            inside = false;
        }
        translated[used++] = *c;
    }
    translated[used] = '\0';
    return translated;
}

/* Returns an allocated pattern that matches exactly this text, or NULL. */
static char *pattern_quote(const char *text)
{
    char *quoted = malloc(2 * strlen(text) + 1);
    if (!quoted)
        return NULL;
    size_t used = 0;
    for (const char *c = text; *c; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= 'a' && *c <= 'z') || (unsigned char)*c >= 0x80;
        if (!plain)
            quoted[used++] = '\\';
        quoted[used++] = *c;
    }
    quoted[used] = '\0';
    return quoted;
}

/* Reads "behavior" and "invert". Text that "Removed" would drop must be coded, too,
 * and so becomes a piece. */
static gpuzip_status read_behaviour(settings *s, const json_t *step, uint8_t *behaviour)
{
    static const struct {
        const char *name;
        uint8_t behaviour;
    } names[] = {
        {"Isolated", BLOB_ISOLATED},   {"Removed", BLOB_ISOLATED},
        {"Contiguous", BLOB_JOINED},   {"MergedWithPrevious", BLOB_PREVIOUS},
        {"MergedWithNext", BLOB_NEXT},
    };
    const json_t *value = json_object_get(step, "behavior");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (!is_text(value, names[i].name))
            continue;
        bool invert = json_is_true(json_object_get(step, "invert"));
        *behaviour = names[i].behaviour | (invert ? BLOB_INVERT : 0);
        return GPUZIP_OK;
    }
    return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                 "the pre-tokenizer splits with a behavior that is not known here");
}

static gpuzip_status read_split(settings *s, const json_t *step)
{
    uint8_t behaviour;
    const json_t *pattern = json_object_get(step, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *string = json_object_get(pattern, "String");
    TRY(read_behaviour(s, step, &behaviour));
    if (json_is_string(regex) && !s->sentencepiece) {
        const char *foreign = find_foreign(json_string_value(regex));
        if (foreign)
            return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                         "the pattern of a Split has %s, which cannot be "
                                         "translated: %.100s",
                                         foreign, json_string_value(regex));
        return add_stage(s, behaviour, pattern_translate(json_string_value(regex)));
    }
    /* No space is left to be found. */
    if (is_text(string, " ") && s->replaced)
        return GPUZIP_OK;
    if (json_is_string(string) && !s->sentencepiece)
        return add_stage(s, behaviour, pattern_quote(json_string_value(string)));
    return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                 "the pre-tokenizer has a Split whose pattern is not known here");
}

static gpuzip_status read_byte_level(settings *s, const json_t *step)
{
    s->byte_level = true;
    if (json_is_true(json_object_get(step, "add_prefix_space")))
        s->im->source.flags |= BLOB_PREFIX;
    if (json_is_false(json_object_get(step, "use_regex")))
        return GPUZIP_OK;
    return add_stage(s, BLOB_ISOLATED, strdup(PATTERN_GPT2));
}

/* Spaces become U+2581, and each begins a piece unless "split" is false. */
static gpuzip_status read_metaspace(settings *s, const json_t *step)
{
    const json_t *scheme = json_object_get(step, "prepend_scheme");
    bool never = scheme ? is_text(scheme, "never")
                        : json_is_false(json_object_get(step, "add_prefix_space"));
    if (!is_text(json_object_get(step, "replacement"), "▁"))
        return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                     "the Metaspace pre-tokenizer's replacement is not U+2581");
    s->sentencepiece = true;
    if (!never)
        s->im->source.flags |= BLOB_PREFIX;
    if (json_is_false(json_object_get(step, "split")))
        return GPUZIP_OK;
    return add_stage(s, BLOB_NEXT, strdup(" "));
}

/* Whether a step is a Split by a pattern that means the same before and after ByteLevel: classes
 * of ASCII digits and letters, which it leaves as they are. */
static bool is_plain_split(const json_t *step)
{
    const char *regex =
        json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
    return is_type(step, "Split") && regex && *regex &&
           strspn(regex, "[]-+{},0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") ==
               strlen(regex);
}

static gpuzip_status read_step(settings *s, const json_t *step, int depth)
{
    if (json_is_null(step) || !step)
        return GPUZIP_OK;
    if (is_type(step, "Sequence") && depth < SEQUENCE_DEPTH_MAX) {
        size_t i;
        const json_t *part;
        json_array_foreach(json_object_get(step, "pretokenizers"), i, part)
            TRY(read_step(s, part, depth + 1));
        return GPUZIP_OK;
    }
    if (s->byte_level && !is_plain_split(step))
        return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                     "the pre-tokenizer \"%.64s\" stands behind ByteLevel and sees "
                                     "its characters instead of the text's; only a Split at ASCII "
                                     "digits and letters can be imported there",
                                     type_of(step));
    if (is_type(step, "Split"))
        return read_split(s, step);
    if (is_type(step, "ByteLevel"))
        return read_byte_level(s, step);
    if (is_type(step, "Metaspace"))
        return read_metaspace(s, step);
    if (is_type(step, "Digits")) {
        bool single = json_is_true(json_object_get(step, "individual_digits"));
        return add_stage(s, single ? BLOB_ISOLATED : BLOB_JOINED, strdup("\\p{N}"));
    }
    if (is_type(step, "Punctuation")) {
        uint8_t behaviour = BLOB_ISOLATED;
        if (json_object_get(step, "behavior"))
            TRY(read_behaviour(s, step, &behaviour));
        return add_stage(s, behaviour, strdup("[!-/:-@\\[-`{-~\\p{P}]"));
    }
    return tokenizer_import_fail(s->im, GPUZIP_ERR_UNSUPPORTED,
                                 "the pre-tokenizer \"%.64s\" is not known here", type_of(step));
}

/* Reads a normalizer's SentencePiece settings alone: a prefix, and spaces that become U+2581. Other
 * normalizers would lose text and are ignored. */
static void read_normalizer(settings *s, const json_t *step, int depth)
{
    size_t i;
    const json_t *part;
    if (is_type(step, "Sequence") && depth < SEQUENCE_DEPTH_MAX) {
        json_array_foreach(json_object_get(step, "normalizers"), i, part)
            read_normalizer(s, part, depth + 1);
    } else if (is_type(step, "Prepend") && is_text(json_object_get(step, "prepend"), "▁")) {
        s->im->source.flags |= BLOB_PREFIX;
    } else if (is_type(step, "Replace") && is_text(json_object_get(step, "content"), "▁") &&
               is_text(json_object_get(json_object_get(step, "pattern"), "String"), " ")) {
        s->sentencepiece = s->replaced = true;
    }
}

gpuzip_status import_pre_tokenizer(importer *im, pattern_arena *patterns, const json_t *normalizer,
                                   const json_t *pre_tokenizer)
{
    settings s = {.im = im, .patterns = patterns};
    read_normalizer(&s, normalizer, 0);
    TRY(read_step(&s, pre_tokenizer, 0));
    if (s.byte_level == s.sentencepiece)
        return tokenizer_import_fail(
            im, GPUZIP_ERR_UNSUPPORTED,
            "the tokenizer is neither byte-level BPE nor SentencePiece's BPE");
    im->source.kind = s.byte_level ? BLOB_KIND_BPE : BLOB_KIND_SENTENCEPIECE;
    return GPUZIP_OK;
}
