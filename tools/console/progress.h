/* progress.h: a line on the terminal that tells how far a long call is. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char *name;          /* printable; NULL: nothing is shown */
    uint64_t total;      /* bytes of input to come; 0: unknown */
    bool decompresses;   /* the rate is that of the output */
    double begun, shown; /* when, as progress_seconds() */
} progress;

/* Seconds on a clock that never jumps. */
double progress_seconds(void);

/* Shows nothing unless stderr is a terminal and the verbosity normal or higher. */
void progress_begin(progress *p, const char *name, uint64_t total, bool decompresses);

/* Shows how far it is; at most some times a second, and not when it takes no time. */
void progress_update(progress *p, uint64_t bytes_in, uint64_t bytes_out);

/* Removes the line. */
void progress_end(progress *p);

/* Writes a rate such as "70.1 KB/s" into text[20]; 1 KB is 1000 bytes. */
void progress_format_rate(char text[20], double bytes, double seconds);

#endif
