/* import.c: finds the kind of a checkpoint, maps its files, and calls the parsers and the builder.
 */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES      4096
#define MAX_JSON        ((size_t)4 << 20)  /* bytes of config.json, of the index */
#define MAX_ALL_HEADERS ((size_t)16 << 20) /* bytes of the headers of all shards */

/* A file, mapped read-only. */
typedef struct {
    const uint8_t *data; /* [size]; NULL: none */
    size_t size;
} mapped_file;

/* A checkpoint's files and their parsed headers; closed by checkpoint_close(). */
typedef struct {
    weights_source source;
    mapped_file file;   /* of a .bin */
    json_t *config;     /* of a folder */
    mapped_file *shard; /* [shards.shards] */
    import_shards shards;
} checkpoint_files;

/* Whether a file only says where Git LFS keeps the true one. */
static bool is_pointer(const void *data, size_t size)
{
    static const char begin[] = "version https://git-lfs.github.com/";
    return size >= sizeof begin - 1 && memcmp(data, begin, sizeof begin - 1) == 0;
}

static gpuzip_status map_file(mapped_file *file, const char *path, weights_error *error)
{
    gpuzip_status status = GPUZIP_OK;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        status = import_fail(error, GPUZIP_ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        status = import_fail(error, GPUZIP_ERR_FORMAT, "%s: %s", path,
                             S_ISREG(st.st_mode) ? "empty" : "not a regular file");
        goto out;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        status = import_fail(error, GPUZIP_ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    *file = (mapped_file){map, (size_t)st.st_size};
    if (is_pointer(map, (size_t)st.st_size)) {
        munmap(map, (size_t)st.st_size);
        *file = (mapped_file){0};
        status = import_fail(error, GPUZIP_ERR_FORMAT,
                             "%s: a Git LFS pointer, not the file itself; fetch that with 'git lfs "
                             "pull' in its folder",
                             path);
    }
out:
    if (fd >= 0)
        close(fd);
    return status;
}

static void unmap_file(mapped_file *file)
{
    if (file->data)
        munmap((void *)file->data, file->size);
    *file = (mapped_file){0};
}

static gpuzip_status join(char path[PATH_BYTES], const char *folder, const char *name,
                          weights_error *error)
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    if (n < 0 || n >= PATH_BYTES)
        return import_fail(error, GPUZIP_ERR_IO, "%s: the path is too long", name);
    return GPUZIP_OK;
}

/* Parses JSON as Python's writers make it: NaN, Infinity and -Infinity, which JSON does not know,
 * become strings, so that only who needs such a number is refused. Of equal keys the last counts,
 * as there. NULL with *where on an error. */
static json_t *parse_json(const mapped_file *file, json_error_t *where)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    const char *text = (const char *)file->data;
    char *copy = malloc(2 * file->size + 1);
    size_t used = 0;
    bool quoted = false;
    *where = (json_error_t){.text = "not enough memory"};
    if (!copy)
        return NULL;
    for (size_t i = 0; i < file->size; i++) {
        const char *word = NULL;
        for (int k = 0; k < 3 && !quoted && !word; k++)
            if (file->size - i >= strlen(words[k]) &&
                memcmp(text + i, words[k], strlen(words[k])) == 0)
                word = words[k];
        if (word) {
            used += (size_t)sprintf(copy + used, "\"%s\"", word);
            i += strlen(word) - 1;
            continue;
        }
        if (quoted && text[i] == '\\' && i + 1 < file->size)
            copy[used++] = text[i++];
        else if (text[i] == '"')
            quoted = !quoted;
        copy[used++] = text[i];
    }
    json_t *parsed = json_loadb(copy, used, 0, where);
    free(copy);
    return parsed;
}

/* Reads an object from folder/name; the caller owns *json. */
static gpuzip_status load_json(json_t **json, const char *folder, const char *name,
                               weights_error *error)
{
    char path[PATH_BYTES];
    mapped_file file;
    json_error_t where;
    TRY(join(path, folder, name, error));
    TRY(map_file(&file, path, error));
    json_t *parsed = NULL;
    gpuzip_status status = GPUZIP_OK;
    if (file.size > MAX_JSON) {
        status = import_fail(error, GPUZIP_ERR_UNSUPPORTED, "%s: larger than 4 MiB", path);
        goto out;
    }
    parsed = parse_json(&file, &where);
    if (!json_is_object(parsed)) {
        status = import_fail(error, GPUZIP_ERR_FORMAT, "%s: %s (line %d)", path,
                             parsed ? "not a JSON object" : where.text, parsed ? 1 : where.line);
        goto out;
    }
    *json = parsed;
    parsed = NULL;
out:
    json_decref(parsed);
    unmap_file(&file);
    return status;
}

