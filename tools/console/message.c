/* message.c: diagnostics, escaping and the exit code; see message.h. */
#include "message.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#define TEXT_BYTES 8192 /* of a message; a path has 4096 */

static const char *program = "gpuzip";
static int verbosity_now;
static exit_code worst;
static bool muted;
static int stdout_error;        /* the first errno of a failed write to it, or 0 */
static int line_width;          /* columns that message_line() has on the screen */
static locale_t terminal_ctype; /* 0: that of the C locale */

void message_begin(const char *name)
{
    program = name;
    /* A locale of our own instead of setlocale(): the library must not see one. */
    terminal_ctype = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
}

void message_flush(void)
{
    if (fflush(stdout) != 0 && stdout_error == 0)
        stdout_error = errno;
}

exit_code message_end(void)
{
    int earlier = errno; /* of stdout, if it failed already: long text is written at once */
    message_flush();
    if (ferror(stdout) && stdout_error == 0)
        stdout_error = earlier != 0 ? earlier : EIO;
    if (fclose(stdout) != 0 && stdout_error == 0)
        stdout_error = errno;
    if (stdout_error == EPIPE) /* the reader has left, as in `gpuzip -l FILE | head` */
        message_raise(EXIT_CODE_ERROR);
    else if (stdout_error != 0)
        message_error(NULL, "cannot write to standard output: %s", strerror(stdout_error));
    if (terminal_ctype)
        freelocale(terminal_ctype);
    terminal_ctype = (locale_t)0;
    return worst;
}

void message_set_verbosity(int verbosity)
{
    verbosity_now = verbosity;
}

int message_verbosity(void)
{
    return verbosity_now;
}

void message_mute(bool mute)
{
    muted = mute;
}

bool message_is_muted(void)
{
    return muted;
}

void message_raise(exit_code code)
{
    static const int severity[] = {
        [EXIT_CODE_OK] = 0,    [EXIT_CODE_WARNING] = 1,   [EXIT_CODE_ERROR] = 2,
        [EXIT_CODE_MODEL] = 3, [EXIT_CODE_SELF_TEST] = 4,
    };
    if (!muted && severity[code] > severity[worst])
        worst = code;
}

/* Characters that show nothing themselves but change how others show: in a name they
 * would make it look like another one. */
static bool is_invisible(wchar_t c)
{
    return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

/* Returns the bytes of the printable character at text[size], or 0. */
static size_t printable_size(const char *text, size_t size)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t used = mbrtowc(&c, text, size, &state);
    if (used == 0 || used > size || !iswprint((wint_t)c) || is_invisible(c))
        return 0;
    return used;
}

char *message_printable(const char *text)
{
    size_t size = strlen(text);
    char *shown = size < SIZE_MAX / 4 ? malloc(4 * size + 1) : NULL; /* "\xHH" is the longest */
    if (!shown)
        return NULL;

    locale_t before = terminal_ctype ? uselocale(terminal_ctype) : (locale_t)0;
    size_t to = 0;
    for (size_t from = 0; from < size;) {
        size_t used = printable_size(text + from, size - from);
        if (used > 0) {
            memcpy(shown + to, text + from, used);
            to += used;
            from += used;
        } else {
            to += (size_t)sprintf(shown + to, "\\x%02x", (unsigned char)text[from]);
            from++;
        }
    }
    if (before)
        uselocale(before);
    shown[to] = '\0';
    return shown;
}

/* Takes no memory, which may be short when there is something to say. */
void message_put(FILE *stream, const char *text)
{
    size_t size = strlen(text);
    locale_t before = terminal_ctype ? uselocale(terminal_ctype) : (locale_t)0;
    for (size_t from = 0; from < size;) {
        size_t used = printable_size(text + from, size - from);
        if (used > 0)
            fwrite(text + from, 1, used, stream);
        else
            fprintf(stream, "\\x%02x", (unsigned char)text[from]);
        from += used > 0 ? used : 1;
    }
    if (before)
        uselocale(before);
}

void message_line(const char *text)
{
    if (!*text && line_width == 0)
        return;
    int width = (int)strlen(text);
    fprintf(stderr, "\r%s%*s", text, line_width > width ? line_width - width : 0, "");
    if (!*text)
        fputc('\r', stderr);
    fflush(stderr);
    line_width = width;
}

static void print(const char *file, const char *kind, const char *format, va_list arguments)
{
    char text[TEXT_BYTES];
    vsnprintf(text, sizeof text, format, arguments);
    message_line("");
    fprintf(stderr, "%s: ", program);
    if (file) {
        message_put(stderr, file);
        fputs(": ", stderr);
    }
    fputs(kind, stderr);
    message_put(stderr, text);
    fputc('\n', stderr);
}

void message_error(const char *file, const char *format, ...)
{
    message_raise(EXIT_CODE_ERROR);
    if (muted || verbosity_now < VERBOSITY_ERRORS)
        return;
    va_list arguments;
    va_start(arguments, format);
    print(file, "", format, arguments);
    va_end(arguments);
}

void message_warning(const char *file, const char *format, ...)
{
    message_raise(EXIT_CODE_WARNING);
    if (muted || verbosity_now < VERBOSITY_NORMAL)
        return;
    va_list arguments;
    va_start(arguments, format);
    print(file, "warning: ", format, arguments);
    va_end(arguments);
}

void message_note(const char *format, ...)
{
    if (verbosity_now < VERBOSITY_NORMAL)
        return;
    va_list arguments;
    va_start(arguments, format);
    print(NULL, "warning: ", format, arguments);
    va_end(arguments);
}

void message_info(int verbosity, const char *file, const char *format, ...)
{
    if (verbosity_now < verbosity)
        return;
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    message_line("");
    if (file) {
        message_put(stderr, file);
        fputs(": ", stderr);
    }
    message_put(stderr, text);
    fputc('\n', stderr);
}

/* Advice to the user on a status, or NULL. */
static const char *advice(gpuzip_status status)
{
    switch (status) {
    case GPUZIP_ERR_MEMORY:
        return "try a lower level or fewer --streams, or allow more with --memory";
    case GPUZIP_ERR_FORMAT:
        return "this is not a file that gpuzip wrote";
    case GPUZIP_ERR_CORRUPT:
        return "the file is damaged or cut off";
    case GPUZIP_ERR_MODEL:
        return "name the model that compressed it with --model";
    case GPUZIP_ERR_DEVICE:
        return "--device cpu works everywhere";
    case GPUZIP_ERR_SELF_TEST:
        return "files written here would not decode elsewhere; try --device cpu";
    case GPUZIP_ERR_UNSUPPORTED:
        return "a newer gpuzip is needed";
    default:
        return NULL;
    }
}

void message_status(const char *file, gpuzip_status status, const char *detail)
{
    const char *name = gpuzip_status_name(status);
    if (file && *file && strncmp(detail, file, strlen(file)) == 0)
        file = NULL; /* detail names it */
    if (!*detail)
        detail = advice(status);
    if (detail)
        message_error(file, "%s: %s", name, detail);
    else
        message_error(file, "%s", name);
    if (status == GPUZIP_ERR_MODEL)
        message_raise(EXIT_CODE_MODEL);
    if (status == GPUZIP_ERR_SELF_TEST)
        message_raise(EXIT_CODE_SELF_TEST);
}
