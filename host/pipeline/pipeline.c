/* pipeline.c: see pipeline.h. */
#include "pipeline_internal.h"

#include "clock.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#define HOST_MEMORY ((uint64_t)2 << 30) /* bytes for blocks, without a limit */
/* The share of the limit that blocks may take; one alone is always taken. On the CPU, a half is for
 * coding (pipeline_cpu_batch()) and a quarter for packing. */
#define HOST_SHARE     8
#define HOST_SHARE_GPU 2
#define WAIT_SECONDS   0.1 /* from one progress report to the next */

/* ---- the host's steps --------------------------------------------------- */

/* The next state of a prepared block; blocks that need no device skip the coding. */
static job_state after_preparing(const ring_entry *entry)
{
    if (entry->dropped)
        return JOB_DONE;
    return entry->job.b.status == GPUZIP_OK && entry->job.b.kind == CONTAINER_CODED ? JOB_READY
                                                                                    : JOB_CODED;
}

static void *run_helper(void *context)
{
    pipeline *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        ring_entry *found = NULL; /* the earliest: it is written first */
        for (int i = 0; i < p->used && !found; i++) {
            ring_entry *entry = pipeline_entry(p, i);
            if (entry->state == JOB_READ || entry->state == JOB_CODED)
                found = entry;
        }
        if (!found) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        bool prepares = found->state == JOB_READ;
        found->state = prepares ? JOB_PREPARING : JOB_FINISHING;
        pthread_mutex_unlock(&p->lock);
        if (prepares)
            block_prepare(&p->rules, &found->job.b);
        else
            block_finish(&p->rules, &found->job.b);
        pthread_mutex_lock(&p->lock);
        pipeline_set_state(p, found, prepares ? after_preparing(found) : JOB_DONE);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Says once how much memory the CPU will take for blocks such as these. */
static void tell_cpu_memory(pipeline *p, ring_entry *const *group, int count)
{
    char text[GPUZIP_ERROR_BYTES];
    if (p->told || !p->gz->note)
        return;
    p->told = true;
    pipeline_describe_cpu(p, group, pipeline_cpu_batch(p, group, count), text);
    session_note(p->gz, GPUZIP_NOTE_DETAIL, "%s", text);
}

/* All steps of the blocks under way, in the caller's thread. */
static void work_alone(pipeline *p)
{
    ring_entry *group[CPU_JOBS], *own[CPU_JOBS];
    int coded = 0, count = 0;
    for (int i = 0; i < p->used; i++) {
        ring_entry *entry = pipeline_entry(p, i);
        if (entry->state == JOB_DONE)
            continue;
        block_prepare(&p->rules, &entry->job.b);
        entry->state = after_preparing(entry);
        own[count++] = entry;
        if (entry->state == JOB_READY)
            group[coded++] = entry;
    }
    for (int i = 0; i < coded; i++) {
        group[i]->part = 0;
        group[i]->state = JOB_CODING;
    }
    if (coded > 0) {
        tell_cpu_memory(p, group, coded);
        pipeline_code_on_cpu(p, group, coded);
    }
    for (int i = 0; i < count; i++) {
        if (own[i]->state != JOB_DONE)
            block_finish(&p->rules, &own[i]->job.b);
        own[i]->state = JOB_DONE;
    }
}

/* ---- opening ------------------------------------------------------------ */

/* One worker for each GPU that is still of use. */
static gpuzip_status open_workers(pipeline *p)
{
    gpuzip *gz = p->gz;
    p->worker = calloc(DEVICE_GPUS_MAX, sizeof *p->worker);
    if (!p->worker)
        return FAIL(GPUZIP_ERR_MEMORY);
    bool cpu_only = p->plan.config.learn_weights; /* no GPU's backend has the operations */
    if (cpu_only && gz->gpus > 0)
        session_note(gz, GPUZIP_NOTE_DETAIL, "weights learn on the CPU: the GPUs are not used");
    for (int i = 0; i < gz->gpus && !cpu_only; i++)
        if (!gz->gpu[i].lost)
            p->worker[p->workers++] =
                (worker){.p = p, .d = &gz->gpu[i], .streams_most = GROUP_STREAMS};
    p->healthy = p->workers;
    return GPUZIP_OK;
}

/* Starts the threads; without any, prepares the CPU. On an error some may run; stop() ends them. */
static gpuzip_status start(pipeline *p)
{
    int helpers = p->gz->threads < HELPERS_MAX ? p->gz->threads : HELPERS_MAX;
    TRY(open_workers(p));
    if (!p->workers)
        return pipeline_open_cpu(p);
    for (int i = 0; i < p->workers; i++, p->workers_started++)
        if (pthread_create(&p->worker[i].thread, NULL, pipeline_run_worker, &p->worker[i]) != 0)
            return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < helpers; i++, p->helpers_started++)
        if (pthread_create(&p->helper[i], NULL, run_helper, p) != 0)
            return FAIL(GPUZIP_ERR_MEMORY);
    return GPUZIP_OK;
}

