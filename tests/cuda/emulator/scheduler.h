/* scheduler.h: between the emulator's blocks and threads (emulator.cpp) and what they wait for
 * elsewhere (hopper.cpp). */
#ifndef GPUZIP_EMULATOR_SCHEDULER_H
#define GPUZIP_EMULATOR_SCHEDULER_H

#include <stddef.h>

/* The thread that runs, 0 .. of the block, and how many the block has. */
unsigned emulator_thread(void);
unsigned emulator_threads(void);

/* Bytes of the block's dynamic shared memory. */
size_t emulator_shared_bytes(void);

/* Lets others run until ready(context) holds. describe(context) says for what the thread
 * waits, should that never come. */
void emulator_wait_until(bool (*ready)(const void *context), const char *(*describe)(const void *),
                         const void *context);

/* hopper.cpp, called as a block begins and ends, and when a thread of it ends. */
void hopper_block_begin(void);
void hopper_block_end(void);
void hopper_thread_end(void);
/* Performs some of the copies under way, at least one if `idle`; false: there was none to
 * perform. */
bool hopper_copies_run(bool idle);

#endif
