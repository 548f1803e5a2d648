/* file_io.c: see file_io.h. */
#include "file_io.h"

#include "inputs.h"
#include "message.h"
#include "signals.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TEMPORARY_NAME ".gpuzip-XXXXXX" /* beside the target; short whatever the target's name */

static mode_t umask_bits;

bool file_begin(void)
{
    umask_bits = umask(0);
    umask(umask_bits);
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The wrong direction on purpose, so that reading or writing says EBADF. */
        if (open("/dev/null", O_NOCTTY | (fd == 0 ? O_WRONLY : O_RDONLY)) != fd)
            return false;
    }
    return true;
}

/* Waits until fd is ready; for descriptors that someone else made non-blocking. */
static void wait_for(int fd, short events)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    poll(&wanted, 1, -1);
}

/* ---- sources ---- */

/* Says why an open source is not to be read; NULL: it is. */
static const char *unsuitable(const struct stat *st, file_kinds kinds)
{
    if (S_ISDIR(st->st_mode))
        return "is a folder, skipped (-r works on all files in it)";
    if (S_ISFIFO(st->st_mode) && kinds == FILE_OR_FIFO)
        return NULL;
    if (!S_ISREG(st->st_mode) && kinds != FILE_ANYTHING)
        return "is not a regular file, skipped (-f reads it all the same)";
    return NULL;
}

bool file_open_source(file_source *source, const char *path, file_kinds kinds)
{
    bool is_stdin = strcmp(path, "-") == 0;
    *source = (file_source){
        .name = is_stdin ? "(stdin)" : path, .path = is_stdin ? NULL : path, .left = UINT64_MAX};
    if (is_stdin) {
        source->fd = STDIN_FILENO;
        if (fstat(source->fd, &source->st) != 0) {
            message_error(source->name, "cannot read: %s", strerror(errno));
            return false;
        }
        return true;
    }

    int flags = O_RDONLY | O_NOCTTY | O_CLOEXEC;
    struct stat before;
    bool waits = kinds == FILE_OR_FIFO && stat(path, &before) == 0 && S_ISFIFO(before.st_mode);
    if (kinds != FILE_ANYTHING && !waits)
        flags |= O_NONBLOCK; /* opening a FIFO would wait for its writer */
    if (kinds == FILE_REGULAR_ONLY)
        flags |= O_NOFOLLOW;
    source->fd = open(path, flags);
    if (source->fd < 0) {
        struct stat st;
        if (errno == ELOOP && kinds == FILE_REGULAR_ONLY && lstat(path, &st) == 0 &&
            S_ISLNK(st.st_mode)) {
            message_warning(path, "is a symbolic link, skipped (-f follows it)");
        } else if (errno == ENXIO) {
            message_warning(path, "is a socket or an absent device, skipped");
        } else {
            message_error(path, "cannot open: %s", strerror(errno));
        }
        return false;
    }
    if (fstat(source->fd, &source->st) != 0) {
        message_error(path, "cannot examine: %s", strerror(errno));
        file_close_source(source);
        return false;
    }
    const char *reason = unsuitable(&source->st, kinds);
    if (reason) {
        message_warning(path, "%s", reason);
        file_close_source(source);
        return false;
    }
    return true;
}

/* Whether two looks at one file differ. The time of access doesn't count: reading sets it. */
static bool differs(const struct stat *one, const struct stat *other)
{
    return one->st_dev != other->st_dev || one->st_ino != other->st_ino ||
           one->st_size != other->st_size || one->st_mtim.tv_sec != other->st_mtim.tv_sec ||
           one->st_mtim.tv_nsec != other->st_mtim.tv_nsec ||
           one->st_ctim.tv_sec != other->st_ctim.tv_sec ||
           one->st_ctim.tv_nsec != other->st_ctim.tv_nsec;
}

void file_close_source(file_source *source)
{
    struct stat now;
    if (source->path && source->fd >= 0) {
        if (S_ISREG(source->st.st_mode) && fstat(source->fd, &now) == 0)
            source->changed = differs(&now, &source->st);
        close(source->fd);
    }
    source->fd = -1;
}

bool file_is_seekable(const file_source *source)
{
    return S_ISREG(source->st.st_mode) && (source->path || lseek(source->fd, 0, SEEK_CUR) == 0);
}

/* Counts bytes that were read against the limit. */
static void take_left(file_source *source, size_t got)
{
    if (source->left != UINT64_MAX)
        source->left -= got;
}

