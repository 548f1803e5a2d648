/* setup.h: from the command line to an opened library. */
#ifndef SETUP_H
#define SETUP_H

#include "args.h"

/* Opens the library on a device (NULL: the default one) without any model, or tells the
 * user why not. The caller releases *gz with gpuzip_close(). */
bool setup_open_bare(gpuzip **gz, const char *device, int threads);

/* Opens the library on the device and adds the models that the command line names, or
 * the built-in one. The caller releases *gz with gpuzip_close(). Returns false after
 * telling the user. */
bool setup_open(gpuzip **gz, const args *a);

/* Adds one model (NULL: the built-in one) or tells the user why not. */
bool setup_add_model(gpuzip *gz, const char *source, int *model);

/* How to compress: the options of the command line with its experts. */
void setup_options(gpuzip_options *options, const args *a);

#endif
