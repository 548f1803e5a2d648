/* test_measure.c: the measured costs of the experts are their true costs, add up, and change
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define TEXT_BYTES 6000
#define LENGTHS    9 /* of tokens, in bytes, and one more */

static tiny_checkpoint tiny, bare; /* bare: without tokens for bytes */
static gpuzip *gz[3], *gz_bare;    /* gz[t]: with t threads */
static uint8_t text[TEXT_BYTES];

/* The arguments of an observer's calls. */
typedef struct {
    memory_io io; /* first: the callbacks' context */
    uint64_t end; /* of the bytes told so far */
    uint64_t tokens, stored, packed;
    double bits, stored_bits, log2_z;
    double expert_bits[GPUZIP_MAX_EXPERTS];

    /* Counts of its own: of the tokens that are runs of letters, by their text. */
    bool counts;
    char seen[1 + TINY_VOCAB][LENGTHS];
    int count[1 + TINY_VOCAB], kinds;
    double bayes_error; /* the greatest */

    /* sum alpha_k (-log2 p_k) + log2 Z beside the coded cost, where frequencies have 12 bits
     * and more: the model is noise, and some of its probabilities are below 2^-30. */
    int fit, misfit;

    double alpha[TEXT_BYTES]; /* [tokens] of the first expert */
} observer;

#define FIT_BITS  18
#define FIT_ERROR 2e-3

static void check_fit(observer *o, const gpuzip_token *token)
{
    double sum = token->log2_z;
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++)
        sum += token->alpha[k] * token->expert_bits[k];
    if (sum < FIT_BITS)
        o->fit++;
    if (sum < FIT_BITS && fabs(sum - token->bits) > FIT_ERROR)
        o->misfit++;
}

static void check_bayes(observer *o, const gpuzip_token *token)
{
    char name[LENGTHS] = "";
    int k = 0;
    assert_true(token->size < LENGTHS);
    memcpy(name, token->bytes, token->size);
    while (k < o->kinds && memcmp(o->seen[k], name, sizeof name) != 0)
        k++;
    if (k == o->kinds)
        memcpy(o->seen[o->kinds++], name, sizeof name);
    double p = (o->count[k]++ + 1.0) / ((double)o->tokens + TINY_VOCAB);
    double error = fabs(-log2(p) - token->expert_bits[1]);
    o->bayes_error = error > o->bayes_error ? error : o->bayes_error;
}

static void on_token(void *context, const gpuzip_token *token)
{
    observer *o = context;
    assert_int_equal(token->offset, o->end);
    assert_true(o->end + token->size <= o->io.in_size);
    assert_memory_equal(token->bytes, o->io.in + o->end, token->size);
    o->end += token->size;
    if (token->stored) {
        o->stored++;
        o->packed += token->packed;
        o->stored_bits += token->bits;
        return;
    }
    if (o->counts)
        check_bayes(o, token);
    check_fit(o, token);
    o->alpha[o->tokens++] = token->alpha[0];
    o->bits += token->bits;
    o->log2_z += token->log2_z;
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++)
        o->expert_bits[k] += token->expert_bits[k];
}

static void check_near(double a, double b, double most)
{
    if (!(fabs(a - b) <= most))
        fail_msg("%.9g and %.9g differ by more than %.3g", a, b, most);
}

/* Compresses the text and checks the invariants. The caller frees o->io.out. */
static gpuzip_stats measure(gpuzip *handle, const gpuzip_options *options, observer *o)
{
    gpuzip_stats s;
    o->io = (memory_io){.in = text, .in_size = sizeof text};
    gpuzip_io io = memory_callbacks(&o->io);
    io.observe = on_token;
    assert_int_equal(gpuzip_compress_stream(handle, options, &io, &s), GPUZIP_OK);
    assert_int_equal(o->end, sizeof text);
    assert_int_equal(o->tokens, s.tokens);
    assert_int_equal(o->stored, s.stored_blocks + s.packed_blocks);
    assert_int_equal(o->packed, s.packed_blocks);
    check_near(o->bits, s.model_bits, 1e-4 * s.model_bits);
    check_near(o->log2_z, s.log2_z, 1e-6 * fabs(s.log2_z));
    double sum = s.weighted_bits + s.log2_z - s.bias_gain_bits - s.context_gain_bits +
                 s.rounding_bits + s.escape_bits;
    check_near(sum, s.model_bits, 1e-4 * s.model_bits);
    for (int k = 0; k < s.experts; k++)
        check_near(o->expert_bits[k], s.expert[k].bits, 1e-9 * s.expert[k].bits);
    return s;
}

