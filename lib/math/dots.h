/* Dot products of many vectors with many, and what makes vectors unit: similarities of embeddings.
 * A product is summed in one order that depends on nothing but the two vectors: a · b and b · a give the same
 * bytes in every batch, which BLAS does not promise. */
#ifndef CLIP_MATH_DOTS_H
#define CLIP_MATH_DOTS_H

#include "base/level.h"

#include <stddef.h>
#include <stdint.h>

struct clip_dot_kernels {
    /* out[i * stride + j] = a[i][width] · b[j][width] for i < n, j < m, in f32. Nothing need be aligned. */
    void (*dots)(size_t width, size_t n, const float *a, size_t m, const float *b, float *out, size_t stride);

    /* The highest of x[n]; NaN is skipped; -INFINITY if there is nothing else. */
    float (*highest)(size_t n, const float *x);

    /* The sum of the squares of x[n], in double: the same at each level. x, here and below, need not be
     * aligned.
     */
    double (*squares)(size_t n, const void *x);

    /* out[n] = x[n] times `factor` in double, rounded once: the same at each level; out may be x. */
    void (*scale)(size_t n, const void *x, double factor, float *out);

    /* out[n] = the IEEE halves x[n], exactly. */
    void (*from_halves)(size_t n, const void *x, float *out);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_dot_kernels *clip_dot_kernels(enum clip_level level);

extern const struct clip_dot_kernels clip_dot_kernels_plain, clip_dot_kernels_avx2, clip_dot_kernels_avx512;

#endif
