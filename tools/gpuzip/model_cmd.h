/* model_cmd.h: `gpuzip model import` and `gpuzip model info`. */
#ifndef MODEL_CMD_H
#define MODEL_CMD_H

/* argv[0] is "model". Errors are printed and raise the exit code. */
void model_cmd(int argc, char **argv);

#endif
