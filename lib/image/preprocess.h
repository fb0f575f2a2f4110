/* From a picture to a tower's input, byte for byte as Pillow 9.4 and torchvision 0.14 do it (FACTS 5). */
#ifndef CLIP_IMAGE_PREPROCESS_H
#define CLIP_IMAGE_PREPROCESS_H

#include "base/error.h"
#include "base/level.h"
#include "image/picture.h"
#include "image/resample.h"

#include <stddef.h>
#include <stdint.h>

/* Largest side that clip_picture_to_tensor makes. */
#define CLIP_MAX_IMAGE_SIZE 16384

/* How a picture is made as large as the image; clip_resize_names: as open_clip writes them. */
enum clip_resize {
    CLIP_SHORTEST, /* it covers the image; what stands over is cut off on both sides */
    CLIP_SQUASH,   /* each side becomes the image's */
    CLIP_LONGEST   /* it lies inside the image; what is missing is filled on both sides */
};
enum { CLIP_RESIZES = 3 };
extern const char *const clip_resize_names[CLIP_RESIZES];

/* The image that a picture is made into: RGB, [3, height, width]. */
struct clip_image_form {
    int height, width;
    enum clip_resize resize;
    enum clip_interpolation interpolation;
    int fill_color;        /* CLIP_LONGEST: of every band, 0 to 255; an index where they are of a palette */
    int convert_first;     /* to RGB before resizing */
    enum clip_level level; /* of the resampling (clip_level_choose); the bytes are the same at each */
};

/* The picture resized and cropped, or filled, as `form` has it: out[3, height, width].
 *
 * convert_first 0: OpenAI's order, which resizes in the file's own mode (nearest neighbour for 1 and P,
 * premultiplied for LA and RGBA), then crops at round((d - side) / 2), half to even, or fills, then converts.
 * 1: Hugging Face's order: to RGB, then resize, then crop at (d - side) / 2 rounded down. Sides are rounded
 * as open_clip's transform.py does it (image_transform), which also takes bicubic for CLIP_SHORTEST where the
 * image is not a square. Reentrant. -1 with error if a side is not in [1, CLIP_MAX_IMAGE_SIZE], if the
 * resized picture would be too long for Pillow, or of no width, or out of memory. */
int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error);

/* levels[3, 256]: what a byte of each channel is after normalisation, (byte / 255 - mean) / std in f32, each
 * step rounded: torchvision's ToTensor and Normalize. All that normalises takes its numbers from here, so
 * that bytes and floats of a picture give the same features. */
#define CLIP_PIXEL_LEVELS (3 * 256)
void clip_pixel_levels(const float mean[3], const float std[3], float levels[CLIP_PIXEL_LEVELS]);

/* out[3, plane]: the levels of pixels[3, plane]. Must not alias. */
void clip_pixels_normalize(const uint8_t *pixels, size_t plane, const float levels[CLIP_PIXEL_LEVELS],
                           float *out);

#endif
