/* test_cores.c: processors that the scheduler and control groups allow, with files as Linux has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cores.h"

/* Writes root/name, with the folders on the way to it. */
static void put(const char *root, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *end = path + strlen(root) + 1; (end = strchr(end, '/')); *end++ = '/') {
        *end = '\0';
        mkdir(path, 0700);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* The groups of a process, and up to three files beside them. */
typedef struct {
    const char *self;
    const char *file[3][2]; /* name and text */
    int cores;
} groups_case;

static void quotas_are_rounded_up(void **state)
{
    static const groups_case cases[] = {
        /* version 2 */
        {"0::/\n", {{"cpu.max", "150000 100000\n"}}, 2},
        {"0::/\n", {{"cpu.max", "400000 100000\n"}}, 4},
        {"0::/\n", {{"cpu.max", "1000 100000\n"}}, 1},
        {"0::/\n", {{"cpu.max", "max 100000\n"}}, 0},
        {"0::/\n", {{"cpu.max", ""}}, 0},
        {"0::/\n", {{"cpu.max", "100000 0\n"}}, 0},
        {"0::/\n", {{NULL}}, 0},
        {"0::/a/b.slice\n", {{"a/b.slice/cpu.max", "200000 50000\n"}}, 4},
        /* the smallest of the group and of those around it */
        {"0::/a/b\n", {{"a/b/cpu.max", "max 100000\n"}, {"a/cpu.max", "300000 100000\n"}}, 3},
        {"0::/a/b\n", {{"a/b/cpu.max", "500000 100000\n"}, {"a/cpu.max", "300000 100000\n"}}, 3},
        {"0::/a/b\n", {{"a/b/cpu.max", "200000 100000\n"}, {"a/cpu.max", "300000 100000\n"}}, 2},
        /* a container that sees the host's path, and its own group as the root */
        {"0::/docker/0123\n", {{"cpu.max", "250000 100000\n"}}, 3},
        /* version 1, beside an unused version 2 */
        {"5:devices:/\n4:cpu,cpuacct:/job\n0::/\n",
         {{"cpu,cpuacct/job/cpu.cfs_quota_us", "600000\n"},
          {"cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"}},
         6},
        {"4:cpuacct,cpu:/job\n",
         {{"cpu/job/cpu.cfs_quota_us", "50001\n"}, {"cpu/job/cpu.cfs_period_us", "50000\n"}},
         2},
        {"1:cpu:/job\n",
         {{"cpu/job/cpu.cfs_quota_us", "-1\n"}, {"cpu/job/cpu.cfs_period_us", "100000\n"}},
         0},
        {"1:cpu:/job\n",
         {{"cpu/cpu.cfs_quota_us", "200000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}},
         2},
        {"1:cpu:/job\n", {{"cpu/job/cpu.cfs_quota_us", "200000\n"}}, 0},
        {"2:cpuset:/job\n3:cpuacct:/\n",
         {{"cpuset/job/cpu.cfs_quota_us", "100000\n"},
          {"cpuset/job/cpu.cfs_period_us", "100000\n"}},
         0},
        /* nothing of the kind */
        {"", {{"cpu.max", "100000 100000\n"}}, 0},
        {"nonsense\n:\n::\n", {{NULL}}, 0},
    };
    (void)state;
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        char root[] = "/tmp/gpuzip_cores_XXXXXX", self[PATH_MAX], command[PATH_MAX];
        assert_non_null(mkdtemp(root));
        put(root, "self", cases[i].self);
        for (int k = 0; k < 3 && cases[i].file[k][0]; k++) {
            snprintf(command, sizeof command, "groups/%s", cases[i].file[k][0]);
            put(root, command, cases[i].file[k][1]);
        }
        snprintf(self, sizeof self, "%s/self", root);
        snprintf(command, sizeof command, "%s/groups", root);
        int cores = cores_of_groups(self, command);
        if (cores != cases[i].cores)
            print_error("case %d\n", i);
        assert_int_equal(cores, cases[i].cores);
        snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(cores_of_groups("/nonexistent", "/nonexistent"), 0);
}

static void affinity_is_respected(void **state)
{
    cpu_set_t before, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int all = cores_usable();
    assert_in_range(all, 1, CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cores_usable(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(cores_usable(), all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas_are_rounded_up),
        cmocka_unit_test(affinity_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
