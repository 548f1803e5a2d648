/* pipeline.c: see pipeline.h. */
#include "pipeline.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ITEMS_MAX     1024                /* under way at once, beside GPUs */
#define HOST_MEMORY   ((uint64_t)2 << 30) /* bytes for them where there is no limit */
#define GROUP_STREAMS 16384               /* coded together at most: more gain nothing */
#define HELPERS_MAX   8                   /* threads for the host's steps */
#define WAIT_SECONDS  0.1                 /* from one progress report to the next */
#define MIB(bytes)    ((double)(bytes) / (1 << 20))

/* A block's way; the host's steps and the device's are each taken up by some thread. */
typedef enum {
    SLOT_READ,      /* waits to be prepared */
    SLOT_PREPARING, /* by some thread */
    SLOT_READY,     /* waits for a device */
    SLOT_CODING,
    SLOT_CODED, /* waits to be finished */
    SLOT_FINISHING,
    SLOT_DONE
} slot_state;

typedef struct {
    pipeline_item item;
    slot_state state;
    size_t input_bytes, raw_size;
    double part;  /* of the coding done, 0 .. 1 */
    bool dropped; /* nobody wants it any more */
} slot;

/* A GPU's thread. */
typedef struct {
    struct pipeline *p;
    device *d;
    pthread_t thread;
    lanes *l;              /* opened by the thread */
    uint64_t room;         /* bytes of memory that were free before */
    uint32_t streams_most; /* that it takes at once, as far as is known */
    slot *group[ITEMS_MAX];
    int count;                        /* of the group being coded; 0: waits for blocks */
    bool told;                        /* how much memory a group needs */
    bool small;                       /* the user knows that a block had no room here */
    char warning[GPUZIP_ERROR_BYTES]; /* to be passed on by the caller's thread, or "" */
    char detail[GPUZIP_ERROR_BYTES];  /* likewise */
} worker;

struct pipeline {
    gpuzip *gz;
    handle_plan plan;
    block_rules rules;
    bool ready; /* for these */

    slot *slot;  /* [slots], a ring of which [first, first + used) are under way */
    slot *taken; /* its buffers are to be released, or NULL */
    int slots, capacity, first, used;
    uint64_t room; /* bytes for all of them */

    /* With GPUs. The lock is held for all that follows and for the slots' states. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    worker *worker;       /* [workers] */
    int workers, healthy; /* healthy: whose device is not lost */
    pthread_t helper[HELPERS_MAX];
    int workers_started, helpers_started;
    bool draining; /* the caller waits: no block will come before one is taken */
    bool stop;

    /* The CPU, for one thread at a time. */
    pthread_mutex_t cpu_lock;
    lanes *cpu;
    bool told; /* how much memory it takes */
};

static slot *slot_at(pipeline *p, int i)
{
    return &p->slot[(p->first + i) % p->slots];
}

static void set_state(pipeline *p, slot *s, slot_state state)
{
    s->state = state;
    pthread_cond_broadcast(&p->changed);
}

/* ---- progress ----------------------------------------------------------- */

/* Takes a file's blocks out of the way; what is being worked on is so to its end. With the
 * lock. */
static void drop(pipeline *p, const pipeline_file *f)
{
    for (int i = 0; i < p->used; i++) {
        slot *s = slot_at(p, i);
        if (s->item.file != f)
            continue;
        s->dropped = true;
        if (s->state == SLOT_READ || s->state == SLOT_READY || s->state == SLOT_CODED)
            s->state = SLOT_DONE;
    }
    pthread_cond_broadcast(&p->changed);
}

/* Tells the earliest file how much of its input is done; it may cancel. In the caller's
 * thread, with the lock. */
static void tell(pipeline *p)
{
    pipeline_file *f = slot_at(p, 0)->item.file;
    uint64_t bytes = f->input_done;
    for (int i = 0; i < p->used && slot_at(p, i)->item.file == f; i++) {
        const slot *s = slot_at(p, i);
        double part = s->state == SLOT_CODING ? s->part : s->state > SLOT_CODING;
        bytes += (uint64_t)(part * (double)s->input_bytes);
    }
    if (f->status == GPUZIP_OK && handle_tell(&f->io, bytes, f->stats.bytes_out)) {
        f->status = FAIL(GPUZIP_ERR_CANCELLED);
        drop(p, f);
    }
}

