/* bench_args.c: see bench_args.h. */
#include "bench_args.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "bench_bounds.h"
#include "container.h"
#include "message.h"

enum {
    OPT_DEVICE = 256,
    OPT_MODEL,
    OPT_RANDOM,
    OPT_WEIGHT_BITS,
    OPT_ACTIVATION_BITS,
    OPT_KV_BITS,
    OPT_KERNELS,
    OPT_CODING,
    OPT_STREAMS,
    OPT_WINDOW,
    OPT_TEXT,
    OPT_SECONDS,
    OPT_QUICK,
    OPT_LIST,
    OPT_BOUNDS,
    OPT_LOG,
    OPT_JSON,
    OPT_CSV
};

static const struct option options[] = {
    {"device", required_argument, NULL, OPT_DEVICE},
    {"threads", required_argument, NULL, 'T'},
    {"model", required_argument, NULL, OPT_MODEL},
    {"random", no_argument, NULL, OPT_RANDOM},
    {"weight-bits", required_argument, NULL, OPT_WEIGHT_BITS},
    {"activation-bits", required_argument, NULL, OPT_ACTIVATION_BITS},
    {"kv-bits", required_argument, NULL, OPT_KV_BITS},
    {"kernels", no_argument, NULL, OPT_KERNELS},
    {"coding", no_argument, NULL, OPT_CODING},
    {"streams", required_argument, NULL, OPT_STREAMS},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"text", required_argument, NULL, OPT_TEXT},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"quick", no_argument, NULL, OPT_QUICK},
    {"list", no_argument, NULL, OPT_LIST},
    {"bounds", required_argument, NULL, OPT_BOUNDS},
    {"log", required_argument, NULL, OPT_LOG},
    {"json", no_argument, NULL, OPT_JSON},
    {"csv", no_argument, NULL, OPT_CSV},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    fputs("Usage: gpuzip-bench [OPTION]...\n"
          "Measure gpuzip's speed on this machine, beside the device's peak in the same run:\n"
          "each kernel alone, then encoding and decoding.\n\n"
          "      --device D       auto, cpu, cuda or cuda:N\n"
          "  -T, --threads #      processor threads; 0, the default: one a core\n"
          "      --model M        builtin (the default), a shape of --list, all of them (all), or\n"
          "                       whatever gpuzip --model accepts; may be repeated. A shape has\n"
          "                       the real weights if the Hugging Face cache holds them,\n"
          "                       else random ones\n"
          "      --random         random weights even so\n"
          "      --weight-bits 8|15  --activation-bits 8|15  --kv-bits 8|12\n"
          "                       of shapes and imported models; default 8, 15 and 12\n"
          "      --kernels        the kernels alone\n"
          "      --coding         a forward pass and coding alone\n"
          "      --streams N,...  how many streams to code at once\n"
          "      --window N       tokens of context, half of which are re-read (default 1024)\n"
          "      --text FILE      code this text (64 MiB of it at most), again and again; without "
          "it,\n"
          "                       tokens are noise\n"
          "      --seconds N      coding takes about N seconds each way (default 20), a kernel\n"
          "                       a sixtieth\n"
          "      --quick          fewer shapes, about 3 seconds instead of 20\n"
          "      --list           list the shapes\n"
          "      --bounds GPU     measure nothing: print the least times of kernels and steps on\n"
          "                       a GPU, H200 or 4090, by a model of it; of builtin and\n"
          "                       gpt2-124m, unless --model is given\n"
          "      --json  --csv    a JSON object a line; comma-separated values\n"
          "      --log FILE       write the JSON lines to FILE as well\n"
          "  -q, --quiet          no warnings\n"
          "  -h, --help   -V, --version\n\n"
          "Exit code: 0 success; 1 something failed; 3 a model is missing; 4 this\n"
          "device's arithmetic failed its self-test, or decoding gave other tokens.\n",
          stdout);
}

static bool refuse(const char *option, const char *text, const char *expected)
{
    message_error(NULL, "%s %s: expected %s", option, text, expected);
    return false;
}

/* A whole number of [least, most] that ends at *end, or anywhere if end is NULL. */
static bool read_number(const char *text, char **end, long least, long most, long *value)
{
    char *stop;
    errno = 0;
    *value = strtol(text, &stop, 10);
    if (end)
        *end = stop;
    return *text >= '0' && *text <= '9' && errno == 0 && (end || !*stop) && *value >= least &&
           *value <= most;
}

static bool read_int(const char *option, const char *text, int least, int most, int *value)
{
    char expected[48];
    long number;
    snprintf(expected, sizeof expected, "a number from %d to %d", least, most);
    if (!read_number(text, NULL, least, most, &number))
        return refuse(option, text, expected);
    *value = (int)number;
    return true;
}

