/* progress.c: see progress.h. */
#include "progress.h"

#include "message.h"
#include "signals.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_BEFORE_FIRST 0.5
#define SECONDS_BETWEEN      0.2
#define NAME_COLUMNS         32 /* of a long name the end is shown */

static bool hidden;

void progress_hide(void)
{
    hidden = true;
}

double progress_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_begin(progress *p, const char *name, uint64_t total, bool decompresses)
{
    *p = (progress){
        .file = name, .total = total, .decompresses = decompresses, .begun = progress_seconds()};
    if (!hidden && message_verbosity() >= VERBOSITY_NORMAL && isatty(STDERR_FILENO))
        p->name = message_printable(name);
}

void progress_format_rate(char text[20], double bytes, double seconds)
{
    static const char *const unit[] = {"B/s", "KB/s", "MB/s", "GB/s"};
    double rate = seconds > 0 ? bytes / seconds : 0;
    int i = 0;
    while (i < 3 && rate >= 999.5) {
        rate /= 1000;
        i++;
    }
    snprintf(text, 20,
             rate < 10    ? "%.2f %s"
             : rate < 100 ? "%.1f %s"
                          : "%.0f %s",
             fmin(rate, 99999), unit[i]);
}

/* Writes the time that is left, e.g. " 1:05 left", into text[24]. */
static void format_left(char text[24], double seconds)
{
    int left = (int)fmin(ceil(seconds), 359999); /* 99:59:59 */
    if (left >= 3600)
        snprintf(text, 24, " %d:%02d:%02d left", left / 3600, left / 60 % 60, left % 60);
    else
        snprintf(text, 24, " %d:%02d left", left / 60, left % 60);
}

/* Writes figures such as "12.5%  10.0 => 2.1 KB  70.1 KB/s  0:05 left" into text[96], after
 * `passed` seconds. */
static void format_figures(char text[96], const progress *p, double passed, uint64_t bytes_in,
                           uint64_t bytes_out)
{
    char rate[20] = "", percent[16] = "", left[24] = "", out[32] = "";
    /* The output comes a block at a time; before the first, the rate is that of the input. */
    progress_format_rate(rate, (double)(p->decompresses && bytes_out ? bytes_out : bytes_in),
                         passed);
    if (bytes_out > 0)
        snprintf(out, sizeof out, " => %.1f", (double)bytes_out / 1000);
    if (p->total > 0 && bytes_in > 0) {
        double part = fmin((double)bytes_in / (double)p->total, 1);
        snprintf(percent, sizeof percent, "%5.1f%%", 100 * part);
        format_left(left, passed * (1 - part) / part);
    }
    snprintf(text, 96, "%s  %.1f%s KB  %s %s", percent, (double)bytes_in / 1000, out, rate, left);
}

/* Columns of the terminal, or many where it does not say. */
static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : INT_MAX;
}

void progress_append(char *line, size_t size, size_t beside, const char *text)
{
    size_t length = strlen(line), all = length + 2 + strlen(text);
    if (all < size && beside + all < (size_t)columns())
        snprintf(line + length, size - length, "  %s", text);
}

/* Shortens a line to the terminal's width, less one column, so that it is never wrapped: the
 * beginning of the name goes first, then the end of the figures. A character beyond ASCII counts as
 * its bytes, so that the line may be shorter than it must be. */
static char *fit(char *line, size_t name)
{
    size_t length = strlen(line), most = (size_t)columns() - 1;
    size_t over = length > most ? length - most : 0, cut = over < name ? over : name;
    line += cut;
    while ((*line & 0xc0) == 0x80)
        line++;
    if (over > name)
        line[most] = '\0';
    return line;
}

void progress_update(progress *p, uint64_t bytes_in, uint64_t bytes_out)
{
    char figures[96], line[160];
    double now = progress_seconds(), passed = now - p->begun;
    if (signals_took_usr1()) {
        format_figures(figures, p, passed, bytes_in, bytes_out);
        message_info(VERBOSITY_SILENT, p->file, "%s", figures + strspn(figures, " "));
    }
    if (!p->name || passed < SECONDS_BEFORE_FIRST || now - p->shown < SECONDS_BETWEEN)
        return;
    p->shown = now;

    size_t length = strlen(p->name);
    const char *name = p->name + (length > NAME_COLUMNS ? length - NAME_COLUMNS : 0);
    while ((*name & 0xc0) == 0x80) /* not from the middle of a UTF-8 character */
        name++;
    format_figures(figures, p, passed, bytes_in, bytes_out);
    snprintf(line, sizeof line, "%s: %s", name, figures);
    if (p->device)
        progress_append(line, sizeof line, 0, p->device);
    message_line(fit(line, strlen(name)));
}

void progress_end(progress *p)
{
    if (p->name)
        message_line("");
    free(p->name);
    p->name = NULL;
}
