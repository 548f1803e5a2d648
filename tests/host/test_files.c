/* test_files.c: several files at once, on GPUs and without: each comes out as if it had been
 * alone, in order, and an error in one file does not affect others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_cuda.h"
#include "gpuzip.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define FILES      20
#define TEXT_BYTES 6000
#define BLOCK_SIZE 250
#define CLAIMED    ((uint64_t)1 << 30)

static tiny_checkpoint tiny;
static uint8_t text[TEXT_BYTES];

/* Blocks are coded together, or (the last) learn and are not. */
static const gpuzip_options options[3] = {
    {.window = 16,
     .hop = 8,
     .streams = 3,
     .block_size = BLOCK_SIZE,
     .no_packing = true,
     .adapt = GPUZIP_ADAPT_NONE,
     .experts = 1,
     .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}}},
    {.window = 12,
     .hop = 12,
     .streams = 2,
     .block_size = BLOCK_SIZE,
     .no_packing = true,
     .adapt = GPUZIP_ADAPT_NONE,
     .experts = 1,
     .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}}},
    {.window = 16,
     .hop = 16,
     .streams = 2,
     .block_size = BLOCK_SIZE,
     .adapt = GPUZIP_ADAPT_ALL,
     .experts = 2,
     .expert = {{GPUZIP_EXPERT_MODEL, 0, 0.01}, {GPUZIP_EXPERT_NAIVE_BAYES, 0, 1}}}};

/* A file of a run. */
typedef struct {
    memory_io io;   /* first: the callbacks' context */
    int place;      /* in the order of their ends, from 1; 0: has not ended */
    int fail_after; /* calls of a callback; 0: never */
    int calls;
    gpuzip_status status;
    gpuzip_stats stats;
    char error[GPUZIP_ERROR_BYTES];
} one_file;

static gpuzip *handle; /* of the run */
static int ended;      /* files of it */

static one_file alone[FILES]; /* the CPU's result for each, with options[0] */

static void on_ended(void *context, gpuzip_status status, const gpuzip_stats *stats)
{
    one_file *f = context;
    assert_int_equal(f->place, 0);
    assert_int_equal(stats != NULL, status == GPUZIP_OK);
    f->place = ++ended;
    f->status = status;
    snprintf(f->error, sizeof f->error, "%s", gpuzip_error(handle));
    if (stats)
        f->stats = *stats;
}

static int failing_read(void *context, void *data, size_t size, size_t *got)
{
    one_file *f = context;
    return ++f->calls > f->fail_after ? -1 : memory_read(context, data, size, got);
}

static int failing_write(void *context, const void *data, size_t size)
{
    one_file *f = context;
    return ++f->calls > f->fail_after ? -1 : memory_write(context, data, size);
}

static gpuzip_io callbacks(one_file *f)
{
    gpuzip_io io = memory_callbacks(&f->io);
    io.ended = on_ended;
    return io;
}

static void open_on(const char *device)
{
    ended = 0;
    assert_int_equal(gpuzip_open(&handle, device, 2, NULL), GPUZIP_OK);
    assert_int_equal(gpuzip_add_model(handle, tiny.model, NULL), GPUZIP_OK);
}

/* File i: from nothing to some blocks, one of which no model helps with. */
static void set_input(one_file *f, int i)
{
    *f = (one_file){.io = {.in = text + i * 211,
                           .in_size = (size_t)(i % 5 == 0 ? i * 40 : i * 13),
                           .portion = 97}};
}

static void set_packed(one_file *f, const one_file *from)
{
    *f = (one_file){.io = {.in = from->io.out, .in_size = from->io.out_size, .portion = 31}};
}

static void begin_all(one_file *f, bool decode, const gpuzip_options *o)
{
    for (int i = 0; i < FILES; i++) {
        gpuzip_io io = callbacks(&f[i]);
        if (decode)
            gpuzip_begin_decompress(handle, &io);
        else
            gpuzip_begin_compress(handle, o, &io);
    }
}

