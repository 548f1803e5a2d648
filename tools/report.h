/* report.h: what a call did, as text for people (--stats) and as JSON (--json). */
#ifndef REPORT_H
#define REPORT_H

#include "args.h"

#include <jansson.h>

/* One finished call. */
typedef struct {
    const char *input, *output; /* names to print */
    bool decompressed;
    double seconds; /* from the first read to the last write */
    gpuzip_stats stats;
} report_call;

/* Bits of compressed data a byte of original; 0 for an empty original. */
double report_bits_per_byte(uint64_t original, uint64_t compressed);

/* Prints the call to stream in the form that --json or --stats asked for. */
void report_print(FILE *stream, const args *a, const gpuzip *gz, const report_call *call);

/* Prints object as one line and frees it. NULL, for want of memory, is an error. */
void report_print_json(FILE *stream, json_t *object);

/* text as a JSON string: as it is when it is UTF-8, else as message_printable(). */
json_t *report_json_string(const char *text);

/* size bytes as lower-case hexadecimal in text[2 size + 1]. */
void report_hex(char *text, const uint8_t *bytes, size_t size);

#endif
