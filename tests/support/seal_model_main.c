/* Gives a model file, whose path is the argument, the check of its bytes, as a writer of wrong
 * bytes would. */
#include <stdio.h>
#include <stdlib.h>

#include "weights.h"

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return 1;
    long size = ftell(f);
    void *data = size > 0 ? malloc((size_t)size) : NULL;
    rewind(f);
    bool read = data && fread(data, 1, (size_t)size, f) == (size_t)size;
    fclose(f);
    bool written = read && weights_write(argv[1], data, (size_t)size) == GPUZIP_OK;
    free(data);
    return written ? 0 : 1;
}
