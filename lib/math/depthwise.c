#include "math/depthwise.h"

const struct clip_depthwise_kernels *clip_depthwise_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_depthwise_kernels, level);
}

size_t clip_depthwise_row(const struct clip_depthwise *d)
{
    return ((d->width - 1) * d->stride + d->side) * d->channels;
}

size_t clip_depthwise_floats(const struct clip_depthwise *d)
{
    return ((d->height - 1) * d->stride + d->side) * clip_depthwise_row(d);
}

void clip_depthwise_pack(const float *w, size_t channels, size_t side, float *packed)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t tap = 0; tap < side * side; tap++)
            packed[tap * channels + c] = *w++;
}

void clip_depthwise_pack_turned(const float *w, size_t channels, size_t side, float *packed)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t tap = side * side; tap-- > 0;)
            packed[tap * channels + c] = *w++;
}

void clip_depthwise_add(const float *packed, size_t channels, size_t side, float *w)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t tap = 0; tap < side * side; tap++)
            *w++ += packed[tap * channels + c];
}
