/* files.c: see files.h. */
#include "files.h"

#include <stdlib.h>
#include <string.h>

/* Ends f's way with this status and gz's text. */
static void fail_file(gpuzip *gz, file *f, gpuzip_status status)
{
    f->way.status = status;
    memcpy(f->error, gz->error, sizeof f->error);
    pipeline_drop(gz->p, &f->way);
}

/* Tells of f's end, with gz's text set for it. */
static void end_file(gpuzip *gz, file *f)
{
    gpuzip_status status = f->way.status != GPUZIP_OK ? f->way.status : f->read_status;
    memcpy(gz->error, f->error, sizeof f->error);
    status = f->kind->explain(gz, status, f->frames);
    if (f->ended)
        f->ended(f->context, status, status == GPUZIP_OK ? &f->way.stats : NULL);
    container_hash_close(f->hash);
    free(f);
}

/* Adds an engine's costs to a file's statistics. */
static void add_costs(gpuzip_stats *stats, const engine_costs *costs)
{
    stats->model_bits += costs->model_bits;
    stats->seconds_forward += costs->seconds_forward;
    stats->seconds_contexts += costs->seconds_contexts;
    stats->seconds_mix += costs->seconds_mix;
    stats->seconds_coder += costs->seconds_coder;
    stats->seconds_measure += costs->seconds_measure;
    stats->forward_ops += costs->forward_ops;
}

static gpuzip_status write_block(gpuzip *gz, file *f, const pipeline_item *item)
{
    TRY(item->b.status);
    add_costs(&f->way.stats, &item->costs.engine);
    f->way.stats.model_bits += item->b.model_bits;
    f->way.stats.seconds_verify += item->costs.seconds_verify;
    TRY(f->kind->write_block(gz, f, item));
    if (pipeline_progress(&f->way.io, f->way.input_done, f->way.stats.bytes_out))
        return FAIL(GPUZIP_ERR_CANCELLED);
    return GPUZIP_OK;
}

/* Takes the earliest item and does what it asks for; false: there was none. */
static bool write_item(gpuzip *gz)
{
    const pipeline_item *item = pipeline_take(gz->p);
    if (!item)
        return false;
    file *f = (file *)item->file; /* whose first member it is */
    gpuzip_status status = GPUZIP_OK;
    gz->error[0] = '\0';
    if (item->kind == PIPELINE_FILE_END) {
        end_file(gz, f);
        return true;
    }
    if (f->way.status == GPUZIP_OK)
        status = item->kind == PIPELINE_BLOCK ? write_block(gz, f, item)
                                              : f->kind->end_frame(gz, f, &item->end);
    if (status != GPUZIP_OK)
        fail_file(gz, f, status);
    return true;
}

static void write_all(gpuzip *gz)
{
    while (write_item(gz))
        ;
}

static void submit_mark(gpuzip *gz, file *f, pipeline_kind kind, const container_end *end)
{
    while (!pipeline_mark(gz->p, &f->way, kind, end))
        write_item(gz);
}

/* Whether f can go on, after others may have ended; their texts are not its own. */
static gpuzip_status own_status(gpuzip *gz, const file *f)
{
    gz->error[0] = '\0';
    return f->way.status;
}

gpuzip_status files_settle(gpuzip *gz, file *f)
{
    write_all(gz);
    return own_status(gz, f);
}

gpuzip_status files_prepare(gpuzip *gz, file *f, const coding_plan *plan, const block_rules *rules)
{
    if (pipeline_suits(gz->p, plan, rules))
        return GPUZIP_OK;
    TRY(files_settle(gz, f));
    return pipeline_prepare(gz->p, plan, rules);
}

gpuzip_status files_next(gpuzip *gz, file *f, size_t raw_size, block **b)
{
    while ((*b = pipeline_next(gz->p, raw_size)) == NULL)
        write_item(gz);
    return own_status(gz, f);
}

gpuzip_status files_end_frame(gpuzip *gz, file *f, const container_end *end)
{
    submit_mark(gz, f, PIPELINE_FRAME_END, end);
    if (!pipeline_overlaps(gz->p)) /* nothing is gained by waiting */
        write_all(gz);
    return own_status(gz, f);
}

static gpuzip_status open_file(gpuzip *gz, file **out)
{
    if (!gz->p)
        TRY(pipeline_open(&gz->p, gz));
    file *f = calloc(1, sizeof *f);
    if (!f || container_hash_open(&f->hash) != GPUZIP_OK) {
        free(f);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    *out = f;
    return GPUZIP_OK;
}

void files_begin(gpuzip *gz, const file_kind *kind, const gpuzip_io *io,
                 void (*ended)(void *context, gpuzip_status status, const gpuzip_stats *stats),
                 void *context, const gpuzip_options *options)
{
    file *f;
    gpuzip_status status = open_file(gz, &f);
    if (status != GPUZIP_OK) {
        files_finish(gz);
        gz->error[0] = '\0';
        if (ended)
            ended(context, status, NULL);
        return;
    }
    f->way.io = *io;
    f->kind = kind;
    f->ended = ended;
    f->context = context;
    gz->error[0] = '\0';
    status = kind->read(gz, f, options);
    if (f->way.status == GPUZIP_OK) {
        f->read_status = status;
        memcpy(f->error, gz->error, sizeof f->error);
    }
    submit_mark(gz, f, PIPELINE_FILE_END, NULL);
    if (!pipeline_overlaps(gz->p))
        write_all(gz);
}

void files_finish(gpuzip *gz)
{
    if (!gz->p)
        return;
    write_all(gz);
    pipeline_close(gz->p);
    gz->p = NULL;
}

typedef struct {
    gpuzip_status status;
    gpuzip_stats *stats; /* or NULL */
} single;

static void end_single(void *context, gpuzip_status status, const gpuzip_stats *stats)
{
    single *s = context;
    s->status = status;
    if (s->stats && stats)
        *s->stats = *stats;
}

gpuzip_status files_run(gpuzip *gz, const file_kind *kind, const gpuzip_io *io, gpuzip_stats *stats,
                        const gpuzip_options *options)
{
    single s = {.stats = stats};
    files_begin(gz, kind, io, end_single, &s, options);
    files_finish(gz);
    return s.status;
}
