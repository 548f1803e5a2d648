/* packed.c: see packed.h. */
#include "packed.h"

#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* The first byte of packed content. Values are part of the format. */
enum {
    FORM_LZMA2 = 0,
    FORM_ZSTD = 1,
};

#define LZMA_WINDOW_MIN  ((size_t)4096)        /* bytes: the smallest that LZMA2 has */
#define ZSTD_FRAME_MAGIC 0xfd2fb528u           /* of the only kind of frame that is read */
#define ZSTD_LEVEL       19                    /* the highest that needs no --ultra */
#define ZSTD_FIXED_BYTES ((uint64_t)3 << 20)   /* of a compressor, beside its tables */
#define ZSTD_TABLE_BYTES 16u                   /* for each byte of window, at most */
#define ZSTD_LOG_MIN     10                    /* of a window: the smallest that zstd has */
#define ZSTD_LOG_MAX     23                    /* of a window: that of ZSTD_LEVEL */
#define UNPACK_BYTES     ((uint64_t)512 << 10) /* of either decompressor, beside its window */

uint64_t packed_unpack_bytes(size_t raw_size)
{
    return UNPACK_BYTES + raw_size;
}

/* ---- LZMA2 -------------------------------------------------------------- */

/* The window holds the whole content, so that the reader needs no field for it. */
static uint32_t lzma_window(size_t raw_size)
{
    return (uint32_t)(raw_size > LZMA_WINDOW_MIN ? raw_size : LZMA_WINDOW_MIN);
}

/* Makes the options of a preset, with the largest window that memory allows: a smaller one is read
 * with the whole one as well. filter: [2]. false: there is not enough for any. */
static bool choose_lzma(lzma_options_lzma *options, lzma_filter *filter, uint32_t preset,
                        size_t raw_size, uint64_t memory)
{
    if (lzma_lzma_preset(options, preset))
        return false;
    options->dict_size = lzma_window(raw_size);
    filter[0] = (lzma_filter){.id = LZMA_FILTER_LZMA2, .options = options};
    filter[1] = (lzma_filter){.id = LZMA_VLI_UNKNOWN};
    while (memory && lzma_raw_encoder_memusage(filter) > memory) {
        if (options->dict_size < 2 * LZMA_WINDOW_MIN)
            return false;
        options->dict_size /= 2;
    }
    return true;
}

static gpuzip_status pack_lzma(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                               size_t raw_size, uint32_t preset, uint64_t memory)
{
    lzma_options_lzma options;
    lzma_filter filter[2];
    size_t used = 0;
    if (!choose_lzma(&options, filter, preset, raw_size, memory))
        return FAIL(GPUZIP_ERR_CAPACITY);
    lzma_ret result = lzma_raw_buffer_encode(filter, NULL, raw, raw_size, dst, &used, capacity);
    if (result == LZMA_MEM_ERROR)
        return FAIL(GPUZIP_ERR_MEMORY);
    if (result != LZMA_OK)
        return FAIL(GPUZIP_ERR_CAPACITY);
    *size = used;
    return GPUZIP_OK;
}

static gpuzip_status unpack_lzma(uint8_t *raw, size_t raw_size, const uint8_t *src, size_t size)
{
    lzma_options_lzma options = {.dict_size = lzma_window(raw_size)};
    const lzma_filter filter[2] = {{.id = LZMA_FILTER_LZMA2, .options = &options},
                                   {.id = LZMA_VLI_UNKNOWN}};
    size_t used = 0, made = 0;
    lzma_ret result = lzma_raw_buffer_decode(filter, NULL, src, &used, size, raw, &made, raw_size);
    if (result == LZMA_MEM_ERROR)
        return FAIL(GPUZIP_ERR_MEMORY);
    return result == LZMA_OK && used == size && made == raw_size ? GPUZIP_OK
                                                                 : FAIL(GPUZIP_ERR_CORRUPT);
}

/* ---- zstd --------------------------------------------------------------- */

/* Returns the log2 of the largest window for which memory suffices, 0 if it suffices for none. */
static int choose_zstd(size_t raw_size, uint64_t memory)
{
    int log = ZSTD_LOG_MIN;
    while (log < ZSTD_LOG_MAX && (size_t)1 << log < raw_size)
        log++;
    while (memory && ZSTD_FIXED_BYTES + ((uint64_t)ZSTD_TABLE_BYTES << log) > memory)
        if (--log < ZSTD_LOG_MIN)
            return 0;
    return log;
}