static void check_order(const one_file *f)
{
    assert_int_equal(ended, FILES);
    for (int i = 0; i < FILES; i++)
        assert_int_equal(f[i].place, i + 1);
    ended = 0;
}

static void check_packed(const one_file *f, int i)
{
    assert_int_equal(f->status, GPUZIP_OK);
    assert_string_equal(f->error, "");
    assert_int_equal(f->io.out_size, alone[i].io.out_size);
    assert_memory_equal(f->io.out, alone[i].io.out, f->io.out_size);
    assert_int_equal(f->stats.bytes_in, alone[i].stats.bytes_in);
    assert_int_equal(f->stats.bytes_out, alone[i].stats.bytes_out);
    assert_int_equal(f->stats.blocks, alone[i].stats.blocks);
    assert_int_equal(f->stats.stored_blocks, alone[i].stats.stored_blocks);
    assert_int_equal(f->stats.tokens, alone[i].stats.tokens);
    assert_true(f->stats.coder_bits == alone[i].stats.coder_bits);
    double off = f->stats.model_bits - alone[i].stats.model_bits; /* shared out by coder_bits */
    assert_true(off * off <= 0.01 * f->stats.coder_bits * f->stats.coder_bits);
}

static void check_original(const one_file *f, int i)
{
    one_file wanted;
    set_input(&wanted, i);
    assert_int_equal(f->status, GPUZIP_OK);
    assert_int_equal(f->io.out_size, wanted.io.in_size);
    if (f->io.out_size)
        assert_memory_equal(f->io.out, wanted.io.in, f->io.out_size);
    assert_int_equal(f->stats.bytes_in, alone[i].stats.bytes_out);
    assert_int_equal(f->stats.bytes_out, wanted.io.in_size);
}

static void release(one_file *f)
{
    for (int i = 0; i < FILES; i++)
        free(f[i].io.out);
}

/* All files both ways at once. */
static void check_all(void)
{
    one_file f[FILES];
    for (int i = 0; i < FILES; i++)
        set_input(&f[i], i);
    begin_all(f, false, &options[0]);
    gpuzip_finish(handle);
    check_order(f);
    for (int i = 0; i < FILES; i++)
        check_packed(&f[i], i);
    release(f);
    for (int i = 0; i < FILES; i++)
        set_packed(&f[i], &alone[i]);
    begin_all(f, true, NULL);
    gpuzip_finish(handle);
    check_order(f);
    for (int i = 0; i < FILES; i++)
        check_original(&f[i], i);
    release(f);
}

/* ---- the same bytes ----------------------------------------------------- */

static void on_the_cpu_they_come_out_the_same(void **state)
{
    (void)state;
    open_on("cpu");
    check_all();
    gpuzip_close(handle);
}

/* Codes eight files of one block, and checks that all blocks share one batch, both ways. The first
 * time each alone, for the bytes that are wanted. */
static void check_batch(const gpuzip_options *o)
{
    enum { EIGHT = 8 };
    one_file f[EIGHT], single[EIGHT], back[EIGHT];
    for (int together = 0; together < 2; together++) {
        one_file *to = together ? f : single;
        for (int i = 0; i < EIGHT; i++) {
            to[i] = (one_file){
                .io = {.in = text + i * 97, .in_size = (size_t)(700 - 31 * i), .portion = 97}};
            gpuzip_io io = callbacks(&to[i]);
            gpuzip_begin_compress(handle, o, &io);
            if (!together)
                gpuzip_finish(handle);
        }
        gpuzip_finish(handle);
    }
    for (int i = 0; i < EIGHT; i++) {
        back[i] = (one_file){.io = {.in = f[i].io.out, .in_size = f[i].io.out_size}};
        gpuzip_io io = callbacks(&back[i]);
        gpuzip_begin_decompress(handle, &io);
    }
    gpuzip_finish(handle);
    for (int i = 0; i < EIGHT; i++) {
        assert_int_equal(single[i].stats.batch_blocks, 1);
        assert_int_equal(f[i].stats.batch_blocks, EIGHT);
        assert_int_equal(back[i].stats.batch_blocks, EIGHT);
        assert_int_equal(f[i].io.out_size, single[i].io.out_size);
        assert_memory_equal(f[i].io.out, single[i].io.out, f[i].io.out_size);
        assert_int_equal(back[i].io.out_size, f[i].io.in_size);
        assert_memory_equal(back[i].io.out, f[i].io.in, f[i].io.in_size);
        free(f[i].io.out);
        free(single[i].io.out);
        free(back[i].io.out);
    }
    ended = 0;
}

