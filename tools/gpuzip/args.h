/* args.h: the command line. */
#ifndef ARGS_H
#define ARGS_H

#include "gpuzip.h"

#define FILE_SUFFIX ".gpz" /* without -S */

typedef enum {
    MODE_COMPRESS,
    MODE_DECOMPRESS,
    MODE_TEST,
    MODE_LIST,
    MODE_BENCH,
    MODE_DEVICES /* list them */
} args_mode;

/* Strings point into argv. */
typedef struct {
    args_mode mode;
    bool to_stdout, force, remove_source, recursive, stats, json;
    const char *output; /* of -o; NULL: made from the input's name */
    const char *suffix; /* of compressed files' names */
    const char *folder; /* of outputs whose names are made; NULL: the input's */
    bool has_range;
    uint64_t range_offset, range_length; /* of the content, in bytes; length UINT64_MAX: the rest */
    int part, parts;                     /* the share number `part`, from 1; parts 0: everything */
    const char *device;                  /* NULL: not given */
    bool keep_going;                     /* behind damage */
    int threads;                         /* 0: one a core */
    bool limits_memory;
    uint64_t memory_limit;                /* bytes, 0: none; with limits_memory */
    const char *model[GPUZIP_MAX_MODELS]; /* [models] sources in the order given; NULL: built in */
    int models;                           /* 0: the built-in one */
    bool naive_bayes;
    double alpha[GPUZIP_MAX_EXPERTS]; /* [alphas] */
    int alphas;                       /* 0: none given */
    bool learns_alphas;               /* --alpha learn */
    bool adapt_given;                 /* by --adapt */
    unsigned levels;                  /* bit L: -L was given */
    double bench_seconds;             /* least time to measure one direction */
    gpuzip_options options;           /* all but the experts */
    char **file;                      /* [files], followed by NULL; "-" is standard input */
    int files;
} args;

typedef enum {
    ARGS_RUN,  /* run with *a */
    ARGS_DONE, /* help or version, printed already */
    ARGS_WRONG /* an error, printed already */
} args_result;

/* Whether a program of this name (of argv[0], with or without folders) decompresses when no option
 * tells otherwise: gpunzip, and gpzcat, which also sets *to_stdout. Sets it to false for others. */
bool args_name_decompresses(const char *program, bool *to_stdout);

args_result args_parse(args *a, int argc, char **argv);

/* Reads a decimal size in bytes with an optional K, M or G (powers of 1024; "KiB" and
 * "KB" mean the same). Returns false for anything else or beyond 2^63. */
bool args_read_size(const char *text, uint64_t *size);

/* Whether name ends in the suffix of compressed files and has something before it. */
bool args_has_suffix(const args *a, const char *name);

/* Whether only a part of each file is coded. */
static inline bool args_takes_part(const args *a)
{
    return a->has_range || a->parts > 0;
}

/* Reads a decimal integer of [least, most]. */
bool args_read_int(const char *text, int least, int most, int *value);

#endif
