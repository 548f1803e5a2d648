/* devices.h: `gpuzip --list-devices`. */
#ifndef DEVICES_H
#define DEVICES_H

#include "args.h"

/* Prints each device and its result in the self-test with the models of the command line (or the
 * built-in one): a line of a table, with --json an object. A failure raises the exit code as a
 * run on that device would. */
void devices_list(const args *a);

#endif
