/* list.h: `gpuzip -l`: sizes and settings of .gpz files. */
#ifndef LIST_H
#define LIST_H

#include "args.h"

/* Sums over the files listed. */
typedef struct {
    uint64_t files, frames, blocks, compressed, original;
    bool titled; /* the table's head is printed */
} list_totals;

/* Lists one file: a line of a table, with -v a paragraph, with --json an object. */
void list_file(gpuzip *gz, const args *a, const char *path, list_totals *totals);

/* Prints the totals if the table has more than one line. */
void list_end(const args *a, const list_totals *totals);

#endif
