/* test_gpuzip.c: the public API with a tiny model: any bytes round-trip, damage is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "container.h"
#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

static tiny_checkpoint tiny;
static gpuzip *gz;

static gpuzip_status compress(const gpuzip_options *options, const void *data, size_t size,
                              memory_io *io, gpuzip_stats *stats)
{
    *io = (memory_io){.in = data, .in_size = size, .portion = io->portion};
    gpuzip_io callbacks = memory_callbacks(io);
    return gpuzip_compress_stream(gz, options, &callbacks, stats);
}

static gpuzip_status decompress(const void *data, size_t size, memory_io *io)
{
    *io = (memory_io){.in = data, .in_size = size, .portion = io->portion};
    gpuzip_io callbacks = memory_callbacks(io);
    return gpuzip_decompress_stream(gz, &callbacks, NULL);
}

static void check_round_trip(const gpuzip_options *options, const void *data, size_t size)
{
    memory_io packed = {.portion = 1000}, unpacked = {.portion = 7};
    gpuzip_stats stats;
    assert_int_equal(compress(options, data, size, &packed, &stats), GPUZIP_OK);
    assert_int_equal(stats.bytes_in, size);
    assert_int_equal(stats.bytes_out, packed.out_size);
    if (!options || !options->block_size)
        assert_true(packed.out_size <= size + size / 1000 + 100);
    assert_int_equal(decompress(packed.out, packed.out_size, &unpacked), GPUZIP_OK);
    assert_int_equal(unpacked.out_size, size);
    if (size)
        assert_memory_equal(unpacked.out, data, size);
    free(packed.out);
    free(unpacked.out);
}

static uint8_t *noise(size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    uint64_t random = size;
    for (size_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(random >> 56);
    }
    return data;
}

/* Text that even the tiny model makes smaller, with Naive Bayes beside it. */
static const gpuzip_options with_bayes = {
    .window = 64,
    .hop = 32,
    .no_packing = true,
    .adapt = GPUZIP_ADAPT_ALL,
    .experts = 2,
    .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}, {GPUZIP_EXPERT_NAIVE_BAYES, 0, 1.0}}};

static void any_bytes_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 3, 100, 5000};
    static const char invalid[] = "a\xff\xfe\x80 \xc3(\xed\xa0\x80\xf4\x90\x80\x80\0\xe2\x96\x81 x";
    static uint8_t zeros[5000];
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *data = noise(sizes[i]);
        check_round_trip(NULL, data, sizes[i]);
        check_round_trip(&with_bayes, data, sizes[i]);
        free(data);
    }
    check_round_trip(NULL, invalid, sizeof invalid);
    check_round_trip(&with_bayes, invalid, sizeof invalid);
    check_round_trip(&with_bayes, zeros, sizeof zeros);
}

static void every_level_and_block_size(void **state)
{
    static uint8_t text[6000];
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "the quick brown fox "[(i * i / 7) % 20];
    for (int level = 0; level <= GPUZIP_LEVEL_MAX; level++) {
        gpuzip_options options = {.level = level, .adapt = GPUZIP_ADAPT_ALL};
        check_round_trip(&options, text, sizeof text);
    }
    for (size_t block = 1; block < sizeof text; block = block * 5 + 3) {
        gpuzip_options options = with_bayes;
        options.block_size = block;
        options.streams = 3;
        options.update_interval = 5;
        check_round_trip(&options, text, block < 10 ? 100 : sizeof text);
    }
}

