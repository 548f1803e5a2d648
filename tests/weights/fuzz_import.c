/* fuzz_import.c: any checkpoint is imported or refused; what is imported opens.
 *
 *   golden_import.py --seeds FOLDER; fuzz_import -close_fd_mask=3 FOLDER
 *
 * The first byte says what follows: 0 a llama2.c file, 1 an llm.c file, 2 a config.json,
 * a zero byte, a safetensors file. */
#include <stdlib.h>
#include <string.h>

#include "import.h"

/* Parses a folder's two files. Views into them stay good until *shard is closed. */
static gpuzip_status read_folder(import_checkpoint *c, json_t **config, safetensors *shard,
                                 const uint8_t *data, size_t size, weights_error *error)
{
    const uint8_t *end = memchr(data, 0, size);
    if (!end)
        return GPUZIP_ERR_FORMAT;
    size_t text = (size_t)(end - data);
    *config = json_loadb((const char *)data, text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(*config))
        return GPUZIP_ERR_FORMAT;
    weights_source source;
    import_probe_hf(&source, *config, error);
    TRY(safetensors_open_memory(shard, end + 1, size - text - 1));
    import_shards shards = {shard, 1, NULL};
    return import_read_hf(c, *config, &shards, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weights_import_options options = {.context = 16};
    import_checkpoint c = {0};
    json_t *config = NULL;
    safetensors shard = {0};
    weights_error error;
    weights_source source;
    weights_model *model;
    void *bytes = NULL;
    size_t bytes_size;
    if (size < 1)
        return 0;
    const uint8_t *rest = data + 1;
    gpuzip_status status;
    if (data[0] < 2)
        import_probe_bin(&source, rest, size - 1, &error);
    if (data[0] == 0)
        status = import_read_llama2c(&c, rest, size - 1, &error);
    else if (data[0] == 1)
        status = import_read_llmc(&c, rest, size - 1, &error);
    else
        status = read_folder(&c, &config, &shard, rest, size - 1, &error);
    if (status == GPUZIP_OK)
        status = import_build(&bytes, &bytes_size, &c, &options, "blob", 4, 1, &error);
    if (status == GPUZIP_OK) {
        /* What the checks of the importer let through, the reader must. */
        if (weights_open_memory(&model, bytes, bytes_size) != GPUZIP_OK)
            abort();
        weights_close(model);
    }
    free(bytes);
    free(c.layer);
    safetensors_close(&shard);
    json_decref(config);
    return 0;
}
