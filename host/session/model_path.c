/* model_path.c: see model_path.h. */
#include "model_path.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* The same in folder[0, size). */
static bool find_in(char path[GPUZIP_PATH_BYTES], const char *folder, size_t size,
                    const char *digits)
{
    char name[GPUZIP_PATH_BYTES], first[256] = "";
    int n = snprintf(name, sizeof name, "%.*s", (int)size, folder);
    DIR *d = size > 0 && n < (int)sizeof name ? opendir(name) : NULL;
    if (!d)
        return false;
    for (struct dirent *entry; (entry = readdir(d));) {
        const char *found = entry->d_name;
        if (strncmp(found, digits, strlen(digits)) == 0 && ends_with(found, ".gpzm") &&
            (!first[0] || strcmp(found, first) < 0))
            snprintf(first, sizeof first, "%.255s", found);
    }
    closedir(d);
    n = snprintf(path, GPUZIP_PATH_BYTES, "%s/%s", name, first);
    return first[0] && n < GPUZIP_PATH_BYTES;
}

bool model_path_find(char path[GPUZIP_PATH_BYTES], const char *digits)
{
    char own[GPUZIP_PATH_BYTES] = "";
    const char *list = getenv("GPUZIP_MODEL_PATH"), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    for (const char *at = list; at && *at;) {
        size_t size = strcspn(at, ":");
        if (find_in(path, at, size, digits))
            return true;
        at += size + (at[size] == ':');
    }
    if (data && *data == '/') /* the standard says to ignore others */
        snprintf(own, sizeof own, "%s/gpuzip/models", data);
    else if (home && *home == '/')
        snprintf(own, sizeof own, "%s/.local/share/gpuzip/models", home);
    return find_in(path, own, strlen(own), digits);
}
