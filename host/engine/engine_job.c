/* engine_job.c: cuts blocks into streams, and sorts the streams of a job. */
#include <stdlib.h>

#include "engine_state.h"

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
    return x->own < y->own ? -1 : x->own > y->own;
}

gpuzip_status job_gather(engine_job *job, engine_stream *stream, int streams)
{
    job->stream = calloc((size_t)streams, sizeof *job->stream);
    if (!job->stream)
        return FAIL(GPUZIP_ERR_MEMORY);
    job->streams = streams;
    for (int s = 0; s < streams; s++) {
        job_stream *made = &job->stream[s];
        *made = (job_stream){.own = &stream[s],
                             .token = stream[s].token,
                             .length = stream[s].length,
                             .measured = stream[s].measure,
                             .coded = stream[s].measure};
        group_place(job->e->group, &stream[s], &made->state, &made->index);
        job->measures |= stream[s].measure != NULL;
    }
    qsort(job->stream, (size_t)streams, sizeof *job->stream, compare_streams);
    job->steps = job->stream[0].length;
    return GPUZIP_OK;
}

/* ---- the streams of a block ---------------------------------------------- */

void engine_cut(engine_stream *stream, uint32_t streams, int state, uint32_t *token, size_t n,
                container_stream *code, float *measure, int experts)
{
    size_t length = container_stream_length((uint32_t)n, streams);
    for (size_t s = 0; s < streams; s++) {
        size_t at = s * length;
        stream[s] = (engine_stream){.token = token + at,
                                    .length = n - at < length ? n - at : length,
                                    .code = &code[s],
                                    .state = state};
        if (measure)
            stream[s].measure = measure + at * (size_t)ENGINE_MEASURES(experts);
    }
}

gpuzip_status engine_make_room(container_stream **code, uint8_t **bytes, size_t n, uint32_t streams)
{
    size_t room = ENGINE_STREAM_BOUND(container_stream_length((uint32_t)n, streams));
    container_stream *made = calloc(streams, sizeof *made);
    uint8_t *data = malloc(streams * room);
    if (!made || !data) {
        free(made);
        free(data);
        return FAIL(GPUZIP_ERR_MEMORY);
    }
    for (size_t s = 0; s < streams; s++)
        made[s].data = data + s * room;
    *code = made;
    *bytes = data;
    return GPUZIP_OK;
}
