/* Kernels of convolutional towers, compiled for each level of the processor. A picture is
 * [height][width][channels]; nothing overlaps but where it is said.
 *
 * Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv:1509.09308) over the points 0, +-1/sqrt(2), +-sqrt(2) and
 * infinity, which lose fewer bits than whole numbers: per tile of 4 by 4 outputs the 6 by 6 inputs d become
 * B' d B, the filter g becomes G g G', their products are summed over channels at each of the 36 places, and
 * the sums m become A' m A. Tiles are counted row by row, ceil(width / 4) a row. */
#ifndef CLIP_MATH_CONV_KERNELS_H
#define CLIP_MATH_CONV_KERNELS_H

#include "base/level.h"

#include <stddef.h>
#include <stdint.h>

enum { CLIP_WINOGRAD_TILE = 4, CLIP_WINOGRAD_PLACES = 36 };

struct clip_conv_kernels {
    /* y[rows][n] = [relu](y + bias[n]); bias may be NULL. */
    void (*bias_relu)(size_t rows, size_t n, const float *bias, int relu, float *y);

    /* y[height / 2][width / 2][channels]: means of 2 by 2; an odd last row or column is left out. Backward: a
     * quarter of y's gradient to each of the four. */
    void (*pool)(const float *x, size_t height, size_t width, size_t channels, float *y);
    void (*pool_bf16)(const uint16_t *x, size_t height, size_t width, size_t channels, uint16_t *y);

    /* y[n] = x[n], bf16 as f32. (The other way is math/kernels.h's.) */
    void (*widen)(const uint16_t *x, size_t n, float *y);

    /* u[out][area][in] of w[out][in][area], times scale[out]. */
    void (*patch_weights)(const float *w, const float *scale, size_t area, size_t in, size_t out, float *u);

    /* u[36][in][out], `step` floats from one place to the next, of w[out][in][3][3], each times scale[out].
     */
    void (*winograd_weights)(const float *w, const float *scale, size_t in, size_t out, size_t step,
                             float *u);

    /* v[36][tiles][channels] of tiles [first, first + tiles) of x, zeros around it. */
    void (*winograd_input)(const float *x, size_t height, size_t width, size_t channels, size_t first,
                           size_t tiles, float *v);

    /* The outputs of tiles [first, first + tiles) into y, from m[36][tiles][channels]: plus bias[channels],
     * then max with 0 where `relu`. */
    void (*winograd_output)(const float *m, const float *bias, int relu, size_t height, size_t width,
                            size_t channels, size_t first, size_t tiles, float *y);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_conv_kernels *clip_conv_kernels(enum clip_level level);

/* Tiles of a picture. */
size_t clip_winograd_tiles(size_t height, size_t width);

extern const struct clip_conv_kernels clip_conv_kernels_plain, clip_conv_kernels_avx2,
    clip_conv_kernels_avx512;

#endif
