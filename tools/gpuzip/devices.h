/* devices.h: `gpuzip --list-devices`. */
#ifndef DEVICES_H
#define DEVICES_H

#include "args.h"

/* Prints what the program can compute on and whether each device passes the self-test with
 * the models of the command line (or the built-in one): a line of a table, with --json an
 * object. A device that does not raises the exit code as a run on it would. */
void devices_list(const args *a);

#endif
