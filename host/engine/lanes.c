/* lanes.c: see lanes.h. */
#include "lanes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Models up to this size are read by every lane for itself: they fit the caches that
 * cores have alone or share. Larger ones are read from memory once for all streams. */
#define LANE_MODEL_BYTES ((size_t)16 << 20)

/* With whole blocks, a lane may get this times its share of the tokens. Whole blocks need no
 * barrier; streams of a divided block wait for each other at each update. Not tuned. */
#define SHARE_MOST 1.1

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

/* The caller's progress callback, which lane 0 calls, and its request to stop. */
typedef struct {
    const engine_progress *progress;
    atomic_bool stop;
} lanes_progress;

static bool may_share(const engine_config *config)
{
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind == GPUZIP_EXPERT_MODEL &&
            model_weights(config->expert[k].m)->file_size > LANE_MODEL_BYTES)
            return false;
    return true;
}

static bool has_counts(const engine_config *config)
{
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind != GPUZIP_EXPERT_MODEL)
            return true;
    return false;
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

/* ---- distribution --------------------------------------------------------- */

/* Distribution of a batch's streams: lane i codes [first[i], first[i + 1]). */
typedef struct {
    int *first;  /* [count + 1] */
    bool united; /* the lanes are a team: they share states */
    int most;    /* streams of a lane */
} deal;

static size_t shared_bytes(const lanes *l, uint32_t streams, int blocks)
{
    uint32_t each = (streams - 1) / (uint32_t)l->count + 1;
    int own = blocks >= l->count ? (blocks - 1) / l->count + 1 : blocks;
    return (size_t)l->count * engine_bytes(l->whole, (int)each, own);
}

static bool is_shared(const lanes *l, uint32_t streams, int blocks)
{
    return l->count > 0 && streams >= (uint32_t)l->count &&
           (!has_counts(&l->config) || blocks >= l->count) &&
           (!l->limit || shared_bytes(l, streams, blocks) <= l->limit);
}

/* Gives each lane the same number of streams. */
static void deal_streams(const lanes *l, int streams, deal *d)
{
    for (int i = 0; i <= l->count; i++)
        d->first[i] = (int)((int64_t)streams * i / l->count);
}

/* Gives each lane consecutive whole blocks; a lane ends with the block whose end is nearest to its
 * share of the tokens. false: some lane would exceed SHARE_MOST, or get none. */
static bool deal_blocks(const lanes *l, const engine_stream *stream, int streams, deal *d)
{
    double all = 0, done = 0, begin = 0;
    int lane = 0, end;
    for (int s = 0; s < streams; s++)
        all += (double)stream[s].length;
    d->first[0] = 0;
    for (int s = 0; s < streams; s = end) {
        double block = 0, share = all / l->count;
        for (end = s; end < streams && stream[end].state == stream[s].state; end++)
            block += (double)stream[end].length;
        if (lane + 1 < l->count && s > d->first[lane] && done + block / 2 > share * (lane + 1)) {
            d->first[++lane] = s;
            begin = done;
        }
        done += block;
        if (done - begin > share * SHARE_MOST)
            return false;
    }
    d->first[l->count] = streams;
    return lane + 1 == l->count;
}

/* Distributes a batch; false: one engine must code it all. The caller frees d->first. */
static bool deal_out(const lanes *l, const engine_stream *stream, int streams, deal *d)
{
    int blocks = stream[streams - 1].state - stream[0].state + 1;
    bool adaptive = l->config.bias || l->config.learn_alpha || l->config.prior;
    *d = (deal){0};
    if (!is_shared(l, (uint32_t)streams, blocks) ||
        !(d->first = calloc((size_t)l->count + 1, sizeof *d->first)))
        return false;
    if (!(adaptive || has_counts(&l->config)) || !deal_blocks(l, stream, streams, d)) {
        if (has_counts(&l->config))
            return false;
        deal_streams(l, streams, d);
        d->united = adaptive;
    }
    for (int i = 0; i < l->count; i++) {
        int own = d->first[i + 1] - d->first[i];
        d->most = own > d->most ? own : d->most;
    }
    return true;
}

size_t lanes_bytes(const lanes *l, uint32_t streams, int blocks)
{
    return is_shared(l, streams, blocks) ? shared_bytes(l, streams, blocks)
                                         : engine_bytes(l->whole, (int)streams, blocks);
}

size_t lanes_logits_bytes(const lanes *l, uint32_t streams)
{
    size_t engines = is_shared(l, streams, 1) ? (size_t)l->count : 1;
    return engines * engine_logits_bytes(l->whole);
}

/* ---- lanes --------------------------------------------------------------- */

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

typedef gpuzip_status engine_code_function(engine *, engine_stream *, int, engine_costs *,
                                           const engine_progress *);

