/* explain_files.h: the style and the script of the page. */
#ifndef EXPLAIN_FILES_H
#define EXPLAIN_FILES_H

/* Zero-terminated. Neither holds "</". */
extern const char explain_css[], explain_js[];

#endif