/* Passes on the workers' notes. In the caller's thread, with the lock. */
static void pass_notes(pipeline *p)
{
    for (int i = 0; i < p->workers; i++) {
        worker *w = &p->worker[i];
        if (w->detail[0])
            session_note(p->gz, GPUZIP_NOTE_DETAIL, "%s", w->detail);
        if (w->warning[0])
            session_note(p->gz, GPUZIP_NOTE_WARNING, "%s", w->warning);
        w->detail[0] = w->warning[0] = '\0';
    }
}

/* Ends the threads and closes the engines. */
static void stop(pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->workers_started; i++)
        pthread_join(p->worker[i].thread, NULL);
    for (int i = 0; i < p->helpers_started; i++)
        pthread_join(p->helper[i], NULL);
    pass_notes(p);
    engine_mt_close(p->cpu);
    free(p->worker);
    p->cpu = NULL;
    p->worker = NULL;
    p->workers = p->workers_started = p->helpers_started = 0;
    p->capacity = 1;
    p->stop = p->ready = p->told = false;
}

static bool same_config(const coding_plan *a, const coding_plan *b)
{
    const engine_config *x = &a->config, *y = &b->config;
    if (!schedule_equal(&x->schedule, &y->schedule) || x->experts != y->experts ||
        x->bias != y->bias || x->learn_alpha != y->learn_alpha ||
        x->learn_weights != y->learn_weights || x->prior != y->prior)
        return false;
    for (int k = 0; k < x->experts; k++)
        if (x->expert[k].kind != y->expert[k].kind || x->expert[k].alpha != y->expert[k].alpha ||
            a->model[k] != b->model[k])
            return false;
    return true;
}

static bool suits(const pipeline *p, const coding_plan *plan, const block_rules *rules)
{
    const block_rules *r = &p->rules;
    return p->ready && same_config(&p->plan, plan) && r->decode == rules->decode &&
           r->verify == rules->verify && r->measure == rules->measure &&
           r->memory_limit == rules->memory_limit && r->stream_tokens == rules->stream_tokens &&
           r->streams == rules->streams && r->no_packing == rules->no_packing;
}

gpuzip_status pipeline_prepare(pipeline *p, const coding_plan *plan, const block_rules *rules)
{
    if (suits(p, plan, rules))
        return GPUZIP_OK;
    pipeline_drain(p);
    stop(p);
    p->plan = *plan;
    p->rules = *rules;
    uint64_t share = rules->memory_limit / (p->gz->gpus ? HOST_SHARE_GPU : HOST_SHARE);
    p->room = rules->memory_limit && share < HOST_MEMORY ? share : HOST_MEMORY;
    gpuzip_status status = start(p);
    if (status != GPUZIP_OK) {
        stop(p);
        return status;
    }
    p->capacity = p->ring_size;
    p->ready = true;
    return GPUZIP_OK;
}

gpuzip_status pipeline_open(pipeline **out, gpuzip *gz)
{
    pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(GPUZIP_ERR_MEMORY);
    p->gz = gz;
    p->ring_size = gz->gpus ? JOBS_MAX : CPU_JOBS;
    p->capacity = 1;
    p->ring = calloc((size_t)p->ring_size, sizeof *p->ring);
    if (!p->ring) {
        free(p);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->cpu_lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    *out = p;
    return GPUZIP_OK;
}

void pipeline_close(pipeline *p)
{
    if (!p)
        return;
    stop(p);
    for (int i = 0; i < p->ring_size; i++)
        block_close(&p->ring[i].job.b);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->cpu_lock);
    pthread_mutex_destroy(&p->lock);
    free(p->ring);
    free(p);
}

