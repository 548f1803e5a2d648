/* faults_main.c: runs the program again and again, with another fault each time (fault_shim.c), and
 * looks at what is left.
 *
 *     faults GPUZIP SHIM TINY_CHECKPOINT CASES [SCENARIO]
 *
 * About CASES runs in all, spread over the scenarios, the classes of calls and the errors. After
 * each of them, of which none may last longer than RUN_SECONDS:
 *   - the exit code is 0 to 3; with 0, folder and standard output are as without the fault;
 *   - with another one, standard error has a message of the program;
 *   - no name is there that is neither of before nor of the result;
 *   - each file has its content of before or that of the result; a source is gone only where the
 *     whole result is there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUN_SECONDS = 30, FILES_MAX = 12, WORDS_MAX = 24, CLASSES_MAX = 16, PATH_SIZE = 512 };

/* A file of a folder, in memory. */
typedef struct {
    char name[64];
    char *data; /* [size] */
    size_t size;
} kept_file;

typedef struct {
    kept_file file[FILES_MAX];
    int files;
} snapshot;

/* A command, in words separated by blanks, and the files that it finds: "NAME=OF", where OF is a
 * file of the stock. The stock is in ../stock: models, texts, archives. */
typedef struct {
    const char *name, *command, *files;
    const char *input; /* of the stock, for standard input, or NULL */
    bool has_times;    /* standard output does */
} scenario;

#define MODEL "--model ../stock/tiny.gpzm "

static const scenario scenarios[] = {
    {"compress", "-T1 " MODEL "text", "text=text", NULL, false},
    {"replace", "-T1 -f " MODEL "text", "text=text text.gpz=dull", NULL, false},
    {"threads", "-T3 --rm " MODEL "--streams 3 --block-size 200 text", "text=text", NULL, false},
    {"pack", "-T1 " MODEL "dull", "dull=dull", NULL, false},
    {"pipe", "-T1 " MODEL "-c", "", "text", false},
    {"experts", "-T1 " MODEL "--model ../stock/narrow.gpzm --naive-bayes --alpha fit text",
     "text=text", NULL, false},
    {"stats", "-T1 " MODEL "--json -o out text", "text=text", NULL, true},
    {"decompress", "-T1 -d " MODEL "text.gpz", "text.gpz=text.gpz", NULL, false},
    {"decompress-rm", "-T2 -d --rm " MODEL "text.gpz", "text.gpz=text.gpz", NULL, false},
    {"decompress-packed", "-T1 -d " MODEL "dull.gpz", "dull.gpz=dull.gpz", NULL, false},
    {"test", "-T1 -t " MODEL "text.gpz", "text.gpz=text.gpz", NULL, false},
    {"list", "-T1 -lv " MODEL "text.gpz dull.gpz", "text.gpz=text.gpz dull.gpz=dull.gpz", NULL,
     false},
    {"several", "-T1 --rm " MODEL "text dull", "text=text dull=dull", NULL, false},
    {"recursive", "-T1 -r " MODEL ".", "text=text dull=dull", NULL, false},
    {"explain", "explain -T1 " MODEL "text -o page.html", "text=text", NULL, false},
    {"import", "model import ../stock/checkpoint/tiny.bin -o x.gpzm", "", NULL, false},
    {"learn", "model learn " MODEL "text dull -o x.gpzm --size 1", "text=text dull=dull", NULL,
     false},
    {"export", "model export ../stock/tiny.gpzm -o x.gpzm", "", NULL, false},
    {"info", "model info ../stock/tiny.gpzm", "", NULL, false},
};

/* The errors that calls of a class fail with; 0: a short read or write. */
static const struct {
    const char *class;
    int error[4], errors;
} class_errors[] = {
    {"alloc", {ENOMEM}, 1},       {"open", {EIO, EMFILE, EINTR}, 3},
    {"read", {EIO, EINTR, 0}, 3}, {"write", {ENOSPC, EIO, EINTR, 0}, 4},
    {"sync", {EIO}, 1},           {"close", {EIO, EINTR}, 2},
    {"rename", {EIO, ENOSPC}, 2}, {"stat", {EIO}, 1},
    {"map", {ENOMEM}, 1},         {"thread", {EAGAIN}, 1},
    {"attribute", {EPERM}, 1},
};

