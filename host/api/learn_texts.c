/* learn_texts.c: gpuzip_learn_texts(), which gives a model the n-grams of texts. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ngrams_build.h"
#include "session.h"

#define TEXT_MAX ((size_t)1 << 26) /* bytes; longer texts are cut */

static_assert(NGRAMS_BUCKET == WEIGHTS_NGRAM_BUCKET && NGRAMS_BUCKETS == WEIGHTS_MAX_NGRAMS,
              "host/ngrams.h and the model file agree");

/* Tokens of texts, NGRAMS_BREAK after each. */
typedef struct {
    const tokenizer *t;
    uint32_t *token; /* [room] */
    size_t tokens, room;
} collection;

static gpuzip_status add_text(collection *c, const uint8_t *text, size_t size)
{
    gpuzip_status status = GPUZIP_OK;
    uint32_t *ids = NULL;
    size_t count;
    if (size == 0)
        return GPUZIP_OK;
    TRY(tokenizer_encode(c->t, text, size, &ids, &count));
    if (c->room - c->tokens < count + 1) {
        size_t room = c->room + c->room / 2 + count + 1;
        uint32_t *token = realloc(c->token, room * sizeof *token);
        if (!token)
            TRY_OUT(GPUZIP_ERR_MEMORY);
        c->token = token;
        c->room = room;
    }
    memcpy(c->token + c->tokens, ids, count * sizeof *ids);
    c->tokens += count;
    c->token[c->tokens++] = NGRAMS_BREAK;
out:
    free(ids);
    return status;
}

/* The texts of a file, which NUL bytes part. */
static gpuzip_status add_texts(collection *c, const uint8_t *text, size_t size)
{
    while (size > 0) {
        const uint8_t *end = memchr(text, 0, size);
        size_t whole = end ? (size_t)(end - text) : size;
        size_t length = whole < TEXT_MAX ? whole : TEXT_MAX;
        TRY(add_text(c, text, length));
        length += end && length == whole;
        text += length;
        size -= length;
    }
    return GPUZIP_OK;
}

static gpuzip_status add_file(collection *c, const char *path)
{
    gpuzip_status status = GPUZIP_OK;
    struct stat st;
    void *map = MAP_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        errno = fd < 0 ? errno : EINVAL;
        TRY_OUT(GPUZIP_ERR_IO);
    }
    if (st.st_size == 0)
        goto out;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        TRY_OUT(GPUZIP_ERR_IO);
    status = add_texts(c, map, (size_t)st.st_size);
out:
    if (map != MAP_FAILED)
        munmap(map, (size_t)st.st_size);
    if (fd >= 0)
        close(fd);
    return status;
}

/* Writes the model with a table of the tokens. */
static gpuzip_status write_model(const weights_model *m, const collection *c, uint32_t buckets,
                                 const char *path)
{
    gpuzip_status status = GPUZIP_OK;
    size_t size = (size_t)m->file_size;
    uint32_t *entry = calloc((size_t)buckets * NGRAMS_BUCKET, sizeof *entry);
    void *data = aligned_alloc(64, (size + 63) & ~(size_t)63);
    if (!entry || !data)
        TRY_OUT(GPUZIP_ERR_MEMORY);
    TRY_OUT(ngrams_build(entry, buckets, (uint32_t)m->config.vocab, c->token, c->tokens));
    memcpy(data, m->file, size);
    TRY_OUT(weights_set_ngrams(&data, &size, entry, buckets));
    status = weights_write(path, data, size);
out:
    free(entry);
    free(data);
    return status;
}

gpuzip_status gpuzip_learn_texts(gpuzip *gz, int model, const char *const *text, int texts,
                                 uint64_t bytes, const char *dst_path)
{
    gpuzip_status status = GPUZIP_OK;
    uint64_t buckets = bytes / (NGRAMS_BUCKET * sizeof(uint32_t));
    gz->error[0] = '\0';
    if (model < 0 || model >= gz->models || texts < 1)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    if (buckets < 1 || buckets > NGRAMS_BUCKETS)
        return session_fail(gz, GPUZIP_ERR_ARGUMENT, "n-grams take 64 bytes to 4 GiB");
    collection c = {.t = gz->model[model].t};
    for (int i = 0; i < texts; i++) {
        status = add_file(&c, text[i]);
        if (status != GPUZIP_OK) {
            session_fail(gz, status, "%s: %s", text[i],
                         status == GPUZIP_ERR_IO ? "cannot be read as a file"
                                                 : "too little memory");
            goto out;
        }
    }
    session_note(gz, GPUZIP_NOTE_DETAIL, "%zu tokens; about %.1f GiB of memory are needed",
                 c.tokens, 30.0 * (double)c.tokens / (1 << 30));
    status = write_model(gz->model[model].file.weights, &c, (uint32_t)buckets, dst_path);
    if (status == GPUZIP_ERR_IO)
        session_fail(gz, status, "%s: cannot be written: %s", dst_path, strerror(errno));
    else if (status == GPUZIP_ERR_MEMORY)
        session_fail(gz, status, "%zu tokens take about %.1f GiB of memory; use less text",
                     c.tokens, 30.0 * (double)c.tokens / (1 << 30));
out:
    free(c.token);
    return status;
}
