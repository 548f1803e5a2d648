/* list.c: see list.h. */
#include "list.h"

#include "file_io.h"
#include "message.h"
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_ID_BYTES 4 /* of a model's id in the table; enough to tell models apart */

static int on_read(void *context, void *data, size_t size, size_t *got)
{
    return file_read(context, data, size, got);
}

static int on_read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    return file_read_at(context, offset, data, size, got);
}

static const char *block_name(gpuzip_block_kind kind)
{
    return kind == GPUZIP_BLOCK_STORED ? "stored" : kind == GPUZIP_BLOCK_CODED ? "coded" : "packed";
}

/* The table of blocks behind the paragraph. */
static void print_blocks(const gpuzip_archive *archive)
{
    gpuzip_block b;
    puts("   block  frame  kind         offset       size  original offset   original");
    for (uint64_t i = 0; gpuzip_archive_block(archive, i, &b) == GPUZIP_OK; i++)
        printf("%8llu %6llu  %-6s %12llu %10lu %16llu %10lu\n", (unsigned long long)i,
               (unsigned long long)b.frame, block_name(b.kind), (unsigned long long)b.offset,
               (unsigned long)b.size, (unsigned long long)b.content_offset,
               (unsigned long)b.content_size);
}

static json_t *blocks_to_json(const gpuzip_archive *archive)
{
    json_t *blocks = json_array();
    gpuzip_block b;
    for (uint64_t i = 0; gpuzip_archive_block(archive, i, &b) == GPUZIP_OK; i++)
        json_array_append_new(blocks, json_pack("{sI ss sI sI sI sI}", "frame", (json_int_t)b.frame,
                                                "kind", block_name(b.kind), "offset",
                                                (json_int_t)b.offset, "size", (json_int_t)b.size,
                                                "original_offset", (json_int_t)b.content_offset,
                                                "original_bytes", (json_int_t)b.content_size));
    return blocks;
}

static const char *kind_name(gpuzip_expert_kind kind)
{
    return kind == GPUZIP_EXPERT_NAIVE_BAYES ? "naive-bayes" : "model";
}

static void print_row(const char *name, const gpuzip_info *info, list_totals *totals)
{
    char ids[GPUZIP_MAX_EXPERTS * (2 * SHOWN_ID_BYTES + 1) + 1] = "";
    size_t used = 0;
    for (int i = 0; i < info->experts; i++) {
        if (info->expert[i].kind != GPUZIP_EXPERT_MODEL)
            continue;
        if (used > 0)
            ids[used++] = '+';
        report_hex(ids + used, info->expert[i].model_id, SHOWN_ID_BYTES);
        used += 2 * SHOWN_ID_BYTES;
    }
    if (!totals->titled)
        puts("Frames  Blocks   Compressed     Original    Ratio  Bits/byte  Model     File");
    totals->titled = true;
    printf("%6llu %7llu %12llu %12llu %7.2f%% %10.3f  %-8s  ", (unsigned long long)info->frames,
           (unsigned long long)info->blocks, (unsigned long long)info->compressed_size,
           (unsigned long long)info->size,
           info->size > 0 ? 100.0 * (double)info->compressed_size / (double)info->size : 100.0,
           report_bits_per_byte(info->size, info->compressed_size), ids);
    message_put(stdout, name);
    putchar('\n');
}

static void print_paragraph(const char *name, const gpuzip_info *info,
                            const gpuzip_archive *archive)
{
    char window[64];
    if (info->hop)
        snprintf(window, sizeof window, "%d tokens, hop %d", info->window, info->hop);
    else
        snprintf(window, sizeof window, "%d tokens, sliding", info->window);
    message_put(stdout, name);
    printf("\n  original     %llu bytes\n"
           "  compressed   %llu bytes, %.3f bits/byte\n"
           "  frames       %llu\n"
           "  blocks       %llu, of which stored %llu, packed %llu\n"
           "  index        %llu bytes\n"
           "  format       version %d\n"
           "  window       %s\n",
           (unsigned long long)info->size, (unsigned long long)info->compressed_size,
           report_bits_per_byte(info->size, info->compressed_size),
           (unsigned long long)info->frames, (unsigned long long)info->blocks,
           (unsigned long long)info->stored_blocks, (unsigned long long)info->packed_blocks,
           (unsigned long long)info->index_size, info->version, window);
    for (int i = 0; i < info->experts; i++) {
        char id[2 * sizeof info->expert[i].model_id + 1] = "";
        if (info->expert[i].kind == GPUZIP_EXPERT_MODEL)
            report_hex(id, info->expert[i].model_id, sizeof info->expert[i].model_id);
        printf("  expert       %s %s%salpha %.5g\n", kind_name(info->expert[i].kind), id,
               *id ? " " : "", info->expert[i].alpha);
    }
    if (info->contexts || info->biases || info->learn_alphas || info->learn_weights)
        printf("  adapts      %s%s%s%s, every %d steps\n", info->contexts ? " contexts" : "",
               info->biases ? " biases" : "", info->learn_alphas ? " alphas" : "",
               info->learn_weights ? " weights" : "", info->update_interval);
    printf("  models       %s\n", info->model_known
                                      ? "at hand"
                                      : "not among those given with --model (or the built-in one)");
    if (archive)
        print_blocks(archive);
}

