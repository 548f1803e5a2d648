/* container_bytes.h: numbers and byte strings of the .gpz format, for container.c and
 * container_index.c. */
#ifndef GPUZIP_CONTAINER_BYTES_H
#define GPUZIP_CONTAINER_BYTES_H

#include <string.h>

#include "container.h"

enum {
    CHECK_BYTES = 4,
    HASH_BYTES = 8,
};

/* Types of optional records in a frame header. */
enum { RECORD_INDEX = 1 };

/* -- writing -------------------------------------------------------------- */

/* A sink. Bytes beyond the capacity are counted and not written. */
typedef struct {
    uint8_t *dst; /* [capacity] */
    size_t size, capacity;
} writer;

static inline void put_bytes(writer *w, const void *data, size_t size)
{
    if (size > 0 && w->size <= w->capacity && size <= w->capacity - w->size)
        memcpy(w->dst + w->size, data, size);
    w->size += size;
}

static inline void put_byte(writer *w, unsigned byte)
{
    put_bytes(w, &(uint8_t){(uint8_t)byte}, 1);
}

/* bytes: 1 .. 8, the low ones of value, lowest first. */
static inline void put_fixed(writer *w, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        put_byte(w, value >> (8 * i) & 0xff);
}

static inline void put_varint(writer *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(w, (value & 0x7f) | 0x80);
    put_byte(w, (unsigned)value);
}

/* Writes the check over all bytes so far, which ends headers and blocks. */
static inline gpuzip_status put_check(writer *w, size_t *size)
{
    if (w->capacity < CHECK_BYTES || w->size > w->capacity - CHECK_BYTES)
        return FAIL(GPUZIP_ERR_CAPACITY);
    put_fixed(w, container_check(w->dst, w->size), CHECK_BYTES);
    *size = w->size;
    return GPUZIP_OK;
}

static inline size_t varint_size(uint64_t value)
{
    writer w = {0};
    put_varint(&w, value);
    return w.size;
}

/* -- reading -------------------------------------------------------------- */

/* The unread bytes. A failed take_ sets bad and returns a valid value, so
 * that a row of them needs one test at its end. */
typedef struct {
    const uint8_t *src; /* [size] */
    size_t size;
    bool bad;
} reader;

/* Returns a pointer to `size` bytes, or NULL if fewer are left. */
static inline const uint8_t *take_bytes(reader *r, size_t size)
{
    if (size > r->size) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *bytes = r->src;
    r->src += size;
    r->size -= size;
    return bytes;
}

/* bytes: 1 .. 8. */
static inline uint64_t take_fixed(reader *r, int bytes)
{
    const uint8_t *src = take_bytes(r, (size_t)bytes);
    uint64_t value = 0;
    for (int i = 0; src && i < bytes; i++)
        value |= (uint64_t)src[i] << (8 * i);
    return value;
}

/* Returns a value in [min, max], max < 2^63: at most 9 bytes, and never more
 * than the value needs, so that a content has one encoding only. */
static inline uint64_t take_varint(reader *r, uint64_t min, uint64_t max)
{
    uint64_t value = 0;
    uint8_t byte = 0x80;
    for (int shift = 0; byte >= 0x80; shift += 7) {
        const uint8_t *src = shift < 63 ? take_bytes(r, 1) : NULL;
        if (!src || (*src == 0 && shift > 0)) {
            r->bad = true;
            return min;
        }
        byte = *src;
        value |= (uint64_t)(byte & 0x7f) << shift;
    }
    if (value < min || value > max) {
        r->bad = true;
        return min;
    }
    return value;
}

/* Tests the check that ends src[0, size) and takes it off *size. */
static inline bool strip_check(const uint8_t *src, size_t *size)
{
    if (*size < CHECK_BYTES)
        return false;
    reader r = {.src = src + *size - CHECK_BYTES, .size = CHECK_BYTES};
    *size -= CHECK_BYTES;
    return take_fixed(&r, CHECK_BYTES) == container_check(src, *size);
}

/* -- frame headers with an index record ----------------------------------- */

/* Returns the size in bytes of a frame header with one optional record of record_size bytes, its
 * type and size not counted; record_size 0: without a record. */
size_t container_head_size(const container_frame *frame, size_t record_size);

/* As container_write_frame(), with the record of type RECORD_INDEX record[0, record_size), or
 * none where record_size is 0. */
gpuzip_status container_write_head(uint8_t *dst, size_t capacity, size_t *size,
                                   const container_frame *frame, const uint8_t *record,
                                   size_t record_size);

/* As container_read_frame(); where frame->is_index, *index becomes its index record, which the
 * caller is to read. */
gpuzip_status container_read_head(container_frame *frame, const uint8_t *src, size_t size,
                                  reader *index);

#endif
