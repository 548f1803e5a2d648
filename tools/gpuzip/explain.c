/* explain.c: see explain.h. Compresses the file in memory and measures each token. */
#include "commands.h"

#include "buffer.h"
#include "code_file.h"
#include "explain_page.h"
#include "message.h"
#include "progress.h"
#include "setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The measurements, and the state of the callbacks. */
typedef struct {
    buffer_io io; /* first: buffer_on_read() and buffer_on_write() expect it */
    progress progress;
    curve curve;
    page_token *token; /* [tokens] shown on the page */
    size_t tokens, capacity, shown;
    page_token dear[PAGE_DEAR_MAX]; /* [dears] dearest first */
    int dears;
    bool short_of_memory;
} gathering;

static int on_progress(void *context, uint64_t bytes_in, uint64_t bytes_out)
{
    progress_update(&((gathering *)context)->progress, bytes_in, bytes_out);
    return 0;
}

static void add_shown(gathering *g, const page_token *t)
{
    if (g->tokens == g->capacity) {
        size_t capacity = 2 * g->capacity + 1024;
        page_token *grown = realloc(g->token, capacity * sizeof *grown);
        if (!grown) {
            g->short_of_memory = true;
            return;
        }
        g->token = grown;
        g->capacity = capacity;
    }
    g->token[g->tokens++] = *t;
    size_t end = (size_t)t->offset + t->size;
    g->shown = end < PAGE_TEXT_MAX || !t->stored ? end : PAGE_TEXT_MAX;
}

/* Keeps the most expensive tokens; of equal ones the earlier. */
static void add_dear(gathering *g, const page_token *t)
{
    int at = g->dears;
    if (at == PAGE_DEAR_MAX && t->bits <= g->dear[at - 1].bits)
        return;
    at -= at == PAGE_DEAR_MAX;
    for (; at > 0 && g->dear[at - 1].bits < t->bits; at--)
        g->dear[at] = g->dear[at - 1];
    g->dear[at] = *t;
    g->dears += g->dears < PAGE_DEAR_MAX;
}

static void on_token(void *context, const gpuzip_token *token)
{
    gathering *g = context;
    page_token t = {.offset = token->offset,
                    .size = (uint32_t)token->size,
                    .stored = token->stored,
                    .packed = token->packed,
                    .bits = (float)token->bits};
    for (int k = 0; k < GPUZIP_MAX_EXPERTS; k++)
        t.expert_bits[k] = (float)token->expert_bits[k];
    curve_add(&g->curve, token);
    if (token->offset < PAGE_TEXT_MAX)
        add_shown(g, &t);
    if (!token->stored)
        add_dear(g, &t);
}

/* ---- a file that is compressed already ----------------------------------- */

/* Sets the options of the frame in *info. Returns false, after an error message, if a model is
 * missing. */
static bool take_settings(gpuzip_options *o, gpuzip *gz, const char *name, const gpuzip_info *info)
{
    *o = (gpuzip_options){.window = info->window,
                          .hop = info->hop,
                          .streams = info->streams,
                          .update_interval = info->update_interval,
                          .window_scope = info->window_scope,
                          .block_size = info->block_size,
                          .experts = info->experts,
                          .no_packing = o->no_packing};
    if (info->contexts)
        o->adapt |= GPUZIP_ADAPT_CONTEXTS;
    if (info->biases)
        o->adapt |= GPUZIP_ADAPT_BIASES;
    if (info->learn_alphas)
        o->adapt |= GPUZIP_ADAPT_ALPHAS;
    if (info->learn_weights)
        o->adapt |= GPUZIP_ADAPT_WEIGHTS;
    for (int k = 0; k < info->experts; k++) {
        gpuzip_model_info model;
        gpuzip_expert *expert = &o->expert[k];
        *expert = (gpuzip_expert){info->expert[k].kind, 0, info->expert[k].alpha};
        if (expert->kind != GPUZIP_EXPERT_MODEL)
            continue;
        while (gpuzip_get_model_info(gz, expert->model, &model) == GPUZIP_OK &&
               memcmp(model.id, info->expert[k].model_id, sizeof info->expert[k].model_id) != 0)
            expert->model++;
        if (gpuzip_get_model_info(gz, expert->model, &model) != GPUZIP_OK) {
            message_status(name, GPUZIP_ERR_MODEL, "name it with --model");
            return false;
        }
    }
    return true;
}

/* If content is a .gpz file: decompresses it in place, takes its settings, and keeps its compressed
 * bytes in *packed. */
static bool unpack(gpuzip *gz, const char *name, buffer *content, buffer *packed, gpuzip_options *o)
{
    gpuzip_info info;
    buffer original = {0};
    buffer_io peeked = {.from = content}, unpacked = {.from = content, .to = &original};
    gpuzip_io io = {.context = &peeked, .read = buffer_on_read};
    gpuzip_status status = gpuzip_peek(gz, &io, &info);
    if (status == GPUZIP_ERR_FORMAT)
        return true;
    if (status == GPUZIP_OK) {
        io = (gpuzip_io){.context = &unpacked, .read = buffer_on_read, .write = buffer_on_write};
        status = gpuzip_decompress_stream(gz, &io, NULL);
    }
    if (status != GPUZIP_OK) {
        message_status(name, status, gpuzip_error(gz));
        free(original.data);
        return false;
    }
    *packed = *content;
    *content = original;
    return take_settings(o, gz, name, &info);
}

