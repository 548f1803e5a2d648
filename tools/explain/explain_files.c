/* explain_files.c: includes explain.css and explain.js; the build sets their paths. */
#include "explain_files.h"

#define TAKE_IN(name, path)                                                                        \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #name "\n" #name ":\n"                                                      \
            ".incbin \"" path "\"\n"                                                               \
            ".byte 0\n"                                                                            \
            ".previous\n")

TAKE_IN(explain_css, EXPLAIN_CSS);
TAKE_IN(explain_js, EXPLAIN_JS);
