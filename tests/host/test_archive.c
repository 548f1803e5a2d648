/* test_archive.c: archives read in any order: every part of the content is right, by the index and
 * without it; only the blocks that have it are decoded; an index that lies is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "container.h"
#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define TEXT_BYTES 3000
#define BLOCK_SIZE 250
#define BLOCKS     12

static tiny_checkpoint tiny;
static gpuzip *gz;
static uint8_t text[TEXT_BYTES];

/* An archive in memory; the bytes and calls that were read are counted. */
typedef struct {
    uint8_t *data; /* [size], malloc() */
    size_t size;
    size_t read, calls, fail_after; /* 0: never */
} memory_archive;

static int read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    memory_archive *m = context;
    if (++m->calls == m->fail_after)
        return -1;
    assert_true(offset <= m->size);
    size_t left = m->size - (size_t)offset;
    *got = size < left ? size : left;
    *got = *got > 1000 ? 1000 : *got; /* in portions */
    memcpy(data, m->data + offset, *got);
    m->read += *got;
    return 0;
}

static gpuzip_source source_of(memory_archive *m)
{
    m->read = m->calls = 0;
    return (gpuzip_source){.context = m, .read_at = read_at, .size = m->size};
}

static const gpuzip_options settings = {.window = 16,
                                        .hop = 8,
                                        .streams = 2,
                                        .block_size = BLOCK_SIZE,
                                        .no_verify = true,
                                        .no_packing = true,
                                        .experts = 1,
                                        .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}}};

/* Adds an archive of text[begin, end) behind m. */
static void append(memory_archive *m, size_t begin, size_t end, gpuzip_index index,
                   size_t block_size)
{
    gpuzip_options options = settings;
    options.index = index;
    options.block_size = block_size;
    memory_io io = {.in = text + begin, .in_size = end - begin};
    gpuzip_io callbacks = memory_callbacks(&io);
    assert_int_equal(gpuzip_compress_stream(gz, &options, &callbacks, NULL), GPUZIP_OK);
    m->data = realloc(m->data, m->size + io.out_size);
    assert_non_null(m->data);
    memcpy(m->data + m->size, io.out, io.out_size);
    m->size += io.out_size;
    free(io.out);
}

static void open_archive(gpuzip_archive **a, memory_archive *m)
{
    const gpuzip_source source = source_of(m);
    assert_int_equal(gpuzip_archive_open(a, gz, &source), GPUZIP_OK);
}

/* Reads a range in the three ways. */
static void check_range(memory_archive *m, gpuzip_archive *a, size_t offset, size_t length)
{
    uint8_t data[TEXT_BYTES + 100];
    size_t got, wanted = offset + length < TEXT_BYTES ? length : TEXT_BYTES - offset;
    assert_int_equal(gpuzip_archive_read(gz, a, offset, data, length, &got), GPUZIP_OK);
    assert_int_equal(got, wanted);
    assert_memory_equal(data, text + offset, wanted);

    memory_io io = {0}, piped = {.in = m->data, .in_size = m->size};
    gpuzip_io callbacks = memory_callbacks(&io);
    gpuzip_stats stats;
    assert_int_equal(gpuzip_archive_extract(gz, a, offset, length, &callbacks, &stats), GPUZIP_OK);
    assert_int_equal(io.out_size, wanted);
    if (wanted)
        assert_memory_equal(io.out, text + offset, wanted);
    assert_int_equal(stats.bytes_out, wanted);
    free(io.out);

    uint64_t blocks = stats.blocks;
    callbacks = memory_callbacks(&piped);
    assert_int_equal(gpuzip_decompress_range(gz, &callbacks, offset, length, &stats), GPUZIP_OK);
    assert_int_equal(piped.out_size, wanted);
    if (wanted)
        assert_memory_equal(piped.out, text + offset, wanted);
    if (wanted)
        assert_int_equal(stats.blocks, blocks);
    free(piped.out);
}

static void check_table(const gpuzip_archive *a, const memory_archive *m)
{
    uint64_t content = 0, end = 0, blocks = gpuzip_archive_blocks(a);
    gpuzip_block block;
    assert_int_equal(gpuzip_archive_size(a), TEXT_BYTES);
    for (uint64_t i = 0; i < blocks; i++) {
        assert_int_equal(gpuzip_archive_block(a, i, &block), GPUZIP_OK);
        assert_int_equal(block.content_offset, content);
        assert_true(block.offset > end);
        assert_int_equal(m->data[block.offset], block.kind);
        content += block.content_size;
        end = block.offset + block.size - 1;
    }
    assert_int_equal(content, TEXT_BYTES);
    assert_true(end < m->size);
    assert_int_equal(gpuzip_archive_block(a, blocks, &block), GPUZIP_ERR_ARGUMENT);
}

