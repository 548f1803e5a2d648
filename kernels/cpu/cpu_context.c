/* cpu_context.c: the CPU backend's context: which instructions, how many threads,
 * memory, and the table of operations. It is above all other files of the backend: none of
 * them calls it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "cores.h"
#include "cpu.h"
#include "learn/cpu_learn.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CPU_MAX_THREADS 1024
#define CPU_COPY_BYTES  ((size_t)128 << 20) /* of cpu_measure_copy(), beyond the caches */

#if defined(__x86_64__)
/* The state components that the system saves, XCR0: 0x6 SSE and AVX registers,
 * 0xe0 AVX-512's. Requires OSXSAVE. */
static uint32_t cpu_read_xcr0(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_all(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

/* Asked of the processor directly: __builtin_cpu_supports() does not know every
 * feature in every compiler. */
static cpu_isa cpu_find_isa(void)
{
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const uint32_t avx2 = 1u << 5, bmi2 = 1u << 8;
    const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    const uint32_t vnni = 1u << 11;
    uint32_t a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_all(c, fma | osxsave | avx | f16c))
        return CPU_ISA_C;
    uint32_t xcr0 = cpu_read_xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has_all(b, avx2 | bmi2) || !has_all(xcr0, 0x6))
        return CPU_ISA_C;
    if (!has_all(b, f | dq | bw | vl) || !has_all(xcr0, 0xe6))
        return CPU_ISA_AVX2;
    return has_all(c, vnni) ? CPU_ISA_AVX512VNNI : CPU_ISA_AVX512;
}
#else
static cpu_isa cpu_find_isa(void)
{
    return CPU_ISA_C;
}
#endif

/* Errors: ARGUMENT (no such name). */
static gpuzip_status cpu_parse_isa(cpu_isa *isa, const char *name)
{
    static const char *const names[] = {"c", "avx2", "avx512", "avx512vnni"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *isa = (cpu_isa)i;
            return GPUZIP_OK;
        }
    }
    return FAIL(GPUZIP_ERR_ARGUMENT);
}

/* Errors: ARGUMENT (threads < 0, no such isa), DEVICE (the machine lacks it), MEMORY. */
static gpuzip_status cpu_open(ops_context **ctx, int device, int threads, const char *isa)
{
    (void)device; /* there is one */
    if (threads < 0)
        return FAIL(GPUZIP_ERR_ARGUMENT);
    cpu_isa best = cpu_find_isa(), wanted = best;
    if (isa)
        TRY(cpu_parse_isa(&wanted, isa));
    if (wanted > best)
        return FAIL(GPUZIP_ERR_DEVICE);
    if (threads == 0)
        threads = cores_usable();
    if (threads > CPU_MAX_THREADS)
        threads = CPU_MAX_THREADS;

    ops_context *opened = malloc(sizeof *opened);
    float *scratch = aligned_alloc(64, (size_t)threads * OPS_MAX_DIM * sizeof *scratch);
    pool *shared = NULL;
    if (!opened || !scratch || (threads > 1 && pool_open(&shared, threads) != GPUZIP_OK)) {
        free(scratch);
        free(opened);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    *opened = (ops_context){.threads = threads, .pool = shared, .isa = wanted, .scratch = scratch};
    *ctx = opened;
    return GPUZIP_OK;
}

static void cpu_close(ops_context *ctx)
{
    if (!ctx)
        return;
    pool_close(ctx->pool);
    free(ctx->attention);
    free(ctx->scratch);
    free(ctx);
}

static gpuzip_status cpu_alloc(ops_context *ctx, void **ptr, size_t bytes)
{
    (void)ctx;
    if (bytes > SIZE_MAX - 63)
        return FAIL(GPUZIP_ERR_MEMORY);
    size_t size = bytes ? (bytes + 63) & ~(size_t)63 : 64;
    void *memory = aligned_alloc(64, size);
    if (!memory)
        return FAIL(GPUZIP_ERR_MEMORY);
    memset(memory, 0, size);
    *ptr = memory;
    return GPUZIP_OK;
}

static void cpu_release(ops_context *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static gpuzip_status cpu_copy(ops_context *ctx, void *dst, const void *src, size_t bytes)
{
    (void)ctx;
    if (bytes)
        memcpy(dst, src, bytes);
    return GPUZIP_OK;
}

static gpuzip_status cpu_sync(ops_context *ctx)
{
    (void)ctx;
    return GPUZIP_OK;
}

/* -- the queue: everything is done when it returns --------------------------- */

static gpuzip_status cpu_event(ops_context *ctx, int event)
{
    (void)ctx;
    assert(event >= 0 && event < OPS_EVENTS);
    (void)event;
    return GPUZIP_OK;
}

static size_t cpu_scratch_bytes(int rows, int columns)
{
    (void)rows;
    (void)columns;
    return 0; /* beyond the memory that open() allocates */
}

static gpuzip_status cpu_reserve(ops_context *ctx, int rows, int columns)
{
    (void)ctx;
    (void)rows;
    (void)columns;
    return GPUZIP_OK;
}

static void cpu_range_push(const char *name)
{
    (void)name;
}

static void cpu_range_pop(void)
{
}

/* -- memory -------------------------------------------------------------------- */

/* Bytes that Linux says programs can have without swapping; 0: it does not say. */
static uint64_t cpu_memory_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
        kib = 0;
    fclose(f);
    return (uint64_t)kib << 10;
}

static gpuzip_status cpu_memory(ops_context *ctx, uint64_t *available, uint64_t *total)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = cpu_memory_available();
    (void)ctx;
    if (pages <= 0 || page <= 0)
        return FAIL(GPUZIP_ERR_DEVICE);
    *total = (uint64_t)pages * (uint64_t)page;
    *available = bytes && bytes < *total ? bytes : *total;
    return GPUZIP_OK;
}

