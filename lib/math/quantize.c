#include "math/quantize.h"

const struct clip_quantizers *clip_quantizers(enum clip_level level)
{
    return CLIP_TABLE(clip_quantizers, level);
}

int32_t clip_int8_total(size_t k, const int8_t *q)
{
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += q[i];
    return sum;
}
