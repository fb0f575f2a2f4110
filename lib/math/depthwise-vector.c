/* The kernels of depthwise.h: one source, compiled once for each level of the processor.
 *
 * First the input of a tile is copied for a block of channels, because the pixels of the picture are so far
 * apart, often by a power of two, that few of them share the cache. Then each x is loaded once for a row of
 * the filter, and is added to all outputs that it contributes to, whose sums stay in registers. */
#include "math/depthwise.h"
#include "math/lanes.h"

enum {
    BLOCK = CLIP_DEPTHWISE_BLOCK,
    VECTORS = BLOCK / LANES,
    LONG = 8,               /* outputs of a run of stride 1 */
    SHORT = 4,              /* and of stride 2 */
    TALL = 12,              /* rows of a tile */
    ROOM = 29 * 21 * BLOCK, /* floats of a tile's input, of side 7 and stride 2 */
    SIDE = 7                /* the longest row of a filter whose gradients stay in registers */
};

/* A tile's input: [height][width][BLOCK]. */
struct input {
    _Alignas(64) float x[ROOM];
    size_t width;
};

/* 1 if the input of a whole tile fits into struct input. */
static int fits(const struct clip_depthwise *d)
{
    size_t height = (TALL - 1) * d->stride + d->side, width = (LONG - 1) * d->stride + d->side;
    return width <= ROOM / BLOCK && height <= ROOM / BLOCK && height * width <= ROOM / BLOCK;
}

/* Copies m channels of a tile's input, which begins at x, and pads the block with zeros. */
static void copy_input(const struct clip_depthwise *d, const float *x, size_t rows, size_t columns, size_t m,
                       struct input *input)
{
    size_t height = (rows - 1) * d->stride + d->side, across = clip_depthwise_row(d);
    float *to = input->x;
    input->width = (columns - 1) * d->stride + d->side;
    for (size_t i = 0; i < height; i++)
        for (size_t j = 0; j < input->width; j++, to += BLOCK) {
            const float *from = x + i * across + j * d->channels;
            if (m == BLOCK) {
                UNROLL for (int v = 0; v < VECTORS; v++) store(to + v * LANES, load(from + v * LANES));
            } else {
                memcpy(to, from, m * sizeof *to);
                memset(to + m, 0, (BLOCK - m) * sizeof *to);
            }
        }
}

/* --- forward --- */

/* `places` outputs of a row, LANES channels. x is at the first tap of the first output, w at its first
 * channel. Each output adds up its taps in order. */
INLINE void run_places(const int places, const int side, const int stride, const float *x, size_t width,
                       const float *w, vec bias, vec *y)
{
    vec sum[LONG];
    UNROLL for (int p = 0; p < places; p++) sum[p] = bias;
    for (int ky = 0; ky < side; ky++, x += width * BLOCK, w += side * BLOCK)
        UNROLL for (int i = 0; i < (places - 1) * stride + side; i++)
        {
            vec v = load(x + i * BLOCK);
            UNROLL for (int p = 0; p < places; p++) if (i >= p * stride && i < p * stride + side) sum[p] +=
                v * load(w + (i - p * stride) * BLOCK);
        }
    UNROLL for (int p = 0; p < places; p++) y[p] = sum[p];
}

/* One output of a filter of any side. */
static vec run_place(size_t side, const float *x, size_t width, const float *w, vec bias)
{
    vec sum = bias;
    for (size_t ky = 0; ky < side; ky++)
        for (size_t kx = 0; kx < side; kx++)
            sum += load(x + (ky * width + kx) * BLOCK) * load(w + (ky * side + kx) * BLOCK);
    return sum;
}

/* A block of channels of some outputs of a row. */
struct run {
    const struct clip_depthwise *d;
    const float *w;
    vec bias[VECTORS];
    size_t m; /* channels */
};

static void put_places(const struct run *run, int places, vec y[VECTORS][LONG], float *out)
{
    for (int p = 0; p < places; p++, out += run->d->channels) {
        float block[BLOCK];
        if (run->m == BLOCK) {
            UNROLL for (int v = 0; v < VECTORS; v++) store(out + v * LANES, y[v][p]);
            continue;
        }
        UNROLL for (int v = 0; v < VECTORS; v++) store(block + v * LANES, y[v][p]);
        memcpy(out, block, run->m * sizeof *out);
    }
}

