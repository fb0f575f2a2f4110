#include "math/unit.h"

#include <math.h>

int clip_unit_vector(size_t n, const float *x, float *out, struct clip_error *error)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    if (!(sum > 0) || !isfinite(sum))
        return clip_fail(error, "a vector of length %g has no direction", sqrt(sum));
    double length = sqrt(sum);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(x[i] / length);
    return 0;
}
