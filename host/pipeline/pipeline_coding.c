/* pipeline_coding.c: the devices' side of a pipeline; see pipeline_internal.h. */
#include "pipeline_internal.h"

#include <stdio.h>
#include <unistd.h>

#define MIB(bytes) ((double)(bytes) / (1 << 20))

/* ---- progress ----------------------------------------------------------- */

void pipeline_drop_blocks(pipeline *p, const pipeline_file *f)
{
    for (int i = 0; i < p->used; i++) {
        ring_entry *entry = pipeline_entry(p, i);
        if (entry->job.file != f)
            continue;
        entry->dropped = true;
        if (entry->state == JOB_READ || entry->state == JOB_READY || entry->state == JOB_CODED)
            entry->state = JOB_DONE;
    }
    pthread_cond_broadcast(&p->changed);
}

void pipeline_tell(pipeline *p)
{
    pipeline_file *f = pipeline_entry(p, 0)->job.file;
    uint64_t bytes = f->input_done;
    for (int i = 0; i < p->used && pipeline_entry(p, i)->job.file == f; i++) {
        const ring_entry *entry = pipeline_entry(p, i);
        double part = entry->state == JOB_CODING ? entry->part : entry->state > JOB_CODING;
        bytes += (uint64_t)(part * (double)entry->input_bytes);
    }
    if (f->status == GPUZIP_OK && pipeline_progress(&f->io, bytes, f->stats.bytes_out)) {
        f->status = FAIL(GPUZIP_ERR_CANCELLED);
        pipeline_drop_blocks(p, f);
    }
}

void pipeline_describe_memory(const pipeline *p, const device *d, const engine_mt *mt, int blocks,
                              uint32_t streams, uint64_t available, char text[GPUZIP_ERROR_BYTES])
{
    const engine_config config = plan_config_on(&p->plan, d);
    uint64_t weights = 0, cache = 0, logits = engine_mt_logits_bytes(mt, streams);
    uint64_t all = engine_mt_bytes(mt, streams, blocks);
    for (int k = 0; k < config.experts; k++) {
        if (config.expert[k].kind != GPUZIP_EXPERT_MODEL)
            continue;
        const weights_model *w = model_weights(config.expert[k].m);
        const weights_config *c = &w->config;
        cache += d->ops->kv_bytes(c->layers, (int)streams, config.schedule.window, 1, c->kv_heads,
                                  c->head_dim, c->kv_bits);
        weights += device_weights_bytes(w);
    }
    snprintf(text, GPUZIP_ERROR_BYTES,
             "%s: blocks at once %d, streams %u; memory in MiB: weights %.1f, KV cache %.1f, "
             "activations %.1f, logits %.1f, total %.1f; free beside the weights %.1f",
             d->name, blocks, streams, MIB(weights), MIB(cache), MIB(all - cache - logits),
             MIB(logits), MIB(all + weights), MIB(available));
}

