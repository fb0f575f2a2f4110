#include "image/preprocess.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Pillow gives up if its table of weights would exceed INT_MAX bytes, as it would for a longer side. */
#define LONGEST_SIDE (INT_MAX / 40)

const char *const clip_resize_names[CLIP_RESIZES] = {"shortest", "squash", "longest"};

/* --- conversions of pixels, each as in Pillow's Convert.c --- */

/* a * b / 255, rounded. */
static uint8_t multiply_bytes(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return (uint8_t)(((product >> 8) + product) >> 8);
}

/* Multiplies colours by alpha. */
static void premultiply(uint8_t *out, const uint8_t *in, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, in += 4, out += 4) {
        for (int c = 0; c < 3; c++)
            out[c] = multiply_bytes(in[c], in[3]);
        out[3] = in[3];
    }
}

/* Divides colours by alpha, truncates and clips; where alpha is 0 they are unchanged. */
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
            out[c] = (uint8_t)(light - multiply_bytes(in[c], light));
        }
}

static void palette_to_rgb(uint8_t *out, const uint8_t *in, size_t pixels, const uint8_t (*palette)[3])
{
    for (size_t i = 0; i < pixels; i++)
        memcpy(out + 4 * i, palette[in[i]], 3);
}

/* --- rows of a picture for the resampling (struct clip_rows) --- */

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

/* --- resize and crop: each writes part[box.height, box.width, channels] --- */

struct geometry {
    int width, height; /* of the resized picture */
    struct clip_box box;
    enum clip_interpolation interpolation;
};

static int crop_offset(int length, int size, int convert_first)
{
    int rest = length - size, half = rest / 2;
    int odd_half = half % 2; /* half of 2k + 1 is k + 0.5, rounded to the even one of k and k + 1 */
    return convert_first || rest % 2 == 0 ? half : half + odd_half;
}

/* The sides of the resized picture, in double as in Python. Shorter sides of square images are torchvision's
 * work, which rounds down; open_clip rounds the others to the nearest. */
static void resized_sides(const struct clip_picture *picture, const struct clip_image_form *form,
                          double *width, double *height)
{
    double w = picture->width, h = picture->height, across = w / form->width, down = h / form->height;
    *width = form->width;
    *height = form->height;
    if (form->resize == CLIP_SHORTEST && form->width == form->height) {
        if (w > h)
            *width = floor(form->height * w / h);
        else
            *height = floor(form->width * h / w);
    } else if (form->resize != CLIP_SQUASH) {
        double ratio = form->resize == CLIP_LONGEST ? fmax(across, down) : fmin(across, down);
        *width = rint(w / ratio);
        *height = rint(h / ratio);
    }
}

static int plan_geometry(struct geometry *plan, const struct clip_picture *picture,
                         const struct clip_image_form *form, struct clip_error *error)
{
    double width, height;
    resized_sides(picture, form, &width, &height);
    if (fmax(width, height) > LONGEST_SIDE || fmin(width, height) < 1)
        return clip_fail(error, "%d x %d pixels are too long to be resized to %d x %d", picture->width,
                         picture->height, form->width, form->height);
    plan->width = (int)width;
    plan->height = (int)height;
    plan->box = (struct clip_box){0, 0, form->width, form->height};
    if (form->resize == CLIP_LONGEST) {
        plan->box.width = plan->width;
        plan->box.height = plan->height;
    } else {
        plan->box.x = crop_offset(plan->width, form->width, form->convert_first);
        plan->box.y = crop_offset(plan->height, form->height, form->convert_first);
    }
    plan->interpolation =
        form->resize == CLIP_SHORTEST && form->width != form->height ? CLIP_BICUBIC : form->interpolation;
    return 0;
}

/* The picture has the right size already: crops without resizing. */
static void crop(const struct clip_picture *picture, const struct clip_box *box, uint8_t *part)
{
    size_t channels = (size_t)picture->channels, bytes = (size_t)box->width * channels;
    for (int y = 0; y < box->height; y++)
        memcpy(part + (size_t)y * bytes, row_at(picture, box->y + y) + (size_t)box->x * channels, bytes);
}

/* The source pixel of each output in [start, start + outputs); the sum is Pillow's, rounded step by step. */
static void nearest_axis(int *index, int size, int new_size, int start, int outputs)
{
    double step = (double)(float)size / new_size, at = step * 0.5;
    for (int i = 0; i < start + outputs; i++, at += step)
        if (i >= start)
            index[i - start] = at < size ? (int)at : -1;
}

static int nearest(const struct clip_picture *picture, const struct geometry *plan, uint8_t *part,
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
            *part++ = rows[y] < 0 || columns[x] < 0 ? 0 : row_at(picture, rows[y])[columns[x]];
    free(columns);
    return 0;
}

static int filtered(const struct clip_picture *picture, const struct geometry *plan, int channels,
                    const uint8_t *(*row)(const void *, int, uint8_t *), enum clip_level level, uint8_t *part,
                    struct clip_error *error)
{
    struct clip_rows rows = {picture->width, picture->height, channels, row, picture};
    return clip_resample(&rows, plan->width, plan->height, &plan->box, plan->interpolation, part, level,
                         error);
}

