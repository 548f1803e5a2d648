/* load_main.c: descriptors and memory stay the same over many calls of the library.
 *
 *     load CALLS */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "memory_io.h"
#include "tiny_checkpoint.h"

/* Bytes that the heap may grow: what a first call leaves in caches of the C library's. */
#define GROWTH_MAX 65536

static const uint8_t content[] =
    "the back of the cab, the neck of the bottle, the thick of the battle: "
    "a text of a hundred tokens or so that a tiny model reads in no time";

static void must(bool good, const char *text)
{
    if (good)
        return;
    fprintf(stderr, "load: %s\n", text);
    exit(1);
}

static int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return count;
}

/* A call of each kind: good ones, and some that fail. */
static void call(gpuzip *gz, int i)
{
    uint8_t packed[1024], back[1024];
    size_t size, got;
    gpuzip_options o;
    gpuzip_init_options(&o);
    o.level = 1 + i % 7;
    o.streams = 1 + i % 3;
    o.no_verify = i % 2;
    must(gpuzip_compress_buffer(gz, &o, packed, sizeof packed, &size, content, sizeof content) ==
             GPUZIP_OK,
         "compressing");
    must(gpuzip_decompress_buffer(gz, back, sizeof back, &got, packed, size) == GPUZIP_OK &&
             got == sizeof content && memcmp(back, content, got) == 0,
         "decompressing");
    must(gpuzip_decompress_buffer(gz, back, 3, &got, packed, size) == GPUZIP_ERR_CAPACITY,
         "a buffer too small");
    packed[(size_t)i % size] ^= 1;
    must(gpuzip_decompress_buffer(gz, back, sizeof back, &got, packed, size) != GPUZIP_OK,
         "a damaged archive");
}

static void session(const char *model, int calls)
{
    gpuzip *gz;
    must(gpuzip_open(&gz, "cpu", 2, NULL) == GPUZIP_OK, "opening");
    must(gpuzip_add_model(gz, model, NULL) == GPUZIP_OK, "the model");
    must(gpuzip_add_model(gz, "/missing", NULL) != GPUZIP_OK, "a model that is missing");
    for (int i = 0; i < calls; i++)
        call(gz, i);
    gpuzip_close(gz);
}

int main(int argc, char **argv)
{
    int calls = argc > 1 ? atoi(argv[1]) : 1000;
    tiny_checkpoint tiny;
    char path[128];
    gpuzip *gz;
    tiny_open(&tiny);
    snprintf(path, sizeof path, "%s/model.gpzm", tiny.folder);
    must(gpuzip_open(&gz, "cpu", 1, NULL) == GPUZIP_OK &&
             gpuzip_import_model(gz, tiny.model, path, NULL) == GPUZIP_OK,
         "importing");
    gpuzip_close(gz);
    session(path, 50);
    int open_before = descriptors();
    size_t before = mallinfo2().uordblks;
    for (int done = 0; done < calls; done += 50)
        session(path, 50);
    size_t after = mallinfo2().uordblks;
    printf("%d calls of each kind in sessions of 50: %d and %d descriptors, %zu and %zu bytes\n",
           calls, open_before, descriptors(), before, after);
    must(descriptors() == open_before, "descriptors are left");
    must(after <= before + GROWTH_MAX, "memory is left");
    unlink(path);
    tiny_close(&tiny);
    return 0;
}
