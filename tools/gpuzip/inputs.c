/* inputs.c: see inputs.h. */
#include "inputs.h"

#include "gpuzip.h"
#include "message.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    dev_t device;
    ino_t inode;
    input_kind kind;
} input;

static input *known; /* [inputs] of [room] */
static size_t inputs, room;
static bool sorted; /* by by_file(), for a search */

static void add(const struct stat *st, input_kind kind)
{
    if (!S_ISREG(st->st_mode))
        return;
    if (inputs == room) {
        size_t more = 2 * room + 16;
        input *grown = realloc(known, more * sizeof *grown);
        if (!grown) { /* without it an input is unprotected: end rather than risk one */
            message_error(NULL, "%s", strerror(ENOMEM));
            exit(EXIT_CODE_ERROR);
        }
        known = grown;
        room = more;
    }
    known[inputs++] = (input){st->st_dev, st->st_ino, kind};
    sorted = false;
}

void inputs_add_operand(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        add(&st, INPUT_OPERAND);
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* Whether a file beside a checkpoint can be its tokenizer: tok512.bin, tokenizer.json, ... */
static bool is_tokenizer(const char *name)
{
    return strcmp(name, "vocab.json") == 0 || strcmp(name, "merges.txt") == 0 ||
           (strncmp(name, "tok", 3) == 0 &&
            (ends_with(name, ".bin") || ends_with(name, ".model") || ends_with(name, ".json")));
}

/* Whether a file of a Hugging Face folder can be a part of its model. */
static bool is_part(const char *name)
{
    return is_tokenizer(name) || ends_with(name, ".json") || ends_with(name, ".safetensors");
}

/* Notes the files of a folder whose names are wanted, links followed. */
static void add_folder(const char *path, bool (*is_wanted)(const char *name))
{
    DIR *folder = opendir(path);
    if (!folder)
        return;
    struct stat st;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (is_wanted(entry->d_name) && fstatat(dirfd(folder), entry->d_name, &st, 0) == 0)
            add(&st, INPUT_MODEL);
    closedir(folder);
}

void inputs_add_model(const char *source)
{
    struct stat st;
    char path[GPUZIP_PATH_BYTES];
    if (!source || !gpuzip_find_model(source, path) || stat(path, &st) != 0)
        return;
    add(&st, INPUT_MODEL);
    if (S_ISDIR(st.st_mode)) {
        add_folder(path, is_part);
    } else if (!ends_with(path, ".gpzm")) {
        char *slash = strrchr(path, '/');
        strcpy(slash ? slash + 1 : path, ".");
        add_folder(path, is_tokenizer);
    }
}

/* ---- lists of names -------------------------------------------------------- */

static char **listed; /* [listed_count] of [listed_room], and one more for NULL */
static size_t listed_count, listed_room;
static bool list_read;

static void add_name(char *name)
{
    if (listed_count == listed_room) {
        size_t more = 2 * listed_room + 16;
        char **grown = realloc(listed, (more + 1) * sizeof *grown);
        if (!grown) {
            message_error(NULL, "%s", strerror(ENOMEM));
            exit(EXIT_CODE_ERROR);
        }
        listed = grown;
        listed_room = more;
    }
    listed[listed_count++] = name;
    listed[listed_count] = NULL;
}

/* Reads a whole stream, with a NUL behind it; NULL: failed. */
static char *read_stream(FILE *f, size_t *size)
{
    char *data = NULL;
    size_t room = 0;
    *size = 0;
    for (;;) {
        if (room - *size < 2) {
            char *grown = realloc(data, room = 2 * room + 4096);
            if (!grown)
                break;
            data = grown;
        }
        size_t got = fread(data + *size, 1, room - *size - 1, f);
        *size += got;
        if (got == 0) {
            if (ferror(f))
                break;
            data[*size] = '\0';
            return data;
        }
    }
    free(data);
    return NULL;
}

bool inputs_read_list(const char *path)
{
    bool from_stdin = strcmp(path, "-") == 0;
    size_t size;
    errno = 0;
    FILE *f = from_stdin ? stdin : fopen(path, "re");
    char *data = f ? read_stream(f, &size) : NULL; /* the names stay in it */
    if (!data)
        message_error(path, "cannot read the list: %s", strerror(errno ? errno : EIO));
    if (f && !from_stdin)
        fclose(f);
    if (!data)
        return false;
    list_read = true;
    size_t before = listed_count;
    char end = memchr(data, '\0', size) ? '\0' : '\n';
    for (char *name = data; name < data + size;) {
        char *at = memchr(name, end, (size_t)(data + size - name));
        if (at)
            *at = '\0';
        if (*name)
            add_name(name);
        name = at ? at + 1 : data + size;
    }
    if (listed_count == before)
        free(data);
    return true;
}

bool inputs_join(char ***file, int *files)
{
    if (!list_read || listed_count > INT_MAX / 2)
        return list_read;
    size_t count = listed_count;
    for (int i = 0; i < *files; i++)
        add_name((*file)[i]);
    if (*files > 0) { /* the operands come first */
        memmove(listed + *files, listed, count * sizeof *listed);
        memcpy(listed, *file, (size_t)*files * sizeof *listed);
    }
    *file = listed;
    *files = (int)listed_count;
    return true;
}

/* Orders inputs by file; of one file the higher kind comes first. */
static int by_file(const void *one, const void *other)
{
    const input *a = one, *b = other;
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    if (a->inode != b->inode)
        return a->inode < b->inode ? -1 : 1;
    return (int)b->kind - (int)a->kind;
}

input_kind inputs_kind(const struct stat *st)
{
    if (!sorted && inputs > 0)
        qsort(known, inputs, sizeof *known, by_file);
    sorted = true;
    for (int kind = INPUT_MODEL; kind > INPUT_NONE; kind--) {
        input wanted = {st->st_dev, st->st_ino, (input_kind)kind};
        if (inputs > 0 && bsearch(&wanted, known, inputs, sizeof *known, by_file))
            return (input_kind)kind;
    }
    return INPUT_NONE;
}