/* In the file's own mode. */
static int resize_as_is(const struct clip_picture *picture, const struct geometry *plan,
                        enum clip_level level, uint8_t *part, struct clip_error *error)
{
    int alpha = picture->mode == CLIP_PICTURE_LA || picture->mode == CLIP_PICTURE_RGBA;
    if (plan->width == picture->width && plan->height == picture->height) {
        crop(picture, &plan->box, part);
        return 0;
    }
    if (picture->mode == CLIP_PICTURE_1 || picture->mode == CLIP_PICTURE_P)
        return nearest(picture, plan, part, error);
    if (filtered(picture, plan, picture->channels, alpha ? row_premultiplied : row_plain, level, part,
                 error) < 0)
        return -1;
    if (alpha)
        unpremultiply(part, (size_t)plan->box.width * (size_t)plan->box.height);
    return 0;
}

/* Conversion to RGB drops alpha and does not change grey and RGB channels; only palettes and CMYK need
 * work. */
static int resize_converted(const struct clip_picture *picture, const struct geometry *plan, int channels,
                            enum clip_level level, uint8_t *part, struct clip_error *error)
{
    return filtered(picture, plan, channels,
                    picture->mode == CLIP_PICTURE_P      ? row_from_palette
                    : picture->mode == CLIP_PICTURE_CMYK ? row_from_cmyk
                                                         : row_plain,
                    level, part, error);
}

/* --- the image --- */

/* Moves part[box.height, box.width, channels] to the middle of the image that begins at the same place, and
 * fills what is around it. */
static void pad(uint8_t *image, const struct clip_image_form *form, const struct clip_box *box,
                size_t channels, int fill)
{
    size_t row = (size_t)form->width * channels, bytes = (size_t)box->width * channels,
           left = (size_t)((form->width - box->width) / 2) * channels;
    int top = (form->height - box->height) / 2;
    for (int y = form->height; y-- > 0;) { /* upwards, so that no row is overwritten before it is moved */
        uint8_t *to = image + (size_t)y * row;
        if (y < top || y >= top + box->height) {
            memset(to, fill, row);
            continue;
        }
        memmove(to + left, image + (size_t)(y - top) * bytes, bytes);
        memset(to, fill, left);
        memset(to + left + bytes, fill, row - left - bytes);
    }
}

/* Channel c of pixels of four bytes. */
static void pick_channel(const uint8_t *image, size_t pixels, size_t c, uint8_t *out)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i lowest = _mm_set1_epi32(255), shift = _mm_cvtsi32_si128(8 * (int)c);
    for (; i + 16 <= pixels; i += 16) {
        __m128i four[4];
        for (size_t k = 0; k < 4; k++) {
            four[k] = _mm_loadu_si128((const __m128i *)(image + 4 * i + 16 * k));
            four[k] = _mm_and_si128(_mm_srl_epi32(four[k], shift), lowest);
        }
        __m128i words[2] = {_mm_packs_epi32(four[0], four[1]), _mm_packs_epi32(four[2], four[3])};
        _mm_storeu_si128((__m128i *)(out + i), _mm_packus_epi16(words[0], words[1]));
    }
#endif
    for (; i < pixels; i++)
        out[i] = image[4 * i + c];
}

/* [pixels, channels] to [3, pixels]: the first three channels, one channel three times, or the palette's
 * colours. */
static void to_planes(const uint8_t *image, size_t pixels, int channels, const uint8_t (*palette)[3],
                      uint8_t *out)
{
    for (size_t c = 0; c < 3; c++, out += pixels) {
        if (palette)
            for (size_t i = 0; i < pixels; i++)
                out[i] = palette[image[(size_t)channels * i]][c];
        else if (channels == 1)
            memcpy(out, image, pixels);
        else
            pick_channel(image, pixels, c, out);
    }
}

static int check_side(int side, struct clip_error *error)
{
    return side >= 1 && side <= CLIP_MAX_IMAGE_SIZE
               ? 0
               : clip_fail(error, "image size %d is not in 1 to %d", side, CLIP_MAX_IMAGE_SIZE);
}

/* The image in the mode that it is resized in: image[height, width, channels]. */
static int make_image(const struct clip_picture *picture, const struct clip_image_form *form, int channels,
                      uint8_t *image, struct clip_error *error)
{
    struct geometry geometry;
    int fill = form->fill_color;
    if (plan_geometry(&geometry, picture, form, error) < 0)
        return -1;
    int status = form->convert_first
                     ? resize_converted(picture, &geometry, channels, form->level, image, error)
                     : resize_as_is(picture, &geometry, form->level, image, error);
    if (status < 0)
        return -1;
    if (picture->mode == CLIP_PICTURE_1 && !form->convert_first && fill)
        fill = 255; /* Pillow takes whatever is not 0 for white */
    if (geometry.box.width < form->width || geometry.box.height < form->height)
        pad(image, form, &geometry.box, (size_t)channels, fill);
    return 0;
}

int clip_picture_to_tensor(const struct clip_picture *picture, const struct clip_image_form *form,
                           uint8_t *out, struct clip_error *error)
{
    int palette = picture->mode == CLIP_PICTURE_P,
        channels = palette && form->convert_first ? 4 : picture->channels;
    if (check_side(form->width, error) != 0 || check_side(form->height, error) != 0)
        return -1;
    size_t pixels = (size_t)form->width * (size_t)form->height;
    uint8_t *image = malloc(pixels * (size_t)channels);
    if (!image)
        return clip_fail_memory(error, "an image");
    int status = make_image(picture, form, channels, image, error);
    if (status == 0 && picture->mode == CLIP_PICTURE_CMYK && !form->convert_first)
        cmyk_to_rgb(image, image, pixels);
    if (status == 0)
        to_planes(image, pixels, channels, palette && !form->convert_first ? picture->palette : NULL, out);
    free(image);
    return status;
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
