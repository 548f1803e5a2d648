/* bench_rangecoder.c: symbols a second of the range coder, on one core: one stream
 * after another, and many in lock-step as the decoder of blocks runs them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rangecoder.h"

enum { SYMBOLS = 1 << 22, STREAMS = 1024, STEPS = SYMBOLS / STREAMS, ROUNDS = 5 };

/* CPU time, so that a busy machine does not count. */
static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Symbols of 2^-1, 2^-2, .. 2^-16 of the total: about 2 bits each, as text has. */
static uint32_t symbol_freq(uint32_t target)
{
    uint32_t left = RC_TOTAL - target; /* 1 .. RC_TOTAL */
    uint32_t freq = 1u << (31 - __builtin_clz(left - (left > 1)));
    return freq > 1u << 14 ? freq : 1u << 14;
}

static uint32_t symbol_start(uint32_t freq, uint32_t target)
{
    uint32_t start = RC_TOTAL - 2 * freq;
    return target >= start + freq ? start + freq : start;
}

int main(void)
{
    uint32_t *start = malloc(SYMBOLS * sizeof *start), *freq = malloc(SYMBOLS * sizeof *freq);
    uint8_t *out = malloc((size_t)4 * SYMBOLS + STREAMS);
    static rc_decoder decoder[STREAMS];
    static size_t size[STREAMS];
    double encode = 1e9, decode = 1e9, lockstep = 1e9;
    uint32_t x = 1, wrong = 0;
    size_t bytes = 0;
    if (!start || !freq || !out)
        return 1;
    for (size_t i = 0; i < SYMBOLS; i++) {
        x = x * 1664525u + 1013904223u;
        freq[i] = symbol_freq(x >> 2);
        start[i] = symbol_start(freq[i], x >> 2);
    }
    for (int round = 0; round < ROUNDS; round++) {
        double begin = seconds();
        bytes = 0;
        for (size_t s = 0; s < STREAMS; s++) {
            rc_encoder rc;
            rc_encode_begin(&rc, out + s * (4 * STEPS + 1), 4 * STEPS + 1);
            for (size_t i = s * STEPS; i < (s + 1) * STEPS; i++)
                rc_encode(&rc, start[i], freq[i]);
            wrong += !rc_encode_end(&rc, &size[s]);
            bytes += size[s];
        }
        double end = seconds();
        encode = end - begin < encode ? end - begin : encode;

        begin = end;
        for (size_t s = 0; s < STREAMS; s++) {
            rc_decoder rc;
            rc_decode_begin(&rc, out + s * (4 * STEPS + 1), size[s]);
            for (size_t i = s * STEPS; i < (s + 1) * STEPS; i++) {
                uint32_t target = rc_decode_target(&rc);
                uint32_t found = symbol_freq(target);
                wrong += found != freq[i];
                rc_decode_advance(&rc, symbol_start(found, target), found);
            }
            wrong += !rc_decode_end(&rc);
        }
        end = seconds();
        decode = end - begin < decode ? end - begin : decode;

        begin = end;
        for (size_t s = 0; s < STREAMS; s++)
            rc_decode_begin(&decoder[s], out + s * (4 * STEPS + 1), size[s]);
        for (size_t t = 0; t < STEPS; t++) {
            for (size_t s = 0; s < STREAMS; s++) {
                uint32_t target = rc_decode_target(&decoder[s]);
                uint32_t found = symbol_freq(target);
                wrong += found != freq[s * STEPS + t];
                rc_decode_advance(&decoder[s], symbol_start(found, target), found);
            }
        }
        end = seconds();
        lockstep = end - begin < lockstep ? end - begin : lockstep;
    }
    printf("%d symbols, %.3f bits each\n", SYMBOLS, 8.0 * (double)bytes / SYMBOLS);
    printf("encode           %6.1f M symbols/s\n", SYMBOLS / encode * 1e-6);
    printf("decode           %6.1f M symbols/s\n", SYMBOLS / decode * 1e-6);
    printf("decode lock-step %6.1f M symbols/s\n", SYMBOLS / lockstep * 1e-6);
    free(start);
    free(freq);
    free(out);
    return wrong != 0;
}