static bool read_bits(const char *option, const char *text, int more, int *bits)
{
    *bits = atoi(text);
    if (*bits == 8 || *bits == more)
        return true;
    return refuse(option, text, more == 15 ? "8 or 15" : "8 or 12");
}

static bool read_streams(bench_args *a, const char *text)
{
    char *end;
    long number;
    a->stream_counts = 0;
    for (const char *at = text;; at = end + 1) {
        if (a->stream_counts == BENCH_STREAM_COUNTS ||
            !read_number(at, &end, 1, (long)CONTAINER_STREAMS_MAX, &number) ||
            (*end != ',' && *end != '\0'))
            return refuse("--streams", text, "up to 16 numbers from 1 to 65536");
        a->streams[a->stream_counts++] = (uint32_t)number;
        if (!*end)
            return true;
    }
}

static bool add_model(bench_args *a, const char *name)
{
    if (strcmp(name, "all") == 0) {
        if (!add_model(a, "builtin"))
            return false;
        for (int i = 0; bench_shape_at(i); i++)
            if (!add_model(a, bench_shape_at(i)->name))
                return false;
        return true;
    }
    if (a->models == BENCH_MODELS)
        return refuse("--model", name, "at most 32 models");
    a->model[a->models++] = name;
    return true;
}

static bool take(bench_args *a, int option, const char *text)
{
    switch (option) {
    case OPT_DEVICE:
        a->device = text;
        return true;
    case 'T':
        return read_int("--threads", text, 0, GPUZIP_MAX_THREADS, &a->threads);
    case OPT_MODEL:
        return add_model(a, text);
    case OPT_RANDOM:
        a->random = true;
        return true;
    case OPT_WEIGHT_BITS:
        return read_bits("--weight-bits", text, 15, &a->widths.weight_bits);
    case OPT_ACTIVATION_BITS:
        return read_bits("--activation-bits", text, 15, &a->widths.activation_bits);
    case OPT_KV_BITS:
        return read_bits("--kv-bits", text, 12, &a->widths.kv_bits);
    case OPT_KERNELS:
        a->kernels = true;
        return true;
    case OPT_CODING:
        a->whole = true;
        return true;
    case OPT_STREAMS:
        return read_streams(a, text);
    case OPT_WINDOW:
        return read_int("--window", text, 2, 131072, &a->window);
    case OPT_TEXT:
        a->text = text;
        return true;
    case OPT_SECONDS:
        a->seconds = strtod(text, NULL);
        return (a->seconds > 0 && a->seconds <= 3600) ||
               refuse("--seconds", text, "a number up to 3600");
    case OPT_QUICK:
        a->quick = true;
        return true;
    case OPT_LIST:
        a->list = true;
        return true;
    case OPT_BOUNDS:
        a->bounds = text;
        return bounds_device_named(a->bounds) || refuse("--bounds", a->bounds, "H200 or 4090");
    case OPT_LOG:
        a->log = text;
        return true;
    case OPT_JSON:
        a->format = BENCH_JSON;
        return true;
    case OPT_CSV:
        a->format = BENCH_CSV;
        return true;
    case 'q':
        message_set_verbosity(message_verbosity() - 1);
        return true;
    default:
        return false;
    }
}

bench_args_result bench_args_parse(bench_args *a, int argc, char **argv)
{
    int option;
    *a = (bench_args){0};
    while ((option = getopt_long(argc, argv, ":T:qhV", options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            if (option == 'h')
                print_help();
            else
                printf("gpuzip-bench %s\n", gpuzip_version());
            return BENCH_ARGS_DONE;
        }
        if (option == '?' || option == ':') {
            message_error(NULL, "%s %s", argv[optind - 1],
                          option == ':' ? "needs an argument" : "is not an option");
            goto wrong;
        }
        if (!take(a, option, optarg))
            goto wrong;
    }
    if (optind < argc) {
        message_error(NULL, "%s: there are no operands; a text is given by --text", argv[optind]);
        goto wrong;
    }
    if (a->models == 0) {
        a->model[a->models++] = "builtin";
        if (a->bounds)
            a->model[a->models++] = "gpt2-124m";
    }
    if (!a->kernels && !a->whole)
        a->kernels = a->whole = true;
    return BENCH_ARGS_RUN;

wrong:
    message_raise(EXIT_CODE_ERROR);
    message_info(VERBOSITY_ERRORS, NULL, "Try 'gpuzip-bench -h' for the options.");
    return BENCH_ARGS_WRONG;
}
