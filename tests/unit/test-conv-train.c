/* Kernels of convolutional towers in training, on every level of the processor: convolutions and their
 * gradients against plain loops in f64, batch norm against finite differences of one in f64. */
#include "check.h"

#include "math/batch-norm.h"
#include "math/conv-train.h"

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
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64 + 64);
    memset(x, 0, n * sizeof *x);
    return x;
}

static float *draws(size_t n)
{
    float *x = room(n);
    for (size_t i = 0; i < n; i++)
        x[i] = draw();
    return x;
}

/* --- convolutions --- */

/* A convolution whose model has `inputs` and `outputs` channels. */
struct shape {
    struct clip_conv_plane plane;
    size_t inputs, outputs;
};

/* [pictures][height][width][padded], framed, of x[pictures][height][width][channels]. */
static float *framed(const float *x, const struct clip_conv_plane *plane, size_t channels)
{
    size_t padded = clip_conv_channels(channels), frame = plane->side - 1, across = plane->width + frame;
    float *y = room(plane->pictures * (plane->height + frame) * across * padded);
    for (size_t p = 0; p < plane->pictures; p++)
        for (size_t i = 0; i < plane->height; i++)
            for (size_t j = 0; j < plane->width; j++, x += channels)
                memcpy(y + ((p * (plane->height + frame) + i + frame / 2) * across + j + frame / 2) * padded,
                       x, channels * sizeof *x);
    return y;
}

/* What a convolution is made of, and what it gives. */
struct sums {
    const float *x, *w, *dy;
    double *y, *dx, *dw;
};

static void plain(const struct shape *shape, const struct sums *s)
{
    const struct clip_conv_plane *p = &shape->plane;
    size_t side = p->side, in = shape->inputs, out = shape->outputs;
    for (size_t row = 0; row < p->pictures * p->height * p->width; row++)
        for (size_t k = 0; k < side * side; k++) {
            size_t i = row / p->width % p->height + k / side - side / 2,
                   j = row % p->width + k % side - side / 2;
            if (i >= p->height || j >= p->width) /* also those below 0 */
                continue;
            size_t from = (row / p->width / p->height * p->height + i) * p->width + j;
            for (size_t o = 0; o < out; o++)
                for (size_t c = 0; c < in; c++) {
                    size_t at = (o * in + c) * side * side + k;
                    s->y[row * out + o] += (double)s->w[at] * s->x[from * in + c];
                    s->dx[from * in + c] += (double)s->w[at] * s->dy[row * out + o];
                    s->dw[at] += (double)s->x[from * in + c] * s->dy[row * out + o];
                }
        }
}

/* The largest difference of y[pixels][padded] from want[pixels][channels], whose rest must be 0. */
static double distance(const float *y, const double *want, size_t pixels, size_t channels)
{
    size_t padded = clip_conv_channels(channels);
    double worst = 0;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < padded; c++)
            worst = fmax(worst, fabs(y[i * padded + c] - (c < channels ? want[i * channels + c] : 0)));
    return worst;
}

static void check_conv(const struct clip_conv_train_kernels *kernels, const struct shape *shape,
                       const struct sums *s)
{
    const struct clip_conv_plane *p = &shape->plane;
    size_t in = shape->inputs, out = shape->outputs, pixels = p->pictures * p->height * p->width;
    size_t taps = p->side * p->side, weights = taps * p->in * p->out;
    struct clip_conv_plane back = *p;
    back.in = p->out, back.out = p->in;
    float *x = framed(s->x, p, in), *dy = framed(s->dy, p, out), *packed = room(weights);
    float *y = room(pixels * p->out), *dx = room(pixels * p->in), *gradient = room(weights);
    float *dw = draws(out * in * taps), *before = room(out * in * taps);
    memcpy(before, dw, out * in * taps * sizeof *dw);
    clip_conv_pack(s->w, out, in, p->side, packed);
    kernels->run(p, x, packed, y);
    double size = sqrt((double)(taps * p->in)), worst = distance(y, s->y, pixels, out);
    CHECK(worst < 1e-6 * size, "%zu x %zu, %zu to %zu: %g", p->height, p->width, in, out, worst);
    kernels->run_double(p, x, packed, y);
    for (size_t i = 0; i < pixels * out; i++) /* rounded once */
        CHECK(fabs(y[i / out * p->out + i % out] - s->y[i]) <= 6e-8 * fabs(s->y[i]) + 1e-12, "%zu: not %g", i,
              s->y[i]);
    clip_conv_pack_flipped(s->w, out, in, p->side, packed);
    kernels->run(&back, dy, packed, dx);
    worst = distance(dx, s->dx, pixels, in);
    CHECK(worst < 1e-6 * sqrt((double)(taps * p->out)), "%zu x %zu, %zu to %zu: %g", p->height, p->width, in,
          out, worst);
    kernels->weights(p, x, dy, gradient);
    for (size_t o = 0; o < out; o += CLIP_CHANNELS)
        clip_conv_add_gradient(gradient + o * taps * p->in, out, in, p->side, o, dw);
    for (size_t i = 0; i < out * in * taps; i++)
        CHECK(fabs(dw[i] - before[i] - s->dw[i]) < 2e-6 * sqrt((double)pixels), "%zu: %g, not %g", i,
              dw[i] - before[i], s->dw[i]);
    free(x), free(dy), free(packed), free(y), free(dx), free(gradient), free(dw), free(before);
}