/* Writes how much memory coding some blocks together takes on a device. */
static void describe_memory(const pipeline *p, const device *d, const lanes *l, int blocks,
                            uint32_t streams, uint64_t available, char text[GPUZIP_ERROR_BYTES])
{
    const engine_config config = handle_plan_on(&p->plan, d);
    uint64_t weights = 0, cache = 0, logits = lanes_logits_bytes(l, streams);
    uint64_t all = lanes_bytes(l, streams);
    for (int k = 0; k < config.experts; k++) {
        if (config.expert[k].kind != GPUZIP_EXPERT_MODEL)
            continue;
        const weights_model *w = model_weights(config.expert[k].m);
        const weights_config *c = &w->config;
        cache += d->ops->kv_bytes(c->layers, (int)streams, config.window, c->kv_heads, c->head_dim,
                                  c->kv_bits);
        weights += device_weights_bytes(w);
    }
    snprintf(text, GPUZIP_ERROR_BYTES,
             "%s: blocks at once %d, streams %u; memory in MiB: weights %.1f, KV cache %.1f, "
             "activations %.1f, logits %.1f, total %.1f; free beside the weights %.1f",
             d->name, blocks, streams, MIB(weights), MIB(cache), MIB(all - cache - logits),
             MIB(logits), MIB(all + weights), MIB(available));
}

/* ---- coding ------------------------------------------------------------- */

/* Some blocks being coded, for the engine's progress. */
typedef struct {
    pipeline *p;
    slot *const *group; /* [count] */
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
        tell(c->p);
    for (int i = 0; i < c->count; i++)
        wanted = wanted || !c->group[i]->dropped;
    bool stop = c->p->stop || !wanted;
    pthread_mutex_unlock(&c->p->lock);
    return stop;
}

/* Bits that the range coder wrote for a block. */
static double coded_bits(const pipeline *p, const block *b)
{
    return p->rules.decode ? 8.0 * (double)b->coded.payload_size : b->stored ? 0 : b->coder_bits;
}

/* Shares out what coding a group cost: the time by the tokens, the bits by the bits. */
static void share_costs(const pipeline *p, slot *const *group, int count, const block_costs *costs)
{
    double all_tokens = 0, all_bits = 0;
    for (int i = 0; i < count; i++) {
        all_tokens += (double)group[i]->item.b.work.tokens;
        all_bits += coded_bits(p, &group[i]->item.b);
    }
    for (int i = 0; i < count; i++) {
        const block *b = &group[i]->item.b;
        double part = (double)b->work.tokens / all_tokens;
        const engine_costs *e = &costs->engine;
        group[i]->item.costs = (block_costs){
            .engine = {.seconds_forward = part * e->seconds_forward,
                       .seconds_mix = part * e->seconds_mix,
                       .seconds_coder = part * e->seconds_coder,
                       .forward_ops = part * e->forward_ops,
                       .model_bits =
                           all_bits > 0 ? e->model_bits * (coded_bits(p, b) / all_bits) : 0},
            .seconds_verify = part * costs->seconds_verify};
    }
}

static gpuzip_status code(pipeline *p, lanes *l, slot *const *group, int count)
{
    block *b[ITEMS_MAX] = {NULL};
    block_costs costs;
    coding c = {p, group, count};
    engine_progress progress = {coding_step, &c};
    for (int i = 0; i < count; i++)
        b[i] = &group[i]->item.b;
    TRY(block_code(&p->rules, l, b, count, &costs, &progress));
    share_costs(p, group, count, &costs);
    return GPUZIP_OK;
}

static gpuzip_status open_cpu(pipeline *p)
{
    device *d;
    if (p->cpu)
        return GPUZIP_OK;
    TRY(handle_cpu(p->gz, &d));
    engine_config config = handle_plan_on(&p->plan, d);
    return lanes_open(&p->cpu, d->ops, d->ctx, &config, p->gz->threads, p->rules.memory_limit);
}

