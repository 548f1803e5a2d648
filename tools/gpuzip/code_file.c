/* code_file.c: see code_file.h. */
#include "code_file.h"

#include "file_io.h"
#include "message.h"
#include "progress.h"
#include "report.h"
#include "setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file in progress: the context of the library's callbacks. */
typedef struct code_transfer {
    struct code_transfer *next;
    code_run *run;
    char *path, *derived; /* the target's name, or NULL */
    file_source source;
    file_target target;
    progress progress;
    report_call call;
    curve *curve;  /* NULL: experts are not measured */
    bool has_lost; /* bytes of the original, which on_lost() named */
    double begun;
} transfer;

static int on_read(void *context, void *data, size_t size, size_t *got)
{
    return file_read(&((transfer *)context)->source, data, size, got);
}

static int on_write(void *context, const void *data, size_t size)
{
    return file_write(&((transfer *)context)->target, data, size);
}

static int on_progress(void *context, uint64_t bytes_in, uint64_t bytes_out)
{
    progress_update(&((transfer *)context)->progress, bytes_in, bytes_out);
    return 0;
}

static void on_token(void *context, const gpuzip_token *token)
{
    curve_add(((transfer *)context)->curve, token);
}

static void on_lost(void *context, uint64_t offset, uint64_t size)
{
    transfer *t = context;
    t->has_lost = true;
    if (size > 0)
        message_error(t->source.name, "bytes %llu to %llu are lost; zeros stand in their place",
                      (unsigned long long)offset, (unsigned long long)(offset + size - 1));
    else
        message_error(t->source.name,
                      "an unknown number of bytes is lost before byte %llu of the result",
                      (unsigned long long)offset);
}

bool code_file_has_suffix(const char *name)
{
    size_t size = strlen(name), suffix = strlen(FILE_SUFFIX);
    return size > suffix && name[size - suffix - 1] != '/' &&
           strcmp(name + size - suffix, FILE_SUFFIX) == 0;
}

/* Makes the target's name from the source's. Returns false, after a warning, if the source's
 * suffix doesn't fit the operation. The caller frees *name. */
static bool name_target(char **name, const args *a, const char *path)
{
    bool has_suffix = code_file_has_suffix(path);
    char *made;
    int size;
    if (a->mode == MODE_COMPRESS) {
        if (has_suffix && !a->force) {
            message_warning(path, "has the suffix %s already, skipped (-f compresses it again)",
                            FILE_SUFFIX);
            return false;
        }
        size = asprintf(&made, "%s%s", path, FILE_SUFFIX);
    } else if (has_suffix) {
        size = asprintf(&made, "%.*s", (int)(strlen(path) - strlen(FILE_SUFFIX)), path);
    } else if (a->force) {
        size = asprintf(&made, "%s.out", path);
    } else {
        message_warning(path, "lacks the suffix %s, skipped (-o FILE, -c or -f decompress it)",
                        FILE_SUFFIX);
        return false;
    }
    if (size < 0) {
        message_error(path, "%s", strerror(ENOMEM));
        return false;
    }
    *name = made;
    return true;
}

/* Refuses to write compressed data to a terminal or to read it from one. */
static bool refuse_terminal(const args *a, bool from_stdin, bool to_stdout)
{
    if (a->mode == MODE_COMPRESS && to_stdout && isatty(STDOUT_FILENO)) {
        message_error(NULL, "compressed data is not written to a terminal; try 'gpuzip -h'");
        return true;
    }
    if (a->mode != MODE_COMPRESS && from_stdin && isatty(STDIN_FILENO)) {
        message_error(NULL, "compressed data is not read from a terminal; try 'gpuzip -h'");
        return true;
    }
    return false;
}

static void print_summary(const args *a, const report_call *call)
{
    const gpuzip_stats *s = &call->stats;
    uint64_t original = call->decompressed ? s->bytes_out : s->bytes_in;
    uint64_t compressed = call->decompressed ? s->bytes_in : s->bytes_out;
    char rate[20];
    progress_format_rate(rate, (double)original, call->seconds);
    if (a->mode == MODE_COMPRESS)
        message_info(VERBOSITY_SUMMARY, call->input,
                     "%.2f%% (%llu => %llu bytes, %.3f bits/byte) %s",
                     original > 0 ? 100.0 * (double)compressed / (double)original : 100.0,
                     (unsigned long long)original, (unsigned long long)compressed,
                     report_bits_per_byte(original, compressed), rate);
    else
        message_info(VERBOSITY_SUMMARY, call->input, "%s%llu => %llu bytes, %s",
                     a->mode == MODE_TEST ? "good, " : "", (unsigned long long)compressed,
                     (unsigned long long)original, rate);
}

static void free_transfer(transfer *t)
{
    file_close_source(&t->source);
    free(t->curve);
    free(t->derived);
    free(t->path);
    free(t);
}

/* Completes a coded file, and removes the source if --rm is given. */
static void complete(transfer *t)
{
    const args *a = t->run->a;
    bool named = false;
    if (a->mode != MODE_TEST && !file_commit_target(&t->target, &t->source, &named))
        return;
    bool unchanged = file_source_unchanged(&t->source);
    print_summary(a, &t->call);
    if (a->stats || a->json) /* beside the data, not among them */
        report_print(a->mode == MODE_TEST || t->target.path ? stdout : stderr, a->json, t->run->gz,
                     &t->call);
    if (a->remove_source && named && unchanged && t->source.path &&
        file_sync_folder(t->target.path) && file_source_unchanged(&t->source))
        file_remove_source(&t->source);
}