/* A note on whether recompression gave the bytes of the .gpz file; NULL for other files. */
static const char *describe_match(const buffer *given, const buffer *made)
{
    if (!given->data)
        return NULL;
    if (given->size == made->size && memcmp(given->data, made->data, made->size) == 0)
        return "The file was compressed already; the figures describe exactly its bytes.";
    return "The file was compressed already, but with other streams or from several parts; the "
           "figures describe a new compression with the settings of its first frame.";
}

/* ---- the page ------------------------------------------------------------ */

static ssize_t on_page_write(void *target, const char *data, size_t size)
{
    return file_write(target, data, size) == 0 ? (ssize_t)size : 0; /* 0 is an error here */
}

/* Errors of the target have been reported by file_write(). */
static bool write_page(file_target *target, const page *p)
{
    FILE *f = fopencookie(target, "w", (cookie_io_functions_t){.write = on_page_write});
    bool done = f;
    if (f) {
        page_write(f, p);
        done = !ferror(f);
        done = fclose(f) == 0 && done;
    }
    if (!done && !target->failed)
        message_error(target->name, "%s", strerror(ENOMEM));
    return done;
}

/* Compresses content and writes the page of it. */
static bool explain(gpuzip *gz, const args *a, const file_source *source, file_target *target,
                    buffer *content)
{
    buffer packed = {0}, made = {0};
    gpuzip_options options;
    report_call call = {.input = source->name, .output = target->name};
    gathering *g = calloc(1, sizeof *g);
    bool done = false;
    setup_options(&options, a);
    if (!g) {
        message_error(source->name, "%s", strerror(ENOMEM));
        return false;
    }
    if (!unpack(gz, source->name, content, &packed, &options))
        goto out;
    options.no_verify = true; /* the result is discarded */
    curve_begin(&g->curve);
    g->io = (buffer_io){.from = content, .to = &made};
    gpuzip_io io = {.context = g,
                    .read = buffer_on_read,
                    .write = buffer_on_write,
                    .progress = on_progress,
                    .observe = on_token};
    double begun = progress_seconds();
    progress_begin(&g->progress, source->name, content->size, false);
    gpuzip_status status = gpuzip_compress_stream(gz, &options, &io, &call.stats);
    progress_end(&g->progress);
    if (status == GPUZIP_OK && g->short_of_memory)
        status = GPUZIP_ERR_MEMORY;
    if (status != GPUZIP_OK) {
        message_status(source->name, status, gpuzip_error(gz));
        goto out;
    }
    call.seconds = progress_seconds() - begun;
    call.curve = &g->curve;
    report_figures figures = report_derive(gz, &call);
    const char *slash = strrchr(source->name, '/');
    page p = {.gz = gz,
              .name = slash ? slash + 1 : source->name,
              .note = describe_match(&packed, &made),
              .call = &call,
              .figures = &figures,
              .options = &options,
              .adapt = options.adapt,
              .text = content->data,
              .size = content->size,
              .shown = g->shown,
              .token = g->token,
              .tokens = g->tokens,
              .dear = g->dear,
              .dears = g->dears,
              .curve = &g->curve};
    done = write_page(target, &p);
    if (done && (a->stats || a->json))
        report_print(target->path ? stdout : stderr, a->json, gz, &call);
out:
    free(g->token);
    free(g);
    free(packed.data);
    free(made.data);
    return done;
}

static void explain_file(gpuzip *gz, const args *a, file_source *source)
{
    file_target target;
    buffer content = {0};
    char *name = NULL;
    bool to_stdout = a->to_stdout || (!a->output && !source->path);
    if (!to_stdout && !a->output && asprintf(&name, "%s.html", source->path) < 0) {
        message_error(source->name, "%s", strerror(ENOMEM));
        return;
    }
    if (!file_open_target(&target,
                          to_stdout   ? NULL
                          : a->output ? a->output
                                      : name,
                          a->force, source))
        goto out;
    if (buffer_read_source(&content, source) && explain(gz, a, source, &target, &content)) {
        /* private like the source, but of now */
        source->st.st_atim.tv_nsec = source->st.st_mtim.tv_nsec = UTIME_NOW;
        if (file_commit_target(&target, source, NULL))
            message_info(VERBOSITY_SUMMARY, source->name, "explained in %s", target.name);
    } else {
        file_discard_target(&target);
    }
out:
    free(content.data);
    free(name);
}

/* Refuses options that `explain` doesn't take. Returns false after an error message. */
static bool check(const args *a)
{
    const char *wrong = NULL;
    if (a->mode != MODE_COMPRESS)
        wrong = "explain takes the options of compression only";
    else if (a->files > 1 || a->recursive)
        wrong = "explain takes one file";
    else if (a->remove_source)
        wrong = "explain does not remove the file";
    else if (args_takes_part(a))
        wrong = "explain takes the whole file";
    if (wrong)
        message_error(NULL, "%s", wrong);
    return !wrong;
}

void explain_cmd(int argc, char **argv)
{
    args a;
    gpuzip *gz;
    if (args_parse(&a, argc, argv) != ARGS_RUN || !check(&a))
        return;
    file_source *source = malloc(sizeof *source);
    if (!source) {
        message_error(a.file[0], "%s", strerror(ENOMEM));
        return;
    }
    if (file_open_source(source, a.file[0], a.force ? FILE_ANYTHING : FILE_THROUGH_LINKS)) {
        if (setup_open(&gz, &a)) {
            explain_file(gz, &a, source);
            gpuzip_close(gz);
        }
        file_close_source(source);
    }
    free(source);
}
