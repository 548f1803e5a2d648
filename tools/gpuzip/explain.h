/* explain.h: `gpuzip explain`: where a file's bits went, as a page for a browser. */
#ifndef EXPLAIN_H
#define EXPLAIN_H

/* argv[0] is "explain". */
void explain_cmd(int argc, char **argv);

#endif
