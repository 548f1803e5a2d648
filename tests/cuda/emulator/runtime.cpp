/* runtime.cpp: devices, memory, streams, events and graphs of the emulator.
 *
 * An operation on a stream becomes a closure in its queue. Waiting runs the queue as far as it
 * must. The seed decides whether a queue is lazy, or runs on now and then as more is added. */
#include "runtime.h"

#include <stdlib.h>
#include <time.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulator.h"

namespace
{

const size_t SHARED_DEFAULT = 48 << 10; /* bytes without a grant */
const unsigned THREADS_MAX = 1024;      /* a block */
const size_t MEMORY_DEFAULT = (size_t)1 << 30;

typedef std::function<void()> work;
typedef std::vector<work> recording;

struct device {
    size_t used;        /* bytes */
    cudaError_t broken; /* the result of every later call */
};

/* A stream. Events keep it beyond cudaStreamDestroy(). */
struct queue {
    int device;
    std::deque<work> waiting;
    uint64_t added, done; /* works, since the stream was made */
    bool lazy;            /* nothing runs before somebody waits */
    recording *record;    /* being recorded into, or NULL */
    bool record_broken;
};

struct allocation {
    size_t bytes;
    int device; /* -1: of the host */
};

struct {
    std::recursive_mutex mutex; /* held in every call, a kernel's whole run included */
    std::vector<device> devices;
    std::vector<std::shared_ptr<queue>> queues;
    std::map<const void *, allocation> allocations;
    std::map<const void *, size_t> granted; /* dynamic shared memory, by kernel */
    size_t memory;                          /* of each device */
    unsigned long failure;                  /* kernels until one fails; 0: never */
    unsigned long call_failure;             /* calls until one fails; 0: never */
    bool wrong;                             /* results that are copied to the host are changed */
    bool pageable;                          /* copies read all host memory late */
    unsigned long kernels, graphs;
    bool no_graphs;
} runtime;

thread_local int current;            /* device */
thread_local cudaError_t last_error; /* of this host thread */
thread_local queue *recorded;        /* the stream this thread records, or NULL */

/* Every call begins with one: one host thread at a time. */
struct entry {
    std::lock_guard<std::recursive_mutex> lock;
    entry() : lock(runtime.mutex)
    {
        if (!runtime.devices.empty())
            return;
        runtime.devices.resize(emulator_setting("GPUZIP_EMULATOR_DEVICES", 1));
        runtime.memory = emulator_setting("GPUZIP_EMULATOR_MEMORY", MEMORY_DEFAULT);
        runtime.failure = emulator_setting("GPUZIP_EMULATOR_FAIL", 0);
        runtime.call_failure = emulator_setting("GPUZIP_EMULATOR_FAIL_CALL", 0);
        runtime.wrong = emulator_setting("GPUZIP_EMULATOR_WRONG", 0) != 0;
        runtime.pageable = emulator_pageable();
    }
};

cudaError_t result(cudaError_t error)
{
    if (runtime.call_failure > 0 && --runtime.call_failure == 0)
        error = cudaErrorMemoryAllocation;
    if (runtime.devices[current].broken != cudaSuccess)
        error = runtime.devices[current].broken;
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

/* A call that cannot be recorded, made by the thread that records. */
bool breaks_recording(void)
{
    if (recorded == NULL)
        return false;
    recorded->record_broken = true;
    return true;
}

/* -- queues -------------------------------------------------------------------- */

/* Runs works until `number` are done. A broken device's are dropped. */
void run_queue(queue *q, uint64_t number)
{
    while (q->done < number && !q->waiting.empty()) {
        work next = std::move(q->waiting.front());
        q->waiting.pop_front();
        if (runtime.devices[q->device].broken == cudaSuccess)
            next();
        q->done++;
    }
    q->lazy = emulator_draw() % 2 == 0;
}

void run_device(int device)
{
    for (const std::shared_ptr<queue> &q : runtime.queues)
        if (q->device == device)
            run_queue(q.get(), q->added);
}

/* -- memory -------------------------------------------------------------------- */

/* Whether bytes at p are page-locked memory of the host. */
bool is_locked(const void *p, size_t bytes)
{
    auto after = runtime.allocations.upper_bound(p);
    if (after == runtime.allocations.begin())
        return false;
    auto it = std::prev(after);
    return it->second.device < 0 &&
           (const char *)p + bytes <= (const char *)it->first + it->second.bytes;
}

/* Bytes taken of the host's memory, or of all devices'. */
size_t bytes_taken(bool host)
{
    size_t bytes = 0;
    for (const auto &a : runtime.allocations)
        bytes += (a.second.device < 0) == host ? a.second.bytes : 0;
    return bytes;
}

cudaError_t allocate(void **ptr, size_t bytes, size_t align, int device)
{
    void *memory = NULL;
    if (device >= 0 && bytes > runtime.memory - runtime.devices[device].used)
        return last_error = cudaErrorMemoryAllocation;
    if (posix_memalign(&memory, align, bytes ? bytes : 1) != 0)
        return last_error = cudaErrorMemoryAllocation;
    emulator_noise(memory, bytes);
    runtime.allocations[memory] = {bytes, device};
    if (device >= 0)
        runtime.devices[device].used += bytes;
    *ptr = memory;
    return cudaSuccess;
}

cudaError_t give_back(void *ptr, bool host)
{
    if (ptr == NULL)
        return cudaSuccess;
    auto it = runtime.allocations.find(ptr);
    if (it == runtime.allocations.end() || (it->second.device < 0) != host)
        return cudaErrorInvalidValue;
    if (!host)
        runtime.devices[it->second.device].used -= it->second.bytes;
    runtime.allocations.erase(it);
    free(ptr);
    return cudaSuccess;
}

} // namespace

struct emulator_stream {
    std::shared_ptr<queue> q;
};

struct emulator_event {
    std::shared_ptr<queue> q; /* NULL: never recorded */
    uint64_t number;          /* works before it */
    std::shared_ptr<timespec> time;
};

struct emulator_graph {
    recording works;
};

struct emulator_graph_exec {
    recording works;
};

namespace
{

/* Puts a work into the stream, or into the graph that it records. */
cudaError_t add(cudaStream_t stream, work w)
{
    if (stream == NULL || stream->q->device != current)
        return cudaErrorInvalidResourceHandle;
    queue *q = stream->q.get();
    if (q->record != NULL) {
        q->record->push_back(std::move(w));
        return cudaSuccess;
    }
    q->waiting.push_back(std::move(w));
    q->added++;
    if (!q->lazy && emulator_draw() % 4 == 0)
        run_queue(q, q->done + 1 + emulator_draw() % q->waiting.size());
    return cudaSuccess;
}

/* Does a work at once, after the stream's queue; it cannot be recorded. */
cudaError_t do_now(cudaStream_t stream, const work &w)
{
    if (stream == NULL || stream->q->device != current)
        return cudaErrorInvalidResourceHandle;
    if (stream->q->record != NULL) {
        stream->q->record_broken = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    run_queue(stream->q.get(), stream->q->added);
    if (runtime.devices[current].broken == cudaSuccess)
        w();
    return cudaSuccess;
}

} // namespace

/* -- controls of the tests -------------------------------------------------------- */

void emulator_set_memory(size_t bytes)
{
    entry e;
    runtime.memory = bytes > 0 ? bytes : SIZE_MAX;
}

void emulator_set_failure(unsigned long launch)
{
    entry e;
    runtime.failure = launch;
    for (device &d : runtime.devices)
        d.broken = launch == 0 ? cudaSuccess : d.broken;
}

void emulator_set_graphs(int possible)
{
    entry e;
    runtime.no_graphs = !possible;
}

size_t emulator_memory(void)
{
    entry e;
    return runtime.memory;
}

size_t emulator_device_bytes(void)
{
    entry e;
    return bytes_taken(false);
}

size_t emulator_host_bytes(void)
{
    entry e;
    return bytes_taken(true);
}

unsigned long emulator_kernels(void)
{
    entry e;
    return runtime.kernels;
}

unsigned long emulator_graphs(void)
{
    entry e;
    return runtime.graphs;
}

/* -- devices ---------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    entry e;
    *count = (int)runtime.devices.size();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    entry e;
    if (device < 0 || device >= (int)runtime.devices.size())
        return result(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    entry e;
    cudaError_t error = result(last_error);
    last_error = cudaSuccess;
    return error;
}

/* -- memory -------------------------------------------------------------------------- */

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    entry e;
    *total = runtime.memory;
    *available = runtime.memory - runtime.devices[current].used;
    return result(cudaSuccess);
}

cudaError_t cudaMalloc(void **ptr, size_t bytes)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    cudaError_t error = result(cudaSuccess);
    return error != cudaSuccess ? error : allocate(ptr, bytes, 256, current);
}

