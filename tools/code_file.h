/* code_file.h: compresses, decompresses or tests one file. */
#ifndef CODE_FILE_H
#define CODE_FILE_H

#include "args.h"

#define FILE_SUFFIX ".gpz"

/* Whether name ends in the suffix and has something before it. */
bool code_file_has_suffix(const char *name);

/* Does what a->mode says with the file path, "-" being standard input, and prints what
 * is asked for. What goes wrong is printed too and shows in the exit code. */
void code_file(gpuzip *gz, const args *a, const char *path);

#endif
