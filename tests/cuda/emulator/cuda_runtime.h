/* cuda_runtime.h: the emulator's twin of the CUDA toolkit's header, so that the
 * .cu files of kernels/cuda compile as C++ and run on the CPU.
 *
 * A kernel runs block after block, in shuffled order. The threads of a block are
 * fibres: a fibre runs until it meets a barrier or a warp-wide operation, and
 * which one runs next is drawn from a seed, with one warp now and then running as
 * far ahead of the others as the barriers let it. A missing barrier therefore
 * shows as a wrong result for most seeds. Shared memory holds noise when a block
 * begins, device memory is an exact allocation of the host (so that
 * AddressSanitizer sees one byte too far) and holds noise, too.
 *
 * Stricter than the hardware: warp-wide operations must name all 32 lanes, all
 * lanes must come to the same one, and alignment is checked. Whatever breaks a
 * rule prints a line and aborts.
 *
 * Streams are queues: an operation runs when somebody waits for it, or before,
 * as the seed decides, so that a host which reads a copy too early, or writes too early
 * over memory yet to be copied, gives wrong results. Copies from and to memory that is
 * not page-locked are done on the spot, as the hardware's are. A graph's operations are
 * remembered with its arguments; calls that may not be recorded break the recording.
 *
 * The environment: GPUZIP_EMULATOR_SEED is the seed (default 1), _CAPABILITY the compute
 * capability (default 89), _DEVICES the number of devices (default 1), _MEMORY the bytes
 * that each has, _PROCESSORS its multiprocessors (default 2), the _FAIL-th kernel to run breaks
 * its device for good, and with _WRONG=1 copies to the host have a wrong bit. With _PAGEABLE=1
 * copies from all memory of the host are late, not only from page-locked memory. Any number of host threads; a kernel runs to
 * its end before another host thread gets its turn.
 */
#ifndef GPUZIP_EMULATOR_CUDA_RUNTIME_H
#define GPUZIP_EMULATOR_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>

/* -- the language ------------------------------------------------------------ */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
/* Static shared variables stand in one section, which is refilled with noise; but gcc does not
 * put those of templates there, and SHARED_BEGINS() tells of them. */
#define __shared__ static __attribute__((section("emulator_shared")))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim; /* of the fibre that runs */
#define warpSize 32

static inline int min(int a, int b)
{
    return a < b ? a : b;
}
static inline int max(int a, int b)
{
    return a > b ? a : b;
}

/* -- barriers and warp-wide operations --------------------------------------- */

#define EMULATOR_SLOT_BYTES 64

struct emulator_slot {
    alignas(16) unsigned char bytes[EMULATOR_SLOT_BYTES];
};

/* Prints the error and its place (block, thread), then aborts. */
[[noreturn]] void emulator_fail(const char *what);

/* Waits for every living thread of the block. */
void __syncthreads(void);

/* Deposits size <= 64 bytes of this lane, waits until all 32 lanes have done the
 * same under the same kind, and returns the 32 deposits by lane. They stay valid
 * until the lane's next exchange. */
const emulator_slot *emulator_exchange(int kind, unsigned mask, const void *value, size_t size);

enum {
    EMULATOR_SYNCWARP,
    EMULATOR_SHFL,
    EMULATOR_SHFL_XOR,
    EMULATOR_SHFL_UP,
    EMULATOR_BALLOT,
    EMULATOR_LDMATRIX,
    EMULATOR_MMA_K16,
    EMULATOR_MMA_K32,
    EMULATOR_REGISTERS,
    EMULATOR_WGMMA,
    EMULATOR_WGMMA_FENCE,
    EMULATOR_WGMMA_COMMIT,
    EMULATOR_WGMMA_WAIT
};

/* The device's compute capability, 10 * major + minor. */
int emulator_capability(void);

/* The lane of the fibre that runs, 0 .. 31. */
int emulator_lane(void);

static inline void __syncwarp(unsigned mask = 0xffffffff)
{
    (void)emulator_exchange(EMULATOR_SYNCWARP, mask, NULL, 0);
}

template <typename T> static inline T emulator_from(const emulator_slot *slots, int lane)
{
    T value;
    memcpy(&value, slots[lane].bytes, sizeof value);
    return value;
}

template <typename T> static inline T __shfl_sync(unsigned mask, T value, int lane)
{
    return emulator_from<T>(emulator_exchange(EMULATOR_SHFL, mask, &value, sizeof value),
                            lane & 31);
}

