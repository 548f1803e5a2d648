/* setup.c: see setup.h. */
#include "setup.h"

#include "inputs.h"
#include "message.h"

#include <errno.h>

/* Beside models whose alphas sum to 1: 0.3 to 0.7 % smaller than the model alone on 6 to 20 KB
 * of English and C. Equal parts (1/2 and 1/2) made it 10 % larger. */
#define NAIVE_BAYES_ALPHA 0.1

bool setup_add_model(gpuzip *gz, const char *source, int *model)
{
    gpuzip_status status = gpuzip_add_model(gz, source, model);
    if (status == GPUZIP_OK)
        return true;
    message_status(source ? source : "the built-in model", status, gpuzip_error(gz));
    char path[GPUZIP_PATH_BYTES];
    if (status == GPUZIP_ERR_IO && source && !gpuzip_find_model(source, path) && errno == ENOENT)
        message_raise(EXIT_CODE_MODEL);
    return false;
}

static void on_note(void *context, gpuzip_note kind, const char *text)
{
    (void)context;
    if (kind == GPUZIP_NOTE_WARNING)
        message_note("%s", text);
    else
        message_info(VERBOSITY_SUMMARY, NULL, "%s", text);
}

bool setup_open_bare(gpuzip **gz, const char *device, int threads)
{
    char error[GPUZIP_ERROR_BYTES];
    gpuzip_status status = gpuzip_open(gz, device, threads, error);
    if (status == GPUZIP_OK) {
        gpuzip_set_notes(*gz, on_note, NULL);
        return true;
    }
    message_status(NULL, status, error);
    if (status == GPUZIP_ERR_ARGUMENT)
        message_info(VERBOSITY_ERRORS, NULL, "Try 'gpuzip -h' for the options.");
    return false;
}

bool setup_open(gpuzip **gz, const args *a)
{
    gpuzip *opened;
    for (int i = 0; i < a->models; i++)
        inputs_add_model(a->model[i]);
    for (int i = 0; i < a->files; i++)
        inputs_add_operand(a->file[i]);
    if (!setup_open_bare(&opened, a->device, a->threads))
        return false;
    if (a->limits_memory)
        gpuzip_set_memory_limit(opened, a->memory_limit);
    for (int i = 0; i < (a->models > 0 ? a->models : 1); i++) {
        if (!setup_add_model(opened, a->models > 0 ? a->model[i] : NULL, NULL)) {
            gpuzip_close(opened);
            return false;
        }
    }
    *gz = opened;
    return true;
}

void setup_options(gpuzip_options *options, const args *a)
{
    int models = a->models > 0 ? a->models : 1;
    int experts = models + (a->naive_bayes ? 1 : 0);
    *options = a->options;
    options->experts = experts;
    if (!a->adapt_given && a->alphas > 0 && !a->learns_alphas) /* given alphas stay fixed */
        options->adapt = GPUZIP_ADAPT_CONTEXTS | GPUZIP_ADAPT_BIASES;
    /* With equal start values, two models of different quality give files up to 1 % larger than
     * the better model alone. */
    if (models > 1 && a->alphas == 0 && !a->learns_alphas)
        options->fit_alphas = true;
    for (int i = 0; i < experts; i++) {
        gpuzip_expert *expert = &options->expert[i];
        expert->kind = i < models ? GPUZIP_EXPERT_MODEL : GPUZIP_EXPERT_NAIVE_BAYES;
        expert->model = i < models ? i : 0;
        expert->alpha = a->alphas > 0                         ? a->alpha[i]
                        : expert->kind == GPUZIP_EXPERT_MODEL ? 1.0 / models
                                                              : NAIVE_BAYES_ALPHA;
    }
}
