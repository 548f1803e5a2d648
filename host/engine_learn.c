/* engine_learn.c: experts that learn from what is coded. Symbols wait on the device, where
 * they were uploaded or found, until the update that takes them. */
#include "engine_internal.h"

size_t pending_rows(const engine *e, int streams)
{
    size_t rows = (size_t)e->pass_rows;
    if (!e->adaptive)
        return rows;
    /* A pass, and those before it since the last update: no more than a block has. */
    uint64_t since = (uint64_t)e->config.update_interval * (uint64_t)streams;
    return rows + (size_t)(since < CONTAINER_RAW_MAX + 1 ? since : CONTAINER_RAW_MAX + 1);
}

gpuzip_status forget(engine *e)
{
    size_t bytes = (size_t)e->config.vocab * sizeof(uint32_t);
    for (int k = 0; k < e->config.experts; k++) {
        if (is_model(e, k))
            continue;
        TRY(e->ops->upload(e->ctx, e->count[k], e->zeros, bytes));
        TRY(e->ops->upload(e->ctx, e->count_log[k], e->zeros, bytes)); /* log2(1) = 0 */
    }
    e->pending_first = e->pending_end = 0;
    return GPUZIP_OK;
}

gpuzip_status learn(engine *e, size_t n)
{
    for (int k = 0; k < e->config.experts; k++)
        if (!is_model(e, k))
            TRY(e->ops->count_add(e->ctx, e->count[k], e->count_log[k], e->config.vocab,
                                  e->pending + e->pending_first, (int)n));
    e->pending_first += n;
    if (e->pending_first == e->pending_end)
        e->pending_first = e->pending_end = 0;
    return GPUZIP_OK;
}

int steps_to_update(const engine *e, size_t t)
{
    return e->config.update_interval - (int)(t % (size_t)e->config.update_interval);
}