static gpuzip_options of_experts(int models, double alpha, double bayes)
{
    gpuzip_options o = {.window = 32,
                        .hop = 16,
                        .streams = 3,
                        .adapt = GPUZIP_ADAPT_NONE,
                        .no_verify = true,
                        .no_packing = true};
    for (int k = 0; k < models; k++)
        o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, k, alpha / (k + 1)};
    if (bayes > 0)
        o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_NAIVE_BAYES, 0, bayes};
    return o;
}

/* Bits a token that frequencies of 30 bits may be off on average, where alphas are small. */
#define ROUNDING 1e-3

static void check_fits(const observer *o, const gpuzip_stats *s)
{
    assert_int_equal(o->misfit, 0);
    assert_true(o->fit > (int)s->tokens / 3);
}

static void alone_it_is_what_is_coded(void **state)
{
    gpuzip_options options = of_experts(1, 1.0, 0);
    observer o = {0};
    (void)state;
    gpuzip_stats s = measure(gz[1], &options, &o);
    assert_int_equal(s.experts, 1);
    assert_int_equal(s.stored_blocks, 0);
    check_fits(&o, &s);
    check_near(s.log2_z, 0, 1e-6 * (double)s.tokens);
    check_near(s.expert[0].alpha, 1, 0);
    check_near(s.expert[0].mean_alpha, 1, 1e-9);
    free(o.io.out);
}

/* CE(pi) = sum alpha_k CE_k + E[log2 Z], of numbers that were measured apart. */
static void check_identity(const gpuzip_options *options)
{
    observer o = {0};
    gpuzip_stats s = measure(gz[1], options, &o);
    assert_int_equal(s.experts, options->experts);
    assert_int_equal(s.stored_blocks, 0);
    for (int k = 0; k < s.experts; k++) {
        assert_int_equal(s.expert[k].kind, options->expert[k].kind);
        check_near(s.expert[k].alpha, options->expert[k].alpha, 1e-5);
    }
    check_fits(&o, &s);
    check_near(s.bias_gain_bits, 0, 1e-3);
    free(o.io.out);
}

static void fixed_alphas_keep_the_identity(void **state)
{
    (void)state;
    for (int models = 1; models <= 2; models++)
        for (int a = 1; a <= 3; a++) {
            gpuzip_options options = of_experts(models, 0.5 * a / models, 0.35 * (a - 1));
            check_identity(&options);
        }
}

/* Each expert's figure beside others is its figure alone, whatever its alpha. */
static void alphas_do_not_change_experts(void **state)
{
    gpuzip_options alone = of_experts(1, 1.0, 0), beside = of_experts(2, 0.3, 0.5);
    observer a = {0}, b = {0};
    (void)state;
    gpuzip_stats x = measure(gz[1], &alone, &a), y = measure(gz[1], &beside, &b);
    check_near(x.expert[0].bits, y.expert[0].bits, 1e-9 * x.expert[0].bits);
    free(a.io.out);
    free(b.io.out);
}

static void naive_bayes_is_laplace(void **state)
{
    gpuzip_options options = of_experts(1, 0.1, 1.0);
    observer o = {.counts = true};
    (void)state;
    options.streams = 1;
    options.update_interval = 1;
    gpuzip_stats s = measure(gz[1], &options, &o);
    assert_true(o.kinds > 5);
    check_near(o.bayes_error, 0, 1e-3); /* counts' logarithms have 16 bits */
    assert_int_equal(s.escapes, 0);
    free(o.io.out);
}

static void biases_are_measured(void **state)
{
    gpuzip_options options = of_experts(2, 0.4, 0.3);
    observer o = {0};
    (void)state;
    options.adapt = GPUZIP_ADAPT_BIASES;
    gpuzip_stats s = measure(gz[1], &options, &o);
    assert_true(s.bias_gain_bits > 1);
    check_near(s.context_gain_bits, 0, 0);
    check_near(s.rounding_bits, 0, ROUNDING * (double)s.tokens);
    assert_true(o.misfit > 0); /* biases are not in the sum */
    free(o.io.out);
}

