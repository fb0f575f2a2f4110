/* From a picture to a tower's input, byte for byte as Pillow 9.4 and torchvision 0.14 do it (FACTS 5). */
#ifndef CLIP_IMAGE_PREPROCESS_H
#define CLIP_IMAGE_PREPROCESS_H

#include "base/error.h"
#include "base/level.h"
#include "image/picture.h"

#include <stddef.h>
#include <stdint.h>

/* Largest side that clip_picture_to_tensor makes. */
#define CLIP_MAX_IMAGE_SIZE 16384

/* The image that a picture is made into: RGB, [3, size, size]. */
struct clip_image_form {
    int size;
    int convert_first;     /* to RGB before resizing */
    enum clip_level level; /* of the resampling (clip_level_choose); the bytes are the same at each */
};

/* The picture with its shorter side resized to form->size, the middle square of it: out[3, size, size].
 *
 * convert_first 0: OpenAI's order, which resizes in the file's own mode (nearest neighbour for 1 and P,
 * premultiplied for LA and RGBA), then crops at round((d - size) / 2), half to even, then converts. 1:
 * Hugging Face's order: to RGB, then resize, then crop at (d - size) / 2 rounded down. Pillow's bicubic
 * otherwise. Reentrant. -1 with error if the size is not in [1, CLIP_MAX_IMAGE_SIZE], if the resized picture
 * would be too long for Pillow, or out of memory. */
int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error);

/* The same of the whole picture, each side resized to form->size, however long it is. */
int clip_picture_stretch(const struct clip_picture *picture, const struct clip_image_form *form, uint8_t *out,
                         struct clip_error *error);

/* levels[3, 256]: what a byte of each channel is after normalisation, (byte / 255 - mean) / std in f32, each
 * step rounded: torchvision's ToTensor and Normalize. All that normalises takes its numbers from here, so
 * that bytes and floats of a picture give the same features. */
#define CLIP_PIXEL_LEVELS (3 * 256)
void clip_pixel_levels(const float mean[3], const float std[3], float levels[CLIP_PIXEL_LEVELS]);

/* out[3, plane]: the levels of pixels[3, plane]. Must not alias. */
void clip_pixels_normalize(const uint8_t *pixels, size_t plane, const float levels[CLIP_PIXEL_LEVELS],
                           float *out);

#endif
