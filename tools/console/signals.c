/* signals.c: see signals.h. */
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static const int handled[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU, SIGXFSZ};

static pthread_t main_thread;
static signals_doomed *volatile doomed; /* the latest */
static volatile sig_atomic_t usr1;
static sigset_t handled_set;
static sigset_t mask_before; /* the thread's own, while the signals are held */

static void on_signal(int number)
{
    int saved_errno = errno;
    if (!pthread_equal(pthread_self(), main_thread)) {
        /* Only the main thread blocks signals while it changes `doomed`. */
        pthread_kill(main_thread, number);
        errno = saved_errno;
        return;
    }
    for (const signals_doomed *file = doomed; file; file = file->next)
        unlink(file->path);
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

void signals_begin(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    main_thread = pthread_self();
    sigemptyset(&handled_set);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(&handled_set, handled[i]);
    action.sa_mask = handled_set;
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++) {
        struct sigaction before;
        if (sigaction(handled[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(handled[i], &action, NULL);
    }
    struct sigaction note = {.sa_handler = on_usr1, .sa_flags = SA_RESTART}, before;
    if (sigaction(SIGUSR1, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGUSR1, &note, NULL);
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
