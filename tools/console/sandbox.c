/* sandbox.c: see sandbox.h. */
#include "sandbox.h"

#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* LeakSanitizer traces the process at its end. */
#if defined(__linux__) && defined(__has_include) && !defined(__SANITIZE_ADDRESS__)
#if __has_include(<linux/landlock.h>) && __has_include(<linux/seccomp.h>)
#define HAS_SANDBOX 1
#endif
#endif

#ifdef HAS_SANDBOX
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>

/* ---- files: Landlock ------------------------------------------------------ */

#define WRITES                                                                                     \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)
#define CHANGES                                                                                    \
    (WRITES | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                         \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |   \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* Allows writing in the folder of path, or below path if that is a folder. */
static void allow_writing(int rules, const char *path)
{
    char folder[PATH_MAX];
    struct stat st;
    if (strcmp(path, "-") == 0 || strlen(path) >= sizeof folder - 2)
        return;
    strcpy(folder, path);
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        char *slash = strrchr(folder, '/');
        strcpy(slash ? slash + 1 : folder, ".");
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = WRITES,
                                              .parent_fd = open(folder, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return; /* the operand will be refused for the same reason */
    syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static bool confine_files(char *const *path, int paths, const char *other)
{
    struct landlock_ruleset_attr handled = {.handled_access_fs = CHANGES};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (rules < 0)
        return false;
    for (int i = 0; i < paths; i++)
        allow_writing(rules, path[i]);
    if (other)
        allow_writing(rules, other);
    bool done = syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return done;
}

/* ---- programs and connections: seccomp ------------------------------------ */

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

#define OTHER_CALLS 0x40000000 /* and above: numbers of the x32 ABI */

static bool confine_calls(void)
{
#ifdef OWN_ARCH
#define REFUSE(call)                                                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                                         \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM), /* calls of another architecture */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, OTHER_CALLS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        REFUSE(execve),
        REFUSE(execveat),
        REFUSE(socket),
        REFUSE(connect),
        REFUSE(bind),
        REFUSE(ptrace),
        REFUSE(process_vm_writev),
        REFUSE(mount),
        REFUSE(bpf),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
#else
    return false;
#endif
}

void sandbox_begin(char *const *path, int paths, const char *other)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return;
    bool files = confine_files(path, paths, other), calls = confine_calls();
    if (files || calls)
        message_info(VERBOSITY_SUMMARY + 1, NULL, "confined: %s%s%s", files ? "files" : "",
                     files && calls ? ", " : "", calls ? "programs and connections" : "");
}

#else

void sandbox_begin(char *const *path, int paths, const char *other)
{
    (void)path;
    (void)paths;
    (void)other;
}

#endif