static void test_conv(size_t pictures, size_t height, size_t width, size_t side, size_t inputs,
                      size_t outputs)
{
    struct shape shape = {
        {pictures, height, width, clip_conv_channels(inputs), clip_conv_channels(outputs), side},
        inputs,
        outputs};
    size_t pixels = pictures * height * width, weights = outputs * inputs * side * side;
    float *x = draws(pixels * inputs), *w = draws(weights), *dy = draws(pixels * outputs);
    struct sums sums = {x,
                        w,
                        dy,
                        calloc(pixels * outputs, sizeof(double)),
                        calloc(pixels * inputs, sizeof(double)),
                        calloc(weights, sizeof(double))};
    plain(&shape, &sums);
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++)
        check_conv(clip_conv_train_kernels(level), &shape, &sums);
    free(x), free(w), free(dy), free(sums.y), free(sums.dx), free(sums.dw);
}

/* The first convolution's patches against the pixels that they should hold. */
static void test_color_patches(void)
{
    enum { SIZE = 6 };
    float x[3 * SIZE * SIZE], patches[SIZE * SIZE / 4 * 32];
    for (size_t i = 0; i < 3 * SIZE * SIZE; i++)
        x[i] = (float)(i + 1);
    clip_conv_color_patches(x, SIZE, patches);
    for (size_t at = 0; at < SIZE * SIZE / 4 * 32; at++) {
        size_t row = at / 32, k = at % 32;
        size_t i = row / (SIZE / 2) * 2 + k / 3 % 3 - 1, j = row % (SIZE / 2) * 2 + k % 3 - 1;
        float want = k < 27 && i < SIZE && j < SIZE ? x[(k / 9 * SIZE + i) * SIZE + j] : 0;
        CHECK(patches[at] == want, "%zu: %g, not %g", at, patches[at], want);
    }
}

/* --- batch norm --- */

enum { PIXELS = 70, CHANNELS = 80, EACH = PIXELS * CHANNELS };

/* A norm in training with its input, and the gradient of what becomes of it. */
struct norm {
    float *x, *side, *dy, *scale, *shift;
};

/* The loss sum(dy max(norm(x) + side, 0)) in f64, of one channel. */
static double loss_of(const struct norm *n, const double *x, size_t c)
{
    double mean = 0, variance = 0, loss = 0;
    for (size_t i = 0; i < PIXELS; i++)
        mean += x[i] / PIXELS;
    for (size_t i = 0; i < PIXELS; i++)
        variance += (x[i] - mean) * (x[i] - mean) / PIXELS;
    for (size_t i = 0; i < PIXELS; i++) {
        double y = (x[i] - mean) / sqrt(variance + 1e-5) * n->scale[c] + n->shift[c];
        loss += n->dy[i * CHANNELS + c] * fmax(y + n->side[i * CHANNELS + c], 0);
    }
    return loss;
}

/* What the kernels make of it: [EACH] each, and [CHANNELS]. */
struct result {
    float *y, *gradient, *dx;
    double sum[CHANNELS], product[CHANNELS];
};

