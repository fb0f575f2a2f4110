#include "math/probe.h"

#include "math/kernels.h"
#include "math/product.h"

void clip_probes_mix(const struct clip_probes *p, float *mixes)
{
    clip_gemm(0, 1, p->count, p->tokens, p->width, p->probes, p->stride, p->x, p->width, 0, p->weights,
              p->tokens);
    for (size_t i = 0; i < p->count; i++)
        clip_softmax(p->tokens, p->weights + i * p->tokens);
    clip_gemm(0, 0, p->count, p->width, p->tokens, p->weights, p->tokens, p->x, p->width, 0, mixes,
              p->stride);
}

void clip_probes_mix_backward(const struct clip_probes *p, const float *dmixes, float *scores, float *dx,
                              float *dprobes)
{
    size_t n = p->count, tokens = p->tokens, width = p->width;
    clip_gemm(0, 1, n, tokens, width, dmixes, p->stride, p->x, width, 0, scores, tokens);
    for (size_t i = 0; i < n; i++) {
        const float *a = p->weights + i * tokens;
        float *s = scores + i * tokens, mean = 0;
        for (size_t t = 0; t < tokens; t++)
            mean += a[t] * s[t];
        for (size_t t = 0; t < tokens; t++)
            s[t] = a[t] * (s[t] - mean);
    }
    clip_gemm(1, 0, tokens, width, n, p->weights, tokens, dmixes, p->stride, 0, dx, width);
    clip_gemm(1, 0, tokens, width, n, scores, tokens, p->probes, p->stride, 1, dx, width);
    clip_gemm(0, 0, n, width, tokens, scores, tokens, p->x, width, 0, dprobes, p->stride);
}