/* Archives of the text with and without indexes, and both. */
enum { SHAPES = 8 };

static void make_shape(memory_archive *m, int shape)
{
    static const gpuzip_index alone[4] = {GPUZIP_INDEX_AUTO, GPUZIP_INDEX_NEVER,
                                          GPUZIP_INDEX_ALWAYS, GPUZIP_INDEX_AUTO};
    *m = (memory_archive){0};
    if (shape < 4) {
        append(m, 0, TEXT_BYTES, alone[shape], BLOCK_SIZE);
    } else if (shape <
               7) { /* three frames, of which the last, the middle or the first has no index */
        append(m, 0, 700, shape == 6 ? GPUZIP_INDEX_NEVER : GPUZIP_INDEX_ALWAYS, BLOCK_SIZE);
        append(m, 700, 900, shape == 5 ? GPUZIP_INDEX_AUTO : GPUZIP_INDEX_ALWAYS, BLOCK_SIZE);
        append(m, 900, 900, GPUZIP_INDEX_ALWAYS, BLOCK_SIZE);
        append(m, 900, TEXT_BYTES, shape == 4 ? GPUZIP_INDEX_NEVER : GPUZIP_INDEX_ALWAYS,
               BLOCK_SIZE);
        append(m, TEXT_BYTES, TEXT_BYTES, GPUZIP_INDEX_AUTO, BLOCK_SIZE);
    } else { /* 1000 blocks: three index frames; then 480: one that is full */
        append(m, 0, 1560, GPUZIP_INDEX_AUTO, 3);
        append(m, 1560, TEXT_BYTES, GPUZIP_INDEX_AUTO, 3);
    }
    if (shape == 3) { /* padding */
        m->data = realloc(m->data, m->size + 9000);
        memset(m->data + m->size, 0, 9000);
        m->size += 9000;
    }
}

static void every_part_is_right(void **state)
{
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        memory_archive m;
        gpuzip_archive *a;
        size_t got = 1;
        make_shape(&m, shape);
        open_archive(&a, &m);
        check_table(a, &m);
        check_range(&m, a, 0, TEXT_BYTES);
        check_range(&m, a, 0, 0);
        check_range(&m, a, TEXT_BYTES, 5);
        check_range(&m, a, TEXT_BYTES - 1, 50);
        for (size_t offset = 1; offset < TEXT_BYTES; offset += 433)
            check_range(&m, a, offset, offset * offset % 600);
        assert_int_equal(gpuzip_archive_read(gz, a, TEXT_BYTES + 9, &got, 1, &got), GPUZIP_OK);
        assert_int_equal(got, 0);
        gpuzip_io none = {0};
        assert_int_equal(gpuzip_archive_extract(gz, a, TEXT_BYTES + 1, 1, &none, NULL),
                         GPUZIP_ERR_ARGUMENT);
        memory_io piped = {.in = m.data, .in_size = m.size};
        gpuzip_io callbacks = memory_callbacks(&piped);
        assert_int_equal(gpuzip_decompress_range(gz, &callbacks, TEXT_BYTES + 1, 1, NULL),
                         GPUZIP_ERR_ARGUMENT);
        assert_int_equal(piped.out_size, 0);
        gpuzip_archive_close(a);
        free(m.data);
    }
}

/* Places in no order, as a program reads records. */
static void a_hundred_places(void **state)
{
    (void)state;
    memory_archive m;
    gpuzip_archive *a;
    uint64_t random = 7;
    make_shape(&m, 4);
    open_archive(&a, &m);
    for (int i = 0; i < 100; i++) {
        uint8_t data[300];
        size_t got;
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t offset = (size_t)(random >> 33) % (TEXT_BYTES - sizeof data);
        size_t size = (size_t)(random >> 20) % sizeof data;
        assert_int_equal(gpuzip_archive_read(gz, a, offset, data, size, &got), GPUZIP_OK);
        assert_int_equal(got, size);
        if (size)
            assert_memory_equal(data, text + offset, size);
    }
    gpuzip_archive_close(a);
    free(m.data);
}

