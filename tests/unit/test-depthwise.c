/* Depthwise convolutions on every level of the processor, and windows: forward and backward against plain
 * loops in f64; a place's bytes whatever run of places it is in. */
#include "check.h"

#include "math/depthwise.h"
#include "math/window.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / (1 << 23) - 1);
}

static float *room(size_t n)
{
    float *x = calloc(n + 1, sizeof *x);
    CHECK(x, "memory");
    return x;
}

static float *draws(size_t n)
{
    float *x = room(n);
    for (size_t i = 0; i < n; i++)
        x[i] = draw();
    return x;
}

static double relative(size_t n, const float *got, const double *want)
{
    double off = 0, all = 1e-30;
    for (size_t i = 0; i < n; i++) {
        off += (got[i] - want[i]) * (got[i] - want[i]);
        all += want[i] * want[i];
    }
    return sqrt(off / all);
}

/* --- depthwise --- */

struct sums {
    double *y, *dx, *dw;
};

/* y = w * x + bias, and the gradients of its product with dy; w[channels][side][side]. */
static struct sums expect(const struct clip_depthwise *d, const float *x, const float *w, const float *bias,
                          const float *dy)
{
    size_t c = d->channels, side = d->side, row = clip_depthwise_row(d);
    struct sums s = {calloc(d->height * d->width * c, sizeof(double)),
                     calloc(clip_depthwise_floats(d), sizeof(double)),
                     calloc(c * side * side, sizeof(double))};
    for (size_t i = 0; i < d->height * d->width * c; i++) {
        size_t at = i / c / d->width * d->stride * row + i / c % d->width * d->stride * c + i % c;
        s.y[i] = bias[i % c];
        for (size_t k = 0; k < side * side; k++) {
            size_t from = at + k / side * row + k % side * c;
            s.y[i] += (double)x[from] * w[i % c * side * side + k];
            s.dx[from] += (double)dy[i] * w[i % c * side * side + k];
            s.dw[i % c * side * side + k] += (double)dy[i] * x[from];
        }
    }
    return s;
}

/* The gradient of the framed input by the kernel: dy spread and framed. */
static void check_back(const struct clip_depthwise_kernels *kernels, const struct clip_depthwise *d,
                       const float *w, const float *dy, const double *want)
{
    size_t c = d->channels, frame = d->side - 1;
    struct clip_depthwise back = {(d->height - 1) * d->stride + d->side, (d->width - 1) * d->stride + d->side,
                                  c, d->side, 1};
    float *framed = room(clip_depthwise_floats(&back)), *flipped = room(clip_depthwise_packed(c, d->side)),
          *dx = room(clip_depthwise_floats(d));
    for (size_t i = 0; i < d->height * d->width; i++)
        memcpy(framed + (i / d->width * d->stride + frame) * clip_depthwise_row(&back) +
                   (i % d->width * d->stride + frame) * c,
               dy + i * c, c * sizeof *dy);
    clip_depthwise_pack_flipped(w, c, d->side, flipped);
    kernels->run(&back, framed, flipped, NULL, 0, 0, back.height, back.width, dx);
    CHECK(relative(clip_depthwise_floats(d), dx, want) < 1e-6, "gradient of the input");
    free(framed);
    free(flipped);
    free(dx);
}

