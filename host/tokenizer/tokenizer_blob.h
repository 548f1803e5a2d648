/* tokenizer_blob.h: the layout of a tokenizer blob, and its writer.
 *
 * Integers are little-endian. A blob has no padding and ends where its last
 * field ends.
 *
 *     offset  bytes
 *     0       4      "GTOK"
 *     4       1      version: 1
 *     5       1      kind: 0 bytes, 1 byte-level BPE, 2 SentencePiece BPE
 *     6       1      flags, a sum of
 *                      1  whole: a piece that is a token is not split up
 *                      2  prefix: a space is put before every text
 *                      4  ranked: the merges are not stored but follow from the
 *                         tokens (kind 2 only)
 *                      8  ranks: the ranks of these are stored (with 4 only)
 *     7       1      stages of splitting, 0 .. 16
 *     8       4      vocab: number of ids, 1 .. 2^21
 *     12      4      bos: the id before a text, < vocab
 *
 * Kind 0 ends here; it has no flags and no stages, and vocab >= 256: the id of
 * a byte is its value.
 *
 * Then the stages, each of which cuts every piece that the one before left:
 *
 *     1      behaviour: 0 matches and the gaps between them are pieces,
 *            1 neighbours of one sort (match or not) are joined, 2 a match is
 *            joined to the gap before it, 3 to the gap after it; + 128:
 *            matches and gaps change roles
 *     2      bytes of the pattern, 1 .. 4096
 *     n      the pattern, for PCRE2 with UTF, UCP and MULTILINE
 *
 * Then the tokens: 4 bytes, the number of runs; a run is 4 bytes, (count << 2 |
 * class), of `count` >= 1 successive ids. Neighbours differ in class; the
 * counts sum to vocab. The classes:
 *
 *     0  no token    never made from text (special tokens, holes)
 *     1  text        its bytes are stored: 2 bytes size, 1 .. 512, then they
 *     2  product     of a merge (not with flag 4)
 *     3  byte        stands for a single byte: 1 byte
 *
 * The bytes of the ids of class 1 and 3 follow the runs, by id. In
 * SentencePiece's texts, spaces are spaces (20), not U+2581. All texts and
 * products differ from each other, and so do all bytes. In kind 1, where
 * classes 1 and 3 could mean the same, texts have at least 2 bytes.
 *
 * Then the merges. Without flag 4: 4 bytes, their number, <= 2^22, and for each
 * its two ids, left and right, of 2 bytes each (3 if vocab > 65536), by rank.
 * The ids must be of class 1 or 3 (1 in kind 2) or products of earlier merges.
 * The result is the token that consists of the bytes of both; if there is none
 * yet, it is the next id of class 2. Every id of class 2 is used.
 *
 * With flag 4, the merges are all the ways to cut a text between two
 * characters so that both parts are texts, too. Their rank is that of the text:
 * with flag 8, 4 bytes for every text of two characters or more, by id, < 2^21;
 * without it, texts rank by id. (A character begins at every byte that is not
 * 80 .. BF.)
 *
 * Encoding. The text is cut into runs of well-formed UTF-8 and single other
 * bytes. Runs are cut into pieces by the stages. A piece begins as one symbol a
 * byte (kind 1), or one symbol a character that is a text and one a byte of
 * other characters (kind 2). Of the merges that apply to neighbouring symbols,
 * the one of the lowest rank is done, the leftmost if there are several, until
 * none applies.
 *
 * Byte fallback. A model has at least as many ids as the blob, V; the ids
 * between are never made from text. If any of the 256 byte values lacks a token
 * of class 3, ids V .. V + 255 join them (never in kind 0): V + b stands for the
 * byte b, in the place of the token that b lacks.
 *
 * Decoding. A text is its tokens' bytes in order; with flag 2, without the first
 * byte of all. Ids of class 0 and those between stand for no bytes; among a
 * text's ids they are errors.
 */
#ifndef GPUZIP_TOKENIZER_BLOB_H
#define GPUZIP_TOKENIZER_BLOB_H

#include "status.h"

#define BLOB_MAGIC             "GTOK"
#define BLOB_VERSION           1
#define BLOB_HEADER_BYTES      16
#define BLOB_STAGES_MAX        16
#define BLOB_PATTERN_BYTES_MAX 4096
#define BLOB_PATTERN_OPTIONS   (PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C)

enum { BLOB_KIND_BYTES = 0, BLOB_KIND_BPE = 1, BLOB_KIND_SENTENCEPIECE = 2 };

enum { BLOB_WHOLE = 1, BLOB_PREFIX = 2, BLOB_RANKED = 4, BLOB_RANKS = 8 };

enum { BLOB_ISOLATED = 0, BLOB_JOINED = 1, BLOB_PREVIOUS = 2, BLOB_NEXT = 3, BLOB_INVERT = 128 };

enum { BLOB_NO_TOKEN = 0, BLOB_TEXT = 1, BLOB_PRODUCT = 2, BLOB_BYTE = 3 };

/* A token as an importer found it. */
typedef struct {
    const uint8_t *bytes; /* [size], spaces as spaces; kind 2: UTF-8 */
    uint16_t size;        /* 0: no token */
    bool byte;            /* stands for the byte bytes[0]; size is 1 */
    float score;          /* ranked: the higher, the earlier; finite */
} source_token;

typedef struct {
    uint8_t behaviour;
    uint16_t size;          /* 1 .. BLOB_PATTERN_BYTES_MAX */
    const uint8_t *pattern; /* [size] */
} source_stage;

/* The writer's input. The importer owns all arrays. */
typedef struct {
    uint8_t kind, flags; /* flags without BLOB_RANKS: the writer sees to it */
    uint32_t bos;
    uint32_t vocab;             /* entries of tokens; the blob's vocab may be less or more */
    const source_token *tokens; /* [vocab]; NULL for kind 0 */
    int stages;
    source_stage stage[BLOB_STAGES_MAX];
    size_t merges;        /* <= TOKEN_MERGES_MAX; 0 if ranked */
    uint32_t (*merge)[2]; /* [merges] left and right, by rank; of equal pairs the last counts */
} blob_source;

/* Writes the blob, which the caller frees. Tokens that no text can become are
 * left out. The same source gives the same bytes everywhere.
 * Errors: FORMAT (tokens that are equal, too long or too many; a merge of or to
 * an id that is no token; bos out of range), MEMORY. */
gpuzip_status blob_write(const blob_source *source, void **blob, size_t *size);

#endif
