#include "image/picture.h"
#include "base/array.h"

#include "image/codec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
                       uint32_t height, int zeroed, uint64_t max_pixels, struct clip_error *error)
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
    picture->pixels = zeroed ? calloc(height, row) : reallocarray(NULL, height, row);
    return picture->pixels ? 0 : clip_fail_memory(error, "a picture");
}

/* First bytes of files that people mistake for supported pictures, or that are found in place of one. */
static const struct {
    const char *magic;
    size_t length;
    const char *name;
} others[] = {
    {"GIF8", 4, "a GIF picture"},
    {"BM", 2, "a BMP picture"},
    {"II*\0", 4, "a TIFF picture"},
    {"MM\0*", 4, "a TIFF picture"},
    {"II+\0", 4, "a TIFF picture"},
    {"MM\0+", 4, "a TIFF picture"},
    {"\xff\x0a", 2, "a JPEG XL picture"},
    {"\0\0\0\x0cJXL ", 8, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  ", 8, "a JPEG 2000 picture"},
    {"\xff\x4f\xff\x51", 4, "a JPEG 2000 picture"},
    {"8BPS", 4, "a Photoshop document"},
    {"\0\0\1\0", 4, "an icon (ICO)"},
    {"P1", 2, "a PBM picture"},
    {"P2", 2, "a PGM picture"},
    {"P3", 2, "a PPM picture"},
    {"P4", 2, "a PBM picture"},
    {"P5", 2, "a PGM picture"},
    {"P6", 2, "a PPM picture"},
    {"%PDF-", 5, "a PDF document"},
    {"\x1f\x8b", 2, "gzip-compressed data"},
    {"PK\3\4", 4, "a zip archive"},
    {"version https://git-lfs", 23, "a Git LFS pointer, not the file itself (git lfs pull fetches it)"},
};

/* 1 if one of the brands of an ISO media file, which begins with a box "ftyp", is among `brands`. */
static int has_brand(const uint8_t *data, size_t size, const char *brands)
{
    size_t end = clip_be32(data) < size ? clip_be32(data) : size;
    for (size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) /* a version follows the first */
        for (const char *brand = brands; *brand; brand += 4)
            if (memcmp(data + at, brand, 4) == 0)
                return 1;
    return 0;
}

static const char *name_media(const uint8_t *data, size_t size)
{
    if (has_brand(data, size, "avifavis"))
        return "an AVIF picture";
    if (has_brand(data, size, "heicheixhevchevxheimheishevmhevsmif1msf1"))
        return "a HEIC picture";
    return "an MP4 or QuickTime file";
}

/* Markup, after white space and a byte order mark. */
static const char *name_markup(const char *data, size_t size)
{
    static const struct {
        const char *begin, *name;
    } kinds[] = {{"<svg", "an SVG drawing"},
                 {"<?xml", "an XML document, perhaps an SVG drawing"},
                 {"<!DOCTYPE svg", "an SVG drawing"},
                 {"<!DOCTYPE html", "an HTML page"},
                 {"<html", "an HTML page"},
                 {"<head", "an HTML page"},
                 {"<body", "an HTML page"}};
    size_t at = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && memchr(" \t\r\n", data[at], 4))
        at++;
    for (size_t i = 0; i < CLIP_COUNT_OF(kinds); i++) {
        size_t length = strlen(kinds[i].begin);
        if (size - at >= length && strncasecmp(data + at, kinds[i].begin, length) == 0)
            return kinds[i].name;
    }
    return NULL;
}

/* Sets the error: what the file is instead of a supported picture. */
static int fail_kind(const uint8_t *data, size_t size, struct clip_error *error)
{
    const char *name = name_markup((const char *)data, size);
    if (size == 0)
        return clip_fail(error, "empty");
    for (size_t i = 0; i < CLIP_COUNT_OF(others) && !name; i++)
        if (size >= others[i].length && memcmp(data, others[i].magic, others[i].length) == 0)
            name = others[i].name;
    if (!name && size >= 16 && memcmp(data + 4, "ftyp", 4) == 0)
        name = name_media(data, size);
    return name ? clip_fail(error, "%s: neither JPEG, PNG nor WebP", name)
                : clip_fail(error, "neither JPEG, PNG nor WebP");
}

/* The kinds of files that are read. */
static const struct kind {
    const char *magic;
    size_t at, length;
    const char *extension;
    int (*decode)(struct clip_picture *, const uint8_t *, size_t, uint64_t, struct clip_error *);
} kinds[] = {
    {"\xff\xd8\xff", 0, 3, "jpg", clip_jpeg_decode},
    {"\x89PNG\r\n\x1a\n", 0, 8, "png", clip_png_decode},
    {"WEBPVP8", 8, 7, "webp", clip_webp_decode},
};

/* NULL with error where it is none of them. */
static const struct kind *find_kind(const uint8_t *data, size_t size, struct clip_error *error)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(kinds); i++)
        if (size >= kinds[i].at + kinds[i].length &&
            memcmp(data + kinds[i].at, kinds[i].magic, kinds[i].length) == 0)
            return &kinds[i];
    fail_kind(data, size, error);
    return NULL;
}

const char *clip_picture_extension(const void *data, size_t size, struct clip_error *error)
{
    const struct kind *kind = find_kind(data, size, error);
    return kind ? kind->extension : NULL;
}

int clip_picture_decode(struct clip_picture *picture, const void *data, size_t size, uint64_t max_pixels,
                        struct clip_error *error)
{
    const struct kind *kind = find_kind(data, size, error);
    memset(picture, 0, sizeof *picture);
    if (kind && kind->decode(picture, data, size, max_pixels, error) == 0)
        return 0;
    clip_picture_free(picture);
    return -1;
}

void clip_picture_free(struct clip_picture *picture)
{
    free(picture->pixels);
    memset(picture, 0, sizeof *picture);
}