/* Moments in two parts, joined; forward; sums; backward. */
static void run_norm(const struct clip_batch_norm_kernels *kernels, const struct norm *n, struct result *r)
{
    enum { FIRST = 37 };
    double mean[CHANNELS], squares[CHANNELS], other_mean[CHANNELS], other_squares[CHANNELS];
    float *values = room(5 * CHANNELS), *middle = values, *scale = values + CHANNELS,
          *slope = values + 2 * CHANNELS, *shift = values + 3 * CHANNELS, *zero = values + 4 * CHANNELS;
    kernels->moments(FIRST, CHANNELS, n->x, mean, squares);
    kernels->moments(PIXELS - FIRST, CHANNELS, n->x + FIRST * CHANNELS, other_mean, other_squares);
    clip_moments_join(CHANNELS, FIRST, mean, squares, PIXELS - FIRST, other_mean, other_squares);
    for (size_t c = 0; c < CHANNELS; c++) {
        middle[c] = (float)mean[c];
        scale[c] = (float)(n->scale[c] / sqrt(squares[c] / PIXELS + 1e-5));
    }
    struct clip_batch_norm norm = {middle, scale, n->shift}, side = {zero, zero, zero};
    kernels->join(PIXELS, CHANNELS, n->x, &norm, n->side, NULL, r->y);
    memcpy(r->gradient, n->dy, EACH * sizeof(float));
    kernels->gate(EACH, r->y, r->gradient);
    kernels->sums(PIXELS, CHANNELS, r->gradient, n->x, middle, r->sum, r->product);
    for (size_t c = 0; c < CHANNELS; c++) {
        double inverse = 1 / sqrt(squares[c] / PIXELS + 1e-5);
        r->product[c] *= inverse;
        slope[c] = (float)(-scale[c] * inverse * r->product[c] / PIXELS);
        shift[c] = (float)(-scale[c] * r->sum[c] / PIXELS);
    }
    struct clip_batch_norm_back back = {middle, slope, scale, shift};
    kernels->backward(PIXELS, CHANNELS, r->gradient, n->x, &back, r->dx);
    /* Without a side, and with one that a norm makes 0, it is the normalised ReLU. */
    float *flat = room(2 * EACH), *joined = flat + EACH, *gated = draws(EACH), *gate = draws(EACH);
    memcpy(gate, gated, EACH * sizeof *gate);
    kernels->normalize(PIXELS, CHANNELS, n->x, &norm, 1, flat);
    kernels->join(PIXELS, CHANNELS, n->x, &norm, n->side, &side, joined);
    CHECK(memcmp(flat, joined, EACH * sizeof *flat) == 0, "");
    kernels->gate(EACH, flat, gate);
    kernels->gate_norm(PIXELS, CHANNELS, n->x, &norm, gated);
    CHECK(memcmp(gate, gated, EACH * sizeof *gate) == 0, "");
    free(values), free(flat), free(gated), free(gate);
}

/* The slope of the loss of channel c with its scale or shift. */
static double slope_of(const struct norm *n, const double *x, size_t c, float *parameter)
{
    float value = *parameter;
    float high = (float)((double)value + 1e-3), low = (float)((double)value - 1e-3);
    *parameter = high;
    double difference = loss_of(n, x, c);
    *parameter = low;
    difference = (difference - loss_of(n, x, c)) / ((double)high - low);
    *parameter = value;
    return difference;
}

static void check_norm(const struct norm *n, struct result *r)
{
    double x[PIXELS], step = 1e-5;
    for (size_t c = 0; c < CHANNELS; c++) {
        for (size_t i = 0; i < PIXELS; i++)
            x[i] = n->x[i * CHANNELS + c];
        double difference = 0;
        for (size_t i = 0; i < PIXELS; i += 7) {
            double value = x[i];
            x[i] = value + step;
            difference = loss_of(n, x, c);
            x[i] = value - step;
            difference = (difference - loss_of(n, x, c)) / (2 * step);
            x[i] = value;
            CHECK(fabs(r->dx[i * CHANNELS + c] - difference) < 2e-5, "%zu, %zu: %g, not %g", i, c,
                  r->dx[i * CHANNELS + c], difference);
        }
        difference = slope_of(n, x, c, &n->shift[c]);
        CHECK(fabs(r->sum[c] - difference) < 2e-5, "%zu: %g, not %g", c, r->sum[c], difference);
        difference = slope_of(n, x, c, &n->scale[c]);
        CHECK(fabs(r->product[c] - difference) < 2e-5, "%zu: %g, not %g", c, r->product[c], difference);
    }
}

/* Values lie far from 0, so that statistics must not be sums of squares; sums before the ReLU lie away from
 * 0, so that the steps of the differences do not pass it. */
static void test_norm(void)
{
    struct norm n = {draws(EACH), draws(EACH), draws(EACH), draws(CHANNELS), draws(CHANNELS)};
    for (size_t i = 0; i < EACH; i++) {
        n.x[i] += (float)(i % CHANNELS % 9);
        n.side[i] = n.side[i] < 0 ? -8 + n.side[i] : 8 + n.side[i];
    }
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++) {
        struct result r = {.y = room(EACH), .gradient = room(EACH), .dx = room(EACH)};
        run_norm(clip_batch_norm_kernels(level), &n, &r);
        check_norm(&n, &r);
        free(r.y), free(r.gradient), free(r.dx);
    }
    free(n.x), free(n.side), free(n.dy), free(n.scale), free(n.shift);
}

