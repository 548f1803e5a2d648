/* builtin.c: takes in builtin.gpzm, whose path the build gives as BUILTIN_MODEL. An
 * array in C would take a compiler minutes. */
#include "builtin.h"

__asm__(".section .rodata\n"
        ".balign 64\n"
        ".global builtin_model\n"
        ".type builtin_model, %object\n"
        ".size builtin_model, builtin_model_end - builtin_model\n"
        "builtin_model:\n"
        ".incbin \"" BUILTIN_MODEL "\"\n"
        "builtin_model_end:\n"
        ".balign 8\n"
        ".global builtin_model_size\n"
        ".type builtin_model_size, %object\n"
        ".size builtin_model_size, 8\n"
        "builtin_model_size:\n"
        ".quad builtin_model_end - builtin_model\n"
        ".previous\n");