/* The process's memory now, in bytes, without pages that no one has touched; 0: unknown. */
static uint64_t resident_bytes(void)
{
    unsigned long long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &all, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Memory that the blocks of a batch take for their adaptive states and the streams. */
static uint64_t batch_bytes(const pipeline *p, ring_entry *const *group, int count,
                            uint32_t *streams)
{
    uint64_t bytes = 0;
    *streams = 0;
    for (int i = 0; i < count; i++) {
        const block_work *work = &group[i]->job.b.work;
        bytes += block_adaptive_bytes(&p->rules, work->tokens, work->streams);
        *streams += work->streams;
    }
    return bytes;
}

/* The engines' workers may take what the blocks of a batch leave of the limit. */
static void limit_workers(const pipeline *p, ring_entry *const *group, int count)
{
    uint32_t streams;
    uint64_t limit = p->rules.memory_limit, taken = batch_bytes(p, group, count, &streams);
    if (!limit)
        return;
    for (int i = 0; i < p->used; i++)
        taken += block_bytes(&p->rules, p->ring[(p->first + i) % p->ring_size].content_size);
    engine_mt_set_limit(p->cpu, limit > taken ? limit - taken : 1);
}

void pipeline_describe_cpu(const pipeline *p, ring_entry *const *group, int count,
                           char text[GPUZIP_ERROR_BYTES])
{
    uint32_t streams;
    uint64_t so_far = resident_bytes(), contexts = batch_bytes(p, group, count, &streams);
    limit_workers(p, group, count);
    bool learns = engine_learns(&p->plan.config, group[0]->job.b.work.tokens);
    uint64_t engines = engine_mt_batch_bytes(p->cpu, streams, count, learns);
    snprintf(text, GPUZIP_ERROR_BYTES,
             "cpu: blocks at once %d, streams %u; memory in MiB: program, models and blocks %.1f, "
             "caches, activations and logits %.1f, contexts %.1f, total %.1f",
             count, streams, MIB(so_far), MIB(engines), MIB(contexts),
             MIB(so_far + engines + contexts));
}

/* ---- coding ------------------------------------------------------------- */

/* Some blocks being coded, for the engine's progress. */
typedef struct {
    pipeline *p;
    ring_entry *const *group; /* [count] */
    int count;
} coding;

static int coding_step(void *context, size_t done, size_t steps)
{
    const coding *c = context;
    bool wanted = false;
    pthread_mutex_lock(&c->p->lock);
    for (int i = 0; i < c->count; i++)
        c->group[i]->part = (double)done / (double)steps;
    if (!c->p->workers)
        pipeline_tell(c->p);
    for (int i = 0; i < c->count; i++)
        wanted = wanted || !c->group[i]->dropped;
    bool stop = c->p->stop || !wanted;
    pthread_mutex_unlock(&c->p->lock);
    return stop;
}

/* Divides the costs of a group among its blocks, in proportion to their tokens. */
static void share_costs(ring_entry *const *group, int count, const block_costs *costs)
{
    double all_tokens = 0;
    for (int i = 0; i < count; i++)
        all_tokens += (double)group[i]->job.b.work.tokens;
    for (int i = 0; i < count; i++) {
        ring_entry *entry = group[i];
        double part = (double)entry->job.b.work.tokens / all_tokens;
        entry->job.costs = (block_costs){.blocks = costs->blocks};
        engine_add_costs(&entry->job.costs.engine, &costs->engine, part);
    }
}

static gpuzip_status code(pipeline *p, engine_mt *mt, ring_entry *const *group, int count)
{
    block *b[JOBS_MAX] = {NULL};
    block_costs costs;
    coding c = {p, group, count};
    engine_progress progress = {coding_step, &c};
    for (int i = 0; i < count; i++)
        b[i] = &group[i]->job.b;
    TRY(block_code(&p->rules, mt, b, count, &costs, &progress));
    share_costs(group, count, &costs);
    return GPUZIP_OK;
}

gpuzip_status pipeline_open_cpu(pipeline *p)
{
    device *d;
    if (p->cpu)
        return GPUZIP_OK;
    TRY(session_cpu(p->gz, &d));
    engine_config config = plan_config_on(&p->plan, d);
    return engine_mt_open(&p->cpu, d->ops, d->ctx, &config, p->gz->threads, p->rules.memory_limit);
}

int pipeline_cpu_batch(const pipeline *p, ring_entry *const *group, int count)
{
    uint64_t limit = p->rules.memory_limit ? p->rules.memory_limit / 2 : CPU_MEMORY, bytes = 0;
    uint32_t streams = 0; /* of group[0, n) */
    int n = 0;
    for (; n < count && n < CPU_BLOCKS; n++) {
        const block *b = &group[n]->job.b;
        if (engine_learns(&p->plan.config, b->work.tokens)) /* with weights of its own */
            return n ? n : 1;
        bool enough = streams >= CPU_STREAMS && n >= p->gz->threads;
        bytes += block_coding_bytes(&p->rules, b->work.tokens, b->work.streams);
        if (n > 0 && (enough || bytes > limit))
            break;
        streams += b->work.streams;
    }
    return n;
}

void pipeline_code_on_cpu(pipeline *p, ring_entry *const *group, int count)
{
    pthread_mutex_lock(&p->cpu_lock);
    gpuzip_status status = pipeline_open_cpu(p);
    for (int i = 0, n; i < count; i += n) {
        n = pipeline_cpu_batch(p, group + i, count - i);
        if (status == GPUZIP_OK)
            limit_workers(p, group + i, n);
        gpuzip_status own = status == GPUZIP_OK ? code(p, p->cpu, group + i, n) : status;
        for (int j = i; j < i + n && own != GPUZIP_OK; j++)
            group[j]->job.b.status = own;
    }
    pthread_mutex_unlock(&p->cpu_lock);
}

/* ---- a GPU's thread ----------------------------------------------------- */

static gpuzip_status open_worker(worker *w)
{
    uint64_t total;
    const device *d = w->d;
    engine_config config = plan_config_on(&w->p->plan, d);
    TRY(d->ops->memory(d->ctx, &w->room, &total));
    int threads = w->p->gz->threads / w->p->workers;
    return engine_mt_open(&w->mt, d->ops, d->ctx, &config, threads > 1 ? threads : 1, 0);
}

/* Whether so many streams of so many blocks fit in the device's memory, as far as is known; leaves
 * a reserve for other programs. */
static bool fits(const worker *w, uint32_t streams, int blocks)
{
    return streams <= w->streams_most &&
           (!w->mt || engine_mt_bytes(w->mt, streams, blocks) <= w->room - w->room / 16);
}

/* The most blocks a worker takes: when no more are coming, all idle workers share the ready
 * ones. */
static int choose_share(const pipeline *p, int ready, bool last)
{
    int idle = 0;
    for (int i = 0; i < p->workers; i++)
        idle += p->worker[i].count == 0 && !p->worker[i].d->lost;
    return last && idle > 1 ? (ready + idle - 1) / idle : JOBS_MAX;
}

/* Writes the worker's next blocks to its group: the earliest ready ones of any files, as many as
 * fit and as its share allows, using at most its part of the room so that reading goes on during
 * coding. Returns how many; 0: wait for more. With the lock. */
static int choose_group(worker *w)
{
    pipeline *p = w->p;
    int ready = 0, coming = 0, count = 0, first = 0;
    uint64_t bytes = 0, part = (uint64_t)p->workers + 1;
    uint32_t streams = 0;
    bool full = false;
    for (int i = 0; i < p->used; i++) {
        ready += pipeline_entry(p, i)->state == JOB_READY;
        coming += pipeline_entry(p, i)->state < JOB_READY;
    }
    bool last = p->draining && !coming;
    int share = w->d->lost ? 1 : choose_share(p, ready, last);
    for (int i = 0; i < p->used && !full; i++) {
        ring_entry *entry = pipeline_entry(p, i);
        if (entry->state != JOB_READY)
            continue;
        if (!count)
            first = i;
        streams += entry->job.b.work.streams;
        bytes += block_bytes(&p->rules, entry->content_size);
        full = count > 0 && (!fits(w, streams, count + 1) || bytes > p->room / part ||
                             (uint64_t)(i - first) >= (uint64_t)p->capacity / part);
        if (!full)
            w->group[count++] = entry;
        full = full || count == share;
    }
    return full || last ? count : 0;
}

static uint32_t group_streams(const worker *w)
{
    uint32_t streams = 0;
    for (int i = 0; i < w->count; i++)
        streams += w->group[i]->job.b.work.streams;
    return streams;
}

/* Gives the latter half of a group back. */
static void give_back(worker *w)
{
    int kept = w->count / 2;
    pthread_mutex_lock(&w->p->lock);
    for (int i = kept; i < w->count; i++)
        pipeline_set_state(w->p, w->group[i], w->group[i]->dropped ? JOB_DONE : JOB_READY);
    w->count = kept;
    pthread_mutex_unlock(&w->p->lock);
}

/* Says once how much memory groups take, before it is taken. */
static void tell_memory(worker *w)
{
    pthread_mutex_lock(&w->p->lock);
    pipeline_describe_memory(w->p, w->d, w->mt, w->count, group_streams(w), w->room, w->detail);
    pthread_mutex_unlock(&w->p->lock);
    w->told = true;
}

/* Codes the group, or as many of its blocks as fit on the device; w->count becomes their number.
 * MEMORY: none fits. */
static gpuzip_status code_on_gpu(worker *w)
{
    pipeline *p = w->p;
    if (!w->mt)
        TRY(open_worker(w));
    for (;;) {
        while (w->count > 1 && !fits(w, group_streams(w), w->count))
            give_back(w);
        if (!w->told)
            tell_memory(w);
        w->d->ops->range_push("blocks");
        gpuzip_status status = code(p, w->mt, w->group, w->count);
        w->d->ops->range_pop();
        if (status != GPUZIP_ERR_MEMORY || w->count == 1)
            return status;
        w->streams_most = group_streams(w) - 1; /* others use the device as well */
    }
}

/* Blocks whose verification failed: their device computes wrongly. */
static bool any_failed(const worker *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->group[i]->job.b.status == GPUZIP_ERR_SELF_TEST)
            return true;
    return false;
}

