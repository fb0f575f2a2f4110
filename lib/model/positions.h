/* Tables of positions of other sizes than the architecture's, resampled as open_clip does on loading. */
#ifndef CLIP_MODEL_POSITIONS_H
#define CLIP_MODEL_POSITIONS_H

#include "base/error.h"
#include "model/arch.h"
#include "model/layout.h"
#include "model/weight.h"

#include <stddef.h>

/* A tower's table of positions. */
struct clip_positions {
    const char *name;
    size_t before;  /* rows of their own, which come first and stay */
    size_t grid[2]; /* rows and columns of the others; 0, 0: they lie on a line */
    int forced;     /* timm's: only another image size that is asked for changes them, or an archive's */
};

/* Sets the image size of an architecture; `weights`: it stands for a model that has them. -1 with an error
 * that says why it cannot be, and names sizes that can. */
int clip_arch_resize(struct clip_arch *arch, int image_size, int weights, struct clip_error *error);

/* Where `slot` is a table of positions of its tower, and `weight` one of other rows: sets *out to a table of
 * its shape, in the weight's type, whose name is the weight's and whose data is from malloc. `forced`: the
 * image size was asked for, or they are big_vision's. Returns 1 if so, 0 where it is not to be resampled, -1
 * with error. */
int clip_positions_fit(const struct clip_arch *arch, const struct clip_slot *slot,
                       const struct clip_weight *weight, int forced, struct clip_weight *out,
                       struct clip_error *error);

#endif
