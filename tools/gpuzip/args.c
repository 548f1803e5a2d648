/* args.c: see args.h. */
#include "args.h"

#include "help.h"
#include "inputs.h"
#include "message.h"
#include "progress.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define ALPHA_MAX 15.99

enum {
    OPT_RM = 256,
    OPT_MODEL,
    OPT_ALPHA,
    OPT_NAIVE_BAYES,
    OPT_ADAPT,
    OPT_WINDOW,
    OPT_HOP,
    OPT_STREAMS,
    OPT_BLOCK_SIZE,
    OPT_UPDATE,
    OPT_WINDOW_SCOPE,
    OPT_NO_VERIFY,
    OPT_NO_PACK,
    OPT_KEEP_GOING,
    OPT_DEVICE,
    OPT_LIST_DEVICES,
    OPT_STATS,
    OPT_JSON,
    OPT_RANGE,
    OPT_PART,
    OPT_NO_INDEX,
    OPT_FILES_FROM,
    OPT_OUTPUT_DIR_FLAT,
    OPT_NO_PROGRESS
};

/* The colon in front: getopt would print a wrong option as it is. */
static const char short_options[] = ":123456789bcdfhHi:klM:o:qrS:tT:vVz";

static const struct option long_options[] = {
    {"compress", no_argument, NULL, 'z'},
    {"decompress", no_argument, NULL, 'd'},
    {"uncompress", no_argument, NULL, 'd'},
    {"test", no_argument, NULL, 't'},
    {"list", no_argument, NULL, 'l'},
    {"benchmark", no_argument, NULL, 'b'},
    {"keep", no_argument, NULL, 'k'},
    {"rm", no_argument, NULL, OPT_RM},
    {"stdout", no_argument, NULL, 'c'},
    {"to-stdout", no_argument, NULL, 'c'},
    {"output", required_argument, NULL, 'o'},
    {"suffix", required_argument, NULL, 'S'},
    {"output-dir-flat", required_argument, NULL, OPT_OUTPUT_DIR_FLAT},
    {"files-from", required_argument, NULL, OPT_FILES_FROM},
    {"range", required_argument, NULL, OPT_RANGE},
    {"part", required_argument, NULL, OPT_PART},
    {"force", no_argument, NULL, 'f'},
    {"recursive", no_argument, NULL, 'r'},
    {"threads", required_argument, NULL, 'T'},
    {"memory", required_argument, NULL, 'M'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"long-help", no_argument, NULL, 'H'},
    {"version", no_argument, NULL, 'V'},
    {"model", required_argument, NULL, OPT_MODEL},
    {"alpha", required_argument, NULL, OPT_ALPHA},
    {"naive-bayes", no_argument, NULL, OPT_NAIVE_BAYES},
    {"adapt", required_argument, NULL, OPT_ADAPT},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"hop", required_argument, NULL, OPT_HOP},
    {"streams", required_argument, NULL, OPT_STREAMS},
    {"block-size", required_argument, NULL, OPT_BLOCK_SIZE},
    {"update", required_argument, NULL, OPT_UPDATE},
    {"window-scope", no_argument, NULL, OPT_WINDOW_SCOPE},
    {"no-verify", no_argument, NULL, OPT_NO_VERIFY},
    {"no-pack", no_argument, NULL, OPT_NO_PACK},
    {"no-index", no_argument, NULL, OPT_NO_INDEX},
    {"keep-going", no_argument, NULL, OPT_KEEP_GOING},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"list-devices", no_argument, NULL, OPT_LIST_DEVICES},
    {"stats", no_argument, NULL, OPT_STATS},
    {"json", no_argument, NULL, OPT_JSON},
    {"no-progress", no_argument, NULL, OPT_NO_PROGRESS},
    {NULL, 0, NULL, 0},
};

bool args_read_int(const char *text, int least, int most, int *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno != 0 || number < least || number > most)
        return false;
    *value = (int)number;
    return true;
}

bool args_read_size(const char *text, uint64_t *size)
{
    static const char *const unit[] = {"", "K", "M", "G"};
    char *end;
    if (*text < '0' || *text > '9') /* strtoull takes signs and blanks */
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    for (unsigned i = 0; i < sizeof unit / sizeof *unit; i++) {
        size_t length = strlen(unit[i]);
        if (strncmp(end, unit[i], length) != 0)
            continue;
        const char *rest = end + length;
        if (*rest && strcmp(rest, "B") != 0 && (i == 0 || strcmp(rest, "iB") != 0))
            continue;
        if (number > (uint64_t)INT64_MAX >> (10 * i))
            return false;
        *size = number << (10 * i);
        return true;
    }
    return false;
}

