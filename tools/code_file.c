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

/* What the library's callbacks work on. */
typedef struct {
    file_source source;
    file_target target;
    progress progress;
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

bool code_file_has_suffix(const char *name)
{
    size_t size = strlen(name), suffix = strlen(FILE_SUFFIX);
    return size > suffix && name[size - suffix - 1] != '/' &&
           strcmp(name + size - suffix, FILE_SUFFIX) == 0;
}

/* Makes the target's name from the source's. Returns false, after telling the user,
 * when the name says that this file is not meant. The caller frees *name. */
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

/* Compressed data is no sight for a terminal, and nobody types it. */
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

/* Runs the library over an open transfer. Returns false after telling the user. */
static bool run(gpuzip *gz, const args *a, transfer *t, report_call *call)
{
    gpuzip_io io = {.context = t,
                    .read = on_read,
                    .write = a->mode == MODE_TEST ? NULL : on_write,
                    .progress = on_progress};
    gpuzip_status status;

    call->decompressed = a->mode != MODE_COMPRESS;
    progress_begin(&t->progress, t->source.name, file_source_size(&t->source), call->decompressed);
    double begun = progress_seconds();
    if (call->decompressed) {
        status = gpuzip_decompress(gz, &io, &call->stats);
    } else {
        gpuzip_options options;
        setup_options(&options, a);
        status = gpuzip_compress(gz, &options, &io, &call->stats);
    }
    call->seconds = progress_seconds() - begun;
    progress_end(&t->progress);
    /* What failed in a callback was told there. */
    if (status != GPUZIP_OK && !t->source.failed && !t->target.failed)
        message_status(t->source.name, status, gpuzip_error(gz));
    return status == GPUZIP_OK;
}

/* Codes an open source into path (NULL: stdout); removes it if asked to. */
static void code_source(gpuzip *gz, const args *a, transfer *t, const char *path)
{
    report_call call = {.input = t->source.name};
    bool named = false;

    if (a->mode != MODE_TEST && !file_open_target(&t->target, path, a->force, &t->source))
        return;
    if (a->mode == MODE_TEST)
        t->target = (file_target){.name = "(nowhere)"};
    call.output = t->target.name;
    if (!run(gz, a, t, &call)) {
        if (a->mode != MODE_TEST)
            file_discard_target(&t->target);
        return;
    }
    if (a->mode != MODE_TEST && !file_commit_target(&t->target, &t->source, &named))
        return;
    print_summary(a, &call);
    if (a->stats || a->json) /* beside the data, not among them */
        report_print(a->mode == MODE_TEST || path ? stdout : stderr, a, gz, &call);
    if (a->remove_source && named && t->source.path && file_sync_folder(path))
        file_remove_source(&t->source);
}

void code_file(gpuzip *gz, const args *a, const char *path)
{
    bool from_stdin = strcmp(path, "-") == 0;
    bool derives_name = a->mode != MODE_TEST && !a->to_stdout && !a->output && !from_stdin;
    bool to_stdout = a->mode != MODE_TEST && !a->output && !derives_name;
    file_kinds kinds = a->force                           ? FILE_ANYTHING
                       : derives_name || a->remove_source ? FILE_REGULAR_ONLY
                                                          : FILE_THROUGH_LINKS;
    char *derived = NULL;

    if (refuse_terminal(a, from_stdin, to_stdout))
        return;
    transfer *t = malloc(sizeof *t);
    if (!t) {
        message_error(path, "%s", strerror(ENOMEM));
        return;
    }
    if (file_open_source(&t->source, path, kinds)) {
        if (!derives_name || name_target(&derived, a, path))
            code_source(gz, a, t, derives_name ? derived : a->output);
        file_close_source(&t->source);
    }
    free(derived);
    free(t);
}
