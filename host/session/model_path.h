/* model_path.h: finds a model file by its id, in folders that hold models under their ids. */
#ifndef GPUZIP_MODEL_PATH_H
#define GPUZIP_MODEL_PATH_H

#include "gpuzip.h"

#define MODEL_PATH_DIGITS_MIN 8 /* of an id that a user gives */

/* Writes the path of a file whose name begins with `digits`, hexadecimal ones in lower case, and
 * ends with .gpzm. The folders are those of the environment variable GPUZIP_MODEL_PATH (with colons
 * between), then gpuzip/models in XDG_DATA_HOME, or else in ~/.local/share. Of several files the
 * first by name counts. Whether its id is really that, its reader must check. */
bool model_path_find(char path[GPUZIP_PATH_BYTES], const char *digits);

#endif
