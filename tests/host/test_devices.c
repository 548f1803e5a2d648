/* test_devices.c: the library on several devices, which run short of memory, break or compute
 * wrongly: the same bytes come out, and the user is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_cuda.h"
#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define TEXT_BYTES 6000
#define CLAIMED    ((uint64_t)1 << 30)

static tiny_checkpoint tiny;
static uint8_t text[TEXT_BYTES]; /* the tiny model makes it smaller, but for a part of it */
static memory_io packed;         /* the CPU's archive of it */

/* Not adaptive, so that blocks are coded together. */
static const gpuzip_options options = {.window = 16,
                                       .hop = 8,
                                       .streams = 3,
                                       .block_size = 250,
                                       .adapt = GPUZIP_ADAPT_NONE,
                                       .no_packing = true,
                                       .experts = 1,
                                       .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}}};

/* What the library told. */
typedef struct {
    int warnings, details;
    char last[GPUZIP_ERROR_BYTES];
} told;

static void on_note(void *context, gpuzip_note kind, const char *note)
{
    told *t = context;
    assert_null(strchr(note, '\n'));
    if (kind == GPUZIP_NOTE_DETAIL) {
        t->details++;
        return;
    }
    t->warnings++;
    snprintf(t->last, sizeof t->last, "%s", note);
}

/* Opens with the tiny model; the status is that of adding it. */
static gpuzip_status open_on(gpuzip **gz, const char *device, int threads, told *t)
{
    *t = (told){0};
    assert_int_equal(gpuzip_open(gz, device, threads, NULL), GPUZIP_OK);
    gpuzip_set_notes(*gz, on_note, t);
    return gpuzip_add_model(*gz, tiny.model, NULL);
}

static gpuzip_status compress(gpuzip *gz, const gpuzip_options *o, memory_io *io,
                              gpuzip_stats *stats)
{
    *io = (memory_io){.in = text, .in_size = TEXT_BYTES, .portion = 777};
    gpuzip_io callbacks = memory_callbacks(io);
    return gpuzip_compress_stream(gz, o, &callbacks, stats);
}

static gpuzip_status decompress(gpuzip *gz, const memory_io *from, memory_io *io)
{
    *io = (memory_io){.in = from->out, .in_size = from->out_size, .portion = 101};
    gpuzip_io callbacks = memory_callbacks(io);
    return gpuzip_decompress_stream(gz, &callbacks, NULL);
}

/* Both directions give what the CPU gave. */
static void check_same(gpuzip *gz)
{
    memory_io io;
    gpuzip_stats stats;
    assert_int_equal(compress(gz, &options, &io, &stats), GPUZIP_OK);
    assert_int_equal(io.out_size, packed.out_size);
    assert_memory_equal(io.out, packed.out, packed.out_size);
    assert_int_equal(stats.bytes_in, TEXT_BYTES);
    assert_int_equal(stats.blocks, TEXT_BYTES / options.block_size);
    assert_true(stats.stored_blocks >= 1 && stats.stored_blocks < stats.blocks);
    assert_true(stats.model_bits > 0 && stats.model_bits <= stats.coder_bits + 1);
    free(io.out);
    assert_int_equal(decompress(gz, &packed, &io), GPUZIP_OK);
    assert_int_equal(io.out_size, TEXT_BYTES);
    assert_memory_equal(io.out, text, TEXT_BYTES);
    free(io.out);
}

/* ---- choosing ----------------------------------------------------------- */

