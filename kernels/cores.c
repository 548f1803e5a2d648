/* cores.c: see cores.h. */
#include "cores.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CPUS_MOST 65536 /* a machine with more is taken for one with one */

/* Processors that the scheduler may choose from. */
static int allowed_processors(void)
{
    /* Linux refuses a set that is smaller than its own. */
    for (int cpus = CPU_SETSIZE; cpus <= CPUS_MOST; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t bytes = CPU_ALLOC_SIZE(cpus);
        int count = set && sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return count;
    }
    return 1;
}

/* Reads "QUOTA PERIOD" (version 2, or the quota alone, version 1). Whether they are numbers: no
 * limit is "max" in version 2, and negative in version 1. */
static bool read_numbers(const char *folder, const char *name, double *a, double *b)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return false;
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    int count = b ? fscanf(f, "%lf %lf", a, b) : fscanf(f, "%lf", a);
    fclose(f);
    return count == (b ? 2 : 1) && *a > 0 && (!b || *b > 0);
}

/* Processors' worth of time that a group's own files allow; HUGE_VAL: any. */
static double quota_of(const char *folder)
{
    double quota, period;
    if (read_numbers(folder, "cpu.max", &quota, &period))
        return quota / period;
    if (read_numbers(folder, "cpu.cfs_quota_us", &quota, NULL) &&
        read_numbers(folder, "cpu.cfs_period_us", &period, NULL))
        return quota / period;
    return HUGE_VAL;
}

/* The smallest quota of the group `path` under `mount` and of the groups it belongs to. Inside a
 * container the path may be the host's, where only its root, the mount, is to be seen. */
static double least_quota(const char *mount, const char *path)
{
    char folder[PATH_MAX];
    size_t root = strlen(mount);
    if (snprintf(folder, sizeof folder, "%s%s", mount, path) >= (int)sizeof folder)
        return HUGE_VAL;
    double least = quota_of(folder);
    for (size_t end = strlen(folder); end > root; end--) {
        if (folder[end - 1] != '/')
            continue;
        folder[end - 1] = '\0';
        least = fmin(least, quota_of(folder));
    }
    return least;
}

/* Whether a list such as "cpu,cpuacct" has the controller "cpu". */
static bool has_cpu(const char *list)
{
    for (; list; list = strchr(list, ','), list = list ? list + 1 : NULL)
        if (strncmp(list, "cpu", 3) == 0 && (list[3] == ',' || list[3] == '\0'))
            return true;
    return false;
}

/* The quota of a line "NUMBER:CONTROLLERS:PATH"; version 2 has the number 0 and no controllers. */
static double quota_of_line(char *line, const char *mounts)
{
    char mount[PATH_MAX];
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    if (!path)
        return HUGE_VAL;
    *list++ = *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (!*list)
        return least_quota(mounts, path);
    if (!has_cpu(list) || snprintf(mount, sizeof mount, "%s/%s", mounts, list) >= (int)sizeof mount)
        return HUGE_VAL;
    double least = least_quota(mount, path);
    snprintf(mount, sizeof mount, "%s/cpu", mounts);
    return fmin(least, least_quota(mount, path));
}

int cores_of_groups(const char *self, const char *mounts)
{
    char line[PATH_MAX + 64];
    double least = HUGE_VAL;
    FILE *f = fopen(self, "r");
    while (f && fgets(line, sizeof line, f))
        least = fmin(least, quota_of_line(line, mounts));
    if (f)
        fclose(f);
    return least < INT_MAX ? (int)ceil(least) : 0;
}

int cores_usable(void)
{
    int allowed = allowed_processors();
    int quota = cores_of_groups("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < allowed ? quota : allowed;
}
