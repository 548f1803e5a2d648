/* setup.c: see setup.h. */
#include "setup.h"

#include "inputs.h"
#include "message.h"

#include <errno.h>

/* Beside models whose alphas sum to 1: 0.3 to 0.7 % smaller than the model alone on 6 to 20 KB
 * of English and C. Equal parts (1/2 and 1/2) made it 10 % larger. */
#define NAIVE_BAYES_ALPHA 0.1

/* Bytes of the program and its libraries, about: 9.2 to 9.8 MiB were measured. */
#define PROGRAM_MEMORY ((uint64_t)10 << 20)

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

/* The part of the user's limit that is left for coding. The numbers depend on the models alone, so
 * that the same limit gives the same archive everywhere. */
static uint64_t coding_limit(const gpuzip *gz, uint64_t limit)
{
    uint64_t taken = PROGRAM_MEMORY;
    gpuzip_model_info info;
    for (int i = 0; limit > 0 && gpuzip_get_model_info(gz, i, &info) == GPUZIP_OK; i++)
        taken += info.file_size + info.memory;
    if (limit == 0)
        return 0;
    message_info(VERBOSITY_SUMMARY, NULL, "of the limit of %.1f MiB, program and models take %.1f",
                 (double)limit / (1 << 20), (double)taken / (1 << 20));
    return limit > taken ? limit - taken : 1;
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
    for (int i = 0; i < (a->models > 0 ? a->models : 1); i++) {
        if (!setup_add_model(opened, a->models > 0 ? a->model[i] : NULL, NULL)) {
            gpuzip_close(opened);
            return false;
        }
    }
    if (a->limits_memory)
        gpuzip_set_memory_limit(opened, coding_limit(opened, a->memory_limit));
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
