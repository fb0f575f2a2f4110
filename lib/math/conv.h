/* Convolutions of a picture with prepared weights, batch norm folded into them. A picture is
 * [height][width][channels]; its elements are the engine's (clip_engine_element: f32, or bf16 as the upper
 * half of an f32) unless a line says otherwise.
 *
 * Each forward states what its backward needs, so that one can stand beside it. */
#ifndef CLIP_MATH_CONV_H
#define CLIP_MATH_CONV_H

#include "math/linear.h"

/* A convolution without bias of its own, padded with side / 2 zeros all around. */
struct clip_conv_shape {
    size_t height, width; /* of the input */
    size_t in, out;       /* channels */
    size_t side;          /* of the filter: 1 or 3 */
    size_t stride;        /* 1 or 2; 1 where side is 1 */
};

/* Of the output: (input - 1) / stride + 1 for both sides of filter. */
size_t clip_conv_height(const struct clip_conv_shape *shape);
size_t clip_conv_width(const struct clip_conv_shape *shape);

struct clip_conv;

/* A convolution without weights yet. `epilogue`: CLIP_LINEAR_RELU, CLIP_LINEAR_ADD (side 1 only), or both.
 * NULL with error. */
struct clip_conv *clip_conv_new(struct clip_engine *engine, const struct clip_conv_shape *shape, int epilogue,
                                struct clip_error *error);
void clip_conv_free(struct clip_conv *conv);

/* Floats of room for clip_conv_set; 0 where the engine borrows, so that the convolution keeps them. */
size_t clip_conv_room(const struct clip_conv *conv);

/* Weights of the convolution followed by a scale and a shift of each channel: w[out][in][side][side],
 * scale[out], shift[out]; nothing of them is kept, nor of `room`. Not while the convolution runs. */
int clip_conv_set(struct clip_conv *conv, const float *w, const float *scale, const float *shift, float *room,
                  struct clip_error *error);

/* Bytes of scratch that clip_conv_run needs, aligned to 64; of its own for each thread. */
size_t clip_conv_scratch(const struct clip_conv *conv);

/* y = [relu](scale conv(x) + shift [+ y]), x[height][width][in], y[height'][width'][out], which do not
 * overlap. Runs in the caller's thread; any number of threads may run the same convolution. Backward needs x,
 * and the sign of y for the relu. */
int clip_conv_run(const struct clip_conv *conv, const void *x, void *y, void *scratch,
                  struct clip_error *error);

/* --- kernels --- */

/* Batch norm in evaluation mode as scale and shift: weight (x - mean) / sqrt(variance + epsilon) + bias
 * = scale x + shift; each [n]. */
void clip_batch_norm_fold(size_t n, const float *weight, const float *bias, const float *mean,
                          const float *variance, double epsilon, float *scale, float *shift);

/* Patches under a 3 by 3 filter at outputs [first, first + rows), counted row by row:
 * y[rows][3][3][channels], zeros outside of x[height][width][channels]; elements of `element` bytes.
 * Backward: the sum over the patches that hold a pixel. */
void clip_im2col(const void *x, size_t element, size_t height, size_t width, size_t channels, size_t stride,
                 size_t first, size_t rows, void *y);

#endif
