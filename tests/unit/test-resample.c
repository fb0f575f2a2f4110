/* Resampling: known answers of Pillow 9.4, at each level, and parts of a picture against the whole. */
#include "image/resample.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* A picture by a formula. */
struct pattern {
    int width, height, channels;
    uint8_t *pixels;
};

static struct pattern make_pattern(int width, int height, int channels)
{
    struct pattern p = {width, height, channels, malloc((size_t)width * (size_t)height * (size_t)channels)};
    uint8_t *to = p.pixels;
    for (unsigned y = 0; y < (unsigned)height; y++)
        for (unsigned x = 0; x < (unsigned)width; x++)
            for (unsigned c = 0; c < (unsigned)channels; c++)
                *to++ = (uint8_t)(x * x * 3 + y * 7 + x * y * 5 + c * 91 + (x / 5) * (y / 3) * 17);
    return p;
}

static const uint8_t *pattern_row(const void *context, int y, uint8_t *scratch)
{
    const struct pattern *p = context;
    (void)scratch;
    return p->pixels + (size_t)y * (size_t)p->width * (size_t)p->channels;
}

/* The part `box` of the picture resized; the caller's to free. */
static uint8_t *resize(const struct pattern *p, int width, int height, struct clip_box box,
                       enum clip_interpolation interpolation, enum clip_level level)
{
    struct clip_rows rows = {p->width, p->height, p->channels, pattern_row, p};
    struct clip_error error;
    uint8_t *out = malloc((size_t)box.width * (size_t)box.height * (size_t)p->channels);
    CHECK(clip_resample(&rows, width, height, &box, interpolation, out, level, &error) == 0, "%s",
          error.text);
    return out;
}

static void check_known(enum clip_level level)
{
    static const struct {
        enum clip_interpolation interpolation;
        int width, height, channels, new_width, new_height;
        uint32_t crc; /* of Image.resize((new_width, new_height), BICUBIC or BILINEAR), modes L and CMYK */
    } known[] = {
        {CLIP_BICUBIC, 640, 480, 4, 298, 224, 0x3a6d316a},
        {CLIP_BICUBIC, 480, 640, 4, 224, 298, 0x10bad7c9},
        {CLIP_BICUBIC, 97, 31, 4, 31, 97, 0x49336448},
        {CLIP_BICUBIC, 5, 3, 4, 336, 224, 0x7fee8c52},
        {CLIP_BICUBIC, 1, 1, 4, 7, 7, 0x6f5c4417},
        {CLIP_BICUBIC, 2, 300, 4, 7, 1050, 0x07c97dba},
        {CLIP_BICUBIC, 1000, 3, 4, 500, 8, 0xfa775090},
        {CLIP_BICUBIC, 640, 480, 1, 298, 224, 0x9e7d4e45},
        {CLIP_BICUBIC, 7, 5, 1, 64, 45, 0x68910031},
        {CLIP_BICUBIC, 333, 444, 1, 3, 4, 0x214f656f},
        {CLIP_BICUBIC, 13, 13, 4, 13, 13, 0x22c1254d},
        {CLIP_BICUBIC, 224, 225, 4, 223, 224, 0x19ec284d},
        {CLIP_BICUBIC, 3000, 2, 4, 15, 1, 0xf44af87d},
        {CLIP_BILINEAR, 640, 480, 4, 298, 224, 0xbd0013f1},
        {CLIP_BILINEAR, 480, 640, 4, 224, 298, 0xee244e32},
        {CLIP_BILINEAR, 97, 31, 4, 31, 97, 0x1ea7f069},
        {CLIP_BILINEAR, 5, 3, 4, 336, 224, 0x71a3d67a},
        {CLIP_BILINEAR, 1, 1, 4, 7, 7, 0x6f5c4417},
        {CLIP_BILINEAR, 2, 300, 4, 7, 1050, 0x9f899216},
        {CLIP_BILINEAR, 1000, 3, 4, 500, 8, 0x06fb40d0},
        {CLIP_BILINEAR, 640, 480, 1, 298, 224, 0x5fcbd44b},
        {CLIP_BILINEAR, 7, 5, 1, 64, 45, 0xd0bd58b8},
        {CLIP_BILINEAR, 333, 444, 1, 3, 4, 0xff4a639e},
        {CLIP_BILINEAR, 13, 13, 4, 13, 13, 0x22c1254d},
        {CLIP_BILINEAR, 224, 225, 4, 223, 224, 0xfcb2f216},
        {CLIP_BILINEAR, 3000, 2, 4, 15, 1, 0x7b0bc70a},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct pattern p = make_pattern(known[i].width, known[i].height, known[i].channels);
        struct clip_box all = {0, 0, known[i].new_width, known[i].new_height};
        uint8_t *out = resize(&p, all.width, all.height, all, known[i].interpolation, level);
        size_t bytes = (size_t)all.width * (size_t)all.height * (size_t)p.channels;
        CHECK(crc32(0, out, (uInt)bytes) == known[i].crc, "%s, %d x %d to %d x %d",
              clip_interpolation_names[known[i].interpolation], p.width, p.height, all.width, all.height);
        free(out);
        free(p.pixels);
    }
}

