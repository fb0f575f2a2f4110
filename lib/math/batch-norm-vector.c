/* The kernels of batch-norm.h: one source, compiled once for each level of the processor. */
#include "math/batch-norm.h"
#include "math/lanes.h"

/* Vectors of channels whose sums stay in registers. */
enum { WIDE = 4 };

/* y of `n` channels from c on. */
INLINE vec normal_part(const struct clip_batch_norm *norm, size_t c, size_t n, vec x)
{
    return (x - load_part(n, norm->mean + c)) * load_part(n, norm->scale + c) + load_part(n, norm->shift + c);
}

INLINE vec normal(const struct clip_batch_norm *norm, size_t c, vec x)
{
    return normal_part(norm, c, LANES, x);
}

/* --- sums over pixels --- */

/* Two sums of each channel: of RUN pixels in f32, which is exact enough for so few, and over these in double.
 */
enum { RUN = 32 };

struct sums {
    dvec a[WIDE], b[WIDE];
};

/* Each vector has `part` channels: LANES, or fewer if it is the only one. */
INLINE void moments_run(const int vectors, size_t part, size_t pixels, size_t channels, const float *x,
                        const vec *middle, struct sums *sums)
{
    vec sum[WIDE], square[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = square[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++, x += channels)
        UNROLL for (int v = 0; v < vectors; v++)
        {
            vec distance = load_part(part, x + v * LANES) - middle[v];
            sum[v] += distance;
            square[v] += distance * distance;
        }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        sums->a[v] += __builtin_convertvector(sum[v], dvec);
        sums->b[v] += __builtin_convertvector(square[v], dvec);
    }
}

/* Squares of the distances from a mean in f32; the sum of the distances corrects the error of that mean. */
INLINE void moments_of(const int vectors, size_t part, size_t pixels, size_t channels, const float *x,
                       double *mean, double *squares)
{
    struct sums sums = {0};
    vec middle[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) middle[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++)
        UNROLL for (int v = 0; v < vectors; v++) middle[v] += load_part(part, x + i * channels + v * LANES);
    UNROLL for (int v = 0; v < vectors; v++) middle[v] /= (float)pixels;
    for (size_t i = 0; i < pixels; i += RUN)
        moments_run(vectors, part, pixels - i < RUN ? pixels - i : RUN, channels, x + i * channels, middle,
                    &sums);
    for (int i = 0; i < (vectors - 1) * LANES + (int)part; i++) {
        double rest = sums.a[i / LANES][i % LANES] / (double)pixels;
        mean[i] = middle[i / LANES][i % LANES] + rest;
        squares[i] = sums.b[i / LANES][i % LANES] - rest * rest * (double)pixels;
    }
}

static void moments(size_t pixels, size_t channels, const float *x, double *mean, double *squares)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
        moments_of(WIDE, LANES, pixels, channels, x + c, mean + c, squares + c);
    for (; c + LANES <= channels; c += LANES)
        moments_of(1, LANES, pixels, channels, x + c, mean + c, squares + c);
    if (c < channels)
        moments_of(1, channels - c, pixels, channels, x + c, mean + c, squares + c);
}

INLINE void sums_run(const int vectors, size_t part, size_t pixels, size_t channels, const float *gradient,
                     const float *x, const vec *middle, struct sums *sums)
{
    vec sum[WIDE], product[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = product[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++, gradient += channels, x += channels)
        UNROLL for (int v = 0; v < vectors; v++)
        {
            vec g = load_part(part, gradient + v * LANES);
            sum[v] += g;
            product[v] += g * (load_part(part, x + v * LANES) - middle[v]);
        }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        sums->a[v] += __builtin_convertvector(sum[v], dvec);
        sums->b[v] += __builtin_convertvector(product[v], dvec);
    }
}

