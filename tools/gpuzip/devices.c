/* devices.c: see devices.h. */
#include "devices.h"

#include "message.h"
#include "report.h"
#include "setup.h"

#include <string.h>

/* Opens the device with the models; an error is printed and raises the exit code. */
static const char *test(const args *a, const gpuzip_device_info *info)
{
    args alone = *a;
    gpuzip *gz;
    if (!info->usable)
        return "too old";
    alone.device = info->name;
    if (!setup_open(&gz, &alone))
        return "failed";
    gpuzip_close(gz);
    return "passed";
}

/* A version of CUDA, "12.8"; "" for none. */
static const char *version(char text[16], int number)
{
    text[0] = '\0';
    if (number > 0)
        snprintf(text, 16, "%d.%d", number / 1000, number % 1000 / 10);
    return text;
}

static void print_row(const gpuzip_device_info *info, const char *tested)
{
    char capability[16] = "", driver[16], runtime[16];
    if (info->capability > 0)
        snprintf(capability, sizeof capability, "%d.%d", info->capability / 10,
                 info->capability % 10);
    printf("%-8s  %-9s  %-10s  %-6s  %-7s  %8.2f %8.2f  ", info->name, tested, capability,
           version(driver, info->driver), version(runtime, info->runtime),
           (double)info->available / (1 << 30), (double)info->memory / (1 << 30));
    message_put(stdout, info->product);
    if (info->usable && !info->full_speed)
        fputs(" (at about half speed: this build is without 90a)", stdout);
    putchar('\n');
    message_flush();
}

static json_t *to_json(const gpuzip_device_info *info, const char *tested)
{
    return json_pack("{ss so ss sb si si si sI sI}", "device", info->name, "product",
                     report_json_string(info->product), "self_test", tested, "full_speed",
                     info->full_speed, "capability", info->capability, "driver", info->driver,
                     "runtime", info->runtime, "memory", (json_int_t)info->memory, "available",
                     (json_int_t)info->available);
}

void devices_list(const args *a)
{
    if (!a->json)
        puts("Device    Self-test  Capability  Driver  Runtime  GiB free   of all  Product");
    for (int i = 0; i < gpuzip_count_devices(); i++) {
        gpuzip_device_info info;
        gpuzip_status status = gpuzip_get_device_info(i, &info);
        if (status != GPUZIP_OK) {
            message_status(NULL, status, "");
            continue;
        }
        const char *tested = test(a, &info);
        if (a->json)
            report_print_json(stdout, to_json(&info, tested));
        else
            print_row(&info, tested);
    }
}