bool args_has_suffix(const args *a, const char *name)
{
    size_t size = strlen(name), tail = strlen(a->suffix);
    return size > tail && name[size - tail - 1] != '/' &&
           strcmp(name + size - tail, a->suffix) == 0;
}

/* Reports an invalid argument of an option; returns false, for the caller to pass on. */
static bool refuse(const char *option, const char *text, const char *wanted)
{
    message_error(NULL, "%s takes %s, not '%s'", option, wanted, text);
    return false;
}

static bool read_positive(const char *option, const char *text, int *value)
{
    return args_read_int(text, 1, INT32_MAX, value) || refuse(option, text, "a number from 1 on");
}

/* --alpha: numbers; "fit"; or "learn", which start values may follow. */
static bool read_alphas(args *a, const char *text)
{
    const char *at = text;
    a->alphas = 0;
    a->options.fit_alphas = strcmp(text, "fit") == 0;
    a->learns_alphas = strcmp(text, "learn") == 0 || strncmp(text, "learn:", 6) == 0;
    if (a->options.fit_alphas || strcmp(text, "learn") == 0)
        return true;
    for (at += a->learns_alphas ? 6 : 0;; at++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || !(value >= 0) || value > ALPHA_MAX || (*end && *end != ','))
            return refuse("--alpha", text,
                          "numbers from 0 to 15.99 with commas between, learn, or fit");
        if (a->alphas == GPUZIP_MAX_EXPERTS)
            return refuse("--alpha", text, "at most one number an expert");
        a->alpha[a->alphas++] = value;
        at = end;
        if (!*at)
            return true;
    }
}

static bool read_block_size(args *a, const char *text)
{
    uint64_t size;
    if (!args_read_size(text, &size) || size == 0 || size > GPUZIP_BLOCK_MAX)
        return refuse("--block-size", text, "a size from 1 to 16M");
    a->options.block_size = (size_t)size;
    return true;
}

/* Reads the text up to the character `end` as a size. Returns the place of `end`, or NULL. */
static const char *read_size_to(const char *text, char end, uint64_t *size)
{
    char digits[32];
    const char *at = strchr(text, end);
    if (!at || (size_t)(at - text) >= sizeof digits)
        return NULL;
    memcpy(digits, text, (size_t)(at - text));
    digits[at - text] = '\0';
    return args_read_size(digits, size) ? at : NULL;
}

/* --range: OFFSET:LENGTH, or OFFSET: for all from there on. */
static bool read_range(args *a, const char *text)
{
    const char *colon = read_size_to(text, ':', &a->range_offset);
    a->has_range = true;
    a->range_length = UINT64_MAX;
    return (colon && (!colon[1] || args_read_size(colon + 1, &a->range_length))) ||
           refuse("--range", text, "OFFSET:LENGTH in bytes, or OFFSET:");
}

/* --part: I/N, from 1/N to N/N. */
static bool read_part(args *a, const char *text)
{
    char part[32];
    const char *slash = strchr(text, '/');
    size_t size = slash ? (size_t)(slash - text) : sizeof part;
    if (size < sizeof part) {
        memcpy(part, text, size);
        part[size] = '\0';
        if (args_read_int(slash + 1, 1, GPUZIP_MAX_PARTS, &a->parts) &&
            args_read_int(part, 1, a->parts, &a->part))
            return true;
    }
    return refuse("--part", text, "I/N with I from 1 to N, and N at most 1000000");
}

static bool read_suffix(args *a, const char *text)
{
    a->suffix = text;
    return (*text && !strchr(text, '/')) || refuse("-S", text, "a suffix without /");
}

/* --adapt: the adaptive parts. */
static bool read_adapt(args *a, const char *text)
{
    static const struct {
        const char *word;
        unsigned bits;
    } known[] = {{"all", GPUZIP_ADAPT_ALL},           {"none", GPUZIP_ADAPT_NONE},
                 {"contexts", GPUZIP_ADAPT_CONTEXTS}, {"biases", GPUZIP_ADAPT_BIASES},
                 {"alphas", GPUZIP_ADAPT_ALPHAS},     {"weights", GPUZIP_ADAPT_WEIGHTS}};
    const size_t words = sizeof known / sizeof *known;

    bool none = false;
    unsigned adapt = GPUZIP_ADAPT_NONE;
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ","), i = 0;
        while (i < words && (strncmp(at, known[i].word, size) != 0 || known[i].word[size]))
            i++;
        if (i < words)
            adapt |= known[i].bits;
        none |= i < words && known[i].bits == GPUZIP_ADAPT_NONE;
        if (i == words || (none && (adapt || at[size])))
            return refuse("--adapt", text,
                          "all, none, or some of contexts, biases, alphas, weights");
        at += size;
        if (!*at)
            break;
    }
    a->options.adapt = adapt;
    a->adapt_given = true;
    return true;
}

