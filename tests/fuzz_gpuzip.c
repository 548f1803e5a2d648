/* fuzz_gpuzip.c: any bytes as a .gpz file, and any bytes as the streams of a well-formed one
 * (whose checks no fuzzer would guess). */
#include "container.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define FILE_MAX 4096

static gpuzip *fuzz_handle(uint8_t id[CONTAINER_MODEL_BYTES])
{
    static gpuzip *gz;
    gpuzip_model_info info;
    if (!gz) {
        tiny_checkpoint tiny;
        tiny_open(&tiny);
        if (gpuzip_open(&gz, "cpu", 1, NULL) || gpuzip_add_model(gz, tiny.model, NULL))
            abort();
        tiny_close(&tiny);
        gpuzip_set_memory_limit(gz, 64 << 20);
    }
    if (gpuzip_get_model_info(gz, 0, &info))
        abort();
    memcpy(id, info.id, CONTAINER_MODEL_BYTES);
    return gz;
}

static gpuzip_status decompress(gpuzip *gz, const uint8_t *data, size_t size)
{
    memory_io io = {.in = data, .in_size = size};
    gpuzip_io callbacks = memory_callbacks(&io);
    gpuzip_status status = gpuzip_decompress(gz, &callbacks, NULL);
    free(io.out);
    return status;
}

/* A frame with one coded block whose streams are data. */
static size_t wrap(uint8_t *file, const uint8_t id[CONTAINER_MODEL_BYTES], const uint8_t *data,
                   size_t size)
{
    static const uint8_t raw[300];
    container_frame frame = {.window = 2 + data[0] % 63u,
                             .hop = 1,
                             .update_interval = 1 + data[1] % 8u,
                             .experts = 1 + data[2] % 2};
    frame.hop += data[3] % frame.window;
    frame.expert[0] = (container_expert){CONTAINER_EXPERT_MODEL, data[4] * 300u, {0}};
    memcpy(frame.expert[0].model_id, id, CONTAINER_MODEL_BYTES);
    frame.expert[1] = (container_expert){CONTAINER_EXPERT_NAIVE_BAYES, data[5] * 300u, {0}};
    uint32_t tokens = 1 + data[6] % 200u, streams = container_fit_streams(tokens, 1 + data[7] % 5u);
    container_stream stream[5];
    size_t at = 0, part;
    for (uint32_t s = 0; s < streams; s++)
        stream[s] = (container_stream){data + 8 + (size - 8) / streams * s, (size - 8) / streams};
    if (container_write_frame(file, FILE_MAX, &at, &frame) ||
        container_write_coded(file + at, FILE_MAX - at, &part, raw, sizeof raw, tokens, stream,
                              streams))
        return 0;
    at += part;
    container_end end = {sizeof raw, 0};
    if (container_write_end(file + at, FILE_MAX - at, &part, &end))
        return 0;
    return at + part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t file[FILE_MAX], id[CONTAINER_MODEL_BYTES];
    gpuzip *gz = fuzz_handle(id);
    decompress(gz, data, size);
    if (size >= 8 && size <= 300) {
        size_t wrapped = wrap(file, id, data, size);
        /* 300 zeros with an end mark of another content: it must not pass */
        if (wrapped && decompress(gz, file, wrapped) == GPUZIP_OK)
            abort();
    }
    return 0;
}
