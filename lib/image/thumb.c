#include "image/thumb.h"

#include "image/codec.h"
#include "image/field.h"
#include "image/picture.h"
#include "image/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void clip_thumb_free(struct clip_thumb *thumb)
{
    free(thumb->pixels);
    *thumb = (struct clip_thumb){0};
}

/* --- orientation: TIFF's tag 274, in the EXIF segment of a JPEG (CIPA DC-008) --- */

static uint32_t number(const uint8_t *data, int bytes, int big)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | data[big ? i : bytes - 1 - i];
    return value;
}

/* Of the TIFF header data[size] and the folder of tags that it points at; 1 where they do not say. */
static int tiff_orientation(const uint8_t *data, size_t size)
{
    if (size < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0))
        return 1;
    int big = data[0] == 'M';
    size_t at = number(data + 4, 4, big);
    if (at > size || size - at < 2)
        return 1;
    size_t tags = number(data + at, 2, big);
    for (at += 2; tags > 0 && size - at >= 12; tags--, at += 12)
        if (number(data + at, 2, big) == 274 && number(data + at + 2, 2, big) == 3) {
            int value = (int)number(data + at + 8, 2, big);
            return value >= 1 && value <= 8 ? value : 1;
        }
    return 1;
}

static int find_orientation(const uint8_t *data, size_t size)
{
    size_t at = 2;
    if (size < 4 || data[0] != 0xff || data[1] != 0xd8)
        return 1;
    while (size - at >= 4 && data[at] == 0xff && data[at + 1] != 0xda) {
        size_t length = number(data + at + 2, 2, 1);
        if (length < 2 || length > size - at - 2)
            return 1;
        if (data[at + 1] == 0xe1 && length >= 8 && memcmp(data + at + 4, "Exif\0", 6) == 0)
            return tiff_orientation(data + at + 10, length - 8);
        at += 2 + length;
    }
    return 1;
}

/* Turns and mirrors the thumb: orientations 2 to 8 put row and column of the upright picture elsewhere. */
static int turn_upright(struct clip_thumb *thumb, int orientation, struct clip_error *error)
{
    int w = thumb->width, h = thumb->height, aside = orientation >= 5;
    int new_w = aside ? h : w, new_h = aside ? w : h;
    size_t plane = (size_t)w * (size_t)h;
    uint8_t *rotated = malloc(3 * plane);
    if (!rotated)
        return clip_fail_memory(error, "a picture");
    for (int y = 0; y < new_h; y++)
        for (int x = 0; x < new_w; x++) {
            int across = aside ? y : x, down = aside ? x : y; /* in the file's picture, before mirroring */
            if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
                across = w - 1 - across;
            if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7)
                down = h - 1 - down;
            for (size_t c = 0; c < 3; c++)
                rotated[c * plane + (size_t)(y * new_w + x)] =
                    thumb->pixels[c * plane + (size_t)(down * w + across)];
        }
    free(thumb->pixels);
    *thumb = (struct clip_thumb){new_w, new_h, rotated};
    return 0;
}

/* --- pixels --- */

/* Colours over white, by alpha. */
static void flatten(struct clip_picture *picture)
{
    if (picture->mode != CLIP_PICTURE_LA && picture->mode != CLIP_PICTURE_RGBA)
        return;
    size_t pixels = (size_t)picture->width * (size_t)picture->height;
    for (uint8_t *p = picture->pixels; p < picture->pixels + 4 * pixels; p += 4)
        for (int c = 0; c < 3; c++)
            p[c] = (uint8_t)((p[c] * p[3] + 255 * (255 - p[3]) + 127) / 255);
}

static int shrink(struct clip_thumb *thumb, struct clip_picture *picture, int side, enum clip_level level,
                  struct clip_error *error)
{
    int longer = picture->width > picture->height ? picture->width : picture->height;
    double scale = longer > side ? (double)side / longer : 1;
    thumb->width = (int)fmax(1, round(picture->width * scale));
    thumb->height = (int)fmax(1, round(picture->height * scale));
    thumb->pixels = malloc(3 * (size_t)thumb->width * (size_t)thumb->height);
    if (!thumb->pixels)
        return clip_fail_memory(error, "a picture");
    flatten(picture);
    struct clip_image_form form = {.height = thumb->height,
                                   .width = thumb->width,
                                   .resize = CLIP_SQUASH,
                                   .interpolation = CLIP_BICUBIC,
                                   .convert_first = 1,
                                   .level = level};
    return clip_picture_to_tensor(picture, &form, thumb->pixels, error);
}

int clip_thumb_make(struct clip_thumb *thumb, const void *data, size_t size, int side, enum clip_level level,
                    struct clip_error *error)
{
    struct clip_picture picture = {0};
    int orientation = find_orientation(data, size);
    *thumb = (struct clip_thumb){0};
    int status = clip_picture_decode(&picture, data, size, CLIP_MAX_PIXELS, error);
    if (status == 0)
        status = shrink(thumb, &picture, side, level, error);
    clip_picture_free(&picture);
    if (status == 0 && orientation > 1)
        status = turn_upright(thumb, orientation, error);
    if (status != 0)
        clip_thumb_free(thumb);
    return status;
}

/* The field `image` as it is a picture: its planes side by side. */
static int shrink_image(struct clip_thumb *thumb, struct clip_record *record, int side, enum clip_level level,
                        struct clip_error *error)
{
    struct clip_tensor tensor;
    if (clip_record_tensor(record, "image", CLIP_U8, &tensor) != 0)
        return clip_fail(error, "%s", record->error.text);
    if (tensor.ndim != 3 || tensor.shape[0] != 3 || tensor.shape[1] != tensor.shape[2] ||
        tensor.shape[1] < 1 || tensor.shape[1] > CLIP_MAX_IMAGE_SIZE)
        return clip_fail(error, "field 'image' is not [3, S, S]");
    size_t plane = tensor.shape[1] * tensor.shape[1];
    struct clip_picture picture = {
        CLIP_PICTURE_RGB, (int)tensor.shape[1], (int)tensor.shape[1], 4, malloc(4 * plane), {{0}}};
    if (!picture.pixels)
        return clip_fail_memory(error, "a picture");
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 4; c++)
            picture.pixels[4 * i + c] = c < 3 ? ((const uint8_t *)tensor.data)[c * plane + i] : 255;
    int status = shrink(thumb, &picture, side, level, error);
    clip_picture_free(&picture);
    return status;
}

int clip_thumb_of(struct clip_thumb *thumb, struct clip_record *record, int side, enum clip_level level)
{
    const struct clip_field *found = clip_find_picture(record);
    struct clip_error error;
    const char *data;
    size_t size;
    *thumb = (struct clip_thumb){0};
    if (found) {
        if (clip_field_bytes(found, &data, &size) == 0 &&
            clip_thumb_make(thumb, data, size, side, level, &error) == 0)
            return 0;
        return clip_record_fail(record, "%.*s: %s", (int)found->name_size, found->name,
                                clip_field_bytes(found, &data, &size) == 0 ? error.text
                                                                           : "does not hold a file");
    }
    if (!clip_record_find(record, "image"))
        return clip_record_fail(record, "no picture");
    if (shrink_image(thumb, record, side, level, &error) == 0)
        return 0;
    clip_thumb_free(thumb);
    return clip_record_fail(record, "%s", error.text);
}