static json_t *to_json(const char *name, const gpuzip_info *info)
{
    json_t *experts = json_array();
    for (int i = 0; i < info->experts; i++) {
        char id[2 * sizeof info->expert[i].model_id + 1];
        report_hex(id, info->expert[i].model_id, sizeof info->expert[i].model_id);
        bool is_model = info->expert[i].kind == GPUZIP_EXPERT_MODEL;
        json_array_append_new(
            experts, json_pack("{ss ss* sf}", "kind", kind_name(info->expert[i].kind), "model_id",
                               is_model ? id : NULL, "alpha", info->expert[i].alpha));
    }
    json_t *adapts = json_pack("{sb sb sb sb si}", "contexts", (int)info->contexts, "biases",
                               (int)info->biases, "alphas", (int)info->learn_alphas, "weights",
                               (int)info->learn_weights, "update_interval", info->update_interval);
    return json_pack("{so sI sI sI sI sI sI sI sf si si si so so sb}", "file",
                     report_json_string(name), "frames", (json_int_t)info->frames, "blocks",
                     (json_int_t)info->blocks, "stored_blocks", (json_int_t)info->stored_blocks,
                     "packed_blocks", (json_int_t)info->packed_blocks, "index_bytes",
                     (json_int_t)info->index_size, "original_bytes", (json_int_t)info->size,
                     "compressed_bytes", (json_int_t)info->compressed_size, "bits_per_byte",
                     report_bits_per_byte(info->size, info->compressed_size), "version",
                     info->version, "window", info->window, "hop", info->hop, "experts", experts,
                     "adapts", adapts, "model_known", (int)info->model_known);
}

static void print_info(const args *a, const char *name, const gpuzip_info *info,
                       const gpuzip_archive *archive, list_totals *totals)
{
    if (a->json) {
        json_t *object = to_json(name, info);
        if (archive)
            json_object_set_new(object, "block_list", blocks_to_json(archive));
        report_print_json(stdout, object);
    } else if (message_verbosity() >= VERBOSITY_SUMMARY) {
        print_paragraph(name, info, archive);
    } else {
        print_row(name, info, totals);
    }
    message_flush(); /* before messages on the next file reach stderr */
}

void list_file(gpuzip *gz, const args *a, const char *path, list_totals *totals)
{
    gpuzip_info info;
    file_source *source = malloc(sizeof *source);
    if (!source) {
        message_error(path, "%s", strerror(ENOMEM));
        return;
    }
    if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO)) {
        message_error(NULL, "compressed data is not read from a terminal; try 'gpuzip -h'");
        goto out;
    }
    if (!file_open_source(source, path, a->force ? FILE_ANYTHING : FILE_THROUGH_LINKS))
        goto out;
    gpuzip_io io = {.context = source, .read = on_read};
    gpuzip_source random = {
        .context = source, .read_at = on_read_at, .size = file_source_size(source)};
    gpuzip_archive *archive = NULL;
    bool seekable = file_is_seekable(source); /* before it is read */
    gpuzip_status status = gpuzip_peek(gz, &io, &info);
    if (status == GPUZIP_OK && message_verbosity() >= VERBOSITY_SUMMARY && seekable)
        status = gpuzip_archive_open(&archive, gz, &random);
    if (status == GPUZIP_OK) {
        totals->files++;
        totals->frames += info.frames;
        totals->blocks += info.blocks;
        totals->compressed += info.compressed_size;
        totals->original += info.size;
        print_info(a, source->name, &info, archive, totals);
    } else if (!source->failed) {
        message_status(source->name, status, gpuzip_error(gz));
    }
    gpuzip_archive_close(archive);
    file_close_source(source);
out:
    free(source);
}

void list_end(const args *a, const list_totals *totals)
{
    if (totals->files < 2 || a->json || message_verbosity() >= VERBOSITY_SUMMARY)
        return;
    printf("%6llu %7llu %12llu %12llu %7.2f%% %10.3f            %llu files\n",
           (unsigned long long)totals->frames, (unsigned long long)totals->blocks,
           (unsigned long long)totals->compressed, (unsigned long long)totals->original,
           totals->original > 0 ? 100.0 * (double)totals->compressed / (double)totals->original
                                : 100.0,
           report_bits_per_byte(totals->original, totals->compressed),
           (unsigned long long)totals->files);
}