/* The part of the whole, cut out afterwards, is the part. */
static void check_box(const struct pattern *p, int width, int height, struct clip_box box,
                      enum clip_interpolation interpolation, enum clip_level level)
{
    struct clip_box all = {0, 0, width, height};
    uint8_t *whole = resize(p, width, height, all, interpolation, CLIP_PLAIN),
            *part = resize(p, width, height, box, interpolation, level);
    size_t pixel = (size_t)p->channels;
    for (int y = 0; y < box.height; y++) {
        const uint8_t *want = whole + ((size_t)(box.y + y) * (size_t)width + (size_t)box.x) * pixel;
        const uint8_t *got = part + (size_t)y * (size_t)box.width * pixel;
        CHECK(memcmp(want, got, (size_t)box.width * pixel) == 0,
              "%d x %d to %d x %d, row %d of the box at %d %d", p->width, p->height, width, height, y, box.x,
              box.y);
    }
    free(whole);
    free(part);
}

static void check_boxes(enum clip_level level)
{
    srand(7);
    for (int i = 0; i < 200; i++) {
        int width = 1 + rand() % 90, height = 1 + rand() % 90, new_width = 1 + rand() % 120,
            new_height = 1 + rand() % 120;
        struct pattern p = make_pattern(width, height, i % 2 ? 4 : 1);
        struct clip_box box = {rand() % new_width, rand() % new_height, 0, 0};
        box.width = 1 + rand() % (new_width - box.x);
        box.height = 1 + rand() % (new_height - box.y);
        check_box(&p, new_width, new_height, box, i / 2 % 2 ? CLIP_BILINEAR : CLIP_BICUBIC, level);
        free(p.pixels);
    }
}

/* Black and white beside each other overshoot on both sides: sums are clipped, not wrapped. */
static void check_clipping(enum clip_level level)
{
    uint8_t stripes[8 * 4 * 4];
    for (size_t i = 0; i < sizeof stripes; i++)
        stripes[i] = i / 8 % 2 ? 255 : 0;
    struct pattern p = {8, 4, 4, stripes};
    uint8_t *out = resize(&p, 61, 32, (struct clip_box){0, 0, 61, 32}, CLIP_BICUBIC, level);
    int black = 0, white = 0;
    for (int i = 0; i < 61 * 32 * 4; i++) {
        black += out[i] == 0;
        white += out[i] == 255;
    }
    CHECK(black > 500 && white > 500, "%d black, %d white", black, white);
    free(out);
}

int main(void)
{
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++) {
        check_known(level);
        check_boxes(level);
        check_clipping(level);
    }
    return check_end();
}
