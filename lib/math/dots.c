#include "math/dots.h"

const struct clip_dot_kernels *clip_dot_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_dot_kernels, level);
}
