/* Numbers of 8 bits for products of integers. One source is compiled for each level of the processor.
 *
 * Weights are symmetric with one scale an output: w = scale q, |q| <= 127, scale = max |w| / 127. The input
 * is a row at a time, between its least and its greatest number or 0: x = scale (q - zero), 0 <= q <= 255.
 * So, with exact sums of integers, x · w = scale_x scale_w (sum of q_x q_w - zero times the sum of q_w). */
#ifndef CLIP_MATH_QUANTIZE_H
#define CLIP_MATH_QUANTIZE_H

#include "base/level.h"

#include <stddef.h>
#include <stdint.h>

/* The most inputs of a product: its sums are of 32 bits. */
enum { CLIP_INT8_INPUTS = INT32_MAX / (255 * 127) };

/* How a row of the input was rounded. */
struct clip_int8_row {
    float scale; /* NaN where a number of the row is not finite: so is the row's product */
    float zero;
};

struct clip_quantizers {
    /* q[k] of x[k], rounded to nearest even. */
    struct clip_int8_row (*row)(size_t k, const float *x, uint8_t *q);

    /* y[n], sums of integers, become floats in place: the product of a row with weights of scales[n] and
     * totals[n], the sums of their q. */
    void (*finish)(size_t n, struct clip_int8_row row, const float *scales, const float *totals, int32_t *y);

    /* q[k] and the scale of the weights w[k] of an output: the same at every level. A number that is not
     * finite makes the scale NaN. */
    float (*weights)(size_t k, const float *w, int8_t *q);

    /* Sum of q[k]. */
    int32_t (*total)(size_t k, const int8_t *q);
};

/* Returns the functions for a level. */
const struct clip_quantizers *clip_quantizers(enum clip_level level);

extern const struct clip_quantizers clip_quantizers_plain, clip_quantizers_avx2, clip_quantizers_avx512;

#endif
