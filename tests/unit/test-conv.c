/* Convolutions and their kernels against plain loops in f64, on every level of the processor and with every
 * engine. */
#include "check.h"

#include "math/conv-kernels.h"
#include "math/conv.h"
#include "math/kernels.h"

#include <math.h>
#include <string.h>

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / (1 << 23) - 1);
}

static float *draws(size_t n)
{
    float *x = malloc(n * sizeof *x + 64);
    for (size_t i = 0; i < n; i++)
        x[i] = draw();
    return x;
}

static float half_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* --- kernels --- */

static void test_bias_relu(const struct clip_conv_kernels *kernels)
{
    enum { ROWS = 5, N = 37 };
    for (int relu = 0; relu < 2; relu++)
        for (int biased = 0; biased < 2; biased++) {
            float *x = draws(ROWS * N), *y = malloc(ROWS * N * sizeof *y), *bias = draws(N);
            memcpy(y, x, ROWS * N * sizeof *y);
            kernels->bias_relu(ROWS, N, biased ? bias : NULL, relu, y);
            for (size_t i = 0; i < ROWS * N; i++) {
                float want = biased ? x[i] + bias[i % N] : x[i];
                want = relu && want < 0 ? 0 : want;
                CHECK(y[i] == want, "relu %d bias %d at %zu: %g, not %g", relu, biased, i, y[i], want);
            }
            free(x);
            free(y);
            free(bias);
        }
    float bad[3] = {NAN, -INFINITY, INFINITY};
    kernels->bias_relu(1, 3, NULL, 1, bad);
    CHECK(isnan(bad[0]) && bad[1] == 0 && bad[2] == INFINITY, "%g %g %g", bad[0], bad[1], bad[2]);
}

static void test_widen(const struct clip_conv_kernels *kernels)
{
    enum { N = 101 };
    uint16_t half[N];
    float y[N];
    for (size_t i = 0; i < N; i++)
        half[i] = (uint16_t)(i * 649);
    kernels->widen(half, N, y);
    for (size_t i = 0; i < N; i++) {
        float want = half_value(half[i]);
        CHECK(memcmp(&y[i], &want, sizeof want) == 0, "%04x becomes %g", half[i], y[i]);
    }
}

static void test_pool(const struct clip_conv_kernels *kernels, size_t height, size_t width, size_t channels)
{
    size_t n = height * width * channels, rows = height / 2, columns = width / 2;
    float *x = draws(n), *y = malloc(rows * columns * channels * sizeof *y);
    uint16_t *x16 = malloc(n * sizeof *x16), *y16 = malloc(rows * columns * channels * sizeof *y16);
    clip_kernels(CLIP_PLAIN)->convert(n, x, CLIP_PRECISION_BF16, x16);
    kernels->pool(x, height, width, channels, y);
    kernels->pool_bf16(x16, height, width, channels, y16);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            for (size_t c = 0; c < channels; c++) {
                double sum = 0, sum16 = 0;
                for (size_t k = 0; k < 4; k++) {
                    size_t at = ((2 * i + k / 2) * width + 2 * j + k % 2) * channels + c;
                    sum += x[at];
                    sum16 += half_value(x16[at]);
                }
                size_t to = (i * columns + j) * channels + c;
                CHECK(fabs(y[to] - sum / 4) < 1e-6, "%zu x %zu x %zu: %g, not %g", height, width, channels,
                      y[to], sum / 4);
                CHECK(fabs(half_value(y16[to]) - sum16 / 4) < 4e-3, "bf16: %g, not %g", half_value(y16[to]),
                      sum16 / 4);
            }
    free(x);
    free(y);
    free(x16);
    free(y16);
}

/* One output of a convolution of side 1 or 3, with zeros around the picture. */
static double convolve(const float *x, const float *w, const struct clip_conv_shape *shape, size_t row,
                       size_t column, size_t o)
{
    double sum = 0;
    long pad = (long)shape->side / 2;
    for (size_t ky = 0; ky < shape->side; ky++)
        for (size_t kx = 0; kx < shape->side; kx++) {
            long i = (long)(row * shape->stride + ky) - pad, j = (long)(column * shape->stride + kx) - pad;
            if (i < 0 || j < 0 || i >= (long)shape->height || j >= (long)shape->width)
                continue;
            for (size_t c = 0; c < shape->in; c++)
                sum += (double)x[((size_t)i * shape->width + (size_t)j) * shape->in + c] *
                       w[((o * shape->in + c) * shape->side + ky) * shape->side + kx];
        }
    return sum;
}

