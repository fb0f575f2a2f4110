/* Pictures cut into the patches of a vision transformer. */
#ifndef CLIP_TOWER_PATCHES_H
#define CLIP_TOWER_PATCHES_H

#include "image/preprocess.h"
#include "model/arch.h"
#include "tower/tower.h"

#include <stddef.h>

struct clip_patches {
    size_t height, width, patch; /* of a picture; side of a patch */
    size_t grid;                 /* patches in a row */
    int channels_last;           /* a patch is [patch][patch][3] */
    float levels[CLIP_PIXEL_LEVELS];
};

void clip_patches_init(struct clip_patches *patches, const struct clip_arch *arch);

/* 3 patch², and rows times grid */
size_t clip_patch_floats(const struct clip_patches *patches);
size_t clip_patch_count(const struct clip_patches *patches);

/* out[3][patch][patch] of patch `at` of the grid, or [patch][patch][3]: in the order of the weights. */
void clip_patch_cut(const struct clip_patches *patches, const struct clip_image *picture, size_t at,
                    float *out);

#endif
