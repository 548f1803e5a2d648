/* model_cmd.c: see model_cmd.h. */
#include "commands.h"

#include "args.h"
#include "file_io.h"
#include "inputs.h"
#include "message.h"
#include "report.h"
#include "setup.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

typedef struct {
    const char *verb, *source, *output; /* source, output: NULL when not given */
    gpuzip_import_options import;
    const char *model; /* to learn with; NULL: the built-in one */
    char **texts;      /* to learn */
    int text_count, megabytes;
    bool force, json;
} command;

enum {
    OPT_WEIGHT_BITS = 256,
    OPT_ACTIVATION_BITS,
    OPT_KV_BITS,
    OPT_TOKENIZER,
    OPT_NAME,
    OPT_JSON,
    OPT_MODEL,
    OPT_SIZE
};

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"force", no_argument, NULL, 'f'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"weight-bits", required_argument, NULL, OPT_WEIGHT_BITS},
    {"activation-bits", required_argument, NULL, OPT_ACTIVATION_BITS},
    {"kv-bits", required_argument, NULL, OPT_KV_BITS},
    {"tokenizer", required_argument, NULL, OPT_TOKENIZER},
    {"name", required_argument, NULL, OPT_NAME},
    {"json", no_argument, NULL, OPT_JSON},
    {"model", required_argument, NULL, OPT_MODEL},
    {"size", required_argument, NULL, OPT_SIZE},
    {NULL, 0, NULL, 0},
};

static bool read_bits(int *bits, int high, const char *text)
{
    if (args_read_int(text, 8, high, bits) && (*bits == 8 || *bits == high))
        return true;
    message_error(NULL, "a width of bits can be 8 or %d here, not '%s'", high, text);
    return false;
}

static bool take_option(command *c, int option)
{
    switch (option) {
    case 'o':
        c->output = optarg;
        return true;
    case 'f':
        c->force = true;
        return true;
    case 'q':
        message_set_verbosity(message_verbosity() - 1);
        return true;
    case 'v':
        message_set_verbosity(message_verbosity() + 1);
        return true;
    case OPT_WEIGHT_BITS:
        return read_bits(&c->import.weight_bits, 15, optarg);
    case OPT_ACTIVATION_BITS:
        return read_bits(&c->import.activation_bits, 15, optarg);
    case OPT_KV_BITS:
        return read_bits(&c->import.kv_bits, 12, optarg);
    case OPT_TOKENIZER:
        c->import.tokenizer = optarg;
        return true;
    case OPT_NAME:
        c->import.name = optarg;
        return true;
    case OPT_JSON:
        c->json = true;
        return true;
    case OPT_MODEL:
        c->model = optarg;
        return true;
    case OPT_SIZE:
        if (args_read_int(optarg, 1, 4096, &c->megabytes))
            return true;
        message_error(NULL, "the size of n-grams is 1 to 4096 MiB, not '%s'", optarg);
        return false;
    default:
        message_error(NULL, "an option is unknown or lacks its argument");
        return false;
    }
}

static bool parse(command *c, int argc, char **argv)
{
    *c = (command){.megabytes = 16};
    int option;
    while ((option = getopt_long(argc, argv, ":o:fqv", long_options, NULL)) != -1) {
        if (!take_option(c, option))
            return false;
    }
    argv += optind;
    argc -= optind;
    c->verb = argc > 0 ? argv[0] : "";
    c->source = argc > 1 ? argv[1] : NULL;
    c->texts = argv + 1;
    c->text_count = argc - 1;
    bool imports = strcmp(c->verb, "import") == 0, learns = strcmp(c->verb, "learn") == 0;
    bool exports = strcmp(c->verb, "export") == 0;
    if (!imports && !learns && !exports && strcmp(c->verb, "info") != 0)
        message_error(NULL, "the words after 'model' are 'import SOURCE -o X.gpzm', 'learn TEXT... "
                            "-o X.gpzm', 'export [MODEL] -o X.gpzm' or 'info [MODEL]'; a file of "
                            "that name is './model'");
    else if (learns && (c->text_count < 1 || !c->output))
        message_error(NULL, "'model learn' takes TEXTs and -o X.gpzm");
    else if (argc > 2 && !learns)
        message_error(NULL, "one model at a time");
    else if (imports && (!c->source || !c->output))
        message_error(NULL, "'model import' takes a SOURCE and -o X.gpzm");
    else if (exports && !c->output)
        message_error(NULL, "'model export' takes -o X.gpzm");
    else
        return true;
    return false;
}

/* Notes the files that the command reads, and begins its output. */
static bool open_output(file_model_target *m, const command *c)
{
    inputs_add_model(c->model);
    inputs_add_model(c->import.tokenizer);
    if (strcmp(c->verb, "learn") != 0)
        inputs_add_model(c->source);
    else
        for (int i = 0; i < c->text_count; i++)
            inputs_add_operand(c->texts[i]);
    return file_open_model(m, c->output, c->force);
}

