/* Batch norm with the statistics of the batch, ReLU, and the sum at the end of a bottleneck, forward and
 * backward.
 *
 * Pixels are rows, x[pixels][channels]. moments, normalize, sums and backward take any number of channels;
 * the others take a multiple of CLIP_CHANNELS (math/conv-train.h). Statistics of many pixels are joined from
 * those of parts, in double and in a fixed order. */
#ifndef CLIP_MATH_BATCH_NORM_H
#define CLIP_MATH_BATCH_NORM_H

#include "base/level.h"

#include <stddef.h>

/* y = (x - mean) scale + shift, each [channels]. */
struct clip_batch_norm {
    const float *mean, *scale, *shift;
};

/* The gradient of x: slope (x - mean) + scale g + shift, g the gradient of y, each [channels]. */
struct clip_batch_norm_back {
    const float *mean, *slope, *scale, *shift;
};

struct clip_batch_norm_kernels {
    /* For each channel, the mean and the sum of the squared distances from it. */
    void (*moments)(size_t pixels, size_t channels, const float *x, double *mean, double *squares);

    /* y = norm(x), or max(norm(x), 0) if `relu`; y may be x. */
    void (*normalize)(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                      int relu, float *y);

    /* y = max(norm(x) + side_norm(side), 0), or max(norm(x) + side, 0) if side_norm is NULL. */
    void (*join)(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                 const float *side, const struct clip_batch_norm *side_norm, float *y);

    /* gradient[n] = 0 where y[n], the result of a ReLU, is 0. */
    void (*gate)(size_t n, const float *y, float *gradient);

    /* The same for y = max(norm(x), 0), which is computed again. */
    void (*gate_norm)(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                      float *gradient);

    /* For each channel, the sums of gradient and of gradient (x - mean). */
    void (*sums)(size_t pixels, size_t channels, const float *gradient, const float *x, const float *mean,
                 double *sum, double *product);

    /* dx as in struct clip_batch_norm_back, from the gradient of y; dx may be that. */
    void (*backward)(size_t pixels, size_t channels, const float *gradient, const float *x,
                     const struct clip_batch_norm_back *back, float *dx);

    /* The backward of average pooling 2 by 2: adds a quarter of each pixel of gradient[height / 2][width /
     * 2][channels] to its four pixels of x[height][width][channels]; height and width are even. */
    void (*pool_backward)(const float *gradient, size_t height, size_t width, size_t channels, float *x);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_batch_norm_kernels *clip_batch_norm_kernels(enum clip_level level);

/* Joins the moments of `count` pixels with those of `more` others. */
void clip_moments_join(size_t channels, double count, double *mean, double *squares, double more,
                       const double *other_mean, const double *other_squares);

extern const struct clip_batch_norm_kernels clip_batch_norm_kernels_plain, clip_batch_norm_kernels_avx2,
    clip_batch_norm_kernels_avx512;

#endif