static void wrong_options_are_refused(void **state)
{
    static const gpuzip_options wrong[] = {
        {.level = 10},
        {.level = -1},
        {.window = 1},
        {.window = 65}, /* more than the tiny model's context */
        {.window = 16, .hop = 17},
        {.window = 16, .hop = 8, .window_scope = true},
        {.hop = -1},
        {.block_size = GPUZIP_BLOCK_MAX + 1},
        {.streams = -1},
        {.update_interval = -1},
        {.adapt = GPUZIP_ADAPT_DEFAULT + 1},
        {.adapt = 2 * GPUZIP_ADAPT_DEFAULT},
        {.index = (gpuzip_index)3},
        {.experts = 9},
        {.experts = 1, .expert = {{GPUZIP_EXPERT_MODEL, 1, 1.0}}},
        {.experts = 1, .expert = {{GPUZIP_EXPERT_MODEL, 0, -1.0}}},
        {.experts = 1, .expert = {{GPUZIP_EXPERT_MODEL, 0, 16.0}}},
        {.adapt = GPUZIP_ADAPT_ALPHAS, .experts = 1, .expert = {{GPUZIP_EXPERT_MODEL, 0, 2.1}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memory_io io = {0};
        assert_int_equal(compress(&wrong[i], "x", 1, &io, NULL), GPUZIP_ERR_ARGUMENT);
        assert_true(gpuzip_error(gz)[0] != '\0');
        assert_int_equal(io.out_size, 0);
    }
    gpuzip_options only_bayes = {.experts = 1, .expert = {{GPUZIP_EXPERT_NAIVE_BAYES, 0, 1.0}}};
    memory_io io = {0};
    assert_int_equal(compress(&only_bayes, "x", 1, &io, NULL), GPUZIP_ERR_UNSUPPORTED);
}

/* A coded block, a stored block; small, since every byte of it gets changed. */
static void make_sample(memory_io *packed, uint8_t data[600])
{
    gpuzip_options options = with_bayes;
    uint8_t *random = noise(300);
    options.block_size = 300;
    for (size_t i = 0; i < 300; i++)
        data[i] = "aabbab"[i * i % 6];
    memcpy(data + 300, random, 300);
    free(random);
    assert_int_equal(compress(&options, data, 600, packed, NULL), GPUZIP_OK);
}

static void every_changed_byte_is_found(void **state)
{
    uint8_t data[600];
    memory_io packed = {0};
    (void)state;
    make_sample(&packed, data);
    for (size_t i = 0; i < packed.out_size; i++)
        for (int change = 1; change < 256; change += change < 128 ? change : 127) {
            memory_io io = {0};
            packed.out[i] ^= (uint8_t)change;
            assert_int_not_equal(decompress(packed.out, packed.out_size, &io), GPUZIP_OK);
            assert_true(gpuzip_error(gz)[0] != '\0');
            /* the output so far is a prefix of the original */
            assert_true(io.out_size <= sizeof data);
            if (io.out_size)
                assert_memory_equal(io.out, data, io.out_size);
            packed.out[i] ^= (uint8_t)change;
            free(io.out);
        }
    free(packed.out);
}

static void every_truncation_is_found(void **state)
{
    uint8_t data[600];
    memory_io packed = {0};
    gpuzip_info info;
    (void)state;
    make_sample(&packed, data);
    memory_io listed = {.in = packed.out, .in_size = packed.out_size};
    gpuzip_io callbacks = memory_callbacks(&listed);
    assert_int_equal(gpuzip_peek(gz, &callbacks, &info), GPUZIP_OK);
    size_t without_index = packed.out_size - (size_t)info.index_size; /* a whole frame */
    for (size_t size = 0; size < packed.out_size; size++) {
        memory_io io = {0};
        uint8_t *part = malloc(size ? size : 1); /* exact, for ASan */
        memcpy(part, packed.out, size);
        assert_true((decompress(part, size, &io) == GPUZIP_OK) == (size == without_index));
        free(part);
        free(io.out);
    }
    free(packed.out);
}

static void what_follows_must_be_a_frame(void **state)
{
    uint8_t data[600];
    memory_io packed = {0}, io = {0};
    (void)state;
    make_sample(&packed, data);
    uint8_t *twice = malloc(2 * packed.out_size);
    memcpy(twice, packed.out, packed.out_size);
    for (size_t extra = 1; extra < 40; extra++) {
        memset(twice + packed.out_size, extra % 2 ? 0 : 'x', extra);
        assert_int_equal(decompress(twice, packed.out_size + extra, &io),
                         extra % 2 ? GPUZIP_OK : GPUZIP_ERR_CORRUPT); /* zeros are padding */
        free(io.out);
        io = (memory_io){0};
        twice[packed.out_size + extra - 1] = 'x'; /* behind zeros as well */
        assert_int_equal(decompress(twice, packed.out_size + extra, &io), GPUZIP_ERR_CORRUPT);
        free(io.out);
        io = (memory_io){0};
    }
    memcpy(twice + packed.out_size, packed.out, packed.out_size);
    assert_int_equal(decompress(twice, 2 * packed.out_size, &io), GPUZIP_OK);
    assert_int_equal(io.out_size, 2 * sizeof data);
    assert_memory_equal(io.out, data, sizeof data);
    assert_memory_equal(io.out + sizeof data, data, sizeof data);
    free(twice);
    free(io.out);
    free(packed.out);
}

static void a_list_needs_no_model(void **state)
{
    uint8_t data[600];
    memory_io packed = {0};
    gpuzip *bare;
    gpuzip_info info;
    (void)state;
    make_sample(&packed, data);
    assert_int_equal(gpuzip_open(&bare, "cpu", 1, NULL), GPUZIP_OK);
    memory_io io = {.in = packed.out, .in_size = packed.out_size, .portion = 11};
    gpuzip_io callbacks = memory_callbacks(&io);
    assert_int_equal(gpuzip_peek(bare, &callbacks, &info), GPUZIP_OK);
    assert_int_equal(info.size, sizeof data);
    assert_int_equal(info.compressed_size, packed.out_size);
    assert_int_equal(info.blocks, 2);
    assert_int_equal(info.stored_blocks, 1);
    assert_int_equal(info.experts, 2);
    assert_int_equal(info.window, 64);
    assert_false(info.model_known);
    io.in_pos = 0;
    assert_int_equal(gpuzip_decompress_stream(bare, &callbacks, NULL), GPUZIP_ERR_MODEL);
    assert_non_null(strstr(gpuzip_error(bare), "--model"));
    gpuzip_close(bare);
    free(io.out);
    free(packed.out);
}

/* Content that no tokenizer suits is packed: read without a model, and no byte may change. */
static void packed_blocks_need_no_model(void **state)
{
    static uint8_t data[6000];
    memory_io packed = {0}, io = {0};
    gpuzip *bare;
    gpuzip_stats stats;
    gpuzip_info info;
    gpuzip_options options = with_bayes;
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 8 < 2 ? i / 8 >> 8 * (i % 8) : i * i % 8 * 29);
    options.no_packing = false;
    assert_int_equal(compress(&options, data, sizeof data, &packed, &stats), GPUZIP_OK);
    assert_int_equal(stats.packed_blocks, 1);
    assert_int_equal(stats.stored_blocks, 0);
    assert_int_equal(stats.tokens, 0);
    assert_true(stats.model_bits == 0 && stats.coder_bits == 0);
    assert_true(packed.out_size < sizeof data / 2);
    assert_int_equal(gpuzip_open(&bare, "cpu", 1, NULL), GPUZIP_OK);
    io = (memory_io){.in = packed.out, .in_size = packed.out_size, .portion = 13};
    gpuzip_io callbacks = memory_callbacks(&io);
    assert_int_equal(gpuzip_peek(bare, &callbacks, &info), GPUZIP_OK);
    assert_int_equal(info.packed_blocks, 1);
    assert_int_equal(info.stored_blocks, 0);
    io.in_pos = 0;
    assert_int_equal(gpuzip_decompress_stream(bare, &callbacks, &stats), GPUZIP_OK);
    assert_int_equal(stats.packed_blocks, 1);
    assert_int_equal(stats.model_bytes, 0);
    assert_int_equal(io.out_size, sizeof data);
    assert_memory_equal(io.out, data, sizeof data);
    gpuzip_set_memory_limit(bare, 100000);
    io.in_pos = io.out_size = 0;
    assert_int_equal(gpuzip_decompress_stream(bare, &callbacks, NULL), GPUZIP_ERR_MEMORY);
    assert_non_null(strstr(gpuzip_error(bare), "limit"));
    gpuzip_close(bare);
    free(io.out);
    for (size_t i = 0; i < packed.out_size; i++) {
        io = (memory_io){0};
        packed.out[i] ^= 1;
        assert_int_not_equal(decompress(packed.out, packed.out_size, &io), GPUZIP_OK);
        packed.out[i] ^= 1;
        free(io.out);
    }
    free(packed.out);
}

/* Of the coded and the packed block the smaller one is written. */
static void the_smallest_block_is_written(void **state)
{
    uint8_t data[3000];
    uint64_t packed_blocks = 0, coded_blocks = 0;
    (void)state;
    for (size_t size = 50; size <= sizeof data; size += size / 2) {
        for (size_t period = 7; period <= 700; period *= 10) {
            gpuzip_options options = with_bayes;
            memory_io coded = {0}, best = {0};
            gpuzip_stats stats;
            uint8_t *random = noise(size);
            for (size_t i = 0; i < size; i++)
                data[i] = "abcd"[random[i % period % size] >> 6];
            free(random);
            assert_int_equal(compress(&options, data, size, &coded, NULL), GPUZIP_OK);
            options.no_packing = false;
            assert_int_equal(compress(&options, data, size, &best, &stats), GPUZIP_OK);
            assert_true(best.out_size <= coded.out_size);
            assert_true(stats.packed_blocks == 1 || best.out_size == coded.out_size);
            packed_blocks += stats.packed_blocks;
            coded_blocks += stats.tokens > 0;
            free(coded.out);
            free(best.out);
            check_round_trip(&options, data, size);
        }
    }
    assert_true(packed_blocks >= 3 && coded_blocks >= 3);
}

/* A packed block with right checks but wrong content: nothing of it is written. */
static void packed_blocks_prove_their_content(void **state)
{
    static const uint8_t payload[] = {1, 0x28, 0xb5, 0x2f, 0xfd, 0x20, 40, 0x43, 1, 0, 'x'};
    static const container_frame frame = {
        .schedule = {.window = 16, .hop = 8, .update_interval = 1}, .experts = 1};
    (void)state;
    for (int wrong = 0; wrong < 4; wrong++) {
        uint8_t file[512], raw[41];
        size_t size, part;
        memory_io io = {0};
        container_hash *hash;
        memset(raw, wrong == 1 ? 'y' : 'x', sizeof raw);
        uint32_t raw_size = wrong == 2 ? 41 : wrong == 3 ? 39 : 40;
        assert_int_equal(container_write_frame(file, sizeof file, &size, &frame), GPUZIP_OK);
        assert_int_equal(container_write_packed(file + size, sizeof file - size, &part, raw,
                                                raw_size, payload, sizeof payload),
                         GPUZIP_OK);
        size += part;
        assert_int_equal(container_hash_open(&hash), GPUZIP_OK);
        memset(raw, 'x', sizeof raw);
        container_hash_add(hash, raw, raw_size);
        container_end end = {raw_size, container_hash_value(hash)};
        container_hash_close(hash);
        assert_int_equal(container_write_end(file + size, sizeof file - size, &part, &end),
                         GPUZIP_OK);
        size += part;
        assert_int_equal(decompress(file, size, &io), wrong ? GPUZIP_ERR_CORRUPT : GPUZIP_OK);
        assert_int_equal(io.out_size, wrong ? 0 : 40);
        free(io.out);
    }
}

/* A header of another version is refused with its number, one that was damaged is not believed. */
static void other_versions_are_named(void **state)
{
    static const struct {
        uint8_t version;
        const char *says;
    } other[] = {{1, "format version 1"}, {0, "format version 0"}, {3, "newer version of gpuzip"}};
    uint8_t data[600];
    memory_io packed = {0};
    (void)state;
    make_sample(&packed, data);
    size_t size = 6 + packed.out[5];
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        memory_io io = {0};
        gpuzip_info info;
        packed.out[4] = other[i].version;
        assert_int_equal(decompress(packed.out, packed.out_size, &io), GPUZIP_ERR_CORRUPT);
        uint32_t check = container_check(packed.out, size - 4);
        for (size_t k = 0; k < 4; k++)
            packed.out[size - 4 + k] = (uint8_t)(check >> (8 * k));
        assert_int_equal(decompress(packed.out, packed.out_size, &io), GPUZIP_ERR_UNSUPPORTED);
        assert_int_equal(io.out_size, 0);
        assert_non_null(strstr(gpuzip_error(gz), other[i].says));
        assert_non_null(strstr(gpuzip_error(gz), "reads version 2 only"));
        gpuzip_io callbacks = memory_callbacks(&io);
        io = (memory_io){.in = packed.out, .in_size = packed.out_size};
        assert_int_equal(gpuzip_peek(gz, &callbacks, &info), GPUZIP_ERR_UNSUPPORTED);
        assert_non_null(strstr(gpuzip_error(gz), other[i].says));
    }
    free(packed.out);
}

