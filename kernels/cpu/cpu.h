/* cpu.h: shared by the files of the CPU backend. */
#ifndef GPUZIP_CPU_H
#define GPUZIP_CPU_H

#include "ops.h"
#include "pool.h"

/* Each level includes those before it. "Includes" means F16C/FMA/BMI2 with AVX2 and
 * F, BW, DQ, VL with AVX-512. Elsewhere than x86-64 there is only CPU_ISA_C. AMX
 * machines take AVX512VNNI: a level that no machine at hand can run would be
 * arithmetic that nobody has tested. */
typedef enum {
    CPU_ISA_C = 0,
    CPU_ISA_AVX2 = 1,
    CPU_ISA_AVX512 = 2,
    CPU_ISA_AVX512VNNI = 3
} cpu_isa;

struct ops_context {
    int threads;     /* threads that an operation may use, >= 1 */
    pool *pool;      /* of these threads; NULL: one */
    bool shares_all; /* for tests: threads share even work that is not worth it */
    cpu_isa isa;     /* the best of the machine, or the caller's choice */
    float *scratch;  /* [threads][OPS_MAX_DIM] a row of each thread */
    void *attention; /* memory of attention(), kept from call to call */
    size_t attention_bytes;
};

/* cpu_device.c */
int cpu_devices(void);
gpuzip_status cpu_describe(int device, ops_device *about);

/* cpu_linear.c */
gpuzip_status cpu_matrix_create(ops_context *ctx, ops_matrix **m, const ops_weights *src);
void cpu_matrix_destroy(ops_context *ctx, ops_matrix *m);
gpuzip_status cpu_linear(ops_context *ctx, const ops_qrows *q, const ops_matrix *w,
                         const float *bias, const float *residual, float *out);
gpuzip_status cpu_measure_peak(ops_context *ctx, double *ops_per_second);

/* cpu_attention.c */
gpuzip_status cpu_kv_create(ops_context *ctx, ops_kv **kv, int layers, int slots, int window,
                            int run, int kv_heads, int head_dim, int bits);
void cpu_kv_destroy(ops_context *ctx, ops_kv *kv);
size_t cpu_kv_bytes(int layers, int slots, int window, int run, int kv_heads, int head_dim,
                    int bits);
gpuzip_status cpu_qkv(ops_context *ctx, const ops_batch *batch, const float *qkv, int heads,
                      const ops_rope *rope, const ops_queries *q, ops_kv *kv, int layer);
gpuzip_status cpu_attention(ops_context *ctx, const ops_batch *batch, const ops_queries *q,
                            int heads, float factor, const ops_kv *kv, int layer, float *out);

/* cpu_rows.c */
gpuzip_status cpu_embed(ops_context *ctx, float *x, const ops_batch *batch, const int16_t *w,
                        const float *scale, const float *position, int dim);
gpuzip_status cpu_norm(ops_context *ctx, ops_norm_kind kind, const float *x, const float *gain,
                       const float *bias, float eps, float *y, ops_qrows *q);
gpuzip_status cpu_quantize(ops_context *ctx, ops_act act, const float *x, ops_qrows *q);
gpuzip_status cpu_next_tokens(ops_context *ctx, const ops_symbol *found, int rows, int vocab,
                              int32_t bos, int32_t *token, int32_t *pos);

/* cpu_mix.c */
gpuzip_status cpu_mix_encode(ops_context *ctx, const ops_mix *mix, int rows, const int32_t *symbol,
                             ops_interval *out);
gpuzip_status cpu_mix_decode(ops_context *ctx, const ops_mix *mix, int rows, const uint32_t *target,
                             ops_symbol *out);
gpuzip_status cpu_mix_cdf(ops_context *ctx, const ops_mix *mix, int rows, uint32_t *start);
gpuzip_status cpu_count_add(ops_context *ctx, uint32_t *count, int32_t *counts, int vocab,
                            const int32_t *state, const int32_t *symbol, int n);

/* cpu_adaptive.c */
gpuzip_status cpu_adaptive_create(ops_context *ctx, ops_adaptive **a,
                                  const ops_adaptive_config *config);
void cpu_adaptive_destroy(ops_context *ctx, ops_adaptive *a);
size_t cpu_adaptive_bytes(const ops_adaptive_config *config);
gpuzip_status cpu_adaptive_reset(ops_context *ctx, ops_adaptive *a, int first, int n);
gpuzip_status cpu_adaptive_read(ops_context *ctx, const ops_adaptive *a, int state, int32_t *bias,
                                uint32_t *alpha, int32_t *weights);
gpuzip_status cpu_mix_learn(ops_context *ctx, ops_adaptive *a, int states);

#endif
