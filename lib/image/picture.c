#include "image/picture.h"

#include "image/codec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

size_t clip_bytes_skip(struct clip_bytes *in, size_t count)
{
    size_t left = in->size - in->at;
    if (count > left)
        count = left;
    in->at += count;
    return count;
}

int clip_bytes_take(struct clip_bytes *in, size_t count, const uint8_t **data)
{
    if (count > in->size - in->at)
        return -1;
    *data = in->data + in->at;
    in->at += count;
    return 0;
}

uint16_t clip_be16(const uint8_t *data)
{
    return (uint16_t)(data[0] << 8 | data[1]);
}

uint32_t clip_be32(const uint8_t *data)
{
    return (uint32_t)clip_be16(data) << 16 | clip_be16(data + 2);
}

int clip_picture_alloc(struct clip_picture *picture, enum clip_picture_mode mode, uint32_t width,
                       uint32_t height, uint64_t max_pixels, struct clip_error *error)
{
    if (width == 0 || height == 0)
        return clip_fail(error, "a picture of %" PRIu32 " x %" PRIu32 " pixels", width, height);
    if (width > INT32_MAX || height > INT32_MAX || (uint64_t)width * height > max_pixels)
        return clip_fail(error, "%" PRIu32 " x %" PRIu32 " pixels are more than the limit of %" PRIu64, width,
                         height, max_pixels);
    picture->mode = mode;
    picture->width = (int)width;
    picture->height = (int)height;
    picture->channels = mode == CLIP_PICTURE_1 || mode == CLIP_PICTURE_L || mode == CLIP_PICTURE_P ? 1 : 4;
    for (int i = 0; i < 256; i++)
        memset(picture->palette[i], i, sizeof picture->palette[i]);
    size_t row = (size_t)width * (size_t)picture->channels;
    picture->pixels = calloc(height, row);
    return picture->pixels ? 0 : clip_fail_memory(error, "a picture");
}

int clip_picture_decode(struct clip_picture *picture, const void *data, size_t size, uint64_t max_pixels,
                        struct clip_error *error)
{
    static const struct {
        const char *magic;
        size_t at, length;
        int (*decode)(struct clip_picture *, const uint8_t *, size_t, uint64_t, struct clip_error *);
    } kinds[] = {
        {"\xff\xd8\xff", 0, 3, clip_jpeg_decode},
        {"\x89PNG\r\n\x1a\n", 0, 8, clip_png_decode},
        {"WEBPVP8", 8, 7, clip_webp_decode},
    };
    memset(picture, 0, sizeof *picture);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (size < kinds[i].at + kinds[i].length ||
            memcmp((const char *)data + kinds[i].at, kinds[i].magic, kinds[i].length) != 0)
            continue;
        if (kinds[i].decode(picture, data, size, max_pixels, error) == 0)
            return 0;
        clip_picture_free(picture);
        return -1;
    }
    return clip_fail(error, "neither JPEG, PNG nor WebP");
}

void clip_picture_free(struct clip_picture *picture)
{
    free(picture->pixels);
    memset(picture, 0, sizeof *picture);
}
