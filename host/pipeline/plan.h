/* plan.h: from a frame's header to the engine's configuration and the rules of its blocks. */
#ifndef GPUZIP_PLAN_H
#define GPUZIP_PLAN_H

#include "block.h"
#include "container.h"
#include "session.h"

/* A frame's experts and settings, for any device. */
typedef struct {
    engine_config config;          /* of a model expert, m is not set yet */
    int model[GPUZIP_MAX_EXPERTS]; /* of such an expert: its index in the session */
    const tokenizer *t;            /* of all the models */
} coding_plan;

/* Turns a frame's experts into an engine's: finds each model, checks that all share one
 * vocabulary and that the window fits. Errors: MODEL (one is missing), UNSUPPORTED, with the
 * session's error text set. */
gpuzip_status plan_frame(gpuzip *gz, const container_frame *frame, coding_plan *plan);

/* The engine's configuration with the models as a device holds them. */
engine_config plan_config_on(const coding_plan *plan, const device *d);

/* The rules of the plan's blocks, for decoding; the encoder sets its own fields. */
block_rules plan_rules(const gpuzip *gz, const coding_plan *plan);

/* Refuses a block that needs more memory than the limit. Errors: MEMORY, with the session's
 * text set. */
gpuzip_status plan_check_memory(gpuzip *gz, const block_rules *rules, size_t content_size,
                                size_t tokens, uint32_t streams);

#endif