/* Opens folder/name as one more shard; the arrays have room. */
static gpuzip_status open_shard(checkpoint_files *f, const char *folder, const char *name,
                                size_t *headers, weights_error *error)
{
    char path[PATH_BYTES];
    int i = f->shards.shards;
    TRY(join(path, folder, name, error));
    TRY(map_file(&f->shard[i], path, error));
    f->shards.shards = i + 1;
    safetensors *s = &f->shards.shard[i];
    gpuzip_status status = safetensors_open_memory(s, f->shard[i].data, f->shard[i].size);
    *headers += s->header_size;
    if (status == GPUZIP_ERR_UNSUPPORTED || *headers > MAX_ALL_HEADERS)
        return import_fail(error, GPUZIP_ERR_UNSUPPORTED, "%s: the header is too long", path);
    if (status != GPUZIP_OK) {
        char why[JSON_ERROR_TEXT_LENGTH];
        safetensors_why_not(why, f->shard[i].data, f->shard[i].size);
        return import_fail(error, status, "%s: not a whole safetensors file: %s", path, why);
    }
    return GPUZIP_OK;
}

/* Gives every file that weight_map names a number: file_index, name -> number; and notes in
 * shard_of which tensor is in which. Both are objects. */
static gpuzip_status number_shards(json_t *shard_of, json_t *file_index, json_t *weight_map,
                                   weights_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach(weight_map, name, value)
    {
        const char *file = json_string_value(value);
        if (!file || file[0] == '.' || strchr(file, '/') || json_object_size(file_index) > 1000)
            return import_fail(error, GPUZIP_ERR_FORMAT,
                               "model.safetensors.index.json: \"%.80s\" is not in a file of this "
                               "folder, or there are more than 1000",
                               name);
        json_t *index = json_object_get(file_index, file);
        if (index)
            json_incref(index);
        else
            index = json_integer((json_int_t)json_object_size(file_index));
        bool stored = json_object_set(file_index, file, index) == 0;
        if (json_object_set_new(shard_of, name, index) != 0 || !stored)
            return FAIL(GPUZIP_ERR_MEMORY);
    }
    return GPUZIP_OK;
}

/* Opens model.safetensors, or the shards that the index names. */
static gpuzip_status open_shards(checkpoint_files *f, const char *folder, weights_error *error)
{
    gpuzip_status status = GPUZIP_OK;
    char path[PATH_BYTES];
    json_t *index = NULL, *file_index = json_object();
    size_t count = 1, headers = 0;
    TRY_OUT(join(path, folder, "model.safetensors", error));
    bool single = access(path, F_OK) == 0;
    if (!single) {
        TRY_OUT(join(path, folder, "model.safetensors.index.json", error));
        if (access(path, F_OK) != 0) {
            status = import_fail(error, GPUZIP_ERR_IO,
                                 "%s: holds neither model.safetensors nor its index; other "
                                 "checkpoints (pytorch_model.bin) must be converted first",
                                 folder);
            goto out;
        }
        TRY_OUT(load_json(&index, folder, "model.safetensors.index.json", error));
        f->shards.shard_of = json_object();
        TRY_OUT(number_shards(f->shards.shard_of, file_index, json_object_get(index, "weight_map"),
                              error));
        count = json_object_size(file_index);
    }
    f->shard = calloc(count + 1, sizeof *f->shard);
    f->shards.shard = calloc(count + 1, sizeof *f->shards.shard);
    if (!f->shard || !f->shards.shard) {
        status = FAIL(GPUZIP_ERR_MEMORY);
        goto out;
    }
    if (single)
        TRY_OUT(open_shard(f, folder, "model.safetensors", &headers, error));
    const char *name;
    json_t *number; /* 0, 1, 2, ...: objects keep the order of insertion */
    json_object_foreach(file_index, name, number)
        TRY_OUT(open_shard(f, folder, name, &headers, error));
out:
    json_decref(index);
    json_decref(file_index);
    return status;
}

