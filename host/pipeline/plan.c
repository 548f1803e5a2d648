/* plan.c: see plan.h. */
#include "plan.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(CONTAINER_MODEL_BYTES <= WEIGHTS_ID_BYTES, "a frame has the beginning of an id");

static gpuzip_status fail_no_model(gpuzip *gz, const uint8_t id[CONTAINER_MODEL_BYTES])
{
    char hex[2 * CONTAINER_MODEL_BYTES + 1];
    for (int i = 0; i < CONTAINER_MODEL_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    return session_fail(
        gz, GPUZIP_ERR_MODEL,
        "compressed with the model %s..., which is not here; name it with --model, or put "
        "it in a folder of GPUZIP_MODEL_PATH as %s.gpzm",
        hex, hex);
}

static bool same_tokenizer(const session_model *a, const session_model *b)
{
    const weights_model *x = a->file.weights, *y = b->file.weights;
    return x->config.vocab == y->config.vocab && x->tokenizer_size == y->tokenizer_size &&
           memcmp(x->tokenizer, y->tokenizer, x->tokenizer_size) == 0;
}

gpuzip_status plan_frame(gpuzip *gz, const container_frame *frame, coding_plan *plan)
{
    const session_model *first = NULL;
    coding_plan made = {0};
    engine_config c = {.schedule = frame->schedule,
                       .bias = frame->biases,
                       .learn_alpha = frame->learns_alphas,
                       .learn_weights = frame->learns_weights,
                       .prior = frame->contexts ? &context_prior_builtin : NULL,
                       .experts = frame->experts};
    for (int k = 0; k < frame->experts; k++) {
        const container_expert *expert = &frame->expert[k];
        c.expert[k].alpha = expert->alpha;
        if (expert->kind == CONTAINER_EXPERT_NAIVE_BAYES) {
            c.expert[k].kind = GPUZIP_EXPERT_NAIVE_BAYES;
            continue;
        }
        const session_model *m = session_find_model(gz, expert->model_id, CONTAINER_MODEL_BYTES);
        if (!m)
            return fail_no_model(gz, expert->model_id);
        if (first && !same_tokenizer(first, m))
            return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                                "'%s' and '%s' have different tokenizers; models that work "
                                "together must share one",
                                first->given, m->given);
        if (c.schedule.window > m->file.weights->config.context)
            return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                                "a window of %d tokens is more than the %d that model '%s' knows",
                                c.schedule.window, m->file.weights->config.context,
                                m->file.weights->name);
        if (c.schedule.hop == 0 && !model_slides(m->file.weights))
            return session_fail(
                gz, GPUZIP_ERR_UNSUPPORTED,
                "windows cannot slide over model '%s', whose positions are learned; "
                "give a hop",
                m->file.weights->name);
        c.expert[k].kind = GPUZIP_EXPERT_MODEL;
        made.model[k] = (int)(m - gz->model);
        if (!first)
            first = m;
        if (!c.ngrams.buckets) /* the first that has some */
            c.ngrams = model_ngrams(m->file.weights);
    }
    if (!first)
        return session_fail(gz, GPUZIP_ERR_UNSUPPORTED,
                            "no language model among the experts: nothing names the vocabulary");
    c.vocab = first->file.weights->config.vocab;
    c.escapes = (int)tokenizer_escapes(first->t);
    c.token_suffix = first->suffix;
    made.config = c;
    made.t = first->t;
    *plan = made;
    return GPUZIP_OK;
}

engine_config plan_config_on(const coding_plan *plan, const device *d)
{
    engine_config config = plan->config;
    for (int k = 0; k < config.experts; k++)
        if (config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            config.expert[k].m = d->model[plan->model[k]];
    return config;
}

block_rules plan_rules(const gpuzip *gz, const coding_plan *plan)
{
    block_rules rules = {.t = plan->t, .config = plan->config, .memory_limit = gz->memory_limit};
    for (int k = 0; k < plan->config.experts; k++)
        if (plan->config.expert[k].kind == GPUZIP_EXPERT_MODEL)
            rules.model[k] = gz->model[plan->model[k]].file.weights;
    return rules;
}

gpuzip_status plan_check_memory(gpuzip *gz, const block_rules *rules, size_t content_size,
                                size_t tokens, uint32_t streams)
{
    uint64_t needed = block_needed_bytes(rules, content_size, tokens, streams);
    if (!gz->memory_limit || needed <= gz->memory_limit)
        return GPUZIP_OK;
    return session_fail(gz, GPUZIP_ERR_MEMORY,
                        "a block of %u streams needs %llu KiB besides the models, more than the "
                        "%llu KiB that the limit leaves; raise it with --memory",
                        streams, (unsigned long long)((needed + 1023) >> 10),
                        (unsigned long long)(gz->memory_limit >> 10));
}
