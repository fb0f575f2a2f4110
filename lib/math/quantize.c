#include "math/quantize.h"

const struct clip_quantizers *clip_quantizers(enum clip_level level)
{
    return CLIP_TABLE(clip_quantizers, level);
}
