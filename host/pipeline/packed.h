/* packed.h: bytes compressed by a general codec of a library, for blocks that the model does not
 * suit. coder/FORMAT.md, section 4.3, defines the forms.
 *
 * LZMA2 (liblzma) is the smaller form of binaries, tables and text; zstd (libzstd) is smaller
 * where bytes are evenly spread over part of the alphabet (base64, nucleotides, hexadecimal), for
 * it codes such bytes at their entropy, and LZMA2 loses 2 to 10 % to its adaptive bits.
 *
 * The bytes of packed_pack() may differ between versions of the libraries; packed_unpack() reads
 * those of all versions.
 */
#ifndef GPUZIP_PACKED_H
#define GPUZIP_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define PACKED_RAW_MAX ((size_t)1 << 24) /* bytes that may be packed together */

/* Returns the bytes of memory that packed_unpack() takes at most, for raw_size bytes of content,
 * beside its arguments. */
uint64_t packed_unpack_bytes(size_t raw_size);

/* Packs raw[0, raw_size), raw_size 1 .. PACKED_RAW_MAX, into dst[0, *size), the smallest of the
 * forms; takes at most `memory` bytes (0: as many as pack best) beside its arguments.
 * Errors: CAPACITY (no form fits in `capacity` bytes, or none can be made in or read with that
 * memory), MEMORY. */
gpuzip_status packed_pack(uint8_t *dst, size_t capacity, size_t *size, const uint8_t *raw,
                          size_t raw_size, uint64_t memory);

/* Returns about the size that packed_pack() would reach, at a tenth of its cost: it is mostly
 * between 0 and 30 % too high. raw, memory: as there. raw_size if it does not become smaller, or
 * if there is no memory. */
size_t packed_estimate(const uint8_t *raw, size_t raw_size, uint64_t memory);

/* Unpacks src[0, size), any bytes, to raw[0, raw_size), raw_size 1 .. PACKED_RAW_MAX; raw is
 * changed also where it fails. Errors: CORRUPT (no such form, or not exactly this size), MEMORY. */
gpuzip_status packed_unpack(uint8_t *raw, size_t raw_size, const uint8_t *src, size_t size);

#endif
