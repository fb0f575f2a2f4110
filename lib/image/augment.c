#include "image/augment.h"
#include "base/random.h"
#include "image/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- drawing --- */

static int draw_offset(struct clip_random *random, int most)
{
    return (int)clip_random_below(random, (uint64_t)most + 1);
}

/* Where a window of this side begins: inside the picture, or around it if it is larger. */
static int draw_begin(struct clip_random *random, int size, int side)
{
    return side <= size ? draw_offset(random, size - side) : -draw_offset(random, side - size);
}

/* If ten draws do not fit: the middle of the picture, in the nearest allowed shape. */
static struct clip_box middle_box(const struct clip_augment *augment, int width, int height)
{
    double shape = (double)width / height;
    struct clip_box box = {0, 0, width, height};
    if (shape < augment->ratio[0])
        box.height = (int)rint(width / augment->ratio[0]);
    else if (shape > augment->ratio[1])
        box.width = (int)rint(height * augment->ratio[1]);
    box.width = box.width < 1 ? 1 : box.width;
    box.height = box.height < 1 ? 1 : box.height;
    box.x = (width - box.width) / 2;
    box.y = (height - box.height) / 2;
    return box;
}

static struct clip_box draw_crop(const struct clip_augment *augment, struct clip_random *random, int width,
                                 int height)
{
    double least = log(augment->ratio[0]), most = log(augment->ratio[1]);
    for (int i = 0; i < 10; i++) {
        double area = clip_random_between(random, augment->scale[0], augment->scale[1]) * width * height;
        double shape = exp(clip_random_between(random, least, most));
        double crop_width = rint(sqrt(area * shape)), crop_height = rint(sqrt(area / shape));
        if (crop_width < 1 || crop_height < 1 ||
            (augment->scale[1] <= 1 && (crop_width > width || crop_height > height)))
            continue;
        int y = draw_begin(random, height, (int)crop_height);
        int x = draw_begin(random, width, (int)crop_width);
        return (struct clip_box){x, y, (int)crop_width, (int)crop_height};
    }
    return middle_box(augment, width, height);
}

/* A square around a random pixel, clipped to the image. */
static struct clip_box draw_erased(const struct clip_augment *augment, struct clip_random *random, int width,
                                   int height)
{
    int side = (int)rint(augment->erase * (width < height ? width : height));
    int top = draw_offset(random, height - 1) - side / 2, left = draw_offset(random, width - 1) - side / 2;
    int bottom = top + side < height ? top + side : height, right = left + side < width ? left + side : width;
    struct clip_box box = {left < 0 ? 0 : left, top < 0 ? 0 : top, 0, 0};
    box.width = right > box.x ? right - box.x : 0;
    box.height = bottom > box.y ? bottom - box.y : 0;
    return box;
}

struct clip_change clip_augment_draw(const struct clip_augment *augment, uint32_t epoch, const char *key,
                                     size_t key_size, int width, int height,
                                     const struct clip_image_form *form)
{
    struct clip_random random;
    struct clip_change change = {.window = {0, 0, width, height}};
    int x = 0, y = 0;
    clip_random_begin(&random, augment->seed, clip_fnv1a(key, key_size), epoch);
    if (augment->pad) {
        y = draw_offset(&random, 2 * augment->pad) - augment->pad;
        x = draw_offset(&random, 2 * augment->pad) - augment->pad;
    }
    if (augment->scale[0] != 1 || augment->scale[1] != 1) {
        change.window = draw_crop(augment, &random, width, height);
        change.whole = 1;
    }
    change.window.x += x;
    change.window.y += y;
    if (augment->flip)
        change.flip = (int)clip_random_below(&random, 2);
    if (augment->erase > 0)
        change.erased = draw_erased(augment, &random, form->width, form->height);
    return change;
}

/* --- the window --- */

/* The pixel of [0, size) that is shown at `at` outside of it, mirrored at the outermost pixels, which are
 * not repeated. */
static size_t reflected(int64_t at, int64_t size)
{
    if (size == 1)
        return 0;
    int64_t period = 2 * (size - 1), place = at % period;
    if (place < 0)
        place += period;
    return (size_t)(place < size ? place : period - place);
}