static void learnt_alphas_are_told(void **state)
{
    gpuzip_options options = of_experts(1, 0.6, 0.4);
    observer o = {0};
    (void)state;
    options.adapt = GPUZIP_ADAPT_ALPHAS | GPUZIP_ADAPT_CONTEXTS;
    options.update_interval = 1;
    gpuzip_stats s = measure(gz[1], &options, &o);
    size_t last = (s.tokens + 2) / 3 - 1; /* of the first of three streams */
    assert_true(s.expert[0].alpha == o.alpha[last] && o.alpha[last - 1] != o.alpha[last]);
    double sum = 0;
    for (size_t i = 0; i < s.tokens; i++)
        sum += o.alpha[i];
    check_near(s.expert[0].mean_alpha, sum / (double)s.tokens, 1e-9);
    assert_true(fabs(s.expert[0].alpha - 0.6) > 0.01);
    assert_true(s.context_gain_bits > 0);
    assert_true(s.rounding_bits == 0);
    free(o.io.out);
}

/* The same figures to the last bit, and the file as if nobody had asked. */
static void threads_and_measuring_change_nothing(void **state)
{
    (void)state;
    for (int learns = 0; learns < 2; learns++) {
        gpuzip_options options = of_experts(2, 0.5, learns ? 0.3 : 0);
        static observer o[3];
        gpuzip_stats s[3];
        memset(o, 0, sizeof o);
        options.streams = 5;
        options.block_size = 2500;
        options.adapt = learns ? GPUZIP_ADAPT_ALL : GPUZIP_ADAPT_NONE;
        for (int t = 1; t <= 2; t++)
            s[t] = measure(gz[t], &options, &o[t]);
        assert_memory_equal(s[1].expert, s[2].expert, sizeof s[1].expert);
        assert_true(s[1].log2_z == s[2].log2_z && s[1].weighted_bits == s[2].weighted_bits &&
                    s[1].bias_gain_bits == s[2].bias_gain_bits &&
                    s[1].context_gain_bits == s[2].context_gain_bits &&
                    s[1].rounding_bits == s[2].rounding_bits &&
                    s[1].escape_bits == s[2].escape_bits);
        assert_int_equal(s[1].blocks, 3);

        memory_io plain = {.in = text, .in_size = sizeof text};
        gpuzip_io io = memory_callbacks(&plain);
        gpuzip_stats unmeasured;
        options.no_verify = false;
        assert_int_equal(gpuzip_compress_stream(gz[2], &options, &io, &unmeasured), GPUZIP_OK);
        assert_int_equal(unmeasured.experts, 0);
        assert_true(unmeasured.log2_z == 0 && unmeasured.seconds[GPUZIP_PHASE_MEASURE] == 0);
        for (int t = 1; t <= 2; t++) {
            assert_int_equal(o[t].io.out_size, plain.out_size);
            assert_memory_equal(o[t].io.out, plain.out, plain.out_size);
            free(o[t].io.out);
        }
        free(plain.out);
    }
}

/* The option alone measures as the observer does. */
static void nobody_need_observe(void **state)
{
    gpuzip_options options = of_experts(1, 1.0, 0);
    memory_io io = {.in = text, .in_size = sizeof text};
    gpuzip_io callbacks = memory_callbacks(&io);
    gpuzip_stats s;
    observer o = {0};
    (void)state;
    options.measure = true;
    assert_int_equal(gpuzip_compress_stream(gz[1], &options, &callbacks, &s), GPUZIP_OK);
    gpuzip_stats observed = measure(gz[1], &options, &o);
    assert_memory_equal(s.expert, observed.expert, sizeof s.expert);
    free(io.out);
    free(o.io.out);
}

static void stored_blocks_are_told(void **state)
{
    static uint8_t saved[2000];
    gpuzip_options options = of_experts(1, 1.0, 0);
    uint64_t random = 1;
    observer o = {0};
    (void)state;
    memcpy(saved, text + 2000, sizeof saved);
    for (size_t i = 0; i < sizeof saved; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        text[2000 + i] = (uint8_t)(random >> 56);
    }
    options.block_size = 2000;
    gpuzip_stats s = measure(gz[1], &options, &o);
    memcpy(text + 2000, saved, sizeof saved);
    assert_int_equal(s.stored_blocks, 1);
    assert_true(o.stored_bits >= 8 * 2000 && o.stored_bits < 8 * 2100);
    free(o.io.out);
}

