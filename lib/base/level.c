#include "base/level.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

enum clip_level clip_level(void)
{
#ifdef __x86_64__
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl");
    return avx2 && avx512 ? CLIP_AVX512 : avx2 ? CLIP_AVX2 : CLIP_PLAIN;
#else
    return CLIP_PLAIN;
#endif
}

int clip_level_choose(enum clip_level *level, struct clip_error *error)
{
    enum clip_level highest = clip_level(), wanted = CLIP_PLAIN;
    const char *name = getenv("CLIP_CPU");
    *level = highest;
    if (!name || !*name)
        return 0;
    while (wanted <= CLIP_AVX512 && strcmp(names[wanted], name) != 0)
        wanted++;
    char shown[64];
    if (wanted > CLIP_AVX512)
        return clip_fail(error, "CLIP_CPU: unknown level '%s' (x86-64, x86-64-v3 or x86-64-v4)",
                         clip_printable(shown, sizeof shown, name, strlen(name)));
    if (wanted > highest)
        return clip_fail(error, "CLIP_CPU: this processor does not support %s", name);
    *level = wanted;
    return 0;
}

const char *clip_level_name(enum clip_level level)
{
    return names[level];
}
