#include "math/conv-train.h"

#include <string.h>

const struct clip_conv_train_kernels *clip_conv_train_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_conv_train_kernels, level);
}

size_t clip_conv_channels(size_t n)
{
    return (n + CLIP_CHANNELS - 1) / CLIP_CHANNELS * CLIP_CHANNELS;
}

/* Where the weight of a tap from channel i to channel o of `in` (rounded up) is packed. */
static size_t packed_index(size_t taps, size_t in, size_t tap, size_t i, size_t o)
{
    return ((o / CLIP_CHANNELS * taps + tap) * in + i) * CLIP_CHANNELS + o % CLIP_CHANNELS;
}

void clip_conv_pack(const float *w, size_t out, size_t in, size_t side, float *packed)
{
    size_t taps = side * side, inputs = clip_conv_channels(in);
    memset(packed, 0, taps * inputs * clip_conv_channels(out) * sizeof *packed);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < taps; tap++)
                packed[packed_index(taps, inputs, tap, i, o)] = *w++;
}

void clip_conv_pack_flipped(const float *w, size_t out, size_t in, size_t side, float *packed)
{
    size_t taps = side * side, inputs = clip_conv_channels(out);
    memset(packed, 0, taps * inputs * clip_conv_channels(in) * sizeof *packed);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < taps; tap++)
                packed[packed_index(taps, inputs, taps - 1 - tap, o, i)] = *w++;
}

void clip_conv_add_gradient(const float *gradient, size_t out, size_t in, size_t side, size_t first, float *w)
{
    size_t taps = side * side, inputs = clip_conv_channels(in);
    w += first * in * taps;
    for (size_t o = 0; o < CLIP_CHANNELS && first + o < out; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < taps; tap++)
                *w++ += gradient[(tap * inputs + i) * CLIP_CHANNELS + o];
}

/* Three pixels of a row of `size` from column - 1 on, zeros outside. */
static void patch_row(const float *row, size_t size, size_t column, float *y)
{
    if (column >= 1 && column + 2 <= size) {
        memcpy(y, row + column - 1, 3 * sizeof *y);
        return;
    }
    for (size_t j = column; j < column + 3; j++)
        *y++ = j >= 1 && j <= size ? row[j - 1] : 0;
}

void clip_conv_color_patches(const float *x, size_t size, float *patches)
{
    enum { COLORS = 3, SIDE = 3, PATCH = 2 * CLIP_CHANNELS };
    for (size_t row = 0; row < size; row += 2)
        for (size_t column = 0; column < size; column += 2, patches += PATCH) {
            memset(patches, 0, PATCH * sizeof *patches);
            for (size_t k = 0; k < COLORS * SIDE; k++) {
                size_t i = row + k % SIDE - 1;
                if (i < size) /* those before 0 are not either */
                    patch_row(x + (k / SIDE * size + i) * size, size, column, patches + k * SIDE);
            }
        }
}
