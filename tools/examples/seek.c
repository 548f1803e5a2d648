/* seek.c: prints a part of an archive's content, by decoding the blocks that have it.
 *
 *     seek FILE.gpz OFFSET LENGTH
 */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <gpuzip.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* gpuzip_source's read_at; context is the descriptor. */
static int read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    ssize_t done = pread(*(int *)context, data, size, (off_t)offset);
    if (done >= 0)
        *got = (size_t)done;
    return done < 0;
}

int main(int argc, char **argv)
{
    gpuzip *gz = NULL;
    gpuzip_archive *archive = NULL;
    struct stat st;
    size_t got = 0;
    int result = 1;
    if (argc != 4)
        return fprintf(stderr, "usage: seek FILE.gpz OFFSET LENGTH\n"), 1;
    int fd = open(argv[1], O_RDONLY);
    size_t length = (size_t)strtoull(argv[3], NULL, 10);
    char *data = malloc(length ? length : 1);
    if (fd < 0 || fstat(fd, &st) != 0 || !data) {
        perror(argv[1]);
        goto out;
    }
    gpuzip_source source = {&fd, read_at, (uint64_t)st.st_size};
    if (gpuzip_open(&gz, NULL, 0, NULL) != GPUZIP_OK)
        goto out;
    if (gpuzip_add_model(gz, NULL, NULL) != GPUZIP_OK ||
        gpuzip_archive_open(&archive, gz, &source) != GPUZIP_OK ||
        gpuzip_archive_read(gz, archive, strtoull(argv[2], NULL, 10), data, length, &got) !=
            GPUZIP_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], gpuzip_error(gz));
        goto out;
    }
    result = fwrite(data, 1, got, stdout) != got || fflush(stdout) != 0;
out:
    gpuzip_archive_close(archive);
    gpuzip_close(gz);
    free(data);
    if (fd >= 0)
        close(fd);
    return result;
}
