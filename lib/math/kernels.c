#include "math/kernels.h"

#include <math.h>

const struct clip_kernels *clip_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_kernels, level);
}

void clip_softmax(size_t n, float *x)
{
    float most = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = fmaxf(most, x[i]);
    for (size_t i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - most);
    for (size_t i = 0; i < n; i++)
        x[i] /= sum;
}

enum { MOST_LANES = 16, TALL = 6 }; /* the most of any level */

static size_t padded(size_t n)
{
    return (n + MOST_LANES - 1) / MOST_LANES * MOST_LANES;
}

size_t clip_attention_scratch(size_t keys, size_t dim)
{
    size_t k = padded(keys), d = padded(dim);
    return 2 * k * d + 2 * TALL * d + TALL * k;
}

size_t clip_attention_backward_scratch(size_t keys, size_t dim)
{
    enum { QUERIES = CLIP_ATTENTION_QUERIES };
    size_t k = padded(keys), d = padded(dim);
    return 5 * k * d + 3 * QUERIES * d + 2 * QUERIES * k;
}