static char program[PATH_MAX], shim[PATH_MAX], folder[PATH_SIZE];
static int cases, failures;
static int by_code[5];

/* ---- files ---------------------------------------------------------------- */

__attribute__((noreturn)) static void give_up(const char *text)
{
    fprintf(stderr, "faults: %s: %s\n", text, strerror(errno));
    exit(1);
}

static void *take(size_t size)
{
    void *made = malloc(size ? size : 1);
    if (!made)
        give_up("memory");
    return made;
}

/* false: there is no such regular file. The caller frees *data. */
static bool read_file(const char *path, char **data, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    *size = (size_t)st.st_size;
    *data = take(*size + 1);
    if (read(fd, *data, *size) != (ssize_t)*size)
        give_up(path);
    (*data)[*size] = '\0';
    close(fd);
    return true;
}

static void write_file(const char *path, const char *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        give_up(path);
    close(fd);
}

static void empty_folder(const char *path)
{
    char name[PATH_SIZE + 280];
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlink(name);
    }
    if (d)
        closedir(d);
}

/* The files of the working folder. */
static void look(snapshot *s)
{
    DIR *d = opendir("run");
    char path[PATH_SIZE];
    s->files = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        kept_file *f = &s->file[s->files];
        snprintf(path, sizeof path, "run/%.255s", entry->d_name);
        if (s->files < FILES_MAX && read_file(path, &f->data, &f->size)) {
            snprintf(f->name, sizeof f->name, "%.63s", entry->d_name);
            s->files++;
        }
    }
    if (d)
        closedir(d);
}

static void forget(snapshot *s)
{
    for (int i = 0; i < s->files; i++)
        free(s->file[i].data);
    s->files = 0;
}

static const kept_file *find(const snapshot *s, const char *name)
{
    for (int i = 0; i < s->files; i++)
        if (strcmp(s->file[i].name, name) == 0)
            return &s->file[i];
    return NULL;
}

