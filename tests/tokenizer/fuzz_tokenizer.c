/* fuzz_tokenizer.c: any bytes as a blob with a text, or as a file of each sort
 * that is imported. What opens must round-trip; what is imported must open.
 *
 * The first byte chooses the parser; the next two are the size of the text that
 * comes before the file. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "tokenizer_import.h"

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void round_trip(const void *blob, size_t blob_size, uint32_t vocab, const uint8_t *text,
                       size_t size, bool must_open)
{
    tokenizer *t;
    uint32_t *ids;
    size_t count, decoded_size;
    uint8_t *decoded;
    gpuzip_status status = tokenizer_open(&t, blob, blob_size, vocab);
    require(status == GPUZIP_OK || !must_open);
    if (status != GPUZIP_OK)
        return;
    require(tokenizer_bos(t) < tokenizer_vocab(t));
    require(tokenizer_encode(t, text, size, &ids, &count) == GPUZIP_OK);
    require(tokenizer_decode(t, ids, count, &decoded, &decoded_size) == GPUZIP_OK);
    require(decoded_size == size && memcmp(decoded, text, size) == 0);
    free(decoded);
    free(ids);
    tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t text_size = data[1] | (size_t)data[2] << 8;
    const uint8_t *text = data + 3;
    if (text_size > size - 3)
        return 0;
    const uint8_t *file = text + text_size;
    size_t file_size = size - 3 - text_size;
    char error[TOKENIZER_ERROR_BYTES];
    void *blob = NULL;
    size_t blob_size = 0;
    gpuzip_status status = GPUZIP_ERR_FORMAT;
    uint32_t bos = data[0] & 0x80 ? data[0] : TOKENIZER_BOS_AUTO;
    switch (data[0] % 8) {
    case 0:
        round_trip(file, file_size, 0, text, text_size, false);
        break;
    case 1:
        round_trip(file, file_size, 1000, text, text_size, false);
        break;
    case 2:
        status = tokenizer_import_json(file, file_size, bos, &blob, &blob_size, error);
        break;
    case 3: /* the text doubles as merges */
        status =
            tokenizer_import_gpt2(file, file_size, text, text_size, bos, &blob, &blob_size, error);
        break;
    case 4:
        status = tokenizer_import_sentencepiece(file, file_size, bos, &blob, &blob_size, error);
        break;
    case 5:
        status =
            tokenizer_import_llama2c(file, file_size, data[0] >> 3, bos, &blob, &blob_size, error);
        break;
    default:
        return 0;
    }
    if (status == GPUZIP_OK)
        round_trip(blob, blob_size, 0, text, text_size, true);
    free(blob);
    return 0;
}
