/* selftest.h: whether a device computes the right bits.
 *
 * A model file holds test vectors: some tokens and the hash of their logits. A device
 * that gives another hash would write files that decode nowhere else. A GPU is tested
 * once for each model, driver and build of the program; that it passed is remembered in
 * a file of $XDG_CACHE_HOME/gpuzip (~/.cache/gpuzip). A file that cannot be read, has
 * another owner or other contents counts for nothing, and where none can be written the
 * test is made every time.
 */
#ifndef GPUZIP_SELFTEST_H
#define GPUZIP_SELFTEST_H

#include "device.h"

/* Tests device d with m, a model placed there. Errors: SELF_TEST, MEMORY, DEVICE. */
gpuzip_status selftest_run(const device *d, model *m);

#endif