static gpuzip_status pack_zstd(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                               size_t raw_size, uint64_t memory)
{
    int log = choose_zstd(raw_size, memory);
    if (!log)
        return FAIL(GPUZIP_ERR_CAPACITY);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (!context)
        return FAIL(GPUZIP_ERR_MEMORY);
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, log);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0); /* the block has its own */
    size_t used = ZSTD_compress2(context, dst, capacity, raw, raw_size);
    ZSTD_freeCCtx(context);
    if (ZSTD_isError(used))
        return FAIL(GPUZIP_ERR_CAPACITY);
    *size = used;
    return GPUZIP_OK;
}

/* Whether src[0, size) is exactly one Zstandard frame of RFC 8878: the library would also accept
 * several, skippable frames and old versions. */
static bool is_one_frame(const uint8_t *src, size_t size)
{
    uint32_t magic = 0;
    for (size_t i = 0; i < 4 && i < size; i++)
        magic |= (uint32_t)src[i] << (8 * i);
    return magic == ZSTD_FRAME_MAGIC && ZSTD_findFrameCompressedSize(src, size) == size;
}

static gpuzip_status unpack_zstd(uint8_t *raw, size_t raw_size, const uint8_t *src, size_t size)
{
    if (!is_one_frame(src, size))
        return FAIL(GPUZIP_ERR_CORRUPT);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        return FAIL(GPUZIP_ERR_MEMORY);
    size_t made = ZSTD_decompressDCtx(context, raw, raw_size, src, size);
    ZSTD_freeDCtx(context);
    return made == raw_size ? GPUZIP_OK : FAIL(GPUZIP_ERR_CORRUPT); /* an error is larger */
}

/* ---- both --------------------------------------------------------------- */

gpuzip_status packed_pack(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                          size_t raw_size, uint64_t memory)
{
    size_t first = 0, second = 0;
    if (raw_size < 1 || raw_size > PACKED_RAW_MAX || capacity < 2 ||
        (memory && packed_unpack_bytes(raw_size) > memory))
        return FAIL(GPUZIP_ERR_CAPACITY);
    if (capacity > raw_size)
        capacity = raw_size + 1; /* a larger result is of no use */
    gpuzip_status status =
        pack_lzma(dst + 1, capacity - 1, &first, raw, raw_size, 9 | LZMA_PRESET_EXTREME, memory);
    if (status != GPUZIP_OK && status != GPUZIP_ERR_CAPACITY)
        return status;
    bool made = status == GPUZIP_OK;
    /* The second form is wanted only where it is smaller than the first. */
    size_t room = made ? first - 1 : capacity - 1;
    uint8_t *other = malloc(room ? room : 1);
    if (!other)
        return FAIL(GPUZIP_ERR_MEMORY);
    status = pack_zstd(other, room, &second, raw, raw_size, memory);
    if (status == GPUZIP_OK) {
        dst[0] = FORM_ZSTD;
        memcpy(dst + 1, other, second);
        *size = 1 + second;
    } else if (status == GPUZIP_ERR_CAPACITY && made) {
        dst[0] = FORM_LZMA2;
        *size = 1 + first;
        status = GPUZIP_OK;
    }
    free(other);
    return status;
}

size_t packed_estimate(const uint8_t *raw, size_t raw_size, uint64_t memory)
{
    size_t size = raw_size;
    uint8_t *dst = malloc(raw_size);
    if (dst && pack_lzma(dst, raw_size, &size, raw, raw_size, 1, memory) != GPUZIP_OK)
        size = raw_size;
    free(dst);
    return size;
}

gpuzip_status packed_unpack(uint8_t *raw, size_t raw_size, const uint8_t *src, size_t size)
{
    if (raw_size < 1 || raw_size > PACKED_RAW_MAX || size < 1)
        return FAIL(GPUZIP_ERR_CORRUPT);
    switch (src[0]) {
    case FORM_LZMA2:
        return unpack_lzma(raw, raw_size, src + 1, size - 1);
    case FORM_ZSTD:
        return unpack_zstd(raw, raw_size, src + 1, size - 1);
    default:
        return FAIL(GPUZIP_ERR_CORRUPT);
    }
}
