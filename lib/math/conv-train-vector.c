/* The kernels of conv-train.h: one source, compiled once for each level of the processor. The sums of a tile
 * stay in registers: pixels times channels forward, inputs times outputs for the gradient of the weights. */
#include "math/conv-train.h"
#include "math/lanes.h"

/* A tile has LONG pixels of a row, or twice as many inputs of the weights, times at most WIDE vectors of
 * channels. */
#ifdef __AVX512F__
enum { SHORT = 4, LONG = 8, WIDE = 3 };
#else
enum { SHORT = 4, LONG = 4, WIDE = 2 };
#endif

/* Pixels that are summed up before the sum is added to the gradient; they stay in the cache. */
enum { PIXELS = 128 };

/* Number of vectors to take at once of the `left` that remain, so that few are taken singly. */
static size_t vectors_at_once(size_t left)
{
    return left <= WIDE ? left : left == 4 || WIDE < 3 ? 2 : left % 3 == 1 ? 2 : 3;
}

/* Index of channel c in packed weights whose panels of CLIP_CHANNELS are `step` apart. */
INLINE size_t panel(size_t step, size_t c)
{
    return c / CLIP_CHANNELS * step + c % CLIP_CHANNELS;
}

/* --- forward --- */

/* y for rows by columns pixels and `vectors` vectors of channels. x and y point at the first pixel, w at the
 * first tap of the first channel. The three taps of a row are contiguous in the input and in the weights. */
INLINE void tile(const int rows, const int columns, const int vectors, const struct clip_conv_plane *plane,
                 const float *x, const float *w, float *y)
{
    size_t across = (plane->width + plane->side - 1) * plane->in, run = plane->side * plane->in;
    size_t step = plane->side * run * CLIP_CHANNELS;
    vec sum[2][LONG][WIDE];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < columns; c++)
        UNROLL for (int v = 0; v < vectors; v++) sum[r][c][v] = (vec){0};
    for (size_t ky = 0; ky < plane->side; ky++, x += across)
        for (size_t i = 0; i < run; i++, w += CLIP_CHANNELS) {
            vec right[WIDE];
            UNROLL for (int v = 0; v < vectors; v++) right[v] = load(w + panel(step, (size_t)v * LANES));
            UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < columns; c++)
            {
                vec left = splat(x[(size_t)r * across + (size_t)c * plane->in + i]);
                UNROLL for (int v = 0; v < vectors; v++) sum[r][c][v] += left * right[v];
            }
        }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < columns; c++)
        UNROLL for (int v = 0; v < vectors; v++)
            store(y + ((size_t)r * plane->width + (size_t)c) * plane->out + v * LANES, sum[r][c][v]);
}

/* Runs a picture in tiles of rows by columns; the last tile of a row, and the last row, may overlap those
 * before. */
INLINE void tiles(const int rows, const int columns, const int vectors, const struct clip_conv_plane *plane,
                  const float *x, const float *w, float *y)
{
    size_t across = plane->width + plane->side - 1;
    for (size_t i = 0; i < plane->height; i += (size_t)rows) {
        size_t row = i + (size_t)rows > plane->height ? plane->height - (size_t)rows : i;
        for (size_t j = 0; j < plane->width; j += (size_t)columns) {
            size_t column = j + (size_t)columns > plane->width ? plane->width - (size_t)columns : j;
            tile(rows, columns, vectors, plane, x + (row * across + column) * plane->in, w,
                 y + (row * plane->width + column) * plane->out);
        }
    }
}

INLINE void picture(const int vectors, const struct clip_conv_plane *plane, const float *x, const float *w,
                    float *y)
{
    if (plane->width >= LONG)
        tiles(1, LONG, vectors, plane, x, w, y);
    else if (LONG > SHORT && plane->width >= SHORT && plane->height >= 2)
        tiles(2, SHORT, vectors, plane, x, w, y);
    else if (plane->width >= SHORT)
        tiles(1, SHORT, vectors, plane, x, w, y);
    else
        tiles(1, 1, vectors, plane, x, w, y);
}

static void run(const struct clip_conv_plane *plane, const float *x, const float *w, float *y)
{
    size_t pixels = plane->height * plane->width, across = plane->side - 1;
    struct clip_conv_plane each = *plane;
    if (plane->side == 1)
        each = (struct clip_conv_plane){1, 1, plane->pictures * pixels, plane->in, plane->out, 1};
    size_t in = (each.height + across) * (each.width + across) * each.in,
           out = each.height * each.width * each.out, taps = plane->side * plane->side;
    for (size_t c = 0, vectors; c < plane->out; c += vectors * LANES) {
        vectors = vectors_at_once((plane->out - c) / LANES);
        const float *weights = w + panel(taps * plane->in * CLIP_CHANNELS, c);
        for (size_t i = 0; i < each.pictures; i++)
            if (vectors == 1)
                picture(1, &each, x + i * in, weights, y + i * out + c);
            else if (vectors == 2)
                picture(2, &each, x + i * in, weights, y + i * out + c);
            else
                picture(WIDE, &each, x + i * in, weights, y + i * out + c);
    }
}

/* --- forward, in double --- */

/* LANES channels of SHORT pixels, or of one. */
INLINE void double_tile(const int columns, const struct clip_conv_plane *plane, const float *x,
                        const float *w, float *y)
{
    size_t across = (plane->width + plane->side - 1) * plane->in, run = plane->side * plane->in;
    dvec sum[SHORT];
    UNROLL for (int c = 0; c < columns; c++) sum[c] = (dvec){0};
    for (size_t ky = 0; ky < plane->side; ky++, x += across)
        for (size_t i = 0; i < run; i++, w += CLIP_CHANNELS) {
            dvec right = __builtin_convertvector(load(w), dvec);
            UNROLL for (int c = 0; c < columns; c++) sum[c] += (double)x[(size_t)c * plane->in + i] * right;
        }
    UNROLL for (int c = 0; c < columns; c++)
        store(y + (size_t)c * plane->out, __builtin_convertvector(sum[c], vec));
}

