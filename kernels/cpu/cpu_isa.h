/* cpu_isa.h: the parts of the CPU backend that are compiled once a level of
 * instruction set, and how to reach them.
 *
 * A file listed in CPU_ISA_SOURCES is compiled with CPU_ISA_SUFFIX = c, avx2 or
 * avx512 and that level's flags. It has internal linkage throughout, but for one
 * table of functions whose name ends in the suffix: CPU_ISA(name).
 */
#ifndef GPUZIP_CPU_ISA_H
#define GPUZIP_CPU_ISA_H

#include "cpu.h"

#define CPU_ISA_JOIN_(name, suffix) name##_##suffix
#define CPU_ISA_JOIN(name, suffix)  CPU_ISA_JOIN_(name, suffix)
#define CPU_ISA(name)               CPU_ISA_JOIN(name, CPU_ISA_SUFFIX)

/* Declares the tables of one family, and picks the one for a context. */
#if defined(__x86_64__)
#define CPU_ISA_DECLARE(type, name) extern const type name##_c, name##_avx2, name##_avx512
#define CPU_ISA_PICK(ctx, name)                                                                    \
    ((ctx)->isa >= CPU_ISA_AVX512 ? &name##_avx512                                                 \
     : (ctx)->isa >= CPU_ISA_AVX2 ? &name##_avx2                                                   \
                                  : &name##_c)
#else
#define CPU_ISA_DECLARE(type, name) extern const type name##_c
#define CPU_ISA_PICK(ctx, name)     ((void)(ctx), &name##_c)
#endif

#endif