/* The options with an argument. */
static bool take_value(args *a, int option, const char *text)
{
    switch (option) {
    case 'o':
        a->output = text;
        return true;
    case 'T':
        return args_read_int(text, 0, 1024, &a->threads) ||
               refuse("-T", text, "a number from 0 to 1024");
    case 'M':
        a->limits_memory = true;
        return args_read_size(text, &a->memory_limit) || refuse("--memory", text, "a size");
    case 'i': {
        int seconds;
        if (!args_read_int(text, 0, 3600, &seconds))
            return refuse("-i", text, "seconds from 0 to 3600");
        a->bench_seconds = seconds;
        return true;
    }
    case OPT_MODEL:
        if (a->models == GPUZIP_MAX_MODELS)
            return refuse("--model", text, "at most 16 models");
        a->model[a->models++] = text;
        return true;
    case OPT_ALPHA:
        return read_alphas(a, text);
    case OPT_ADAPT:
        return read_adapt(a, text);
    case OPT_WINDOW:
        return args_read_int(text, 2, INT32_MAX, &a->options.window) ||
               refuse("--window", text, "a number from 2 on");
    case OPT_HOP:
        return read_positive("--hop", text, &a->options.hop);
    case OPT_STREAMS:
        return read_positive("--streams", text, &a->options.streams);
    case OPT_UPDATE:
        return read_positive("--update", text, &a->options.update_interval);
    case OPT_BLOCK_SIZE:
        return read_block_size(a, text);
    case OPT_DEVICE:
        a->device = text;
        return true;
    case OPT_RANGE:
        return read_range(a, text);
    case OPT_PART:
        return read_part(a, text);
    case 'S':
        return read_suffix(a, text);
    case OPT_OUTPUT_DIR_FLAT:
        a->folder = text;
        return true;
    case OPT_FILES_FROM:
        return inputs_read_list(text);
    default:
        return false;
    }
}

/* The options without one; false: it is not among them. */
static bool take_flag(args *a, int option)
{
    switch (option) {
    case 'z':
        a->mode = MODE_COMPRESS;
        return true;
    case 'd':
        a->mode = MODE_DECOMPRESS;
        return true;
    case 't':
        a->mode = MODE_TEST;
        return true;
    case 'l':
        a->mode = MODE_LIST;
        return true;
    case 'b':
        a->mode = MODE_BENCH;
        return true;
    case OPT_LIST_DEVICES:
        a->mode = MODE_DEVICES;
        return true;
    case 'c':
        a->to_stdout = true;
        return true;
    case 'f':
        a->force = true;
        return true;
    case 'k':
        a->remove_source = false;
        return true;
    case OPT_RM:
        a->remove_source = true;
        return true;
    case 'r':
        a->recursive = true;
        return true;
    case 'q':
        message_set_verbosity(message_verbosity() - 1);
        return true;
    case 'v':
        message_set_verbosity(message_verbosity() + 1);
        return true;
    case OPT_STATS:
        a->stats = true;
        return true;
    case OPT_JSON:
        a->json = true;
        return true;
    case OPT_NAIVE_BAYES:
        a->naive_bayes = true;
        return true;
    case OPT_WINDOW_SCOPE:
        a->options.window_scope = true;
        return true;
    case OPT_NO_VERIFY:
        a->options.no_verify = true;
        return true;
    case OPT_NO_PACK:
        a->options.no_packing = true;
        return true;
    case OPT_NO_INDEX:
        a->options.index = GPUZIP_INDEX_NEVER;
        return true;
    case OPT_NO_PROGRESS:
        progress_hide();
        return true;
    case OPT_KEEP_GOING:
        a->keep_going = true;
        return true;
    default:
        if (option < '1' || option > '9')
            return false;
        a->options.level = option - '0';
        a->levels |= 1u << a->options.level;
        return true;
    }
}