/* A range inside a block costs this block, and of all others at most their first bytes. */
static void one_block_is_decoded(void **state)
{
    (void)state;
    memory_archive m = {0};
    gpuzip_archive *a;
    gpuzip_stats stats;
    gpuzip_block block;
    uint8_t data[20];
    size_t got;
    append(&m, 0, TEXT_BYTES, GPUZIP_INDEX_AUTO, BLOCK_SIZE);
    open_archive(&a, &m);
    assert_true(m.read <= CONTAINER_INDEX_MAX); /* the index, without a look at the blocks */
    assert_int_equal(gpuzip_archive_blocks(a), BLOCKS);

    memory_io io = {0};
    gpuzip_io callbacks = memory_callbacks(&io);
    assert_int_equal(gpuzip_archive_extract(gz, a, 1600, 20, &callbacks, &stats), GPUZIP_OK);
    assert_int_equal(stats.blocks, 1);
    free(io.out);
    io = (memory_io){0};
    assert_int_equal(gpuzip_archive_extract(gz, a, 1490, 20, &callbacks, &stats), GPUZIP_OK);
    assert_int_equal(stats.blocks, 2);
    free(io.out);

    assert_int_equal(gpuzip_archive_block(a, 6, &block), GPUZIP_OK);
    m.read = 0;
    assert_int_equal(gpuzip_archive_read(gz, a, 1600, data, 20, &got), GPUZIP_OK);
    assert_true(m.read < block.size + 60u); /* it, and the frame's header */
    m.read = 0;
    assert_int_equal(gpuzip_archive_read(gz, a, 1700, data, 20, &got), GPUZIP_OK);
    assert_int_equal(m.read, 0); /* the same block again */
    assert_memory_equal(data, text + 1700, 20);
    gpuzip_archive_close(a);
    free(m.data);
}

/* Reads at every place; each result is an error or right. Returns the number of errors. */
static int count_errors(memory_archive *m)
{
    gpuzip_archive *a;
    int errors = 0;
    const gpuzip_source source = source_of(m);
    if (gpuzip_archive_open(&a, gz, &source) != GPUZIP_OK) {
        assert_true(gpuzip_error(gz)[0] != '\0');
        return 1;
    }
    for (size_t offset = 40; offset < TEXT_BYTES; offset += 740) {
        uint8_t data[30];
        size_t got;
        if (gpuzip_archive_read(gz, a, offset, data, sizeof data, &got) != GPUZIP_OK) {
            assert_true(gpuzip_error(gz)[0] != '\0');
            errors++;
        } else if (got < sizeof data) {
            errors++; /* the table is shorter */
        } else {
            assert_memory_equal(data, text + offset, got);
        }
    }
    gpuzip_archive_close(a);
    return errors;
}

/* An index with right checks whose entries are wrong. */
static void a_lying_index_is_an_error(void **state)
{
    (void)state;
    memory_archive m = {0};
    container_index *index = malloc(sizeof *index);
    container_frame frame;
    size_t head, size;
    append(&m, 0, TEXT_BYTES, GPUZIP_INDEX_AUTO, BLOCK_SIZE);
    assert_int_equal(container_read_index(index, m.data, m.size), GPUZIP_OK);
    size_t without = m.size - index->size;
    assert_int_equal(container_peek_frame(m.data, m.size, &head), GPUZIP_OK);
    assert_int_equal(container_read_frame(&frame, m.data, head), GPUZIP_OK);
    m.data = realloc(m.data, without + CONTAINER_INDEX_MAX);
    for (int lie = 0; lie < 6; lie++) {
        container_entry entry[BLOCKS];
        uint32_t blocks = BLOCKS, head_size = (uint32_t)head;
        memcpy(entry, index->entry, sizeof entry);
        if (lie == 0) { /* content that moves from block to block; sums are right */
            entry[0].raw_size -= 5;
            entry[1].raw_size += 5;
        } else if (lie == 1) {
            entry[2].size -= 1;
            entry[3].size += 1;
        } else if (lie == 2) {
            entry[2].kind = CONTAINER_PACKED;
        } else if (lie == 3) { /* one block less; the frame would begin in itself */
            blocks--;
        } else if (lie == 4) {
            entry[0].size += 10;
            head_size -= 10;
        } else {
            head_size += 400; /* before the beginning */
        }
        assert_int_equal(container_write_index(m.data + without, CONTAINER_INDEX_MAX, &size, &frame,
                                               0, head_size, entry, blocks),
                         GPUZIP_OK);
        m.size = without + size;
        assert_true(count_errors(&m) > 0);
    }
    /* The index of another frame, and one twice. */
    assert_int_equal(container_write_index(m.data + without, CONTAINER_INDEX_MAX, &size, &frame, 0,
                                           (uint32_t)head, index->entry, index->blocks),
                     GPUZIP_OK);
    m.size = without + size;
    assert_int_equal(count_errors(&m), 0);
    m.data = realloc(m.data, without + 2 * size);
    memcpy(m.data + without + size, m.data + without, size);
    m.size = without + 2 * size;
    assert_true(count_errors(&m) > 0);
    memmove(m.data, m.data + without, size);
    m.size = size; /* alone: it begins before the archive */
    assert_true(count_errors(&m) > 0);
    free(index);
    free(m.data);
}

