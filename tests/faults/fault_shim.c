/* fault_shim.c: a library to be preloaded, which lets one call of the system or of an allocator
 * fail. The environment says which:
 *
 *     GPUZIP_FAULT=CLASS:AT:ERROR[:lasting]    the AT-th call of a class, from 1 on, fails with an
 *                                              errno; `lasting`: and all later ones of the class
 *     GPUZIP_FAULT_LOG=FILE                    gets "CLASS COUNT" lines when the program ends, and
 *                                              "failed FUNCTION" when the fault happens
 *
 * ERROR is a number; 0 is a short read or write: of 1 byte, or of half. Functions that the C
 * library calls inside itself are not reached. Large files' names of functions (open64) are those
 * of the headers here as in the program. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CLASS_ALLOC,
    CLASS_OPEN,
    CLASS_READ,
    CLASS_WRITE,
    CLASS_SYNC,
    CLASS_CLOSE,
    CLASS_RENAME,
    CLASS_STAT,
    CLASS_MAP,
    CLASS_THREAD,
    CLASS_ATTRIBUTE,
    CLASSES
};

static const char *const class_name[CLASSES] = {"alloc", "open",   "read",     "write",
                                                "sync",  "close",  "rename",   "stat",
                                                "map",   "thread", "attribute"};

static atomic_long calls[CLASSES];
static atomic_bool logged;
static int faulty = -1; /* the class, or -1 */
static long at;
static int error;
static bool lasting;
static int log_fd = -1; /* opened at the beginning: later the program may be confined */

static void log_line(const char *text, size_t size)
{
    if (log_fd >= 0)
        syscall(SYS_write, log_fd, text, size);
}

/* Reads the fault and begins to count. */
static void begin(void)
{
    const char *fault = getenv("GPUZIP_FAULT"), *log = getenv("GPUZIP_FAULT_LOG");
    char name[16], rest[16] = "";
    if (log) {
        long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
        log_fd =
            (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 500); /* beyond those of the program */
        syscall(SYS_close, fd);
    }
    if (!fault || sscanf(fault, "%15[a-z]:%ld:%d:%15s", name, &at, &error, rest) < 3)
        return;
    lasting = rest[0] != '\0';
    for (int i = 0; i < CLASSES; i++)
        if (strcmp(class_name[i], name) == 0)
            faulty = i;
    for (int i = 0; i < CLASSES; i++)
        atomic_store(&calls[i], 0);
}

__attribute__((destructor)) static void end(void)
{
    char text[64];
    if (log_fd < 0 || faulty >= 0)
        return;
    for (int i = 0; i < CLASSES; i++) {
        int size = snprintf(text, sizeof text, "%s %ld\n", class_name[i], atomic_load(&calls[i]));
        log_line(text, (size_t)size);
    }
}

/* Counts a call; true: it is to fail. */
static bool fails(int class, const char *function)
{
    long count = atomic_fetch_add(&calls[class], 1) + 1;
    if (class != faulty || count < at || (count > at && !lasting))
        return false;
    if (!atomic_exchange(&logged, true)) {
        log_line("failed ", 7);
        log_line(function, strlen(function));
        log_line("\n", 1);
    }
    errno = error;
    return true;
}

#define SHOWN      __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- the program ---------------------------------------------------------- */

typedef int main_function(int argc, char **argv, char **environment);

static main_function *program_main;

static int counted_main(int argc, char **argv, char **environment)
{
    begin();
    return program_main(argc, argv, environment);
}

/* Calls before main(), such as those with which the CUDA runtime registers kernels, are not the
 * program's: no call of a class counts, or fails, before main(). */
int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*end_of_linker)(void), void *stack_end);

SHOWN int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                            void (*fini)(void), void (*end_of_linker)(void), void *stack_end)
{
    typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void),
                               void (*)(void), void *);
    start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
    program_main = main;
    return start(counted_main, argc, argv, init, fini, end_of_linker, stack_end);
}

/* ---- memory --------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

SHOWN void *malloc(size_t size)
{
    return fails(CLASS_ALLOC, "malloc") ? NULL : __libc_malloc(size);
}

SHOWN void *calloc(size_t count, size_t size)
{
    return fails(CLASS_ALLOC, "calloc") ? NULL : __libc_calloc(count, size);
}

SHOWN void *realloc(void *old, size_t size)
{
    return fails(CLASS_ALLOC, "realloc") ? NULL : __libc_realloc(old, size);
}

SHOWN void *aligned_alloc(size_t align, size_t size)
{
    return fails(CLASS_ALLOC, "aligned_alloc") ? NULL : __libc_memalign(align, size);
}

SHOWN int posix_memalign(void **out, size_t align, size_t size)
{
    void *made = fails(CLASS_ALLOC, "posix_memalign") ? NULL : __libc_memalign(align, size);
    if (!made)
        return ENOMEM;
    *out = made;
    return 0;
}

SHOWN void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails(CLASS_MAP, "mmap"))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* ---- descriptors ---------------------------------------------------------- */

