#include "image/preprocess.h"

#include "image/resample.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Pillow's table of weights for a side that long would pass INT_MAX bytes, and it gives up. */
#define LONGEST_SIDE (INT_MAX / 40)

/* --- conversions of pixels, each as in Pillow's Convert.c --- */

/* a * b / 255, rounded. */
static uint8_t multiply(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return (uint8_t)(((product >> 8) + product) >> 8);
}

/* Colours times alpha. */
static void premultiply(uint8_t *out, const uint8_t *in, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, in += 4, out += 4) {
        for (int c = 0; c < 3; c++)
            out[c] = multiply(in[c], in[3]);
        out[3] = in[3];
    }
}

/* Colours over alpha, cut and clipped; where alpha is 0 they stay. */
static void unpremultiply(uint8_t *pixels, size_t count)
{
    for (uint8_t *p = pixels; p < pixels + count * 4; p += 4)
        for (int c = 0; c < 3 && p[3] != 0 && p[3] != 255; c++) {
            unsigned value = 255u * p[c] / p[3];
            p[c] = value > 255 ? 255 : (uint8_t)value;
        }
}

static void cmyk_to_rgb(uint8_t *out, const uint8_t *in, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, in += 4, out += 4)
        for (int c = 0; c < 3; c++) {
            unsigned light = 255u - in[3];
            out[c] = (uint8_t)(light - multiply(in[c], light));
        }
}

static void palette_to_rgb(uint8_t *out, const uint8_t *in, size_t pixels, const uint8_t (*palette)[3])
{
    for (size_t i = 0; i < pixels; i++)
        memcpy(out + 4 * i, palette[in[i]], 3);
}

/* --- rows of a picture as the resampling reads them (struct clip_rows) --- */

static const uint8_t *row_at(const struct clip_picture *picture, int y)
{
    return picture->pixels + (size_t)y * (size_t)picture->width * (size_t)picture->channels;
}

static const uint8_t *row_plain(const void *context, int y, uint8_t *scratch)
{
    (void)scratch;
    return row_at(context, y);
}

static const uint8_t *row_premultiplied(const void *context, int y, uint8_t *scratch)
{
    const struct clip_picture *picture = context;
    premultiply(scratch, row_at(picture, y), (size_t)picture->width);
    return scratch;
}

static const uint8_t *row_from_cmyk(const void *context, int y, uint8_t *scratch)
{
    const struct clip_picture *picture = context;
    cmyk_to_rgb(scratch, row_at(picture, y), (size_t)picture->width);
    return scratch;
}

static const uint8_t *row_from_palette(const void *context, int y, uint8_t *scratch)
{
    const struct clip_picture *picture = context;
    palette_to_rgb(scratch, row_at(picture, y), (size_t)picture->width, picture->palette);
    return scratch;
}

/* --- resize and crop: each writes square[size, size, channels] --- */

struct geometry {
    int width, height; /* of the resized picture */
    struct clip_box box;
};

static int crop_offset(int length, int size, int convert_first)
{
    int rest = length - size, half = rest / 2;
    int odd_half = half % 2; /* of 2k + 1 the half, k + 0.5, goes to the even one of k and k + 1 */
    return convert_first || rest % 2 == 0 ? half : half + odd_half;
}

static int plan(struct geometry *plan, const struct clip_picture *picture, const struct clip_image_form *form,
                struct clip_error *error)
{
    int size = form->size;
    int wide = picture->width > picture->height;
    int64_t longer = wide ? picture->width : picture->height,
            shorter = wide ? picture->height : picture->width;
    int64_t length = size * longer / shorter;
    if (length > LONGEST_SIDE)
        return clip_fail(error, "%d x %d pixels are too long to be resized to %d", picture->width,
                         picture->height, size);
    plan->width = wide ? (int)length : size;
    plan->height = wide ? size : (int)length;
    plan->box = (struct clip_box){crop_offset(plan->width, size, form->convert_first),
                                  crop_offset(plan->height, size, form->convert_first), size, size};
    return 0;
}

/* The picture's side is `size` already, so that nothing is resized. */
static void crop(const struct clip_picture *picture, const struct clip_box *box, uint8_t *square)
{
    size_t channels = (size_t)picture->channels, bytes = (size_t)box->width * channels;
    for (int y = 0; y < box->height; y++)
        memcpy(square + (size_t)y * bytes, row_at(picture, box->y + y) + (size_t)box->x * channels, bytes);
}

/* The source pixel of each output in [start, start + outputs); the sum is Pillow's, rounded step by step. */
static void nearest_axis(int *index, int size, int new_size, int start, int outputs)
{
    double step = (double)(float)size / new_size, at = step * 0.5;
    for (int i = 0; i < start + outputs; i++, at += step)
        if (i >= start)
            index[i - start] = at < size ? (int)at : -1;
}

static int nearest(const struct clip_picture *picture, const struct geometry *plan, uint8_t *square,
                   struct clip_error *error)
{
    const struct clip_box *box = &plan->box;
    int *columns = calloc((size_t)box->width + (size_t)box->height, sizeof *columns);
    if (!columns)
        return clip_fail_memory(error, "a resampling");
    int *rows = columns + box->width;
    nearest_axis(columns, picture->width, plan->width, box->x, box->width);
    nearest_axis(rows, picture->height, plan->height, box->y, box->height);
    for (int y = 0; y < box->height; y++)
        for (int x = 0; x < box->width; x++)
            *square++ = rows[y] < 0 || columns[x] < 0 ? 0 : row_at(picture, rows[y])[columns[x]];
    free(columns);
    return 0;
}