bool file_limit_source(file_source *source, uint64_t offset, uint64_t length)
{
    if (lseek(source->fd, (off_t)offset, SEEK_SET) < 0) {
        message_error(source->name, "cannot read: %s", strerror(errno));
        return false;
    }
    source->left = length;
    source->begin = source->end = 0;
    return true;
}

int file_read_at(file_source *source, uint64_t offset, void *data, size_t size, size_t *got)
{
    ssize_t done;
    do
        done = pread(source->fd, data, size, (off_t)offset);
    while (done < 0 && errno == EINTR);
    if (done < 0) {
        message_error(source->name, "cannot read: %s", strerror(errno));
        source->failed = true;
        return -1;
    }
    *got = (size_t)done;
    return 0;
}

int file_read(file_source *source, void *data, size_t size, size_t *got)
{
    if (size > source->left)
        size = (size_t)source->left;
    *got = 0;
    if (size == 0)
        return 0;
    /* Headers are asked for in a few bytes, blocks in megabytes: only the former
     * take the way through the buffer. */
    bool buffered = size < FILE_BUFFER_SIZE;
    while (source->begin == source->end) {
        ssize_t done =
            read(source->fd, buffered ? source->buffer : data, buffered ? FILE_BUFFER_SIZE : size);
        if (done >= 0) {
            if (!buffered || done == 0) {
                *got = (size_t)done;
                take_left(source, *got);
                return 0;
            }
            source->begin = 0;
            source->end = (size_t)done;
        } else if (errno == EAGAIN) {
            wait_for(source->fd, POLLIN);
        } else if (errno != EINTR) {
            message_error(source->name, "cannot read: %s", strerror(errno));
            source->failed = true;
            return -1;
        }
    }
    size_t left = source->end - source->begin;
    *got = size < left ? size : left;
    memcpy(data, source->buffer + source->begin, *got);
    source->begin += *got;
    take_left(source, *got);
    return 0;
}

uint64_t file_source_size(const file_source *source)
{
    return S_ISREG(source->st.st_mode) ? (uint64_t)source->st.st_size : 0;
}

