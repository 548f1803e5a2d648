/* damage_main.c: small archives of all kinds, damaged in every way, are never decompressed to wrong
 * bytes without an error, and --keep-going restores the others' bytes.
 *
 *     damage CASES
 *
 * For each archive: every bit flipped, every truncation; bytes inserted and removed, blocks
 * swapped, repeated and left out at every place; and bytes changed with all checks of blocks and
 * headers repaired, as somebody with bad intent would. About CASES in all, spread evenly. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "container.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

enum { ARCHIVES = 6, PARTS_MAX = 24, TEXT_SIZE = 360, ROOM = 4096, RANGES_MAX = 32 };

typedef enum { FLIP, CUT, INSERT, REMOVE, SWAP, REPEAT, LEAVE, REPAIR, WAYS } damage_way;

static const char *const way_names[WAYS] = {"flipped bits",   "truncations",    "inserted bytes",
                                            "removed bytes",  "swapped parts",  "repeated parts",
                                            "parts left out", "repaired checks"};

/* An archive and the places where its headers, blocks and end marks begin. */
typedef struct {
    const char *name;
    uint8_t data[ROOM], text[2 * TEXT_SIZE];
    size_t size, text_size;
    size_t part[PARTS_MAX + 1]; /* [parts + 1], ending with size */
    int parts;
} archive;

/* The output of a run that goes on behind damage. */
typedef struct {
    memory_io io; /* the first member: the callbacks' context */
    struct {
        uint64_t offset, size;
    } range[RANGES_MAX];
    int ranges;
    bool inexact;
} salvaged;

static gpuzip *gz;
static archive archives[ARCHIVES];
static uint64_t state = 1;
static int cases, refused, failures;
static const char *now_archive, *now_way;
static long now_at;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static void must(bool good, const char *text)
{
    if (good)
        return;
    fprintf(stderr, "damage: %s\n", text);
    exit(1);
}

static void on_fault(int number)
{
    fprintf(stderr, "damage: signal %d: %s, %s at %ld\n", number, now_archive, now_way, now_at);
    _exit(1);
}

/* ---- archives ------------------------------------------------------------- */

static void find_parts(archive *a)
{
    size_t at = 0;
    bool within = false;
    for (a->parts = 0; at < a->size; a->parts++) {
        size_t size;
        container_prefix prefix;
        must(a->parts < PARTS_MAX, "parts");
        a->part[a->parts] = at;
        if (!within) {
            must(container_peek_frame(a->data + at, a->size - at, &size) == GPUZIP_OK, "a header");
        } else {
            must(container_peek_block(&prefix, a->data + at, a->size - at) == GPUZIP_OK, "a block");
            size = prefix.size;
        }
        within = !within || prefix.kind != CONTAINER_END;
        at += size;
    }
    a->part[a->parts] = a->size;
}

static void append(archive *a, const gpuzip_options *o, const uint8_t *text, size_t size)
{
    size_t made;
    must(gpuzip_compress_buffer(gz, o, a->data + a->size, ROOM - a->size, &made, text, size) ==
             GPUZIP_OK,
         "compressing");
    memcpy(a->text + a->text_size, text, size);
    a->text_size += size;
    a->size += made;
}

static void make_archives(void)
{
    uint8_t prose[TEXT_SIZE], dull[TEXT_SIZE], noise[TEXT_SIZE];
    for (int i = 0; i < TEXT_SIZE; i++) {
        prose[i] = (uint8_t)("the back e taab abe "[draw(19)]);
        dull[i] = (uint8_t)("abb"[i % 3]);
        noise[i] = (uint8_t)draw(256);
    }
    gpuzip_options o;
    gpuzip_init_options(&o);
    o.experts = 2;
    o.expert[0] = (gpuzip_expert){GPUZIP_EXPERT_MODEL, 0, 0.01};
    o.expert[1] = (gpuzip_expert){GPUZIP_EXPERT_NAIVE_BAYES, 0, 1};
    o.no_verify = o.no_packing = true;
    o.streams = 3;
    static const char *const names[ARCHIVES] = {"one coded block", "coded blocks", "stored blocks",
                                                "packed blocks",   "all kinds",    "two frames"};
    for (int i = 0; i < ARCHIVES; i++)
        archives[i].name = names[i];
    append(&archives[0], &o, prose, TEXT_SIZE / 2);
    o.block_size = 90;
    append(&archives[1], &o, prose, TEXT_SIZE);
    append(&archives[2], &o, noise, TEXT_SIZE / 2);
    o.no_packing = false;
    append(&archives[3], &o, dull, TEXT_SIZE);
    memcpy(noise + 90, dull, 90);
    memcpy(noise + 180, prose, 180);
    append(&archives[4], &o, noise, TEXT_SIZE);
    append(&archives[5], &o, noise, TEXT_SIZE / 2);
    o.hop = o.window = 16;
    append(&archives[5], &o, prose, TEXT_SIZE / 2);
    for (int i = 0; i < ARCHIVES; i++)
        find_parts(&archives[i]);
}

