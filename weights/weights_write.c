/* weights_write.c: adds test vectors and n-grams to a model file, and puts one on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weights_format.h"

/* Writes anew the first `keep` bytes of *data, with the header of *changed and a last section of
 * `added` bytes. */
static gpuzip_status append(void **data, size_t *size, size_t keep, weights_model *changed,
                            uint32_t flags, const void *section, size_t added)
{
    changed->file_size = format_layout(changed, flags, NULL);
    uint8_t *bytes = aligned_alloc(FORMAT_ALIGN, changed->file_size);
    if (!bytes)
        return FAIL(GPUZIP_ERR_MEMORY);
    memcpy(bytes, *data, keep);
    memcpy(bytes + keep, section, added);
    memset(bytes + keep + added, 0, changed->file_size - keep - added);
    format_write_header(bytes, changed, flags);
    free(*data);
    *data = bytes;
    *size = changed->file_size;
    return GPUZIP_OK;
}

gpuzip_status weights_set_test(void **data, size_t *size, const uint32_t *token, int tests,
                               uint64_t hash)
{
    gpuzip_status status = GPUZIP_OK;
    weights_model *model;
    TRY(weights_open_memory(&model, *data, *size));

    uint32_t flags;
    weights_model with_test = *model; /* shares the layers */
    TRY_OUT(format_read_header(&with_test, &flags, *data, *size));
    with_test.tests = tests;
    with_test.test_hash = hash;
    bool valid = model->tests == 0 && model->ngram_buckets == 0 && tests > 0 &&
                 format_config_valid(&with_test, flags);
    for (int i = 0; valid && i < tests; i++)
        valid = token[i] < (uint32_t)model->config.vocab;
    if (!valid) {
        status = FAIL(GPUZIP_ERR_ARGUMENT);
        goto out;
    }
    status = append(data, size, *size, &with_test, flags, token, (size_t)tests * sizeof *token);
out:
    weights_close(model);
    return status;
}

gpuzip_status weights_set_ngrams(void **data, size_t *size, const uint32_t *ngrams,
                                 uint32_t buckets)
{
    gpuzip_status status = GPUZIP_OK;
    weights_model *model;
    TRY(weights_open_memory(&model, *data, *size));

    uint32_t flags;
    weights_model changed = *model; /* shares the layers */
    TRY_OUT(format_read_header(&changed, &flags, *data, *size));
    changed.ngram_buckets = 0;
    size_t keep = format_layout(&changed, flags, NULL);
    changed.ngram_buckets = buckets;
    if (!buckets || !format_config_valid(&changed, flags)) {
        status = FAIL(GPUZIP_ERR_ARGUMENT);
        goto out;
    }
    status = append(data, size, keep, &changed, flags, ngrams,
                    (size_t)buckets * WEIGHTS_NGRAM_BUCKET * sizeof *ngrams);
out:
    weights_close(model);
    return status;
}

/* Creates a file of a new name beside path. Returns its descriptor, or -1; *name
 * is malloc'd and the caller's either way. */
static int create_beside(const char *path, char **name)
{
    size_t size = strlen(path) + 32;
    *name = malloc(size);
    if (!*name)
        return -1;
    int fd = -1;
    errno = EEXIST;
    for (int i = 0; i < 100 && fd < 0 && errno == EEXIST; i++) {
        snprintf(*name, size, "%s.%ld-%d.part", path, (long)getpid(), i);
        fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    return fd;
}

static bool write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

gpuzip_status weights_write(const char *path, const void *data, size_t size)
{
    char *name = NULL;
    uint8_t header[FORMAT_HEADER];
    size_t sealed = format_seal(header, data, size) ? sizeof header : 0;
    int fd = create_beside(path, &name);
    bool created = fd >= 0;
    bool good = created && write_all(fd, header, sealed) &&
                write_all(fd, (const uint8_t *)data + sealed, size - sealed) && fsync(fd) == 0;
    if (created)
        good = close(fd) == 0 && good;
    good = good && rename(name, path) == 0;
    int error = errno;
    if (created && !good)
        unlink(name);
    free(name);
    errno = error;
    return good ? GPUZIP_OK : FAIL(GPUZIP_ERR_IO);
}
