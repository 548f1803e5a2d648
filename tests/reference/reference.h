/* reference.h: a second decoder, slow and small, written from the documents of the format alone
 * (coder/FORMAT.md, coder/CONTEXTS.md, weights/FORMAT.md, kernels/ops.h, kernels/ops_learn.h,
 * kernels/detmath.h, host/experts/model_learn.h and the grammar in
 * host/tokenizer/tokenizer_blob.h). It shares no code with the product. It reads
 * trusted files of tests: a wrong file ends the program with a message. Little-endian machines.
 *
 *     reference.c  the file: frames, blocks, streams, the order of steps
 *     range.c      the range coder
 *     contexts.c   tokens' bytes and the context models
 *     forward.c    the model file and the forward pass
 *     learning.c   the weights that learn
 *     mixing.c     the product of experts, and the learning of biases, weights and alphas
 */
#ifndef GPUZIP_REFERENCE_H
#define GPUZIP_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EXPERTS_MAX = 8,
    CANDIDATES = 16, /* of a row, at most */
    MODELS = 8,      /* context models */
    STATES = 133,    /* of a context model */
    SETS = 376,      /* of weights */
    SET_WEIGHTS = 10
};

/* ---- reference.c ------------------------------------------------------------------------------
 */

/* Prints the message and ends the program with exit code 1. */
_Noreturn void fail(const char *format, ...);

/* Zeroed memory, never NULL; release(NULL) frees all, release(mark()) all that was taken since. */
void *take(size_t count, size_t size);
void *mark(void);
void release(void *mark);

/* All bytes of a file, *size of them, and a zero behind them. */
uint8_t *read_file(const char *path, size_t *size);

/* The SHA-256 of data [size]. */
void sha256(const void *data, size_t size, uint8_t hash[32]);

/* floor(log2(n) * 2^16) of the upper 32 bits of n; n >= 1. */
int32_t log2_q16(uint64_t n);

/* ---- range.c ----------------------------------------------------------------------------------
 */

typedef struct {
    const uint8_t *at, *end;
    uint64_t code, range, unit;
    uint64_t last; /* the 8 bytes read last */
} range_decoder;

/* Begins a stream of `size` bytes. */
void range_begin(range_decoder *d, const uint8_t *data, uint64_t size);
/* The target of the next interval, then the interval that holds it. */
uint32_t range_target(range_decoder *d);
void range_narrow(range_decoder *d, uint64_t start, uint64_t freq);
/* Fails unless the stream ends with the last interval. */
void range_end(const range_decoder *d);

/* ---- forward.c --------------------------------------------------------------------------------
 */

enum { NORM_LAYER = 1, GELU_TANH = 1, GELU_ERF = 2, SWIGLU = 3 };

/* A linear layer: [n][k] integers, one scale a row. */
typedef struct {
    const void *w;      /* [n][k] int8_t or int16_t by bits */
    const float *scale; /* [n] */
    const float *bias;  /* [n] or NULL */
    int n, k, bits;     /* bits: 8, 15 */
} matrix;

typedef struct {
    const float *norm1, *norm1_bias, *norm2, *norm2_bias; /* [dim]; biases: NULL for RMS */
    matrix qkv, out, up, down;
} layer;

typedef struct {
    uint8_t id[32]; /* SHA-256 of the file */
    int norm, activation, layers, dim, heads, kv_heads, head_dim, ffn, vocab, context;
    int weight_bits, activation_bits, kv_bits;
    uint32_t bos;
    bool post_norm, rope;
    float eps, factor, embedding_factor;
    matrix embedding, head;
    const float *position;           /* [context][dim], or NULL */
    const uint64_t *turns;           /* [head_dim / 2] Q64, or NULL */
    layer *layer;                    /* [layers] */
    const float *final, *final_bias; /* [dim] the last norm; the bias: NULL for RMS */
    const uint32_t *ngrams;          /* [buckets][16] */
    uint32_t buckets;
    const uint8_t *tokenizer; /* [tokenizer_size] the blob */
    size_t tokenizer_size;
} model;

/* Quantised keys and values of one stream: every position from 0 to capacity - 1. */
typedef struct {
    int16_t *k, *v;           /* [layers][capacity][kv_heads][head_dim] */
    float *k_scale, *v_scale; /* [layers][capacity][kv_heads] */
    uint32_t capacity;
} cache;

void model_read(model *m, const char *path);

/* Functions of detmath.h: 2^x for x <= 126; e^x; x / (1 + e^-z); the normal distribution's tail;
 * p with 2^p <= x < 2^(p + 1); x * 2^e. */
float power_of_2(float x);
float exp_exact(float x);
float sigmoid_times(float x, float z);
float normal_tail(float a);
int exponent(float x);
float scale2(float x, int e);

/* max |x[i]| of x [n] */
float largest(const float *x, int n);
/* QUANT_ROW: x [n] to q [n]; returns the scale. */
float quantise(const float *x, int n, int qmax, int16_t *q);
/* qmax of the model's activations. */
int activation_max(const model *m);
/* Entry `at` of [n][k]. */
int weight_at(const matrix *w, size_t at);
/* A norm's r for the row x [dim], and its mean, 0 for RMS: norm(x) = (x - mean) * r * gain. */
float normaliser(const model *m, const float *x, float *mean);
/* Cosine and sine, Q30, of a phase of which 2^64 are a turn. */
void rotation(uint64_t phase, int64_t *cosine, int64_t *sine);
/* A head h [head_dim], rotated as at position p and quantised to q; returns the scale. */
float quantise_head(const model *m, const float *h, uint32_t p, int qmax, int16_t *q);

