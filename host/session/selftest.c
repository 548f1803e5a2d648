/* selftest.c: see selftest.h. */
#include "selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PATH_BYTES   4096
#define RECORD_BYTES 512

/* ---- which build this is ------------------------------------------------ */

typedef struct {
    uintptr_t inside; /* an address of the object that is looked for */
    uint64_t hash;
} build_search;

/* Hashes the segments that the loader does not change: the code, the constants and the kernels
 * that are embedded among them. */
static int hash_object(struct dl_phdr_info *info, size_t size, void *context)
{
    build_search *search = context;
    uint64_t hash = 0;
    bool found = false;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) || !(segment->p_flags & PF_R))
            continue;
        if (search->inside - begin < segment->p_filesz)
            found = true;
        hash = XXH3_64bits_withSeed((const void *)begin, segment->p_filesz, hash);
    }
    if (found)
        search->hash = hash;
    return found;
}

/* The same for two processes only if they run the same program or library. */
static uint64_t build_id(void)
{
    build_search search = {.inside = (uintptr_t)&selftest_run};
    dl_iterate_phdr(hash_object, &search);
    return search.hash;
}

/* ---- records of passed tests --------------------------------------------- */

/* One file a passed test; its name is a hash of its content. */
typedef struct {
    char folder[PATH_BYTES], path[PATH_BYTES];
    char text[RECORD_BYTES];
    size_t size; /* of text */
} record;

static void write_hex(char *text, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* false: there is no place to remember it, or the device has no name of its own. */
static bool record_make(record *r, const device *d, const weights_model *weights)
{
    static const uint8_t none[sizeof d->about.id];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char id[2 * sizeof d->about.id + 1], model[2 * WEIGHTS_ID_BYTES + 1];
    int n;
    if (memcmp(d->about.id, none, sizeof none) == 0)
        return false;
    if (cache && *cache == '/') /* the standard says to ignore others */
        n = snprintf(r->folder, PATH_BYTES, "%s/gpuzip", cache);
    else if (home && *home == '/')
        n = snprintf(r->folder, PATH_BYTES, "%s/.cache/gpuzip", home);
    else
        return false;
    if (n < 0 || n >= PATH_BYTES)
        return false;
    write_hex(id, d->about.id, sizeof d->about.id);
    write_hex(model, weights->id, WEIGHTS_ID_BYTES);
    r->size =
        (size_t)snprintf(r->text, RECORD_BYTES,
                         "gpuzip self-test passed\n"
                         "device %s %s capability %d driver %d runtime %d\n"
                         "build %s %016llx\n"
                         "model %s\n",
                         d->ops->name, id, d->about.capability, d->about.driver, d->about.runtime,
                         GPUZIP_VERSION, (unsigned long long)build_id(), model);
    XXH128_hash_t name = XXH3_128bits(r->text, r->size);
    n = snprintf(r->path, PATH_BYTES, "%s/self-test-%016llx%016llx", r->folder,
                 (unsigned long long)name.high64, (unsigned long long)name.low64);
    return n > 0 && n < PATH_BYTES;
}

static bool record_exists(const record *r)
{
    char text[RECORD_BYTES];
    struct stat st;
    int fd = open(r->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
                st.st_size == (off_t)r->size && read(fd, text, r->size) == (ssize_t)r->size &&
                memcmp(text, r->text, r->size) == 0;
    close(fd);
    return same;
}

/* Writes the record to a temporary file and renames it. A failure is ignored: the device is
 * tested again the next time. */
static void record_keep(const record *r)
{
    char parent[PATH_BYTES], temporary[PATH_BYTES + 8];
    int saved = errno;
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(r->folder, '/') - r->folder), r->folder);
    (void)mkdir(parent, 0700);
    (void)mkdir(r->folder, 0700);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", r->path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd >= 0) {
        bool written = write(fd, r->text, r->size) == (ssize_t)r->size;
        if (close(fd) != 0 || !written || rename(temporary, r->path) != 0)
            unlink(temporary);
    }
    errno = saved;
}

/* ---- testing ------------------------------------------------------------ */

gpuzip_status selftest_run(const device *d, model *m)
{
    const weights_model *w = model_weights(m);
    uint64_t hash;
    record r;
    if (!w->tests)
        return GPUZIP_OK;
    bool kept = record_make(&r, d, w);
    if (kept && record_exists(&r))
        return GPUZIP_OK;
    TRY(model_fingerprint(m, w->test_token, w->tests, &hash));
    /* Without a check the file is likelier to be wrong than the plain CPU. */
    if (hash != w->test_hash)
        return FAIL(!w->checked && d->ops == &ops_cpu ? GPUZIP_ERR_CORRUPT : GPUZIP_ERR_SELF_TEST);
    if (kept)
        record_keep(&r);
    return GPUZIP_OK;
}
