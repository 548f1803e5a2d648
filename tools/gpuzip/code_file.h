/* code_file.h: compresses, decompresses or tests files. */
#ifndef CODE_FILE_H
#define CODE_FILE_H

#include "args.h"

#define FILE_SUFFIX ".gpz"

/* Whether name ends in the suffix and has something before it. */
bool code_file_has_suffix(const char *name);

/* What files are worked on with. */
typedef struct {
    const args *a;
    gpuzip *gz;
    struct code_transfer *under_way; /* the earliest first; NULL at first */
} code_run;

/* Does what a->mode says with the file path, "-" being standard input, and prints what
 * is asked for. What goes wrong is printed too and shows in the exit code. Some files may
 * be under way still when it returns: beside a GPU, several at once. What is printed and
 * written is as if they had come one after the other. */
void code_file(code_run *run, const char *path);

/* Ends those under way. */
void code_end(code_run *run);

#endif
