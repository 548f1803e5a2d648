/* lanes.c: see lanes.h. */
#include "lanes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Models up to this size are read by every lane for itself: they fit the caches that
 * cores have alone or share. Larger ones are read from memory once for all streams. */
#define LANE_MODEL_BYTES ((size_t)16 << 20)

/* One thread's engine, opened when first used. */
typedef struct {
    ops_context *ctx;
    engine *e;
    engine_costs costs;
    gpuzip_status status;
} lane;

struct lanes {
    const ops *ops;
    engine_config config;
    engine *whole; /* over the device's context */
    lane *lane;    /* [count] */
    ops_context *team_ctx;
    engine_team *team; /* of all lanes, opened when first used */
    int count;         /* 0: a block is never shared */
    uint64_t limit;    /* bytes that lanes may take; 0: any number */
};

/* What lane 0 tells its caller, and whether to stop. */
typedef struct {
    const engine_progress *progress;
    atomic_bool stop;
} lanes_progress;

static bool may_share(const engine_config *config)
{
    for (int k = 0; k < config->experts; k++) {
        if (config->expert[k].kind != GPUZIP_EXPERT_MODEL)
            return false;
        if (model_weights(config->expert[k].m)->file_size > LANE_MODEL_BYTES)
            return false;
    }
    return true;
}

gpuzip_status lanes_open(lanes **out, const ops *ops, ops_context *ctx, const engine_config *config,
                         int threads, uint64_t limit)
{
    gpuzip_status status = GPUZIP_OK;
    lanes *l = calloc(1, sizeof *l);
    if (!l)
        return FAIL(GPUZIP_ERR_MEMORY);
    l->ops = ops;
    l->config = *config;
    l->limit = limit;
    engine_config whole = *config;
    whole.host_threads = threads;
    TRY_OUT(engine_open(&l->whole, ops, ctx, &whole));
    if (ops == &ops_cpu && threads > 1 && may_share(config)) {
        l->lane = calloc((size_t)threads, sizeof *l->lane);
        if (!l->lane) {
            status = FAIL(GPUZIP_ERR_MEMORY);
            goto out;
        }
        l->count = threads;
    }
    *out = l;
    l = NULL;
out:
    lanes_close(l);
    return status;
}

void lanes_close(lanes *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->count; i++) {
        engine_close(l->lane[i].e);
        l->ops->close(l->lane[i].ctx);
    }
    engine_team_close(l->team);
    if (l->team_ctx)
        l->ops->close(l->team_ctx);
    free(l->lane);
    engine_close(l->whole);
    free(l);
}

/* The first stream of lane i; that of lane `count` is the end. */
static uint32_t first_stream(const lanes *l, uint32_t streams, int i)
{
    return (uint32_t)((uint64_t)streams * (uint64_t)i / (uint64_t)l->count);
}

static size_t shared_bytes(const lanes *l, uint32_t streams)
{
    size_t bytes = 0;
    for (int i = 0; i < l->count; i++)
        bytes += engine_bytes(l->whole,
                              (int)(first_stream(l, streams, i + 1) - first_stream(l, streams, i)));
    return bytes;
}

static bool is_shared(const lanes *l, uint32_t streams)
{
    return l->count > 0 && streams >= (uint32_t)l->count &&
           (!l->limit || shared_bytes(l, streams) <= l->limit);
}

size_t lanes_bytes(const lanes *l, uint32_t streams)
{
    return is_shared(l, streams) ? shared_bytes(l, streams) : engine_bytes(l->whole, (int)streams);
}

size_t lanes_logits_bytes(const lanes *l, uint32_t streams)
{
    size_t engines = is_shared(l, streams) ? (size_t)l->count : 1;
    return engines * engine_logits_bytes(l->whole);
}

static int lane_step(void *context, size_t done, size_t steps)
{
    lanes_progress *p = context;
    if (p->progress && p->progress->step(p->progress->context, done, steps))
        atomic_store(&p->stop, true);
    return atomic_load(&p->stop);
}

static int lane_stop(void *context, size_t done, size_t steps)
{
    lanes_progress *p = context;
    (void)done;
    (void)steps;
    return atomic_load(&p->stop);
}

typedef gpuzip_status engine_code_function(engine *, engine_block *, int, uint32_t, uint32_t,
                                           engine_costs *, const engine_progress *);

/* A lane's work. */
typedef struct {
    lanes *l;
    int i;
    engine_code_function *code;
    engine_block *block;
    lanes_progress *p;
    pthread_t thread;
} lane_job;

static gpuzip_status open_lane(lanes *l, int i)
{
    lane *own = &l->lane[i];
    if (!own->ctx)
        TRY(l->ops->open(&own->ctx, 0, 1, NULL));
    if (!own->e)
        TRY(engine_open(&own->e, l->ops, own->ctx, &l->config));
    engine_join(own->e, l->team, i);
    return GPUZIP_OK;
}