static void device_strings(void **state)
{
    static const struct {
        const char *text;
        gpuzip_status status;
        const char *says;
    } cases[] = {
        {"cpu", GPUZIP_OK, ""},
        {"auto", GPUZIP_OK, ""},
        {"cuda", GPUZIP_OK, ""},
        {"cuda:0", GPUZIP_OK, ""},
        {"cuda:2,0", GPUZIP_OK, ""},
        {"cuda:1", GPUZIP_ERR_DEVICE, "too old"},
        {"cuda:3", GPUZIP_ERR_DEVICE,
         "no device 'cuda:3'; there is: cpu, cuda:0 (Fake 0), cuda:1 (Fake 1, too old), cuda:2"},
        {"cuda:99999999999999999999", GPUZIP_ERR_DEVICE, "no device"},
        {"cuda:0,0", GPUZIP_ERR_ARGUMENT, "twice"},
        {"cuda:", GPUZIP_ERR_ARGUMENT, "looks like"},
        {"cuda:0,", GPUZIP_ERR_ARGUMENT, "looks like"},
        {"cuda:0x", GPUZIP_ERR_ARGUMENT, "looks like"},
        {"cuda:-1", GPUZIP_ERR_ARGUMENT, "looks like"},
        {"cuda: 0", GPUZIP_ERR_ARGUMENT, "looks like"},
        {"cuda0", GPUZIP_ERR_ARGUMENT, "a device is"},
        {"CPU", GPUZIP_ERR_ARGUMENT, "a device is"},
        {"cpu,cuda", GPUZIP_ERR_ARGUMENT, "a device is"},
    };
    (void)state;
    fake_begin((fake_settings){.devices = 3, .old = 1, .claimed = CLAIMED});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gpuzip *gz = NULL;
        char error[GPUZIP_ERROR_BYTES];
        assert_int_equal(gpuzip_open(&gz, cases[i].text, 1, error), cases[i].status);
        assert_non_null(strstr(error, cases[i].says));
        assert_true((gz != NULL) == (cases[i].status == GPUZIP_OK));
        gpuzip_close(gz);
    }
    assert_int_equal(gpuzip_count_devices(), 4);
    gpuzip_device_info info;
    assert_int_equal(gpuzip_get_device_info(2, &info), GPUZIP_OK);
    assert_string_equal(info.name, "cuda:1");
    assert_false(info.usable);
    assert_int_equal(gpuzip_get_device_info(4, &info), GPUZIP_ERR_ARGUMENT);
    assert_int_equal(gpuzip_get_device_info(-1, &info), GPUZIP_ERR_ARGUMENT);
}

static void the_environment_and_no_gpu(void **state)
{
    gpuzip *gz = NULL;
    told t;
    char error[GPUZIP_ERROR_BYTES];
    (void)state;
    fake_begin((fake_settings){.devices = 0, .old = -1});
    assert_int_equal(gpuzip_open(&gz, "cuda", 1, error), GPUZIP_ERR_DEVICE);
    assert_non_null(strstr(error, "there is: cpu"));
    assert_int_equal(open_on(&gz, "auto", 1, &t), GPUZIP_OK);
    check_same(gz);
    assert_int_equal(t.warnings, 0);
    gpuzip_close(gz);
    assert_int_equal(setenv("GPUZIP_DEVICE", "cuda:7", 1), 0);
    assert_int_equal(gpuzip_open(&gz, NULL, 1, error), GPUZIP_ERR_DEVICE);
    assert_int_equal(setenv("GPUZIP_DEVICE", "", 1), 0);
    assert_int_equal(gpuzip_open(&gz, NULL, 1, error), GPUZIP_OK);
    gpuzip_close(gz);
    assert_int_equal(unsetenv("GPUZIP_DEVICE"), 0);
}

/* ---- the same bytes ----------------------------------------------------- */

static void devices_and_threads_change_nothing(void **state)
{
    (void)state;
    for (int devices = 1; devices <= 4; devices++)
        for (int threads = 1; threads < 6; threads += 4) {
            gpuzip *gz;
            told t;
            fake_begin((fake_settings){.devices = devices, .old = -1, .claimed = CLAIMED});
            assert_int_equal(open_on(&gz, devices % 2 ? "cuda" : "auto", threads, &t), GPUZIP_OK);
            check_same(gz);
            check_same(gz);
            assert_int_equal(t.warnings, 0);
            gpuzip_close(gz);
        }
}

