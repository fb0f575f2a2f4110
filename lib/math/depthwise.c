#include "math/depthwise.h"

#include <string.h>

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

size_t clip_depthwise_blocks(size_t channels)
{
    return (channels + CLIP_DEPTHWISE_BLOCK - 1) / CLIP_DEPTHWISE_BLOCK;
}

size_t clip_depthwise_packed(size_t channels, size_t side)
{
    return clip_depthwise_blocks(channels) * CLIP_DEPTHWISE_BLOCK * side * side;
}

/* Index of a channel's tap in packed weights. */
static size_t packed_index(size_t area, size_t channel, size_t tap)
{
    return (channel / CLIP_DEPTHWISE_BLOCK * area + tap) * CLIP_DEPTHWISE_BLOCK +
           channel % CLIP_DEPTHWISE_BLOCK;
}

void clip_depthwise_pack(const float *w, size_t channels, size_t side, float *packed)
{
    size_t area = side * side;
    memset(packed, 0, clip_depthwise_packed(channels, side) * sizeof *packed);
    for (size_t i = 0; i < channels * area; i++)
        packed[packed_index(area, i / area, i % area)] = w[i];
}

void clip_depthwise_pack_flipped(const float *w, size_t channels, size_t side, float *packed)
{
    size_t area = side * side;
    memset(packed, 0, clip_depthwise_packed(channels, side) * sizeof *packed);
    for (size_t i = 0; i < channels * area; i++)
        packed[packed_index(area, i / area, area - 1 - i % area)] = w[i];
}

void clip_depthwise_add(const float *packed, size_t channels, size_t side, float *w)
{
    size_t area = side * side;
    for (size_t i = 0; i < channels * area; i++)
        w[i] += packed[packed_index(area, i / area, i % area)];
}
