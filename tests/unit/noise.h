/* Random numbers for tests, the same in each run. */
#ifndef TESTS_NOISE_H
#define TESTS_NOISE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Uniform in [-1, 1). */
static inline float noise(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1;
}

/* n of them, aligned to 64 bytes, from malloc. */
static inline float *random_floats(size_t n)
{
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    for (size_t i = 0; i < n; i++)
        x[i] = noise();
    return x;
}

#endif
