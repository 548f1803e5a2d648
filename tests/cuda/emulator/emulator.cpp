/* emulator.cpp: the fibres and barriers of the CUDA emulator; cuda_runtime.h beside it
 * says what it promises, runtime.cpp has the runtime API. */
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <unordered_map>
#include <vector>

#include "runtime.h"
#include "scheduler.h"

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif
#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#include <ucontext.h>
#endif

void emulator_copy_async(void *dst, const void *src, size_t dst_bytes, size_t src_bytes);
void emulator_copy_commit(void);
void emulator_copy_wait(int groups);

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{

const size_t STACK_BYTES = 128 << 10;

/* -- switching between stacks ------------------------------------------------ */

struct context {
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t u;
#endif
};

#ifdef __x86_64__
/* Saves the registers that a callee keeps on this stack and takes up the other. */
extern "C" void emulator_switch(void **save_sp, void *load_sp);
__asm__(".text\n"
        ".globl emulator_switch\n"
        ".hidden emulator_switch\n"
        ".type emulator_switch, @function\n"
        "emulator_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emulator_switch, .-emulator_switch\n");
#endif

enum thread_state { RUNNABLE, AT_WARP, AT_BLOCK, AT_CONDITION, DONE };

struct copy {
    unsigned char *dst;
    const unsigned char *src;
    size_t dst_bytes, src_bytes;
    int group;
};

struct fibre {
    context at;
    unsigned char *stack; /* [STACK_BYTES], kept from launch to launch */
    thread_state state;
    int kind;                 /* of the exchange it waits in */
    unsigned parity;          /* which set of slots its next exchange uses */
    int groups;               /* of asynchronous copies committed */
    std::vector<copy> copies; /* begun and not done */
    /* Of AT_CONDITION: see emulator_wait_until(). */
    bool (*ready)(const void *context);
    const char *(*describe)(const void *context);
    const void *ready_context;
};

struct warp {
    int arrived; /* lanes in the current exchange */
    int kind;
    emulator_slot slots[2][32];
};

struct {
    uint64_t random;
    bool seeded;
    std::vector<fibre> fibres;
    std::vector<warp> warps;
    unsigned threads;  /* of the block that runs */
    unsigned living;   /* of them not done */
    unsigned at_block; /* of them waiting in __syncthreads() */
    unsigned current;  /* the fibre that runs */
    context scheduler;
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
    const std::function<void()> *body; /* of a thread */
    void *shared;
    size_t shared_bytes;
    uint64_t block;                                    /* blocks run so far */
    std::unordered_map<void *, uint64_t> shared_block; /* static variable: its last noise's block */
} emulator;

/* xorshift64*; the stream of decisions of a run. */
uint32_t draw(void)
{
    if (!emulator.seeded) {
        emulator.random = 0x9e3779b97f4a7c15u * (emulator_setting("GPUZIP_EMULATOR_SEED", 1) + 1);
        emulator.seeded = true;
    }
    uint64_t x = emulator.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    emulator.random = x;
    return (uint32_t)((x * 0x2545f4914f6cdd1du) >> 32);
}

void shuffle(unsigned *order, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        order[i] = i;
    for (unsigned i = n; i > 1; i--) {
        unsigned j = draw() % i, t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

void set_thread(unsigned thread)
{
    emulator.current = thread;
    threadIdx.x = thread % blockDim.x;
    threadIdx.y = thread / blockDim.x % blockDim.y;
    threadIdx.z = thread / blockDim.x / blockDim.y;
}

void switch_stacks(context *from, context *to)
{
#ifdef __x86_64__
    emulator_switch(&from->sp, to->sp);
#else
    swapcontext(&from->u, &to->u);
#endif
}

/* From a fibre to the scheduler; the last time, its stack is given up. */
void leave(bool last)
{
    fibre *f = &emulator.fibres[emulator.current];
#ifdef EMULATOR_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(last ? NULL : &fake, emulator.scheduler_stack,
                                   emulator.scheduler_stack_bytes);
#else
    (void)last;
#endif
    switch_stacks(&f->at, &emulator.scheduler);
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(fake, &emulator.scheduler_stack,
                                    &emulator.scheduler_stack_bytes);
#endif
}

void fibre_main(void)
{
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(NULL, &emulator.scheduler_stack,
                                    &emulator.scheduler_stack_bytes);
#endif
    (*emulator.body)();
    fibre *f = &emulator.fibres[emulator.current];
    if (!f->copies.empty())
        emulator_fail("a thread ends with asynchronous copies under way");
    hopper_thread_end();
    f->state = DONE;
    emulator.living--;
    leave(true);
}

/* From the scheduler to a fibre, until it waits or ends. */
void resume(unsigned thread)
{
    fibre *f = &emulator.fibres[thread];
    set_thread(thread);
#ifdef EMULATOR_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK_BYTES);
#endif
    switch_stacks(&emulator.scheduler, &f->at);
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

void fibre_begin(fibre *f)
{
    if (f->stack == NULL) {
        f->stack = (unsigned char *)mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (f->stack == MAP_FAILED)
            emulator_fail("no memory for a stack");
    }
#ifdef EMULATOR_ASAN
    /* The two frames of a fibre that ended never returned. */
    ASAN_UNPOISON_MEMORY_REGION(f->stack + STACK_BYTES - 4096, 4096);
#endif
#ifdef __x86_64__
    /* Six registers, then the address that ret takes; the ABI wants the stack to
     * be 8 beyond a multiple of 16 on entry. */
    void **sp = (void **)(f->stack + STACK_BYTES) - 2;
    *sp = (void *)fibre_main;
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    f->at.sp = sp;
#else
    getcontext(&f->at.u);
    f->at.u.uc_stack.ss_sp = f->stack;
    f->at.u.uc_stack.ss_size = STACK_BYTES;
    f->at.u.uc_link = NULL;
    makecontext(&f->at.u, fibre_main, 0);
#endif
    f->state = RUNNABLE;
    f->parity = 0;
    f->groups = 0;
    f->copies.clear();
}

/* -- the scheduler ----------------------------------------------------------- */

void release_block_barrier(void)
{
    if (emulator.living == 0 || emulator.at_block < emulator.living)
        return;
    for (unsigned t = 0; t < emulator.threads; t++)
        if (emulator.fibres[t].state == AT_BLOCK)
            emulator.fibres[t].state = RUNNABLE;
    emulator.at_block = 0;
}

bool can_run(const fibre *f)
{
    return f->state == RUNNABLE || (f->state == AT_CONDITION && f->ready(f->ready_context));
}

/* Runs every runnable lane of a warp once, in shuffled order; false: there was none. */
bool run_warp(unsigned w)
{
    unsigned order[32];
    bool ran = false;
    shuffle(order, 32);
    for (int i = 0; i < 32; i++) {
        unsigned thread = 32 * w + order[i];
        if (thread < emulator.threads && can_run(&emulator.fibres[thread])) {
            emulator.fibres[thread].state = RUNNABLE;
            resume(thread);
            ran = true;
        }
    }
    return ran;
}

/* Nothing can run: says for what the threads wait. */
[[noreturn]] void fail_deadlock(void)
{
    for (unsigned t = 0; t < emulator.threads; t++) {
        const fibre *f = &emulator.fibres[t];
        if (f->state == AT_CONDITION) {
            set_thread(t);
            fprintf(stderr, "emulator: thread %u waits for %s\n", t, f->describe(f->ready_context));
        }
    }
    emulator_fail("deadlock: threads wait for others that never come");
}

void run_block(void)
{
    unsigned warps = (emulator.threads + 31) / 32;
    std::vector<unsigned> order(warps);
    for (unsigned w = 0; w < warps; w++)
        emulator.warps[w].arrived = 0;
    for (unsigned t = 0; t < emulator.threads; t++)
        fibre_begin(&emulator.fibres[t]);
    emulator.living = emulator.threads;
    emulator.at_block = 0;
    hopper_block_begin();
    while (emulator.living > 0) {
        bool ran = false;
        shuffle(order.data(), warps);
        for (unsigned i = 0; i < warps; i++) {
            /* Every other time as far as the barriers let it, to meet hazards that
             * only show between warps far apart. */
            int rounds = draw() & 1 ? 1 << (draw() % 6) : 1 << 30;
            while (rounds-- > 0 && run_warp(order[i]))
                ran = true;
        }
        release_block_barrier();
        if (hopper_copies_run(!ran))
            ran = true;
        if (!ran && emulator.living > 0) {
            for (unsigned t = 0; t < emulator.threads; t++)
                if (can_run(&emulator.fibres[t]))
                    ran = true;
            if (!ran)
                fail_deadlock();
        }
    }
    hopper_block_end();
}

} // namespace

extern "C" char __start_emulator_shared[] __attribute__((weak));
extern "C" char __stop_emulator_shared[] __attribute__((weak));

void emulator_fail(const char *what)
{
    fprintf(stderr, "emulator: block (%u, %u, %u) thread %u: %s\n", blockIdx.x, blockIdx.y,
            blockIdx.z, emulator.current, what);
    abort();
}

unsigned long emulator_setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : otherwise;
}

uint32_t emulator_draw(void)
{
    return draw();
}

void emulator_noise(void *memory, size_t bytes)
{
    memset(memory, (int)(draw() & 0xff) | 1, bytes);
}

int emulator_capability(void)
{
    static int capability = (int)emulator_setting("GPUZIP_EMULATOR_CAPABILITY", 89);
    return capability;
}

int emulator_lane(void)
{
    return (int)(emulator.current & 31);
}

void *emulator_shared(void)
{
    return emulator.shared;
}

void emulator_shared_begins(void *variable, size_t bytes)
{
    uint64_t &block = emulator.shared_block[variable];
    if (block != emulator.block)
        emulator_noise(variable, bytes);
    block = emulator.block;
}

unsigned emulator_thread(void)
{
    return emulator.current;
}

unsigned emulator_threads(void)
{
    return emulator.threads;
}

size_t emulator_shared_bytes(void)
{
    return emulator.shared_bytes;
}

void emulator_wait_until(bool (*ready)(const void *context), const char *(*describe)(const void *),
                         const void *context)
{
    fibre *f = &emulator.fibres[emulator.current];
    f->ready = ready, f->describe = describe, f->ready_context = context;
    while (!ready(context)) {
        f->state = AT_CONDITION;
        leave(false);
    }
}

void __syncthreads(void)
{
    emulator.fibres[emulator.current].state = AT_BLOCK;
    emulator.at_block++;
    leave(false);
}

const emulator_slot *emulator_exchange(int kind, unsigned mask, const void *value, size_t size)
{
    fibre *f = &emulator.fibres[emulator.current];
    unsigned w = emulator.current / 32;
    warp *own = &emulator.warps[w];
    if (mask != 0xffffffff || emulator.threads - 32 * w < 32)
        emulator_fail("a warp-wide operation that does not name 32 lanes");
    if (own->arrived > 0 && own->kind != kind)
        emulator_fail("the lanes of a warp meet in different operations");
    emulator_slot *slots = own->slots[f->parity];
    if (size > 0)
        memcpy(slots[emulator.current & 31].bytes, value, size);
    f->parity ^= 1;
    own->kind = kind;
    if (++own->arrived < 32) {
        f->state = AT_WARP;
        leave(false);
    } else {
        own->arrived = 0;
        for (unsigned t = 32 * w; t < 32 * w + 32; t++)
            if (emulator.fibres[t].state == AT_WARP)
                emulator.fibres[t].state = RUNNABLE;
    }
    return slots;
}

/* -- asynchronous copies ------------------------------------------------------ */

static void copy_perform(const copy *c)
{
    memcpy(c->dst, c->src, c->src_bytes);
    memset(c->dst + c->src_bytes, 0, c->dst_bytes - c->src_bytes);
}

void emulator_copy_async(void *dst, const void *src, size_t dst_bytes, size_t src_bytes)
{
    fibre *f = &emulator.fibres[emulator.current];
    copy c = {(unsigned char *)dst, (const unsigned char *)src, dst_bytes, src_bytes, f->groups};
    if (emulator_capability() < 80 || draw() & 1)
        copy_perform(&c);
    else
        f->copies.push_back(c);
}

void emulator_copy_commit(void)
{
    emulator.fibres[emulator.current].groups++;
}

void emulator_copy_wait(int groups)
{
    fibre *f = &emulator.fibres[emulator.current];
    size_t kept = 0;
    for (size_t i = 0; i < f->copies.size(); i++) {
        if (f->copies[i].group < f->groups - groups)
            copy_perform(&f->copies[i]);
        else
            f->copies[kept++] = f->copies[i];
    }
    f->copies.resize(kept);
}

/* -- kernels ------------------------------------------------------------------ */

void emulator_run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body)
{
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
    unsigned threads = block.x * block.y * block.z;
    if (emulator.fibres.size() < threads) {
        emulator.fibres.resize(threads);
        emulator.warps.resize((threads + 31) / 32);
    }
    emulator.threads = threads;
    emulator.body = &body;
    gridDim = grid;
    blockDim = block;
    std::vector<unsigned> order(blocks);
    shuffle(order.data(), (unsigned)blocks);
    for (size_t i = 0; i < blocks; i++) {
        blockIdx.x = order[i] % grid.x;
        blockIdx.y = order[i] / grid.x % grid.y;
        blockIdx.z = order[i] / grid.x / grid.y;
        if (posix_memalign(&emulator.shared, 128, shared) != 0)
            emulator_fail("no memory for shared memory");
        emulator_noise(emulator.shared, shared);
        emulator.shared_bytes = shared;
        emulator.block++;
        if (__start_emulator_shared != NULL)
            emulator_noise(__start_emulator_shared,
                           (size_t)(__stop_emulator_shared - __start_emulator_shared));
        run_block();
        free(emulator.shared);
        emulator.shared = NULL;
    }
}
