/* cpu_device.c: describes the processor. */
#include <string.h>
#include <unistd.h>

#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The brand string: 16 bytes each of three leaves, blanks in front on some. */
static void cpu_read_name(char name[49])
{
    uint32_t word[12] = {0};
    for (uint32_t i = 0; i < 3; i++)
        (void)__get_cpuid(0x80000002u + i, &word[4 * i], &word[4 * i + 1], &word[4 * i + 2],
                          &word[4 * i + 3]);
    memcpy(name, word, sizeof word);
    name[48] = '\0';
    memmove(name, name + strspn(name, " "), 49 - strspn(name, " "));
}
#else
static void cpu_read_name(char name[49])
{
    name[0] = '\0';
}
#endif

int cpu_devices(void)
{
    return 1;
}

gpuzip_status cpu_describe(int device, ops_device *about)
{
    ops_device filled = {.usable = true, .full_speed = true};
    char name[49];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (device != 0)
        return FAIL(GPUZIP_ERR_DEVICE);
    cpu_read_name(name);
    strcpy(filled.name, name[0] ? name : "CPU");
    if (pages > 0 && page > 0)
        filled.memory = (uint64_t)pages * (uint64_t)page;
    *about = filled;
    return GPUZIP_OK;
}
