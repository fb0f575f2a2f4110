/* The kernels of conv.h: one source, compiled once for each level of the processor. Loops run over channels,
 * which lie side by side, a vector at a time. */
#include "math/conv-kernels.h"

#include <math.h>
#include <string.h>

/* Floats of the widest vector that pays: the whole of a 6 by 6 tile of them is at hand at once. */
#ifdef __AVX512F__
enum { WIDE = 16 };
#else
enum { WIDE = 8 };
#endif
enum { SIDE = 6, TILE = CLIP_WINOGRAD_TILE, PLACES = CLIP_WINOGRAD_PLACES };

typedef float wide __attribute__((vector_size(WIDE * sizeof(float))));
typedef uint32_t wide_bits __attribute__((vector_size(WIDE * sizeof(uint32_t))));
typedef uint16_t halves __attribute__((vector_size(WIDE * sizeof(uint16_t))));

#define INLINE static inline __attribute__((always_inline))

/* What is done to `channels` channels, WIDE of them at a time and then the rest: `n` is how many. Twice the
 * same call, so that in the first n is a constant. */
#define EACH_WIDE(c, n, channels, call)                                                                      \
    for (size_t c = 0; c < (channels); c += WIDE) {                                                          \
        if ((channels)-c >= WIDE) {                                                                          \
            const size_t n = WIDE;                                                                           \
            call;                                                                                            \
        } else {                                                                                             \
            const size_t n = (channels)-c;                                                                   \
            call;                                                                                            \
        }                                                                                                    \
    }

