/* A vector of the level that a file of kernels is compiled for (base/level.h), and the block of channels that
 * pictures in training are made of. Files of kernels include this, and train/adamw.c, at the least level. */
#ifndef CLIP_MATH_LANES_H
#define CLIP_MATH_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
enum { LANES = 16 };
#elif defined __AVX2__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef double dvec __attribute__((vector_size(LANES * sizeof(double))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t))));

INLINE vec load(const float *x)
{
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE void store(float *x, vec v)
{
    memcpy(x, &v, sizeof v);
}

/* The first n <= LANES floats at x, and zeros; the same to store. Constant n = LANES costs no more than load
 * and store. */
INLINE vec load_part(size_t n, const float *x)
{
    vec v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

INLINE void store_part(size_t n, float *x, vec v)
{
    memcpy(x, &v, n * sizeof *x);
}

INLINE vec splat(float x)
{
    return x - (vec){0};
}

/* v where `test` holds, else 0. */
INLINE vec where(ivec test, vec v)
{
    return (vec)(test & (ivec)v);
}

/* Max with 0; NaN stays NaN. */
INLINE vec rectify(vec v)
{
    return (vec)((ivec)v & ~(ivec)(v < (vec){0}));
}

#endif
