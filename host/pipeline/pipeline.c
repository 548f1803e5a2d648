/* pipeline.c: see pipeline.h. */
#include "pipeline_internal.h"

#include "clock.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#define HOST_MEMORY  ((uint64_t)2 << 30) /* bytes for blocks, without a limit */
#define WAIT_SECONDS 0.1                 /* from one progress report to the next */

/* ---- the host's steps --------------------------------------------------- */

/* The next state of a prepared block; blocks that need no device skip the coding. */
static slot_state after_preparing(const slot *s)
{
    if (s->dropped)
        return SLOT_DONE;
    return s->item.b.status == GPUZIP_OK && s->item.b.kind == CONTAINER_CODED ? SLOT_READY
                                                                              : SLOT_CODED;
}

static void *run_helper(void *context)
{
    pipeline *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        slot *found = NULL; /* the earliest: it is written first */
        for (int i = 0; i < p->used && !found; i++) {
            slot *s = pipeline_slot(p, i);
            if (s->state == SLOT_READ || s->state == SLOT_CODED)
                found = s;
        }
        if (!found) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        bool prepares = found->state == SLOT_READ;
        found->state = prepares ? SLOT_PREPARING : SLOT_FINISHING;
        pthread_mutex_unlock(&p->lock);
        if (prepares)
            block_prepare(&p->rules, &found->item.b);
        else
            block_finish(&p->rules, &found->item.b);
        pthread_mutex_lock(&p->lock);
        pipeline_set_state(p, found, prepares ? after_preparing(found) : SLOT_DONE);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Says once how much memory the CPU will take for a block such as this. */
static void tell_cpu_memory(pipeline *p, const slot *s)
{
    char text[GPUZIP_ERROR_BYTES];
    const device *d = &p->gz->cpu;
    uint64_t available = 0, total;
    if (p->told || !p->gz->note)
        return;
    p->told = true;
    (void)d->ops->memory(d->ctx, &available, &total);
    pipeline_describe_memory(p, d, p->cpu, 1, s->item.b.work.streams, available, text);
    session_note(p->gz, GPUZIP_NOTE_DETAIL, "%s", text);
}

/* All steps of the blocks under way, in the caller's thread. */
static void work_alone(pipeline *p)
{
    slot *group[CPU_ITEMS], *own[CPU_ITEMS];
    int coded = 0, count = 0;
    for (int i = 0; i < p->used; i++) {
        slot *s = pipeline_slot(p, i);
        if (s->state == SLOT_DONE)
            continue;
        block_prepare(&p->rules, &s->item.b);
        s->state = after_preparing(s);
        own[count++] = s;
        if (s->state == SLOT_READY)
            group[coded++] = s;
    }
    for (int i = 0; i < coded; i++) {
        group[i]->part = 0;
        group[i]->state = SLOT_CODING;
    }
    if (coded > 0) {
        tell_cpu_memory(p, group[0]);
        pipeline_code_on_cpu(p, group, coded);
    }
    for (int i = 0; i < count; i++) {
        if (own[i]->state != SLOT_DONE)
            block_finish(&p->rules, &own[i]->item.b);
        own[i]->state = SLOT_DONE;
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
    for (int i = 0; i < gz->gpus; i++)
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
    if (x->window != y->window || x->hop != y->hop || x->update_interval != y->update_interval ||
        x->window_scope != y->window_scope || x->experts != y->experts || x->bias != y->bias ||
        x->learn_alpha != y->learn_alpha || x->prior != y->prior)
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
    p->room = rules->memory_limit && rules->memory_limit / 2 < HOST_MEMORY ? rules->memory_limit / 2
                                                                           : HOST_MEMORY;
    gpuzip_status status = start(p);
    if (status != GPUZIP_OK) {
        stop(p);
        return status;
    }
    p->capacity = p->slots;
    p->ready = true;
    return GPUZIP_OK;
}

gpuzip_status pipeline_open(pipeline **out, gpuzip *gz)
{
    pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(GPUZIP_ERR_MEMORY);
    p->gz = gz;
    p->slots = gz->gpus ? ITEMS_MAX : CPU_ITEMS;
    p->capacity = 1;
    p->slot = calloc((size_t)p->slots, sizeof *p->slot);
    if (!p->slot) {
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
    for (int i = 0; i < p->slots; i++)
        block_close(&p->slot[i].item.b);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->cpu_lock);
    pthread_mutex_destroy(&p->lock);
    free(p->slot);
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

/* Waits until job s is done, reporting progress. */
static void wait_for(pipeline *p, slot *s)
{
    double told = clock_seconds();
    if (!p->workers && s->state != SLOT_DONE)
        work_alone(p);
    pthread_mutex_lock(&p->lock);
    p->draining = s->state != SLOT_DONE;
    if (p->draining)
        pthread_cond_broadcast(&p->changed);
    while (s->state != SLOT_DONE) {
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
    slot *s = pipeline_slot(p, 0);
    wait_for(p, s);
    pthread_mutex_lock(&p->lock);
    s->item.file->input_done += s->input_bytes;
    p->first = (p->first + 1) % p->slots;
    p->used--;
    pthread_mutex_unlock(&p->lock);
    s->item.done(&s->item);
    block_close(&s->item.b);
    return true;
}

void pipeline_drain(pipeline *p)
{
    while (complete_first(p))
        ;
}

/* Whether to take one more block of raw_size bytes before completing the first. On the CPU alone,
 * blocks wait only for as long as they may share a batch, so that a long file is written while it
 * is read. */
static bool has_room(pipeline *p, size_t raw_size)
{
    uint64_t bytes = block_bytes(&p->rules, raw_size);
    size_t waiting = 0;
    int blocks = 0;
    for (int i = 0; i < p->used; i++) {
        const slot *s = pipeline_slot(p, i);
        bytes += block_bytes(&p->rules, s->raw_size);
        waiting += s->raw_size;
        blocks += !s->item.is_end;
    }
    if (!p->workers && blocks >= p->gz->threads && waiting >= CPU_WAITING)
        return false;
    return p->used < p->capacity && (!p->used || bytes <= p->room);
}

block *pipeline_next(pipeline *p, size_t raw_size)
{
    while (!has_room(p, raw_size))
        complete_first(p);
    slot *s = pipeline_slot(p, p->used);
    s->raw_size = raw_size;
    s->item.b.status = GPUZIP_OK;
    s->item.b.kind = CONTAINER_CODED;
    return &s->item.b;
}

void pipeline_submit(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                     size_t raw_size, size_t input_bytes)
{
    pthread_mutex_lock(&p->lock);
    slot *s = pipeline_slot(p, p->used++);
    s->item.file = file;
    s->item.done = done;
    s->item.is_end = false;
    s->item.costs = (block_costs){0};
    s->raw_size = raw_size;
    s->input_bytes = input_bytes;
    s->part = 0;
    s->dropped = false;
    pipeline_set_state(p, s, s->item.b.kind == CONTAINER_CODED ? SLOT_READ : SLOT_DONE);
    pthread_mutex_unlock(&p->lock);
}

void pipeline_submit_end(pipeline *p, pipeline_file *file, void (*done)(pipeline_job *job),
                         const container_end *end)
{
    while (p->used == p->capacity)
        complete_first(p);
    pthread_mutex_lock(&p->lock);
    slot *s = pipeline_slot(p, p->used++);
    block_close(&s->item.b); /* abandoned by its reader */
    *s = (slot){.item = {.file = file, .done = done, .is_end = true}, .state = SLOT_DONE};
    if (end)
        s->item.end = *end;
    pthread_mutex_unlock(&p->lock);
}

void pipeline_drop(pipeline *p, const pipeline_file *file)
{
    pthread_mutex_lock(&p->lock);
    pipeline_drop_blocks(p, file);
    pthread_mutex_unlock(&p->lock);
}