SHOWN int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return fails(CLASS_OPEN, "open") ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

SHOWN int mkostemp(char *template, int flags)
{
    return fails(CLASS_OPEN, "mkostemp") ? -1 : NEXT(mkostemp)(template, flags);
}

SHOWN FILE *fopen(const char *path, const char *mode)
{
    return fails(CLASS_OPEN, "fopen") ? NULL : NEXT(fopen)(path, mode);
}

SHOWN DIR *opendir(const char *path)
{
    return fails(CLASS_OPEN, "opendir") ? NULL : NEXT(opendir)(path);
}

SHOWN ssize_t read(int fd, void *data, size_t size)
{
    if (fails(CLASS_READ, "read")) {
        if (error != 0)
            return -1;
        size = size > 1 ? 1 : size;
    }
    return syscall(SYS_read, fd, data, size);
}

SHOWN size_t fread(void *data, size_t size, size_t count, FILE *file)
{
    return fails(CLASS_READ, "fread") ? 0 : NEXT(fread)(data, size, count, file);
}

SHOWN ssize_t write(int fd, const void *data, size_t size)
{
    if (fails(CLASS_WRITE, "write")) {
        if (error != 0)
            return -1;
        size = size > 1 ? size / 2 : size;
    }
    return syscall(SYS_write, fd, data, size);
}

SHOWN int fflush(FILE *file)
{
    if (file == stdout && error != 0 && fails(CLASS_WRITE, "fflush")) {
        NEXT(fflush)(file);
        return EOF;
    }
    return NEXT(fflush)(file);
}

SHOWN int fclose(FILE *file)
{
    bool failing = error != 0 && fails(CLASS_CLOSE, "fclose");
    int result = NEXT(fclose)(file);
    if (!failing)
        return result;
    errno = error;
    return EOF;
}

/* Closes as systems do that report an error of writing late. */
SHOWN int close(int fd)
{
    bool failing = fails(CLASS_CLOSE, "close");
    int result = (int)syscall(SYS_close, fd);
    if (!failing)
        return result;
    errno = error;
    return -1;
}

SHOWN int fsync(int fd)
{
    return fails(CLASS_SYNC, "fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

/* ---- names ---------------------------------------------------------------- */

SHOWN int rename(const char *from, const char *to)
{
    return fails(CLASS_RENAME, "rename") ? -1 : NEXT(rename)(from, to);
}

SHOWN int renameat2(int from_folder, const char *from, int to_folder, const char *to,
                    unsigned flags)
{
    if (fails(CLASS_RENAME, "renameat2"))
        return -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

SHOWN int link(const char *from, const char *to)
{
    return fails(CLASS_RENAME, "link") ? -1 : NEXT(link)(from, to);
}

SHOWN int stat(const char *path, struct stat *st)
{
    return fails(CLASS_STAT, "stat") ? -1 : NEXT(stat)(path, st);
}

SHOWN int lstat(const char *path, struct stat *st)
{
    return fails(CLASS_STAT, "lstat") ? -1 : NEXT(lstat)(path, st);
}

SHOWN int fstat(int fd, struct stat *st)
{
    return fails(CLASS_STAT, "fstat") ? -1 : NEXT(fstat)(fd, st);
}

SHOWN int fstatat(int folder, const char *path, struct stat *st, int flags)
{
    return fails(CLASS_STAT, "fstatat") ? -1 : NEXT(fstatat)(folder, path, st, flags);
}

SHOWN int fchmod(int fd, mode_t mode)
{
    return fails(CLASS_ATTRIBUTE, "fchmod") ? -1 : NEXT(fchmod)(fd, mode);
}

SHOWN int fchown(int fd, uid_t user, gid_t group)
{
    return fails(CLASS_ATTRIBUTE, "fchown") ? -1 : NEXT(fchown)(fd, user, group);
}

SHOWN int futimens(int fd, const struct timespec times[2])
{
    return fails(CLASS_ATTRIBUTE, "futimens") ? -1 : NEXT(futimens)(fd, times);
}

SHOWN int flock(int fd, int operation)
{
    return fails(CLASS_ATTRIBUTE, "flock") ? -1 : NEXT(flock)(fd, operation);
}

SHOWN int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *),
                         void *of)
{
    return fails(CLASS_THREAD, "pthread_create") ? EAGAIN
                                                 : NEXT(pthread_create)(thread, attributes, fn, of);
}
