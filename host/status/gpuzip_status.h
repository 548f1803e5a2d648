/* gpuzip_status.h: how a call ended. Part of the public API, and the only part of it that the
 * layers below the engine know. */
#ifndef GPUZIP_STATUS_CODES_H
#define GPUZIP_STATUS_CODES_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GPUZIP_API __attribute__((visibility("default")))
#else
#define GPUZIP_API
#endif

/* Values are part of the API and are never renumbered. */
typedef enum {
    GPUZIP_OK = 0,
    GPUZIP_ERR_ARGUMENT = 1,     /* the caller broke a documented precondition */
    GPUZIP_ERR_MEMORY = 2,       /* host or device allocation failed, or a stated limit was hit */
    GPUZIP_ERR_IO = 3,           /* a file or a callback could not read or write; see errno */
    GPUZIP_ERR_CAPACITY = 4,     /* the output buffer is too small */
    GPUZIP_ERR_FORMAT = 5,       /* not a file of the expected kind */
    GPUZIP_ERR_CORRUPT = 6,      /* truncated, or a checksum does not match */
    GPUZIP_ERR_MODEL = 7,        /* compressed with a model that has not been added */
    GPUZIP_ERR_DEVICE = 8,       /* the device is absent or reported an error */
    GPUZIP_ERR_SELF_TEST = 9,    /* this device's arithmetic does not give the expected bits */
    GPUZIP_ERR_UNSUPPORTED = 10, /* a well-formed file of another version, or with a feature
                                    this build lacks */
    GPUZIP_ERR_CANCELLED = 11    /* a progress callback asked to stop */
} gpuzip_status;

/* Returns a short lower-case name, e.g. "corrupt data"; never NULL. */
GPUZIP_API const char *gpuzip_status_name(gpuzip_status status);

#ifdef __cplusplus
}
#endif

#endif
