#include "tower/patches.h"

#include <string.h>

void clip_patches_init(struct clip_patches *patches, const struct clip_arch *arch)
{
    patches->size = (size_t)arch->vision.image_size;
    patches->patch = (size_t)arch->vision.patch;
    patches->grid = patches->size / patches->patch;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, patches->levels);
}

size_t clip_patch_floats(const struct clip_patches *patches)
{
    return 3 * patches->patch * patches->patch;
}

size_t clip_patch_count(const struct clip_patches *patches)
{
    return patches->grid * patches->grid;
}

void clip_patch_cut(const struct clip_patches *patches, const struct clip_image *picture, size_t at,
                    float *out)
{
    size_t side = patches->patch, size = patches->size;
    size_t corner = at / patches->grid * side * size + at % patches->grid * side;
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 0; y < side; y++, out += side) {
            size_t from = c * size * size + corner + y * size;
            if (picture->floats)
                memcpy(out, picture->floats + from, side * sizeof *out);
            else
                for (size_t x = 0; x < side; x++)
                    out[x] = patches->levels[c * 256 + picture->bytes[from + x]];
        }
}