/* Codes blocks on the CPU, one by one; their status tells. */
static void code_on_cpu(pipeline *p, slot *const *group, int count)
{
    pthread_mutex_lock(&p->cpu_lock);
    gpuzip_status status = open_cpu(p);
    for (int i = 0; i < count; i++) {
        gpuzip_status own = status == GPUZIP_OK ? code(p, p->cpu, &group[i], 1) : status;
        if (own != GPUZIP_OK)
            group[i]->item.b.status = own;
    }
    pthread_mutex_unlock(&p->cpu_lock);
}

/* ---- a GPU's thread ----------------------------------------------------- */

static gpuzip_status open_worker(worker *w)
{
    uint64_t total;
    const device *d = w->d;
    engine_config config = handle_plan_on(&w->p->plan, d);
    TRY(d->ops->memory(d->ctx, &w->room, &total));
    return lanes_open(&w->l, d->ops, d->ctx, &config, 1, 0);
}

/* Whether so many streams fit in the device's memory, as far as is known; a little is left
 * for others. */
static bool fits(const worker *w, uint32_t streams)
{
    return streams <= w->streams_most &&
           (!w->l || lanes_bytes(w->l, streams) <= w->room - w->room / 16);
}

/* How many blocks a worker takes at most: when no more are coming, those that are ready are
 * for all idle workers. */
static int choose_share(const pipeline *p, int ready, bool last)
{
    int idle = 0;
    for (int i = 0; i < p->workers; i++)
        idle += p->worker[i].count == 0 && !p->worker[i].d->lost;
    return last && idle > 1 ? (ready + idle - 1) / idle : ITEMS_MAX;
}

/* Writes the blocks that the worker should take now to its group: the earliest that are
 * ready, as many as fit and as are its share, of whichever files. Returns how many; 0: it
 * should wait for more. So that others are read while these are coded, it takes no more
 * than its part of the room. With the lock. */
static int choose_group(worker *w)
{
    pipeline *p = w->p;
    int ready = 0, coming = 0, count = 0, first = 0;
    uint64_t bytes = 0, part = (uint64_t)p->workers + 1;
    uint32_t streams = 0;
    bool full = false;
    for (int i = 0; i < p->used; i++) {
        ready += slot_at(p, i)->state == SLOT_READY;
        coming += slot_at(p, i)->state < SLOT_READY;
    }
    bool last = p->draining && !coming;
    int share = w->d->lost || p->rules.adaptive ? 1 : choose_share(p, ready, last);
    for (int i = 0; i < p->used && !full; i++) {
        slot *s = slot_at(p, i);
        if (s->state != SLOT_READY)
            continue;
        if (!count)
            first = i;
        streams += s->item.b.work.streams;
        bytes += block_bytes(s->raw_size);
        full = count > 0 && (!fits(w, streams) || bytes > p->room / part ||
                             (uint64_t)(i - first) >= (uint64_t)p->capacity / part);
        if (!full)
            w->group[count++] = s;
        full = full || count == share;
    }
    return full || last ? count : 0;
}

static uint32_t group_streams(const worker *w)
{
    uint32_t streams = 0;
    for (int i = 0; i < w->count; i++)
        streams += w->group[i]->item.b.work.streams;
    return streams;
}

/* Gives the latter half of a group back. */
static void give_back(worker *w)
{
    int kept = w->count / 2;
    pthread_mutex_lock(&w->p->lock);
    for (int i = kept; i < w->count; i++)
        set_state(w->p, w->group[i], w->group[i]->dropped ? SLOT_DONE : SLOT_READY);
    w->count = kept;
    pthread_mutex_unlock(&w->p->lock);
}

/* Says once how much memory groups take, before it is taken. */
static void tell_memory(worker *w)
{
    pthread_mutex_lock(&w->p->lock);
    describe_memory(w->p, w->d, w->l, w->count, group_streams(w), w->room, w->detail);
    pthread_mutex_unlock(&w->p->lock);
    w->told = true;
}

/* Codes the group, or as many of its blocks as the device has room for; w->count is how
 * many. MEMORY: not even one. */