/* ---- one case ------------------------------------------------------------- */

static void on_lost(void *context, uint64_t offset, uint64_t size)
{
    salvaged *s = context;
    s->inexact |= size == 0 || s->ranges == RANGES_MAX;
    if (s->ranges < RANGES_MAX) {
        s->range[s->ranges].offset = offset;
        s->range[s->ranges++].size = size;
    }
}

static void complain(const char *text)
{
    printf("FAILED: %s, %s at %ld: %s\n", now_archive, now_way, now_at, text);
    failures++;
}

/* Whether all bytes outside the lost ranges are the original's. */
static bool is_rest_right(const archive *a, const salvaged *s)
{
    int range = 0;
    for (uint64_t at = 0; at < a->text_size; at++) {
        while (range < s->ranges && at >= s->range[range].offset + s->range[range].size)
            range++;
        bool lost = range < s->ranges && at >= s->range[range].offset;
        if (s->io.out[at] != (lost ? 0 : a->text[at]))
            return false;
    }
    return true;
}

/* Decompresses data[0, size), a damaged archive, strictly and going on. */
static void try(const archive *a, const uint8_t *data, size_t size)
{
    memory_io strict = {.in = data, .in_size = size};
    salvaged s = {.io = {.in = data, .in_size = size}};
    gpuzip_io io = memory_callbacks(&strict);
    if (size == a->size && memcmp(data, a->data, size) == 0)
        return;
    cases++;
    gpuzip_status status = gpuzip_decompress_stream(gz, &io, NULL);
    refused += status != GPUZIP_OK;
    if (status == GPUZIP_OK &&
        (strict.out_size != a->text_size || memcmp(strict.out, a->text, a->text_size) != 0))
        complain("decompressed to other bytes");
    if (status == GPUZIP_ERR_SELF_TEST || status == GPUZIP_ERR_MEMORY)
        complain(gpuzip_status_name(status));
    io = memory_callbacks(&s.io);
    io.lost = on_lost;
    gpuzip_stats stats = {0};
    gpuzip_status salvage = gpuzip_decompress_stream(gz, &io, &stats);
    bool index_only = salvage == GPUZIP_OK && stats.damaged_indexes > 0; /* and nothing else */
    if (index_only && (s.io.out_size != a->text_size || !is_rest_right(a, &s)))
        complain("--keep-going takes lost content for an index");
    if (!index_only && (salvage == GPUZIP_OK) != (status == GPUZIP_OK))
        complain("--keep-going ends otherwise");
    if (salvage == GPUZIP_ERR_CORRUPT && s.ranges == 0)
        complain("--keep-going names no lost range");
    if (salvage == GPUZIP_ERR_CORRUPT && !s.inexact &&
        (s.io.out_size != a->text_size || !is_rest_right(a, &s)))
        complain("--keep-going restores other bytes");
    free(strict.out);
    free(s.io.out);
}

/* ---- ways of damage ------------------------------------------------------- */

/* Sets the check at the end of a block or a header to its bytes' own. */
static void repair(uint8_t *part, size_t size)
{
    uint32_t check = container_check(part, size - 4);
    memcpy(part + size - 4, &check, 4);
}

/* a[0, at), then `size` bytes of `middle`, then a's bytes from `rest` on. */
static size_t splice(uint8_t *to, const archive *a, size_t at, const uint8_t *middle, size_t size,
                     size_t rest)
{
    memcpy(to, a->data, at);
    if (size > 0)
        memcpy(to + at, middle, size);
    memcpy(to + at + size, a->data + rest, a->size - rest);
    return at + size + a->size - rest;
}