/* x[PIXELS][n]: the first n channels of wide[PIXELS][CHANNELS]. */
static float *first_channels(const float *wide, size_t n)
{
    float *x = room(EACH);
    for (size_t i = 0; i < PIXELS; i++)
        memcpy(x + i * n, wide + i * CHANNELS, n * sizeof *x);
    return x;
}

/* What n channels give is what they give beside others, and nothing is read or written after them. */
static void check_channels(const struct clip_batch_norm_kernels *kernels, size_t n)
{
    double mean[CHANNELS], squares[CHANNELS], sum[CHANNELS], product[CHANNELS], sums[4][CHANNELS];
    float *x = draws(EACH), *dy = draws(EACH), *values = draws(4 * CHANNELS), *y = room(EACH),
          *dx = room(EACH), *few = room(EACH);
    const struct clip_batch_norm norm = {values, values + CHANNELS, values + 2 * CHANNELS};
    const struct clip_batch_norm_back back = {values, values + CHANNELS, values + 2 * CHANNELS,
                                              values + 3 * CHANNELS};
    float *some = first_channels(x, n), *some_dy = first_channels(dy, n);
    kernels->moments(PIXELS, CHANNELS, x, mean, squares);
    kernels->sums(PIXELS, CHANNELS, dy, x, values, sum, product);
    kernels->normalize(PIXELS, CHANNELS, x, &norm, 0, y);
    kernels->backward(PIXELS, CHANNELS, dy, x, &back, dx);
    for (size_t i = 0; i < 4; i++)
        sums[i][n] = 7;
    kernels->moments(PIXELS, n, some, sums[0], sums[1]);
    kernels->sums(PIXELS, n, some_dy, some, values, sums[2], sums[3]);
    const double *wide[] = {mean, squares, sum, product};
    for (size_t i = 0; i < 4; i++)
        CHECK(memcmp(sums[i], wide[i], n * sizeof *mean) == 0 && sums[i][n] == 7, "%zu channels", n);
    float *want[] = {first_channels(y, n), first_channels(dx, n)};
    kernels->normalize(PIXELS, n, some, &norm, 0, few);
    CHECK(memcmp(few, want[0], EACH * sizeof *few) == 0, "%zu channels", n);
    kernels->backward(PIXELS, n, some_dy, some, &back, few);
    CHECK(memcmp(few, want[1], EACH * sizeof *few) == 0, "%zu channels", n);
    free(x), free(dy), free(values), free(y), free(dx), free(few), free(some), free(some_dy);
    free(want[0]), free(want[1]);
}

static void test_spread(const struct clip_batch_norm_kernels *kernels)
{
    enum { HEIGHT = 4, WIDTH = 6, WIDE = 32 };
    float *gradient = draws(HEIGHT * WIDTH / 4 * WIDE), *x = draws(HEIGHT * WIDTH * WIDE),
          *before = room(HEIGHT * WIDTH * WIDE);
    memcpy(before, x, HEIGHT * WIDTH * WIDE * sizeof *x);
    kernels->pool_backward(gradient, HEIGHT, WIDTH, WIDE, x);
    for (size_t at = 0; at < HEIGHT * WIDTH * WIDE; at++) {
        size_t i = at / WIDE / WIDTH, j = at / WIDE % WIDTH;
        float want = before[at] + 0.25f * gradient[(i / 2 * (WIDTH / 2) + j / 2) * WIDE + at % WIDE];
        CHECK(fabsf(x[at] - want) < 1e-6f, "%zu: %g, not %g", at, x[at], want);
    }
    free(gradient), free(x), free(before);
}

int main(void)
{
    test_conv(2, 8, 8, 3, 16, 32);
    test_conv(3, 4, 4, 3, 24, 48);
    test_conv(1, 5, 19, 3, 3, 64);
    test_conv(2, 3, 3, 3, 33, 80);
    test_conv(1, 1, 2, 3, 4, 5);
    test_conv(2, 9, 9, 1, 40, 112);
    test_conv(1, 2, 2, 1, 16, 17);
    test_conv(1, 1, 1, 1, 20, 96);
    test_color_patches();
    test_norm();
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++) {
        test_spread(clip_batch_norm_kernels(level));
        for (size_t n = 1; n < CHANNELS; n++)
            check_channels(clip_batch_norm_kernels(level), n);
    }
    return check_end();
}
