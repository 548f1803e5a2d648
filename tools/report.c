/* report.c: see report.h. */
#include "report.h"

#include "message.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>

double report_bits_per_byte(uint64_t original, uint64_t compressed)
{
    return original > 0 ? 8.0 * (double)compressed / (double)original : 0;
}

void report_hex(char *text, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
    text[2 * size] = '\0';
}

json_t *report_json_string(const char *text)
{
    json_t *string = json_string(text); /* NULL: not UTF-8 */
    if (string)
        return string;
    char *shown = message_printable(text);
    string = shown ? json_string(shown) : NULL;
    free(shown);
    return string;
}

void report_print_json(FILE *stream, json_t *object)
{
    if (!object || json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0)
        message_error(NULL, "cannot print the JSON object");
    fputc('\n', stream);
    message_flush();
    json_decref(object);
}

/* What follows from a call's statistics. Bits are those of the blocks that a model coded. */
typedef struct {
    uint64_t original, compressed;
    double ratio;         /* compressed / original */
    double bits_per_byte; /* of the file as a whole */
    double uniform_bits;  /* S_0: the tokens' cost if all of the vocabulary were equally likely */
    double saving;        /* r = 1 - S / S_0 */
    double model_bits_per_byte, model_bits_per_token;
    double coder_overhead_bits; /* what the coder wrote above the model's cost */
    uint64_t model_file_bytes;  /* of all models; not counted in the sizes above */
} derived;

static derived derive(const args *a, const gpuzip *gz, const report_call *call)
{
    const gpuzip_stats *s = &call->stats;
    derived d = {.original = call->decompressed ? s->bytes_out : s->bytes_in,
                 .compressed = call->decompressed ? s->bytes_in : s->bytes_out};
    gpuzip_model_info info;
    d.ratio = d.original > 0 ? (double)d.compressed / (double)d.original : 0;
    d.bits_per_byte = report_bits_per_byte(d.original, d.compressed);
    for (int i = 0; i < (a->models > 0 ? a->models : 1); i++) {
        if (gpuzip_get_model_info(gz, i, &info) != GPUZIP_OK)
            continue;
        if (i == 0)
            d.uniform_bits = (double)s->tokens * log2(info.vocab);
        d.model_file_bytes += info.file_size;
    }
    if (d.uniform_bits > 0)
        d.saving = 1 - s->model_bits / d.uniform_bits;
    if (s->model_bytes > 0)
        d.model_bits_per_byte = s->model_bits / (double)s->model_bytes;
    if (s->tokens > 0)
        d.model_bits_per_token = s->model_bits / (double)s->tokens;
    d.coder_overhead_bits = s->coder_bits - s->model_bits;
    return d;
}

static void print_text(FILE *stream, const report_call *call, const derived *d)
{
    const gpuzip_stats *s = &call->stats;
    char rate[20];
    progress_format_rate(rate, (double)d->original, call->seconds);
    message_put(stream, call->input);
    fprintf(stream,
            "\n"
            "  original             %14llu bytes\n"
            "  compressed           %14llu bytes, %.2f%%, %.4f bits/byte\n"
            "  models               %14llu bytes, not counted\n"
            "  blocks               %14llu, of which stored %llu\n"
            "  tokens               %14llu, of %llu bytes\n"
            "  uniform cost S_0     %14.0f bits\n"
            "  model cost S         %14.0f bits, %.4f bits/byte, %.4f bits/token\n"
            "  saving r = 1 - S/S_0 %14.4f\n"
            "  coder's overhead     %14.0f bits\n"
            "  time                 %14.2f s, %s\n"
            "    tokenizer %.2f s, forward %.2f s, contexts %.2f s, mix %.2f s,\n"
            "    coder %.2f s, verification %.2f s\n",
            (unsigned long long)d->original, (unsigned long long)d->compressed, 100 * d->ratio,
            d->bits_per_byte, (unsigned long long)d->model_file_bytes,
            (unsigned long long)s->blocks, (unsigned long long)s->stored_blocks,
            (unsigned long long)s->tokens, (unsigned long long)s->model_bytes, d->uniform_bits,
            s->model_bits, d->model_bits_per_byte, d->model_bits_per_token, d->saving,
            d->coder_overhead_bits, call->seconds, rate, s->seconds_tokenizer, s->seconds_forward,
            s->seconds_contexts, s->seconds_mix, s->seconds_coder, s->seconds_verify);
    if (s->seconds_forward > 0)
        fprintf(stream, "  forward pass         %14.2f GOP/s\n",
                s->forward_ops / s->seconds_forward / 1e9);
    message_flush();
}

static json_t *to_json(const report_call *call, const derived *d)
{
    const gpuzip_stats *s = &call->stats;
    return json_pack(
        "{so so ss sI sI sf sf sI sI sI sI sI sf sf sf sf sf sf sf sf s{sf sf sf sf sf sf sf} sf}",
        "input", report_json_string(call->input), "output", report_json_string(call->output),
        "operation", call->decompressed ? "decompress" : "compress", "original_bytes",
        (json_int_t)d->original, "compressed_bytes", (json_int_t)d->compressed, "ratio", d->ratio,
        "bits_per_byte", d->bits_per_byte, "model_file_bytes", (json_int_t)d->model_file_bytes,
        "blocks", (json_int_t)s->blocks, "stored_blocks", (json_int_t)s->stored_blocks, "tokens",
        (json_int_t)s->tokens, "model_bytes", (json_int_t)s->model_bytes, "uniform_bits",
        d->uniform_bits, "model_bits", s->model_bits, "saving", d->saving, "model_bits_per_byte",
        d->model_bits_per_byte, "model_bits_per_token", d->model_bits_per_token, "coder_bits",
        s->coder_bits, "coder_overhead_bits", d->coder_overhead_bits, "bytes_per_second",
        call->seconds > 0 ? (double)d->original / call->seconds : 0.0, "seconds", "total",
        call->seconds, "tokenizer", s->seconds_tokenizer, "forward", s->seconds_forward, "contexts",
        s->seconds_contexts, "mix", s->seconds_mix, "coder", s->seconds_coder, "verify",
        s->seconds_verify, "forward_ops", s->forward_ops);
}

void report_print(FILE *stream, const args *a, const gpuzip *gz, const report_call *call)
{
    derived d = derive(a, gz, call);
    if (a->json)
        report_print_json(stream, to_json(call, &d));
    else
        print_text(stream, call, &d);
}
