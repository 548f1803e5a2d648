/* report.h: statistics of a call, as text (--stats) and as JSON (--json). */
#ifndef REPORT_H
#define REPORT_H

#include "curve.h"

#include <jansson.h>

/* One finished call. */
typedef struct {
    const char *input, *output; /* names to print */
    bool decompressed;
    double seconds; /* from the first read to the last write */
    gpuzip_stats stats;
    const curve *curve; /* measurements of the experts; NULL: none */
} report_call;

/* Figures derived from a call's statistics. Bits are those of coded blocks. */
typedef struct {
    uint64_t original, compressed;
    double ratio;         /* compressed / original */
    double bits_per_byte; /* of the file as a whole */
    double uniform_bits;  /* S_0: the tokens' cost if all of the vocabulary were equally likely */
    double saving;        /* r = 1 - S / S_0 */
    double model_bits_per_byte, model_bits_per_token;
    double coder_overhead_bits;  /* bits written minus S */
    uint64_t model_file_bytes;   /* of all models; not counted in the sizes above */
    double saved_bits_per_gop;   /* (8 bytes of text - S) / 10^9 operations of the forward pass */
    double token_ops;            /* operations a token of the measured models; or 0 */
    double information_capacity; /* (8 bytes of text - S) / tokens / log2 token_ops; or 0 */
} report_figures;

/* gz: with the models that the call used. */
report_figures report_derive(const gpuzip *gz, const report_call *call);

/* An expert's name, printable: the model's or "Naive Bayes". */
const char *report_expert_name(const gpuzip *gz, gpuzip_expert_kind kind, int model);

/* Bits of compressed data a byte of original; 0 for an empty original. */
double report_bits_per_byte(uint64_t original, uint64_t compressed);

/* Prints the call to stream: as a JSON object on one line, or as text. */
void report_print(FILE *stream, bool json, const gpuzip *gz, const report_call *call);

/* Prints object as one line and frees it. NULL (memory was short) prints an error. */
void report_print_json(FILE *stream, json_t *object);

/* text as a JSON string: as it is when it is UTF-8, else as message_printable(). */
json_t *report_json_string(const char *text);

/* size bytes as lower-case hexadecimal in text[2 size + 1]. */
void report_hex(char *text, const uint8_t *bytes, size_t size);

#endif
