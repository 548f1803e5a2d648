/* fuzz_gpuzip.c: any bytes as a .gpz file; any bytes as the streams of a well-formed one (whose
 * checks no fuzzer would guess), with one model or two, Naive Bayes and all that adapts; and any
 * bytes as input of such a compression. */
#include "container.h"
#include "memory_io.h"
#include "tiny_checkpoint.h"

#define FILE_MAX 4096
#define MODELS   2
#define HEAD     12  /* bytes that choose how */
#define BODY_MAX 250 /* bytes of streams, or of the input */

static gpuzip *gz;
static uint8_t id[MODELS][CONTAINER_MODEL_BYTES];

/* The second model is the first one in fewer bits. */
static void open_models(void)
{
    static const gpuzip_import_options narrow = {
        .weight_bits = 8, .activation_bits = 8, .kv_bits = 8};
    tiny_checkpoint tiny;
    char path[128];
    gpuzip_model_info info;
    tiny_open(&tiny);
    snprintf(path, sizeof path, "%s/narrow.gpzm", tiny.folder);
    if (gpuzip_open(&gz, "cpu", 1, NULL) || gpuzip_add_model(gz, tiny.model, NULL) ||
        gpuzip_import_model(gz, tiny.model, path, &narrow) || gpuzip_add_model(gz, path, NULL))
        abort();
    unlink(path);
    tiny_close(&tiny);
    gpuzip_set_memory_limit(gz, 64 << 20);
    for (int i = 0; i < MODELS; i++) {
        if (gpuzip_get_model_info(gz, i, &info))
            abort();
        memcpy(id[i], info.id, CONTAINER_MODEL_BYTES);
    }
}

/* The caller frees io->out. */
static gpuzip_status decompress(const uint8_t *data, size_t size, memory_io *io)
{
    *io = (memory_io){.in = data, .in_size = size};
    gpuzip_io callbacks = memory_callbacks(io);
    return gpuzip_decompress_stream(gz, &callbacks, NULL);
}

/* ---- recipes -------------------------------------------------------------------------------- */

/* The settings in HEAD bytes. */
static container_frame frame_of(const uint8_t head[HEAD])
{
    container_frame frame = {.schedule = {.window = 2 + head[0] % 63,
                                          .update_interval = 1 + head[1] % 40,
                                          .window_scope = head[2] & 1},
                             .contexts = head[2] & 2,
                             .biases = head[2] & 4,
                             .learns_alphas = head[2] & 8};
    schedule *s = &frame.schedule;
    s->hop = s->window_scope ? s->window : head[3] % (s->window + 1);
    for (int i = 0; i < MODELS; i++) {
        container_expert *expert = &frame.expert[frame.experts];
        if (i > 0 && !(head[2] & 16))
            continue;
        *expert = (container_expert){CONTAINER_EXPERT_MODEL, head[4 + i] * 300u, {0}};
        memcpy(expert->model_id, id[i], CONTAINER_MODEL_BYTES);
        frame.experts++;
    }
    if (head[2] & 32)
        frame.expert[frame.experts++] =
            (container_expert){CONTAINER_EXPERT_NAIVE_BAYES, head[6] * 300u, {0}};
    return frame;
}

/* A frame with one coded block whose streams are body[0, size), or one packed block whose payload
 * it is; 0 if there is no such block. */
static size_t wrap(uint8_t *file, const uint8_t head[HEAD], const uint8_t *body, size_t size)
{
    static const uint8_t raw[300];
    container_frame frame = frame_of(head);
    uint32_t tokens = 1 + head[7] % 200u, streams = container_fit_streams(tokens, 1 + head[8] % 5u);
    container_stream stream[5];
    size_t at = 0, part, each = size / streams;
    for (uint32_t s = 0; s < streams; s++)
        stream[s] = (container_stream){body + each * s, each};
    if (container_write_frame(file, FILE_MAX, &at, &frame) ||
        (head[2] & 128
             ? container_write_packed(file + at, FILE_MAX - at, &part, raw, sizeof raw, body, size)
             : container_write_coded(file + at, FILE_MAX - at, &part, raw, sizeof raw, tokens,
                                     stream, streams)))
        return 0;
    at += part;
    container_end end = {sizeof raw, 0};
    if (container_write_end(file + at, FILE_MAX - at, &part, &end))
        return 0;
    return at + part;
}

static gpuzip_options options_of(const uint8_t head[HEAD])
{
    container_frame frame = frame_of(head);
    gpuzip_options o = {.window = frame.schedule.window,
                        .hop = frame.schedule.hop,
                        .update_interval = frame.schedule.update_interval,
                        .window_scope = frame.schedule.window_scope,
                        .adapt = (frame.contexts ? GPUZIP_ADAPT_CONTEXTS : 0u) |
                                 (frame.biases ? GPUZIP_ADAPT_BIASES : 0u) |
                                 (frame.learns_alphas ? GPUZIP_ADAPT_ALPHAS : 0u),
                        .streams = 1 + head[8] % 5,
                        .block_size = head[9] ? head[9] : 1000,
                        .experts = frame.experts,
                        .no_verify = true,
                        .no_packing = head[2] & 64};
    for (int k = 0; k < frame.experts; k++) {
        o.expert[k].kind = frame.expert[k].kind == CONTAINER_EXPERT_MODEL
                               ? GPUZIP_EXPERT_MODEL
                               : GPUZIP_EXPERT_NAIVE_BAYES;
        o.expert[k].model = k > 0;
        o.expert[k].alpha = frame.expert[k].alpha / 65536.0;
    }
    return o;
}

/* An archive decodes to its input; with a byte changed it does not. */
static void round_trip(const uint8_t head[HEAD], const uint8_t *body, size_t size)
{
    memory_io packed = {.in = body, .in_size = size}, back;
    gpuzip_io callbacks = memory_callbacks(&packed);
    gpuzip_options options = options_of(head);
    if (gpuzip_compress_stream(gz, &options, &callbacks, NULL) ||
        decompress(packed.out, packed.out_size, &back) || back.out_size != size ||
        memcmp(back.out, body, size) != 0)
        abort();
    free(back.out);
    packed.out[(head[10] << 8 | head[11]) % packed.out_size] ^= (uint8_t)(1 + head[9] % 255);
    if (decompress(packed.out, packed.out_size, &back) == GPUZIP_OK)
        abort();
    free(back.out);
    free(packed.out);
}

/* The bytes after the head, repeated, so that few bytes make a long text. */
static size_t repeat(uint8_t body[BODY_MAX], const uint8_t *data, size_t size)
{
    size_t n = 1 + data[10] % BODY_MAX;
    for (size_t i = 0; i < n; i++)
        body[i] = data[HEAD + i % (size - HEAD)];
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t file[FILE_MAX], body[BODY_MAX];
    memory_io io;
    if (!gz)
        open_models();
    decompress(data, size, &io);
    free(io.out);
    if (size > HEAD) {
        size_t body_size = repeat(body, data, size), wrapped = wrap(file, data, body, body_size);
        /* 300 zeros with an end mark of another content: it must not pass */
        if (wrapped && decompress(file, wrapped, &io) == GPUZIP_OK)
            abort();
        if (wrapped)
            free(io.out);
        round_trip(data, body, body_size);
    }
    return 0;
}