static void memory_is_bounded(void **state)
{
    static uint8_t text[4000];
    memory_io packed = {0}, io = {0};
    gpuzip_options options = with_bayes;
    (void)state;
    options.streams = 1000;
    memset(text, 'a', sizeof text);
    assert_int_equal(compress(&options, text, sizeof text, &packed, NULL), GPUZIP_OK);
    gpuzip_set_memory_limit(gz, 1 << 20);
    assert_int_equal(decompress(packed.out, packed.out_size, &io), GPUZIP_ERR_MEMORY);
    free(packed.out);
    /* a compressor under the same limit makes archives that a decompressor under it can read */
    gpuzip_set_memory_limit(gz, 8 << 20);
    check_round_trip(&options, text, sizeof text);
    gpuzip_set_memory_limit(gz, (uint64_t)4 << 30);
}

static void callbacks_cancel_and_fail(void **state)
{
    static uint8_t text[4000];
    memory_io io = {.in = text, .in_size = sizeof text, .cancel_after = 3};
    gpuzip_io callbacks = memory_callbacks(&io);
    (void)state;
    memset(text, 'a', sizeof text);
    assert_int_equal(gpuzip_compress_stream(gz, &with_bayes, &callbacks, NULL),
                     GPUZIP_ERR_CANCELLED);
    assert_int_equal(io.told, 3);
    free(io.out);
}

