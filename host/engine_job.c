/* engine_job.c: the streams of blocks as one job. */
#include <assert.h>
#include <stdlib.h>

#include "engine_internal.h"

int job_active(const engine_job *job, size_t t)
{
    int low = 0, high = job->streams; /* those before low have one, those from high on not */
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (job->stream[middle].length > t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int job_stream_steps(const engine_job *job, int s, size_t t, int steps)
{
    size_t length = job->stream[s].length;
    if (length <= t)
        return 0;
    return length - t < (size_t)steps ? (int)(length - t) : steps;
}

/* Longer streams first; else as they stand. */
static int compare_streams(const void *a, const void *b)
{
    const job_stream *x = a, *y = b;
    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

gpuzip_status job_gather(engine_job *job, engine_block *block, int blocks, uint32_t first,
                         uint32_t end)
{
    uint32_t order = 0;
    job->stream = calloc(end - first, sizeof *job->stream);
    if (!job->stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    for (int b = 0; b < blocks; b++) {
        size_t length = container_stream_length((uint32_t)block[b].tokens, block[b].streams);
        for (uint32_t s = 0; s < block[b].streams; s++, order++) {
            size_t at = s * length, left = block[b].tokens - at;
            if (order < first || order >= end)
                continue;
            job->stream[job->streams++] = (job_stream){.token = block[b].token + at,
                                                       .length = left < length ? left : length,
                                                       .code = &block[b].stream[s],
                                                       .block = &block[b],
                                                       .order = order};
            if (!block[b].measure)
                continue;
            job_stream *stream = &job->stream[job->streams - 1];
            stream->measured = stream->coded =
                block[b].measure + at * ENGINE_MEASURES(job->e->config.experts);
            job->measures = true;
        }
    }
    assert(job->streams == (int)(end - first));
    qsort(job->stream, (size_t)job->streams, sizeof *job->stream, compare_streams);
    job->steps = job->stream[0].length;
    return GPUZIP_OK;
}
