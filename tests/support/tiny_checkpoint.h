/* tiny_checkpoint.h: a llama2.c checkpoint with fixed pseudo-random weights and a tokenizer of
 * bytes, made in a folder of its own, so that the whole pipeline runs without any model. */
#ifndef GPUZIP_TINY_CHECKPOINT_H
#define GPUZIP_TINY_CHECKPOINT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TINY_DIM = 32,
    TINY_HIDDEN = 64,
    TINY_LAYERS = 2,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_VOCAB = 269, /* <unk>, <s>, </s>, 256 bytes, 10 pieces */
    TINY_CONTEXT = 64
};

typedef struct {
    char folder[64];
    char model[96];     /* folder/tiny.bin */
    char tokenizer[96]; /* folder/tokenizer.bin */
} tiny_checkpoint;

/* A float in [-scale, scale) from a linear congruential generator (Knuth's MMIX constants). */
static float tiny_random(uint64_t *state, float scale)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((float)(int32_t)(*state >> 40) / 8388608.0f - 1.0f) * scale;
}

static void tiny_floats(FILE *f, uint64_t *state, size_t count, float base, float scale)
{
    for (size_t i = 0; i < count; i++) {
        float value = base + tiny_random(state, scale);
        fwrite(&value, sizeof value, 1, f);
    }
}

static void tiny_write_model(const char *path)
{
    static const int32_t head[7] = {TINY_DIM,      TINY_HIDDEN, TINY_LAYERS, TINY_HEADS,
                                    TINY_KV_HEADS, TINY_VOCAB,  TINY_CONTEXT};
    const size_t d = TINY_DIM, kv = (size_t)TINY_DIM / TINY_HEADS * TINY_KV_HEADS;
    uint64_t state = 1;
    FILE *f = fopen(path, "wb");
    if (!f)
        abort();
    fwrite(head, sizeof head, 1, f);
    tiny_floats(f, &state, TINY_VOCAB * d, 0, 1.0f);           /* embedding */
    tiny_floats(f, &state, TINY_LAYERS * d, 1, 0.2f);          /* attention norm */
    tiny_floats(f, &state, TINY_LAYERS * d * d, 0, 0.4f);      /* wq */
    tiny_floats(f, &state, TINY_LAYERS * kv * d * 2, 0, 0.4f); /* wk, wv */
    tiny_floats(f, &state, TINY_LAYERS * d * d, 0, 0.4f);      /* wo */
    tiny_floats(f, &state, TINY_LAYERS * d, 1, 0.2f);          /* feed-forward norm */
    tiny_floats(f, &state, TINY_LAYERS * d * TINY_HIDDEN * 3, 0, 0.3f);
    tiny_floats(f, &state, d, 1, 0.2f);                                         /* final norm */
    tiny_floats(f, &state, (size_t)TINY_CONTEXT * TINY_DIM / TINY_HEADS, 0, 0); /* unused tables */
    if (fclose(f))
        abort();
}

static void tiny_write_token(FILE *f, const char *text, float score)
{
    int32_t size = (int32_t)strlen(text);
    fwrite(&score, sizeof score, 1, f);
    fwrite(&size, sizeof size, 1, f);
    fwrite(text, 1, (size_t)size, f);
}

/* Pieces that texts have, and pieces that make a text of them much smaller. */
static const char *const tiny_pieces[10] = {"th", "aa", "e ", "ab", "ck", "a", "b", "e", "t", " "};
static const char *const tiny_long_pieces[10] = {"aa",   "ab",       "bb",       "aaaa", "abab",
                                                 "bbbb", "aaaaaaaa", "abababab", "a",    "b"};

static void tiny_write_tokenizer(const char *path, const char *const pieces[10])
{
    int32_t longest = 8;
    FILE *f = fopen(path, "wb");
    if (!f)
        abort();
    fwrite(&longest, sizeof longest, 1, f);
    tiny_write_token(f, "<unk>", 0);
    tiny_write_token(f, "\n<s>\n", 0);
    tiny_write_token(f, "\n</s>\n", 0);
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        tiny_write_token(f, text, 0);
    }
    for (int i = 0; i < 10; i++) /* the first have the best score */
        tiny_write_token(f, pieces[i], (float)-i);
    if (fclose(f))
        abort();
}

static void tiny_open(tiny_checkpoint *tiny)
{
    strcpy(tiny->folder, "/tmp/gpuzip-test-XXXXXX");
    if (!mkdtemp(tiny->folder))
        abort();
    snprintf(tiny->model, sizeof tiny->model, "%s/tiny.bin", tiny->folder);
    snprintf(tiny->tokenizer, sizeof tiny->tokenizer, "%s/tokenizer.bin", tiny->folder);
    tiny_write_model(tiny->model);
    tiny_write_tokenizer(tiny->tokenizer, tiny_pieces);
}

static void tiny_close(const tiny_checkpoint *tiny)
{
    unlink(tiny->model);
    unlink(tiny->tokenizer);
    rmdir(tiny->folder);
}

#endif
