/* pool.h: threads that share the parts of a piece of work.
 *
 * The thread that brings the work does parts as well. Whoever is free takes the next part, so a
 * thread that has lost its processor to another program delays one part, no more. A thread that
 * waits watches for a few microseconds and then sleeps. Which thread does a part is a matter of
 * chance: results must not depend on it.
 */
#ifndef GPUZIP_POOL_H
#define GPUZIP_POOL_H

#include "status.h"

typedef struct pool pool;

/* Does part `part` of a piece of work. worker: the thread's number, from 0 to the pool's threads
 * minus 1; no other part runs under this number at the same time. */
typedef void pool_part(const void *context, int part, int worker);

/* A pool of up to `threads` threads >= 1, its caller among them. The others are made when there is
 * first work for them. Errors: MEMORY. */
gpuzip_status pool_open(pool **p, int threads);

/* Waits for the threads to end; accepts NULL. */
void pool_close(pool *p);

/* The most threads that take parts, the caller among them; 1 for NULL. */
int pool_threads(const pool *p);

/* Threads that take parts without being woken, the caller among them; 1 for NULL. Others may fall
 * asleep at any time. */
int pool_awake(const pool *p);

/* Makes all threads now, for parts that wait for one another: so many may. Returns how many threads
 * there are, the caller among them: fewer than pool_threads() where the system allows no more. */
int pool_start(pool *p);

/* Does all parts [0, parts), and returns when they are done. Wakes up to threads - 1 others; with
 * threads <= 1, with one part, and without a pool, the caller does all. A part may call pool_run()
 * for the same pool, which then does these parts in its own thread; otherwise one thread at a time
 * may call it. */
void pool_run(pool *p, int threads, int parts, pool_part *fn, const void *context);

#endif
