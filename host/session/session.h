/* session.h: the content of the opaque gpuzip: devices, and the models loaded on them. */
#ifndef GPUZIP_SESSION_H
#define GPUZIP_SESSION_H

#include "checkpoint.h"
#include "device.h"
#include "gpuzip.h"
#include "tokenizer.h"

/* A model file that a session has opened. device.h makes it ready to compute. */
typedef struct {
    checkpoint file;
    char *given; /* the name that the user gave for it */
    tokenizer *t;
    uint32_t *suffix; /* [vocab + escapes] the last bytes of each token, see token_suffix() */
} session_model;

struct gpuzip {
    device gpu[DEVICE_GPUS_MAX]; /* [gpus] */
    int gpus;
    device cpu;     /* opened if there is no GPU, or when the first one fails */
    bool automatic; /* the user named no GPUs */
    int threads;    /* of the CPU, >= 1 */
    session_model model[GPUZIP_MAX_MODELS];
    int models;
    struct pipeline *p;    /* of the files being coded, or NULL */
    uint64_t memory_limit; /* bytes; 0: none */
    void (*note)(void *context, gpuzip_note kind, const char *text); /* or NULL */
    void *note_context;
    char error[GPUZIP_ERROR_BYTES];
};

/* Opens the chosen devices. threads: of the CPU, 0 for one a core that the process may use. The
 * caller owns *gz and releases it with session_close(), which accepts NULL; no pipeline may
 * be left then. On an error, `error` names the device. Errors: MEMORY, DEVICE. */
gpuzip_status session_open(gpuzip **gz, const device_choice *choice, int threads,
                           char error[GPUZIP_ERROR_BYTES]);
void session_close(gpuzip *gz);

/* As gpuzip_add_model(); nothing may be coded meanwhile. */
gpuzip_status session_add_model(gpuzip *gz, const char *name, int *index);

/* Sets gpuzip_error()'s text and returns status. */
__attribute__((format(printf, 3, 4))) gpuzip_status session_fail(gpuzip *gz, gpuzip_status status,
                                                                 const char *format, ...);

/* Passes one line of text to the callback of gpuzip_set_notes(). In the caller's thread only. */
__attribute__((format(printf, 3, 4))) void session_note(const gpuzip *gz, gpuzip_note kind,
                                                        const char *format, ...);

/* Adds the model whose id begins with the `bytes` bytes at id from the folders of model_path.h. As
 * gpuzip_add_model(), nothing may be coded meanwhile. Errors: MODEL (none, or the file has another
 * id), and those of gpuzip_add_model(). */
gpuzip_status session_fetch_model(gpuzip *gz, const uint8_t *id, size_t bytes);

/* Passes on a warning that gz's error text holds after a success, and clears it. */
void session_warn(gpuzip *gz);

/* Opens the CPU with every model on it, unless it is open. Sets no error text, because worker
 * threads call it. Errors: MEMORY, DEVICE, SELF_TEST, CORRUPT (a model without a check). */
gpuzip_status session_cpu(gpuzip *gz, device **cpu);

/* Sets the error text for a device on which loading a model failed; returns status. */
gpuzip_status session_fail_load(gpuzip *gz, gpuzip_status status, const device *d,
                                const char *model);

/* The model whose id begins with the `bytes` bytes at id, or NULL. bytes: 1 .. WEIGHTS_ID_BYTES. */
const session_model *session_find_model(const gpuzip *gz, const uint8_t *id, size_t bytes);

#endif
