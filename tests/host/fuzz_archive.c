/* fuzz_archive.c: any bytes as an archive that is read in any order; and a good archive of two
 * frames with a few bytes changed and the check of its index made right, whose content must come
 * out or an error. */
#include "container.h"
#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define TEXT_BYTES 900
#define FILE_MAX   4000

static gpuzip *gz;
static uint8_t text[TEXT_BYTES], good[FILE_MAX];
static size_t good_size, index_size; /* of the last frame's index */

typedef struct {
    const uint8_t *data; /* [size] */
    size_t size;
} bytes;

static int read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    const bytes *b = context;
    if (offset > b->size)
        abort();
    size_t left = b->size - (size_t)offset;
    *got = size < left ? size : left;
    if (*got)
        memcpy(data, b->data + offset, *got);
    return 0;
}

/* Reads at some places. text: of the content, or NULL where it is not known. */
static void use(const uint8_t *data, size_t size, const uint8_t *content)
{
    bytes b = {data, size};
    const gpuzip_source source = {.context = &b, .read_at = read_at, .size = size};
    gpuzip_archive *a;
    gpuzip_block block;
    uint8_t part[50];
    size_t got;
    if (gpuzip_archive_open(&a, gz, &source) != GPUZIP_OK)
        return;
    uint64_t blocks = gpuzip_archive_blocks(a), whole = gpuzip_archive_size(a);
    for (uint64_t i = 0; i < blocks && i < 8; i++) {
        if (gpuzip_archive_block(a, blocks - 1 - i, &block) != GPUZIP_OK ||
            block.offset + block.size > size || block.content_offset + block.content_size > whole)
            abort();
        uint64_t at = block.content_offset;
        if (gpuzip_archive_read(gz, a, at, part, sizeof part, &got) != GPUZIP_OK)
            continue;
        if (got != (whole - at < sizeof part ? whole - at : sizeof part))
            abort();
        if (content && (at + got > TEXT_BYTES || memcmp(part, content + at, got) != 0))
            abort();
    }
    gpuzip_archive_close(a);
}

static void add_frame(size_t begin, size_t end, size_t block_size)
{
    gpuzip_options options = {.window = 16,
                              .hop = 16,
                              .block_size = block_size,
                              .no_verify = true,
                              .experts = 1,
                              .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}}};
    memory_io io = {.in = text + begin, .in_size = end - begin};
    gpuzip_io callbacks = memory_callbacks(&io);
    if (gpuzip_compress_stream(gz, &options, &callbacks, NULL) ||
        good_size + io.out_size > FILE_MAX)
        abort();
    memcpy(good + good_size, io.out, io.out_size);
    good_size += io.out_size;
    free(io.out);
}

static void open_all(void)
{
    tiny_checkpoint tiny;
    container_index index;
    tiny_open(&tiny);
    if (gpuzip_open(&gz, "cpu", 1, NULL) || gpuzip_add_model(gz, tiny.model, NULL))
        abort();
    tiny_close(&tiny);
    for (size_t i = 0; i < TEXT_BYTES; i++)
        text[i] = (uint8_t) "aab bab"[(i * i + i / 100) % 7];
    add_frame(0, 300, 100);
    add_frame(300, TEXT_BYTES, 150);
    if (container_read_index(&index, good, good_size))
        abort();
    index_size = index.size;
}

/* The good archive with changes, three bytes each: a place from the end (two bytes), a value. */
static void use_changed(const uint8_t *data, size_t size)
{
    uint8_t file[FILE_MAX];
    memcpy(file, good, good_size);
    for (; size >= 3; data += 3, size -= 3) {
        size_t from_end = (size_t)(data[0] | data[1] << 8) % good_size;
        file[good_size - 1 - from_end] = data[2];
    }
    uint8_t *check = file + good_size - 14;
    uint32_t value = container_check(file + good_size - index_size, index_size - 14);
    for (int i = 0; i < 4; i++)
        check[i] = (uint8_t)(value >> (8 * i));
    use(file, good_size, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!gz)
        open_all();
    use(data, size, NULL);
    use_changed(data, size);
    return 0;
}
