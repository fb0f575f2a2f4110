#include "math/excitation.h"

#include <math.h>
#include <string.h>

void clip_pixels_mean(const struct clip_kernels *kernels, size_t pixels, size_t channels, const float *x,
                      float *mean)
{
    memset(mean, 0, channels * sizeof *mean);
    kernels->column_sums(pixels, channels, x, channels, CLIP_PRECISION_F32, mean);
    for (size_t c = 0; c < channels; c++)
        mean[c] /= (float)pixels;
}

/* b + the sum of w[n] x[n]. */
static float weighted_sum(size_t n, const float *w, const float *x, float b)
{
    double sum = (double)b;
    for (size_t k = 0; k < n; k++)
        sum += (double)w[k] * (double)x[k];
    return (float)sum;
}

void clip_excitation_gate(const struct clip_excitation *e, const float *mean, float *squeezed, float *gate)
{
    for (size_t i = 0; i < e->hidden; i++)
        squeezed[i] = fmaxf(weighted_sum(e->channels, e->w1 + i * e->channels, mean, e->b1[i]), 0);
    for (size_t c = 0; c < e->channels; c++)
        gate[c] = 1 / (1 + expf(-weighted_sum(e->hidden, e->w2 + c * e->hidden, squeezed, e->b2[c])));
}

/* Of a linear layer y[out] = w[out][in] x[in] + b: adds to dw and db, and sets dx. */
static void linear_backward(size_t out, size_t in, const float *w, const float *x, const float *dy, float *dw,
                            float *db, float *dx)
{
    memset(dx, 0, in * sizeof *dx);
    for (size_t o = 0; o < out; o++, w += in, dw += in) {
        db[o] += dy[o];
        for (size_t i = 0; i < in; i++) {
            dw[i] += dy[o] * x[i];
            dx[i] += dy[o] * w[i];
        }
    }
}

void clip_excitation_backward(const struct clip_excitation *e, const float *mean, const float *squeezed,
                              const float *gate, float *dgate, float *dsqueezed,
                              const struct clip_excitation_gradients *gradients, float *dmean)
{
    for (size_t c = 0; c < e->channels; c++)
        dgate[c] *= gate[c] * (1 - gate[c]);
    linear_backward(e->channels, e->hidden, e->w2, squeezed, dgate, gradients->w2, gradients->b2, dsqueezed);
    for (size_t i = 0; i < e->hidden; i++)
        if (squeezed[i] <= 0)
            dsqueezed[i] = 0;
    linear_backward(e->hidden, e->channels, e->w1, mean, dsqueezed, gradients->w1, gradients->b1, dmean);
}
