/* tokenizer_sentencepiece.c: the importer of SentencePiece's tokenizer.model, a
 * protocol-buffer message. Only the fields that matter are read:
 *
 *     ModelProto       1: repeated SentencePiece, 2: TrainerSpec, 3: NormalizerSpec
 *     SentencePiece    1: string piece, 2: float score, 3: enum type
 *     TrainerSpec      3: enum model_type, 24: bool treat_whitespace_as_suffix,
 *                      41: int32 bos_id
 *     NormalizerSpec   3: bool add_dummy_prefix
 */
#include <string.h>

#include "tokenizer_source.h"

enum { TYPE_NORMAL = 1, TYPE_USER_DEFINED = 4, TYPE_BYTE = 6 };

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct {
    const uint8_t *next, *end;
} message;

typedef struct {
    uint64_t number; /* of the field */
    int wire;
    uint64_t value; /* of a varint or a fixed number; the size of bytes */
    const uint8_t *bytes;
} field;

static bool read_varint(message *m, uint64_t *value)
{
    uint64_t sum = 0;
    for (int shift = 0; shift < 64 && m->next < m->end; shift += 7) {
        uint8_t byte = *m->next++;
        sum |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = sum;
            return true;
        }
    }
    return false;
}

/* Reads the next field; false if there is none that is well-formed. */
static bool read_field(message *m, field *f)
{
    uint64_t tag;
    if (!read_varint(m, &tag))
        return false;
    *f = (field){.number = tag >> 3, .wire = (int)(tag & 7)};
    if (f->wire == WIRE_VARINT)
        return read_varint(m, &f->value);
    size_t size;
    if (f->wire == WIRE_BYTES) {
        if (!read_varint(m, &f->value) || f->value > (size_t)(m->end - m->next))
            return false;
        size = (size_t)f->value;
    } else if (f->wire == WIRE_32 || f->wire == WIRE_64) {
        size = f->wire == WIRE_32 ? 4 : 8;
        if ((size_t)(m->end - m->next) < size)
            return false;
        for (size_t i = 0; i < size; i++)
            f->value |= (uint64_t)m->next[i] << 8 * i;
    } else {
        return false;
    }
    f->bytes = m->next;
    m->next += size;
    return true;
}

static message submessage(const field *f)
{
    return (message){f->bytes, f->bytes + f->value};
}

/* Values of the specs; the defaults of the protocol at first. */
typedef struct {
    size_t pieces;
    uint64_t model_type;
    bool dummy_prefix, suffix;
    int32_t bos;
} specs;

static bool read_specs(message m, uint64_t which, specs *s)
{
    field f;
    while (m.next < m.end) {
        if (!read_field(&m, &f))
            return false;
        if (f.wire != WIRE_VARINT)
            continue;
        if (which == 2 && f.number == 3)
            s->model_type = f.value;
        else if (which == 2 && f.number == 24)
            s->suffix = f.value != 0;
        else if (which == 2 && f.number == 41)
            s->bos = (int32_t)f.value;
        else if (which == 3 && f.number == 3)
            s->dummy_prefix = f.value != 0;
    }
    return true;
}

/* Goes through the model once, counting pieces. */
static bool read_model(message m, specs *s)
{
    field f;
    *s = (specs){.model_type = MODEL_UNIGRAM, .dummy_prefix = true, .bos = 1};
    while (m.next < m.end) {
        if (!read_field(&m, &f))
            return false;
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == 1)
            s->pieces++;
        else if ((f.number == 2 || f.number == 3) && !read_specs(submessage(&f), f.number, s))
            return false;
    }
    return true;
}

static gpuzip_status import_piece(importer *im, size_t id, message m)
{
    const uint8_t *text = NULL;
    size_t size = 0;
    float score = 0;
    uint64_t type = TYPE_NORMAL;
    while (m.next < m.end) {
        field f;
        if (!read_field(&m, &f))
            return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "piece %zu of the model is damaged",
                                         id);
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            text = f.bytes;
            size = (size_t)f.value;
        } else if (f.number == 2 && f.wire == WIRE_32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof(score));
        } else if (f.number == 3 && f.wire == WIRE_VARINT) {
            type = f.value;
        }
    }
    if (type == TYPE_BYTE) {
        int byte = import_byte_name(text, size);
        if (byte < 0)
            return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "byte piece %zu has no byte's name",
                                         id);
        return import_byte(im, id, (uint8_t)byte);
    }
    /* Unknown, control and unused pieces are never made from text. */
    if (type != TYPE_NORMAL && type != TYPE_USER_DEFINED)
        return GPUZIP_OK;
    return import_text(im, id, text, size, score);
}

static gpuzip_status import_model(importer *im, message m, uint32_t *bos)
{
    specs s;
    if (!read_model(m, &s))
        return tokenizer_import_fail(im, GPUZIP_ERR_FORMAT, "this is not a SentencePiece model");
    if (s.model_type != MODEL_BPE)
        return tokenizer_import_fail(
            im, GPUZIP_ERR_UNSUPPORTED,
            "this SentencePiece model is no BPE (model_type %llu); only BPE ones "
            "can be imported",
            (unsigned long long)s.model_type);
    if (s.suffix)
        return tokenizer_import_fail(im, GPUZIP_ERR_UNSUPPORTED,
                                     "SentencePiece models that put spaces after words "
                                     "(treat_whitespace_as_suffix) cannot be imported");
    im->source.kind = BLOB_KIND_SENTENCEPIECE;
    im->source.flags = BLOB_RANKED | (s.dummy_prefix ? BLOB_PREFIX : 0);
    TRY(import_vocab(im, s.pieces));
    field f;
    for (size_t id = 0; m.next < m.end && read_field(&m, &f);)
        if (f.number == 1 && f.wire == WIRE_BYTES)
            TRY(import_piece(im, id++, submessage(&f)));
    if (*bos == TOKENIZER_BOS_AUTO)
        *bos = s.bos >= 0 && (size_t)s.bos < s.pieces ? (uint32_t)s.bos : 0;
    return GPUZIP_OK;
}

gpuzip_status tokenizer_import_sentencepiece(const void *model, size_t size, uint32_t bos,
                                             void **blob, size_t *blob_size,
                                             char error[TOKENIZER_ERROR_BYTES])
{
    importer im;
    message m = {model, (const uint8_t *)model + size};
    gpuzip_status status = import_begin(&im, size, error);
    if (status == GPUZIP_OK)
        status = import_model(&im, m, &bos);
    if (status == GPUZIP_OK)
        status = import_write(&im, bos, blob, blob_size);
    import_end(&im);
    return status;
}
