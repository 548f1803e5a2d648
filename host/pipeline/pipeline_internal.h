/* pipeline_internal.h: the pipeline's state, for pipeline.c (the caller's side and the host's
 * steps) and pipeline_coding.c (the devices' side). */
#ifndef GPUZIP_PIPELINE_INTERNAL_H
#define GPUZIP_PIPELINE_INTERNAL_H

#include "pipeline.h"

#include <pthread.h>

#define JOBS_MAX      1024  /* under way at once, beside GPUs */
#define GROUP_STREAMS 16384 /* coded together at most: more gain nothing */
#define HELPERS_MAX   8     /* threads for the host's steps */
#define CPU_JOBS      64    /* jobs in progress on the CPU alone: blocks and ends */
#define CPU_BLOCKS    8     /* coded together at most on the CPU */
/* With so many streams, and a block for each thread, a batch on the CPU takes no further block.
 * More rows no longer speed up the matrix products, and each block's context tables and mixer
 * compete for the caches: 8 blocks of 512 KiB (10 streams each) decoded in 143 and 149 s of user
 * time one by one, in 186, 184 and 201 s as batches of 2, 4 and 8 (one thread, a busy machine). */
#define CPU_STREAMS 8
/* Bytes of content that wait for a batch on the CPU, unless there are fewer blocks than threads:
 * text of twice CPU_STREAMS streams of the default level, which hold about 50 KB each. */
#define CPU_WAITING ((size_t)1 << 20)
#define CPU_MEMORY  ((uint64_t)2 << 30) /* bytes that these take at most, without a limit */

/* A job's way; the host's steps and the device's are each taken up by some thread. */
typedef enum {
    JOB_READ,      /* waits to be prepared */
    JOB_PREPARING, /* by some thread */
    JOB_READY,     /* waits for a device */
    JOB_CODING,
    JOB_CODED, /* waits to be finished */
    JOB_FINISHING,
    JOB_DONE
} job_state;

/* A place in the ring: a job and how far it has come. */
typedef struct {
    pipeline_job job;
    job_state state;
    size_t input_bytes, content_size;
    double part;  /* progress of the coding, 0 .. 1 */
    bool dropped; /* its result is not needed */
} ring_entry;

/* A GPU's thread. */
typedef struct {
    struct pipeline *p;
    device *d;
    pthread_t thread;
    engine_mt *mt;         /* opened by the thread */
    uint64_t room;         /* bytes of memory that were free before */
    uint32_t streams_most; /* that it takes at once, as far as is known */
    ring_entry *group[JOBS_MAX];
    int count;                        /* of the group being coded; 0: waits for blocks */
    bool told;                        /* how much memory a group needs */
    bool small;                       /* the user knows that a block had no room here */
    char warning[GPUZIP_ERROR_BYTES]; /* to be passed on by the caller's thread, or "" */
    char detail[GPUZIP_ERROR_BYTES];  /* likewise */
} worker;

struct pipeline {
    gpuzip *gz;
    coding_plan plan;
    block_rules rules;
    bool ready; /* for these */

    ring_entry *ring; /* [ring_size], of which [first, first + used) are under way */
    int ring_size, capacity, first, used; /* capacity: how many may be under way */
    uint64_t room;                        /* bytes for all of them */

    /* With GPUs. The lock protects all members below and the jobs' states. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    worker *worker;       /* [workers] */
    int workers, healthy; /* healthy: whose device is not lost */
    pthread_t helper[HELPERS_MAX];
    int workers_started, helpers_started;
    bool draining; /* the caller waits: it submits no block before a job is completed */
    bool stop;

    /* The CPU, for one thread at a time. */
    pthread_mutex_t cpu_lock;
    engine_mt *cpu;
    bool told; /* how much memory it takes */
};

/* The entry i of those under way, 0 being the earliest. With the lock, but for the caller's
 * thread. */
static inline ring_entry *pipeline_entry(pipeline *p, int i)
{
    return &p->ring[(p->first + i) % p->ring_size];
}

/* Tells all threads. With the lock. */
static inline void pipeline_set_state(pipeline *p, ring_entry *entry, job_state state)
{
    entry->state = state;
    pthread_cond_broadcast(&p->changed);
}

/* Drops a file's queued blocks; those being coded run to completion. Caller holds the lock. */
void pipeline_drop_blocks(pipeline *p, const pipeline_file *f);

/* Reports the progress of the earliest file's input; the file may cancel. In the caller's thread,
 * with the lock. */
void pipeline_tell(pipeline *p);

/* Writes how much memory coding some blocks together takes on a device. */
void pipeline_describe_memory(const pipeline *p, const device *d, const engine_mt *mt, int blocks,
                              uint32_t streams, uint64_t available, char text[GPUZIP_ERROR_BYTES]);

/* The same of a batch on the CPU, to which the process's memory so far is added. */
void pipeline_describe_cpu(const pipeline *p, ring_entry *const *group, int count,
                           char text[GPUZIP_ERROR_BYTES]);

/* Makes the CPU ready to code. Errors: MEMORY, DEVICE, SELF_TEST. */
gpuzip_status pipeline_open_cpu(pipeline *p);

/* How many of these blocks, from the first on, the CPU codes as one batch: at least one, more as
 * far as their caches and adaptive states are within the limit. */
int pipeline_cpu_batch(const pipeline *p, ring_entry *const *group, int count);

/* Codes blocks on the CPU in such batches; sets their statuses. */
void pipeline_code_on_cpu(pipeline *p, ring_entry *const *group, int count);

/* A GPU's thread; context is the worker. */
void *pipeline_run_worker(void *context);

#endif