/* Codes the group wherever it can be. */
static void code_group(worker *w)
{
    pipeline *p = w->p;
    const char *why = NULL;
    gpuzip_status status = w->d->lost ? GPUZIP_ERR_DEVICE : code_on_gpu(w);
    if (status == GPUZIP_OK && !(p->gz->automatic && any_failed(w)))
        return;
    if (status == GPUZIP_ERR_CANCELLED) {
        for (int i = 0; i < w->count; i++)
            w->group[i]->job.b.status = status;
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (status == GPUZIP_ERR_MEMORY && !w->small) {
        why = "has no room for a block";
        w->small = true;
    } else if (status != GPUZIP_ERR_MEMORY && !w->d->lost) {
        why = status == GPUZIP_OK ? "computed wrongly" : "reported an error";
        w->d->lost = true;
        p->healthy--;
    }
    if (why)
        snprintf(w->warning, sizeof w->warning, "device '%s' %s; coding on the CPU instead",
                 w->d->name, why);
    pthread_mutex_unlock(&p->lock);
    pipeline_code_on_cpu(p, w->group, w->count);
}

void *pipeline_run_worker(void *context)
{
    worker *w = context;
    pipeline *p = w->p;
    pthread_mutex_lock(&p->lock);
    /* The thread of a lost device continues on the CPU if no other worker is left. */
    while (!p->stop && !(w->d->lost && p->healthy > 0)) {
        w->count = choose_group(w);
        if (!w->count) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        for (int i = 0; i < w->count; i++) {
            w->group[i]->part = 0;
            w->group[i]->state = JOB_CODING;
        }
        pthread_mutex_unlock(&p->lock);
        code_group(w);
        pthread_mutex_lock(&p->lock);
        for (int i = 0; i < w->count; i++)
            pipeline_set_state(p, w->group[i], JOB_CODED);
        w->count = 0;
    }
    pthread_mutex_unlock(&p->lock);
    engine_mt_close(w->mt);
    w->mt = NULL;
    return NULL;
}