/* Copies `count` pixels of the picture from `pixel` on; those of a palette as RGB. */
static void copy_pixels(uint8_t *to, const struct clip_picture *picture, size_t pixel, size_t count)
{
    const uint8_t *from = picture->pixels + pixel * (size_t)picture->channels;
    if (picture->mode != CLIP_PICTURE_P)
        memcpy(to, from, count * (size_t)picture->channels);
    else
        for (size_t i = 0; i < count; i++, to += 4)
            memcpy(to, picture->palette[from[i]], 3);
}

/* Copies pixels [x, x + count) of row y, which may lie beyond the edges. */
static void cut_row(uint8_t *to, size_t channels, const struct clip_picture *picture, int64_t y, int64_t x,
                    int64_t count, int reflect)
{
    static const uint8_t black_ink[4] = {0, 0, 0, 255};
    int64_t width = picture->width, end = x + count < width ? x + count : width, last = x + count;
    int inside = y >= 0 && y < picture->height;
    size_t row = reflected(y, picture->height) * (size_t)width;
    while (x < last) {
        int there = x >= 0 && x < end;
        int64_t n = there ? end - x : 1;
        if (reflect || (inside && there))
            copy_pixels(to, picture, row + (there ? (size_t)x : reflected(x, width)), (size_t)n);
        else if (picture->mode == CLIP_PICTURE_CMYK)
            for (int64_t i = 0; i < n; i++)
                memcpy(to + 4 * i, black_ink, sizeof black_ink);
        to += (size_t)n * channels;
        x += n;
    }
}

/* Makes a picture of the window of a picture, with pixels from malloc; a palette's as RGB. */
static int cut_window(struct clip_picture *out, const struct clip_picture *picture,
                      const struct clip_box *window, int reflect, struct clip_error *error)
{
    *out = *picture;
    out->width = window->width;
    out->height = window->height;
    if (picture->mode == CLIP_PICTURE_P) {
        out->mode = CLIP_PICTURE_RGB;
        out->channels = 4;
    }
    size_t channels = (size_t)out->channels, row = (size_t)out->width * channels;
    out->pixels = calloc((size_t)out->height, row); /* zero is black, except as CMYK */
    if (!out->pixels)
        return clip_fail_memory(error, "a picture");
    for (int y = 0; y < out->height; y++)
        cut_row(out->pixels + (size_t)y * row, channels, picture, (int64_t)window->y + y, window->x,
                out->width, reflect);
    return 0;
}

/* --- the image --- */

static void mirror(uint8_t *planes, size_t height, size_t width)
{
    for (uint8_t *row = planes; row < planes + 3 * height * width; row += width)
        for (size_t x = 0; x < width / 2; x++) {
            uint8_t left = row[x];
            row[x] = row[width - 1 - x];
            row[width - 1 - x] = left;
        }
}

static void erase(uint8_t *planes, size_t height, size_t width, const struct clip_box *box,
                  const uint8_t fill[3])
{
    for (size_t c = 0; c < 3; c++)
        for (int y = box->y; y < box->y + box->height; y++)
            memset(planes + (c * height + (size_t)y) * width + (size_t)box->x, fill[c], (size_t)box->width);
}

int clip_augment_apply(const struct clip_augment *augment, const struct clip_change *change,
                       const struct clip_picture *picture, const struct clip_image_form *form,
                       const uint8_t fill[3], uint8_t *out, struct clip_error *error)
{
    const struct clip_box *window = &change->window;
    int all = window->x == 0 && window->y == 0 && window->width == picture->width &&
              window->height == picture->height;
    int palette = picture->mode == CLIP_PICTURE_P && (augment->pad || change->whole), status;
    struct clip_picture part = {0};
    if ((!all || palette) && cut_window(&part, picture, window, augment->reflect, error) != 0)
        return -1;
    struct clip_image_form squash = *form;
    squash.resize = CLIP_SQUASH;
    squash.interpolation = CLIP_BICUBIC; /* as open_clip's random crops, whatever the model's is */
    status =
        clip_picture_to_tensor(part.pixels ? &part : picture, change->whole ? &squash : form, out, error);
    clip_picture_free(&part);
    if (status != 0)
        return -1;
    if (change->flip)
        mirror(out, (size_t)form->height, (size_t)form->width);
    erase(out, (size_t)form->height, (size_t)form->width, &change->erased, fill);
    return 0;
}
