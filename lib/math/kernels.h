/* What towers compute apart from matrix products: one row, or one head of attention, at a time.
 * One source is compiled for each level of the processor. A result depends on its own row and on the level
 * alone, to the byte. Rows need no alignment; operands do not overlap unless stated. `type` is the element of
 * a product's input, f32 or bf16 (rounded to nearest even). */
#ifndef CLIP_MATH_KERNELS_H
#define CLIP_MATH_KERNELS_H

#include "base/level.h"
#include "math/activation.h"
#include "math/product.h"

#include <stddef.h>

/* One head of attention over one sequence: softmax(scale q · kᵀ + bias) · v, with the biases of the
 * in-projection added to q, k and v on the way. */
struct clip_attention {
    size_t queries, keys, dim;
    int causal;                            /* query i sees keys [0, min(i, keys - 1)] */
    float scale;                           /* 1 / sqrt(dim) as a rule */
    const float *q, *k, *v;                /* [queries][dim], [keys][dim], [keys][dim] */
    size_t q_stride, k_stride, v_stride;   /* floats from row to row */
    const float *q_bias, *k_bias, *v_bias; /* [dim] */
    const float *bias;                     /* [queries][keys], added to the scores; NULL: none */
    size_t bias_stride;
    enum clip_precision type;
    void *out;         /* [queries][dim] in `type` */
    size_t out_stride; /* elements from row to row */
};

/* The backward of one head: from the gradient of `out`, the gradients of q, k and v (and, summed, of their
 * biases). Scores are recomputed; type, out and out_stride of `forward` are not used. */
struct clip_attention_backward {
    const struct clip_attention *forward;
    const float *dout; /* [queries][dim] */
    size_t dout_stride;
    enum clip_precision type;
    void *dq, *dk, *dv;           /* [queries][dim], [keys][dim], [keys][dim] in `type` */
    size_t dq_stride, dkv_stride; /* elements from row to row */
    float *dbias;                 /* [queries][keys]: of the scores; NULL: not wanted */
};

struct clip_kernels {
    /* out[n] = x[n] in `type`. */
    void (*convert)(size_t n, const float *x, enum clip_precision type, void *out);

    /* out[n] = x[n] + y[n]; out may be x or y. */
    void (*sum)(size_t n, const float *x, const float *y, float *out);

    /* x[n] += y[n] + bias[n] */
    void (*add)(size_t n, float *x, const float *y, const float *bias);

    /* out[n] = x[n] (y[n] + bias[n]); out may be x or y if `type` is f32. */
    void (*multiply)(size_t n, const float *x, const float *y, const float *bias, enum clip_precision type,
                     void *out);

    /* Rotary positions: each pair (x[2i], x[2i + 1]) is rotated by an angle, whose cosine stands twice in
     * cosines[n] and whose sine stands in sines[n] as -sin, sin; `back` rotates the other way. n is even. out
     * may be x. */
    void (*rotate)(size_t n, const float *x, const float *cosines, const float *sines, int back, float *out);

    /* out[n] = (x[n] - mean) / sqrt(variance + epsilon) * weight[n] + bias[n], mean and variance of the row.
     * out may be x if `type` is f32. */
    void (*layer_norm)(size_t n, float epsilon, const float *x, const float *weight, const float *bias,
                       enum clip_precision type, void *out);

    /* out[n] = x[n] / sqrt(mean of x² + epsilon) * weight[n]. out may be x if `type` is f32. Backward: dx[n]
     * +=, dweight[n] +=. */
    void (*rms_norm)(size_t n, float epsilon, const float *x, const float *weight, enum clip_precision type,
                     void *out);
    void (*rms_norm_backward)(size_t n, float epsilon, const float *x, const float *weight, const float *dy,
                              float *dx, float *dweight);

    /* out[n] = f(x[n] + bias[n]), f as math/activation.h has it, erf within 2e-7. out may be x if `type` is
     * f32. */
    void (*activation[CLIP_ACTIVATIONS])(size_t n, const float *x, const float *bias,
                                         enum clip_precision type, void *out);

    /* scratch: clip_attention_scratch(keys, dim) floats, aligned to 64 bytes. */
    void (*attention)(const struct clip_attention *a, float *scratch);

    /* The backward of layer_norm: dx[n] += the gradient with respect to x, of dy[n]; dweight[n] and dbias[n]
     * are added to. */
    void (*layer_norm_backward)(size_t n, float epsilon, const float *x, const float *weight, const float *dy,
                                float *dx, float *dweight, float *dbias);

    /* The backward of an activation f: out[n] = f(x[n] + bias[n]) again, and dx[n] = dy[n] f'(x[n] +
     * bias[n]). */
    void (*activation_backward[CLIP_ACTIVATIONS])(size_t n, const float *x, const float *bias,
                                                  const float *dy, enum clip_precision type, void *out,
                                                  void *dx);

    /* sums[n] += the columns of x[rows][n] in `type`, `stride` elements from row to row, in the order of
     * rows: the gradient of a bias. */
    void (*column_sums)(size_t rows, size_t n, const void *x, size_t stride, enum clip_precision type,
                        float *sums);

    /* scratch: clip_attention_backward_scratch(keys, dim) floats, aligned to 64 bytes. */
    void (*attention_backward)(const struct clip_attention_backward *b, float *scratch);
};

/* Returns the kernels for the processor's level (base/level.h). */
const struct clip_kernels *clip_kernels(enum clip_level level);

/* x[n] = softmax(x), summed in the same order at every level: for the few rows of attention pools. */
void clip_softmax(size_t n, float *x);

/* Floats of scratch for attention over `keys` positions with heads of at most `dim`; the same for every
 * level. */
size_t clip_attention_scratch(size_t keys, size_t dim);
size_t clip_attention_backward_scratch(size_t keys, size_t dim);

/* The number of queries whose scores attention_backward holds at once. */
enum { CLIP_ATTENTION_QUERIES = 96 };

extern const struct clip_kernels clip_kernels_plain, clip_kernels_avx2, clip_kernels_avx512;

#endif
