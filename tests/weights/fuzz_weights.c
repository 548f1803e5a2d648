/* fuzz_weights.c: any bytes are refused or are a model all of whose numbers can be read.
 *
 * A valid small model is changed by patches, for blind bytes would not get past the header:
 * a first byte of 0 means raw bytes (with the right file size filled in), else records of
 * offset (2 bytes), value (1 byte). */
#include <stdlib.h>
#include <string.h>

#include "import.h"

enum { DIM = 4, FFN = 5, VOCAB = 6, CONTEXT = 3, SOURCE_FLOATS = 174, AT_FILE_SIZE = 16 };

/* A model with every kind of section that Llamas have; aborts on failure. */
static void *make_model(size_t *size)
{
    static const int32_t header[7] = {DIM, FFN, 1, 2, 1, -VOCAB, CONTEXT};
    static const uint32_t token[2] = {1, 2}, grams[WEIGHTS_NGRAM_BUCKET] = {3, 4};
    uint8_t source[sizeof header + 4 * SOURCE_FLOATS];
    weights_import_options options = {.weight_bits = 8};
    import_checkpoint c = {0};
    weights_error error;
    void *data;
    memcpy(source, header, sizeof header);
    for (int i = 0; i < SOURCE_FLOATS; i++) {
        float v = (float)(i % 17) - 8;
        memcpy(source + sizeof header + 4 * (size_t)i, &v, sizeof v);
    }
    if (import_read_llama2c(&c, source, sizeof source, &error) != GPUZIP_OK ||
        import_build(&data, size, &c, &options, "blob", 4, 1, &error) != GPUZIP_OK ||
        weights_set_test(&data, size, token, 2, 3) != GPUZIP_OK ||
        weights_set_ngrams(&data, size, grams, 1) != GPUZIP_OK)
        abort();
    free(c.layer);
    return data;
}

/* Reads the last entry of each array that a model points to. */
static double touch(const weights_model *m)
{
    const weights_config *c = &m->config;
    double sum = 0;
    const weights_matrix *head[2] = {&m->embedding, &m->head};
    for (int i = 0; i < 2; i++)
        sum += (double)head[i]->scale[c->vocab - 1] +
               ((const int8_t *)head[i]->w)[(size_t)c->vocab * (size_t)c->dim - 1];
    for (int i = 0; i < c->layers; i++) {
        const weights_layer *l = &m->layer[i];
        const weights_matrix *matrix[4] = {&l->qkv, &l->out, &l->up, &l->down};
        const float *bias[4] = {l->qkv_bias, l->out_bias, l->up_bias, l->down_bias};
        for (int k = 0; k < 4; k++) {
            sum += (double)matrix[k]->scale[matrix[k]->n - 1];
            sum += bias[k] ? (double)bias[k][matrix[k]->n - 1] : 0;
        }
    }
    if (c->rope)
        sum += (double)m->turns[c->head_dim / 2 - 1];
    else
        sum += (double)m->position[(size_t)c->context * (size_t)c->dim - 1];
    sum += m->tests ? m->test_token[m->tests - 1] : 0;
    sum += m->ngrams ? m->ngrams[(size_t)m->ngram_buckets * WEIGHTS_NGRAM_BUCKET - 1] : 0;
    return sum + (m->tokenizer_size ? ((const uint8_t *)m->tokenizer)[m->tokenizer_size - 1] : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t bytes_size = size - 1;
    void *bytes = NULL;
    if (data[0] == 0) {
        if (posix_memalign(&bytes, 64, size) != 0)
            abort();
        memcpy(bytes, data + 1, bytes_size);
        uint64_t field = bytes_size;
        if (bytes_size >= AT_FILE_SIZE + sizeof field)
            memcpy((uint8_t *)bytes + AT_FILE_SIZE, &field, sizeof field);
    } else {
        bytes = make_model(&bytes_size);
        for (size_t i = 1; i + 3 <= size; i += 3)
            ((uint8_t *)bytes)[(data[i] | (size_t)data[i + 1] << 8) % bytes_size] = data[i + 2];
    }
    weights_model *model = NULL;
    volatile double sum = 0;
    if (weights_open_memory(&model, bytes, bytes_size) == GPUZIP_OK)
        sum = touch(model);
    (void)sum;
    weights_close(model);
    free(bytes);
    return 0;
}
