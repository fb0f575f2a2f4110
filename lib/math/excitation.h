/* Squeeze and excitation (Hu et al., arXiv:1709.01507), and the mean of a picture's pixels; forward and
 * backward, in one order at every level of the processor. A picture is x[pixels][channels], f32. */
#ifndef CLIP_MATH_EXCITATION_H
#define CLIP_MATH_EXCITATION_H

#include "math/kernels.h"

#include <stddef.h>

/* gate = sigmoid(w2 max(w1 mean(x) + b1, 0) + b2): a factor of each channel. The gradients are added to. */
struct clip_excitation {
    size_t channels, hidden;
    const float *w1, *b1; /* [hidden][channels], [hidden] */
    const float *w2, *b2; /* [channels][hidden], [channels] */
};

struct clip_excitation_gradients {
    float *w1, *b1, *w2, *b2;
};

/* mean[channels] of a picture's pixels. Backward: to each pixel dmean / pixels. */
void clip_pixels_mean(const struct clip_kernels *kernels, size_t pixels, size_t channels, const float *x,
                      float *mean);

/* From mean[channels] squeezed[hidden], after the rectifier, and gate[channels]. */
void clip_excitation_gate(const struct clip_excitation *e, const float *mean, float *squeezed, float *gate);

/* From dgate[channels], which is changed, to dmean[channels]; dsqueezed[hidden] is scratch. */
void clip_excitation_backward(const struct clip_excitation *e, const float *mean, const float *squeezed,
                              const float *gate, float *dgate, float *dsqueezed,
                              const struct clip_excitation_gradients *gradients, float *dmean);

#endif