/* A block that is packed costs its bytes, and no figure of the model is of it. */
static void packed_blocks_are_told(void **state)
{
    static uint8_t saved[2000];
    gpuzip_options options = of_experts(1, 1.0, 0);
    observer o = {0}, coded = {0};
    (void)state;
    options.no_packing = false;
    options.block_size = 2000;
    memcpy(saved, text + 2000, sizeof saved);
    memset(text + 2000, 7, sizeof saved);
    gpuzip_stats s = measure(gz[1], &options, &o);
    assert_true(s.packed_blocks >= 1);
    assert_int_equal(s.stored_blocks, 0);
    assert_true(o.stored_bits > 0 && o.stored_bits <= 8.0 * (double)o.io.out_size);
    options.no_packing = true;
    gpuzip_stats c = measure(gz[1], &options, &coded);
    assert_int_equal(c.packed_blocks, 0);
    assert_true(coded.io.out_size > o.io.out_size);
    assert_true(c.model_bits > s.model_bits && c.tokens > s.tokens);
    assert_true(c.coder_bits > s.coder_bits && c.model_bytes >= s.model_bytes + sizeof saved);
    memcpy(text + 2000, saved, sizeof saved);
    free(o.io.out);
    free(coded.io.out);
}

/* Bytes that no token stands for cost 20 bits whichever the expert. */
static void escapes_count_apart(void **state)
{
    gpuzip_options options = of_experts(1, 1.0, 0);
    observer o = {0};
    (void)state;
    text[100] = text[5000] = 'x';
    gpuzip_stats s = measure(gz_bare, &options, &o);
    text[100] = text[5000] = 'a';
    assert_int_equal(s.escapes, 3); /* the space before the text is one */
    assert_int_equal(s.stored_blocks, 0);
    check_near(s.expert[0].bits, s.weighted_bits + s.escape_bits, 1e-2);
    double room = log2(1 + 256 * 0x1p-20);
    check_near(s.escape_bits, 3 * (20 + room) + (double)(s.tokens - 3) * room, 1e-2);
    check_fits(&o, &s);
    free(o.io.out);
}

/* ---- set up -------------------------------------------------------------- */

/* A tokenizer that has no bytes: other pieces stand in their places. */
static void write_bare_tokenizer(const char *path)
{
    int32_t longest = 8;
    FILE *f = fopen(path, "wb");
    if (!f)
        abort();
    fwrite(&longest, sizeof longest, 1, f);
    tiny_write_token(f, "<unk>", 0);
    tiny_write_token(f, "\n<s>\n", 0);
    tiny_write_token(f, "\n</s>\n", 0);
    for (int b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "~%03d~", b);
        tiny_write_token(f, piece, -100);
    }
    for (int i = 0; i < 10; i++)
        tiny_write_token(f, tiny_long_pieces[i], (float)-i);
    if (fclose(f))
        abort();
}

static int set_up(void **state)
{
    static const char *const piece[] = {"aaaaaaaa", "abababab", "bbbb", "aaaa", "abab"};
    uint32_t random = 7;
    (void)state;
    for (size_t at = 0; at < sizeof text;) {
        random = random * 1103515245 + 12345;
        /* some pieces are commoner than others */
        const char *from = piece[(random >> 16) % 5 * ((random >> 24) % 5) / 4];
        for (size_t i = 0; from[i] && at < sizeof text; i++)
            text[at++] = (uint8_t)from[i];
    }
    text[100] = text[5000] = 'a';
    tiny_open(&tiny);
    tiny_write_tokenizer(tiny.tokenizer, tiny_long_pieces);
    tiny_open(&bare);
    write_bare_tokenizer(bare.tokenizer);
    for (int t = 1; t <= 2; t++)
        for (int model = 0; model < 2; model++) {
            if (!model && gpuzip_open(&gz[t], "cpu", t, NULL) != GPUZIP_OK)
                return -1;
            if (gpuzip_add_model(gz[t], tiny.model, NULL) != GPUZIP_OK)
                return -1;
        }
    if (gpuzip_open(&gz_bare, "cpu", 1, NULL) != GPUZIP_OK)
        return -1;
    return gpuzip_add_model(gz_bare, bare.model, NULL) == GPUZIP_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    for (int t = 1; t <= 2; t++)
        gpuzip_close(gz[t]);
    gpuzip_close(gz_bare);
    tiny_close(&tiny);
    tiny_close(&bare);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_is_what_is_coded),
        cmocka_unit_test(fixed_alphas_keep_the_identity),
        cmocka_unit_test(alphas_do_not_change_experts),
        cmocka_unit_test(naive_bayes_is_laplace),
        cmocka_unit_test(biases_are_measured),
        cmocka_unit_test(learnt_alphas_are_told),
        cmocka_unit_test(threads_and_measuring_change_nothing),
        cmocka_unit_test(nobody_need_observe),
        cmocka_unit_test(stored_blocks_are_told),
        cmocka_unit_test(packed_blocks_are_told),
        cmocka_unit_test(escapes_count_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
