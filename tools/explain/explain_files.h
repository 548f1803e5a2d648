/* explain_files.h: what is in the page besides figures and text; see explain_files.c. */
#ifndef EXPLAIN_FILES_H
#define EXPLAIN_FILES_H

/* Zero-terminated. Neither holds "</". */
extern const char explain_css[], explain_js[];

#endif