/* The library has finished a file; always the earliest, because files end in order. */
static void on_ended(void *context, gpuzip_status status, const gpuzip_stats *stats)
{
    transfer *t = context;
    code_run *run = t->run;
    run->under_way = t->next;
    t->call.seconds = progress_seconds() - t->begun;
    progress_end(&t->progress);
    if (status == GPUZIP_OK) {
        t->call.stats = *stats;
        complete(t);
    } else {
        /* A callback that failed has reported its error. */
        if (!t->source.failed && !t->target.failed)
            message_status(t->source.name, status, gpuzip_error(run->gz));
        if (status == GPUZIP_ERR_CORRUPT && t->has_lost && run->a->mode != MODE_TEST)
            file_commit_target(&t->target, &t->source, NULL);
        else if (run->a->mode != MODE_TEST)
            file_discard_target(&t->target);
    }
    free_transfer(t);
}

/* Opens the source and the target of path. Returns NULL after a message on an error or skip. */
static transfer *open_transfer(code_run *run, const char *path)
{
    const args *a = run->a;
    bool from_stdin = strcmp(path, "-") == 0;
    bool derives_name = a->mode != MODE_TEST && !a->to_stdout && !a->output && !from_stdin;
    bool to_stdout = a->mode != MODE_TEST && !a->output && !derives_name;
    file_kinds kinds = a->force                           ? FILE_ANYTHING
                       : derives_name || a->remove_source ? FILE_REGULAR_ONLY
                       : a->mode == MODE_TEST             ? FILE_THROUGH_LINKS
                                                          : FILE_OR_FIFO;
    if (refuse_terminal(a, from_stdin, to_stdout))
        return NULL;
    transfer *t = calloc(1, sizeof *t);
    char *copy = t ? strdup(path) : NULL;
    if (!copy) {
        message_error(path, "%s", strerror(ENOMEM));
        free(t);
        return NULL;
    }
    t->run = run;
    t->path = copy;
    t->source.fd = -1;
    if (!file_open_source(&t->source, t->path, kinds))
        goto out;
    if (derives_name && !name_target(&t->derived, a, t->path))
        goto out;
    if (a->mode == MODE_TEST)
        t->target = (file_target){.name = "(nowhere)"};
    else if (!file_open_target(&t->target, derives_name ? t->derived : a->output, a->force,
                               &t->source))
        goto out;
    return t;
out:
    free_transfer(t);
    return NULL;
}

/* Measures each expert for --stats and --json, unless memory is short. */
static void begin_measuring(transfer *t, gpuzip_io *io)
{
    t->curve = malloc(sizeof *t->curve);
    if (!t->curve)
        return;
    curve_begin(t->curve);
    t->call.curve = t->curve;
    io->observe = on_token;
}

/* Starts an open transfer behind all others. */
static void begin(transfer *t)
{
    code_run *run = t->run;
    const args *a = run->a;
    transfer **last = &run->under_way;
    gpuzip_io io = {.context = t,
                    .read = on_read,
                    .write = a->mode == MODE_TEST ? NULL : on_write,
                    .progress = on_progress,
                    .ended = on_ended,
                    .lost = a->keep_going ? on_lost : NULL};
    while (*last)
        last = &(*last)->next;
    *last = t;
    t->call = (report_call){.input = t->source.name,
                            .output = t->target.name,
                            .decompressed = a->mode != MODE_COMPRESS};
    progress_begin(&t->progress, t->source.name, file_source_size(&t->source),
                   t->call.decompressed);
    t->begun = progress_seconds();
    if (t->call.decompressed) {
        gpuzip_begin_decompress(run->gz, &io);
    } else {
        gpuzip_options options;
        setup_options(&options, a);
        if (a->stats || a->json)
            begin_measuring(t, &io);
        gpuzip_begin_compress(run->gz, &options, &io);
    }
}

/* Whether path may be opened before the files in progress have ended: it is a regular file, and
 * no file in progress reads or writes it. */
static bool may_begin(const code_run *run, const char *path)
{
    struct stat st;
    if (strcmp(path, "-") == 0 || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    for (const transfer *t = run->under_way; t; t = t->next)
        if ((t->source.st.st_dev == st.st_dev && t->source.st.st_ino == st.st_ino) ||
            (t->target.path && file_is_same(t->target.path, true, &st)))
            return false;
    return true;
}

void code_file(code_run *run, const char *path)
{
    if (run->under_way && !may_begin(run, path))
        code_end(run);
    message_mute(run->under_way);
    transfer *t = open_transfer(run, path);
    message_mute(false);
    if (!t && run->under_way) { /* messages come in the order of the files */
        code_end(run);
        t = open_transfer(run, path);
    }
    if (t)
        begin(t);
    for (t = run->under_way; t; t = t->next) /* read already; saves descriptors */
        if (!run->a->remove_source)
            file_close_source(&t->source);
}

void code_end(code_run *run)
{
    gpuzip_finish(run->gz);
}
