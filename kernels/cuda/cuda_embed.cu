/* cuda_embed.cu: token and position embeddings, and the tokens that come next. */
#include "context.cuh"
#include "ptx.cuh"

#define THREADS 256

typedef struct {
    float *x;              /* [rows][dim] */
    const int32_t *token;  /* [rows] */
    const int32_t *pos;    /* [rows] */
    const int16_t *w;      /* [vocab][dim] */
    const float *scale;    /* [vocab] */
    const float *position; /* [positions][dim] or NULL */
    int dim;
} embed_args;

/* A block a row. */
static __global__ void __launch_bounds__(THREADS) embed_kernel(embed_args p)
{
    size_t row = blockIdx.x, token = (size_t)p.token[row];
    float scale = p.scale[token];
    for (int i = threadIdx.x; i < p.dim; i += THREADS) {
        float x = (float)p.w[token * p.dim + i] * scale;
        if (p.position != NULL)
            x = x + p.position[(size_t)p.pos[row] * p.dim + i];
        p.x[row * p.dim + i] = x;
    }
}

gpuzip_status cuda_embed(ops_context *ctx, float *x, const ops_batch *batch, const int16_t *w,
                         const float *scale, const float *position, int dim)
{
    if (batch->rows == 0)
        return GPUZIP_OK;
    ctx->divided.rows = 0;
    TRY(cuda_enter(ctx));
    embed_args p = {x, batch->token, batch->pos, w, scale, position, dim};
    LAUNCH(embed_kernel, (unsigned)batch->rows, THREADS, 0, ctx->stream, p);
    return cuda_launched();
}

/* A thread a row. */
static __global__ void __launch_bounds__(THREADS)
    next_tokens_kernel(const ops_symbol *found, int rows, int vocab, int32_t bos, int32_t *token,
                       int32_t *pos)
{
    int row = blockIdx.x * THREADS + threadIdx.x;
    if (row >= rows)
        return;
    int32_t symbol = found[row].symbol;
    token[row] = symbol < vocab ? symbol : bos;
    if (pos != NULL)
        pos[row]++;
}

gpuzip_status cuda_next_tokens(ops_context *ctx, const ops_symbol *found, int rows, int vocab,
                               int32_t bos, int32_t *token, int32_t *pos)
{
    if (rows == 0)
        return GPUZIP_OK;
    ctx->divided.rows = 0;
    TRY(cuda_enter(ctx));
    LAUNCH(next_tokens_kernel, ceil_div((size_t)rows, THREADS), THREADS, 0, ctx->stream, found,
           rows, vocab, bos, token, pos);
    return cuda_launched();
}
