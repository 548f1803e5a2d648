/* weights_format.c: the header and the layout of a .gpzm file, both ways. */
#include "weights_format.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init() */
#include <openssl/sha.h>
#include <string.h>
#include <xxhash.h>

static const uint8_t format_magic[8] = {0x89, 'G', 'P', 'Z', 'M', '\r', '\n', 0x1a};

/* Byte offsets of the header's fields. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_FLAGS = 12,
    AT_FILE_SIZE = 16,
    AT_ARCH = 24,
    AT_NORM = 28,
    AT_ACT = 32,
    AT_LAYERS = 36,
    AT_DIM = 40,
    AT_HEADS = 44,
    AT_KV_HEADS = 48,
    AT_HEAD_DIM = 52,
    AT_FFN = 56,
    AT_VOCAB = 60,
    AT_CONTEXT = 64,
    AT_WEIGHT_BITS = 68,
    AT_ACTIVATION_BITS = 72,
    AT_KV_BITS = 76,
    AT_BOS = 80,
    AT_EPS = 84,
    AT_ATTENTION_FACTOR = 88,
    AT_EMBEDDING_FACTOR = 92,
    AT_TESTS = 96,
    AT_NGRAMS = 100,
    AT_TEST_HASH = 104,
    AT_TOKENIZER_SIZE = 112,
    AT_NAME = 120, /* 64 bytes */
    AT_CHECK = 184
};

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float load_float(const uint8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void store32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static void store64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static void store_float(uint8_t *p, float v)
{
    memcpy(p, &v, sizeof v);
}

int weights_quant_max(int bits)
{
    return bits == 8 ? 127 : 16256;
}

static bool all_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

/* Printable ASCII, then zeroes up to the end. */
static bool name_valid(const char name[64])
{
    size_t n = 0;
    while (n < 64 && name[n] >= 0x20 && name[n] <= 0x7e)
        n++;
    return n < 64 && all_zero((const uint8_t *)name + n, 64 - n);
}

static bool within(int v, int least, int most)
{
    return v >= least && v <= most;
}

bool format_config_valid(const weights_model *model, uint32_t flags)
{
    const weights_config *c = &model->config;
    bool enums = c->arch <= WEIGHTS_WPOE && c->norm <= WEIGHTS_NORM_LAYER &&
                 c->act >= WEIGHTS_ACT_GELU_TANH && c->act <= WEIGHTS_ACT_SWIGLU &&
                 (flags & ~(uint32_t)FORMAT_ALL_FLAGS) == 0;
    bool sizes = within(c->layers, 1, WEIGHTS_MAX_LAYERS) && within(c->dim, 1, WEIGHTS_MAX_DIM) &&
                 within(c->heads, 1, WEIGHTS_MAX_DIM) && within(c->kv_heads, 1, c->heads) &&
                 within(c->head_dim, 2, WEIGHTS_MAX_HEAD_DIM) &&
                 within(c->ffn, 1, WEIGHTS_MAX_DIM) && within(c->vocab, 2, WEIGHTS_MAX_VOCAB) &&
                 within(c->context, 2, WEIGHTS_MAX_CONTEXT) && within(c->bos, 0, c->vocab - 1) &&
                 within(model->tests, 0, c->context);
    if (!enums || !sizes)
        return false;
    bool shape = c->heads % c->kv_heads == 0 && c->head_dim % 2 == 0 &&
                 c->heads <= WEIGHTS_MAX_DIM / c->head_dim;
    bool bits = (c->weight_bits == 8 || c->weight_bits == 15) &&
                (c->activation_bits == 8 || c->activation_bits == 15) &&
                (c->kv_bits == 8 || c->kv_bits == 12);
    /* Written so that a NaN fails. */
    bool floats = c->eps >= 1e-12f && c->eps <= 1e-2f && c->attention_factor > 0 &&
                  c->attention_factor <= 16 && model->embedding_factor > 0 &&
                  model->embedding_factor <= 256;
    return shape && bits && floats && model->tokenizer_size <= FORMAT_MAX_TOKENIZER &&
           (model->tests > 0 || model->test_hash == 0) &&
           model->ngram_buckets <= WEIGHTS_MAX_NGRAMS && name_valid(model->name);
}

gpuzip_status format_read_header(weights_model *model, uint32_t *flags, const uint8_t *data,
                                 size_t size)
{
    size_t magic = size < sizeof format_magic ? size : sizeof format_magic;
    if (size == 0 || memcmp(data, format_magic, magic) != 0)
        return FAIL(GPUZIP_ERR_FORMAT);
    if (size < FORMAT_HEADER)
        return FAIL(GPUZIP_ERR_CORRUPT);
    if (load32(data + AT_VERSION) != FORMAT_VERSION)
        return FAIL(GPUZIP_ERR_UNSUPPORTED);
    /* An int32 that was too large for an int would be negative and fail its range check. */
    int32_t field[(AT_EPS - AT_ARCH) / 4];
    memcpy(field, data + AT_ARCH, sizeof field);
#define FIELD(at) field[((at)-AT_ARCH) / 4]
    if (FIELD(AT_ARCH) < 0 || FIELD(AT_NORM) < 0 || FIELD(AT_ACT) < 0)
        return FAIL(GPUZIP_ERR_CORRUPT);
    *flags = load32(data + AT_FLAGS);
    model->config = (weights_config){
        .arch = (weights_arch)FIELD(AT_ARCH),
        .norm = (weights_norm)FIELD(AT_NORM),
        .act = (weights_act)FIELD(AT_ACT),
        .post_norm = (*flags & FORMAT_POST_NORM) != 0,
        .rope = (*flags & FORMAT_ROPE) != 0,
        .layers = FIELD(AT_LAYERS),
        .dim = FIELD(AT_DIM),
        .heads = FIELD(AT_HEADS),
        .kv_heads = FIELD(AT_KV_HEADS),
        .head_dim = FIELD(AT_HEAD_DIM),
        .ffn = FIELD(AT_FFN),
        .vocab = FIELD(AT_VOCAB),
        .context = FIELD(AT_CONTEXT),
        .weight_bits = FIELD(AT_WEIGHT_BITS),
        .activation_bits = FIELD(AT_ACTIVATION_BITS),
        .kv_bits = FIELD(AT_KV_BITS),
        .bos = FIELD(AT_BOS),
        .eps = load_float(data + AT_EPS),
        .attention_factor = load_float(data + AT_ATTENTION_FACTOR),
    };
#undef FIELD
    model->embedding_factor = load_float(data + AT_EMBEDDING_FACTOR);
    model->tests = (int)(int32_t)load32(data + AT_TESTS);
    model->ngram_buckets = load32(data + AT_NGRAMS);
    model->test_hash = load64(data + AT_TEST_HASH);
    model->file_size = load64(data + AT_FILE_SIZE);
    memcpy(model->name, data + AT_NAME, sizeof model->name);
    uint64_t tokenizer_size = load64(data + AT_TOKENIZER_SIZE);
    if (tokenizer_size > FORMAT_MAX_TOKENIZER)
        return FAIL(GPUZIP_ERR_CORRUPT);
    model->tokenizer_size = (size_t)tokenizer_size;
    if (!format_config_valid(model, *flags))
        return FAIL(GPUZIP_ERR_CORRUPT);
    return GPUZIP_OK;
}

void format_write_header(uint8_t *data, const weights_model *model, uint32_t flags)
{
    const weights_config *c = &model->config;
    memset(data, 0, FORMAT_HEADER);
    memcpy(data + AT_MAGIC, format_magic, sizeof format_magic);
    store32(data + AT_VERSION, FORMAT_VERSION);
    store32(data + AT_FLAGS, flags);
    store64(data + AT_FILE_SIZE, model->file_size);
    store32(data + AT_ARCH, (uint32_t)c->arch);
    store32(data + AT_NORM, (uint32_t)c->norm);
    store32(data + AT_ACT, (uint32_t)c->act);
    store32(data + AT_LAYERS, (uint32_t)c->layers);
    store32(data + AT_DIM, (uint32_t)c->dim);
    store32(data + AT_HEADS, (uint32_t)c->heads);
    store32(data + AT_KV_HEADS, (uint32_t)c->kv_heads);
    store32(data + AT_HEAD_DIM, (uint32_t)c->head_dim);
    store32(data + AT_FFN, (uint32_t)c->ffn);
    store32(data + AT_VOCAB, (uint32_t)c->vocab);
    store32(data + AT_CONTEXT, (uint32_t)c->context);
    store32(data + AT_WEIGHT_BITS, (uint32_t)c->weight_bits);
    store32(data + AT_ACTIVATION_BITS, (uint32_t)c->activation_bits);
    store32(data + AT_KV_BITS, (uint32_t)c->kv_bits);
    store32(data + AT_BOS, (uint32_t)c->bos);
    store_float(data + AT_EPS, c->eps);
    store_float(data + AT_ATTENTION_FACTOR, c->attention_factor);
    store_float(data + AT_EMBEDDING_FACTOR, model->embedding_factor);
    store32(data + AT_TESTS, (uint32_t)model->tests);
    store32(data + AT_NGRAMS, model->ngram_buckets);
    store64(data + AT_TEST_HASH, model->test_hash);
    store64(data + AT_TOKENIZER_SIZE, model->tokenizer_size);
    memcpy(data + AT_NAME, model->name, sizeof model->name);
}

/* ---- the check and the id ------------------------------------------------ */

/* Copies the header with a check of 0. */
static void copy_unchecked(uint8_t header[FORMAT_HEADER], const uint8_t *data)
{
    memcpy(header, data, FORMAT_HEADER);
    store64(header + AT_CHECK, 0);
}

uint64_t format_compute_check(const uint8_t *data, size_t size)
{
    uint8_t header[FORMAT_HEADER];
    copy_unchecked(header, data);
    return XXH3_64bits_withSeed(data + FORMAT_HEADER, size - FORMAT_HEADER,
                                XXH3_64bits(header, sizeof header));
}

bool format_check_valid(const uint8_t *data, size_t size)
{
    uint64_t check = load64(data + AT_CHECK);
    return check == 0 || check == format_compute_check(data, size);
}

bool format_is_checked(const uint8_t *data)
{
    return load64(data + AT_CHECK) != 0;
}

bool format_seal(uint8_t header[FORMAT_HEADER], const uint8_t *data, size_t size)
{
    if (size < FORMAT_HEADER || memcmp(data, format_magic, sizeof format_magic) != 0)
        return false;
    copy_unchecked(header, data);
    store64(header + AT_CHECK, format_compute_check(data, size));
    return true;
}

/* SHA256_Init() and so on allocate nothing. EVP's functions set up all of libcrypto at their first
 * call, and read through NULL where memory is short meanwhile (OpenSSL 3.0). */
void format_compute_id(uint8_t id[WEIGHTS_ID_BYTES], const uint8_t *data, size_t size)
{
    uint8_t header[FORMAT_HEADER];
    SHA256_CTX hash;
    copy_unchecked(header, data);
    if (load32(header + AT_FLAGS) & FORMAT_NAMELESS_ID)
        memset(header + AT_NAME, 0, AT_CHECK - AT_NAME);
    SHA256_Init(&hash);
    SHA256_Update(&hash, header, sizeof header);
    SHA256_Update(&hash, data + FORMAT_HEADER, size - FORMAT_HEADER);
    SHA256_Final(id, &hash);
}

/* ---- the layout ---------------------------------------------------------- */

/* Where the next section goes. Positions stay below 2^48: see FORMAT.md, "Sizes". */
typedef struct {
    const uint8_t *base; /* NULL: only measure */
    uint64_t pos;        /* a multiple of FORMAT_ALIGN */
    uint64_t parameters;
    bool check_pad;
    bool pad_is_zero; /* so far */
} cursor;

/* A section of count entries of width bytes. */
static const void *take(cursor *at, uint64_t count, unsigned width)
{
    uint64_t start = at->pos, end = start + count * width;
    at->pos = (end + FORMAT_ALIGN - 1) & ~(uint64_t)(FORMAT_ALIGN - 1);
    if (at->check_pad && at->pad_is_zero)
        at->pad_is_zero = all_zero(at->base + end, at->pos - end);
    return at->base ? at->base + start : NULL;
}

/* The same for values that count as parameters. */
static const float *take_parameters(cursor *at, int count)
{
    at->parameters += (uint64_t)count;
    return take(at, (uint64_t)count, sizeof(float));
}

static const float *take_bias(cursor *at, bool present, int count)
{
    return present ? take_parameters(at, count) : NULL;
}

static weights_matrix take_matrix(cursor *at, int n, int k, int bits)
{
    weights_matrix m = {.n = n, .k = k};
    uint64_t count = (uint64_t)n * (uint64_t)k;
    at->parameters += count;
    m.w = take(at, count, bits == 8 ? sizeof(int8_t) : sizeof(int16_t));
    m.scale = take(at, (uint64_t)n, sizeof(float));
    return m;
}

static weights_norm_vectors take_norm(cursor *at, const weights_config *c)
{
    weights_norm_vectors v;
    v.gain = take_parameters(at, c->dim);
    v.bias = take_bias(at, c->norm == WEIGHTS_NORM_LAYER, c->dim);
    return v;
}

static void take_layer(cursor *at, weights_layer *l, const weights_config *c, uint32_t flags)
{
    int bits = c->weight_bits;
    int qkv = (c->heads + 2 * c->kv_heads) * c->head_dim;
    int up = c->act == WEIGHTS_ACT_SWIGLU ? 2 * c->ffn : c->ffn;
    l->norm1 = take_norm(at, c);
    l->qkv = take_matrix(at, qkv, c->dim, bits);
    l->qkv_bias = take_bias(at, flags & FORMAT_QKV_BIAS, qkv);
    l->out = take_matrix(at, c->dim, c->heads * c->head_dim, bits);
    l->out_bias = take_bias(at, flags & FORMAT_OUT_BIAS, c->dim);
    l->norm2 = take_norm(at, c);
    l->up = take_matrix(at, up, c->dim, bits);
    l->up_bias = take_bias(at, flags & FORMAT_UP_BIAS, up);
    l->down = take_matrix(at, c->dim, c->ffn, bits);
    l->down_bias = take_bias(at, flags & FORMAT_DOWN_BIAS, c->dim);
}

static void lay_out(cursor *at, weights_model *model, uint32_t flags)
{
    const weights_config *c = &model->config;
    at->pos = FORMAT_HEADER;
    model->tokenizer = take(at, model->tokenizer_size, 1);
    model->embedding = take_matrix(at, c->vocab, c->dim, c->weight_bits);
    model->position = NULL;
    model->turns = NULL;
    if (c->rope) {
        model->turns = take(at, (uint64_t)(c->head_dim / 2), sizeof(uint64_t));
    } else {
        uint64_t count = (uint64_t)c->context * (uint64_t)c->dim;
        /* A sinusoidal table is not learned. */
        at->parameters += c->arch == WEIGHTS_WPOE ? 0 : count;
        model->position = take(at, count, sizeof(float));
    }
    for (int i = 0; i < c->layers; i++)
        take_layer(at, &model->layer[i], c, flags);
    model->final_norm = take_norm(at, c);
    model->head =
        flags & FORMAT_TIED ? model->embedding : take_matrix(at, c->vocab, c->dim, c->weight_bits);
    model->head_bias = take_bias(at, flags & FORMAT_HEAD_BIAS, c->vocab);
    model->test_token = take(at, (uint64_t)model->tests, sizeof(uint32_t));
    model->ngrams = NULL;
    if (model->ngram_buckets)
        model->ngrams =
            take(at, (uint64_t)model->ngram_buckets * WEIGHTS_NGRAM_BUCKET, sizeof(uint32_t));
    model->parameters = at->parameters;
}

uint64_t format_layout(weights_model *model, uint32_t flags, const uint8_t *base)
{
    cursor at = {.base = base};
    lay_out(&at, model, flags);
    return at.pos;
}

bool format_pad_is_zero(weights_model *model, uint32_t flags, const uint8_t *base)
{
    cursor at = {.base = base, .check_pad = true, .pad_is_zero = true};
    lay_out(&at, model, flags);
    return at.pad_is_zero;
}
