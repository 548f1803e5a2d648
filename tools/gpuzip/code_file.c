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

/* Writes ".I" for the share I of N, with as many digits as N has, so that names sort in the order
 * of the shares; "" for a whole file. */
static void name_part(char text[16], const args *a)
{
    int digits = 1;
    for (int n = a->parts; n >= 10; n /= 10)
        digits++;
    text[0] = '\0';
    if (a->parts > 0)
        snprintf(text, 16, ".%0*d", digits, a->part);
}

/* Makes the target's name from the source's. Returns false, after a warning, if the source's
 * suffix doesn't fit the operation. The caller frees *name. */
static bool name_target(char **name, const args *a, const char *path)
{
    bool has_suffix = args_has_suffix(a, path);
    const char *slash = strrchr(path, '/'), *shown = a->folder && slash ? slash + 1 : path;
    const char *added = a->suffix;
    char part[16];
    int kept = (int)strlen(shown);
    if (a->mode == MODE_COMPRESS) {
        if (has_suffix && !a->force) {
            message_warning(path, "has the suffix %s already, skipped (-f compresses it again)",
                            a->suffix);
            return false;
        }
    } else if (has_suffix) {
        kept -= (int)strlen(a->suffix);
        added = "";
    } else if (a->force) {
        added = ".out";
    } else {
        message_warning(path, "lacks the suffix %s, skipped (-o FILE, -c or -f decompress it)",
                        a->suffix);
        return false;
    }
    name_part(part, a);
    if (asprintf(name, "%s%s%.*s%s%s", a->folder ? a->folder : "", a->folder ? "/" : "", kept,
                 shown, part, added) < 0) {
        *name = NULL;
        message_error(path, "%s", strerror(ENOMEM));
        return false;
    }
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

/* The device's name for the user; NULL where the library chooses among several. */
static const char *device_shown(const args *a)
{
    const char *wanted = a->device ? a->device : getenv("GPUZIP_DEVICE");
    if (wanted && strcmp(wanted, "auto") != 0)
        return wanted;
    return gpuzip_count_devices() == 1 ? "cpu" : NULL;
}

/* With -v, and where a progress line has made the user wait. */
static void print_summary(const args *a, const report_call *call, bool was_shown)
{
    int level = was_shown ? VERBOSITY_NORMAL : VERBOSITY_SUMMARY;
    const gpuzip_stats *s = &call->stats;
    uint64_t original = call->decompressed ? s->bytes_out : s->bytes_in;
    uint64_t compressed = call->decompressed ? s->bytes_in : s->bytes_out;
    size_t beside = strlen("gpuzip: : ") + strlen(call->input);
    const char *device = device_shown(a);
    char rate[20], line[256], tokens[40];
    progress_format_rate(rate, (double)original, call->seconds);
    if (a->mode == MODE_COMPRESS)
        snprintf(line, sizeof line, "%.2f%% (%llu => %llu bytes, %.3f bits/byte) %s",
                 original > 0 ? 100.0 * (double)compressed / (double)original : 100.0,
                 (unsigned long long)original, (unsigned long long)compressed,
                 report_bits_per_byte(original, compressed), rate);
    else
        snprintf(line, sizeof line, "%s%llu => %llu bytes, %s",
                 a->mode == MODE_TEST ? "good, " : "", (unsigned long long)compressed,
                 (unsigned long long)original, rate);
    snprintf(tokens, sizeof tokens, "%.0f token/s",
             call->seconds > 0 ? (double)s->tokens / call->seconds : 0);
    if (s->tokens > 0)
        progress_append(line, sizeof line, beside, tokens);
    if (device)
        progress_append(line, sizeof line, beside, device);
    message_info(level, call->input, "%s", line);
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
    bool damaged = t->call.stats.damaged_indexes > 0;
    if (damaged)
        message_warning(t->source.name, "the index of blocks is damaged; the content is whole");
    print_summary(a, &t->call, t->progress.shown > 0);
    if (a->stats || a->json) /* beside the data, not among them */
        report_print(a->mode == MODE_TEST || t->target.path ? stdout : stderr, a->json, t->run->gz,
                     &t->call);
    if (a->remove_source && named && unchanged && !damaged && t->source.path &&
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

/* A file of several names is not removed without -f, and so not coded, as by gzip. Returns false
 * after a warning. */
static bool may_be_removed(const transfer *t)
{
    const args *a = t->run->a;
    if (!a->remove_source || a->force || !t->source.path || t->source.st.st_nlink < 2 ||
        a->mode == MODE_TEST || a->to_stdout)
        return true;
    message_warning(t->path, "has %lu names, skipped because of --rm (-f removes this one)",
                    (unsigned long)t->source.st.st_nlink);
    return false;
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
    if (!may_be_removed(t) || (derives_name && !name_target(&t->derived, a, t->path)))
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

/* Limits the source to its share that is to be compressed. Returns false after an error message. */
static bool limit_to_part(transfer *t, gpuzip_options *options)
{
    const args *a = t->run->a;
    uint64_t offset, length;
    if (a->parts == 0)
        return true;
    if (!file_is_seekable(&t->source)) {
        message_error(t->source.name, "is not a regular file, and --part needs its size");
        return false;
    }
    options->index = GPUZIP_INDEX_ALWAYS; /* joined parts have one index for each */
    if (gpuzip_input_part(file_source_size(&t->source), gpuzip_block_size(options), a->part,
                          a->parts, &offset, &length) != GPUZIP_OK)
        return false; /* not after args_parse() */
    t->progress.total = length;
    return file_limit_source(&t->source, offset, length);
}

static int on_read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    return file_read_at(&((transfer *)context)->source, offset, data, size, got);
}

/* Decompresses a range or a share of an archive that is a regular file. */
static gpuzip_status extract(transfer *t, const gpuzip_io *io, gpuzip_stats *stats)
{
    const args *a = t->run->a;
    gpuzip *gz = t->run->gz;
    const gpuzip_source source = {
        .context = t, .read_at = on_read_at, .size = file_source_size(&t->source)};
    uint64_t offset = a->range_offset, length = a->range_length;
    gpuzip_archive *archive;
    gpuzip_status status = gpuzip_archive_open(&archive, gz, &source);
    if (status != GPUZIP_OK)
        return status;
    if (a->parts > 0)
        status = gpuzip_archive_part(archive, a->part, a->parts, &offset, &length);
    t->progress.total = 0; /* of its bytes only some are read */
    if (status == GPUZIP_OK)
        status = gpuzip_archive_extract(gz, archive, offset, length, io, stats);
    gpuzip_archive_close(archive);
    return status;
}

/* Decompresses a part of a file at once, without others beside it. */
static void decompress_part(transfer *t, const gpuzip_io *io)
{
    const args *a = t->run->a;
    gpuzip_stats stats;
    gpuzip_status status = GPUZIP_ERR_ARGUMENT;
    gpuzip_finish(t->run->gz);
    if (file_is_seekable(&t->source)) {
        status = extract(t, io, &stats);
    } else if (a->has_range) {
        status = gpuzip_decompress_range(t->run->gz, io, a->range_offset, a->range_length, &stats);
    } else {
        message_error(t->source.name, "is not a regular file, and --part needs its end");
        t->source.failed = true;
    }
    on_ended(t, status, &stats);
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
    t->progress.device = device_shown(a);
    t->begun = progress_seconds();
    if (t->call.decompressed && args_takes_part(a)) {
        decompress_part(t, &io);
    } else if (t->call.decompressed) {
        gpuzip_begin_decompress(run->gz, &io);
    } else {
        gpuzip_options options;
        setup_options(&options, a);
        if (!limit_to_part(t, &options)) {
            gpuzip_finish(run->gz);
            t->source.failed = true;
            on_ended(t, GPUZIP_ERR_IO, NULL);
            return;
        }
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
