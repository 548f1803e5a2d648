/* test_pool.c: every part is done once, by threads that neither disturb each other nor keep a
 * processor busy while they wait; also where the system makes fewer threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

#define PARTS_MAX   1000
#define THREADS_MAX 8

/* ---- a system that refuses threads ---------------------------------------- */

static atomic_int allowed = -1; /* threads that may still be made; negative: any number */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *of);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *of);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *of)
{
    int left = atomic_load(&allowed);
    if (left == 0)
        return EAGAIN;
    if (left > 0)
        atomic_store(&allowed, left - 1);
    return __real_pthread_create(thread, attr, fn, of);
}

/* ---- parts ---------------------------------------------------------------- */

/* A piece of work that counts. */
typedef struct {
    pool *shared; /* for nested work, or NULL */
    int threads;  /* of the pool */
    atomic_int done[PARTS_MAX];
    atomic_int inside[THREADS_MAX]; /* parts that run under a worker's number */
    atomic_int mistakes;
    /* Runs of a part, or of nested parts under a worker's number. Without atomics: the pool alone
     * orders these accesses. */
    int plain[PARTS_MAX];
} tally;

static void count_part(const void *of, int part, int worker)
{
    tally *t = (tally *)of;
    if (worker < 0 || worker >= t->threads || atomic_fetch_add(&t->inside[worker], 1) != 0)
        atomic_fetch_add(&t->mistakes, 1);
    atomic_fetch_add(&t->done[part], 1);
    t->plain[t->shared ? worker : part]++;
    atomic_fetch_sub(&t->inside[worker], 1);
}

/* Runs `parts` parts `runs` times and checks that each was done once a run. */
static void check_runs(pool *p, int threads, int most, int parts, int runs)
{
    tally *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->threads = threads;
    for (int run = 0; run < runs; run++)
        pool_run(p, most, parts, count_part, t);
    assert_int_equal(t->mistakes, 0);
    for (int part = 0; part < PARTS_MAX; part++) {
        assert_int_equal(t->done[part], part < parts ? runs : 0);
        assert_int_equal(t->plain[part], part < parts ? runs : 0);
    }
    free(t);
}

static pool *open_pool(int threads)
{
    pool *p = NULL;
    assert_int_equal(pool_open(&p, threads), GPUZIP_OK);
    assert_int_equal(pool_threads(p), threads);
    return p;
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- tests ---------------------------------------------------------------- */

static void each_part_runs_once(void **state)
{
    static const int parts[] = {0, 1, 2, 3, 7, 64, PARTS_MAX};
    (void)state;
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        pool *p = open_pool(threads);
        for (int i = 0; i < (int)(sizeof parts / sizeof *parts); i++)
            for (int most = 1; most <= threads + 1; most++)
                check_runs(p, threads, most, parts[i], 3);
        pool_close(p);
    }
}

/* Little work in quick succession: threads come late, and find other work than they were woken for.
 */
static void late_threads_do_no_part_twice(void **state)
{
    (void)state;
    pool *p = open_pool(4);
    for (int i = 0; i < 300; i++)
        check_runs(p, 4, 2 + i % 3, 1 + i % 9, 40);
    pool_close(p);
}

static void sleeping_threads_are_woken(void **state)
{
    (void)state;
    pool *p = open_pool(3);
    for (int i = 0; i < 30; i++) {
        check_runs(p, 3, 3, 20, 1);
        usleep(1000); /* all sleep */
    }
    pool_close(p);
}

static void without_a_pool_the_caller_works(void **state)
{
    (void)state;
    assert_int_equal(pool_threads(NULL), 1);
    assert_int_equal(pool_start(NULL), 1);
    assert_int_equal(pool_awake(NULL), 1);
    check_runs(NULL, 1, 5, 100, 2);
    pool_close(NULL);
}