/* Refuses options that exclude each other. Returns false after an error message. */
static bool check(const args *a)
{
    int experts = (a->models > 0 ? a->models : 1) + (a->naive_bayes ? 1 : 0);
    const char *wrong = NULL;
    if (a->output && a->to_stdout)
        wrong = "-o and -c exclude each other";
    else if (a->output && (a->files > 1 || a->recursive))
        wrong = "-o takes one input; -c joins several (joined .gpz files decode as one)";
    else if (a->folder && (a->output || a->to_stdout))
        wrong = "--output-dir-flat excludes -o and -c";
    else if (a->has_range && a->parts > 0)
        wrong = "--range and --part exclude each other";
    else if (a->has_range && a->mode != MODE_DECOMPRESS && a->mode != MODE_TEST)
        wrong = "--range is for -d and -t";
    else if (a->parts > 0 && (a->mode == MODE_LIST || a->mode == MODE_BENCH))
        wrong = "--part is for -z, -d and -t";
    else if (a->parts > 0 && a->recursive)
        wrong = "--part takes files, not folders";
    else if (a->parts > 0 && a->options.index == GPUZIP_INDEX_NEVER && a->mode == MODE_COMPRESS)
        wrong = "a part has an index: --part and --no-index exclude each other";
    else if (a->keep_going && args_takes_part(a))
        wrong = "--keep-going takes whole files";
    else if (a->remove_source && args_takes_part(a))
        wrong = "--rm removes no file of which only a part was coded";
    else if (experts > GPUZIP_MAX_EXPERTS && (a->mode == MODE_COMPRESS || a->mode == MODE_BENCH))
        wrong = "at most 8 experts work together";
    else if (a->alphas > 0 && a->alphas != experts)
        wrong = "--alpha takes one number for each --model, then one for --naive-bayes";
    else if (a->learns_alphas && a->adapt_given && !(a->options.adapt & GPUZIP_ADAPT_ALPHAS))
        wrong = "--alpha learn needs alphas in --adapt";
    else if (a->options.window > 0 && a->options.hop > a->options.window)
        wrong = "--hop can be no larger than --window";
    else if (a->keep_going && a->mode != MODE_DECOMPRESS && a->mode != MODE_TEST)
        wrong = "--keep-going belongs to -d and -t";
    if (wrong)
        message_error(NULL, "%s", wrong);
    return !wrong;
}

/* Reports the option that getopt refused. */
static void refuse_option(char **argv, bool lacks_argument)
{
    char letter[] = {'-', (char)optopt, '\0'};
    /* optopt is a short option's letter, else the option is the word before optind. */
    const char *name = optopt > 0 && optopt < OPT_RM ? letter : argv[optind - 1];
    message_error(NULL, "%s %s", name, lacks_argument ? "needs an argument" : "is not an option");
}

bool args_name_decompresses(const char *program, bool *to_stdout)
{
    const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
    *to_stdout = strcmp(name, "gpzcat") == 0;
    return *to_stdout || strcmp(name, "gpunzip") == 0;
}

/* GPUZIP_MODEL is the model where no --model is given. Decompression may need the built-in one as
 * well; the list needs none. */
static void take_environment(args *a)
{
    const char *model = getenv("GPUZIP_MODEL");
    if (a->models > 0 || !model || !*model || a->mode == MODE_LIST)
        return;
    a->model[a->models++] = model;
    if (a->mode == MODE_DECOMPRESS || a->mode == MODE_TEST)
        a->model[a->models++] = NULL;
}

/* Whether word is --long, which getopt takes for --long-help but means a window to other tools. */
static bool is_abbreviated(const char *word)
{
    return strncmp(word, "--lo", 4) == 0 && strcmp(word, "--long-help") != 0;
}

args_result args_parse(args *a, int argc, char **argv)
{
    static char *only_stdin[] = {"-", NULL};

    *a = (args){.bench_seconds = 3, .suffix = FILE_SUFFIX};
    gpuzip_init_options(&a->options);
    if (args_name_decompresses(argv[0], &a->to_stdout))
        a->mode = MODE_DECOMPRESS;
    int option;
    bool version = false; /* printed at the end: -q may follow */
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == 'H' && is_abbreviated(argv[optind - 1])) {
            refuse_option(argv, false);
            goto wrong;
        }
        if (option == 'h' || option == 'H') {
            if (option == 'h')
                help_print_short();
            else
                help_print_long();
            return ARGS_DONE;
        }
        if (option == 'V') {
            version = true;
            continue;
        }
        if (option == '?' || option == ':') {
            refuse_option(argv, option == ':');
            goto wrong;
        }
        if (!(optarg ? take_value(a, option, optarg) : take_flag(a, option)))
            goto wrong;
    }
    if (version) {
        help_print_version(message_verbosity() < VERBOSITY_NORMAL);
        return ARGS_DONE;
    }
    a->file = argv + optind;
    a->files = argc - optind;
    bool listed = inputs_join(&a->file, &a->files);
    if (a->files == 0 && !listed) {
        a->file = only_stdin;
        a->files = 1;
    }
    take_environment(a);
    if (!check(a))
        goto wrong;
    if (a->has_range && !a->output)
        a->to_stdout = true;
    if (a->output && strcmp(a->output, "-") == 0) {
        a->output = NULL;
        a->to_stdout = true;
    }
    return ARGS_RUN;

wrong:
    message_raise(EXIT_CODE_ERROR);
    message_info(VERBOSITY_ERRORS, NULL, "Try 'gpuzip -h' for the options.");
    return ARGS_WRONG;
}
