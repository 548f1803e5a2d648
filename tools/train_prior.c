/* train_prior.c: trains the start values of the context models, the prior (context_prior.c).
 *
 *     train_prior [-c] [-e EPOCHS] FILE... > context_prior.c
 *     train_prior -t FILE...
 *
 * Codes each file alone with the built-in model, its n-grams, biases and adaptive alphas, starting
 * from the prior of the epoch before. The next prior is the mean, over all files, of the weights
 * and probabilities at their ends. Each file is coded three times, with streams of 16,384, 2,048
 * and 256 tokens, because the prior must serve one stream and a thousand, whose updates have few
 * rows and many. A weight counts in files that used its set; a probability is weighted by its
 * number of candidates, at most 255 a file. The first epoch starts from a guess, or with -c from
 * the built-in prior. -t: prints the sizes of files with the built-in prior and streams of 16,384
 * tokens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builtin.h"
#include "engine_mt.h"
#include "tokenizer.h"

static const uint32_t stream_tokens[] = {16384, 2048, 256};

enum { STREAM_COUNTS = sizeof stream_tokens / sizeof *stream_tokens };
enum { WINDOW = 1024, HOP = 512, INTERVAL = 16, EPOCHS = 3 };

static const char *const context_name[OPS_FEATURES] = {"b3", "o1", "o2", "o3",
                                                       "o4", "o6", "m6", "ng"};

typedef struct {
    weights_model *weights;
    tokenizer *t;
    ops_context *ctx;
    model *m;
    uint32_t *token_suffix;
} setting;

/* A text as one block. */
typedef struct {
    uint32_t *token; /* [tokens] */
    size_t tokens;
    container_stream *stream; /* [streams] */
    uint32_t streams;
} training_text;

static void must(gpuzip_status status, const char *step)
{
    if (status == GPUZIP_OK)
        return;
    fprintf(stderr, "%s: %s\n", step, gpuzip_status_name(status));
    exit(1);
}

static void *must_have(void *memory)
{
    if (!memory)
        must(GPUZIP_ERR_MEMORY, "train_prior");
    return memory;
}

static void open_setting(setting *s)
{
    must(weights_open_memory(&s->weights, builtin_model, builtin_model_size), "model");
    uint32_t vocab = (uint32_t)s->weights->config.vocab;
    must(tokenizer_open(&s->t, s->weights->tokenizer, s->weights->tokenizer_size, vocab),
         "tokenizer");
    must(ops_cpu.open(&s->ctx, 0, 1, NULL), "device");
    must(model_open(&s->m, &ops_cpu, s->ctx, s->weights), "model");
    uint32_t symbols = vocab + tokenizer_escapes(s->t);
    s->token_suffix = must_have(calloc(symbols, sizeof *s->token_suffix));
    for (uint32_t id = 0; id < symbols; id++) {
        const uint8_t *bytes;
        size_t size;
        if (tokenizer_token_bytes(s->t, id, &bytes, &size) == GPUZIP_OK)
            s->token_suffix[id] = token_suffix(bytes, size);
    }
}

static uint32_t *read_tokens(const setting *s, const char *path, size_t *tokens)
{
    FILE *f = fopen(path, "rb");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    if (size < 1) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    uint8_t *text = must_have(malloc((size_t)size));
    rewind(f);
    if (fread(text, 1, (size_t)size, f) != (size_t)size)
        must(GPUZIP_ERR_IO, path);
    fclose(f);
    uint32_t *token;
    must(tokenizer_encode(s->t, text, (size_t)size, &token, tokens), path);
    free(text);
    return token;
}

/* Gives a block streams of about so many tokens, whose codes lie in *buffer. */
static void cut(training_text *block, uint8_t **buffer, uint32_t stream_tokens)
{
    uint32_t tokens = (uint32_t)block->tokens;
    free(block->stream);
    free(*buffer);
    block->streams = container_fit_streams(tokens, (tokens + stream_tokens - 1) / stream_tokens);
    must(engine_make_room(&block->stream, buffer, block->tokens, block->streams), "train_prior");
}

/* Codes a block and reads its mixing weights into weights (unless NULL). Returns bytes. */
static double code(const setting *s, training_text *block, const context_prior *prior, bool adapt,
                   int32_t weights[OPS_SETS][OPS_WEIGHTS])
{
    engine_config config = {.schedule = {.window = WINDOW, .hop = HOP, .update_interval = INTERVAL},
                            .escapes = (int)tokenizer_escapes(s->t),
                            .vocab = s->weights->config.vocab,
                            .experts = 1,
                            .expert = {{GPUZIP_EXPERT_MODEL, s->m, 1 << 16}},
                            .bias = adapt,
                            .learn_alpha = adapt,
                            .prior = adapt ? prior : NULL,
                            .ngrams = model_ngrams(s->weights),
                            .token_suffix = s->token_suffix};
    engine_costs costs = {0};
    engine *e;
    must(engine_open(&e, &ops_cpu, s->ctx, &config), "engine");
    engine_stream *stream = must_have(calloc(block->streams, sizeof *stream));
    engine_cut(stream, block->streams, 0, block->token, block->tokens, block->stream, NULL, 1);
    must(engine_encode(e, stream, (int)block->streams, &costs, NULL), "encode");
    free(stream);
    if (adapt && weights)
        must(engine_read_weights(e, 0, weights[0]), "read");
    engine_close(e);
    return costs.model_bits / 8;
}

