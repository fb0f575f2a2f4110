/* Convolutions in training: many pictures, f32, forward and backward.
 *
 * Channels are padded with zeros to a multiple of CLIP_CHANNELS, so that kernels have no edges. A picture is
 * [height][width][channels], or framed: with side / 2 zeros all around it, [height + side - 1][width + side -
 * 1][channels]. Weights as the model has them are w[out][in][side][side], for the kernels they are packed.
 *
 * With y = w * x, the gradient of x is the gradient of y, framed, convolved with the weights turned round and
 * their channels exchanged (clip_conv_pack_turned); that of w at a tap is the sum over the pixels of the
 * product of x there and y's gradient. */
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

    /* The same, summed in double: some times slower. */
    void (*run_double)(const struct clip_conv_plane *plane, const float *x, const float *w, float *y);

    /* gradient += that of the weights, packed as they are; x and y's gradient dy are both framed. */
    void (*weights)(const struct clip_conv_plane *plane, const float *x, const float *dy, float *gradient);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_conv_train_kernels *clip_conv_train_kernels(enum clip_level level);

/* n, rounded up to a multiple of CLIP_CHANNELS. */
size_t clip_conv_channels(size_t n);

/* packed[out' / CLIP_CHANNELS][side][side][in'][CLIP_CHANNELS] of w[out][in][side][side], n' being n rounded
 * up, zeros where w has nothing. */
void clip_conv_pack(const float *w, size_t out, size_t in, size_t side, float *packed);

/* The same of the weights turned round, from `out` channels to `in`. */
void clip_conv_pack_turned(const float *w, size_t out, size_t in, size_t side, float *packed);

/* w[out][in][side][side] += the packed gradient of outputs [first, first + CLIP_CHANNELS), which begins
 * there. */
void clip_conv_add_gradient(const float *gradient, size_t out, size_t in, size_t side, size_t first,
                            float *w);

/* patches[size / 2][size / 2][32] of x[3][size][size] under a filter of side 3 and stride 2, size even: the
 * 27 values [3][3][3] in the order of weights, zeros outside of x, then zeros. So the first convolution is
 * one of side 1 from 27 channels. */
void clip_conv_color_patches(const float *x, size_t size, float *patches);

extern const struct clip_conv_train_kernels clip_conv_train_kernels_plain, clip_conv_train_kernels_avx2,
    clip_conv_train_kernels_avx512;

#endif
