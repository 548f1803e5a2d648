/* observe.h: what was measured of a compressed file's tokens, on its way to the caller. */
#ifndef GPUZIP_OBSERVE_H
#define GPUZIP_OBSERVE_H

#include "files.h"

/* Names the experts in f's statistics: they are measured. For every block of f. */
void observe_begin(file *f, const handle_plan *plan);

/* Adds up what was measured of f's next block, if it was, and tells f's observer of it. */
void observe_block(file *f, const block *b);

#endif
