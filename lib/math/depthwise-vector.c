/* The kernels of depthwise.h: one source, compiled once for each level of the processor. Sums of a tile,
 * LANES channels of some places of a row, stay in the registers, and so do the weights of a row of the
 * filter. */
#include "math/depthwise.h"
#include "math/lanes.h"

/* Places of a tile of stride 1 and of stride 2; the longest row of a filter whose weights fit beside them. */
#ifdef __AVX512F__
enum { LONG = 8, SHORT = 4, SIDE = 7 };
#else
enum { LONG = 6, SHORT = 4, SIDE = 7 };
#endif

/* m <= LANES floats, and zeros. */
INLINE vec load_some(const float *x, size_t m)
{
    vec v = {0};
    memcpy(&v, x, m * sizeof *x);
    return v;
}

/* What a tile works on: x at its first place, w and y at its channels. */
struct tile {
    const float *x, *w;
    float *y;
    size_t across, channels; /* floats from row to row of x, from place to place */
    vec bias;
};

/* Each x is loaded once and goes into all places that it is under; a place takes its taps in their order. */
INLINE void run_tile(const int places, const int side, const int stride, const struct tile *t)
{
    vec sum[LONG];
    UNROLL for (int p = 0; p < places; p++) sum[p] = t->bias;
    for (int ky = 0; ky < side; ky++) {
        const float *x = t->x + (size_t)ky * t->across;
        vec w[SIDE];
        UNROLL for (int kx = 0; kx < side; kx++) w[kx] = load(t->w + (size_t)(ky * side + kx) * t->channels);
        UNROLL for (int i = 0; i < (places - 1) * stride + side; i++)
        {
            vec v = load(x + (size_t)i * t->channels);
            UNROLL for (int p = 0; p < places; p++) if (i >= p * stride && i < p * stride + side) sum[p] +=
                v * w[i - p * stride];
        }
    }
    UNROLL for (int p = 0; p < places; p++) store(t->y + (size_t)p * t->channels, sum[p]);
}

/* n places of a row. */
INLINE void run_row(const int side, const int stride, struct tile *t, size_t n)
{
    const int most = stride == 1 ? LONG : SHORT;
    size_t step = (size_t)stride * t->channels, at = 0;
    for (; at + (size_t)most <= n; at += (size_t)most) {
        run_tile(most, side, stride, t);
        t->x += (size_t)most * step;
        t->y += (size_t)most * t->channels;
    }
    for (; at < n; at++, t->x += step, t->y += t->channels)
        run_tile(1, side, stride, t);
}

/* The same of any side, and of m <= LANES channels. */
static void run_any(const struct clip_depthwise *d, const struct tile *t, size_t n, size_t m)
{
    for (size_t at = 0; at < n; at++) {
        const float *x = t->x + at * d->stride * d->channels;
        vec sum = t->bias;
        for (size_t ky = 0; ky < d->side; ky++)
            for (size_t kx = 0; kx < d->side; kx++)
                sum += load_some(x + ky * t->across + kx * d->channels, m) *
                       load_some(t->w + (ky * d->side + kx) * d->channels, m);
        memcpy(t->y + at * d->channels, &sum, m * sizeof *t->y);
    }
}

static void run(const struct clip_depthwise *d, const float *x, const float *w, const float *bias, size_t row,
                size_t column, size_t n, float *y)
{
    size_t across = clip_depthwise_row(d);
    x += row * d->stride * across + column * d->stride * d->channels;
    for (size_t c = 0; c < d->channels; c += LANES) {
        size_t m = d->channels - c < LANES ? d->channels - c : LANES;
        struct tile t = {x + c, w + c, y + c, across, d->channels, bias ? load_some(bias + c, m) : (vec){0}};
        if (m == LANES && d->side == 7 && d->stride == 1)
            run_row(7, 1, &t, n);
        else if (m == LANES && d->side == 3 && d->stride == 1)
            run_row(3, 1, &t, n);
        else if (m == LANES && d->side == 7 && d->stride == 2)
            run_row(7, 2, &t, n);
        else if (m == LANES && d->side == 3 && d->stride == 2)
            run_row(3, 2, &t, n);
        else
            run_any(d, &t, n, m);
    }
}

/* --- the gradient of the weights --- */

/* A row of places: where x and dy are at its first one. */
struct row {
    const float *x, *dy;
    size_t width, step, channels; /* places; floats of x from place to place, of dy and of a tap */
};

/* A row of the filter. */
INLINE void weights_row(const int taps, const struct row *row, float *dw)
{
    vec sum[SIDE];
    const float *x = row->x, *dy = row->dy;
    UNROLL for (int k = 0; k < taps; k++) sum[k] = (vec){0};
    for (size_t j = 0; j < row->width; j++, x += row->step, dy += row->channels) {
        vec v = load(dy);
        UNROLL for (int k = 0; k < taps; k++) sum[k] += v * load(x + (size_t)k * row->channels);
    }
    UNROLL for (int k = 0; k < taps; k++, dw += row->channels) store(dw, load(dw) + sum[k]);
}

/* The same of all taps of any side, and of m <= LANES channels. */
static void weights_any(size_t side, const struct row *row, size_t m, float *dw)
{
    for (size_t k = 0; k < side; k++, dw += row->channels) {
        vec sum = load_some(dw, m);
        for (size_t j = 0; j < row->width; j++)
            sum += load_some(row->dy + j * row->channels, m) *
                   load_some(row->x + j * row->step + k * row->channels, m);
        memcpy(dw, &sum, m * sizeof *dw);
    }
}

static void weights(const struct clip_depthwise *d, const float *x, const float *dy, size_t dy_row,
                    size_t first, size_t count, float *dw)
{
    size_t across = clip_depthwise_row(d), step = d->stride * d->channels;
    for (size_t c = first; c < first + count; c += LANES) {
        size_t m = first + count - c < LANES ? first + count - c : LANES;
        for (size_t at = 0; at < d->height * d->side; at++) {
            size_t i = at / d->side, ky = at % d->side;
            struct row row = {x + (i * d->stride + ky) * across + c, dy + i * dy_row + c, d->width, step,
                              d->channels};
            float *to = dw + ky * d->side * d->channels + c;
            if (m == LANES && d->side == 7)
                weights_row(7, &row, to);
            else if (m == LANES && d->side == 3)
                weights_row(3, &row, to);
            else
                weights_any(d->side, &row, m, to);
        }
    }
}

const struct clip_depthwise_kernels CLIP_LEVELED(clip_depthwise_kernels) = {run, weights};