static void blocks_of_files_share_batches(void **state)
{
    (void)state;
    for (int gpu = 0; gpu < 2; gpu++) {
        fake_begin((fake_settings){.devices = gpu, .old = -1, .claimed = CLAIMED});
        open_on(gpu ? "cuda" : "cpu");
        for (int bayes = 0; bayes < 2; bayes++) {
            gpuzip_options o = {.window = 16,
                                .hop = 8,
                                .streams = gpu ? 3 : 1,
                                .adapt = GPUZIP_ADAPT_CONTEXTS | GPUZIP_ADAPT_BIASES |
                                         GPUZIP_ADAPT_ALPHAS,
                                .no_packing = true};
            o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, 0, 0.1};
            if (bayes)
                o.expert[o.experts++] = (gpuzip_expert){GPUZIP_EXPERT_NAIVE_BAYES, 0, 1.0};
            check_batch(&o);
        }
        gpuzip_close(handle);
    }
}

/* A source of content that no model helps, and the bytes of it that were read before the first
 * byte was written, beyond the header that comes with it. */
typedef struct {
    size_t size, read, read_before_write;
    uint64_t random;
} long_file;

static int read_long(void *context, void *data, size_t size, size_t *got)
{
    long_file *f = context;
    *got = size < f->size - f->read ? size : f->size - f->read;
    for (size_t i = 0; i < *got; i++) {
        f->random = f->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)data)[i] = (uint8_t)(f->random >> 56);
    }
    f->read += *got;
    return 0;
}

static int write_long(void *context, const void *data, size_t size)
{
    long_file *f = context;
    (void)data;
    (void)size;
    if (!f->read_before_write)
        f->read_before_write = f->read;
    return 0;
}

/* Blocks wait for a batch, but not until the whole file has been read. */
static void on_the_cpu_a_long_file_is_written_as_it_is_read(void **state)
{
    gpuzip_options o = options[0];
    long_file f = {.size = (size_t)4 << 20, .random = 1};
    gpuzip_io io = {.context = &f, .read = read_long, .write = write_long};
    (void)state;
    o.block_size = (size_t)128 << 10;
    open_on("cpu");
    assert_int_equal(gpuzip_compress_stream(handle, &o, &io, NULL), GPUZIP_OK);
    gpuzip_close(handle);
    assert_int_equal(f.read, f.size);
    assert_true(f.read_before_write <= (size_t)2 << 20);
}

static void on_gpus_they_come_out_the_same(void **state)
{
    (void)state;
    for (int devices = 1; devices <= 3; devices += 2) {
        fake_begin((fake_settings){.devices = devices, .old = -1, .claimed = CLAIMED});
        open_on("cuda");
        check_all();
        check_all();
        fake.memory = 1 << 14; /* a few at a time */
        check_all();
        gpuzip_close(handle);
    }
}

static void a_broken_gpu_changes_nothing(void **state)
{
    (void)state;
    for (int at = 40; at < 400; at += 90) {
        fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
        open_on("cuda");
        fake.fail[0] = at;
        fake.fail[1] = at + 20;
        check_all();
        gpuzip_close(handle);
    }
}

