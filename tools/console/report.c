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

report_figures report_derive(const gpuzip *gz, const report_call *call)
{
    const gpuzip_stats *s = &call->stats;
    report_figures d = {.original = call->decompressed ? s->bytes_out : s->bytes_in,
                        .compressed = call->decompressed ? s->bytes_in : s->bytes_out};
    gpuzip_model_info info;
    d.ratio = d.original > 0 ? (double)d.compressed / (double)d.original : 0;
    d.bits_per_byte = report_bits_per_byte(d.original, d.compressed);
    for (int i = 0; gpuzip_get_model_info(gz, i, &info) == GPUZIP_OK; i++) {
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
    double saved = 8.0 * (double)s->model_bytes - s->model_bits;
    if (s->forward_ops > 0)
        d.saved_bits_per_gop = saved / (s->forward_ops / 1e9);
    for (int k = 0; k < s->experts; k++)
        if (s->expert[k].kind == GPUZIP_EXPERT_MODEL &&
            gpuzip_get_model_info(gz, s->expert[k].model, &info) == GPUZIP_OK)
            d.token_ops += info.token_ops;
    if (s->tokens > 0 && d.token_ops > 1)
        d.information_capacity = saved / (double)s->tokens / log2(d.token_ops);
    return d;
}

const char *report_expert_name(const gpuzip *gz, gpuzip_expert_kind kind, int model)
{
    gpuzip_model_info info;
    if (kind == GPUZIP_EXPERT_NAIVE_BAYES)
        return "Naive Bayes";
    return gpuzip_get_model_info(gz, model, &info) == GPUZIP_OK ? info.name : "model";
}

/* ---- measurements of the experts ----------------------------------------- */

#define TEXT_ALPHAS 5  /* places along the file */
#define JSON_ALPHAS 32 /* the same, at most */

/* Bins [first, end) of the curve as one. */
static curve_bin join_bins(const curve *c, int first, int end)
{
    curve_bin sum = {0};
    for (int i = first; i < end; i++)
        curve_add_bin(&sum, &c->bin[i]);
    return sum;
}

static void print_alphas(FILE *stream, const gpuzip_stats *s, const curve *c)
{
    fprintf(stream, "  alphas along the file, fifth by fifth\n");
    for (int k = 0; k < s->experts; k++) {
        fprintf(stream, "    expert %d           ", k + 1);
        for (int i = 0; i < TEXT_ALPHAS; i++) {
            curve_bin b = join_bins(c, c->bins * i / TEXT_ALPHAS, c->bins * (i + 1) / TEXT_ALPHAS);
            fprintf(stream, b.tokens > 0 ? " %7.4f" : "       -", b.alpha[k] / b.tokens);
        }
        fputc('\n', stream);
    }
}

static void print_experts(FILE *stream, const gpuzip *gz, const report_call *call)
{
    const gpuzip_stats *s = &call->stats;
    double tokens = s->tokens > 0 ? (double)s->tokens : 1;
    double bytes = s->model_bytes > 0 ? (double)s->model_bytes : 1;
    fprintf(stream, "  experts                 alone, bits/byte  bits/token  alpha at the end, "
                    "mean\n");
    for (int k = 0; k < s->experts; k++) {
        fprintf(stream, "    %d %-22.22s %13.4f %11.4f %17.4f %5.4f\n", k + 1,
                report_expert_name(gz, s->expert[k].kind, s->expert[k].model),
                s->expert[k].bits / bytes, s->expert[k].bits / tokens, s->expert[k].alpha,
                s->expert[k].mean_alpha);
    }
    if (call->curve && curve_alphas_vary(call->curve, s->experts))
        print_alphas(stream, s, call->curve);
    fprintf(stream,
            "  where S comes from   %14.0f bits: sum of alpha * experts' bits\n"
            "                       %+14.0f bits: log2 Z, mean %+.4f a token\n",
            s->weighted_bits, s->log2_z, s->log2_z / tokens);
    if (s->bias_gain_bits != 0)
        fprintf(stream, "                       %+14.0f bits: biases\n", -s->bias_gain_bits);
    if (s->context_gain_bits != 0)
        fprintf(stream, "                       %+14.0f bits: contexts\n", -s->context_gain_bits);
    fprintf(stream,
            "                       %+14.0f bits: %llu escapes, and room for them\n"
            "                       %+14.0f bits: rounding to integer frequencies\n",
            s->escape_bits, (unsigned long long)s->escapes, s->rounding_bits);
}

static json_t *experts_json(const gpuzip *gz, const gpuzip_stats *s)
{
    json_t *experts = json_array();
    double tokens = s->tokens > 0 ? (double)s->tokens : 1;
    double bytes = s->model_bytes > 0 ? (double)s->model_bytes : 1;
    for (int k = 0; k < s->experts; k++) {
        gpuzip_model_info info = {0};
        char id[2 * GPUZIP_ID_BYTES + 1];
        bool is_model = s->expert[k].kind == GPUZIP_EXPERT_MODEL &&
                        gpuzip_get_model_info(gz, s->expert[k].model, &info) == GPUZIP_OK;
        report_hex(id, info.id, sizeof info.id);
        json_array_append_new(
            experts,
            json_pack(
                "{ss so ss* sI sI sf sf sf sf sf}", "kind", is_model ? "model" : "naive-bayes",
                "name",
                report_json_string(report_expert_name(gz, s->expert[k].kind, s->expert[k].model)),
                "model_id", is_model ? id : NULL, "parameters", (json_int_t)info.parameters,
                "model_file_bytes", (json_int_t)info.file_size, "bits", s->expert[k].bits,
                "bits_per_byte", s->expert[k].bits / bytes, "bits_per_token",
                s->expert[k].bits / tokens, "alpha", s->expert[k].alpha, "mean_alpha",
                s->expert[k].mean_alpha));
    }
    return experts;
}

static json_t *alphas_json(const gpuzip_stats *s, const curve *c)
{
    json_t *alphas = json_array();
    int step = (c->bins + JSON_ALPHAS - 1) / JSON_ALPHAS;
    for (int i = 0; i < c->bins; i += step) {
        curve_bin b = join_bins(c, i, i + step < c->bins ? i + step : c->bins);
        if (b.tokens == 0) /* a stored or packed block, or a long token */
            continue;
        json_t *values = json_array();
        for (int k = 0; k < s->experts; k++)
            json_array_append_new(values, json_real(b.alpha[k] / b.tokens));
        json_array_append_new(
            alphas,
            json_pack("{sI so}", "offset", (json_int_t)((uint64_t)i * c->width), "alpha", values));
    }
    return alphas;
}

/* The value of "measured": null if the experts were not measured. */
static json_t *measured_json(const gpuzip *gz, const report_call *call, const report_figures *d)
{
    const gpuzip_stats *s = &call->stats;
    if (!s->experts || !call->curve)
        return json_null();
    return json_pack(
        "{so so sf sf sf sf sf sf sI sf sf sf}", "experts", experts_json(gz, s), "alphas",
        alphas_json(s, call->curve), "weighted_bits", s->weighted_bits, "log2_z_bits", s->log2_z,
        "mean_log2_z", s->tokens > 0 ? s->log2_z / (double)s->tokens : 0.0, "bias_gain_bits",
        s->bias_gain_bits, "context_gain_bits", s->context_gain_bits, "rounding_bits",
        s->rounding_bits, "escapes", (json_int_t)s->escapes, "escape_bits", s->escape_bits,
        "token_ops", d->token_ops, "information_capacity", d->information_capacity);
}

/* ---- the report ---------------------------------------------------------- */

static void print_text(FILE *stream, const gpuzip *gz, const report_call *call,
                       const report_figures *d)
{
    const gpuzip_stats *s = &call->stats;
    char rate[20];
    progress_format_rate(rate, (double)d->original, call->seconds);
    message_put(stream, call->input);
    fprintf(
        stream,
        "\n"
        "  original             %14llu bytes\n"
        "  compressed           %14llu bytes, %.2f%%, %.4f bits/byte\n"
        "  models               %14llu bytes, not counted\n"
        "  blocks               %14llu, of which stored %llu, packed %llu, in batches of up to %d\n"
        "  tokens               %14llu, of %llu bytes\n"
        "  uniform cost S_0     %14.0f bits\n"
        "  model cost S         %14.0f bits, %.4f bits/byte, %.4f bits/token\n"
        "  saving r = 1 - S/S_0 %14.4f\n"
        "  coder's overhead     %14.0f bits\n"
        "  time                 %14.2f s, %s\n"
        "    tokenizer %.2f s, forward %.2f s, contexts %.2f s, weights %.2f s, mix %.2f s,\n"
        "    coder %.2f s, verification %.2f s, measuring %.2f s\n",
        (unsigned long long)d->original, (unsigned long long)d->compressed, 100 * d->ratio,
        d->bits_per_byte, (unsigned long long)d->model_file_bytes, (unsigned long long)s->blocks,
        (unsigned long long)s->stored_blocks, (unsigned long long)s->packed_blocks, s->batch_blocks,
        (unsigned long long)s->tokens, (unsigned long long)s->model_bytes, d->uniform_bits,
        s->model_bits, d->model_bits_per_byte, d->model_bits_per_token, d->saving,
        d->coder_overhead_bits, call->seconds, rate, s->seconds[GPUZIP_PHASE_TOKENIZER],
        s->seconds[GPUZIP_PHASE_FORWARD], s->seconds[GPUZIP_PHASE_CONTEXTS],
        s->seconds[GPUZIP_PHASE_WEIGHTS], s->seconds[GPUZIP_PHASE_MIX],
        s->seconds[GPUZIP_PHASE_CODER], s->seconds[GPUZIP_PHASE_VERIFY],
        s->seconds[GPUZIP_PHASE_MEASURE]);
    if (s->seconds[GPUZIP_PHASE_FORWARD] > 0)
        fprintf(stream, "  forward pass         %14.2f GOP/s\n",
                s->forward_ops / s->seconds[GPUZIP_PHASE_FORWARD] / 1e9);
    if (s->forward_ops > 0)
        fprintf(stream, "  saved per compute    %14.1f bits/GOP\n", d->saved_bits_per_gop);
    if (d->information_capacity != 0)
        fprintf(stream, "  information capacity %14.4f bits a token / log2 of %.3g operations\n",
                d->information_capacity, d->token_ops);
    if (s->experts)
        print_experts(stream, gz, call);
    message_flush();
}

/* Seconds of the call and of its phases; NULL without memory. */
static json_t *seconds_json(const report_call *call)
{
    static const char *const name[GPUZIP_PHASES] = {[GPUZIP_PHASE_TOKENIZER] = "tokenizer",
                                                    [GPUZIP_PHASE_FORWARD] = "forward",
                                                    [GPUZIP_PHASE_CONTEXTS] = "contexts",
                                                    [GPUZIP_PHASE_WEIGHTS] = "weights",
                                                    [GPUZIP_PHASE_MIX] = "mix",
                                                    [GPUZIP_PHASE_CODER] = "coder",
                                                    [GPUZIP_PHASE_VERIFY] = "verify",
                                                    [GPUZIP_PHASE_MEASURE] = "measure"};
    json_t *seconds = json_pack("{sf}", "total", call->seconds);
    for (int i = 0; i < GPUZIP_PHASES; i++)
        json_object_set_new(seconds, name[i], json_real(call->stats.seconds[i]));
    return seconds;
}

static json_t *to_json(const gpuzip *gz, const report_call *call, const report_figures *d)
{
    const gpuzip_stats *s = &call->stats;
    return json_pack(
        "{so so ss sI sI sf sf sI sI sI sI si sI sI sf sf sf sf sf sf sf sf so sf sf so}", "input",
        report_json_string(call->input), "output", report_json_string(call->output), "operation",
        call->decompressed ? "decompress" : "compress", "original_bytes", (json_int_t)d->original,
        "compressed_bytes", (json_int_t)d->compressed, "ratio", d->ratio, "bits_per_byte",
        d->bits_per_byte, "model_file_bytes", (json_int_t)d->model_file_bytes, "blocks",
        (json_int_t)s->blocks, "stored_blocks", (json_int_t)s->stored_blocks, "packed_blocks",
        (json_int_t)s->packed_blocks, "batch_blocks", s->batch_blocks, "tokens",
        (json_int_t)s->tokens, "model_bytes", (json_int_t)s->model_bytes, "uniform_bits",
        d->uniform_bits, "model_bits", s->model_bits, "saving", d->saving, "model_bits_per_byte",
        d->model_bits_per_byte, "model_bits_per_token", d->model_bits_per_token, "coder_bits",
        s->coder_bits, "coder_overhead_bits", d->coder_overhead_bits, "bytes_per_second",
        call->seconds > 0 ? (double)d->original / call->seconds : 0.0, "seconds",
        seconds_json(call), "forward_ops", s->forward_ops, "saved_bits_per_gop",
        d->saved_bits_per_gop, "measured", measured_json(gz, call, d));
}

void report_print(FILE *stream, bool json, const gpuzip *gz, const report_call *call)
{
    report_figures d = report_derive(gz, call);
    if (json)
        report_print_json(stream, to_json(gz, call, &d));
    else
        print_text(stream, gz, call, &d);
}
