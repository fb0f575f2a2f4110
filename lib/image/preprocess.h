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

/* How a picture is made as large as the image; open_clip's words for it: clip_resize_names. */
enum clip_resize {
    CLIP_SHORTEST, /* the shorter side as long as the image's, the rest of the longer one cut off */
    CLIP_SQUASH,   /* each side as long as the image's */
    CLIP_LONGEST   /* the longer side as long as the image's, what lacks of the shorter one filled */
};
enum { CLIP_RESIZES = 3 };
extern const char *const clip_resize_names[CLIP_RESIZES];

/* The image that a picture is made into: RGB, [3, size, size]. */
struct clip_image_form {
    int size;
    int convert_first;     /* to RGB before resizing */
    enum clip_level level; /* of the resampling (clip_level_choose); the bytes are the same at each */
};

/* The middle square of the picture, resized so that its shorter side is form->size: out[3, size, size].
 *
 * convert_first 0: OpenAI's order, which resizes in the file's own mode (nearest neighbour for 1 and P,
 * premultiplied for LA and RGBA), then crops at round((d - size) / 2), half to even, then converts. 1:
 * Hugging Face's order: to RGB, then resize, then crop at (d - size) / 2 rounded down. Other resampling is
 * Pillow's bicubic. Reentrant. -1 with error if the size is not in [1, CLIP_MAX_IMAGE_SIZE], if the
 * resized picture would be too long for Pillow, or out of memory. */
int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error);

/* The same for the whole picture, with both sides resized to form->size, whatever its shape. */
int clip_picture_stretch(const struct clip_picture *picture, const struct clip_image_form *form, uint8_t *out,
                         struct clip_error *error);

/* levels[3, 256]: the normalised value of each byte of each channel, (byte / 255 - mean) / std in f32,
 * with each step rounded: torchvision's ToTensor and Normalize. Everything that normalises uses this
 * table, so that bytes and floats of a picture give the same features. */
#define CLIP_PIXEL_LEVELS (3 * 256)
void clip_pixel_levels(const float mean[3], const float std[3], float levels[CLIP_PIXEL_LEVELS]);

/* out[3, plane]: the levels of pixels[3, plane]. Must not alias. */
void clip_pixels_normalize(const uint8_t *pixels, size_t plane, const float levels[CLIP_PIXEL_LEVELS],
                           float *out);

#endif
