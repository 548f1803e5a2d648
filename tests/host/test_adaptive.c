/* test_adaptive.c: the library with adaptation, over inputs of every sort: archives decode, for
 * any streams, windows, updates and experts; one thread and two make the same bytes, and each
 * decodes the other's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

enum { SIZE_MAX_DATA = 1500, HANDLES = 2 };

static gpuzip *handle[HANDLES]; /* of 1 and 2 threads */

typedef struct {
    uint64_t state;
} dice;

static uint32_t roll(dice *d, uint32_t sides)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->state >> 32) * sides >> 32);
}

/* ---- inputs ------------------------------------------------------------------------------- */

typedef size_t fill_function(dice *d, uint8_t *data);

/* Pieces of the vocabulary, in no order. */
static size_t fill_soup(dice *d, uint8_t *data)
{
    size_t size = 0, want = roll(d, SIZE_MAX_DATA - 8);
    uint32_t pieces = 2 + roll(d, 9);
    while (size < want) {
        const char *piece = tiny_pieces[roll(d, pieces) % 10];
        memcpy(data + size, piece, strlen(piece));
        size += strlen(piece);
    }
    return size;
}

/* A beginning again and again, now and then another byte. */
static size_t fill_repeats(dice *d, uint8_t *data)
{
    size_t size = 1 + roll(d, SIZE_MAX_DATA), period = 1 + roll(d, 60);
    uint32_t errors = 1 + roll(d, 200);
    for (size_t i = 0; i < size; i++)
        data[i] =
            i < period || roll(d, errors) == 0 ? (uint8_t)('a' + roll(d, 20)) : data[i - period];
    return size;
}

static size_t fill_tiny(dice *d, uint8_t *data)
{
    size_t size = roll(d, 3);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(roll(d, 2) ? roll(d, 256) : 'a');
    return size;
}

static size_t fill_binary(dice *d, uint8_t *data)
{
    size_t size = roll(d, SIZE_MAX_DATA);
    uint32_t sides = 1u << (1 + roll(d, 8)); /* the fewer, the less it is noise */
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(roll(d, sides) * 37 + 128);
    return size;
}

static fill_function *const fill[] = {fill_soup, fill_repeats, fill_tiny, fill_binary};

/* ---- options ------------------------------------------------------------------------------ */

static gpuzip_options draw_options(dice *d, uint32_t adapts)
{
    static const int windows[][2] = {{64, 32}, {64, 64}, {16, 16}, {17, 5},
                                     {2, 1},   {16, 0},  {64, 0}};
    uint32_t w = roll(d, 7), experts = roll(d, 4);
    gpuzip_options o = {.window = windows[w][0],
                        .hop = windows[w][1],
                        .streams = (int[]){1, 2, 3, 7, 100}[roll(d, 5)],
                        .update_interval = (int[]){0, 1, 3, 16, 1000}[roll(d, 5)],
                        .adapt = adapts ? adapts : GPUZIP_ADAPT_NONE,
                        .window_scope = windows[w][0] == windows[w][1] && roll(d, 2),
                        .no_verify = true,
                        .no_packing = true};
    if (roll(d, 4) == 0)
        o.block_size = 1 + roll(d, 900);
    o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, 0, experts ? 0.1 : 1.0};
    if (experts >= 2)
        o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, 1, 0.05};
    if (experts % 2)
        o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_NAIVE_BAYES, 0, 1.0};
    return o;
}

/* ---- the tests ---------------------------------------------------------------------------- */

/* Compresses with handle i; returns how many blocks were coded, not stored. */
static uint64_t compress(int i, const gpuzip_options *o, const uint8_t *data, size_t size,
                         memory_io *packed)
{
    gpuzip_stats stats;
    *packed = (memory_io){.in = data, .in_size = size, .portion = 333};
    gpuzip_io callbacks = memory_callbacks(packed);
    assert_int_equal(gpuzip_compress_stream(handle[i], o, &callbacks, &stats), GPUZIP_OK);
    return stats.blocks - stats.stored_blocks;
}