static bool is_same(const kept_file *a, const kept_file *b)
{
    return a && b && a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* ---- runs ----------------------------------------------------------------- */

/* Makes the working folder of a scenario. */
static void lay_out(const scenario *s)
{
    char files[256], path[PATH_SIZE];
    empty_folder("run");
    snprintf(files, sizeof files, "%s", s->files);
    for (char *word = strtok(files, " "); word; word = strtok(NULL, " ")) {
        char *data, *of = strchr(word, '=');
        size_t size;
        *of++ = '\0';
        if (!*of)
            continue;
        snprintf(path, sizeof path, "stock/%s", of);
        if (!read_file(path, &data, &size))
            give_up(path);
        snprintf(path, sizeof path, "run/%s", word);
        write_file(path, data, size);
        free(data);
    }
}

static void redirect(const char *path, int flags, int fd)
{
    int opened = open(path, flags, 0644);
    if (opened < 0 || dup2(opened, fd) < 0)
        _exit(125);
    close(opened);
}

__attribute__((noreturn)) static void execute(const char *command, const char *input,
                                              const char *fault)
{
    char words[512], path[PATH_SIZE + 16], *argument[WORDS_MAX] = {program};
    struct rlimit none = {0, 0};
    int count = 1;
    snprintf(words, sizeof words, "%s", command);
    for (char *word = strtok(words, " "); word && count < WORDS_MAX - 1; word = strtok(NULL, " "))
        argument[count++] = word;
    setrlimit(RLIMIT_CORE, &none);
    snprintf(path, sizeof path, "%s%s", input ? "stock/" : "/dev/null", input ? input : "");
    redirect(path, O_RDONLY, 0);
    redirect("out", O_WRONLY | O_CREAT | O_TRUNC, 1);
    redirect("err", O_WRONLY | O_CREAT | O_TRUNC, 2);
    snprintf(path, sizeof path, "%s/log", folder);
    unlink(path);
    setenv("GPUZIP_FAULT_LOG", path, 1);
    setenv("XDG_CACHE_HOME", folder, 1);
    if (fault) {
        setenv("GPUZIP_FAULT", fault, 1);
        setenv("LD_PRELOAD", shim, 1);
    }
    if (chdir("run") != 0)
        _exit(125);
    alarm(0);
    execv(program, argument);
    _exit(125);
}

/* Returns the exit code, 128 + a signal, or -1 after RUN_SECONDS. */
static int run(const char *command, const char *input, const char *fault)
{
    int state;
    pid_t pid = fork();
    if (pid == 0)
        execute(command, input, fault);
    for (int tick = 0; tick < RUN_SECONDS * 2000; tick++) {
        struct timespec half = {0, 500000};
        if (waitpid(pid, &state, WNOHANG) == pid)
            return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
        nanosleep(&half, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &state, 0);
    return -1;
}

/* What a scenario finds and makes when nothing fails. */
typedef struct {
    const scenario *s;
    snapshot before, after;
    char *out;
    size_t out_size;
    long calls[CLASSES_MAX]; /* [class_errors] */
} reference;

/* Returns why the state behind a run is wrong, or NULL. */
static const char *judge(const reference *r, int code, const snapshot *now, const char *out,
                         size_t out_size, const char *err)
{
    if (code < 0)
        return "it hangs";
    if (code > 3)
        return "it ended by a signal or with a code of others";
    if (code != 0 && !strstr(err, "gpuzip: "))
        return "no message";
    if (code == 0 && !r->s->has_times &&
        (out_size != r->out_size || memcmp(out, r->out, out_size) != 0))
        return "exit code 0, and standard output is another";
    for (int i = 0; i < now->files; i++) {
        const kept_file *f = &now->file[i];
        if (!is_same(f, find(&r->after, f->name)) &&
            (code == 0 || !is_same(f, find(&r->before, f->name))))
            return find(&r->after, f->name) || find(&r->before, f->name) ? "a file is wrong"
                                                                         : "a file was left";
    }
    for (int i = 0; i < r->after.files; i++)
        if (code == 0 && !find(now, r->after.file[i].name))
            return "exit code 0, and a result is missing";
    for (int i = 0; i < r->before.files; i++) {
        if (find(now, r->before.file[i].name))
            continue;
        if (find(&r->after, r->before.file[i].name))
            return "a file is gone";
        /* A source that --rm removed: its result has its name with or without .gpz. */
        char other[80];
        const char *name = r->before.file[i].name;
        size_t size = strlen(name);
        if (size > 4 && strcmp(name + size - 4, ".gpz") == 0)
            snprintf(other, sizeof other, "%.*s", (int)size - 4, name);
        else
            snprintf(other, sizeof other, "%s.gpz", name);
        if (!is_same(find(now, other), find(&r->after, other)))
            return "a source is gone without its result";
    }
    return NULL;
}

static void try(const reference *r, const char *fault)
{
    snapshot now = {.files = 0};
    char *out = NULL, *err = NULL, *log = NULL;
    size_t out_size = 0, size;
    lay_out(r->s);
    int code = run(r->s->command, r->s->input, fault);
    look(&now);
    if (!read_file("out", &out, &out_size) || !read_file("err", &err, &size))
        give_up("output");
    const char *wrong = judge(r, code, &now, out, out_size, err);
    cases++;
    if (code >= 0 && code < 4)
        by_code[code]++;
    else
        by_code[4]++;
    if (wrong) {
        failures++;
        if (!read_file("log", &log, &size))
            log = NULL;
        printf("FAILED %s %s: %s; exit code %d; %s  stderr: %s\n", r->s->name, fault, wrong, code,
               log ? log : "\n", err);
    }
    forget(&now);
    free(out);
    free(err);
    free(log);
}

/* ---- all of a scenario ---------------------------------------------------- */

/* Runs a scenario without a fault. */
static void learn(reference *r, const scenario *s)
{
    char *log, *at;
    size_t size;
    *r = (reference){.s = s};
    lay_out(s);
    look(&r->before);
    int code = run(s->command, s->input, "none:0:0");
    look(&r->after);
    if (code != 0 || !read_file("out", &r->out, &r->out_size) || !read_file("log", &log, &size)) {
        fprintf(stderr, "faults: %s: exit code %d without a fault\n", s->name, code);
        exit(1);
    }
    for (size_t i = 0; i < sizeof class_errors / sizeof *class_errors; i++)
        if ((at = strstr(log, class_errors[i].class)) && (at == log || at[-1] == '\n'))
            r->calls[i] = atol(at + strlen(class_errors[i].class));
    free(log);
}

/* Up to `most` faults of one class and error, spread over its calls; the first calls and the last
 * ones are all among them where they are few. */
static void sweep(const reference *r, size_t class, int error, long most, bool lasting)
{
    char fault[80];
    long calls = r->calls[class];
    long step = calls > most ? (calls + most - 1) / most : 1;
    for (long at = 1; at <= calls; at += step) {
        long shifted = at + (step > 1 ? (at * 2654435761L >> 8) % step : 0);
        snprintf(fault, sizeof fault, "%s:%ld:%d%s", class_errors[class].class,
                 shifted < calls ? shifted : calls, error, lasting ? ":lasting" : "");
        try(r, fault);
    }
}

static void work_on(const scenario *s, long share)
{
    reference r;
    learn(&r, s);
    long most = share / 24 > 1 ? share / 24 : 1; /* as many errors, of which some do not occur */
    for (size_t i = 0; i < sizeof class_errors / sizeof *class_errors; i++) {
        bool is_alloc = i == 0;
        for (int k = 0; k < class_errors[i].errors; k++) {
            int error = class_errors[i].error[k];
            sweep(&r, i, error, is_alloc ? share / 2 : most, false);
            if (error != EINTR && error != 0)
                sweep(&r, i, error, is_alloc ? share / 8 : most, true);
        }
    }
    forget(&r.before);
    forget(&r.after);
    free(r.out);
}

/* ---- the stock ------------------------------------------------------------ */

static void must(const char *command)
{
    int code = run(command, NULL, NULL);
    if (code != 0) {
        fprintf(stderr, "faults: exit code %d: %s\n", code, command);
        exit(1);
    }
}

static void make_stock(const char *tiny_checkpoint)
{
    char command[2 * PATH_SIZE], text[600];
    size_t size = 0;
    snprintf(command, sizeof command,
             "mkdir run stock && mv $('%s') stock/checkpoint && chmod 755 stock/checkpoint",
             tiny_checkpoint);
    if (system(command) != 0)
        give_up("the checkpoint");
    while (size < 380)
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 "the %zu. of %zu words is said, not a word is heard; ", size % 37,
                                 size % 11 * 7);
    write_file("stock/text", text, size);
    memset(text, 'x', sizeof text);
    write_file("stock/dull", text, sizeof text);
    must("model import ../stock/checkpoint/tiny.bin -o ../stock/tiny.gpzm");
    must("model import ../stock/checkpoint/tiny.bin -o ../stock/narrow.gpzm --weight-bits 8");
    must(MODEL "../stock/text -o ../stock/text.gpz");
    must(MODEL "../stock/dull -o ../stock/dull.gpz");
}

int main(int argc, char **argv)
{
    char template[] = "/tmp/gpuzip-faults-XXXXXX", command[PATH_SIZE];
    if (argc < 5 || !realpath(argv[1], program) || !realpath(argv[2], shim) || !mkdtemp(template) ||
        chdir(template) != 0) {
        fprintf(stderr, "usage: faults GPUZIP SHIM TINY_CHECKPOINT CASES [SCENARIO]\n");
        return 1;
    }
    snprintf(folder, sizeof folder, "%s", template);
    make_stock(argv[3]);
    long share = atol(argv[4]) / (long)(sizeof scenarios / sizeof *scenarios);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        int before = cases, failed = failures;
        if (argc > 5 && strcmp(argv[5], scenarios[i].name) != 0)
            continue;
        work_on(&scenarios[i], share);
        printf("%-18s %5d faults, %d failures\n", scenarios[i].name, cases - before,
               failures - failed);
        fflush(stdout);
    }
    printf("%d faults: exit codes 0: %d, 1: %d, 2: %d, 3: %d, others: %d; failures: %d\n", cases,
           by_code[0], by_code[1], by_code[2], by_code[3], by_code[4], failures);
    snprintf(command, sizeof command, "rm -rf '%s'", template);
    return system(command) != 0 || failures > 0;
}
