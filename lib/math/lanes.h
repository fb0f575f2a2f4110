/* A vector of the level that a file of kernels is compiled for (base/level.h), and the block of channels that
 * pictures in training are made of. Files of kernels include this, and train/adamw.c, at the least level. */
#ifndef CLIP_MATH_LANES_H
#define CLIP_MATH_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Two vectors dealt out, one element of each in turn: of their first and of their last halves. */
#if defined __AVX512F__
enum { LANES = 16 };
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined __AVX2__
enum { LANES = 8 };
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
enum { LANES = 4 };
#define FIRST_HALVES 0, 4, 1, 5
#define LAST_HALVES 2, 6, 3, 7
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

/* yes where `test` holds, else no. */
INLINE vec choose(ivec test, vec yes, vec no)
{
    return (vec)((test & (ivec)yes) | (~test & (ivec)no));
}

/* Of two numbers of which one is NaN, both give b. */
INLINE vec min(vec a, vec b)
{
    return choose(a < b, a, b);
}

INLINE vec max(vec a, vec b)
{
    return choose(a > b, a, b);
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

/* Transposes a square of vectors: each round interleaves rows i and i + LANES / 2, and after log2(LANES)
 * rounds rows are columns. */
INLINE void transpose_square(vec square[LANES])
{
    UNROLL for (int round = 1; round < LANES; round *= 2)
    {
        vec dealt[LANES];
        UNROLL for (int i = 0; i < LANES / 2; i++)
        {
            dealt[2 * i] = __builtin_shufflevector(square[i], square[i + LANES / 2], FIRST_HALVES);
            dealt[2 * i + 1] = __builtin_shufflevector(square[i], square[i + LANES / 2], LAST_HALVES);
        }
        UNROLL for (int i = 0; i < LANES; i++) square[i] = dealt[i];
    }
}

#endif
