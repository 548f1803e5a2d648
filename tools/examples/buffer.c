/* buffer.c: compresses a file in memory with the calls that need no session, decompresses it and
 * compares.
 *
 *     cc buffer.c -o buffer $(pkg-config --cflags --libs gpuzip) && ./buffer FILE
 */
#include <gpuzip.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads all of a file; the caller frees the result. Ends the program on an error. */
static char *read_file(const char *path, size_t *size)
{
    size_t capacity = 1 << 16;
    char *data = malloc(capacity);
    FILE *f = fopen(path, "rb");
    *size = 0;
    while (f && data && !feof(f) && !ferror(f)) {
        *size += fread(data + *size, 1, capacity - *size, f);
        if (*size == capacity)
            data = realloc(data, capacity *= 2);
    }
    if (!f || !data || ferror(f)) {
        perror(path);
        exit(1);
    }
    fclose(f);
    return data;
}

/* Ends the program unless a call has succeeded. */
static void must(gpuzip_status status, const char *action)
{
    if (status == GPUZIP_OK)
        return;
    fprintf(stderr, "cannot %s: %s\n", action, gpuzip_status_name(status));
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 1;
    }
    size_t text_size, packed_size, back_size;
    char *text = read_file(argv[1], &text_size);

    size_t capacity = gpuzip_compress_bound(text_size);
    char *packed = malloc(capacity);
    char *back = malloc(text_size + 1); /* malloc(0) may give NULL */
    if (!packed || !back)
        must(GPUZIP_ERR_MEMORY, "start");
    must(gpuzip_compress(packed, capacity, &packed_size, text, text_size, GPUZIP_LEVEL_DEFAULT),
         "compress");
    must(gpuzip_decompress(back, text_size, &back_size, packed, packed_size), "decompress");
    if (back_size != text_size || memcmp(back, text, text_size) != 0) {
        fprintf(stderr, "the bytes differ\n");
        return 1;
    }
    printf("%zu => %zu bytes\n", text_size, packed_size);
    free(back);
    free(packed);
    free(text);
    return 0;
}
