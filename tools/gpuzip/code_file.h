/* code_file.h: compresses, decompresses or tests files. */
#ifndef CODE_FILE_H
#define CODE_FILE_H

#include "args.h"

/* The state of a run over several files. */
typedef struct {
    const args *a;
    gpuzip *gz;
    struct code_transfer *under_way; /* files in progress, earliest first; NULL at first */
} code_run;

/* Compresses, decompresses or tests (a->mode) the file path, "-" being standard input, and prints
 * the summary and statistics that *a asks for. Errors are printed and raise the exit code. Files
 * may still be in progress on return, several at once beside a GPU; output and messages are the
 * same as with one file after the other. */
void code_file(code_run *run, const char *path);

/* Finishes the files in progress. */
void code_end(code_run *run);

#endif
