/* Windows of a picture [height][width][channels] (im2col): what a convolution of any side, stride and padding
 * reads for one output pixel, in the order of its weights, so that the convolution is a product. For a group
 * of channels, x points at the group's first channel. f32. */
#ifndef CLIP_MATH_WINDOW_H
#define CLIP_MATH_WINDOW_H

#include <stddef.h>

struct clip_window {
    size_t height, width; /* of the picture */
    size_t row, pixel;    /* floats from row to row, and from pixel to pixel */
    size_t channels, side, stride;
    size_t padding; /* zeros around the picture, which do not lie in memory */
};

/* Of the output: (height + 2 padding - side) / stride + 1, rounded down; side is at most height + 2 padding.
 */
size_t clip_window_height(const struct clip_window *window);
size_t clip_window_width(const struct clip_window *window);

/* out[channels][side][side] at place `at` of the output, counted row by row. Backward: dx += dout where it
 * came from. */
void clip_window_cut(const struct clip_window *window, const float *x, size_t at, float *out);
void clip_window_add(const struct clip_window *window, const float *dout, size_t at, float *dx);

#endif