/* Winograd's three parts around plain products, in pieces of `rows` tiles. */
static void test_winograd(const struct clip_conv_kernels *kernels, size_t height, size_t width, size_t in,
                          size_t out, size_t rows)
{
    struct clip_conv_shape shape = {height, width, in, out, 3, 1};
    float *x = draws(height * width * in), *w = draws(out * in * 9), *bias = draws(out), *scale = draws(out);
    float *u = malloc(36 * in * out * sizeof *u), *v = malloc(36 * rows * in * sizeof *v);
    float *m = malloc(36 * rows * out * sizeof *m), *y = calloc(height * width * out, sizeof *y);
    size_t tiles = clip_winograd_tiles(height, width);
    kernels->winograd_weights(w, scale, in, out, in * out, u);
    for (size_t first = 0; first < tiles; first += rows) {
        size_t count = tiles - first < rows ? tiles - first : rows;
        kernels->winograd_input(x, height, width, in, first, count, v);
        for (size_t place = 0; place < 36; place++)
            for (size_t row = 0; row < count; row++)
                for (size_t o = 0; o < out; o++) {
                    double sum = 0;
                    for (size_t i = 0; i < in; i++)
                        sum += (double)v[(place * count + row) * in + i] * u[(place * in + i) * out + o];
                    m[(place * count + row) * out + o] = (float)sum;
                }
        kernels->winograd_output(m, bias, 1, height, width, out, first, count, y);
    }
    double worst = 0;
    for (size_t i = 0; i < height * width; i++)
        for (size_t o = 0; o < out; o++) {
            double want = scale[o] * convolve(x, w, &shape, i / width, i % width, o) + bias[o];
            worst = fmax(worst, fabs(y[i * out + o] - (want < 0 ? 0 : want)));
        }
    CHECK(worst < 2e-5, "%zu x %zu, %zu to %zu: %g", height, width, in, out, worst);
    free(x), free(w), free(bias), free(scale), free(u), free(v), free(m), free(y);
}

static void test_kernels(enum clip_level level)
{
    const struct clip_conv_kernels *kernels = clip_conv_kernels(level);
    test_bias_relu(kernels);
    test_widen(kernels);
    test_pool(kernels, 4, 6, 16);
    test_pool(kernels, 5, 7, 8);
    test_pool(kernels, 2, 2, 45);
    test_winograd(kernels, 4, 4, 1, 1, 1);
    test_winograd(kernels, 7, 10, 5, 3, 6);
    test_winograd(kernels, 9, 3, 16, 40, 2);
    test_winograd(kernels, 1, 2, 33, 17, 1);
}

static void test_patches(void)
{
    enum { HEIGHT = 5, WIDTH = 4, CHANNELS = 2 };
    uint16_t x[HEIGHT * WIDTH * CHANNELS];
    for (size_t i = 0; i < HEIGHT * WIDTH * CHANNELS; i++)
        x[i] = (uint16_t)(i + 1);
    for (size_t stride = 1; stride <= 2; stride++) {
        size_t across = (WIDTH - 1) / stride + 1, rows = ((HEIGHT - 1) / stride + 1) * across - 1;
        uint16_t y[HEIGHT * WIDTH * 9 * CHANNELS], *at = y;
        clip_im2col(x, sizeof *x, HEIGHT, WIDTH, CHANNELS, stride, 1, rows, y);
        for (size_t row = 1; row <= rows; row++)
            for (size_t k = 0; k < 9 * CHANNELS; k++, at++) {
                size_t i = row / across * stride + k / CHANNELS / 3,
                       j = row % across * stride + k / CHANNELS % 3;
                int inside = i >= 1 && i <= HEIGHT && j >= 1 && j <= WIDTH;
                uint16_t want = inside ? x[((i - 1) * WIDTH + j - 1) * CHANNELS + k % CHANNELS] : 0;
                CHECK(*at == want, "stride %zu, row %zu, %zu: %d, not %d", stride, row, k, *at, want);
            }
    }
}

static void test_fold(void)
{
    float scale[2], shift[2];
    clip_batch_norm_fold(2, (float[]){2, -1}, (float[]){0.5f, 3}, (float[]){1, -2}, (float[]){4, 0}, 1e-5,
                         scale, shift);
    CHECK(fabs(scale[0] - 2 / sqrt(4.00001)) < 1e-7 && fabs(shift[0] - (0.5 - 2 / sqrt(4.00001))) < 1e-7, "");
    CHECK(fabs(scale[1] + 1 / sqrt(1e-5)) < 1e-4 && fabs(shift[1] - (3 - 2 / sqrt(1e-5))) < 1e-4, "");
}

/* --- convolutions --- */

static float value(struct clip_engine *engine, const void *y, size_t i)
{
    return clip_engine_precision(engine) == CLIP_PRECISION_BF16 ? half_value(((const uint16_t *)y)[i])
                                                                : ((const float *)y)[i];
}

