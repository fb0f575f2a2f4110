/* Depthwise convolutions of a picture, of any side and stride, forward and backward. f32.
 *
 * A picture is [height][width][channels]. The input is framed: its padding of zeros, side / 2 on each side
 * for an odd side, is part of the buffer. Weights are packed in blocks of CLIP_DEPTHWISE_BLOCK channels,
 * w[blocks][side][side][block], the last one padded with zeros.
 *
 * Backward: spread the pixels of the output's gradient `stride` apart and frame it with side - 1 zeros; its
 * convolution of stride 1 with the flipped weights (clip_depthwise_pack_flipped) is the gradient of the
 * framed input. */
#ifndef CLIP_MATH_DEPTHWISE_H
#define CLIP_MATH_DEPTHWISE_H

#include "base/level.h"

#include <stddef.h>

/* Output [height][width]; framed input [(height - 1) stride + side][(width - 1) stride + side]. */
struct clip_depthwise {
    size_t height, width, channels, side, stride;
};

enum { CLIP_DEPTHWISE_BLOCK = 16 };

struct clip_depthwise_kernels {
    /* y[rows][columns][channels] = w * x + bias at (row, column) and on of the output; bias[channels], or
     * NULL. A place's bytes do not depend on what is computed beside it. */
    void (*run)(const struct clip_depthwise *d, const float *x, const float *w, const float *bias, size_t row,
                size_t column, size_t rows, size_t columns, float *y);

    /* dw += the gradient of the weights, packed, of blocks [first, first + count): from x, framed, and the
     * gradient of the output dy, whose rows are `dy_row` floats apart. */
    void (*weights)(const struct clip_depthwise *d, const float *x, const float *dy, size_t dy_row,
                    size_t first, size_t count, float *dw);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_depthwise_kernels *clip_depthwise_kernels(enum clip_level level);

/* Floats of a row of the framed input, and of all of it. */
size_t clip_depthwise_row(const struct clip_depthwise *d);
size_t clip_depthwise_floats(const struct clip_depthwise *d);

/* Number of blocks of channels; floats of packed weights. */
size_t clip_depthwise_blocks(size_t channels);
size_t clip_depthwise_packed(size_t channels, size_t side);

/* Packs w[channels][1][side][side]; the same flipped along both sides; and w += packed. */
void clip_depthwise_pack(const float *w, size_t channels, size_t side, float *packed);
void clip_depthwise_pack_flipped(const float *w, size_t channels, size_t side, float *packed);
void clip_depthwise_add(const float *packed, size_t channels, size_t side, float *w);

extern const struct clip_depthwise_kernels clip_depthwise_kernels_plain, clip_depthwise_kernels_avx2,
    clip_depthwise_kernels_avx512;

#endif