/* ---- the caller's side -------------------------------------------------- */

/* Waits until something changes or it is time for a progress report. */
static void wait_a_little(pipeline *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(WAIT_SECONDS * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&p->changed, &p->lock, &until);
}

/* Waits until the job of an entry is done, reporting progress. */
static void wait_for(pipeline *p, ring_entry *entry)
{
    double told = clock_seconds();
    if (!p->workers && entry->state != JOB_DONE)
        work_alone(p);
    pthread_mutex_lock(&p->lock);
    p->draining = entry->state != JOB_DONE;
    if (p->draining)
        pthread_cond_broadcast(&p->changed);
    while (entry->state != JOB_DONE) {
        wait_a_little(p);
        pass_notes(p);
        if (clock_seconds() - told < WAIT_SECONDS)
            continue;
        told = clock_seconds();
        pipeline_tell(p);
    }
    p->draining = false;
    pass_notes(p);
    pthread_mutex_unlock(&p->lock);
}

/* Completes the earliest job; false: there is none. */
static bool complete_first(pipeline *p)
{
    if (!p->used)
        return false;
    ring_entry *entry = pipeline_entry(p, 0);
    wait_for(p, entry);
    pthread_mutex_lock(&p->lock);
    entry->job.file->input_done += entry->input_bytes;
    p->first = (p->first + 1) % p->ring_size;
    p->used--;
    pthread_mutex_unlock(&p->lock);
    entry->job.done(&entry->job);
    block_close(&entry->job.b);
    return true;
}

void pipeline_drain(pipeline *p)
{
    while (complete_first(p))
        ;
}

/* Whether to take one more block of content_size bytes before completing the first. On the CPU
 * alone, blocks wait only for as long as they may share a batch, so that a long file is written
 * while it is read. */
static bool has_room(pipeline *p, size_t content_size)
{
    uint64_t bytes = block_bytes(&p->rules, content_size);
    size_t waiting = 0;
    int blocks = 0;
    for (int i = 0; i < p->used; i++) {
        const ring_entry *entry = pipeline_entry(p, i);
        bytes += block_bytes(&p->rules, entry->content_size);
        waiting += entry->content_size;
        blocks += !entry->job.is_end;
    }
    if (!p->workers && blocks >= p->gz->threads && waiting >= CPU_WAITING)
        return false;
    return p->used < p->capacity && (!p->used || bytes <= p->room);
}

block *pipeline_next(pipeline *p, size_t content_size)
{
    while (!has_room(p, content_size))
        complete_first(p);
    ring_entry *entry = pipeline_entry(p, p->used);
    entry->content_size = content_size;
    entry->job.b.status = GPUZIP_OK;
    entry->job.b.kind = CONTAINER_CODED;
    return &entry->job.b;
}

void pipeline_submit(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                     size_t content_size, size_t input_bytes)
{
    pthread_mutex_lock(&p->lock);
    ring_entry *entry = pipeline_entry(p, p->used++);
    entry->job.file = file;
    entry->job.done = done;
    entry->job.is_end = false;
    entry->job.costs = (block_costs){0};
    entry->content_size = content_size;
    entry->input_bytes = input_bytes;
    entry->part = 0;
    entry->dropped = false;
    pipeline_set_state(p, entry, entry->job.b.kind == CONTAINER_CODED ? JOB_READ : JOB_DONE);
    pthread_mutex_unlock(&p->lock);
}

void pipeline_submit_end(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                         const container_end *end)
{
    while (p->used == p->capacity)
        complete_first(p);
    pthread_mutex_lock(&p->lock);
    ring_entry *entry = pipeline_entry(p, p->used++);
    block_close(&entry->job.b); /* abandoned by its reader */
    *entry = (ring_entry){.job = {.file = file, .done = done, .is_end = true}, .state = JOB_DONE};
    if (end)
        entry->job.end = *end;
    pthread_mutex_unlock(&p->lock);
}

void pipeline_drop(pipeline *p, const pipeline_file *file)
{
    pthread_mutex_lock(&p->lock);
    pipeline_drop_blocks(p, file);
    pthread_mutex_unlock(&p->lock);
}