/* Returns the passes' operations that 20 files take on one GPU. */
static int count_calls(bool together)
{
    one_file f[FILES];
    fake_begin((fake_settings){.devices = 1, .old = -1, .claimed = CLAIMED});
    open_on("cuda");
    int before = fake_calls(0);
    for (int i = 0; i < FILES; i++) {
        set_packed(&f[i], &alone[i]);
        gpuzip_io io = callbacks(&f[i]);
        gpuzip_begin_decompress(handle, &io);
        if (!together)
            gpuzip_finish(handle);
    }
    gpuzip_finish(handle);
    check_order(f);
    int calls = fake_calls(0) - before;
    gpuzip_close(handle);
    release(f);
    return calls;
}

/* Decoding takes as many passes as the longest stream has steps. */
static void a_group_spans_files(void **state)
{
    (void)state;
    assert_in_range(count_calls(true), 1, count_calls(false) / 5);
}

/* Ends of files are told no later than when the handle is closed or used otherwise. */
static void other_calls_finish_the_files(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        one_file f[FILES], last;
        fake_begin((fake_settings){.devices = 1, .old = -1, .claimed = CLAIMED});
        open_on("cuda");
        for (int k = 0; k < FILES; k++)
            set_input(&f[k], k);
        begin_all(f, false, &options[0]);
        assert_true(ended < FILES);
        if (i == 0) {
            set_packed(&last, &alone[12]);
            gpuzip_io io = memory_callbacks(&last.io);
            assert_int_equal(gpuzip_decompress_stream(handle, &io, &last.stats), GPUZIP_OK);
            last.status = GPUZIP_OK;
            check_original(&last, 12);
            free(last.io.out);
        } else if (i == 1) {
            assert_int_equal(gpuzip_add_model(handle, "/nowhere", NULL), GPUZIP_ERR_IO);
        } else {
            gpuzip_close(handle);
        }
        check_order(f);
        if (i < 2)
            gpuzip_close(handle);
        release(f);
    }
}

/* ---- several configurations --------------------------------------------- */

static void configurations_follow_each_other(void **state)
{
    (void)state;
    for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
        one_file f[FILES], back[FILES];
        fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
        open_on(on_gpu ? "cuda" : "cpu");
        for (int i = 0; i < FILES; i++) {
            set_input(&f[i], i);
            gpuzip_io io = callbacks(&f[i]);
            gpuzip_begin_compress(handle, &options[i / 2 % 3], &io);
        }
        gpuzip_finish(handle);
        check_order(f);
        one_file joined = {{0}};
        for (int i = 0; i < FILES; i++) {
            set_packed(&back[i], &f[i]);
            assert_int_equal(memory_write(&joined.io, f[i].io.out, f[i].io.out_size), 0);
        }
        begin_all(back, true, NULL);
        gpuzip_finish(handle);
        check_order(back);
        one_file whole;
        set_packed(&whole, &joined);
        gpuzip_io io = memory_callbacks(&whole.io);
        assert_int_equal(gpuzip_decompress_stream(handle, &io, NULL), GPUZIP_OK);
        size_t at = 0;
        for (int i = 0; i < FILES; i++) {
            assert_int_equal(back[i].status, GPUZIP_OK);
            assert_int_equal(back[i].io.out_size, f[i].io.in_size);
            if (f[i].io.in_size) {
                assert_memory_equal(back[i].io.out, f[i].io.in, f[i].io.in_size);
                assert_memory_equal(whole.io.out + at, f[i].io.in, f[i].io.in_size);
            }
            at += f[i].io.in_size;
        }
        assert_int_equal(whole.io.out_size, at);
        free(joined.io.out);
        free(whole.io.out);
        release(f);
        release(back);
        gpuzip_close(handle);
    }
}

/* ---- failures ----------------------------------------------------------- */

