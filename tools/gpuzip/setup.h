/* setup.h: from the command line to an opened library. */
#ifndef SETUP_H
#define SETUP_H

#include "args.h"

/* Opens the library on a device (NULL: the default one) without a model. The caller releases *gz
 * with gpuzip_close(). Returns false after an error message. */
bool setup_open_bare(gpuzip **gz, const char *device, int threads);

/* Notes the files that the run reads, opens the library on the device and adds the models that the
 * command line names, or the built-in one. The caller releases *gz with gpuzip_close(). Returns
 * false after an error message. */
bool setup_open(gpuzip **gz, const args *a);

/* Adds one model (NULL: the built-in one). Returns false after an error message. */
bool setup_add_model(gpuzip *gz, const char *source, int *model);

/* Sets the options of compression, experts included, from the command line. */
void setup_options(gpuzip_options *options, const args *a);

#endif
