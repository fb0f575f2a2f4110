#include "math/batch-norm.h"

const struct clip_batch_norm_kernels *clip_batch_norm_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_batch_norm_kernels, level);
}

void clip_moments_join(size_t channels, double count, double *mean, double *squares, double more,
                       const double *other_mean, const double *other_squares)
{
    double all = count + more;
    for (size_t c = 0; c < channels; c++) {
        double distance = other_mean[c] - mean[c];
        mean[c] += distance * more / all;
        squares[c] += other_squares[c] + distance * distance * count * more / all;
    }
}
