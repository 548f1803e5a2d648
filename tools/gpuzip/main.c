/* main.c: the program gpuzip: runs the operation of the command line on each file. */
#include "args.h"
#include "bench.h"
#include "code_file.h"
#include "commands.h"
#include "devices.h"
#include "file_io.h"
#include "list.h"
#include "message.h"
#include "sandbox.h"
#include "setup.h"
#include "signals.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The state of a run over all files. */
typedef struct {
    const args *a;
    gpuzip *gz;
    code_run run;       /* for all that is coded */
    double peak;        /* for MODE_BENCH */
    list_totals totals; /* for MODE_LIST */
} work;

static void work_on_file(work *w, const char *path)
{
    switch (w->a->mode) {
    case MODE_LIST:
        list_file(w->gz, w->a, path, &w->totals);
        break;
    case MODE_BENCH:
        bench_file(w->gz, w->a, path, w->peak);
        break;
    default:
        code_file(&w->run, path);
        break;
    }
}

static int by_name(const FTSENT **one, const FTSENT **other)
{
    return strcmp((*one)->fts_name, (*other)->fts_name);
}

/* Whether to process a file found in a folder. The user did not name it, so links and files whose
 * suffix doesn't fit the operation are skipped without a warning. */
static bool is_selected(const args *a, const FTSENT *entry)
{
    bool compressed = args_has_suffix(a, entry->fts_name);
    if (entry->fts_info != FTS_F)
        return false;
    if (file_is_temporary(entry->fts_name)) {
        if (file_is_abandoned(entry->fts_path))
            message_info(VERBOSITY_SUMMARY, entry->fts_path,
                         "left by a gpuzip that did not end well, skipped; it may be removed");
        return false;
    }
    if (a->mode == MODE_COMPRESS)
        return !compressed;
    return compressed || a->mode == MODE_BENCH;
}

/* Works on path or, when it is a folder, on the files in it and below. */
static void work_on_tree(work *w, const char *path)
{
    char *roots[] = {(char *)path, NULL};
    /* With a comparison function fts reads a whole folder before it returns a file, so
     * files that we create there are not visited. */
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (!tree) {
        message_error(path, "%s", strerror(errno));
        return;
    }
    FTSENT *entry;
    while ((errno = 0, entry = fts_read(tree))) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR ||
            (entry->fts_info == FTS_NS && entry->fts_level > FTS_ROOTLEVEL)) {
            code_end(&w->run);
            message_error(entry->fts_path, "cannot examine: %s", strerror(entry->fts_errno));
        } else if (entry->fts_level == FTS_ROOTLEVEL && entry->fts_info != FTS_D &&
                   entry->fts_info != FTS_DP)
            work_on_file(w, path); /* not a folder; named by the user */
        else if (is_selected(w->a, entry))
            work_on_file(w, entry->fts_path);
    }
    if (errno != 0)
        message_error(path, "%s", strerror(errno));
    fts_close(tree);
}

static bool open_library(work *w)
{
    if (w->a->mode == MODE_LIST && w->a->models == 0 && message_verbosity() < VERBOSITY_SUMMARY &&
        !w->a->json) {
        /* The table doesn't tell whether the model is present: don't load it. */
        return setup_open_bare(&w->gz, "cpu", w->a->threads);
    }
    if (!setup_open(&w->gz, w->a))
        return false;
    if (w->a->mode != MODE_BENCH)
        return true;
    gpuzip_status status = gpuzip_measure_peak(w->gz, &w->peak);
    if (status != GPUZIP_OK)
        message_status(NULL, status, gpuzip_error(w->gz));
    return status == GPUZIP_OK;
}

/* Refuses a single file to whose name the suffix cannot be added, before the model is loaded. (One
 * of several is refused in its turn.) Returns whether it did. */
static bool has_name_too_long(const args *a)
{
    struct stat st;
    char *name;
    bool derives =
        a->mode == MODE_COMPRESS && !a->to_stdout && !a->output && !a->folder && !a->recursive;
    if (!derives || a->files != 1 || strcmp(a->file[0], "-") == 0 ||
        asprintf(&name, "%s%s", a->file[0], a->suffix) < 0)
        return false;
    bool too_long = lstat(name, &st) != 0 && errno == ENAMETOOLONG;
    if (too_long)
        message_error(name, "cannot create: %s", strerror(ENAMETOOLONG));
    free(name);
    return too_long;
}

/* Archives may be hostile: what reads them gets no more than it needs. Not where a GPU's driver may
 * need more. */
static void confine(const args *a)
{
    bool decodes = a->mode == MODE_DECOMPRESS || a->mode == MODE_TEST || a->mode == MODE_LIST;
    bool names = a->mode == MODE_DECOMPRESS && !a->to_stdout;
    if (!decodes || (gpuzip_count_devices() > 1 && (!a->device || strcmp(a->device, "cpu") != 0)))
        return;
    const char *elsewhere = a->folder ? a->folder : a->output;
    sandbox_begin(a->file, names && (!elsewhere || a->remove_source) ? a->files : 0, elsewhere);
}

/* Makes the folder of --output-dir-flat if it is missing. Returns false after an error message. */
static bool make_folder(const args *a)
{
    if (!a->folder || mkdir(a->folder, 0777) == 0 || errno == EEXIST)
        return true;
    message_error(a->folder, "cannot create: %s", strerror(errno));
    return false;
}

static void work_on_all(const args *a)
{
    work w = {.a = a};
    if (make_folder(a) && !has_name_too_long(a) && open_library(&w)) {
        w.run = (code_run){.a = a, .gz = w.gz};
        confine(a);
        for (int i = 0; i < a->files; i++) {
            if (a->recursive)
                work_on_tree(&w, a->file[i]);
            else
                work_on_file(&w, a->file[i]);
        }
        code_end(&w.run);
        if (a->mode == MODE_LIST)
            list_end(a, &w.totals);
    }
    gpuzip_close(w.gz);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        message_info(VERBOSITY_SUMMARY + 1, NULL, "peak memory %.1f MiB",
                     (double)usage.ru_maxrss / 1024);
}

/* Moves the word `explain` or `model` before -q and -v that precede it. */
static void move_command_first(int argc, char **argv)
{
    int at = 1;
    while (at < argc && (strcmp(argv[at], "--quiet") == 0 || strcmp(argv[at], "--verbose") == 0 ||
                         (argv[at][0] == '-' && argv[at][1] &&
                          strspn(argv[at] + 1, "qv") == strlen(argv[at] + 1))))
        at++;
    if (at >= argc || (strcmp(argv[at], "explain") != 0 && strcmp(argv[at], "model") != 0))
        return;
    char *word = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
    argv[1] = word;
}

int main(int argc, char **argv)
{
    args a;
    bool to_stdout;
    if (!file_begin())
        return EXIT_CODE_ERROR;
    message_begin("gpuzip");
    signals_begin();
    /* gpunzip and gpzcat have no commands. */
    bool has_commands = argc > 1 && !args_name_decompresses(argv[0], &to_stdout);
    if (has_commands)
        move_command_first(argc, argv);
    const char *word = has_commands ? argv[1] : "";
    if (strcmp(word, "model") == 0)
        model_cmd(argc - 1, argv + 1);
    else if (strcmp(word, "explain") == 0)
        explain_cmd(argc - 1, argv + 1);
    else if (args_parse(&a, argc, argv) == ARGS_RUN) {
        if (a.mode == MODE_DEVICES)
            devices_list(&a);
        else
            work_on_all(&a);
    }
    return (int)message_end();
}