/* A model file works as its checkpoint does, and is the same whenever it is made. */
static void model_files_are_reproducible(void **state)
{
    char path[128];
    int first = -1, second = -1;
    gpuzip_model_info a, b;
    (void)state;
    snprintf(path, sizeof path, "%s/tiny.gpzm", tiny.folder);
    assert_int_equal(gpuzip_import_model(gz, tiny.model, path, NULL), GPUZIP_OK);
    assert_int_equal(gpuzip_add_model(gz, path, &first), GPUZIP_OK);
    assert_int_equal(gpuzip_add_model(gz, tiny.model, &second), GPUZIP_OK);
    assert_int_equal(gpuzip_get_model_info(gz, first, &a), GPUZIP_OK);
    assert_int_equal(gpuzip_get_model_info(gz, second, &b), GPUZIP_OK);
    assert_memory_equal(a.id, b.id, sizeof a.id);
    assert_int_equal(a.dim, TINY_DIM);
    assert_int_equal(a.vocab, TINY_VOCAB);
    assert_int_equal(gpuzip_get_model_info(gz, 99, &a), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_import_model(gz, path, path, NULL), GPUZIP_ERR_ARGUMENT);
    unlink(path);
    assert_int_equal(gpuzip_add_model(gz, path, NULL), GPUZIP_ERR_IO);
    assert_non_null(strstr(gpuzip_error(gz), path));
}

