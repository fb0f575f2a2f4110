/* The decoders of pictures, and what is made of their pixels, on any bytes. */
#include "image/augment.h"
#include "image/preprocess.h"

#include <stdlib.h>

#define MAX_PIXELS (1 << 20)

/* Changed at random: window over the edges, crop, flip, erased. A crop is never too long to be resized. */
static void augment(const struct clip_picture *picture, uint32_t epoch, uint8_t *out)
{
    const uint8_t fill[3] = {0};
    const struct clip_augment augment = {1, (int)(epoch % 3) * 50, epoch % 2 != 0, {0.1, 1}, {0.5, 2},
                                         1, (epoch % 4) / 3.};
    const struct clip_image_form form = {
        .height = 32, .width = 32, .convert_first = epoch % 2 == 0, .level = clip_level()};
    struct clip_error error;
    struct clip_change change =
        clip_augment_draw(&augment, epoch, "", 0, picture->width, picture->height, &form);
    if (clip_augment_apply(&augment, &change, picture, &form, fill, out, &error) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[3 * 32 * 32];
    struct clip_picture picture;
    struct clip_error error;
    if (clip_picture_decode(&picture, data, size, MAX_PIXELS, &error) < 0)
        return 0;
    for (int i = 0; i < 4 * CLIP_RESIZES; i++) {
        const struct clip_image_form form = {.height = size % 2 ? 32 : 7,
                                             .width = size % 3 ? 32 : 7,
                                             .resize = (enum clip_resize)(i / 4),
                                             .interpolation = i / 2 % 2 ? CLIP_BILINEAR : CLIP_BICUBIC,
                                             .fill_color = (int)(size % 256),
                                             .convert_first = i % 2,
                                             .level = clip_level()};
        int known = picture.width < MAX_PIXELS / 32 && picture.height < MAX_PIXELS / 32 &&
                    (form.resize != CLIP_LONGEST ||
                     (14 * picture.width > picture.height && 14 * picture.height > picture.width));
        if (clip_picture_to_tensor(&picture, &form, out, &error) < 0 && known)
            abort(); /* only long ones are refused here */
    }
    for (uint32_t epoch = 0; epoch < 3; epoch++)
        augment(&picture, epoch + (uint32_t)size, out);
    clip_picture_free(&picture);
    return 0;
}