/* A row of attention: qkv as the linear layer gave it. */
typedef struct {
    int layer;
    uint32_t position, window;
    const float *qkv; /* [(heads + 2 kv_heads) head_dim] */
} attended_row;

/* The scores s[n] of query head h, and where the cache has their heads of keys and values, at[n];
 * returns n <= window + 1. The positions of the window ascend; from position `window` on the sink
 * follows them. */
int scores(const model *m, const cache *c, const attended_row *row, int h, size_t *at, float *s);

/* The numbers of a row on its way through a model. */
typedef struct {
    float *x1, *x2;        /* [dim] the norms' inputs */
    float *y1, *y2;        /* [dim] the inputs of qkv and up */
    float *qkv, *attended; /* [qkv.n], [heads head_dim] */
    float *up, *activated; /* [up.n], [ffn] */
} layer_trace;

typedef struct {
    uint32_t stream, position;
    uint32_t target;    /* the token that followed */
    layer_trace *layer; /* [layers] */
    float *last;        /* [dim] the final norm's input */
    float *logits;      /* [vocab] */
} trace;

void trace_create(trace *t, const model *m);

void cache_create(cache *c, const model *m, uint32_t capacity);

/* The token at position p, after positions 0 .. p - 1 are in the cache: its keys and values enter
 * the cache; logits [vocab] of the next token, unless NULL. It attends to the last `window`
 * positions and to position 0. t: takes the row's numbers, or NULL. */
void forward(const model *m, cache *c, uint32_t token, uint32_t p, uint32_t window, trace *t,
             float *logits);

/* ---- learning.c -------------------------------------------------------------------------------
 */

typedef struct learner learner;

/* A copy of the model whose attention and MLP matrices learn, by steps of up to `rows` rows. The
 * matrices are those of m. */
learner *learner_create(const model *m, uint32_t rows);
/* Takes the matrices of m again; forgets rows. */
void learner_reset(learner *l);
const model *learner_model(const learner *l);
/* The place of the next row of the step, at position p of stream s. */
trace *learner_row(learner *l, uint32_t s, uint32_t p);
/* The last row's token is known. */
void learner_target(learner *l, uint32_t token);
/* One step from all rows since the last. cache: of the model, in the streams' caches, [streams]
 * entries `stride` caches apart. */
void learner_step(learner *l, const cache *cache, size_t stride, uint32_t window);

/* ---- contexts.c -------------------------------------------------------------------------------
 */

typedef struct {
    const uint8_t *bytes; /* [size] */
    uint32_t size;        /* 0: the tokenizer never makes this token */
} token_bytes;

typedef struct {
    token_bytes *token; /* [vocab + escapes] */
    uint32_t vocab;
    int escapes; /* 256 with byte fallback, else 0 */
    bool prefix; /* a text begins with a space that is not its own */
} tokenizer;

/* vocab: the model's. */
void tokenizer_read(tokenizer *t, const uint8_t *blob, size_t size, uint32_t vocab);

/* The tokens of a block, as far as they are known. */
typedef struct {
    uint32_t **token; /* [streams][length of the stream] */
    uint32_t *length; /* [streams] */
    uint32_t streams;
} stream_tokens;

typedef struct {
    uint32_t symbol;
    int state[MODELS], feature[MODELS];
    int order, hits, selector;
} candidate;

typedef struct {
    uint16_t q[MODELS][STATES];
    int32_t weights[SETS][SET_WEIGHTS];
} prior;

typedef struct contexts contexts;

/* window: of window scope, else 0. ngrams: the model whose n-grams are in use, or NULL. */
contexts *contexts_create(const prior *start, const tokenizer *t, const stream_tokens *tokens,
                          uint32_t window, const model *ngrams);
void contexts_reset(contexts *c, uint32_t step);
/* The candidates of row (s, t), out [CANDIDATES]; returns their number. */
int contexts_gather(contexts *c, uint32_t s, uint32_t t, candidate *out);
/* Row (s, t) is coded and its token is in tokens: counts the candidates' states, moves the match.
 */
void contexts_coded(contexts *c, uint32_t s, uint32_t t, const candidate *row, int count);
/* The update after step end - 1. */
void contexts_update(contexts *c, uint32_t end);

/* ---- mixing.c ---------------------------------------------------------------------------------
 */

typedef struct {
    uint32_t vocab;
    int escapes, experts;
    bool naive_bayes[EXPERTS_MAX]; /* else a language model */
    int64_t alpha[EXPERTS_MAX];    /* Q16, to begin with */
    bool biases, alphas, contexts; /* which parameters are learnt */
    const prior *prior;            /* with contexts */
} mixer_config;

typedef struct mixer mixer;

mixer *mixer_create(const mixer_config *config);
void mixer_reset(mixer *m);
/* Forms the distribution of a row. logits [experts], of each language model [vocab]. */
void mixer_row(mixer *m, float *const *logits, const candidate *row, int count);
/* The symbol whose interval holds the target, and that interval. */
uint32_t mixer_find(const mixer *m, uint32_t target, uint64_t *start, uint64_t *freq);
/* The row's symbol joins the sums, and Naive Bayes' next counts. */
void mixer_add(mixer *m, uint32_t symbol, const candidate *row, int count);
/* The update: one step of each parameter, from the sums. */
void mixer_learn(mixer *m);

#endif
