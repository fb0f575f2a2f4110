#include "tower/patches.h"

#include <string.h>

void clip_patches_init(struct clip_patches *patches, const struct clip_arch *arch)
{
    patches->height = (size_t)arch->vision.image_size;
    patches->width = (size_t)clip_image_width(&arch->vision);
    patches->patch = (size_t)arch->vision.patch;
    patches->grid = patches->width / patches->patch;
    patches->channels_last = arch->vision.vit.stem == CLIP_STEM_LINEAR;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, patches->levels);
}

size_t clip_patch_floats(const struct clip_patches *patches)
{
    return 3 * patches->patch * patches->patch;
}

size_t clip_patch_count(const struct clip_patches *patches)
{
    return patches->height / patches->patch * patches->grid;
}

static float pixel(const struct clip_patches *patches, const struct clip_image *picture, size_t c, size_t i)
{
    size_t at = c * patches->height * patches->width + i;
    return picture->floats ? picture->floats[at] : patches->levels[c * 256 + picture->bytes[at]];
}

/* The patch whose first pixel is `corner`, channel after channel at each pixel. */
static void cut_pixels(const struct clip_patches *patches, const struct clip_image *picture, size_t corner,
                       float *out)
{
    for (size_t y = 0; y < patches->patch; y++)
        for (size_t x = 0; x < patches->patch; x++)
            for (size_t c = 0; c < 3; c++)
                *out++ = pixel(patches, picture, c, corner + y * patches->width + x);
}

void clip_patch_cut(const struct clip_patches *patches, const struct clip_image *picture, size_t at,
                    float *out)
{
    size_t side = patches->patch, width = patches->width;
    size_t corner = at / patches->grid * side * width + at % patches->grid * side;
    if (patches->channels_last) {
        cut_pixels(patches, picture, corner, out);
        return;
    }
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 0; y < side; y++, out += side) {
            size_t from = (c * patches->height + y) * width + corner;
            if (picture->floats)
                memcpy(out, picture->floats + from, side * sizeof *out);
            else
                for (size_t x = 0; x < side; x++)
                    out[x] = patches->levels[c * 256 + picture->bytes[from + x]];
        }
}