/* Damage anywhere in file 15, and a file 3 that is none. */
static void damage_concerns_one_file(void **state)
{
    static const uint8_t none[] = "no such file";
    uint8_t *copy = malloc(alone[15].io.out_size);
    (void)state;
    fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
    open_on("cuda");
    for (size_t at = 5; at < alone[15].io.out_size; at += 59) {
        one_file f[FILES];
        for (int i = 0; i < FILES; i++)
            set_packed(&f[i], &alone[i]);
        memcpy(copy, alone[15].io.out, alone[15].io.out_size);
        copy[at] ^= 0x20;
        f[15].io.in = copy;
        f[3].io.in = none;
        f[3].io.in_size = sizeof none;
        begin_all(f, true, NULL);
        gpuzip_finish(handle);
        check_order(f);
        for (int i = 0; i < FILES; i++)
            if (i != 3 && i != 15)
                check_original(&f[i], i);
        assert_int_equal(f[3].status, GPUZIP_ERR_FORMAT);
        assert_string_equal(f[3].error, "not a gpuzip file");
        assert_int_not_equal(f[15].status, GPUZIP_OK);
        assert_true(f[15].error[0] != '\0');
        assert_true(f[15].io.out_size % BLOCK_SIZE ==
                        0 || /* whole blocks, or the index is damaged */
                    f[15].io.out_size == 15 * 40);
        if (f[15].io.out_size)
            assert_memory_equal(f[15].io.out, text + 15 * 211, f[15].io.out_size);
        release(f);
    }
    gpuzip_close(handle);
    free(copy);
}

static void callbacks_fail_for_one_file(void **state)
{
    (void)state;
    for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
        fake_begin((fake_settings){.devices = 2, .old = -1, .claimed = CLAIMED});
        open_on(on_gpu ? "cuda" : "cpu");
        for (int after = 1; after < 4; after++) {
            one_file f[FILES];
            for (int i = 0; i < FILES; i++) {
                set_input(&f[i], i);
                gpuzip_io io = callbacks(&f[i]);
                f[i].fail_after = after;
                f[i].io.cancel_after = i == 10 ? after : 0;
                if (i == 5 || i == 6)
                    io.read = failing_read;
                if (i == 15)
                    io.write = failing_write;
                gpuzip_begin_compress(handle, &options[0], &io);
            }
            gpuzip_finish(handle);
            check_order(f);
            for (int i = 0; i < FILES; i++)
                if (i != 5 && i != 6 && i != 10 && i != 15)
                    check_packed(&f[i], i);
            assert_string_equal(f[6].error, after < 2 ? "reading failed" : f[6].error);
            assert_int_equal(f[15].status, GPUZIP_ERR_IO);
            assert_string_equal(f[15].error, "writing failed");
            if (after <= 2) /* of two blocks */
                assert_int_equal(f[10].status, GPUZIP_ERR_CANCELLED);
            release(f);
        }
        gpuzip_close(handle);
    }
}

/* ---- set-up ------------------------------------------------------------- */

static int set_up(void **state)
{
    static const char pairs[] = "thaaab ckthe ckth";
    uint64_t random = 5;
    (void)state;
    tiny_open(&tiny);
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        text[i] = i >= 3400 && i < 3700 ? (uint8_t)(random >> 56)
                                        : (uint8_t)pairs[(i + i / 250) % (sizeof pairs - 1)];
    }
    fake_begin((fake_settings){.devices = 1, .old = -1});
    open_on("cpu");
    for (int i = 0; i < FILES; i++) {
        set_input(&alone[i], i);
        gpuzip_io io = memory_callbacks(&alone[i].io);
        if (gpuzip_compress_stream(handle, &options[0], &io, &alone[i].stats) != GPUZIP_OK)
            return -1;
    }
    gpuzip_close(handle);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    release(alone);
    tiny_close(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_cpu_they_come_out_the_same),
        cmocka_unit_test(blocks_of_files_share_batches),
        cmocka_unit_test(on_the_cpu_a_long_file_is_written_as_it_is_read),
        cmocka_unit_test(on_gpus_they_come_out_the_same),
        cmocka_unit_test(a_broken_gpu_changes_nothing),
        cmocka_unit_test(a_group_spans_files),
        cmocka_unit_test(other_calls_finish_the_files),
        cmocka_unit_test(configurations_follow_each_other),
        cmocka_unit_test(damage_concerns_one_file),
        cmocka_unit_test(callbacks_fail_for_one_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
