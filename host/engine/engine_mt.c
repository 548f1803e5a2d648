/* engine_mt.c: see engine_mt.h. */
#include "engine_mt.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Models up to this size are read by every worker for itself: they fit the caches that
 * cores have alone or share. Larger ones are read from memory once for all streams. */
#define WORKER_MODEL_BYTES ((size_t)16 << 20)

/* With whole blocks, a worker may get this times its share of the tokens. Whole blocks need no
 * barrier; streams of a divided block wait for each other at each update. Not tuned. */
#define SHARE_MOST 1.1

/* One thread's engine, opened when first used. */
typedef struct {
    ops_context *ctx;
    engine *e;
    engine_costs costs;
    gpuzip_status status;
} worker;

struct engine_mt {
    const ops *ops;
    engine_config config;
    pool *pool;     /* of the workers; also of the single engine's context models */
    engine *whole;  /* over the device's context */
    worker *worker; /* [count] */
    ops_context *group_ctx;
    engine_group *group; /* of all workers, opened when first used */
    int count;           /* 0: a block is never shared */
    uint64_t limit;      /* bytes that workers may take; 0: any number */
};

/* The caller's progress callback, which worker 0 calls, and its request to stop. */
typedef struct {
    const engine_progress *progress;
    atomic_bool stop;
} engine_mt_progress;

/* Bytes of a model that each pass reads, about: all but its n-grams. */
static size_t pass_bytes(const weights_model *w)
{
    return (size_t)w->file_size - (size_t)w->ngram_buckets * NGRAMS_BUCKET * sizeof *w->ngrams;
}