static void check_decodes(int i, const memory_io *packed, const uint8_t *data, size_t size)
{
    memory_io back = {.in = packed->out, .in_size = packed->out_size};
    gpuzip_io callbacks = memory_callbacks(&back);
    assert_int_equal(gpuzip_decompress_stream(handle[i], &callbacks, NULL), GPUZIP_OK);
    assert_int_equal(back.out_size, size);
    if (size)
        assert_memory_equal(back.out, data, size);
    free(back.out);
}

static void anything_comes_back(void **state)
{
    enum { TRIALS = 64 };
    static uint8_t data[SIZE_MAX_DATA];
    uint64_t coded = 0;
    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        dice d = {trial};
        memory_io one, two;
        size_t size = fill[trial % 4](&d, data);
        /* all of it in every second trial */
        gpuzip_options o = draw_options(&d, trial % 8 < 4 ? GPUZIP_ADAPT_ALL : roll(&d, 8));
        coded += compress(0, &o, data, size, &one);
        compress(1, &o, data, size, &two);
        if (one.out_size != two.out_size || memcmp(one.out, two.out, one.out_size) != 0)
            fail_msg("trial %u: other bytes with two threads", trial);
        check_decodes((int)(trial / 4 % 2), &one, data, size);
        if (trial % 16 == 0)
            check_decodes(1 - (int)(trial / 4 % 2), &one, data, size);
        free(one.out);
        free(two.out);
    }
    assert_true(coded > TRIALS / 3); /* and were not stored only */
}

/* Bytes of a frame header. */
static size_t header_size(const memory_io *packed)
{
    return 6u + packed->out[5];
}

/* A model in two parts is that model: the blocks are the same to the last byte. But where alphas
 * are learnt each part learns, so that the product learns twice as fast. */
static void the_same_model_twice_changes_nothing(void **state)
{
    static const double parts[][3] = {{0.5, 0.5}, {0.25, 0.75}, {1, 0}, {0.25, 0.5, 0.25}};
    static uint8_t data[SIZE_MAX_DATA];
    (void)state;
    for (uint32_t n = 0; n < 8; n++) {
        dice d = {1000 + n};
        memory_io once, twice;
        size_t size = fill_repeats(&d, data);
        gpuzip_options o = {.window = 64,
                            .hop = 32,
                            .streams = 3,
                            .adapt = n >= 4 ? GPUZIP_ADAPT_CONTEXTS | GPUZIP_ADAPT_BIASES
                                            : GPUZIP_ADAPT_NONE,
                            .experts = 1,
                            .expert = {{GPUZIP_EXPERT_MODEL, 0, 1}}};
        assert_true(compress(0, &o, data, size, &once) > 0 || n < 4);
        o.experts = parts[n % 4][2] > 0 ? 3 : 2;
        for (int k = 0; k < o.experts; k++)
            o.expert[k] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, 0, parts[n % 4][k]};
        compress(0, &o, data, size, &twice);
        size_t skip = header_size(&once), skip_twice = header_size(&twice);
        assert_int_equal(twice.out_size - skip_twice, once.out_size - skip);
        assert_memory_equal(twice.out + skip_twice, once.out + skip, once.out_size - skip);
        check_decodes(1, &twice, data, size);
        free(once.out);
        free(twice.out);
    }
}

static int set_up(void **state)
{
    tiny_checkpoint tiny;
    gpuzip_import_options narrow = {.weight_bits = 8, .activation_bits = 8, .kv_bits = 8};
    char path[128];
    int failures = 0;
    (void)state;
    tiny_open(&tiny);
    snprintf(path, sizeof path, "%s/narrow.gpzm", tiny.folder);
    for (int i = 0; i < HANDLES; i++) {
        failures += gpuzip_open(&handle[i], "cpu", i + 1, NULL) != GPUZIP_OK ||
                    gpuzip_add_model(handle[i], tiny.model, NULL) != GPUZIP_OK ||
                    (i == 0 && gpuzip_import_model(handle[i], tiny.model, path, &narrow)) ||
                    gpuzip_add_model(handle[i], path, NULL) != GPUZIP_OK;
    }
    unlink(path);
    tiny_close(&tiny);
    return failures ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < HANDLES; i++)
        gpuzip_close(handle[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anything_comes_back),
        cmocka_unit_test(the_same_model_twice_changes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
