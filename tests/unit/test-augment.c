/* Augmentation: what is drawn, and that what is drawn is done, against plain loops over pixels. */
#include "check.h"
#include "image/augment.h"
#include "image/preprocess.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEIGHT = 9, WIDTH = 12, BYTES = 3 * HEIGHT * WIDTH };

static const uint8_t grey[3] = {1, 2, 3};

/* An image of which everything is unusual. */
static struct clip_image_form form_of(int convert_first)
{
    return (struct clip_image_form){.height = HEIGHT,
                                    .width = WIDTH,
                                    .resize = CLIP_LONGEST,
                                    .interpolation = CLIP_BILINEAR,
                                    .fill_color = 40,
                                    .convert_first = convert_first,
                                    .level = clip_level()};
}

/* A picture by a formula, of any mode; pixels are the caller's to free. */
static struct clip_picture make_picture(enum clip_picture_mode mode, int width, int height)
{
    struct clip_picture p = {.mode = mode, .width = width, .height = height};
    p.channels = mode == CLIP_PICTURE_1 || mode == CLIP_PICTURE_L || mode == CLIP_PICTURE_P ? 1 : 4;
    size_t row = (size_t)width * (size_t)p.channels, bytes = row * (size_t)height;
    p.pixels = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        p.pixels[i] = (uint8_t)(i * i * 7 + i / row * 31);
    for (int i = 0; i < 256; i++)
        for (int c = 0; c < 3; c++)
            p.palette[i][c] = (uint8_t)(i * 3 + c * 50);
    return p;
}

static struct clip_change draw(const struct clip_augment *augment, int i, int width, int height)
{
    char key[20];
    int n = snprintf(key, sizeof key, "key %d", i);
    struct clip_image_form form = form_of(0);
    return clip_augment_draw(augment, 1, key, (size_t)n, width, height, &form);
}

static const struct clip_augment plain = {.scale = {1, 1}, .ratio = {1, 1}};

/* --- what is drawn --- */

static void test_function(void)
{
    const struct clip_augment augment = {3, 4, 0, {0.5, 1}, {0.75, 4 / 3.}, 1, 0.3};
    const struct clip_image_form form = form_of(0);
    struct clip_augment other = augment;
    struct clip_change a = clip_augment_draw(&augment, 1, "cat", 3, 32, 32, &form),
                       b = clip_augment_draw(&augment, 1, "cat", 3, 32, 32, &form);
    CHECK(memcmp(&a, &b, sizeof a) == 0, "");
    b = clip_augment_draw(&augment, 2, "cat", 3, 32, 32, &form);
    CHECK(memcmp(&a, &b, sizeof a) != 0, "another epoch");
    b = clip_augment_draw(&augment, 1, "cow", 3, 32, 32, &form);
    CHECK(memcmp(&a, &b, sizeof a) != 0, "another key");
    other.seed = 4;
    b = clip_augment_draw(&other, 1, "cat", 3, 32, 32, &form);
    CHECK(memcmp(&a, &b, sizeof a) != 0, "another seed");
}

/* All 9 x 9 offsets come, mirrored or not. */
static void test_shifts(void)
{
    struct clip_augment augment = plain;
    int seen[9][9][2] = {{{0}}}, missing = 0;
    augment.pad = 4;
    augment.flip = 1;
    for (int i = 0; i < 4000; i++) {
        struct clip_change change = draw(&augment, i, 20, 30);
        CHECK(change.window.width == 20 && change.window.height == 30 && !change.whole, "");
        CHECK(abs(change.window.x) <= 4 && abs(change.window.y) <= 4 && change.flip <= 1, "");
        seen[change.window.y + 4][change.window.x + 4][change.flip]++;
    }
    for (int i = 0; i < 162; i++)
        missing += seen[i / 18][i / 2 % 9][i % 2] == 0;
    CHECK(missing == 0, "%d", missing);
}