static int bicubic(const struct clip_picture *picture, const struct geometry *plan, int channels,
                   const uint8_t *(*row)(const void *, int, uint8_t *), enum clip_level level,
                   uint8_t *square, struct clip_error *error)
{
    struct clip_rows rows = {picture->width, picture->height, channels, row, picture};
    return clip_resample(&rows, plan->width, plan->height, &plan->box, square, level, error);
}

/* [size, size, channels] to [3, size, size]: the first three channels, the one thrice, or its colour. */
static void to_planes(const uint8_t *square, size_t pixels, int channels, const uint8_t (*palette)[3],
                      uint8_t *out)
{
    for (size_t c = 0; c < 3; c++, out += pixels) {
        const uint8_t *from = square + (channels == 1 ? 0 : c);
        if (palette)
            for (size_t i = 0; i < pixels; i++)
                out[i] = palette[from[i]][c];
        else if (channels == 1)
            memcpy(out, from, pixels);
        else
            for (size_t i = 0; i < pixels; i++)
                out[i] = from[4 * i];
    }
}

static int openai_order(const struct clip_picture *picture, const struct geometry *plan,
                        enum clip_level level, uint8_t *square, struct clip_error *error)
{
    size_t pixels = (size_t)plan->box.width * (size_t)plan->box.height;
    int alpha = picture->mode == CLIP_PICTURE_LA || picture->mode == CLIP_PICTURE_RGBA;
    if (plan->width == picture->width && plan->height == picture->height) {
        crop(picture, &plan->box, square);
    } else if (picture->mode == CLIP_PICTURE_1 || picture->mode == CLIP_PICTURE_P) {
        if (nearest(picture, plan, square, error) < 0)
            return -1;
    } else {
        if (bicubic(picture, plan, picture->channels, alpha ? row_premultiplied : row_plain, level, square,
                    error) < 0)
            return -1;
        if (alpha)
            unpremultiply(square, pixels);
    }
    if (picture->mode == CLIP_PICTURE_CMYK)
        cmyk_to_rgb(square, square, pixels);
    return 0;
}

/* Conversion to RGB drops alpha, and leaves channels alone where they are bytes of light already: only
 * palettes and CMYK are converted in earnest. */
static int convert_first_order(const struct clip_picture *picture, const struct geometry *plan, int channels,
                               enum clip_level level, uint8_t *square, struct clip_error *error)
{
    return bicubic(picture, plan, channels,
                   picture->mode == CLIP_PICTURE_P      ? row_from_palette
                   : picture->mode == CLIP_PICTURE_CMYK ? row_from_cmyk
                                                        : row_plain,
                   level, square, error);
}

static int check_size(int size, struct clip_error *error)
{
    return size >= 1 && size <= CLIP_MAX_IMAGE_SIZE
               ? 0
               : clip_fail(error, "image size %d is not in 1 to %d", size, CLIP_MAX_IMAGE_SIZE);
}

static int make_tensor(const struct clip_picture *picture, const struct geometry *geometry,
                       const struct clip_image_form *form, uint8_t *out, struct clip_error *error)
{
    int convert_first = form->convert_first, palette = picture->mode == CLIP_PICTURE_P,
        channels = palette && convert_first ? 4 : picture->channels;
    size_t pixels = (size_t)geometry->box.width * (size_t)geometry->box.height;
    uint8_t *square = malloc(pixels * (size_t)channels);
    if (!square)
        return clip_fail_memory(error, "an image");
    int status = convert_first ? convert_first_order(picture, geometry, channels, form->level, square, error)
                               : openai_order(picture, geometry, form->level, square, error);
    if (status == 0)
        to_planes(square, pixels, channels, palette && !convert_first ? picture->palette : NULL, out);
    free(square);
    return status;
}

int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error)
{
    struct geometry geometry;
    if (check_size(form->size, error) != 0 || plan(&geometry, picture, form, error) < 0)
        return -1;
    return make_tensor(picture, &geometry, form, out, error);
}

int clip_picture_stretch(const struct clip_picture *picture, const struct clip_image_form *form, uint8_t *out,
                         struct clip_error *error)
{
    struct geometry geometry = {form->size, form->size, {0, 0, form->size, form->size}};
    return check_size(form->size, error) != 0 ? -1 : make_tensor(picture, &geometry, form, out, error);
}

void clip_pixel_levels(const float mean[3], const float std[3], float levels[CLIP_PIXEL_LEVELS])
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            float share = (float)i / 255.0f, centred = share - mean[c];
            *levels++ = centred / std[c];
        }
}

void clip_pixels_normalize(const uint8_t *pixels, size_t plane, const float levels[CLIP_PIXEL_LEVELS],
                           float *out)
{
    for (int c = 0; c < 3; c++, levels += 256)
        for (size_t i = 0; i < plane; i++)
            *out++ = levels[*pixels++];
}