/* Blocks that are packed, in the threads of the host, are the same whatever codes the others. */
static void packed_blocks_are_the_same(void **state)
{
    gpuzip_options o = options;
    memory_io first, io;
    gpuzip_stats stats;
    (void)state;
    o.no_packing = false;
    for (int devices = 0; devices <= 3; devices++) {
        gpuzip *gz;
        told t;
        fake_begin((fake_settings){.devices = devices, .old = -1, .claimed = CLAIMED});
        assert_int_equal(open_on(&gz, "auto", 3, &t), GPUZIP_OK);
        assert_int_equal(compress(gz, &o, &io, &stats), GPUZIP_OK);
        assert_true(stats.packed_blocks >= 1 && stats.stored_blocks >= 1);
        assert_true(stats.model_bits <= stats.coder_bits + 1);
        if (!devices)
            first = io;
        assert_int_equal(io.out_size, first.out_size);
        assert_memory_equal(io.out, first.out, first.out_size);
        if (devices)
            free(io.out);
        assert_int_equal(decompress(gz, &first, &io), GPUZIP_OK);
        assert_int_equal(io.out_size, TEXT_BYTES);
        assert_memory_equal(io.out, text, TEXT_BYTES);
        free(io.out);
        gpuzip_close(gz);
    }
    assert_true(first.out_size < packed.out_size);
    free(first.out);
}

/* Less is free than several blocks need, or is said to be. */
static void short_memory_makes_smaller_groups(void **state)
{
    (void)state;
    for (int shift = 10; shift < 20; shift += 2) {
        gpuzip *gz;
        told t;
        fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
        assert_int_equal(open_on(&gz, "cuda", 2, &t), GPUZIP_OK);
        fake.memory = (uint64_t)1 << shift;
        check_same(gz);
        if (t.warnings)
            assert_non_null(strstr(t.last, "no room for a block"));
        gpuzip_close(gz);
        fake_begin((fake_settings){.devices = 1, .old = -1, .claimed = (uint64_t)1 << (shift + 5)});
        assert_int_equal(open_on(&gz, "cuda", 2, &t), GPUZIP_OK);
        check_same(gz);
        gpuzip_close(gz);
    }
}

/* ---- failures ----------------------------------------------------------- */

static void broken_devices_hand_over(void **state)
{
    (void)state;
    for (int devices = 1; devices <= 3; devices++)
        for (int at = 20; at < 900; at += 131) {
            gpuzip *gz;
            told t;
            fake_begin((fake_settings){.devices = devices, .old = -1, .claimed = CLAIMED});
            assert_int_equal(open_on(&gz, "cuda", 2, &t), GPUZIP_OK);
            for (int i = 0; i < devices; i++)
                fake.fail[i] = at + i * 7;
            check_same(gz);
            assert_true(t.warnings <= devices);
            if (devices == 1)
                assert_int_equal(t.warnings, fake_calls(0) >= at);
            int calls = fake_calls(0), warnings = t.warnings;
            check_same(gz); /* without it */
            if (warnings == devices) {
                assert_int_equal(t.warnings, warnings);
                assert_int_equal(fake_calls(0), calls);
            }
            gpuzip_close(gz);
        }
}

static void a_failed_self_test_refuses_the_device(void **state)
{
    gpuzip *gz;
    told t;
    (void)state;
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED, .wrong = {0, 1}});
    assert_int_equal(open_on(&gz, "cuda:1", 1, &t), GPUZIP_ERR_SELF_TEST);
    assert_non_null(strstr(gpuzip_error(gz), "'cuda:1'"));
    gpuzip_close(gz);
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED, .wrong = {0, 1}});
    assert_int_equal(open_on(&gz, "cuda", 1, &t), GPUZIP_ERR_SELF_TEST);
    gpuzip_close(gz);
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED, .wrong = {0, 1}});
    assert_int_equal(open_on(&gz, "auto", 1, &t), GPUZIP_OK);
    assert_int_equal(t.warnings, 1);
    assert_string_equal(gpuzip_error(gz), "");
    check_same(gz);
    assert_true(fake_calls(0) > 100);
    gpuzip_close(gz);
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED, .wrong = {1, 1}});
    assert_int_equal(open_on(&gz, "auto", 1, &t), GPUZIP_OK);
    assert_int_equal(t.warnings, 2);
    check_same(gz);
    gpuzip_close(gz);
}

