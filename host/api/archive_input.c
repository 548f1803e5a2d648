/* archive_input.c: see archive_input.h. Input may be hostile: container_read_*() check it, and
 * memory is bounded before it is taken. */
#include "archive_input.h"

#include <stdlib.h>
#include <string.h>

#define PADDING_PART 4096 /* bytes of padding looked at together */

/* Reads until `size` bytes are there or the input ends. */
gpuzip_status archive_fill(archive_input *in, size_t size)
{
    if (in->first + size > in->capacity) {
        size_t have = in->end - in->first;
        if (size > in->capacity) {
            uint8_t *grown = malloc(size);
            if (!grown)
                return FAIL(GPUZIP_ERR_MEMORY);
            if (have)
                memcpy(grown, in->data + in->first, have);
            free(in->data);
            in->data = grown;
            in->capacity = size;
        } else {
            memmove(in->data, in->data + in->first, have);
        }
        in->first = 0;
        in->end = have;
    }
    while (in->end - in->first < size && !in->ended) {
        size_t got;
        if (in->io->read(in->io->context, in->data + in->end, size - (in->end - in->first), &got))
            return FAIL(GPUZIP_ERR_IO);
        in->end += got;
        in->bytes_in += got;
        in->ended = got == 0;
    }
    return GPUZIP_OK;
}

size_t archive_have(const archive_input *in, size_t wanted)
{
    size_t have = in->end - in->first;
    return have < wanted ? have : wanted;
}

/* Sets the text for a frame header of another format version. */
static gpuzip_status fail_version(gpuzip *gz, int version)
{
    if (version < CONTAINER_VERSION)
        return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                            "a .gpz file of format version %d, and this program reads version %d "
                            "only: decompress it with the program that made it, then compress the "
                            "result again",
                            version, CONTAINER_VERSION);
    if (version > CONTAINER_VERSION)
        return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                            "made by a newer version of gpuzip: a .gpz file of format version %d, "
                            "and this program reads version %d only",
                            version, CONTAINER_VERSION);
    return FAIL(GPUZIP_ERR_UNSUPPORTED);
}

/* Reads the frame header that comes next. */
gpuzip_status archive_frame(gpuzip *gz, archive_input *in, container_frame *frame)
{
    size_t size;
    TRY(archive_fill(in, CONTAINER_FRAME_PREFIX));
    TRY(container_peek_frame(in->data + in->first, archive_have(in, CONTAINER_FRAME_PREFIX),
                             &size));
    TRY(archive_fill(in, size));
    gpuzip_status status =
        container_read_frame(frame, in->data + in->first, archive_have(in, size));
    if (status == GPUZIP_ERR_UNSUPPORTED)
        return fail_version(gz, container_frame_version(in->data + in->first));
    TRY(status);
    in->first += size;
    return GPUZIP_OK;
}

/* Reads the beginning of the next block or end mark. */
gpuzip_status archive_prefix(archive_input *in, container_prefix *prefix)
{
    TRY(archive_fill(in, CONTAINER_BLOCK_PREFIX));
    return container_peek_block(prefix, in->data + in->first,
                                archive_have(in, CONTAINER_BLOCK_PREFIX));
}

gpuzip_status archive_end(archive_input *in, size_t size, container_end *end)
{
    TRY(archive_fill(in, size));
    TRY(container_read_end(end, in->data + in->first, archive_have(in, size)));
    in->first += size;
    return GPUZIP_OK;
}

gpuzip_status archive_more(archive_input *in, bool *more)
{
    TRY(archive_fill(in, 1));
    bool zeros = in->end > in->first && in->data[in->first] == 0;
    while (zeros && in->end > in->first) {
        size_t have = archive_have(in, PADDING_PART);
        for (size_t i = 0; i < have; i++)
            if (in->data[in->first + i] != 0)
                return FAIL(GPUZIP_ERR_FORMAT); /* archive_fail() says that it follows the end */
        in->first += have;
        TRY(archive_fill(in, PADDING_PART));
    }
    *more = in->end > in->first;
    return GPUZIP_OK;
}

gpuzip_status archive_fail(gpuzip *gz, gpuzip_status status, uint64_t frames)
{
    if (status == GPUZIP_OK || gz->error[0])
        return status;
    switch (status) {
    case GPUZIP_ERR_FORMAT:
        if (frames)
            return session_fail(gz, GPUZIP_ERR_CORRUPT,
                                "bytes follow the end that are no gpuzip data");
        return session_fail(gz, status, "not a gpuzip file");
    case GPUZIP_ERR_CORRUPT:
        return session_fail(gz, status, "truncated or damaged");
    case GPUZIP_ERR_UNSUPPORTED:
        return session_fail(gz, status, "made by a newer version of gpuzip");
    case GPUZIP_ERR_IO:
        return session_fail(gz, status, "reading failed");
    case GPUZIP_ERR_MEMORY:
        return session_fail(gz, status, "not enough memory");
    default:
        return status;
    }
}

/* Goes past `size` bytes without holding them. */
gpuzip_status archive_skip(archive_input *in, size_t size)
{
    while (size) {
        size_t part = size < 65536 ? size : 65536;
        TRY(archive_fill(in, part));
        if (archive_have(in, part) < part)
            return FAIL(GPUZIP_ERR_CORRUPT);
        in->first += part;
        size -= part;
    }
    return GPUZIP_OK;
}
