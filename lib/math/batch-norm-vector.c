/* The kernels of batch-norm.h: one source, compiled once for each level of the processor. */
#include "math/batch-norm.h"
#include "math/lanes.h"

/* Vectors of channels whose sums stay in the registers. */
enum { WIDE = 4 };

/* y of one vector of channels from c on. */
INLINE vec normal(const struct clip_batch_norm *norm, size_t c, vec x)
{
    return (x - load(norm->mean + c)) * load(norm->scale + c) + load(norm->shift + c);
}

/* --- sums over pixels --- */

/* Two sums of each channel. Those of RUN pixels are f32, which so few do not harm, the sums of these double.
 */
enum { RUN = 32 };

struct sums {
    dvec a[WIDE], b[WIDE];
};

INLINE void moments_run(const int vectors, size_t pixels, size_t channels, const float *x, const vec *middle,
                        struct sums *sums)
{
    vec sum[WIDE], square[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = square[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++, x += channels)
        UNROLL for (int v = 0; v < vectors; v++)
        {
            vec distance = load(x + v * LANES) - middle[v];
            sum[v] += distance;
            square[v] += distance * distance;
        }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        sums->a[v] += __builtin_convertvector(sum[v], dvec);
        sums->b[v] += __builtin_convertvector(square[v], dvec);
    }
}

/* Around a mean in f32, whose error the sum of the distances tells. */
INLINE void moments_of(const int vectors, size_t pixels, size_t channels, const float *x, double *mean,
                       double *squares)
{
    struct sums sums = {0};
    vec middle[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) middle[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++)
        UNROLL for (int v = 0; v < vectors; v++) middle[v] += load(x + i * channels + v * LANES);
    UNROLL for (int v = 0; v < vectors; v++) middle[v] /= (float)pixels;
    for (size_t i = 0; i < pixels; i += RUN)
        moments_run(vectors, pixels - i < RUN ? pixels - i : RUN, channels, x + i * channels, middle, &sums);
    for (int i = 0; i < vectors * LANES; i++) {
        double rest = sums.a[i / LANES][i % LANES] / (double)pixels;
        mean[i] = middle[i / LANES][i % LANES] + rest;
        squares[i] = sums.b[i / LANES][i % LANES] - rest * rest * (double)pixels;
    }
}

static void moments(size_t pixels, size_t channels, const float *x, double *mean, double *squares)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
        moments_of(WIDE, pixels, channels, x + c, mean + c, squares + c);
    for (; c < channels; c += LANES)
        moments_of(1, pixels, channels, x + c, mean + c, squares + c);
}

INLINE void sums_run(const int vectors, size_t pixels, size_t channels, const float *gradient, const float *x,
                     const vec *middle, struct sums *sums)
{
    vec sum[WIDE], product[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = product[v] = (vec){0};
    for (size_t i = 0; i < pixels; i++, gradient += channels, x += channels)
        UNROLL for (int v = 0; v < vectors; v++)
        {
            vec g = load(gradient + v * LANES);
            sum[v] += g;
            product[v] += g * (load(x + v * LANES) - middle[v]);
        }
    UNROLL for (int v = 0; v < vectors; v++)
    {
        sums->a[v] += __builtin_convertvector(sum[v], dvec);
        sums->b[v] += __builtin_convertvector(product[v], dvec);
    }
}

INLINE void sums_of(const int vectors, size_t pixels, size_t channels, const float *gradient, const float *x,
                    const float *mean, double *sum, double *product)
{
    struct sums sums = {0};
    vec middle[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) middle[v] = load(mean + v * LANES);
    for (size_t i = 0; i < pixels; i += RUN)
        sums_run(vectors, pixels - i < RUN ? pixels - i : RUN, channels, gradient + i * channels,
                 x + i * channels, middle, &sums);
    memcpy(sum, sums.a, (size_t)vectors * sizeof *sums.a);
    memcpy(product, sums.b, (size_t)vectors * sizeof *sums.b);
}

static void sums(size_t pixels, size_t channels, const float *gradient, const float *x, const float *mean,
                 double *sum, double *product)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
        sums_of(WIDE, pixels, channels, gradient + c, x + c, mean + c, sum + c, product + c);
    for (; c < channels; c += LANES)
        sums_of(1, pixels, channels, gradient + c, x + c, mean + c, sum + c, product + c);
}

/* --- pixel by pixel --- */

static void normalize(size_t pixels, size_t channels, const float *x, const struct clip_batch_norm *norm,
                      int relu, float *y)
{
    for (size_t i = 0; i < pixels; i++, x += channels, y += channels)
        for (size_t c = 0; c < channels; c += LANES) {
            vec v = normal(norm, c, load(x + c));
            store(y + c, relu ? rectify(v) : v);
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

static void backward(size_t pixels, size_t channels, const float *gradient, const float *x,
                     const struct clip_batch_norm_back *back, float *dx)
{
    for (size_t i = 0; i < pixels; i++, gradient += channels, x += channels, dx += channels)
        for (size_t c = 0; c < channels; c += LANES) {
            vec distance = load(x + c) - load(back->mean + c);
            store(dx + c, load(gradient + c) * load(back->scale + c) + load(back->shift + c) +
                              distance * load(back->slope + c));
        }
}

static void spread(const float *gradient, size_t height, size_t width, size_t channels, float *x)
{
    for (size_t i = 0; i < height; i++)
        for (size_t j = 0; j < width; j++, x += channels) {
            const float *from = gradient + (i / 2 * (width / 2) + j / 2) * channels;
            for (size_t c = 0; c < channels; c += LANES)
                store(x + c, load(x + c) + 0.25f * load(from + c));
        }
}

const struct clip_batch_norm_kernels CLIP_LEVELED(clip_batch_norm_kernels) = {
    moments, normalize, join, gate, gate_norm, sums, backward, spread,
};