static bool may_share(const engine_config *config)
{
    for (int k = 0; k < config->experts; k++)
        if (config->expert[k].kind == GPUZIP_EXPERT_MODEL &&
            pass_bytes(model_weights(config->expert[k].m)) > WORKER_MODEL_BYTES)
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

gpuzip_status engine_mt_open(engine_mt **out, const ops *ops, ops_context *ctx,
                             const engine_config *config, int threads, uint64_t limit)
{
    gpuzip_status status = GPUZIP_OK;
    engine_mt *mt = calloc(1, sizeof *mt);
    if (!mt)
        return FAIL(GPUZIP_ERR_MEMORY);
    mt->ops = ops;
    mt->config = *config;
    mt->limit = limit;
    engine_config whole = *config;
    if (threads > 1)
        TRY_OUT(pool_open(&mt->pool, threads));
    whole.pool = mt->pool;
    TRY_OUT(engine_open(&mt->whole, ops, ctx, &whole));
    if (ops == &ops_cpu && threads > 1 && may_share(config)) {
        mt->worker = calloc((size_t)threads, sizeof *mt->worker);
        if (!mt->worker) {
            status = FAIL(GPUZIP_ERR_MEMORY);
            goto out;
        }
        mt->count = threads;
    }
    *out = mt;
    mt = NULL;
out:
    engine_mt_close(mt);
    return status;
}

void engine_mt_set_limit(engine_mt *mt, uint64_t limit)
{
    mt->limit = limit;
}

void engine_mt_close(engine_mt *mt)
{
    if (!mt)
        return;
    for (int i = 0; i < mt->count; i++) {
        engine_close(mt->worker[i].e);
        mt->ops->close(mt->worker[i].ctx);
    }
    engine_group_close(mt->group);
    if (mt->group_ctx)
        mt->ops->close(mt->group_ctx);
    free(mt->worker);
    engine_close(mt->whole);
    pool_close(mt->pool);
    free(mt);
}

/* ---- distribution --------------------------------------------------------- */

/* Distribution of a batch's streams: worker i codes [first[i], first[i + 1]). */
typedef struct {
    int *first;  /* [count + 1] */
    bool united; /* the workers are a group: they share states */
    int most;    /* streams of a worker */
} deal;

static size_t shared_bytes(const engine_mt *mt, uint32_t streams, int blocks)
{
    uint32_t each = (streams - 1) / (uint32_t)mt->count + 1;
    int own = blocks >= mt->count ? (blocks - 1) / mt->count + 1 : blocks;
    return (size_t)mt->count * engine_bytes(mt->whole, (int)each, own);
}

static bool is_shared(const engine_mt *mt, uint32_t streams, int blocks)
{
    return mt->count > 0 && streams >= (uint32_t)mt->count &&
           (!has_counts(&mt->config) || blocks >= mt->count) &&
           (!mt->limit || shared_bytes(mt, streams, blocks) <= mt->limit);
}

/* Gives each worker the same number of streams. */
static void deal_streams(const engine_mt *mt, int streams, deal *d)
{
    for (int i = 0; i <= mt->count; i++)
        d->first[i] = (int)((int64_t)streams * i / mt->count);
}

/* Gives each worker consecutive whole blocks; a worker ends with the block whose end is nearest to
 * its share of the tokens. false: some worker would exceed SHARE_MOST, or get none. */
static bool deal_blocks(const engine_mt *mt, const engine_stream *stream, int streams, deal *d)
{
    double all = 0, done = 0, begin = 0;
    int worker = 0, end;
    for (int s = 0; s < streams; s++)
        all += (double)stream[s].length;
    d->first[0] = 0;
    for (int s = 0; s < streams; s = end) {
        double block = 0, share = all / mt->count;
        for (end = s; end < streams && stream[end].state == stream[s].state; end++)
            block += (double)stream[end].length;
        if (worker + 1 < mt->count && s > d->first[worker] &&
            done + block / 2 > share * (worker + 1)) {
            d->first[++worker] = s;
            begin = done;
        }
        done += block;
        if (done - begin > share * SHARE_MOST)
            return false;
    }
    d->first[mt->count] = streams;
    return worker + 1 == mt->count;
}

/* Makes the workers' threads. Where the system refuses some, there are fewer workers, or none. */
static void start_lanes(engine_mt *mt)
{
    int threads = pool_start(mt->pool);
    if (threads < mt->count)
        mt->count = threads > 1 ? threads : 0;
}

/* Distributes a batch; false: one engine must code it all. The caller frees d->first. */
static bool deal_out(engine_mt *mt, const engine_stream *stream, int streams, deal *d)
{
    int blocks = stream[streams - 1].state - stream[0].state + 1;
    bool adaptive = mt->config.bias || mt->config.learn_alpha || mt->config.prior;
    *d = (deal){0};
    if (engine_learns(&mt->config, engine_tokens(stream, streams)) && blocks == 1)
        return false; /* one engine has the block's weights */
    if (is_shared(mt, (uint32_t)streams, blocks))
        start_lanes(mt);
    if (!is_shared(mt, (uint32_t)streams, blocks) ||
        !(d->first = calloc((size_t)mt->count + 1, sizeof *d->first)))
        return false;
    if (!(adaptive || has_counts(&mt->config)) || !deal_blocks(mt, stream, streams, d)) {
        if (has_counts(&mt->config))
            return false;
        deal_streams(mt, streams, d);
        d->united = adaptive;
    }
    for (int i = 0; i < mt->count; i++) {
        int own = d->first[i + 1] - d->first[i];
        d->most = own > d->most ? own : d->most;
    }
    return true;
}

size_t engine_mt_bytes(const engine_mt *mt, uint32_t streams, int blocks)
{
    return is_shared(mt, streams, blocks) ? shared_bytes(mt, streams, blocks)
                                          : engine_bytes(mt->whole, (int)streams, blocks);
}

size_t engine_mt_batch_bytes(const engine_mt *mt, uint32_t streams, int blocks, bool learns)
{
    if (learns)
        return engine_bytes(mt->whole, (int)streams, blocks);
    if (!is_shared(mt, streams, blocks))
        return engine_plain_bytes(mt->whole, (int)streams, blocks);
    uint32_t each = (streams - 1) / (uint32_t)mt->count + 1;
    int own = blocks >= mt->count ? (blocks - 1) / mt->count + 1 : blocks;
    return (size_t)mt->count * engine_plain_bytes(mt->whole, (int)each, own);
}

size_t engine_mt_logits_bytes(const engine_mt *mt, uint32_t streams)
{
    size_t engines = is_shared(mt, streams, 1) ? (size_t)mt->count : 1;
    return engines * engine_logits_bytes(mt->whole);
}

/* ---- workers --------------------------------------------------------------- */

static int worker_step(void *context, size_t done, size_t steps)
{
    engine_mt_progress *p = context;
    if (p->progress && p->progress->step(p->progress->context, done, steps))
        atomic_store(&p->stop, true);
    return atomic_load(&p->stop);
}

static int worker_stop(void *context, size_t done, size_t steps)
{
    engine_mt_progress *p = context;
    (void)done;
    (void)steps;
    return atomic_load(&p->stop);
}

typedef gpuzip_status engine_code_function(engine *, engine_stream *, int, engine_costs *,
                                           const engine_progress *);

/* The workers' work. */
typedef struct {
    engine_mt *mt;
    engine_code_function *code;
    engine_stream *stream; /* of the batch */
    const deal *d;
    engine_mt_progress *p;
} engine_mt_job;

static gpuzip_status open_worker(engine_mt *mt, int i, bool united)
{
    worker *own = &mt->worker[i];
    if (!own->ctx)
        TRY(mt->ops->open(&own->ctx, 0, 1, NULL));
    if (!own->e)
        TRY(engine_open(&own->e, mt->ops, own->ctx, &mt->config));
    engine_join(own->e, united ? mt->group : NULL, united ? i : 0);
    return GPUZIP_OK;
}

/* Codes a worker's streams. A corrupt stream does not stop the other workers. */
static void run_worker(const void *context, int i, int thread)
{
    const engine_mt_job *job = context;
    engine_mt *mt = job->mt;
    worker *own = &mt->worker[i];
    int first = job->d->first[i], streams = job->d->first[i + 1] - first;
    engine_progress progress = {i ? worker_stop : worker_step, job->p};
    (void)thread;
    own->costs = (engine_costs){0};
    own->status = open_worker(mt, i, job->d->united);
    if (own->status == GPUZIP_OK)
        own->status = job->code(own->e, job->stream + first, streams, &own->costs, &progress);
    else if (job->d->united)
        engine_group_abandon(mt->group);
    if (own->status != GPUZIP_OK && own->status != GPUZIP_ERR_CORRUPT)
        atomic_store(&job->p->stop, true);
}

/* Prepares the group for a batch. */
static gpuzip_status begin_group(engine_mt *mt, const engine_stream *stream, const deal *d)
{
    if (!d->united)
        return GPUZIP_OK;
    if (!mt->group_ctx)
        TRY(mt->ops->open(&mt->group_ctx, 0, 1, NULL));
    if (!mt->group)
        TRY(engine_group_open(&mt->group, mt->ops, mt->group_ctx, &mt->config, mt->count));
    return engine_group_begin(mt->group, stream, d->first[mt->count], mt->count, d->most);
}

/* The worse of two workers' statuses: first the error that stopped other workers, then CANCELLED of
 * those workers, then CORRUPT. */
static gpuzip_status worse(gpuzip_status a, gpuzip_status b)
{
    static const gpuzip_status mild[] = {GPUZIP_OK, GPUZIP_ERR_CORRUPT, GPUZIP_ERR_CANCELLED};
    for (int i = 0; i < 3; i++)
        if (a == mild[i] || b == mild[i])
            return a == mild[i] ? b : a;
    return a;
}

/* Runs all workers, one of them in this thread. Workers of a group wait for each other: there is a
 * thread for each. */
static gpuzip_status run_workers(engine_mt *mt, engine_code_function *code, engine_stream *stream,
                                 const deal *d, engine_mt_progress *p)
{
    gpuzip_status status = GPUZIP_OK;
    TRY(begin_group(mt, stream, d));
    pool_run(mt->pool, mt->count, mt->count, run_worker, &(engine_mt_job){mt, code, stream, d, p});
    for (int i = 0; i < mt->count; i++)
        status = worse(status, mt->worker[i].status);
    if (d->united)
        engine_group_end(mt->group);
    return status;
}

/* Adds the workers' costs: operations and bits are summed, seconds are those of the slowest worker.
 */
static void add_costs(engine_costs *costs, const engine_mt *mt)
{
    const engine_costs *slowest = &mt->worker[0].costs;
    for (int i = 0; i < mt->count; i++) {
        const engine_costs *c = &mt->worker[i].costs;
        costs->forward_ops += c->forward_ops;
        costs->model_bits += c->model_bits;
        if (c->seconds[GPUZIP_PHASE_FORWARD] > slowest->seconds[GPUZIP_PHASE_FORWARD])
            slowest = c;
    }
    for (int i = 0; i < GPUZIP_PHASES; i++)
        costs->seconds[i] += slowest->seconds[i];
}

static gpuzip_status run(engine_mt *mt, engine_code_function *code, engine_stream *stream,
                         int streams, engine_costs *costs, const engine_progress *progress)
{
    gpuzip_status status;
    deal d;
    engine_mt_progress p = {.progress = progress};
    if (deal_out(mt, stream, streams, &d)) {
        status = run_workers(mt, code, stream, &d, &p);
        add_costs(costs, mt);
    } else {
        status = code(mt->whole, stream, streams, costs, progress);
    }
    free(d.first);
    return status;
}

gpuzip_status engine_mt_encode(engine_mt *mt, engine_stream *stream, int streams,
                               engine_costs *costs, const engine_progress *progress)
{
    return run(mt, engine_encode, stream, streams, costs, progress);
}

gpuzip_status engine_mt_decode(engine_mt *mt, engine_stream *stream, int streams,
                               engine_costs *costs, const engine_progress *progress)
{
    return run(mt, engine_decode, stream, streams, costs, progress);
}