/* The number of cases of a way. */
static long count(const archive *a, damage_way way)
{
    switch (way) {
    case FLIP:
        return 8 * (long)a->size;
    case SWAP:
        return (long)a->parts * a->parts;
    case REPEAT:
    case LEAVE:
        return a->parts;
    case REPAIR:
        return 8 * (long)a->size;
    default:
        return (long)a->size;
    }
}

static bool begins_frame(const archive *a, size_t place)
{
    size_t size;
    return container_peek_frame(a->data + place, a->size - place, &size) == GPUZIP_OK;
}

static void damage(const archive *a, damage_way way, long at)
{
    uint8_t data[2 * ROOM], byte = (uint8_t)draw(256);
    size_t place = (size_t)at, size = a->size;
    memcpy(data, a->data, size);
    switch (way) {
    case FLIP:
        data[at / 8] ^= (uint8_t)(1 << at % 8);
        break;
    case CUT:
        if (begins_frame(a, place))
            return; /* the frames before it are a whole archive */
        size = place;
        break;
    case INSERT:
        size = splice(data, a, place, &byte, 1, place);
        break;
    case REMOVE:
        size = splice(data, a, place, NULL, 0, place + 1);
        break;
    case SWAP: {
        size_t one = (size_t)at / (size_t)a->parts, two = (size_t)at % (size_t)a->parts, to = 0;
        for (size_t i = 0; i < (size_t)a->parts; i++) {
            size_t of = i == one ? two : i == two ? one : i, n = a->part[of + 1] - a->part[of];
            memcpy(data + to, a->data + a->part[of], n);
            to += n;
        }
        break;
    }
    case REPEAT:
        size = splice(data, a, a->part[at], a->data + a->part[at], a->part[at + 1] - a->part[at],
                      a->part[at]);
        break;
    case LEAVE:
        size = splice(data, a, a->part[at], NULL, 0, a->part[at + 1]);
        break;
    default: { /* a byte of a part changes, sometimes two, and the part's check */
        int part = 0;
        place = place / 8;
        while (a->part[part + 1] <= place)
            part++;
        size_t begin = a->part[part], n = a->part[part + 1] - begin;
        data[place] ^= (uint8_t)(1 + draw(255));
        if (draw(2))
            data[begin + draw((uint32_t)n)] ^= (uint8_t)(1 + draw(255));
        repair(data + begin, n);
    }
    }
    try(a, data, size);
}

int main(int argc, char **argv)
{
    tiny_checkpoint tiny;
    long wanted = argc > 1 ? atol(argv[1]) : 1000, all = 0;
    signal(SIGSEGV, on_fault);
    signal(SIGABRT, on_fault);
    tiny_open(&tiny);
    must(gpuzip_open(&gz, "cpu", 1, NULL) == GPUZIP_OK &&
             gpuzip_add_model(gz, tiny.model, NULL) == GPUZIP_OK,
         "opening");
    tiny_close(&tiny);
    gpuzip_set_memory_limit(gz, 256 << 20);
    make_archives();
    for (int i = 0; i < ARCHIVES; i++)
        for (int way = 0; way < WAYS; way++)
            all += count(&archives[i], (damage_way)way);
    long step = all > wanted ? all / wanted : 1;
    for (int way = 0; way < WAYS; way++) {
        int before = cases, before_refused = refused;
        long first = (long)draw((uint32_t)step);
        for (int i = 0; i < ARCHIVES; i++) {
            const archive *a = &archives[i];
            long n = count(a, (damage_way)way), few = n < 8 * step ? 1 : step;
            for (long at = few > 1 ? first : 0; at < n; at += few) {
                now_archive = a->name;
                now_way = way_names[way];
                now_at = at;
                damage(a, (damage_way)way, at);
            }
        }
        printf("%-16s %6d cases, %6d refused\n", way_names[way], cases - before,
               refused - before_refused);
        fflush(stdout);
    }
    printf("%d cases, failures: %d\n", cases, failures);
    gpuzip_close(gz);
    return failures > 0;
}