INLINE void sums_of(const int vectors, size_t part, size_t pixels, size_t channels, const float *gradient,
                    const float *x, const float *mean, double *sum, double *product)
{
    struct sums sums = {0};
    vec middle[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) middle[v] = load_part(part, mean + v * LANES);
    for (size_t i = 0; i < pixels; i += RUN)
        sums_run(vectors, part, pixels - i < RUN ? pixels - i : RUN, channels, gradient + i * channels,
                 x + i * channels, middle, &sums);
    size_t n = (size_t)(vectors - 1) * LANES + part;
    memcpy(sum, sums.a, n * sizeof *sum);
    memcpy(product, sums.b, n * sizeof *product);
}

static void sums(size_t pixels, size_t channels, const float *gradient, const float *x, const float *mean,
                 double *sum, double *product)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
        sums_of(WIDE, LANES, pixels, channels, gradient + c, x + c, mean + c, sum + c, product + c);
    for (; c + LANES <= channels; c += LANES)
        sums_of(1, LANES, pixels, channels, gradient + c, x + c, mean + c, sum + c, product + c);
    if (c < channels)
        sums_of(1, channels - c, pixels, channels, gradient + c, x + c, mean + c, sum + c, product + c);
}

/* --- pixel by pixel --- */

INLINE void normalize_part(size_t c, size_t n, const float *x, const struct clip_batch_norm *norm, int relu,
                           float *y)
{
    vec v = normal_part(norm, c, n, load_part(n, x + c));
    store_part(n, y + c, relu ? rectify(v) : v);
}

static void normalize(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                      int relu, float *y)
{
    for (size_t i = 0; i < pixels; i++, x += channels, y += channels) {
        size_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            normalize_part(c, LANES, x, norm, relu, y);
        if (c < channels)
            normalize_part(c, channels - c, x, norm, relu, y);
    }
}

static void join(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                 const float *side, const struct clip_batch_norm *side_norm, float *y)
{
    for (size_t i = 0; i < pixels; i++, x += channels, side += channels, y += channels)
        for (size_t c = 0; c < channels; c += LANES) {
            vec v = load(side + c);
            store(y + c, rectify(normal(norm, c, load(x + c)) + (side_norm ? normal(side_norm, c, v) : v)));
        }
}

static void gate(size_t n, const float *y, float *gradient)
{
    for (size_t i = 0; i < n; i += LANES)
        store(gradient + i, where(load(y + i) > (vec){0}, load(gradient + i)));
}

static void gate_norm(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                      float *gradient)
{
    for (size_t i = 0; i < pixels; i++, x += channels, gradient += channels)
        for (size_t c = 0; c < channels; c += LANES)
            store(gradient + c, where(normal(norm, c, load(x + c)) > (vec){0}, load(gradient + c)));
}

INLINE void backward_part(size_t c, size_t n, const float *gradient, const float *x,
                          const struct clip_batch_norm_back *back, float *dx)
{
    vec distance = load_part(n, x + c) - load_part(n, back->mean + c);
    store_part(n, dx + c,
               load_part(n, gradient + c) * load_part(n, back->scale + c) + load_part(n, back->shift + c) +
                   distance * load_part(n, back->slope + c));
}

static void backward(size_t pixels, size_t channels, const float *gradient, const float *x,
                     const struct clip_batch_norm_back *back, float *dx)
{
    for (size_t i = 0; i < pixels; i++, gradient += channels, x += channels, dx += channels) {
        size_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            backward_part(c, LANES, gradient, x, back, dx);
        if (c < channels)
            backward_part(c, channels - c, gradient, x, back, dx);
    }
}

static void pool_backward(const float *gradient, size_t height, size_t width, size_t channels, float *x)
{
    for (size_t i = 0; i < height; i++)
        for (size_t j = 0; j < width; j++, x += channels) {
            const float *from = gradient + (i / 2 * (width / 2) + j / 2) * channels;
            for (size_t c = 0; c < channels; c += LANES)
                store(x + c, load(x + c) + 0.25f * load(from + c));
        }
}

const struct clip_batch_norm_kernels CLIP_LEVELED(clip_batch_norm_kernels) = {
    moments, normalize, join, gate, gate_norm, sums, backward, pool_backward,
};