/* A device that becomes wrong later is found by the verification. */
static void wrong_results_are_found(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        gpuzip *gz;
        told t;
        memory_io io;
        fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
        assert_int_equal(open_on(&gz, i ? "auto" : "cuda:0", 2, &t), GPUZIP_OK);
        fake.wrong[0] = fake_calls(0) + 30;
        gpuzip_status status = compress(gz, &options, &io, NULL);
        if (i) { /* nobody asked for this one */
            assert_int_equal(status, GPUZIP_OK);
            assert_int_equal(io.out_size, packed.out_size);
            assert_memory_equal(io.out, packed.out, packed.out_size);
        } else {
            assert_int_equal(status, GPUZIP_ERR_SELF_TEST);
            assert_non_null(strstr(gpuzip_error(gz), "nothing was lost"));
        }
        free(io.out);
        gpuzip_close(gz);
    }
}

/* Damage is found where it is; what stands before it has been written. */
static void damage_is_found_in_order(void **state)
{
    gpuzip *gz;
    told t;
    uint8_t *copy = malloc(packed.out_size);
    (void)state;
    fake_begin((fake_settings){.devices = 3, .old = -1, .claimed = CLAIMED});
    assert_int_equal(open_on(&gz, "cuda", 2, &t), GPUZIP_OK);
    size_t written = 0;
    for (size_t at = 10; at < packed.out_size; at += 173) {
        memory_io damaged = packed, io;
        memcpy(copy, packed.out, packed.out_size);
        copy[at] ^= 0x10;
        damaged.out = copy;
        assert_int_not_equal(decompress(gz, &damaged, &io), GPUZIP_OK);
        assert_true(gpuzip_error(gz)[0] != '\0');
        assert_true(io.out_size >= written && io.out_size < TEXT_BYTES);
        assert_int_equal(io.out_size % options.block_size, 0);
        written = io.out_size;
        if (io.out_size)
            assert_memory_equal(io.out, text, io.out_size);
        free(io.out);
    }
    assert_true(written > 0);
    gpuzip_close(gz);
    free(copy);
}

static int refuse_to_write(void *context, const void *data, size_t size)
{
    memory_io *io = context;
    return io->out_size > 500 ? -1 : memory_write(context, data, size);
}

static void writing_fails_and_callbacks_cancel(void **state)
{
    gpuzip *gz;
    told t;
    (void)state;
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
    assert_int_equal(open_on(&gz, "cuda", 2, &t), GPUZIP_OK);
    for (int i = 1; i < 12; i += 2) {
        memory_io io = {.in = text, .in_size = TEXT_BYTES, .cancel_after = i};
        gpuzip_io callbacks = memory_callbacks(&io);
        assert_int_equal(gpuzip_compress_stream(gz, &options, &callbacks, NULL),
                         GPUZIP_ERR_CANCELLED);
        assert_int_equal(io.told, i);
        free(io.out);
        io = (memory_io){.in = text, .in_size = TEXT_BYTES};
        callbacks.write = refuse_to_write;
        assert_int_equal(gpuzip_compress_stream(gz, &options, &callbacks, NULL), GPUZIP_ERR_IO);
        free(io.out);
    }
    check_same(gz);
    gpuzip_close(gz);
}

/* ---- set-up ------------------------------------------------------------- */

static int set_up(void **state)
{
    static const char pairs[] = "thaaab ckthe ckth";
    gpuzip *gz;
    told t;
    uint64_t random = 5;
    (void)state;
    tiny_open(&tiny);
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        text[i] = i >= 2000 && i < 2600 ? (uint8_t)(random >> 56)
                                        : (uint8_t)pairs[(i + i / 250) % (sizeof pairs - 1)];
    }
    fake_begin((fake_settings){.devices = 1, .old = -1});
    if (open_on(&gz, "cpu", 1, &t) != GPUZIP_OK ||
        compress(gz, &options, &packed, NULL) != GPUZIP_OK)
        return -1;
    gpuzip_close(gz);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(packed.out);
    tiny_close(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_strings),
        cmocka_unit_test(the_environment_and_no_gpu),
        cmocka_unit_test(devices_and_threads_change_nothing),
        cmocka_unit_test(packed_blocks_are_the_same),
        cmocka_unit_test(short_memory_makes_smaller_groups),
        cmocka_unit_test(broken_devices_hand_over),
        cmocka_unit_test(a_failed_self_test_refuses_the_device),
        cmocka_unit_test(wrong_results_are_found),
        cmocka_unit_test(damage_is_found_in_order),
        cmocka_unit_test(writing_fails_and_callbacks_cancel),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
