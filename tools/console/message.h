/* message.h: the program's messages and its exit code.
 *
 * Diagnostics go to stderr as "gpuzip: FILE: text". All output passes a filter that
 * turns unprintable bytes into \xHH, so that neither a file's name nor its contents
 * can send escape sequences to the terminal.
 *
 * One program has one stderr and one exit code: their state is here, in variables
 * of message.c. For the main thread only.
 */
#ifndef GPUZIP_MESSAGE_H
#define GPUZIP_MESSAGE_H

#include "gpuzip.h"

#include <stdbool.h>
#include <stdio.h>

/* The program's exit codes. When several files end differently the worst counts, in
 * the order OK, WARNING, ERROR, MODEL, SELF_TEST. */
typedef enum {
    EXIT_CODE_OK = 0,
    EXIT_CODE_ERROR = 1,    /* an operation failed */
    EXIT_CODE_WARNING = 2,  /* a file was skipped for a harmless reason, or its index is bad */
    EXIT_CODE_MODEL = 3,    /* a model is missing or is not the one that compressed the file */
    EXIT_CODE_SELF_TEST = 4 /* the device failed its self-test */
} exit_code;

#define VERBOSITY_SILENT  (-2) /* not even errors */
#define VERBOSITY_ERRORS  (-1)
#define VERBOSITY_NORMAL  0
#define VERBOSITY_SUMMARY 1 /* a line a file */

/* Sets the program's name (a static string) for messages, and reads from the environment which
 * characters the user's terminal can show. Call once, first. */
void message_begin(const char *name);

/* Flushes stdout, so that its text precedes the next message on stderr. message_end() reports a
 * failure. */
void message_flush(void);

/* Closes stdout, so that a full disk is noticed, and returns the exit code. */
exit_code message_end(void);

void message_set_verbosity(int verbosity);
int message_verbosity(void);

/* Raises the exit code to code unless it is worse already; prints nothing. */
void message_raise(exit_code code);

/* While muted, errors and warnings are neither printed nor counted; for an attempt that the caller
 * repeats if it fails. */
void message_mute(bool muted);
bool message_is_muted(void);

/* Each prints one line, after "FILE: " unless file is NULL, and raises the exit code
 * (error: ERROR, warning: WARNING). */
__attribute__((format(printf, 2, 3))) void message_error(const char *file, const char *format, ...);
__attribute__((format(printf, 2, 3))) void message_warning(const char *file, const char *format,
                                                           ...);

/* Prints one line like a warning, but doesn't raise the exit code. */
__attribute__((format(printf, 1, 2))) void message_note(const char *format, ...);

/* message_error() for the status of a library call; detail is gpuzip_error() or "". Raises the
 * exit code that belongs to the status. */
void message_status(const char *file, gpuzip_status status, const char *detail);

/* Prints one line to stderr if the verbosity is at least `verbosity`. */
__attribute__((format(printf, 3, 4))) void message_info(int verbosity, const char *file,
                                                        const char *format, ...);

/* Writes text to stream, unprintable bytes as \xHH. */
void message_put(FILE *stream, const char *text);

/* The same as a string that the caller frees; NULL when memory is short. */
char *message_printable(const char *text);

/* Shows a status line, which the next call replaces; "" removes it. */
void message_line(const char *text);

#endif
