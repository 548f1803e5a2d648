/* coding_file.c: see coding_file.h. */
#include "coding_file.h"

#include <string.h>

void coding_keep_outcome(void *context, gpuzip_status status, const gpuzip_stats *stats)
{
    coding_outcome *outcome = context;
    outcome->status = status;
    if (outcome->stats && stats)
        *outcome->stats = *stats;
}

gpuzip_status coding_open(coding_file *f, gpuzip *gz, const gpuzip_io *io, void *owner,
                          void (*ended)(void *, gpuzip_status, const gpuzip_stats *), void *context)
{
    gpuzip_status status = gz->p ? GPUZIP_OK : pipeline_open(&gz->p, gz);
    if (status == GPUZIP_OK)
        status = container_hash_open(&f->hash);
    gz->error[0] = '\0';
    if (status != GPUZIP_OK) {
        gpuzip_finish(gz);
        gz->error[0] = '\0';
        if (ended)
            ended(context, status, NULL);
        return FAIL(status);
    }
    f->way.io = *io;
    f->way.owner = owner;
    f->gz = gz;
    f->ended = ended;
    f->context = context;
    return GPUZIP_OK;
}

void coding_read_all(coding_file *f, gpuzip_status status, void (*done)(pipeline_job *job))
{
    if (f->way.status == GPUZIP_OK) {
        f->read_status = status;
        memcpy(f->error, f->gz->error, sizeof f->error);
    }
    pipeline_submit_end(f->gz->p, &f->way, done, NULL);
}

gpuzip_status coding_status(coding_file *f)
{
    f->gz->error[0] = '\0';
    return f->way.status;
}

gpuzip_status coding_next(coding_file *f, size_t content_size, block **b)
{
    *b = pipeline_next(f->gz->p, content_size);
    return coding_status(f);
}

/* Ends the file's writing with this status and gz's error text. */
static void fail(coding_file *f, gpuzip_status status)
{
    f->way.status = status;
    memcpy(f->error, f->gz->error, sizeof f->error);
    pipeline_drop(f->gz->p, &f->way);
}

static void add_costs(gpuzip_stats *stats, const pipeline_job *job)
{
    const engine_costs *costs = &job->costs.engine;
    if (job->costs.blocks > stats->batch_blocks)
        stats->batch_blocks = job->costs.blocks;
    for (int i = 0; i < GPUZIP_PHASES; i++)
        stats->seconds[i] += costs->seconds[i];
    stats->forward_ops += costs->forward_ops;
    stats->model_bits += job->b.model_bits;
}

bool coding_may_write(coding_file *f, const pipeline_job *job)
{
    f->gz->error[0] = '\0';
    if (f->way.status == GPUZIP_OK && job->b.status != GPUZIP_OK)
        fail(f, job->b.status);
    if (f->way.status != GPUZIP_OK)
        return false;
    if (!job->is_end)
        add_costs(&f->way.stats, job);
    return true;
}

void coding_wrote(coding_file *f, const pipeline_job *job, gpuzip_status status)
{
    const gpuzip_stats *stats = &f->way.stats;
    if (status == GPUZIP_OK && !job->is_end &&
        pipeline_progress(&f->way.io, f->way.input_done, stats->bytes_out))
        status = FAIL(GPUZIP_ERR_CANCELLED);
    if (status != GPUZIP_OK)
        fail(f, status);
}

gpuzip_status coding_outcome_of(coding_file *f)
{
    memcpy(f->gz->error, f->error, sizeof f->error);
    return f->way.status != GPUZIP_OK ? f->way.status : f->read_status;
}

void coding_end(coding_file *f, gpuzip_status status)
{
    if (f->ended)
        f->ended(f->context, status, status == GPUZIP_OK ? &f->way.stats : NULL);
    container_hash_close(f->hash);
}