bool file_is_same(const char *path, bool follow, const struct stat *st)
{
    struct stat now;
    if ((follow ? stat(path, &now) : lstat(path, &now)) != 0)
        return false;
    return now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

bool file_source_unchanged(const file_source *source)
{
    struct stat now;
    if (!S_ISREG(source->st.st_mode))
        return true;
    bool changed = source->changed ||
                   (source->fd >= 0 && fstat(source->fd, &now) == 0 && differs(&now, &source->st));
    if (!changed && source->path)
        changed = stat(source->path, &now) != 0 || differs(&now, &source->st);
    if (changed)
        message_warning(source->name,
                        "changed while it was read: the result may hold neither its old nor its "
                        "new content");
    return !changed;
}

bool file_remove_source(const file_source *source)
{
    /* Through a link: the user named the link, so the link is removed. */
    if (!file_is_same(source->path, true, &source->st)) {
        message_warning(source->name, "was replaced meanwhile, not removed");
        return false;
    }
    if (inputs_kind(&source->st) == INPUT_MODEL) {
        message_warning(source->name, "is a model that this run reads, not removed");
        return false;
    }
    if (unlink(source->path) != 0) {
        message_warning(source->name, "cannot remove: %s", strerror(errno));
        return false;
    }
    return true;
}

/* ---- targets ---- */

/* The folder part of path with its last '/', "" when there is none; plus `name`.
 * The caller frees it; NULL when memory is short. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash + 1 - path) : 0;
    char *result;
    return asprintf(&result, "%.*s%s", folder, path, name) < 0 ? NULL : result;
}

/* Opens a target that is no regular file: its bytes are not ours to rename. */
static bool open_directly(file_target *target, const struct stat *st)
{
    if (S_ISDIR(st->st_mode)) {
        message_error(target->name, "is a folder");
        return false;
    }
    if (S_ISBLK(st->st_mode) && !target->replace) {
        message_error(target->name, "is a block device; -f writes over it");
        return false;
    }
    target->fd = open(target->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (target->fd < 0) {
        message_error(target->name, "cannot write: %s", strerror(errno));
        return false;
    }
    return true;
}

/* Refuses a regular file that the run reads. Returns whether it did. */
static bool refuse_input(const file_target *target, const struct stat *st,
                         const file_source *source)
{
    const char *name = target->name;
    if (!S_ISREG(st->st_mode))
        return false;
    input_kind kind = inputs_kind(st);
    if (source && source->st.st_dev == st->st_dev && source->st.st_ino == st->st_ino)
        message_error(name, "is the input itself");
    else if (kind == INPUT_MODEL)
        message_error(name, "is a model that this run reads, not touched");
    else if (kind == INPUT_OPERAND &&
             target->path) /* a shell's "* >FILE" may have made stdout one */
        message_error(name, "is another input of this run, not touched");
    else
        return false;
    return true;
}

/* Asks the user at the terminal, if there is one, whether the target may be replaced, which is set
 * then. */
static bool may_overwrite(file_target *target)
{
    char *line = NULL;
    size_t room = 0;
    struct stat st;
    if (message_is_muted() || message_verbosity() < VERBOSITY_NORMAL || !isatty(STDIN_FILENO) ||
        !isatty(STDERR_FILENO) || lstat(target->path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    message_line("");
    message_put(stderr, target->path);
    fputs(": already exists; overwrite? (y/n) ", stderr);
    fflush(stderr);
    if (getline(&line, &room, stdin) > 0)
        target->replace = *line == 'y' || *line == 'Y';
    else
        fputc('\n', stderr);
    free(line);
    return target->replace;
}

/* Refuses a path at which no file can be made or where a file must stay. Returns whether it did. */
static bool refuse_path(file_target *target, const file_source *source)
{
    struct stat st;
    if (stat(target->path, &st) == 0 && refuse_input(target, &st, source))
        return true;
    if (lstat(target->path, &st) != 0) {
        if (errno == ENOENT)
            return false;
        message_error(target->path, "cannot create: %s", strerror(errno)); /* a name too long */
        return true;
    }
    if (!target->replace && !may_overwrite(target))
        message_error(target->path, "already exists, not touched; -f overwrites it");
    return !target->replace;
}

bool file_open_target(file_target *target, const char *path, bool replace,
                      const file_source *source)
{
    struct stat st;
    *target = (file_target){.name = path ? path : "(stdout)", .path = path, .replace = replace};
    if (!path) {
        target->fd = STDOUT_FILENO;
        return fstat(STDOUT_FILENO, &st) != 0 || !refuse_input(target, &st, source);
    }

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return open_directly(target, &st);
    if (refuse_path(target, source))
        return false;

    target->temporary = beside(path, TEMPORARY_NAME);
    if (!target->temporary) {
        message_error(path, "%s", strerror(ENOMEM));
        return false;
    }
    signals_hold();
    target->fd = mkostemp(target->temporary, O_CLOEXEC);
    int error = errno;
    if (target->fd >= 0)
        signals_doom(&target->doomed, target->temporary);
    signals_release();
    if (target->fd < 0) {
        message_error(path, "cannot create: %s", strerror(error));
        free(target->temporary);
        return false;
    }
    flock(target->fd, LOCK_EX | LOCK_NB); /* for file_is_abandoned(); not all file systems can */
    return true;
}

bool file_is_temporary(const char *name)
{
    const size_t size = sizeof TEMPORARY_NAME - 1, random = 6; /* of mkostemp() */
    if (strncmp(name, TEMPORARY_NAME, size - random) != 0 || strlen(name) < size)
        return false;
    for (size_t i = size - random; i < size; i++)
        if (!isalnum((unsigned char)name[i]))
            return false;
    return name[size] == '\0' || strcmp(name + strlen(name) - 5, ".part") == 0; /* of a model */
}

bool file_is_abandoned(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    bool abandoned = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return abandoned;
}

int file_write(file_target *target, const void *data, size_t size)
{
    const uint8_t *from = data;
    while (size > 0) {
        ssize_t done = write(target->fd, from, size);
        if (done >= 0) {
            from += done;
            size -= (size_t)done;
        } else if (errno == EAGAIN) {
            wait_for(target->fd, POLLOUT);
        } else if (errno != EINTR) {
            /* A reader that has enough closes its end: SIGPIPE would have ended us
             * without a word, so say none where it is ignored. */
            if (errno == EPIPE)
                message_raise(EXIT_CODE_ERROR);
            else
                message_error(target->name, "cannot write: %s", strerror(errno));
            target->failed = true;
            return -1;
        }
    }
    return 0;
}

/* Copies the source's owner, mode and times to the target where permitted. Warns only if the mode
 * cannot be copied. */
static void copy_attributes(const file_target *target, const file_source *source)
{
    const struct stat *st = &source->st;
    if (!S_ISREG(st->st_mode)) {
        fchmod(target->fd, 0666 & ~umask_bits);
        return;
    }
    mode_t mode = st->st_mode & 0777;
    if (geteuid() == 0 && fchown(target->fd, st->st_uid, (gid_t)-1) != 0)
        message_warning(target->name, "cannot set the owner: %s", strerror(errno));
    if (fchown(target->fd, (uid_t)-1, st->st_gid) != 0) {
        /* Another group now: it may do no more than both the old group and everyone. */
        mode_t both = (mode >> 3) & mode & 07;
        mode = (mode & 0700) | (both << 3) | both;
    }
    if (fchmod(target->fd, mode) != 0)
        message_warning(target->name, "cannot set the mode: %s", strerror(errno));
    struct timespec times[2] = {st->st_atim, st->st_mtim};
    futimens(target->fd, times);
}

/* Renames without replacing, by the first means that this file system knows.
 * Returns 0 or an errno. */
static int rename_if_free(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    if (link(from, to) == 0) {
        unlink(from);
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return errno;
    struct stat st; /* neither: FAT on an old kernel; a moment of risk remains */
    if (lstat(to, &st) == 0)
        return EEXIST;
    return rename(from, to) == 0 ? 0 : errno;
}

/* Waits until the target's bytes are on the disk. Returns 0 or an errno. */
static int sync_target(const file_target *target)
{
    if (fsync(target->fd) == 0)
        return 0;
    return errno == EINVAL || errno == ENOTSUP ? 0 : errno; /* nothing to wait for here */
}

/* Gives a complete target its name, or removes it for an error, 0 being none. Returns whether it
 * has the name. */
static bool take_name(file_target *target, int error)
{
    signals_hold();
    if (error == 0 && target->replace)
        error = rename(target->temporary, target->path) == 0 ? 0 : errno;
    else if (error == 0)
        error = rename_if_free(target->temporary, target->path);
    if (error != 0)
        unlink(target->temporary);
    signals_spare(&target->doomed);
    signals_release();
    free(target->temporary);
    target->temporary = NULL;
    if (error == EEXIST)
        message_error(target->name, "appeared meanwhile, not touched; -f overwrites it");
    else if (error != 0)
        message_error(target->name, "cannot finish: %s", strerror(error));
    return error == 0;
}

bool file_commit_target(file_target *target, const file_source *source, bool *named)
{
    if (named)
        *named = false;
    if (!target->path)
        return true; /* stdout is closed, and looked at, when the program ends */
    if (!target->temporary) {
        if (close(target->fd) == 0)
            return true;
        message_error(target->name, "cannot write: %s", strerror(errno));
        return false;
    }

    copy_attributes(target, source);
    int error = sync_target(target);
    if (close(target->fd) != 0 && error == 0)
        error = errno;
    bool done = take_name(target, error);
    if (named)
        *named = done;
    return done;
}

void file_discard_target(file_target *target)
{
    if (!target->path)
        return;
    close(target->fd);
    if (!target->temporary)
        return;
    signals_hold();
    unlink(target->temporary);
    signals_spare(&target->doomed);
    signals_release();
    free(target->temporary);
    target->temporary = NULL;
}

bool file_open_model(file_model_target *m, const char *path, bool replace)
{
    if (!file_open_target(&m->target, path, replace, NULL))
        return false;
    if (!m->target.temporary) {
        message_error(path, "is not a regular file");
        file_discard_target(&m->target);
        return false;
    }
    if (asprintf(&m->written, "%s.%ld-0.part", m->target.temporary, (long)getpid()) < 0) {
        message_error(path, "%s", strerror(ENOMEM));
        file_discard_target(&m->target);
        return false;
    }
    signals_hold();
    signals_doom(&m->doomed, m->written);
    signals_release();
    return true;
}

bool file_end_model(file_model_target *m, bool made)
{
    signals_hold();
    signals_spare(&m->doomed);
    signals_release();
    free(m->written);
    if (!made) {
        file_discard_target(&m->target);
        return false;
    }
    close(m->target.fd); /* the library's file has its place */
    return take_name(&m->target, 0) && file_sync_folder(m->target.path);
}

bool file_sync_folder(const char *path)
{
    char *folder = beside(path, ".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP);
    if (!synced)
        message_warning(path, "cannot make sure that it is on the disk: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    free(folder);
    return synced;
}
