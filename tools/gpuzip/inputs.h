/* inputs.h: the files that the run reads, so that no output replaces one and --rm removes no model.
 *
 * A file is known by device and inode: a link or another name of it is the same file. One
 * run has one set of inputs: it is here, in variables of inputs.c. For the main thread only.
 */
#ifndef INPUTS_H
#define INPUTS_H

#include <stdbool.h>
#include <sys/stat.h>

typedef enum {
    INPUT_NONE,    /* not read */
    INPUT_OPERAND, /* named on the command line to be coded or learnt */
    INPUT_MODEL    /* a model, a file of a checkpoint's folder, or a tokenizer */
} input_kind;

/* Notes the file path, if there is one. */
void inputs_add_operand(const char *path);

/* Notes a model or a tokenizer: a file, a folder's files, or a name in the Hugging Face cache. With
 * a checkpoint that is a file also the tokenizers beside it. source may be NULL. */
void inputs_add_model(const char *source);

/* Reads names of files, one a line, from a file, or standard input for "-". If it has NUL bytes,
 * each name ends with one. Returns false after an error message. */
bool inputs_read_list(const char *path);

/* Puts the names of all lists behind the operands file[0, files); false: no list was read. The
 * array stays the module's. */
bool inputs_join(char ***file, int *files);

/* The kind of the file that st describes. */
input_kind inputs_kind(const struct stat *st);

#endif
