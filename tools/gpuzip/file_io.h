/* file_io.h: opening, reading, writing and finishing files as a careful tool does.
 *
 * A target is written under a temporary name in its own folder and takes its name only
 * when it is complete, on the disk and has the source's mode and times; until then an
 * older file of that name is untouched, and a signal that ends the program removes the
 * temporary one. stdout, devices and FIFOs are written directly.
 *
 * On failure these functions print an error (message.h) and return false, or nonzero where
 * they are callbacks of gpuzip_io. For the main thread only.
 */
#ifndef FILE_IO_H
#define FILE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "signals.h"

#define FILE_BUFFER_SIZE 65536

typedef struct {
    const char *name; /* to print; "(stdin)" for standard input */
    const char *path; /* NULL for standard input */
    int fd;
    struct stat st;
    bool failed;       /* a read failed, and the user was told */
    bool changed;      /* seen to have changed when it was closed */
    uint64_t left;     /* bytes that may still be read; UINT64_MAX: to the end */
    size_t begin, end; /* buffer[begin, end) was read but not yet asked for */
    uint8_t buffer[FILE_BUFFER_SIZE];
} file_source;

typedef struct {
    const char *name;      /* to print; "(stdout)" for standard output */
    const char *path;      /* NULL for standard output */
    char *temporary;       /* NULL when the target is written directly */
    signals_doomed doomed; /* temporary, which a signal removes: the target must not move */
    int fd;
    bool replace; /* an existing file may be replaced */
    bool failed;  /* a write failed, and the user was told */
} file_target;

/* Opens descriptors 0, 1 and 2 where the caller closed them, so that no file becomes stdout; each
 * use of them fails. Also reads the umask. Call first, once. Returns false on failure. */
bool file_begin(void);

/* How file_open_source() treats links, FIFOs, sockets and devices. Folders are always
 * skipped. A skip prints a warning. */
typedef enum {
    FILE_REGULAR_ONLY,  /* skips links, FIFOs, sockets and devices without waiting */
    FILE_THROUGH_LINKS, /* follows links, skips the rest */
    FILE_OR_FIFO,       /* follows links; opens FIFOs, too, and may block */
    FILE_ANYTHING       /* opens any of them and may block */
} file_kinds;

/* Opens path, or standard input for "-". path must outlive the source. */
bool file_open_source(file_source *source, const char *path, file_kinds kinds);
void file_close_source(file_source *source); /* a second call does nothing */

/* Reads up to size bytes: *got > 0 bytes, or 0 at the end. Nonzero: failed. */
int file_read(file_source *source, void *data, size_t size, size_t *got);

/* Whether the source is a regular file that is read from its beginning on. */
bool file_is_seekable(const file_source *source);

/* Limits reading of a regular file to `length` bytes from `offset` on. */
bool file_limit_source(file_source *source, uint64_t offset, uint64_t length);

/* As read_at of gpuzip_source, of a regular file: no place changes. */
int file_read_at(file_source *source, uint64_t offset, void *data, size_t size, size_t *got);

/* Whether path, the last link followed or not, is the file that st describes. */
bool file_is_same(const char *path, bool follow, const struct stat *st);

/* The size of the source in bytes, or 0 when it is not a regular file. */
uint64_t file_source_size(const file_source *source);

/* Whether the source is as it was when it was opened: its size, its times of change and, where it
 * has a name, the file of that name. Otherwise warns that the result may hold neither the old nor
 * the new content. True of a FIFO and the like. */
bool file_source_unchanged(const file_source *source);

/* Removes the source's file, unless its name now belongs to another file or the run reads it as a
 * model. */
bool file_remove_source(const file_source *source);

/* Begins the target path, or standard output for NULL. An existing regular file is
 * refused unless replace is set or the user at the terminal agrees, and in any case when it is the
 * source itself (NULL: none) or the run reads it (inputs.h). path must outlive the target. */
bool file_open_target(file_target *target, const char *path, bool replace,
                      const file_source *source);

/* Writes all size bytes. Nonzero: failed. */
int file_write(file_target *target, const void *data, size_t size);

/* Completes the target: owner, mode and times as the source's, onto the disk, and its
 * name. Ends the target whether it succeeds or not. *named (may be NULL) tells whether
 * the bytes are now in a regular file. */
bool file_commit_target(file_target *target, const file_source *source, bool *named);

/* For a target that another writer makes: it replaces or fills the file `temporary` through a file
 * of its own, `written`. */
typedef struct {
    file_target target;
    char *written;         /* "TEMPORARY.PID-0.part" as in gpuzip.h */
    signals_doomed doomed; /* written */
} file_model_target;

/* Begins a model file as file_open_target() does; the library is to write it under the name
 * m->target.temporary, and m must not move. */
bool file_open_model(file_model_target *m, const char *path, bool replace);

/* Gives the model file its name, when the library has `made` it, or removes what is there. Returns
 * whether the file is in place. */
bool file_end_model(file_model_target *m, bool made);

/* Whether name, without folders, is one that targets have while they are incomplete. */
bool file_is_temporary(const char *name);

/* Whether no process works on the temporary file path any more. */
bool file_is_abandoned(const char *path);

/* Closes the target and removes its temporary file. */
void file_discard_target(file_target *target);

/* Syncs the folder of path, so that its name survives a crash. */
bool file_sync_folder(const char *path);

#endif
