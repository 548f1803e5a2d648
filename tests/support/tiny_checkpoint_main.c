/* Makes a tiny checkpoint in a folder of its own and prints the folder's name. With the argument
 * "long" its tokens are runs of a and b, of up to 8 bytes. */
#include "tiny_checkpoint.h"

int main(int argc, char **argv)
{
    tiny_checkpoint tiny;
    tiny_open(&tiny);
    if (argc > 1 && strcmp(argv[1], "long") == 0)
        tiny_write_tokenizer(tiny.tokenizer, tiny_long_pieces);
    if (puts(tiny.folder) == EOF || fflush(stdout) == EOF) {
        tiny_close(&tiny);
        return 1;
    }
    return 0; /* the folder is the caller's now */
}
