/* bench_clock.c: see bench_clock.h. */
#include "bench_clock.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "message.h"

/* The integer in a file of the system, or 0. */
static long read_integer(const char *path)
{
    long value = 0;
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    if (fscanf(f, "%ld", &value) != 1)
        value = 0;
    fclose(f);
    return value;
}

void bench_check_host(void)
{
    double load = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (getloadavg(&load, 1) == 1 && load > 0.25 * (double)cores)
        message_note("the machine is busy (load %.2f on %ld cores): the results are too low", load,
                     cores);
    long most = read_integer("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    long allowed = read_integer("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq");
    if (most > 0 && allowed > 0 && allowed < most - most / 10)
        message_note("the processor is held at %ld of %ld MHz", allowed / 1000, most / 1000);
}

/* The functions in use of the driver's management library, libnvidia-ml (they and their constants
 * do not change; 0 is success). */
#define NVML_CLOCK_SM 1
typedef struct {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*find)(const char *uuid, void **device);
    int (*clock)(void *device, int kind, unsigned *mhz);
    int (*clock_max)(void *device, int kind, unsigned *mhz);
} nvml;

static bool nvml_load(nvml *n)
{
    n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!n->library)
        return false;
    *(void **)&n->init = dlsym(n->library, "nvmlInit_v2");
    *(void **)&n->shutdown = dlsym(n->library, "nvmlShutdown");
    *(void **)&n->find = dlsym(n->library, "nvmlDeviceGetHandleByUUID");
    *(void **)&n->clock = dlsym(n->library, "nvmlDeviceGetClockInfo");
    *(void **)&n->clock_max = dlsym(n->library, "nvmlDeviceGetMaxClockInfo");
    return n->init && n->shutdown && n->find && n->clock && n->clock_max;
}

/* As the library writes it: GPU-01234567-89ab-cdef-0123-456789abcdef. */
static void write_uuid(char text[48], const uint8_t id[16])
{
    int at = sprintf(text, "GPU");
    for (int i = 0; i < 16; i++)
        at += sprintf(text + at, "%s%02x",
                      i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

void bench_check_clock(bench *b)
{
    nvml n = {0};
    char uuid[48];
    void *device;
    b->clock = b->clock_max = 0;
    if (!b->gpu)
        return;
    if (nvml_load(&n) && n.init() == 0) {
        write_uuid(uuid, b->about.id);
        if (n.find(uuid, &device) != 0 || n.clock(device, NVML_CLOCK_SM, &b->clock) != 0 ||
            n.clock_max(device, NVML_CLOCK_SM, &b->clock_max) != 0)
            b->clock = b->clock_max = 0;
        n.shutdown();
    }
    if (n.library)
        dlclose(n.library);
    if (b->clock < b->clock_max - b->clock_max / 5)
        message_note("the GPU runs at %u of %u MHz", b->clock, b->clock_max);
}
