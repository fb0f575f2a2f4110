/* Depthwise convolutions of a picture, channel by channel: any side and stride, forward and backward. f32.
 *
 * A picture is [height][width][channels]. The input is framed: the zeros around it, side / 2 on each side for
 * an odd side, lie in memory. Weights are packed, CLIP_DEPTHWISE_BLOCK channels together,
 * w[blocks][side][side][block], zeros where there are fewer.
 *
 * Backward: the gradient of the framed input is that of the output, spread `stride` apart and framed with
 * side - 1 zeros, convolved with stride 1 with the weights turned round (clip_depthwise_pack_turned). */
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

/* Floats from row to row of the framed input, and of all of it. */
size_t clip_depthwise_row(const struct clip_depthwise *d);
size_t clip_depthwise_floats(const struct clip_depthwise *d);

/* Blocks of channels, and floats of packed weights. */
size_t clip_depthwise_blocks(size_t channels);
size_t clip_depthwise_packed(size_t channels, size_t side);

/* Packs w[channels][1][side][side]; the same turned round; and w += packed. */
void clip_depthwise_pack(const float *w, size_t channels, size_t side, float *packed);
void clip_depthwise_pack_turned(const float *w, size_t channels, size_t side, float *packed);
void clip_depthwise_add(const float *packed, size_t channels, size_t side, float *w);

extern const struct clip_depthwise_kernels clip_depthwise_kernels_plain, clip_depthwise_kernels_avx2,
    clip_depthwise_kernels_avx512;

#endif