/* Takes a lane's streams through the block. */
static void *run_lane(void *context)
{
    const lane_job *job = context;
    lanes *l = job->l;
    lane *own = &l->lane[job->i];
    uint32_t first = first_stream(l, job->block->streams, job->i);
    uint32_t end = first_stream(l, job->block->streams, job->i + 1);
    engine_progress progress = {job->i ? lane_stop : lane_step, job->p};
    engine_block copy = *job->block; /* its status is the lane's own */
    own->costs = (engine_costs){0};
    own->status = open_lane(l, job->i);
    if (own->status == GPUZIP_OK)
        own->status = job->code(own->e, &copy, 1, first, end, &own->costs, &progress);
    else
        engine_team_skip(l->team);
    if (own->status != GPUZIP_OK)
        atomic_store(&job->p->stop, true);
    return NULL;
}

/* Runs all lanes, the first in this thread. */
static gpuzip_status run_lanes(lanes *l, engine_code_function *code, engine_block *block,
                               lanes_progress *p)
{
    gpuzip_status status = GPUZIP_OK;
    int started = 1, most = (int)((block->streams - 1) / (uint32_t)l->count) + 1;
    lane_job *job = calloc((size_t)l->count, sizeof *job);
    if (!job)
        return FAIL(GPUZIP_ERR_MEMORY);
    if (!l->team_ctx)
        TRY_OUT(l->ops->open(&l->team_ctx, 0, 1, NULL));
    if (!l->team)
        TRY_OUT(engine_team_open(&l->team, l->ops, l->team_ctx, &l->config, l->count));
    TRY_OUT(engine_team_begin(l->team, block, l->count, most));
    for (int i = 0; i < l->count; i++)
        job[i] = (lane_job){.l = l, .i = i, .code = code, .block = block, .p = p};
    while (started < l->count &&
           pthread_create(&job[started].thread, NULL, run_lane, &job[started]) == 0)
        started++;
    for (int i = started; i < l->count; i++) {
        l->lane[i].status = FAIL(GPUZIP_ERR_MEMORY);
        l->lane[i].costs = (engine_costs){0};
        engine_team_skip(l->team);
        atomic_store(&p->stop, true);
    }
    run_lane(&job[0]);
    for (int i = 1; i < started; i++)
        pthread_join(job[i].thread, NULL);
    /* the first cause counts, not the lanes that it stopped */
    for (int i = 0; i < l->count; i++)
        if (status == GPUZIP_OK || status == GPUZIP_ERR_CANCELLED)
            status = l->lane[i].status == GPUZIP_OK ? status : l->lane[i].status;
    engine_team_end(l->team);
out:
    free(job);
    return status;
}

/* Adds what the lanes cost: work is summed, time is that of the slowest. */
static void add_costs(engine_costs *costs, const lanes *l)
{
    const engine_costs *slowest = &l->lane[0].costs;
    for (int i = 0; i < l->count; i++) {
        const engine_costs *c = &l->lane[i].costs;
        costs->forward_ops += c->forward_ops;
        costs->model_bits += c->model_bits;
        if (c->seconds_forward > slowest->seconds_forward)
            slowest = c;
    }
    costs->seconds_forward += slowest->seconds_forward;
    costs->seconds_mix += slowest->seconds_mix;
    costs->seconds_contexts += slowest->seconds_contexts;
    costs->seconds_coder += slowest->seconds_coder;
    costs->seconds_measure += slowest->seconds_measure;
}

static gpuzip_status run_blocks(lanes *l, engine_code_function *code, engine_block *block,
                                int blocks, engine_costs *costs, const engine_progress *progress)
{
    gpuzip_status status;
    lanes_progress p = {.progress = progress};
    uint32_t streams = 0;
    for (int i = 0; i < blocks; i++)
        streams += block[i].streams;
    if (blocks > 1 || !is_shared(l, streams))
        return code(l->whole, block, blocks, 0, streams, costs, progress);
    double before = costs->model_bits;
    status = run_lanes(l, code, block, &p);
    block->status = status;
    add_costs(costs, l);
    block->bits += costs->model_bits - before;
    return status;
}

gpuzip_status lanes_make_room(engine_block *block, uint8_t **buffer)
{
    size_t room =
        ENGINE_STREAM_BOUND(container_stream_length((uint32_t)block->tokens, block->streams));
    container_stream *stream = calloc(block->streams, sizeof *stream);
    uint8_t *bytes = malloc(block->streams * room);
    if (!stream || !bytes) {
        free(stream);
        free(bytes);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    for (size_t s = 0; s < block->streams; s++)
        stream[s].data = bytes + s * room;
    block->stream = stream;
    *buffer = bytes;
    return GPUZIP_OK;
}

gpuzip_status lanes_encode(lanes *l, engine_block *block, int blocks, engine_costs *costs,
                           const engine_progress *progress)
{
    return run_blocks(l, engine_encode, block, blocks, costs, progress);
}

gpuzip_status lanes_decode(lanes *l, engine_block *block, int blocks, engine_costs *costs,
                           const engine_progress *progress)
{
    return run_blocks(l, engine_decode, block, blocks, costs, progress);
}