static void test_conv(struct clip_engine *engine, const struct clip_conv_shape *shape, int epilogue)
{
    struct clip_error error;
    size_t height = clip_conv_height(shape), width = clip_conv_width(shape),
           element = clip_engine_element(engine);
    size_t n = shape->height * shape->width * shape->in, outputs = height * width * shape->out;
    float *x = draws(n), *w = draws(shape->out * shape->in * shape->side * shape->side),
          *before = draws(outputs);
    float *scale = draws(shape->out), *shift = draws(shape->out);
    void *in = aligned_alloc(64, n * 4 + 64 - n * 4 % 64),
         *out = aligned_alloc(64, outputs * 4 + 64 - outputs * 4 % 64);
    clip_kernels(clip_level())->convert(n, x, clip_engine_precision(engine), in);
    clip_kernels(clip_level())->convert(outputs, before, clip_engine_precision(engine), out);
    struct clip_conv *conv = clip_conv_new(engine, shape, epilogue, &error);
    CHECK(conv, "%s", error.text);
    float *room = malloc(clip_conv_room(conv) * sizeof *room);
    CHECK(clip_conv_set(conv, w, scale, shift, room, &error) == 0, "%s", error.text);
    free(room);
    void *scratch = aligned_alloc(64, (clip_conv_scratch(conv) + 64) / 64 * 64);
    CHECK(clip_conv_run(conv, in, out, scratch, &error) == 0, "%s", error.text);
    double worst = 0, size = sqrt((double)shape->in) * (double)shape->side;
    for (size_t i = 0; i < height * width; i++)
        for (size_t o = 0; o < shape->out; o++) {
            double want = scale[o] * convolve(x, w, shape, i / width, i % width, o) + shift[o];
            if (epilogue & CLIP_LINEAR_ADD)
                want += before[i * shape->out + o];
            if (epilogue & CLIP_LINEAR_RELU && want < 0)
                want = 0;
            worst = fmax(worst, fabs(value(engine, out, i * shape->out + o) - want) / size);
        }
    CHECK(worst < (element == 4 ? 3e-6 : 2e-2), "%s: %zu x %zu, %zu to %zu, side %zu, stride %zu: %g",
          clip_engine_text(engine), shape->height, shape->width, shape->in, shape->out, shape->side,
          shape->stride, worst);
    clip_conv_free(conv);
    free(x), free(w), free(before), free(scale), free(shift), free(in), free(out), free(scratch);
}

static void test_engine(const char *name, enum clip_precision precision)
{
    static const struct clip_conv_shape plain[] = {
        {32, 32, 3, 16, 3, 2},  {17, 9, 3, 4, 3, 2},    {7, 7, 32, 24, 3, 1},  {16, 16, 8, 8, 3, 1},
        {28, 28, 64, 32, 3, 1}, {40, 37, 12, 20, 3, 1}, {13, 13, 48, 5, 3, 1}, {1, 1, 4, 4, 3, 1},
    };
    static const struct clip_conv_shape points[] = {
        {7, 7, 64, 40, 1, 1}, {56, 56, 16, 64, 1, 1}, {1, 3, 5, 6, 1, 1}};
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(name, precision, 4, &error);
    if (!engine) {
        printf("without %s in this precision: %s\n", name, error.text);
        return;
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        for (int relu = 0; relu < 2; relu++)
            test_conv(engine, &plain[i], relu ? CLIP_LINEAR_RELU : 0);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int epilogue = 0; epilogue < 8; epilogue += 2) /* none, add, relu, both */
            test_conv(engine, &points[i], epilogue);
    CHECK(!clip_conv_new(engine, &(struct clip_conv_shape){8, 8, 4, 4, 5, 1}, 0, &error), "");
    CHECK(strcmp(error.text,
                 "a convolution of side 5 and stride 1 from 4 to 4 channels of 8 by 8 is out of bounds") == 0,
          "%s", error.text);
    CHECK(!clip_conv_new(engine, &(struct clip_conv_shape){SIZE_MAX / 2, 8, 4, 4, 3, 1}, 0, &error), "");
    CHECK(!clip_conv_new(engine, &(struct clip_conv_shape){8, 8, 65536, 65536, 3, 1}, 0, &error), "");
    clip_engine_free(engine);
}

int main(void)
{
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++)
        test_kernels(level);
    test_patches();
    test_fold();
    test_engine("native", CLIP_PRECISION_F32);
    test_engine("openblas", CLIP_PRECISION_F32);
    test_engine("onednn", CLIP_PRECISION_F32);
    test_engine("onednn", CLIP_PRECISION_BF16);
    return check_end();
}
