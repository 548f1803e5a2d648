/* stream.c: compresses standard input to standard output with a session, or decompresses it with
 * -d.
 *
 *     cc stream.c -o stream $(pkg-config --cflags --libs gpuzip)
 *     ./stream <FILE >FILE.gpz && ./stream -d <FILE.gpz | cmp - FILE
 */
#include <gpuzip.h>

#include <stdio.h>
#include <string.h>

static int on_read(void *context, void *data, size_t size, size_t *got)
{
    (void)context;
    *got = fread(data, 1, size, stdin);
    return ferror(stdin);
}

static int on_write(void *context, const void *data, size_t size)
{
    (void)context;
    return fwrite(data, 1, size, stdout) != size;
}

static void on_note(void *context, gpuzip_note kind, const char *text)
{
    (void)context;
    if (kind == GPUZIP_NOTE_WARNING)
        fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
    bool decompresses = argc > 1 && strcmp(argv[1], "-d") == 0;
    char error[GPUZIP_ERROR_BYTES];
    gpuzip *gz;
    if (gpuzip_open(&gz, NULL, 0, error) != GPUZIP_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    gpuzip_set_notes(gz, on_note, NULL);

    gpuzip_io io = {.read = on_read, .write = on_write};
    gpuzip_stats stats;
    gpuzip_options options;
    gpuzip_init_options(&options);
    options.level = 6;
    options.block_size = 64 << 10; /* a smaller block can be written sooner */

    gpuzip_status status = gpuzip_add_model(gz, NULL, NULL); /* the built-in one */
    if (status == GPUZIP_OK)
        status = decompresses ? gpuzip_decompress_stream(gz, &io, &stats)
                              : gpuzip_compress_stream(gz, &options, &io, &stats);
    if (status == GPUZIP_OK && fflush(stdout) != 0)
        status = GPUZIP_ERR_IO;
    if (status == GPUZIP_OK)
        fprintf(stderr, "%llu => %llu bytes\n", (unsigned long long)stats.bytes_in,
                (unsigned long long)stats.bytes_out);
    else
        fprintf(stderr, "%s: %s\n", gpuzip_status_name(status), gpuzip_error(gz));
    gpuzip_close(gz);
    return status == GPUZIP_OK ? 0 : 1;
}
