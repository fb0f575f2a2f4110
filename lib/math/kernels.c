#include "math/kernels.h"

const struct clip_kernels *clip_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_kernels, level);
}

size_t clip_attention_scratch(size_t keys, size_t dim)
{
    enum { LANES = 16, TALL = 6 }; /* the most of any level */
    size_t k = (keys + LANES - 1) / LANES * LANES, d = (dim + LANES - 1) / LANES * LANES;
    return 2 * k * d + 2 * TALL * d + TALL * k;
}
