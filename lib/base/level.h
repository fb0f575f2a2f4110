/* Levels of x86-64 that kernels are compiled for. Each kernel source is compiled once per level with
 * CLIP_LEVEL defined (Makefile.am, `kernels`) and gives a table of functions; the program chooses a table
 * when it runs. Other architectures have the plain level only. */
#ifndef CLIP_BASE_LEVEL_H
#define CLIP_BASE_LEVEL_H

#include "base/error.h"

enum clip_level {
    CLIP_PLAIN,  /* what any processor of the architecture has */
    CLIP_AVX2,   /* x86-64-v3 */
    CLIP_AVX512, /* x86-64-v4 */
};

/* The highest level that this processor has, among those compiled. */
enum clip_level clip_level(void);

/* The level to use: the highest, or the lower one that $CLIP_CPU names ("x86-64", "x86-64-v3", "x86-64-v4").
 * -1 with error if there is no such level or the processor lacks it. */
int clip_level_choose(enum clip_level *level, struct clip_error *error);

/* "x86-64-v3" */
const char *clip_level_name(enum clip_level level);

/* The name of a level's table: CLIP_LEVELED(clip_x_kernels) is clip_x_kernels_avx2 in a file compiled for it.
 */
#ifndef CLIP_LEVEL
#define CLIP_LEVEL plain
#endif
#define CLIP_LEVELED(name) CLIP_LEVELED_(name, CLIP_LEVEL)
#define CLIP_LEVELED_(name, level) CLIP_LEVELED__(name, level)
#define CLIP_LEVELED__(name, level) name##_##level

/* The table of that name for a level. */
#ifdef __x86_64__
#define CLIP_TABLE(name, level)                                                                              \
    ((level) == CLIP_AVX512 ? &name##_avx512 : (level) == CLIP_AVX2 ? &name##_avx2 : &name##_plain)
#else
#define CLIP_TABLE(name, level) ((void)(level), &name##_plain)
#endif

#endif