static void the_product_of_two_models(void **state)
{
    static const gpuzip_options both = {.adapt = GPUZIP_ADAPT_ALL,
                                        .experts = 3,
                                        .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.5},
                                                   {GPUZIP_EXPERT_MODEL, 1, 0.25},
                                                   {GPUZIP_EXPERT_NAIVE_BAYES, 0, 0.7}}};
    (void)state;
    check_round_trip(&both, "to be or not to be, that is the question", 40);
}

static int set_up(void **state)
{
    (void)state;
    tiny_open(&tiny);
    if (gpuzip_open(&gz, "cpu", 1, NULL) != GPUZIP_OK)
        return -1;
    return gpuzip_add_model(gz, tiny.model, NULL) == GPUZIP_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gpuzip_close(gz);
    tiny_close(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_round_trip),
        cmocka_unit_test(every_level_and_block_size),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(every_truncation_is_found),
        cmocka_unit_test(what_follows_must_be_a_frame),
        cmocka_unit_test(a_list_needs_no_model),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(callbacks_cancel_and_fail),
        cmocka_unit_test(model_files_are_reproducible),
        cmocka_unit_test(the_product_of_two_models),
        cmocka_unit_test(other_versions_are_named),
        cmocka_unit_test(the_smallest_block_is_written),
        cmocka_unit_test(packed_blocks_prove_their_content),
        cmocka_unit_test(packed_blocks_need_no_model),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
