/* cores.h: how many processors this process may use. */
#ifndef GPUZIP_CORES_H
#define GPUZIP_CORES_H

/* Processors that this process may run on, or fewer where its control group (a container's, a batch
 * job's) allows it less time than they have; at least 1. */
int cores_usable(void);

/* The processors whose time the control groups allow, rounded up; 0: any. self: a file as
 * /proc/self/cgroup; mounts: a folder as /sys/fs/cgroup. For tests. */
int cores_of_groups(const char *self, const char *mounts);

#endif
