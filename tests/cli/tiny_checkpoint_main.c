/* Makes a tiny checkpoint in a folder of its own and prints the folder's name. */
#include "../tiny_checkpoint.h"

int main(void)
{
    tiny_checkpoint tiny;
    tiny_open(&tiny);
    if (puts(tiny.folder) == EOF || fflush(stdout) == EOF) {
        tiny_close(&tiny);
        return 1;
    }
    return 0; /* the folder is the caller's now */
}