INLINE wide load(const float *x, size_t n)
{
    wide v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

INLINE void store(float *y, wide v, size_t n)
{
    memcpy(y, &v, n * sizeof *y);
}

INLINE wide load_bf16(const uint16_t *x, size_t n)
{
    halves v = {0};
    memcpy(&v, x, n * sizeof *x);
    return (wide)(__builtin_convertvector(v, wide_bits) << 16);
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
INLINE void store_bf16(uint16_t *y, wide v, size_t n)
{
    wide_bits bits = (wide_bits)v, nan = (wide_bits)(v != v);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    halves h = __builtin_convertvector((bits & ~nan) | (0x7fc0 & nan), halves);
    memcpy(y, &h, n * sizeof *y);
}

/* Max with 0; NaN stays NaN. */
INLINE wide rectify(wide x)
{
    return (wide)((wide_bits)x & ~(wide_bits)(x < (wide){0}));
}

/* --- epilogue --- */

INLINE void finish(float *y, const float *bias, int relu, size_t n)
{
    wide v = load(y, n);
    if (bias)
        v += load(bias, n);
    store(y, relu ? rectify(v) : v, n);
}

static void bias_relu(size_t rows, size_t n, const float *bias, int relu, float *y)
{
    for (size_t row = 0; row < rows; row++, y += n)
        EACH_WIDE(c, count, n, finish(y + c, bias ? bias + c : NULL, relu, count))
}

/* --- bf16 --- */

static void widen(const uint16_t *x, size_t n,
                  float *y){EACH_WIDE(i, count, n, store(y + i, load_bf16(x + i, count), count))}

/* --- pooling --- */

INLINE wide mean(wide a, wide b, wide c, wide d)
{
    return 0.25f * ((a + b) + (c + d));
}

/* a and b are the upper and the lower pixel on the left, `next` elements before those on the right. */
INLINE void pool_pixel(const float *a, const float *b, size_t next, float *y, size_t n)
{
    store(y, mean(load(a, n), load(a + next, n), load(b, n), load(b + next, n)), n);
}

INLINE void pool_pixel_bf16(const uint16_t *a, const uint16_t *b, size_t next, uint16_t *y, size_t n)
{
    store_bf16(y, mean(load_bf16(a, n), load_bf16(a + next, n), load_bf16(b, n), load_bf16(b + next, n)), n);
}

static void pool(const float *x, size_t height, size_t width, size_t channels, float *y)
{
    for (size_t i = 0; i < height / 2; i++)
        for (size_t j = 0; j < width / 2; j++, y += channels) {
            const float *a = x + (2 * i * width + 2 * j) * channels, *b = a + width * channels;
            EACH_WIDE(c, n, channels, pool_pixel(a + c, b + c, channels, y + c, n))
        }
}

static void pool_bf16(const uint16_t *x, size_t height, size_t width, size_t channels, uint16_t *y)
{
    for (size_t i = 0; i < height / 2; i++)
        for (size_t j = 0; j < width / 2; j++, y += channels) {
            const uint16_t *a = x + (2 * i * width + 2 * j) * channels, *b = a + width * channels;
            EACH_WIDE(c, n, channels, pool_pixel_bf16(a + c, b + c, channels, y + c, n))
        }
}

/* --- Winograd --- */

#define ROOT2 1.41421356237309504880f
#define HALF_ROOT2 0.70710678118654752440f

/* t = B' d of one column: with the points a = 1/sqrt(2), b = sqrt(2), polynomials in a a = 1/2, b b = 2. */
INLINE void input_transform(const wide d[SIDE], wide *t, size_t step)
{
    wide even_a = d[4] - 2 * d[2], odd_a = HALF_ROOT2 * d[3] - ROOT2 * d[1];
    wide even_b = d[4] - 0.5f * d[2], odd_b = ROOT2 * d[3] - HALF_ROOT2 * d[1];
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[step] = even_a + odd_a;
    t[2 * step] = even_a - odd_a;
    t[3 * step] = even_b + odd_b;
    t[4 * step] = even_b - odd_b;
    t[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

/* y = A' m of one column: powers 0 to 3 of the points. */
INLINE void output_transform(const wide m[SIDE], wide *y, size_t step)
{
    wide sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    wide sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[step] = HALF_ROOT2 * difference_a + ROOT2 * difference_b;
    y[2 * step] = 0.5f * sum_a + 2 * sum_b;
    y[3 * step] = 0.5f * HALF_ROOT2 * difference_a + 2 * ROOT2 * difference_b + m[5];
}

/* n channels of one tile; in[6][6] are its pixels, or NULL for zeros around the picture; places are `stride`
 * floats apart. */
INLINE void tile_input(const float *const in[PLACES], size_t offset, float *v, size_t stride, size_t n)
{
    wide t[PLACES];
    for (size_t j = 0; j < SIDE; j++) {
        wide column[SIDE];
        for (size_t i = 0; i < SIDE; i++)
            column[i] = in[SIDE * i + j] ? load(in[SIDE * i + j] + offset, n) : (wide){0};
        input_transform(column, t + j, SIDE);
    }
    for (size_t i = 0; i < SIDE; i++) {
        wide row[SIDE];
        input_transform(t + SIDE * i, row, 1);
        for (size_t j = 0; j < SIDE; j++)
            store(v + (SIDE * i + j) * stride + offset, row[j], n);
    }
}

static void winograd_input(const float *x, size_t height, size_t width, size_t channels, size_t first,
                           size_t tiles, float *v)
{
    size_t across = (width + TILE - 1) / TILE, stride = tiles * channels;
    for (size_t tile = first; tile < first + tiles; tile++, v += channels) {
        size_t top = tile / across * TILE, left = tile % across * TILE;
        const float *in[PLACES]; /* a tile begins one row and one column before its outputs */
        for (size_t i = 0; i < SIDE; i++)
            for (size_t j = 0; j < SIDE; j++) {
                int inside = top + i >= 1 && top + i <= height && left + j >= 1 && left + j <= width;
                in[SIDE * i + j] = inside ? x + ((top + i - 1) * width + left + j - 1) * channels : NULL;
            }
        EACH_WIDE(c, n, channels, tile_input(in, c, v, stride, n))
    }
}

/* Where the outputs of a tile go that lie in the picture. */
struct window {
    size_t rows, columns, row_step, column_step;
};

INLINE void tile_output(const float *m, size_t stride, const float *bias, int relu, const struct window *to,
                        float *y, size_t n)
{
    wide t[TILE * SIDE], b = load(bias, n);
    for (size_t j = 0; j < SIDE; j++) {
        wide column[SIDE];
        for (size_t i = 0; i < SIDE; i++)
            column[i] = load(m + (SIDE * i + j) * stride, n);
        output_transform(column, t + j, SIDE);
    }
    for (size_t i = 0; i < to->rows; i++) {
        wide row[TILE];
        output_transform(t + SIDE * i, row, 1);
        for (size_t j = 0; j < to->columns; j++) {
            wide out = row[j] + b;
            store(y + i * to->row_step + j * to->column_step, relu ? rectify(out) : out, n);
        }
    }
}

static void winograd_output(const float *m, const float *bias, int relu, size_t height, size_t width,
                            size_t channels, size_t first, size_t tiles, float *y)
{
    size_t across = (width + TILE - 1) / TILE, stride = tiles * channels;
    for (size_t tile = first; tile < first + tiles; tile++, m += channels) {
        size_t top = tile / across * TILE, left = tile % across * TILE;
        struct window to = {.rows = height - top < TILE ? height - top : TILE,
                            .columns = width - left < TILE ? width - left : TILE,
                            .row_step = width * channels,
                            .column_step = channels};
        float *out = y + (top * width + left) * channels;
        EACH_WIDE(c, n, channels, tile_output(m + c, stride, bias + c, relu, &to, out + c, n))
    }
}

/* --- weights --- */

static void patch_weights(const float *w, const float *scale, size_t area, size_t in, size_t out, float *u)
{
    for (size_t o = 0; o < out; o++, w += in * area) {
        if (area == 1)
            for (size_t i = 0; i < in; i++)
                u[i] = w[i] * scale[o];
        for (size_t k = 0; area > 1 && k < area; k++)
            for (size_t i = 0; i < in; i++)
                u[k * in + i] = w[i * area + k] * scale[o];
        u += in * area;
    }
}

/* The same place of the filters of OUTPUTS outputs, in double: they are transformed once. */
enum { OUTPUTS = 8 };
typedef double outputs_vec __attribute__((vector_size(OUTPUTS * sizeof(double))));
typedef float outputs_floats __attribute__((vector_size(OUTPUTS * sizeof(float))));

/* t = G g of one column. */
INLINE void filter_transform(const outputs_vec *g, size_t g_step, outputs_vec *t, size_t step)
{
    outputs_vec even_a = g[0] + 0.5 * g[2 * g_step], odd_a = M_SQRT1_2 * g[g_step];
    outputs_vec even_b = g[0] + 2 * g[2 * g_step], odd_b = M_SQRT2 * g[g_step];
    t[0] = g[0];
    t[step] = (even_a + odd_a) * (-2. / 3);
    t[2 * step] = (even_a - odd_a) * (-2. / 3);
    t[3 * step] = (even_b + odd_b) * (1. / 6);
    t[4 * step] = (even_b - odd_b) * (1. / 6);
    t[5 * step] = g[2 * g_step];
}

/* The filters of n <= OUTPUTS outputs, `filter` floats from one to the next. */
INLINE void winograd_filters(const float *w, size_t filter, const float *scale, size_t n, float *u,
                             size_t step)
{
    outputs_floats at[9] = {{0}}, factors = {0};
    outputs_vec g[9], t[18], v[PLACES];
    memcpy(&factors, scale, n * sizeof *scale);
    for (size_t o = 0; o < n; o++)
        for (size_t k = 0; k < 9; k++)
            at[k][o] = w[o * filter + k];
    for (size_t k = 0; k < 9; k++)
        g[k] = __builtin_convertvector(at[k], outputs_vec) * __builtin_convertvector(factors, outputs_vec);
    for (size_t k = 0; k < 3; k++)
        filter_transform(g + k, 3, t + k, 3);
    for (size_t k = 0; k < 6; k++)
        filter_transform(t + 3 * k, 1, v + 6 * k, 1);
    for (size_t place = 0; place < PLACES; place++) {
        outputs_floats rounded = __builtin_convertvector(v[place], outputs_floats);
        memcpy(u + place * step, &rounded, n * sizeof *u);
    }
}

static void winograd_weights(const float *w, const float *scale, size_t in, size_t out, size_t step, float *u)
{
    for (size_t i = 0; i < in; i++)
        for (size_t first = 0; first < out; first += OUTPUTS) {
            const float *filters = w + (first * in + i) * 9;
            float *to = u + i * out + first;
            if (out - first >= OUTPUTS)
                winograd_filters(filters, in * 9, scale + first, OUTPUTS, to, step);
            else
                winograd_filters(filters, in * 9, scale + first, out - first, to, step);
        }
}

const struct clip_conv_kernels CLIP_LEVELED(clip_conv_kernels) = {
    bias_relu, pool, pool_bf16, widen, patch_weights, winograd_weights, winograd_input, winograd_output,
};
