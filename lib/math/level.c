#include "math/level.h"

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
