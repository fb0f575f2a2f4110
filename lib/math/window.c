#include "math/window.h"

#include <stdint.h>

size_t clip_window_height(const struct clip_window *window)
{
    return (window->height + 2 * window->padding - window->side) / window->stride + 1;
}

size_t clip_window_width(const struct clip_window *window)
{
    return (window->width + 2 * window->padding - window->side) / window->stride + 1;
}

/* Where tap (ky, kx) at a place is: floats from x, or OUTSIDE of the picture. */
#define OUTSIDE SIZE_MAX
static size_t find_pixel(const struct clip_window *window, size_t at, size_t ky, size_t kx)
{
    size_t across = clip_window_width(window), padding = window->padding;
    size_t row = at / across * window->stride + ky, column = at % across * window->stride + kx;
    if (row < padding || row - padding >= window->height || column < padding ||
        column - padding >= window->width)
        return OUTSIDE;
    return (row - padding) * window->row + (column - padding) * window->pixel;
}

void clip_window_cut(const struct clip_window *window, const float *x, size_t at, float *out)
{
    size_t side = window->side, area = side * side;
    for (size_t tap = 0; tap < area; tap++) {
        size_t pixel = find_pixel(window, at, tap / side, tap % side);
        for (size_t c = 0; c < window->channels; c++)
            out[c * area + tap] = pixel == OUTSIDE ? 0 : x[pixel + c];
    }
}

void clip_window_add(const struct clip_window *window, const float *dout, size_t at, float *dx)
{
    size_t side = window->side, area = side * side;
    for (size_t tap = 0; tap < area; tap++) {
        size_t pixel = find_pixel(window, at, tap / side, tap % side);
        for (size_t c = 0; pixel != OUTSIDE && c < window->channels; c++)
            dx[pixel + c] += dout[c * area + tap];
    }
}