static void damage_is_found(void **state)
{
    (void)state;
    memory_archive m = {0};
    append(&m, 0, 1000, GPUZIP_INDEX_AUTO, BLOCK_SIZE);
    append(&m, 1000, TEXT_BYTES, GPUZIP_INDEX_AUTO, BLOCK_SIZE);
    size_t size = m.size;
    container_index *index = malloc(sizeof *index);
    assert_int_equal(container_read_index(index, m.data, size), GPUZIP_OK);
    size_t index_size = index->size;
    free(index);
    for (size_t at = 0; at < size; at += at < 80 || at > size - 110 ? 1 : 37) {
        m.data[at] ^= 0x11;
        (void)count_errors(&m); /* each read gives an error or the content */
        m.data[at] ^= 0x11;
    }
    for (size_t cut = 1; cut < size; cut += cut < 120 ? 1 : 71) {
        m.size = size - cut;
        assert_true((count_errors(&m) == 0) == (cut == index_size)); /* the second frame's index */
    }
    m.size = size;
    for (size_t call = 1; call < 20; call++) {
        m.fail_after = call;
        (void)count_errors(&m);
    }
    free(m.data);
}

/* Shares of the input, compressed alone, make an archive of the whole; its shares are the content.
 */
static void parts_make_a_whole(void **state)
{
    static const int parts_of[] = {1, 2, 3, 7, 40};
    (void)state;
    for (size_t p = 0; p < sizeof parts_of / sizeof *parts_of; p++) {
        memory_archive m = {0};
        gpuzip_archive *a;
        int parts = parts_of[p];
        uint64_t offset, length, at = 0;
        for (int part = 1; part <= parts; part++) {
            assert_int_equal(
                gpuzip_input_part(TEXT_BYTES - 7, BLOCK_SIZE, part, parts, &offset, &length),
                GPUZIP_OK);
            assert_int_equal(offset, at);
            assert_true(length % BLOCK_SIZE == 0 || part == parts);
            at += length;
            append(&m, (size_t)offset, (size_t)at, GPUZIP_INDEX_ALWAYS, BLOCK_SIZE);
        }
        assert_int_equal(at, TEXT_BYTES - 7);
        open_archive(&a, &m);
        assert_int_equal(gpuzip_archive_size(a), TEXT_BYTES - 7);
        assert_int_equal(gpuzip_archive_blocks(a), BLOCKS);
        at = 0;
        for (int part = 1; part <= 5; part++) {
            memory_io io = {0};
            gpuzip_io callbacks = memory_callbacks(&io);
            assert_int_equal(gpuzip_archive_part(a, part, 5, &offset, &length), GPUZIP_OK);
            assert_int_equal(offset, at);
            assert_int_equal(gpuzip_archive_extract(gz, a, offset, length, &callbacks, NULL),
                             GPUZIP_OK);
            assert_int_equal(io.out_size, length);
            if (length)
                assert_memory_equal(io.out, text + at, length);
            at += length;
            free(io.out);
        }
        assert_int_equal(at, TEXT_BYTES - 7);
        gpuzip_archive_close(a);
        free(m.data);
    }
    uint64_t offset = 0, length = 0;
    assert_int_equal(gpuzip_input_part(10, 4, 0, 3, &offset, &length), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_input_part(10, 4, 4, 3, &offset, &length), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_input_part(10, 0, 1, 3, &offset, &length), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_input_part(UINT64_MAX, 1, 1000000, 1000000, &offset, &length),
                     GPUZIP_OK);
    assert_true(offset + length == UINT64_MAX);
    assert_int_equal(gpuzip_block_size(NULL), 8 << 20);
    assert_int_equal(gpuzip_block_size(&(gpuzip_options){.level = 1}), 4 << 20);
    assert_int_equal(gpuzip_block_size(&(gpuzip_options){.level = 10}), 0);
    assert_int_equal(gpuzip_block_size(&settings), BLOCK_SIZE);
}

static int open_all(void **state)
{
    (void)state;
    tiny_open(&tiny);
    uint64_t random = 1;
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        text[i] = i / BLOCK_SIZE % 5 == 4 ? (uint8_t)(random >> 56)
                                          : (uint8_t) "aab bab"[(i * i + i / 300) % 7];
    }
    return gpuzip_open(&gz, "cpu", 1, NULL) || gpuzip_add_model(gz, tiny.model, NULL);
}

static int close_all(void **state)
{
    (void)state;
    gpuzip_close(gz);
    tiny_close(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_is_right),  cmocka_unit_test(a_hundred_places),
        cmocka_unit_test(one_block_is_decoded), cmocka_unit_test(a_lying_index_is_an_error),
        cmocka_unit_test(damage_is_found),      cmocka_unit_test(parts_make_a_whole),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
