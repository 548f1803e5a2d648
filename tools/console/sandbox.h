/* sandbox.h: confines the process while it decodes files of strangers. */
#ifndef SANDBOX_H
#define SANDBOX_H

/* From here on the process writes, creates and removes files only in the folders of path[0, paths)
 * and of `other`, which may be NULL (below those that are folders); it starts no program and makes
 * no connection. "-" is no path. Where the kernel has no Landlock or no seccomp, it goes on
 * without. For the main thread, before it makes others. */
void sandbox_begin(char *const *path, int paths, const char *other);

#endif