static gpuzip_status cpu_measure_product(ops_context *ctx, double *ops_per_second)
{
    (void)ctx; /* no library */
    *ops_per_second = 0;
    return GPUZIP_OK;
}

/* A thread's part of a copy. */
typedef struct {
    char *dst; /* [threads][bytes], like src */
    const char *src;
    size_t bytes; /* of a part */
} copy_job;

static void copy_part(const void *of, int part, int worker)
{
    const copy_job *job = of;
    size_t at = (size_t)part * job->bytes;
    (void)worker;
    memcpy(job->dst + at, job->src + at, job->bytes);
}

/* Every thread copies a part of its own. Best of several, for other programs may take the
 * processor or the memory's time away. */
static gpuzip_status cpu_measure_copy(ops_context *ctx, double *bytes_per_second)
{
    gpuzip_status status = GPUZIP_OK;
    const int threads = pool_start(ctx->pool);
    const size_t part = (CPU_COPY_BYTES / (size_t)threads) & ~(size_t)63;
    void *src = NULL, *dst = NULL;
    double best = 0;
    TRY_OUT(cpu_alloc(ctx, &src, CPU_COPY_BYTES));
    TRY_OUT(cpu_alloc(ctx, &dst, CPU_COPY_BYTES));
    for (int round = 0; round < 5; round++) {
        double begin = clock_seconds();
        pool_run(ctx->pool, threads, threads, copy_part, &(copy_job){dst, src, part});
        double rate = 2.0 * (double)part * threads / (clock_seconds() - begin);
        best = rate > best ? rate : best;
    }
    *bytes_per_second = best;
out:
    cpu_release(ctx, dst);
    cpu_release(ctx, src);
    return status;
}

const ops ops_cpu = {
    .name = "cpu",
    .pass_rows = 512, /* with more, the activations leave the cache */
    .logits_bytes = (size_t)256 << 20,
    .devices = cpu_devices,
    .describe = cpu_describe,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
    .sync = cpu_sync,
    .memory = cpu_memory,
    .scratch_bytes = cpu_scratch_bytes,
    .reserve = cpu_reserve,
    .host_alloc = cpu_alloc,
    .host_release = cpu_release,
    .fetch = cpu_copy,
    .event = cpu_event,
    .wait_event = cpu_event,
    .matrix_create = cpu_matrix_create,
    .matrix_destroy = cpu_matrix_destroy,
    .kv_create = cpu_kv_create,
    .kv_destroy = cpu_kv_destroy,
    .kv_bytes = cpu_kv_bytes,
    .embed = cpu_embed,
    .norm = cpu_norm,
    .quantize = cpu_quantize,
    .linear = cpu_linear,
    .qkv = cpu_qkv,
    .attention = cpu_attention,
    .mix_encode = cpu_mix_encode,
    .mix_decode = cpu_mix_decode,
    .mix_cdf = cpu_mix_cdf,
    .adaptive_create = cpu_adaptive_create,
    .adaptive_destroy = cpu_adaptive_destroy,
    .adaptive_bytes = cpu_adaptive_bytes,
    .adaptive_reset = cpu_adaptive_reset,
    .adaptive_read = cpu_adaptive_read,
    .mix_learn = cpu_mix_learn,
    .next_tokens = cpu_next_tokens,
    .count_add = cpu_count_add,
    .learn = &cpu_learn,
    .measure_peak = cpu_measure_peak,
    .measure_product = cpu_measure_product,
    .measure_copy = cpu_measure_copy,
    .range_push = cpu_range_push,
    .range_pop = cpu_range_pop,
};