/* Area and shape are within their ranges, but for rounding, and fill them. */
static void test_crops(void)
{
    struct clip_augment augment = {.scale = {0.2, 0.8}, .ratio = {0.5, 2}};
    double area[2] = {9, 0}, shape[2] = {9, 0}, logs = 0;
    for (int i = 0; i < 4000; i++) {
        struct clip_change change = draw(&augment, i, 1000, 1000);
        const struct clip_box *box = &change.window;
        CHECK(change.whole && box->x >= 0 && box->y >= 0 && box->x + box->width <= 1000 &&
                  box->y + box->height <= 1000,
              "");
        double share = (double)box->width * box->height / 1e6, w = (double)box->width / box->height;
        area[0] = fmin(area[0], share);
        area[1] = fmax(area[1], share);
        shape[0] = fmin(shape[0], w);
        shape[1] = fmax(shape[1], w);
        logs += log(w) / 4000;
    }
    CHECK(area[0] > 0.199 && area[0] < 0.205 && area[1] < 0.801 && area[1] > 0.77, "%g %g", area[0], area[1]);
    CHECK(shape[0] > 0.499 && shape[0] < 0.505 && shape[1] < 2.01 && shape[1] > 1.95, "%g %g", shape[0],
          shape[1]);
    CHECK(fabs(logs) < 0.03, "%g", logs);
}

/* Where no draw fits, the middle of the nearest shape. */
static void test_middle(void)
{
    const struct clip_augment augment = {.scale = {0.99, 1}, .ratio = {0.75, 4 / 3.}};
    struct clip_box wide = draw(&augment, 0, 300, 30).window, tall = draw(&augment, 0, 30, 300).window,
                    pixel = draw(&augment, 0, 1, 1).window;
    CHECK(wide.x == 130 && wide.y == 0 && wide.width == 40 && wide.height == 30, "%d %d", wide.x, wide.width);
    CHECK(tall.x == 0 && tall.y == 130 && tall.width == 30 && tall.height == 40, "%d %d", tall.y,
          tall.height);
    CHECK(pixel.x == 0 && pixel.y == 0 && pixel.width == 1 && pixel.height == 1, "");
}

static void test_erasing(void)
{
    struct clip_augment augment = plain;
    int whole = 0, cut = 0;
    augment.erase = 1 / 3.;
    for (int i = 0; i < 1000; i++) {
        struct clip_box box = draw(&augment, i, 32, 32).erased;
        CHECK(box.x >= 0 && box.y >= 0 && box.x + box.width <= WIDTH && box.y + box.height <= HEIGHT, "");
        CHECK(box.width >= 2 && box.width <= 3 && box.height >= 2 && box.height <= 3, "%d %d", box.width,
              box.height);
        whole += box.width == 3 && box.height == 3;
        cut += box.width == 2 || box.height == 2;
    }
    CHECK(whole > 500 && cut > 200, "%d %d", whole, cut); /* 70 of 108 are whole */
}

/* --- what is done --- */

static int mirrored(int at, int size)
{
    while (at < 0 || at >= size)
        at = at < 0 ? -at : 2 * (size - 1) - at;
    return at;
}

/* The window pixel by pixel; a palette's in colour. */
static struct clip_picture plain_window(const struct clip_picture *p, struct clip_box box, int reflect)
{
    struct clip_picture out =
        make_picture(p->mode == CLIP_PICTURE_P ? CLIP_PICTURE_RGB : p->mode, box.width, box.height);
    for (int i = 0; i < box.width * box.height; i++) {
        int x = box.x + i % box.width, y = box.y + i / box.width;
        int outside = x < 0 || y < 0 || x >= p->width || y >= p->height;
        int from = mirrored(y, p->height) * p->width + mirrored(x, p->width);
        for (int c = 0; c < out.channels; c++)
            out.pixels[i * out.channels + c] =
                outside && !reflect                  ? (p->mode == CLIP_PICTURE_CMYK && c == 3 ? 255 : 0)
                : p->mode == CLIP_PICTURE_P && c < 3 ? p->palette[p->pixels[from]][c]
                : p->mode == CLIP_PICTURE_P          ? 0
                                                     : p->pixels[from * p->channels + c];
    }
    return out;
}