template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int lanes)
{
    return emulator_from<T>(emulator_exchange(EMULATOR_SHFL_XOR, mask, &value, sizeof value),
                            emulator_lane() ^ lanes);
}

template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta)
{
    const emulator_slot *slots = emulator_exchange(EMULATOR_SHFL_UP, mask, &value, sizeof value);
    int from = emulator_lane() - (int)delta;
    return from < 0 ? value : emulator_from<T>(slots, from);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    const emulator_slot *slots =
        emulator_exchange(EMULATOR_BALLOT, mask, &predicate, sizeof predicate);
    unsigned bits = 0;
    for (int lane = 0; lane < 32; lane++)
        bits |= (unsigned)(emulator_from<int>(slots, lane) != 0) << lane;
    return bits;
}

/* -- single-thread intrinsics ------------------------------------------------ */

/* Fibres change only at barriers, so plain read-modify-write is atomic. */
template <typename T> static inline T atomicAdd(T *address, T value)
{
    T old = *address;
    *address = old + value;
    return old;
}

static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}

static inline int __mulhi(int a, int b)
{
    return (int)((long long)a * b >> 32);
}

static inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int __clzll(long long x)
{
    return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}

static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

/* -- launches ---------------------------------------------------------------- */

typedef struct emulator_stream *cudaStream_t;

/* Queues a kernel; body is a thread of it. Refused, as the hardware would, when a size is
 * out of range or `shared` beyond the kernel's grant; cudaGetLastError()
 * then tells. */
void emulator_queue_kernel(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                           const void *kernel, std::function<void()> body);

/* The arguments are taken now, the kernel may run later. */
template <typename... P, typename... A>
static inline void emulator_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                                   void (*kernel)(P...), A... arguments)
{
    std::tuple<P...> values(arguments...);
    emulator_queue_kernel(grid, block, shared, stream, (const void *)kernel,
                          [kernel, values] { std::apply(kernel, values); });
}

/* The block's dynamic shared memory, 128-byte aligned. */
void *emulator_shared(void);

/* Fills a static shared variable with noise when the first thread of a block comes by. */
void emulator_shared_begins(void *variable, size_t bytes);

/* -- the runtime API --------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};

enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3
};

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrPageableMemoryAccess = 88,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};

struct cudaDeviceProp {
    char name[256];
    struct {
        char bytes[16];
    } uuid;
    size_t totalGlobalMem;
    int major, minor;
};

enum cudaMemoryType {
    cudaMemoryTypeUnregistered = 0,
    cudaMemoryTypeHost = 1,
    cudaMemoryTypeDevice = 2
};

struct cudaPointerAttributes {
    cudaMemoryType type;
};

#define CUDART_VERSION 13000

struct cudaFuncAttributes {
    size_t sharedSizeBytes; /* static */
};

enum cudaDriverEntryPointQueryResult {
    cudaDriverEntryPointSuccess = 0,
    cudaDriverEntryPointSymbolNotFound = 1
};
#define cudaEnableDefault 0

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

typedef struct emulator_event *cudaEvent_t;
typedef struct emulator_graph *cudaGraph_t;
typedef struct emulator_graph_exec *cudaGraphExec_t;

#define cudaStreamNonBlocking  1
#define cudaEventBlockingSync  1
#define cudaEventDisableTiming 2
#define cudaHostAllocDefault   0

enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetLastError(void);
cudaError_t cudaMalloc(void **ptr, size_t bytes);
cudaError_t cudaFree(void *ptr);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaHostAlloc(void **ptr, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *ptr);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *ptr);
cudaError_t cudaMemsetAsync(void *ptr, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

/* Grants a kernel more dynamic shared memory than the usual 48 KB. */
cudaError_t emulator_grant_shared(const void *kernel, int bytes);
template <typename F>
static inline cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute attribute, int value)
{
    (void)attribute;
    return emulator_grant_shared((const void *)kernel, value);
}

/* Every kernel is compiled for the capability that runs, so has the shared memory it asks
 * for; how much is not known here. */
template <typename F>
static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, F *kernel)
{
    (void)kernel;
    attributes->sharedSizeBytes = 1;
    return cudaSuccess;
}

/* Knows cuTensorMapEncodeTiled. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult *result);

#endif
