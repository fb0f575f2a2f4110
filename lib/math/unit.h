/* Unit length: the direction of a vector. */
#ifndef CLIP_MATH_UNIT_H
#define CLIP_MATH_UNIT_H

#include "base/error.h"

#include <stddef.h>

/* out[n] = x[n] / |x|, the length computed in double; out may be x, and x need not be aligned. -1 where the
 * length is zero or not finite; out is then unchanged. (PyTorch's F.normalize, which divides by at least
 * 1e-12.) */
int clip_unit_vector(size_t n, const void *x, float *out, struct clip_error *error);

/* The backward: dx[n] = (dunit - unit (unit · dunit)) / |x|, unit[n] being what clip_unit_vector made of
 * x[n]; dx may be dunit. */
void clip_unit_vector_backward(size_t n, const float *x, const float *unit, const float *dunit, float *dx);

#endif
