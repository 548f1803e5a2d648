/* salvage.h: reads a damaged archive, going on behind the damage. */
#ifndef GPUZIP_SALVAGE_H
#define GPUZIP_SALVAGE_H

#include "decoding.h"

/* Puts all intact blocks of the input under way, and gaps in the places of others. A damaged block
 * whose size fits the place of its successor becomes as many zeros as it had bytes of content;
 * otherwise the next intact frame header, block or end mark is looked for byte by byte (about 4 MB
 * of payload a second of one core). Needs io.lost. Errors: FORMAT (nothing of an archive
 * was found), MODEL, UNSUPPORTED, MEMORY, DEVICE, IO and so on. */
gpuzip_status salvage_file(decoding *d);

#endif