/* Reads the probabilities of all states at the end of a block. */
static void learn_states(const setting *s, const training_text *block, const context_prior *prior,
                         uint16_t q[OPS_FEATURES][CONTEXT_MODEL_STATES],
                         uint8_t seen[OPS_FEATURES][CONTEXT_MODEL_STATES])
{
    static ops_candidate candidate[1][OPS_CANDIDATES];
    int32_t candidates;
    size_t each = container_stream_length((uint32_t)block->tokens, block->streams);
    const uint32_t **token = must_have(malloc(block->streams * sizeof *token));
    size_t *length = must_have(malloc(block->streams * sizeof *length));
    context_model *c;
    for (uint32_t i = 0; i < block->streams; i++) {
        token[i] = block->token + i * each;
        length[i] = block->tokens - i * each < each ? block->tokens - i * each : each;
    }
    context_model_config config = {.vocab = s->weights->config.vocab,
                                   .symbols =
                                       s->weights->config.vocab + (int)tokenizer_escapes(s->t),
                                   .token_suffix = s->token_suffix,
                                   .prior = prior,
                                   .ngrams = model_ngrams(s->weights),
                                   .streams = (int)block->streams,
                                   .token = token,
                                   .length = length,
                                   .scope = each,
                                   .update_interval = INTERVAL};
    must(context_model_open(&c, &config), "context models");
    for (size_t step = 0, end; step < each; step = end) {
        end = context_model_next_update(step, 0, INTERVAL);
        for (uint32_t i = 0; i < block->streams; i++)
            for (size_t t = step; t < end && t < length[i]; t++) {
                context_model_row row = {(int32_t)i, (uint32_t)t};
                context_model_predict(c, &row, 1, candidate, &candidates);
            }
        context_model_learn(c, end);
    }
    context_model_read(c, q, seen);
    context_model_close(c);
    free(token);
    free(length);
}

/* Before the first epoch: context models count a little, and a state is about as good as its
 * counts. */
static void guess(context_prior *prior)
{
    static const double count[7] = {1, 2, 3, 4.5, 7, 14, 40}, others[4] = {0, 1.5, 4, 14};
    memset(prior, 0, sizeof *prior);
    for (int k = 0; k < OPS_FEATURES; k++)
        for (int i = 1; i < CONTEXT_MODEL_STATES; i++) {
            double c = count[(i - 1) / 8 % 7], o = others[(i - 1) % 8 / 2];
            double q = i >= 57 ? 0.02 : (c - 0.3) / (c + o + 1.5);
            if (k == OPS_FEATURES - 2)
                q = 1 - 1.0 / (2 + i);
            if (k == OPS_FEATURES - 1)
                q = i > NGRAMS_ORDERS * NGRAMS_LEVELS
                        ? 0.02
                        : 1 / (1 + exp2(6 - ((i - 1) % NGRAMS_LEVELS + 0.5) * 12 / NGRAMS_LEVELS));
            prior->q[k][i] = (uint16_t)(q * 65536);
        }
    for (int i = 0; i < OPS_ORDER_SETS; i++)
        for (int j = 0; j < OPS_FEATURES; j++)
            prior->weights[i][j] = 19661; /* 0.3 */
}

/* Sums over the files of an epoch. */
typedef struct {
    int64_t weights[OPS_SETS][OPS_WEIGHTS], files[OPS_SETS];
    int64_t q[OPS_FEATURES][CONTEXT_MODEL_STATES], seen[OPS_FEATURES][CONTEXT_MODEL_STATES];
} sums;

/* Codes a block and adds its weights and probabilities to *sum. Returns bytes. */
static double add_file(const setting *s, sums *sum, training_text *block,
                       const context_prior *prior)
{
    int32_t weights[OPS_SETS][OPS_WEIGHTS];
    uint16_t q[OPS_FEATURES][CONTEXT_MODEL_STATES];
    uint8_t seen[OPS_FEATURES][CONTEXT_MODEL_STATES];
    double bytes = code(s, block, prior, true, weights);
    for (int i = 0; i < OPS_SETS; i++) {
        if (memcmp(weights[i], prior->weights[i], sizeof *weights) == 0)
            continue;
        sum->files[i]++;
        for (int j = 0; j < OPS_WEIGHTS; j++)
            sum->weights[i][j] += weights[i][j];
    }
    learn_states(s, block, prior, q, seen);
    for (int k = 0; k < OPS_FEATURES; k++)
        for (int i = 0; i < CONTEXT_MODEL_STATES; i++) {
            sum->q[k][i] += (int64_t)q[k][i] * seen[k][i];
            sum->seen[k][i] += seen[k][i];
        }
    return bytes;
}

