/* pool.c: see pool.h. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "cores.h"

/* How long a thread watches before it sleeps: about as long as the system takes to put it to sleep
 * and to wake it. Operations follow one another within a few microseconds. */
#define WATCH_SECONDS 20e-6
#define WATCH_LOOKS   32 /* from one look at the clock to the next */

/* A thread beside the caller's. */
typedef struct {
    pool *of;
    int number; /* >= 1 */
    pthread_t thread;
} pool_worker;

struct pool {
    int threads;         /* the most, with the caller */
    int started;         /* workers that run: worker[0, started) */
    bool refused;        /* the system makes no more */
    bool watches;        /* before a thread sleeps */
    pool_worker *worker; /* [threads - 1] */

    /* The work. It changes only while no part is open or unfinished. */
    pool_part *fn;
    const void *context;
    int parts;
    uint32_t run; /* its number */

    /* run << 32 | parts that nobody has taken. The number tells a late thread that the part which
     * it is about to take belongs to other work than it has seen. */
    _Atomic uint64_t open;
    atomic_int unfinished; /* parts */

    atomic_int sleepers; /* workers that sleep or are about to */
    atomic_bool caller_sleeps;
    atomic_bool ends;
    pthread_mutex_t lock; /* for sleeping; a waker takes it between its change and its signal */
    pthread_cond_t begun; /* work, or the end */
    pthread_cond_t done;  /* the last part */
};

/* The pool whose part this thread does, and its number there. */
static _Thread_local const pool *inside;
static _Thread_local int inside_number;

/* ---- waiting -------------------------------------------------------------- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_work(pool *p)
{
    return (uint32_t)atomic_load(&p->open) > 0 || atomic_load(&p->ends);
}

static bool is_done(pool *p)
{
    return atomic_load(&p->unfinished) == 0;
}

/* Watches for a short time; whether the event has come. */
static bool watch(pool *p, bool (*event)(pool *))
{
    if (event(p))
        return true;
    if (!p->watches)
        return false;
    double end = clock_seconds() + WATCH_SECONDS;
    do {
        for (int i = 0; i < WATCH_LOOKS; i++) {
            relax();
            if (event(p))
                return true;
        }
    } while (clock_seconds() < end);
    return false;
}

static void wait_for_work(pool *p)
{
    if (watch(p, has_work))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!has_work(p))
        pthread_cond_wait(&p->begun, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wait_until_done(pool *p)
{
    if (watch(p, is_done))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!is_done(p))
        pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

/* Takes and releases the lock: whoever has found no event with it sleeps now, and can be woken. */
static void let_sleep(pool *p)
{
    pthread_mutex_lock(&p->lock);
    pthread_mutex_unlock(&p->lock);
}

static void wake_workers(pool *p, int wanted)
{
    int sleepers = atomic_load(&p->sleepers);
    wanted -= p->started - sleepers;
    if (!sleepers || wanted <= 0)
        return;
    let_sleep(p);
    if (wanted >= sleepers)
        pthread_cond_broadcast(&p->begun);
    else
        for (int i = 0; i < wanted; i++)
            pthread_cond_signal(&p->begun);
}

/* ---- working -------------------------------------------------------------- */

/* Takes a part; -1: none is open. Until the part is finished the work does not change. */
static int take_part(pool *p)
{
    uint64_t open = atomic_load(&p->open);
    while ((uint32_t)open > 0)
        if (atomic_compare_exchange_weak(&p->open, &open, open - 1))
            return p->parts - (int)(uint32_t)open;
    return -1;
}

static void work(pool *p, int number)
{
    const pool *outer = inside;
    int outer_number = inside_number, part;
    inside = p;
    inside_number = number;
    while ((part = take_part(p)) >= 0) {
        p->fn(p->context, part, number);
        if (atomic_fetch_sub(&p->unfinished, 1) == 1 && atomic_load(&p->caller_sleeps)) {
            let_sleep(p);
            pthread_cond_signal(&p->done);
        }
    }
    inside = outer;
    inside_number = outer_number;
}

static void *run_worker(void *of)
{
    const pool_worker *w = of;
    while (!atomic_load(&w->of->ends)) {
        work(w->of, w->number);
        wait_for_work(w->of);
    }
    return NULL;
}

/* Makes workers until there are `wanted` or the system refuses one. */
static void start(pool *p, int wanted)
{
    while (p->started < wanted && !p->refused) {
        pool_worker *w = &p->worker[p->started];
        *w = (pool_worker){.of = p, .number = p->started + 1};
        p->refused = pthread_create(&w->thread, NULL, run_worker, w) != 0;
        p->started += !p->refused;
    }
}

/* ---- the caller's side ---------------------------------------------------- */

gpuzip_status pool_open(pool **out, int threads)
{
    pool *p = calloc(1, sizeof *p);
    pool_worker *worker = calloc((size_t)threads, sizeof *worker);
    if (!p || !worker) {
        free(worker);
        free(p);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    p->threads = threads;
    p->worker = worker;
    p->watches = threads > 1 && threads <= cores_usable();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begun, NULL);
    pthread_cond_init(&p->done, NULL);
    *out = p;
    return GPUZIP_OK;
}

void pool_close(pool *p)
{
    if (!p)
        return;
    atomic_store(&p->ends, true);
    let_sleep(p);
    pthread_cond_broadcast(&p->begun);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->begun);
    pthread_mutex_destroy(&p->lock);
    free(p->worker);
    free(p);
}

int pool_threads(const pool *p)
{
    return p ? p->threads : 1;
}

int pool_awake(const pool *p)
{
    return p ? 1 + p->started - atomic_load(&p->sleepers) : 1;
}

int pool_start(pool *p)
{
    if (!p)
        return 1;
    start(p, p->threads - 1);
    return p->started + 1;
}

void pool_run(pool *p, int threads, int parts, pool_part *fn, const void *context)
{
    if (threads > pool_threads(p))
        threads = pool_threads(p);
    if (threads > parts)
        threads = parts;
    bool nested = p && inside == p;
    if (threads > 1 && !nested)
        start(p, threads - 1);
    if (threads <= 1 || nested || !p->started) {
        for (int part = 0; part < parts; part++)
            fn(context, part, nested ? inside_number : 0);
        return;
    }
    p->fn = fn;
    p->context = context;
    p->parts = parts;
    atomic_store(&p->unfinished, parts);
    atomic_store(&p->open, (uint64_t)++p->run << 32 | (uint32_t)parts);
    wake_workers(p, threads - 1);
    work(p, 0);
    wait_until_done(p);
}