/* Waits for the whole device, then frees, even on a broken device. */
cudaError_t cudaFree(void *ptr)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    run_device(current);
    return result(give_back(ptr, false));
}

cudaError_t cudaHostAlloc(void **ptr, size_t bytes, unsigned)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    cudaError_t error = result(cudaSuccess);
    return error != cudaSuccess ? error : allocate(ptr, bytes, 64, -1);
}

/* Does not wait: a copy still in a queue then meets freed memory. */
cudaError_t cudaFreeHost(void *ptr)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    return result(give_back(ptr, true));
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *ptr)
{
    entry e;
    attributes->type = is_locked(ptr, 1) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    return result(cudaSuccess);
}

cudaError_t cudaMemsetAsync(void *ptr, int value, size_t bytes, cudaStream_t stream)
{
    entry e;
    return result(add(stream, [=] { memset(ptr, value, bytes); }));
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    entry e;
    work copy = [=] {
        memcpy(dst, src, bytes);
        if (runtime.wrong && kind == cudaMemcpyDeviceToHost)
            *(unsigned char *)dst ^= 1;
    };
    bool locked = (kind != cudaMemcpyHostToDevice || runtime.pageable || is_locked(src, bytes)) &&
                  (kind != cudaMemcpyDeviceToHost || is_locked(dst, bytes));
    if (!locked)
        return result(do_now(stream, copy));
    if (kind == cudaMemcpyDeviceToHost && stream != NULL && stream->q->record == NULL)
        emulator_noise(dst, bytes); /* for those who read too early */
    return result(add(stream, copy));
}

