/* list.h: `gpuzip -l`, what .gpz files say of themselves. */
#ifndef LIST_H
#define LIST_H

#include "args.h"

/* The sums of what was listed. */
typedef struct {
    uint64_t files, frames, blocks, compressed, original;
    bool titled; /* the table's head is printed */
} list_totals;

/* Lists one file: a line of a table, with -v a paragraph, with --json an object. */
void list_file(gpuzip *gz, const args *a, const char *path, list_totals *totals);

/* Prints the table's last line if it had more than one. */
void list_end(const args *a, const list_totals *totals);

#endif
