/* What makes tokens of a picture's patches where that is more than one product (model/vit.h): a type each,
 * for inference. */
#ifndef CLIP_TOWER_STEM_H
#define CLIP_TOWER_STEM_H

#include "math/kernels.h"
#include "tower/tower.h"

#include <stddef.h>

struct clip_stem;

struct clip_stem_type {
    /* NULL with error. What setup points at, and the kernels, must outlive it. */
    struct clip_stem *(*open)(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                              struct clip_error *error);
    void (*free)(struct clip_stem *stem);

    /* out[rows][width], aligned to 64 bytes: the first n rows are the tokens, without positions, of patches
     * [first, first + n) of the pictures side by side; n is at most `rows`, and `first` a multiple of it. Any
     * number of threads may run at once. */
    int (*run)(const struct clip_stem *stem, const union clip_item *items, size_t first, size_t n, int thread,
               float *out, struct clip_error *error);
};

/* The first member of each type's own struct. */
struct clip_stem {
    const struct clip_stem_type *type;
    size_t rows; /* patches of a run, at most */
};

/* Convolutions whose kernels are their strides, with batch norm; ViTamin's. */
extern const struct clip_stem_type clip_stem_conv, clip_stem_mbconv;

#endif
