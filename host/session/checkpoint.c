/* checkpoint.c: finds a checkpoint, imports it with its tokenizer, adds test vectors. */
#include "checkpoint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builtin.h"
#include "model.h"
#include "model_path.h"
#include "tokenizer.h"
#include "tokenizer_import.h"

#define TOKENIZER_FILE_MAX ((size_t)512 << 20)                   /* bytes of any tokenizer file */
#define LFS_POINTER        "version https://git-lfs.github.com/" /* begins such a file */
#define TEST_TOKENS        32 /* of a model file's test vectors */

/* An import in work. */
typedef struct {
    weights_source source;
    char *error; /* [CHECKPOINT_ERROR_BYTES] */
    uint32_t bos;
} import_job;

__attribute__((format(printf, 2, 3))) static void say(char error[CHECKPOINT_ERROR_BYTES],
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, CHECKPOINT_ERROR_BYTES, format, args);
    va_end(args);
}

/* ---- finding ------------------------------------------------------------ */

static bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Writes folder/name to path; false if it is too long or not there. */
static bool path_in(char path[GPUZIP_PATH_BYTES], const char *folder, const char *name)
{
    int n = snprintf(path, GPUZIP_PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < GPUZIP_PATH_BYTES && path_exists(path);
}

/* The folder of the Hugging Face cache, by huggingface_hub's rules. */
static bool cache_folder(char path[GPUZIP_PATH_BYTES])
{
    const char *value;
    int n = 0;
    if ((value = getenv("HF_HUB_CACHE")) && *value)
        n = snprintf(path, GPUZIP_PATH_BYTES, "%s", value);
    else if ((value = getenv("HF_HOME")) && *value)
        n = snprintf(path, GPUZIP_PATH_BYTES, "%s/hub", value);
    else if ((value = getenv("XDG_CACHE_HOME")) && *value)
        n = snprintf(path, GPUZIP_PATH_BYTES, "%s/huggingface/hub", value);
    else if ((value = getenv("HOME")) && *value)
        n = snprintf(path, GPUZIP_PATH_BYTES, "%s/.cache/huggingface/hub", value);
    return n > 0 && n < GPUZIP_PATH_BYTES;
}

/* "org/name" is cached as models--org--name/snapshots/REVISION, and refs/main
 * holds the revision. */
static bool cache_lookup(char path[GPUZIP_PATH_BYTES], const char *name)
{
    char cache[GPUZIP_PATH_BYTES], flat[512], refs[GPUZIP_PATH_BYTES], revision[128] = "";
    size_t used = 0;
    if (!cache_folder(cache))
        return false;
    for (const char *p = name; *p && used + 3 < sizeof flat; p++) {
        if (*p == '/') {
            flat[used++] = '-';
            flat[used++] = '-';
        } else {
            flat[used++] = *p;
        }
    }
    flat[used] = '\0';
    if (snprintf(refs, sizeof refs, "%s/models--%s/refs/main", cache, flat) >= (int)sizeof refs)
        return false;
    FILE *f = fopen(refs, "r");
    if (!f)
        return false;
    bool read = fscanf(f, "%127[0-9a-zA-Z]", revision) == 1;
    fclose(f);
    int n = snprintf(path, GPUZIP_PATH_BYTES, "%s/models--%s/snapshots/%s", cache, flat, revision);
    return read && n < GPUZIP_PATH_BYTES && path_is_folder(path);
}

bool checkpoint_find(char path[GPUZIP_PATH_BYTES], const char *name)
{
    if (strlen(name) < GPUZIP_PATH_BYTES && path_exists(name)) {
        strcpy(path, name);
        return true;
    }
    if (errno != ENOENT && errno != ENOTDIR && strlen(name) < GPUZIP_PATH_BYTES)
        return false;
    if (cache_lookup(path, name))
        return true;
    size_t digits = strspn(name, "0123456789abcdef");
    if (digits >= MODEL_PATH_DIGITS_MIN && !name[digits] && model_path_find(path, name))
        return true;
    errno = ENOENT;
    return false;
}

static gpuzip_status resolve(char path[GPUZIP_PATH_BYTES], const char *name,
                             char error[CHECKPOINT_ERROR_BYTES])
{
    if (checkpoint_find(path, name))
        return GPUZIP_OK;
    if (errno != ENOENT) {
        say(error, "%s: cannot be examined: %s", name, strerror(errno));
        return FAIL(GPUZIP_ERR_IO);
    }
    say(error,
        "%s: no such file or folder, nor a model in the local Hugging Face cache, nor the id of a "
        "model in GPUZIP_MODEL_PATH (nothing is ever downloaded; fetch it with 'hf download' "
        "first)",
        name);
    return FAIL(GPUZIP_ERR_IO);
}

/* ---- tokenizers --------------------------------------------------------- */

static gpuzip_status read_file(const char *path, void **data, size_t *size,
                               char error[CHECKPOINT_ERROR_BYTES])
{
    gpuzip_status status = GPUZIP_OK;
    void *bytes = NULL;
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        status = FAIL(GPUZIP_ERR_IO);
        say(error, "%s: cannot be read as a file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > TOKENIZER_FILE_MAX) {
        status = FAIL(GPUZIP_ERR_FORMAT);
        say(error, "%s: too large for a tokenizer", path);
        goto out;
    }
    bytes = malloc((size_t)st.st_size + 1);
    if (!bytes) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    if (fread(bytes, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
        status = FAIL(GPUZIP_ERR_IO);
        say(error, "%s: cannot be read", path);
        goto out;
    }
    if ((size_t)st.st_size >= strlen(LFS_POINTER) &&
        memcmp(bytes, LFS_POINTER, strlen(LFS_POINTER)) == 0) {
        status = FAIL(GPUZIP_ERR_FORMAT);
        say(error,
            "%s: a Git LFS pointer, not the file itself; fetch that with 'git lfs pull' in its "
            "folder",
            path);
        goto out;
    }
    *data = bytes;
    *size = (size_t)st.st_size;
    bytes = NULL;
out:
    free(bytes);
    if (f)
        fclose(f);
    return status;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* vocab.json; merges.txt lies beside it. */
static gpuzip_status import_gpt2_pair(import_job *job, const char *path, void **blob,
                                      size_t *blob_size)
{
    gpuzip_status status = GPUZIP_OK;
    char merges_path[GPUZIP_PATH_BYTES];
    void *vocab = NULL, *merges = NULL;
    size_t vocab_size, merges_size;
    size_t folder = strlen(path) - strlen("vocab.json");
    snprintf(merges_path, sizeof merges_path, "%.*smerges.txt", (int)folder, path);
    TRY_OUT(read_file(path, &vocab, &vocab_size, job->error));
    TRY_OUT(read_file(merges_path, &merges, &merges_size, job->error));
    TRY_OUT(tokenizer_import_gpt2(vocab, vocab_size, merges, merges_size, job->bos, blob, blob_size,
                                  job->error));
out:
    free(vocab);
    free(merges);
    return status;
}

/* A tokenizer file; its name says the kind. */
static gpuzip_status import_tokenizer_file(import_job *job, const char *path, void **blob,
                                           size_t *blob_size)
{
    gpuzip_status status = GPUZIP_OK;
    void *data = NULL;
    size_t size;
    if (ends_with(path, "vocab.json"))
        return import_gpt2_pair(job, path, blob, blob_size);
    TRY(read_file(path, &data, &size, job->error));
    if (ends_with(path, ".json"))
        status = tokenizer_import_json(data, size, job->bos, blob, blob_size, job->error);
    else if (ends_with(path, ".model"))
        status = tokenizer_import_sentencepiece(data, size, job->bos, blob, blob_size, job->error);
    else
        status = tokenizer_import_llama2c(data, size, (uint32_t)job->source.vocab, job->bos, blob,
                                          blob_size, job->error);
    free(data);
    return status;
}

/* Finds the tokenizer of a checkpoint: in `path` if that is a folder, else beside it. */
static bool find_tokenizer(const import_job *job, const char *path, char found[GPUZIP_PATH_BYTES])
{
    char folder[GPUZIP_PATH_BYTES], numbered_bin[32], numbered_model[32];
    snprintf(folder, sizeof folder, "%s", path);
    if (!path_is_folder(folder)) {
        char *slash = strrchr(folder, '/');
        strcpy(slash ? slash + 1 : folder, ".");
    }
    /* llama2.c names a tokenizer by its vocabulary: tok512.bin */
    snprintf(numbered_bin, sizeof numbered_bin, "tok%d.bin", job->source.vocab);
    snprintf(numbered_model, sizeof numbered_model, "tok%d.model", job->source.vocab);
    const char *const names[] = {"tokenizer.json", "tokenizer.model", numbered_model,
                                 numbered_bin,     "vocab.json",      "tokenizer.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (path_in(found, folder, names[i]))
            return true;
    return false;
}

static gpuzip_status import_tokenizer(import_job *job, const char *path, const char *given,
                                      void **blob, size_t *blob_size)
{
    char found[GPUZIP_PATH_BYTES];
    if (given && !path_is_folder(given))
        return import_tokenizer_file(job, given, blob, blob_size);
    if (job->source.byte_vocab && !given)
        return tokenizer_import_bytes(job->bos, blob, blob_size, job->error);
    if (find_tokenizer(job, given ? given : path, found))
        return import_tokenizer_file(job, found, blob, blob_size);
    say(job->error, "%s: no tokenizer lies beside it; name one with --tokenizer",
        given ? given : path);
    return FAIL(GPUZIP_ERR_IO);
}

/* ---- importing ---------------------------------------------------------- */

/* Runs the model over fixed tokens on the CPU and keeps the logits' hash in it. */
static gpuzip_status add_test(void **data, size_t *size)
{
    gpuzip_status status = GPUZIP_OK;
    weights_model *weights = NULL;
    ops_context *ctx = NULL;
    model *m = NULL;
    uint32_t token[TEST_TOKENS];
    uint64_t hash;
    TRY_OUT(weights_open_memory(&weights, *data, *size));
    TRY_OUT(ops_cpu.open(&ctx, 0, 0, NULL));
    TRY_OUT(model_open(&m, &ops_cpu, ctx, weights));
    const weights_config *c = &weights->config;
    int tests = c->context < TEST_TOKENS ? c->context : TEST_TOKENS;
    for (int i = 0; i < tests; i++) /* spread over the vocabulary by Knuth's multiplier */
        token[i] = i ? (uint32_t)i * 2654435761u % (uint32_t)c->vocab : (uint32_t)c->bos;
    TRY_OUT(model_fingerprint(m, token, tests, &hash));
    model_close(m);
    m = NULL;
    weights_close(weights);
    weights = NULL;
    TRY_OUT(weights_set_test(data, size, token, tests, hash));
out:
    model_close(m);
    ops_cpu.close(ctx);
    weights_close(weights);
    return status;
}

/* Imports the checkpoint at path, which is not a .gpzm. */
static gpuzip_status import_path(void **out, size_t *out_size, const char *path,
                                 const weights_source *kind, const gpuzip_import_options *options,
                                 char error[CHECKPOINT_ERROR_BYTES])
{
    gpuzip_status status = GPUZIP_OK;
    weights_error weights_says = {""};
    weights_import_options wanted = {0};
    tokenizer *t = NULL;
    void *blob = NULL, *data = NULL;
    size_t blob_size, size;
    import_job job = {*kind, error, TOKENIZER_BOS_AUTO};
    bool foreign = kind->bos >= kind->vocab; /* GPT-2's default, with a small vocabulary */
    if (kind->bos >= 0 && !foreign)
        job.bos = (uint32_t)kind->bos;
    if (options)
        wanted = (weights_import_options){options->weight_bits, options->activation_bits,
                                          options->kv_bits, options->name};
    TRY_OUT(import_tokenizer(&job, path, options ? options->tokenizer : NULL, &blob, &blob_size));
    status = tokenizer_open(&t, blob, blob_size, (uint32_t)kind->vocab);
    if (status != GPUZIP_OK) {
        say(error, "%s: its tokenizer has more tokens than the model's vocabulary of %d", path,
            kind->vocab);
        goto out;
    }
    status = weights_import(&data, &size, path, &wanted, blob, blob_size, tokenizer_bos(t),
                            &weights_says);
    if (status != GPUZIP_OK) {
        say(error, "%s", weights_says.text);
        goto out;
    }
    TRY_OUT(add_test(&data, &size));
    if (foreign)
        say(error,
            "%s: bos_token_id %lld is beyond the vocabulary of %d; texts begin with token %u", path,
            (long long)kind->bos, kind->vocab, (unsigned)tokenizer_bos(t));
    *out = data;
    *out_size = size;
    data = NULL;
out:
    free(data);
    tokenizer_close(t);
    free(blob);
    return status;
}

static gpuzip_status probe(weights_source *kind, char path[GPUZIP_PATH_BYTES], const char *name,
                           char error[CHECKPOINT_ERROR_BYTES])
{
    weights_error weights_says = {""};
    TRY(resolve(path, name, error));
    gpuzip_status status = weights_probe(kind, path, &weights_says);
    if (status != GPUZIP_OK)
        say(error, "%s", weights_says.text);
    return status;
}

gpuzip_status checkpoint_import(void **data, size_t *size, const char *name,
                                const gpuzip_import_options *options,
                                char error[CHECKPOINT_ERROR_BYTES])
{
    char path[GPUZIP_PATH_BYTES];
    weights_source kind;
    TRY(probe(&kind, path, name, error));
    if (kind.kind == WEIGHTS_SOURCE_GPZM) {
        say(error, "%s: is a model file already", path);
        return FAIL(GPUZIP_ERR_ARGUMENT);
    }
    return import_path(data, size, path, &kind, options, error);
}

/* Says why a model file was not opened. io: the description of errno. */
static const char *why_closed(gpuzip_status status, const char *io)
{
    switch (status) {
    case GPUZIP_ERR_UNSUPPORTED:
        return "made by another version of gpuzip; import the model again";
    case GPUZIP_ERR_MEMORY:
        return "too little memory for the model";
    case GPUZIP_ERR_IO:
        return io;
    case GPUZIP_ERR_FORMAT:
        return "not a model file";
    default:
        return "the model file is damaged; get or import it anew";
    }
}

gpuzip_status checkpoint_open(checkpoint *s, const char *name, const gpuzip_import_options *options,
                              char error[CHECKPOINT_ERROR_BYTES])
{
    gpuzip_status status = GPUZIP_OK;
    checkpoint opened = {0};
    char path[GPUZIP_PATH_BYTES] = "the built-in model";
    weights_source kind;
    size_t size;
    if (!name) {
        TRY_OUT(weights_open_memory(&opened.weights, builtin_model, builtin_model_size));
        goto out;
    }
    TRY(probe(&kind, path, name, error));
    if (kind.kind == WEIGHTS_SOURCE_GPZM) {
        status = weights_open(&opened.weights, path);
    } else {
        TRY(import_path(&opened.data, &size, path, &kind, options, error));
        status = weights_open_memory(&opened.weights, opened.data, size);
    }
out:
    if (status != GPUZIP_OK) {
        say(error, "%s: %s", path, why_closed(status, strerror(errno)));
        checkpoint_close(&opened);
        return status;
    }
    *s = opened;
    return GPUZIP_OK;
}

void checkpoint_close(checkpoint *s)
{
    weights_close(s->weights);
    free(s->data);
    *s = (checkpoint){0};
}
