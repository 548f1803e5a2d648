/* cuda.h: shared by the files of the CUDA backend; others use ops_cuda.
 *
 * The kernels are written once and compiled twice: by nvcc, and as C++ for the
 * CPU by the emulator in tests/cuda/emulator, which has its own <cuda_runtime.h> and
 * its own ptx.cuh functions. The language is C plus the shape of a tile as a
 * template parameter.
 *
 * Every operation queues its kernels on the context's stream and returns;
 * CUDA's errors are sticky and come out of the next call, sync() or download().
 * A context is used by one host thread at a time. The CUDA runtime is linked
 * statically and finds the driver when open() is called: a program with this
 * backend starts on a machine without one, and open() says DEVICE.
 */
#ifndef GPUZIP_CUDA_H
#define GPUZIP_CUDA_H

#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The CUDA backend, compute capability 7.5 and up. open() has no use for
 * `threads` and `isa`. */
extern const ops ops_cuda;

/* cuda_device.cu */
int cuda_devices(void);
gpuzip_status cuda_describe(int device, ops_device *about);

/* cuda_memory.cu; the operations themselves call these, too. */
gpuzip_status cuda_alloc(ops_context *ctx, void **ptr, size_t bytes);
void cuda_release(ops_context *ctx, void *ptr);
gpuzip_status cuda_memory(ops_context *ctx, uint64_t *available, uint64_t *total);
gpuzip_status cuda_upload(ops_context *ctx, void *dst, const void *host_src, size_t bytes);
gpuzip_status cuda_download(ops_context *ctx, void *host_dst, const void *src, size_t bytes);
gpuzip_status cuda_sync(ops_context *ctx);

/* cuda_queue.cu */
gpuzip_status cuda_host_alloc(ops_context *ctx, void **ptr, size_t bytes);
void cuda_host_release(ops_context *ctx, void *ptr);
gpuzip_status cuda_fetch(ops_context *ctx, void *host_dst, const void *src, size_t bytes);
gpuzip_status cuda_event(ops_context *ctx, int event);
gpuzip_status cuda_wait_event(ops_context *ctx, int event);
gpuzip_status cuda_graph_begin(ops_context *ctx);
gpuzip_status cuda_graph_end(ops_context *ctx, ops_graph **graph);
gpuzip_status cuda_graph_replay(ops_context *ctx, const ops_graph *graph);
void cuda_graph_destroy(ops_context *ctx, ops_graph *graph);
void cuda_range_push(const char *name);
void cuda_range_pop(void);

/* cuda_matrix.cu */
gpuzip_status cuda_matrix_create(ops_context *ctx, ops_matrix **m, const ops_weights *src);
void cuda_matrix_destroy(ops_context *ctx, ops_matrix *m);

/* cuda_linear_paths.cu */
gpuzip_status cuda_linear(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                          const float *bias, const float *residual, float *out);

/* cuda_blas.cu */
gpuzip_status cuda_measure_product(ops_context *ctx, double *ops_per_second);

/* cuda_peak.cu */
gpuzip_status cuda_measure_peak(ops_context *ctx, double *ops_per_second);
gpuzip_status cuda_measure_copy(ops_context *ctx, double *bytes_per_second);

/* cuda_kv.cu */
gpuzip_status cuda_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots, int window,
                             int run, int kv_heads, int head_dim, int bits);
void cuda_kv_destroy(ops_context *ctx, ops_kv *kv);
size_t cuda_kv_bytes(int layers, int slots, int window, int run, int kv_heads, int head_dim,
                     int bits);
gpuzip_status cuda_qkv(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                       const ops_rope *rope, const ops_queries *q, ops_kv *kv, int layer);

/* cuda_attention.cu */
size_t cuda_attention_scratch(int rows); /* bytes of scratch that so many rows take */
gpuzip_status cuda_attention(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                             int heads, float factor, const ops_kv *kv, int layer, float *out);

/* cuda_embed.cu */
gpuzip_status cuda_embed(ops_context *ctx, float *x, const ops_batch *batch, const int16_t *w,
                         const float *scale, const float *position, int dim);
gpuzip_status cuda_next_tokens(ops_context *ctx, const ops_symbol *found, int rows, int vocab,
                               int32_t bos, int32_t *token, int32_t *pos);

/* cuda_norm.cu */
gpuzip_status cuda_norm(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                        const float *bias, float eps, float *y, ops_qrows *q);
gpuzip_status cuda_quantize(ops_context *ctx, ops_act act, const float *x, ops_qrows *q);

/* cuda_mix.cu */
gpuzip_status cuda_mix_encode(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                              ops_interval *out);
gpuzip_status cuda_mix_decode(ops_context *ctx, const ops_mix *mix, int rows,
                              const uint32_t *target, ops_symbol *out);
gpuzip_status cuda_mix_cdf(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start);
gpuzip_status cuda_count_add(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                             const int32_t *state, const int32_t *symbol, int n);

/* cuda_adaptive.cu */
gpuzip_status cuda_adaptive_create(ops_context *ctx, ops_adaptive **a,
                                   const ops_adaptive_config *config);
void cuda_adaptive_destroy(ops_context *ctx, ops_adaptive *a);
size_t cuda_adaptive_bytes(const ops_adaptive_config *config);
gpuzip_status cuda_adaptive_reset(ops_context *ctx, ops_adaptive *a, int first, int n);
gpuzip_status cuda_adaptive_read(ops_context *ctx, const ops_adaptive *a, int state, int32_t *bias,
                                 uint32_t *alpha, int32_t *weights);
gpuzip_status cuda_mix_learn(ops_context *ctx, ops_adaptive *a, int states);

#ifdef __cplusplus
}
#endif
#endif