INLINE void run_row(const int side, const int stride, const struct run *run, const float *x, size_t width,
                    size_t columns, float *y)
{
    const int most = stride == 1 ? LONG : SHORT;
    vec some[VECTORS][LONG];
    for (; columns >= (size_t)most; columns -= (size_t)most) {
        UNROLL for (int v = 0; v < VECTORS; v++)
            run_places(most, side, stride, x + v * LANES, width, run->w + v * LANES, run->bias[v], some[v]);
        put_places(run, most, some, y);
        x += most * stride * BLOCK;
        y += (size_t)most * run->d->channels;
    }
    for (; columns > 0; columns--, x += stride * BLOCK, y += run->d->channels) {
        UNROLL for (int v = 0; v < VECTORS; v++)
            run_places(1, side, stride, x + v * LANES, width, run->w + v * LANES, run->bias[v], some[v]);
        put_places(run, 1, some, y);
    }
}

static void run_any_row(const struct run *run, const float *x, size_t width, size_t columns, float *y)
{
    vec one[VECTORS][LONG];
    for (; columns > 0; columns--, x += run->d->stride * BLOCK, y += run->d->channels) {
        for (int v = 0; v < VECTORS; v++)
            one[v][0] = run_place(run->d->side, x + v * LANES, width, run->w + v * LANES, run->bias[v]);
        put_places(run, 1, one, y);
    }
}

/* A tile whose input fits. */
static void run_tile(const struct run *run, const float *x, size_t rows, size_t columns, float *y,
                     size_t y_row)
{
    const struct clip_depthwise *d = run->d;
    struct input input;
    copy_input(d, x, rows, columns, run->m, &input);
    for (size_t i = 0; i < rows; i++, y += y_row) {
        const float *row = input.x + i * d->stride * input.width * BLOCK;
        if (d->side == 7 && d->stride == 1)
            run_row(7, 1, run, row, input.width, columns, y);
        else if (d->side == 3 && d->stride == 1)
            run_row(3, 1, run, row, input.width, columns, y);
        else if (d->side == 7 && d->stride == 2)
            run_row(7, 2, run, row, input.width, columns, y);
        else if (d->side == 3 && d->stride == 2)
            run_row(3, 2, run, row, input.width, columns, y);
        else
            run_any_row(run, row, input.width, columns, y);
    }
}

/* One output of a tile whose input does not fit; no tower has such a side. */
static void run_large(const struct run *run, const float *x, float *y)
{
    const struct clip_depthwise *d = run->d;
    size_t across = clip_depthwise_row(d);
    float sum[BLOCK];
    memcpy(sum, run->bias, sizeof sum);
    for (size_t ky = 0; ky < d->side; ky++)
        for (size_t kx = 0; kx < d->side; kx++)
            for (size_t c = 0; c < run->m; c++)
                sum[c] += x[ky * across + kx * d->channels + c] * run->w[(ky * d->side + kx) * BLOCK + c];
    memcpy(y, sum, run->m * sizeof *y);
}

