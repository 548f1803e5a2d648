/* fuzz_packed.c: any bytes as what was packed, for content of any size; any bytes as content. The
 * first four bytes say how large the content is said to be, and how much memory there is. */
#include <stdlib.h>
#include <string.h>

#include "packed.h"
#include "suits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { HEAD = 4, RAW_MAX = 1 << 18 };

static void *exact_copy(const uint8_t *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    REQUIRE(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

static void unpack(const uint8_t *data, size_t size, size_t raw_size)
{
    uint8_t *src = exact_copy(data, size), *raw = malloc(raw_size ? raw_size : 1);
    REQUIRE(raw);
    gpuzip_status status = packed_unpack(raw, raw_size, src, size);
    REQUIRE(status == GPUZIP_OK || status == GPUZIP_ERR_CORRUPT);
    free(raw);
    free(src);
}

static void round_trip(const uint8_t *data, size_t size, uint64_t memory)
{
    uint8_t *raw = exact_copy(data, size), *packed = malloc(size), *back = malloc(size);
    size_t made;
    REQUIRE(packed && back);
    gpuzip_status status = packed_pack(packed, size, &made, raw, size, memory);
    REQUIRE(status == GPUZIP_OK || status == GPUZIP_ERR_CAPACITY);
    if (status == GPUZIP_OK) {
        REQUIRE(made >= 1 && made <= size);
        REQUIRE(packed_unpack(back, size, packed, made) == GPUZIP_OK);
        REQUIRE(memcmp(back, raw, size) == 0);
        REQUIRE(packed_unpack(back, size, packed, made - 1) == GPUZIP_ERR_CORRUPT);
    }
    size_t estimate = packed_estimate(raw, size, memory);
    REQUIRE(estimate <= size);
    if (size >= SUITS_BYTES_MIN)
        (void)suits_model(raw, size, size - size % 7, estimate);
    free(back);
    free(packed);
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= HEAD)
        return 0;
    size_t raw_size = (size_t)(data[0] | data[1] << 8 | data[2] << 16) % (RAW_MAX + 1);
    unpack(data + HEAD, size - HEAD, raw_size);
    round_trip(data + HEAD, size - HEAD, (uint64_t)data[3] << 15);
    return 0;
}
