/* Random changes of pictures for training: shift, crop, mirror, erase.
 *
 * What happens to a picture depends only on the seed, the epoch, the sample's key and the picture's size.
 * Random resized crops are torchvision's RandomResizedCrop (transforms.py), but may be larger than the
 * picture, shifts its RandomCrop with padding; erasing is Cutout (DeVries and Taylor, 2017). */
#ifndef CLIP_IMAGE_AUGMENT_H
#define CLIP_IMAGE_AUGMENT_H

#include "base/error.h"
#include "image/picture.h"
#include "image/preprocess.h"
#include "image/resample.h"

#include <stddef.h>
#include <stdint.h>

struct clip_augment {
    uint64_t seed;
    int pad;         /* pixels added around the picture, from which a window of its size is cut; 0: none */
    int reflect;     /* pixels beyond the edges mirror the picture instead of being black */
    double scale[2]; /* least and most area of a crop, as a share of the picture's; both 1: no crop */
    double ratio[2]; /* least and most width / height of a crop */
    int flip;        /* mirrored, left to right, with probability 1/2 */
    double erase;    /* side of the square that is erased, as a share of the image's shorter one; 0: none */
};

/* What is done to one picture. */
struct clip_change {
    struct clip_box window; /* part of the picture; may reach beyond its edges */
    int whole; /* the window is squashed to the image, by bicubic; else resized as without augmentation */
    int flip;
    struct clip_box erased; /* part of the image, after the flip; may be empty */
};

/* Draws the change of a picture of width x height for an image of this form. */
struct clip_change clip_augment_draw(const struct clip_augment *augment, uint32_t epoch, const char *key,
                                     size_t key_size, int width, int height,
                                     const struct clip_image_form *form);

/* clip_picture_to_tensor with the change applied: the window first, in the picture's own mode (a palette's
 * colours looked up), then resizing, then flip, then the erased part is set to fill[3]. */
int clip_augment_apply(const struct clip_augment *augment, const struct clip_change *change,
                       const struct clip_picture *picture, const struct clip_image_form *form,
                       const uint8_t fill[3], uint8_t *out, struct clip_error *error);

#endif