static void checkpoint_close(checkpoint_files *f)
{
    for (int i = 0; i < f->shards.shards; i++) {
        safetensors_close(&f->shards.shard[i]);
        unmap_file(&f->shard[i]);
    }
    free(f->shards.shard);
    free(f->shard);
    json_decref(f->shards.shard_of);
    json_decref(f->config);
    unmap_file(&f->file);
}

/* Refuses well-known files of other kinds with a hint. */
static gpuzip_status refuse_known(const mapped_file *file, weights_error *error)
{
    const uint8_t *d = file->data;
    const char *kind = NULL;
    if (file->size < 9)
        return GPUZIP_OK;
    if (memcmp(d, "GGUF", 4) == 0)
        kind = "a GGUF file; convert the Hugging Face checkpoint instead";
    else if (memcmp(d, "PK\3\4", 4) == 0)
        kind = "a PyTorch (or zip) file; save it as a folder with safetensors";
    else if (d[8] == '{' && d[4] + d[5] + d[6] + d[7] == 0)
        kind = "a safetensors file; name the folder that holds it and config.json";
    return kind ? import_fail(error, GPUZIP_ERR_UNSUPPORTED, "%s", kind) : GPUZIP_OK;
}

/* Opens the checkpoint at path as far as weights_probe() needs it. */
static gpuzip_status checkpoint_probe(checkpoint_files *f, const char *path, weights_error *error)
{
    static const uint8_t gpzm[5] = {0x89, 'G', 'P', 'Z', 'M'};
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        TRY(load_json(&f->config, path, "config.json", error));
        return import_probe_hf(&f->source, f->config, error);
    }
    TRY(map_file(&f->file, path, error));
    if (f->file.size >= sizeof gpzm && memcmp(f->file.data, gpzm, sizeof gpzm) == 0) {
        f->source = (weights_source){.kind = WEIGHTS_SOURCE_GPZM, .bos = -1};
        return GPUZIP_OK;
    }
    TRY(refuse_known(&f->file, error));
    return import_probe_bin(&f->source, f->file.data, f->file.size, error);
}

/* Puts the path before a message that does not have it. */
static void name_path(weights_error *error, const char *path)
{
    weights_error said = *error;
    size_t n = strlen(path);
    if (strncmp(said.text, path, n) != 0)
        import_fail(error, GPUZIP_ERR_IO, "%s%s: %.400s", n > 100 ? "..." : "",
                    n > 100 ? path + n - 100 : path, said.text);
}

gpuzip_status weights_probe(weights_source *source, const char *path, weights_error *error)
{
    checkpoint_files f = {0};
    weights_error says = {""};
    gpuzip_status status = checkpoint_probe(&f, path, &says);
    if (status == GPUZIP_OK)
        *source = f.source;
    else
        name_path(&says, path);
    *error = says;
    checkpoint_close(&f);
    return status;
}

static gpuzip_status read_checkpoint(import_checkpoint *c, checkpoint_files *f, const char *path,
                                     weights_error *error)
{
    switch (f->source.kind) {
    case WEIGHTS_SOURCE_HUGGING_FACE:
        TRY(open_shards(f, path, error));
        return import_read_hf(c, f->config, &f->shards, error);
    case WEIGHTS_SOURCE_LLAMA2C:
        return import_read_llama2c(c, f->file.data, f->file.size, error);
    case WEIGHTS_SOURCE_LLMC:
        return import_read_llmc(c, f->file.data, f->file.size, error);
    case WEIGHTS_SOURCE_GPZM:
        break;
    }
    return import_fail(error, GPUZIP_ERR_UNSUPPORTED, "is a model file already");
}

gpuzip_status weights_import(void **data, size_t *size, const char *source,
                             const weights_import_options *options, const void *tokenizer,
                             size_t tokenizer_size, uint32_t bos, weights_error *error)
{
    gpuzip_status status = GPUZIP_OK;
    static const weights_import_options defaults = {0};
    checkpoint_files f = {0};
    import_checkpoint c = {0};
    weights_error says = {""};
    TRY_OUT(checkpoint_probe(&f, source, &says));
    TRY_OUT(read_checkpoint(&c, &f, source, &says));
    TRY_OUT(import_build(data, size, &c, options ? options : &defaults, tokenizer, tokenizer_size,
                         bos, &says));
out:
    if (status == GPUZIP_ERR_MEMORY && !says.text[0])
        import_fail(&says, status, "not enough memory");
    if (status != GPUZIP_OK)
        name_path(&says, source);
    *error = says;
    free(c.layer);
    checkpoint_close(&f);
    return status;
}
