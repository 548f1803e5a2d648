/* commands.h: `gpuzip explain` and `gpuzip model`. Both print errors and raise the exit code. */
#ifndef COMMANDS_H
#define COMMANDS_H

/* Shows where a file's bits went, as a page for a browser. argv[0] is "explain". */
void explain_cmd(int argc, char **argv);

/* Imports, learns and describes models. argv[0] is "model". */
void model_cmd(int argc, char **argv);

#endif