static gpuzip_status code_on_gpu(worker *w)
{
    pipeline *p = w->p;
    if (!w->l)
        TRY(open_worker(w));
    for (;;) {
        while (w->count > 1 && !fits(w, group_streams(w)))
            give_back(w);
        if (!w->told)
            tell_memory(w);
        w->d->ops->range_push("blocks");
        gpuzip_status status = code(p, w->l, w->group, w->count);
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
        if (w->group[i]->item.b.status == GPUZIP_ERR_SELF_TEST)
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
            w->group[i]->item.b.status = status;
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
    code_on_cpu(p, w->group, w->count);
}

static void *run_worker(void *context)
{
    worker *w = context;
    pipeline *p = w->p;
    pthread_mutex_lock(&p->lock);
    /* The thread of a lost device goes on with the CPU if no other one is left. */
    while (!p->stop && !(w->d->lost && p->healthy > 0)) {
        w->count = choose_group(w);
        if (!w->count) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        for (int i = 0; i < w->count; i++) {
            w->group[i]->part = 0;
            w->group[i]->state = SLOT_CODING;
        }
        pthread_mutex_unlock(&p->lock);
        code_group(w);
        pthread_mutex_lock(&p->lock);
        for (int i = 0; i < w->count; i++)
            set_state(p, w->group[i], SLOT_CODED);
        w->count = 0;
    }
    pthread_mutex_unlock(&p->lock);
    lanes_close(w->l);
    w->l = NULL;
    return NULL;
}

/* ---- the host's steps --------------------------------------------------- */

/* Where a prepared block goes: those that need no device straight on. */
static slot_state after_preparing(const slot *s)
{
    if (s->dropped)
        return SLOT_DONE;
    return s->item.b.status == GPUZIP_OK && !s->item.b.stored ? SLOT_READY : SLOT_CODED;
}

static void *run_helper(void *context)
{
    pipeline *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        slot *found = NULL; /* the earliest: its turn to be written comes first */
        for (int i = 0; i < p->used && !found; i++) {
            slot *s = slot_at(p, i);
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
        set_state(p, found, prepares ? after_preparing(found) : SLOT_DONE);
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
    describe_memory(p, d, p->cpu, 1, s->item.b.work.streams, available, text);
    handle_note(p->gz, GPUZIP_NOTE_DETAIL, "%s", text);
}

/* All steps, in the caller's thread. */
static void work_alone(pipeline *p, slot *s)
{
    block_prepare(&p->rules, &s->item.b);
    s->state = after_preparing(s);
    if (s->state == SLOT_READY) {
        tell_cpu_memory(p, s);
        s->part = 0;
        s->state = SLOT_CODING;
        code_on_cpu(p, &s, 1);
    }
    s->state = SLOT_CODED;
    block_finish(&p->rules, &s->item.b);
    s->state = SLOT_DONE;
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

/* Starts the threads, or makes the CPU ready where there are none. On an error some may
 * run; stop() ends them. */
static gpuzip_status start(pipeline *p)
{
    int helpers = p->gz->threads < HELPERS_MAX ? p->gz->threads : HELPERS_MAX;
    TRY(open_workers(p));
    if (!p->workers)
        return open_cpu(p);
    for (int i = 0; i < p->workers; i++, p->workers_started++)
        if (pthread_create(&p->worker[i].thread, NULL, run_worker, &p->worker[i]) != 0)
            return FAIL(GPUZIP_ERR_MEMORY);
    for (int i = 0; i < helpers; i++, p->helpers_started++)
        if (pthread_create(&p->helper[i], NULL, run_helper, p) != 0)
            return FAIL(GPUZIP_ERR_MEMORY);
    return GPUZIP_OK;
}

/* Passes on what the workers have to say. In the caller's thread, with the lock. */
static void pass_notes(pipeline *p)
{
    for (int i = 0; i < p->workers; i++) {
        worker *w = &p->worker[i];
        if (w->detail[0])
            handle_note(p->gz, GPUZIP_NOTE_DETAIL, "%s", w->detail);
        if (w->warning[0])
            handle_note(p->gz, GPUZIP_NOTE_WARNING, "%s", w->warning);
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
    lanes_close(p->cpu);
    free(p->worker);
    p->cpu = NULL;
    p->worker = NULL;
    p->workers = p->workers_started = p->helpers_started = 0;
    p->capacity = 1;
    p->stop = p->ready = p->told = false;
}

static bool same_config(const handle_plan *a, const handle_plan *b)
{
    const engine_config *x = &a->config, *y = &b->config;
    if (x->window != y->window || x->hop != y->hop || x->update_interval != y->update_interval ||
        x->window_scope != y->window_scope || x->experts != y->experts)
        return false;
    for (int k = 0; k < x->experts; k++)
        if (x->expert[k].kind != y->expert[k].kind || x->expert[k].alpha != y->expert[k].alpha ||
            a->model[k] != b->model[k])
            return false;
    return true;
}

bool pipeline_suits(const pipeline *p, const handle_plan *plan, const block_rules *rules)
{
    const block_rules *r = &p->rules;
    return p->ready && same_config(&p->plan, plan) && r->decode == rules->decode &&
           r->verify == rules->verify && r->memory_limit == rules->memory_limit &&
           r->stream_tokens == rules->stream_tokens && r->streams == rules->streams;
}

gpuzip_status pipeline_prepare(pipeline *p, const handle_plan *plan, const block_rules *rules)
{
    assert(!p->used);
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
    p->capacity = p->workers ? p->slots : 1;
    p->ready = true;
    return GPUZIP_OK;
}

gpuzip_status pipeline_open(pipeline **out, gpuzip *gz)
{
    pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(GPUZIP_ERR_MEMORY);
    p->gz = gz;
    p->slots = gz->gpus ? ITEMS_MAX : 1;
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

static void release_taken(pipeline *p)
{
    if (p->taken)
        block_close(&p->taken->item.b);
    p->taken = NULL;
}

bool pipeline_overlaps(const pipeline *p)
{
    return p->workers > 0;
}

block *pipeline_next(pipeline *p, size_t raw_size)
{
    uint64_t bytes = block_bytes(raw_size);
    release_taken(p);
    for (int i = 0; i < p->used; i++)
        bytes += block_bytes(slot_at(p, i)->raw_size);
    if (p->used == p->capacity || (p->used && bytes > p->room))
        return NULL;
    slot *s = slot_at(p, p->used);
    s->raw_size = raw_size;
    s->item.b.status = GPUZIP_OK;
    s->item.b.stored = false;
    return &s->item.b;
}

void pipeline_submit(pipeline *p, pipeline_file *file, size_t raw_size, size_t input_bytes)
{
    pthread_mutex_lock(&p->lock);
    slot *s = slot_at(p, p->used++);
    s->item.kind = PIPELINE_BLOCK;
    s->item.file = file;
    s->item.costs = (block_costs){0};
    s->raw_size = raw_size;
    s->input_bytes = input_bytes;
    s->part = 0;
    s->dropped = false;
    set_state(p, s, s->item.b.stored ? SLOT_DONE : SLOT_READ);
    pthread_mutex_unlock(&p->lock);
}

bool pipeline_mark(pipeline *p, pipeline_file *file, pipeline_kind kind, const container_end *end)
{
    release_taken(p);
    if (p->used == p->capacity)
        return false;
    pthread_mutex_lock(&p->lock);
    slot *s = slot_at(p, p->used++);
    block_close(&s->item.b);
    *s = (slot){.item = {.kind = kind, .file = file}, .state = SLOT_DONE};
    if (end)
        s->item.end = *end;
    pthread_mutex_unlock(&p->lock);
    return true;
}

void pipeline_drop(pipeline *p, const pipeline_file *file)
{
    pthread_mutex_lock(&p->lock);
    drop(p, file);
    pthread_mutex_unlock(&p->lock);
}

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

pipeline_item *pipeline_take(pipeline *p)
{
    double told = engine_seconds();
    release_taken(p);
    if (!p->used)
        return NULL;
    slot *s = slot_at(p, 0);
    if (!p->workers && s->state != SLOT_DONE)
        work_alone(p, s);
    pthread_mutex_lock(&p->lock);
    p->draining = s->state != SLOT_DONE;
    if (p->draining)
        pthread_cond_broadcast(&p->changed);
    while (s->state != SLOT_DONE) {
        wait_a_little(p);
        pass_notes(p);
        if (engine_seconds() - told < WAIT_SECONDS)
            continue;
        told = engine_seconds();
        tell(p);
    }
    p->draining = false;
    pass_notes(p);
    s->item.file->input_done += s->input_bytes;
    p->first = (p->first + 1) % p->slots;
    p->used--;
    p->taken = s;
    pthread_mutex_unlock(&p->lock);
    return &s->item;
}