/* A lane's work. */
typedef struct {
    lanes *l;
    int i;
    engine_code_function *code;
    engine_stream *stream; /* of the batch */
    const deal *d;
    lanes_progress *p;
    pthread_t thread;
} lane_job;

static gpuzip_status open_lane(lanes *l, int i, bool united)
{
    lane *own = &l->lane[i];
    if (!own->ctx)
        TRY(l->ops->open(&own->ctx, 0, 1, NULL));
    if (!own->e)
        TRY(engine_open(&own->e, l->ops, own->ctx, &l->config));
    engine_join(own->e, united ? l->team : NULL, united ? i : 0);
    return GPUZIP_OK;
}

/* Codes a lane's streams. A corrupt stream does not stop the other lanes. */
static void *run_lane(void *context)
{
    const lane_job *job = context;
    lanes *l = job->l;
    lane *own = &l->lane[job->i];
    int first = job->d->first[job->i], streams = job->d->first[job->i + 1] - first;
    engine_progress progress = {job->i ? lane_stop : lane_step, job->p};
    own->costs = (engine_costs){0};
    own->status = open_lane(l, job->i, job->d->united);
    if (own->status == GPUZIP_OK)
        own->status = job->code(own->e, job->stream + first, streams, &own->costs, &progress);
    else if (job->d->united)
        engine_team_skip(l->team);
    if (own->status != GPUZIP_OK && own->status != GPUZIP_ERR_CORRUPT)
        atomic_store(&job->p->stop, true);
    return NULL;
}

/* Prepares the team for a batch. */
static gpuzip_status begin_team(lanes *l, const engine_stream *stream, const deal *d)
{
    if (!d->united)
        return GPUZIP_OK;
    if (!l->team_ctx)
        TRY(l->ops->open(&l->team_ctx, 0, 1, NULL));
    if (!l->team)
        TRY(engine_team_open(&l->team, l->ops, l->team_ctx, &l->config, l->count));
    return engine_team_begin(l->team, stream, d->first[l->count], l->count, d->most);
}

/* The worse of two lanes' statuses: first the error that stopped other lanes, then CANCELLED of
 * those lanes, then CORRUPT. */
static gpuzip_status worse(gpuzip_status a, gpuzip_status b)
{
    static const gpuzip_status mild[] = {GPUZIP_OK, GPUZIP_ERR_CORRUPT, GPUZIP_ERR_CANCELLED};
    for (int i = 0; i < 3; i++)
        if (a == mild[i] || b == mild[i])
            return a == mild[i] ? b : a;
    return a;
}

/* Runs all lanes, the first in this thread. */
static gpuzip_status run_lanes(lanes *l, engine_code_function *code, engine_stream *stream,
                               const deal *d, lanes_progress *p)
{
    gpuzip_status status = GPUZIP_OK;
    int started = 1;
    lane_job *job = calloc((size_t)l->count, sizeof *job);
    if (!job)
        return FAIL(GPUZIP_ERR_MEMORY);
    TRY_OUT(begin_team(l, stream, d));
    for (int i = 0; i < l->count; i++)
        job[i] = (lane_job){.l = l, .i = i, .code = code, .stream = stream, .d = d, .p = p};
    while (started < l->count &&
           pthread_create(&job[started].thread, NULL, run_lane, &job[started]) == 0)
        started++;
    for (int i = started; i < l->count; i++) {
        l->lane[i].status = FAIL(GPUZIP_ERR_MEMORY);
        l->lane[i].costs = (engine_costs){0};
        if (d->united)
            engine_team_skip(l->team);
        atomic_store(&p->stop, true);
    }
    run_lane(&job[0]);
    for (int i = 1; i < started; i++)
        pthread_join(job[i].thread, NULL);
    for (int i = 0; i < l->count; i++)
        status = worse(status, l->lane[i].status);
    if (d->united)
        engine_team_end(l->team);
out:
    free(job);
    return status;
}

/* Adds the lanes' costs: operations and bits are summed, seconds are those of the slowest lane. */
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

static gpuzip_status run(lanes *l, engine_code_function *code, engine_stream *stream, int streams,
                         engine_costs *costs, const engine_progress *progress)
{
    gpuzip_status status;
    deal d;
    lanes_progress p = {.progress = progress};
    if (deal_out(l, stream, streams, &d)) {
        status = run_lanes(l, code, stream, &d, &p);
        add_costs(costs, l);
    } else {
        status = code(l->whole, stream, streams, costs, progress);
    }
    free(d.first);
    return status;
}

gpuzip_status lanes_encode(lanes *l, engine_stream *stream, int streams, engine_costs *costs,
                           const engine_progress *progress)
{
    return run(l, engine_encode, stream, streams, costs, progress);
}

gpuzip_status lanes_decode(lanes *l, engine_stream *stream, int streams, engine_costs *costs,
                           const engine_progress *progress)
{
    return run(l, engine_decode, stream, streams, costs, progress);
}
