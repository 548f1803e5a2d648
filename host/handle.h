/* handle.h: what is behind the opaque gpuzip, for the files that implement the API. */
#ifndef GPUZIP_HANDLE_H
#define GPUZIP_HANDLE_H

#include "block.h"
#include "container.h"
#include "device.h"
#include "gpuzip.h"
#include "source.h"
#include "tokenizer.h"

/* A model as every device reads it; device.h has it made ready. */
typedef struct {
    source source;
    char *given; /* what its user calls it */
    tokenizer *t;
    uint32_t *tail; /* [vocab + escapes] what each token ends with, see contexts_tail() */
} handle_model;

struct gpuzip {
    device gpu[DEVICE_GPUS_MAX]; /* [gpus] */
    int gpus;
    device cpu;     /* opened when there is no GPU, or the first time that one fails */
    bool automatic; /* nobody named the GPUs */
    int threads;    /* of the CPU, >= 1 */
    handle_model model[GPUZIP_MAX_MODELS];
    int models;
    struct pipeline *p;    /* while files are under way, or NULL */
    uint64_t memory_limit; /* bytes; 0: none */
    void (*note)(void *context, gpuzip_note kind, const char *text); /* NULL: nobody listens */
    void *note_context;
    char error[GPUZIP_ERROR_BYTES];
};

/* Sets gpuzip_error()'s text and returns status. */
__attribute__((format(printf, 3, 4))) gpuzip_status handle_fail(gpuzip *gz, gpuzip_status status,
                                                                const char *format, ...);

/* Tells the listener one line of text. In the caller's thread only. */
__attribute__((format(printf, 3, 4))) void handle_note(const gpuzip *gz, gpuzip_note kind,
                                                       const char *format, ...);

/* The CPU with every model on it, for what no GPU does. Sets no text: it may be another
 * thread's. Errors: MEMORY, DEVICE, SELF_TEST. */
gpuzip_status handle_cpu(gpuzip *gz, device **cpu);

/* Says in words why a device does not take a model. */
gpuzip_status handle_fail_place(gpuzip *gz, gpuzip_status status, const device *d,
                                const char *model);

/* What a frame asks of an engine, for any device. */
typedef struct {
    engine_config config;          /* of a model expert, m is not set yet */
    int model[GPUZIP_MAX_EXPERTS]; /* of such an expert: the handle's index */
    const tokenizer *t;            /* of all the models */
} handle_plan;

/* Turns a frame's experts into an engine's: finds each model, checks that all share one
 * vocabulary and that the window fits. Errors: MODEL (one is not there), UNSUPPORTED,
 * with the text set. */
gpuzip_status handle_plan_frame(gpuzip *gz, const container_frame *frame, handle_plan *plan);

/* The same with the models of a device where they have been placed. */
engine_config handle_plan_on(const handle_plan *plan, const device *d);

/* What the plan means for blocks; how to encode is left to be filled in. */
block_rules handle_rules(const gpuzip *gz, const handle_plan *plan);

/* Refuses coding a block that needs more memory than the limit. Errors: MEMORY, with the text
 * set. */
gpuzip_status handle_check_memory(gpuzip *gz, const block_rules *rules, size_t tokens,
                                  uint32_t streams);

/* The model whose id begins so, or NULL. */
const handle_model *handle_find_model(const gpuzip *gz, const uint8_t id[CONTAINER_MODEL_BYTES]);

/* Adds an engine's costs to a call's statistics. */
void handle_add_costs(gpuzip_stats *stats, const engine_costs *costs);

/* Tells io->progress; nonzero cancels. */
int handle_tell(const gpuzip_io *io, uint64_t bytes_in, uint64_t bytes_out);

#endif