static void count_nested(const void *of, int part, int worker)
{
    tally *t = (tally *)of;
    (void)worker;
    for (int i = 0; i < 10; i++)
        pool_run(t->shared, t->threads, 1, count_part, t); /* alone, as part 0 */
    pool_run(t->shared, t->threads, 3, count_part, t);
    (void)part;
}

/* A part's own work is done by its thread, under its number. */
static void nested_work_is_done(void **state)
{
    (void)state;
    tally *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->threads = 3;
    t->shared = open_pool(3);
    for (int run = 0; run < 20; run++)
        pool_run(t->shared, 3, 50, count_nested, t);
    assert_int_equal(t->mistakes, 0);
    assert_int_equal(t->done[0], 20 * 50 * 11);
    assert_int_equal(t->done[1], 20 * 50);
    assert_int_equal(t->done[2], 20 * 50);
    assert_int_equal(t->plain[0] + t->plain[1] + t->plain[2], 20 * 50 * 13);
    pool_close(t->shared);
    free(t);
}

static void *use_own_pool(void *of)
{
    pool *p = NULL;
    (void)of;
    if (pool_open(&p, 2) != GPUZIP_OK)
        return "no pool";
    check_runs(p, 2, 2, 30, 200);
    pool_close(p);
    return NULL;
}

static void many_pools_work_at_once(void **state)
{
    pthread_t thread[6];
    (void)state;
    for (int i = 0; i < 50; i++)
        pool_close(open_pool(1 + i % 5)); /* never used */
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_own_pool, NULL), 0);
    for (int i = 0; i < 6; i++) {
        void *failure;
        assert_int_equal(pthread_join(thread[i], &failure), 0);
        assert_null(failure);
    }
}

static void refused_threads_are_done_without(void **state)
{
    (void)state;
    for (int may = 0; may < 4; may++) {
        pool *p = open_pool(5);
        allowed = may;
        check_runs(p, 5, 5, 100, 5);
        assert_int_equal(pool_start(p), may + 1);
        allowed = -1;
        assert_int_equal(pool_start(p), may + 1); /* asks no more */
        check_runs(p, 5, 5, 100, 5);
        pool_close(p);
    }
}

/* Parts that meet, as lanes do. */
static void meet(const void *of, int part, int worker)
{
    (void)part;
    (void)worker;
    pthread_barrier_wait((pthread_barrier_t *)of);
}

static void started_threads_may_wait_for_each_other(void **state)
{
    pthread_barrier_t barrier;
    (void)state;
    pool *p = open_pool(4);
    assert_int_equal(pool_start(p), 4);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
    for (int run = 0; run < 100; run++)
        pool_run(p, 4, 4, meet, &barrier);
    pthread_barrier_destroy(&barrier);
    pool_close(p);
}

static void sleep_in_a_worker(const void *of, int part, int worker)
{
    (void)of;
    (void)part;
    usleep(worker ? 300000 : 1000);
}

/* Time of processors while all wait: the caller for a slow part, then the workers for work. */
static void waiting_threads_sleep(void **state)
{
    (void)state;
    pool *p = open_pool(2);
    assert_int_equal(pool_start(p), 2);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), begin = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < 3; i++)
        pool_run(p, 2, 2, sleep_in_a_worker, NULL);
    usleep(300000);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    begin = seconds(CLOCK_MONOTONIC) - begin;
    print_message("waited %.2f s, worked %.4f s\n", begin, cpu);
    assert_true(cpu < 0.1 * begin);
    pool_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_runs_once),
        cmocka_unit_test(late_threads_do_no_part_twice),
        cmocka_unit_test(sleeping_threads_are_woken),
        cmocka_unit_test(without_a_pool_the_caller_works),
        cmocka_unit_test(nested_work_is_done),
        cmocka_unit_test(many_pools_work_at_once),
        cmocka_unit_test(refused_threads_are_done_without),
        cmocka_unit_test(started_threads_may_wait_for_each_other),
        cmocka_unit_test(waiting_threads_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
