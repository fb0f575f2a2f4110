/* Pillow's bicubic and bilinear resampling of bytes, to the bit.
 *
 * Source of the arithmetic: Pillow 9.4, libImaging/Resample.c: bicubic with a = -0.5, bilinear a triangle
 * over two pixels, both widened by the scale when shrinking; weights in 22-bit fixed point; first along the
 * rows, rounded and clipped to bytes, then along the columns. Channels are independent of each other. */
#ifndef CLIP_IMAGE_RESAMPLE_H
#define CLIP_IMAGE_RESAMPLE_H

#include "base/error.h"
#include "base/level.h"

#include <stdint.h>

/* open_clip's names for these are in clip_interpolation_names. */
enum clip_interpolation { CLIP_BICUBIC, CLIP_BILINEAR };
enum { CLIP_INTERPOLATIONS = 2 };
extern const char *const clip_interpolation_names[CLIP_INTERPOLATIONS];

/* A picture that is read row by row, so that it can be converted on the way. */
struct clip_rows {
    int width, height;
    int channels; /* bytes of a pixel, 1 or 4 */
    /* Row y: [width, channels], in the picture itself or made in `scratch`, which has room for it. */
    const uint8_t *(*row)(const void *context, int y, uint8_t *scratch);
    const void *context;
};

/* The part of the resized picture to compute: columns [x, x + width), rows [y, y + height). */
struct clip_box {
    int x, y, width, height;
};

/* Resizes `in` to new_width x new_height and writes the part `box` of the result: out[box.height,
 * box.width, channels]. The box must lie inside. Time and memory depend on the box, not on the whole. The
 * bytes are the same at each level. */
int clip_resample(const struct clip_rows *in, int new_width, int new_height, const struct clip_box *box,
                  enum clip_interpolation interpolation, uint8_t *out, enum clip_level level,
                  struct clip_error *error);

#endif