static void run_double(const struct clip_conv_plane *plane, const float *x, const float *w, float *y)
{
    size_t row = (plane->width + plane->side - 1) * plane->in, step = plane->side * plane->side * plane->in;
    for (size_t picture = 0; picture < plane->pictures; picture++, x += (plane->side - 1) * row)
        for (size_t i = 0; i < plane->height; i++, x += row, y += plane->width * plane->out)
            for (size_t c = 0; c < plane->out; c += LANES) {
                const float *weights = w + panel(step * CLIP_CHANNELS, c);
                size_t j = 0;
                for (; j + SHORT <= plane->width; j += SHORT)
                    double_tile(SHORT, plane, x + j * plane->in, weights, y + j * plane->out + c);
                for (; j < plane->width; j++)
                    double_tile(1, plane, x + j * plane->in, weights, y + j * plane->out + c);
            }
}

/* --- the gradient of the weights --- */

/* Rows [first, first + rows) of pixels, counted over all pictures. */
struct strip {
    size_t first, rows;
};

/* gradient[inputs][vectors] of one tap; x and dy point at the first picture's first pixel at the tap. */
INLINE void weights_tile(const int inputs, const int vectors, const struct clip_conv_plane *plane,
                         const struct strip *strip, const float *x, const float *dy, float *gradient)
{
    size_t down = plane->height + plane->side - 1, across = plane->width + plane->side - 1;
    size_t row = strip->first % plane->height,
           at = (strip->first / plane->height * down + row) * across; /* the first pixel of a row */
    vec sum[2 * LONG][WIDE];
    UNROLL for (int i = 0; i < inputs; i++) UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = (vec){0};
    for (size_t left_over = strip->rows; left_over > 0; left_over--, at += across) {
        const float *left = x + at * plane->in, *right = dy + at * plane->out;
        for (size_t column = 0; column < plane->width; column++, left += plane->in, right += plane->out) {
            vec outputs[WIDE];
            UNROLL for (int v = 0; v < vectors; v++) outputs[v] = load(right + v * LANES);
            UNROLL for (int i = 0; i < inputs; i++) UNROLL for (int v = 0; v < vectors; v++) sum[i][v] +=
                splat(left[i]) * outputs[v];
        }
        if (++row == plane->height) {
            row = 0;
            at += (plane->side - 1) * across;
        }
    }
    size_t step = plane->side * plane->side * plane->in * CLIP_CHANNELS;
    UNROLL for (int i = 0; i < inputs; i++) UNROLL for (int v = 0; v < vectors; v++)
    {
        float *to = gradient + panel(step, (size_t)v * LANES) + i * CLIP_CHANNELS;
        store(to, load(to) + sum[i][v]);
    }
}

INLINE void weights_panel(const int inputs, const int vectors, const struct clip_conv_plane *plane,
                          const struct strip *strip, const float *x, const float *dy, float *gradient)
{
    size_t across = plane->width + plane->side - 1;
    for (size_t ky = 0; ky < plane->side; ky++)
        for (size_t kx = 0; kx < plane->side; kx++)
            for (size_t i = 0; i < plane->in; i += (size_t)inputs, gradient += inputs * CLIP_CHANNELS)
                weights_tile(inputs, vectors, plane, strip, x + (ky * across + kx) * plane->in + i, dy,
                             gradient);
}

static void weights_strip(const struct clip_conv_plane *plane, const struct strip *strip, const float *x,
                          const float *dy, float *gradient)
{
    size_t step = plane->side * plane->side * plane->in * CLIP_CHANNELS;
    for (size_t c = 0, vectors; c < plane->out; c += vectors * LANES) {
        float *to = gradient + panel(step, c);
        vectors = vectors_at_once((plane->out - c) / LANES);
        if (vectors == 1)
            weights_panel(2 * LONG, 1, plane, strip, x, dy + c, to);
        else if (vectors == 2)
            weights_panel(LONG, 2, plane, strip, x, dy + c, to);
        else
            weights_panel(LONG, WIDE, plane, strip, x, dy + c, to);
    }
}

static void weights(const struct clip_conv_plane *plane, const float *x, const float *dy, float *gradient)
{
    size_t pixels = plane->pictures * plane->height * plane->width;
    if (plane->side == 1) {
        for (size_t first = 0; first < pixels; first += PIXELS) {
            struct clip_conv_plane row = {
                1, 1, pixels - first < PIXELS ? pixels - first : PIXELS, plane->in, plane->out, 1};
            weights_strip(&row, &(struct strip){0, 1}, x + first * plane->in, dy + first * plane->out,
                          gradient);
        }
        return;
    }
    size_t rows = plane->pictures * plane->height, most = plane->width < PIXELS ? PIXELS / plane->width : 1;
    size_t inside = plane->side / 2 * (plane->width + plane->side - 1) + plane->side / 2;
    for (size_t first = 0; first < rows; first += most)
        weights_strip(plane, &(struct strip){first, rows - first < most ? rows - first : most}, x,
                      dy + inside * plane->out, gradient);
}

const struct clip_conv_train_kernels CLIP_LEVELED(clip_conv_train_kernels) = {run, run_double, weights};
