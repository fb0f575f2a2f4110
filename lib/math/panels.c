#include "math/panels.h"

const struct clip_panel_kernels *clip_panel_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_panel_kernels, level);
}

size_t clip_panels_floats(const struct clip_panel_kernels *kernels, size_t n, size_t k)
{
    return (n + kernels->width - 1) / kernels->width * kernels->width * k;
}

size_t clip_panels_scratch(size_t rows, size_t k)
{
    return k > CLIP_PANEL_DEPTH ? rows * CLIP_PANEL_DEPTH : 0;
}

size_t clip_lying_scratch(const struct clip_panel_kernels *kernels, size_t rows, size_t n, size_t k)
{
    size_t depth = k > CLIP_PANEL_DEPTH ? CLIP_PANEL_DEPTH : k;
    size_t padded = (rows + kernels->width - 1) / kernels->width * kernels->width;
    size_t sums = k > depth ? (n + kernels->tall - 1) / kernels->tall * kernels->tall : kernels->group;
    return padded * (depth + sums) + kernels->tall * depth;
}