static void check_change(const struct clip_augment *augment, const struct clip_change *change,
                         const struct clip_picture *picture, int convert_first)
{
    uint8_t got[BYTES], want[BYTES];
    struct clip_error error;
    struct clip_picture window = plain_window(picture, change->window, augment->reflect);
    struct clip_image_form form = form_of(convert_first), squash = form;
    CHECK(clip_augment_apply(augment, change, picture, &form, grey, got, &error) == 0, "%s", error.text);
    squash.resize = CLIP_SQUASH; /* open_clip's random crops are bicubic, whatever the form says */
    squash.interpolation = CLIP_BICUBIC;
    CHECK(clip_picture_to_tensor(&window, change->whole ? &squash : &form, want, &error) == 0, "%s",
          error.text);
    for (int i = 0; i < BYTES; i++) {
        int y = i / WIDTH % HEIGHT, x = i % WIDTH, from = change->flip ? i - x + WIDTH - 1 - x : i;
        const struct clip_box *e = &change->erased;
        int erased = y >= e->y && y < e->y + e->height && x >= e->x && x < e->x + e->width;
        uint8_t expected = erased ? grey[i / HEIGHT / WIDTH] : want[from];
        CHECK(got[i] == expected, "mode %d at %d: %d, not %d", picture->mode, i, got[i], expected);
    }
    free(window.pixels);
}

static void test_pixels(void)
{
    for (int mode = CLIP_PICTURE_1; mode <= CLIP_PICTURE_CMYK; mode++)
        for (int i = 0; i < 40; i++) {
            struct clip_augment augment = {5, i % 5, i % 2, {0.3, 1}, {0.75, 4 / 3.}, 1, 0.3};
            struct clip_picture picture = make_picture((enum clip_picture_mode)mode, 5 + i, 30 - i / 2);
            if (i % 3 == 0)
                augment.scale[0] = 1; /* no crop */
            struct clip_change change = draw(&augment, i, picture.width, picture.height);
            if (augment.pad || change.whole) /* otherwise a palette stays one */
                check_change(&augment, &change, &picture, i % 4 == 0);
            free(picture.pixels);
        }
}

/* Pictures narrower than the pad, mirrored again and again. */
static void test_narrow(void)
{
    struct clip_augment augment = plain;
    augment.pad = 7;
    augment.reflect = 1;
    for (int width = 1; width <= 3; width++)
        for (int i = 0; i < 20; i++) {
            struct clip_picture picture = make_picture(CLIP_PICTURE_RGB, width, 2);
            struct clip_change change = draw(&augment, i, width, 2);
            const struct clip_image_form form = form_of(0);
            uint8_t out[BYTES];
            struct clip_error error;
            if (width > 1)
                check_change(&augment, &change, &picture, 0);
            else
                CHECK(clip_augment_apply(&augment, &change, &picture, &form, grey, out, &error) == 0, "%s",
                      error.text);
            free(picture.pixels);
        }
}

/* With nothing to do, the bytes of clip_picture_to_tensor. */
static void test_nothing(void)
{
    for (int mode = CLIP_PICTURE_1; mode <= CLIP_PICTURE_CMYK; mode++) {
        const struct clip_image_form form = form_of(0);
        uint8_t got[BYTES], want[BYTES];
        struct clip_error error;
        struct clip_picture picture = make_picture((enum clip_picture_mode)mode, 21, 16);
        struct clip_change change = draw(&plain, mode, 21, 16);
        CHECK(clip_augment_apply(&plain, &change, &picture, &form, grey, got, &error) == 0, "");
        CHECK(clip_picture_to_tensor(&picture, &form, want, &error) == 0, "");
        CHECK(memcmp(got, want, BYTES) == 0, "mode %d", mode);
        free(picture.pixels);
    }
}

int main(void)
{
    test_function();
    test_shifts();
    test_crops();
    test_middle();
    test_erasing();
    test_pixels();
    test_narrow();
    test_nothing();
    return check_end();
}
