/* signals.c: see signals.h. */
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* Signals that no program can catch, that end none (CHLD, CONT, URG, WINCH), that stop one, and
 * USR1, which asks for progress. All others, real-time ones too, end a program by default. */
static const int left_alone[] = {SIGKILL,  SIGSTOP, SIGCHLD, SIGCONT, SIGURG,
                                 SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1};

static pthread_t main_thread;
static signals_doomed *volatile doomed; /* the latest */
static volatile sig_atomic_t usr1;
static sigset_t handled_set;
static sigset_t mask_before; /* the thread's own, while the signals are held */

static void remove_doomed(void)
{
    for (const signals_doomed *file = doomed; file; file = file->next)
        unlink(file->path);
}

static bool is_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE ||
           number == SIGTRAP || number == SIGSYS || number == SIGABRT;
}

static void on_signal(int number)
{
    int saved_errno = errno;
    if (!pthread_equal(pthread_self(), main_thread)) {
        /* Only the main thread blocks signals while it changes `doomed`. */
        pthread_kill(main_thread, number);
        while (is_fault(number)) /* a return would repeat the fault */
            pause();
        errno = saved_errno;
        return;
    }
    remove_doomed();
    if (number == SIGBUS) { /* mapped pages are gone */
        static const char text[] = "gpuzip: a file in use, such as a model, was shortened, or its "
                                   "disk has an error; the file in work is not written\n";
        ssize_t told = write(STDERR_FILENO, text, sizeof text - 1);
        (void)told;
        _exit(1);
    }
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(number, &standard, NULL);
    raise(number); /* blocked while we are here: kills on return */
    errno = saved_errno;
}

static void on_usr1(int number)
{
    (void)number;
    usr1 = 1;
}

bool signals_took_usr1(void)
{
    bool came = usr1;
    if (came)
        usr1 = 0;
    return came;
}

static bool is_handled(int number)
{
    for (size_t i = 0; i < sizeof left_alone / sizeof *left_alone; i++)
        if (number == left_alone[i])
            return false;
    return true;
}

void signals_begin(void)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    main_thread = pthread_self();
    sigemptyset(&handled_set);
    for (int number = 1; number <= SIGRTMAX; number++)
        if (is_handled(number))
            sigaddset(&handled_set, number);
    action.sa_mask = handled_set;
    for (int number = 1; number <= SIGRTMAX; number++)
        if (is_handled(number) && sigaction(number, NULL, &before) == 0 &&
            before.sa_handler == SIG_DFL)
            sigaction(number, &action, NULL);
    struct sigaction note = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    if (sigaction(SIGUSR1, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGUSR1, &note, NULL);
    atexit(remove_doomed);
}

void signals_hold(void)
{
    pthread_sigmask(SIG_BLOCK, &handled_set, &mask_before);
}

void signals_release(void)
{
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

void signals_doom(signals_doomed *file, const char *path)
{
    *file = (signals_doomed){path, doomed};
    doomed = file;
}

void signals_spare(const signals_doomed *file)
{
    if (doomed == file) {
        doomed = file->next;
        return;
    }
    signals_doomed *before = doomed;
    while (before->next != file)
        before = before->next;
    before->next = file->next;
}
