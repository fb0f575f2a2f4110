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

/* How a picture gets the size of the image; open_clip's names for these are in clip_resize_names. */
enum clip_resize {
    CLIP_SHORTEST, /* resized to cover the image, then cropped to its middle */
    CLIP_SQUASH,   /* each side resized to the image's */
    CLIP_LONGEST   /* resized to fit into the image, then padded on both sides */
};
enum { CLIP_RESIZES = 3 };
extern const char *const clip_resize_names[CLIP_RESIZES];

/* The image that a picture is made into: RGB, [3, height, width]. */
struct clip_image_form {
    int height, width;
    enum clip_resize resize;
    enum clip_interpolation interpolation;
    int fill_color;    /* CLIP_LONGEST: of the padding, in each channel, 0 to 255; an index in a palette */
    int convert_first; /* to RGB before resizing */
    enum clip_level level; /* of the resampling (clip_level_choose); the bytes are the same at each */
};

/* The picture, resized and cropped or padded according to `form`: out[3, height, width].
 *
 * convert_first 0: OpenAI's order, which resizes in the file's own mode (nearest neighbour for 1 and P,
 * premultiplied for LA and RGBA), then crops at round((d - side) / 2), half to even, or pads, then converts.
 * 1: Hugging Face's order: to RGB, then resize, then crop at (d - side) / 2 rounded down. Sides are rounded
 * as in open_clip's image_transform (transform.py), which also uses bicubic for CLIP_SHORTEST if the image is
 * not square. Reentrant. -1 with error if a side is not in [1, CLIP_MAX_IMAGE_SIZE], if the resized picture
 * would be too long for Pillow or less than half a pixel wide, or out of memory. */
int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error);

/* levels[3, 256]: the normalised value of each byte of each channel, (byte / 255 - mean) / std in f32,
 * with each step rounded: torchvision's ToTensor and Normalize. Everything that normalises uses this
 * table, so that bytes and floats of a picture give the same features. */
#define CLIP_PIXEL_LEVELS (3 * 256)
void clip_pixel_levels(const float mean[3], const float std[3], float levels[CLIP_PIXEL_LEVELS]);

/* out[3, plane]: the levels of pixels[3, plane]. Must not alias. */
void clip_pixels_normalize(const uint8_t *pixels, size_t plane, const float levels[CLIP_PIXEL_LEVELS],
                           float *out);

#endif
