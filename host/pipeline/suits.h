/* suits.h: predicts, before the model reads a block, whether it compresses the block better than
 * a general codec.
 *
 * The answer decides how a block is coded, so it changes sizes and time, never the decoded
 * bytes. A wrong "no" makes a block as large as the general codec makes it; a wrong "yes" only
 * costs the time of coding, since the smaller result is written.
 */
#ifndef GPUZIP_SUITS_H
#define GPUZIP_SUITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the smallest content that is judged: of less, statistics say little, and the model
 * needs a fraction of a second. */
#define SUITS_BYTES_MIN ((size_t)4096)

/* Returns false if the model surely does not help raw[0, size), size SUITS_BYTES_MIN .. 2^24, of so
 * many tokens (0: the tokenizer has no words, so their number tells nothing, and all but random
 * content may suit); estimate: packed_estimate() of it. */
bool suits_model(const uint8_t *raw, size_t size, size_t tokens, size_t estimate);

#endif