/* Ends the output after the library's call. */
static void end_output(gpuzip *gz, const command *c, file_model_target *m, gpuzip_status status)
{
    const char *error = gpuzip_error(gz), *written = m->target.temporary;
    size_t size = strlen(written);
    if (status != GPUZIP_OK && strncmp(error, written, size) == 0 &&
        strncmp(error + size, ": ", 2) == 0)
        message_error(c->output, "%s", error + size + 2); /* the user knows that name alone */
    else if (status != GPUZIP_OK)
        message_status(c->source, status, error);
    if (file_end_model(m, status == GPUZIP_OK))
        message_info(VERBOSITY_SUMMARY, c->output, "written; 'gpuzip model info' describes it");
}

static void import_model(gpuzip *gz, const command *c)
{
    file_model_target m;
    if (open_output(&m, c))
        end_output(gz, c, &m, gpuzip_import_model(gz, c->source, m.target.temporary, &c->import));
}

static void learn_texts(gpuzip *gz, const command *c)
{
    int model;
    file_model_target m;
    if (!open_output(&m, c))
        return;
    if (setup_add_model(gz, c->model, &model))
        end_output(gz, c, &m,
                   gpuzip_learn_texts(gz, model, (const char *const *)c->texts, c->text_count,
                                      (uint64_t)c->megabytes << 20, m.target.temporary));
    else
        file_end_model(&m, false);
}

static void export_model(gpuzip *gz, const command *c)
{
    int model;
    file_model_target m;
    struct stat st;
    char path[GPUZIP_PATH_BYTES];
    command to = *c;
    if (!setup_add_model(gz, c->source, &model))
        return;
    if (stat(c->output, &st) == 0 && S_ISDIR(st.st_mode)) { /* under its id, as it is looked for */
        gpuzip_model_info info;
        char id[2 * GPUZIP_ID_BYTES + 1];
        if (gpuzip_get_model_info(gz, model, &info) != GPUZIP_OK)
            return;
        report_hex(id, info.id, sizeof info.id);
        snprintf(path, sizeof path, "%s/%s.gpzm", c->output, id);
        to.output = path;
    }
    if (open_output(&m, &to))
        end_output(gz, &to, &m, gpuzip_export_model(gz, model, m.target.temporary));
}

static void print_text(const gpuzip_model_info *m, const char *id)
{
    fputs("name          ", stdout);
    message_put(stdout, m->name);
    printf("\nid            %s\n"
           "architecture  %s\n"
           "parameters    %llu\n"
           "layers        %d\n"
           "dim           %d\n"
           "heads         %d, of keys and values %d, head_dim %d\n"
           "ffn           %d\n"
           "vocabulary    %d\n"
           "context       %d tokens\n"
           "tokenizer     %s\n"
           "bits          weights %d, activations %d, keys and values %d\n"
           "n-grams       %llu bytes\n"
           "size          %llu bytes\n",
           id, m->architecture, (unsigned long long)m->parameters, m->layers, m->dim, m->heads,
           m->kv_heads, m->head_dim, m->ffn, m->vocab, m->context, m->tokenizer, m->weight_bits,
           m->activation_bits, m->kv_bits, (unsigned long long)m->ngram_size,
           (unsigned long long)m->file_size);
}

static json_t *to_json(const gpuzip_model_info *m, const char *id)
{
    return json_pack("{so ss ss sI si si si si si si si si ss si si si sI sI}", "name",
                     report_json_string(m->name), "id", id, "architecture", m->architecture,
                     "parameters", (json_int_t)m->parameters, "layers", m->layers, "dim", m->dim,
                     "heads", m->heads, "kv_heads", m->kv_heads, "head_dim", m->head_dim, "ffn",
                     m->ffn, "vocab", m->vocab, "context", m->context, "tokenizer", m->tokenizer,
                     "weight_bits", m->weight_bits, "activation_bits", m->activation_bits,
                     "kv_bits", m->kv_bits, "ngram_size", (json_int_t)m->ngram_size, "file_size",
                     (json_int_t)m->file_size);
}

static void print_info(gpuzip *gz, const command *c)
{
    gpuzip_model_info info;
    char id[2 * GPUZIP_ID_BYTES + 1];
    int model;
    if (!setup_add_model(gz, c->source, &model) ||
        gpuzip_get_model_info(gz, model, &info) != GPUZIP_OK)
        return;
    report_hex(id, info.id, sizeof info.id);
    if (c->json)
        report_print_json(stdout, to_json(&info, id));
    else
        print_text(&info, id);
}

void model_cmd(int argc, char **argv)
{
    command c;
    gpuzip *gz;
    if (!parse(&c, argc, argv)) {
        message_info(VERBOSITY_ERRORS, NULL, "Try 'gpuzip -H' for the options.");
        return;
    }
    /* Importing is the same on every device, and the CPU is always there. */
    if (!setup_open_bare(&gz, "cpu", 0))
        return;
    if (strcmp(c.verb, "import") == 0)
        import_model(gz, &c);
    else if (strcmp(c.verb, "learn") == 0)
        learn_texts(gz, &c);
    else if (strcmp(c.verb, "export") == 0)
        export_model(gz, &c);
    else
        print_info(gz, &c);
    gpuzip_close(gz);
}
