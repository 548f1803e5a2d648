/* progress.h: a progress line on the terminal. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *file;    /* the name as it is, of the caller */
    const char *device;  /* static, shown where the width allows; NULL: unknown */
    char *name;          /* printable; NULL: no line on the terminal */
    uint64_t total;      /* bytes of input to come; 0: unknown */
    bool decompresses;   /* the rate is that of the output */
    double begun, shown; /* times of start and last update, of progress_seconds() */
} progress;

/* Seconds on a clock that never jumps. */
double progress_seconds(void);

/* No progress_begin() from here on shows a line. */
void progress_hide(void);

/* Shows nothing unless stderr is a terminal and the verbosity normal or higher, or USR1 comes. name
 * must live until progress_end(). */
void progress_begin(progress *p, const char *name, uint64_t total, bool decompresses);

/* Updates the line, at most 5 times a second; never in the first half second. After USR1
 * (signals.h) prints the figures as a line of their own. */
void progress_update(progress *p, uint64_t bytes_in, uint64_t bytes_out);

/* Removes the line. */
void progress_end(progress *p);

/* Appends "  TEXT" to line[size] if the terminal has room for that beside `beside` columns of
 * other text; always where stderr is no terminal. */
void progress_append(char *line, size_t size, size_t beside, const char *text);

/* Writes a rate such as "70.1 KB/s" into text[20]; 1 KB is 1000 bytes. */
void progress_format_rate(char text[20], double bytes, double seconds);

#endif