/* -- streams and events ------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    entry e;
    if (cudaError_t error = result(cudaSuccess))
        return error;
    std::shared_ptr<queue> q(new queue());
    q->device = current;
    runtime.queues.push_back(q);
    *stream = new emulator_stream{q};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    entry e;
    run_queue(stream->q.get(), stream->q->added);
    for (size_t i = 0; i < runtime.queues.size(); i++)
        if (runtime.queues[i] == stream->q) {
            runtime.queues.erase(runtime.queues.begin() + (ptrdiff_t)i);
            break;
        }
    delete stream;
    return result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    entry e;
    return result(do_now(stream, [] {}));
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    entry e;
    cudaError_t error = result(cudaSuccess);
    *event = error == cudaSuccess ? new emulator_event() : NULL;
    return error;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    entry e;
    delete event;
    return result(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    entry e;
    if (stream != NULL && stream->q->record != NULL) {
        stream->q->record_broken = true;
        return result(cudaErrorStreamCaptureUnsupported);
    }
    std::shared_ptr<timespec> time(new timespec());
    cudaError_t error = add(stream, [time] { clock_gettime(CLOCK_MONOTONIC, time.get()); });
    if (error == cudaSuccess) {
        event->q = stream->q;
        event->number = stream->q->added;
        event->time = time;
    }
    return result(error);
}

/* Runs a part of the queue now and then, so that asking again and again comes to an end. */
cudaError_t cudaEventQuery(cudaEvent_t event)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    if (!event->q)
        return result(cudaSuccess);
    if (emulator_draw() % 4 == 0 && !event->q->waiting.empty())
        run_queue(event->q.get(), event->q->done + 1 + emulator_draw() % event->q->waiting.size());
    return result(event->q->done < event->number ? cudaErrorNotReady : cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    if (event->q)
        run_queue(event->q.get(), event->number);
    return result(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    entry e;
    if (!start->q || !end->q)
        return result(cudaErrorInvalidResourceHandle);
    if (start->q->done < start->number || end->q->done < end->number)
        return result(cudaErrorNotReady);
    *milliseconds = (float)(end->time->tv_sec - start->time->tv_sec) * 1e3f +
                    (float)(end->time->tv_nsec - start->time->tv_nsec) * 1e-6f;
    return result(cudaSuccess);
}

/* -- kernels and graphs --------------------------------------------------------------- */

cudaError_t emulator_grant_shared(const void *kernel, int bytes)
{
    entry e;
    if (bytes < 0 || (size_t)bytes > emulator_shared_max())
        return result(cudaErrorInvalidValue);
    runtime.granted[kernel] = (size_t)bytes;
    return result(cudaSuccess);
}

void emulator_queue_kernel(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                           const void *kernel, std::function<void()> body)
{
    entry e;
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
    unsigned threads = block.x * block.y * block.z;
    size_t limit = runtime.granted.count(kernel) ? runtime.granted[kernel] : SHARED_DEFAULT;
    if (blocks == 0 || grid.y > 65535 || grid.z > 65535 || threads == 0 || threads > THREADS_MAX ||
        shared > limit) {
        (void)breaks_recording();
        (void)result(cudaErrorInvalidConfiguration);
        return;
    }
    int device = current;
    (void)result(add(stream, [=] {
        runtime.kernels++;
        if (runtime.failure > 0 && --runtime.failure == 0)
            runtime.devices[device].broken = cudaErrorLaunchFailure;
        else
            emulator_run(grid, block, shared, body);
    }));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    entry e;
    if (recorded != NULL || stream->q->device != current)
        return result(cudaErrorStreamCaptureUnsupported);
    if (cudaError_t error = result(cudaSuccess))
        return error;
    recorded = stream->q.get();
    recorded->record = new recording();
    recorded->record_broken = false;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status)
{
    entry e;
    *status =
        stream->q->record != NULL ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return result(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    entry e;
    *graph = NULL;
    if (recorded != stream->q.get())
        return result(cudaErrorStreamCaptureUnsupported);
    std::unique_ptr<recording> works(recorded->record);
    recorded->record = NULL;
    recorded = NULL;
    if (stream->q->record_broken || runtime.no_graphs)
        return result(cudaErrorStreamCaptureInvalidated);
    cudaError_t error = result(cudaSuccess);
    if (error == cudaSuccess)
        *graph = new emulator_graph{*works};
    return error;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    entry e;
    cudaError_t error = result(cudaSuccess);
    if (error == cudaSuccess)
        *exec = new emulator_graph_exec{graph->works};
    return error;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    entry e;
    if (breaks_recording())
        return result(cudaErrorStreamCaptureUnsupported);
    runtime.graphs++;
    for (const work &w : exec->works) {
        if (cudaError_t error = add(stream, w))
            return result(error);
    }
    return result(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    entry e;
    delete exec;
    return result(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    entry e;
    delete graph;
    return result(cudaSuccess);
}