static void check_shape(const struct clip_depthwise_kernels *kernels, const struct clip_depthwise *d)
{
    size_t c = d->channels, weights = c * d->side * d->side, places = d->height * d->width;
    float *x = draws(clip_depthwise_floats(d)), *w = draws(weights), *bias = draws(c),
          *dy = draws(places * c);
    float *packed = room(clip_depthwise_packed(c, d->side)), *y = room(places * c), *one = room(c),
          *dw = room(weights), *packed_dw = room(clip_depthwise_packed(c, d->side));
    struct sums want = expect(d, x, w, bias, dy);
    clip_depthwise_pack(w, c, d->side, packed);
    kernels->run(d, x, packed, bias, 0, 0, d->height, d->width, y);
    CHECK(relative(places * c, y, want.y) < 1e-6, "side %zu, stride %zu, %zu channels: y", d->side, d->stride,
          c);
    for (size_t i = 0; i < places; i++) {
        kernels->run(d, x, packed, bias, i / d->width, i % d->width, 1, 1, one);
        CHECK(memcmp(one, y + i * c, c * sizeof *y) == 0, "place %zu alone", i);
    }
    size_t blocks = clip_depthwise_blocks(c);
    kernels->weights(d, x, dy, d->width * c, 0, blocks / 2, packed_dw);
    kernels->weights(d, x, dy, d->width * c, blocks / 2, blocks - blocks / 2, packed_dw);
    clip_depthwise_add(packed_dw, c, d->side, dw);
    /* Sums over all places, which may cancel. */
    CHECK(relative(weights, dw, want.dw) < 5e-6, "gradient of the weights");
    check_back(kernels, d, w, dy, want.dx);
    float *all[] = {x, w, bias, dy, packed, y, one, dw, packed_dw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(want.y);
    free(want.dx);
    free(want.dw);
}

static void test_depthwise(void)
{
    const size_t sides[] = {1, 2, 3, 5, 7, 9, 27}, channels[] = {1, 16, 24, 40, 64};
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++)
        for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
            for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
                for (size_t stride = 1; stride <= 3; stride++) {
                    check_shape(clip_depthwise_kernels(level),
                                &(struct clip_depthwise){14, 19, channels[c], sides[s], stride});
                    check_shape(clip_depthwise_kernels(level),
                                &(struct clip_depthwise){3, 1, channels[c], sides[s], stride});
                }
}

/* --- windows --- */

static void check_window(const struct clip_window *window)
{
    size_t area = window->side * window->side, floats = window->channels * area;
    size_t places = clip_window_height(window) * clip_window_width(window);
    float *x = draws(window->height * window->row), *out = room(floats), *dout = draws(floats),
          *dx = room(window->height * window->row);
    for (size_t at = 0; at < places; at++) {
        double forward = 0, backward = 0;
        clip_window_cut(window, x, at, out);
        for (size_t i = 0; i < floats; i++) {
            long row = (long)(at / clip_window_width(window) * window->stride + i % area / window->side) -
                       (long)window->padding;
            long column = (long)(at % clip_window_width(window) * window->stride + i % window->side) -
                          (long)window->padding;
            int inside =
                row >= 0 && column >= 0 && row < (long)window->height && column < (long)window->width;
            float want =
                inside ? x[(size_t)row * window->row + (size_t)column * window->pixel + i / area] : 0;
            CHECK(out[i] == want, "place %zu, %zu: %g, expected %g", at, i, out[i], want);
            forward += (double)out[i] * dout[i];
        }
        /* <cut(x), dout> = <x, add(dout)> */
        memset(dx, 0, window->height * window->row * sizeof *dx);
        clip_window_add(window, dout, at, dx);
        for (size_t i = 0; i < window->height * window->row; i++)
            backward += (double)dx[i] * x[i];
        CHECK(fabs(forward - backward) < 1e-5, "backward: %g, expected %g", backward, forward);
    }
    free(x);
    free(out);
    free(dout);
    free(dx);
}

static void test_windows(void)
{
    check_window(&(struct clip_window){4, 6, 18, 3, 3, 2, 2, 0});
    check_window(
        &(struct clip_window){5, 7, 28, 4, 4, 2, 2, 0}); /* an odd last row and column are left out */
    check_window(&(struct clip_window){5, 7, 40, 5, 2, 3, 2, 1}); /* two of five channels, rows apart */
    check_window(&(struct clip_window){4, 4, 8, 2, 2, 3, 1, 1});
    check_window(&(struct clip_window){3, 3, 9, 3, 1, 7, 3, 3});
}

int main(void)
{
    test_depthwise();
    test_windows();
    return check_end();
}
