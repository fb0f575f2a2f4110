#include "math/unit.h"
#include "math/dots.h"

#include <math.h>

int clip_unit_vector(size_t n, const void *x, float *out, struct clip_error *error)
{
    const struct clip_dot_kernels *kernels = clip_dot_kernels(clip_level());
    double sum = kernels->squares(n, x);
    if (!(sum > 0) || !isfinite(sum))
        return clip_fail(error, "a vector of length %g cannot be normalised", sqrt(sum));
    kernels->scale(n, x, 1 / sqrt(sum), out);
    return 0;
}

void clip_unit_vector_backward(size_t n, const float *x, const float *unit, const float *dunit, float *dx)
{
    double sum = 0, along = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * x[i];
        along += (double)unit[i] * dunit[i];
    }
    double length = sqrt(sum);
    for (size_t i = 0; i < n; i++)
        dx[i] = (float)((dunit[i] - along * unit[i]) / length);
}
