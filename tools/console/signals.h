/* signals.h: removes half-written files when a signal ends the program.
 *
 * The handler itself removes the temporary files and lets the signal kill the program.
 * A flag tested by the coding loop would be simpler, but a pass over a large batch or a
 * read from an idle pipe may take seconds, and Ctrl-C must not.
 *
 * Every signal that ends a program and can be caught is handled, unless it was ignored
 * when the program began (nohup) or a sanitizer handles it. A library that calls exit()
 * (libgomp without threads) leaves no file either. For the main thread only; handlers that
 * land in another thread pass the signal on to it.
 *
 * USR1 asks for a line of progress; it never interrupts a call.
 */
#ifndef GPUZIP_SIGNALS_H
#define GPUZIP_SIGNALS_H

#include <stdbool.h>

/* Installs the handlers. Call before any thread is started. */
void signals_begin(void);

/* Whether USR1 has come since the last call. */
bool signals_took_usr1(void);

/* Between these no signal is handled, so that creating or renaming a file and
 * noting it are one step. Not to be nested. */
void signals_hold(void);
void signals_release(void);

/* A file to remove, in a list of any length. */
typedef struct signals_doomed {
    const char *path;
    struct signals_doomed *next;
} signals_doomed;

/* Adds a file and takes it off. *file and path stay the caller's and must live as long as
 * it is doomed. Call with the signals held. */
void signals_doom(signals_doomed *file, const char *path);
void signals_spare(const signals_doomed *file);

#endif