/* A block of channels of rows by columns outputs. */
static void run_block(const struct run *run, const float *x, size_t rows, size_t columns, float *y,
                      size_t y_row)
{
    const struct clip_depthwise *d = run->d;
    size_t across = d->stride * clip_depthwise_row(d), step = d->stride * d->channels;
    if (fits(d)) {
        for (size_t i = 0; i < rows; i += TALL)
            for (size_t j = 0; j < columns; j += LONG)
                run_tile(run, x + i * across + j * step, rows - i < TALL ? rows - i : TALL,
                         columns - j < LONG ? columns - j : LONG, y + i * y_row + j * d->channels, y_row);
        return;
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            run_large(run, x + i * across + j * step, y + i * y_row + j * d->channels);
}

static void run(const struct clip_depthwise *d, const float *x, const float *w, const float *bias, size_t row,
                size_t column, size_t rows, size_t columns, float *y)
{
    x += row * d->stride * clip_depthwise_row(d) + column * d->stride * d->channels;
    for (size_t c = 0; c < d->channels; c += BLOCK, w += d->side * d->side * BLOCK) {
        float block[BLOCK] = {0};
        struct run run = {d, w, {{0}}, d->channels - c < BLOCK ? d->channels - c : BLOCK};
        if (bias)
            memcpy(block, bias + c, run.m * sizeof *block);
        memcpy(run.bias, block, sizeof block);
        run_block(&run, x + c, rows, columns, y + c, columns * d->channels);
    }
}

/* --- the gradient of the weights --- */

/* A tile of dy. */
struct output {
    _Alignas(64) float dy[TALL * LONG * BLOCK];
    size_t rows, columns;
};

/* A row of the filter, LANES channels. x is at the row's first tap of the first output. */
INLINE void weights_row(const int taps, size_t stride, const float *x, size_t width,
                        const struct output *output, const float *dy, float *dw)
{
    vec sum[SIDE];
    UNROLL for (int k = 0; k < taps; k++) sum[k] = load(dw + k * BLOCK);
    for (size_t i = 0; i < output->rows; i++, x += stride * width * BLOCK) {
        const float *at = x;
        for (size_t j = 0; j < output->columns; j++, at += stride * BLOCK, dy += BLOCK) {
            vec v = load(dy);
            UNROLL for (int k = 0; k < taps; k++) sum[k] += v * load(at + k * BLOCK);
        }
    }
    UNROLL for (int k = 0; k < taps; k++) store(dw + k * BLOCK, sum[k]);
}

static void weights_tile(const struct clip_depthwise *d, const struct input *input,
                         const struct output *output, float *dw)
{
    for (size_t ky = 0; ky < d->side; ky++, dw += d->side * BLOCK) {
        const float *x = input->x + ky * input->width * BLOCK;
        for (int v = 0; v < BLOCK; v += LANES)
            if (d->side == 7)
                weights_row(7, d->stride, x + v, input->width, output, output->dy + v, dw + v);
            else if (d->side == 3)
                weights_row(3, d->stride, x + v, input->width, output, output->dy + v, dw + v);
            else
                for (size_t kx = 0; kx < d->side; kx++)
                    weights_row(1, d->stride, x + kx * BLOCK + v, input->width, output, output->dy + v,
                                dw + kx * BLOCK + v);
    }
}

/* One output of a tile whose input does not fit. */
static void weights_large(const struct clip_depthwise *d, const float *x, const float *dy, size_t m,
                          float *dw)
{
    size_t across = clip_depthwise_row(d);
    for (size_t ky = 0; ky < d->side; ky++)
        for (size_t kx = 0; kx < d->side; kx++, dw += BLOCK)
            for (size_t c = 0; c < m; c++)
                dw[c] += x[ky * across + kx * d->channels + c] * dy[c];
}

/* A tile, or its outputs one by one if its input does not fit. */
static void add_weights(const struct clip_depthwise *d, const float *x, const float *dy, size_t dy_row,
                        struct output *output, size_t m, float *dw)
{
    struct input input;
    size_t across = clip_depthwise_row(d), step = d->stride * d->channels, rows = output->rows,
           columns = output->columns;
    if (!fits(d)) {
        for (size_t at = 0; at < rows * columns; at++)
            weights_large(d, x + at / columns * d->stride * across + at % columns * step,
                          dy + at / columns * dy_row + at % columns * d->channels, m, dw);
        return;
    }
    copy_input(d, x, rows, columns, m, &input);
    memset(output->dy, 0, rows * columns * BLOCK * sizeof *dy);
    for (size_t at = 0; at < rows * columns; at++)
        memcpy(output->dy + at * BLOCK, dy + at / columns * dy_row + at % columns * d->channels,
               m * sizeof *dy);
    weights_tile(d, &input, output, dw);
}

static void weights(const struct clip_depthwise *d, const float *x, const float *dy, size_t dy_row,
                    size_t first, size_t count, float *dw)
{
    size_t across = clip_depthwise_row(d), step = d->stride * d->channels, area = d->side * d->side;
    for (size_t block = first; block < first + count; block++) {
        size_t c = block * BLOCK, m = d->channels - c < BLOCK ? d->channels - c : BLOCK;
        for (size_t i = 0; i < d->height; i += TALL)
            for (size_t j = 0; j < d->width; j += LONG) {
                struct output output = {.rows = d->height - i < TALL ? d->height - i : TALL,
                                        .columns = d->width - j < LONG ? d->width - j : LONG};
                add_weights(d, x + i * d->stride * across + j * step + c,
                            dy + i * dy_row + j * d->channels + c, dy_row, &output, m,
                            dw + block * area * BLOCK);
            }
    }
}

const struct clip_depthwise_kernels CLIP_LEVELED(clip_depthwise_kernels) = {run, weights};
