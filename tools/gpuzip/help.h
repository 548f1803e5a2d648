/* help.h: the texts of -h, -H and -V. */
#ifndef HELP_H
#define HELP_H

#include <stdbool.h>

void help_print_short(void); /* fits a screen of 24 lines */
void help_print_long(void);
void help_print_version(bool bare); /* bare: the number alone */

#endif
