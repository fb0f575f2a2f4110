/* Convolutions in training: many pictures, f32, forward and backward.
 *
 * Channels are padded with zeros to a multiple of CLIP_CHANNELS, so that kernels need no edge cases. A
 * picture is [height][width][channels], or framed with side / 2 zeros on each side, [height + side - 1][width
 * + side - 1][channels]. The model's weights are w[out][in][side][side]; kernels take them packed.
 *
 * For y = w * x, the gradient of x is the convolution of y's framed gradient with the weights flipped along
 * both sides, inputs and outputs exchanged (clip_conv_pack_flipped). The gradient of w at a tap is the sum
 * over pixels of x there times the gradient of y. */
#ifndef CLIP_MATH_CONV_TRAIN_H
#define CLIP_MATH_CONV_TRAIN_H

#include "base/level.h"

#include <stddef.h>

enum { CLIP_CHANNELS = 16 };

/* A convolution of side 1 or 3 and stride 1 over several pictures that follow one another. */
struct clip_conv_plane {
    size_t pictures, height, width;
    size_t in, out; /* multiples of CLIP_CHANNELS */
    size_t side;
};

struct clip_conv_train_kernels {
    /* y[pictures][height][width][out] = w * x; x is framed, w packed. Nothing overlaps. */
    void (*run)(const struct clip_conv_plane *plane, const float *x, const float *w, float *y);

    /* The same, summed in double, which is several times slower. */
    void (*run_double)(const struct clip_conv_plane *plane, const float *x, const float *w, float *y);

    /* Adds the gradient of the weights to `gradient`, which is packed; x and dy, the gradient of y, are both
     * framed. */
    void (*weights)(const struct clip_conv_plane *plane, const float *x, const float *dy, float *gradient);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_conv_train_kernels *clip_conv_train_kernels(enum clip_level level);

/* n rounded up to a multiple of CLIP_CHANNELS. */
size_t clip_conv_channels(size_t n);

/* Packs w[out][in][side][side] as packed[out' / CLIP_CHANNELS][side][side][in'][CLIP_CHANNELS], where n' is n
 * rounded up; pads with zeros. */
void clip_conv_pack(const float *w, size_t out, size_t in, size_t side, float *packed);

/* Packs the weights flipped, from `out` channels to `in`. */
void clip_conv_pack_flipped(const float *w, size_t out, size_t in, size_t side, float *packed);

/* Adds the packed gradient of outputs [first, first + CLIP_CHANNELS) to w[out][in][side][side]. */
void clip_conv_add_gradient(const float *gradient, size_t out, size_t in, size_t side, size_t first,
                            float *w);

/* patches[size / 2][size / 2][32] = what a filter of side 3 and stride 2 reads of x[3][size][size], size
 * even: 27 values [3][3][3] in the order of weights, with zeros outside of x, then padding. So the first
 * convolution has side 1 and 27 input channels. */
void clip_conv_color_patches(const float *x, size_t size, float *patches);

extern const struct clip_conv_train_kernels clip_conv_train_kernels_plain, clip_conv_train_kernels_avx2,
    clip_conv_train_kernels_avx512;

#endif