static void take_means(context_prior *prior, const sums *sum)
{
    for (int i = 0; i < OPS_SETS; i++)
        for (int j = 0; j < OPS_WEIGHTS && sum->files[i]; j++)
            prior->weights[i][j] = (int32_t)(sum->weights[i][j] / sum->files[i]);
    for (int k = 0; k < OPS_FEATURES; k++)
        for (int i = 0; i < CONTEXT_MODEL_STATES; i++)
            if (sum->seen[k][i])
                prior->q[k][i] = (uint16_t)(sum->q[k][i] / sum->seen[k][i]);
}

static void print(const context_prior *prior)
{
    printf("/* context_prior.c: made by tools/train_prior.c; not to be edited. */\n"
           "#include \"context_model.h\"\n\n/* clang-format off */\n"
           "const context_prior context_prior_builtin = {\n    .q = {\n");
    for (int k = 0; k < OPS_FEATURES; k++) {
        printf("        { /* %s */", context_name[k]);
        for (int i = 0; i < CONTEXT_MODEL_STATES; i++)
            printf("%s%u,", i % 16 ? " " : "\n            ", prior->q[k][i]);
        printf("\n        },\n");
    }
    printf("    },\n    .weights = {\n");
    for (int i = 0; i < OPS_SETS; i++) {
        printf("        {");
        for (int j = 0; j < OPS_WEIGHTS; j++)
            printf("%s%d", j ? ", " : "", prior->weights[i][j]);
        if (i < OPS_ORDER_SETS)
            printf("}, /* %s, %d, %d */\n", context_name[i / 15], i / 3 % 5, i % 3 + 1);
        else
            printf("}, /* %d, %d */\n", (i - OPS_ORDER_SETS) / 16, (i - OPS_ORDER_SETS) % 16);
    }
    printf("    },\n};\n");
}

int main(int argc, char **argv)
{
    static context_prior prior;
    int epochs = EPOCHS, option;
    bool test = false, continues = false;
    while ((option = getopt(argc, argv, "ce:t")) != -1) {
        if (option == '?')
            return 1;
        if (option == 't')
            test = true;
        else if (option == 'c')
            continues = true;
        else
            epochs = atoi(optarg);
    }
    setting s;
    open_setting(&s);
    int files = argc - optind;
    training_text *block = must_have(calloc((size_t)files + 1, sizeof *block));
    uint8_t **buffer = must_have(calloc((size_t)files + 1, sizeof *buffer));
    for (int i = 0; i < files; i++)
        block[i].token = read_tokens(&s, argv[optind + i], &block[i].tokens);
    if (continues)
        prior = context_prior_builtin;
    else
        guess(&prior);
    for (int epoch = 0; epoch < epochs && !test; epoch++) {
        double all = 0;
        sums *sum = must_have(calloc(1, sizeof *sum));
        for (int i = 0; i < files; i++) {
            fprintf(stderr, "epoch %d %-40s", epoch, argv[optind + i]);
            for (int n = 0; n < STREAM_COUNTS; n++) {
                cut(&block[i], &buffer[i], stream_tokens[n]);
                double bytes = add_file(&s, sum, &block[i], &prior);
                all += bytes;
                fprintf(stderr, " %10.0f", bytes);
            }
            fprintf(stderr, "\n");
        }
        take_means(&prior, sum);
        free(sum);
        fprintf(stderr, "epoch %d: %.0f bytes\n", epoch, all);
    }
    for (int i = 0; i < files && test; i++) {
        cut(&block[i], &buffer[i], stream_tokens[0]);
        double alone = code(&s, &block[i], NULL, false, NULL);
        double adapted = code(&s, &block[i], &context_prior_builtin, true, NULL);
        printf("%-40s %10.0f %10.0f %7.2f %%\n", argv[optind + i], alone, adapted,
               100 * (adapted / alone - 1));
    }
    if (!test)
        print(&prior);
    for (int i = 0; i < files; i++) {
        free(block[i].token);
        free(block[i].stream);
        free(buffer[i]);
    }
    free(block);
    free(buffer);
    free(s.token_suffix);
    model_close(s.m);
    ops_cpu.close(s.ctx);
    tokenizer_close(s.t);
    weights_close(s.weights);
    return 0;
}
