/* simple.c: buffer to buffer, over the calls for streams. */
#include <string.h>

#include "container.h"
#include "gpuzip.h"
#include "status.h"

/* The smallest block of a level (compress.c), and more than a stored block's header and its entry
 * in the index. */
#define BLOCK_SIZE_MIN ((size_t)4 << 20)
#define BLOCK_HEADER   32
#define INDEX_HEADER   (CONTAINER_FRAME_BOUND + 32) /* more than an index frame without entries */

/* A buffer to read from and one to write to. */
typedef struct {
    const uint8_t *src; /* [src_size], of which src_used are read */
    size_t src_size, src_used;
    uint8_t *dst; /* [capacity], of which dst_used are written */
    size_t capacity, dst_used;
    bool full; /* dst was too small */
} memory_stream;

static int read_memory(void *context, void *data, size_t size, size_t *got)
{
    memory_stream *m = context;
    size_t left = m->src_size - m->src_used;
    *got = size < left ? size : left;
    if (*got)
        memcpy(data, m->src + m->src_used, *got);
    m->src_used += *got;
    return 0;
}

static int write_memory(void *context, const void *data, size_t size)
{
    memory_stream *m = context;
    m->full = size > m->capacity - m->dst_used;
    if (m->full)
        return 1;
    if (size)
        memcpy(m->dst + m->dst_used, data, size);
    m->dst_used += size;
    return 0;
}

static gpuzip_io io_of(memory_stream *m)
{
    return (gpuzip_io){.context = m, .read = read_memory, .write = write_memory};
}

/* The status of a call over m; sets *size. */
static gpuzip_status finish(const memory_stream *m, gpuzip_status status, size_t *size)
{
    if (status == GPUZIP_ERR_IO && m->full)
        return FAIL(GPUZIP_ERR_CAPACITY);
    TRY(status);
    *size = m->dst_used;
    return GPUZIP_OK;
}

size_t gpuzip_compress_bound(size_t size)
{
    return size + (size / BLOCK_SIZE_MIN + 1) * BLOCK_HEADER + CONTAINER_FRAME_BOUND +
           CONTAINER_END_MAX + INDEX_HEADER;
}

gpuzip_status gpuzip_compress_buffer(gpuzip *gz, const gpuzip_options *options, void *dst,
                                     size_t capacity, size_t *size, const void *src,
                                     size_t src_size)
{
    memory_stream m = {.src = src, .src_size = src_size, .dst = dst, .capacity = capacity};
    const gpuzip_io io = io_of(&m);
    return finish(&m, gpuzip_compress_stream(gz, options, &io, NULL), size);
}

gpuzip_status gpuzip_decompress_buffer(gpuzip *gz, void *dst, size_t capacity, size_t *size,
                                       const void *src, size_t src_size)
{
    memory_stream m = {.src = src, .src_size = src_size, .dst = dst, .capacity = capacity};
    const gpuzip_io io = io_of(&m);
    return finish(&m, gpuzip_decompress_stream(gz, &io, NULL), size);
}

/* Opens a session with the built-in model. */
static gpuzip_status open_builtin(gpuzip **gz)
{
    TRY(gpuzip_open(gz, NULL, 0, NULL));
    gpuzip_status status = gpuzip_add_model(*gz, NULL, NULL);
    if (status != GPUZIP_OK)
        gpuzip_close(*gz);
    return status;
}

gpuzip_status gpuzip_compress(void *dst, size_t capacity, size_t *size, const void *src,
                              size_t src_size, int level)
{
    gpuzip *gz;
    gpuzip_options options;
    gpuzip_init_options(&options);
    options.level = level;
    TRY(open_builtin(&gz));
    gpuzip_status status = gpuzip_compress_buffer(gz, &options, dst, capacity, size, src, src_size);
    gpuzip_close(gz);
    return status;
}

gpuzip_status gpuzip_decompress(void *dst, size_t capacity, size_t *size, const void *src,
                                size_t src_size)
{
    gpuzip *gz;
    TRY(open_builtin(&gz));
    gpuzip_status status = gpuzip_decompress_buffer(gz, dst, capacity, size, src, src_size);
    gpuzip_close(gz);
    return status;
}

gpuzip_status gpuzip_content_size(const void *src, size_t src_size, uint64_t *size)
{
    memory_stream m = {.src = src, .src_size = src_size};
    const gpuzip_io io = io_of(&m);
    gpuzip *gz;
    gpuzip_info info;
    TRY(gpuzip_open(&gz, "cpu", 1, NULL)); /* peeking computes nothing */
    gpuzip_status status = gpuzip_peek(gz, &io, &info);
    gpuzip_close(gz);
    if (status == GPUZIP_OK)
        *size = info.size;
    return status;
}
