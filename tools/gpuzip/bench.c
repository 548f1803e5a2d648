/* bench.c: see bench.h. */
#include "bench.h"

#include "buffer.h"
#include "message.h"
#include "progress.h"
#include "report.h"
#include "setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reads all of the file path into b. Returns false after telling the user. */
static bool read_all(buffer *b, const args *a, const char *path)
{
    file_source *source = malloc(sizeof *source);
    if (!source) {
        message_error(path, "%s", strerror(ENOMEM));
        return false;
    }
    bool done = file_open_source(source, path, a->force ? FILE_ANYTHING : FILE_THROUGH_LINKS);
    if (done) {
        done = buffer_read_source(b, source);
        file_close_source(source);
    }
    free(source);
    return done;
}

/* The best run of one direction. */
typedef struct {
    double seconds; /* of the whole call */
    int runs;
    gpuzip_stats stats;
} measurement;

/* Runs one direction from `from` to `to` until a->bench_seconds have passed. options
 * is NULL for decompression. */
static gpuzip_status measure(measurement *best, gpuzip *gz, const args *a,
                             const gpuzip_options *options, const buffer *from, buffer *to)
{
    double begun = progress_seconds();
    measurement m = {0};
    do {
        buffer_io memory = {.from = from, .to = to};
        gpuzip_io io = {.context = &memory, .read = buffer_on_read, .write = buffer_on_write};
        gpuzip_stats stats;
        to->size = 0;
        double start = progress_seconds();
        gpuzip_status status = options ? gpuzip_compress_stream(gz, options, &io, &stats)
                                       : gpuzip_decompress_stream(gz, &io, &stats);
        double seconds = progress_seconds() - start;
        if (status != GPUZIP_OK)
            return status;
        if (m.runs == 0 || seconds < m.seconds) {
            m.seconds = seconds;
            m.stats = stats;
        }
        m.runs++;
    } while (progress_seconds() - begun < a->bench_seconds);
    *best = m;
    return GPUZIP_OK;
}

static double per_second(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

static void print_direction(const char *name, const measurement *m, uint64_t bytes, double peak)
{
    const gpuzip_stats *s = &m->stats;
    double part = m->seconds > 0 ? 100 / m->seconds : 0;
    double forward = per_second(s->forward_ops, s->seconds[GPUZIP_PHASE_FORWARD]);
    printf("    %-10s %9.4f MB/s %10.0f token/s   forward %8.1f GOP/s, %4.1f%% of the peak\n"
           "               time: tokenizer %.1f%%, forward %.1f%%, mix %.1f%%, coder %.1f%%"
           " (best of %d)\n",
           name, per_second((double)bytes, m->seconds) / 1e6,
           per_second((double)s->tokens, m->seconds), forward / 1e9,
           peak > 0 ? 100 * forward / peak : 0, part * s->seconds[GPUZIP_PHASE_TOKENIZER],
           part * s->seconds[GPUZIP_PHASE_FORWARD], part * s->seconds[GPUZIP_PHASE_MIX],
           part * s->seconds[GPUZIP_PHASE_CODER], m->runs);
}

static json_t *direction_json(const measurement *m, uint64_t bytes, double peak)
{
    const gpuzip_stats *s = &m->stats;
    double forward = per_second(s->forward_ops, s->seconds[GPUZIP_PHASE_FORWARD]);
    return json_pack("{si sf sf sf sf sf sf sf sf sf}", "runs", m->runs, "seconds", m->seconds,
                     "bytes_per_second", per_second((double)bytes, m->seconds), "tokens_per_second",
                     per_second((double)s->tokens, m->seconds), "forward_ops_per_second", forward,
                     "forward_of_peak", peak > 0 ? forward / peak : 0.0, "seconds_tokenizer",
                     s->seconds[GPUZIP_PHASE_TOKENIZER], "seconds_forward",
                     s->seconds[GPUZIP_PHASE_FORWARD], "seconds_mix", s->seconds[GPUZIP_PHASE_MIX],
                     "seconds_coder", s->seconds[GPUZIP_PHASE_CODER]);
}

static void print_level(const args *a, const char *name, int level, size_t original,
                        size_t compressed, const measurement both[2], double peak)
{
    double bits = report_bits_per_byte(original, compressed);
    if (a->json) {
        report_print_json(stdout,
                          json_pack("{so si sI sI sf sf so so}", "file", report_json_string(name),
                                    "level", level, "original_bytes", (json_int_t)original,
                                    "compressed_bytes", (json_int_t)compressed, "bits_per_byte",
                                    bits, "peak_ops_per_second", peak, "compress",
                                    direction_json(&both[0], original, peak), "decompress",
                                    direction_json(&both[1], original, peak)));
        return;
    }
    printf("-%d  %zu => %zu bytes, %.2f%%, ratio %.3f, %.4f bits/byte\n", level, original,
           compressed, original > 0 ? 100.0 * (double)compressed / (double)original : 100.0,
           compressed > 0 ? (double)original / (double)compressed : 0, bits);
    print_direction("compress", &both[0], original, peak);
    print_direction("decompress", &both[1], original, peak);
    message_flush();
}

/* One level of one file. Returns false after telling the user. */
static bool bench_level(gpuzip *gz, const args *a, const char *path, int level, double peak,
                        const buffer *original)
{
    buffer compressed = {0}, restored = {0};
    measurement both[2];
    gpuzip_options options;
    setup_options(&options, a);
    options.level = level;
    options.no_verify = true; /* decompression has a line of its own */

    gpuzip_status status = measure(&both[0], gz, a, &options, original, &compressed);
    if (status == GPUZIP_OK)
        status = measure(&both[1], gz, a, NULL, &compressed, &restored);
    if (status != GPUZIP_OK) {
        message_status(path, status, gpuzip_error(gz));
    } else if (restored.size != original->size ||
               (original->size > 0 && memcmp(restored.data, original->data, original->size) != 0)) {
        message_error(path, "decompression gave other bytes than were compressed");
        status = GPUZIP_ERR_CORRUPT;
    } else {
        print_level(a, path, level, original->size, compressed.size, both, peak);
    }
    free(compressed.data);
    free(restored.data);
    return status == GPUZIP_OK;
}

void bench_file(gpuzip *gz, const args *a, const char *path, double peak)
{
    buffer original = {0};
    unsigned levels = a->levels ? a->levels : 1u << GPUZIP_LEVEL_DEFAULT;
    if (read_all(&original, a, path)) {
        if (!a->json) {
            message_put(stdout, path);
            printf(": peak of the linear layers' instructions %.1f GOP/s\n", peak / 1e9);
        }
        for (int level = GPUZIP_LEVEL_MIN; level <= GPUZIP_LEVEL_MAX; level++) {
            if ((levels >> level & 1) && !bench_level(gz, a, path, level, peak, &original))
                break;
        }
    }
    free(original.data);
}
