/* weights.c: opens a .gpzm file or its bytes. */
#include "weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weights_format.h"

/* A model with its mapping; weights_close() finds it from the model, its first member. */
typedef struct {
    weights_model model;
    void *copy; /* a small file's bytes, or NULL */
    void *map;  /* [map_size] a large file's, or NULL. Both NULL: the bytes are the caller's */
    size_t map_size;
} opened_model;

/* Files up to this size are read, not mapped: a change of the file or its shortening then does not
 * reach a process that has checked it, and 24 MB are read in 5 ms. A larger model is worth sharing
 * its pages with other processes. */
#define READ_MAX ((size_t)256 << 20)

/* Fills *model from the bytes of a file. On failure its layers may be allocated. */
static gpuzip_status parse(weights_model *model, const uint8_t *data, size_t size)
{
    uint32_t flags;
    TRY(format_read_header(model, &flags, data, size));
    if (model->file_size != size || !format_check_valid(data, size))
        return FAIL(GPUZIP_ERR_CORRUPT);
    model->checked = format_is_checked(data);
    model->layer = calloc((size_t)model->config.layers, sizeof *model->layer);
    if (!model->layer)
        return FAIL(GPUZIP_ERR_MEMORY);
    /* Only a file of exactly this size is touched beyond its header. */
    if (format_layout(model, flags, NULL) != size)
        return FAIL(GPUZIP_ERR_CORRUPT);
    format_layout(model, flags, data);
    model->file = data;
    if (!format_pad_is_zero(model, flags, data))
        return FAIL(GPUZIP_ERR_CORRUPT);
    TRY(weights_check(model, NULL));
    format_compute_id(model->id, data, size);
    return GPUZIP_OK;
}

gpuzip_status weights_open_memory(weights_model **model, const void *data, size_t size)
{
    gpuzip_status status = GPUZIP_OK;
    if ((uintptr_t)data % FORMAT_ALIGN != 0)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    opened_model *opened = calloc(1, sizeof *opened);
    if (!opened)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY_OUT(parse(&opened->model, data, size));
    *model = &opened->model;
    opened = NULL;
out:
    weights_close(opened ? &opened->model : NULL);
    return status;
}

/* Reads a file of `size` bytes to *data, 64-byte aligned; the caller frees it. Errors: MEMORY; IO,
 * with errno. */
static gpuzip_status read_all(void **data, int fd, size_t size)
{
    uint8_t *bytes =
        aligned_alloc(FORMAT_ALIGN, (size + FORMAT_ALIGN - 1) / FORMAT_ALIGN * FORMAT_ALIGN);
    if (!bytes)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, bytes + at, size - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? EIO : errno; /* 0: it was shortened meanwhile */
            free(bytes);
            return FAIL(GPUZIP_ERR_IO);
        }
        at += (size_t)got;
    }
    *data = bytes;
    return GPUZIP_OK;
}

gpuzip_status weights_open(weights_model **model, const char *path)
{
    gpuzip_status status = GPUZIP_OK;
    void *copy = NULL, *map = MAP_FAILED;
    size_t size = 0;
    struct stat st;
    weights_model *m;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        status = FAIL(GPUZIP_ERR_IO);
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        status = FAIL(GPUZIP_ERR_FORMAT);
        goto out;
    }
    size = (size_t)st.st_size;
    if (size <= READ_MAX) {
        TRY_OUT(read_all(&copy, fd, size));
    } else if ((map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
        status = FAIL(GPUZIP_ERR_IO);
        goto out;
    }
    TRY_OUT(weights_open_memory(&m, copy ? copy : map, size));
    opened_model *opened = (opened_model *)m;
    opened->copy = copy;
    opened->map = copy ? NULL : map;
    opened->map_size = size;
    *model = m;
    copy = NULL;
    map = MAP_FAILED;
out:
    free(copy);
    if (map != MAP_FAILED)
        munmap(map, size);
    if (fd >= 0)
        close(fd);
    return status;
}

void weights_close(weights_model *model)
{
    if (!model)
        return;
    opened_model *opened = (opened_model *)model;
    free(model->layer);
    free(opened->copy);
    if (opened->map)
        munmap(opened->map, opened->map_size);
    free(opened);
}
