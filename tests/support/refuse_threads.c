/* refuse_threads.c: a library to be preloaded, with which no thread can be made. */
#include <errno.h>
#include <pthread.h>

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread,
                                                          const pthread_attr_t *attributes,
                                                          void *(*fn)(void *), void *of)
{
    (void)thread;
    (void)attributes;
    (void)fn;
    (void)of;
    return EAGAIN;
}
